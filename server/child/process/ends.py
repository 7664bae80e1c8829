"""Of what floods us, the beginning and the end are kept: the end mostly says why."""

import re
from collections import deque
from collections.abc import Iterator
from typing import Final, TextIO

_LINES: Final = 2000  # of the beginning, and of the end
_LONGEST: Final = 4096  # characters of a line
_MARK: Final = "({} lines left out)"
_MARKED: Final = re.compile(rb"^\((\d+) lines left out\)\n", re.MULTILINE)


class Ends:
    """Lines, of which so many are kept as they come and, when there are more, the last ones."""

    def __init__(self) -> None:
        self.first: list[str] = []
        self._last: deque[str] = deque(maxlen=_LINES)
        self._others = 0

    def add(self, line: str) -> bool:
        """Whether it is one of the first."""
        if len(self.first) < _LINES:
            self.first.append(line)
            return True
        self._others += 1
        self._last.append(line)
        return False

    @property
    def rest(self) -> list[str]:
        """What came after the first ones: the last, and before them how many there were in between."""
        left_out = self._others - len(self._last)
        return [*([_MARK.format(left_out)] if left_out else []), *self._last]

    @property
    def text(self) -> str:
        return "\n".join((*self.first, *self.rest))


def lines_of(stream: TextIO) -> Iterator[str]:
    """To the end of `stream`; what is too long for a line comes in several."""
    while line := stream.readline(_LONGEST):
        yield line.rstrip("\n")


def cut(text: bytes, kept: int) -> tuple[bytes, bytes]:
    """The first lines of `text`, and a mark with the last ones: about `kept` bytes of each."""
    earlier = _MARKED.search(text)  # it would stand between the lines that are kept
    begin = text.rfind(b"\n", 0, min(kept, earlier.start() if earlier else kept)) + 1
    end = text.find(b"\n", len(text) - kept) + 1
    middle = text[begin:end]
    marks = [int(number) for number in _MARKED.findall(middle)]
    left_out = middle.count(b"\n") - len(marks) + sum(marks)
    return text[:begin], _MARK.format(left_out).encode() + b"\n" + text[end:]
