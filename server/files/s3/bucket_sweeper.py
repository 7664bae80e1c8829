"""Deletes objects of the bucket that no row names and that no attempt may still be writing."""

import asyncio
import logging
import math
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from server.core.errors import AppError, StorageAway
from server.core.task import TaskStatus
from server.files.orphans import OF_A_TASK, TaskLookup
from server.files.s3.bucket import Bucket

log = logging.getLogger(__name__)

LATE_WRITES_WITHIN = 50.0  # seconds after a task's end in which a late attempt may still write
LOOK_EVERY = 5.0  # seconds
SWEEP_EVERY = 24 * 3600.0  # seconds
ORPHANED_FOR = timedelta(days=1)
AT_ONCE = 500  # tasks in one query


class BucketSweeper:
    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._ended: dict[str, float] = {}  # task id -> when to look again for objects of a late attempt

    def look_after(self, task_id: str) -> None:
        """Check the task's objects soon: it may have been removed while the last of them were written."""
        self._ended.setdefault(task_id, time.monotonic())

    async def clear(self, task_id: str, attempt: int) -> None:
        """Delete all objects of an attempt."""
        await self._delete(f"{folder_of_task(task_id)}{attempt}")

    async def remove(self, task_id: str) -> None:
        """Delete all objects of a task, and again after `LATE_WRITES_WITHIN`, when no late attempt can write
        any more.
        """
        self._ended[task_id] = time.monotonic() + LATE_WRITES_WITHIN
        await self._delete_all(task_id)

    async def keep_named(self, status: TaskStatus) -> None:
        """Delete objects that the newest `status` does not name and that no attempt may be writing."""
        if status.stage.is_final:
            self._ended[status.task_id] = time.monotonic() + LATE_WRITES_WITHIN
        place = folder_of_task(status.task_id)
        found = [each.key async for each in self._bucket.keys(place.rstrip("/"))]
        await self._bucket.delete(key for key in found if _is_waste(key.removeprefix(place), status))

    async def keep(self, tasks: TaskLookup, *, sweeps: bool = True, ended: Iterable[str] = ()) -> None:
        """Delete objects of late attempts until cancelled; what fails is retried `LOOK_EVERY` seconds later.

        `ended` are tasks that ended shortly before: the node that looked after them may have died since.
        """
        late = time.monotonic() + LATE_WRITES_WITHIN
        self._ended = dict.fromkeys(ended, late) | self._ended
        sweep_at = 0.0 if sweeps else math.inf
        while True:
            try:
                now = time.monotonic()
                due = [task_id for task_id, at in self._ended.items() if at <= now]
                there = await tasks.stages(due) if due else {}
                for status in await tasks.statuses(list(there)) if there else ():
                    if status.stage.is_final:
                        await self.keep_named(status)
                for task_id in due:
                    if task_id not in there:
                        await self._delete_all(task_id)
                for task_id in due:
                    self._ended.pop(task_id, None)
                if time.monotonic() >= sweep_at:
                    sweep_at = time.monotonic() + SWEEP_EVERY
                    await self.sweep(tasks)
            except StorageAway:
                pass
            except AppError as exc:
                log.warning("looking after the bucket is put off: %s", exc.__cause__ or exc)
            except Exception:
                log.exception("looking after the bucket failed")
            await asyncio.sleep(LOOK_EVERY)

    async def sweep(self, tasks: TaskLookup) -> None:
        """Delete objects older than a day that no row names; the row of a younger object may not be written
        yet.
        """
        before = datetime.now(UTC) - ORPHANED_FOR
        for kind in ("files", "logs"):
            old: dict[str, list[str]] = {}
            async for found in self._bucket.keys(kind):
                task_id = found.key.split("/")[1]
                if not OF_A_TASK.fullmatch(task_id) or found.changed_at >= before:
                    continue
                if task_id not in old and len(old) == AT_ONCE:
                    await self._delete_orphans(old, tasks)
                    old = {}
                old.setdefault(task_id, []).append(found.key)
            await self._delete_orphans(old, tasks)

    async def _delete_orphans(self, old: dict[str, list[str]], tasks: TaskLookup) -> None:
        stages = await tasks.stages(list(old))
        for task_id, keys in old.items():
            if task_id not in stages:
                await self._bucket.delete(keys)
        ended = [task_id for task_id, stage in stages.items() if stage.is_final]
        for status in await tasks.statuses(ended) if ended else ():
            place = folder_of_task(status.task_id)
            waste = [key for key in old[status.task_id] if key.startswith(place)]
            await self._bucket.delete(key for key in waste if _is_waste(key.removeprefix(place), status))

    async def _delete_all(self, task_id: str) -> None:
        await self._delete(folder_of_task(task_id).rstrip("/"))
        await self._bucket.delete([f"logs/{task_id}"])

    async def _delete(self, prefix: str) -> None:
        await self._bucket.delete([found.key async for found in self._bucket.keys(prefix)])


def folder_of_task(task_id: str) -> str:
    return f"files/{task_id}/"


def _is_waste(path: str, status: TaskStatus) -> bool:
    """Whether `path` may be deleted; not if it belongs to an attempt that began after `status` was read."""
    attempt = path.partition("/")[0]
    if attempt in {file.path.partition("/")[0] for file in status.published_files}:
        return False
    if not attempt.isdecimal():
        return True
    return int(attempt) < status.attempt or (int(attempt) == status.attempt and status.stage.is_final)
