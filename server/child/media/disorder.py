"""Whether a recording is what was sent, by the times of its packets.

ffmpeg's DASH demuxer repeated segments of a live manifest without end while its times stood still: the file
seems to be whole and ends in order, but has minutes of sound in seconds of film. `live_dash` keeps that
demuxer out of it; here it is made sure of.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from server.child.media import run_ffmpeg

_MOST: Final = 1.2  # times its length that the packets of a stream may last together
_SECONDS: Final = 2.0  # more than that they have to be apart, too: short recordings have ragged ends
_BACKWARDS: Final = 0.1  # of all packets that may not be later than the one before
_FEW: Final = 50  # packets


class _Stream:
    def __init__(self, unit: float) -> None:
        self.unit = unit
        self.packets = self.backwards = self.lasts = 0
        self.begin: int | None = None
        self.end = 0
        self._last: int | None = None

    def add(self, decoded: int, shown: int, lasts: int) -> None:
        self.packets += 1
        self.backwards += self._last is not None and decoded <= self._last
        self._last = decoded
        self.lasts += lasts
        self.begin = shown if self.begin is None else min(self.begin, shown)
        self.end = max(self.end, shown + lasts)

    def complaint(self) -> str | None:
        length, lasts = (self.end - (self.begin or 0)) * self.unit, self.lasts * self.unit
        if lasts > _MOST * length and lasts - length > _SECONDS:
            return f"{lasts:.1f} s of packets in {length:.1f} s"
        if self.backwards > max(_FEW, _BACKWARDS * self.packets):
            return f"{self.backwards} of {self.packets} packets go back in time"
        return None


def complaint_about(lines: Iterable[str], on_line: Callable[[], None] = lambda: None) -> str | None:
    """What is wrong with a file of which `lines` are ffmpeg's `framecrc`; None if nothing is."""
    streams: dict[str, _Stream] = {}
    for line in lines:
        if line.startswith("#tb "):
            number, _, unit = line[4:].partition(":")
            above, _, below = unit.strip().partition("/")
            streams[number] = _Stream(int(above) / int(below))
        elif line[:1].isdigit():
            number, decoded, shown, lasts, *_ = (each.strip() for each in line.split(","))
            streams[number].add(int(decoded), int(shown), int(lasts))
            on_line()
    found = (stream.complaint() for stream in streams.values())
    return next((complaint for complaint in found if complaint), None)


def complaint(piece: Path, ffmpeg: str, on_line: Callable[[], None]) -> str | None:
    """What is wrong with `piece`; `on_line` is called often meanwhile: a long recording takes its time."""
    outputs = ("-map", "0:v?", "-map", "0:a?", "-c", "copy", "-f", "framecrc", "-")
    command = [ffmpeg, "-v", "quiet", "-nostdin", "-i", f"file:{piece}", *outputs]
    with run_ffmpeg.listing(command) as lines:
        return complaint_about(lines, on_line)
