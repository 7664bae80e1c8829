"""`GET /api/download.zip`: the files of many tasks as one ZIP archive, which is made while it is sent.

Entries are stored (PKWARE's APPNOTE 6.3.10), so the length of the archive is known beforehand: the lengths
of all records follow from the entries' names and sizes, and from whether a CRC-32 is known. The kernel
copies a local file with a known CRC-32 to the client (sendfile). Files of the first releases have none:
they are read to compute it, and a data descriptor after the file holds it. Numbers too large for their
field use Zip64.

Decisions: docs/decisions/files.md
"""

import asyncio
import itertools
import struct
import zlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from datetime import datetime
from errno import EIO
from typing import BinaryIO, Final

from aiohttp import web

from server.api import connections
from server.api.bodies import Query
from server.api.connections import FilePart
from server.api.downloads import SANDBOX_POLICY, beginning_with
from server.api.keys import FILES, tasks_of
from server.api.openapi.operation import BINARY, IDS, READER, Operation, Parameter, Reply
from server.api.route import get
from server.api.security import DOORS
from server.core.attachment import filename_of
from server.core.errors import FileNotFound, InvalidQuery, StorageAway, TaskNotFound
from server.core.film import StoredFile
from server.core.long_work import compute
from server.core.ports import FileStore, Filter, Stream
from server.core.shielding import to_the_end
from server.core.task import TaskStatus

PIECE = 1 << 20  # bytes
Piece = bytes | memoryview
MOST_TASKS = 200
# The largest number of a 32-bit field, which says that the real number is in a Zip64 record.
LIMIT: Final = 0xFFFFFFFF
_MANY: Final = 0xFFFF  # the same for a 16-bit field
_IS_FULL, _MOST_ENTRIES = LIMIT, _MANY  # the smallest numbers that need Zip64
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_DESCRIPTOR, _DESCRIPTOR_64 = struct.Struct("<4s3L"), struct.Struct("<4sL2Q")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END, _END_64, _LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
_VERSION, _VERSION_64 = 20, 45  # "version needed to extract": 2.0, and 4.5 for Zip64
_UNIX: Final = 3 << 8
_WITH_DESCRIPTOR, _UTF_8 = 0x08, 0x800  # flags: data descriptor, UTF-8 name
_MODE: Final = 0o644 << 16
_EARLIEST, _LATEST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)  # the range of MS-DOS times


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """An entry of `size` bytes; `crc` is their CRC-32 if it is known beforehand."""

    name: bytes
    size: int
    modified: datetime
    crc: int | None

    def header(self) -> bytes:
        """The local file header, before the entry's bytes."""
        size, crc = (0, 0) if self.crc is None else (self.size, self.crc)
        extra = _in_64(size, size) if self._is_64 else b""
        size_field = LIMIT if self._is_64 else size
        fields = (self._flags, 0, *self._moment(), crc, size_field, size_field, len(self.name), len(extra))
        return _LOCAL.pack(b"PK\3\4", self._version, *fields) + self.name + extra

    def descriptor(self, crc: int) -> bytes:
        """Return the data descriptor that follows the entry's bytes; empty if the header has the CRC-32."""
        if self.crc is not None:
            return b""
        form = _DESCRIPTOR_64 if self._is_64 else _DESCRIPTOR
        return form.pack(b"PK\7\b", crc, self.size, self.size)

    def listed(self, crc: int, offset: int) -> bytes:
        """The entry's central directory header; `offset` is the position of its local header."""
        is_far = offset >= _IS_FULL
        extra = _in_64(*((self.size,) * 2 if self._is_64 else ()), *((offset,) if is_far else ()))
        version, size = max(self._version, _VERSION_64 if is_far else 0), LIMIT if self._is_64 else self.size
        fields = (self._flags, 0, *self._moment(), crc, size, size, len(self.name), len(extra), 0, 0, 0)
        place = (_MODE, LIMIT if is_far else offset)
        return _CENTRAL.pack(b"PK\1\2", _UNIX | version, version, *fields, *place) + self.name + extra

    @property
    def length(self) -> int:
        """Bytes of the entry with its local header and its data descriptor."""
        return len(self.header()) + self.size + len(self.descriptor(0))

    @property
    def _is_64(self) -> bool:
        return self.size >= _IS_FULL

    @property
    def _version(self) -> int:
        return _VERSION_64 if self._is_64 else _VERSION

    @property
    def _flags(self) -> int:
        return _UTF_8 | (_WITH_DESCRIPTOR if self.crc is None else 0)

    def _moment(self) -> tuple[int, int]:
        """Time and date in MS-DOS format."""
        moment = max(_EARLIEST, min(self.modified.timetuple()[:6], _LATEST))
        year, month, day, hour, minute, second = moment
        return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day


