"""How long and how often a failed request is repeated."""

import asyncio
import random
from collections.abc import Callable
from typing import Self

from clipwire_client.errors import ClipwireError, ServerUnreachable

SILENT_AFTER = 8.0  # seconds without a byte after which a transfer counts as silent
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between two tries
# Statuses that a proxy, or a service that starts or stops, answers for a while.
PASSING = frozenset((429, 502, 503, 504))


Troubled = Callable[[ClipwireError], None]
"""Called with the reason when something is tried again, or when nothing comes; not at the last failure."""


class SilenceTimer:
    """`with SilenceTimer(...) as silence`: calls `troubled` after `SILENT_AFTER` seconds without a byte."""

    def __init__(self, troubled: Troubled | None, url: str) -> None:
        self._troubled = troubled
        self._url = url
        self._timer: asyncio.TimerHandle | None = None

    def restart(self) -> None:
        """Count the seconds from zero: a byte has come."""
        self.end()
        if self._troubled:
            error = ServerUnreachable(f"no answer from {self._url} for {SILENT_AFTER:.0f} s")
            self._timer = asyncio.get_running_loop().call_later(SILENT_AFTER, self._troubled, error)

    def __enter__(self) -> Self:
        self.restart()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        if self._timer:
            self._timer.cancel()


class RetryBackoff:
    """The growing pauses between tries, until nothing has come for `seconds`."""

    def __init__(self, seconds: float, troubled: Troubled) -> None:
        self._seconds = seconds
        self._troubled = troubled
        self.reset()

    def reset(self) -> None:
        """Start again with the shortest pause, because something has come."""
        self._pause, self._until = FIRST_PAUSE, float("inf")

    async def after(self, error: ClipwireError) -> None:
        """Wait before the next try; raise `error` if all tries have failed for `seconds`."""
        now = asyncio.get_running_loop().time()
        self._until = min(self._until, now + self._seconds)
        if now >= self._until:
            raise error
        self._troubled(error)
        # Random pauses, so that not all clients come at the same moment when the service is back.
        pause = max(self._pause * random.uniform(0.7, 1.3), min(error.retry_after or 0, LONGEST_PAUSE))  # noqa: S311
        await asyncio.sleep(min(pause, self._until - now))
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
