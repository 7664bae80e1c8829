"""Keeps the segments of a broadcast's HLS playlist from its first read on.

ffmpeg begins with the last three segments of the playlist that it reads. Before it starts, the job reads the
playlist several times, to see whether it grows, as only a broadcast's does; meanwhile the first segments may
be removed from it. So ffmpeg gets the playlist from the proxy, with the segments of earlier reads; all
segments still come from their source.

Decisions: docs/decisions/broadcasts.md
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin

FIRST_SEGMENTS: Final = 3  # ffmpeg begins with this many of an HLS
_MAX_KEPT: Final = 20  # segments before those that the source lists, for a slow ffmpeg
_OF_PLAYLIST: Final = (
    "#EXTM3U", "#EXT-X-VERSION:", "#EXT-X-TARGETDURATION:", "#EXT-X-PLAYLIST-TYPE:",
    "#EXT-X-INDEPENDENT-SEGMENTS",
)  # fmt: skip
_LEFT_OUT: Final = re.compile(
    r"#(?!EXT)|#EXT-X-(MEDIA-SEQUENCE|ENDLIST|START|DISCONTINUITY-SEQUENCE|SERVER-CONTROL|PART|PART-INF"
    r"|PRELOAD-HINT|RENDITION-REPORT|SKIP)\b"
)
_URI: Final = re.compile(r'URI="([^"]*)"')

Playlist = tuple[str, str]
"""The text of a playlist, and its URL."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """`lines` are its tags and its URL; `keys` and `map` are the EXT-X-KEY and EXT-X-MAP that apply to it."""

    lines: tuple[str, ...]
    keys: tuple[str, ...]
    map: tuple[str, ...]


@dataclass(slots=True)
class _Parsed:
    """A playlist: its own tags, its segments by number. `is_unclear`: a byte range has no offset."""

    head: list[str] = field(default_factory=list)
    segments: dict[int, _Segment] = field(default_factory=dict)
    has_end: bool = False
    is_unclear: bool = False


def _parse(text: str, url: str) -> _Parsed:
    parsed, tags = _Parsed(), list[str]()
    keys, initialization = list[str](), list[str]()
    first = re.search(r"^#EXT-X-MEDIA-SEQUENCE:\s*(\d{1,18})", text, re.MULTILINE)
    number, was_key = int(first[1]) if first else 0, False
    for line in filter(None, map(str.strip, text.splitlines())):
        if not line.startswith("#"):
            lines = (*tags, urljoin(url, line))
            parsed.segments[number] = _Segment(lines, tuple(keys), tuple(initialization))
            number, tags = number + 1, []
        elif line.startswith(_OF_PLAYLIST):
            parsed.head.append(line)
        elif line.startswith("#EXT-X-KEY:"):
            # There may be a key for each DRM system, one after the other.
            keys = [*(keys if was_key else []), _absolute(line, url)]
        elif line.startswith("#EXT-X-MAP:"):
            initialization = [_absolute(line, url)]
        elif not _LEFT_OUT.match(line):
            parsed.is_unclear |= line.startswith("#EXT-X-BYTERANGE:") and "@" not in line
            tags.append(line)
        was_key = line.startswith("#EXT-X-KEY:")
    parsed.has_end = "#EXT-X-ENDLIST" in text
    return parsed


def _absolute(tag: str, url: str) -> str:
    return _URI.sub(lambda link: f'URI="{urljoin(url, link[1])}"', tag)


class FirstRead:
    """The playlist of which `reads` are the texts so far, in order; `read` reads it again.

    `is_possible`: its first read lists segments, and all reads are understood.
    """

    def __init__(self, reads: Sequence[Playlist], read: Callable[[], Playlist]) -> None:
        self._read = read
        self._known: dict[int, _Segment] = {}
        parsed = [_parse(text, url) for text, url in reads]
        self.is_possible = bool(parsed[0].segments) and not any(each.is_unclear for each in parsed)
        self._first = next(iter(list(parsed[0].segments)[-FIRST_SEGMENTS:]), 0)
        for each in parsed:
            self._known |= each.segments

    def text(self) -> str:
        """Return the playlist as it is now, with segments that it listed before. Raises what
        `read` raises.
        """
        text, url = self._read()
        parsed = _parse(text, url)
        listed = list(parsed.segments)
        if listed and listed[-1] < self._first:  # its numbers have begun anew
            self._known, self._first = {}, listed[0]
        self._known |= parsed.segments
        start = listed[0] if listed else self._first
        while start > self._first and start - 1 in self._known and listed[0] - start < _MAX_KEPT:
            start -= 1
        start = max(start, self._first)
        self._known = {number: segment for number, segment in self._known.items() if number >= start}
        lines = [*parsed.head, f"#EXT-X-MEDIA-SEQUENCE:{start}"]
        keys, initialization = tuple[str, ...](), tuple[str, ...]()
        for number in range(start, listed[-1] + 1 if listed else start):
            segment = self._known[number]
            if segment.keys != keys:
                lines += segment.keys or ["#EXT-X-KEY:METHOD=NONE"]
            if segment.map != initialization:
                lines += segment.map
            keys, initialization = segment.keys, segment.map
            lines += segment.lines
        return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if parsed.has_end else []), ""])