@dataclass(frozen=True, slots=True)
class Member:
    """A published file, and its `name` in the archive."""

    task_id: str
    stored: StoredFile
    name: str
    modified: datetime

    @property
    def entry(self) -> ArchiveEntry:
        return ArchiveEntry(self.name.encode(), self.stored.size, self.modified, self.stored.crc32)


async def download_all(request: web.Request) -> web.StreamResponse:
    """Raises `InvalidQuery`, `TaskNotFound`, `FileNotFound`, `StorageAway`; a file that is removed meanwhile
    cuts the connection.
    """
    statuses = await _statuses(request)
    members = await compute(lambda: list(named(statuses)))  # thousands of names would block the event loop
    if not members:
        raise FileNotFound
    response = web.StreamResponse(headers=_HEADERS)
    response.content_length = await compute(length_of, members)
    request.app[DOORS].add_headers(request, response)
    async with aclosing(archive(request.app[FILES], members)) as pieces:
        first = await anext(pieces)  # before the headers: a missing first file can still be a 404
        await response.prepare(request)
        if request.method == "GET":
            await connections.send_pieces(request, beginning_with(first, pieces))
    await response.write_eof()
    return response


async def _statuses(request: web.Request) -> list[TaskStatus]:
    query = Query(request)
    ids = query.ids("ids", MOST_TASKS)
    query.check()
    if ids is None:
        raise InvalidQuery("ids")
    named = await tasks_of(request).statuses(ids)
    if len(named) != len(ids):
        raise TaskNotFound
    found: dict[str, TaskStatus] = {}
    for status in named:
        entries = [status]
        if status.is_list:
            # The entries of the list, then those that it shares with others, until more than `MOST_TASKS`
            # have files.
            entries, cursor, is_whole = [], None, False
            while not is_whole and len(entries) <= MOST_TASKS:
                page = await tasks_of(request).page(Filter(playlist_id=status.task_id), cursor, MOST_TASKS)
                entries += (entry for entry in page.tasks if entry.files)
                cursor = page.next_cursor
                is_whole = not cursor
            entries.reverse()
            for start in range(0, len(status.shares), MOST_TASKS):
                if len(entries) <= MOST_TASKS:
                    shared = await tasks_of(request).statuses(status.shares[start : start + MOST_TASKS])
                    entries += (entry for entry in shared if entry.files)
        found |= {each.task_id: each for each in entries if each.files}
        if len(found) > MOST_TASKS:
            raise InvalidQuery("ids")
    return list(found.values())


def named(statuses: Sequence[TaskStatus]) -> Iterator[Member]:
    """All files of `statuses`, named as in single downloads; if a name is taken, by their public names."""
    taken: set[str] = set()
    for status in statuses:
        for stored in status.files.values():
            name = filename_of(stored.name, status.video_info.title, stored.title)
            if name.casefold() in taken:  # many file systems ignore case
                name = stored.name
            taken.add(name.casefold())
            modified = status.published_at or status.completed_at or status.created_at
            yield Member(status.task_id, stored, name, modified)


def length_of(members: Sequence[Member]) -> int:
    """Bytes of the whole archive."""
    entries = [member.entry for member in members]
    return sum(entry.length for entry in entries) + len(directory((entry, 0) for entry in entries))


