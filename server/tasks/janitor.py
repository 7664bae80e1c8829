"""What has to be looked after while the service runs: room on the disk, and old tasks."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from server.clock import Clock
from server.errors import AppError, StoreUnavailable
from server.ports import Dispatcher, Store
from server.tasks.disk import Disk
from server.tasks.service import Tasks

log = logging.getLogger(__name__)

LOOK_AT_DISK = 1.0  # seconds
LOOK_FOR_EXPIRED = 20.0  # seconds: retention acts within a minute
AT_ONCE = 100  # expired tasks removed in one go


async def watch_disk(disk: Disk, tasks: Tasks, dispatcher: Dispatcher) -> None:
    """While less than the floor is free nothing begins, and what runs waits in the queue."""
    low = False

    async def look() -> None:
        nonlocal low
        was_low, low = low, disk.is_low()
        if low and not was_low:
            log.warning("less than %s bytes are free: downloads wait for room", disk.floor)
            dispatcher.hold()
        if low:
            for task_id in dispatcher.running():
                with contextlib.suppress(AppError):  # it ended meanwhile
                    await tasks.send_back(task_id)
        if was_low and not low:
            log.warning("there is room again: downloads go on")
            dispatcher.release()

    await _for_ever(look, LOOK_AT_DISK)


async def remove_expired(store: Store, tasks: Tasks, clock: Clock, hours: float) -> None:
    """Remove tasks, with their files, that ended more than `hours` ago."""

    async def look() -> None:
        more = True
        while more:
            expired = await store.mark_expired(clock.now() - timedelta(hours=hours), AT_ONCE)
            await carry_out_removals(tasks, expired)
            more = len(expired) == AT_ONCE

    await _for_ever(look, LOOK_FOR_EXPIRED)


async def carry_out_removals(tasks: Tasks, task_ids: list[str]) -> None:
    """One that cannot be finished stops no other; it stays marked, and the next start tries again."""
    for task_id in task_ids:
        try:
            await tasks.carry_out_removal(task_id)
        except (AppError, OSError) as exc:
            log.error("%s could not be removed altogether: %s", task_id, exc)


async def _for_ever(look: Callable[[], Awaitable[None]], pause: float) -> None:
    """What goes wrong once (a full disk takes no removal either) may go well the next time."""
    while True:
        try:
            await look()
        except StoreUnavailable as exc:
            log.warning("looking after the service is put off for %s s: %s", pause, exc.__cause__ or exc)
        except Exception:
            log.exception("looking after the service failed; the next try is in %s s", pause)
        await asyncio.sleep(pause)
