"""One machine: downloads run as asyncio tasks of the server process."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

from server.clock import Clock
from server.errors import DiskFull, TaskNotFound
from server.models import Stage, Task, TaskStatus
from server.ports import Store
from server.tasks.queue import Queue

log = logging.getLogger(__name__)

AGAIN = 5.0  # seconds before a task is tried again whose beginning could not be saved


class LocalDispatcher:
    """Runs queued tasks in order, `max_concurrent` at once and `max_per_host` of one host (0: no limit)."""

    def __init__(
        self,
        run: Callable[[str], Awaitable[TaskStatus | None]],
        store: Store,
        max_concurrent: int,
        max_per_host: int,
        finish: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._run = run
        self._store = store
        self._max_concurrent = max_concurrent
        self._max_per_host = max_per_host
        self._finish = finish
        self._clock = clock
        self._queue = Queue()
        self._delayed: dict[str, asyncio.TimerHandle] = {}
        self._running: dict[str, asyncio.Task[Task | None]] = {}
        self._again: dict[str, Task] = {}  # submitted while they run
        self._hosts: Counter[str] = Counter()
        self._held = False

    def running(self) -> list[str]:
        return list(self._running)

    def submit(self, task: Task) -> None:
        """Take a queued task in, or move it in the queue; one that runs already stays as it is."""
        task_id, not_before = task.status.task_id, task.status.not_before
        if task_id in self._running:
            self._again[task_id] = task  # perhaps a retry, while its failed attempt is tidying up
            return
        wait = (not_before - self._clock.now()).total_seconds() if not_before else 0
        self._withdraw_from_queue(task_id)
        if wait > 0:
            loop = asyncio.get_running_loop()
            self._delayed[task_id] = loop.call_later(wait, self._enqueue, task)
        else:
            self._enqueue(task)

    async def withdraw(self, task_id: str) -> None:
        while job := self._running.get(task_id):  # one that just ended may have begun again
            job.cancel()
            await asyncio.wait([job])
        self._withdraw_from_queue(task_id)

    async def finish(self, task_id: str) -> None:
        if job := self._running.get(task_id):
            self._finish(task_id)
            await asyncio.wait([job])

    def hold(self) -> None:
        self._held = True

    def release(self) -> None:
        self._held = False
        self._fill()

    async def aclose(self) -> None:
        """Stop all that runs, at once; it goes on at the next start."""
        self.hold()
        for timer in self._delayed.values():
            timer.cancel()
        jobs = list(self._running.values())
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)

    def _enqueue(self, task: Task) -> None:
        self._delayed.pop(task.status.task_id, None)
        self._queue.put(task, task.host)
        self._fill()

    def _withdraw_from_queue(self, task_id: str) -> None:
        self._again.pop(task_id, None)
        self._queue.discard(task_id)
        if timer := self._delayed.pop(task_id, None):
            timer.cancel()

    def _fill(self) -> None:
        while not self._held and len(self._running) < self._max_concurrent:
            entry = self._queue.pop(self._hosts, self._max_per_host)
            if entry is None:
                return
            task_id, host = entry
            self._hosts[host] += 1
            job = asyncio.create_task(self._run_in_its_turn(task_id), name=f"download {task_id}")
            self._running[task_id] = job
            job.add_done_callback(partial(self._ended, task_id, host))

    async def _run_in_its_turn(self, task_id: str) -> Task | None:
        """Make an attempt; the task, if it is to be queued again."""
        try:
            status = await self._run(task_id)
        except DiskFull:
            log.warning("the disk is full: %s cannot begin yet", task_id)
            await asyncio.sleep(AGAIN)
        else:
            if status is None or status.stage is not Stage.QUEUED:
                return None
        with contextlib.suppress(TaskNotFound):  # removed in this moment
            return await self._store.get(task_id)
        return None

    def _ended(self, task_id: str, host: str, job: asyncio.Task[Task | None]) -> None:
        del self._running[task_id]
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]
        asked_for = self._again.pop(task_id, None)
        if job.cancelled():
            pass  # whoever cancelled it says what becomes of the task
        elif error := job.exception():
            log.error("download %s ended unexpectedly", task_id, exc_info=error)
        elif again := [task for task in (job.result(), asked_for) if task]:
            self.submit(max(again, key=lambda task: task.status.revision))
        self._fill()
