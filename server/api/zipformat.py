"""The records of a ZIP archive with stored entries (PKWARE's APPNOTE 6.3.10).

The lengths of all records follow from the entries' names and sizes, and from whether a CRC-32 is known
beforehand: if not, a data descriptor follows the entry's bytes. Numbers too large for their field use Zip64.

Decisions: docs/decisions/files.md
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

LIMIT: Final = 0xFFFFFFFF  # in a 32-bit field: the number is in a Zip64 record instead
_MANY: Final = 0xFFFF  # the same in a 16-bit field
_IS_FULL, _MOST_ENTRIES = LIMIT, _MANY  # the smallest numbers that need Zip64
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_DESCRIPTOR, _DESCRIPTOR_64 = struct.Struct("<4s3L"), struct.Struct("<4sL2Q")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END, _END_64, _LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
_VERSION, _VERSION_64 = 20, 45  # "version needed to extract": 2.0, and 4.5 for Zip64
_UNIX: Final = 3 << 8
_BEHIND, _UTF_8 = 0x08, 0x800  # flags: data descriptor, UTF-8 name
_MODE: Final = 0o644 << 16
_EARLIEST, _LATEST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)  # the range of MS-DOS times


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of `size` bytes; `crc` is their CRC-32 if it is known beforehand."""

    name: bytes
    size: int
    modified: datetime
    crc: int | None

    def header(self) -> bytes:
        """The local file header, before the entry's bytes."""
        size, crc = (0, 0) if self.crc is None else (self.size, self.crc)
        extra = _in_64(size, size) if self._is_64 else b""
        told = LIMIT if self._is_64 else size
        fields = (self._flags, 0, *self._moment(), crc, told, told, len(self.name), len(extra))
        return _LOCAL.pack(b"PK\3\4", self._version, *fields) + self.name + extra

    def descriptor(self, crc: int) -> bytes:
        """The data descriptor, after the entry's bytes; empty if the header has the CRC-32."""
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
        return _UTF_8 | (_BEHIND if self.crc is None else 0)

    def _moment(self) -> tuple[int, int]:
        """Time and date in MS-DOS format."""
        moment = max(_EARLIEST, min(self.modified.timetuple()[:6], _LATEST))
        year, month, day, hour, minute, second = moment
        return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day


def directory(entries: Iterable[tuple[Entry, int]]) -> bytes:
    """The central directory and its end records; `entries`, with their CRC-32, are in archive order."""
    offset, listed = 0, []
    for entry, crc in entries:
        listed.append(entry.listed(crc, offset))
        offset += entry.length
    return b"".join(listed) + _end(len(listed), sum(map(len, listed)), offset)


def length_of(entries: Sequence[Entry]) -> int:
    """Bytes of the whole archive of `entries`."""
    return sum(entry.length for entry in entries) + len(directory((entry, 0) for entry in entries))


def _end(count: int, size: int, offset: int) -> bytes:
    """The end records of a central directory of `count` entries and `size` bytes that begins at `offset`."""
    if count < _MOST_ENTRIES and max(size, offset) < _IS_FULL:
        return _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)
    versions = (_UNIX | _VERSION_64, _VERSION_64)
    whole = _END_64.pack(b"PK\6\6", _END_64.size - 12, *versions, 0, 0, count, count, size, offset)
    locator = _LOCATOR.pack(b"PK\6\7", 0, offset + size, 1)
    return whole + locator + _END.pack(b"PK\5\6", 0, 0, _MANY, _MANY, LIMIT, LIMIT, 0)


def _in_64(*numbers: int) -> bytes:
    """The Zip64 extra field with `numbers`; empty without numbers."""
    return struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers) if numbers else b""
