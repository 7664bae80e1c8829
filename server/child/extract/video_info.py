"""Turns yt-dlp's info dict into what clients see, with every text made harmless.

Also into what is embedded in files: the tags of yt-dlp's `--embed-metadata`, and chapters. Tags have ffmpeg's
names, as in yt-dlp. A date is written as ISO 8601, which players understand; they show yt-dlp's own form
(20240131) as a number, or not at all.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit

from server.child.media.probe import Media
from server.child.media.timeline import MAX_CHAPTERS, ChapterSpan, as_chapter
from server.core.jobs import SMUGGLED

LONGEST_TEXT = 500  # characters
LONGEST_DESCRIPTION = 2000  # characters
MOST_ARCHIVE_IDS = 20
MOST_SOURCE_TAGS = 50
MOST_MARKS = 500  # chapters that are sent to the server
LONGEST_FILM = 1e6  # seconds
_READ_FACTOR = 8  # times as many characters as are kept are read: a text may be as long as a page
_LAST_MOMENT = 253_402_300_800  # the end of the year 9999
_SPACES = re.compile(r"\s+")
_NOT_IN_LINKS = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_BIDI = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def text(value: object, longest: int = LONGEST_TEXT) -> str | None:
    """Return one line of at most `longest` characters, without controls, bidi controls and surrogates; None
    if nothing is left, or if `value` is no text.
    """
    if not isinstance(value, str):
        return None
    spaced = _SPACES.sub(" ", value[: longest * _READ_FACTOR])
    harmless = "".join(
        letter for letter in _BIDI.sub("", spaced) if unicodedata.category(letter) not in ("Cc", "Cs")
    )
    return harmless.strip()[:longest].rstrip() or None


def lines(value: object, longest: int) -> str | None:
    """Return what `text` does, with line breaks and tabs."""
    found = _words(_BIDI.sub("", value)) if isinstance(value, str) else None
    return found[:longest].rstrip() or None if found else None


def link(value: object) -> str | None:
    """Return an http(s) URL without user name and password; None if `value` is no such URL.

    Data that extractors add to it for each other is removed as well.
    """
    found = whole_link(value)
    return found.partition(SMUGGLED)[0] if found else None


def whole_link(value: object) -> str | None:
    """Return what `link` does, with the data that an extractor has added for another, such as a Referer."""
    if not isinstance(value, str) or len(value) > 4096 or _NOT_IN_LINKS.search(value):
        return None
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return value.replace(parts.netloc, parts.netloc.rpartition("@")[2], 1)


def number(value: object) -> int | None:
    """Return a number as a count: rounded; None if it is negative, infinite or no number."""
    if isinstance(value, int | float) and 0 <= value < 2**53:
        return round(value)
    return None


def moment(value: object) -> float | None:
    """Return seconds since 1970; None if that is before 1970 or after the year 9999."""
    return float(value) if isinstance(value, int | float) and 0 <= value < _LAST_MOMENT else None


def video_info(
    info: Mapping[str, Any],
    media: Media | None = None,
    filesize: int | None = None,
    *,
    cut: bool = False,
) -> dict[str, Any]:
    """Return the fields of `VideoInfo` that are known; `media` is what is in the finished file, and
    `filesize` its bytes, once there is one.

    `cut`: its files have a part of the film only.
    """
    duration = info.get("duration") or (media.duration if media else None)
    # yt-dlp numbers the <video> elements of a page, even if there is only one.
    title = text(info.get("title"))
    if filesize is None:  # that of all chosen streams, if the source states it of all of them
        sizes = [chosen.get("filesize") for chosen in info.get("requested_formats") or [info]]
        filesize = number(sum(sizes)) if all(isinstance(size, int) for size in sizes) else None
    return without_none(
        title=(title.removesuffix(" (1)") if title and info.get("extractor") == "html5" else title),
        duration=number(duration),
        uploader=text(info.get("uploader") or info.get("channel") or info.get("creator")),
        webpage_url=link(info.get("webpage_url")),
        extractor=text(info.get("extractor")),
        width=number((media and media.width) or info.get("width")),
        height=number((media and media.height) or info.get("height")),
        filesize=filesize,
        live=is_live(info) or None,
        cut=cut or None,
        id=link(info.get("id")) or text(info.get("id")),  # some lists have their link as id
        extractor_key=text(info.get("extractor_key")),
        channel=text(info.get("channel")),
        channel_id=text(info.get("channel_id")),
        published_at=published_at(info),
    )


def is_live(info: Mapping[str, Any]) -> bool:
    return bool(info.get("is_live") or info.get("live_status") == "is_live")


def published_at(info: Mapping[str, Any]) -> str | None:
    """Return when the video was published, in UTC (ISO 8601); only the day if no time is known."""
    for name in ("timestamp", "release_timestamp"):
        if (seconds := moment(info.get(name))) is not None:
            return datetime.fromtimestamp(seconds, UTC).isoformat()[:19] + "Z"
    for name in ("upload_date", "release_date"):
        with suppress(TypeError, ValueError):  # there is no such day
            return date.fromisoformat(_day(info.get(name) or "")).isoformat()
    return None


def archive_ids(info: Mapping[str, Any]) -> list[str]:
    """Return the ids that earlier releases of the extractor gave the video, as in yt-dlp's archives."""
    said = info.get("_old_archive_ids")
    found = (text(one) for one in said[:MOST_ARCHIVE_IDS]) if isinstance(said, list | tuple) else ()
    return [one for one in found if one]


