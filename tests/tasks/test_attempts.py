"""Attempts of the runner over a real store, with a child whose messages a test writes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from server.core.clock import Clock
from server.core.errors import DatabaseBusy
from server.core.events import (
    Broken,
    Cancelled,
    DownloadStarted,
    Event,
    Failed,
    Learned,
    Paused,
    Produced,
    ProducedFile,
    Progress,
    RateWindowHold,
    Requeued,
    SpaceNeeded,
    Started,
)
from server.core.task import Stage, TaskStatus
from server.files.cookie_folder import LocalCookies
from server.files.local import LocalFiles
from server.files.public_names import short_of
from server.files.workplace import LocalWorkplace
from server.settings import DownloadSettings
from server.storage.sqlite import SqliteStore, open_store
from server.tasks.crash_comparison import JobOutcome
from server.tasks.disk_space import Disk, Reserve
from server.tasks.fork_servers import ForkServers
from server.tasks.hub import Hub
from server.tasks.job_builder import JobMaker
from server.tasks.programs_found import Tools
from server.tasks.recorder import Recorder
from server.tasks.runner import Runner
from tests.adding import add
from tests.examples import new_task

WITHIN = 20  # seconds that a wait may take
MIB = 1 << 20
VIDEO = ProducedFile(path="video.mp4", size=5, type="video/mp4")


@dataclass
class Child:
    """A child that sends `words`, and ends when it is stopped."""

    words: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def read_line(self) -> bytes:
        return await self.words.get()

    def command(self, command: str, **values: object) -> None: ...

    async def stop(self) -> None:
        self.stopped.set()

    def say(self, *events: Any) -> None:
        for event in events:
            self.words.put_nowait(event.model_dump_json().encode() + b"\n")


class Free(Disk):
    """A disk whose free space a test sets."""

    bytes = all = 1 << 40

    def free(self) -> int:
        return self.bytes

    def size(self) -> int:
        return self.all


@dataclass
class Attempt:
    """The first attempt of a task, which is running."""

    store: SqliteStore
    recorder: Recorder
    runner: Runner
    files: LocalFiles
    child: Child
    disk: Free = field(init=False)
    task_id: str = ""
    started: int = 0

    async def warm(self) -> None: ...

    async def start(self, job_id: str, job: object, log_file: Path) -> Child:
        self.started += 1
        return self.child

    def ended(self, job_id: str, outcome: JobOutcome | None) -> bool:
        return False

    run = ForkServers.run

    async def reached(self, stage: Stage, progress: int = 0) -> TaskStatus:
        async with asyncio.timeout(WITHIN):
            while True:
                status = (await self.store.get(self.task_id)).status
                if status.stage is stage and status.progress >= progress:
                    return status
                await asyncio.sleep(0.005)


@pytest.fixture
async def attempt(tmp_path: Path) -> AsyncIterator[Attempt]:
    async with open_store(tmp_path / "clipwire.db", max_queued=10, find_short=short_of) as store:
        recorder, workplace = Recorder(store, Hub(), Clock()), LocalWorkplace(tmp_path)
        workplace.data.make()
        files = LocalFiles(workplace)
        files.make()
        attempt = Attempt(store, recorder, None, files, Child())  # type: ignore[arg-type]
        settings = DownloadSettings()
        jobs = JobMaker(settings, Tools(ffmpeg=None, deno=None))
        rest = (workplace, files, settings, jobs, LocalCookies(tmp_path / "cookies"), Clock())
        attempt.disk = Free(tmp_path, floor=0)
        attempt.runner = Runner(store, recorder, attempt, *rest, Reserve(attempt.disk))  # type: ignore[arg-type]
        attempt.task_id = (await add(store, new_task())).status.task_id
        out = workplace.work(attempt.task_id) / "out"
        out.mkdir(parents=True)
        (out / VIDEO.path).write_bytes(bytes(VIDEO.size))
        yield attempt


async def run(attempt: Attempt) -> TaskStatus | None:
    async with asyncio.timeout(WITHIN):
        return await attempt.runner.run(attempt.task_id)


def percent(progress: float) -> Progress:
    return Progress(progress=progress)


@pytest.mark.parametrize("event", [Started(), Cancelled(), Paused(), Requeued(), Failed(code="internal")])
async def test_an_attempt_whose_task_is_in_other_hands_stops_its_child(
    attempt: Attempt, event: Event
) -> None:
    running = asyncio.create_task(run(attempt))
    attempt.child.say(DownloadStarted())
    await attempt.reached(Stage.DOWNLOAD)
    taken = await attempt.recorder.record(attempt.task_id, event)
    attempt.child.say(percent(50))
    assert await running == taken
    assert attempt.child.stopped.is_set()
    assert (await attempt.store.get(attempt.task_id)).status == taken


async def test_an_attempt_has_the_disk_watched(attempt: Attempt) -> None:
    reserve = attempt.runner.reserve
    assert not reserve.begun.is_set()
    attempt.child.say(DownloadStarted(), Produced(files={"video": VIDEO}))
    await run(attempt)
    assert reserve.begun.is_set()


async def test_an_attempt_that_lost_its_task_publishes_nothing(attempt: Attempt) -> None:
    running = asyncio.create_task(run(attempt))
    attempt.child.say(DownloadStarted())
    await attempt.reached(Stage.DOWNLOAD)
    taken = await attempt.recorder.record(attempt.task_id, Started())
    attempt.child.say(Produced(files={"video": VIDEO}))
    assert await running == taken
    assert await attempt.files.find_published(attempt.task_id, 1) is None


async def test_an_attempt_that_ends_after_a_pause_was_answered_leaves_the_task_paused_and_keeps_its_files(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = attempt.files.publish

    async def publish_and_be_paused(*order: Any) -> None:
        await publish(*order)  # as if the worker had been taken for dead, so that nobody could stop it
        await attempt.recorder.record(attempt.task_id, Paused())

    monkeypatch.setattr(attempt.files, "publish", publish_and_be_paused)
    attempt.child.say(DownloadStarted(), Produced(files={"video": VIDEO}))
    ended = await run(attempt)
    assert ended is not None
    assert ended.stage is Stage.PAUSED
    assert (await attempt.store.get(attempt.task_id)).status == ended
    manifest = await attempt.files.find_published(attempt.task_id, 1)
    assert manifest is not None
    assert list(manifest.files) == ["video"]


async def test_what_broke_off_while_it_was_held_is_no_fault_until_something_has_come(
    attempt: Attempt,
) -> None:
    drops = Broken(code="incomplete", retryable=True)
    for expected, hold in ((0, ()), (0, (RateWindowHold(held=True), RateWindowHold(held=False))), (1, ())):
        attempt.child.say(DownloadStarted(), Progress(progress=21, downloaded_bytes=1000), *hold, drops)
        status = await run(attempt)
        assert status is not None
        assert (status.stage, status.retries) == (Stage.QUEUED, expected)


async def test_what_will_find_no_room_waits_before_it_begins_and_asks_its_source_no_more(
    attempt: Attempt,
) -> None:
    attempt.disk.bytes = 5 * MIB
    attempt.child.say(SpaceNeeded(needs=9 * MIB), DownloadStarted())
    waits = [await run(attempt) for _ in range(3)]
    for each in waits:
        assert each is not None
        assert (each.stage, each.waiting, each.progress, each.retries) == (Stage.QUEUED, "disk_full", 10, 0)
    assert (attempt.started, waits[-1].attempt) == (1, 1)  # type: ignore[union-attr]
    (attempt.runner._workplace.work(attempt.task_id) / "film.part").write_bytes(bytes(5 * MIB))
    attempt.child = Child()
    attempt.child.say(SpaceNeeded(needs=9 * MIB), DownloadStarted(), Produced(files={"video": VIDEO}))
    done = await run(attempt)
    assert done is not None
    assert (done.stage, done.attempt) == (Stage.COMPLETED, 2), "what has come counts"


async def test_room_is_told_of_only_where_it_is_missed(attempt: Attempt) -> None:
    attempt.child.say(SpaceNeeded(needs=MIB), DownloadStarted(), Produced(files={"video": VIDEO}))
    done = await run(attempt)
    assert done is not None
    assert (done.stage, done.revision) == (Stage.COMPLETED, 4), "it began, it downloads, it is completed"


async def test_what_met_a_full_disk_asks_its_source_again_only_when_there_is_room(attempt: Attempt) -> None:
    attempt.child.say(SpaceNeeded(needs=9 * MIB), DownloadStarted(), Broken(code="disk_full", retryable=True))
    await run(attempt)
    attempt.disk.bytes = 5 * MIB
    waits = await run(attempt)
    assert waits is not None
    assert (waits.waiting, attempt.started) == ("disk_full", 1)


async def test_room_that_an_attempt_of_before_has_missed_is_not_waited_for(attempt: Attempt) -> None:
    attempt.disk.bytes = 5 * MIB
    attempt.child.say(SpaceNeeded(needs=9 * MIB))
    await run(attempt)
    attempt.disk.bytes = 20 * MIB
    attempt.child.say(SpaceNeeded(needs=MIB), DownloadStarted())  # the source has another film by now
    running = asyncio.create_task(run(attempt))
    await attempt.reached(Stage.DOWNLOAD)
    running.cancel()
    await asyncio.wait([running])
    # The disk watch records this.
    await attempt.recorder.record(attempt.task_id, Requeued(because="disk_full"))
    attempt.disk.bytes = 5 * MIB
    attempt.child.say(SpaceNeeded(needs=MIB), DownloadStarted(), Produced(files={"video": VIDEO}))
    done = await run(attempt)
    assert done is not None
    assert done.stage is Stage.COMPLETED


async def test_what_is_larger_than_the_disk_is_not_waited_for(attempt: Attempt) -> None:
    attempt.disk.bytes = 5 * MIB
    attempt.child.say(SpaceNeeded(needs=attempt.disk.size()))
    ended = await run(attempt)
    assert ended is not None
    assert (ended.stage, ended.error_code, ended.attempt) == (Stage.FAILED, "too_large", 1)
    assert ended.hint == "too_large_for_disk"


async def test_what_waited_for_a_disk_that_is_too_small_now_is_told_so(attempt: Attempt) -> None:
    attempt.disk.bytes = 5 * MIB
    attempt.child.say(SpaceNeeded(needs=9 * MIB))
    waits = await run(attempt)
    assert waits is not None
    assert waits.waiting == "disk_full"
    attempt.disk.all = 8 * MIB
    attempt.child = Child()
    attempt.child.say(SpaceNeeded(needs=9 * MIB))
    ended = await run(attempt)
    assert ended is not None
    assert ended.error_code == "too_large"


async def test_what_a_child_learns_of_a_player_is_kept_for_the_next(attempt: Attempt) -> None:
    attempt.task_id = (await add(attempt.store, new_task("https://youtu.be/BaW_jenozKc"))).status.task_id
    attempt.child.say(Learned(player="2026.10.26/0004de42-main-2", order=(1, 0)), Broken(code="http_404"))
    await run(attempt)
    assert attempt.runner._jobs.players.known == {"2026.10.26/0004de42-main-2": (1, 0)}


async def publishing(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Let the attempt come to its last step, publishing the files; it goes on when the returned event is
    set.
    """
    publish, about_to, go = attempt.files.publish, asyncio.Event(), asyncio.Event()

    async def wait(*arguments: Any) -> None:
        about_to.set()
        await go.wait()
        await publish(*arguments)

    monkeypatch.setattr(attempt.files, "publish", wait)
    attempt.child.say(DownloadStarted(), Produced(files={"video": VIDEO}))
    async with asyncio.timeout(WITHIN):
        await about_to.wait()
    return go


