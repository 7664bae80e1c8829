"""The only way a status changes: read, apply the event, save, then publish.

Saving first means that nothing can be pushed that a poller could not already read, and that a
status which somebody saw is still there after a power cut.
"""

import asyncio
import logging

from server.clock import Clock
from server.errors import DiskFull, TaskNotFound
from server.events import Event, apply
from server.models import TaskStatus
from server.ports import Publisher, Store
from server.tasks.shielding import to_the_end

log = logging.getLogger(__name__)

SAVE_AGAIN = 1.0  # seconds between tries to save a last word that the disk did not take


class Recorder:
    def __init__(self, store: Store, publisher: Publisher, clock: Clock) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock

    async def record(self, task_id: str, event: Event, attempt: int | None = None) -> TaskStatus:
        """Return the status after `event`; writers may race, the store picks the order.

        An `attempt` fences: what comes from an earlier one changes nothing. Raises `TaskNotFound`,
        `DiskFull` and, for a retry, `QueueFull`.
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
                return after

    async def record_surely(
        self, task_id: str, event: Event, attempt: int | None = None
    ) -> TaskStatus | None:
        """Like `record`, but outlast a full disk; None if the task is gone.

        A cancel ends the waiting for room. It never falls between saving and publishing: a last word
        that nobody was told would leave sockets waiting for it.
        """
        while True:
            try:
                return await to_the_end(self.record(task_id, event, attempt))
            except TaskNotFound:
                return None
            except DiskFull:
                log.warning("the disk is full: the last status of %s waits to be saved", task_id)
                await asyncio.sleep(SAVE_AGAIN)
