"""Statements that are written once for both databases: `?` stands for a value, or `:name` for each of many
values; times are seconds since 1970.

For tables that few requests use. The statements behind every status are written for each database, in the
form that it runs fastest.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any, Literal, Protocol, TypeVar

from server.core import stored
from server.core.errors import AppError
from server.core.process_request import ProcessRequest
from server.core.task import Task, TaskStatus

Result = TypeVar("Result")
Row = tuple[Any, ...]
Values = Sequence[object] | Mapping[str, object]
"""Of each `?` in order, or of each `:name`."""
AT_ONCE = 200  # rows of one statement: SQLite takes 32,766 values, PostgreSQL 65,535
# Keys of one statement: each statement is a round trip, and a transaction has five seconds.
KEYS_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Dialect:
    """Expressions that the two databases write differently; `{}` stands for their operand.

    `moment` converts seconds since 1970 to the value of a time column, `seconds` does the reverse, and `iso`
    makes a text like `2026-01-31T08:00:00Z`.
    """

    name: Literal["sqlite", "postgresql"]
    moment: str
    seconds: str
    iso: str


class Statements(Protocol):
    """An open transaction, or a connection that only reads."""

    dialect: Dialect

    async def fetch(self, sql: str, values: Values = ()) -> list[Row]:
        """Execute a statement that returns rows."""
        ...

    async def run(self, sql: str, values: Values = ()) -> None: ...


class Tables(Statements, Protocol):
    """An open transaction that may add tasks."""

    async def alone(self) -> None:
        """Wait until no other transaction, of any node, is between this call and its end."""
        ...

    async def room(self) -> int:
        """Return how many more tasks the queue takes."""
        ...

    async def add(self, tasks: Sequence[Task]) -> list[Task]:
        """Add new tasks, no more than there is `room`; return them with their numbers."""
        ...

    def wake(self, signal: str) -> None:
        """Call the listeners of `signal`, on all nodes, once this transaction is on disk."""
        ...


Work = Callable[[Tables], Awaitable[Result]]
Reads = Callable[[Statements], Awaitable[Result]]


class Transactions(Protocol):
    """Runs `Work` in transactions. All methods may raise `StoreUnavailable`."""

    signals: "Signals"

    async def write(self, work: Work[Result], *, under: str | None = None) -> Result:
        """Do `work` in a transaction, and return its result once that is on disk. No other work `under` the
        same name is done meanwhile, on any node.

        `work` may be done more than once, so it must change nothing but the tables. An `AppError` that it
        raises is raised here; it must not have changed anything before.
        """
        ...

    async def read(self, work: Reads[Result]) -> Result:
        """Do `work`, which only reads."""
        ...


class Signals:
    """Calls listeners once a change, made by any node, is on disk."""

    def __init__(self) -> None:
        self._listeners: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)

    def listen(self, signal: str, called: Callable[[], None]) -> None:
        self._listeners[signal].append(called)

    def give(self, signal: str) -> None:
        for called in self._listeners.get(signal, ()):
            called()

    def give_all(self) -> None:
        """Call all listeners: signals may have been missed."""
        for signal in [*self._listeners]:
            self.give(signal)


@dataclass(frozen=True)
class Ended:
    """A task that ends in the open transaction, or (`again`) waits again there after it had ended.

    `text` is the status as JSON, `asked` the stored request.
    """

    status: TaskStatus
    text: str
    asked: str | ProcessRequest | None
    again: bool = False

    @cached_property
    def request(self) -> ProcessRequest | None:
        """Return the request; None if only a newer release can read it."""
        return stored.read_request(self.asked) if isinstance(self.asked, str) else self.asked

    @cached_property
    def wanted(self) -> ProcessRequest | None:
        """Return the request of the last attempt."""
        return Task(self.request, self.status).effective_request


OnEnd = Callable[[Statements, Sequence[Ended], datetime], Awaitable[Collection[str]]]
"""Does, within the transaction, what follows from these ends at this moment; returns the signals to give."""
Keeps = Callable[[Dialect, datetime], tuple[str, Sequence[object]]]
"""A condition that is true of rows of `tasks` which must not expire at this moment, and its values."""


@dataclass(slots=True)
class WaitingPlaces:
    """How many more tasks of a person may wait (none, if less than one), and with what others are refused."""

    places: int
    refusal: AppError


RoomOf = Callable[[Statements, Collection[str]], Awaitable[Mapping[str, WaitingPlaces]]]
"""Within the transaction that adds tasks of these people: the room of those who have a limit."""


@dataclass(frozen=True, slots=True)
class StoreHooks:
    """A feature's part in the transactions of tasks."""

    on_end: OnEnd | None = None
    keeps: Keeps | None = None
    room_of: RoomOf | None = None


async def rooms_of(
    hooks: Iterable[StoreHooks], tables: Statements, owners: Collection[str]
) -> dict[str, WaitingPlaces]:
    """Return how many more tasks of each of the `owners` may wait, of those who have a limit."""
    rooms = dict[str, WaitingPlaces]()
    for hook in hooks:
        if hook.room_of:
            rooms.update(await hook.room_of(tables, owners))
    return rooms


async def follow_ends(
    hooks: Iterable[StoreHooks], tables: Statements, ended: Sequence[Ended], now: datetime
) -> set[str]:
    """Call `on_end` of all features for tasks that end; return the signals to give."""
    signals = set[str]()
    for hook in hooks:
        if hook.on_end:
            signals.update(await hook.on_end(tables, ended, now))
    return signals


def kept(hooks: Iterable[StoreHooks], dialect: Dialect, now: datetime) -> tuple[str, list[object]]:
    """Return SQL that restricts a condition to rows of `tasks` that no feature keeps, and the
    SQL's values.
    """
    sql, values = "", list[object]()
    for hook in hooks:
        if hook.keeps:
            condition, its_values = hook.keeps(dialect, now)
            sql += f" AND NOT ({condition})"
            values += its_values
    return sql, values


async def fetch_in(tables: Statements, sql: str, keys: Iterable[object], *before: object) -> list[Row]:
    """Return the rows for all `keys`: `sql` has `{keys}` where their list belongs, behind the values
    `before`.
    """
    left, found = iter(dict.fromkeys(keys)), list[Row]()
    while some := [*islice(left, KEYS_AT_ONCE)]:
        found += await tables.fetch(sql.replace("{keys}", ", ".join("?" * len(some))), (*before, *some))
    return found


async def insert(tables: Statements, sql: str, rows: Iterable[Row], form: str | None = None) -> None:
    """Insert all `rows`, which have equal lengths: `sql` has `{rows}` where their values belong, and returns
    no rows. `form` is the SQL of one row with a `?` for each value, if that is more than these marks.
    """
    left = iter(rows)
    while some := [*islice(left, AT_ONCE)]:
        row_sql = form or f"({', '.join('?' * len(some[0]))})"
        values = [value for row in some for value in row]
        await tables.run(sql.replace("{rows}", ", ".join([row_sql] * len(some))), values)
