"""Reads the document of a feed, RSS or Atom, by feedparser: yt-dlp reads no Atom.

Feeds of podcasts and of videos name the film of an entry in many ways, and many of their authors write dates,
titles and links otherwise than the formats say.

Decisions: docs/decisions/library.md
"""

import calendar
import html
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import mktime_tz, parsedate_tz
from io import BytesIO
from typing import Any, Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from yt_dlp.utils import ExtractorError, parse_duration

from server.child.extract import video_info
from server.child.extract.source_facts import facts_of_feed

_COMMENT: Final = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_ROOT_ELEMENT: Final = re.compile(rb"<(?:[A-Za-z]+:)?(?:rss|feed|RDF)[\s>]", re.IGNORECASE)
_ROOT_WITHIN: Final = 2048  # bytes, without comments
_CHARACTER_REFERENCE: Final = re.compile(rb"&#(?:x([0-9a-f]+)|([0-9]+));?", re.IGNORECASE)
_XML_ENCODING: Final = re.compile(rb"^\s*<\?xml[^>]*\sencoding\s*=", re.IGNORECASE)
_XML_ENCODING_WITHIN: Final = 1024  # bytes
_UNCHANGED: Final[Mapping[str, Any]] = {"sanitize_html": False, "resolve_relative_uris": False}
_MEDIA_TYPE: Final = re.compile(
    r"(audio|video)/|application/(ogg|dash\+xml|(x-|vnd\.apple\.)mpegurl)", re.IGNORECASE
)
_OTHER_TYPE: Final = re.compile(r"(image|text)/|application/(x-bittorrent|pdf|epub|.*zip)", re.IGNORECASE)
_MEDIA_SUFFIX: Final = re.compile(
    r"\.(mp3|m4a|m4v|mp4|ogg|oga|opus|flac|wav|webm|mov|mkv|m3u8)$", re.IGNORECASE
)
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]*>")
_MAX_GUID_CHARS: Final = 1000

Entry = dict[str, Any]
"""The fields of an entry, as in the event `found_entries`, as far as they are known."""


class ParsedFeed(NamedTuple):
    """A feed, its newest entries first where they have dates; `new_url` is the new address that it names."""

    title: str | None
    entries: list[Entry]
    facts: dict[str, Any]
    new_url: str | None


def is_feed(beginning: bytes) -> bool:
    """Whether a document with this beginning is a feed, also in an encoding of two bytes, or after a long
    comment.
    """
    text = _COMMENT.sub(b"", beginning.replace(b"\0", b""))
    return bool(_ROOT_ELEMENT.search(text[:_ROOT_WITHIN]))


def parse_feed(text: bytes, url: str, charset: str | None = None) -> ParsedFeed:
    """Parse the feed at `url`; `charset`, from its Content-Type, counts if the feed itself names none.

    Raises `ExtractorError`.
    """
    import feedparser  # type: ignore[import-untyped]  # 50 ms

    feedparser.USER_AGENT = ""
    content_type = "application/xml"
    if charset and not _XML_ENCODING.search(text[:_XML_ENCODING_WITHIN].replace(b"\0", b"")):
        content_type += f"; charset={charset}"
    headers = {"content-type": content_type, "content-location": url}
    # As a file, since feedparser would fetch or open an address in a text.
    try:
        feed = feedparser.parse(BytesIO(text), response_headers=headers, **_UNCHANGED)
    except Exception:  # foreign code; for instance at references to half of a surrogate pair
        repaired = _CHARACTER_REFERENCE.sub(_existing_character, text)
        try:
            feed = feedparser.parse(BytesIO(repaired), response_headers=headers, **_UNCHANGED)
        except Exception as error:
            raise ExtractorError("The feed was not understood.", cause=error) from error
    is_atom = feed.version.startswith("atom")
    entries = [entry for item in feed.entries if (entry := _entry(item, url, is_atom=is_atom))]
    _sort_newest_first(entries)
    _drop_shared_guids(entries)
    facts = facts_of_feed(feed.feed, text, url)
    new_url = video_info.link(str(feed.feed.get("itunes_new-feed-url", "")).strip())
    return ParsedFeed(_title(feed.feed, is_atom=is_atom), entries, facts, new_url)


def _sort_newest_first(entries: list[Entry]) -> None:
    """Sort by the moments `_at`, and remove them; an entry without one keeps its place behind the one before
    it.
    """
    at = next((entry["_at"] for entry in entries if "_at" in entry), None)
    if at is not None:
        for entry in entries:
            at = entry.setdefault("_at", at)
        entries.sort(key=lambda entry: -entry["_at"])
    for entry in entries:
        entry.pop("_at", None)


def _drop_shared_guids(entries: list[Entry]) -> None:
    """Remove the guids that several entries share, and those of entries that share a link: they identify
    none.
    """
    urls_by_guid: dict[str, set[str]] = {}
    for entry in entries:
        urls_by_guid.setdefault(entry.get("guid", ""), set()).add(entry["url"])
    count = Counter(entry["url"] for entry in entries)
    for entry in entries:
        if len(urls_by_guid[entry.get("guid", "")]) > 1 or count[entry["url"]] > 1:
            entry.pop("guid", None)


