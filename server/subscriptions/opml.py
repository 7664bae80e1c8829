"""OPML 2.0 (http://opml.org/spec2.opml): lists of links, as feed readers exchange them.

OPML has no attributes for the settings of a subscription: they stand as JSON in an attribute of our own
namespace.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from xml.etree import ElementTree as ET
from xml.parsers import expat

from server.core.errors import InvalidOpml
from server.core.xml_text import xml_text

NAMESPACE = "https://clipwire.invalid/opml/1"
DEEPEST = 50  # elements within each other
PIECE = 64 * 1024  # bytes that are parsed before other threads may run
_PREFIX = "clipwire"
_SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class Outline:
    """A link in a list. `name` may be empty; `url` and `settings` are not checked yet."""

    name: str
    url: str
    settings: str | None = None


def read(text: bytes, most: int) -> list[Outline]:
    """Return all outlines with a link, in their order, from all folders of the document.

    Raises `InvalidOpml`, also for more than `most` outlines, and for a document with a DTD, whose entities
    may stand for gigabytes.
    """
    parser = expat.ParserCreate(namespace_separator=None)
    found: list[Outline] = []
    # For each open element the names of the attribute, one for each prefix.
    names_of_settings: list[frozenset[str]] = [frozenset()]

    def refused(cause: str, **values: object) -> InvalidOpml:
        return InvalidOpml(cause, parser.CurrentLineNumber, **values)

    def begin(name: str, attributes: dict[str, str]) -> None:
        bound = names_of_settings[-1]
        for key, value in attributes.items():
            if key.startswith("xmlns:"):
                attribute = f"{key.removeprefix('xmlns:')}:{_SETTINGS}"
                bound = bound | {attribute} if value.strip() == NAMESPACE else bound - {attribute}
        names_of_settings.append(bound)
        if len(names_of_settings) == 2 and name.lower() != "opml":
            raise refused("no_opml", element=name[:100])
        if len(names_of_settings) > DEEPEST + 1:
            raise refused("too_deep")
        if name.lower() == "outline":
            by_name = {key.lower(): value.strip() for key, value in attributes.items()}
            if url := by_name.get("xmlurl") or by_name.get("url") or by_name.get("htmlurl"):
                settings = next((attributes[key] for key in attributes if key in bound), None)
                found.append(Outline(by_name.get("title") or by_name.get("text") or "", url, settings))
        if len(found) > most:
            raise refused("too_many", most=most)

    def end(_: str) -> None:
        names_of_settings.pop()

    def refuse(*_: object) -> None:
        raise refused("dtd")

    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.StartDoctypeDeclHandler = refuse
    try:
        for start in range(0, len(text), PIECE):
            parser.Parse(text[start : start + PIECE], False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise InvalidOpml("not_xml", error.lineno, why=expat.ErrorString(error.code)) from None
    except (ValueError, LookupError):
        raise refused("encoding") from None
    if not found:
        raise refused("no_links")
    return found


def written(outlines: Iterable[Outline]) -> bytes:
    root = ET.Element("opml", {"version": "2.0", f"xmlns:{_PREFIX}": NAMESPACE})
    ET.SubElement(ET.SubElement(root, "head"), "title").text = "Clipwire"
    body = ET.SubElement(root, "body")
    for outline in outlines:
        name = xml_text(outline.name)
        attributes = {"type": "rss", "text": name, "title": name, "xmlUrl": xml_text(outline.url)}
        if outline.settings is not None:
            attributes[f"{_PREFIX}:{_SETTINGS}"] = xml_text(outline.settings)
        ET.SubElement(body, "outline", attributes)
    target = BytesIO()
    ET.ElementTree(root).write(target, "utf-8", xml_declaration=True)
    return target.getvalue()
