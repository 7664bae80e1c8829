"""Just enough of ISO/IEC 14496-12 to know what is in an MP4 file without starting ffmpeg.

Everything unusual gives None: then ffmpeg is asked (`server.child.media.probe`). This module makes small
downloads faster: it takes 0.05 ms, and ffmpeg 23 to 64 ms of CPU time.

The index of a fragmented MP4 is spread over the file: a `moof` box in front of each fragment's data (8.8).
Without `Fragmented` a DASH download starts ffmpeg twice more, and takes 0.46 of the command line's time in
`make bench`.

Decisions: docs/decisions/films.md
"""

import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

# Flags of `tfhd` and `trun` -> bytes of the optional field, in the fields' order; then flags of a sample's.
_IN_HEADER: Final = {0x1: 8, 0x2: 4, 0x8: 4, 0x10: 4}
_IN_RUN: Final = {0x1: 4, 0x4: 4}
_OF_SAMPLES: Final = (0x100, 0x200, 0x400, 0x800)
_BASE, _DURATION, _SIZE = 0x1, 0x8, 0x10
_OFFSET, _DURATIONS, _SIZES = 0x1, 0x100, 0x200


@dataclass(slots=True)
class Fragmented:
    """A track: `units` is the duration of all samples, `first` the offset and size in bytes of the first one.

    `duration`, in the track's time units as well, and `size`, in bytes, are the defaults for a sample.
    """

    duration: int = 0
    size: int = 0
    units: int = 0
    first: tuple[int, int] | None = None


def track_of(extends: bytes) -> tuple[int, Fragmented]:
    """A track's number and its samples' defaults, from a `trex` box; raises `struct.error` if damaged."""
    number, _, duration, size = struct.unpack_from(">IIII", extends, 4)
    return number, Fragmented(duration, size)


def add(tracks: dict[int, Fragmented], at: int, boxes: Iterable[tuple[bytes, bytes]]) -> None:
    """Add the fragment at byte `at` to its track; `boxes` are those of a `traf`.

    Raises `KeyError` for an unknown track, and `struct.error` for a damaged box.
    """
    track = usual = Fragmented()
    for kind, box in boxes:
        if kind == b"tfhd":
            said, _ = _optional(box, _IN_HEADER)
            track = tracks[int.from_bytes(box[4:8])]
            usual = Fragmented(said.get(_DURATION, track.duration), said.get(_SIZE, track.size))
            at = said.get(_BASE, at)
        elif kind == b"trun":
            count, (said, begin) = int.from_bytes(box[4:8]), _optional(box, _IN_RUN)
            each = [flag for flag in _OF_SAMPLES if int.from_bytes(box[1:4]) & flag]
            values = struct.unpack_from(f">{count * len(each)}I", box, begin)
            of_all = {flag: values[place :: len(each)] for place, flag in enumerate(each)}
            track.units += sum(of_all[_DURATIONS]) if _DURATIONS in of_all else count * usual.duration
            if track.first is None and count:
                size = of_all[_SIZES][0] if _SIZES in of_all else usual.size
                track.first = at + said.get(_OFFSET, 0), size


def _optional(box: bytes, lengths: dict[int, int]) -> tuple[dict[int, int], int]:
    """The fields that the flags of `box` say follow its first eight bytes, and where they end."""
    found, at = dict[int, int](), 8
    for flag, length in lengths.items():
        if int.from_bytes(box[1:4]) & flag:
            found[flag] = int.from_bytes(box[at : at + length])
            at += length
    return found, at


_LARGEST_INDEX = 64 * 1024 * 1024
_LOOKED_AT = 4096  # bytes of a sample
_HEAD = 8  # bytes of a box, before its content
_TOP = frozenset(
    b"ftyp styp moov moof mdat sidx ssix mfra meta emsg pdin prft free skip wide udta uuid".split()
)
"""Types of boxes at the top level; any other is taken for foreign bytes appended to the film."""
_CODECS = {
    b"avc1": "h264",
    b"avc3": "h264",
    b"hvc1": "hevc",
    b"hev1": "hevc",
    b"av01": "av1",
    b"vp08": "vp8",
    b"vp09": "vp9",
    b"mp4v": "mpeg4",
    b"Opus": "opus",
    b"fLaC": "flac",
    b"alac": "alac",
    b"ac-3": "ac3",
    b"ec-3": "eac3",
    b".mp3": "mp3",
    b"tx3g": "mov_text",
    b"text": "mov_text",
}
_OBJECT_TYPES = {0x40: "aac", 0x66: "aac", 0x67: "aac", 0x68: "aac", 0x69: "mp3", 0x6B: "mp3"}
"""Codecs in `mp4a`, by the object types of the registration authority (mp4ra.org)."""
# esds: version and flags; ES descriptor, its length, id, no flags; decoder's descriptor, its length, type.
_ESDS = re.compile(rb"esds....\x03[\x80-\xff]*[\0-\x7f]..\0\x04[\x80-\xff]*[\0-\x7f](.)", re.DOTALL)


@dataclass(slots=True)
class Mp4Track:
    """`kind` is `vide`, `soun` or another handler; width and height are those of the picture as shown.

    `first` is the first sample's offset in the file and its size, in bytes; `scale` are time units a second.
    """

    number: int = 0
    scale: int = 0
    kind: str = ""
    codec: str = ""
    width: int = 0
    height: int = 0
    first: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Movie:
    """`duration` is in seconds; `has_all`: the index lists all samples, none of which is in a fragment."""

    duration: float
    tracks: list[Mp4Track]
    has_all: bool


