"""Deletes partial files and logs on this machine whose tasks other nodes have removed or completed.

Removals are announced and acted on at once. As announcements may be missed, and completions on other nodes
are not acted on, the directories are also searched now and then.
"""

import asyncio
import logging
import time
from contextlib import suppress

from server.core.errors import StoreUnavailable
from server.files.orphans import Sweep, SweptFiles, TaskLookup
from server.files.workplace import LocalWorkplace

log = logging.getLogger(__name__)

SEARCH_EVERY = 60.0  # seconds
RETRY_AFTER = 1.0  # seconds, while a child of this node still works on a removed task


class Leftovers:
    """Deletes leftovers on a node whose partial files other nodes cannot see."""

    def __init__(self, workplace: LocalWorkplace, files: SweptFiles, tasks: TaskLookup) -> None:
        self._workplace = workplace
        self._sweep = Sweep(files, workplace, tasks)
        self._removed: set[str] = set()
        self._missed = False
        self._search_at = time.monotonic() + SEARCH_EVERY
        self._wake = asyncio.Event()

    def publish_removal(self, task_id: str) -> None:
        """Note that a node has removed the task."""
        self._removed.add(task_id)
        self._wake.set()

    def missed(self) -> None:
        """Note that announcements of removals may have been missed."""
        self._missed = True
        self._wake.set()

    async def clear(self) -> None:
        """Delete leftovers, again and again; never returns."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_AFTER if self._removed else SEARCH_EVERY):
                    await self._wake.wait()
            self._wake.clear()
            try:
                for task_id in list(self._removed):
                    try:
                        is_gone = await asyncio.to_thread(self._workplace.remove_unused, task_id)
                    except OSError as exc:  # a later search finds these files again; go on with the others
                        log.warning("leftovers of task %s could not be deleted: %s", task_id, exc)
                        is_gone = True
                    if is_gone:
                        self._removed.discard(task_id)
                now = time.monotonic()
                if self._missed or now >= self._search_at:
                    # Search the partial files now; search the logs, of which every task has one, only after a
                    # gap in the announcements.
                    missed, self._missed, self._search_at = self._missed, False, now + SEARCH_EVERY
                    works, logs = self._workplace.works, self._workplace.logs
                    await self._sweep.sweep_directories(*((works, logs) if missed else (works,)))
            except StoreUnavailable as exc:
                log.warning("what others have removed is looked for later: %s", exc.__cause__ or exc)
            except Exception:
                log.exception("what others have removed could not be cleared away")
