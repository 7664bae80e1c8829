"""What a link offers, as the result of an info job: bounded, with sanitized texts and plausible numbers.

Clients can request what is shown here: ids of formats as `format`, places of entries as `playlist_items`,
languages of subtitles. So what a request could not name is left out.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from yt_dlp.utils import PlaylistEntries

from server.child.extract.generic import as_list
from server.child.extract.lists import link_of
from server.child.extract.video_info import (
    link,
    moment,
    number,
    published_at,
    text,
    video_info,
    without_none,
)
from server.child.extract.youtube_dl import Engine
from server.core.jobs import LANGUAGE

MOST: Final = 500  # formats, chapters, languages
_SHORT: Final = 50  # characters
_TITLE_CHARS: Final = 200  # of an entry or a chapter
_ENTRY_WIDTH: Final = 192  # pixels: a larger picture of an entry is made so small before it is shown
_MAX_TYPES: Final = 8  # of files in one language
_TYPE_CHARS: Final = 12
_NO_ID: Final = re.compile(r"[\s,/+()\[\]]")  # what a request's `format` cannot contain
_STATES: Final = ("is_live", "is_upcoming", "was_live", "post_live", "not_live")
_OF_FILES: Final = ("width", "height", "filesize")

Info = Mapping[str, Any]


def extracted(info: Info, thumbnail: str | None, page: Info) -> dict[str, Any]:
    """Return the result of an info job, without unknown fields; `page` is the result of `page`."""
    told = {name: value for name, value in video_info(info).items() if name not in _OF_FILES}
    # When a broadcast begins, or began; other films have such a time as well.
    begins_at = moment(info.get("release_timestamp"))
    if begins_at is not None and info.get("live_status") not in (None, "not_live"):
        told |= {"begins_at": datetime.fromtimestamp(begins_at, UTC).isoformat()[:19] + "Z"}
    # At most `MOST` formats: the best, which yt-dlp puts last.
    formats = list(info.get("formats") or ())[-MOST:]
    chapters = islice((chapter for chapter in info.get("chapters") or () if chapter), MOST)
    return told | without_none(
        thumbnail=thumbnail,
        live_status=next((state for state in _STATES if state == info.get("live_status")), None),
        formats=[_format(each) for each in formats if _can_be_chosen(each)] or None,
        subtitles=_languages(info.get("subtitles")),
        automatic_subtitles=_languages(info.get("automatic_captions")),
        chapters=[
            without_none(
                title=text(chapter.get("title"), _TITLE_CHARS),
                start=_seconds(chapter.get("start_time")),
                end=_seconds(chapter.get("end_time")),
            )
            for chapter in chapters
        ]
        or None,
        **page,
    )


def page(engine: Engine, info: Info, last: int) -> dict[str, Any]:
    """Return the fields about the entries of a list, from the place in `playlist_items` of `engine` on, up to
    `last`; {} for anything else.

    `more`: further entries follow. None is extracted, so a broken one does not affect the others.
    """
    if info.get("_type") != "playlist":
        return {}
    entries = info.get("entries") or ()
    wanted = PlaylistEntries(engine, {"entries": as_list(entries)})
    with engine.reading():
        found = [(place, each) for place, each in wanted.get_requested_items() if each]
    url = link(info.get("webpage_url"))
    return without_none(
        total_entries=number(info.get("playlist_count") or wanted.get_full_count()) or None,
        entries=[entry(place, each, link_of(engine, each, url)) for place, each in found if place <= last],
        more=True if any(place > last for place, _ in found) else None,
    )


def entry(place: int, said: Info, url: str | None) -> dict[str, Any]:
    return without_none(
        index=place,
        title=text(said.get("title"), _TITLE_CHARS),
        url=url,
        duration=number(said.get("duration")),
        uploader=text(said.get("uploader") or said.get("channel"), _SHORT),
        published_at=published_at(said),
        thumbnail=_picture(said),
    )


def _picture(said: Info) -> str | None:
    """Return the link of the smallest picture that is wide enough for a row; if no width is known, of the one
    that yt-dlp has put last, its best.
    """
    found = said.get("thumbnails")
    pictures = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list | tuple) else []
    wide = [one for one in pictures if (number(one.get("width")) or 0) >= _ENTRY_WIDTH]
    chosen = min(wide, key=lambda one: one["width"], default=pictures[-1] if pictures else {})
    return link(chosen.get("url") or said.get("thumbnail"))


def _can_be_chosen(offered: Info) -> bool:
    """Whether a request can name the format; storyboards, sheets of small pictures, are left out."""
    name = text(offered.get("format_id"))
    is_sheet = offered.get("vcodec") == "none" and offered.get("acodec") == "none"
    return name is not None and not _NO_ID.search(name) and not is_sheet


def _format(offered: Info) -> dict[str, Any]:
    size = number(offered.get("filesize")) or None
    return without_none(
        format_id=text(offered.get("format_id")),
        ext=text(offered.get("ext"), _SHORT),
        width=number(offered.get("width")),
        height=number(offered.get("height")),
        fps=_fraction(offered.get("fps")),
        vcodec=text(offered.get("vcodec"), _SHORT),
        acodec=text(offered.get("acodec"), _SHORT),
        language=text(offered.get("language"), _SHORT),
        filesize=size,
        filesize_approx=None if size else number(offered.get("filesize_approx")) or None,
        tbr=_fraction(offered.get("tbr")),
        note=text(offered.get("format_note"), _SHORT),
    )


def _fraction(value: object) -> float | None:
    return round(float(value), 3) if isinstance(value, int | float) and 0 < value < 2**53 else None


def _languages(tracks: Any) -> dict[str, list[str]] | None:
    """Return language -> types of files; None if there are none."""
    if not isinstance(tracks, Mapping):
        return None
    kinds = dict[str, list[str]]()
    for language, found in islice(tracks.items(), MOST):
        if language == text(language, _SHORT) and re.fullmatch(LANGUAGE, language):
            types = (text(kind.get("ext"), _TYPE_CHARS) for kind in found or ())
            if some := list(dict.fromkeys(islice(filter(None, types), _MAX_TYPES))):
                kinds[language] = some
    return kinds or None


def _seconds(value: object) -> float | None:
    return round(float(value), 3) if isinstance(value, int | float) and 0 <= value < 2**53 else None
