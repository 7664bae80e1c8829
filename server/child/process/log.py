"""The task's log: the output of yt-dlp and ffmpeg, with the time, without secrets, and limited in size.

The child's standard output is the log file, to which each attempt appends. When the log is full, lines in its
middle are dropped: the beginning and the end are the most useful. `Excerpt` does the same to the output of a
program.
"""

import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, TextIO

from server.core.redaction import clean

_MAX_LINES: Final = 2000  # lines at the beginning, and as many at the end
_MAX_LINE_CHARS: Final = 4096
_GAP: Final = "({} lines left out)"
_GAP_LINE: Final = re.compile(rb"^\((\d+) lines left out\)\n", re.MULTILINE)


class Excerpt:
    """Keeps the first and the last `_MAX_LINES` of the lines that are added."""

    def __init__(self) -> None:
        self.first: list[str] = []
        self._last: deque[str] = deque(maxlen=_MAX_LINES)
        self._after_first = 0  # lines added after the first ones

    def add(self, line: str) -> bool:
        """Add a line; return whether it is one of the first."""
        if len(self.first) < _MAX_LINES:
            self.first.append(line)
            return True
        self._after_first += 1
        self._last.append(line)
        return False

    @property
    def rest(self) -> list[str]:
        """The last lines; if lines before them were left out, they follow a line that says how many."""
        left_out = self._after_first - len(self._last)
        return [*([_GAP.format(left_out)] if left_out else []), *self._last]

    @property
    def text(self) -> str:
        return "\n".join((*self.first, *self.rest))


def lines_of(stream: TextIO) -> Iterator[str]:
    """Yield the lines up to the end of `stream`; a line of more than `_MAX_LINE_CHARS` is split."""
    while line := stream.readline(_MAX_LINE_CHARS):
        yield line.rstrip("\n")


def cut_middle(text: bytes, kept: int) -> tuple[bytes, bytes]:
    """Return the first lines of `text`, and its last lines, about `kept` bytes of each.

    In front of the last lines is one that says how many were left out.
    """
    # An earlier gap: its line is left out, and its number added to the new one.
    earlier = _GAP_LINE.search(text)
    begin = text.rfind(b"\n", 0, min(kept, earlier.start() if earlier else kept)) + 1
    end = text.find(b"\n", len(text) - kept) + 1
    middle = text[begin:end]
    earlier_gaps = [int(number) for number in _GAP_LINE.findall(middle)]
    left_out = middle.count(b"\n") - len(earlier_gaps) + sum(earlier_gaps)
    return text[:begin], _GAP.format(left_out).encode() + b"\n" + text[end:]


LIMIT = 1024 * 1024  # bytes
_FOR_SERVER = 8 * 1024  # bytes of the limit, for lines that the server appends
_KEPT = 320 * 1024  # bytes that are kept of the beginning of a long log, and of its end
_LINE_END = re.compile(r"[\r\n]+")


class Log:
    """The logger for yt-dlp; `on_line` is called for each of its messages, as a sign of life."""

    def __init__(self, descriptor: int = 1, on_line: Callable[[], None] = lambda: None) -> None:
        self._on_line = on_line
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._size = 0
        with suppress(OSError):
            self._size = os.fstat(descriptor).st_size

    def debug(self, message: str) -> None:
        self.write(message)
        self._on_line()

    def alive(self) -> None:
        """Report that the job is alive, without writing a line."""
        self._on_line()

    info = debug

    def warning(self, message: str, *, once: bool = False, only_once: bool = False) -> None:
        self.debug(f"WARNING: {message}")

    def error(self, message: str) -> None:
        self.debug(message)

    def write(self, message: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        lines = [clean(line) for line in _LINE_END.split(message)]
        data = "".join(f"{now} {line}\n" for line in lines if line.strip()).encode(errors="replace")
        with self._lock:
            if self._size + len(data) > LIMIT - _FOR_SERVER:
                data = self._cut(data)
            self._size += len(data)
            with suppress(OSError):  # the disk may be full: a job does not fail because of its log
                os.write(self._descriptor, data)

    def close(self) -> None:
        os.close(self._descriptor)

    def _cut(self, data: bytes) -> bytes:
        """Truncate the file after its first lines; return the last lines, with `data`, to append."""
        whole = data
        with suppress(OSError):
            whole = os.pread(self._descriptor, self._size, 0) + data
        if len(whole) <= 2 * _KEPT:  # too little was read to cut out a middle; the log may be no regular file
            return data[-_KEPT:]
        first, last = cut_middle(whole, _KEPT)
        os.ftruncate(self._descriptor, min(self._size, len(first)))
        rest = first[self._size :] + last
        self._size = min(self._size, len(first))
        return rest
