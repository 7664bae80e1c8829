"""The rate of downloads at each hour: `downloads.rate_windows`, in the local time of a time zone.

A window applies whenever local time shows one of its minutes. So a window in the hour that is skipped when
daylight saving time begins is skipped on that day, and one in the hour that is repeated applies twice.

Decisions: docs/decisions/clocks.md
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from server.settings import DownloadSettings

CHECK_EVERY: Final = 0.5  # seconds
_MINUTE: Final = timedelta(minutes=1)
_LONGEST_SEARCH: Final = 2 * 24 * 60  # minutes: within two days each minute of local time comes at least once


class Hours:
    def __init__(self, settings: DownloadSettings) -> None:
        self._windows = settings.rate_windows
        self._zone = ZoneInfo(settings.time_zone)
        self._usual = settings.rate_limit

    def rate(self, now: datetime) -> int | None:
        """Return the limit in bytes a second at `now`; 0: no downloads, None: no limit."""
        here = now.astimezone(self._zone)
        minute = here.hour * 60 + here.minute
        return next((window.rate for window in self._windows if window.has(minute)), self._usual)

    def goes_on_at(self, now: datetime) -> datetime | None:
        """The beginning of the next minute in which downloads are allowed; None if there is none."""
        minute = now.astimezone(UTC).replace(second=0, microsecond=0)
        following = (minute + _MINUTE * ahead for ahead in range(1, _LONGEST_SEARCH))
        return next((moment for moment in following if self.rate(moment) != 0), None)


class RateLimited(Protocol):
    """The part of a runner that a `Pacer` uses."""

    def limit_rate(self, bytes_per_second: int | None, until: datetime | None = None, /) -> None: ...


class Pacer:
    """Sets the rate of `runner` by the windows. `wall` returns the time, `share` this node's part of a rate.

    The machine's clock may be set while the server runs, so each check reads it again.
    """

    def __init__(
        self,
        settings: DownloadSettings,
        runner: RateLimited,
        wall: Callable[[], datetime],
        share: Callable[[int], int] = int,
    ) -> None:
        self._hours = Hours(settings)
        self._runner = runner
        self._wall = wall
        self._share = share
        self._last_rate: int | None = None

    async def look(self) -> None:
        now = self._wall()
        before, self._last_rate = self._last_rate, self._hours.rate(now)
        if self._last_rate != 0:
            self._runner.limit_rate(self._last_rate and self._share(self._last_rate))
        elif before != 0:
            self._runner.limit_rate(0, self._hours.goes_on_at(now))
