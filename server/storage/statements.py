"""Statements that are written once for both databases: `?` stands for a value, times are seconds since 1970.

For tables that few requests use: what every status pays for has statements of its own, each in the form that
its database does fastest.
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
AT_ONCE = 200  # rows of one statement: SQLite takes 32,766 values, PostgreSQL 65,535
KEYS_AT_ONCE = 5000  # of one statement: each waits for an answer, and a transaction has five seconds


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the two databases write differently; `{}` stands for an expression.

    `moment` makes of seconds since 1970 what a column of a moment holds, `seconds` the reverse, and `iso` a
    text like `2026-01-31T08:00:00Z`.
    """

    name: Literal["sqlite", "postgresql"]
    moment: str
    seconds: str
    iso: str


class Statements(Protocol):
    """An open transaction, or a connection that only reads."""

    dialect: Dialect

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

    def wake(self, signal: str) -> None:
        """Once this is on disk, call those who listen to `signal`, on all nodes."""
        ...


Work = Callable[[Tables], Awaitable[Result]]
Reads = Callable[[Statements], Awaitable[Result]]


class Transactions(Protocol):
    """Where `Work` is done. All methods may raise `StoreUnavailable`."""

    signals: "Signals"

    async def write(self, work: Work[Result], *, under: str | None = None) -> Result:
        """Do `work` in a transaction; its result is returned once that is on disk. No other work `under` the
        same name is done meanwhile, on any node.

        `work` may be done more than once, so it must change nothing but the tables; an `AppError` that it
        raises is raised here, and it must not have changed anything before.
        """
        ...

    async def read(self, work: Reads[Result]) -> Result:
        """`work` only reads."""
        ...


class Signals:
    """Calls those who wait for a change, of whichever node, once it is on disk."""

    def __init__(self) -> None:
        self._listeners: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)

    def listen(self, signal: str, called: Callable[[], None]) -> None:
        self._listeners[signal].append(called)

    def give(self, signal: str) -> None:
        for called in self._listeners.get(signal, ()):
            called()

    def give_all(self) -> None:
        """Some may have been missed."""
        for signal in [*self._listeners]:
            self.give(signal)


@dataclass(frozen=True)
class Ended:
    """A task that ends, or that waits again after it had ended (`again`), by the transaction that is open.

    `text` is the status as JSON, `asked` the stored request.
    """

    status: TaskStatus
    text: str
    asked: str | ProcessRequest | None
    again: bool = False

    @cached_property
    def request(self) -> ProcessRequest | None:
        """What was asked for; None if only a newer release knows."""
        return stored.read_request(self.asked) if isinstance(self.asked, str) else self.asked

    @cached_property
    def wanted(self) -> ProcessRequest | None:
        """What the last attempt was asked for."""
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
    """What a feature does within the transactions of the tasks."""

    on_end: OnEnd | None = None
    keeps: Keeps | None = None
    room_of: RoomOf | None = None


async def rooms_of(
    hooks: Iterable[StoreHooks], tables: Statements, owners: Collection[str]
) -> dict[str, WaitingPlaces]:
    rooms = dict[str, WaitingPlaces]()
    if owners:
        for hook in hooks:
            if hook.room_of:
                rooms.update(await hook.room_of(tables, owners))
    return rooms


async def follow_ends(
    hooks: Iterable[StoreHooks], tables: Statements, ended: Sequence[Ended], now: datetime
) -> set[str]:
    """Do what all features do at the ends of tasks; return the signals to give."""
    signals = set[str]()
    for hook in hooks:
        if hook.on_end:
            signals.update(await hook.on_end(tables, ended, now))
    return signals


def kept(hooks: Iterable[StoreHooks], dialect: Dialect, now: datetime) -> tuple[str, list[object]]:
    """SQL to be added to a condition on rows of `tasks`: no feature keeps them; and its values."""
    sql, values = "", list[object]()
    for hook in hooks:
        if hook.keeps:
            condition, its_values = hook.keeps(dialect, now)
            sql += f" AND NOT ({condition})"
            values += its_values
    return sql, values


async def fetch_in(tables: Statements, sql: str, keys: Iterable[object], *before: object) -> list[Row]:
    """The rows for all `keys`: `sql` has `{keys}` where their list belongs, behind the values `before`."""
    left, found = iter(dict.fromkeys(keys)), list[Row]()
    while some := [*islice(left, KEYS_AT_ONCE)]:
        found += await tables.fetch(sql.replace("{keys}", ", ".join("?" * len(some))), (*before, *some))
    return found


async def insert(tables: Statements, sql: str, rows: Iterable[Row], form: str | None = None) -> None:
    """Insert all `rows`, which are equally long: `sql` has `{rows}` where their values belong, and returns
    nothing. `form` is one row with a `?` for each value, where it is not just these.
    """
    left = iter(rows)
    while some := [*islice(left, AT_ONCE)]:
        one = form or f"({', '.join('?' * len(some[0]))})"
        values = [value for row in some for value in row]
        await tables.run(sql.replace("{rows}", ", ".join([one] * len(some))), values)
