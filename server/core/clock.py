"""The server's own clock.

`now`: the system clock is read once, at the start; from then on a monotonic clock measures the time that
passes. So setting the system clock changes neither the age of a task nor the length of a wait. The server
takes over a corrected system clock at its next start.

`wall`: the system clock as it is now. It is read again and again where people, or a source, name a moment:
for `start_at`, `rate_windows` and the announced beginning of a broadcast.

Decisions: docs/decisions/clocks.md
"""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

stopwatch: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Monotonic seconds since an arbitrary moment, including time in suspend where the system can tell."""


def zone_of(name: str | None) -> tzinfo:
    """Return the time zone called `name`, which exists; for None the system's, or UTC if the system has
    none.
    """
    if name is not None:
        return ZoneInfo(name)
    try:
        if set_by := os.environ.get("TZ", "").removeprefix(":"):
            return ZoneInfo(set_by)
        with Path("/etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError, KeyError):
        return UTC


class Clock:
    """`wall` returns seconds since 1970 and may jump; `steady` returns seconds and is monotonic."""

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = stopwatch
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._began = wall() - steady()

    def now(self) -> datetime:
        """The time in UTC; never earlier than a time that it returned before."""
        return datetime.fromtimestamp(self._began + self._steady(), UTC)

    def wall(self) -> datetime:
        """The time in UTC as the system's clock shows it now; it may jump, forward and back."""
        return datetime.fromtimestamp(self._wall(), UTC)
