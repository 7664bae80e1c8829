"""A ZIP archive that is made while it is sent: stored entries, and its length known before the first byte.

Python's own `zipfile` writes it, into something that cannot be sought in: then sizes and sums stand behind
each entry, and Zip64 is used where it has to be. How long that is follows from names and sizes alone;
`length_of` says so, and has to agree with what `zipfile` does.
"""

import asyncio
import itertools
import zipfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from errno import EIO
from typing import BinaryIO, cast

from server.models import StoredFile
from server.ports import FileStore, Stream
from server.tasks.shielding import to_the_end

PIECE = 1 << 20  # bytes
_HEADER, _DESCRIPTOR, _DIRECTORY, _END = 30, 16, 46, 22  # bytes, without what is said in Zip64
_HEADER_64, _DESCRIPTOR_64, _END_64 = 20, 8, 56 + 20  # more
_LIKELY_64 = 1.05  # times its size: `zipfile` decides before it has seen an entry
_EARLIEST, _LATEST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)  # what an archive can say


@dataclass(frozen=True, slots=True)
class Member:
    """A published file, and its `name` in the archive."""

    task_id: str
    stored: StoredFile
    name: str
    modified: datetime


def length_of(members: Sequence[Member]) -> int:
    """Bytes of the whole archive."""
    limit = zipfile.ZIP64_LIMIT
    offset = directory = 0
    for member in members:
        size, name = member.stored.size, len(member.name.encode())
        words = 2 * (size > limit) + (offset > limit)
        directory += _DIRECTORY + name + (4 + 8 * words if words else 0)
        is_64 = size * _LIKELY_64 > limit
        offset += _HEADER + name + size + _DESCRIPTOR + (_HEADER_64 + _DESCRIPTOR_64 if is_64 else 0)
    return offset + directory + _END + (_END_64 if max(offset, directory) > limit else 0)


async def archive(files: FileStore, members: Sequence[Member]) -> AsyncGenerator[bytes | memoryview, None]:
    """The archive piece by piece. A file is opened when its turn comes: before the first byte for the first.

    A piece stays what it is until the next but one is asked for. Raises `FileNotFound`, `StorageAway`, and
    `OSError` if a file cannot be read to its end.
    """
    sink = _Sink()
    with zipfile.ZipFile(cast("BinaryIO", sink), "w") as archive:
        for member in members:
            async with aclosing(_content(files, member)) as pieces:
                first = await anext(pieces, None)
                with archive.open(_info(member), "w") as entry:
                    yield sink.taken()
                    piece = first
                    while piece is not None:
                        await to_the_end(asyncio.to_thread(entry.write, piece))
                        yield sink.taken()
                        piece = await anext(pieces, None)
    yield sink.taken()


async def ahead(
    pieces: AsyncGenerator[bytes | memoryview, None],
) -> AsyncGenerator[bytes | memoryview, None]:
    """`pieces`, the next of which is made while one is being sent."""
    upcoming = asyncio.ensure_future(anext(pieces, None))
    try:
        while (piece := await upcoming) is not None:
            upcoming = asyncio.ensure_future(anext(pieces, None))
            yield piece
    finally:
        upcoming.cancel()
        await asyncio.wait([upcoming])


class _Sink:
    """What was written since it was last `taken`. It cannot tell where it stands, on purpose."""

    def __init__(self) -> None:
        self._pieces: list[bytes | memoryview] = []

    def write(self, piece: bytes | memoryview) -> int:
        self._pieces.append(piece)
        return len(piece)

    def flush(self) -> None: ...

    def taken(self) -> bytes | memoryview:
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _info(member: Member) -> zipfile.ZipInfo:
    moment = member.modified.timetuple()[:6]
    info = zipfile.ZipInfo(member.name, max(_EARLIEST, min(moment, _LATEST)))
    info.file_size = member.stored.size
    info.external_attr = 0o644 << 16
    return info


async def _content(files: FileStore, member: Member) -> AsyncGenerator[bytes | memoryview, None]:
    file, size = await files.open(member.task_id, member.stored), member.stored.size
    if isinstance(file, Stream):
        async with aclosing(file.read(range(size))) as pieces:
            async for piece in pieces:
                yield piece
        return
    with file:
        # Used in turn: new ones would cost as much as the reading.
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