async def test_what_was_published_too_late_is_deleted(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = asyncio.create_task(run(attempt))
    go = await publishing(attempt, monkeypatch)
    taken = await attempt.recorder.record(attempt.task_id, Started())
    go.set()
    assert await running == taken
    assert await attempt.files.find_published(attempt.task_id, 1) is None


async def test_what_was_published_of_a_task_that_is_no_more_is_deleted(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = asyncio.create_task(run(attempt))
    go = await publishing(attempt, monkeypatch)
    await attempt.store.mark_removed(attempt.task_id)
    go.set()
    assert await running is None
    assert await attempt.files.find_published(attempt.task_id, 1) is None


async def test_progress_that_cannot_be_saved_is_dropped_and_the_child_goes_on(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, refused = attempt.store.save, []

    async def busy(status: TaskStatus) -> bool:
        if status.progress == 40:
            refused.append(status.progress)
            raise DatabaseBusy
        return await save(status)

    monkeypatch.setattr(attempt.store, "save", busy)
    running = asyncio.create_task(run(attempt))
    attempt.child.say(DownloadStarted(), percent(30), percent(40), percent(50))
    assert (await attempt.reached(Stage.DOWNLOAD, 50)).progress == 50
    attempt.child.say(Produced(files={"video": VIDEO}))
    done = await running
    assert done is not None
    assert (refused, done.stage, done.attempt) == ([40], Stage.COMPLETED, 1)


@pytest.mark.parametrize("last_word", [Produced(files={"video": VIDEO}), Broken(code="http_404")])
async def test_stages_and_the_last_word_outlast_a_store_that_does_not_answer(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, last_word: Produced | Broken
) -> None:
    monkeypatch.setattr("server.tasks.recorder.RETRY_WHILE_STORE_UNAVAILABLE", 0)
    get, left = attempt.store.get, 0

    async def busy(task_id: str) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            raise DatabaseBusy
        return await get(task_id)

    monkeypatch.setattr(attempt.store, "get", busy)
    running = asyncio.create_task(run(attempt))
    await attempt.reached(Stage.INFO)
    left = 3
    attempt.child.say(DownloadStarted())
    async with asyncio.timeout(WITHIN):
        while left > 0:
            await asyncio.sleep(0)
    await attempt.reached(Stage.DOWNLOAD)
    left = 3
    attempt.child.say(last_word)
    done = await running
    assert done is not None
    assert (done.stage, done.attempt) == (
        Stage.COMPLETED if isinstance(last_word, Produced) else Stage.FAILED,
        1,
    )


async def test_a_broadcast_that_has_not_begun_is_waited_for_by_whoever_asked_to_wait(
    attempt: Attempt,
) -> None:
    waiting = new_task(live="wait")
    attempt.task_id = (await add(attempt.store, waiting)).status.task_id
    attempt.child.say(Broken(code="not_live", begins_at=4e9))
    status = await run(attempt)
    assert status is not None
    assert (status.stage, status.waiting, status.delay) == (Stage.QUEUED, "not_live_yet", 3600)


async def test_for_others_a_broadcast_that_has_not_begun_is_an_error(attempt: Attempt) -> None:
    attempt.child.say(Broken(code="not_live", begins_at=4e9))
    status = await run(attempt)
    assert status is not None
    assert status.error_code == "not_live"


async def test_a_source_that_drips_gives_its_place_to_others(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.tasks.runner.SLOW_FOR", 0)
    attempt.child.say(DownloadStarted(), Progress(progress=30, downloaded_bytes=9))
    status = await run(attempt)
    assert status is not None
    assert (status.stage, status.waiting, status.retries) == (Stage.QUEUED, "next_attempt", 1)
    assert attempt.child.stopped.is_set()
