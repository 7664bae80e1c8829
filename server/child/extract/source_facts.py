"""Reads what the source of a subscription says of itself: its text, its author, its pictures.

A channel's pictures come in many sizes and forms among yt-dlp's `thumbnails`: the avatar, squares of it, the
banner. Only a feed names one picture as its own.

Decisions: docs/decisions/library.md
"""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urljoin

from server.child.extract import video_info

LONGEST_DESCRIPTION: Final = 4000  # characters
_BANNER_IS_WIDER: Final = 2.2  # times as wide as high; a picture of a film has less than twice
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]*>")
_BREAK: Final = re.compile(r"<(?:br|/p|/div|/li|/h[1-6])\b[^<>]*>", re.IGNORECASE)
_FIRST_ENTRY: Final = re.compile(rb"<(?:item|entry)[\s>]", re.IGNORECASE)
_ITUNES_IMAGE: Final = re.compile(
    rb"<itunes:image\b[^<>]*?\shref\s*=\s*(?:\"([^\"<>]{1,4096})\"|'([^'<>]{1,4096})')", re.IGNORECASE
)

Info = Mapping[str, Any]


def facts_of_list(found: Info) -> dict[str, Any]:
    """Return the facts of a channel, a playlist or another list, from yt-dlp's result."""
    said = found.get("thumbnails")
    pictures = [one for one in said if isinstance(one, Mapping)] if isinstance(said, Sequence) else []
    if not pictures and found.get("thumbnail"):
        pictures = [{"url": found["thumbnail"]}]
    banners = [one for one in pictures if _is_banner(one)]
    return video_info.without_none(
        id=video_info.text(found.get("id")),
        channel=video_info.text(found.get("channel") or found.get("uploader")),
        author=video_info.text(found.get("channel") or found.get("uploader") or found.get("creator")),
        description=video_info.lines(found.get("description"), LONGEST_DESCRIPTION),
        pictures=video_info.without_none(
            picture=_best([one for one in pictures if one not in banners], "avatar"),
            banner=_best(banners, "banner"),
        ),
    )


def facts_of_feed(said: Any, text: bytes, url: str) -> dict[str, Any]:
    """Return the facts of the feed at `url`; `said` is feedparser's result for `text`."""
    authors = said.get("authors")
    author = authors[0].get("name") if authors and isinstance(authors[0], Mapping) else said.get("author")
    image = said.get("image")
    addresses = (
        _itunes_image(text),  # of two pictures, feedparser returns only the last, perhaps a tiny one
        image.get("href") if isinstance(image, Mapping) else None,
        said.get("logo"),
        said.get("icon"),
    )
    pictures = (_link(address, url) for address in addresses)
    description = said.get("summary") or said.get("subtitle")
    return video_info.without_none(
        author=video_info.text(author),
        description=video_info.lines(_plain(description), LONGEST_DESCRIPTION),
        pictures=video_info.without_none(picture=next(filter(None, pictures), None)),
    )


def _is_banner(picture: Info) -> bool:
    width, height = picture.get("width"), picture.get("height")
    is_wide = isinstance(width, int) and isinstance(height, int) and 0 < height * _BANNER_IS_WIDER < width
    return "banner" in str(picture.get("id")) or is_wide


def _best(pictures: Sequence[Info], name: str) -> str | None:
    """Return the address of the original picture `name` if there is one, else of the largest, the last of
    equals.
    """

    def rank(one: Info) -> tuple[bool, bool, int, int]:
        named, preference = str(one.get("id")), one.get("preference")
        width, height = one.get("width"), one.get("height")
        return (
            named == f"{name}_uncropped",
            name in named,
            preference if isinstance(preference, int) else 0,
            width * height if isinstance(width, int) and isinstance(height, int) else 0,
        )

    ranked = sorted(pictures, key=rank)
    return next((link for one in reversed(ranked) if (link := video_info.link(one.get("url")))), None)


def _itunes_image(text: bytes) -> str | None:
    """Return the cover for podcast apps that the feed itself names, not one of its entries."""
    first = _FIRST_ENTRY.search(text)
    found = _ITUNES_IMAGE.search(text, 0, first.start() if first else len(text))
    return html.unescape((found[1] or found[2]).decode(errors="replace")) if found else None


def _link(address: Any, url: str) -> str | None:
    if not isinstance(address, str) or not address.strip():
        return None
    try:
        return video_info.link(urljoin(url, address.strip().replace(" ", "%20")))
    except ValueError:
        return None


def _plain(text: Any) -> str | None:
    """Text without the tags that most feeds have in it."""
    if not isinstance(text, str) or not _TAG.search(text):
        return html.unescape(text) if isinstance(text, str) else None
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", text)))
