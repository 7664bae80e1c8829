"""What a client may do with tasks, whichever backend runs them."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from server.core.clock import Clock
from server.core.entry_status import ListAction, ListKind
from server.core.errors import (
    AppError,
    DiskFull,
    FileNotFound,
    IdempotencyMismatch,
    InvalidQuery,
    NoRoom,
    QueuePaused,
    RemedyNotOffered,
    ShuttingDown,
    StorageFailed,
    StoreUnavailable,
    TaskAlreadyFinal,
    TaskNotFound,
    WrongStage,
)
from server.core.events import (
    Cancelled,
    Event,
    FinishAsked,
    OwnerChanged,
    Paused,
    Placed,
    Prioritized,
    Requeued,
    Resumed,
    Retried,
    StartAsked,
)
from server.core.film import StoredFile
from server.core.ports import (
    Dispatcher,
    FileStore,
    Filter,
    Idempotency,
    Publisher,
    Sorting,
    StatusPage,
    Store,
    Submission,
    Turns,
)
from server.core.process_request import ProcessRequest, scope_of
from server.core.request_ids import REQUEST_ID
from server.core.task import OF_ONE_RANK, InLibrary, Stage, Task, TaskStatus
from server.tasks.disk_space import Disk
from server.tasks.list_actions import Playlists
from server.tasks.recorder import Recorder
from server.tasks.remedies import event_of, offered
from server.tasks.reuse import has_files, shared_task

log = logging.getLogger(__name__)

REMOVED_AT_ONCE = 16  # tasks whose files are deleted: few, so that other clients are served meanwhile
FORGOTTEN_AT_ONCE = 100  # rows of one transaction: other changes wait for it
LONGEST_START = 2.0  # seconds that a client waits for a task to begin
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.1  # seconds between two reads of whether it has begun
LONGEST_FINISH = 30.0  # seconds that a client waits for its recording to be put together


class RequestedTask(NamedTuple):
    """A request, with its idempotency key and its wish."""

    request: ProcessRequest
    idempotency: Idempotency | None = None
    wish: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The task that a request has led to; `is_shared`: `reuse` has taken the task of another request."""

    status: TaskStatus
    is_shared: bool = False


@dataclass(slots=True)
class _Shutdown:
    is_closing: bool = False
    is_draining: bool = False


QUEUE = "queue"  # the queue takes turns under this name, as tasks do under their ids
STARTS = "starts"  # one task at a time is started, so that no two take the last place


