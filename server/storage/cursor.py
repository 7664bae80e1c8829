"""Pages of tasks (keyset pagination), and their cursor: the sort key of the last task, in base64url."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from server.core.entry_status import ListActions, status_after_actions
from server.core.errors import InvalidQuery
from server.core.ports import Sorting, StatusPage
from server.storage.task_rows import read_status, readable

_END = (1 << 63) - 1
_FORMS = {
    "newest": re.compile(r"n(?P<number>[0-9]{1,18})"),
    "oldest": re.compile(r"o(?P<number>[0-9]{1,18})"),
    "queue": re.compile(r"q(?P<rank>-?[0-9]{1,9}),(?P<number>[0-9]{1,18})"),
    "ended": re.compile(r"e(?P<rank>-?[0-9]{1,12}),(?P<number>[0-9]{1,18})"),
}


@dataclass(frozen=True, slots=True)
class Cursor:
    """The sort key of the last task of a page: `rank`, which is its priority in the queue or the second in
    which it ended, then its number.
    """

    sorting: Sorting
    number: int
    rank: int = 0

    @classmethod
    def read(cls, text: str | None, sorting: Sorting) -> Self:
        """Decode the cursor `text`; None stands for the first page. Raises `InvalidQuery`."""
        if text is None:
            return cls(sorting, 0 if sorting in ("queue", "oldest") else _END, _END)
        try:
            decoded = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        except ValueError:  # not base64, not ASCII or not UTF-8
            raise InvalidQuery("cursor") from None
        found = _FORMS[sorting].fullmatch(decoded)
        cursor = found and cls(sorting, **{name: int(value) for name, value in found.groupdict().items()})
        if not cursor or str(cursor) != text:  # the decoder ignores characters that are not base64
            raise InvalidQuery("cursor")
        return cursor

    def __str__(self) -> str:
        rank = f"{self.rank}," if self.sorting in ("queue", "ended") else ""
        return urlsafe_b64encode(f"{self.sorting[0]}{rank}{self.number}".encode()).decode().rstrip("=")


def page_of(
    rows: Sequence[Sequence[Any]],
    sorting: Sorting,
    limit: int,
    actions: Mapping[str, ListActions] = MappingProxyType({}),
) -> StatusPage:
    """Make a page of `rows` (number, rank, status); one row more than `limit` means that another page
    follows.

    `actions` are the actions on lists that entries may not have taken yet.
    """
    on_page = rows[:limit]
    found = readable(read_status, ((number, status) for number, _, status in on_page))
    if actions:
        found = (
            status
            for each in found
            if (status := status_after_actions(each, actions.get(each.playlist_id or "", ())))
        )
    tasks = list(found)
    if len(rows) <= limit:
        return StatusPage(tasks, None)
    number, rank, _ = on_page[-1]
    return StatusPage(tasks, str(Cursor(sorting, number, rank)))
