"""How often a request to a source is retried within an attempt, and after which pauses.

As often as yt-dlp does it, once any byte of the stream has come. Before that the attempt ends soon, with the
reason: the server makes the next attempts, and shows clients what it waits for.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from yt_dlp.networking.exceptions import HTTPError

from server.child.extract.exception_facts import chain
from server.child.media import parts
from server.child.network import guard

MOST: Final = 10
OF_GAPS: Final = 2
"""Of a fragment, where those that its source lacks are left out: a film may lack many."""

_BEFORE_ANYTHING: Final = 2
_SOON: Final = 15.0  # seconds
_TICK: Final = 1.0  # seconds
_OF_FRAGMENTS: Final = "-Frag"


class Tries:
    """The retries of one stream, or of one of its fragments, which is written to `path`."""

    def __init__(self, path: str) -> None:
        self._stream = Path(path.partition(_OF_FRAGMENTS)[0].removesuffix(".part"))
        self._began = time.monotonic()
        self._in_a_row = self._size = 0
        self.faults = 0

    def in_a_row(self, size: int) -> int:
        """Count a fault; return how many there were since the file last grew; `size` is its size in bytes."""
        self.faults += 1
        self._in_a_row = 1 if size > self._size else self._in_a_row + 1
        self._size = max(self._size, size)
        return self._in_a_row

    def left(self, error: object, most: int) -> int:
        """How many retries to allow after `error`, at most `most`."""
        if isinstance(error, HTTPError) and error.response.headers.get("Retry-After"):
            return 0  # the server waits that long
        if isinstance(error, Exception) and are_in_vain(error):
            return 0
        if parts.has_begun(self._stream):
            return most
        return 0 if time.monotonic() - self._began > _SOON else min(most, _BEFORE_ANYTHING)


def are_in_vain(error: Exception) -> bool:
    """Whether another try would meet the same error: the address is blocked on this side."""
    return any(isinstance(link, guard.AddressBlocked) for link in chain(error))


def pause(first: float, longest: float, on_tick: Callable[[], None]) -> Callable[[int], float]:
    """What yt-dlp calls before retry `n`, from 0 on: sleeps `first` seconds, doubled each time to `longest`.

    `on_tick` is called every second meanwhile: a pause is no stall.
    """

    def sleep(n: int) -> float:
        until = time.monotonic() + min(first * 2.0 ** min(n, 20), longest)
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _TICK))
            on_tick()
        return 0.0  # seconds that yt-dlp is to sleep as well

    return sleep
