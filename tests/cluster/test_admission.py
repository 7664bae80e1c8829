"""Which of the waiting tasks get a job, in which order, and what that costs where many hosts have tasks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from server.cluster.admission import ANY_WAITING
from server.core.errors import DatabaseAway
from server.core.events import Prioritized
from tests.adding import add
from tests.attempts import WITHIN
from tests.cluster.breaking import proxied
from tests.cluster.crowd import UNLIMITED, crowd, named, put, waiting
from tests.cluster.node import Node, open_node, queue

LATENCY = 0.003  # seconds that each round trip to the distant database takes
# A statement that gives the running task a worker which has been silent for long.
DIES = """
    WITH dead AS (
        INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 hour') RETURNING id
    )
    UPDATE procrastinate_jobs SET status = 'doing', worker_id = dead.id FROM dead
    WHERE lock = %s RETURNING lock"""


@asynccontextmanager
async def holding(url: str, per_host: int = 0) -> AsyncIterator[Node]:
    """Open a node that runs no job, and sweeps only when a test asks it to."""
    async with open_node(url, per_host=per_host, max_queued=UNLIMITED, sweep_every=None) as node:
        node.supervisor.hold()
        yield node


async def admitted(node: Node) -> list[str]:
    """Return the tasks that have jobs, in the order in which the job engine takes the jobs."""
    rows = await node.database.rows("SELECT lock FROM procrastinate_jobs ORDER BY priority DESC, id")
    return [task_id for (task_id,) in rows]


async def without_job(node: Node) -> list[str]:
    sql = "SELECT task_id FROM tasks WHERE job_id IS NULL ORDER BY priority DESC, number"
    return [task_id for (task_id,) in await node.database.rows(sql)]


async def all_in_order(node: Node, expected: Sequence[str]) -> None:
    """Sweep until all tasks have jobs; fail unless the jobs have the expected order."""
    async with asyncio.timeout(WITHIN):
        while await without_job(node):
            await node.sweeper.look()
    assert await admitted(node) == list(expected)


@pytest.fixture(params=[0, 1], ids=["no limit", "one of each host"])
def per_host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("server.cluster.admission.AT_ONCE", 3)
    monkeypatch.setattr("server.cluster.sweeper.ADMITS_FOR", 0)
    return int(request.param)


OLDER = [f"{letter}.test-0" for letter in "jihgfedcba"]


@pytest.mark.wide
async def test_after_a_pause_what_is_new_waits_behind_what_waited(clean_database: str, per_host: int) -> None:
    async with holding(clean_database, per_host) as node:
        for name in OLDER:
            await queue(node, name, name.removesuffix("-0"))
        assert await admitted(node) == OLDER
        await node.dispatcher.pause()
        assert await admitted(node) == []
        await node.dispatcher.resume()
        assert await admitted(node) == OLDER[:3]
        for new in ("x", "y"):
            await queue(node, new, f"{new}.test")
            older = await without_job(node)
            assert new in older or not older
        await all_in_order(node, [*OLDER, "x", "y"])


async def test_after_a_move_what_is_new_waits_behind_what_was_there(
    clean_database: str, per_host: int
) -> None:
    await crowd(clean_database, hosts=10, each=1)
    there = [task.status.task_id for task in waiting(10, 1)]
    async with holding(clean_database, per_host) as node:
        for new in ("x", "y"):
            await queue(node, new, f"{new}.test")
        await all_in_order(node, [*there, "x", "y"])


async def test_what_is_more_urgent_does_not_wait_behind_what_waited(
    clean_database: str, per_host: int
) -> None:
    async with holding(clean_database, per_host) as node:
        for name in OLDER:
            await queue(node, name, name.removesuffix("-0"))
        await node.dispatcher.pause()
        await node.recorder.record(OLDER[-1], Prioritized(priority=5))
        await node.dispatcher.resume()
        assert await admitted(node) == [OLDER[-1], *OLDER[:2]]
        await node.recorder.record(OLDER[-2], Prioritized(priority=9))
        assert (await admitted(node))[0] == OLDER[-2]
        await all_in_order(node, [OLDER[-2], OLDER[-1], *OLDER[:-2]])


async def test_a_task_that_is_being_changed_is_not_overtaken(clean_database: str, per_host: int) -> None:
    async with holding(clean_database, per_host) as node:
        for name in OLDER[:3]:
            await queue(node, name, name.removesuffix("-0"))
        await node.dispatcher.pause()
        async with await psycopg.AsyncConnection.connect(clean_database) as other:
            await other.execute("SELECT FROM tasks WHERE task_id = %s FOR UPDATE", (OLDER[1],))
            await node.dispatcher.resume()
            await queue(node, "x", "x.test")
            await node.sweeper.look()
            assert await admitted(node) == OLDER[:1]
        await all_in_order(node, [*OLDER[:3], "x"])


async def test_a_pause_takes_the_last_in_the_queue_back_first(
    clean_database: str, per_host: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with holding(clean_database, per_host) as node:
        for name in OLDER:
            await queue(node, name, name.removesuffix("-0"))
        async with node.database.transaction() as db:
            admission = node.sweeper._admission
            await admission.pause(db)
            # Does what a pause does before its end: the node that paused dies here.
            await admission.take_back(db)
        assert await admitted(node) == OLDER[:7]
        await node.dispatcher.resume()
        await all_in_order(node, OLDER)


async def test_a_paused_host_has_its_place_again_only_for_its_oldest_task(clean_database: str) -> None:
    async with holding(clean_database, per_host=1) as node:
        for number in range(4):
            await queue(node, f"{number}", "one.test")
        await node.dispatcher.withdraw("0")
        assert await admitted(node) == ["1"]
        await node.database.rows("UPDATE tasks SET withdrawn_at = NULL RETURNING number")
        await node.dispatcher.withdraw("1")
        assert await admitted(node) == ["0"]


@pytest.mark.wide
async def test_a_dead_workers_task_is_taken_over_though_many_hosts_wait_at_a_distant_database(
    clean_database: str,
) -> None:
    hosts = 1_500
    await crowd(clean_database, hosts=hosts, each=2)
    async with proxied(clean_database) as proxy, asyncio.timeout(60):
        proxy.delay = LATENCY
        async with open_node(
            proxy.url, per_host=1, lost_after=1, max_queued=UNLIMITED, sweep_every=0.2
        ) as node:
            node.supervisor.hold()
            while len(await admitted(node)) < hosts:
                await asyncio.sleep(0.05)
            await node.database.rows(DIES, "host0000-0")
            while await node.database.rows("SELECT FROM procrastinate_jobs WHERE status = 'doing'"):
                await asyncio.sleep(0.05)
            assert "host0000-0" in await admitted(node), "its place is taken by a new job"


async def test_a_dead_workers_task_is_taken_over_though_nobody_can_be_admitted(
    clean_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_node(clean_database, judges_at_once=True, sweep_every=0.05) as node:
        await queue(node, "a")
        await node.attempts.have_begun("a")
        rows, refused = node.database.rows, []

        async def no_waiting(sql: str, *values: object, **named: object) -> Sequence[Any]:
            if sql == ANY_WAITING:
                refused.append(sql)
                raise DatabaseAway
            return await rows(sql, *values, **named)

        monkeypatch.setattr(node.database, "rows", no_waiting)
        node.supervisor.hold()
        await node.database.rows(DIES, "a")
        async with asyncio.timeout(WITHIN):
            doing = "SELECT FROM procrastinate_jobs WHERE status = 'doing'"
            while not refused or await node.database.rows(doing):
                await asyncio.sleep(0.05)


@pytest.mark.wide
async def test_submits_of_many_hosts_to_a_distant_database_are_taken_at_once(clean_database: str) -> None:
    hosts = 1_500
    await crowd(clean_database, hosts=hosts, each=1)
    async with proxied(clean_database) as proxy, asyncio.timeout(60):
        proxy.delay = LATENCY
        async with open_node(
            proxy.url, per_host=1, lost_after=1, max_queued=UNLIMITED, sweep_every=0.2
        ) as node:
            node.supervisor.hold()
            new = [named(f"new{number:04}", 0) for number in range(500)]
            # Raises the error that a client would get.
            await asyncio.gather(*(add(node.store, task) for task in new))
            await put(node.store, (named(f"host{number:04}", 1) for number in range(hosts)))
            while len(await admitted(node)) < hosts + len(new):
                await asyncio.sleep(0.05)
