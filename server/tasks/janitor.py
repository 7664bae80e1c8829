"""Chores of a running service: watching the disk, and removing expired tasks."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from server.core.clock import Clock
from server.core.errors import AppError, StorageAway, StoreUnavailable
from server.core.ports import Dispatcher, Store
from server.tasks.disk_space import Reserve
from server.tasks.service import Tasks

log = logging.getLogger(__name__)

CHECK_DISK_EVERY = 1.0  # seconds
CHECK_IDLE_DISK_EVERY = 5.0  # seconds, while no task runs and nothing is wrong
MAKE_ROOM_EVERY = 15.0  # seconds between tries to delete something while the disk is full
CHECK_EXPIRED_EVERY = 20.0  # seconds: retention acts within a minute
AT_ONCE = 100  # the most expired tasks that are removed at a time

MakeRoom = Callable[[Callable[[], bool]], Awaitable[None]]


class DiskWatch:
    """While less than the floor is free, no task begins, and running tasks go back into the queue.

    While `trouble` says that something is wrong with the data directory, no task begins either. Running
    attempts are not stopped; those that fail for this reason are made again later.

    If tasks wait for room, `make_room` deletes expendable files until the function passed to it returns True.
    """

    def __init__(
        self,
        reserve: Reserve,
        tasks: Tasks,
        dispatcher: Dispatcher,
        make_room: MakeRoom,
        trouble: Callable[[], Awaitable[str | None]],
    ) -> None:
        self._disk = reserve.disk
        self._reserve = reserve
        self._tasks = tasks
        self._dispatcher = dispatcher
        self._make_room = make_room
        self._trouble = trouble
        self._low = False
        self._in_trouble = False
        self._is_calm = False
        self._made_room_at = -MAKE_ROOM_EVERY

    async def watch(self) -> None:
        await for_ever(self._check, CHECK_DISK_EVERY, self._rest)

    async def _rest(self, pause: float) -> None:
        begun = self._reserve.begun
        begun.clear()
        if self._is_calm and not self._dispatcher.running():
            try:
                async with asyncio.timeout(CHECK_IDLE_DISK_EVERY):
                    await begun.wait()
            except TimeoutError:
                return
        await asyncio.sleep(pause)

    async def _check(self) -> None:
        self._is_calm = False
        if await self._trouble():
            self._in_trouble = True
            self._dispatcher.hold()
            return  # the folder is another mount now, whose free space does not matter
        if self._in_trouble:
            self._in_trouble = False
            if not self._low:
                self._dispatcher.release()
        try:
            is_low = self._disk.is_low()
        except FileNotFoundError:  # the data directory has just gone: the next check reports it
            return
        if is_low:
            if not self._low:
                self._low = True
                log.warning("less than %s bytes are free: downloads wait for room", self._disk.floor)
                self._dispatcher.hold()
            for task_id in self._dispatcher.running():
                with contextlib.suppress(AppError):  # the task ended meanwhile
                    await self._tasks.send_back(task_id)
        # Running tasks may wait for room, too: a full disk cannot even store that they are queued again.
        has_room = self._has_room()
        is_due = not has_room and time.monotonic() - self._made_room_at > MAKE_ROOM_EVERY
        if is_due and (self._dispatcher.running() or await self._tasks.any_queued()):
            self._made_room_at = time.monotonic()
            await self._make_room(self._has_room)
        if self._low and not self._disk.is_low():
            self._low = False
            log.warning("there is room again: downloads go on")
            self._dispatcher.release()
        self._is_calm = has_room and not self._low

    def _has_room(self) -> bool:
        return self._disk.has_room() and not self._reserve.is_short()


async def keep_removing_expired(store: Store, tasks: Tasks, clock: Clock, hours: float) -> None:
    """Remove expired tasks until cancelled."""
    await for_ever(lambda: remove_expired(store, tasks, clock, hours), CHECK_EXPIRED_EVERY)


async def remove_expired(store: Store, tasks: Tasks, clock: Clock, hours: float) -> None:
    """Remove tasks, with their files, that ended more than `hours` ago."""
    more = True
    while more:
        expired = await store.mark_expired(clock.now() - timedelta(hours=hours), AT_ONCE)
        await carry_out_removals(tasks, expired)
        more = len(expired) == AT_ONCE


async def finish_removals(store: Store, tasks: Tasks) -> None:
    """Finish the removals that a stop or a crash has left, a few at a time, while requests are served."""
    while True:
        try:
            left = await store.ids_removed()
        except StoreUnavailable:
            await asyncio.sleep(CHECK_EXPIRED_EVERY)
        else:
            return await carry_out_removals(tasks, left)


async def carry_out_removals(tasks: Tasks, task_ids: list[str]) -> None:
    """Finish removals. If one fails, the others go on; its task stays marked, and the next start retries."""
    for begin in range(0, len(task_ids), AT_ONCE):
        gone = list[str]()
        for task_id in task_ids[begin : begin + AT_ONCE]:
            try:
                await tasks.carry_out_removal(task_id, gone)
            except StorageAway:
                pass
            except (AppError, OSError) as exc:
                log.error("%s could not be removed altogether: %s", task_id, exc.__cause__ or exc)
        try:
            await tasks.forget(gone)
        except AppError as exc:
            log.error("%d removed tasks could not be forgotten: %s", len(gone), exc.__cause__ or exc)


async def for_ever(
    look: Callable[[], Awaitable[None]],
    pause: float,
    rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call `look` every `pause` seconds until cancelled. An error is logged: the next call may succeed."""
    waits = False
    while True:
        try:
            await look()
        except StoreUnavailable as exc:
            if not waits and not exc.is_logged:  # log an outage once
                log.warning("looking after the service is put off: %s", exc.__cause__ or exc)
            waits = True
        except Exception:
            log.exception("looking after the service failed; the next try is in %s s", pause)
        else:
            waits = False
        await rest(pause)
