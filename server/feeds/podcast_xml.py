"""Podcast feeds as XML: RSS 2.0 with the tags of Apple (itunes) and of Podcasting 2.0 (podcast).

What comes from sources is text, never markup: where apps take HTML, it is escaped.
"""

import hashlib
import html
import re
import uuid
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from io import BytesIO
from xml.etree import ElementTree as ET

from server.core.xml_text import xml_text

MAX_DESCRIPTION_BYTES = 4000  # Apple's limit
MAX_TITLE_CHARS = 500
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_BREAK = re.compile(r"<(?:br|/p|/div|/li|/h[1-6])\b[^<>]*>", re.IGNORECASE)
_ATOM = "http://www.w3.org/2005/Atom"
_ITUNES = "http://www.itunes.com/dtds/podcast-1.0.dtd"
_MEDIA = "http://search.yahoo.com/mrss/"
_PODCAST = "https://podcastindex.org/namespace/1.0"
# The namespace that the specification of `podcast:guid` prescribes.
_GUIDS = uuid.UUID("ead4c236-bf58-58c6-a2c6-a6b28d128cb6")
for _prefix, _space in (("atom", _ATOM), ("itunes", _ITUNES), ("media", _MEDIA), ("podcast", _PODCAST)):
    ET.register_namespace(_prefix, _space)


@dataclass(frozen=True, slots=True)
class Enclosed:
    """A file; `size` is in bytes, `language` that of subtitles."""

    url: str
    size: int
    type: str
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """`key` is that of its item; `others` are other forms of the same film; `duration` is in seconds."""

    key: str
    title: str
    published: datetime
    enclosure: Enclosed
    others: Sequence[Enclosed] = ()
    description: str = ""
    duration: int | None = None
    author: str | None = None
    link: str | None = None
    season: int | None = None
    number: int | None = None
    picture: str | None = None
    chapters: str | None = None
    transcripts: Sequence[Enclosed] = ()


@dataclass(frozen=True, slots=True)
class Podcast:
    """`url` is the feed's own; its `podcast:guid` is made of `lasting_id`; `ttl` is in minutes."""

    url: str
    lasting_id: str
    title: str
    description: str
    language: str
    link: str
    cover: str
    medium: str
    ttl: int
    category: str
    explicit: bool
    episodes: Sequence[Episode]
    author: str | None = None


def to_xml(podcast: Podcast) -> bytes:
    """Return the feed as XML. The same podcast gives the same bytes."""
    rss = ET.Element("rss", version="2.0")
    channel = ET.SubElement(rss, "channel")
    title, explicit = one_line(podcast.title), "true" if podcast.explicit else "false"
    _add(channel, "title", title)
    _add(channel, "link", podcast.link)
    _add(channel, "description", as_html(podcast.description) or html.escape(title))
    _add(channel, "language", podcast.language)
    _add(channel, "generator", "Clipwire")
    _add(channel, "ttl", str(podcast.ttl))
    ET.SubElement(channel, f"{{{_ATOM}}}link", href=podcast.url, rel="self", type="application/rss+xml")
    image = ET.SubElement(channel, "image")
    for name, text in (("url", podcast.cover), ("title", title), ("link", podcast.link)):
        _add(image, name, text)
    ET.SubElement(channel, f"{{{_ITUNES}}}image", href=podcast.cover)
    ET.SubElement(channel, f"{{{_ITUNES}}}category", text=podcast.category)
    for name, text in (
        ("author", one_line(podcast.author or "") or title),
        ("explicit", explicit),
        ("type", "episodic"),
        ("block", "Yes"),  # keeps the feed out of podcast directories
    ):
        _add(channel, f"{{{_ITUNES}}}{name}", text)
    _add(channel, f"{{{_PODCAST}}}guid", str(uuid.uuid5(_GUIDS, podcast.lasting_id)))
    _add(channel, f"{{{_PODCAST}}}medium", podcast.medium)
    _add(channel, f"{{{_PODCAST}}}block", "yes")
    for episode in podcast.episodes:
        _write(ET.SubElement(channel, "item"), episode, explicit)
    target = BytesIO()
    ET.ElementTree(rss).write(target, "utf-8", xml_declaration=True)
    return target.getvalue()


def _write(item: ET.Element, episode: Episode, explicit: str) -> None:
    title = one_line(episode.title) or guid_of(episode.key)
    _add(item, "title", title)
    _add(item, f"{{{_ITUNES}}}title", title)
    _add(item, "guid", guid_of(episode.key)).set("isPermaLink", "false")
    _add(item, "pubDate", format_datetime(episode.published, usegmt=True))
    file = episode.enclosure
    ET.SubElement(item, "enclosure", url=file.url, length=str(file.size), type=file.type)
    for other in episode.others:
        kind, length = other.type, str(other.size)
        form = ET.SubElement(item, f"{{{_PODCAST}}}alternateEnclosure", type=kind, length=length)
        ET.SubElement(form, f"{{{_PODCAST}}}source", uri=other.url)
    if description := as_html(episode.description):
        _add(item, "description", description)
    if episode.link is not None:
        _add(item, "link", episode.link)
    if episode.duration is not None:
        _add(item, f"{{{_ITUNES}}}duration", str(episode.duration))
    if author := one_line(episode.author or ""):
        _add(item, f"{{{_ITUNES}}}author", author)
    if episode.season:
        _add(item, f"{{{_ITUNES}}}season", str(episode.season))
    if episode.number:
        _add(item, f"{{{_ITUNES}}}episode", str(episode.number))
    _add(item, f"{{{_ITUNES}}}explicit", explicit)
    if episode.picture is not None:
        # Not as itunes:image, which must be square.
        ET.SubElement(item, f"{{{_MEDIA}}}thumbnail", url=episode.picture)
    if episode.chapters is not None:
        kind = "application/json+chapters"
        ET.SubElement(item, f"{{{_PODCAST}}}chapters", url=episode.chapters, type=kind)
    for text in episode.transcripts:
        element = ET.SubElement(item, f"{{{_PODCAST}}}transcript", url=text.url, type=text.type)
        if text.language:
            element.set("language", xml_text(text.language))


def guid_of(key: str) -> str:
    """Return the lasting name of an episode: the key of its item. If the key holds a link, which may be a
    secret, or white space that a parser may change, a hash of it instead.
    """
    if key.startswith("url ") or not key.isprintable() or " ".join(key.split()) != key:
        return hashlib.sha256(key.encode(errors="replace")).hexdigest()[:40]
    return key


def one_line(text: str) -> str:
    return " ".join(xml_text(text).split())[:MAX_TITLE_CHARS].rstrip()


def without_tags(text: str) -> str:
    """Return `text` without tags: feeds mostly describe their entries in HTML."""
    if not _TAG.search(text):
        return text
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", text)))


def as_html(text: str) -> str:
    """Return `text` as HTML that shows just this text, with its line breaks, of at most
    `MAX_DESCRIPTION_BYTES` bytes.
    """
    lines = xml_text(text).replace("\r\n", "\n").replace("\r", "\n").strip()[:MAX_DESCRIPTION_BYTES]
    fits = bisect_right(
        range(1, len(lines) + 1), MAX_DESCRIPTION_BYTES, key=lambda end: len(_html(lines[:end]).encode())
    )
    return _html(lines[:fits].rstrip())


def _html(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")


def _add(parent: ET.Element, name: str, text: str) -> ET.Element:
    element = ET.SubElement(parent, name)
    element.text = xml_text(text)
    return element
