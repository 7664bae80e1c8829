"""What has to be looked after while the service runs: room on the disk, and old tasks."""

import asyncio
import contextlib
import logging

from server.errors import AppError
from server.ports import Dispatcher, Store
from server.tasks.disk import Disk
from server.tasks.service import Tasks

log = logging.getLogger(__name__)

LOOK_AT_DISK = 1.0  # seconds
LOOK_FOR_EXPIRED = 20.0  # seconds: retention acts within a minute
AT_ONCE = 100  # expired tasks removed in one go


async def watch_disk(disk: Disk, tasks: Tasks, dispatcher: Dispatcher) -> None:
    """While less than the floor is free nothing begins, and what runs waits in the queue."""
    held = False
    while True:
        low = disk.is_low()
        if low and not held:
            log.warning("less than %s bytes are free: downloads wait for room", disk.floor)
            dispatcher.hold()
        if low:
            for task_id in dispatcher.running():
                with contextlib.suppress(AppError):  # it ended meanwhile
                    await tasks.send_back(task_id)
        if held and not low:
            log.warning("there is room again: downloads go on")
            dispatcher.release()
        held = low
        await asyncio.sleep(LOOK_AT_DISK)


async def remove_expired(store: Store, tasks: Tasks, hours: float) -> None:
    """Remove tasks, with their files, that ended more than `hours` ago."""
    while True:
        expired = await store.mark_expired(hours, AT_ONCE)
        for task_id in expired:
            await tasks.finish_removal(task_id)
        if len(expired) < AT_ONCE:
            await asyncio.sleep(LOOK_FOR_EXPIRED)
