"""One server per data directory: a `flock` on a lock file, which contains the owner's process id.

The kernel releases the lock when the process ends, however it ends. The file is never removed: otherwise two
servers could hold locks on two files of the same name.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from server.core.unusable import DatabaseUnusable

LOCK = "clipwire.lock"
PATIENCE = 10.0  # seconds: a server that was told to stop needs at most 5
_PAUSE = 0.05


class DataDirInUse(Exception):
    """Another server holds `data_dir`; `pid` is its process id, where it is known."""

    def __init__(self, data_dir: Path, pid: int | None) -> None:
        holder = f"the server with process id {pid}" if pid else "another server"
        super().__init__(f"{data_dir} is in use by {holder}: stop it, or set another storage.data_dir")
        self.pid = pid


@asynccontextmanager
async def open_lock(
    data_dir: Path, patience: float = PATIENCE, *, shared: bool = False
) -> AsyncIterator[None]:
    """Lock `data_dir`, exclusively or `shared`; wait up to `patience` seconds until its holder ends.

    Raises `DataDirInUse`, or `DatabaseUnusable` where the directory or the file cannot be written.
    """
    path, loop = data_dir / LOCK, asyncio.get_running_loop()
    kind, deadline = fcntl.LOCK_SH if shared else fcntl.LOCK_EX, loop.time() + patience
    descriptor = _open(data_dir)
    try:
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if loop.time() >= deadline:
                    holder = os.pread(descriptor, 32, 0).strip()
                    raise DataDirInUse(data_dir, int(holder) if holder.isdigit() else None) from None
            except OSError as error:  # such as ENOLCK on a network file system without a lock server
                advice = "choose a storage.data_dir on a file system that has locks"
                raise DatabaseUnusable(path, f"cannot be locked ({error.strerror}): {advice}") from error
            await asyncio.sleep(_PAUSE)
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            raise DatabaseUnusable(path, f"cannot be written ({error.strerror})") from error
        yield
    finally:
        os.close(descriptor)


def _open(data_dir: Path) -> int:
    path = data_dir / LOCK
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DatabaseUnusable(path, f"cannot be written ({error.strerror})") from error
