"""Narrows an HLS or DASH stream to the segments that overlap a clip, so that yt-dlp fetches no others.

A stream is left whole if its playlist does not say how long its segments are, or has a feature that yt-dlp
leaves to ffmpeg.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from yt_dlp.utils import determine_protocol, parse_m3u8_attributes, urljoin

from server.child.process.job_failed import JobFailed
from server.core.jobs import Clip

_SLACK: Final = 0.001  # seconds: sums of lengths are not exact
_SIZES: Final = ("filesize", "filesize_approx")
_UNUSUAL: Final = re.compile(r"#EXT-X-KEY:METHOD=(?!NONE|AES-128)|#EXT-X-(SESSION-KEY|FAXS-CM|I-FRAMES-ONLY)")
# The tags by which yt-dlp recognizes an advertisement, which it skips.
_AD_BEGINS: Final = re.compile(r"#ANVATO-SEGMENT-INFO.*type=ad|#UPLYNK-SEGMENT.*,ad$")
_AD_ENDS: Final = re.compile(r"#ANVATO-SEGMENT-INFO.*type=master|#UPLYNK-SEGMENT.*,segment$")


@dataclass(frozen=True, slots=True)
class Narrowed:
    """`stream` with only the segments that overlap the clip. It begins at `begins` of `total` seconds."""

    stream: dict[str, Any]
    begins: float
    total: float


def narrow(
    stream: Mapping[str, Any], clip: Clip, read: Callable[[Mapping[str, Any]], tuple[str, str]]
) -> Narrowed | None:
    """`stream` narrowed to `clip`, None if it cannot be; raises `JobFailed` if it ends before `clip` begins.

    `read` returns the URL and the text of an HLS stream's playlist.
    """
    protocol = determine_protocol(stream)
    if protocol in ("m3u8", "m3u8_native") and stream.get("format_index") is None:
        return _of_hls(stream, clip, *read(stream))
    if protocol == "http_dash_segments":
        return _of_dash(stream, clip)
    return None


@dataclass(frozen=True, slots=True)
class Segment:
    """`lines` are the lines of this segment in a playlist: key, byte range, duration, and its URL last."""

    seconds: float
    lines: tuple[str, ...] = ()


def touching(seconds: Iterable[float], clip: Clip) -> tuple[slice, float, float]:
    """Find the segments that overlap `clip`, given the durations of all segments in `seconds`.

    Returns their slice, where the first begins, and where all segments end; raises `JobFailed` without any.
    """
    at, first, last, begins = 0.0, 0, 0, 0.0
    for number, each in enumerate(seconds):
        if at + each <= clip.start + _SLACK:
            first, begins = number + 1, at + each
        if at < clip.end - _SLACK:
            last = number + 1
        at += each
    if first == last:
        raise JobFailed("clip_out_of_range", f"it begins at {clip.start} of {at} s")
    return slice(first, last), begins, at


def _of_dash(stream: Mapping[str, Any], clip: Clip) -> Narrowed | None:
    """A first fragment without a duration is the initialization segment, which is kept."""
    fragments = stream.get("fragments")
    if not isinstance(fragments, Sequence) or isinstance(fragments, str):
        return None
    heads = [one for one in fragments[:1] if not one.get("duration")]
    media = fragments[len(heads) :]
    if not media or not all(one.get("duration") for one in media):
        return None
    chosen, begins, total = touching((one["duration"] for one in media), clip)
    return Narrowed({**stream, "fragments": [*heads, *media[chosen]]}, begins, total)


def _of_hls(stream: Mapping[str, Any], clip: Clip, url: str, text: str) -> Narrowed | None:
    if _UNUSUAL.search(text):
        return None
    reading = _Reading(url)
    try:
        for line in map(str.strip, text.splitlines()):
            reading.take(line)
    except ValueError:
        return None
    if reading.is_odd or not reading.segments:
        return None
    chosen, begins, total = touching((one.seconds for one in reading.segments), clip)
    if reading.map_of(chosen.start) != reading.map_of(chosen.stop - 1):
        return None
    lines = [line for one in reading.segments[chosen] for line in one.lines]
    text = "\n".join(["#EXTM3U", *reading.map_of(chosen.start), *lines, "#EXT-X-ENDLIST", ""])
    return Narrowed({**stream, "hls_media_playlist_data": text}, begins, total)


@dataclass(slots=True)
class _Reading:
    """Reads a playlist line by line (RFC 8216, 4.3); `is_odd` if a segment has no duration."""

    url: str
    segments: list[Segment] = field(default_factory=list)
    is_odd: bool = False
    _maps: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    _number: int = 0
    _seconds: float | None = None
    _key: dict[str, str] = field(default_factory=dict)
    _range: tuple[int, int] | None = None  # the first byte, and one past the last
    _before: int = 0
    _is_ad: bool = False

    def take(self, line: str) -> None:
        name, _, value = line.partition(":")
        if line and not line.startswith("#"):
            self._add(line)
        elif name == "#EXTINF":
            self._seconds = _number(value.partition(",")[0])
        elif name == "#EXT-X-MEDIA-SEQUENCE":
            self._number = int(value)
        elif name == "#EXT-X-KEY":
            self._key = parse_m3u8_attributes(value)
        elif name == "#EXT-X-MAP":
            self._maps.append(
                (len(self.segments), (*self._key_line(), f"#EXT-X-MAP:{self._absolute(value)}"))
            )
        elif name == "#EXT-X-BYTERANGE":
            length, _, start = value.partition("@")
            begin = int(start) if start else self._before
            self._range = begin, begin + int(length)
        elif _AD_BEGINS.match(line):
            self._is_ad = True
        elif _AD_ENDS.match(line):
            self._is_ad = False

    def map_of(self, segment: int) -> tuple[str, ...]:
        """The lines for the initialization segment (`EXT-X-MAP`) of that segment."""
        return next((lines for at, lines in reversed(self._maps) if at <= segment), ())

    def _add(self, address: str) -> None:
        if self._seconds is None:
            self.is_odd = True
        elif not self._is_ad:
            lines = (*self._key_line(), *self._range_line(), f"#EXTINF:{self._seconds},")
            self.segments.append(Segment(self._seconds, (*lines, urljoin(self.url, address) or address)))
        self._number += 1
        self._before = self._range[1] if self._range else 0
        self._range = self._seconds = None

    def _key_line(self) -> tuple[str, ...]:
        """The IV is written out: else it is the segment's number in the whole playlist (RFC 8216, 5.2)."""
        if self._key.get("METHOD", "NONE") == "NONE":
            return ("#EXT-X-KEY:METHOD=NONE",) if self._key else ()
        address = urljoin(self.url, self._key.get("URI") or "") or ""
        iv = self._key.get("IV") or f"0x{self._number:032x}"
        return (f'#EXT-X-KEY:METHOD={self._key["METHOD"]},URI="{address}",IV={iv}',)

    def _range_line(self) -> tuple[str, ...]:
        if self._range is None:
            return ()
        start, end = self._range
        return (f"#EXT-X-BYTERANGE:{end - start}@{start}",)

    def _absolute(self, attributes: str) -> str:
        said = parse_m3u8_attributes(attributes)
        where = f',BYTERANGE="{said["BYTERANGE"]}"' if "BYTERANGE" in said else ""
        return f'URI="{urljoin(self.url, said.get("URI") or "")}"{where}'


def _number(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds < 1e9 else None


def of_unknown_size(stream: Mapping[str, Any]) -> dict[str, Any]:
    """`stream` without its sizes in bytes, which are those of the whole stream."""
    return {name: value for name, value in stream.items() if name not in _SIZES}


def described(info: Mapping[str, Any], clip: Clip) -> dict[str, Any]:
    """`info` as it holds for the clip: with the duration of the clip, and without sizes."""
    ends = min(clip.end, info.get("duration") or clip.end)
    about = {name: value for name, value in info.items() if name not in (*_SIZES, "requested_formats")}
    return about | {"duration": max(0.0, ends - clip.start)}
