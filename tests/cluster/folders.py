"""Folders of the servers that tests start, of which nothing is left for long.

A folder is locked while whoever made it lives. Where that one was killed, the next who makes a folder removes
what has no lock any more.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

PREFIX = "clipwire-server-"
NEW = 60.0  # seconds in which a folder without a lock is being made
SOCKETS = Path("/tmp")  # SeaweedFS makes them there, wherever TMPDIR leads
_PORTS = "ports"


@contextmanager
def own_folder(name: str, place: str | None = None) -> Iterator[Path]:
    """A new one in `place`, else where temporary files are; it is removed in the end."""
    place = place or tempfile.gettempdir()
    remove_abandoned(place)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name}-", dir=place))
    lock = os.open(folder, os.O_RDONLY)
    try:
        flock(lock, LOCK_EX)
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def keep_ports(folder: Path, ports: list[int]) -> None:
    """With `folder` the sockets go that are named after `ports`."""
    (folder / _PORTS).write_text(" ".join(map(str, ports)))


def remove_abandoned(place: str) -> None:
    for folder in Path(place).glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is in use, or another has just removed it
            there = folder.lstat()
            if there.st_uid == os.getuid() and time.time() - there.st_mtime > NEW:
                _remove_unlocked(folder)


def _remove_unlocked(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        flock(lock, LOCK_EX | LOCK_NB)
        _remove(folder)
    finally:
        os.close(lock)


def _remove(folder: Path) -> None:
    ports = folder / _PORTS
    for port in ports.read_text().split() if ports.exists() else ():
        for left in SOCKETS.glob(f"seaweedfs-*-grpc-{int(port)}.sock"):
            left.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
