"""Clocks that jump, during a server's life or between two servers: ages, waits and orders stay right."""

import asyncio
import json
import time
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server.api.payload import Encoder
from server.assembly import Backend
from server.core.clock import Clock, stopwatch
from server.core.errors import TaskNotFound
from server.core.events import Completed, Requeued, Started
from server.core.ports import Filter
from server.core.process_request import ProcessRequest
from server.core.task import TaskStatus
from server.storage.sqlite import SqliteStore
from server.tasks import janitor
from tests.adding import accept
from tests.tasks.test_faults import backend

pytestmark = pytest.mark.usefixtures("nothing_begins")

HOUR = 3600.0
DAY = 24 * HOUR
BEGIN = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
REQUEST = ProcessRequest(url="http://127.0.0.9:9/video.mp4")


class Hands:
    """A machine's clock and stopwatch, which tests set."""

    def __init__(self) -> None:
        self.wall, self.steady = BEGIN, 1000.0

    def clock(self) -> Clock:
        """Return the clock that a server would use which starts now."""
        return Clock(lambda: self.wall, lambda: self.steady)

    def jump(self, seconds: float) -> None:
        self.wall += seconds

    def go_on(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def hands() -> Hands:
    return Hands()


class Looks:
    """Counts how often retention searches for expired tasks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(janitor, "CHECK_EXPIRED_EVERY", 0.01)
        original = SqliteStore.mark_expired
        self.count = 0

        async def counted(*arguments: Any) -> list[str]:
            expired = await original(*arguments)
            self.count += 1
            return expired

        monkeypatch.setattr(SqliteStore, "mark_expired", counted)

    async def again(self) -> None:
        """Wait for two more searches, at least one of which began after this call."""
        until = self.count + 2
        while self.count < until:
            await asyncio.sleep(0.01)


def running(folder: Path, hands: Hands, **downloads: Any) -> AbstractAsyncContextManager[Backend]:
    return backend(folder, clock=hands.clock(), **downloads)


async def ended(opened: Backend) -> TaskStatus:
    """Complete a task without a download."""
    task = await accept(opened.kernel.tasks, REQUEST)
    await opened.kernel.tasks._recorder.record(task.task_id, Started())
    return await opened.kernel.tasks._recorder.record(task.task_id, Completed(files={}))


async def is_there(opened: Backend, status: TaskStatus) -> bool:
    try:
        await opened.kernel.tasks.status(status.task_id)
    except TaskNotFound:
        return False
    return True


def shown(status: TaskStatus) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(Encoder().encode(status, "en").body)
    return payload


def test_time_passes_as_the_stopwatch_tells_and_begins_where_the_clock_stood(hands: Hands) -> None:
    clock = hands.clock()
    for jump in (2 * DAY, -5 * DAY):
        hands.jump(jump)
        hands.go_on(7)
    assert clock.now().timestamp() == BEGIN + 14
    assert clock.now().tzinfo is UTC


def test_the_real_ones_agree() -> None:
    assert abs(Clock().now().timestamp() - time.time()) < 5
    assert stopwatch() <= stopwatch()


async def test_a_jump_makes_nothing_older_and_an_hour_still_lasts_an_hour(
    tmp_path: Path, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(monkeypatch)
    async with running(tmp_path, hands, retention_hours=1) as opened:
        status = await ended(opened)
        for jump in (2 * DAY, -4 * DAY):
            hands.jump(jump)
            await looks.again()
            assert await is_there(opened, status)
        hands.go_on(HOUR - 60)
        await looks.again()
        assert await is_there(opened, status)
        hands.go_on(120)
        await looks.again()
        assert not await is_there(opened, status)


async def test_a_jump_back_hides_no_new_task_and_takes_no_time_back(tmp_path: Path, hands: Hands) -> None:
    async with running(tmp_path, hands) as opened:
        old = await ended(opened)
        hands.jump(-2 * DAY)
        hands.go_on(1)
        new = await ended(opened)
        page = await opened.kernel.tasks.page(Filter(), None, 10)
    assert [status.task_id for status in page.tasks] == [new.task_id, old.task_id]
    assert new.number > old.number
    assert new.created_at >= old.created_at


async def test_after_a_start_with_a_corrected_clock_ages_count_from_that_start(
    tmp_path: Path, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(monkeypatch)
    hands.jump(1000 * DAY)
    async with running(tmp_path, hands) as opened:
        status = await ended(opened)
        late = await accept(opened.kernel.tasks, REQUEST)
    hands.jump(-1000 * DAY)
    async with running(tmp_path, hands, retention_hours=1) as opened:
        await looks.again()
        assert await is_there(opened, status)
        late = await opened.kernel.tasks._recorder.record(late.task_id, Completed(files={}))
        assert shown(late)["completed_at"] >= shown(late)["created_at"]
        hands.go_on(HOUR + 60)
        await looks.again()
        assert not await is_there(opened, status)
        assert not await is_there(opened, late)


async def test_a_wait_that_began_by_a_clock_that_was_ahead_is_no_longer_than_was_meant(
    tmp_path: Path, hands: Hands
) -> None:
    hands.jump(1000 * DAY)
    async with running(tmp_path, hands) as opened:
        task = await accept(opened.kernel.tasks, REQUEST)
        await opened.kernel.tasks._recorder.record(task.task_id, Requeued(because="next_attempt", after=60))
    hands.jump(-1000 * DAY)
    async with running(tmp_path, hands) as opened:
        waiting = await opened.kernel.tasks.status(task.task_id)
        assert waiting.waiting == "next_attempt"
        assert waiting.not_before == datetime.fromtimestamp(BEGIN, UTC) + timedelta(seconds=60)
    hands.jump(50)
    async with running(tmp_path, hands) as opened:
        assert await opened.kernel.tasks.status(task.task_id) == waiting


async def test_a_wait_is_over_when_the_clock_was_set_forward_meanwhile(tmp_path: Path, hands: Hands) -> None:
    async with running(tmp_path, hands) as opened:
        task = await accept(opened.kernel.tasks, REQUEST)
        await opened.kernel.tasks._recorder.record(task.task_id, Requeued(because="next_attempt", after=60))
    hands.jump(3 * DAY)
    async with running(tmp_path, hands) as opened:
        dispatcher: Any = opened.kernel.tasks._dispatcher
        assert (len(dispatcher._queue), dispatcher._delayed) == (1, {})