async def archive(files: FileStore, members: Sequence[Member]) -> AsyncGenerator[Piece | FilePart, None]:
    """Yield the archive in pieces. Each file is opened when its entry begins, the first one before all
    pieces.

    Buffers are reused: a piece is valid only until the next one is requested. Raises `FileNotFound`,
    `StorageAway`, and `OSError` if a file cannot be read to its end.
    """
    done = list[tuple[ArchiveEntry, int]]()
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
    yield directory(done)


class _Sum:
    """The CRC-32 of a file: the `known` one, or else computed from all pieces added."""

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
        # Every binary file has this method.
        reading = asyncio.to_thread(file.readinto, buffer[:size])  # type: ignore[attr-defined]
        read: int = await to_the_end(reading)
        if not read:
            raise OSError(EIO, "the file has become shorter")
        size -= read
        yield buffer[:read]


async def _ahead(
    pieces: AsyncGenerator[Piece | FilePart, None],
) -> AsyncGenerator[Piece | FilePart, None]:
    """Yield `pieces`, reading the next one while the current one is sent."""
    upcoming = asyncio.ensure_future(anext(pieces, None))
    try:
        while (piece := await upcoming) is not None:
            upcoming = asyncio.ensure_future(anext(pieces, None))
            yield piece
    finally:
        upcoming.cancel()
        await asyncio.wait([upcoming])


def directory(entries: Iterable[tuple[ArchiveEntry, int]]) -> bytes:
    """The central directory and its end records; `entries`, with their CRC-32, are in archive order."""
    offset, listed = 0, []
    for entry, crc in entries:
        listed.append(entry.listed(crc, offset))
        offset += entry.length
    count, size = len(listed), sum(map(len, listed))
    records = b"".join(listed)
    if count < _MOST_ENTRIES and max(size, offset) < _IS_FULL:
        return records + _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)
    versions = (_UNIX | _VERSION_64, _VERSION_64)
    whole = _END_64.pack(b"PK\6\6", _END_64.size - 12, *versions, 0, 0, count, count, size, offset)
    locator = _LOCATOR.pack(b"PK\6\7", 0, offset + size, 1)
    return records + whole + locator + _END.pack(b"PK\5\6", 0, 0, _MANY, _MANY, LIMIT, LIMIT, 0)


def _in_64(*numbers: int) -> bytes:
    """The Zip64 extra field with `numbers`; empty without numbers."""
    return struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers) if numbers else b""


_HEADERS = {
    "Accept-Ranges": "none",
    "Cache-Control": "private, no-store",
    "Content-Disposition": 'attachment; filename="clipwire.zip"',
    "Content-Security-Policy": SANDBOX_POLICY,
    "Content-Type": "application/zip",
    "X-Content-Type-Options": "nosniff",
}
_DESCRIBED = {"Accept-Ranges": "`none`: a `Range` gets the whole", "Content-Disposition": "`attachment`"}
_PARAMETERS = (
    Parameter(
        "ids",
        "of 1 to 200 different tasks, comma-separated; a list means its entries, up to 200 with files in all",
        {"type": "string", "pattern": IDS},
        is_required=True,
    ),
    *READER,
)
_ERRORS = (InvalidQuery, TaskNotFound, FileNotFound, StorageAway)
ROUTES = [
    get(
        "/api/download.zip",
        download_all,
        Operation(
            "download_all",
            "Files",
            "All files of many tasks",
            {200: Reply("A ZIP archive of stored entries", {"application/zip": BINARY}, _DESCRIBED)},
            "It is made while it is sent; its length is known before.",
            parameters=_PARAMETERS,
            errors=_ERRORS,
        ),
        head=Operation(
            "download_all_head",
            "Files",
            "What the archive comes with",
            {200: Reply("As with GET", headers=_DESCRIBED)},
            parameters=_PARAMETERS,
            errors=_ERRORS,
        ),
    ),
]
