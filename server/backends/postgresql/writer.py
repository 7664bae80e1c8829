"""The one writer of a node; see `server.backends.grouping`.

A connection may break after a COMMIT was sent and before its answer came. Then the writer asks the database
what became of the transaction, by its number: a change that was made is never said to have failed, nor the
reverse.

Statements go through a pipeline. What is read in between is asked for with a Sync: only after one does the
database count how long it waits for the rest (`link.LETS_GO`), and a node that stops here, which has locked
what all others need, would else keep it for as long as it stands still.
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

from server.backends.grouping import Change, GroupWriter
from server.backends.postgresql.announcing import News, announce
from server.backends.postgresql.link import Link
from server.errors import DatabaseAway, DatabaseBusy, StoreUnavailable

PATIENCE = 0.005  # seconds, see `GroupWriter`
TRIES = 3  # of a transaction that was rolled back: it met another one, or this process stood still in it
_BECAME = b"SELECT pg_xact_status(%s::text::xid8)"


class AnswerLost(Exception):
    """The connection broke at the COMMIT of the transaction of this number."""

    def __init__(self, transaction: str) -> None:
        super().__init__(transaction)
        self.transaction = transaction


class Writer(GroupWriter):
    """`write` writes a group's changes within a transaction, and says what is to be announced with it."""

    def __init__(
        self, link: Link, write: Callable[[AsyncConnection, Sequence[Change[Any]]], Awaitable[list[News]]]
    ) -> None:
        super().__init__(PATIENCE)
        self._link = link
        self._write = write
        self.name = uuid4().hex  # which says of announcements that they are ours

    def hurry(self) -> None:
        self._link.hurry()

    async def commit(self, changes: Sequence[Change[Any]]) -> None:
        try:
            await self._commit(changes)
        except DatabaseAway as error:
            away = DatabaseAway()  # what only waited was surely not done
            away.__cause__ = error.__cause__
            self.give_up(away)
            raise

    async def _commit(self, changes: Sequence[Change[Any]]) -> None:
        for tries_left in reversed(range(TRIES)):
            try:
                await self._try(changes)
            except DatabaseBusy:
                if not tries_left:
                    raise
            else:
                return

    async def _try(self, changes: Sequence[Change[Any]]) -> None:
        """Raises `DatabaseBusy` if it was rolled back."""
        try:
            await self._link.do(partial(self._transaction, changes))
        except AnswerLost as lost:
            await self._ask_about(lost)

    async def _transaction(self, changes: Sequence[Change[Any]], db: AsyncConnection) -> None:
        try:
            # Whose answer nobody waits for is not waited for.
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
        except psycopg.OperationalError as error:
            raise AnswerLost(transaction) from error

    async def _ask_about(self, lost: AnswerLost) -> None:
        """Return if it was committed. Raises `DatabaseBusy` if not, `DatabaseAway` if nobody knows."""
        try:
            became = await self._link.do(partial(_became, lost.transaction))
        except StoreUnavailable as error:
            raise DatabaseAway(perhaps_done=True) from error
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
    """What is fetched within comes with a Sync."""
    usual, db.cursor_factory = db.cursor_factory, partial(_Cursor, pipeline)  # type: ignore[assignment]
    try:
        yield
    finally:
        db.cursor_factory = usual


async def _became(transaction: str, db: AsyncConnection) -> str | None:
    """`committed`, `aborted`, or None for one of which nothing is known any more."""
    while True:
        row = await (await db.execute(_BECAME, (transaction,))).fetchone()
        if not row or row[0] != "in progress":
            return row[0] if row else None
        await asyncio.sleep(0.05)  # the server has not noticed yet that we are gone
