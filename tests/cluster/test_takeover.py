"""Nodes on one database, in the test's process: limits over all nodes, and lost jobs that other nodes take
over.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from server.core.clock import Clock
from server.core.errors import DatabaseAway, DatabaseBusy, StorageAway
from server.core.events import Completed, Event, Failed, Paused, Requeued, Resumed, SpaceNeeded, Started
from server.core.film import Manifest, StoredFile, VideoInfo
from server.core.task import DISK_FULL, STORAGE_AWAY, Stage, TaskStatus
from server.tasks.hub import Hub
from server.tasks.recorder import Recorder
from tests.attempts import WITHIN
from tests.cluster.breaking import once, proxied
from tests.cluster.node import Node, NoFiles, open_node, queue
from tests.cluster.postgres import read_only

DONE = Completed(files={})


@asynccontextmanager
async def two_nodes(url: str, at_once: int = 4, per_host: int = 0) -> AsyncIterator[tuple[Node, Node]]:
    """Open two nodes whose attempts are counted together."""
    async with open_node(url, at_once, per_host) as one, open_node(url, at_once, per_host) as other:
        other.jobs.run = one.attempts.run
        yield one, other


async def until(node: Node, name: str, stage: Stage, attempt: int = 0) -> None:
    async with asyncio.timeout(WITHIN):
        while True:
            status = (await node.store.get(name)).status
            if status.stage is stage and status.attempt >= attempt:
                return
            await asyncio.sleep(0.01)


async def jobs_left(node: Node) -> tuple[int, int]:
    """Return how many jobs the job engine has, and how many tasks have a job."""
    [jobs] = await node.database.rows("SELECT count(*) FROM procrastinate_jobs")
    [tasks] = await node.database.rows("SELECT count(*) FROM tasks WHERE job_id IS NOT NULL")
    return jobs[0], tasks[0]


async def test_a_hosts_limit_holds_over_all_nodes_and_every_task_has_its_turn(clean_database: str) -> None:
    chance = random.Random(7)
    async with two_nodes(clean_database, per_host=3) as (one, other):
        names = [f"{host}-{number}" for number in range(12) for host in ("one", "two")]
        for name in names:
            await queue(chance.choice((one, other)), name, host=name.partition("-")[0])
        # Both hosts run as many tasks as they may.
        await one.attempts.until(lambda: len(one.attempts.running()) == 6)
        for count in range(len(names)):
            await one.attempts.until(lambda count=count: len(one.attempts.begun) > count)  # type: ignore[misc]
            await asyncio.sleep(0.02)
            one.attempts.end(chance.choice(one.attempts.running()), DONE)
        assert sorted(one.attempts.begun) == sorted(names)
        assert (one.attempts.most["one"], one.attempts.most["two"]) == (3, 3)
        async with asyncio.timeout(WITHIN):
            while await jobs_left(one) != (0, 0):
                await asyncio.sleep(0.02)


async def test_the_queue_is_full_for_all_nodes_together(clean_database: str) -> None:
    async with two_nodes(clean_database) as (one, other):
        one.supervisor.hold()
        other.supervisor.hold()
        outcomes = await asyncio.gather(
            *(queue((one, other)[number % 2], f"task-{number}") for number in range(110)),
            return_exceptions=True,
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert len(refused) == 10
        assert {str(error) for error in refused} == {"queue_full"}


async def test_what_runs_on_another_node_is_withdrawn(clean_database: str) -> None:
    async with open_node(clean_database) as one, open_node(clean_database) as other:
        one.supervisor.hold()
        await queue(one, "a")
        await other.attempts.have_begun("a")
        async with asyncio.timeout(WITHIN):
            await one.dispatcher.withdraw("a")
        assert other.attempts.running() == []
        await one.recorder.record("a", Paused())
        assert await jobs_left(one) == (0, 0)


async def test_a_job_that_was_lost_is_made_again(clean_database: str) -> None:
    async with open_node(clean_database, judges_at_once=True) as node:
        node.supervisor.hold()
        await queue(node, "a")
        await node.database.rows("DELETE FROM procrastinate_jobs RETURNING id")
        node.supervisor.release()
        await node.attempts.have_begun("a")


async def test_a_task_that_is_said_to_run_and_does_not_is_queued_again(clean_database: str) -> None:
    async with open_node(clean_database, judges_at_once=True) as node:
        node.supervisor.hold()
        await queue(node, "a")
        await node.dispatcher.withdraw("a")  # the node that did this dies before the next step
        await node.recorder.record("a", Started())
        await node.database.rows("UPDATE tasks SET withdrawn_at = now() - interval '1 hour' RETURNING number")
        node.supervisor.release()
        await until(node, "a", Stage.INFO, attempt=2)
        assert (await node.store.get("a")).status.lost == 1


@pytest.mark.parametrize("status", ["{", "{}", '{"not_before":"tomorrow","title":"\\u0000"}'])
async def test_a_damaged_row_keeps_no_other_task_from_its_job_and_is_not_tried_at_once_again(
    clean_database: str, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_node(clean_database, per_host=1, judges_at_once=True) as node:
        node.supervisor.hold()
        for name in "abc":
            await queue(node, name)
        await node.dispatcher.withdraw("a", "b")  # so that these tasks need new jobs
        await node.database.rows("UPDATE tasks SET withdrawn_at = NULL RETURNING number")
        damage = "UPDATE tasks SET status = %s WHERE task_id = 'a' RETURNING number"
        await node.database.rows(damage, status)
        running = "UPDATE tasks SET stage = 'info', status = %s WHERE task_id = 'c' RETURNING number"
        await node.database.rows(running, status)
        await node.database.rows("DELETE FROM procrastinate_jobs RETURNING id")
        node.supervisor.release()
        await node.attempts.have_begun("b")
        async with asyncio.timeout(WITHIN):
            while "task c cannot be read" not in caplog.text:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)  # long enough for many tries
    assert caplog.text.count("task c cannot be read") == 1
    assert caplog.text.count("download a ended unexpectedly") == 1


async def test_what_only_a_newer_server_can_run_keeps_no_place_of_its_host(clean_database: str) -> None:
    async with open_node(clean_database, per_host=1) as node:
        node.supervisor.hold()
        await queue(node, "a")
        wish = 'UPDATE tasks SET request = request::jsonb || \'{"quality":"4320"}\' RETURNING number'
        await node.database.rows(wish)
        await queue(node, "b")
        run = node.jobs.run

        async def only_what_is_known(task_id: str) -> TaskStatus | None:
            return await run(task_id) if (await node.store.get(task_id)).request else None

        node.jobs.run = only_what_is_known
        node.supervisor.release()
        await node.attempts.have_begun("b")
        assert (await node.store.get("a")).status.stage is Stage.QUEUED


async def test_what_a_draining_worker_runs_is_left_to_it_and_all_else_goes_to_others(
    clean_database: str,
) -> None:
    async with (
        open_node(clean_database, heartbeat=0.1) as one,
        open_node(clean_database) as other,
    ):
        other.jobs.run = one.attempts.run
        other.supervisor.hold()
        await queue(one, "a")
        await one.attempts.have_begun("a")
        await queue(one, "b")
        draining = asyncio.create_task(one.supervisor.drain())
        other.supervisor.release()
        await one.attempts.have_begun("a", "b")
        for _ in range(3):
            await a_beat_of_who_runs(one, "a")  # the draining worker is not taken for dead
        await other.sweeper.look()
        assert one.attempts.begun == ["a", "b"]
        assert not draining.done()
        async with asyncio.timeout(WITHIN):
            await other.dispatcher.withdraw("a")
            await draining


async def a_beat_of_who_runs(node: Node, name: str) -> None:
    """Return after the next heartbeat of the worker that runs the task."""
    sql = """
        SELECT last_heartbeat FROM procrastinate_workers AS workers
        JOIN procrastinate_jobs AS jobs ON jobs.worker_id = workers.id WHERE jobs.lock = %s"""
    [before] = await node.database.rows(sql, name)
    async with asyncio.timeout(WITHIN):
        while await node.database.rows(sql, name) == [before]:
            await asyncio.sleep(0.01)


async def test_a_node_whose_fork_server_is_not_warm_leaves_all_tasks_to_others(clean_database: str) -> None:
    warm = asyncio.Event()
    async with (
        open_node(clean_database, warm=asyncio.Event().wait),  # a node that is never warm can be closed, too
        open_node(clean_database, warm=warm.wait) as cold,
        open_node(clean_database) as other,
    ):
        await queue(cold, "a")
        await queue(cold, "b")
        await other.attempts.have_begun("a")
        other.attempts.end("a", DONE)
        await other.attempts.have_begun("a", "b")
        await queue(cold, "c")
        warm.set()
        await cold.attempts.have_begun("c")


async def test_a_job_that_its_worker_never_heard_of_is_given_back(
    clean_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.cluster.supervisor.UNKNOWN_FOR", 0.3)
    async with open_node(clean_database, heartbeat=0.2) as node:
        await queue(node, "first")
        await node.attempts.have_begun("first")
        # The worker has no room for it yet. Then the job is handed out, and the answer to the worker is lost.
        await queue(node, "a")
        await node.database.rows(
            "UPDATE procrastinate_jobs SET status = 'doing',"
            " worker_id = (SELECT max(id) FROM procrastinate_workers) WHERE lock = 'a' RETURNING id"
        )
        node.attempts.end("first", DONE)
        await node.attempts.have_begun("first", "a")


async def test_a_worker_that_was_taken_for_dead_ends_nothing_of_its_successor(
    clean_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_node(clean_database) as old, open_node(clean_database) as new:
        new.supervisor.hold()
        await queue(old, "a")
        await old.attempts.have_begun("a")
        [(job_id,)] = await old.database.rows("SELECT id FROM procrastinate_jobs")
        old.supervisor.hold()
        new.supervisor.release()
        await new.sweeper.give_back(job_id)
        await new.attempts.have_begun("a")
        old.attempts.end("a", Failed(code="internal"))
        await until(new, "a", Stage.INFO, attempt=2)
        async with asyncio.timeout(WITHIN):
            while old.jobs.running():
                await asyncio.sleep(0.01)
        assert len(await new.database.rows("SELECT id FROM procrastinate_jobs WHERE status = 'doing'")) == 1
        new.attempts.end("a", DONE)
        await until(new, "a", Stage.COMPLETED, attempt=2)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("late", [DONE, Failed(code="internal"), Requeued()])
async def test_what_a_worker_that_was_taken_for_dead_says_of_a_task_changes_no_pause_that_was_answered(
    clean_database: str, late: Event
) -> None:
    files = {"video": StoredFile(name="video_a_b.mp4", path="1/video.mp4", size=3, type="video/mp4")}

    class PublishedByIt(NoFiles):
        async def find_published(self, task_id: str, attempt: int) -> Manifest | None:
            return Manifest(attempt=attempt, files=files, video_info=VideoInfo(title="t"))

    async with open_node(clean_database) as old, open_node(clean_database) as new:
        new.supervisor.hold()
        await queue(old, "a")
        await old.attempts.have_begun("a")
        [(job_id,)] = await old.database.rows("SELECT id FROM procrastinate_jobs")
        old.supervisor.hold()
        await new.sweeper.give_back(job_id)
        await new.dispatcher.withdraw("a")
        paused = await new.recorder.record("a", Paused())
        old.attempts.end("a", late)
        async with asyncio.timeout(WITHIN):
            while old.jobs.running():
                await asyncio.sleep(0.01)
        assert (await new.store.get("a")).status == paused
        new.jobs.files = PublishedByIt()
        new.supervisor.release()
        await new.recorder.record("a", Resumed())
        await until(new, "a", Stage.COMPLETED, attempt=1)
        assert (await new.store.get("a")).status.files == files
        assert new.attempts.begun == [], "what was published is not fetched again"


async def test_a_worker_that_was_cut_off_before_an_attempt_leaves_the_task_to_its_successor(
    clean_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.cluster.worker.RETRY_WHILE_STORE_UNAVAILABLE", 0.01)
    async with open_node(clean_database) as old, open_node(clean_database) as new:

        async def cut_off(task_id: str) -> TaskStatus | None:
            old.jobs.run = old.attempts.run
            [(job_id,)] = await new.database.rows("SELECT id FROM procrastinate_jobs")
            await new.sweeper.give_back(job_id)
            new.supervisor.release()
            await new.attempts.have_begun(task_id)
            raise DatabaseAway

        old.jobs.run = cut_off
        new.supervisor.hold()
        await queue(old, "a")
        await new.attempts.have_begun("a")
        async with asyncio.timeout(WITHIN):
            while old.jobs.running():
                await asyncio.sleep(0.01)
        assert old.attempts.begun == []
        new.attempts.end("a", DONE)
        await until(new, "a", Stage.COMPLETED, attempt=1)


async def test_what_a_dead_node_ran_and_has_ended_meanwhile_is_left_alone(
    clean_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_node(clean_database) as old, open_node(clean_database) as new:
        new.supervisor.hold()
        await queue(old, "a")
        await old.attempts.have_begun("a")
        read = new.recorder.read_surely

        async def ends_meanwhile(name: str) -> TaskStatus:
            found = await read(name)
            old.attempts.end("a", DONE)
            async with asyncio.timeout(WITHIN):
                while await jobs_left(new) != (0, 0):
                    await asyncio.sleep(0.01)
            return found

        monkeypatch.setattr(new.recorder, "read_surely", ends_meanwhile)
        await new.sweeper.take_over(old.name)
        assert (await new.store.get("a")).status.stage is Stage.COMPLETED


async def test_a_database_that_is_read_only_for_a_while_ends_no_download(
    clean_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "server.cluster.engine")
    async with open_node(clean_database, at_once=2, heartbeat=0.1) as node:
        await queue(node, "a")
        await node.attempts.have_begun("a")
        with read_only(clean_database):
            async with asyncio.timeout(WITHIN):
                while "the engine waits for the database: cannot execute" not in caplog.text:
                    await asyncio.sleep(0.01)
            with pytest.raises(DatabaseAway):
                await queue(node, "b")
        await queue(node, "b")
        await node.attempts.have_begun("a", "b")
        assert node.attempts.running() == ["a", "b"]
    assert "worker ended" not in caplog.text


async def test_a_connection_that_is_lost_over_a_word_of_the_engine_is_lost_as_over_any_other(
    clean_database: str,
) -> None:
    async with proxied(clean_database) as proxy, open_node(proxy.url) as node:
        proxy.cut_before = once(b"procrastinate_defer_jobs")
        await queue(node, "a")  # the job is deferred again
        await node.attempts.have_begun("a")
        proxy.cut_before = once(b"procrastinate_cancel_job")
        with pytest.raises(DatabaseAway):
            await node.dispatcher.withdraw("a")
        await node.dispatcher.withdraw("a")
        assert node.attempts.running() == []


async def test_a_transaction_that_is_ended_before_a_word_of_the_engine_is_ended_as_before_any_other(
    clean_database: str,
) -> None:
    """The transaction of a node that hung is ended by the database."""

    async def stand_still(node: Node) -> None:
        async with node.database.transaction() as db:
            await db.execute("SET LOCAL idle_in_transaction_session_timeout = '100ms'")
            ended = "SELECT FROM pg_stat_activity WHERE pid = %s"
            async with asyncio.timeout(WITHIN):
                while await node.database.rows(ended, db.info.backend_pid):
                    await asyncio.sleep(0.02)
            await node.sweeper._admission._make(db, [("a", 0, None, None)])

    async with open_node(clean_database) as node:
        with pytest.raises(DatabaseBusy):
            await stand_still(node)


async def test_an_attempt_waits_for_a_bucket_that_cannot_say_what_was_published(
    clean_database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("server.cluster.worker.DISK_DELAY", 0.1)
    asked: list[int] = []
    is_away = True

    class AwayAtFirst(NoFiles):
        async def find_published(self, task_id: str, attempt: int) -> Manifest | None:
            asked.append(attempt)
            if is_away:
                raise StorageAway
            return None

    async with open_node(clean_database) as node:
        node.jobs.files = AwayAtFirst()
        await queue(node, "a")
        await node.attempts.have_begun("a")
        node.attempts.end("a", Requeued())
        async with asyncio.timeout(WITHIN):
            while len(asked) < 2 or (await node.store.get("a")).status.waiting != STORAGE_AWAY:
                await asyncio.sleep(0.01)
        is_away = False
        await until(node, "a", Stage.INFO, attempt=2)
    assert set(asked) == {1}
    assert "WARNING" not in caplog.text, "the bucket says it, once for all tasks"


async def test_a_retry_that_waits_for_its_time_leaves_its_place_to_others(clean_database: str) -> None:
    async with open_node(clean_database, at_once=2, per_host=1) as node:
        for name in "ab":
            await queue(node, name)
        await node.attempts.have_begun("a")
        node.attempts.end("a", Requeued(because="next_attempt", after=3600))
        await node.attempts.have_begun("a", "b")


@pytest.mark.parametrize("per_host", [0, 1])
async def test_a_retry_waits_no_longer_than_was_meant_though_a_clock_was_ahead(
    clean_database: str, per_host: int
) -> None:
    class Ahead(Clock):
        def now(self) -> datetime:
            return super().now() + timedelta(minutes=10)

    async with open_node(clean_database, per_host=per_host) as node:
        await queue(node, "a")
        await node.attempts.have_begun("a")
        node.attempts.recorder = Recorder(node.store, Hub(), Ahead())
        node.attempts.end("a", Requeued(because="next_attempt", after=0.2))
        await node.attempts.have_begun("a", "a")


async def test_a_task_goes_on_where_its_partial_files_are(clean_database: str) -> None:
    async with (
        open_node(clean_database, node_alive=60) as one,
        open_node(clean_database, node_alive=60) as other,
    ):
        other.supervisor.hold()
        await queue(one, "a")
        await one.attempts.have_begun("a")
        other.supervisor.release()
        for attempt in range(2, 5):
            one.attempts.end("a", Requeued())
            await one.attempts.have_begun(*["a"] * attempt)
        assert other.attempts.begun == []


async def test_where_all_nodes_share_the_partial_files_no_node_is_waited_for(clean_database: str) -> None:
    async with open_node(clean_database) as one, open_node(clean_database) as other:
        other.supervisor.hold()
        await queue(one, "a")
        await one.attempts.have_begun("a")
        # A heartbeat may be newer than the transaction that queues the task again.
        newer = "UPDATE nodes SET heartbeat_at = now() + interval '1 h' WHERE node_id = %s RETURNING node_id"
        one.supervisor.hold()
        other.supervisor.release()
        await one.database.rows(newer, one.name)
        one.attempts.end("a", Requeued())
        await other.attempts.have_begun("a")


async def test_a_task_that_finds_no_room_is_not_held_where_its_partial_files_are(clean_database: str) -> None:
    async with (
        open_node(clean_database, node_alive=60) as one,
        open_node(clean_database, node_alive=60) as other,
    ):
        other.supervisor.hold()
        await queue(one, "a")
        await one.attempts.have_begun("a")
        await one.recorder.record("a", SpaceNeeded(needs=1 << 40), 1)
        one.supervisor.hold()
        other.supervisor.release()
        one.attempts.end("a", Requeued(because=DISK_FULL, after=0.1))
        await other.attempts.have_begun("a")


async def test_a_task_whose_partial_files_are_on_a_node_that_is_gone_begins_anew_elsewhere(
    clean_database: str,
) -> None:
    async with open_node(clean_database, judges_at_once=True, node_alive=60) as node:
        node.supervisor.hold()
        await queue(node, "a")
        gone = (
            "INSERT INTO nodes (node_id, roles, settings) VALUES ('gone', '{worker}', '') RETURNING node_id"
        )
        await node.database.rows(gone)
        await node.dispatcher.withdraw("a")
        await node.database.rows("UPDATE tasks SET node = 'gone' RETURNING number")
        await node.recorder.record("a", Paused())
        await node.recorder.record("a", Resumed())
        assert await node.database.rows("SELECT queue_name FROM procrastinate_jobs") == [("node-gone",)]
        silent = "UPDATE nodes SET heartbeat_at = '2020-01-01' WHERE node_id = 'gone' RETURNING node_id"
        await node.database.rows(silent)
        node.supervisor.release()
        await node.attempts.have_begun("a")
        async with asyncio.timeout(WITHIN):
            while await node.database.rows("SELECT node_id FROM nodes WHERE node_id = 'gone'"):
                await asyncio.sleep(0.02)


async def test_a_pause_that_one_node_is_told_of_holds_them_all(clean_database: str) -> None:
    async with two_nodes(clean_database) as (one, other):
        await other.dispatcher.pause()
        for name in "ab":
            await queue(one, name)
        async with asyncio.timeout(WITHIN):
            while await jobs_left(one) != (0, 0):
                await asyncio.sleep(0.02)
        assert one.attempts.begun == []
        await one.dispatcher.withdraw("b")
        await one.dispatcher.resume()
        await one.attempts.have_begun("a")


async def test_a_worker_that_takes_a_job_beside_a_pause_gives_it_back(clean_database: str) -> None:
    async with open_node(clean_database) as node:
        node.supervisor.hold()
        await queue(node, "a")
        assert await jobs_left(node) == (1, 1)
        await node.database.rows("INSERT INTO pauses VALUES ('all') RETURNING queue")
        node.supervisor.release()
        async with asyncio.timeout(WITHIN):
            while await jobs_left(node) != (0, 0):
                await asyncio.sleep(0.02)
        assert node.attempts.begun == []
        await node.dispatcher.resume()
        await node.attempts.have_begun("a")
