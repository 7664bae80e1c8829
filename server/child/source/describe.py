"""yt-dlp's info dict -> what clients get to see of it, with every text made harmless."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from server.child.media.probe import Media

LONGEST_TEXT = 500
MOST_ENTRIES = 500
_BIDI = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def text(value: object) -> str | None:
    """One line of at most 500 characters: no control characters, no bidi overrides, no surrogates."""
    if not isinstance(value, str):
        return None
    spaced = re.sub(r"\s+", " ", value)
    harmless = "".join(
        letter for letter in _BIDI.sub("", spaced) if unicodedata.category(letter) not in ("Cc", "Cs")
    )
    return harmless.strip()[:LONGEST_TEXT].rstrip() or None


def link(value: object) -> str | None:
    """An http(s) URL without a password."""
    if (
        not isinstance(value, str)
        or len(value) > 4096
        or re.search(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]", value)
    ):
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return value.replace(parts.netloc, parts.netloc.rpartition("@")[2], 1)


def number(value: object) -> int | None:
    """A count that makes sense: whole, not negative, not infinite."""
    if isinstance(value, int | float) and 0 <= value < 2**53:
        return round(value)
    return None


def video_info(
    info: Mapping[str, Any], media: Media | None = None, filesize: int | None = None
) -> dict[str, Any]:
    """The fields of `VideoInfo` that are known, better ones from the file itself once it is there."""
    duration = info.get("duration") or (media.duration if media else None)
    return _known(
        title=_title(info),
        duration=number(duration),
        uploader=text(info.get("uploader") or info.get("channel") or info.get("creator")),
        webpage_url=link(info.get("webpage_url")),
        extractor=text(info.get("extractor")),
        width=number((media and media.width) or info.get("width")),
        height=number((media and media.height) or info.get("height")),
        filesize=filesize or number(_size(info)),
        live=True if info.get("is_live") or info.get("live_status") == "is_live" else None,
    )


def extracted(info: Mapping[str, Any], thumbnail: str | None) -> dict[str, Any]:
    """The answer to an info job; what is not known is left out."""
    return _known(
        **{
            name: value
            for name, value in video_info(info).items()
            if name not in ("width", "height", "filesize")
        },
        thumbnail=thumbnail,
        formats=_list(info.get("formats"), _format),
        subtitles=_subtitles(info),
        chapters=_list(info.get("chapters"), _chapter),
        entries=_list(info.get("entries"), _entry),
    )


def _title(info: Mapping[str, Any]) -> str | None:
    """yt-dlp numbers the <video> elements of a page, even if there is only one."""
    title = text(info.get("title"))
    return title.removesuffix(" (1)") if title and info.get("extractor") == "html5" else title


def _known(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _size(info: Mapping[str, Any]) -> int | None:
    """The bytes of all chosen streams, if the source says so for all of them."""
    sizes = [chosen.get("filesize") for chosen in info.get("requested_formats") or [info]]
    return sum(sizes) if all(isinstance(size, int) for size in sizes) else None


def _list(items: Any, shape: Callable[[Mapping[str, Any]], dict[str, Any]]) -> list[dict[str, Any]] | None:
    return [shape(item) for item in islice((item for item in items or () if item), MOST_ENTRIES)] or None


def _format(chosen: Mapping[str, Any]) -> dict[str, Any]:
    return _known(
        format_id=text(chosen.get("format_id")),
        ext=text(chosen.get("ext")),
        width=number(chosen.get("width")),
        height=number(chosen.get("height")),
        fps=_fraction(chosen.get("fps")),
        vcodec=text(chosen.get("vcodec")),
        acodec=text(chosen.get("acodec")),
        filesize=number(chosen.get("filesize")),
        tbr=_fraction(chosen.get("tbr")),
        note=text(chosen.get("format_note")),
    )


def _fraction(value: object) -> float | None:
    return round(float(value), 3) if isinstance(value, int | float) and 0 < value < 2**53 else None


def _subtitles(info: Mapping[str, Any]) -> dict[str, list[str]] | None:
    kinds = {
        text(language) or "und": [ext for kind in tracks if (ext := text(kind.get("ext")))]
        for language, tracks in islice((info.get("subtitles") or {}).items(), MOST_ENTRIES)
    }
    return {language: exts for language, exts in kinds.items() if exts} or None


def _chapter(chapter: Mapping[str, Any]) -> dict[str, Any]:
    return _known(
        title=text(chapter.get("title")), start=chapter.get("start_time"), end=chapter.get("end_time")
    )


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    return _known(
        title=text(entry.get("title")),
        url=link(entry.get("webpage_url") or entry.get("url")),
        duration=number(entry.get("duration")),
    )
