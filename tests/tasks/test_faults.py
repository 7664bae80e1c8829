"""Races and faults that are made to happen: one await is replaced, everything around it is real."""

import asyncio
import errno
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import psutil  # type: ignore[import-untyped]
import pytest

from server.assembly import Backend, DatabaseUnusable, embedded, open_backend
from server.assembly.features import FEATURES
from server.core.clock import Clock
from server.core.errors import DatabaseAway, DiskFull, StorageFailed, TaskAlreadyFinal, TaskNotFound
from server.core.events import Broken, ChildEvent, Described, DownloadStarted, Progress
from server.core.film import VideoInfo
from server.core.jobs import MOST_COOKIES
from server.core.process_request import Output, ProcessRequest
from server.core.shielding import to_the_end
from server.core.task import Stage, TaskStatus
from server.files.local import LocalFiles
from server.settings import DownloadSettings, Settings, StorageSettings
from server.storage.sqlite import SqliteStore
from server.tasks import children, janitor, recorder
from server.tasks.bulk import act_on_all
from server.tasks.children import Child, ForkServer
from server.tasks.hub import Watcher
from server.tasks.next_attempt import after_failure
from server.tasks.programs_found import find_tools
from server.tasks.runner import Runner
from server.tasks.service import Accepted, RequestedTask, Tasks
from tests.adding import accept
from tests.end_to_end.test_kills import locked
from tests.jobs import download_job
from tests.site import Site

Patch = pytest.MonkeyPatch


@asynccontextmanager
async def backend(folder: Path, clock: Clock | None = None, **downloads: Any) -> AsyncIterator[Backend]:
    settings = Settings(
        storage=StorageSettings(data_dir=folder / "data"),
        downloads=DownloadSettings(allowed_private_hosts=("127.0.0.1",), min_free_disk=0, **downloads),
    )
    async with open_backend(settings, FEATURES, clock or Clock()) as opened:
        yield opened


def request(site: Site, path: str = "/1mb.mp4") -> ProcessRequest:
    return ProcessRequest(url=site.url(path), outputs=(Output.VIDEO,))


async def reached(opened: Backend, task_id: str, *stages: Stage) -> TaskStatus:
    until = time.monotonic() + 20  # real time: a test may replace the clock of the event loop
    while (status := await opened.kernel.tasks.status(task_id)).stage not in stages:
        assert time.monotonic() < until, status
        await asyncio.sleep(0.01)
    return status


class Once:
    """A coroutine method that fails so many times before it works."""

    def __init__(self, original: Callable[..., Awaitable[Any]], error: Exception, times: int) -> None:
        self._original, self._error, self.left = original, error, times

    def method(self, when: Callable[..., bool] = lambda *_: True) -> Callable[..., Awaitable[Any]]:
        async def failing(*args: Any, **options: Any) -> Any:
            if self.left and when(*args):
                self.left -= 1
                raise self._error
            return await self._original(*args, **options)

        return failing


def _pid(fork_server: ForkServer) -> int | None:
    return fork_server.ready.pid if fork_server.ready else None


def heard(monkeypatch: Patch) -> list[str]:
    """Collect the names of the messages that fork servers send from now on."""
    events: list[str] = []

    def hear(self: ForkServer, message: dict[str, object]) -> None:
        events.append(str(message["event"]))
        original(self, message)

    original = ForkServer._receive
    monkeypatch.setattr(ForkServer, "_receive", hear)
    return events


def is_final(_store: object, status: TaskStatus) -> bool:
    return status.stage.is_final


# --- work that must be finished ---


