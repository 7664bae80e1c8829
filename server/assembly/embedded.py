"""One machine: tasks in SQLite, downloads as asyncio tasks of the server process."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial

from server.assembly.backend import (
    Backend,
    BaseParts,
    backend_of,
    cookies_described,
    data_dir_of,
    empty,
    make,
    open_attempt_parts,
    open_features,
    paced,
    prepare,
    readiness_of,
    store_hooks,
)
from server.assembly.file_store import open_files
from server.core.background import in_background
from server.core.clock import Clock
from server.core.counts import Counts
from server.core.errors import StorageAway
from server.core.events import Completed, Event, Requeued, Waits
from server.core.hooks import Hooks
from server.core.ports import FileStore
from server.core.shares import Shares
from server.core.task import SCHEDULED, Queued, Stage, TaskStatus
from server.feature import Feature
from server.files.cookie_folder import LocalCookies
from server.files.free_space import make_room
from server.files.public_names import short_of
from server.files.workplace import LocalWorkplace
from server.settings import Settings
from server.storage.sqlite import DATABASE, LOCK, SqliteStore, explain_errors, open_lock, open_store
from server.tasks.children import Launched
from server.tasks.disk_space import Disk, Reserve
from server.tasks.dispatcher import LocalDispatcher, LocalTurns
from server.tasks.hub import Hub
from server.tasks.janitor import DiskWatch, finish_removals, keep_removing_expired
from server.tasks.job_builder import JobMaker
from server.tasks.next_attempt import MAX_RETRY_AFTER
from server.tasks.programs_found import find_tools
from server.tasks.rate_windows import Pacer
from server.tasks.recorder import Recorder
from server.tasks.service import Tasks

log = logging.getLogger(__name__)


@asynccontextmanager
async def open_embedded(
    settings: Settings,
    features: Sequence[Feature],
    clock: Clock,
    scopes: Collection[str],
    counts: Counts | None = None,
    launched: Launched | None = None,
) -> AsyncIterator[Backend]:
    """Open one machine's backend. Raises `ConfigurationError`, `DataDirInUse`, `DataDirUnusable`,
    `DatabaseUnusable`, `FilesUnusable`.
    """
    data_dir, downloads = settings.storage.data_dir, settings.downloads
    async with AsyncExitStack() as stack:
        data = data_dir_of(settings.storage)
        workplace = LocalWorkplace(data_dir, data=data)
        await asyncio.to_thread(make, data_dir)
        await stack.enter_async_context(open_lock(data_dir))
        await asyncio.to_thread(prepare, data)
        await asyncio.to_thread(empty, workplace)
        await asyncio.to_thread(data.keep_watch_of, data.path / LOCK)
        files = await open_files(settings.storage, workplace)
        store = await stack.enter_async_context(
            open_store(
                data.path / DATABASE,
                max_queued=downloads.max_queued,
                find_short=short_of,
                data=data,
                hooks=store_hooks(features, settings),
                counts=counts,
                clock=clock,
            )
        )
        asks = settings.access.separate_lists
        hub = Hub(lambda: clock.now().timestamp(), asks_for_owners=asks)
        shares = Shares(are_known=False)
        jobs = JobMaker(downloads, find_tools(downloads.ffmpeg))
        cookies = LocalCookies(data.path / "cookies", data, are_separate=asks)
        disk = Disk(data_dir, downloads.min_free_disk)
        base = BaseParts(settings, store, hub, clock, files, workplace, cookies, jobs, disk, Hooks(), counts)
        parts = await open_attempt_parts(
            stack, base, Reserve(disk), lambda task: tasks.submit_if_queued(task), launched
        )
        recorder, runner = parts.recorder, parts.runner
        if downloads.rate_windows:
            await stack.enter_async_context(paced(Pacer(downloads, runner, clock.wall)))
        dispatcher = LocalDispatcher(
            runner.run,
            downloads.max_concurrent,
            downloads.max_per_host,
            runner.finish,
            clock,
            store.keep_paused,
            lambda task_id, busy: recorder.record(task_id, Waits(busy=busy)),
            paused=store.was_paused,
            shares=shares,
        )
        stack.push_async_callback(dispatcher.aclose)
        tasks = Tasks(store, recorder, hub, dispatcher, LocalTurns(), files, disk, clock)
        with explain_errors(data_dir / DATABASE):
            await carry_on(store, recorder, dispatcher, files, tasks, clock)
            await store.sessions.end_others(scopes)
        watch = DiskWatch(
            runner.reserve, tasks, dispatcher, partial(make_room, workplace, store), workplace.trouble
        )
        removing = finish_removals(store, tasks)
        for work, name in (
            (removing, "removals"),
            (files.sweep(store), "sweep"),
            (watch.watch(), "disk"),
            (tasks.playlists.run(alone=True), "lists"),
        ):
            await stack.enter_async_context(in_background(work, name))
        if downloads.retention_hours:
            expiry = keep_removing_expired(store, tasks, clock, downloads.retention_hours)
            await stack.enter_async_context(in_background(expiry, "retention"))
        kernel = base.kernel(parts.fork_server, tasks, shares, is_alone=True, runs_tasks=True)
        await stack.enter_async_context(cookies_described(cookies))
        added = await open_features(stack, features, kernel)
        yield backend_of(kernel, hub, added, readiness_of(kernel, added))


async def carry_on(
    store: SqliteStore,
    recorder: Recorder,
    dispatcher: LocalDispatcher,
    files: FileStore,
    tasks: Tasks,
    clock: Clock,
) -> None:
    """Finish what a stop or a crash has interrupted: publications, downloads."""
    await store.limit_ends(clock.now())
    for task in await store.running():
        # If its files had been published before the crash, only the event `Completed` is missing.
        published = None
        with suppress(StorageAway):  # the bucket does not answer; another attempt is safe
            published = await files.find_published(task.status.task_id, task.status.attempt)
        event: Event = Completed.by(published) if published else Requeued()
        after = await recorder.record(task.status.task_id, event)
        if after.stage is Stage.COMPLETED:
            await files.tidy_up(after)
    ready, delayed = list[Queued](), list[Queued]()
    async for queued in store.queued():
        # The client chose the date of a scheduled task: there is no retry delay to cap.
        (delayed if queued.not_before and queued.waiting != SCHEDULED else ready).append(queued)
    # All waits are capped together, in few commits: if the clock was ahead, thousands of waits may be too
    # long.
    statuses = await store.statuses([each.task_id for each in delayed])
    shortened = await asyncio.gather(*(_shorten_wait(status, recorder, clock) for status in statuses))
    dispatcher.submit(*ready, *map(Queued.of, shortened))


async def _shorten_wait(status: TaskStatus, recorder: Recorder, clock: Clock) -> TaskStatus:
    """Cap the wait at the intended delay: `not_before` may come from a clock that was ahead of this one."""
    meant = MAX_RETRY_AFTER if status.delay is None else status.delay
    if status.not_before and status.not_before - clock.now() > timedelta(seconds=meant):
        return await recorder.record(status.task_id, Requeued(because=status.waiting, after=meant))
    return status
