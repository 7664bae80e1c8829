"""The one writer: it takes all changes that wait and commits them together.

A commit waits for the disk, so a hundred changes in one cost little more than one change. Who submits
one hears of it after the commit: what `submit` returned is on disk.
"""

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import aiosqlite

from server.errors import AppError, DiskFull, ShuttingDown

log = logging.getLogger(__name__)

GROUP = 256  # changes in one commit
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
        write: Callable[[Sequence[Change[Any]]], Awaitable[None]],
        committed: Callable[[Sequence[Change[Any]]], None],
    ) -> None:
        self._db = db
        self._write = write
        self._committed = committed
        self._waiting: deque[Change[Any]] = deque()
        self._wake = asyncio.Event()
        self._closing = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="store writer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits, then end."""
        self._closing = True
        self._wake.set()
        await self._task

    async def submit(self, change: Change[Result]) -> Result:
        """Return the outcome of `change` once it is on disk, or raise it.

        Raises `DiskFull` if the disk did not take it; then nothing is changed. A waiter that is
        cancelled leaves open whether the change was made; it is made whole or not at all.
        """
        if self._closing:
            raise ShuttingDown
        change.answer = asyncio.get_running_loop().create_future()
        self._waiting.append(change)
        self._wake.set()
        return await change.answer

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
        except sqlite3.OperationalError as error:  # full, input/output error, read-only, locked
            log.error("the database did not take %d changes: %s", len(group), error)
            for change in group:
                _fail(change, _disk_full(error))
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
        await self._db.execute_fetchall("BEGIN IMMEDIATE")
        try:
            await self._write(changes)
            await self._db.execute_fetchall("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # after some errors SQLite has rolled back by itself
                await self._db.execute_fetchall("ROLLBACK")
            raise
        self._committed(changes)


def _answer(change: Change[Any]) -> None:
    if isinstance(change.outcome, AppError):
        _fail(change, change.outcome)
    elif not change.answer.cancelled():
        change.answer.set_result(change.outcome)


def _fail(change: Change[Any], error: Exception) -> None:
    if not change.answer.cancelled():
        change.answer.set_exception(error)


def _disk_full(cause: Exception) -> DiskFull:
    error = DiskFull()
    error.__cause__ = cause
    return error
