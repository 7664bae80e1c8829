"""How much room there is for downloads."""

import errno
import shutil
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)


def found_no_room(error: BaseException) -> bool:
    """Whether it is the system's word for a full disk, or a full share of one."""
    return isinstance(error, OSError) and error.errno in FULL


class Disk:
    """`floor` is the free space, in bytes, below which nothing new is begun."""

    def __init__(self, directory: Path, floor: int) -> None:
        self._directory = directory
        self.floor = floor

    def free(self) -> int:
        """Bytes; one `statvfs`, which does not wait for the disk."""
        return shutil.disk_usage(self._directory).free

    def is_low(self) -> bool:
        return self.free() < self.floor
