"""Reads a large JSON object piece by piece: the event loop turns between two pieces.

Parsing 4 MiB at once can take a second, if they are full of brackets, and no thread can do it beside the
loop, since it holds Python's interpreter all that time.

Decisions: docs/decisions/http.md
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from server.api.bodies import as_object, parsed
from server.core.errors import BodyTooLarge, InvalidRequest, NotJson

MOST_NAMES = 100  # members of the object that are read; so many are wrong in any case

Piece = tuple[str, int | None, Any]
"""The name of a member, and its value; or of its list one element, with its place."""

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def pieces(body: bytes, listed: str, most: int) -> Iterator[Piece]:
    """All members of the object in `body`; of the member `listed` each element by itself.

    Raises `NotJson`, `InvalidRequest`, and `BodyTooLarge` if a piece has more than `most` bytes.
    """
    if len(body) <= most:
        yield from _pieces_of(body, listed)
        return
    try:
        reader = _Reader(body.decode(), most)
    except UnicodeDecodeError:
        raise NotJson from None
    if not reader.has("{"):
        raise InvalidRequest([("body", "dict_type", {})])
    if reader.has("}"):
        reader.ends()
        return
    for _ in range(MOST_NAMES):
        name = reader.name()
        if name == listed and reader.has("["):
            yield from reader.elements(name)
        else:
            yield name, None, reader.value()
        if not reader.goes_on("}"):
            reader.ends()
            return


def _pieces_of(body: bytes, listed: str) -> Iterator[Piece]:
    for name, value in as_object(body).items():
        if name == listed and isinstance(value, list) and value:
            yield from ((name, place, element) for place, element in enumerate(value))
        else:
            yield name, None, value


class _Reader:
    """Reads `text` from its beginning. All methods raise `NotJson`, or `BodyTooLarge` for a long value."""

    def __init__(self, text: str, most: int) -> None:
        self._text, self._most, self._at = text, most, 0

    def has(self, sign: str) -> bool:
        """Whether `sign` comes next; then it is passed."""
        self._pass_space()
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        return True

    def goes_on(self, end: str) -> bool:
        """True after a comma, False after `end`."""
        if self.has(","):
            return True
        if not self.has(end):
            raise NotJson
        return False

    def ends(self) -> None:
        """Make sure that nothing comes any more."""
        self._pass_space()
        if self._at < len(self._text):
            raise NotJson

    def name(self) -> str:
        name = self.value()
        if not isinstance(name, str) or not self.has(":"):
            raise NotJson
        return name

    def elements(self, name: str) -> Iterator[Piece]:
        """Those of the list that has just begun; the list itself if it is empty."""
        place = 0
        if self.has("]"):
            yield name, None, []
            return
        while True:
            yield name, place, self.value()
            place += 1
            if not self.goes_on("]"):
                return

    def value(self) -> Any:
        """Its end is found by Python's own decoder; it is read by the one that reads all other bodies."""
        self._pass_space()
        window = self._text[self._at : self._at + self._most + 1]
        is_cut = len(window) > self._most
        try:
            _, end = _DECODER.raw_decode(window)
        except json.JSONDecodeError as exc:
            reaches_the_cut = exc.pos >= self._most - 12 or exc.msg.startswith("Unterminated")
            raise BodyTooLarge if is_cut and reaches_the_cut else NotJson from None
        except (ValueError, RecursionError):  # a number of thousands of digits, or too deep
            raise NotJson from None
        piece = window[:end].encode(errors="surrogatepass")
        if len(piece) > self._most:
            raise BodyTooLarge
        value = parsed(piece)
        self._at += end
        return value

    def _pass_space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at
