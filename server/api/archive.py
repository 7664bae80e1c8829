"""A ZIP archive that is made while it is sent: entries are stored, so its length is known beforehand.

The kernel copies a local file with a known CRC-32 to the client (sendfile). Files of the first releases have
none: they are read to compute it, and a data descriptor after the file holds it.
"""

import asyncio
import itertools
import zlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from datetime import datetime
from errno import EIO
from typing import BinaryIO

from server.api import zipformat
from server.api.wire import FilePart
from server.api.zipformat import Entry
from server.core.models import StoredFile
from server.core.ports import FileStore, Stream
from server.core.shielding import to_the_end

PIECE = 1 << 20  # bytes
Piece = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Member:
    """A published file, and its `name` in the archive."""

    task_id: str
    stored: StoredFile
    name: str
    modified: datetime

    @property
    def entry(self) -> Entry:
        return Entry(self.name.encode(), self.stored.size, self.modified, self.stored.crc32)


def length_of(members: Sequence[Member]) -> int:
    """Bytes of the whole archive."""
    return zipformat.length_of([member.entry for member in members])


async def archive(files: FileStore, members: Sequence[Member]) -> AsyncGenerator[Piece | FilePart, None]:
    """The archive in pieces. Each file is opened when its entry begins, the first one before the first piece.

    Buffers are reused: a piece is valid only until the next one is requested. Raises `FileNotFound`,
    `StorageAway`, and `OSError` if a file cannot be read to its end.
    """
    done = list[tuple[Entry, int]]()
    for member in members:
        entry = member.entry
        file, total = await files.open(member.task_id, member.stored), _Sum(entry.crc)
        with nullcontext() if isinstance(file, Stream) else file:
            async with (
                aclosing(_content(file, entry.size, total)) as content,
                aclosing(_ahead(content)) as pieces,
            ):
                piece = await anext(pieces, None)
                yield entry.header()
                while piece is not None:
                    yield piece
                    piece = await anext(pieces, None)
            yield entry.descriptor(total.crc)
        done.append((entry, total.crc))
    yield zipformat.directory(done)


class _Sum:
    """The CRC-32 of a file: the `known` one, or that of all pieces added."""

    def __init__(self, known: int | None) -> None:
        self.is_known = known is not None
        self.crc = known or 0

    def add(self, piece: Piece) -> None:
        if not self.is_known:
            self.crc = zlib.crc32(piece, self.crc)


async def _content(file: BinaryIO | Stream, size: int, total: _Sum) -> AsyncGenerator[Piece | FilePart, None]:
    if not isinstance(file, Stream) and total.is_known:
        if size:
            yield FilePart(file, range(size))
        return
    async with aclosing(file.read(range(size)) if isinstance(file, Stream) else _read(file, size)) as pieces:
        async for piece in pieces:
            await to_the_end(asyncio.to_thread(total.add, piece))
            yield piece


async def _read(file: BinaryIO, size: int) -> AsyncGenerator[Piece, None]:
    # Two buffers alternate: allocating a new one for each piece would cost as much as reading it.
    for buffer in itertools.cycle((memoryview(bytearray(PIECE)), memoryview(bytearray(PIECE)))):
        if not size:
            return
        read = await to_the_end(asyncio.to_thread(_read_into, file, buffer[:size]))
        if not read:
            raise OSError(EIO, "the file has become shorter")
        size -= read
        yield buffer[:read]


def _read_into(file: BinaryIO, buffer: memoryview) -> int:
    read: int = file.readinto(buffer)  # type: ignore[attr-defined]  # every binary file has it
    return read


async def _ahead(
    pieces: AsyncGenerator[Piece | FilePart, None],
) -> AsyncGenerator[Piece | FilePart, None]:
    """`pieces` with read-ahead: the next one is read while the current one is sent."""
    upcoming = asyncio.ensure_future(anext(pieces, None))
    try:
        while (piece := await upcoming) is not None:
            upcoming = asyncio.ensure_future(anext(pieces, None))
            yield piece
    finally:
        upcoming.cancel()
        await asyncio.wait([upcoming])
