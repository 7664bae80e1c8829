"""How much room there is for downloads."""

import asyncio
import errno
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

FULL_BELOW = 1 << 20  # bytes
SHORT_FOR: Final = 60.0  # seconds after which a task that found no room is taken to be waited for no more
FULL = (errno.ENOSPC, errno.EDQUOT)


def found_no_room(error: BaseException) -> bool:
    """Whether it is the system's word for a full disk, or a full share of one."""
    return isinstance(error, OSError) and error.errno in FULL


class Disk:
    """`floor` is the free space, in bytes, below which nothing new is begun."""

    def __init__(self, directory: Path, floor: int) -> None:
        self.directory = directory
        self.floor = floor

    def free(self) -> int:
        """Bytes; one `statvfs`, which does not wait for the disk."""
        return shutil.disk_usage(self.directory).free

    def size(self) -> int:
        """Bytes of all of it."""
        return shutil.disk_usage(self.directory).total

    def has_room(self) -> bool:
        """Whether a download could go on; without a floor, too, a full disk takes none."""
        return self.free() >= max(self.floor, FULL_BELOW)

    def is_low(self) -> bool:
        return self.free() < self.floor


class Reserve:
    """Promises free bytes to downloads that begin, each of them once, however many begin at the same time.

    A download has what it needs on the disk by and by: only the rest of it is promised. `elsewhere`: other
    machines may have larger ones.
    """

    def __init__(self, disk: Disk, *, elsewhere: bool = False) -> None:
        self.disk = disk
        self._elsewhere = elsewhere
        self._promised: dict[str, tuple[Path, int]] = {}
        self._refused: dict[str, tuple[float, int]] = {}  # when, and how much should have been free
        self._one_at_a_time = asyncio.Lock()

    async def take(self, task_id: str, work: Path, needs: int) -> bool:
        """Whether a download that needs so many bytes in all, in its directory, will find room for them.

        If so, others will not, until `give_back`.
        """
        async with self._one_at_a_time:
            self._promised.pop(task_id, None)
            rests = await asyncio.to_thread(_rests, [*self._promised.values(), (work, needs)])
            wanted = max(self.disk.floor, FULL_BELOW) + sum(rests)
            if rests[-1] and self.disk.free() < wanted:
                if wanted <= self.disk.size():  # else nothing that could be given up would be enough
                    self._refused[task_id] = time.monotonic(), wanted
                return False
            self._refused.pop(task_id, None)
            self._promised[task_id] = work, needs
            return True

    def is_in_vain(self, needs: int) -> bool:
        """Whether so many bytes could not be here, nor elsewhere, if there was nothing else."""
        return not self._elsewhere and max(self.disk.floor, FULL_BELOW) + needs > self.disk.size()

    def give_back(self, task_id: str) -> None:
        self._promised.pop(task_id, None)

    def is_short(self) -> bool:
        """Whether there is still no room for any of those who lately found none."""
        since = time.monotonic() - SHORT_FOR
        self._refused = {name: refusal for name, refusal in self._refused.items() if refusal[0] > since}
        return bool(self._refused) and self.disk.free() < min(wanted for _, wanted in self._refused.values())


def _rests(promised: Iterable[tuple[Path, int]]) -> list[int]:
    """What is still to come of each. Touches the disk."""
    return [max(0, needs - _size(work)) for work, needs in promised]


def _size(directory: Path) -> int:
    """Bytes of all files in it, at this moment: its child works on."""
    size = 0
    for at, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                size += Path(at, name).lstat().st_size
    return size
