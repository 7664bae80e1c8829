"""The `Turns` of all nodes: a session's advisory lock for each task on which an action is under way.

One connection holds all turns of a node: it polls for those that actions wait for, and never blocks. If the
connection is lost, so are its turns: their actions go on, and the action with the next turn sees what was
committed. Actions on the same node wait for each other without the database.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from psycopg import AsyncConnection

from server.core.background import in_background
from server.core.errors import DatabaseAway, DatabaseBusy, StoreUnavailable
from server.storage.postgresql.link import Link
from server.tasks.dispatcher import LocalTurns

log = logging.getLogger(__name__)

# Most turns held at a time on this node, as their actions share the few connections of `ClusterDatabase`.
MOST_TURNS = 16
WAIT = 8.0  # seconds that an action waits for its turn
RETRY_EVERY = 0.02  # seconds between tries for a turn that another node holds
# After so many seconds without a query the database ends the session, and with it the turns of a process that
# was suspended.
SILENCE = 60.0  # seconds
KEEP = 20.0  # seconds between queries that keep the session alive while turns are held

_TAKE = """
    SELECT task_id, pg_try_advisory_lock(hashtextextended('clipwire task ' || task_id, 0))
    FROM unnest(%s::text[]) AS task_id"""
_END = """
    SELECT pg_advisory_unlock(hashtextextended('clipwire task ' || task_id, 0))
    FROM unnest(%s::text[]) AS task_id"""
_TRY = "SELECT pg_try_advisory_xact_lock(hashtextextended('clipwire task ' || %s, 0))"


class SharedTurns:
    """Gives turns to actions on this node, while `keep` runs."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._here = LocalTurns()
        self._places = asyncio.Semaphore(MOST_TURNS)
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._held: set[str] = set()
        self._ended: list[str] = []
        self._wake = asyncio.Event()
        self._answers = True  # whether the database answered the last query

    @asynccontextmanager
    async def turn(self, task_id: str) -> AsyncIterator[None]:
        """Hold the task's turn in the block. Raises `DatabaseBusy` if another action keeps it for `WAIT`
        seconds; `DatabaseAway`.
        """
        name = _clean(task_id)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(WAIT):
                    await stack.enter_async_context(self._here.turn(name))
                    await stack.enter_async_context(self._places)
                    await self._take(name)
            except TimeoutError as error:
                raise (DatabaseBusy if self._answers else DatabaseAway)() from error
            stack.callback(self._end, name)
            yield

    async def keep(self) -> None:
        """Take and end turns; never returns."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_EVERY if self._waiting else KEEP):
                    await self._wake.wait()
            self._wake.clear()
            if self._waiting or self._ended or self._held:
                await self._look()

    async def _take(self, name: str) -> None:
        taken = self._waiting[name] = asyncio.get_running_loop().create_future()
        self._wake.set()
        try:
            await taken
        except BaseException:
            if self._waiting.pop(name, None) is None and not taken.cancelled() and not taken.exception():
                self._end(name)  # the lock was taken just before the cancel
            raise

    def _end(self, name: str) -> None:
        self._held.discard(name)
        self._ended.append(name)
        self._wake.set()

    async def _look(self) -> None:
        ended, self._ended = self._ended, []
        self._answers = False
        try:
            taken = await self._link.do(partial(_exchange, ended, list(self._waiting)))
        except Exception as error:
            await self._link.lose()  # losing the connection ends all turns, those in `ended` as well
            if not isinstance(error, StoreUnavailable):
                log.exception("turns could not be taken")
                error = DatabaseBusy()
            waiting, self._waiting = self._waiting, {}
            for turn in waiting.values():
                if not turn.done():
                    turn.set_exception(error)
        else:
            self._answers = True
            self._give(taken)

    def _give(self, taken: Collection[str]) -> None:
        for name in taken:
            waiting = self._waiting.pop(name, None)
            if waiting is None or waiting.done():  # the action that waited for this turn was cancelled
                self._ended.append(name)
                self._wake.set()
            else:
                self._held.add(name)
                waiting.set_result(None)


async def try_turn(db: AsyncConnection, task_id: str) -> bool:
    """Take the turn for the rest of the transaction if nobody has it."""
    [(taken,)] = await (await db.execute(_TRY, (_clean(task_id),))).fetchall()
    return bool(taken)


@asynccontextmanager
async def open_turns(url: str) -> AsyncIterator[SharedTurns]:
    async with Link(url, f"idle_session_timeout = '{SILENCE}s'") as link:
        turns = SharedTurns(link)
        async with in_background(turns.keep(), "turns"):
            try:
                yield turns
            finally:
                link.end()


async def _exchange(ended: Sequence[str], wanted: Sequence[str], db: AsyncConnection) -> list[str]:
    """End some turns and try to take the wanted ones; return those that were taken."""
    if ended:
        await db.execute(_END, (list(ended),))
    rows = await (await db.execute(_TAKE, (list(wanted),))).fetchall()
    return [task_id for task_id, is_taken in rows if is_taken]


def _clean(task_id: str) -> str:
    return task_id.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