class Tasks:
    """Actions on one task are serialised by `turns`; each has taken effect when it returns.

    `of` gives the same for one person, for whom no other tasks exist. What a client reads or does goes
    through that, so that no route decides by itself who may see a task.
    """

    def __init__(
        self,
        store: Store,
        recorder: Recorder,
        publisher: Publisher,
        dispatcher: Dispatcher,
        turns: Turns,
        files: FileStore,
        disk: Disk,
        clock: Clock,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._publisher = publisher
        self._dispatcher = dispatcher
        self._turns = turns
        self._files = files
        self._disk = disk
        self._clock = clock
        self.playlists = Playlists(store, recorder, publisher, dispatcher, clock, self._remove_entries)
        # Each returns why a person may make no new task; None if they may.
        self.refuses: list[Callable[[str], Awaitable[AppError | None]]] = []
        self._removals = asyncio.Semaphore(REMOVED_AT_ONCE)
        self._shutdown = _Shutdown()
        self._owner: str | None = None

    def of(self, owner: str | None) -> "Tasks":
        """These tasks as far as they are `owner`'s; all of them for None."""
        if owner is None:
            return self
        theirs = copy(self)
        theirs._owner = owner  # noqa: SLF001 -- of this class
        return theirs

    @property
    def is_draining(self) -> bool:
        return self._shutdown.is_draining

    async def drain(self, seconds: float) -> None:
        """Begin no new attempt, and give running ones `seconds` to end; all else goes on as before."""
        self._shutdown.is_draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._dispatcher.drain()

    @property
    def is_closing(self) -> bool:
        return self._shutdown.is_closing

    def close(self) -> None:
        """Refuse all changes from now on: the server shuts down."""
        self._shutdown.is_closing = True
        self._store.hurry()

    async def accept(
        self,
        requests: Sequence[RequestedTask],
        *,
        created_by: str | None = None,
        owner: str | None = None,
    ) -> list[Accepted | AppError]:
        """Accept downloads in one transaction. When this returns, their rows are on disk, and nothing was
        fetched.

        The result has an error for each one that is refused. `created_by` and `owner` are names of people.

        A task that was accepted before with the same key, or that may be shared, is returned even if a new
        one would be refused (full disk, full queue, shutdown). A key that came with a request for which
        another task was returned leads to that task from then on; this, too, is on disk. No two requests
        may have the same key. Raises `StoreUnavailable`; then none was accepted.
        """
        refusal: AppError | None = ShuttingDown() if self._shutdown.is_closing else None
        with contextlib.suppress(OSError):  # the data directory is gone, which the store will report
            refusal = refusal or (DiskFull() if self._disk.is_low() else None)
        if owner:
            for refuses in self.refuses:
                refusal = refusal or await refuses(owner)
        now, is_alone = self._clock.now(), len(requests) == 1
        people = {"created_by": created_by, "owner": owner} if created_by or owner else {}
        wanted = [await self._submission(each, refusal, now, people, is_alone=is_alone) for each in requests]
        submissions = [each for each in wanted if isinstance(each, Submission)]
        added = iter(await self._store.add(submissions) if submissions else ())
        return [
            await self._added(each, next(added)) if isinstance(each, Submission) else each for each in wanted
        ]

    async def _submission(
        self,
        asked: RequestedTask,
        refusal: AppError | None,
        now: datetime,
        people: Mapping[str, str | None],
        *,
        is_alone: bool,
    ) -> Submission | Accepted | AppError:
        """Return what to store for a request, or the request's outcome if nothing has to be stored."""
        request, key, wish = asked
        may_share = bool(wish) and request.may_be_shared
        # A repeated single request needs no write. For many at once, the store itself finds the keys.
        if key and (refusal or may_share or is_alone):
            try:
                known = await self._store.find_by_key(key)
            except IdempotencyMismatch as mismatch:
                return mismatch
            if known:
                return Accepted(known.task.status, known.is_shared)
        shared = await self._shared(request, wish) if wish and may_share else None
        if shared and not key:
            return Accepted(shared.status, is_shared=True)
        if refusal and not shared:
            return refusal
        wall = self._clock.wall() if request.start_at else None
        status = TaskStatus.new(request, now, wall, REQUEST_ID.get())
        if request.playlist and wish:
            status = status.model_copy(update={"scope": scope_of(wish)})
        if people:
            status = status.model_copy(update={role: name for role, name in people.items() if name})
        # A shared task is submitted, too, where there is a key: one transaction finds the task and stores the
        # key.
        instead = shared.status.task_id if shared else None
        return Submission(Task(request, status), key, wish, instead, refusal)

    async def _shared(self, request: ProcessRequest, wish: str) -> Task | None:
        """Return a task with the same wish; else one with the same wish that has no `library` yet."""
        if shared := await shared_task(self._store, self._files, wish):
            return shared
        for plain in request.without_library() if request.library else ():
            if shared := await shared_task(self._store, self._files, plain.wish(scope_of(wish))):
                return shared
        return None

    async def _added(self, wanted: Submission, task: Task | AppError) -> Accepted | AppError:
        """Return the outcome of a submission, for which the store has returned `task`."""
        if isinstance(task, AppError):
            return task
        if task.status.task_id == wanted.task.status.task_id:
            self.take_on(task)
            return Accepted(task.status)
        # The task existed before: it was found by its key, or is shared.
        key, known = wanted.idempotency, None
        # The task was removed, and the key is another request's by now.
        with contextlib.suppress(IdempotencyMismatch):
            known = await self._store.find_by_key(key) if key else None
        return Accepted(task.status, known.is_shared if known else True)

    def take_on(self, task: Task) -> None:
        """Publish and queue a task that has just been stored, perhaps by another feature, such as
        subscriptions.
        """
        self._publisher.publish(task.status)
        if task.status.stage is Stage.QUEUED:
            self._dispatcher.submit(task)

    async def put_off(self, task_id: str, because: str, seconds: float) -> None:
        """Have a queued task wait for that many `seconds`, with `because` as its reason."""
        async with self._turn(task_id):
            task = await self._get(task_id)
            if task.status.stage is Stage.QUEUED:
                await self._dispatcher.withdraw(task_id)
                event = Requeued(because=because, after=max(0.0, seconds))
                after = await self._recorder.record_surely(task_id, event)
                self.submit_if_queued(replace(task, status=after))

    async def is_known(self, idempotency: Idempotency) -> bool:
        """Say whether this key leads to a task. Raises `IdempotencyMismatch`."""
        return await self._store.find_by_key(idempotency) is not None

    async def _get(self, task_id: str) -> Task:
        """Return the task. Raises `TaskNotFound`."""
        return await self._store.get(task_id, self._owner)

    async def status(self, task_id: str) -> TaskStatus:
        return (await self._get(task_id)).status

    async def page(self, wanted: Filter, cursor: str | None, limit: int) -> StatusPage:
        return await self._store.page(self._theirs(wanted), cursor, limit)

    def _theirs(self, wanted: Filter) -> Filter:
        return wanted if self._owner is None else replace(wanted, owner=self._owner)

    async def page_by_state(self, wanted: Filter, cursor: str | None, limit: int) -> StatusPage:
        """Return a page of what `wanted` selects: running tasks, waiting ones in the order of the queue,
        paused ones, then ended ones, the last ended first.

        Each of the four is a listing of its own; the cursor names the one in which the page ended, and where.
        Ended tasks of a search or a list are sorted by number: no index has those by the time of their end.
        """
        wanted = self._theirs(wanted)
        by_end = not wanted.text and wanted.playlist_id is None
        orders: list[tuple[tuple[Stage, ...], Sorting]] = [
            (wanted.only(Stage.INFO, Stage.DOWNLOAD, Stage.CONVERT), "oldest"),
            (wanted.only(Stage.QUEUED), "newest"),
            (wanted.only(Stage.PAUSED), "newest"),
            (wanted.only(Stage.COMPLETED, Stage.FAILED, Stage.CANCELLED), "ended" if by_end else "newest"),
        ]
        parts = [replace(wanted, stages=stages, order=order) for stages, order in orders if stages]
        at, mark, after = (cursor or "0.").partition(".")
        if not mark or at not in {str(index) for index in range(len(parts))}:
            raise InvalidQuery("cursor")
        tasks: list[TaskStatus] = []
        for index in range(int(at), len(parts)):
            left = limit - len(tasks)
            page = await self._store.page(parts[index], after or None, left or 1)
            if not left and page.tasks:
                return StatusPage(tasks, f"{index}.")
            tasks += page.tasks[:left]
            if left and page.next_cursor:
                return StatusPage(tasks, f"{index}.{page.next_cursor}")
            after = ""
        return StatusPage(tasks, None)

    async def any_queued(self) -> bool:
        return bool((await self._store.page(Filter(stages=(Stage.QUEUED,)), None, 1)).tasks)

    async def changed_since(self, moment: datetime) -> dict[str, bool] | None:
        """See `Store.changed_since`."""
        return await self._store.changed_since(moment)

    async def statuses(self, task_ids: Sequence[str]) -> list[TaskStatus]:
        return await self._store.statuses(task_ids, self._owner)

    async def owners(self, task_ids: Sequence[str]) -> dict[str, str]:
        """See `Store.owners`."""
        return await self._store.owners(task_ids)

    async def ids_in(self, stage: Stage, error_code: str | None, limit: int) -> list[str]:
        """Ids of the oldest tasks in `stage`, with `error_code` if one is given."""
        return await self._store.ids_in(stage, error_code, limit, self._owner)

    async def find_file(self, name: str) -> tuple[TaskStatus, StoredFile]:
        found = await self._store.find_file(name, self._owner)
        if found is None:
            raise FileNotFound
        task_id, stored = found
        return (await self._get(task_id)).status, stored

    async def move(
        self, task_id: str, priority: int | None, position: Literal["first", "last"] | None
    ) -> TaskStatus:
        """Move a task in the queue: to a `priority`, or before or behind all others by `position`."""
        async with self._turn(task_id):
            task = await self._get(task_id)
            if task.status.stage.is_final:
                raise TaskAlreadyFinal
            rank = None
            if position:
                lowest, highest = await self._store.urgencies()
                rank = max(0, round(highest / OF_ONE_RANK)) + 1
                if position == "last":
                    rank = min(0, round(lowest / OF_ONE_RANK)) - 1
            if task.status.is_list:
                return await self._act(task, "move", priority=priority, rank=rank)
            return await self._record(task, Prioritized(priority=priority, rank=rank))

    async def cancel(self, task_id: str) -> TaskStatus:
        return await self._end_work(task_id, "cancel", Cancelled(), Stage.CANCELLED)

    async def pause(self, task_id: str) -> TaskStatus:
        return await self._end_work(task_id, "pause", Paused(), Stage.PAUSED)

    async def resume(self, task_id: str) -> TaskStatus:
        async with self._turn(task_id):
            task = await self._get(task_id)
            if task.status.stage.is_final:
                raise TaskAlreadyFinal
            if task.status.is_list:
                return await self._act(task, "resume")
            return await self._record(task, Resumed())

    async def start(self, task_id: str) -> TaskStatus:
        """Begin a task that waits at once, beyond all limits; one that runs already stays as it is.

        Returns the status once the task has begun, at the latest after `LONGEST_START`. Raises
        `TaskAlreadyFinal`, `QueuePaused`, `NoRoom` and `TooManyRunning`.
        """
        async with self._turn(STARTS), self._turn(task_id):
            task = await self._get(task_id)
            if task.status.stage.is_final:
                raise TaskAlreadyFinal
            if not task.status.stage.is_waiting:
                return task.status
            if await self._dispatcher.is_paused():
                raise QueuePaused
            with contextlib.suppress(OSError):  # the data directory is gone, which the attempt will report
                if self._disk.is_low():
                    raise NoRoom
            await self._dispatcher.check_room_to_start(task.status.owner)
            if task.status.is_list:
                status = await self._act(task, "start")
            else:
                status = await self._record(task, StartAsked())
            if status.stage is Stage.QUEUED:
                await self._dispatcher.start(replace(task, status=status))
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE
        until = loop.time() + LONGEST_START
        while (status := await self.status(task_id)).stage is Stage.QUEUED and loop.time() < until:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return status

    async def retry(self, task_id: str, url: str | None = None, item: int | None = None) -> TaskStatus:
        """Begin the task anew. For a list that was read to its end, this begins its failed entries anew.

        `url` and `item` replace the task's link and its place in a list, where these have changed.

        Raises `WrongStage`, also for such a list if no failed entry is left.
        """
        async with self._turn(task_id):
            task = await self._get(task_id)
            if not task.status.stage.is_final:
                raise WrongStage(task.status.stage)
            if task.status.is_list:
                after = await self._act(task, "retry")
            else:
                after = await self._record(task, Retried(url=url, item=item))
            if after.stage in (Stage.FAILED, Stage.CANCELLED):
                raise WrongStage(after.stage)
            return after

    async def repair(self, task_id: str, remedy: str, given: dict[str, Any]) -> TaskStatus:
        """Begin the task anew with the changes of the remedy and those `given` by the client.

        Raises `RemedyNotOffered`.
        """
        async with self._turn(task_id):
            task = await self._get(task_id)
            event = event_of(remedy, task)
            if event is None:
                raise RemedyNotOffered(offered(task.status))
            wishes = event.wishes | given
            after = await self._recorder.record(task_id, event.model_copy(update={"wishes": wishes}))
            self.submit_if_queued(replace(task, status=after))
            return after

    async def pause_queue(self) -> None:
        """Begin no queued task, on any node and over restarts, until `resume_queue`."""
        async with self._turn(QUEUE):
            await self._dispatcher.pause()
        self._publisher.queue_changed()

    async def resume_queue(self) -> None:
        async with self._turn(QUEUE):
            await self._dispatcher.resume()
        self._publisher.queue_changed()

    async def is_paused(self) -> bool:
        return await self._dispatcher.is_paused()

    async def count(self, *, is_folded: bool = False) -> dict[Stage, int]:
        """Count the tasks in each stage that has some, `is_folded` those that are no entries of lists."""
        return await self._store.count(is_folded=is_folded, owner=self._owner)

    async def count_asking(self) -> int:
        """Count the failed tasks that ask their reader something, such as which entries of a list."""
        return await self._store.count_asking(self._owner)

    async def finish(self, task_id: str) -> TaskStatus:
        """End a live recording and keep it, also if its child is lost meanwhile.

        Returns once the recording is complete, at the latest after `LONGEST_FINISH`.
        """
        async with self._turn(task_id):
            if self._owner is not None:
                await self._get(task_id)
            after = await self._recorder.record(task_id, FinishAsked())
            if after.stage.is_final:
                raise TaskAlreadyFinal
            if not after.finish_asked:
                raise WrongStage(after.stage)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_FINISH):
                await self._dispatcher.finish(task_id)
        return await self.status(task_id)

    async def task(self, task_id: str) -> Task:
        return await self._get(task_id)

    async def with_files(self, task_id: str) -> TaskStatus | None:
        """The status of a completed task that still has its files. Raises `StorageAway`."""
        with contextlib.suppress(TaskNotFound):
            status = await self.status(task_id)
            if status.stage is Stage.COMPLETED and status.files and await has_files(self._files, status):
                return status
        return None

    async def tell_of_library(self, task_id: str, library: InLibrary | None) -> None:
        """Record which files of the task the library has now. Raises `TaskNotFound`."""
        await self._recorder.record(task_id, Placed(library=library))

    async def give(self, task_id: str, owner: str | None) -> None:
        """Make `owner` the task's owner; None: nobody. Raises `TaskNotFound`."""
        await self._recorder.record(task_id, OwnerChanged(owner=owner))

    async def delete(self, task_id: str) -> None:
        """Remove the task, a list with its entries: they are unknown at once.

        The task's child, files and row are gone when this returns; those of entries are removed later.

        If that fails, the rest is removed later, or when the client deletes the task again.
        """
        async with self._turn(task_id):
            await self._mark_removed(task_id)
            await self._carry_out_removals([task_id])

    async def delete_but_row(self, task_id: str, gone: list[str]) -> None:
        """Do what `delete` does, but add the id to `gone` instead of deleting the row; `forget` deletes the
        rows of many at once.
        """
        async with self._turn(task_id):
            await self._mark_removed(task_id)
            await self._remove_all_but_rows([task_id], gone)

    async def carry_out_removal(self, task_id: str, gone: list[str]) -> None:
        """Finish the removal of a task that is marked as removed, as `delete_but_row` does."""
        async with self._turns.turn(task_id):
            await self._remove_all_but_rows([task_id], gone)

    async def forget(self, task_ids: Sequence[str]) -> None:
        """Delete the rows of removed tasks of which nothing else is left."""
        for begin in range(0, len(task_ids), FORGOTTEN_AT_ONCE):
            await self._store.forget(*task_ids[begin : begin + FORGOTTEN_AT_ONCE])

    async def _mark_removed(self, task_id: str) -> None:
        """Hide the task from everybody; after a crash, the next start finishes its removal."""
        if self._owner is not None:
            await self._get(task_id)
        # An entry that has not ended is cancelled first, or lists that count it would wait for it for ever.
        with contextlib.suppress(TaskNotFound, ValueError):  # `ValueError`: a damaged row
            task = await self._get(task_id)
            while task.row:
                await self._recorder.take([task])
                task = await self._get(task_id)
            if not task.status.stage.is_final and (task.status.playlist_id or task.status.counted_in):
                await self._stop(task, Cancelled())
        try:
            await self._store.mark_removed(task_id)
        except TaskNotFound:
            if task_id not in await self._store.ids_removed():
                raise
        await self.playlists.removed(task_id)

    async def _remove_entries(self, task_ids: Sequence[str]) -> None:
        """Remove the entries of removed lists. A task that cannot be deleted stays marked: the next start
        tries again, a cluster within minutes.
        """
        try:
            await self._carry_out_removals(task_ids)
        except StoreUnavailable:
            raise
        except AppError as exc:
            log.error("entries of a list could not be removed altogether: %s", exc.__cause__ or exc)

    async def _carry_out_removals(self, task_ids: Sequence[str]) -> None:
        """Raises `StorageFailed` if there are files that cannot be deleted; their tasks stay marked."""
        gone = list[str]()
        try:
            await self._remove_all_but_rows(task_ids, gone)
        finally:
            await self.forget(gone)

    async def _remove_all_but_rows(self, task_ids: Sequence[str], gone: list[str]) -> None:
        """Stop the tasks and delete their files. Those of which nothing is left are added to `gone`: only
        then may their rows be deleted, which say that there is something to delete.
        """
        owners = await self._store.owners(task_ids) if self._publisher.asks_for_owners else {}
        for task_id in task_ids:
            self._publisher.publish_removal(task_id, owners.get(task_id))
        await self._dispatcher.withdraw(*task_ids)

        async def delete_files(task_id: str) -> None:
            async with self._removals:
                try:
                    await self._files.remove(task_id)
                except OSError as exc:  # for example in a folder that belongs to another user
                    raise StorageFailed from exc
            gone.append(task_id)

        outcomes = await asyncio.gather(*map(delete_files, task_ids), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def send_back(self, task_id: str) -> None:
        """Stop a running download because the disk is full; it is queued and goes on by itself."""
        async with self._turn(task_id):
            task = await self._get(task_id)
            if task.status.stage.is_running:
                await self._dispatcher.withdraw(task_id)
                after = await self._recorder.record_surely(task_id, Requeued(because="disk_full"))
                self.submit_if_queued(replace(task, status=after))

    async def _end_work(
        self, task_id: str, kind: Literal["cancel", "pause"], event: Event, wanted: Stage
    ) -> TaskStatus:
        """Stop the child, then record `event`, unless the task is in stage `wanted` already.

        Raises `TaskAlreadyFinal` if the task has ended otherwise, also meanwhile.
        """
        async with self._turn(task_id):
            before = await self._get(task_id)
            if before.status.stage is wanted:
                if before.status.is_list:  # an earlier call may have failed because a worker was silent
                    await self.playlists.stop(task_id)
                return before.status
            if before.status.stage.is_final:
                raise TaskAlreadyFinal
            if before.status.is_list:
                return await self._act(before, kind)
            after = await self._stop(before, event)
            if after.stage is not wanted:
                raise TaskAlreadyFinal
            return after

    async def _stop(self, task: Task, event: Event) -> TaskStatus:
        """Stop the child, then record `event`. Raises `StoreUnavailable`; then the task goes on."""
        await self._dispatcher.withdraw(task.status.task_id)
        try:
            return await self._recorder.record(task.status.task_id, event)
        except StoreUnavailable:
            self._dispatcher.submit(task)
            raise

    async def _act(self, playlist: Task, kind: ListKind, **how: int | None) -> TaskStatus:
        """Act on a list and its entries."""
        now, wall = self._clock.now(), self._clock.wall()
        return await self.playlists.act(
            playlist.status.task_id, ListAction(kind=kind, at=now, wall=wall, **how)
        )

    async def _record(self, task: Task, event: Event) -> TaskStatus:
        """Record `event` for the task.

        Reads nothing once `event` is saved: during an outage, a queued task would stay unsubmitted.
        """
        after = await self._recorder.record(task.status.task_id, event)
        self.submit_if_queued(replace(task, status=after))
        return after

    def submit_if_queued(self, task: Task) -> None:
        """Hand a task that waits to the dispatcher."""
        if task.status.stage is Stage.QUEUED:
            self._dispatcher.submit(task)

    def _turn(self, task_id: str) -> AbstractAsyncContextManager[object]:
        self.refuse_when_closing()
        return self._turns.turn(task_id)

    def refuse_when_closing(self) -> None:
        """Raises `ShuttingDown` once the server shuts down."""
        if self._shutdown.is_closing:
            raise ShuttingDown
