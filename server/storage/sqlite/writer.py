"""The one writer of the file; see `server.storage.group_commit`."""

import asyncio
from asyncio import to_thread
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiosqlite

from server.core.errors import DatabaseBusy, DiskFull
from server.storage.group_commit import Change, GroupWriter
from server.storage.sqlite.ballast import Ballast
from server.storage.sqlite.connection import available

PATIENCE = 5.0  # seconds that changes wait for another program which holds the database
_TRY_FOR = 0.1  # seconds that SQLite itself waits: `hurry` cannot shorten a wait within SQLite


class Writer(GroupWriter):
    """`write` writes a group's changes within a transaction; `committed` is called after the COMMIT.

    `must_be_there` raises `StorageFailed` if the file is no longer where the next start looks for it. It is
    asked before the COMMIT, so that mostly nothing is written in vain, and after it, so that nobody is told
    that a change is stored which is lost.
    """

    def __init__(
        self,
        db: aiosqlite.Connection,
        path: Path,
        ballast: Ballast,
        write: Callable[[Sequence[Change[Any]]], Awaitable[None]],
        committed: Callable[[Sequence[Change[Any]]], None],
        must_be_there: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__()
        self._db = db
        self._path = path
        self._write = write
        self._committed = committed
        self._must_be_there = must_be_there
        self._patience = PATIENCE
        self._held_since: float | None = None  # by another program
        self._ballast = ballast
        self._taking_on: asyncio.Task[None] | None = None  # aside: no answer waits for it

    async def __aenter__(self) -> Self:
        await self._db.execute_fetchall(f"PRAGMA busy_timeout = {_TRY_FOR * 1000:.0f}")
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if self._taking_on:
            await asyncio.wait([self._taking_on])

    def hurry(self) -> None:
        self._patience = 0.0

    async def commit(self, changes: Sequence[Change[Any]]) -> None:
        try:
            await self._transaction(changes)
        except DiskFull:
            if not (any(change.makes_room for change in changes) and await to_thread(self._ballast.drop)):
                raise
            await self._transaction(changes)
        self._committed(changes)
        if self._ballast.is_due and (self._taking_on is None or self._taking_on.done()):
            self._taking_on = asyncio.create_task(to_thread(self._ballast.take_on), name="ballast")
        if self._must_be_there:
            await self._must_be_there()

    async def _transaction(self, changes: Sequence[Change[Any]]) -> None:
        with available(self._path):
            await self._begin()
            try:
                await self._write(changes)
                if self._must_be_there:
                    await self._must_be_there()
                await self._db.execute_fetchall("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # after some errors SQLite has rolled back by itself
                    await self._db.execute_fetchall("ROLLBACK")
                raise

    async def _begin(self) -> None:
        """Begin a transaction. Raises `DatabaseBusy` if another program holds the database for too long."""
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
