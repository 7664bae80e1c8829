"""Finished files, partial files and logs in one data directory.

work/<task_id>/        the child's: partial files, the preview, finished files in out/
work/<task_id>.lock    held (flock) by whoever writes into it, down to the last ffmpeg
logs/<task_id>.log
files/<task_id>/       what is published of it:
  <attempt>/           its finished files and their manifest: whole, or not there at all
  thumbnail-<hash>.jpg
scratch/info.<id>/     of looks at links (`POST /api/info`), of which nothing is kept

Whatever has another name in there is not ours, and stays.
"""

import asyncio
import fcntl
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from server.errors import FileNotFound, TaskNotFound
from server.events import ProducedFile
from server.files.names import new_short, public_name
from server.files.publishing import (
    Manifest,
    UnsafeFile,
    delete,
    first_thumbnail,
    folder_of,
    keep_named,
    open_file,
    publish,
    publish_thumbnail,
    read_manifest,
)
from server.models import Stage, StoredFile, TaskStatus, VideoInfo
from server.redaction import clean
from server.tasks.shielding import to_the_end

log = logging.getLogger(__name__)

SWEEP_BATCH = 500
_TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_OF_A_TASK = re.compile(rf"(?P<task_id>{_UUID4})(\.lock|\.log)?")
_OF_A_LOOK = re.compile(rf"info\.{_UUID4}")


class Known(Protocol):
    """What a sweep asks the store, see `server.ports.Store`."""

    async def stages(self, task_ids: list[str]) -> dict[str, Stage]: ...

    async def statuses(self, task_ids: Sequence[str]) -> list[TaskStatus]: ...


