"""Just enough of ISO/IEC 14496-12 to know what is in a plain MP4 file without starting ffmpeg.

Fragmented files and everything unusual give None: then ffmpeg is asked (`server.child.media.probe`).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_LARGEST_INDEX = 64 * 1024 * 1024
_CODECS = {
    b"avc1": "h264",
    b"avc3": "h264",
    b"hvc1": "hevc",
    b"hev1": "hevc",
    b"av01": "av1",
    b"vp08": "vp8",
    b"vp09": "vp9",
    b"mp4v": "mpeg4",
    b"mp4a": "aac",
    b"Opus": "opus",
    b"fLaC": "flac",
    b"alac": "alac",
    b"ac-3": "ac3",
    b"ec-3": "eac3",
    b".mp3": "mp3",
}


@dataclass(slots=True)
class Track:
    """`kind` is `vide`, `soun` or another handler; width and height are those of the picture as shown."""

    kind: str = ""
    codec: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Movie:
    duration: float
    tracks: list[Track]


def read(path: Path) -> Movie | None:
    """The index of the file at `path`; None if it has none, or one that is not understood."""
    with path.open("rb") as file:
        for kind, start, end in _boxes_of(file, path.stat().st_size):
            if kind == b"moov" and end - start <= _LARGEST_INDEX:
                file.seek(start)
                return _movie(file.read(end - start))
    return None


def is_cut_off(path: Path) -> bool:
    """Whether the last box says that it is longer than the file: the end did not arrive."""
    size = path.stat().st_size
    with path.open("rb") as file:
        return any(end > size for _, _, end in _boxes_of(file, size))


def _boxes_of(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start of the content and end of each box at the top; the last may end beyond the file."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if length == 1:
            length, head = int.from_bytes(file.read(8)), 16
        end = size if length == 0 else at + length
        if end < at + head:
            return
        yield kind, at + head, end
        at = end


def _inside(box: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(box):
        length, kind = struct.unpack_from(">I4s", box, at)
        if length < 8:
            return
        yield kind, box[at + 8 : at + length]
        at += length


def _movie(index: bytes) -> Movie | None:
    duration, tracks = 0.0, []
    try:
        for kind, box in _inside(index):
            if kind == b"mvhd":
                duration = _duration(box)
            elif kind == b"trak":
                tracks.append(_track(box))
            elif kind == b"mvex":  # fragmented: the index knows neither duration nor all of the tracks' data
                return None
    except (struct.error, IndexError):
        return None
    media = [track for track in tracks if track.kind in ("vide", "soun")]
    known = media and all(track.codec for track in media)
    return Movie(duration, tracks) if duration and known else None


def _duration(header: bytes) -> float:
    layout, at = (">IQ", 20) if header[0] == 1 else (">II", 12)
    scale, duration = struct.unpack_from(layout, header, at)
    return float(duration / scale) if scale else 0.0


def _track(box: bytes) -> Track:
    track = Track()
    for kind, content in _descend(box):
        if kind == b"tkhd":
            track.width, track.height = (side >> 16 for side in struct.unpack(">II", content[-8:]))
        elif kind == b"hdlr":
            track.kind = content[8:12].decode("latin-1")
        elif kind == b"stsd":
            track.codec = _CODECS.get(content[12:16], "")
    return track


def _descend(box: bytes, within: bytes = b"trak") -> Iterator[tuple[bytes, bytes]]:
    for kind, content in _inside(box):
        if kind in (b"mdia", b"minf", b"stbl"):
            yield from _descend(content, kind)
        elif kind != b"hdlr" or within == b"mdia":  # QuickTime has one in minf, too, which is for data
            yield kind, content
