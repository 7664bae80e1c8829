"""One machine: tasks in SQLite, downloads as asyncio tasks of the server process."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from server.backends.dispatcher import LocalDispatcher
from server.backends.sqlite import DATABASE, DatabaseUnusable, explained, open_lock, open_store
from server.clock import Clock
from server.events import Completed, Event, Requeued
from server.files.local import LocalFiles
from server.files.names import short_of
from server.models import Stage, Task, TaskStatus
from server.ports import Sessions, Store
from server.settings import ConfigurationError, Settings
from server.tasks.disk import Disk
from server.tasks.forkserver import ForkServer
from server.tasks.hub import Hub
from server.tasks.inspector import Inspector
from server.tasks.janitor import carry_out_removals, remove_expired, watch_disk
from server.tasks.readiness import Readiness
from server.tasks.recorder import Recorder
from server.tasks.runner import MAX_RETRY_AFTER, Runner
from server.tasks.service import Tasks
from server.tasks.tools import find_tools

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backend:
    tasks: Tasks
    files: LocalFiles
    inspector: Inspector
    readiness: Readiness
    sessions: Sessions


@asynccontextmanager
async def open_embedded(
    settings: Settings, hub: Hub, clock: Clock, scopes: Collection[str]
) -> AsyncIterator[Backend]:
    """Open in this order. Raises `ConfigurationError`, `DataDirInUse` and `DatabaseUnusable`."""
    data_dir, downloads = settings.storage.data_dir, settings.downloads
    async with AsyncExitStack() as stack:
        files = LocalFiles(data_dir)
        await asyncio.to_thread(_make, data_dir)
        await stack.enter_async_context(open_lock(data_dir))
        await asyncio.to_thread(_prepare, files, data_dir)
        store = await stack.enter_async_context(
            open_store(data_dir / DATABASE, max_queued=downloads.max_queued, find_short=short_of)
        )
        tools = find_tools()
        fork_server = await stack.enter_async_context(ForkServer(tools.ffmpeg, tools.deno))
        recorder, disk = Recorder(store, hub, clock), Disk(data_dir, downloads.min_free_disk)
        runner = Runner(store, recorder, fork_server, files, downloads, tools)
        dispatcher = LocalDispatcher(
            runner.run, store, downloads.max_concurrent, downloads.max_per_host, runner.finish, clock
        )
        stack.push_async_callback(dispatcher.aclose)
        tasks = Tasks(store, recorder, hub, dispatcher, files, disk, clock)
        with explained(data_dir / DATABASE):
            await carry_on(store, recorder, dispatcher, files, tasks, clock)
            await store.sessions.end_others(scopes)
        await stack.enter_async_context(_background(files.sweep(store), "sweep"))
        await stack.enter_async_context(_background(watch_disk(disk, tasks, dispatcher), "disk"))
        if downloads.retention_hours:
            expiry = remove_expired(store, tasks, clock, downloads.retention_hours)
            await stack.enter_async_context(_background(expiry, "retention"))
        yield Backend(
            tasks=tasks,
            files=files,
            inspector=Inspector(fork_server, files.scratch, downloads, tools),
            readiness=Readiness(store.ping, disk, fork_server, tools),
            sessions=store.sessions,
        )


def _make(data_dir: Path) -> None:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigurationError(f"storage.data_dir: {data_dir}: {exc.strerror}") from None


def _prepare(files: LocalFiles, data_dir: Path) -> None:
    try:
        files.prepare()
        files.empty_scratch()
    except OSError as exc:
        raise DatabaseUnusable(data_dir, f"cannot be written ({exc.strerror})") from exc


async def carry_on(
    store: Store,
    recorder: Recorder,
    dispatcher: LocalDispatcher,
    files: LocalFiles,
    tasks: Tasks,
    clock: Clock,
) -> None:
    """Finish what a stop or a crash has left: removals, publications, downloads."""
    await store.none_ended_after(clock.now())
    await carry_out_removals(tasks, await store.removed())
    for task in await store.unfinished():
        if task.status.stage.is_running:
            after = await recorder.record(task.status.task_id, await _what_became_of(task, files))
            if after.stage is Stage.COMPLETED:
                await files.tidy_up(after)
        now = await store.get(task.status.task_id)
        if now.status.stage is Stage.QUEUED:
            await _shorten_wait(now.status, recorder, clock)
            dispatcher.submit(await store.get(task.status.task_id))


async def _shorten_wait(status: TaskStatus, recorder: Recorder, clock: Clock) -> None:
    """No server makes a task wait so long: the clock of the one that did was ahead."""
    longest = timedelta(seconds=MAX_RETRY_AFTER)
    if status.not_before and status.not_before - clock.now() > longest:
        await recorder.record(status.task_id, Requeued(because=status.waiting, after=MAX_RETRY_AFTER))


async def _what_became_of(task: Task, files: LocalFiles) -> Event:
    """Its files may have got their final names just before the end; then only the word is missing."""
    published = await files.published(task.status.task_id, task.status.attempt)
    if published is None:
        return Requeued()
    return Completed(files=published.files, video_info=published.video_info)


@asynccontextmanager
async def _background(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run `work` for as long as the block lasts; say so if it ends by an error."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_report)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("%s ended unexpectedly", task.get_name(), exc_info=error)
