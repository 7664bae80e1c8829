"""Runs one attempt of a task: a child in, events out, whatever happens to the child.

A cancel from outside stops the child and records nothing: whoever cancels (a client's action, or
the shutdown, after which the task goes on) says what it means.
"""

import asyncio
import logging

from server.errors import DiskFull, StoreUnavailable, TaskNotFound
from server.events import (
    CHILD_EVENT,
    Alive,
    Broken,
    Completed,
    Event,
    Failed,
    Pictured,
    Previewed,
    Produced,
    Requeued,
    Started,
    merged,
)
from server.models import ProcessRequest, Stage, TaskStatus
from server.ports import FileStore, Store
from server.settings import DownloadSettings
from server.tasks.disk import found_no_room
from server.tasks.faults import fault_of
from server.tasks.forkserver import Child, ForkServer, stopped
from server.tasks.jobs import JobMaker
from server.tasks.recorder import Recorder
from server.tasks.shielding import to_the_end
from server.tasks.tools import Tools

log = logging.getLogger(__name__)

MAX_LOST = 3  # children lost in a row that end in an error: none of them got further than the one before
MAX_LOST_IN_ALL = 20  # however far they got
FIRST_BACKOFF, LAST_BACKOFF = 1.0, 60.0  # seconds before a new attempt, doubled each time
MAX_RETRY_AFTER = 3600.0  # seconds; a source that asks for more is not waited for longer
DISK_BACKOFF = 15.0  # seconds
# What tasks wait for:
NEXT_ATTEMPT = "next_attempt"  # after a passing fault
NEWER_RELEASE = "newer_release"  # which knows what is asked for

LastWord = Produced | Broken | None  # None: the child ended without one


