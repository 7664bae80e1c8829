"""`start_at`: a task that may not begin yet stays in the queue, whatever happens meanwhile."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from server.assembly import Backend
from server.core.clock import Clock
from server.core.events import Cancelled, Failed, Paused, Requeued, Resumed, Retried, apply
from server.core.process_request import ProcessRequest
from server.core.task import Stage, TaskStatus
from server.tasks.dispatcher import LocalDispatcher
from server.tasks.remedies import RETRY_LATER_AFTER
from tests.adding import accept, add
from tests.attempts import OpenScene, Scene, local_scenes
from tests.cluster.node import shared_scenes
from tests.core.test_clock import Hands
from tests.examples import new_task
from tests.tasks.test_faults import backend, reached

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
SOON = NOW + timedelta(hours=5)


def scheduled(**fields: Any) -> TaskStatus:
    request = ProcessRequest(url="http://media.test/a", start_at="2026-01-31T13:00:00Z", **fields)  # type: ignore[arg-type]
    return TaskStatus.new(request, NOW)


@pytest.mark.parametrize(
    ("text", "hour"),
    [("2026-01-31T13:00:00Z", 13), ("2026-01-31T21:00+08:00", 13), ("2026-01-31t13:00:00.5z", 13)],
)
def test_a_time_is_taken_with_its_zone(text: str, hour: int) -> None:
    found = ProcessRequest.model_validate({"url": "http://a/", "start_at": text}).start_at
    assert found is not None
    assert (found.tzinfo, found.hour) == (UTC, hour)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T13:00:00", "2026-01-31", "2026-02-30T13:00:00Z", "tomorrow", "1769864400",
        1769864400, True,
        "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "２026-01-31T13:00:00Z", [], {},
    ],
)  # fmt: skip
def test_a_start_at_that_is_no_time_with_a_zone_is_refused_by_name(text: object) -> None:
    with pytest.raises(ValidationError) as refused:
        ProcessRequest.model_validate({"url": "http://a/", "start_at": text})
    assert [(error["loc"], error["type"]) for error in refused.value.errors()] == [(("start_at",), "instant")]


def test_a_scheduled_task_says_what_it_waits_for() -> None:
    status = scheduled()
    assert (status.stage, status.waiting, status.not_before) == (Stage.QUEUED, "scheduled", SOON)
    past = TaskStatus.new(ProcessRequest(url="http://a/", start_at="2026-01-31T08:00:00Z"), NOW)  # type: ignore[arg-type]
    assert (past.stage, past.waiting, past.not_before) == (Stage.QUEUED, None, None)


@pytest.mark.parametrize(("stop", "go_on"), [(Paused(), Resumed()), (Cancelled(), Retried())])
def test_a_scheduled_task_that_was_stopped_and_goes_on_still_waits_for_its_time(
    stop: Any, go_on: Any
) -> None:
    stopped = apply(scheduled(), stop, NOW)
    assert stopped.waiting is None
    again = apply(stopped, go_on, NOW)
    assert (again.stage, again.waiting, again.not_before) == (Stage.QUEUED, "scheduled", SOON)
    late = apply(stopped, go_on, SOON)
    assert (late.stage, late.waiting, late.not_before) == (Stage.QUEUED, None, None)


def test_a_scheduled_task_that_begins_as_paused_waits_for_its_time_once_it_is_resumed() -> None:
    status = scheduled(auto_start=False)
    assert (status.stage, status.waiting) == (Stage.PAUSED, None)
    assert apply(status, Resumed(), NOW).waiting == "scheduled"


def test_the_second_attempt_of_a_scheduled_task_waits_for_other_reasons() -> None:
    again = apply(scheduled(), Requeued(because="next_attempt", after=1), SOON)
    assert (again.waiting, again.not_before) == ("next_attempt", SOON + timedelta(seconds=1))


# --- a scheduled task begins in time, and not before ---


@pytest.fixture(params=["local", "shared"])
def open_scene(request: pytest.FixtureRequest, tmp_path: Path) -> OpenScene:
    if request.param == "local":
        return local_scenes(tmp_path)
    return shared_scenes(request.getfixturevalue("clean_database"))


async def queue(scene: Scene, name: str, seconds: float) -> None:
    at = Clock().now() + timedelta(seconds=seconds)
    fresh = new_task(f"http://media.test/{name}")
    status = fresh.status.model_copy(
        update={"task_id": name, "waiting": "scheduled", "start_at": at, "not_before": at}
    )
    scene.dispatcher.submit(await add(scene.store, type(fresh)(fresh.request, status)))


@pytest.mark.parametrize("per_host", [0, 1])
async def test_a_scheduled_task_lets_others_pass_and_begins_when_it_is_time(
    open_scene: OpenScene, per_host: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.tasks.dispatcher.LONGEST_TIMER", 0.2)
    async with open_scene(per_host=per_host, at_once=2) as scene:
        await queue(scene, "in_a_year", 365 * 86400)
        await scene.queue("at_once", "other.test")
        await scene.attempts.have_begun("at_once")
        began = asyncio.get_running_loop().time()
        await queue(scene, "in_a_moment", 2)
        await scene.attempts.have_begun("at_once", "in_a_moment")
        assert asyncio.get_running_loop().time() - began > 1.9


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    monkeypatch.setattr("server.tasks.dispatcher.CHECK_WALL_CLOCK_EVERY", 0.01)
    return Hands()


async def scheduled_at(opened: Backend, hands: Hands, seconds: float) -> TaskStatus:
    """Make a task that may begin in so many seconds, by the clock of the machine."""
    start_at = datetime.fromtimestamp(hands.wall + seconds, UTC)
    request = ProcessRequest(url="http://127.0.0.9:9/v.mp4", start_at=start_at.isoformat())  # type: ignore[arg-type]
    return await accept(opened.kernel.tasks, request)


async def test_a_clock_that_is_set_right_starts_what_is_due_and_nothing_else(
    tmp_path: Path, hands: Hands
) -> None:
    async with backend(tmp_path, clock=hands.clock(), retries=0) as opened:
        due, later = [await scheduled_at(opened, hands, seconds) for seconds in (1800, 7200)]
        assert [status.waiting for status in (due, later)] == ["scheduled"] * 2
        hands.jump(3600)
        await reached(opened, due.task_id, Stage.FAILED)
        assert await opened.kernel.tasks.status(later.task_id) == later
        at_once = await scheduled_at(opened, hands, -1)
        await reached(opened, at_once.task_id, Stage.FAILED)
        assert await opened.kernel.tasks.status(later.task_id) == later


async def test_a_clock_that_was_set_back_starts_nothing_early(tmp_path: Path, hands: Hands) -> None:
    async with backend(tmp_path, clock=hands.clock(), retries=0) as opened:
        hands.jump(-3600)
        soon = await scheduled_at(opened, hands, 1800)
        assert soon.waiting == "scheduled"
        stopped = await opened.kernel.tasks.pause((await scheduled_at(opened, hands, 1800)).task_id)
        assert (await opened.kernel.tasks.resume(stopped.task_id)).waiting == "scheduled"
        cancelled = await opened.kernel.tasks.cancel((await scheduled_at(opened, hands, 1800)).task_id)
        assert (await opened.kernel.tasks.retry(cancelled.task_id)).waiting == "scheduled"
        at_once = await scheduled_at(opened, hands, -1)
        await reached(opened, at_once.task_id, Stage.FAILED)
        assert (await opened.kernel.tasks.status(soon.task_id)).attempt == 0
        hands.go_on(1801)
        for status in (soon, stopped, cancelled):
            await reached(opened, status.task_id, Stage.FAILED)


async def test_a_remedy_that_waits_goes_by_the_same_clock(tmp_path: Path, hands: Hands) -> None:
    async with backend(tmp_path, clock=hands.clock(), retries=0) as opened:
        task = await scheduled_at(opened, hands, 7200)
        await opened.kernel.tasks._recorder.record(task.task_id, Failed(code="timeout"))
        hands.jump(3600)
        later = await opened.kernel.tasks.repair(task.task_id, "retry_later", {})
        assert later.start_at == datetime.fromtimestamp(hands.wall, UTC) + timedelta(
            seconds=RETRY_LATER_AFTER
        )
        assert (later.waiting, later.not_before) == ("scheduled", later.start_at)


async def test_a_broadcast_is_checked_when_its_time_comes_by_the_clock_on_the_wall(hands: Hands) -> None:
    begun, clock = list[str](), hands.clock()

    async def run(task_id: str, _: object) -> None:
        begun.append(task_id)

    async def say(_: str, __: bool) -> None: ...

    async def keep(_: bool) -> None: ...

    dispatcher = LocalDispatcher(run, 1, 0, lambda _: None, clock, keep, say, paused=False)
    for name, begins_in in (("late", -60), ("soon", 1800), ("later", 7200)):
        fresh = new_task()
        waits: dict[str, Any] = {
            "task_id": name,
            "waiting": "not_live_yet",
            "not_before": clock.now() + timedelta(seconds=900),
            "begins_at": datetime.fromtimestamp(hands.wall + begins_in, UTC),
        }
        dispatcher.submit(replace(fresh, status=fresh.status.model_copy(update=waits)))
    hands.jump(3600)
    while not begun:
        await asyncio.sleep(0.01)
    await dispatcher.withdraw("soon")
    await asyncio.sleep(0.05)
    assert begun == ["soon"]
    await dispatcher.aclose()


async def test_a_restart_shortens_no_wait_for_a_time_and_lengthens_none(tmp_path: Path, hands: Hands) -> None:
    async with backend(tmp_path, clock=hands.clock(), retries=0) as opened:
        later, soon = [await scheduled_at(opened, hands, wait) for wait in (86400 * 3, 3600)]
        assert (later.stage, later.waiting) == ("queued", "scheduled")
    hands.go_on(3590)
    async with backend(tmp_path, clock=hands.clock(), retries=0) as opened:
        at_once = await scheduled_at(opened, hands, -1)
        await reached(opened, at_once.task_id, Stage.FAILED)
        assert await opened.kernel.tasks.status(soon.task_id) == soon
        hands.go_on(10)
        await reached(opened, soon.task_id, Stage.FAILED)
        assert await opened.kernel.tasks.status(later.task_id) == later
