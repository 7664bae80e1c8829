"""Tells whether a source sends next to nothing: such a download would hold a place for years.

Decisions: docs/decisions/retries.md
"""

from typing import Final

WINDOW: Final = 600.0  # seconds
LEAST: Final = 64 * 1024
"""Bytes that have to come within `WINDOW`: a hundred a second, a fifth of what a modem of 1990 took."""

_OF_SHARE: Final = 0.1  # fraction of the rate limit that is enough where the limit is very low


class Pace:
    """`now` are seconds of a monotonic clock."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._floor = 0

    def is_too_slow(self, downloaded: int, share: int | None, now: float) -> bool:
        """Whether too few bytes have come for `WINDOW` seconds; `downloaded` are all bytes so far.

        `share` is the limit in bytes a second, or None. `downloaded` falls if the download begins anew.
        """
        self._floor = min(self._floor, downloaded)
        least = LEAST if share is None else min(LEAST, _OF_SHARE * share * WINDOW)
        if downloaded >= self._floor + least:
            self._since, self._floor = now, downloaded
        return now - self._since >= WINDOW
