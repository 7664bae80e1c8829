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
SHORT_FOR: Final = 60.0  # seconds for which a refused download counts as waiting for room
FULL = (errno.ENOSPC, errno.EDQUOT)


def found_no_room(error: BaseException) -> bool:
    """Say whether `error` means that the disk, or this user's quota, is full."""
    return isinstance(error, OSError) and error.errno in FULL


class Disk:
    """`floor` is the free space, in bytes, below which nothing new is begun."""

    def __init__(self, directory: Path, floor: int) -> None:
        self.directory = directory
        self.floor = floor

    @property
    def least(self) -> int:
        """Return the free bytes below which no download can go on, also where no floor is set."""
        return max(self.floor, FULL_BELOW)

    def free(self) -> int:
        """Free bytes, by one `statvfs`, which does not wait for the disk."""
        return shutil.disk_usage(self.directory).free

    def size(self) -> int:
        """Bytes of the whole file system."""
        return shutil.disk_usage(self.directory).total

    def has_room(self) -> bool:
        """Whether a download could go on."""
        return self.free() >= self.least

    def is_low(self) -> bool:
        return shutil.disk_usage(self.directory).free < self.floor


class Reserve:
    """Reserves free bytes for downloads, so that those that begin together do not count on the same bytes.

    The bytes that a download has written already are no longer reserved. `elsewhere`: tasks may also run on
    other machines, whose disks may be larger.
    """

    def __init__(self, disk: Disk, *, elsewhere: bool = False) -> None:
        self.disk = disk
        self._elsewhere = elsewhere
        self._promised: dict[str, tuple[Path, int]] = {}
        # For each download that was refused: when, and how many free bytes it needed.
        self._refused: dict[str, tuple[float, int]] = {}
        self._one_at_a_time = asyncio.Lock()
        self.begun = asyncio.Event()  # set by each attempt that begins: the disk is to be watched again

    async def take(self, task_id: str, work: Path, needs: int) -> bool:
        """Reserve the bytes that a download in `work` still has to write of its `needs`; False if there is no
        room.

        The reservation lasts until `give_back`.
        """
        async with self._one_at_a_time:
            self._promised.pop(task_id, None)
            least, promised = self.disk.least, [*self._promised.values(), (work, needs)]
            if self.disk.free() < least + sum(all_of_it for _, all_of_it in promised):
                missing = await asyncio.to_thread(_missing_bytes, promised)
                wanted = least + sum(missing)
                if missing[-1] and self.disk.free() < wanted:
                    # A larger download would have no room even if all other files were deleted.
                    if wanted <= self.disk.size():
                        self._refused[task_id] = time.monotonic(), wanted
                    return False
            self._refused.pop(task_id, None)
            self._promised[task_id] = work, needs
            return True

    def is_in_vain(self, needs: int) -> bool:
        """Say whether `needs` bytes can never fit: the disk is too small even when empty, and tasks run only
        here.
        """
        return not self._elsewhere and self.disk.least + needs > self.disk.size()

    def give_back(self, task_id: str) -> None:
        self._promised.pop(task_id, None)

    def is_short(self) -> bool:
        """Say whether there is still too little room for every download refused within `SHORT_FOR`."""
        since = time.monotonic() - SHORT_FOR
        self._refused = {name: refusal for name, refusal in self._refused.items() if refusal[0] > since}
        return bool(self._refused) and self.disk.free() < min(wanted for _, wanted in self._refused.values())


def _missing_bytes(promised: Iterable[tuple[Path, int]]) -> list[int]:
    """Return the bytes that each download still has to write, at this moment. Touches the disk."""
    rests = []
    for work, needs in promised:
        there = 0
        for at, _, names in os.walk(work):
            for name in names:
                with suppress(OSError):
                    there += Path(at, name).lstat().st_size
        rests.append(max(0, needs - there))
    return rests