class LocalFiles:
    """Coroutines touch the disk in a thread; plain methods that touch it say so, and are called in one."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir.absolute()
        self._work = self._root / "work"
        self._logs = self._root / "logs"
        self._files = self._root / "files"
        self.scratch = self._root / "scratch"

    def prepare(self) -> None:
        """Make the directories, for our eyes only. Touches the disk."""
        for directory in (self._root, self._work, self._logs, self._files):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(PermissionError):  # a mounted volume may belong to somebody else
            self._root.chmod(0o700)

    def empty_scratch(self) -> None:
        """Throw away what a crash left of work that is not kept. Touches the disk."""
        self.scratch.mkdir(mode=0o700, exist_ok=True)
        for path in list(self.scratch.iterdir()):
            if _OF_A_LOOK.fullmatch(path.name):
                delete(path)

    def work(self, task_id: str) -> Path:
        return self._work / _checked(task_id)

    def lock(self, task_id: str) -> Path:
        return self._work / f"{_checked(task_id)}.lock"

    def log(self, task_id: str) -> Path:
        return self._logs / f"{_checked(task_id)}.log"

    def path(self, task_id: str, stored: StoredFile) -> Path:
        return self._files / _checked(task_id) / stored.path

    async def thumbnail(self, status: TaskStatus) -> StoredFile | None:
        """The small picture of a task, to be opened like a file, if there is one."""
        directory = self._files / _checked(status.task_id)
        return status.thumbnail or await asyncio.to_thread(first_thumbnail, directory)

    async def open(self, task_id: str, stored: StoredFile) -> BinaryIO:
        """A published file. Raises `FileNotFound`, also if it is no longer what was published."""
        directory = self._files / _checked(task_id)
        try:
            return await asyncio.to_thread(open_file, directory, stored)
        except OSError:
            raise FileNotFound from None

    async def note(self, task_id: str, text: str) -> None:
        """Append a line to the task's log, without secrets; if there is no room, there is none."""
        line = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {clean(text)}\n"
        with suppress(OSError):
            await asyncio.to_thread(_append, self.log(task_id), line.encode(errors="replace"))

    async def publish(
        self, task_id: str, attempt: int, produced: dict[str, ProducedFile], video_info: VideoInfo
    ) -> dict[str, StoredFile]:
        """Move what the child produced to its final place and give it public names.

        The child must be gone. What earlier attempts published stays until `tidy_up`. Raises `UnsafeFile`,
        and `OSError` if the disk does not take it.
        """
        files = _named(produced, attempt, video_info.title)
        manifest = Manifest(attempt=attempt, files=files, video_info=video_info)
        await asyncio.to_thread(publish, self.work(task_id), self._files / task_id, manifest)
        return files

    async def published(self, task_id: str, attempt: int) -> Manifest | None:
        """What `publish` had done for exactly this attempt when the server died."""
        return await asyncio.to_thread(read_manifest, self._files / _checked(task_id), attempt)

    async def publish_thumbnail(self, task_id: str) -> StoredFile | None:
        """Make the picture that the child left public, also while it runs; None if it cannot be."""
        directory = self._files / _checked(task_id)
        try:
            return await asyncio.to_thread(publish_thumbnail, self.work(task_id), directory)
        except (UnsafeFile, OSError) as exc:
            log.warning("the thumbnail of task %s could not be published: %s", task_id, exc)
            return None

    async def tidy_up(self, status: TaskStatus) -> None:
        """Delete what `status`, the newest, does not name; of a completed task also what the child left.

        Nothing else may publish for the task meanwhile. What cannot be deleted is left to the next sweep.
        """
        await asyncio.to_thread(self._tidy_up, status)

    async def remove(self, task_id: str) -> None:
        """Delete everything of a task; what is gone already does not matter."""
        await asyncio.to_thread(self._remove, task_id)

    async def sweep(self, tasks: Known) -> None:
        """Delete what belongs to no task, and what completed tasks did not get to tidy up.

        Safe while tasks run. Names that no task could have are left alone: they are somebody else's.
        """
        for directory in (self._work, self._logs, self._files):
            with os.scandir(directory) as entries:  # opened at once; what takes time is to read it
                task_ids = _task_ids(entries)
                # To the end: a directory that is closed while a thread reads it takes the process along.
                while batch := await to_the_end(asyncio.to_thread(_some, task_ids)):
                    await self._sweep(batch, tasks, partial=directory is self._work)

    async def _sweep(self, task_ids: list[str], tasks: Known, *, partial: bool) -> None:
        stages = await tasks.stages(task_ids)
        for task_id in task_ids:
            try:
                if task_id not in stages:
                    await self.remove(task_id)
                elif partial and stages[task_id] is Stage.COMPLETED:
                    await self._sweep_work(task_id, tasks)
            except OSError as exc:
                log.warning("leftovers of task %s could not be deleted: %s", task_id, exc)

    async def _sweep_work(self, task_id: str, tasks: Known) -> None:
        with await asyncio.to_thread(_Lock, self.lock(task_id)) as lock:
            # Asked again under the lock: if a retry began meanwhile, its child now waits for us.
            for status in await tasks.statuses([task_id]) if lock.held else ():
                if status.stage is Stage.COMPLETED:
                    await asyncio.to_thread(self._remove_rest, status)

    def _tidy_up(self, status: TaskStatus) -> None:
        task_id = status.task_id
        try:
            if status.stage is Stage.COMPLETED:
                with _Lock(self.lock(task_id)) as lock:
                    if lock.held:
                        self._remove_rest(status)
            else:
                keep_named(self._files / task_id, status)
        except OSError as exc:  # published all the same
            log.warning("leftovers of task %s could not be deleted: %s", task_id, exc)

    def _remove_rest(self, status: TaskStatus) -> None:
        """The work goes last: as long as it is there, the next sweep knows that there is more to delete."""
        keep_named(self._files / status.task_id, status)
        delete(self.work(status.task_id))
        delete(self.lock(status.task_id))

    def _remove(self, task_id: str) -> None:
        """Files go in any case; the lock only if nobody holds it, who could still be writing."""
        with _Lock(self.lock(task_id)) as lock:
            delete(self._files / task_id)
            delete(self.log(task_id))
            delete(self.work(task_id))
            if lock.held:
                delete(self.lock(task_id))


def _append(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "ab", buffering=0) as file:
        file.write(data)


class _Lock:
    """A task's lock, taken at once or not at all; `held` says which."""

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.held = True
        except BlockingIOError:
            self.held = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _named(produced: dict[str, ProducedFile], attempt: int, title: str | None) -> dict[str, StoredFile]:
    short = new_short()
    return {
        kind: StoredFile(
            name=public_name(kind, title, short, file.path.rpartition(".")[2]),
            path=f"{folder_of(attempt)}/{file.path}",
            size=file.size,
            type=file.type,
        )
        for kind, file in produced.items()
    }


def _checked(task_id: str) -> str:
    """`task_id` if it can be a file's name; anything else was never a task's."""
    if not _TASK_ID.fullmatch(task_id):
        raise TaskNotFound
    return task_id


def _task_ids(entries: Iterator[os.DirEntry[str]]) -> Iterator[str]:
    for entry in entries:
        if ours := _OF_A_TASK.fullmatch(entry.name):
            yield ours["task_id"]


def _some(task_ids: Iterator[str]) -> list[str]:
    """The next ones, each once: a directory and its lock are often neighbours."""
    return list(dict.fromkeys(islice(task_ids, SWEEP_BATCH)))
