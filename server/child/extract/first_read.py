"""Keeps the segments of a broadcast's HLS playlist from its first read on.

ffmpeg begins with the last three segments of the playlist that it reads. Before it starts, the job waits
whether the playlist grows, which tells a broadcast from a film; meanwhile the first segments may drop out. So
ffmpeg gets the playlist from the proxy, with the segments of earlier reads; all segments still come from
their source.

Decisions: docs/decisions/broadcasts.md
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin

BEGIN: Final = 3  # segments before the newest, as ffmpeg begins with an HLS
_MOST_KEPT: Final = 20  # segments in front of those that the source lists, for a slow ffmpeg
_ONCE: Final = (
    "#EXTM3U", "#EXT-X-VERSION:", "#EXT-X-TARGETDURATION:", "#EXT-X-PLAYLIST-TYPE:",
    "#EXT-X-INDEPENDENT-SEGMENTS",
)  # fmt: skip
_LEFT_OUT: Final = re.compile(
    r"#(?!EXT)|#EXT-X-(MEDIA-SEQUENCE|ENDLIST|START|DISCONTINUITY-SEQUENCE|SERVER-CONTROL|PART|PART-INF"
    r"|PRELOAD-HINT|RENDITION-REPORT|SKIP)\b"
)
_LINK: Final = re.compile(r'URI="([^"]*)"')

Playlist = tuple[str, str]
"""A playlist, and its address."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """`lines` are its tags and its address; `key` and `begin` (EXT-X-KEY, -MAP) hold for it."""

    lines: tuple[str, ...]
    key: tuple[str, ...]
    begin: tuple[str, ...]


@dataclass(slots=True)
class _Read:
    head: list[str] = field(default_factory=list)
    segments: dict[int, _Segment] = field(default_factory=dict)
    has_end: bool = False
    is_odd: bool = False


def _parsed(text: str, address: str) -> _Read:
    read, tags = _Read(), list[str]()
    key, begin = list[str](), list[str]()
    first = re.search(r"^#EXT-X-MEDIA-SEQUENCE:\s*(\d{1,18})", text, re.MULTILINE)
    number, was_key = int(first[1]) if first else 0, False
    for line in filter(None, map(str.strip, text.splitlines())):
        if not line.startswith("#"):
            read.segments[number] = _Segment((*tags, urljoin(address, line)), tuple(key), tuple(begin))
            number, tags = number + 1, []
        elif line.startswith(_ONCE):
            read.head.append(line)
        elif line.startswith("#EXT-X-KEY:"):
            key = [*(key if was_key else []), _absolute(line, address)]  # there may be one for each system
        elif line.startswith("#EXT-X-MAP:"):
            begin = [_absolute(line, address)]
        elif not _LEFT_OUT.match(line):
            read.is_odd |= line.startswith("#EXT-X-BYTERANGE:") and "@" not in line
            tags.append(line)
        was_key = line.startswith("#EXT-X-KEY:")
    read.has_end = "#EXT-X-ENDLIST" in text
    return read


def _absolute(tag: str, address: str) -> str:
    return _LINK.sub(lambda link: f'URI="{urljoin(address, link[1])}"', tag)


class FirstRead:
    """`reads` are the texts read so far, the first one first; `read` reads the playlist again."""

    def __init__(self, reads: Sequence[Playlist], read: Callable[[], Playlist]) -> None:
        self._read = read
        self._known: dict[int, _Segment] = {}
        parsed = [_parsed(*each) for each in reads]
        self.is_possible = bool(parsed[0].segments) and not any(each.is_odd for each in parsed)
        self._first = next(iter(list(parsed[0].segments)[-BEGIN:]), 0)
        for each in parsed:
            self._known |= each.segments

    def text(self) -> str:
        """Return the playlist as it is now, with segments that it listed before. Raises what
        `read` raises.
        """
        read = _parsed(*self._read())
        listed = list(read.segments)
        if listed and listed[-1] < self._first:  # its numbers have begun anew
            self._known, self._first = {}, listed[0]
        self._known |= read.segments
        start = listed[0] if listed else self._first
        while start > self._first and start - 1 in self._known and listed[0] - start < _MOST_KEPT:
            start -= 1
        start = max(start, self._first)
        self._known = {number: segment for number, segment in self._known.items() if number >= start}
        lines = [*read.head, f"#EXT-X-MEDIA-SEQUENCE:{start}"]
        key, begin = tuple[str, ...](), tuple[str, ...]()
        for number in range(start, listed[-1] + 1 if listed else start):
            segment = self._known[number]
            if segment.key != key:
                lines += segment.key or ["#EXT-X-KEY:METHOD=NONE"]
            if segment.begin != begin:
                lines += segment.begin
            key, begin = segment.key, segment.begin
            lines += segment.lines
        return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if read.has_end else []), ""])