class Runner:
    """Makes attempts: the child's events become statuses, what it produced becomes files.

    What is saved late for a reason outside (a full disk, a lock on the database) costs no task anything: its
    child works on meanwhile.
    """

    def __init__(
        self,
        store: Store,
        recorder: Recorder,
        fork_server: ForkServer,
        files: FileStore,
        settings: DownloadSettings,
        tools: Tools,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._fork_server = fork_server
        self._files = files
        self._settings = settings
        self._jobs = JobMaker(settings, tools)
        self._children: dict[str, Child] = {}

    async def run(self, task_id: str) -> TaskStatus | None:
        """Make one attempt and return the status it led to; None if the task is gone, or not for this server.

        When it returns, raises, or is cancelled, the child and all it started are gone. A cancel records
        nothing, unless files were being published: then it comes too late. Raises `StoreUnavailable` if not
        even the beginning could be saved; whatever happens after that is a status.
        """
        await self._fork_server.warm()
        try:
            request = (await self._store.get(task_id)).request
            if request is None:
                await self._recorder.record(task_id, Requeued(because=NEWER_RELEASE))
                return None
            status = await self._recorder.record(task_id, Started())
            return await self._attempt(status, request) if status.stage is Stage.INFO else status
        except TaskNotFound:
            return None

    def finish(self, task_id: str) -> None:
        """Have the child of a live recording end and keep it."""
        if child := self._children.get(task_id):
            child.command("finish")

    async def _attempt(self, status: TaskStatus, request: ProcessRequest) -> TaskStatus:
        try:
            last_word = await self._work(status, request)
            # No cancel may come in between: what is published is completed.
            ended = await to_the_end(self._conclude(status, last_word))
        except TaskNotFound:
            raise
        except Exception as exc:
            ended = await self._after_fault(status, exc)
        if isinstance(ended, TaskStatus):
            return ended
        after = await self._recorder.record_surely(status.task_id, ended, status.attempt)
        return await to_the_end(self._tidied(after))

    async def _conclude(self, status: TaskStatus, last_word: LastWord) -> TaskStatus | Event:
        """The status that the attempt led to, or the event that could not be saved yet."""
        ending = await self._ending(status.task_id, last_word)
        try:
            after = await self._recorder.record(status.task_id, ending, status.attempt)
        except StoreUnavailable:
            return ending
        return await self._tidied(after)

    async def _after_fault(self, status: TaskStatus, error: Exception) -> Event:
        """A full disk may show here, too: in the task's log, or in the last rename of its files."""
        if isinstance(error, DiskFull) or found_no_room(error):
            return after_failure(status, Broken(code="disk_full"), self._settings.retries)
        if isinstance(error, StoreUnavailable):
            return Requeued(because=NEXT_ATTEMPT)
        fault = fault_of(error)
        await self._files.note(status.task_id, f"internal: error {fault.id}, {error!r}")
        return Failed(code="internal", fault=fault)

    async def _tidied(self, status: TaskStatus) -> TaskStatus:
        """Only once the status names other files may those of an earlier attempt go."""
        if status.stage is Stage.COMPLETED:
            await self._files.tidy_up(status)
        return status

    async def _work(self, status: TaskStatus, request: ProcessRequest) -> LastWord:
        """Let a child do the job; it and all it started are gone when this returns."""
        task_id = status.task_id
        job = self._jobs.download(request, self._files.work(task_id), self._files.lock(task_id))
        starting = asyncio.ensure_future(
            self._fork_server.start(f"{task_id}.{status.attempt}", job, self._files.log(task_id))
        )
        try:
            # A cancel that lands while it starts would leave a child nobody holds.
            child = self._children[task_id] = await asyncio.shield(starting)
            self._share_rate()
            return await self._listen(status, child)
        finally:
            self._children.pop(task_id, None)
            await to_the_end(stopped(starting))
            self._share_rate()

    async def _listen(self, status: TaskStatus, child: Child) -> LastWord:
        while True:
            try:
                async with asyncio.timeout(self._settings.stall_timeout):
                    line = await child.read_line()
            except TimeoutError:
                log.warning("%s stalled for %s s", status.task_id, self._settings.stall_timeout)
                return Broken(code="timeout", retryable=True)
            match CHILD_EVENT.validate_json(line, extra="ignore") if line else None:
                case None:
                    return None
                case Produced() | Broken() as last_word:
                    return last_word
                case Alive():
                    pass
                case Previewed():
                    await self._show_thumbnail(status)
                case event:
                    await self._recorder.record_surely(status.task_id, event, status.attempt)

    async def _show_thumbnail(self, status: TaskStatus) -> None:
        if thumbnail := await to_the_end(self._files.publish_thumbnail(status.task_id)):
            event = Pictured(thumbnail=thumbnail)
            after = await self._recorder.record_surely(status.task_id, event, status.attempt)
            await to_the_end(self._files.tidy_up(after))

    async def _ending(self, task_id: str, last_word: LastWord) -> Event:
        status = (await self._store.get(task_id)).status
        match last_word:
            case None:
                return after_loss(status)
            case Broken():
                return after_failure(status, last_word, self._settings.retries)
            case Produced():
                return await self._publish(status, last_word)

    async def _publish(self, status: TaskStatus, produced: Produced) -> Event:
        info = merged(status.video_info, produced.video_info)
        files = await self._files.publish(status.task_id, status.attempt, produced.files, info)
        return Completed(files=files, video_info=info)

    def _share_rate(self) -> None:
        """`rate_limit` holds for all together: each running child gets an equal part."""
        if self._settings.rate_limit and self._children:
            share = max(1, self._settings.rate_limit // len(self._children))
            for child in self._children.values():
                child.command("rate", bytes_per_second=share)


def after_loss(status: TaskStatus) -> Event:
    """A child that was killed (by the kernel, by somebody) may do better next time, but not for ever."""
    in_a_row = status.lost_in_a_row
    if in_a_row + 1 >= MAX_LOST or status.lost_in_all + 1 >= MAX_LOST_IN_ALL:
        return Failed(code="worker_lost")
    return Requeued(because=NEXT_ATTEMPT, counts_as_lost=True, after=in_a_row * FIRST_BACKOFF)


def after_failure(status: TaskStatus, broken: Broken, retries: int) -> Event:
    """A passing fault leads to another attempt, later each time; a full disk is waited for."""
    if broken.code == "worker_lost":  # not the child itself, but a program that it had started
        return after_loss(status)
    if broken.code == "disk_full":
        return Requeued(because="disk_full", after=DISK_BACKOFF)
    if not broken.retryable or status.retries >= retries:
        return Failed(code=broken.code, hint=broken.hint, fault=broken.fault)
    return Requeued(because=NEXT_ATTEMPT, counts_as_retry=True, after=_backoff(status, broken))


def _backoff(status: TaskStatus, broken: Broken) -> float:
    if broken.retry_after is not None:
        return min(broken.retry_after, MAX_RETRY_AFTER)
    return min(FIRST_BACKOFF * 2.0**status.retries, LAST_BACKOFF)
