"""Deletes entries that a crash has left in folders whose entries are named after tasks."""

import asyncio
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Protocol

from server.core.errors import StorageAway
from server.core.shielding import open_shielded, to_the_end
from server.core.task import Stage, TaskStatus
from server.files.workplace import UUID4, LocalWorkplace

log = logging.getLogger(__name__)

SWEEP_BATCH = 500
OF_A_TASK = re.compile(rf"(?P<task_id>{UUID4})(\.lock|\.log)?")


class TaskLookup(Protocol):
    """The methods of `server.core.ports.Store` that a sweep needs."""

    async def stages(self, task_ids: list[str]) -> dict[str, Stage]: ...

    async def statuses(self, task_ids: Sequence[str]) -> list[TaskStatus]: ...


class SweptFiles(Protocol):
    """The methods of a store of files that a sweep needs."""

    async def remove(self, task_id: str) -> None: ...

    async def finish(self, status: TaskStatus) -> None:
        """Delete the leftovers of a completed task; the caller holds its lock."""
        ...


class Sweep:
    """May run while tasks run. Entries that are not named after a task are not Clipwire's, and are left
    alone.
    """

    def __init__(self, files: SweptFiles, workplace: LocalWorkplace, tasks: TaskLookup) -> None:
        self._files = files
        self._workplace = workplace
        self._tasks = tasks

    async def sweep_directories(self, *directories: Path) -> None:
        """Delete what belongs to no task, and leftovers of completed tasks."""
        for directory in directories:
            # Opened without a thread: only reading the entries takes long. A folder that vanishes meanwhile
            # is left to the sweep of the next start.
            with suppress(FileNotFoundError), os.scandir(directory) as entries:
                task_ids = (ours["task_id"] for entry in entries if (ours := OF_A_TASK.fullmatch(entry.name)))
                # `to_the_end`: closing a directory while a thread reads it crashes the process.
                while batch := await to_the_end(asyncio.to_thread(_next_batch, task_ids)):
                    await self._sweep(batch, partial=directory == self._workplace.works)

    async def _sweep(self, task_ids: list[str], *, partial: bool) -> None:
        if await self._workplace.trouble():  # another data directory, perhaps, with another server's tasks
            return
        stages = await self._tasks.stages(task_ids)
        for task_id in task_ids:
            try:
                if task_id not in stages:
                    await self._files.remove(task_id)
                elif partial and stages[task_id] is Stage.COMPLETED:
                    with await open_shielded(asyncio.to_thread(self._workplace.claim, task_id)) as lock:
                        # Checked again under the lock: if a retry began meanwhile, its child waits for it.
                        for status in await self._tasks.statuses([task_id]) if lock.held else ():
                            if status.stage is Stage.COMPLETED:
                                await self._files.finish(status)
                    # A removal meanwhile has left the lock, or `claim` has made it anew.
                    await asyncio.to_thread(self._workplace.remove_lock, task_id)
            except StorageAway:
                pass  # a later sweep deletes them; this one goes on with the other tasks
            except OSError as exc:
                log.warning("leftovers of task %s could not be deleted: %s", task_id, exc)


def _next_batch(task_ids: Iterator[str]) -> list[str]:
    """The next batch of ids, each once: a directory and its lock are often neighbours."""
    return list(dict.fromkeys(islice(task_ids, SWEEP_BATCH)))
