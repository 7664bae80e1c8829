"""One connection that is made when it is needed, and made anew after it was lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Self, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from server.backends.postgresql.connection import (
    ANSWER_WITHIN,
    Unanswered,
    answering,
    available,
    connect,
    sever,
)

FREE_WITHIN = 4.0  # seconds that somebody waits for a connection
SAYS_SO_BEFORE = 0.5  # seconds by which a database that is there is quicker than our patience
Result = TypeVar("Result")
Work = Callable[[AsyncConnection], Awaitable[Result]]
# A node that was stopped, or whose machine is off, lets go of what it has locked before those who wait for it
# give up (`ANSWER_WITHIN`). One that lives, and was kept from its processor for so long, tries once more.
LETS_GO = (
    "idle_in_transaction_session_timeout = '3s'",
    "tcp_keepalives_idle = 10",
    "tcp_keepalives_interval = 3",
    "tcp_keepalives_count = 3",
)
# The same for one that stopped between a statement and its Sync, which the database does not count as idle:
# PostgreSQL 17 and newer. Who waits began later, and so is ended later.
_LETS_GO_AT_LAST = """
    SELECT set_config('transaction_timeout', %s, false)
    WHERE current_setting('server_version_num')::int >= 170000"""


class Link:
    """For one user at a time. `settings` are the connection's own, `within` are seconds for one piece of
    work.
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
        """From now on the database has a second, and no more."""
        self._within = min(self._within, 1.0)

    def end(self) -> None:
        """Whoever uses it hears that it is lost, at once and for good."""
        self._ended = True
        if self._db:
            sever(self._db)

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[AsyncConnection]:
        """A connection that has just answered. Raises `StoreUnavailable`, within `within` seconds."""
        await self.do(_answer)
        db = self._db
        assert db
        try:
            yield db
        finally:
            await self._keep_if_sound(db)

    async def do(self, work: Work[Result]) -> Result:
        """What `work` returns, which changes nothing or all in one transaction; raises `StoreUnavailable`.

        It is done once more where the connection was lost: mostly before, which shows as soon as it is used,
        or while this process stood still.
        """
        with available():
            db = await self._open()
            try:
                return await self._use(db, work)
            except psycopg.OperationalError as error:
                if self._db is not None or isinstance(error, Unanswered):
                    raise
            return await self.once(work)

    async def once(self, work: Work[Result]) -> Result:
        """Raises what psycopg does; a connection that was lost is put away."""
        return await self._use(await self._open(), work)

    async def _use(self, db: AsyncConnection, work: Work[Result]) -> Result:
        try:
            with answering(db, self._within):
                return await work(db)
        finally:
            await self._keep_if_sound(db)

    async def _keep_if_sound(self, db: AsyncConnection) -> None:
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
            async with asyncio.timeout(self._within):
                self._db = await connect(self._url, *LETS_GO, *self._settings)
                longest = max(self._within, ANSWER_WITHIN) - SAYS_SO_BEFORE
                await self._db.execute(_LETS_GO_AT_LAST, [f"{longest * 1000:.0f}ms"])
        return self._db


class Links:
    """Some connections, each of which serves whoever comes next; who comes waits `free_within` seconds."""

    def __init__(self, links: Sequence[Link], free_within: float = FREE_WITHIN) -> None:
        self._links = links
        self._free_within = free_within
        self._free: asyncio.LifoQueue[Link] = asyncio.LifoQueue()
        for link in links:
            self._free.put_nowait(link)

    def end(self) -> None:
        """As `Link.end`, all of them."""
        for link in self._links:
            link.end()

    async def do(self, work: Work[Result]) -> Result:
        async with self._free_link() as link:
            return await link.do(work)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[AsyncConnection]:
        """See `Link.lent`."""
        async with self._free_link() as link, link.lent() as db:
            yield db

    @asynccontextmanager
    async def _free_link(self) -> AsyncIterator[Link]:
        """Raises `DatabaseAway` where all are waiting for an answer, too."""
        with available():
            async with asyncio.timeout(self._free_within):
                link = await self._free.get()
        try:
            yield link
        finally:
            self._free.put_nowait(link)


@asynccontextmanager
async def open_links(
    url: str, most: int, *settings: str, within: float = ANSWER_WITHIN, free_within: float = FREE_WITHIN
) -> AsyncIterator[Links]:
    async with AsyncExitStack() as stack:
        links = [Link(url, *settings, within=within) for _ in range(most)]
        yield Links([await stack.enter_async_context(link) for link in links], free_within)


async def _answer(db: AsyncConnection) -> None:
    await db.execute(b"SELECT 1")
