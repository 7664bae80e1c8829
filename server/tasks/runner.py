"""Runs one attempt of a task: a child in, events out, whatever happens to the child.

A cancel from outside stops the child and records nothing: the caller that cancels (a client's action, or the
shutdown, after which the task goes on) records what it means.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final

from server.core.clock import Clock
from server.core.errors import DiskFull, StorageAway, StoreUnavailable, TaskNotFound
from server.core.events import (
    CHILD_EVENT,
    Alive,
    Broken,
    Completed,
    EntriesFound,
    Event,
    Expanded,
    Failed,
    Learned,
    Pictured,
    Previewed,
    Produced,
    Progress,
    RateWindowHold,
    Renewed,
    Requeued,
    SpaceNeeded,
    Started,
    Unfolded,
    Uploading,
    merge_info,
)
from server.core.film import Manifest
from server.core.hooks import AttemptFailed, BeforeAttempt
from server.core.list_entries import ListEntry
from server.core.ports import Cookies, FileStore, Store, TellAway, Workplace
from server.core.process_request import ProcessRequest
from server.core.request_ids import PERSON, REQUEST_ID
from server.core.shielding import to_the_end
from server.core.task import DISK_FULL, STORAGE_AWAY, Stage, Task, TaskStatus
from server.settings import DownloadSettings
from server.tasks.children import Child, stopped
from server.tasks.disk_space import Reserve, found_no_room
from server.tasks.faults import fault_of
from server.tasks.fork_servers import ForkServers
from server.tasks.job_builder import CookieChoice, JobCookies, JobMaker
from server.tasks.next_attempt import DISK_DELAY, NEXT_ATTEMPT, after_failure, after_look, after_loss
from server.tasks.recorder import Perhaps, Recorder

log = logging.getLogger(__name__)

NEWER_RELEASE = "newer_release"  # the task waits for a server that understands its request

SUSPENDED_IF_OVERDUE_BY = 1.0  # seconds; only a process that was suspended runs a timer so late

SLOW_FOR: Final = 600.0  # seconds for which a source may be too slow
LEAST_BYTES: Final = 64 * 1024
"""Bytes that have to arrive within `SLOW_FOR`: about a hundred per second."""

_ENOUGH_OF_LIMIT: Final = 0.1  # fraction of the rate limit that is enough where the limit is very low

Accepted = Callable[[Task], None]
LastWord = Produced | Expanded | Unfolded | Broken | None  # None: the child ended without one


class Superseded(Exception):
    """The task no longer belongs to this attempt; `status` is its newest status."""

    def __init__(self, status: TaskStatus) -> None:
        super().__init__(f"attempt {status.attempt} is {status.stage}")
        self.status = status


class Runner:
    """Makes attempts: the child's events become statuses, what it produced becomes files.

    While the store cannot save (a full disk, a lock on the database), the child works on, and the save is
    retried. Only progress that cannot be saved is dropped: the next one replaces it anyway.

    The entries of a list become tasks as the child finds them; `accepted`, an argument of `run`, is called
    with each.

    An attempt whose task belongs to a later attempt by now, or has ended, stops its child and publishes
    nothing.
    """

    def __init__(
        self,
        store: Store,
        recorder: Recorder,
        fork_server: ForkServers,
        workplace: Workplace,
        files: FileStore,
        settings: DownloadSettings,
        jobs: JobMaker,
        cookies: Cookies,
        clock: Clock,
        reserve: Reserve,
        attempt_failed: Sequence[AttemptFailed] = (),
        before_attempt: Sequence[BeforeAttempt] = (),
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
        self._attempt_failed = attempt_failed
        self._before_attempt = before_attempt

    async def run(self, task_id: str, accepted: Accepted = lambda _: None) -> TaskStatus | None:
        """Make one attempt and return its status; None if the task is gone, or needs a newer release.

        `accepted` may be left out where the backend queues tasks as it stores them.

        When this returns, raises, or is cancelled, the child and all it started are gone. A cancel records
        nothing, unless files were being published: then it comes too late. Raises `StoreUnavailable` if
        `Started` could not be saved; every later error becomes a status.
        """
        self.reserve.begun.set()
        await self._fork_server.warm()
        try:
            task = await self._store.get(task_id)
            # Set for this attempt alone, which runs in an asyncio task of its own.
            REQUEST_ID.set(task.status.request_id)
            PERSON.set(task.status.owner or "")
            request, before = task.effective_request, task.status
            if request is None:
                await self._recorder.record(task_id, Requeued(because=NEWER_RELEASE))
                return None
            # The disk watch pauses the queue, but may not have noticed yet.
            if await self._workplace.trouble():
                return await self._recorder.record(task_id, Requeued(because=STORAGE_AWAY, after=DISK_DELAY))
            for happens in self._before_attempt:
                if event := await happens(task):
                    after = await self._recorder.record(task_id, event)
                    if isinstance(event, Requeued):
                        return after
                    task = await self._store.get(task_id)
                    request, before = task.effective_request or request, task.status
            # A task that waits for room begins only when it fits: its source is not asked in vain. One that
            # can never fit does begin: its child says again how much it needs, and the task fails.
            needs = before.needs if before.waiting == DISK_FULL else None
            may_fit = needs is not None and not self.reserve.is_in_vain(needs)
            if needs is not None and may_fit and not await self._takes_room(before, needs):
                return await self._recorder.record(task_id, Requeued(because=DISK_FULL, after=DISK_DELAY))
            job_cookies = await self._cookies.made_for(request.url, request.cookies, task.status.owner)
            status = await self._recorder.record(task_id, Started(cookies=job_cookies.name))
            if status.stage is not Stage.INFO:
                return status
            async with self._files.share(task_id, status.attempt):
                return await self._attempt(status, request, job_cookies, accepted)
        except TaskNotFound:  # removed elsewhere, perhaps before the attempt wrote its files
            try:
                await self._files.remove(task_id)
            except StorageAway:
                pass  # a later sweep deletes the files
            except OSError as exc:
                log.warning("leftovers of the removed task %s could not be deleted: %s", task_id, exc)
            return None
        finally:
            self.reserve.give_back(task_id)

    async def _takes_room(self, status: TaskStatus, needs: int) -> bool:
        takes = await self.reserve.take(status.task_id, self._workplace.work(status.task_id), needs)
        if not takes and status.stage.is_running:
            log.warning("%s waits for room: it needs about %s bytes", status.task_id, needs)
        return takes

    async def _attempt(
        self, status: TaskStatus, request: ProcessRequest, job_cookies: JobCookies, accepted: Accepted
    ) -> TaskStatus:
        """Let the child work, then turn its last event into published files or another event, and
        save that.
        """
        task_id, perhaps, began = status.task_id, Perhaps(), asyncio.get_running_loop().time()

        async def tell_away(away: bool) -> None:
            with suppress(StoreUnavailable, TaskNotFound):
                await to_the_end(self._recorder.record(task_id, Uploading(away=away), status.attempt))

        async def work(again: bool) -> LastWord:
            newest = status
            if again:
                await self._workplace.note(task_id, "once more, with the release of yt-dlp before this one")
                newest = _still_ours(status, await self._recorder.read_surely(task_id))
            return await self._let_child_work(newest, request, job_cookies, accepted)

        ended: TaskStatus | Event
        try:
            last_word = await self._fork_server.run(_job_id(status), work)
            lasted = asyncio.get_running_loop().time() - began
            newest = _still_ours(status, await self._recorder.read_surely(task_id))
            ending: Manifest | Event
            match last_word:
                case None | Broken() if (
                    await self._workplace.trouble()
                ):  # no fault of the source or the child
                    ending = Requeued(because=STORAGE_AWAY, after=DISK_DELAY)
                case None:
                    ending = after_loss(newest)
                case Expanded() | Unfolded():
                    ending = last_word
                case Broken():
                    patience, wait = self._settings.patience, None
                    if request.live == "wait":
                        wait = after_look(newest, last_word, patience, self._clock.wall(), lasted)
                    ending = wait or after_failure(newest, last_word, self._settings, lasted)
                case Produced(files=files, video_info=news, fetched=fetched, about=about):
                    info = merge_info(newest.video_info, news)
                    manifest = await self._files.prepare(task_id, status.attempt, files, info, tell_away)
                    ending = manifest.model_copy(update={"fetched": fetched, "about": about})
            # A cancel in between would leave a task whose files are published, but which is not completed.
            ended = await to_the_end(self._conclude(newest, ending, perhaps, accepted, tell_away))
            if isinstance(last_word, Broken):
                for attempt_failed in self._attempt_failed:
                    attempt_failed(newest, last_word)
        except TaskNotFound:
            raise
        except Superseded as exc:
            log.warning("attempt %s of %s is given up: %s", status.attempt, task_id, exc)
            return exc.status
        except Exception as error:
            ended = await self._event_of_error(error, status)
        if isinstance(ended, TaskStatus):
            return ended
        after = await self._recorder.record_surely(task_id, ended, status.attempt, perhaps, accepted)
        return await to_the_end(self._tidied(after, ended))

    async def _event_of_error(self, error: Exception, status: TaskStatus) -> Event:
        """Return the event that ends an attempt which failed in this process, not in the child."""
        # The disk may have been full for the task's log, or at the last rename.
        if isinstance(error, DiskFull) or found_no_room(error):
            return after_failure(status, Broken(code="disk_full"), self._settings)
        if isinstance(error, StoreUnavailable):
            return Requeued(because=NEXT_ATTEMPT)
        if isinstance(error, StorageAway) or await self._workplace.trouble():
            return Requeued(because=STORAGE_AWAY, after=DISK_DELAY)
        fault = fault_of(error)
        await self._workplace.note(status.task_id, f"internal: error {fault.id}, {error!r}")
        return Failed(code="internal", fault=fault)

    async def _conclude(
        self,
        status: TaskStatus,
        ending: Manifest | Event,
        perhaps: Perhaps,
        accepted: Accepted,
        tell_away: TellAway,
    ) -> TaskStatus | Event:
        """Return the status that the attempt led to, or the event that could not be saved yet."""
        event: Event
        if isinstance(ending, Manifest):
            await self._files.publish(status.task_id, ending, tell_away)
            event = Completed.by(ending)
        else:
            event = ending
        try:
            after = await self._recorder.record(status.task_id, event, status.attempt, perhaps, accepted)
        except StoreUnavailable:
            return event
        return await self._tidied(after, event)

    async def _tidied(self, status: TaskStatus, event: Event) -> TaskStatus:
        """Delete files of earlier attempts, only now that `status` is saved and names others.

        Files that were published too late for any status to name them are deleted as well. Those of a task
        that was paused meanwhile stay: the task is completed by them when it is resumed.
        """
        has_ended = isinstance(event, Completed | Unfolded) and status.stage is not Stage.PAUSED
        if status.needs_no_child or has_ended:
            await self._files.tidy_up(status)
        return status

    async def _let_child_work(
        self, status: TaskStatus, request: ProcessRequest, job_cookies: JobCookies, accepted: Accepted
    ) -> LastWord:
        """Let a child do the job; it and all it started are gone when this returns."""
        if job_cookies.are_missing:
            return Broken(code="cookies_missing")
        task_id = status.task_id
        work, lock = self._workplace.work(task_id), self._workplace.lock(task_id)
        if status.is_list:
            job = self._jobs.job("expand", request, work, lock, job_cookies.text)
            job = replace(job, known=status.entries_read)
        else:
            job = self._jobs.job("download", request, work, lock, job_cookies.text)
            is_entry = status.playlist_id is not None
            job = replace(
                job,
                item=status.item,
                says=status.says.model_dump(exclude_none=True) if status.says else {},
                lists=status.lists if is_entry else None,
                title=status.video_info.title if is_entry else None,
                accept_gaps=status.accept_gaps,
                # Podcast feeds, which a subscription may get later, and NFO files need the description.
                tells_about=status.subscription_id is not None or status.library is not None,
            )
        job = replace(job, rate_limit=self._share(len(self._children) + 1))
        starting = asyncio.ensure_future(
            self._fork_server.start(_job_id(status), job, self._workplace.log(task_id))
        )
        try:
            # Shielded: a cancel during the start would leave a child that nobody stops.
            child = self._children[task_id] = await asyncio.shield(starting)
            self._share_rate()
            # A client asked an earlier child, which was lost before it could end the recording.
            if status.finish_asked:
                child.command("finish")
            return await self._listen(status, request, child, job_cookies, accepted)
        finally:
            self._children.pop(task_id, None)
            await to_the_end(stopped(starting))
            self._share_rate()

    async def _listen(
        self,
        status: TaskStatus,
        request: ProcessRequest,
        child: Child,
        job_cookies: JobCookies,
        accepted: Accepted,
    ) -> LastWord:
        """Record the child's events, up to its last one, or until the child is gone or has to be stopped."""
        loop, settings = asyncio.get_running_loop(), self._settings
        reader, speed, is_after_hold = (
            LineReader(child, settings.stall_timeout),
            SourceSpeed(loop.time()),
            False,
        )
        inner = list[ListEntry]()  # the entries of an entry that is a list
        space: SpaceNeeded | None = None  # saved only if the task has to wait for room
        while True:
            try:
                line = await reader.next_line()
            except TimeoutError:
                log.warning("%s stalled for %s s", status.task_id, settings.stall_timeout)
                code = "conversion_stalled" if status.stage is Stage.CONVERT else "timeout"
                return Broken(code=code, retryable=True)
            if not line:
                return None
            if reader.was_suspended:  # the source is not to blame for the bytes that did not come
                speed = SourceSpeed(loop.time())
            match CHILD_EVENT.validate_json(line, extra="ignore"):
                case Broken() as broken:
                    if broken.code == DISK_FULL and space:
                        await self._record_surely(status, space)
                    return broken.model_copy(update={"after_hold": is_after_hold and not status.gained})
                case Expanded(truncated=truncated) if inner:
                    most = settings.max_playlist
                    return Unfolded(entries=tuple(inner), truncated=truncated, most=most)
                case Produced() | Expanded() as last_word:
                    return last_word
                case EntriesFound(entries=found) if status.entries is None:
                    inner += found
                case EntriesFound(entries=found):
                    task, most = Task(request, status), settings.max_playlist
                    status = _still_ours(
                        status, await self._recorder.join_surely(task, found, most, accepted)
                    )
                case Alive():
                    pass
                case Learned() as learned:
                    self._jobs.players.learn(status.url, learned)
                case Renewed(cookies=cookies):
                    await to_the_end(job_cookies.renew(cookies))
                case SpaceNeeded(needs=needs) as space:
                    if self.reserve.is_in_vain(needs):
                        return Broken(code="too_large", hint="too_large_for_disk")
                    if not await self._takes_room(status, needs):
                        await self._record_surely(status, space)
                        return Broken(code=DISK_FULL, retryable=True)
                case Previewed():
                    if thumbnail := await to_the_end(self._files.publish_thumbnail(status.task_id)):
                        status = await self._record_surely(status, Pictured(thumbnail=thumbnail))
                        await to_the_end(self._files.tidy_up(status))
                case RateWindowHold(held=held):
                    speed, is_after_hold = SourceSpeed(loop.time()), True
                    status = await self._record_surely(
                        status, RateWindowHold(held=held, until=self._held_until)
                    )
                case Progress(stage=status.stage) as event:
                    with suppress(StoreUnavailable):
                        # No cancel between saving and publishing, see `Recorder.record_surely`.
                        recording = self._recorder.record(status.task_id, event, status.attempt)
                        status = _still_ours(status, await to_the_end(recording))
                    if event.stage is Stage.DOWNLOAD:
                        share = self._share(len(self._children))
                        if speed.is_too_slow(event.downloaded_bytes or 0, share, loop.time()):
                            return Broken(code="too_slow", retryable=True)
                case event:
                    status = await self._record_surely(status, event)

    async def _record_surely(self, status: TaskStatus, event: Event) -> TaskStatus:
        after = await self._recorder.record_surely(status.task_id, event, status.attempt)
        return _still_ours(status, after)

    def finish(self, task_id: str) -> None:
        """Have the child of a live recording end it and keep what it has recorded."""
        if child := self._children.get(task_id):
            child.command("finish")

    def limit_rate(self, bytes_per_second: int | None, until: datetime | None = None) -> None:
        """Limit all children here together to `bytes_per_second`; 0: hold them `until` then,
        None: no limit.
        """
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
        """Return the limit of each of that many `children`, in bytes a second; 0: none may come, None: no
        limit.
        """
        if not self._rate_limit:
            return self._rate_limit
        return max(1, self._rate_limit // max(1, children))


class LineReader:
    """Reads what a child writes, and does not blame the child for a suspension of this process.

    The process may be suspended alone, or with the whole machine.
    """

    def __init__(self, child: Child, stall_timeout: float) -> None:
        self._child = child
        self._stall_timeout = stall_timeout  # seconds
        self._read_at = asyncio.get_running_loop().time()
        self.was_suspended = False
        """Whether this process was suspended before it read the newest line."""

    async def next_line(self) -> bytes:
        """Return the child's next line; b"" if the child is gone.

        Raises `TimeoutError` if the child has written nothing for `stall_timeout`.
        """
        loop = asyncio.get_running_loop()
        while True:
            silent_until = loop.time() + self._stall_timeout
            try:
                async with asyncio.timeout_at(silent_until):
                    line = await self._child.read_line()
            except TimeoutError:
                if loop.time() <= silent_until + SUSPENDED_IF_OVERDUE_BY:
                    raise
                continue  # what the child wrote during the suspension is not read yet
            now = loop.time()
            self.was_suspended = now > self._read_at + self._stall_timeout + SUSPENDED_IF_OVERDUE_BY
            self._read_at = now
            return line


class SourceSpeed:
    """Tells whether a source sends next to nothing, since such a download could hold a place for years.

    `now` are seconds of a monotonic clock.
    """

    def __init__(self, now: float) -> None:
        self._since = now
        self._floor = 0

    def is_too_slow(self, downloaded: int, share: int | None, now: float) -> bool:
        """Whether too few bytes have come for `SLOW_FOR` seconds; `downloaded` are all bytes so far.

        `share` is the limit in bytes a second, or None. `downloaded` falls if the download begins anew.
        """
        self._floor = min(self._floor, downloaded)
        least = LEAST_BYTES if share is None else min(LEAST_BYTES, _ENOUGH_OF_LIMIT * share * SLOW_FOR)
        if downloaded >= self._floor + least:
            self._since, self._floor = now, downloaded
        return now - self._since >= SLOW_FOR


def _job_id(status: TaskStatus) -> str:
    return f"{status.task_id}.{status.attempt}"


def _still_ours(before: TaskStatus, after: TaskStatus) -> TaskStatus:
    if after.attempt != before.attempt or not after.stage.is_running:
        raise Superseded(after)
    return after
