"""HLS playlists as yt-dlp can read them: without segments that were never there, and a byte order mark.

A broadcaster marks a segment that it lost (`EXT-X-GAP`: RFC 8216bis, 4.4.4.7), and clients should not request
it. yt-dlp does, and takes the failure for a hole in the film.
"""

import codecs
import re
from collections.abc import Iterator
from typing import Final

_HEAD: Final = b"#EXTM3U"
_GAP: Final = b"#EXT-X-GAP"
_NUMBER: Final = re.compile(rb"#EXT-X-MEDIA-SEQUENCE:\s*(\d+)")
_OF_SEGMENT: Final = (b"#EXTINF", b"#EXT-X-BYTERANGE", b"#EXT-X-PROGRAM-DATE-TIME", _GAP)


def is_one(begin: bytes) -> bool:
    return begin.startswith((_HEAD, codecs.BOM_UTF8 + _HEAD))


def readable(playlist: bytes) -> bytes:
    """The segment after a gap gets its number written out: it may be its IV (RFC 8216, 5.2)."""
    page = playlist.removeprefix(codecs.BOM_UTF8)
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
