"""The one writer: it takes all changes that wait and commits them together.

A commit waits for the disk, so a hundred changes in one cost little more than one change. Who submits
one hears of it after the commit: what `submit` returned is on disk.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import aiosqlite

from server.backends.sqlite.connection import available
from server.errors import AppError, DatabaseBusy, ShuttingDown, StorageFailed, StoreUnavailable

log = logging.getLogger(__name__)

GROUP = 256  # changes in one commit
PATIENCE = 5.0  # seconds that changes wait for another program which holds the database
_TRY_FOR = 0.1  # seconds: SQLite itself cannot be told to wait no longer
Result = TypeVar("Result")


class Change(Generic[Result]):
    """Something to be written, once.

    `touches` names what it depends on; a group holds nothing twice, so that each of its changes may
    go by what was committed before the group. `outcome` is set while it is written, and becomes `answer`
    once it is on disk.
    """

    touches: tuple[str, ...] = ()
    outcome: Result | AppError
    answer: asyncio.Future[Result]


class Writer:
    """`write` writes a group's changes within a transaction; `committed` is called after the COMMIT."""

    def __init__(
        self,
        db: aiosqlite.Connection,
        path: Path,
        write: Callable[[Sequence[Change[Any]]], Awaitable[None]],
        committed: Callable[[Sequence[Change[Any]]], None],
    ) -> None:
        self._db = db
        self._path = path
        self._write = write
        self._committed = committed
        self._waiting: deque[Change[Any]] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._patience = PATIENCE
        self._held_since: float | None = None  # by another program

    async def __aenter__(self) -> Self:
        await self._db.execute_fetchall(f"PRAGMA busy_timeout = {_TRY_FOR * 1000:.0f}")
        self._task = asyncio.create_task(self._run(), name="store writer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits, as far as the database takes it, then end."""
        self._closing = True
        self.hurry()
        self._wake.set()
        await self._task

    async def submit(self, change: Change[Result]) -> Result:
        """Return the outcome of `change` once it is on disk, or raise it.

        Raises `StoreUnavailable` if it could not be written; then nothing is changed. A waiter that is
        cancelled leaves open whether the change was made; it is made whole or not at all.
        """
        if self._closing:
            raise ShuttingDown
        change.answer = asyncio.get_running_loop().create_future()
        self._waiting.append(change)
        self._wake.set()
        return await change.answer

    def hurry(self) -> None:
        """From now on wait for no other program."""
        self._patience = 0.0

    async def _run(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while group := self._next_group():
                await self._settle(group)

    def _next_group(self) -> list[Change[Any]]:
        """The oldest changes that are waited for, up to the first that touches what one of them does."""
        group: list[Change[Any]] = []
        touched: set[str] = set()
        while self._waiting and len(group) < GROUP and touched.isdisjoint(self._waiting[0].touches):
            change = self._waiting.popleft()
            if not change.answer.cancelled():
                touched.update(change.touches)
                group.append(change)
        return group

    async def _settle(self, group: list[Change[Any]]) -> None:
        """Commit the group; if one of its changes cannot be written, each in a transaction of its own."""
        try:
            await self._commit(group)
        except StoreUnavailable as error:
            level = logging.ERROR if isinstance(error, StorageFailed) else logging.WARNING
            log.log(level, "the database did not take %d changes: %s", len(group), error.__cause__)
            for change in group:
                _fail(change, _like(error))
        except Exception as error:
            if len(group) > 1:
                for change in group:
                    await self._settle([change])
            else:
                _fail(group[0], error)
        else:
            for change in group:
                _answer(change)

    async def _commit(self, changes: Sequence[Change[Any]]) -> None:
        with available(self._path):
            await self._begin()
            try:
                await self._write(changes)
                await self._db.execute_fetchall("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # after some errors SQLite has rolled back by itself
                    await self._db.execute_fetchall("ROLLBACK")
                raise
        self._committed(changes)

    async def _begin(self) -> None:
        """Begin a transaction; a program that holds the database is waited for `PATIENCE` seconds in all."""
        while True:
            try:
                with available(self._path):
                    await self._db.execute_fetchall("BEGIN IMMEDIATE")
            except DatabaseBusy:
                now = asyncio.get_running_loop().time()
                self._held_since = self._held_since or now
                if now - self._held_since >= self._patience:
                    raise
            else:
                self._held_since = None
                return


def _answer(change: Change[Any]) -> None:
    if isinstance(change.outcome, AppError):
        _fail(change, change.outcome)
    elif not change.answer.cancelled():
        change.answer.set_result(change.outcome)


def _fail(change: Change[Any], error: Exception) -> None:
    if not change.answer.cancelled():
        change.answer.set_exception(error)


def _like(error: StoreUnavailable) -> StoreUnavailable:
    """One for each who waits: each adds where it was raised."""
    other = type(error)()
    other.__cause__ = error.__cause__
    return other