def read(path: Path) -> Movie | None:
    """The index of the file at `path`; None if it has none, or one that is not understood."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for kind, start, end in _boxes_of(file, size):
            if kind == b"moov" and end - start <= _LARGEST_INDEX:
                file.seek(start)
                index = file.read(end - start)
                break
        else:
            return None
        duration, tracks, fragmented = 0.0, list[Mp4Track](), dict[int, Fragmented]()
        try:
            for kind, box in _inside(index):
                if kind == b"mvhd":
                    duration = _duration(box)
                elif kind == b"trak":
                    tracks.append(_track(box))
                elif kind == b"mvex":
                    fragmented = dict(track_of(each) for name, each in _inside(box) if name == b"trex")
        except (struct.error, IndexError):
            return None
        media = [track for track in tracks if track.kind in ("vide", "soun")]
        if not (duration or fragmented) or not media or not all(track.codec for track in media):
            return None
        if not fragmented:
            return Movie(duration, tracks, has_all=True)
        # Only the fragments state its duration, and where each track begins.
        if any(track.first[1] for track in tracks):
            return None  # some samples are in no fragment
        try:
            for kind, start, end in _boxes_of(file, size):
                if kind == b"moof" and end - start <= _LARGEST_INDEX:
                    file.seek(start)
                    for name, box in _inside(file.read(end - start)):
                        if name == b"traf":
                            add(fragmented, start - _HEAD, _inside(box))
            for track in tracks:
                track.first = fragmented[track.number].first or (0, 0)
            duration = max(fragmented[track.number].units / track.scale for track in tracks)
        except (struct.error, KeyError, ZeroDivisionError):
            return None
    return Movie(duration, tracks, has_all=False) if duration else None


def foretold(head: bytes, size: int) -> tuple[range, float]:
    """What `head`, the beginning of a file of `size` bytes, tells of the whole.

    Returns the range of bytes of its index, and the film's seconds; an empty range and 0 if unknown.
    """
    kind, end = b"", 0
    for kind, start, end in _boxes_of(BytesIO(head), len(head)):
        if kind == b"moov":
            seconds = 0.0
            with suppress(struct.error):
                seconds = next(
                    (_duration(box) for name, box in _inside(head[start:]) if name == b"mvhd"), 0.0
                )
            return range(start - _HEAD, min(end, size)), seconds
    is_behind = kind == b"mdat" and len(head) < end < size <= end + _LARGEST_INDEX
    return range(end, size) if is_behind else range(0), 0.0


def is_cut_off(path: Path) -> bool:
    """Whether a box claims to end behind the end of the file, which is truncated then."""
    size = path.stat().st_size
    with path.open("rb") as file:
        return any(end > size for _, _, end in _boxes_of(file, size))


def is_plausible(path: Path, movie: Movie) -> bool:
    """Whether the first sample of the picture, or else of the sound, looks valid for its codec.

    The index may be intact although the data is not: a disk or a server that fills gaps with zeros leaves
    such files. False only means that a decoder has to be asked.
    """
    track = min(movie.tracks, key=lambda track: track.kind != "vide")
    start, size = track.first
    with path.open("rb") as file:
        file.seek(start)
        sample = file.read(min(size, _LOOKED_AT))
    if track.codec in (
        "h264",
        "hevc",
    ):  # NAL units, each behind its length; the highest bit of a unit is never set
        return len(sample) > 4 and 0 < int.from_bytes(sample[:4]) <= size - 4 and 0 < sample[4] < 0x80
    return any(sample)


def _boxes_of(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start of the content and end of each box at the top; the last may end beyond the file."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        head = _HEAD
        if length == 1:
            length, head = int.from_bytes(file.read(8)), 16
        end = size if length == 0 else at + length
        if end < at + head or kind not in _TOP:
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


def _duration(header: bytes) -> float:
    layout, at = (">IQ", 20) if header[0] == 1 else (">II", 12)
    scale, duration = struct.unpack_from(layout, header, at)
    return float(duration / scale) if scale else 0.0


def _track(box: bytes) -> Mp4Track:
    track, start, size = Mp4Track(), 0, 0
    for kind, content in _descend(box):
        if kind == b"tkhd":
            track.number = int.from_bytes(content[20:24] if content[0] == 1 else content[12:16])
            # Width and height of a track as it is shown: its matrix may turn it on its side.
            a, b = struct.unpack(">ii", content[-44:-36])
            width, height = (side >> 16 for side in struct.unpack(">II", content[-8:]))
            track.width, track.height = (height, width) if b and not a else (width, height)
        elif kind == b"mdhd":
            track.scale = int.from_bytes(content[20:24] if content[0] == 1 else content[12:16])
        elif kind == b"hdlr":
            track.kind = content[8:12].decode("latin-1")
        elif kind == b"stsd":
            # That of the first sample description, "" if it is not known.
            if content[12:16] == b"mp4a":
                found = _ESDS.search(content)
                track.codec = _OBJECT_TYPES.get(found[1][0], "") if found else ""
            else:
                track.codec = _CODECS.get(content[12:16], "")
        elif kind in (b"stco", b"co64"):
            start = int.from_bytes(content[8 : 12 if kind == b"stco" else 16])
        elif kind == b"stsz":
            each, count, first = struct.unpack_from(">III", content.ljust(16, b"\0"), 4)
            size = (each or first) if count else 0
    track.first = start, size
    return track


def _descend(box: bytes, within: bytes = b"trak") -> Iterator[tuple[bytes, bytes]]:
    for kind, content in _inside(box):
        if kind in (b"mdia", b"minf", b"stbl"):
            yield from _descend(content, kind)
        elif kind != b"hdlr" or within == b"mdia":  # QuickTime has an hdlr in minf, too, for data
            yield kind, content
