"""Frees disk space for downloads that wait for it.

The partial files of cancelled tasks are deleted: they are kept for a retry that may never come.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from server.core.shielding import open_shielded
from server.core.task import Stage
from server.files.orphans import OF_A_TASK, TaskLookup
from server.files.publishing import delete_path
from server.files.workplace import LocalWorkplace

log = logging.getLogger(__name__)


async def make_room(workplace: LocalWorkplace, tasks: TaskLookup, is_enough: Callable[[], bool]) -> None:
    """Delete the partial files of cancelled tasks, the earliest end first, until `is_enough()`."""
    task_ids = await asyncio.to_thread(_tasks_with_files, workplace.works)
    stages = await tasks.stages(task_ids)
    statuses = await tasks.statuses([each for each in task_ids if stages.get(each) is Stage.CANCELLED])
    for status in sorted(statuses, key=lambda status: status.completed_at or status.created_at):
        if is_enough():
            return
        task_id = status.task_id
        with await open_shielded(asyncio.to_thread(workplace.claim, task_id)) as lock:
            # Check again under the lock: if a retry began meanwhile, its child waits for this lock. Read the
            # status, not only the stage: the row of an entry may not have taken a retry of its list yet.
            now = await tasks.statuses([task_id]) if lock.held else ()
            is_cancelled = any(status.stage is Stage.CANCELLED for status in now)
            if is_cancelled:
                await asyncio.to_thread(delete_path, workplace.work(task_id))
        await asyncio.to_thread(workplace.remove_lock, task_id)
        if not is_cancelled:
            continue
        why = "the partial files of the cancelled task %s are given up: downloads wait for room"
        log.warning(why, task_id)
        await workplace.note(task_id, "its partial files were given up: others waited for room")


def _tasks_with_files(works: Path) -> list[str]:
    """Return the ids of tasks that have a directory in `works`."""
    return [path.name for path in works.iterdir() if OF_A_TASK.fullmatch(path.name) and path.is_dir()]
