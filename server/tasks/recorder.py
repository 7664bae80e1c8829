"""The only way a status changes: read, apply the event, save, then publish.

Saving first means that nothing can be pushed that a poller could not already read, and that a
status which somebody saw is still there after a power cut.
"""

import asyncio
import logging

from server.clock import Clock
from server.errors import StoreUnavailable
from server.events import Cancelled, Completed, Event, Failed, Requeued, Started, apply
from server.models import TaskStatus
from server.ports import Publisher, Store
from server.tasks import faults
from server.tasks.shielding import to_the_end

log = logging.getLogger(__name__)

SAVE_AGAIN = 1.0  # seconds between tries to save what could not be saved


class Recorder:
    """Changes statuses, one event at a time.

    What it returned is saved, and everybody who watches has been told. Revisions of one task grow by one, in
    the order in which they were saved; between two writers the store decides.
    """

    def __init__(self, store: Store, publisher: Publisher, clock: Clock) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock

    async def record(self, task_id: str, event: Event, attempt: int | None = None) -> TaskStatus:
        """Return the status after `event`, which may be the one before: not every event changes it.

        With an `attempt`, what comes from an earlier one changes nothing. Raises `TaskNotFound`,
        `StoreUnavailable` and, for a retry, `QueueFull`; then nothing was changed and nobody was told.
        """
        while True:
            before = (await self._store.get(task_id)).status
            if attempt is not None and attempt != before.attempt:
                return before
            after = apply(before, event, self._clock.now())
            if after is before:
                return before
            if await self._store.save(after):
                self._publisher.publish(after)
                _log(event, after)
                return after

    async def record_surely(self, task_id: str, event: Event, attempt: int | None = None) -> TaskStatus:
        """Like `record`, but try again until it is saved, once a second. Raises `TaskNotFound` only.

        A cancel ends the waiting. It never falls between saving and publishing: a last word that nobody
        was told would leave sockets waiting for it.
        """
        waits = False
        while True:
            try:
                return await to_the_end(self.record(task_id, event, attempt))
            except StoreUnavailable as exc:
                if not waits:
                    log.warning("a status of %s waits to be saved: %s", task_id, exc.__cause__ or exc)
                waits = True
                await asyncio.sleep(SAVE_AGAIN)


def _log(event: Event, after: TaskStatus) -> None:
    """What begins and ends; what a person has to act on is an error, with all that is known of it."""
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
