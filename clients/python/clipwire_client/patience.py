"""How long to try again, and how often."""

import asyncio
import random

from clipwire_client.errors import ClipwireError

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between two tries
# What a proxy, or a service that starts or stops, answers for a while.
PASSING = frozenset((429, 502, 503, 504))


class Patience:
    """Pauses between tries, which grow; it ends when nothing has come for as long as it lasts."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.rewarded()

    def rewarded(self) -> None:
        """Something has come: the next failure is a first one again."""
        self._pause, self._until = FIRST_PAUSE, float("inf")

    async def after(self, error: ClipwireError) -> None:
        """Wait a little; raise `error` if that has not helped for too long."""
        now = asyncio.get_running_loop().time()
        self._until = min(self._until, now + self._seconds)
        if now >= self._until:
            raise error
        # Not all clients of a service that comes back at the same moment.
        pause = max(self._pause * random.uniform(0.7, 1.3), min(error.retry_after or 0, LONGEST_PAUSE))  # noqa: S311
        await asyncio.sleep(min(pause, self._until - now))
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
