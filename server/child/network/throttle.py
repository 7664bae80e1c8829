"""A limit of bytes a second over all connections of this job, which can change at any time.

yt-dlp's own limit works with the mean rate since the start: a lower limit would stop a running download for
minutes. Here received bytes are a debt, which is paid off at the current rate.
"""

import threading
import time
from collections.abc import Callable

LARGEST_BLOCK = 256 * 1024
_LONGEST_NAP = 1.0


class Throttle:
    """`rate` is in bytes a second; 0 holds all downloads, None is no limit.

    `on_nap` is called about once a second while the throttle holds a download back.
    """

    def __init__(self, rate: int | None = None, on_nap: Callable[[], None] = lambda: None) -> None:
        self._rate = rate
        self._on_nap = on_nap
        self._debt = 0.0
        self._paid_at = time.monotonic()
        self._changed = threading.Condition()
        self.holds = int(rate == 0)
        """How often the rate became 0."""

    def set_rate(self, bytes_per_second: int | None) -> bool:
        """Return whether this changes the rate."""
        with self._changed:
            self._pay()
            before, self._rate = self._rate, bytes_per_second
            self.holds += self._rate == 0 and before != 0
            self._changed.notify_all()
        return before != bytes_per_second

    def pace(self, count: int, *, stops: bool = True) -> None:
        """Account for `count` received bytes; block until more may be received.

        With `stops` false a rate of 0 does not block: a broadcast that is being recorded is sent only once.
        """
        with self._changed:
            self._pay()
            self._debt += count
            while nap := self._nap(stops):
                self._changed.wait(nap)
                self._pay()
                if self._nap(stops):
                    self._on_nap()

    def _nap(self, stops: bool) -> float:
        if self._rate == 0:
            return _LONGEST_NAP if stops else 0.0
        return min(self._debt / self._rate, _LONGEST_NAP) if self._rate else 0.0

    def block_size(self, wanted: int) -> int:
        """How many bytes to read at once: few enough that progress and the limit stay smooth."""
        quarter_second = self._rate // 4 if self._rate else LARGEST_BLOCK
        return max(1024, min(wanted, quarter_second, LARGEST_BLOCK))

    def _pay(self) -> None:
        now = time.monotonic()
        paid = (now - self._paid_at) * self._rate if self._rate else self._debt
        self._debt = max(0.0, self._debt - paid)
        self._paid_at = now
