"""Keeps the beginning and the end of long output: the end mostly says what went wrong."""

import re
from collections import deque
from collections.abc import Iterator
from typing import Final, TextIO

_LINES: Final = 2000  # of the beginning, and of the end
_LONGEST: Final = 4096  # characters of a line
_MARK: Final = "({} lines left out)"
_MARKED: Final = re.compile(rb"^\((\d+) lines left out\)\n", re.MULTILINE)


class Excerpt:
    """Keeps the first and the last `_LINES` of the lines that are added."""

    def __init__(self) -> None:
        self.first: list[str] = []
        self._last: deque[str] = deque(maxlen=_LINES)
        self._others = 0

    def add(self, line: str) -> bool:
        """Add a line; return whether it is one of the first."""
        if len(self.first) < _LINES:
            self.first.append(line)
            return True
        self._others += 1
        self._last.append(line)
        return False

    @property
    def rest(self) -> list[str]:
        """The last lines; if lines were left out before them, after a mark that says how many."""
        left_out = self._others - len(self._last)
        return [*([_MARK.format(left_out)] if left_out else []), *self._last]

    @property
    def text(self) -> str:
        return "\n".join((*self.first, *self.rest))


def lines_of(stream: TextIO) -> Iterator[str]:
    """The lines up to the end of `stream`; one of more than `_LONGEST` characters is split."""
    while line := stream.readline(_LONGEST):
        yield line.rstrip("\n")


def cut(text: bytes, kept: int) -> tuple[bytes, bytes]:
    """The first lines of `text`, and its last lines with a mark in front: about `kept` bytes of each."""
    earlier = _MARKED.search(text)  # the first lines end before it, so that the new mark includes its number
    begin = text.rfind(b"\n", 0, min(kept, earlier.start() if earlier else kept)) + 1
    end = text.find(b"\n", len(text) - kept) + 1
    middle = text[begin:end]
    marks = [int(number) for number in _MARKED.findall(middle)]
    left_out = middle.count(b"\n") - len(marks) + sum(marks)
    return text[:begin], _MARK.format(left_out).encode() + b"\n" + text[end:]
