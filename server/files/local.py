"""Finished files in the data directory, beside the place where children work.

files/<task_id>/       what is published of the task:
  <attempt>/           its finished files and their manifest: whole, or not there at all
  thumbnail-<hash>.jpg   in two sizes

Entries of `files/` with other names are not Clipwire's, and are left alone.

Decisions: docs/decisions/files.md
"""

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from server.core.errors import FileNotFound, StorageFailed
from server.core.events import ProducedFile
from server.core.film import Manifest, StoredFile, Thumbnail, VideoInfo
from server.core.long_work import compute
from server.core.ports import TellAway
from server.core.shielding import open_shielded
from server.core.task import TaskStatus
from server.files.orphans import Sweep, TaskLookup
from server.files.public_names import name_files
from server.files.publishing import (
    UnsafeFile,
    delete_path,
    first_thumbnail,
    keep_named,
    open_file,
    publish,
    publish_thumbnail,
    read_manifest,
)
from server.files.workplace import LocalWorkplace, checked_task_id

log = logging.getLogger(__name__)
# Errors that mean that the file is gone; None: see `open_file`.
_GONE = frozenset((None, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO))


class LocalFiles:
    """Published files in a folder. Coroutines use a thread for the disk. Other methods whose docstring says
    "Touches the disk" block: call them in a thread.
    """

    ping: None = None  # the readiness check of the disk covers this one

    def __init__(self, workplace: LocalWorkplace) -> None:
        self.workplace = workplace
        self._files = workplace.root / "files"

    def make(self) -> None:
        """Make the directory, readable by this user alone. Touches the disk."""
        self._files.mkdir(mode=0o700, exist_ok=True)

    def path(self, task_id: str, stored: StoredFile) -> Path:
        return self._directory(task_id) / stored.path

    async def thumbnail(self, status: TaskStatus) -> Thumbnail | None:
        """The published thumbnail of a task, to be passed to `open`; None if there is none."""
        directory = self._directory(status.task_id)
        return status.thumbnail or await asyncio.to_thread(first_thumbnail, directory)

    async def open(self, task_id: str, stored: StoredFile) -> BinaryIO:
        """Open a published file. Raises `FileNotFound`, also if its type or size has changed since.

        Raises `StorageFailed` if the file may still be there: the library would forget a file that is gone.
        """
        directory = self._directory(task_id)
        try:
            return await open_shielded(asyncio.to_thread(open_file, directory, stored))
        except OSError as exc:
            if exc.errno not in _GONE or await self.workplace.trouble():
                raise StorageFailed from exc
            raise FileNotFound from None

    async def link(self, task_id: str, stored: StoredFile) -> str | None:
        """Return None: only this server sends files of its disk."""
        return None

    async def prepare(
        self,
        task_id: str,
        attempt: int,
        produced: dict[str, ProducedFile],
        video_info: VideoInfo,
        away: TellAway | None = None,
    ) -> Manifest:
        """Only name the files: they are on this disk already."""
        files = name_files(produced, attempt, video_info.title)
        return Manifest(attempt=attempt, files=files, video_info=video_info)

    async def publish(self, task_id: str, manifest: Manifest, away: TellAway | None = None) -> None:
        """Move the child's files to their final place.

        The child must be gone. What earlier attempts published stays until `tidy_up`. Raises `UnsafeFile`,
        and `OSError` if the disk fails.
        """
        work = self.workplace.work(task_id)
        await asyncio.to_thread(publish, work, self._directory(task_id), manifest)

    async def find_published(self, task_id: str, attempt: int) -> Manifest | None:
        """The manifest that `publish` stored for exactly this attempt before the server died, or None."""
        return await asyncio.to_thread(read_manifest, self._directory(task_id), attempt)

    async def publish_thumbnail(self, task_id: str) -> Thumbnail | None:
        """Publish the child's thumbnail, also while the child runs; None if that fails."""
        work, directory = self.workplace.work(task_id), self._directory(task_id)
        try:
            return await asyncio.to_thread(publish_thumbnail, work, directory)
        except (UnsafeFile, OSError) as exc:
            log.warning("the thumbnail of task %s could not be published: %s", task_id, exc)
            return None

    async def read_log(self, task_id: str, limit: int) -> bytes:
        return await compute(self.workplace.read_log, task_id, limit)

    @asynccontextmanager
    async def share(self, task_id: str, attempt: int) -> AsyncIterator[None]:
        """Nothing to do: every reader of the log reads this disk."""
        yield

    async def tidy_up(self, status: TaskStatus) -> None:
        """Delete files that the newest `status` does not name; with `needs_no_child`, also the work folder.

        Nothing else may publish for the task meanwhile. What cannot be deleted is left to the next sweep.
        """
        await asyncio.to_thread(self._tidy_up, status)

    async def finish(self, status: TaskStatus) -> None:
        """Like `tidy_up`, for a completed task whose lock the caller holds. Raises `OSError`."""
        await asyncio.to_thread(self._finish, status)

    async def remove(self, task_id: str) -> None:
        """Delete everything of a task. Idempotent."""
        await asyncio.to_thread(self._remove, task_id)

    async def sweep(self, tasks: TaskLookup) -> None:
        """Delete what belongs to no task, and leftovers of completed tasks."""
        workplace = self.workplace
        await Sweep(self, workplace, tasks).sweep_directories(workplace.works, workplace.logs, self._files)

    async def look_after_ends(self, tasks: TaskLookup, ended: Sequence[str]) -> None:
        """Nothing to do: a late attempt cannot publish, since `remove` has deleted its work directory."""

    async def sweep_here(self, tasks: TaskLookup, ended: Sequence[str]) -> None:
        """What each node of a cluster sweeps when it starts."""
        await self.sweep(tasks)

    async def remove_orphans(self, tasks: TaskLookup) -> None:
        """What one node sweeps for the whole cluster."""
        await self.sweep(tasks)

    def _directory(self, task_id: str) -> Path:
        return self._files / checked_task_id(task_id)

    def _tidy_up(self, status: TaskStatus) -> None:
        task_id = status.task_id
        try:
            if status.needs_no_child:
                with self.workplace.claim(task_id) as lock:
                    if lock.held:
                        self._finish(status)
            else:
                keep_named(self._directory(task_id), status)
        except OSError as exc:  # the task is published all the same
            log.warning("leftovers of task %s could not be deleted: %s", task_id, exc)

    def _finish(self, status: TaskStatus) -> None:
        """Delete the work directory last: while it exists, the next sweep sees that there is more to do."""
        keep_named(self._directory(status.task_id), status)
        self.workplace.finish(status.task_id)

    def _remove(self, task_id: str) -> None:
        delete_path(self._directory(task_id))
        self.workplace.remove(task_id)
