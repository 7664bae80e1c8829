"""The task's log: what yt-dlp and ffmpeg say, with the time, capped and without secrets.

The child's standard output is the log file; it is appended to over attempts, and so is the cap.
"""

import os
import re
import threading
import time
from collections.abc import Callable

from server.redaction import clean

LIMIT = 256 * 1024
_LINE_END = re.compile(r"[\r\n]+")


class Log:
    """What yt-dlp takes as its logger; `on_line` is called for each line of yt-dlp: work goes on."""

    def __init__(self, descriptor: int = 1, on_line: Callable[[], None] = lambda: None) -> None:
        self.on_line = on_line
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._left = LIMIT - _size(descriptor)

    def debug(self, message: str) -> None:
        self.write(message)
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
            if self._left <= 0:
                return
            self._left -= len(data)
            if self._left <= 0:
                data = b"(this log is full; what follows is not kept)\n"
            _write(self._descriptor, data)


def _size(descriptor: int) -> int:
    try:
        return os.fstat(descriptor).st_size
    except OSError:
        return 0


def _write(descriptor: int, data: bytes) -> None:
    try:
        os.write(descriptor, data)
    except OSError:
        return  # a full disk: a job does not fail because of its log