def about(info: Mapping[str, Any], chapters: Sequence[ChapterSpan] = ()) -> dict[str, Any]:
    """Return the fields of `server.core.film.About`: description with line breaks, tags, `chapters`."""
    said = info.get("tags")
    tags = (text(tag) for tag in said[:MOST_SOURCE_TAGS]) if isinstance(said, list | tuple) else ()
    description = info.get("description")
    return without_none(
        description=_words(description) if isinstance(description, str) else None,
        tags=[tag for tag in dict.fromkeys(tags) if tag] or None,
        chapters=[_mark(one) for one in chapters[:MOST_MARKS]] or None,
    )


def _mark(chapter: ChapterSpan) -> dict[str, Any]:
    # A larger value means that the end is unknown.
    end = round(chapter.end, 3) if chapter.end < LONGEST_FILM else None
    return without_none(start=round(chapter.start, 3), end=end, title=text(chapter.title))


def says(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts in a list about an entry that have precedence over those on its page, as for yt-dlp's
    `url_transparent`.

    For example a podcast's feed has the title of an episode, whose own link is that of a sound file.
    """
    return without_none(
        title=text(entry.get("title")),
        uploader=text(entry.get("uploader") or entry.get("channel") or entry.get("creator")),
        description=text(entry.get("description"), LONGEST_DESCRIPTION),
        thumbnail=link(entry.get("thumbnail")),
        timestamp=moment(entry.get("timestamp")),
        series=text(entry.get("series")),
        season_number=number(entry.get("season_number")),
        episode=text(entry.get("episode")),
        episode_number=number(entry.get("episode_number")),
    )


def with_words_of_list(info: dict[str, Any], says: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `info` of an entry with the facts that its list `says`."""
    told = {name: value for name, value in says.items() if name not in ("thumbnail", "timestamp")}
    if (began := says.get("timestamp")) is not None:
        told |= {"timestamp": began, "upload_date": datetime.fromtimestamp(began, UTC).strftime("%Y%m%d")}
    if picture := says.get("thumbnail"):  # the last one is the best
        told["thumbnails"] = [*(info.get("thumbnails") or ()), {"url": picture}]
    return info | told


def without_none(**fields: object) -> dict[str, Any]:
    """Return `fields` without those that are None."""
    return {name: value for name, value in fields.items() if value is not None}


LONGEST: Final = 10_000  # characters of one tag
_MOST_LOOKED_AT: Final = 2 * MAX_CHAPTERS

# tag -> fields of the info dict, of which the first known one is taken
_TAGS: Final[dict[str, Sequence[str]]] = {
    "title": ("track", "title"),
    "date": ("upload_date",),
    "description": ("description",),
    "synopsis": ("description",),
    "purl": ("webpage_url",),
    "comment": ("webpage_url",),
    "track": ("track_number",),
    "artist": ("artist", "artists", "creator", "creators", "uploader", "uploader_id"),
    "composer": ("composer", "composers"),
    "genre": ("genre", "genres", "categories", "tags"),
    "album": ("album", "series"),
    "album_artist": ("album_artist", "album_artists"),
    "disc": ("disc_number",),
    "show": ("series",),
    "season_number": ("season_number",),
    "episode_id": ("episode", "episode_id"),
    "episode_sort": ("episode_number",),
}
_DAY: Final = re.compile(r"(\d{4})(\d\d)(\d\d)")


def tags_of(info: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags to embed, as far as they are known: name -> value."""
    found = {
        tag: next((value for field in fields if (value := _words(info.get(field)))), None)
        for tag, fields in _TAGS.items()
    }
    if title := video_info(info).get("title"):
        found["title"] = found["title"] if info.get("track") else title
    page = link(info.get("webpage_url"))  # without a password
    found |= {"purl": page, "comment": page, "date": _day(found["date"] or "")}
    return {tag: value for tag, value in found.items() if value}


def chapters_of(info: Mapping[str, Any]) -> list[ChapterSpan]:
    """Return the source's chapters; [] for a film in parts, whose info dict has those of one part only."""
    said = info.get("chapters") if "entries" not in info else None
    looked_at = (one for one in islice(said or (), _MOST_LOOKED_AT) if isinstance(one, dict))
    found = (as_chapter(one, text(one.get("title"))) for one in looked_at)
    return [chapter for chapter in found if chapter]


def _words(value: object) -> str | None:
    """Return `value` as text, with line breaks and tabs but without other control characters."""
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(_words, value[:100])))[:LONGEST] or None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    lines = str(value)[: 2 * LONGEST].replace("\r\n", "\n").replace("\r", "\n")
    kept = (
        letter for letter in lines if letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cs")
    )
    return "".join(kept).strip()[:LONGEST] or None


def _day(value: str) -> str:
    """Return `20240131` as `2024-01-31`, and anything else unchanged."""
    found = _DAY.fullmatch(value)
    return "-".join(found.groups()) if found else value
