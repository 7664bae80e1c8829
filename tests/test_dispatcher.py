"""Order, limits and withdrawals, with attempts that last as long as a test wants."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from server.backends.dispatcher import LocalDispatcher
from server.clock import Clock
from server.errors import DiskFull, StorageFailed
from server.models import ProcessRequest, Stage, Task, TaskStatus
from tests.examples import utc_now

NOW = datetime(2024, 1, 1, tzinfo=UTC)


class Attempts:
    """Stands in for runner and store: an attempt lasts until `finish`."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.told: list[str] = []  # to finish
        self.tasks: dict[str, Task] = {}
        self._ends: dict[str, asyncio.Future[TaskStatus | None]] = {}
        self.most = 0

    def task(self, name: str, host: str = "media.test", **fields: object) -> Task:
        request = ProcessRequest(url=f"http://{host}/{name}")
        status = TaskStatus.new(request, NOW).model_copy(
            update={"task_id": name, "number": len(self.tasks) + 1} | fields
        )
        task = self.tasks[name] = Task(request=request, status=status)
        return task

    async def get(self, task_id: str) -> Task:
        return self.tasks[task_id]

    async def run(self, task_id: str) -> TaskStatus | None:
        self.begun.append(task_id)
        self._ends[task_id] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self._ends))
        try:
            return await self._ends[task_id]
        finally:
            del self._ends[task_id]

    async def finish(self, task_id: str, status: TaskStatus | None = None) -> None:
        self._ends[task_id].set_result(status)
        await settled()

    async def fail(self, task_id: str, error: Exception) -> None:
        self._ends[task_id].set_exception(error)
        await settled()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def dispatcher(attempts: Attempts, at_once: int = 1, per_host: int = 0) -> LocalDispatcher:
    store, told = attempts, attempts.told.append
    return LocalDispatcher(attempts.run, store, at_once, per_host, told, Clock())  # type: ignore[arg-type]


async def test_no_more_run_at_once_than_allowed() -> None:
    attempts = Attempts()
    downloads = dispatcher(attempts, at_once=3)
    for name in "abcde":
        downloads.submit(attempts.task(name))
    await settled()
    assert attempts.begun == ["a", "b", "c"]
    await attempts.finish("b")
    assert attempts.begun == ["a", "b", "c", "d"]
    assert attempts.most == 3
    await downloads.aclose()


async def test_a_host_gets_no_more_than_its_share() -> None:
    attempts = Attempts()
    downloads = dispatcher(attempts, at_once=4, per_host=1)
    for name, host in (("a", "one"), ("b", "one:81"), ("c", "two"), ("d", "ONE")):
        downloads.submit(attempts.task(name, host))
    await settled()
    assert Counter(attempts.begun) == Counter(["a", "c"])
    await attempts.finish("a")
    assert attempts.begun[-1] == "b"
    await downloads.aclose()


async def test_a_withdrawn_task_is_stopped_and_does_not_come_back() -> None:
    attempts = Attempts()
    downloads = dispatcher(attempts)
    for name in "ab":
        downloads.submit(attempts.task(name))
    await settled()
    async with asyncio.timeout(1):
        await downloads.withdraw("a")
        await settled()
        await downloads.withdraw("b")
    assert (attempts.begun, downloads.running()) == (["a", "b"], [])


async def test_a_task_that_is_queued_again_gets_its_next_attempt() -> None:
    attempts = Attempts()
    downloads = dispatcher(attempts)
    task = attempts.task("a")
    downloads.submit(task)
    await settled()
    await attempts.finish("a", task.status)
    assert attempts.begun == ["a", "a"]
    await downloads.aclose()


async def test_a_withdrawal_wins_over_an_attempt_that_just_ended() -> None:
    attempts = Attempts()
    downloads = dispatcher(attempts)
    task = attempts.task("a")
    downloads.submit(task)
    await settled()
    attempts._ends["a"].set_result(task.status)  # it would begin again in the next turn of the loop
    async with asyncio.timeout(1):
        await downloads.withdraw("a")
        await settled()
    assert downloads.running() == []
    assert len(downloads._queue) == 0


async def test_a_later_attempt_waits_until_its_time() -> None:
    attempts = Attempts()
    downloads = dispatcher(attempts)
    downloads.submit(attempts.task("a", not_before=utc_now() + timedelta(seconds=0.05)))
    downloads.submit(attempts.task("never", not_before=utc_now() + timedelta(hours=1)))
    await settled()
    assert attempts.begun == []
    async with asyncio.timeout(2):
        while attempts.begun != ["a"]:
            await asyncio.sleep(0.01)
    await downloads.withdraw("never")
    await downloads.aclose()


async def test_while_held_nothing_begins() -> None:
    attempts = Attempts()
    downloads = dispatcher(attempts)
    downloads.hold()
    downloads.submit(attempts.task("a"))
    await settled()
    assert attempts.begun == []
    downloads.release()
    await settled()
    assert attempts.begun == ["a"]
    await downloads.aclose()


async def test_a_beginning_that_could_not_be_saved_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.backends.dispatcher.AGAIN", 0)
    attempts = Attempts()
    downloads = dispatcher(attempts)
    downloads.submit(attempts.task("a"))
    await settled()
    await attempts.fail("a", DiskFull())
    assert attempts.begun == ["a", "a"]
    await downloads.aclose()


async def test_an_attempt_that_breaks_frees_its_place(caplog: pytest.LogCaptureFixture) -> None:
    attempts = Attempts()
    downloads = dispatcher(attempts)
    for name in "ab":
        downloads.submit(attempts.task(name))
    await settled()
    await attempts.fail("a", RuntimeError("broken"))
    assert attempts.begun == ["a", "b"]
    assert "broken" in caplog.text
    await downloads.aclose()


async def test_a_task_that_cannot_be_read_again_frees_its_place(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: str) -> Task:
        raise StorageFailed

    attempts = Attempts()
    downloads = dispatcher(attempts)
    tasks = [attempts.task(name) for name in "ab"]
    for task in tasks:
        downloads.submit(task)
    await settled()
    monkeypatch.setattr(attempts, "get", fail)
    await attempts.finish("a", tasks[0].status)
    assert attempts.begun == ["a", "b"]
    assert "storage_failed" in caplog.text
    await downloads.aclose()


async def test_closing_stops_all_at_once_and_begins_nothing() -> None:
    attempts = Attempts()
    downloads = dispatcher(attempts, at_once=2)
    for name in "abc":
        downloads.submit(attempts.task(name))
    await settled()
    async with asyncio.timeout(1):
        await downloads.aclose()
        await settled()
    assert (attempts.begun, downloads.running()) == (["a", "b"], [])


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.QUEUED])
async def test_what_is_not_queued_is_not_begun_again(stage: Stage) -> None:
    attempts = Attempts()
    downloads = dispatcher(attempts)
    task = attempts.task("a")
    downloads.submit(task)
    await settled()
    await attempts.finish("a", task.status.model_copy(update={"stage": stage}))
    assert attempts.begun == ["a"]


async def test_who_finishes_a_task_waits_for_the_end_of_its_attempt() -> None:
    attempts = Attempts()
    downloads = dispatcher(attempts)
    downloads.submit(attempts.task("a"))
    await settled()
    finishing = asyncio.create_task(downloads.finish("a"))
    await settled()
    assert (attempts.told, finishing.done()) == (["a"], False)
    await attempts.finish("a")
    async with asyncio.timeout(1):
        await finishing
        await downloads.finish("a")  # nothing runs: nobody is told, nothing is waited for
    assert attempts.told == ["a"]
