"""The time for all nodes, by the database's clock."""

from collections.abc import Callable
from datetime import UTC, datetime

from psycopg import AsyncConnection

from server.core.clock import Clock, stopwatch

READ_EVERY = 60.0  # seconds
_NOW = b"SELECT extract(epoch FROM clock_timestamp())::float8"


class DatabaseClock(Clock):
    """The database's time at the last `look`, plus a stopwatch since then; the machine's own clock is not
    used.
    """

    def __init__(self, steady: Callable[[], float] = stopwatch) -> None:
        super().__init__(lambda: 0.0, steady)
        self._latest = 0.0

    async def look(self, db: AsyncConnection) -> None:
        """Read the database's clock; its time counts as that of the middle between query and answer."""
        asked_at = self._steady()
        row = await (await db.execute(_NOW)).fetchone()
        assert row
        self._began = row[0] - (asked_at + self._steady()) / 2

    def now(self) -> datetime:
        self._latest = max(self._latest, self._began + self._steady())
        return datetime.fromtimestamp(self._latest, UTC)

    def wall(self) -> datetime:
        """Return the time by the last `look`; it goes back if the database's clock was set back."""
        return datetime.fromtimestamp(self._began + self._steady(), UTC)
