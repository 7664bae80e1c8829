"""Runs a job: makes one attempt of its task; then the place is free for the next task.

A job is the right to run its task while `tasks.job_id` names the job. That column is cleared at the end of
the attempt, whatever its outcome. A worker that was taken for dead finds another job there, and changes
nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from procrastinate import JobContext
from procrastinate.job_context import AbortReason

from server.cluster.admission import Admission
from server.cluster.database import ClusterDatabase
from server.core.errors import StorageAway, StoreUnavailable, TaskNotFound
from server.core.events import Completed, Requeued
from server.core.film import Manifest
from server.core.ports import Store
from server.core.shielding import to_the_end
from server.core.task import DISK_FULL, STORAGE_AWAY, Stage, TaskStatus
from server.storage.entry_rows import has_taken_all
from server.tasks.next_attempt import DISK_DELAY
from server.tasks.recorder import Recorder

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_WHILE_STORE_UNAVAILABLE = 5.0  # seconds before an attempt is retried that could not begin
RETRY_GIVING_BACK = 0.5  # seconds between tries to give a job back
POLL_WISHES_EVERY = 2.0  # seconds between two looks for wishes of clients: a notification may be lost
SET_ASIDE_FOR = 60.0  # seconds without a job for a task that failed unexpectedly, or needs a newer server

_BEGIN = f"""
    UPDATE tasks SET node = %s, finish_asked = false WHERE task_id = %s AND job_id = %s AND NOT removed
        AND NOT EXISTS (SELECT FROM pauses) AND {has_taken_all()}
    RETURNING task_id"""  # noqa: S608
_WISHES = "SELECT task_id, job_id FROM tasks WHERE job_id = ANY(%s) AND finish_asked"
_LEAVE = "UPDATE tasks SET node = NULL WHERE task_id = %s AND job_id = %s RETURNING task_id"
# Keeps workers from the task until that time, unless somebody acts on it.
_SET_ASIDE = """
    UPDATE tasks SET withdrawn_at = now() + make_interval(secs => %s)
    WHERE task_id = %s AND job_id = %s AND stage = 'queued' RETURNING task_id"""
_END = "UPDATE tasks SET job_id = NULL WHERE task_id = %s AND job_id = %s RETURNING host"


class Published(Protocol):
    """The part of `server.core.ports.FileStore` that is used here."""

    async def find_published(self, task_id: str, attempt: int) -> Manifest | None: ...

    async def tidy_up(self, status: TaskStatus) -> None: ...


@dataclass(eq=False, slots=True)
class RunningJob:
    task_id: str
    work: "asyncio.Task[None]"
    withdrawn: bool = False  # an action withdrew the job, and records what becomes of the task
    is_finishing: bool = False


@dataclass(eq=False, slots=True)
class Jobs:
    """The jobs of this node. `run` makes an attempt, as `server.tasks.runner.Runner.run` does."""

    node_id: str
    run: Callable[[str], Awaitable[TaskStatus | None]]
    store: Store
    recorder: Recorder
    files: Published
    database: ClusterDatabase
    admission: Admission
    held: bool = False
    draining: bool = False  # this node takes no more jobs: waiting tasks are left to other nodes
    _running: dict[int, RunningJob] = field(default_factory=dict)

    def running(self) -> list[str]:
        return [running.task_id for running in self._running.values()]

    async def all_ended(self) -> None:
        while self._running:
            await asyncio.wait([running.work for running in self._running.values()])

    def known(self) -> set[int]:
        return set(self._running)

    async def download(self, context: JobContext, task_id: str) -> None:
        """Run the engine's task for one job. A cancel stops the child; `abort_reason` tells a requested abort
        from a shutdown.
        """
        job, me = context.job, asyncio.current_task()
        assert job.id is not None
        assert me is not None
        running = self._running[job.id] = RunningJob(task_id, me)
        try:
            if not self.held and await self._begins(task_id, job.id) and not context.should_abort():
                await self._attempt(task_id, job.id)
        except asyncio.CancelledError:
            if not running.withdrawn and context.abort_reason() is not AbortReason.USER_REQUEST:
                await to_the_end(self._requeue(task_id, job.id))
            raise
        finally:
            try:
                await to_the_end(self._end(task_id, job.id))
            finally:
                del self._running[job.id]

    async def to_finish(self) -> list[str]:
        """Return the tasks of this node whose recording a client has asked to finish, each only once."""
        waiting = {job_id: each for job_id, each in self._running.items() if not each.is_finishing}
        found = await self.database.rows(_WISHES, list(waiting)) if waiting else []
        for _, job_id in found:
            waiting[job_id].is_finishing = True
        return [task_id for task_id, _ in found]

    def withdraw(self, job_id: int) -> None:
        """Stop the job's attempt, without recording anything."""
        if running := self._running.get(job_id):
            running.withdrawn = True
            running.work.cancel()

    def stop(self) -> None:
        """Stop all attempts. Their tasks wait for another worker."""
        for running in self._running.values():
            running.work.cancel()

    async def _begins(self, task_id: str, job_id: int) -> bool:
        """Whether the job still belongs to its task, and the task may begin."""
        return bool(await _retry(lambda: self.database.rows(_BEGIN, self.node_id, task_id, job_id)))

    async def _attempt(self, task_id: str, job_id: int) -> None:
        """Make an attempt. If none can be made, delay the task's next job, which would else come at once."""
        while True:
            try:
                try:
                    status = (await self.store.get(task_id)).status
                except TaskNotFound:
                    return
                # The previous attempt may have ended after publishing its files, before that was recorded.
                found = await self.files.find_published(task_id, status.attempt) if status.attempt else None
                # The numbers are equal if the completion was recorded, and the task retried since.
                if found and found.files != status.files:
                    completed = await self.recorder.record(task_id, Completed.by(found), status.attempt)
                    # A paused task keeps its files until it is resumed.
                    if completed.stage is not Stage.PAUSED:
                        await self.files.tidy_up(completed)
                    return
                after = await self.run(task_id)
                if after is None:  # the task is gone, or needs a newer server
                    with suppress(TaskNotFound):
                        if (await self.store.get(task_id)).effective_request is None:
                            await self._set_aside(task_id, job_id)
                # Another node may have room on its disk.
                if after and after.waiting == DISK_FULL and after.needs:
                    await _retry(lambda: self.database.rows(_LEAVE, task_id, job_id))
            except StorageAway:  # the running task could not be taken over, as the bucket does not answer
                after_delay = Requeued(because=STORAGE_AWAY, after=DISK_DELAY)
                with suppress(TaskNotFound):
                    await self.recorder.record_surely(task_id, after_delay)
                return
            except StoreUnavailable as exc:
                log.warning("%s cannot begin yet: %s", task_id, exc.__cause__ or exc)
                await asyncio.sleep(RETRY_WHILE_STORE_UNAVAILABLE)
                if not await self._begins(task_id, job_id):  # another worker may run the task by now
                    return
            except Exception:  # its row may be damaged
                log.exception("download %s ended unexpectedly", task_id)
                await self._set_aside(task_id, job_id)
                return
            else:
                return

    async def _set_aside(self, task_id: str, job_id: int) -> None:
        await _retry(lambda: self.database.rows(_SET_ASIDE, SET_ASIDE_FOR, task_id, job_id))

    async def _requeue(self, task_id: str, job_id: int) -> None:
        """Queue the task for another worker, as this one shuts down, without counting a retry or a lost
        child.
        """
        try:
            status = (await self.store.get(task_id)).status
            if await self.database.rows(_LEAVE, task_id, job_id) and status.stage.is_running:
                await self.recorder.record(task_id, Requeued(), status.attempt)
        except TaskNotFound:
            pass
        except StoreUnavailable as exc:  # a sweeper requeues it once this worker's heartbeat is old
            log.warning("%s could not be given back: %s", task_id, exc.__cause__ or exc)

    async def _end(self, task_id: str, job_id: int) -> None:
        async def give_back() -> None:
            async with self.database.transaction() as db:
                rows = await (await db.execute(_END, (task_id, job_id))).fetchall()
                await self.admission.admit(db, [host for (host,) in rows])

        try:
            await _retry(give_back)
        except Exception:
            log.exception("the place of %s could not be given to another task", task_id)


async def carry_out_wishes(
    jobs: Jobs,
    finish: Callable[[str], None],
    begin: Callable[[], Awaitable[object]],
    notified: asyncio.Event,
) -> None:
    """Call `finish` with each task here whose recording a client has asked to finish, and `begin`, which
    starts what clients have asked to start; never returns.

    `notified` says when to look. A notification may be lost, before the engine listens or while it connects
    again: so look every `POLL_WISHES_EVERY` seconds as well.
    """
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_WISHES_EVERY):
                await notified.wait()
        notified.clear()
        with suppress(StoreUnavailable):
            await begin()
        with suppress(StoreUnavailable):
            for task_id in await jobs.to_finish():
                finish(task_id)


async def _retry(work: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `work`, which is tried again for as long as the database is away."""
    waits = False
    while True:
        try:
            return await work()
        except StoreUnavailable as exc:
            if not waits:
                log.info("a job waits for the database: %s", exc.__cause__ or exc)
            waits = True
            await asyncio.sleep(RETRY_GIVING_BACK)
