"""How fast downloads may be at which hour: `downloads.rate_windows`, by the clock of a time zone.

A window is there whenever a clock on a wall there shows one of its minutes. So one that lies in an hour that
is left out when summer begins does not come on that day, and one in the hour that comes twice comes twice.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from server.settings import DownloadSettings

LOOK_EVERY: Final = 0.5  # seconds
_MINUTE: Final = timedelta(minutes=1)
_LONGEST: Final = 2 * 24 * 60  # minutes: after two days every hour has been there


class Hours:
    def __init__(self, settings: DownloadSettings) -> None:
        self._windows = settings.rate_windows
        self._zone = ZoneInfo(settings.time_zone)
        self._usual = settings.rate_limit

    def rate(self, now: datetime) -> int | None:
        """Bytes a second at that moment; 0: nothing may come, None: as much as comes."""
        here = now.astimezone(self._zone)
        minute = here.hour * 60 + here.minute
        return next((window.rate for window in self._windows if window.has(minute)), self._usual)

    def goes_on_at(self, now: datetime) -> datetime | None:
        """The beginning of the next minute in which something may come; None if there is none."""
        minute = now.astimezone(UTC).replace(second=0, microsecond=0)
        following = (minute + _MINUTE * ahead for ahead in range(1, _LONGEST))
        return next((moment for moment in following if self.rate(moment) != 0), None)


class Paced(Protocol):
    """A runner."""

    def limit_rate(self, bytes_per_second: int | None, until: datetime | None = None, /) -> None: ...


class Pacer:
    """Has `runner` keep to the hours. `wall` is what time it is, `share` what of a rate is this node's.

    The machine's clock may be set while the server runs: it is asked at each look.
    """

    def __init__(
        self,
        settings: DownloadSettings,
        runner: Paced,
        wall: Callable[[], datetime],
        share: Callable[[int], int] = int,
    ) -> None:
        self._hours = Hours(settings)
        self._runner = runner
        self._wall = wall
        self._share = share
        self._was: int | None = None

    async def look(self) -> None:
        now = self._wall()
        before, self._was = self._was, self._hours.rate(now)
        if self._was != 0:
            self._runner.limit_rate(self._was and self._share(self._was))
        elif before != 0:
            self._runner.limit_rate(0, self._hours.goes_on_at(now))
