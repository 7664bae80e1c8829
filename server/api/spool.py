"""Keeps large request bodies on the disk until their turn comes.

So memory does not grow with the number of clients that send large bodies, and a slow client delays no other:
work on a body begins only when all of it has arrived.

Decisions: docs/decisions/http.md
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Final

from server.core.errors import ServerBusy, disk_error
from server.core.shielding import to_the_end

IN_MEMORY: Final = 64 * 1024  # bytes of one body kept in memory: as many as a JSON body may have
ON_DISK: Final = 64 << 20  # bytes of all bodies together
WAIT_FOR_TURN: Final = 30.0  # seconds


class Spool:
    """Writes bodies to files in `folder`, which must exist. The files have no names, so that a killed server
    leaves none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.on_disk = 0

    @asynccontextmanager
    async def body(self) -> AsyncIterator["SpooledBody"]:
        body = SpooledBody(self)
        try:
            yield body
        finally:
            self.on_disk -= body.on_disk
            body.file.close()


class SpooledBody:
    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._unwritten = bytearray()
        self.file: BinaryIO = BytesIO()
        self.size = self.on_disk = 0

    async def write(self, block: bytes) -> None:
        """Add a piece to the body. Raises `ServerBusy`, `DiskFull`, `StorageFailed`."""
        self._unwritten += block
        self.size += len(block)
        if len(self._unwritten) > IN_MEMORY:
            await self._write_to_disk()

    async def end(self) -> BinaryIO:
        """Return the whole body as a file, positioned at its beginning."""
        if self.on_disk:
            await self._write_to_disk()
        else:
            self.file = BytesIO(self._unwritten)
        self.file.seek(0)
        return self.file

    async def _write_to_disk(self) -> None:
        if self._spool.on_disk + len(self._unwritten) > ON_DISK:
            raise ServerBusy
        self._spool.on_disk += len(self._unwritten)
        self.on_disk += len(self._unwritten)
        block, self._unwritten = self._unwritten, bytearray()
        await to_the_end(asyncio.to_thread(self._write, block))

    def _write(self, block: bytearray) -> None:
        try:
            if isinstance(self.file, BytesIO):
                self.file = TemporaryFile(dir=self._spool.folder)  # noqa: SIM115, `Spool.body` closes it
            self.file.write(block)
            self.file.flush()
        except OSError as error:
            raise disk_error(error) from error


class SpoolTurns:
    """Lets requests work on their spooled bodies one at a time, in the order of their arrival."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for this request's turn. Raises `ServerBusy` if that takes too long."""
        try:
            async with asyncio.timeout(WAIT_FOR_TURN):
                await self._lock.acquire()
        except TimeoutError:
            raise ServerBusy from None
        try:
            yield
        finally:
            self._lock.release()
