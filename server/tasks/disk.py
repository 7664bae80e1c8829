"""How much room there is for downloads."""

import shutil
from pathlib import Path


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
