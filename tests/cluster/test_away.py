"""How nodes use the database beside the store: while the database is away, or while another node hangs in a
transaction.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from psycopg import AsyncConnection

from server.cluster.database import CHECKED_WITHIN, ClusterDatabase, open_database
from server.cluster.shared_turns import SharedTurns, open_turns
from server.core.errors import DatabaseAway
from server.files.public_names import short_of
from server.storage.postgresql.advisory_locks import ADD, OURS
from server.storage.postgresql.link import Link
from server.storage.postgresql.store import open_store
from server.tasks.janitor import for_ever
from tests.adding import add
from tests.cluster.postgres import CARELESS, PostgreSQL, own_postgres
from tests.examples import new_task

CONNECTIONS = 3


@pytest.fixture
def mortal() -> Iterator[PostgreSQL]:
    with own_postgres(*CARELESS) as server:
        yield server


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[ClusterDatabase, SharedTurns]]:
    """Open the connections to the database, and use each of them once."""
    async with open_database(url, CONNECTIONS) as database, open_turns(url) as turns:
        await asyncio.gather(*(database.rows("SELECT pg_sleep(0.05)") for _ in range(CONNECTIONS)))
        async with turns.turn("a"), turns.turn("b"):
            pass
        yield database, turns


async def all_fail(database: ClusterDatabase, turns: SharedTurns) -> float:
    """Ask for more than there are connections; return the seconds after which every request has failed."""

    async def take(task_id: str) -> None:
        async with turns.turn(task_id):
            pass

    began = time.monotonic()
    asked = [
        one
        for number in range(CONNECTIONS)
        for one in (database.rows("SELECT 1"), database.rows("SELECT 2"), take(str(number)), take("a"))
    ]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {DatabaseAway}
    return time.monotonic() - began


@pytest.mark.long
async def test_a_database_that_is_down_refuses_at_once_and_is_found_again(mortal: PostgreSQL) -> None:
    async with opened(mortal.url) as (database, turns):
        for how in (signal.SIGINT, signal.SIGQUIT):
            await asyncio.to_thread(mortal.stop, how)
            try:
                # So fast because no request waits for an answer.
                assert await all_fail(database, turns) < CHECKED_WITHIN
            finally:
                await asyncio.to_thread(mortal.start)
            assert await database.rows("SELECT 1") == [(1,)]
            async with turns.turn("a"):
                pass


@pytest.mark.long
async def test_a_silent_database_is_noticed_within_ten_seconds_and_found_again(mortal: PostgreSQL) -> None:
    async with opened(mortal.url) as (database, turns):
        mortal.pause()
        try:
            assert await all_fail(database, turns) < 10
            assert await all_fail(database, turns) < 10, "new connections are not answered either"
        finally:
            mortal.go_on()
        async with asyncio.timeout(20):
            while True:
                with suppress(DatabaseAway):
                    assert await database.rows("SELECT 1") == [(1,)]
                    async with turns.turn("a"):
                        break


@pytest.mark.long
async def test_what_is_stopped_in_the_middle_of_a_change_lets_go_before_others_give_up(
    clean_database: str,
) -> None:
    """The stopped connection has locked the row of a task, and the lock for new numbers, as on a machine that
    hangs.
    """
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(clean_database, max_queued=9, find_short=short_of))
        stopped = await stack.enter_async_context(Link(clean_database))
        task_id = (await add(store, new_task())).status.task_id
        holds = asyncio.Event()

        async def stand_still(db: AsyncConnection) -> None:
            await db.execute(b"BEGIN")
            await db.execute(b"SELECT pg_advisory_xact_lock(%s, %s)", (OURS, ADD))
            await db.execute(b"SELECT FROM tasks WHERE task_id = %s FOR UPDATE", (task_id,))
            holds.set()
            await asyncio.sleep(3600)

        standing = asyncio.create_task(stopped.once(stand_still))
        await holds.wait()
        await asyncio.gather(add(store, new_task()), store.mark_removed(task_id))
        standing.cancel()
        await asyncio.wait([standing])


async def test_an_outage_is_told_once_however_long_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    looks = iter([False, False, True, False, False])
    looked = asyncio.Event()

    async def look() -> None:
        is_there = next(looks, None)
        if is_there is None:
            looked.set()
        if not is_there:
            raise DatabaseAway

    looking = asyncio.create_task(for_ever(look, 0))
    await looked.wait()
    looking.cancel()
    await asyncio.wait([looking])
    assert caplog.text.count("looking after the service is put off") == 2
