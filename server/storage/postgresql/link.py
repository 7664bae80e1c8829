"""Connections that are opened when they are needed, and again after they were lost.

Decisions: docs/decisions/storage.md
"""

import asyncio
import select
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Self, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from server.storage.postgresql.connection import (
    ANSWER_WITHIN,
    READ_ONLY,
    Unanswered,
    answering,
    connect,
    sever,
    translate_errors,
)

FREE_WITHIN = 4.0  # seconds that a caller waits for a free connection
DATABASE_LIMIT_SHORTER_BY = 0.5  # seconds than this server's own limit, so that the database reports first
Result = TypeVar("Result")
Work = Callable[[AsyncConnection], Awaitable[Result]]
# The database ends the transaction of a process that is suspended or whose machine is off, and so releases
# its locks before others stop waiting for them (`ANSWER_WITHIN`). A process that was only delayed tries
# again.
STALL_TIMEOUTS = (
    "idle_in_transaction_session_timeout = '3s'",
    "tcp_keepalives_idle = 10",
    "tcp_keepalives_interval = 3",
    "tcp_keepalives_count = 3",
)
# The same for a process suspended between a statement and its Sync, which the database does not count as
# idle; PostgreSQL 17 and newer. Transactions that wait for its locks began later, and so reach their limit
# later.
_LIMIT_TRANSACTIONS = """
    SELECT set_config('transaction_timeout', %s, false)
    WHERE current_setting('server_version_num')::int >= 170000"""


class Link:
    """A connection for one user at a time, with PostgreSQL `settings` of its own. One piece of work may take
    `within` seconds.
    """

    def __init__(self, url: str, *settings: str, within: float = ANSWER_WITHIN) -> None:
        self._url = url
        self._settings = settings
        self._within = within
        self._db: AsyncConnection | None = None
        self._ended = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.lose()

    def hurry(self) -> None:
        """Give the database one second to answer from now on: the server shuts down."""
        self._within = min(self._within, 1.0)

    def end(self) -> None:
        """Cut the connection for good: whatever uses it, now or later, fails at once."""
        self._ended = True
        if self._db:
            sever(self._db)

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection that is not known to be lost. Raises `StoreUnavailable` after at most `within`
        seconds.
        """
        is_sound = False
        if self._db is not None and not self._db.closed:
            # No answer is awaited on this connection: bytes that are there mostly mean that it has ended.
            poll = select.poll()
            poll.register(self._db.fileno(), select.POLLIN)
            is_sound = not poll.poll(0)
        if not is_sound:
            await self.do(lambda db: db.execute(b"SELECT 1"))
        db = self._db
        assert db
        async with self._kept_if_sound(db):
            yield db

    async def do(self, work: Work[Result]) -> Result:
        """Do `work`, which reads or makes one transaction, and return its result. Raises `StoreUnavailable`.

        `work` is tried once more if the connection was lost: mostly that happened earlier, and shows only
        when the connection is used.
        """
        with translate_errors():
            db = await self._open()
            try:
                return await self._use(db, work)
            except psycopg.OperationalError as error:
                if self._db is not None or isinstance(error, Unanswered):
                    raise
            return await self.once(work)

    async def once(self, work: Work[Result]) -> Result:
        """Like `do`, without a second try; raises psycopg's errors."""
        return await self._use(await self._open(), work)

    async def _use(self, db: AsyncConnection, work: Work[Result]) -> Result:
        async with self._kept_if_sound(db):
            with answering(db, self._within):
                return await work(db)

    @asynccontextmanager
    async def _kept_if_sound(self, db: AsyncConnection) -> AsyncIterator[None]:
        try:
            yield
        except READ_ONLY:
            await self.lose()
            raise
        finally:
            if db.closed or db.info.transaction_status is not TransactionStatus.IDLE:
                await self.lose()

    async def lose(self) -> None:
        if db := self._db:
            self._db = None
            with suppress(psycopg.Error, OSError):
                await db.close()

    async def _open(self) -> AsyncConnection:
        if self._ended:
            raise psycopg.OperationalError("the server goes away")
        if self._db is None or self._db.closed:
            with _in_words(f"no connection within {self._within:g} s"):
                async with asyncio.timeout(self._within):
                    db = await connect(self._url, *STALL_TIMEOUTS, *self._settings)
                    try:
                        longest = max(self._within, ANSWER_WITHIN) - DATABASE_LIMIT_SHORTER_BY
                        await db.execute(_LIMIT_TRANSACTIONS, [f"{longest * 1000:.0f}ms"])
                    except BaseException:
                        await db.close()
                        raise
                    self._db = db
        return self._db


class Links:
    """A pool of connections; a caller waits up to `free_within` seconds for a free one."""

    def __init__(self, links: Sequence[Link], free_within: float = FREE_WITHIN) -> None:
        self._links = links
        self._free_within = free_within
        self._free: asyncio.LifoQueue[Link] = asyncio.LifoQueue()
        for link in links:
            self._free.put_nowait(link)

    def end(self) -> None:
        """End all of the connections, see `Link.end`."""
        for link in self._links:
            link.end()

    async def do(self, work: Work[Result]) -> Result:
        async with self._free_link() as link:
            return await link.do(work)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[AsyncConnection]:
        """See `Link.borrow`."""
        async with self._free_link() as link, link.borrow() as db:
            yield db

    @asynccontextmanager
    async def _free_link(self) -> AsyncIterator[Link]:
        """Wait for a free connection. Raises `DatabaseAway` if all are waiting for answers for too long."""
        with translate_errors(), _in_words(f"no free connection within {self._free_within:g} s"):
            async with asyncio.timeout(self._free_within):
                link = await self._free.get()
        try:
            yield link
        finally:
            self._free.put_nowait(link)


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """Replace a `TimeoutError`, which says nothing in a log, by an `Unanswered` that names `what` took too
    long.
    """
    try:
        yield
    except TimeoutError as error:
        raise Unanswered(what) from error


@asynccontextmanager
async def open_links(
    url: str,
    most: int,
    settings: Sequence[str] = (),
    within: float = ANSWER_WITHIN,
    free_within: float = FREE_WITHIN,
) -> AsyncIterator[Links]:
    async with AsyncExitStack() as stack:
        links = [Link(url, *settings, within=within) for _ in range(most)]
        yield Links([await stack.enter_async_context(link) for link in links], free_within)
