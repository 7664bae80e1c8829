"""Statements that are written once for both databases: `?` stands for a value, times are seconds since 1970.

For tables that few requests use: what every status pays for has statements of its own, each in the form that
its database does fastest.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar

from server.core.models import Task

Result = TypeVar("Result")
Row = tuple[Any, ...]
AT_ONCE = 200  # rows of one statement: SQLite takes 32,766 values, PostgreSQL 65,535


class Statements(Protocol):
    """An open transaction, or a connection that only reads."""

    async def fetch(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """The rows of a statement that has some, even if there are none now."""
        ...

    async def run(self, sql: str, values: Sequence[object] = ()) -> None: ...


class Tables(Statements, Protocol):
    """An open transaction that may add tasks."""

    async def alone(self) -> None:
        """Until the end of the transaction no other one, of any node, comes past this call."""
        ...

    async def room(self) -> int:
        """How many tasks the queue takes."""
        ...

    async def add(self, tasks: Sequence[Task]) -> list[Task]:
        """Add new tasks, no more than there is `room`; return them with their numbers."""
        ...

    def wake(self) -> None:
        """Once this is on disk, tell those who look at subscriptions, or fill the library, on all nodes."""
        ...


Work = Callable[[Tables], Awaitable[Result]]
Reads = Callable[[Statements], Awaitable[Result]]


class Transactions(Protocol):
    """Where `Work` is done. All methods may raise `StoreUnavailable`. `called` is called by `wake`, of
    whichever of these tables.

    `iso` is SQL that makes of `{}`, seconds since 1970, a text like `2026-01-31T08:00:00Z`.
    """

    called: Callable[[], None]
    iso: str

    async def write(self, work: Work[Result]) -> Result:
        """Do `work` in a transaction; its result is returned once that is on disk.

        `work` may be done more than once, so it must change nothing but the tables; an `AppError` that it
        raises is raised here, and it must not have changed anything before.
        """
        ...

    async def read(self, work: Reads[Result]) -> Result:
        """`work` only reads."""
        ...


class HeardTable:
    """A table whose changes somebody waits for."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def listen(self, called: Callable[[], None]) -> None:
        """Call `called` after a change that wakes."""
        self._transactions.called = called

    def heard(self) -> None:
        """Another node has told of such a change."""
        self._transactions.called()


async def fetch_in(tables: Statements, sql: str, keys: Iterable[object], *before: object) -> list[Row]:
    """The rows for all `keys`: `sql` has `{keys}` where their list belongs, behind the values `before`."""
    left, found = iter(dict.fromkeys(keys)), list[Row]()
    while some := [*islice(left, AT_ONCE)]:
        found += await tables.fetch(sql.replace("{keys}", ", ".join("?" * len(some))), (*before, *some))
    return found


async def insert(tables: Statements, sql: str, rows: Iterable[Row]) -> None:
    """Insert all `rows`, which are equally long: `sql` has `{rows}` where their values belong, and returns
    nothing.
    """
    left = iter(rows)
    while some := [*islice(left, AT_ONCE)]:
        one = f"({', '.join('?' * len(some[0]))})"
        values = [value for row in some for value in row]
        await tables.run(sql.replace("{rows}", ", ".join([one] * len(some))), values)
