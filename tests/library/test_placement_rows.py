"""The rows of files to be placed in the library, on every backend: two servers at once lose and break
nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from server.core.library import Library
from server.files.public_names import short_of
from server.library.placement_requests import to_be_placed
from server.library.placements import OTHER_TASKS, Claimed, FileSet
from server.storage import postgresql
from server.storage.postgresql.changes import Reading
from server.storage.postgresql.store import PostgresStore
from server.storage.statements import Tables
from tests.memory.test_media_rows import AnyStore, open_any, store
from tests.rooms import HOOKS, rooms

__all__ = ["open_any", "store"]

NOW, LEASE = 1000.0, 60.0
LAYOUT = Library(layout="movies")
BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def one_of(task_id: str) -> FileSet:
    return FileSet("set", "", "site 1", task_id, LAYOUT)


async def wanted(store: AnyStore, task_id: str) -> None:
    async def work(tables: Tables) -> None:
        await to_be_placed(tables, [one_of(task_id)])

    await rooms(store).placements._transactions.write(work)


async def claimed(store: AnyStore, now: float = NOW) -> Claimed:
    [one] = await rooms(store).placements.claim(2, LEASE, now)
    return one


async def test_a_set_that_is_wanted_anew_is_left_to_whoever_works_on_it(store: AnyStore) -> None:
    await wanted(store, "first")
    one = (await claimed(store)).file_set
    await wanted(store, "second")
    assert await rooms(store).placements.claim(2, LEASE, NOW + 1) == []
    assert not await rooms(store).placements.settle(one, [], [], NOW + 1)
    await rooms(store).placements.release(one.set_id, NOW + LEASE)
    again = (await claimed(store, NOW + 1)).file_set
    assert (again.task_id, again.about[OTHER_TASKS]) == ("second", ["first"])
    # This lease has ended, and the second one must stay.
    await rooms(store).placements.release(one.set_id, NOW + LEASE)
    assert await rooms(store).placements.claim(2, LEASE, NOW + 2) == []


async def test_a_set_that_is_to_leave_is_left_to_whoever_works_on_it(store: AnyStore) -> None:
    await wanted(store, "first")
    one = (await claimed(store)).file_set
    await rooms(store).placements.leave_task("first")
    assert await rooms(store).placements.claim(2, LEASE, NOW + 1) == []
    await rooms(store).placements.release(one.set_id, NOW + LEASE)
    assert (await claimed(store, NOW + 1)).file_set.state == "leaving"


async def test_every_task_that_waits_for_a_set_is_told_and_of_one_that_is_placed_the_last_ones(
    store: AnyStore,
) -> None:
    names = [f"task {number}" for number in range(30)]
    for name in names:
        await wanted(store, name)
    one = await claimed(store)
    assert one.file_set.about[OTHER_TASKS] == names[:-1]
    assert await rooms(store).placements.settle(one.file_set, [], [], NOW)
    told = (await claimed(store)).file_set
    assert (told.state, told.about[OTHER_TASKS]) == ("telling", names[:-1])
    await rooms(store).placements.mark_placed(told)
    await wanted(store, "another")
    assert (await claimed(store)).file_set.about[OTHER_TASKS] == [*names[-21:-1], names[-1]]


async def test_a_set_whose_server_has_died_is_due_when_the_lease_ends(store: AnyStore) -> None:
    await wanted(store, "first")
    await claimed(store)
    await wanted(store, "second")
    assert await rooms(store).placements.due_in(NOW) == LEASE
    assert (await claimed(store, NOW + LEASE)).file_set.task_id == "second"


@asynccontextmanager
async def two_nodes(url: str) -> AsyncIterator[tuple[psycopg.AsyncConnection, PostgresStore]]:
    """Open a transaction of one node, and the store of another node."""
    async with (
        postgresql.open_store(url, max_queued=100, find_short=short_of, hooks=HOOKS) as store,
        await psycopg.AsyncConnection.connect(url) as other,
    ):
        yield other, store


async def blocked(url: str) -> None:
    """Return when a statement waits for a lock."""
    async with (
        await psycopg.AsyncConnection.connect(url, autocommit=True) as db,
    ):
        while await (await db.execute(BLOCKED.encode())).fetchone() == (0,):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("is_new", [True, False])
async def test_of_two_tasks_that_end_at_once_on_two_nodes_both_are_told(
    clean_database: str, is_new: bool
) -> None:
    async with two_nodes(clean_database) as (other, store):
        if not is_new:
            await wanted(store, "earlier")
        await to_be_placed(Reading(other), [one_of("one")])
        waits = asyncio.create_task(wanted(store, "two"))
        await blocked(clean_database)
        await other.commit()
        await waits
        one = (await claimed(store)).file_set
        assert [*one.about[OTHER_TASKS], one.task_id] == [*([] if is_new else ["earlier"]), "one", "two"]


async def test_what_is_known_of_a_film_does_not_make_a_task_forgotten_that_ends_meanwhile(
    clean_database: str,
) -> None:
    async with two_nodes(clean_database) as (other, store):
        await wanted(store, "one")
        before = (await claimed(store)).file_set
        await to_be_placed(Reading(other), [one_of("two")])
        describes = asyncio.create_task(rooms(store).placements.store_about(before, {"title": "A film"}))
        await blocked(clean_database)
        await other.commit()
        assert not await describes
        await rooms(store).placements.release(before.set_id, NOW + LEASE)
        assert (await claimed(store, NOW + 1)).file_set.about == {OTHER_TASKS: ["one"]}


async def test_a_set_that_is_wanted_while_it_is_dropped_stays(clean_database: str) -> None:
    async with two_nodes(clean_database) as (other, store):
        await wanted(store, "one")
        await rooms(store).placements.leave_task("one")
        leaving = (await claimed(store)).file_set
        await to_be_placed(Reading(other), [one_of("two")])
        drops = asyncio.create_task(rooms(store).placements.drop(leaving, []))
        await blocked(clean_database)
        await other.commit()
        await drops
        await rooms(store).placements.release(leaving.set_id, NOW + LEASE)
        assert (await claimed(store, NOW + 1)).file_set.task_id == "two"
