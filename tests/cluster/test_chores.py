"""What one of many nodes does for all: each chore once at its moment, and never twice at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from server.cluster.chores import Chores
from server.cluster.database import Database, open_database
from server.core.errors import DatabaseAway, StorageAway
from server.files.public_names import short_of
from server.storage.postgresql.store import open_store

WITHIN = 20  # seconds
EVERY_SECOND = "* * * * * *"


@pytest.fixture
async def database(clean_database: str) -> AsyncIterator[Database]:
    async with (
        open_store(clean_database, max_queued=1, find_short=short_of),
        open_database(clean_database, 3) as database,
    ):
        yield database


@asynccontextmanager
async def nodes(database: Database, *chores: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Two of them, with the same chores."""
    async with asyncio.timeout(WITHIN), AsyncExitStack() as stack:
        for _ in range(2):
            node = Chores(database, 0.5, poll=0.05)
            for number, chore in enumerate(chores):
                node.add(f"chore {number}", EVERY_SECOND, chore)
            await stack.enter_async_context(node)
        yield


async def test_a_chore_is_done_once_at_its_moment_whichever_node_does_it(database: Database) -> None:
    began: list[float] = []
    loop = asyncio.get_running_loop()

    async def chore() -> None:
        began.append(loop.time())

    opened = loop.time()
    async with nodes(database, chore):
        while len(began) < 6:
            await asyncio.sleep(0.01)
    # The first moment is the last one before they opened, and five seconds pass to the sixth.
    assert began[5] - opened > 3.9


async def test_a_chore_that_lasts_longer_than_its_pause_is_not_begun_again_meanwhile(
    database: Database,
) -> None:
    begun, may_end, others = 0, asyncio.Event(), 0

    async def lasts() -> None:
        nonlocal begun
        begun += 1
        await may_end.wait()

    async def other() -> None:
        nonlocal others
        others += 1

    async with nodes(database, lasts, other):
        while others < 3:
            await asyncio.sleep(0.01)
        assert begun == 1
        may_end.set()
        while begun < 2:
            await asyncio.sleep(0.01)


async def test_a_chore_that_fails_is_tried_again_at_its_next_moment(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [DatabaseAway(), StorageAway(), ValueError("broken")]  # the bucket tells its own outages
    done = asyncio.Event()

    async def chore() -> None:
        if failures:
            raise failures.pop(0)
        done.set()

    async with nodes(database, chore):
        await done.wait()
    assert [record.levelname for record in caplog.records if "chore 0" in record.message] == [
        "WARNING",
        "ERROR",
    ]


async def test_one_who_goes_leaves_a_chore_that_is_under_way_to_the_others(database: Database) -> None:
    begun = asyncio.Event()

    async def chore() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with nodes(database, chore):
        await begun.wait()
    assert await database.rows("SELECT id FROM procrastinate_jobs WHERE status = 'doing'") == []
    assert await database.rows("SELECT id FROM procrastinate_workers") == []
