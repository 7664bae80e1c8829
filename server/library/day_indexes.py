"""Which number a film gets among those of its day in the folder of its show."""

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Self

from server.library.library_names import day_of
from server.library.placements import FileSet
from server.storage.statements import Statements
from server.storage.task_rows import read_status, readable

MOST_UNDER_WAY = 300  # most entries of a subscription that are considered
_OF_DAY = """
    SELECT s.day_index, s.about, s.holder, i.number FROM file_sets s
    LEFT JOIN items i ON i.subscription_id = s.holder AND i.key = s.key
    WHERE s.series = ? AND s.day = ? AND s.set_id <> ? AND s.day_index IS NOT NULL"""
# Selects those entries of a subscription that have no number yet, each with the status of the task that may
# know when it was published.
_UNDER_WAY = f"""
    SELECT i.published_at, i.number, t.number,
        CASE WHEN i.published_at IS NULL OR length(i.published_at) <= 10 THEN t.status END
    FROM items i
    LEFT JOIN tasks t ON t.task_id = i.task_id AND t.stage IN ('info', 'download', 'convert', 'completed')
    WHERE i.subscription_id = ? AND i.key <> ? AND (i.state = 'queued' OR (i.state = 'fetched' AND EXISTS (
        SELECT 1 FROM file_sets s WHERE s.holder = i.subscription_id AND s.key = i.key
        AND s.state = 'waiting' AND s.day_index IS NULL)))
    ORDER BY i.number DESC LIMIT {MOST_UNDER_WAY}"""  # noqa: S608


async def index_of_day(tables: Statements, one: FileSet, series: str, day: str, zone: tzinfo) -> int:
    """The number of a set among those of its day in its folder, in the order of publication.

    So earlier numbers are reserved for entries of the same subscription that were published earlier on that
    day and are still being fetched. If a list tells no time, the time is known once the entry's task runs.
    """
    sql = "SELECT number FROM items WHERE subscription_id = ? AND key = ?"
    places = await tables.fetch(sql, (one.holder, one.key))
    mine = _Published.of(one.about.get("published_at"), places[0][0] if places else None)
    earlier, later, taken = 0, list[int](), {0}
    for index, about, holder, number in await tables.fetch(_OF_DAY, (series, day, one.set_id)):
        taken.add(index)
        try:
            published_at = json.loads(about).get("published_at")
        except (ValueError, AttributeError):  # the row is damaged
            continue
        other = _Published.of(published_at, number if holder == one.holder else None)
        if other.is_before(mine):
            earlier = max(earlier, index)
        elif mine.is_before(other):
            later.append(index)
    room = 0
    for published_at, number, task_number, text in await tables.fetch(_UNDER_WAY, (one.holder, one.key)):
        told = published_at
        if text is not None:
            for status in readable(read_status, [(task_number, text)]):
                told = status.video_info.published_at or told
        is_of_day = told and day_of(told, 0.0, zone).isoformat() == day
        room += bool(is_of_day) and _Published.of(told, number).is_before(mine)
    if not later:
        return max(taken) + 1 + room
    free = [index for index in range(earlier + 1, min(later)) if index not in taken]
    wide = [index for index in free if index > earlier + room]
    return (wide[:1] or free[-1:] or [max(taken) + 1])[0]


@dataclass(frozen=True, slots=True)
class _Published:
    """When something was published: seconds since 1970, if more than the day is known; and its number in the
    list of its subscription, in which newer ones have higher ones.
    """

    at: float | None
    number: int | None

    @classmethod
    def of(cls, published_at: str | None, number: int | None) -> Self:
        at = None
        with suppress(ValueError):
            if published_at and len(published_at) > len("2026-01-31"):
                at = datetime.fromisoformat(published_at).timestamp()
        return cls(at, number)

    def is_before(self, other: "_Published") -> bool:
        if self.at is not None and other.at is not None and self.at != other.at:
            return self.at < other.at
        return self.number is not None and other.number is not None and self.number < other.number
