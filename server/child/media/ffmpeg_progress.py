"""Signs that an ffmpeg makes progress: the output time that it reports, and changes of its files.

The output time is not enough. In its second pass over an MP4 (`+faststart`) ffmpeg reports nothing for as
long as the disk takes, and an ffmpeg that hangs may report the same time for ever.

Decisions: docs/decisions/retries.md
"""

import os
import select
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

_LOOK: Final = 1.0  # seconds
_BLOCK: Final = 64 * 1024


def outputs_of(args: Sequence[str]) -> list[Path]:
    """The files that an ffmpeg with these arguments writes."""
    words = [arg for before, arg in pairwise(args) if before != "-i"]
    return [Path(word.removeprefix("file:")) for word in words if word.startswith("file:")]


def watch(
    reports: int, outputs: Sequence[Path], on_time: Callable[[float], None], on_written: Callable[[], None]
) -> None:
    """Read the lines of `-progress` from the descriptor `reports` to their end, and close it.

    `on_time` gets the seconds of output written so far, whenever they grow; `on_written` is called when the
    files have changed.
    """
    signs = _Signs(outputs, on_time, on_written)
    with os.fdopen(reports, "rb", buffering=0) as stream:
        rest = b""
        while True:
            if select.select([stream], [], [], _LOOK)[0]:
                block = stream.read(_BLOCK)
                if not block:
                    return
                *lines, rest = (rest + block).split(b"\n")
                signs.hear(lines)
            signs.look()


class _Signs:
    def __init__(
        self, outputs: Sequence[Path], on_time: Callable[[float], None], on_written: Callable[[], None]
    ) -> None:
        self._outputs = outputs
        self._on_time = on_time
        self._on_written = on_written
        self._time = -1
        self._seen: list[tuple[int, int]] = []

    def hear(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            name, _, value = line.strip().partition(b"=")
            # N/A at first, and may be below zero.
            if name == b"out_time_us" and value.isdigit() and int(value) > self._time:
                self._time = int(value)
                self._on_time(self._time / 1e6)

    def look(self) -> None:
        """Compare the times of change as well: a write within a file does not change its size."""
        seen = [(stat.st_size, stat.st_mtime_ns) for stat in map(os.stat, filter(Path.exists, self._outputs))]
        if seen != self._seen:
            self._seen = seen
            self._on_written()
