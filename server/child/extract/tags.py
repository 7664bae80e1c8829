"""yt-dlp's info dict -> metadata of a file: the tags of yt-dlp's `--embed-metadata`, and chapters.

Tags have ffmpeg's names, as in yt-dlp. A date is written as ISO 8601, which players understand; they show
yt-dlp's own form (20240131) as a number, or not at all.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

from server.child.extract import video_info
from server.child.media.chapters import MOST, Chapter, as_chapter

LONGEST: Final = 10_000  # characters of one tag
_MOST_LOOKED_AT: Final = 2 * MOST

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
    """The tags that are known."""
    found = {tag: _first(info, fields) for tag, fields in _TAGS.items()}
    if title := video_info.video_info(info).get("title"):
        found["title"] = found["title"] if info.get("track") else title
    link = video_info.link(info.get("webpage_url"))  # without a password
    found |= {"purl": link, "comment": link, "date": _day(found["date"])}
    return {tag: value for tag, value in found.items() if value}


def chapters_of(info: Mapping[str, Any]) -> list[Chapter]:
    """The source's chapters; [] for a film in parts, since its info dict has those of one part only."""
    said = info.get("chapters") if "entries" not in info else None
    looked_at = (one for one in islice(said or (), _MOST_LOOKED_AT) if isinstance(one, dict))
    found = (as_chapter(one, _title(one.get("title"))) for one in looked_at)
    return [chapter for chapter in found if chapter]


def _title(said: object) -> str | None:
    return video_info.text(said[:LONGEST]) if isinstance(said, str) else None


def _first(info: Mapping[str, Any], fields: Sequence[str]) -> str | None:
    values = (_words(info.get(field)) for field in fields)
    return next((value for value in values if value), None)


def _words(value: object) -> str | None:
    """`value` as text, with line breaks and tabs but without other control characters."""
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(_words, value[:100])))[:LONGEST] or None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    lines = str(value)[: 2 * LONGEST].replace("\r\n", "\n").replace("\r", "\n")
    kept = (
        letter for letter in lines if letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cs")
    )
    return "".join(kept).strip()[:LONGEST] or None


def _day(value: str | None) -> str | None:
    found = _DAY.fullmatch(value or "")
    return "-".join(found.groups()) if found else value
