"""Which of the waiting tasks get a job where people take turns, on many nodes at once."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from psycopg import AsyncConnection

from server.cluster.fair_order import NEXT_IN_LINES, Occupancy, values_of
from server.core.errors import OverLimit
from server.core.shares import Shares
from server.core.task import Queued, Task
from server.tasks.dispatcher import Queue
from tests.adding import add
from tests.cluster.node import Node, open_node
from tests.examples import new_task

PEOPLE = ("anna", "bob", "carla", None)
_JOBS = "SELECT task_id, owner, host FROM tasks WHERE job_id IS NOT NULL"
_END = """
    UPDATE tasks SET job_id = NULL, stage = 'completed', ended_at = now()
    WHERE task_id = %s AND job_id IS NOT NULL"""
_DEAD_NODE = """
    INSERT INTO nodes (node_id, roles, running, low, settings, heartbeat_at)
    VALUES ('dead', '{worker}', 0, false, '{"machine": "m", "settings": {}, "places": 5}',
            now() - interval '1 hour')
    RETURNING node_id"""
_WAITS_FOR_LOCK = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
_HAS_FILES = "UPDATE tasks SET node = %s WHERE task_id = ANY(%s) RETURNING number"
_MANY_MORE = """
    INSERT INTO tasks (task_id, revision, stage, priority, host, request, status, search, owner)
    SELECT 'more' || n, 1, stage, 0, host, request, status, search, owner
    FROM tasks CROSS JOIN generate_series(1, %s) AS n WHERE task_id = 'b'"""
_DROP_JOB = "DELETE FROM procrastinate_jobs WHERE lock = %s"


def shares_of(**most: int) -> Shares:
    shares = Shares()
    shares.change(most, take_turns=True)
    return shares


@asynccontextmanager
async def places(
    url: str, shares: Shares, at_once: int, per_host: int = 0, node_alive: float = 0
) -> AsyncIterator[Node]:
    """Open a node whose jobs end only when a test ends them."""
    async with open_node(
        url,
        at_once=at_once,
        per_host=per_host,
        shares=shares,
        node_alive=node_alive,
        max_queued=1000,
        sweep_every=None,
    ) as node:
        node.supervisor.hold()
        yield node


async def wait(node: Node, name: str, owner: str | None, host: str = "a.test", priority: int = 0) -> None:
    fresh = new_task(f"http://{host}/{name}")
    status = fresh.status.model_copy(update={"task_id": name, "owner": owner, "priority": priority})
    await add(node.store, Task(fresh.request, status))


async def admitted(node: Node) -> list[str]:
    """Return the tasks that have jobs, in the order in which the job engine takes the jobs."""
    rows = await node.database.rows("SELECT lock FROM procrastinate_jobs ORDER BY priority DESC, id")
    return [task_id for (task_id,) in rows]


async def end(node: Node, task_id: str) -> None:
    """End the job of a task in the database, as a worker does at the end of an attempt."""
    async with node.database.transaction() as db:
        await db.execute(_DROP_JOB, (task_id,))
        await db.execute(_END, (task_id,))
        await node.sweeper._admission.admit(db, ["a.test"])


async def admit(node: Node) -> None:
    """Admit waiting tasks until there are no more, as a sweep does."""
    are_more = True
    while are_more:
        async with node.database.transaction() as db:
            are_more = (await node.sweeper._admission.admit_all(db)).are_more


@pytest.mark.wide
@pytest.mark.parametrize("per_host", [0, 2])
async def test_tasks_begin_in_the_order_that_one_machine_has(clean_database: str, per_host: int) -> None:
    """The order is that of `Queue`, whatever the tasks are; the tests of one machine check that it is
    fair.
    """
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    shares, at_once = shares_of(anna=2, carla=1), 4
    async with places(clean_database, shares, at_once, per_host) as node:
        await node.dispatcher.pause()
        queue = Queue()
        for number in range(30):
            owner = chance.choices(PEOPLE, (6, 2, 2, 1))[0]
            host, priority = chance.choice(("a.test", "b.test", "c.test")), chance.choice((0, 0, 1))
            await wait(node, f"{number}", owner, host, priority)
            queue.put(Queued(f"{number}", number, priority, 0, host, owner=owner))
        await node.dispatcher.resume()
        running: dict[str, Queued] = {}
        while True:
            of_host = Counter(each.host for each in running.values())
            of_owner = Counter(each.owner for each in running.values())
            if len(running) < at_once and (head := queue.pop(of_host, per_host, of_owner, shares.most)):
                running[head.task_id] = head
                continue
            await admit(node)
            assert sorted(await admitted(node)) == sorted(running), f"seed {seed}"
            if not running:
                break
            task_id = chance.choice(sorted(running))
            del running[task_id]
            await end(node, task_id)
        assert not len(queue)


async def test_of_many_nodes_that_admit_at_once_none_gives_more_than_a_person_may_run(
    clean_database: str,
) -> None:
    limits, per_host = {"anna": 2, "bob": 1}, 3
    async with AsyncExitStack() as stack:
        opening = (places(clean_database, shares_of(**limits), 2, per_host) for _ in range(3))
        nodes = [await stack.enter_async_context(one) for one in opening]
        for number in range(20):
            await wait(nodes[number % 3], f"{number}", PEOPLE[number % 4], "ab"[number % 2] + ".test")
        ended = set[str]()

        async def work(node: Node) -> None:
            """End random jobs until none is left; the other node may do the same."""
            while rows := await node.database.rows(_JOBS):
                of_owner = Counter(owner for _, owner, _ in rows)
                assert all(of_owner[name] <= most for name, most in limits.items()), of_owner
                assert max(Counter(host for *_, host in rows).values()) <= per_host
                assert len(rows) <= 6
                ended.add(task_id := random.choice(rows)[0])
                await end(node, task_id)

        await asyncio.gather(*(work(node) for node in nodes for _ in range(2)))
        assert ended == {f"{number}" for number in range(20)}


async def test_what_one_node_has_counted_holds_until_its_jobs_are_made(clean_database: str) -> None:
    async with AsyncExitStack() as stack:
        opening = (places(clean_database, shares_of(anna=1), 2) for _ in range(2))
        slow, other = [await stack.enter_async_context(one) for one in opening]
        await slow.dispatcher.pause()
        for name in ("a", "b", "c"):
            await wait(slow, name, "anna")
        await slow.database.rows("DELETE FROM pauses RETURNING queue")
        order, counted, go_on = slow.sweeper._admission._fair_order, asyncio.Event(), asyncio.Event()
        count = order._load

        async def count_and_wait(db: AsyncConnection) -> Occupancy:
            load = await count(db)
            counted.set()
            await go_on.wait()
            return load

        order._load = count_and_wait  # type: ignore[method-assign]
        one = asyncio.create_task(admit(slow))
        await counted.wait()
        another = asyncio.create_task(admit(other))
        while not another.done() and not await slow.database.rows(_WAITS_FOR_LOCK):
            await asyncio.sleep(0.01)
        go_on.set()
        await asyncio.gather(one, another)
        assert await admitted(slow) == ["a"]


async def test_places_of_a_node_that_died_are_given_to_nobody(clean_database: str) -> None:
    async with places(clean_database, shares_of(), 2) as node:
        await node.database.rows(_DEAD_NODE)
        for number in range(4):
            await wait(node, f"{number}", "anna")
        assert await admitted(node) == ["0", "1"]
        await wait(node, "x", "bob")
        await end(node, "0")
        assert await admitted(node) == ["1", "x"]


async def test_what_a_person_may_not_run_any_more_is_taken_back(clean_database: str) -> None:
    shares = Shares()
    async with places(clean_database, shares, 3) as node:
        for number in range(9):
            await wait(node, f"{number}", "anna")
        assert len(await admitted(node)) == 9, "nobody takes turns yet"
        shares.change({"anna": 2}, take_turns=True)
        await wait(node, "x", "bob")
        assert await admitted(node) == ["0", "1", "x"]
        shares.change({}, take_turns=True)
        await end(node, "0")
        assert await admitted(node) == ["1", "x", "2"]


async def test_a_task_that_is_to_start_at_once_keeps_to_the_limit_of_its_person(clean_database: str) -> None:
    async with places(clean_database, shares_of(anna=1), 1) as node:
        for name in ("a", "b"):
            await wait(node, name, "anna")
        await wait(node, "c", "bob")
        for name in ("a", "b", "c"):
            await node.dispatcher.start(await node.store.get(name))
        assert sorted(await admitted(node)) == ["a", "c"], "but not to the number of places"
        await node.database.rows("UPDATE procrastinate_jobs SET status = 'doing' RETURNING id")
        with pytest.raises(OverLimit) as refused:
            await node.dispatcher.check_room_to_start("anna")
        assert refused.value.extra == {"limit": "max_running", "most": 1, "used": 1}


async def test_nothing_is_admitted_before_the_limits_are_known(clean_database: str) -> None:
    shares = Shares(are_known=False)
    async with places(clean_database, shares, 3) as node:
        for name in ("a", "b"):
            await wait(node, name, "anna")
        await node.sweeper.look()
        assert await admitted(node) == []
        shares.change({"anna": 1}, take_turns=True)
        shares.are_complete()
        await node.sweeper.look()
        assert await admitted(node) == ["a"]


async def test_a_job_for_the_node_with_its_files_takes_no_place_of_another_node(clean_database: str) -> None:
    async with AsyncExitStack() as stack:
        opening = (places(clean_database, shares_of(), 1, node_alive=60) for _ in range(2))
        one, other = [await stack.enter_async_context(each) for each in opening]
        await one.dispatcher.pause()
        for name in ("a", "b", "c", "d", "e"):
            await wait(one, name, None)
        await one.database.rows(_HAS_FILES, one.name, ["a", "b", "c", "d"])
        await one.dispatcher.resume()
        for _ in range(3):
            await admit(other)
        queues = "SELECT lock, queue_name FROM procrastinate_jobs ORDER BY id"
        mine = f"node-{one.name}"
        # Twice as many jobs as places wait for this node, so that none of its places is empty for long.
        assert await one.database.rows(queues) == [("a", mine), ("b", mine), ("c", mine), ("d", mine)]
        await end(one, "a")
        assert (await one.database.rows(queues))[-1] == ("e", "downloads")


async def test_the_next_task_is_found_without_a_scan_of_the_queue(clean_database: str) -> None:
    async with places(clean_database, shares_of(anna=1), 1) as node:
        await wait(node, "a", "anna")
        await wait(node, "b", "bob")
        many = 3000
        async with node.database.transaction() as db:
            await db.execute(_MANY_MORE, (many,))
            for name in (None, "anna", "carla"):
                await db.execute(
                    "UPDATE tasks SET owner = %s WHERE number %% 7 = %s", (name, len(name or ""))
                )
            await db.execute("ANALYZE tasks")
            values = values_of(Occupancy(of_owner=Counter({"anna": 1})), shares_of(anna=1), 0, 32, 1)
            explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {NEXT_IN_LINES}"
            [(plan,)] = await (await db.execute(explain.encode(), values)).fetchall()
    scans = list(scans_of(plan[0]["Plan"]))
    assert {scan.get("Relation Name") for scan in scans} >= {"tasks"}
    read = sum(scan["Actual Rows"] * scan["Actual Loops"] for scan in scans)
    read += sum(scan.get("Rows Removed by Filter", 0) for scan in scans)
    assert read < 100, json.dumps(plan)


def scans_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parts of a query plan that scan the table of tasks."""
    if plan.get("Relation Name") == "tasks":
        yield plan
    for part in plan.get("Plans", ()):
        yield from scans_of(part)
