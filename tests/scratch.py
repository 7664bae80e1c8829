"""Where tests write: into memory, if the machine has plenty.

A fifth of their time were waits for a disk that had nothing to keep: tests show what happens when processes
end, and none what happens when the power does. `TMPDIR` names another place.

To be imported for this, before any test makes a folder.
"""

import os
import tempfile
from pathlib import Path

import psutil  # type: ignore[import-untyped]

_MEMORY = Path("/dev/shm")
_NEEDED = 4 << 30  # bytes, in a file system of which the tests take less than half a gigabyte


def _fits(place: Path) -> bool:
    """Containers often have one of 64 MiB, from which nothing can be run."""
    if not os.access(place, os.W_OK):
        return False
    found = os.statvfs(place)
    free = min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available / 2)
    return not found.f_flag & os.ST_NOEXEC and free > _NEEDED


if "TMPDIR" not in os.environ and _fits(_MEMORY):
    os.environ["TMPDIR"] = str(_MEMORY)  # all that is started from here has it as well
    tempfile.tempdir = None  # it was asked already, by pytest