async def test_work_goes_to_its_end_however_often_its_waiter_is_cancelled() -> None:
    go, done = asyncio.Event(), []

    async def work() -> None:
        await go.wait()
        done.append(True)

    job = asyncio.create_task(to_the_end(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        job.cancel()
    await asyncio.sleep(0)
    go.set()
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await job
    assert done


async def test_work_that_fails_after_its_waiter_was_cancelled_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise LookupError("what went wrong")

    job = asyncio.create_task(to_the_end(work()))
    await asyncio.sleep(0)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert "what went wrong" in caplog.text


async def test_work_for_a_task_that_is_removed_meanwhile_is_not_worth_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise TaskNotFound

    job = asyncio.create_task(to_the_end(work()))
    await asyncio.sleep(0)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert caplog.text == ""


# --- statuses that cannot be saved ---


async def test_a_last_word_that_the_disk_does_not_take_is_saved_when_it_does(
    site: Site, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(recorder, "RETRY_WHILE_STORE_UNAVAILABLE", 0.01)
    full = Once(SqliteStore.save, DiskFull(), times=4)
    monkeypatch.setattr(SqliteStore, "save", full.method(is_final))
    async with backend(tmp_path) as opened:
        task = await accept(opened.kernel.tasks, request(site))
        done = await reached(opened, task.task_id, Stage.COMPLETED)
        assert (done.attempt, full.left) == (1, 0)


async def test_a_stop_does_not_wait_for_a_full_disk_and_the_next_start_knows_what_was_published(
    site: Site, tmp_path: Path, monkeypatch: Patch
) -> None:
    with monkeypatch.context() as patch:
        full = Once(SqliteStore.save, DiskFull(), times=10**6)
        patch.setattr(SqliteStore, "save", full.method(is_final))
        async with asyncio.timeout(20):
            async with backend(tmp_path) as opened:
                task = await accept(opened.kernel.tasks, request(site))
                while full.left == 10**6:
                    await asyncio.sleep(0.01)
                assert (await opened.kernel.tasks.status(task.task_id)).stage.is_running
    asked = len(site.requests)
    async with backend(tmp_path) as opened:
        done = await reached(opened, task.task_id, Stage.COMPLETED)
    assert (done.attempt, len(site.requests)) == (1, asked)


async def test_a_beginning_that_the_disk_does_not_take_is_made_later(
    site: Site, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr("server.tasks.dispatcher.RETRY_WHILE_STORE_UNAVAILABLE", 0.01)
    full = Once(SqliteStore.save, DiskFull(), times=3)
    monkeypatch.setattr(SqliteStore, "save", full.method())
    async with backend(tmp_path) as opened:
        task = await accept(opened.kernel.tasks, request(site))
        await reached(opened, task.task_id, Stage.COMPLETED)
        assert full.left == 0


async def test_a_resumed_task_is_carried_out_though_the_store_cannot_be_read_once_it_is_saved(
    site: Site, tmp_path: Path, monkeypatch: Patch
) -> None:
    away = store_that_goes_away_after(monkeypatch, lambda status: status.stage is Stage.QUEUED)
    async with backend(tmp_path) as opened:
        task = await accept(opened.kernel.tasks, request(site).model_copy(update={"auto_start": False}))
        await opened.kernel.tasks.resume(task.task_id)
        assert away.left
        away.left = 0
        await reached(opened, task.task_id, Stage.COMPLETED)


async def test_a_download_goes_on_if_its_cancel_is_not_saved_and_the_store_cannot_be_read_either(
    site: Site, tmp_path: Path, monkeypatch: Patch
) -> None:
    full = Once(SqliteStore.save, DiskFull(), times=1)
    monkeypatch.setattr(SqliteStore, "save", full.method(is_final))
    away = store_that_goes_away_after(monkeypatch, lambda status: status.stage is Stage.CANCELLED)
    async with backend(tmp_path) as opened:
        task = await accept(opened.kernel.tasks, request(site, "/8mb.mp4?stall=5000000&after=1"))
        await reached(opened, task.task_id, Stage.DOWNLOAD)
        with pytest.raises(DiskFull):
            await opened.kernel.tasks.cancel(task.task_id)
        assert away.left
        away.left = 0
        site.release()
        await reached(opened, task.task_id, Stage.COMPLETED)


def store_that_goes_away_after(monkeypatch: Patch, when: Callable[[TaskStatus], bool]) -> Once:
    """Let all reads fail after the attempt to save a status for which `when` is true."""
    monkeypatch.setattr("server.tasks.dispatcher.RETRY_WHILE_STORE_UNAVAILABLE", 0.01)
    away, save = Once(SqliteStore.get, StorageFailed(), times=0), SqliteStore.save

    async def save_and_go(store: SqliteStore, status: TaskStatus) -> bool:
        try:
            return await save(store, status)
        finally:
            away.left = 10**6 if when(status) else away.left

    monkeypatch.setattr(SqliteStore, "save", save_and_go)
    monkeypatch.setattr(SqliteStore, "get", away.method())
    return away


async def test_a_log_that_finds_no_room_is_a_full_disk_and_no_fault_of_ours(
    site: Site, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr("server.tasks.next_attempt.DISK_DELAY", 0.1)
    refused: list[str] = []
    saved: list[tuple[Stage, str | None]] = []

    async def no_room(self: ForkServer, job_id: str, *job: Any) -> Child:
        if not refused:
            refused.append(job_id)
            raise OSError(errno.ENOSPC, "No space left on device")
        return await start(self, job_id, *job)

    async def save_and_note(store: SqliteStore, status: TaskStatus) -> bool:
        saved.append((status.stage, status.waiting))
        return await save(store, status)

    start, save = ForkServer.start, SqliteStore.save
    monkeypatch.setattr(ForkServer, "start", no_room)
    monkeypatch.setattr(SqliteStore, "save", save_and_note)
    async with backend(tmp_path) as opened:
        task = await accept(opened.kernel.tasks, request(site))
        await reached(opened, task.task_id, Stage.COMPLETED)
    assert refused
    assert saved[:2] == [(Stage.INFO, None), (Stage.QUEUED, "disk_full")]


async def test_a_start_that_finds_no_room_is_one_clear_line(
    site: Site, tmp_path: Path, monkeypatch: Patch
) -> None:
    async with backend(tmp_path) as opened:
        task = await accept(opened.kernel.tasks, request(site, "/1mb.mp4?wait=30"))
        await reached(opened, task.task_id, Stage.INFO)
    monkeypatch.setattr(SqliteStore, "save", Once(SqliteStore.save, DiskFull(), times=9).method())
    with pytest.raises(DatabaseUnusable, match="the disk is full: make room"):
        async with backend(tmp_path):
            pass


# --- with a child that says what the test lets it say ---


class Scripted:
    """A child that sends the same messages in all attempts: each attempt goes on where the last one stopped
    reading.
    """

    def __init__(self) -> None:
        self._said = asyncio.Queue[bytes]()
        self._is_heard = False
        self.told = asyncio.Queue[str]()

    def say(self, event: ChildEvent) -> None:
        self._said.put_nowait(event.model_dump_json().encode())

    def die(self) -> None:
        self._said.put_nowait(b"")

    async def has_been_heard(self) -> None:
        """Return when all messages were handled, and the attempt waits for more."""
        until = time.monotonic() + 20  # real time, as in `reached`
        while not self._is_heard:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)

    async def read_line(self) -> bytes:
        self._is_heard = self._said.empty()
        line = await self._said.get()
        self._is_heard = False
        return line

    def command(self, command: str, **_: object) -> None:
        self.told.put_nowait(command)

    async def stop(self) -> None:
        pass


@pytest.fixture
async def child(monkeypatch: Patch) -> Scripted:
    """Let all attempts have this child."""
    scripted = Scripted()

    async def start(*_: object) -> Scripted:
        return scripted

    monkeypatch.setattr(ForkServer, "start", start)
    return scripted


@pytest.mark.parametrize("when", ["while it listens", "while it saves"])
async def test_an_attempt_outlasts_a_standstill_of_the_server(
    child: Scripted, tmp_path: Path, monkeypatch: Patch, when: str
) -> None:
    """The timers of the attempt are overdue when the server wakes, and few bytes have come in all that
    time.
    """
    loop, stood_still, save = asyncio.get_running_loop(), 0.0, SqliteStore.save
    monkeypatch.setattr(loop, "time", lambda: time.monotonic() + stood_still)

    async def save_slowly(store: SqliteStore, status: TaskStatus) -> bool:
        nonlocal stood_still
        saved = await save(store, status)
        if status.stage is Stage.DOWNLOAD:
            stood_still = 200.0
        return saved

    if when == "while it saves":
        monkeypatch.setattr(SqliteStore, "save", save_slowly)
    async with backend(tmp_path, retries=0) as opened:
        task_id = (await accept(opened.kernel.tasks, ProcessRequest(url="http://127.0.0.9:9/v.mp4"))).task_id
        child.say(DownloadStarted())
        await reached(opened, task_id, Stage.DOWNLOAD)
        await child.has_been_heard()
        stood_still = 200.0
        await asyncio.sleep(0.01)  # lets the overdue timers run first
        child.say(Progress(progress=21, downloaded_bytes=1))
        child.say(Broken(code="drm_protected"))
        ended = await reached(opened, task_id, Stage.FAILED)
    assert (ended.attempt, ended.error_code) == (1, "drm_protected")


async def test_the_end_of_an_attempt_that_was_perhaps_saved_is_published_and_counts_once(
    child: Scripted, tmp_path: Path, monkeypatch: Patch
) -> None:
    """The database saves the status, and goes away before it answers."""
    monkeypatch.setattr(recorder, "RETRY_WHILE_STORE_UNAVAILABLE", 0.01)
    original, saved, watcher = SqliteStore.save, list[TaskStatus](), Watcher()

    async def save(store: SqliteStore, status: TaskStatus) -> bool:
        done = await original(store, status)
        if not status.stage.is_running:
            saved.append(status)
            raise DatabaseAway(perhaps_done=True)
        return done

    monkeypatch.setattr(SqliteStore, "save", save)
    async with backend(tmp_path, retries=1) as opened:
        task_id = (await accept(opened.kernel.tasks, ProcessRequest(url="http://127.0.0.9:9/v.mp4"))).task_id
        with opened.hub.watch(task_id, watcher):
            child.say(Broken(code="http_503", retryable=True))
            child.say(Broken(code="http_404"))
            ended = await reached(opened, task_id, Stage.FAILED)
            while opened.kernel.tasks._dispatcher.running():
                await asyncio.sleep(0.01)
            assert watcher.take() == [ended]
    assert [(status.stage, status.retries) for status in saved] == [(Stage.QUEUED, 1), (Stage.FAILED, 1)]


async def test_a_recording_that_is_to_be_finished_is_finished_by_the_next_child(
    child: Scripted, tmp_path: Path
) -> None:
    """The child is lost while it joins the pieces of the recording, and the client that asked for the end has
    gone.
    """
    async with asyncio.timeout(20), backend(tmp_path) as opened:
        task_id = (
            await accept(opened.kernel.tasks, ProcessRequest(url="http://127.0.0.9:9/", live="record"))
        ).task_id
        child.say(Described(video_info=VideoInfo(live=True)))
        child.say(DownloadStarted())
        await reached(opened, task_id, Stage.DOWNLOAD)
        finishing = asyncio.create_task(opened.kernel.tasks.finish(task_id))
        assert await child.told.get() == "finish"
        child.die()
        assert (await finishing).attempt == 1
        assert await child.told.get() == "finish"
        assert (await opened.kernel.tasks.status(task_id)).attempt == 2
        again = asyncio.create_task(opened.kernel.tasks.finish(task_id))
        assert await child.told.get() == "finish"
        child.say(Broken(code="drm_protected"))
        assert (await again).stage is Stage.FAILED
        await opened.kernel.tasks.retry(task_id)
        child.say(DownloadStarted())
        await reached(opened, task_id, Stage.DOWNLOAD)
        assert child.told.empty()


# --- races ---


async def test_a_cancel_while_the_files_are_published_comes_too_late(
    site: Site, tmp_path: Path, monkeypatch: Patch
) -> None:
    """Otherwise a cancelled task would have finished files that nobody can see."""
    publishing, go = asyncio.Event(), asyncio.Event()

    async def publish(*args: Any) -> Any:
        publishing.set()
        await go.wait()
        return await original(*args)

    original = LocalFiles.publish
    monkeypatch.setattr(LocalFiles, "publish", publish)
    async with asyncio.timeout(20), backend(tmp_path) as opened:
        task = await accept(opened.kernel.tasks, request(site))
        await publishing.wait()
        cancelling = asyncio.create_task(opened.kernel.tasks.cancel(task.task_id))
        await asyncio.sleep(0.05)
        go.set()
        with pytest.raises(TaskAlreadyFinal):
            await cancelling
        assert (await opened.kernel.tasks.status(task.task_id)).stage is Stage.COMPLETED


async def test_a_task_that_is_submitted_while_its_last_attempt_tidies_up_is_not_forgotten(
    site: Site, tmp_path: Path, monkeypatch: Patch
) -> None:
    """The retry comes between the last event of the attempt and its end."""
    failed, go = asyncio.Event(), asyncio.Event()

    async def run_and_linger(self: Runner, task_id: str, *others: Any) -> Any:
        after = await original(self, task_id, *others)
        failed.set()
        await go.wait()
        return after

    original = Runner.run
    monkeypatch.setattr(Runner, "run", run_and_linger)
    async with asyncio.timeout(20), backend(tmp_path) as opened:
        task = await accept(opened.kernel.tasks, request(site, "/1mb.mp4?status=404&times=1"))
        await failed.wait()
        assert (await opened.kernel.tasks.status(task.task_id)).stage is Stage.FAILED
        await opened.kernel.tasks.retry(task.task_id)
        go.set()
        assert (await reached(opened, task.task_id, Stage.COMPLETED)).attempt == 2


@pytest.mark.wide
async def test_a_child_belongs_to_the_fork_server_that_started_it(tmp_path: Path, monkeypatch: Patch) -> None:
    """While the log of the job is opened, the fork server dies and its successor becomes warm."""
    tools, replaced = find_tools(), threading.Event()

    def open_late(path: Path) -> IO[bytes]:
        assert fork_server.ready
        os.kill(fork_server.ready.pid, signal.SIGKILL)
        assert replaced.wait(20)
        return open_log(path)

    open_log = children._open_log
    async with asyncio.timeout(30), ForkServer(tools.ffmpeg, tools.deno) as fork_server:
        await fork_server.warm()
        assert fork_server.ready
        first = fork_server.ready.pid
        monkeypatch.setattr(children, "_open_log", open_late)
        job = download_job(tmp_path / "work")
        with locked(tmp_path / "work.lock"):  # a lock that the child waits for
            starting = asyncio.create_task(fork_server.start("a", job, tmp_path / "log"))
            while _pid(fork_server) in (None, first):
                await asyncio.sleep(0.01)
            replaced.set()
            child = await starting
            assert not child.exited.done()
            await child.stop()
        assert not psutil.Process(_pid(fork_server)).children()


async def test_a_word_that_was_cut_off_is_none(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    child = children.Child(ForkServer(None, None), "a")
    with theirs:
        await child.connect(ours, download_job(tmp_path))
        theirs.sendall(b'{"kind":"alive"}\n{"kind":"produ')
        theirs.shutdown(socket.SHUT_WR)
        assert await child.read_line() == b'{"kind":"alive"}\n'
        assert await child.read_line() == b""
    child.exited.set_result(None)
    await child.stop()


async def test_a_child_that_the_server_gave_up_gets_no_more_of_a_long_job(tmp_path: Path) -> None:
    """A fork server that was suspended may start the child later, when the task may be deleted already."""
    ours, theirs = socket.socketpair()
    child = children.Child(ForkServer(None, None), "a")
    with theirs:
        await child.connect(ours, download_job(tmp_path, text="#" * MOST_COOKIES))
        child.exited.set_result(None)
        await child.stop()
        theirs.setblocking(False)
        received = b""
        async with asyncio.timeout(20):
            while piece := await asyncio.get_running_loop().sock_recv(theirs, 1 << 16):
                received += piece
    assert received
    assert not received.endswith(b"\n")


@pytest.mark.wide
async def test_a_fork_server_that_hangs_is_replaced(monkeypatch: Patch) -> None:
    monkeypatch.setattr(children, "PING_EVERY_WHILE_IDLE", 0.01)
    answers = heard(monkeypatch)
    tools = find_tools()
    async with asyncio.timeout(30), ForkServer(tools.ffmpeg, tools.deno) as fork_server:
        await fork_server.warm()
        assert fork_server.ready
        first = fork_server.ready.pid
        while answers.count("pong") < 3:
            await asyncio.sleep(0.01)
        assert _pid(fork_server) == first  # a fork server that answers pings is kept
        with monkeypatch.context() as patch:
            patch.setattr(children, "PING_ANSWERED_WITHIN", 1.0)
            asked = answers.count("pong")
            # Pings from here on have to be answered within that second.
            while answers.count("pong") < asked + 2:
                await asyncio.sleep(0.01)
            os.kill(first, signal.SIGSTOP)
            while psutil.pid_exists(first):
                await asyncio.sleep(0.01)
        await fork_server.warm()
        assert _pid(fork_server) not in (None, first)


@pytest.mark.long
async def test_a_fork_server_that_hangs_while_it_warms_is_replaced(monkeypatch: Patch) -> None:
    monkeypatch.setattr(children, "WARM_WITHIN", 0.5)
    tools, before = find_tools(), psutil.Process().children()
    async with asyncio.timeout(30), ForkServer(tools.ffmpeg, tools.deno) as fork_server:
        while not (started := [each for each in psutil.Process().children() if each not in before]):
            await asyncio.sleep(0)
        started[0].suspend()
        while started[0].is_running():
            await asyncio.sleep(0.01)
        monkeypatch.setattr(children, "WARM_WITHIN", 20.0)  # long enough for the next fork server to start
        await fork_server.warm()
        assert _pid(fork_server) != started[0].pid


@pytest.mark.wide
async def test_a_fork_server_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(children, "RESTART_DELAYS", (0.01, 0.02))
    refusals = [BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")] * 3
    launch = children.launch

    def refused_at_first(config: str, errors: None) -> children.Launched:
        if refusals:
            raise refusals.pop()
        return launch(config, errors)

    monkeypatch.setattr(children, "launch", refused_at_first)
    tools = find_tools()
    async with asyncio.timeout(20), ForkServer(tools.ffmpeg, tools.deno) as fork_server:
        await fork_server.warm()
    assert not refusals
    assert "Resource temporarily unavailable" in caplog.text


async def test_a_fork_server_that_ends_just_before_the_service_does_is_reaped(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    (program := tmp_path / "ends.py").write_text("")
    monkeypatch.setattr(children, "PROGRAM", program)
    waited_for: list[subprocess.Popen[bytes]] = []
    waits, loop, wait = asyncio.Event(), asyncio.get_running_loop(), subprocess.Popen.wait

    def and_says_so(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        waited_for.append(process)
        loop.call_soon_threadsafe(waits.set)
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", and_says_so)
    async with asyncio.timeout(20), ForkServer(None, None):
        await waits.wait()
    assert waited_for
    assert all(process.returncode is not None for process in waited_for)


async def test_a_program_that_was_killed_counts_like_a_child_that_was_lost() -> None:
    lost = TaskStatus.model_validate(
        {"task_id": "t", "url": "http://media.test/", "created_at": "2024-01-01T00:00:00Z", "lost": 2}
    ).model_copy(update={"progress": 10, "reached": (10, 0)})
    broken = Broken(code="worker_lost", retryable=True)
    assert repr(after_failure(lost, broken, DownloadSettings())).startswith("Failed(code='worker_lost'")
    again = after_failure(lost.model_copy(update={"lost": 0}), broken, DownloadSettings(retries=0))
    assert getattr(again, "counts_as_lost", False)


# --- background work ---


async def test_retention_outlasts_what_goes_wrong(site: Site, tmp_path: Path, monkeypatch: Patch) -> None:
    """A task cannot be marked on a full disk; a file that cannot be deleted stops the removal of no other
    task.
    """
    monkeypatch.setattr(janitor, "CHECK_EXPIRED_EVERY", 0.02)
    async with backend(tmp_path) as opened:
        tasks = [await accept(opened.kernel.tasks, request(site, "/video.mp4")) for _ in range(2)]
        for task in tasks:
            await reached(opened, task.task_id, Stage.COMPLETED)
    full = Once(SqliteStore.mark_expired, DiskFull(), times=2)
    monkeypatch.setattr(SqliteStore, "mark_expired", full.method())
    stuck = Once(LocalFiles.remove, OSError(errno.EIO, "Input/output error"), times=1)
    monkeypatch.setattr(LocalFiles, "remove", stuck.method())
    await asyncio.sleep(1.1)  # the end of a task is stored in whole seconds
    async with asyncio.timeout(20), backend(tmp_path, retention_hours=0.0001):
        while len(list((tmp_path / "data" / "files").iterdir())) > 1:
            await asyncio.sleep(0.01)
    assert (full.left, stuck.left) == (0, 0)
    # The next server finishes the removals that have begun.
    async with asyncio.timeout(20), backend(tmp_path):
        while list((tmp_path / "data" / "files").iterdir()):
            await asyncio.sleep(0.01)


async def test_removals_that_were_left_over_delay_no_start(tmp_path: Path, monkeypatch: Patch) -> None:
    may, remove = asyncio.Event(), LocalFiles.remove

    async def when_it_may(files: LocalFiles, task_id: str) -> None:
        await may.wait()
        await remove(files, task_id)

    monkeypatch.setattr(LocalFiles, "remove", when_it_may)
    async with backend(tmp_path) as opened:
        removed = await opened.kernel.tasks.accept([RequestedTask(waiting())] * 30)
        for accepted in removed:
            assert isinstance(accepted, Accepted)
            await opened.kernel.tasks._store.mark_removed(accepted.status.task_id)
    async with asyncio.timeout(20), backend(tmp_path) as opened:
        store = opened.kernel.tasks._store
        assert len(await store.ids_removed()) == 30
        assert (await accept(opened.kernel.tasks, waiting())).stage is Stage.PAUSED
        may.set()
        while await store.ids_removed():
            await asyncio.sleep(0.01)


async def test_a_deletion_that_failed_can_be_repeated(tmp_path: Path, monkeypatch: Patch) -> None:
    async def leave_it_to_the_client(*_: object) -> None:
        pass

    monkeypatch.setattr(embedded, "finish_removals", leave_it_to_the_client)
    stuck = Once(LocalFiles.remove, OSError(errno.EIO, "Input/output error"), times=1)
    monkeypatch.setattr(LocalFiles, "remove", stuck.method())
    async with backend(tmp_path) as opened:
        task_id = (await accept(opened.kernel.tasks, waiting())).task_id
        with pytest.raises(StorageFailed):
            await opened.kernel.tasks.delete(task_id)
        with pytest.raises(TaskNotFound):
            await opened.kernel.tasks.status(task_id)
        await opened.kernel.tasks.delete(task_id)
        with pytest.raises(TaskNotFound):
            await opened.kernel.tasks.delete(task_id)


async def test_many_deletions_share_few_commits(tmp_path: Path) -> None:
    async with backend(tmp_path) as opened:
        tasks = opened.kernel.tasks
        writer: Any = tasks._store._writer  # type: ignore[attr-defined]
        ids = await accept_many(tasks, 96)
        before = writer._counts.commits
        assert await act_on_all(tasks, "delete", ids) == [None] * 96
        assert writer._counts.commits - before <= 20
        assert await tasks._store.ids_removed() == []


async def test_of_many_deletions_those_whose_files_stay_can_be_repeated(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    stuck = Once(LocalFiles.remove, OSError(errno.EIO, "Input/output error"), times=2)
    monkeypatch.setattr(LocalFiles, "remove", stuck.method())
    async with backend(tmp_path) as opened:
        tasks = opened.kernel.tasks
        ids = await accept_many(tasks, 5)
        outcomes = await act_on_all(tasks, "delete", ids)
        failed = [task_id for task_id, outcome in zip(ids, outcomes, strict=True) if outcome]
        assert [type(outcome) for outcome in outcomes if outcome] == [StorageFailed] * 2
        assert sorted(await tasks._store.ids_removed()) == sorted(failed)
        assert [type(each) for each in await act_on_all(tasks, "cancel", ids)] == [TaskNotFound] * 5
        assert await act_on_all(tasks, "delete", failed) == [None] * 2
        assert await tasks._store.ids_removed() == []


@pytest.mark.parametrize("step", ["files", "rows"])
async def test_the_next_start_finishes_many_deletions(tmp_path: Path, monkeypatch: Patch, step: str) -> None:
    async def die(*_: object) -> None:
        raise StorageFailed  # as if the server died here: later steps are not reached

    async with backend(tmp_path) as opened:
        tasks = opened.kernel.tasks
        ids = await accept_many(tasks, 5)
        for task_id in ids:
            (tmp_path / "data" / "files" / task_id).mkdir()
        with monkeypatch.context() as patched:
            if step == "files":
                patched.setattr(LocalFiles, "remove", die)
            else:
                patched.setattr(SqliteStore, "forget", die)
            outcomes = await act_on_all(tasks, "delete", ids)
        assert [type(outcome) for outcome in outcomes] == [StorageFailed] * 5
        assert sorted(await tasks._store.ids_removed()) == sorted(ids)
        for task_id in ids:
            assert (tmp_path / "data" / "files" / task_id).exists() == (step == "files")
    async with asyncio.timeout(20), backend(tmp_path) as opened:
        while await opened.kernel.tasks._store.ids_removed():
            await asyncio.sleep(0.01)
        assert not any((tmp_path / "data" / "files" / task_id).exists() for task_id in ids)


async def test_a_removal_that_was_left_over_waits_for_whoever_acts_on_the_task(tmp_path: Path) -> None:
    async with backend(tmp_path) as opened:
        task_id = (await accept(opened.kernel.tasks, waiting())).task_id
        async with opened.kernel.tasks._turn(task_id):
            removal = asyncio.create_task(opened.kernel.tasks.carry_out_removal(task_id, []))
            await asyncio.wait([removal], timeout=0.2)
            assert not removal.done()
        await removal


async def accept_many(tasks: Tasks, count: int) -> list[str]:
    """Accept tasks that wait; return their ids."""
    accepted = await tasks.accept([RequestedTask(waiting())] * count)
    return [each.status.task_id for each in accepted if isinstance(each, Accepted)]


def waiting() -> ProcessRequest:
    return ProcessRequest(url="http://127.0.0.9:9/v.mp4", auto_start=False)
