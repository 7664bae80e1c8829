"""Writes NFO files, in which Kodi, Jellyfin, Emby and Plex find the facts of the film beside.

Season and episode are those of the name: Kodi reads them from the name alone, Jellyfin from both. Music and
podcasts have none, their tags decide. Every text is text, whatever a source puts into it.

Decisions: docs/decisions/library.md
"""

from datetime import tzinfo
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from server.core.xml_text import xml_text
from server.library.library_names import Film

LONGEST_PLOT = 10_000  # characters
MOST_TAGS = 50


def tvshow(film: Film, zone: tzinfo, plot: str | None = None, author: str | None = None) -> bytes:
    """`tvshow.nfo` of the show that `film` belongs to, with what its source says of it."""
    root = Element("tvshow")
    title = film.channel or film.channel_id or film.extractor or "Unknown"
    _add(root, "title", title)
    _add(root, "plot", (plot or "")[:LONGEST_PLOT])
    _add(root, "studio", film.extractor if author in (None, title) else author)
    _identify(root, film.extractor, film.channel_id)
    return _written(root)


def episode(film: Film, zone: tzinfo) -> bytes:
    root = Element("episodedetails")
    _add(root, "title", film.title or film.label)
    _add(root, "showtitle", film.channel)
    _add(root, "season", film.season)
    _add(root, "episode", film.episode)
    _add(root, "aired", film.day.isoformat())
    return _described(root, film, zone)


def movie(film: Film, zone: tzinfo) -> bytes:
    root = Element("movie")
    _add(root, "title", film.title or film.label)
    return _described(root, film, zone)


def _described(root: Element, film: Film, zone: tzinfo) -> bytes:
    _add(root, "premiered", film.day.isoformat())
    _add(root, "year", film.day.year)
    _add(root, "plot", (film.description or "")[:LONGEST_PLOT])
    if film.duration:
        _add(root, "runtime", max(round(film.duration / 60), 1))
    _add(root, "studio", film.channel)
    for tag in dict.fromkeys(film.tags[:MOST_TAGS]):
        _add(root, "tag", tag)
    if film.added_at:
        _add(root, "dateadded", film.added_at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"))
    # So that a restored database that is older than the library finds the film.
    kind, _, known_as = film.key.partition(" ")
    _identify(root, *(("link", film.url) if kind == "url" else (kind, known_as)))
    return _written(root)


def _add(parent: Element, name: str, value: str | int | None) -> None:
    """Add an XML element with `value`, unless nothing is left of `value` after cleaning."""
    text = xml_text(str("" if value is None else value)).strip()
    if text:
        SubElement(parent, name).text = text


def _identify(root: Element, kind: str | None, value: str | None) -> None:
    text = xml_text(value or "").strip()
    if text:
        SubElement(root, "uniqueid", type=xml_text(kind or "").lower() or "link", default="true").text = text


def _written(root: Element) -> bytes:
    """Return the document as UTF-8 without a byte order mark."""
    indent(root)
    written: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"
