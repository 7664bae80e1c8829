"""What a client may do with tasks, whichever backend runs them."""

import asyncio
import contextlib
from collections.abc import Sequence
from weakref import WeakValueDictionary

from server.clock import Clock
from server.errors import (
    DiskFull,
    FileNotFound,
    ShuttingDown,
    StoreUnavailable,
    TaskAlreadyFinal,
    WrongStage,
)
from server.events import Cancelled, Event, Paused, Prioritized, Requeued, Resumed, Retried
from server.models import ProcessRequest, Stage, StoredFile, Task, TaskStatus
from server.ports import Dispatcher, FileStore, Filter, Idempotency, Page, Publisher, Store
from server.tasks.disk import Disk
from server.tasks.recorder import Recorder

LONGEST_FINISH = 30.0  # seconds that a client waits for its recording to be put together


class Tasks:
    """Actions on one task are done one after the other; each is true when it returns."""

    def __init__(
        self,
        store: Store,
        recorder: Recorder,
        publisher: Publisher,
        dispatcher: Dispatcher,
        files: FileStore,
        disk: Disk,
        clock: Clock,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._publisher = publisher
        self._dispatcher = dispatcher
        self._files = files
        self._disk = disk
        self._clock = clock
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._closing = False

    def close(self) -> None:
        """From now on nothing is changed: the server goes away."""
        self._closing = True
        self._store.hurry()

    async def submit(self, request: ProcessRequest, idempotency: Idempotency | None = None) -> TaskStatus:
        """Accept a download; it is on disk when this returns, and nothing was fetched yet.

        One that was accepted before is found whatever disk, queue or a shutdown would say to a new one.
        """
        if idempotency and (known := await self._store.known(idempotency)):
            return known.status
        self._refuse_when_closing()
        if self._disk.is_low():
            raise DiskFull
        fresh = Task(request=request, status=TaskStatus.new(request, self._clock.now()))
        task = await self._store.add(fresh, idempotency)
        if task.status.task_id == fresh.status.task_id:
            self._publisher.publish(task.status)
            self._submit_if_queued(task)
        return task.status

    async def status(self, task_id: str) -> TaskStatus:
        return (await self._store.get(task_id)).status

    async def page(self, wanted: Filter, cursor: str | None, limit: int) -> Page:
        return await self._store.page(wanted, cursor, limit)

    async def statuses(self, task_ids: Sequence[str]) -> list[TaskStatus]:
        return await self._store.statuses(task_ids)

    async def find_file(self, name: str) -> tuple[TaskStatus, StoredFile]:
        found = await self._store.find_file(name)
        if found is None:
            raise FileNotFound
        task_id, stored = found
        return (await self._store.get(task_id)).status, stored

    async def prioritize(self, task_id: str, priority: int) -> TaskStatus:
        async with self._turn(task_id):
            if (await self.status(task_id)).stage.is_final:
                raise TaskAlreadyFinal
            return await self._record(task_id, Prioritized(priority=priority))

    async def cancel(self, task_id: str) -> TaskStatus:
        return await self._end_work(task_id, Cancelled(), Stage.CANCELLED)

    async def pause(self, task_id: str) -> TaskStatus:
        return await self._end_work(task_id, Paused(), Stage.PAUSED)

    async def resume(self, task_id: str) -> TaskStatus:
        async with self._turn(task_id):
            before = await self.status(task_id)
            if before.stage.is_final:
                raise TaskAlreadyFinal
            return await self._record(task_id, Resumed())

    async def retry(self, task_id: str) -> TaskStatus:
        async with self._turn(task_id):
            before = await self.status(task_id)
            if not before.stage.is_final:
                raise WrongStage(before.stage)
            return await self._record(task_id, Retried())

    async def finish(self, task_id: str) -> TaskStatus:
        """End a live recording and keep it.

        If its pieces take longer than `LONGEST_FINISH` to be put together, the status so far is returned.
        """
        async with self._turn(task_id):
            before = await self.status(task_id)
            if before.stage.is_final:
                raise TaskAlreadyFinal
            if not (before.video_info.live and before.stage in (Stage.DOWNLOAD, Stage.CONVERT)):
                raise WrongStage(before.stage)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_FINISH):
                await self._dispatcher.finish(task_id)
        return await self.status(task_id)

    async def delete(self, task_id: str) -> None:
        """Unknown at once; its child, files and row are gone when this returns."""
        async with self._turn(task_id):
            await self._store.mark_removed(task_id)
            await self.carry_out_removal(task_id)

    async def carry_out_removal(self, task_id: str) -> None:
        """What follows the mark, also after a crash in between: files first, then the row."""
        self._publisher.removed(task_id)
        await self._dispatcher.withdraw(task_id)
        await self._files.remove(task_id)
        await self._store.forget(task_id)

    async def send_back(self, task_id: str) -> None:
        """Stop a running download for want of room; it waits in the queue and goes on by itself."""
        async with self._turn(task_id):
            if (await self.status(task_id)).stage.is_running:
                await self._dispatcher.withdraw(task_id)
                await self._recorder.record_surely(task_id, Requeued(because="disk_full"))
                self._submit_if_queued(await self._store.get(task_id))

    async def _end_work(self, task_id: str, event: Event, wanted: Stage) -> TaskStatus:
        """Stop the child, then say so. A task that is there already stays as it is, and one that completed
        meanwhile has had its last word.
        """
        async with self._turn(task_id):
            before = await self.status(task_id)
            if before.stage is wanted:
                return before
            if before.stage.is_final:
                raise TaskAlreadyFinal
            await self._dispatcher.withdraw(task_id)
            try:
                after = await self._recorder.record(task_id, event)
            except StoreUnavailable:
                self._dispatcher.submit(await self._store.get(task_id))  # not done: it goes on
                raise
            if after.stage is not wanted:
                raise TaskAlreadyFinal
            return after

    async def _record(self, task_id: str, event: Event) -> TaskStatus:
        after = await self._recorder.record(task_id, event)
        self._submit_if_queued(await self._store.get(task_id))
        return after

    def _submit_if_queued(self, task: Task) -> None:
        if task.status.stage is Stage.QUEUED:
            self._dispatcher.submit(task)

    def _turn(self, task_id: str) -> asyncio.Lock:
        self._refuse_when_closing()
        return self._turns.setdefault(task_id, asyncio.Lock())

    def _refuse_when_closing(self) -> None:
        if self._closing:
            raise ShuttingDown
