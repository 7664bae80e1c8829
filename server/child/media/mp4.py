"""Reads what is in an MP4 file without starting ffmpeg: just enough of ISO/IEC 14496-12.

Everything unusual gives None: then ffmpeg is asked (`server.child.media.probe`). This module makes small
downloads faster: it takes 0.05 ms, and ffmpeg 23 to 64 ms of CPU time.

The index of a fragmented MP4 is spread over the file: a `moof` box precedes the data of each movie fragment
(8.8). Without `TrackFragments` a DASH download would start ffmpeg twice more.

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

# Flags of `tfhd` (8.8.7) and `trun` (8.8.8) -> bytes of the optional field, in the order of the fields.
_TFHD_FIELDS: Final = {0x1: 8, 0x2: 4, 0x8: 4, 0x10: 4}
_TRUN_FIELDS: Final = {0x1: 4, 0x4: 4}
_BASE_DATA_OFFSET, _DEFAULT_DURATION, _DEFAULT_SIZE = 0x1, 0x8, 0x10  # of `tfhd`
_DATA_OFFSET = 0x1  # of `trun`
# Flags of `trun` for the fields that each sample has, of four bytes each.
_SAMPLE_FIELDS: Final = (0x100, 0x200, 0x400, 0x800)
_SAMPLE_DURATION, _SAMPLE_SIZE = 0x100, 0x200


@dataclass(slots=True)
class TrackFragments:
    """What the fragments of a track have: `total_duration` is that of all samples, in the track's time scale,
    `first` the offset and size in bytes of the first sample.

    `duration`, in the track's time scale, and `size`, in bytes, are the defaults for a sample.
    """

    duration: int = 0
    size: int = 0
    total_duration: int = 0
    first: tuple[int, int] | None = None


def _read_trex(trex: bytes) -> tuple[int, TrackFragments]:
    """Return a track's ID and the defaults of its samples; raises `struct.error` if damaged."""
    track_id, _, duration, size = struct.unpack_from(">IIII", trex, 4)
    return track_id, TrackFragments(duration, size)


def _add_fragment(tracks: dict[int, TrackFragments], moof: int, boxes: Iterable[tuple[bytes, bytes]]) -> None:
    """Add a track fragment to its track; `moof` is the offset of its `moof`, `boxes` are those of its `traf`.

    Raises `KeyError` for an unknown track, and `struct.error` for a damaged box.
    """
    track, defaults, base = TrackFragments(), TrackFragments(), moof
    for kind, box in boxes:
        if kind == b"tfhd":
            fields, _ = _optional_fields(box, _TFHD_FIELDS)
            track = tracks[int.from_bytes(box[4:8])]
            defaults = TrackFragments(
                fields.get(_DEFAULT_DURATION, track.duration), fields.get(_DEFAULT_SIZE, track.size)
            )
            base = fields.get(_BASE_DATA_OFFSET, base)
        elif kind == b"trun":
            count, (fields, begin) = int.from_bytes(box[4:8]), _optional_fields(box, _TRUN_FIELDS)
            flags = [flag for flag in _SAMPLE_FIELDS if int.from_bytes(box[1:4]) & flag]
            values = struct.unpack_from(f">{count * len(flags)}I", box, begin)
            of_samples = {flag: values[place :: len(flags)] for place, flag in enumerate(flags)}
            if _SAMPLE_DURATION in of_samples:
                track.total_duration += sum(of_samples[_SAMPLE_DURATION])
            else:
                track.total_duration += count * defaults.duration
            if track.first is None and count:
                size = of_samples[_SAMPLE_SIZE][0] if _SAMPLE_SIZE in of_samples else defaults.size
                track.first = base + fields.get(_DATA_OFFSET, 0), size


def _optional_fields(box: bytes, lengths: dict[int, int]) -> tuple[dict[int, int], int]:
    """Return the fields after the first eight bytes of `box`, by their flags, and where they end."""
    found, at = dict[int, int](), 8
    for flag, length in lengths.items():
        if int.from_bytes(box[1:4]) & flag:
            found[flag] = int.from_bytes(box[at : at + length])
            at += length
    return found, at


_MAX_INDEX = 64 * 1024 * 1024  # bytes
_CHECKED = 4096  # bytes of a sample
_BOX_HEADER = 8  # bytes
_TOP_LEVEL = frozenset(
    b"ftyp styp moov moof mdat sidx ssix mfra meta emsg pdin prft free skip wide udta uuid".split()
)
"""Types of boxes at the top level; any other type is taken for foreign bytes that follow the film."""
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
# The `esds` box (ISO/IEC 14496-14): version and flags; ES descriptor: tag, length, id, flags, which are 0;
# decoder configuration descriptor: tag, length, object type.
_ESDS = re.compile(rb"esds....\x03[\x80-\xff]*[\0-\x7f]..\0\x04[\x80-\xff]*[\0-\x7f](.)", re.DOTALL)


