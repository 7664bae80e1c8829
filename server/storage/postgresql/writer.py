"""The one writer of a node; see `server.storage.group_commit`.

A connection may break after a COMMIT was sent and before its answer came. Then the writer asks the database
for the transaction's outcome by its number, so that no change that was made is reported as failed, nor the
reverse.

Statements go through a pipeline. A fetch within the pipeline sends a Sync: only after a Sync does the
database count the transaction as idle, and end it after a while (`link.STALL_TIMEOUTS`). Without the Sync, a
suspended process would keep its locks, which all other nodes need.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import AsyncConnection, AsyncCursor, AsyncPipeline
from psycopg.rows import TupleRow

from server.core.counts import Counts
from server.core.errors import DatabaseAway, DatabaseBusy, StoreUnavailable
from server.storage.group_commit import Change, GroupWriter
from server.storage.postgresql.announcing import News, announce
from server.storage.postgresql.connection import STALLED
from server.storage.postgresql.link import Link

PATIENCE = 0.005  # seconds, see `GroupWriter`
# Tries to commit a transaction that is rolled back, say by a deadlock, or because this process was suspended.
TRIES = 3
_BECAME = b"SELECT pg_xact_status(%s::text::xid8)"


class AnswerLost(Exception):
    """The connection broke before the COMMIT of the transaction of this number was answered."""

    def __init__(self, transaction: str) -> None:
        super().__init__(transaction)
        self.transaction = transaction


class Writer(GroupWriter):
    """`write` writes a group's changes within a transaction, and returns the announcements for
    other nodes.
    """

    def __init__(
        self,
        link: Link,
        write: Callable[[AsyncConnection, Sequence[Change[Any]]], Awaitable[list[News]]],
        counts: Counts | None = None,
    ) -> None:
        super().__init__(PATIENCE, counts)
        self._link = link
        self._write = write
        self.name = uuid4().hex  # the sender in this node's announcements

    def hurry(self) -> None:
        self._link.hurry()

    async def commit(self, changes: Sequence[Change[Any]]) -> None:
        try:
            for tries_left in reversed(range(TRIES)):
                try:
                    return await self._try(changes)
                except DatabaseBusy:
                    if not tries_left:
                        raise
        except DatabaseAway as error:
            away = DatabaseAway()  # not `perhaps_done`: the changes that wait were surely not made
            away.__cause__ = error.__cause__
            self.give_up(away)
            raise

    async def _try(self, changes: Sequence[Change[Any]]) -> None:
        """Commit the changes. Raises `DatabaseBusy` if the transaction was rolled back."""
        try:
            await self._link.do(partial(self._transaction, changes))
        except AnswerLost as lost:
            await self._ask_about(lost)

    async def _transaction(self, changes: Sequence[Change[Any]], db: AsyncConnection) -> None:
        try:
            # In a pipeline, a statement whose result is not fetched costs no round trip.
            async with db.pipeline() as pipeline, _synced(db, pipeline):
                await db.execute(b"BEGIN")
                news = await self._write(db, changes)
                transaction = await announce(db, self.name, news)
        except BaseException:
            if not db.closed:
                await db.execute(b"ROLLBACK")
            raise
        try:
            await db.execute(b"COMMIT")
        except (psycopg.OperationalError, *STALLED) as error:
            # The connection may have been cut while the database committed.
            raise AnswerLost(transaction) from error

    async def _ask_about(self, lost: AnswerLost) -> None:
        """Return if the transaction was committed. Raises `DatabaseBusy` if not, `DatabaseAway` if that is
        unknown.

        A database that does not know the number may be another one, which took over without the last commits
        of the first; or the number is so old that its outcome is forgotten. A client that gave an idempotency
        key tries again, and the key decides.
        """
        try:
            became = await self._link.do(partial(_became, lost.transaction))
        except (StoreUnavailable, psycopg.errors.InvalidParameterValue) as error:
            raise DatabaseAway(perhaps_done=True) from error
        if became is None:
            raise DatabaseAway(perhaps_done=True) from lost.__cause__
        if became != "committed":
            raise DatabaseBusy from lost.__cause__


class _Cursor(AsyncCursor[TupleRow]):
    def __init__(self, pipeline: AsyncPipeline, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._pipeline = pipeline

    async def fetchone(self) -> TupleRow | None:
        await self._pipeline.sync()
        return await super().fetchone()

    async def fetchall(self) -> list[TupleRow]:
        await self._pipeline.sync()
        return await super().fetchall()


@asynccontextmanager
async def _synced(db: AsyncConnection, pipeline: AsyncPipeline) -> AsyncIterator[None]:
    """Make each fetch within the block send a Sync first."""
    usual, db.cursor_factory = db.cursor_factory, partial(_Cursor, pipeline)  # type: ignore[assignment]
    try:
        yield
    finally:
        db.cursor_factory = usual


async def _became(transaction: str, db: AsyncConnection) -> str | None:
    """`committed`, `aborted`, or None if the database no longer knows the transaction."""
    while True:
        row = await (await db.execute(_BECAME, (transaction,))).fetchone()
        if not row or row[0] != "in progress":
            return row[0] if row else None
        await asyncio.sleep(0.05)  # the database has not noticed yet that the connection is lost
