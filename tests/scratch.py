"""Puts the temporary files of tests into memory, if the machine has plenty.

Tests that wait for a disk would take a fifth longer, and gain nothing: they kill processes, but none cuts the
power. If `TMPDIR` is set, it is used instead.

Import this module for its effect, before any test makes a folder.
"""

import os
import tempfile
from pathlib import Path

import psutil  # type: ignore[import-untyped]

_MEMORY = Path("/dev/shm")
_NEEDED = 4 << 30  # bytes that must be free; the tests use less than half a gigabyte


def _fits(place: Path) -> bool:
    """Return whether `place` has room and allows execution; containers often have 64 MiB, mounted
    `noexec`.
    """
    if not os.access(place, os.W_OK):
        return False
    found = os.statvfs(place)
    free = min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available / 2)
    return not found.f_flag & os.ST_NOEXEC and free > _NEEDED


if "TMPDIR" not in os.environ and _fits(_MEMORY):
    os.environ["TMPDIR"] = str(_MEMORY)  # inherited by all processes that tests start
    tempfile.tempdir = None  # replaces the folder that pytest's earlier call of `gettempdir` has cached