def _existing_character(reference: "re.Match[bytes]") -> bytes:
    """Return the reference if its character exists; else nothing."""
    hexadecimal, decimal = reference.groups()
    if len(hexadecimal or decimal) > 20:
        return b""
    number = int(hexadecimal, 16) if hexadecimal else int(decimal)
    return b"" if 0xD800 <= number < 0xE000 or number > 0x10FFFF else reference[0]


def _entry(item: Any, base: str, *, is_atom: bool) -> Entry | None:
    """Return the fields of feedparser's `item`, with its moment `_at`; None if it has no link."""
    youtube_id = video_info.text(item.get("yt_videoid"))
    base = (item.get("title_detail") or {}).get("base") or base  # by `xml:base`
    versions = sorted(item.get("media_content") or (), key=_quality, reverse=True)
    enclosures = item.get("enclosures") or ()
    file = next(filter(None, (_media_link(one, base) for one in (*enclosures, *versions))), None)
    page = _link(item.get("link"), base)
    url = page if youtube_id else file or page or _possible_media_link(enclosures, base)
    if not url:
        return None
    at = _published_at(item)
    title = _title(item, is_atom=is_atom)
    guid = item.get("id") if isinstance(item.get("id"), str) else None
    if not guid and (name := video_info.text(item.get("title"))):
        guid = f"{name}|{item.get('published') or ''}"
    entry = video_info.without_none(
        url=url,
        id=youtube_id,
        extractor_key="Youtube" if youtube_id else None,
        guid=guid[:_MAX_GUID_CHARS] if guid else None,
        title=title,
        duration=_duration(item.get("itunes_duration"), *(one.get("duration") for one in versions)),
        uploader=video_info.text(item.get("author")),
        published_at=None if at is None else datetime.fromtimestamp(at, UTC).isoformat()[:19] + "Z",
        kind="short" if "/shorts/" in url else None,
        _at=at,
    )
    is_file = url != page or _MEDIA_SUFFIX.search(urlsplit(url).path)
    if is_file and not youtube_id:  # a file has no page that describes it
        picture = item.get("image") or {}
        entry["says"] = video_info.without_none(
            title=title,
            uploader=entry.get("uploader"),
            description=video_info.text(item.get("summary"), video_info.LONGEST_DESCRIPTION),
            thumbnail=video_info.link(picture.get("href")) if isinstance(picture, Mapping) else None,
            timestamp=at,
            season_number=_small_number(item.get("itunes_season")),
            episode_number=_small_number(item.get("itunes_episode")),
        )
    return entry


def _quality(version: Any) -> tuple[bool, int, int, int]:
    """Return the sort key of a version of the film: the source's default comes before all others, else the
    largest.
    """
    sizes = (_small_number(version.get(name)) or 0 for name in ("height", "bitrate", "filesize"))
    return (version.get("isdefault") == "true", *sizes)


def _media_link(enclosure: Any, base: str) -> str | None:
    """Return the link of an enclosure if it is sound or film, by its type or the suffix of its name."""
    link, kind = _link(enclosure.get("href") or enclosure.get("url"), base), enclosure.get("type") or ""
    is_media = _MEDIA_TYPE.match(kind) or enclosure.get("medium") in ("video", "audio")
    return link if link and (is_media or _MEDIA_SUFFIX.search(urlsplit(link).path)) else None


def _possible_media_link(enclosures: Any, base: str) -> str | None:
    """Return the link of the first enclosure of which nothing says that it is neither sound nor film."""
    return next(
        (
            link
            for one in enclosures
            if not _OTHER_TYPE.match(one.get("type") or "") and (link := _link(one.get("href"), base))
        ),
        None,
    )


def _link(text: Any, base: str) -> str | None:
    """Return a link of a feed. It may have spaces, as authors paste names of files."""
    if not isinstance(text, str) or not text.strip():
        return None
    encoded = re.sub(r"[\t\r\n]+", "", text.strip()).replace(" ", "%20")
    try:
        return video_info.link(urljoin(base, encoded))
    except ValueError:
        return None


def _title(element: Any, *, is_atom: bool) -> str | None:
    """Return the title of a feed or an entry: Atom says whether it is HTML; RSS has text, in which many
    authors write character references.
    """
    title = element.get("title")
    if isinstance(title, str) and (element.get("title_detail") or {}).get("type", "").endswith("html"):
        title = html.unescape(_TAG.sub("", title) if is_atom else title)
    return video_info.text(title)


def _published_at(item: Any) -> float | None:
    """Return seconds since 1970. feedparser reads neither RFC 850 nor times without a zone, which are UTC."""
    for name in ("published", "updated"):
        if name not in item:  # feedparser would give the other one, and warn
            continue
        parsed, text = item.get(f"{name}_parsed"), item.get(name)
        with suppress(TypeError, ValueError, OverflowError):
            if parsed:
                return video_info.moment(calendar.timegm(parsed))
            if isinstance(text, str) and (with_zone := parsedate_tz(text[:100])):
                return video_info.moment(mktime_tz(with_zone))
    return None


def _duration(*texts: Any) -> int | None:
    """Return the first duration in seconds that is not zero: feeds say zero if they do not know it."""
    seconds = (video_info.number(parse_duration(one[:50])) for one in texts if isinstance(one, str))
    return next(filter(None, seconds), None)


def _small_number(text: Any) -> int | None:
    return int(text) if isinstance(text, str) and re.fullmatch(r"[0-9]{1,6}", text) else None
