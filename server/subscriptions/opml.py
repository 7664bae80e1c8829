"""OPML 2.0 (http://opml.org/spec2.opml): lists of links, as feed readers exchange them."""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from xml.etree import ElementTree as ET
from xml.parsers import expat

from server.core.errors import InvalidOpml
from server.core.xml_text import xml_text

DEEPEST = 50  # elements within each other
PIECE = 64 * 1024  # bytes, between which other threads may go on


@dataclass(frozen=True, slots=True)
class Outline:
    """`name` may be empty, `url` may be anything."""

    name: str
    url: str


def read(text: bytes, most: int) -> list[Outline]:
    """All outlines with a link, in their order, whatever they lie in. Raises `InvalidOpml`, also for more
    than `most`, and for a document with a DTD: entities may stand for gigabytes.
    """
    parser = expat.ParserCreate(namespace_separator=None)
    found: list[Outline] = []
    depth, is_opml = 0, False

    def begin(name: str, given: dict[str, str]) -> None:
        nonlocal depth, is_opml
        depth += 1
        is_opml = is_opml or (depth == 1 and name.lower() == "opml")
        if depth > DEEPEST or not is_opml:
            raise InvalidOpml
        if name.lower() == "outline":
            known = {key.lower(): value.strip() for key, value in given.items()}
            if url := known.get("xmlurl") or known.get("url") or known.get("htmlurl"):
                found.append(Outline(known.get("title") or known.get("text") or "", url))
        if len(found) > most:
            raise InvalidOpml

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_: object) -> None:
        raise InvalidOpml

    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.StartDoctypeDeclHandler = refuse
    try:
        for start in range(0, len(text), PIECE):
            parser.Parse(text[start : start + PIECE], False)
        parser.Parse(b"", True)
    except (expat.ExpatError, ValueError, LookupError):  # the last two for encodings that it cannot read
        raise InvalidOpml from None
    if not found:
        raise InvalidOpml
    return found


def written(outlines: Iterable[Outline]) -> bytes:
    root = ET.Element("opml", version="2.0")
    ET.SubElement(ET.SubElement(root, "head"), "title").text = "Clipwire"
    body = ET.SubElement(root, "body")
    for outline in outlines:
        name = xml_text(outline.name)
        ET.SubElement(body, "outline", type="rss", text=name, title=name, xmlUrl=xml_text(outline.url))
    target = BytesIO()
    ET.ElementTree(root).write(target, "utf-8", xml_declaration=True)
    return target.getvalue()
