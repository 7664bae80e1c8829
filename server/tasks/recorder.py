"""Changes statuses: read, apply the event, save, then publish.

A status is saved before it is published, so that a poller can read whatever is pushed, and a status that was
seen survives a power cut.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from server.core.clock import Clock
from server.core.counts import Counts
from server.core.errors import DatabaseAway, StoreUnavailable, TaskNotFound
from server.core.events import (
    Cancelled,
    Completed,
    Event,
    Failed,
    Grown,
    Joined,
    Requeued,
    Shared,
    Started,
    Unfolded,
    apply,
    count_moves,
)
from server.core.list_entries import ListEntry
from server.core.ports import FileStore, Publisher, Store
from server.core.process_request import ProcessRequest
from server.core.request_ids import REQUEST_ID
from server.core.shielding import to_the_end
from server.core.task import Stage, Task, TaskStatus
from server.tasks import faults
from server.tasks.remedies import with_remedies
from server.tasks.reuse import shared_task

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_WHILE_STORE_UNAVAILABLE = 1.0  # seconds


def ignore_task(_: Task, /) -> None:
    """Do nothing with a task."""


Saved = tuple[TaskStatus, TaskStatus]  # a status before and after its change

Perhaps = list[tuple[Saved, list[Saved]]]
"""What one event has perhaps led to: saves whose outcome is unknown, of a task and of its lists.

