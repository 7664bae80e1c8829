"""Reads the fragments of an MP4 (ISO/IEC 14496-12, 8.8): how long each track is, and where it begins.

Their index is spread over the file: a `moof` box in front of each fragment's data. Without this module a DASH
download starts ffmpeg twice more, and takes 0.46 of the command line's time in `make bench`.

Decisions: docs/decisions/films.md
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

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
            _add_run(track, usual, at, box)


def _add_run(track: Fragmented, usual: Fragmented, at: int, box: bytes) -> None:
    count, (said, begin) = int.from_bytes(box[4:8]), _optional(box, _IN_RUN)
    each = [flag for flag in _OF_SAMPLES if int.from_bytes(box[1:4]) & flag]
    values = struct.unpack_from(f">{count * len(each)}I", box, begin)
    of_all = {flag: values[place :: len(each)] for place, flag in enumerate(each)}
    track.units += sum(of_all[_DURATIONS]) if _DURATIONS in of_all else count * usual.duration
    if track.first is None and count:
        track.first = at + said.get(_OFFSET, 0), of_all[_SIZES][0] if _SIZES in of_all else usual.size


def _optional(box: bytes, lengths: dict[int, int]) -> tuple[dict[int, int], int]:
    """The fields that the flags of `box` say follow its first eight bytes, and where they end."""
    found, at = dict[int, int](), 8
    for flag, length in lengths.items():
        if int.from_bytes(box[1:4]) & flag:
            found[flag] = int.from_bytes(box[at : at + length])
            at += length
    return found, at
