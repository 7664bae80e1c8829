"""Just enough of Matroska (RFC 9559), and so of WebM, to see that a file is truncated."""

from pathlib import Path
from typing import BinaryIO, Final

_HEADER: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = b"\x18\x53\x80\x67"


def is_cut_off(path: Path) -> bool:
    """Whether the segment, which is all but the header, says that it is longer than the file."""
    with path.open("rb") as file:
        if file.read(4) != _HEADER or (size := _size(file)) is None:
            return False
        file.seek(size, 1)
        if file.read(4) != _SEGMENT or (size := _size(file)) is None:
            return False
        return file.tell() + size > path.stat().st_size


def _size(file: BinaryIO) -> int | None:
    """The length in front of an element's content; None if it is marked as unknown, or is damaged."""
    first = file.read(1)
    length = 9 - first[0].bit_length() if first else 9
    rest = file.read(length - 1)
    if length > 8 or len(rest) < length - 1:
        return None
    size = int.from_bytes(first + rest) & (1 << 7 * length) - 1
    return None if size == (1 << 7 * length) - 1 else size
