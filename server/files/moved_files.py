"""Counts the published files that exist when an installation is moved to many machines."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.core.film import StoredFile
from server.core.task import TaskStatus
from server.files.publishing import open_file


class CopyDiffers(Exception):
    """An object of the bucket differs from the file that was uploaded."""


@dataclass
class MoveCounts:
    """Of the files that tasks name: how many exist, their bytes, how many are missing. `sent`: objects
    uploaded.
    """

    files: int = 0
    bytes: int = 0
    missing: int = 0
    sent: int = 0

    def count(self, is_there: bool, stored: StoredFile) -> None:
        if is_there:
            self.files += 1
            self.bytes += stored.size
        else:
            self.missing += 1


class FilesInPlace:
    """Leaves the files where they are, in the data directory, and counts them."""

    def __init__(self, data_dir: Path) -> None:
        self._files = data_dir / "files"
        self.moved = MoveCounts()

    async def bring(self, task_id: str, status: TaskStatus | None) -> None:
        published = status.published_files if status else []
        there = await asyncio.to_thread(_are_there, self._files / task_id, published)
        for is_there, stored in zip(there, published, strict=True):
            self.moved.count(is_there, stored)


def _are_there(directory: Path, published: Sequence[StoredFile]) -> list[bool]:
    there = []
    for stored in published:
        try:
            open_file(directory, stored).close()
            there.append(True)
        except OSError:
            there.append(False)
    return there
