"""Finished files in the data directory, beside the place where children work.

files/<task_id>/       what is published of it:
  <attempt>/           its finished files and their manifest: whole, or not there at all
  thumbnail-<hash>.jpg

Whatever has another name in there is not ours, and stays.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from server.errors import FileNotFound
from server.events import ProducedFile
from server.files.names import named
from server.files.publishing import (
    UnsafeFile,
    delete,
    first_thumbnail,
    keep_named,
    open_file,
    publish,
    publish_thumbnail,
    read_manifest,
)
from server.files.sweeping import Known, Sweep
from server.files.workplace import LocalWorkplace, checked
from server.models import Manifest, StoredFile, TaskStatus, VideoInfo

log = logging.getLogger(__name__)


class LocalFiles:
    """Coroutines touch the disk in a thread; plain methods that touch it say so, and are called in one."""

    ping: None = None  # that this disk is there shows elsewhere

    def __init__(self, workplace: LocalWorkplace) -> None:
        self.workplace = workplace
        self._files = workplace.root / "files"

    def make(self) -> None:
        """Make the directory, for our eyes only. Touches the disk."""
        self._files.mkdir(mode=0o700, exist_ok=True)

    def path(self, task_id: str, stored: StoredFile) -> Path:
        return self._directory(task_id) / stored.path

    async def thumbnail(self, status: TaskStatus) -> StoredFile | None:
        """The small picture of a task, to be opened like a file, if there is one."""
        directory = self._directory(status.task_id)
        return status.thumbnail or await asyncio.to_thread(first_thumbnail, directory)

    async def open(self, task_id: str, stored: StoredFile) -> BinaryIO:
        """A published file. Raises `FileNotFound`, also if it is no longer what was published."""
        directory = self._directory(task_id)
        try:
            return await asyncio.to_thread(open_file, directory, stored)
        except OSError:
            raise FileNotFound from None

    async def link(self, task_id: str, stored: StoredFile) -> str | None:
        """This disk has no door of its own."""
        return None

    async def prepare(
        self, task_id: str, attempt: int, produced: dict[str, ProducedFile], video_info: VideoInfo
    ) -> Manifest:
        """Only name the files: they are on this disk already."""
        files = named(produced, attempt, video_info.title)
        return Manifest(attempt=attempt, files=files, video_info=video_info)

    async def publish(self, task_id: str, manifest: Manifest) -> None:
        """Move what the child produced to its final place.

        The child must be gone. What earlier attempts published stays until `tidy_up`. Raises `UnsafeFile`,
        and `OSError` if the disk does not take it.
        """
        work = self.workplace.work(task_id)
        await asyncio.to_thread(publish, work, self._directory(task_id), manifest)

    async def published(self, task_id: str, attempt: int) -> Manifest | None:
        """What `publish` had done for exactly this attempt when the server died."""
        return await asyncio.to_thread(read_manifest, self._directory(task_id), attempt)

    async def publish_thumbnail(self, task_id: str) -> StoredFile | None:
        """Make the picture that the child left public, also while it runs; None if it cannot be."""
        work, directory = self.workplace.work(task_id), self._directory(task_id)
        try:
            return await asyncio.to_thread(publish_thumbnail, work, directory)
        except (UnsafeFile, OSError) as exc:
            log.warning("the thumbnail of task %s could not be published: %s", task_id, exc)
            return None

    async def read_log(self, task_id: str, limit: int) -> bytes:
        return await asyncio.to_thread(self.workplace.read_log, task_id, limit)

    @asynccontextmanager
    async def share(self, task_id: str, attempt: int) -> AsyncIterator[None]:
        """Nothing to do: all that read the log read this disk."""
        yield

    async def tidy_up(self, status: TaskStatus) -> None:
        """Delete what `status`, the newest, does not name; of a completed task also what the child left.

        Nothing else may publish for the task meanwhile. What cannot be deleted is left to the next sweep.
        """
        await asyncio.to_thread(self._tidy_up, status)

    async def finish(self, status: TaskStatus) -> None:
        """The same for a completed task whose lock is held. Raises `OSError`."""
        await asyncio.to_thread(self._finish, status)

    async def remove(self, task_id: str) -> None:
        """Delete everything of a task; what is gone already does not matter."""
        await asyncio.to_thread(self._remove, task_id)

    async def sweep(self, tasks: Known) -> None:
        """Delete what belongs to no task, and what completed tasks did not get to tidy up."""
        workplace = self.workplace
        await Sweep(self, workplace, tasks).through(workplace.works, workplace.logs, self._files)

    async def look_after_ends(self, tasks: Known) -> None:
        """Nothing: an attempt that is late has no folder any more."""

    async def sweep_here(self, tasks: Known) -> None:
        """What a node of many sweeps when it starts."""
        await self.sweep(tasks)

    async def remove_orphans(self, tasks: Known) -> None:
        """What one of many nodes does for all."""
        await self.sweep(tasks)

    def _directory(self, task_id: str) -> Path:
        return self._files / checked(task_id)

    def _tidy_up(self, status: TaskStatus) -> None:
        task_id = status.task_id
        try:
            if status.needs_no_child:
                with self.workplace.claim(task_id) as lock:
                    if lock.held:
                        self._finish(status)
            else:
                keep_named(self._directory(task_id), status)
        except OSError as exc:  # published all the same
            log.warning("leftovers of task %s could not be deleted: %s", task_id, exc)

    def _finish(self, status: TaskStatus) -> None:
        """The work goes last: as long as it is there, the next sweep knows that there is more to delete."""
        keep_named(self._directory(status.task_id), status)
        self.workplace.finish(status.task_id)

    def _remove(self, task_id: str) -> None:
        delete(self._directory(task_id))
        self.workplace.remove(task_id)
