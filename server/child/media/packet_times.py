"""Checks that the packets of a recorded DASH broadcast have sensible times, before the recording is kept.

ffmpeg's DASH demuxer repeated segments of a live manifest without end while their times stood still: the file
seems to be complete, but has minutes of sound in seconds of film. `live_dash` keeps ffmpeg from using that
demuxer; this check makes sure of it.

Decisions: docs/decisions/broadcasts.md
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from server.child.media import recorded_pieces, run_ffmpeg
from server.child.process.job_failed import JobFailed

_IS_DASH: Final = f"{recorded_pieces.PREFIX}of-dash"  # a note, for later attempts too
_STREAMS: Final = ("-map", "0:v?", "-map", "0:a?", "-c", "copy", "-f", "framecrc", "-")

# The packets of a stream last too long if together they exceed its length by this factor and these seconds:
# short recordings have ragged ends.
_MAX_OVERLAP: Final = 1.2
_MIN_OVERLAP_SECONDS: Final = 2.0
# They go back in time if more than this share, and this number, are not later than the packet before.
_MAX_BACKWARDS: Final = 0.1
_MIN_BACKWARDS: Final = 50


def note_dash(directory: Path) -> None:
    """Note that the recording in `directory` is of a DASH broadcast, so that `check_pieces` checks it."""
    (directory / _IS_DASH).touch()


def check_pieces(directory: Path, ffmpeg: str, on_packet: Callable[[], None]) -> None:
    """Delete all pieces and raise `JobFailed` if one of a DASH broadcast has wrong times.

    `on_packet` is called for each packet: reading a long recording takes its time.
    """
    if not (directory / _IS_DASH).exists():
        return
    for piece in recorded_pieces.list_pieces(directory):
        command = [ffmpeg, "-v", "quiet", "-nostdin", "-i", f"file:{piece}", *_STREAMS]
        with run_ffmpeg.read_output_lines(command) as lines:
            disorder = find_disorder(lines, on_packet)
        if disorder:
            recorded_pieces.delete_all(directory)
            raise JobFailed("incomplete", f"the times of the recording are wrong: {disorder}")


def find_disorder(lines: Iterable[str], on_packet: Callable[[], None] = lambda: None) -> str | None:
    """Describe what is wrong with a file of which `lines` are ffmpeg's `framecrc`; None if nothing is."""
    streams: dict[str, _PacketCounts] = {}
    for line in lines:
        if line.startswith("#tb "):
            number, _, time_base = line[4:].partition(":")
            numerator, _, denominator = time_base.strip().partition("/")
            streams[number] = _PacketCounts(int(numerator) / int(denominator))
        elif line[:1].isdigit():
            number, dts, pts, duration, *_ = (field.strip() for field in line.split(","))
            streams[number].add(int(dts), int(pts), int(duration))
            on_packet()
    found = (stream.disorder() for stream in streams.values())
    return next((disorder for disorder in found if disorder), None)


class _PacketCounts:
    """The packets of one stream, counted; their times are in units of `time_base` seconds."""

    def __init__(self, time_base: float) -> None:
        self._time_base = time_base
        self._packets = self._backwards = self._durations = 0
        self._begin: int | None = None
        self._end = 0
        self._last_dts: int | None = None

    def add(self, dts: int, pts: int, duration: int) -> None:
        self._packets += 1
        self._backwards += self._last_dts is not None and dts <= self._last_dts
        self._last_dts = dts
        self._durations += duration
        self._begin = pts if self._begin is None else min(self._begin, pts)
        self._end = max(self._end, pts + duration)

    def disorder(self) -> str | None:
        length = (self._end - (self._begin or 0)) * self._time_base
        durations = self._durations * self._time_base
        if durations > _MAX_OVERLAP * length and durations - length > _MIN_OVERLAP_SECONDS:
            return f"{durations:.1f} s of packets in {length:.1f} s"
        if self._backwards > max(_MIN_BACKWARDS, _MAX_BACKWARDS * self._packets):
            return f"{self._backwards} of {self._packets} packets go back in time"
        return None
