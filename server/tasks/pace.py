"""Whether a source sends more than next to nothing: one that drips would hold a place for years."""

from typing import Final

WINDOW: Final = 600.0  # seconds
LEAST: Final = 64 * 1024
"""Bytes that come within `WINDOW`, however slow the source is: a fifth of what a modem of 1990 took."""

_OF_SHARE: Final = 0.1  # of what may come at all, where the operator allows very little


class Pace:
    """`now` are seconds of a stopwatch."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._floor = 0

    def is_too_slow(self, downloaded: int, share: int | None, now: float) -> bool:
        """Whether too little has come since some moment, of `downloaded` bytes in all.

        `share` is what may come in a second. A download that begins anew has fewer bytes than it had.
        """
        self._floor = min(self._floor, downloaded)
        least = LEAST if share is None else min(LEAST, _OF_SHARE * share * WINDOW)
        if downloaded >= self._floor + least:
            self._since, self._floor = now, downloaded
        return now - self._since >= WINDOW
