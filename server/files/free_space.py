"""Frees disk space for downloads that wait for it.

The partial files of cancelled tasks are deleted: they are kept for a retry that may never come.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from server.core.models import Stage, TaskStatus
from server.files.orphans import OF_A_TASK, Known
from server.files.publishing import delete
from server.files.workplace import LocalWorkplace

log = logging.getLogger(__name__)


class FreeSpace:
    def __init__(self, workplace: LocalWorkplace, tasks: Known) -> None:
        self._workplace = workplace
        self._tasks = tasks

    async def make(self, is_enough: Callable[[], bool]) -> None:
        """Delete the partial files of cancelled tasks, the earliest end first, until `is_enough()`."""
        for status in await self._cancelled():
            if is_enough():
                return
            await self._give_up(status.task_id)

    async def _cancelled(self) -> list[TaskStatus]:
        """The cancelled tasks that have partial files, the earliest end first."""
        task_ids = await asyncio.to_thread(_with_files, self._workplace.works)
        stages = await self._tasks.stages(task_ids)
        cancelled = [task_id for task_id in task_ids if stages.get(task_id) is Stage.CANCELLED]
        return sorted(await self._tasks.statuses(cancelled), key=_end)

    async def _give_up(self, task_id: str) -> None:
        with await asyncio.to_thread(self._workplace.claim, task_id) as lock:
            # Checked again under the lock: if a retry began meanwhile, its child waits for this lock.
            if not lock.held or (await self._tasks.stages([task_id])).get(task_id) is not Stage.CANCELLED:
                return
            await asyncio.to_thread(delete, self._workplace.work(task_id))
        log.warning(
            "the partial files of the cancelled task %s are given up: downloads wait for room", task_id
        )
        await self._workplace.note(task_id, "its partial files were given up: others waited for room")


def _with_files(works: Path) -> list[str]:
    """Ids of the tasks that have a directory in `works`."""
    return [path.name for path in works.iterdir() if OF_A_TASK.fullmatch(path.name) and path.is_dir()]


def _end(status: TaskStatus) -> datetime:
    return status.completed_at or status.created_at
