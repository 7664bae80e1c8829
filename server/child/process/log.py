"""The task's log: the output of yt-dlp and ffmpeg, with the time, without secrets, and limited in size.

The child's standard output is the log file, to which each attempt appends. A full log loses lines in the
middle: its beginning and its end are worth most.
"""

import os
import re
import threading
import time
from collections.abc import Callable

from server.child.process.excerpt import cut
from server.core.redaction import clean

LIMIT = 1024 * 1024
_SPARE = 8 * 1024  # bytes left for what the server appends
_KEPT = 320 * 1024  # bytes of the beginning, and of the end
_LINE_END = re.compile(r"[\r\n]+")


class Log:
    """The logger for yt-dlp; `on_line` is called for each of its messages, as a sign of life."""

    def __init__(self, descriptor: int = 1, on_line: Callable[[], None] = lambda: None) -> None:
        self.on_line = on_line
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._size = _size(descriptor)

    def debug(self, message: str) -> None:
        self.write(message)
        self.on_line()

    def alive(self) -> None:
        """Give a sign of life without writing anything."""
        self.on_line()

    info = debug

    def warning(self, message: str, *, once: bool = False, only_once: bool = False) -> None:
        self.debug(f"WARNING: {message}")

    def error(self, message: str) -> None:
        self.debug(message)

    def write(self, message: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        lines = [clean(line) for line in _LINE_END.split(message)]
        self._append("".join(f"{now} {line}\n" for line in lines if line.strip()).encode(errors="replace"))

    def close(self) -> None:
        os.close(self._descriptor)

    def _append(self, data: bytes) -> None:
        with self._lock:
            if self._size + len(data) > LIMIT - _SPARE:
                data = self._cut(data)
            self._size += len(data)
            _write(self._descriptor, data)

    def _cut(self, data: bytes) -> bytes:
        """Cut the file after its first lines; return what to append then: the last lines, up to `data`."""
        whole = _read(self._descriptor, self._size) + data
        if len(whole) <= 2 * _KEPT:  # not a file that can be read
            return data[-_KEPT:]
        first, last = cut(whole, _KEPT)
        os.ftruncate(self._descriptor, min(self._size, len(first)))
        rest = first[self._size :] + last
        self._size = min(self._size, len(first))
        return rest


def _size(descriptor: int) -> int:
    try:
        return os.fstat(descriptor).st_size
    except OSError:
        return 0


def _read(descriptor: int, size: int) -> bytes:
    try:
        return os.pread(descriptor, size, 0)
    except OSError:
        return b""


def _write(descriptor: int, data: bytes) -> None:
    try:
        os.write(descriptor, data)
    except OSError:
        return  # a full disk: a job does not fail because of its log
