"""The words of a ZIP archive of stored entries (PKWARE's APPNOTE 6.3.10): what stands around their bytes.

All lengths follow from names and sizes, and from whether sums are known: else they stand behind the bytes.
Zip64 is used where a number has no room in its field.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

LIMIT: Final = 0xFFFFFFFF  # in a field of 32 bits: the number stands in Zip64
_MANY: Final = 0xFFFF  # the same in one of 16
_IS_FULL, _MOST_ENTRIES = LIMIT, _MANY  # from which numbers on it does
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_DESCRIPTOR, _DESCRIPTOR_64 = struct.Struct("<4s3L"), struct.Struct("<4sL2Q")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END, _END_64, _LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
_VERSION, _VERSION_64 = 20, 45  # that is needed to read it
_UNIX: Final = 3 << 8
_BEHIND, _UTF_8 = 0x08, 0x800  # flags
_MODE: Final = 0o644 << 16
_EARLIEST, _LATEST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)  # what an archive can say


@dataclass(frozen=True, slots=True)
class Entry:
    """`crc` is the CRC-32 of its bytes if that is known beforehand."""

    name: bytes
    size: int
    modified: datetime
    crc: int | None

    def header(self) -> bytes:
        """What stands before its bytes."""
        size, crc = (0, 0) if self.crc is None else (self.size, self.crc)
        extra = _in_64(size, size) if self._is_64 else b""
        told = LIMIT if self._is_64 else size
        fields = (self._flags, 0, *self._moment(), crc, told, told, len(self.name), len(extra))
        return _LOCAL.pack(b"PK\3\4", self._version, *fields) + self.name + extra

    def descriptor(self, crc: int) -> bytes:
        """What stands behind its bytes: nothing if all was said before."""
        if self.crc is not None:
            return b""
        form = _DESCRIPTOR_64 if self._is_64 else _DESCRIPTOR
        return form.pack(b"PK\7\b", crc, self.size, self.size)

    def listed(self, crc: int, offset: int) -> bytes:
        """What the directory says of it; `offset` is where its header begins."""
        is_far = offset >= _IS_FULL
        extra = _in_64(*((self.size,) * 2 if self._is_64 else ()), *((offset,) if is_far else ()))
        version, size = max(self._version, _VERSION_64 if is_far else 0), LIMIT if self._is_64 else self.size
        fields = (self._flags, 0, *self._moment(), crc, size, size, len(self.name), len(extra), 0, 0, 0)
        place = (_MODE, LIMIT if is_far else offset)
        return _CENTRAL.pack(b"PK\1\2", _UNIX | version, version, *fields, *place) + self.name + extra

    @property
    def length(self) -> int:
        """Bytes of it, with what stands around them."""
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
        """As MS-DOS writes it: time and date."""
        moment = max(_EARLIEST, min(self.modified.timetuple()[:6], _LATEST))
        year, month, day, hour, minute, second = moment
        return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day


def directory(entries: Iterable[tuple[Entry, int]]) -> bytes:
    """All that stands behind the last of `entries`, each with its CRC-32; they lie one after the other."""
    offset, listed = 0, []
    for entry, crc in entries:
        listed.append(entry.listed(crc, offset))
        offset += entry.length
    return b"".join(listed) + _end(len(listed), sum(map(len, listed)), offset)


def length_of(entries: Sequence[Entry]) -> int:
    """Bytes of an archive of them."""
    return sum(entry.length for entry in entries) + len(directory((entry, 0) for entry in entries))


def _end(count: int, size: int, offset: int) -> bytes:
    """Of a directory of `count` entries and `size` bytes, which begins at `offset`."""
    if count < _MOST_ENTRIES and max(size, offset) < _IS_FULL:
        return _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)
    versions = (_UNIX | _VERSION_64, _VERSION_64)
    whole = _END_64.pack(b"PK\6\6", _END_64.size - 12, *versions, 0, 0, count, count, size, offset)
    locator = _LOCATOR.pack(b"PK\6\7", 0, offset + size, 1)
    return whole + locator + _END.pack(b"PK\5\6", 0, 0, _MANY, _MANY, LIMIT, LIMIT, 0)


def _in_64(*numbers: int) -> bytes:
    """The extra field of Zip64; nothing without numbers."""
    return struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers) if numbers else b""
