"""A pipe by which another program of this machine tells the server that it has changed people.

A server that has the database alone gets no signal when another program changes it. So commands that
change people ring a bell: they write a byte into a named pipe in the data directory. The server reads the
byte once the change is in effect, and the command waits for that. Whoever may write into the pipe may write
into the database as well.
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
READ_WITHIN = 5.0  # seconds that a command waits for the server
POLL_EVERY = 0.005  # seconds


@asynccontextmanager
async def listening(data_dir: Path, on_ring: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """While the block lasts, call `on_ring` when a command rings; it must bring the change into effect."""
    loop, path = asyncio.get_running_loop(), data_dir / BELL
    try:
        pipe = await asyncio.to_thread(_open, path)
    except OSError as error:  # a file system without pipes
        log.info("%s cannot be made (%s): commands that change people need a restart", path, error.strerror)
        yield
        return
    answering: asyncio.Task[None] | None = None

    async def answer_ring() -> None:
        # A byte that comes while `on_ring` reads the rows may be for a later change: the next call reads it.
        count = _unread_bytes(pipe)
        try:
            await on_ring()
        except StoreUnavailable as error:
            log.warning("a change of people cannot be read yet: %s", error)
            await asyncio.sleep(1)
        else:
            os.read(pipe, max(1, count))
        loop.add_reader(pipe, on_readable)

    def on_readable() -> None:
        nonlocal answering
        loop.remove_reader(pipe)
        answering = asyncio.create_task(answer_ring(), name="bell of people")

    loop.add_reader(pipe, on_readable)
    try:
        yield
    finally:
        if answering:
            answering.cancel()
            await asyncio.wait([answering])
        loop.remove_reader(pipe)
        os.close(pipe)


def ring(data_dir: Path) -> bool:
    """Ring at the server of this data directory; wait until it has read the change. False if it does not
    read it in time, or no server runs."""
    with suppress(OSError):  # no server runs
        pipe = os.open(data_dir / BELL, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(pipe, b"\n")
            deadline = time.monotonic() + READ_WITHIN
            while _unread_bytes(pipe):
                if time.monotonic() > deadline:
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


def _unread_bytes(pipe: int) -> int:
    """Return the number of unread bytes."""
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"))
    return int(count)