@dataclass(slots=True)
class Mp4Track:
    """`kind` is `vide`, `soun` or another handler type; width and height are those of the picture as shown.

    `first` is the first sample's offset in the file and its size, in bytes; `timescale` is in units a second.
    """

    track_id: int = 0
    timescale: int = 0
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
    """Read the index of the file at `path`; None if it has none, or an unusual one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for kind, start, end in _top_level_boxes(file, size):
            if kind == b"moov" and end - start <= _MAX_INDEX:
                file.seek(start)
                index = file.read(end - start)
                break
        else:
            return None
        duration, tracks, fragments = 0.0, list[Mp4Track](), dict[int, TrackFragments]()
        try:
            for kind, box in _boxes(index):
                if kind == b"mvhd":
                    duration = _duration(box)
                elif kind == b"trak":
                    tracks.append(_track(box))
                elif kind == b"mvex":
                    fragments = dict(_read_trex(each) for name, each in _boxes(box) if name == b"trex")
        except (struct.error, IndexError):
            return None
        media = [track for track in tracks if track.kind in ("vide", "soun")]
        if not (duration or fragments) or not media or not all(track.codec for track in media):
            return None
        if not fragments:
            return Movie(duration, tracks, has_all=True)
        # Only the fragments tell the duration of the film, and where the samples of each track begin.
        if any(track.first[1] for track in tracks):
            return None  # the index has samples of its own as well
        try:
            for kind, start, end in _top_level_boxes(file, size):
                if kind == b"moof" and end - start <= _MAX_INDEX:
                    file.seek(start)
                    for name, box in _boxes(file.read(end - start)):
                        if name == b"traf":
                            _add_fragment(fragments, start - _BOX_HEADER, _boxes(box))
            for track in tracks:
                track.first = fragments[track.track_id].first or (0, 0)
            duration = max(fragments[track.track_id].total_duration / track.timescale for track in tracks)
        except (struct.error, KeyError, ZeroDivisionError):
            return None
    return Movie(duration, tracks, has_all=False) if duration else None


def find_index(head: bytes, size: int) -> tuple[range, float]:
    """Find the index of a file of `size` bytes by its beginning, `head`.

    Returns its range of bytes, and the film's seconds; an empty range and 0 if unknown.
    """
    kind, end = b"", 0
    for kind, start, end in _top_level_boxes(BytesIO(head), len(head)):
        if kind == b"moov":
            seconds = 0.0
            with suppress(struct.error):
                seconds = next((_duration(box) for name, box in _boxes(head[start:]) if name == b"mvhd"), 0.0)
            return range(start - _BOX_HEADER, min(end, size)), seconds
    is_after_data = kind == b"mdat" and len(head) < end < size <= end + _MAX_INDEX
    return range(end, size) if is_after_data else range(0), 0.0


def is_cut_off(path: Path) -> bool:
    """Whether the file is truncated: a box states that it ends behind the end of the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        return any(end > size for _, _, end in _top_level_boxes(file, size))


def is_plausible(path: Path, movie: Movie) -> bool:
    """Whether the first sample of the picture, or else of the sound, looks valid for its codec.

    The index may be intact although the data is not, for instance where a server has filled gaps with zeros.
    False only means that a decoder has to decide.
    """
    track = min(movie.tracks, key=lambda track: track.kind != "vide")
    start, size = track.first
    with path.open("rb") as file:
        file.seek(start)
        sample = file.read(min(size, _CHECKED))
    if track.codec in ("h264", "hevc"):  # NAL units after their lengths; their highest bit is never set
        return len(sample) > 4 and 0 < int.from_bytes(sample[:4]) <= size - 4 and 0 < sample[4] < 0x80
    return any(sample)


def _top_level_boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start of the content and end of each box; the last may end beyond the file."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        header = _BOX_HEADER
        if length == 1:
            length, header = int.from_bytes(file.read(8)), 16
        end = size if length == 0 else at + length
        if end < at + header or kind not in _TOP_LEVEL:
            return
        yield kind, at + header, end
        at = end


def _boxes(container: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and content of each box in the content of another."""
    at = 0
    while at + 8 <= len(container):
        length, kind = struct.unpack_from(">I4s", container, at)
        if length < 8:
            return
        yield kind, container[at + 8 : at + length]
        at += length


def _duration(mvhd: bytes) -> float:
    layout, at = (">IQ", 20) if mvhd[0] == 1 else (">II", 12)
    timescale, duration = struct.unpack_from(layout, mvhd, at)
    return float(duration / timescale) if timescale else 0.0


def _track(trak: bytes) -> Mp4Track:
    track, start, size = Mp4Track(), 0, 0
    for kind, content in _boxes_of_track(trak):
        if kind == b"tkhd":
            track.track_id = int.from_bytes(content[20:24] if content[0] == 1 else content[12:16])
            # The matrix may turn the picture on its side.
            a, b = struct.unpack(">ii", content[-44:-36])
            width, height = (side >> 16 for side in struct.unpack(">II", content[-8:]))
            track.width, track.height = (height, width) if b and not a else (width, height)
        elif kind == b"mdhd":
            track.timescale = int.from_bytes(content[20:24] if content[0] == 1 else content[12:16])
        elif kind == b"hdlr":
            track.kind = content[8:12].decode("latin-1")
        elif kind == b"stsd":
            if content[12:16] == b"mp4a":  # the type of the first sample entry
                found = _ESDS.search(content)
                track.codec = _OBJECT_TYPES.get(found[1][0], "") if found else ""
            else:
                track.codec = _CODECS.get(content[12:16], "")
        elif kind in (b"stco", b"co64"):
            start = int.from_bytes(content[8 : 12 if kind == b"stco" else 16])
        elif kind == b"stsz":
            size_of_all, count, size_of_first = struct.unpack_from(">III", content.ljust(16, b"\0"), 4)
            size = (size_of_all or size_of_first) if count else 0
    track.first = start, size
    return track


def _boxes_of_track(box: bytes, within: bytes = b"trak") -> Iterator[tuple[bytes, bytes]]:
    """Yield type and content of all boxes in a `trak`, at any depth."""
    for kind, content in _boxes(box):
        if kind in (b"mdia", b"minf", b"stbl"):
            yield from _boxes_of_track(content, kind)
        elif kind != b"hdlr" or within == b"mdia":  # QuickTime has an `hdlr` in `minf`, too, for data
            yield kind, content
