"""A pipe by which another program of this machine tells the server that it has changed people.

A server that has the database alone is not told of changes that another program makes there. So commands that
change people ring: they write a byte into a named pipe in the data directory. The server reads the byte once
the change is in effect, and the command waits for that. Whoever may write there may write the database as
well.
"""

import asyncio
import fcntl
import logging
import os
import stat
import struct
import termios
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from server.core.errors import StoreUnavailable

log = logging.getLogger(__name__)

BELL = "people.bell"
HEARD_WITHIN = 5.0  # seconds
POLL_EVERY = 0.005  # seconds


@asynccontextmanager
async def listening(data_dir: Path, rung: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """While the block lasts, call `rung` when a command has rung; it must bring the change into effect."""
    loop, path = asyncio.get_running_loop(), data_dir / BELL
    try:
        pipe = await asyncio.to_thread(_open, path)
    except OSError as error:  # a file system without pipes
        log.info("%s cannot be made (%s): commands that change people need a restart", path, error.strerror)
        yield
        return
    hearing: asyncio.Task[None] | None = None

    async def hear() -> None:
        # A byte that comes while `rung` reads the rows may be for a later change: it is left for the next
        # call.
        count = _waiting(pipe)
        try:
            await rung()
        except StoreUnavailable as error:
            log.warning("a change of people cannot be read yet: %s", error)
            await asyncio.sleep(1)
        else:
            os.read(pipe, max(1, count))
        loop.add_reader(pipe, begin)

    def begin() -> None:
        nonlocal hearing
        loop.remove_reader(pipe)
        hearing = asyncio.create_task(hear(), name="bell of people")

    loop.add_reader(pipe, begin)
    try:
        yield
    finally:
        if hearing:
            hearing.cancel()
            await asyncio.wait([hearing])
        loop.remove_reader(pipe)
        os.close(pipe)


def ring(data_dir: Path) -> bool:
    """Ring at the server of this data directory; wait until it has read the change. False if it does not."""
    with suppress(OSError):  # no server runs
        pipe = os.open(data_dir / BELL, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(pipe, b"\n")
            give_up = time.monotonic() + HEARD_WITHIN
            while _waiting(pipe):
                if time.monotonic() > give_up:
                    return False
                time.sleep(POLL_EVERY)
            return True
        finally:
            os.close(pipe)
    return False


def _open(path: Path) -> int:
    """Open the pipe for reading and writing: without a writer it would always be at its end."""
    with suppress(FileNotFoundError):
        if not stat.S_ISFIFO(path.lstat().st_mode):
            path.unlink()
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK)


def _waiting(pipe: int) -> int:
    """Return the number of unread bytes."""
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"))
    return int(count)
