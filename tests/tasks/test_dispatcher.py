"""The contract of `Dispatcher`: order, limits, withdrawals. Each backend runs it, with its own scenes."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from server.core.clock import Clock
from server.core.errors import DiskFull, OverLimit, StorageFailed, TooManyRunning
from server.core.events import (
    Cancelled,
    Completed,
    Event,
    Failed,
    Paused,
    Prioritized,
    Requeued,
    Resumed,
    Retried,
    StartAsked,
)
from server.core.task import Stage, Task
from server.storage.sqlite import SqliteStore
from server.tasks.dispatcher import LocalDispatcher
from tests.attempts import WITHIN, OpenScene, Scene, local_scenes
from tests.cluster.node import shared_scenes
from tests.examples import new_task

DONE = Completed(files={})


@pytest.fixture(params=["local", "shared"])
def open_scene(request: pytest.FixtureRequest, tmp_path: Path) -> OpenScene:
    if request.param == "local":
        return local_scenes(tmp_path)
    return shared_scenes(request.getfixturevalue("clean_database"))


async def withdrawn(scene: Scene, *names: str) -> None:
    async with asyncio.timeout(WITHIN):
        for name in names:
            await scene.dispatcher.withdraw(name)


async def says(scene: Scene, name: str, waiting: str | None) -> None:
    async with asyncio.timeout(WITHIN):
        while (await scene.store.get(name)).status.waiting != waiting:
            await asyncio.sleep(0.01)


async def has_room_to_start(scene: Scene) -> None:
    async with asyncio.timeout(WITHIN):
        while True:
            with suppress(TooManyRunning):
                return await scene.dispatcher.check_room_to_start()
            await asyncio.sleep(0.01)


async def test_no_more_run_at_once_than_allowed(open_scene: OpenScene) -> None:
    async with open_scene(at_once=3) as scene:
        for name in "abcde":
            await scene.queue(name)
        await scene.attempts.have_begun_together("a", "b", "c")
        scene.attempts.end("b", DONE)
        await scene.attempts.have_begun_together("a", "b", "c", "d")
        assert scene.attempts.most[""] == 3


async def test_a_list_is_read_beside_what_downloads_but_not_while_the_queue_is_paused(tmp_path: Path) -> None:
    async with local_scenes(tmp_path)(at_once=1) as scene:
        await scene.dispatcher.pause()
        for name, is_list in (("a", False), ("b", False), ("c", True), ("d", True)):
            await scene.queue(name, playlist=is_list)
        assert scene.attempts.begun == []
        await scene.dispatcher.resume()
        await scene.attempts.have_begun_together("a", "c")
        scene.attempts.end("c", DONE)
        await scene.attempts.have_begun_together("a", "c", "d")
        assert scene.attempts.most[""] == 2
        scene.attempts.end("a", DONE)
        await scene.attempts.have_begun_together("a", "b", "c", "d")
        await scene.queue("e", playlist=True)
        scene.attempts.end("b", DONE)  # no waiting download takes the free slot
        await scene.attempts.have_begun_together("a", "b", "c", "d", "e")


async def test_after_a_restart_a_list_is_still_known_to_be_one(tmp_path: Path) -> None:
    async with local_scenes(tmp_path)() as scene:
        await scene.dispatcher.pause()
        for name, is_list in (("a", False), ("b", True)):
            await scene.queue(name, playlist=is_list)
        assert isinstance(scene.store, SqliteStore)
        assert [each.is_list async for each in scene.store.queued()] == [False, True]


async def test_a_host_gets_no_more_than_its_share(open_scene: OpenScene) -> None:
    async with open_scene(at_once=4, per_host=1) as scene:
        for name, host in (("a", "one"), ("b", "one:81"), ("c", "two"), ("d", "ONE")):
            await scene.queue(name, host)
        await scene.attempts.have_begun_together("a", "c")
        scene.attempts.end("a", DONE)
        await scene.attempts.have_begun_together("a", "c", "b")
        scene.attempts.end("b", Failed(code="http_404"))
        await scene.attempts.have_begun_together("a", "c", "b", "d")
        assert scene.attempts.most["one"] == 1


async def test_a_host_whose_place_is_taken_holds_up_no_other(open_scene: OpenScene) -> None:
    async with open_scene(at_once=2, per_host=1) as scene:
        for name, host in (("a", "one"), ("b", "one"), ("c", "two")):
            await scene.queue(name, host)
        await scene.attempts.have_begun_together("a", "c")


@pytest.mark.wide
async def test_the_next_task_of_a_busy_host_says_that_it_waits_for_a_place(open_scene: OpenScene) -> None:
    async with open_scene(at_once=3, per_host=1) as scene:
        for name, host in (("a", "one"), ("b", "one"), ("c", "one"), ("d", "two")):
            await scene.queue(name, host)
        await scene.attempts.have_begun_together("a", "d")
        await says(scene, "b", "host_busy")
        assert (await scene.store.get("c")).status.revision == 1, "it waits for b"
        scene.attempts.end("a", DONE)
        await scene.attempts.have_begun_together("a", "d", "b")
        assert (await scene.store.get("b")).status.waiting is None
        await says(scene, "c", "host_busy")


async def test_a_task_waits_for_its_turn_alone_once_its_host_has_a_place(tmp_path: Path) -> None:
    async with local_scenes(tmp_path)(at_once=2, per_host=1) as scene:
        for name, host in (("a", "one"), ("b", "two"), ("first", "three"), ("c", "one")):
            await scene.queue(name, host)
        await says(scene, "c", "host_busy")
        scene.attempts.end("a", DONE)
        await scene.attempts.have_begun_together("a", "b", "first")
        await says(scene, "c", None)


@pytest.mark.parametrize("per_host", [0, 1])
async def test_the_higher_priority_is_next_and_then_the_older(open_scene: OpenScene, per_host: int) -> None:
    async with open_scene(per_host=per_host) as scene:
        for name in "abcd":
            await scene.queue(name)
        await scene.attempts.have_begun("a")
        await scene.record("c", Prioritized(priority=5))
        await scene.record("d", Prioritized(priority=-1))
        for before, name in (("a", "c"), ("c", "b"), ("b", "d")):
            scene.attempts.end(before, DONE)
            await scene.attempts.until(lambda name=name: scene.attempts.begun[-1] == name)  # type: ignore[misc]
        await scene.attempts.have_begun(*"acbd")


async def test_a_withdrawn_task_is_stopped_and_does_not_come_back(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        for name in "abc":
            await scene.queue(name)
        await scene.attempts.have_begun("a")
        await withdrawn(scene, "b", "a")
        await scene.attempts.have_begun("a", "c")
        scene.attempts.end("c", DONE)
        await scene.queue("d")
        await scene.attempts.have_begun("a", "c", "d")


@pytest.mark.parametrize("event", [Cancelled(), Paused()])
async def test_what_was_withdrawn_frees_its_place(open_scene: OpenScene, event: Event) -> None:
    async with open_scene(at_once=2, per_host=1) as scene:
        for name in "abc":
            await scene.queue(name)
        await scene.attempts.have_begun("a")
        await withdrawn(scene, "b")
        await scene.record("b", event)
        await withdrawn(scene, "a")
        await scene.record("a", event)
        await scene.attempts.have_begun("a", "c")


async def test_a_paused_task_goes_on_when_it_is_resumed(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        await scene.queue("a")
        await scene.attempts.have_begun("a")
        await withdrawn(scene, "a")
        await scene.record("a", Paused())
        await scene.record("a", Resumed())
        await scene.attempts.have_begun("a", "a")


async def test_a_task_that_is_queued_again_gets_its_next_attempt(open_scene: OpenScene) -> None:
    async with open_scene(per_host=1) as scene:
        await scene.queue("a")
        await scene.attempts.have_begun("a")
        scene.attempts.end("a", Requeued())
        await scene.attempts.have_begun("a", "a")


async def test_a_retry_while_its_attempt_still_ends_gets_another(open_scene: OpenScene) -> None:
    async with open_scene(per_host=1) as scene:
        await scene.queue("a")
        await scene.attempts.have_begun("a")
        await scene.record("a", Failed(code="internal"))  # the attempt has not noticed this yet
        await scene.record("a", Retried())
        scene.attempts.end("a", None)
        await scene.attempts.have_begun("a", "a")


async def test_a_withdrawal_wins_over_an_attempt_that_just_ended(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        await scene.queue("a")
        await scene.attempts.have_begun("a")
        scene.attempts.end("a", Requeued())  # the attempt would be repeated at once
        await withdrawn(scene, "a")
        begun = len(scene.attempts.begun)
        await scene.queue("b")
        await scene.attempts.until(lambda: "b" in scene.attempts.begun)
        scene.attempts.end("b", DONE)
        await scene.queue("c")
        await scene.attempts.until(lambda: "c" in scene.attempts.begun)
        assert scene.attempts.begun[begun:] == ["b", "c"]


async def test_a_later_attempt_waits_until_its_time_and_holds_up_no_other(open_scene: OpenScene) -> None:
    async with open_scene(per_host=1) as scene:
        for name in "abc":
            await scene.queue(name)
        await scene.attempts.have_begun("a")
        scene.attempts.end("a", Requeued(because="next_attempt", after=3600))
        await scene.attempts.have_begun("a", "b")
        scene.attempts.end("b", Requeued(because="next_attempt", after=1.5))
        await scene.attempts.until(lambda: len(scene.attempts.begun) == 3)
        last = scene.attempts.begun[-1]
        scene.attempts.end(last, DONE)
        await scene.attempts.until(lambda: len(scene.attempts.begun) == 4)
        assert sorted(scene.attempts.begun) == ["a", "b", "b", "c"]


@pytest.mark.parametrize("per_host", [0, 1])
async def test_the_rank_outranks_the_priority(open_scene: OpenScene, per_host: int) -> None:
    async with open_scene(per_host=per_host) as scene:
        for name in "abcd":
            await scene.queue(name)
        await scene.attempts.have_begun("a")
        await scene.record("b", Prioritized(priority=10, rank=-1))
        await scene.record("c", Prioritized(priority=10))
        await scene.record("d", Prioritized(priority=-10, rank=1))
        for before, name in (("a", "d"), ("d", "c"), ("c", "b")):
            scene.attempts.end(before, DONE)
            await scene.attempts.until(lambda name=name: scene.attempts.begun[-1] == name)  # type: ignore[misc]
        await scene.attempts.have_begun(*"adcb")


@pytest.mark.parametrize("per_host", [0, 1])
async def test_a_task_that_is_started_begins_beyond_all_limits(open_scene: OpenScene, per_host: int) -> None:
    async with open_scene(per_host=per_host) as scene:
        tasks = {name: await scene.queue(name) for name in "abcd"}
        await scene.attempts.have_begun("a")
        await scene.dispatcher.start(tasks["c"])
        await scene.attempts.have_begun("a", "c")
        await scene.dispatcher.start(tasks["c"])
        await scene.dispatcher.start(tasks["d"])
        await scene.attempts.have_begun("a", "c", "d")
        for name in "acd":
            scene.attempts.end(name, DONE)
        await scene.attempts.have_begun("a", "c", "d", "b")


async def test_what_is_started_beyond_the_limit_runs_four_times_as_much_at_most(
    open_scene: OpenScene,
) -> None:
    async with open_scene() as scene:
        tasks = {name: await scene.queue(name) for name in "abcdefg"}
        await scene.attempts.have_begun("a")
        for name in "fed":
            await scene.dispatcher.check_room_to_start()
            await scene.dispatcher.start(tasks[name])
        with pytest.raises(TooManyRunning):
            await scene.dispatcher.check_room_to_start()
        await scene.attempts.have_begun_together("a", "d", "e", "f")
        with pytest.raises(TooManyRunning) as refused:
            await scene.dispatcher.check_room_to_start()
        assert refused.value.values["most"] == 4
        scene.attempts.end("f", DONE)
        await has_room_to_start(scene)
        await scene.dispatcher.start(tasks["g"])
        await scene.attempts.have_begun_together("a", "d", "e", "f", "g")
        assert scene.attempts.most[""] == 4


async def test_a_task_that_was_started_beyond_the_limit_is_stopped_like_any_other(
    open_scene: OpenScene,
) -> None:
    async with open_scene() as scene:
        tasks = {name: await scene.queue(name) for name in "ab"}
        await scene.attempts.have_begun("a")
        await scene.dispatcher.start(tasks["b"])
        await scene.attempts.have_begun("a", "b")
        await withdrawn(scene, "b")
        assert scene.attempts.running() == ["a"]


async def test_a_start_whose_notification_is_lost_takes_a_little_longer(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.cluster.job_dispatcher.WISHES", "nobody_listens")
    monkeypatch.setattr("server.cluster.worker.POLL_WISHES_EVERY", 0.1)
    async with open_scene() as scene:
        tasks = {name: await scene.queue(name) for name in "ab"}
        await scene.attempts.have_begun("a")
        await scene.dispatcher.start(tasks["b"])
        await scene.attempts.have_begun("a", "b")


async def test_a_task_begins_before_its_delay_is_over_if_it_is_started(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        await scene.queue("a")
        await scene.attempts.have_begun("a")
        scene.attempts.end("a", Requeued(because="next_attempt", after=60))
        async with asyncio.timeout(WITHIN):
            while (await scene.store.get("a")).status.stage is not Stage.QUEUED:
                await asyncio.sleep(0.01)
        await scene.recorder.record("a", StartAsked())
        await scene.dispatcher.start(await scene.store.get("a"))
        await scene.attempts.have_begun("a", "a")


async def test_while_nothing_may_begin_a_started_task_waits_as_well(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        await scene.dispatcher.pause()
        task = await scene.queue("a")
        await scene.queue("b")
        await scene.dispatcher.start(task)
        await withdrawn(scene, "b")  # takes longer than a start of the task would
        assert scene.attempts.begun == []
        await scene.dispatcher.resume()
        await scene.attempts.have_begun("a")


async def test_while_held_nothing_begins(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        scene.dispatcher.hold()
        await scene.queue("a")
        await scene.queue("b")
        await withdrawn(scene, "a")  # takes longer than a start of the task would
        assert scene.attempts.begun == []
        scene.dispatcher.release()
        await scene.attempts.have_begun("b")


async def test_what_runs_while_held_can_be_withdrawn(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        await scene.queue("a")
        await scene.attempts.have_begun("a")
        scene.dispatcher.hold()
        await withdrawn(scene, "a")
        assert scene.attempts.running() == []


@pytest.mark.parametrize("per_host", [0, 1])
async def test_while_the_queue_is_paused_nothing_begins_and_what_runs_goes_on(
    open_scene: OpenScene, per_host: int
) -> None:
    async with open_scene(per_host=per_host) as scene:
        for name in "abc":
            await scene.queue(name)
        await scene.attempts.have_begun("a")
        await scene.dispatcher.pause()
        await scene.dispatcher.pause()
        assert await scene.dispatcher.is_paused()
        scene.attempts.end("a", Requeued(because="next_attempt"))
        await scene.queue("d", "other.test")
        await withdrawn(scene, "b")  # takes longer than a start of the task would
        assert scene.attempts.begun == ["a"]
        assert (await scene.store.get("c")).status.stage is Stage.QUEUED
        await scene.dispatcher.resume()
        assert not await scene.dispatcher.is_paused()
        for so_many in (2, 3, 4):
            await scene.attempts.until(lambda: len(scene.attempts.begun) == so_many)  # noqa: B023
            scene.attempts.end(scene.attempts.begun[-1], DONE)
        assert sorted(scene.attempts.begun) == ["a", "a", "c", "d"]


async def test_a_pause_and_a_hold_do_not_end_each_other(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        await scene.dispatcher.pause()
        scene.dispatcher.hold()
        await scene.queue("a")
        await scene.queue("b")
        scene.dispatcher.release()
        await withdrawn(scene, "b")
        scene.dispatcher.hold()
        await scene.dispatcher.resume()
        await scene.queue("c")
        await withdrawn(scene, "c")
        assert scene.attempts.begun == []
        scene.dispatcher.release()
        await scene.attempts.have_begun("a")


async def test_a_pause_outlasts_a_restart(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        await scene.queue("a")
        await scene.attempts.have_begun("a")
        scene.attempts.end("a", DONE)
        await scene.dispatcher.pause()
        async with asyncio.timeout(WITHIN):  # otherwise "a" would go on after the restart
            while not (await scene.store.get("a")).status.stage.is_final:
                await asyncio.sleep(0.01)
    async with open_scene() as scene:
        assert await scene.dispatcher.is_paused()
        await scene.queue("b")
        await scene.queue("c")
        await withdrawn(scene, "c")
        assert scene.attempts.begun == []
        await scene.dispatcher.resume()
        await scene.attempts.have_begun("b")


async def test_a_beginning_that_could_not_be_saved_is_tried_again(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("server.tasks.dispatcher", "server.cluster.worker"):
        monkeypatch.setattr(f"{module}.RETRY_WHILE_STORE_UNAVAILABLE", 0)
    async with open_scene() as scene:
        task = await scene.queue("a")
        await scene.attempts.have_begun("a")
        await scene.record("a", Requeued())
        scene.attempts.end("a", DiskFull())
        await scene.attempts.have_begun("a", "a")
        assert (await scene.store.get("a")).status.number == task.status.number


async def test_an_attempt_that_breaks_frees_its_place(
    open_scene: OpenScene, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_scene() as scene:
        for name in "ab":
            await scene.queue(name)
        await scene.attempts.have_begun("a")
        scene.attempts.end("a", RuntimeError("broken"))
        await scene.attempts.have_begun("a", "b")
        assert "broken" in caplog.text


@pytest.mark.parametrize("event", [DONE, Failed(code="http_404"), Paused(), None])
async def test_what_is_not_queued_is_not_begun_again(open_scene: OpenScene, event: Event | None) -> None:
    async with open_scene() as scene:
        await scene.queue("a")
        await scene.attempts.have_begun("a")
        scene.attempts.end("a", event)
        await scene.queue("b")
        await scene.attempts.have_begun("a", "b")
        assert (await scene.store.get("a")).status.stage is not Stage.QUEUED


async def test_what_runs_is_known(open_scene: OpenScene) -> None:
    async with open_scene(at_once=2) as scene:
        for name in "abc":
            await scene.queue(name)
        await scene.attempts.have_begun_together("a", "b")
        assert sorted(scene.dispatcher.running()) == ["a", "b"]


async def test_who_drains_begins_nothing_and_waits_for_the_end_of_what_runs(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        await scene.queue("a")
        await scene.attempts.have_begun("a")
        await scene.queue("b")
        draining = asyncio.create_task(scene.dispatcher.drain())
        await scene.queue("c")
        await withdrawn(scene, "b")  # takes longer than a start of the task would
        scene.dispatcher.release()
        assert not draining.done()
        scene.attempts.end("a", DONE)
        async with asyncio.timeout(WITHIN):
            await draining
            await scene.dispatcher.drain()
        assert scene.attempts.begun == ["a"]


async def test_closing_stops_all_at_once_and_begins_nothing(open_scene: OpenScene) -> None:
    async with open_scene(at_once=2) as scene:
        for name in "abc":
            await scene.queue(name)
        await scene.attempts.have_begun_together("a", "b")
        async with asyncio.timeout(WITHIN):
            await scene.close()
        await scene.attempts.have_begun_together("a", "b")
        assert scene.dispatcher.running() == []


async def test_who_finishes_a_task_waits_for_the_end_of_its_attempt(open_scene: OpenScene) -> None:
    async with open_scene() as scene:
        await scene.queue("a")
        await scene.attempts.have_begun("a")
        finishing = asyncio.create_task(scene.dispatcher.finish("a"))
        await scene.attempts.until(lambda: scene.attempts.told == ["a"])
        assert not finishing.done()
        scene.attempts.end("a", DONE)
        async with asyncio.timeout(WITHIN):
            await finishing
            # No attempt runs: nobody is told to finish, and the call returns.
            await scene.dispatcher.finish("a")
        assert scene.attempts.told == ["a"]


async def test_a_task_waits_for_its_next_attempt_though_the_store_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.tasks.dispatcher.RETRY_WHILE_STORE_UNAVAILABLE", 0)
    async with local_scenes(tmp_path)(at_once=1) as scene:
        get = scene.store.get
        refused: list[str] = []

        async def fail_once(task_id: str) -> Task:
            if not refused:
                refused.append(task_id)
                raise StorageFailed
            return await get(task_id)

        await scene.queue("a")
        await scene.attempts.have_begun("a")
        queued = await scene.recorder.record("a", Requeued())
        monkeypatch.setattr(scene.store, "get", fail_once)
        scene.attempts.end("a", queued)
        await scene.attempts.have_begun("a", "a")


async def test_a_wait_is_over_in_time_although_the_machine_has_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.tasks.dispatcher.LONGEST_TIMER", 0.01)
    slept, begun = 0.0, asyncio.Event()

    async def run(_: str, __: object) -> None:
        begun.set()

    async def say(_: str, __: bool) -> None: ...

    async def keep(_: bool) -> None: ...

    clock = Clock(steady=lambda: slept)
    dispatcher = LocalDispatcher(run, 1, 0, lambda _: None, clock, keep, say, paused=False)
    task = new_task()
    waits = task.status.model_copy(update={"not_before": clock.now() + timedelta(hours=1)})
    dispatcher.submit(replace(task, status=waits))
    await asyncio.sleep(0.05)
    assert not begun.is_set()
    slept = 3601.0
    async with asyncio.timeout(WITHIN):
        await begun.wait()
    await dispatcher.aclose()


async def test_people_take_turns_and_begin_no_more_than_their_share(open_scene: OpenScene) -> None:
    async with open_scene(at_once=2) as scene:
        shares = scene.shares
        shares.change({}, take_turns=True)
        for name in ("a1", "a2", "a3"):
            await scene.queue(name, owner="anna")
        await scene.queue("b1", owner="bob")
        await scene.attempts.have_begun_together("a1", "a2")
        scene.attempts.end("a1", DONE)
        # Bob has none running, so his task goes before a second one of anna.
        await scene.attempts.have_begun_together("a1", "a2", "b1")
        shares.change({"anna": 1}, take_turns=True)
        scene.attempts.end("b1", DONE)
        with pytest.raises(OverLimit) as refused:
            await scene.dispatcher.check_room_to_start("anna")
        assert refused.value.extra == {"limit": "max_running", "most": 1, "used": 1}
        await scene.queue("c1")
        await scene.attempts.have_begun_together("a1", "a2", "b1", "c1")
        scene.attempts.end("c1", DONE)
        await scene.dispatcher.check_room_to_start("bob")
        # Takes effect at once, without another change of the queue.
        shares.change({"anna": 2}, take_turns=True)
        await scene.attempts.have_begun_together("a1", "a2", "b1", "c1", "a3")


async def test_whose_a_task_is_is_known_after_a_restart(tmp_path: Path) -> None:
    async with local_scenes(tmp_path)(at_once=0) as scene:
        await scene.queue("a", owner="anna")
        await scene.queue("b")
    async with local_scenes(tmp_path)(at_once=0) as scene:
        assert isinstance(scene.store, SqliteStore)
        found = [queued async for queued in scene.store.queued()]
        assert [(queued.task_id, queued.owner) for queued in found] == [("a", "anna"), ("b", None)]
