"""Reserves room on the disk for deletions.

To delete a task, SQLite has to write first. On a disk filled to its last byte, neither a client nor
`retention_hours` could make room by deleting tasks. So a file keeps some room occupied. It is deleted when
the deletion of a task finds no room, and before each start.
"""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

SIZE = 4 << 20  # bytes: what the write-ahead log takes for the deletion of a few hundred tasks
BLOCK = 64 << 10  # bytes
LEAVES_FREE = 16 << 20  # bytes: the file is not made on a disk with less room
RETRY_EVERY = 10.0  # seconds
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW


class Ballast:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"
        self.is_there = False
        self._tried_at = -RETRY_EVERY

    @property
    def is_due(self) -> bool:
        """Whether the file is missing, and `take_on` was not called lately."""
        return not self.is_there and time.monotonic() - self._tried_at >= RETRY_EVERY

    def take_on(self) -> None:
        """Make the file, if the disk has room for it. Touches the disk."""
        self._tried_at = time.monotonic()
        try:
            if shutil.disk_usage(self._path.parent).free >= SIZE + LEAVES_FREE:
                # Random bytes: ZFS reserves no room for `fallocate`, nor for zeros.
                descriptor = os.open(self._path, _NEW, 0o600)
                with os.fdopen(descriptor, "wb", buffering=0) as file:
                    for _ in range(SIZE // BLOCK):
                        file.write(os.urandom(BLOCK))
                    os.fsync(descriptor)
                self.is_there = True
        except OSError:
            self.drop()

    def drop(self) -> bool:
        """Delete the file; return whether that made room. Touches the disk."""
        was_there, self.is_there = self.is_there, False
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        return was_there
