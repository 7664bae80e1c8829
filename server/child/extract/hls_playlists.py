"""HLS playlists as yt-dlp can read them: without segments that were never there, and a byte order mark.

A broadcaster marks a segment that it lost (`EXT-X-GAP`: RFC 8216bis, 4.4.4.7), and clients should not request
it. yt-dlp does, and takes the failure for a hole in the film.
"""

import codecs
import math
import re
from collections.abc import Iterator
from typing import Final

_HEAD: Final = b"#EXTM3U"
_GAP: Final = b"#EXT-X-GAP"
# Tags of media playlists alone (RFC 8216, 4.3.3); other programs write lists of files with #EXTINF.
_OF_SEGMENTS: Final = re.compile(
    rb"^#EXT-X-(?:MEDIA-SEQUENCE|DISCONTINUITY-SEQUENCE|ENDLIST|PLAYLIST-TYPE|MAP|BYTERANGE|KEY)"
    rb"|^#EXTINF:[^\n]*\n(?:#[^\n]*\n)*[^#\n]*\.(?:ts|m4s)\b",
    re.MULTILINE,
)
_OF_LISTS: Final = re.compile(rb"^#EXT-X-(?:TARGETDURATION|STREAM-INF|MEDIA:)", re.MULTILINE)
_LINK: Final = re.compile(rb"^[^#\s]", re.MULTILINE)
_LENGTH: Final = re.compile(rb"^#EXTINF:\s*(\d{1,6}(?:\.\d+)?)", re.MULTILINE)
_NUMBER: Final = re.compile(rb"#EXT-X-MEDIA-SEQUENCE:\s*(\d+)")
_OF_SEGMENT: Final = (b"#EXTINF", b"#EXT-X-BYTERANGE", b"#EXT-X-PROGRAM-DATE-TIME", _GAP)


def is_one(begin: bytes) -> bool:
    return begin.startswith((_HEAD, codecs.BOM_UTF8 + _HEAD))


def readable(playlist: bytes) -> bytes:
    """The segment after a gap gets its number written out: it may be its IV (RFC 8216, 5.2).

    A list of segments that lacks its target duration gets one, by which yt-dlp tells it from a list of lists.
    So does an empty one: a broadcast that has not begun.
    """
    page = playlist.removeprefix(codecs.BOM_UTF8)
    if (_OF_SEGMENTS.search(page) or not _LINK.search(page)) and not _OF_LISTS.search(page):
        lengths = [float(length) for length in _LENGTH.findall(page)]
        target = b"\n#EXT-X-TARGETDURATION:%d" % max([1, *map(math.ceil, lengths)])
        page = page.replace(_HEAD, _HEAD + target, 1)
    return b"\n".join(_lines(page)) + b"\n" if _GAP in page else page


def _lines(playlist: bytes) -> Iterator[bytes]:
    found = _NUMBER.search(playlist)
    number, tags = int(found[1]) if found else 0, list[bytes]()
    for line in playlist.splitlines():
        if line.startswith(b"#") or not line.strip():
            tags.append(line)
            continue
        number += 1
        if any(tag.startswith(_GAP) for tag in tags):
            yield from (tag for tag in tags if not tag.startswith(_OF_SEGMENT))
            yield b"#EXT-X-MEDIA-SEQUENCE:%d" % number
        else:
            yield from (*tags, line)
        tags = []
    yield from tags
