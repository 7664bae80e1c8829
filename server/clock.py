"""What time it is for this server.

The machine's clock is read once, at the start; from there on time passes as a stopwatch tells it. So
a clock that somebody sets makes no task older or younger, and no wait longer. A corrected clock is
taken over by the next start.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime


def stopwatch() -> float:
    """Seconds since some moment; where the system can tell, those that the machine slept count as well."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def wall() -> datetime:
    """What the machine's clock shows at this moment, in UTC: for what goes by the hours of people."""
    return datetime.now(UTC)


class Clock:
    """`wall` are seconds since 1970, which may jump; `steady` are seconds that never do."""

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = stopwatch
    ) -> None:
        self._steady = steady
        self._began = wall() - steady()

    def now(self) -> datetime:
        """In UTC; never earlier than it was before, in this process."""
        return datetime.fromtimestamp(self._began + self._steady(), UTC)
