"""Copies the published files of tasks, and their logs, from a data directory into a bucket.

Each file is read back and compared. Objects that an interrupted run has uploaded are not sent again.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from server.core.long_work import compute
from server.core.shielding import open_shielded
from server.core.task import TaskStatus
from server.files.moved_files import CopyDiffers, MoveCounts
from server.files.publishing import MANIFEST
from server.files.s3.bucket import Bucket
from server.files.s3.bucket_sweeper import folder_of_task
from server.files.s3.object_store import MAX_SHARED, Disposition
from server.files.workplace import LocalWorkplace

AT_ONCE = 8  # tasks
_JSON, _TEXT = "application/json", "text/plain; charset=utf-8"


class BucketUpload:
    """Uploads the files of tasks. `bring` raises `StorageAway`, `CopyDiffers`, and `OSError` of this disk."""

    def __init__(self, workplace: LocalWorkplace, bucket: Bucket, disposition: Disposition) -> None:
        self._workplace = workplace
        self._bucket = bucket
        self._disposition = disposition
        self._turns = asyncio.Semaphore(AT_ONCE)
        self.moved = MoveCounts()

    async def bring(self, task_id: str, status: TaskStatus | None) -> None:
        """Copy all files of a task, and count those that its `status` names and that exist afterwards.

        `status` is None if it cannot be read.
        """
        async with self._turns:
            directory = self._workplace.root / "files" / task_id
            named = {stored.path: stored for stored in status.published_files} if status else {}
            for path in await asyncio.to_thread(lambda: sorted(_below(directory))):
                # Set the headers that `S3Files` sets when it publishes a file; servers alone read other
                # objects.
                attributes = {"Content-Type": _JSON} if path.endswith(MANIFEST) else {}
                if status and (stored := named.get(path)):
                    title = status.video_info.title
                    disposition = self._disposition(stored.name, title, *filter(None, [stored.title]))
                    attributes = {"Content-Type": stored.type, "Content-Disposition": disposition}
                await self._send(folder_of_task(task_id) + path, directory / path, attributes)
            for stored in named.values():
                self.moved.count(
                    await self._size(folder_of_task(task_id) + stored.path) == stored.size, stored
                )
            key = f"logs/{task_id}"
            text = await compute(self._workplace.read_log, task_id, MAX_SHARED)
            if text and await self._size(key) != len(text):
                await self._bucket.put(key, text, _TEXT)

    async def _send(self, key: str, path: Path, attributes: dict[str, str]) -> None:
        with await open_shielded(asyncio.to_thread(_open, path)) as file:
            size = os.fstat(file.fileno()).st_size
            if await self._has(key, file, size):
                return
            file.seek(0)
            await self._bucket.upload(key, file, size, attributes)
            self.moved.sent += 1
            if not await self._has(key, file, size):
                raise CopyDiffers(f"{key} is not what was sent there")

    async def _has(self, key: str, file: BinaryIO, size: int) -> bool:
        """Whether the object is the file, byte for byte."""
        if await self._size(key) != size:
            return False
        file.seek(0)
        async for piece in self._bucket.read(key, range(size)):
            if await asyncio.to_thread(file.read, len(piece)) != piece:
                return False
        return True

    async def _size(self, key: str) -> int | None:
        with suppress(FileNotFoundError):
            return await self._bucket.size(key)
        return None


def _below(directory: Path, within: str = "") -> Iterator[str]:
    """Yield the paths of the files below `directory`, at most one folder down; no symbolic link is
    followed.
    """
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield within + entry.name
            elif entry.is_dir(follow_symlinks=False) and not within:
                yield from _below(directory / entry.name, f"{entry.name}/")


def _open(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
