"""Runs one attempt of a task: a child in, events out, whatever happens to the child.

A cancel from outside stops the child and records nothing: whoever cancels (a client's action, or
the shutdown, after which the task goes on) says what it means.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from server.core.clock import Clock
from server.core.errors import DiskFull, StorageAway, StoreUnavailable, TaskNotFound
from server.core.events import (
    CHILD_EVENT,
    Alive,
    Broken,
    ChildEvent,
    Completed,
    Event,
    Expanded,
    Failed,
    Found,
    Held,
    Learned,
    Pictured,
    Previewed,
    Produced,
    Progress,
    Renewed,
    Requeued,
    SpaceNeeded,
    Started,
    Unfolded,
    Uploading,
    merged,
)
from server.core.jobs import Job
from server.core.models import (
    DISK_FULL,
    STORAGE_AWAY,
    Entry,
    Manifest,
    ProcessRequest,
    Stage,
    Task,
    TaskStatus,
)
from server.core.ports import Cookies, FileStore, Store, TellAway, Workplace
from server.core.request_ids import REQUEST_ID
from server.core.shielding import to_the_end
from server.settings import DownloadSettings
from server.tasks.announced import after_look
from server.tasks.children import Child, ForkServer, stopped
from server.tasks.disk_space import Reserve, found_no_room
from server.tasks.faults import fault_of
from server.tasks.job_builder import JobMaker
from server.tasks.job_cookies import CookieChoice, Given
from server.tasks.pace import Pace
from server.tasks.patience import DISK_DELAY, NEXT_ATTEMPT, after_failure, after_loss
from server.tasks.recorder import Perhaps, Recorder

log = logging.getLogger(__name__)

# What tasks wait for:
NEWER_RELEASE = "newer_release"  # one that understands the request

LATE = 1.0  # seconds by which a timer is overdue only if this process stood still

Accepted = Callable[[Task], None]
LastWord = Produced | Expanded | Unfolded | Broken | None  # None: the child ended without one


class StoodStill:
    """Heard in place of an event: this process was stopped for a while, perhaps with all of the machine."""


def _nobody(_: Task, /) -> None:
    """For new entries, with a backend that queues tasks as it stores them."""


class Superseded(Exception):
    """The task no longer belongs to this attempt; `status` is its newest status."""

    def __init__(self, status: TaskStatus) -> None:
        super().__init__(f"attempt {status.attempt} is {status.stage}")
        self.status = status


class Runner:
    """Makes attempts: the child's events become statuses, what it produced becomes files.

    While the store cannot save (a full disk, a lock on the database), the child works on, and the save is
    retried. Only progress that cannot be saved is dropped: the next one replaces it anyway.

    The entries of a list become tasks as the child finds them; `accepted`, which comes with the wish for an
    attempt, is called with each.

    An attempt that finds its task in other hands (a later attempt has it, or it has ended) stops its child
    and publishes nothing.
    """

    def __init__(
        self,
        store: Store,
        recorder: Recorder,
        fork_server: ForkServer,
        workplace: Workplace,
        files: FileStore,
        settings: DownloadSettings,
        jobs: JobMaker,
        cookies: Cookies,
        clock: Clock,
        reserve: Reserve,
    ) -> None:
        self._clock = clock
        self.reserve = reserve
        self._cookies = CookieChoice(cookies, settings.cookies)
        self._store = store
        self._recorder = recorder
        self._fork_server = fork_server
        self._workplace = workplace
        self._files = files
        self._settings = settings
        self._jobs = jobs
        self._children: dict[str, Child] = {}
        self._rate_limit = settings.rate_limit
        self._is_paced = settings.rate_limit is not None or bool(settings.rate_windows)
        self._held_until: datetime | None = None

    async def run(self, task_id: str, accepted: Accepted = _nobody) -> TaskStatus | None:
        """Make one attempt and return its status; None if the task is gone, or needs a newer release.

        When this returns, raises, or is cancelled, the child and all it started are gone. A cancel records
        nothing, unless files were being published: then it comes too late. Raises `StoreUnavailable` if
        `Started` could not be saved; every later error becomes a status.
        """
        await self._fork_server.warm()
        try:
            task = await self._store.get(task_id)
            REQUEST_ID.set(task.status.request_id)  # this attempt has an asyncio task of its own
            request = task.wanted
            if request is None:
                await self._recorder.record(task_id, Requeued(because=NEWER_RELEASE))
                return None
            if await self._workplace.trouble():  # the watch, which then begins nothing, looks once a second
                return await self._recorder.record(task_id, Requeued(because=STORAGE_AWAY, after=DISK_DELAY))
            if not await self._has_room(task.status):
                return await self._recorder.record(task_id, Requeued(because=DISK_FULL, after=DISK_DELAY))
            given = await self._cookies.made_for(request.url, request.cookies)
            status = await self._recorder.record(task_id, Started(cookies=given.name))
            if status.stage is not Stage.INFO:
                return status
            async with self._files.share(task_id, status.attempt):
                return await self._attempt(status, request, given, accepted)
        except TaskNotFound:  # removed elsewhere, perhaps before the attempt wrote its files
            await self._remove(task_id)
            return None
        finally:
            self.reserve.give_back(task_id)

    async def _has_room(self, status: TaskStatus) -> bool:
        """Whether an attempt may begin. While a task waits for room, its source is not asked in vain.

        A task that can never fit begins: its child says again how much it needs, and the task fails.
        """
        if status.waiting != DISK_FULL or status.needs is None or self.reserve.is_in_vain(status.needs):
            return True
        return await self._takes_room(status, status.needs)

    async def _takes_room(self, status: TaskStatus, needs: int) -> bool:
        takes = await self.reserve.take(status.task_id, self._workplace.work(status.task_id), needs)
        if not takes and status.stage.is_running:
            log.warning("%s waits for room: it needs about %s bytes", status.task_id, needs)
        return takes

    def finish(self, task_id: str) -> None:
        """Have the child of a live recording end it and keep what it has recorded."""
        if child := self._children.get(task_id):
            child.command("finish")

    async def _attempt(
        self, status: TaskStatus, request: ProcessRequest, given: Given, accepted: Accepted
    ) -> TaskStatus:
        began, perhaps = asyncio.get_running_loop().time(), Perhaps()
        try:
            last_word = await self._work(status, request, given, accepted)
            lasted = asyncio.get_running_loop().time() - began
            newest = _still_ours(status, await self._recorder.read_surely(status.task_id))
            ending = await self._ending(newest, request, last_word, lasted)
            # A cancel in between would leave a task whose files are published, but which is not completed.
            ended = await to_the_end(self._conclude(newest, ending, perhaps, accepted))
        except TaskNotFound:
            raise
        except Superseded as exc:
            log.warning("attempt %s of %s is given up: %s", status.attempt, status.task_id, exc)
            return exc.status
        except Exception as exc:
            ended = await self._after_fault(status, exc)
        if isinstance(ended, TaskStatus):
            return ended
        after = await self._recorder.record_surely(status.task_id, ended, status.attempt, perhaps, accepted)
        return await to_the_end(self._tidied(after, ended))

    async def _conclude(
        self, status: TaskStatus, ending: Manifest | Event, perhaps: Perhaps, accepted: Accepted
    ) -> TaskStatus | Event:
        """The status that the attempt led to, or the event that could not be saved yet."""
        event = await self._published(status, ending) if isinstance(ending, Manifest) else ending
        try:
            after = await self._recorder.record(status.task_id, event, status.attempt, perhaps, accepted)
        except StoreUnavailable:
            return event
        return await self._tidied(after, event)

    async def _remove(self, task_id: str) -> None:
        try:
            await self._files.remove(task_id)
        except StorageAway:
            pass  # a sweep deletes them later
        except OSError as exc:
            log.warning("leftovers of the removed task %s could not be deleted: %s", task_id, exc)

    async def _after_fault(self, status: TaskStatus, error: Exception) -> Event:
        """What follows an error. A full disk may show here, too: at the task's log, or at the last rename."""
        if isinstance(error, DiskFull) or found_no_room(error):
            return after_failure(status, Broken(code="disk_full"), self._settings)
        if isinstance(error, StoreUnavailable):
            return Requeued(because=NEXT_ATTEMPT)
        if isinstance(error, StorageAway) or await self._workplace.trouble():
            return Requeued(because=STORAGE_AWAY, after=DISK_DELAY)
        fault = fault_of(error)
        await self._workplace.note(status.task_id, f"internal: error {fault.id}, {error!r}")
        return Failed(code="internal", fault=fault)

    async def _tidied(self, status: TaskStatus, event: Event) -> TaskStatus:
        """Delete files of earlier attempts, only now that `status` is saved and names others.

        Files that were published too late, so that no status will ever name them, are deleted as well.
        """
        if status.needs_no_child or isinstance(event, Completed | Unfolded):
            await self._files.tidy_up(status)
        return status

    async def _work(
        self, status: TaskStatus, request: ProcessRequest, given: Given, accepted: Accepted
    ) -> LastWord:
        """Let a child do the job; it and all it started are gone when this returns."""
        if given.are_missing:
            return Broken(code="cookies_missing")
        task_id = status.task_id
        work, lock = self._workplace.work(task_id), self._workplace.lock(task_id)
        job = replace(
            self._job(status, request, work, lock, given.text),
            rate_limit=self._share(len(self._children) + 1),
        )
        starting = asyncio.ensure_future(
            self._fork_server.start(f"{task_id}.{status.attempt}", job, self._workplace.log(task_id))
        )
        try:
            # Shielded: a cancel during the start would leave a child that nobody stops.
            child = self._children[task_id] = await asyncio.shield(starting)
            self._share_rate()
            if status.finish_asked:  # of an earlier child, which did not come to its end
                child.command("finish")
            return await self._listen(status, request, child, given, accepted)
        finally:
            self._children.pop(task_id, None)
            await to_the_end(stopped(starting))
            self._share_rate()

    def _job(
        self, status: TaskStatus, request: ProcessRequest, work: Path, lock: Path, cookies: str | None
    ) -> Job:
        if status.entries is None:
            return self._jobs.download(
                request,
                work,
                lock,
                cookies,
                status.item,
                status.says,
                None if status.playlist_id is None else status.lists,
                None if status.playlist_id is None else status.video_info.title,
                accept_gaps=status.accept_gaps,
            )
        return self._jobs.expand(request, work, lock, cookies, status.read)

    async def _listen(
        self, status: TaskStatus, request: ProcessRequest, child: Child, given: Given, accepted: Accepted
    ) -> LastWord:
        pace, is_after_hold = Pace(asyncio.get_running_loop().time()), False
        inner: list[Entry] = []  # the entries of an entry that is a list
        while True:
            match await self._hear(status, child):
                case StoodStill():
                    pace = Pace(asyncio.get_running_loop().time())
                case Broken() as broken:
                    return broken.model_copy(update={"after_hold": is_after_hold and not status.gained})
                case Expanded(truncated=truncated) if inner:
                    most = self._settings.max_playlist
                    return Unfolded(entries=tuple(inner), truncated=truncated, most=most)
                case Produced() | Expanded() | None as last_word:
                    return last_word
                case Found(entries=found) if status.entries is None:
                    inner += found
                case Found(entries=found):
                    status = await self._join_surely(Task(request, status), found, accepted)
                case Alive():
                    pass
                case Learned() | Renewed() as news:
                    await self._keep(news, status, given)
                case SpaceNeeded() as event:
                    status = await self._record_surely(status, event)
                    if self.reserve.is_in_vain(event.needs):
                        return Broken(code="too_large", hint="too_large_for_disk")
                    if not await self._takes_room(status, event.needs):
                        return Broken(code=DISK_FULL, retryable=True)
                case Previewed():
                    status = await self._show_thumbnail(status)
                case Held(held=held):
                    pace, is_after_hold = Pace(asyncio.get_running_loop().time()), True
                    status = await self._record_surely(status, Held(held=held, until=self._held_until))
                case Progress(stage=status.stage) as event:
                    status = await self._record_if_possible(status, event)
                    if self._is_too_slow(event, pace):
                        return Broken(code="too_slow", retryable=True)
                case event:
                    status = await self._record_surely(status, event)

    async def _hear(self, status: TaskStatus, child: Child) -> ChildEvent | StoodStill | None:
        """The child's next event, `Broken` if it is silent for `stall_timeout`, or None if it is gone."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.stall_timeout
        try:
            async with asyncio.timeout_at(until):
                line = await child.read_line()
        except TimeoutError:
            if loop.time() > until + LATE:  # what the child wrote meanwhile is not read yet
                return StoodStill()
            log.warning("%s stalled for %s s", status.task_id, self._settings.stall_timeout)
            code = "conversion_stalled" if status.stage is Stage.CONVERT else "timeout"
            return Broken(code=code, retryable=True)
        return CHILD_EVENT.validate_json(line, extra="ignore") if line else None

    async def _keep(self, news: Learned | Renewed, status: TaskStatus, given: Given) -> None:
        """Keep what is of use to later jobs."""
        if isinstance(news, Learned):
            self._jobs.players.learn(status.url, news)
        else:
            await to_the_end(given.renew(news.cookies))

    def _is_too_slow(self, event: Progress, pace: Pace) -> bool:
        if event.stage is not Stage.DOWNLOAD:
            return False
        now = asyncio.get_running_loop().time()
        return pace.is_too_slow(event.downloaded_bytes or 0, self._share(len(self._children)), now)

    async def _record_if_possible(self, status: TaskStatus, progress: Progress) -> TaskStatus:
        try:
            # No cancel between saving and publishing, see `record_surely`.
            recording = self._recorder.record(status.task_id, progress, status.attempt)
            return _still_ours(status, await to_the_end(recording))
        except StoreUnavailable:
            return status

    async def _record_surely(self, status: TaskStatus, event: Event) -> TaskStatus:
        after = await self._recorder.record_surely(status.task_id, event, status.attempt)
        return _still_ours(status, after)

    async def _join_surely(self, playlist: Task, found: Sequence[Entry], accepted: Accepted) -> TaskStatus:
        most = self._settings.max_playlist
        joining = self._recorder.join_surely(playlist, found, most, accepted)
        return _still_ours(playlist.status, await joining)

    async def _show_thumbnail(self, status: TaskStatus) -> TaskStatus:
        thumbnail = await to_the_end(self._files.publish_thumbnail(status.task_id))
        if thumbnail is None:
            return status
        after = await self._record_surely(status, Pictured(thumbnail=thumbnail))
        await to_the_end(self._files.tidy_up(after))
        return after

    async def _ending(
        self, status: TaskStatus, request: ProcessRequest, last_word: LastWord, lasted: float
    ) -> Manifest | Event:
        """What the attempt ends in after `lasted` seconds: files to be published, or an event."""
        match last_word:
            case None | Broken() if await self._workplace.trouble():  # no fault of the source or the child
                return Requeued(because=STORAGE_AWAY, after=DISK_DELAY)
            case None:
                return after_loss(status)
            case Expanded() | Unfolded():
                return last_word
            case Broken():
                wait = self._after_look(status, last_word, lasted) if request.live == "wait" else None
                return wait or after_failure(status, last_word, self._settings, lasted)
            case Produced(files=files, video_info=news, fetched=fetched):
                info = merged(status.video_info, news)
                away = self._tell_away(status)
                manifest = await self._files.prepare(status.task_id, status.attempt, files, info, away)
                return manifest.model_copy(update={"fetched": fetched})

    def _after_look(self, status: TaskStatus, broken: Broken, lasted: float) -> Requeued | None:
        return after_look(status, broken, self._settings.patience, self._clock.wall(), lasted)

    async def _published(self, status: TaskStatus, manifest: Manifest) -> Completed:
        await self._files.publish(status.task_id, manifest, self._tell_away(status))
        return Completed.by(manifest)

    def _tell_away(self, status: TaskStatus) -> TellAway:
        async def tell(away: bool) -> None:
            with suppress(StoreUnavailable, TaskNotFound):
                await to_the_end(self._recorder.record(status.task_id, Uploading(away=away), status.attempt))

        return tell

    def limit_rate(self, bytes_per_second: int | None, until: datetime | None = None) -> None:
        """Set the bytes a second of all children here together; 0: none, `until` then, None: no limit."""
        self._held_until = until
        if bytes_per_second != self._rate_limit:
            self._rate_limit = bytes_per_second
            self._share_rate()

    def _share_rate(self) -> None:
        """Each running child gets an equal part."""
        if self._is_paced:
            share = self._share(len(self._children))
            for child in self._children.values():
                child.command("rate", bytes_per_second=share)

    def _share(self, children: int) -> int | None:
        """The limit of each of so many `children`, in bytes a second; 0: none may come, None: no limit."""
        if not self._rate_limit:
            return self._rate_limit
        return max(1, self._rate_limit // max(1, children))


def _still_ours(before: TaskStatus, after: TaskStatus) -> TaskStatus:
    if after.attempt != before.attempt or not after.stage.is_running:
        raise Superseded(after)
    return after
