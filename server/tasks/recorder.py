"""How a status changes: read, apply the event, save, then publish.

Saving first means that nothing can be pushed that a poller could not already read, and that a
status which somebody saw is still there after a power cut.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

from server.clock import Clock
from server.errors import DatabaseAway, StoreUnavailable, TaskNotFound
from server.events import Cancelled, Completed, Event, Failed, Joined, Requeued, Started, apply, moved
from server.models import Entry, ProcessRequest, Task, TaskStatus
from server.ports import Publisher, Store
from server.tasks import faults
from server.tasks.remedies import with_remedies
from server.tasks.shielding import to_the_end

log = logging.getLogger(__name__)

T = TypeVar("T")

SAVE_AGAIN = 1.0  # seconds between retries while the store is unavailable

Perhaps = list[tuple[TaskStatus, TaskStatus | None]]
"""What one event has perhaps led to: saves whose outcome is unknown, of a task and of its list.

If a later read finds one of them, the event is not applied again: an attempt must not count twice.
"""


class Recorder:
    """Changes statuses, one event at a time.

    A status that it returned is saved and published. Revisions of one task grow by one, in the order in which
    they were saved; of two writers the store lets one save, and the other applies its event anew.
    """

    def __init__(self, store: Store, publisher: Publisher, clock: Clock) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock

    async def record(
        self, task_id: str, event: Event, attempt: int | None = None, perhaps: Perhaps | None = None
    ) -> TaskStatus:
        """Return the status after `event`, which may be the one before: not every event changes it.

        If `attempt` is given and is not the task's, nothing is changed. Raises `TaskNotFound`,
        `StoreUnavailable` and, for a retry, `QueueFull`; then nothing was changed or published. But see
        `DatabaseAway`: what was perhaps changed is added to `perhaps`, for the next try with this event.
        """
        perhaps = [] if perhaps is None else perhaps
        while True:
            task = await self._store.get(task_id)
            before = task.status
            for after, playlist in perhaps:
                if after == before:
                    return self._published(event, after, playlist)
            if attempt is not None and attempt != before.attempt:
                return before
            after = apply(before, event, self._clock.now())
            if after is before:
                return before
            after = with_remedies(after, task.wanted)
            playlist = await self._counted(before, after)
            if await self._save(after, playlist, perhaps):
                return self._published(event, after, playlist)

    def _published(self, event: Event, after: TaskStatus, playlist: TaskStatus | None) -> TaskStatus:
        self._publisher.publish(after)
        _log(event, after)
        if playlist:
            self._publisher.publish(playlist)
        return after

    async def _counted(self, before: TaskStatus, after: TaskStatus) -> TaskStatus | None:
        """The new status of the task's list if this entry ends, or waits again; None if there is none."""
        event = moved([(before, after)])
        if event is None or after.playlist_id is None:
            return None
        try:
            playlist = (await self._store.get(after.playlist_id)).status
        except (
            TaskNotFound,
            ValueError,
        ):  # removed, and this entry with it; or too old; or its row is damaged
            return None
        return apply(playlist, event, self._clock.now())

    async def _save(self, after: TaskStatus, playlist: TaskStatus | None, perhaps: Perhaps) -> bool:
        try:
            if playlist is None:
                return await self._store.save(after)
            return await self._store.save_together([after, playlist]) is not None
        except DatabaseAway as error:
            if error.perhaps_done:
                perhaps.append((after, playlist))
            raise

    async def record_surely(
        self, task_id: str, event: Event, attempt: int | None = None, perhaps: Perhaps | None = None
    ) -> TaskStatus:
        """Like `record`, but retry once a second until the status is saved. Raises `TaskNotFound` only.

        A cancel ends the retries. It never falls between saving and publishing, if the outcome of the save is
        known: sockets would wait for ever for a final status that is not published.
        """
        perhaps = [] if perhaps is None else perhaps
        return await _until_done(
            lambda: to_the_end(self.record(task_id, event, attempt, perhaps)),
            f"a status of {task_id} waits to be saved",
        )

    async def join_surely(
        self,
        playlist: Task,
        found: Sequence[Entry],
        accepted: Callable[[Task], None],
    ) -> TaskStatus:
        """Make tasks of the entries that the list's attempt has found, in one transaction.

        Entries that are tasks already are passed over. `accepted` is called with each new task. Retries and
        cancels are as with `record_surely`. Returns the list's status.
        """
        return await _until_done(
            lambda: to_the_end(self._join(playlist, found, accepted)),
            f"entries of {playlist.status.task_id} wait to be saved",
        )

    async def _join(
        self, playlist: Task, found: Sequence[Entry], accepted: Callable[[Task], None]
    ) -> TaskStatus:
        request, attempt = playlist.request, playlist.status.attempt
        assert request
        while True:
            before = (await self._store.get(playlist.status.task_id)).status
            known = before.entries.total if before.entries else 0
            fresh = [entry for entry in found if entry.index > known]
            after = apply(before, Joined(count=len(fresh)), self._clock.now())
            if attempt != before.attempt or after is before or not fresh:
                return before
            new = [_task_of(entry, request, before, self._clock.now()) for entry in fresh]
            added = await self._store.save_together([after], new)
            if added is not None:
                for task in added:
                    self._publisher.publish(task.status)
                    accepted(task)
                self._publisher.publish(after)
                return after

    async def read_surely(self, task_id: str) -> TaskStatus:
        """The newest status; retries until it can be read. Raises `TaskNotFound` only."""
        reading = f"the status of {task_id} waits to be read"
        return (await _until_done(lambda: self._store.get(task_id), reading)).status


def _task_of(entry: Entry, request: ProcessRequest, playlist: TaskStatus, now: datetime) -> Task:
    return Task(request.of_entry(entry.url), TaskStatus.of_entry(playlist, entry, now))


async def _until_done(work: Callable[[], Awaitable[T]], waiting: str) -> T:
    waits = False
    while True:
        try:
            return await work()
        except StoreUnavailable as exc:
            if not waits:
                log.warning("%s: %s", waiting, exc.__cause__ or exc)
            waits = True
            await asyncio.sleep(SAVE_AGAIN)


def _log(event: Event, after: TaskStatus) -> None:
    """Log beginnings and ends; what an operator has to act on is an error, with all that is known of it."""
    task_id = after.task_id
    match event:
        case Started():
            log.info("attempt %s of %s begins", after.attempt, task_id)
        case Completed() | Cancelled():
            log.info("%s is %s", task_id, after.stage)
        case Failed(code="internal", fault=fault):
            faults.tell(f"attempt {after.attempt} of {task_id}", fault)
        case Failed(code=code):
            log.warning("%s failed: %s", task_id, code)
        case Requeued(because=str(code)):
            log.info("attempt %s of %s has ended, it is queued again: %s", after.attempt, task_id, code)
