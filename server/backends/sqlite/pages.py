"""Pages of tasks: the query for one, and the cursor that leads to the next.

A page begins behind the last task of the one before, by value; each of the queries that make a page follows
an index in the page's order, so the last page costs what the first does. They are merged as they are read.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from server.backends.sqlite.search import Match, Unindexed
from server.errors import InvalidQuery
from server.models import Stage
from server.ports import Filter

_COLUMNS = "SELECT number, priority, status FROM tasks "
_ALL = _COLUMNS + "WHERE removed = 0 AND number < ?"
_STAGE = _COLUMNS + "WHERE stage = ? AND removed = 0 AND number < ?"
# Left to itself, SQLite would take the index of stages here and sort.
_QUEUED = "SELECT number, priority, status FROM tasks INDEXED BY tasks_queue "
_QUEUE_SAME = _QUEUED + "WHERE stage = 'queued' AND removed = 0 AND priority = ? AND number > ?"
_QUEUE_LOWER = _QUEUED + "WHERE stage = 'queued' AND removed = 0 AND priority < ?"
_MATCHING = (
    # CROSS keeps SQLite from reading the table first. The index knows trigrams only: `instr` decides.
    "SELECT tasks_text.rowid AS number, priority, status FROM tasks_text CROSS JOIN tasks "
    "ON tasks.number = tasks_text.rowid WHERE tasks_text MATCH ? AND tasks_text.rowid < ? AND removed = 0"
)
_CONTAINING = " AND instr(search, ?) > 0"
_NEWEST = " ORDER BY number DESC LIMIT ?"
_QUEUE_ORDER = " ORDER BY priority DESC, number LIMIT ?"
_BY_NUMBER = re.compile(r"n(?P<number>[0-9]{1,18})")
_IN_QUEUE = re.compile(r"q(?P<priority>-?[0-9]{1,9}),(?P<number>[0-9]{1,18})")
_END = (1 << 63) - 1

Query = tuple[str, list[object]]  # SQL, and the values bound to it


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last task of a page: its number and, in the queue, its priority."""

    number: int
    priority: int | None = None

    @classmethod
    def read(cls, text: str | None, *, is_queue: bool) -> Self:
        """Where to begin: behind `text`, or at the very beginning. Raises `InvalidQuery`."""
        if text is None:
            return cls(0, _END) if is_queue else cls(_END)
        found = (_IN_QUEUE if is_queue else _BY_NUMBER).fullmatch(_decoded(text))
        cursor = found and cls(**{name: int(value) for name, value in found.groupdict().items()})
        if not cursor or str(cursor) != text:  # the decoder passes over what is not base64
            raise InvalidQuery("cursor")
        return cursor

    def __str__(self) -> str:
        plain = f"n{self.number}" if self.priority is None else f"q{self.priority},{self.number}"
        return urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def page_query(wanted: Filter, text: str, match: Match, after: Cursor, limit: int) -> Query | None:
    """The SQL and its values, for rows of number, priority and status; None if there is nothing to find.

    `text` is folded; `match` is what `search.match_expression` made of it.
    """
    order = _QUEUE_ORDER if wanted.is_queue else _NEWEST
    queries = list(_queries(wanted, text, match, after))
    if not queries:
        return None
    values = [value for _, bound in queries for value in bound]
    return " UNION ALL ".join(sql for sql, _ in queries) + order, [*values, limit]


def _queries(wanted: Filter, text: str, match: Match, after: Cursor) -> Iterator[Query]:
    if wanted.is_queue:
        yield _containing(text, _QUEUE_SAME, [after.priority, after.number])
        yield _containing(text, _QUEUE_LOWER, [after.priority])
    elif match is not Unindexed.READ:  # the index knows final tasks only
        live = [stage for stage in wanted.stages or tuple(Stage) if not stage.is_final]
        yield from _of_stages(live, text, after)
        if isinstance(match, str):
            yield _containing(text, _MATCHING, [match, after.number])
    elif wanted.stages:
        yield from _of_stages(wanted.stages, text, after)
    else:
        yield _containing(text, _ALL, [after.number])


def _of_stages(stages: Sequence[Stage], text: str, after: Cursor) -> Iterator[Query]:
    for stage in dict.fromkeys(stages):
        yield _containing(text, _STAGE, [stage.value, after.number])


def _containing(text: str, sql: str, values: list[object]) -> Query:
    return (sql + _CONTAINING, [*values, text]) if text else (sql, values)


def _decoded(cursor: str) -> str:
    try:
        return urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:  # not base64, not ASCII or not UTF-8
        raise InvalidQuery("cursor") from None
