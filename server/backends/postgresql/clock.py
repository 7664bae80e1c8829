"""What time it is for all nodes: the database says it."""

from collections.abc import Callable
from datetime import UTC, datetime

from psycopg import AsyncConnection

from server.clock import Clock, stopwatch

LOOK_EVERY = 60.0  # seconds
_NOW = b"SELECT extract(epoch FROM clock_timestamp())::float8"


class DatabaseClock(Clock):
    """The database's clock, as it was when somebody looked, and a stopwatch since: nobody's own clock
    counts.
    """

    def __init__(self, steady: Callable[[], float] = stopwatch) -> None:
        super().__init__(lambda: 0.0, steady)
        self._latest = 0.0

    async def look(self, db: AsyncConnection) -> None:
        """Take over what the database says now, in the middle of the time that the answer took."""
        asked = self._steady()
        row = await (await db.execute(_NOW)).fetchone()
        assert row
        self._began = row[0] - (asked + self._steady()) / 2

    def now(self) -> datetime:
        self._latest = max(self._latest, self._began + self._steady())
        return datetime.fromtimestamp(self._latest, UTC)