If a later read finds one of them, the event is not applied again: an attempt must not count twice.
"""


class Recorder:
    """Changes statuses, one event at a time.

    A status that it returned is saved and published. Revisions of one task grow by one, in the order in which
    they were saved; of two writers the store lets one save, and the other applies its event anew.
    """

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        clock: Clock,
        files: FileStore | None = None,
        counts: Counts | None = None,
        entry_taken: Callable[[Task], None] = ignore_task,
    ) -> None:
        """Without `files`, lists never share the tasks of other requests.

        `entry_taken` is called with each entry of a list once its row has taken the actions on the list.
        """
        self._files = files
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self.counts = counts or Counts()
        self._entry_taken = entry_taken

    async def record(
        self,
        task_id: str,
        event: Event,
        attempt: int | None = None,
        perhaps: Perhaps | None = None,
        accepted: Callable[[Task], None] = ignore_task,
    ) -> TaskStatus:
        """Return the status after `event`, which may be the one before: not every event changes it.

        If `attempt` is given and is not the task's current one, nothing is changed. Raises `TaskNotFound`,
        `StoreUnavailable` and, for a retry, `QueueFull`; then nothing was changed or published, unless it is
        a `DatabaseAway`: the change whose outcome is unknown is then added to `perhaps`, for the next try.
        `accepted` is called with each new task, see `Unfolded`.
        """
        perhaps = [] if perhaps is None else perhaps
        while True:
            task = await self._store.get(task_id)
            if task.row:
                return await self._record_behind(task, event, attempt, perhaps, accepted)
            before, now = task.status, self._clock.now()
            saved = next((each for each in perhaps if each[0][1] == before), None)
            if saved is not None:  # an earlier try has saved the event; its outcome was unknown
                (before, after), lists = saved
                break
            if attempt is not None and attempt != before.attempt:
                return before
            after = apply(before, event, now, self._clock.wall())
            if after is before:
                return before
            if after.stage is Stage.FAILED:
                after = with_remedies(after, task.effective_request)
            new, wishes = list[Task](), list[str | None]()
            if isinstance(event, Unfolded):
                lists, new, wishes = await self._unfolded(task, event)
            elif before.playlist_id or before.counted_in:
                lists = await self._counted(before, after)
            else:
                lists = []
            added: list[Task] | None
            try:
                if lists or isinstance(event, Unfolded):
                    added = await self._store.save_together(
                        [after, *(each for _, each in lists)], new, wishes
                    )
                else:
                    added = [] if await self._store.save(after) else None
            except DatabaseAway as error:
                if error.perhaps_done:
                    perhaps.append(((before, after), lists))
                raise
            if added is not None:  # None: another writer was first
                for entry in added:
                    self._publisher.publish(entry.status)
                    accepted(entry)
                break
        self._publisher.publish(after)
        _log(event, after)
        if isinstance(event, Started):
            self.counts.began(after, now)
        if after.stage.is_final or after.got > before.got:
            self.counts.changed(before, after, now)
        for playlist_before, playlist in lists:
            self._publisher.publish(playlist)
            self.counts.changed(playlist_before, playlist, now)
        return after

    async def _record_behind(
        self,
        entry: Task,
        event: Event,
        attempt: int | None,
        perhaps: Perhaps,
        accepted: Callable[[Task], None],
    ) -> TaskStatus:
        """Like `record`, for an entry whose row has yet to take the actions on its list.

        The entry is queued after `event` only: it might begin although `event` pauses or cancels it.
        """
        last = Task(entry.request, entry.status)
        is_taken = await self._take([entry])
        try:
            after = await self.record(entry.status.task_id, event, attempt, perhaps, accepted)
            last = Task(entry.request, after)
        finally:
            if is_taken:
                self._entry_taken(last)
        return after

    async def take(self, entries: Sequence[Task]) -> bool:
        """Save and publish the statuses that `entries`, each with its `row`, show since an action on their
        list.

        False, with nothing saved, if one has changed meanwhile. Their list has counted the change already.
        """
        is_taken = await self._take(entries)
        if is_taken:
            for entry in entries:
                self._entry_taken(Task(entry.request, entry.status))
        return is_taken

    async def _take(self, entries: Sequence[Task]) -> bool:
        now = self._clock.now()
        shared: dict[str, list[Saved]] = {}
        for entry in entries:
            assert entry.row
            for playlist_id in entry.row.counted_in:
                shared.setdefault(playlist_id, []).append((entry.row, entry.status))
        lists: list[Saved] = []
        for playlist_id, pairs in shared.items():
            with contextlib.suppress(TaskNotFound, ValueError):  # the list is gone or damaged, see `_counted`
                if event := count_moves(pairs):
                    playlist = (await self._store.get(playlist_id)).status
                    lists.append((playlist, apply(playlist, event, now)))
        if await self._store.save_together([after for _, after in lists], taken=entries) is None:
            return False
        for entry in entries:
            assert entry.row
            if entry.status.revision > entry.row.revision:
                self._publisher.publish(entry.status)
                self.counts.changed(entry.row, entry.status, now)
        for before, after in lists:
            self._publisher.publish(after)
            self.counts.changed(before, after, now)
        return True

    async def _counted(self, before: TaskStatus, after: TaskStatus) -> list[Saved]:
        """Return the new statuses of the lists that count this entry, if it has ended or waits again."""
        event = count_moves([(before, after)])
        if event is None:
            return []
        lists = []
        for playlist_id in before.lists_it_is_in:
            # The list is removed, of an old release, or damaged.
            with contextlib.suppress(TaskNotFound, ValueError):
                playlist = (await self._store.get(playlist_id)).status
                lists.append((playlist, apply(playlist, event, self._clock.now())))
        return lists

    async def _unfolded(
        self, task: Task, event: Unfolded
    ) -> tuple[list[Saved], list[Task], list[str | None]]:
        """Return the change of the list of `task`, if there is one, and the tasks that join it, with their
        wishes.

        No more than `event.most` entries join: lists within lists could multiply without end.
        """
        before, request = task.status, task.effective_request
        if before.playlist_id is None or request is None:
            return [], [], []
        try:
            playlist = (await self._store.get(before.playlist_id)).status
        except (TaskNotFound, ValueError):  # the list is gone or damaged, see `_counted`
            return [], [], []
        total, now = playlist.entries.total if playlist.entries else 0, self._clock.now()
        others = event.entries[1:]
        joining = others[: max(0, event.most - total)]
        grown = Grown(count=len(joining), truncated=event.truncated or len(joining) < len(others))
        lists = (*before.lists, before.url)
        library = request.library is not None
        after = apply(playlist, grown, now)
        new = [
            Task(
                request.of_entry(entry.url),
                TaskStatus.of_entry(playlist, entry, now, total + n, lists, library=library),
            )
            for n, entry in enumerate(joining, 1)
        ]
        scope = playlist.scope
        wishes = [None if scope is None else request.wish_of_entry(scope, entry) for entry in joining]
        return [(playlist, after)] if after is not playlist else [], new, wishes

    async def record_surely(
        self,
        task_id: str,
        event: Event,
        attempt: int | None = None,
        perhaps: Perhaps | None = None,
        accepted: Callable[[Task], None] = ignore_task,
    ) -> TaskStatus:
        """Like `record`, but retry once a second until the status is saved. Raises `TaskNotFound` only.

        A cancel ends the retries. It never separates publishing from a save whose outcome is known: sockets
        would wait for ever for a final status that is not published.
        """
        perhaps = [] if perhaps is None else perhaps
        return await _until_done(
            lambda: to_the_end(self.record(task_id, event, attempt, perhaps, accepted)),
            f"a status of {task_id} waits to be saved",
        )

    async def join_surely(
        self,
        playlist: Task,
        found: Sequence[ListEntry],
        most: int,
        accepted: Callable[[Task], None],
    ) -> TaskStatus:
        """Make tasks of the entries that the list's attempt has found, in one transaction.

        Entries that are tasks already are skipped, as are those beyond the `most` that a list may have.
        `accepted` is called with each new task. Retries and cancels are as with `record_surely`. Returns the
        list's status.
        """
        return await _until_done(
            lambda: to_the_end(self._join(playlist, found, most, accepted)),
            f"entries of {playlist.status.task_id} wait to be saved",
        )

    async def _join(
        self, playlist: Task, found: Sequence[ListEntry], most: int, accepted: Callable[[Task], None]
    ) -> TaskStatus:
        request, attempt = playlist.request, playlist.status.attempt
        assert request
        while True:
            before = (await self._store.get(playlist.status.task_id)).status
            total, now = before.entries.total if before.entries else 0, self._clock.now()
            fresh = [entry for entry in found if entry.index > before.entries_read]
            joining = fresh[: max(0, most - total)]
            wishes = [
                None if before.scope is None else request.wish_of_entry(before.scope, entry)
                for entry in joining
            ]
            shared = await self._shared(before, request, wishes)
            completed = sum(status.stage is Stage.COMPLETED for status in shared.values())
            event = Joined(
                count=len(joining),
                shared=tuple(status.task_id for status in shared.values()),
                completed=completed,
                truncated=len(joining) < len(fresh),
            )
            after = apply(before, event, now)
            if attempt != before.attempt or after is before:
                return before
            counted = [
                apply(status, Shared(playlist_id=before.task_id), now)
                for status in shared.values()
                if not status.stage.is_final
            ]
            new = [
                Task(
                    request.of_entry(entry.url),
                    TaskStatus.of_entry(
                        before, entry, now, total + n + 1, library=request.library is not None
                    ),
                )
                for n, entry in enumerate(joining)
                if n not in shared
            ]
            its_wishes = [wish for n, wish in enumerate(wishes) if n not in shared]
            added = await self._store.save_together([after, *counted], new, its_wishes)
            if added is not None:
                for task in added:
                    self._publisher.publish(task.status)
                    accepted(task)
                for status in (*counted, after):
                    self._publisher.publish(status)
                return after

    async def _shared(
        self, playlist: TaskStatus, request: ProcessRequest, wishes: Sequence[str | None]
    ) -> dict[int, TaskStatus]:
        """Return the existing tasks that `reuse` takes as entries of the list, by their index in `wishes`."""
        if not request.reuse or playlist.scope is None or self._files is None:
            return {}
        shared: dict[int, TaskStatus] = {}
        taken: set[str] = set()  # an unfinished task is taken once, since it tells each list once of its end
        there = [shared_task(self._store, self._files, wish or "") for wish in wishes]
        for place, task in enumerate(await asyncio.gather(*there)):
            if task and task.row:
                await self.take([task])  # if that fails, the video is downloaded once more
            if task is None or playlist.task_id in task.status.lists_it_is_in or task.status.task_id in taken:
                continue
            shared[place] = task.status
            if not task.status.stage.is_final:
                taken.add(task.status.task_id)
        return shared

    async def read_surely(self, task_id: str) -> TaskStatus:
        """Return the newest status; retry until it can be read. Raises `TaskNotFound` only."""
        reading = f"the status of {task_id} waits to be read"
        return (await _until_done(lambda: self._store.get(task_id), reading)).status


async def _until_done(work: Callable[[], Awaitable[T]], waiting: str) -> T:
    waits = False
    while True:
        try:
            return await work()
        except StoreUnavailable as exc:
            if not waits:
                log.warning("%s: %s", waiting, exc.__cause__ or exc)
            waits = True
            await asyncio.sleep(RETRY_WHILE_STORE_UNAVAILABLE)


def _log(event: Event, after: TaskStatus) -> None:
    """Log beginnings and ends. What an operator has to act on is logged as an error, with all details."""
    task_id = after.task_id
    origin = {"request_id": REQUEST_ID.get() or after.request_id, "person": after.owner or ""}
    match event:
        case Started():
            log.info("attempt %s of %s begins", after.attempt, task_id, extra=origin)
        case Completed() | Cancelled():
            log.info("%s is %s", task_id, after.stage, extra=origin)
        case Failed(code="internal", fault=fault):
            faults.log_fault(f"attempt {after.attempt} of {task_id}", fault, origin["request_id"])
        case Failed(code=code):
            log.warning("%s failed: %s", task_id, code, extra=origin)
        case Requeued(because=str(code)):
            text = "attempt %s of %s has ended, it is queued again: %s"
            log.info(text, after.attempt, task_id, code, extra=origin)
