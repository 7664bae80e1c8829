"""Temporary folders for the servers that tests start, which are removed even after a kill.

A folder is locked while the process that made it lives. If that process is killed, the next one that makes a
folder removes all folders whose lock is free.
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
NEW = 60.0  # seconds: a younger folder without a lock may belong to a process that has yet to lock it
SOCKETS = Path("/tmp")  # SeaweedFS puts its sockets here, whatever TMPDIR is
_PORTS = "ports"


@contextmanager
def own_folder(name: str, place: str | None = None) -> Iterator[Path]:
    """Yield a new folder in `place`, by default in the folder for temporary files; remove it in the end."""
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
    """Note the ports of SeaweedFS in `folder`: whoever removes the folder then removes the sockets, too,
    whose names have the ports.
    """
    (folder / _PORTS).write_text(" ".join(map(str, ports)))


def remove_abandoned(place: str) -> None:
    for folder in Path(place).glob(f"{PREFIX}*"):
        with suppress(OSError):  # the folder is locked, or another process has just removed it
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
