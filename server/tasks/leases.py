"""Work that rows of the store ask for: a row is leased to one server. When that is dead, another one does the
work, once the lease has ended.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from server.core.background import in_background
from server.core.clock import stopwatch
from server.core.errors import StoreUnavailable

log = logging.getLogger(__name__)

LEASE, RENEWED_EVERY = 60.0, 20.0  # seconds
MARGIN = 5.0  # seconds before the end of a lease from which nobody works under it any more
STORE_AGAIN = 1.0  # seconds, while the store is unavailable


class LeasedWork:
    """What is under way on this server, `most` at once. Set `called` when something may be due earlier than
    was said. `each_end_calls`: the end of one may make another one possible, also while there is room.
    """

    def __init__(self, name: str, most: int, *, each_end_calls: bool = True) -> None:
        self.called = asyncio.Event()
        self._name = name
        self._most = most
        self._each_end_calls = each_end_calls
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def room(self) -> int:
        """How many may begin now; if that is 0, the end of one of them calls."""
        return max(0, self._most - len(self._under_way))

    async def run(self, begin_due: Callable[[], Awaitable[float | None]], look_every: float) -> None:
        """Until cancelled, begin what is due; cancel what is under way at the end.

        `begin_due` returns the seconds until something may be due, None if nothing ever is. It is asked again
        after these, but no later than after `look_every` seconds, and when it is `called`.
        """
        try:
            while True:
                self.called.clear()
                try:
                    wait = await begin_due()
                except StoreUnavailable:
                    wait = STORE_AGAIN
                except Exception:  # outermost: what is wrong with one row must not end the work on all others
                    log.exception("%s: what is due cannot be begun", self._name)
                    wait = look_every
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if wait is None else min(wait, look_every)):
                        await self.called.wait()
        finally:
            for task in self._under_way:
                task.cancel()
            if self._under_way:
                await asyncio.wait(self._under_way)

    def begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            if self._each_end_calls or not self.room:
                self.called.set()
            self._under_way.discard(task)
            if not task.cancelled() and (error := task.exception()):
                log.error("%s ended unexpectedly", name, exc_info=error)

        task = asyncio.create_task(work, name=name)
        self._under_way.add(task)
        task.add_done_callback(ended)


async def until_released(release_all: Callable[[], Awaitable[None]]) -> None:
    """End the leases that a server which is no more has left, for as long as it takes."""
    while True:
        try:
            return await release_all()
        except StoreUnavailable:
            await asyncio.sleep(STORE_AGAIN)


class Lease:
    """One that was asked for at `since`, a time of `stopwatch`."""

    def __init__(self, since: float) -> None:
        self._since: float | None = since

    def holds(self) -> bool:
        """Whether nobody else can have begun the work. Any thread may ask, as that of a server that stood
        still for longer than the lease has to, before it changes what the store does not guard.
        """
        since = self._since
        return since is not None and stopwatch() < since + LEASE - MARGIN

    def prolong(self, since: float) -> None:
        self._since = since

    def end(self) -> None:
        self._since = None


@asynccontextmanager
async def leased(
    renew: Callable[[], Awaitable[bool]], name: str, since: float | None = None
) -> AsyncIterator[Lease]:
    """Renew a lease, which was asked for at `since` (or now), for as long as the block lasts, or until it is
    another server's: what this one does will not be noted.
    """
    lease = Lease(stopwatch() if since is None else since)

    async def keep_renewing() -> None:
        while True:
            await asyncio.sleep(RENEWED_EVERY)
            asked_at = stopwatch()
            with suppress(StoreUnavailable):
                if not await renew():
                    return lease.end()
                lease.prolong(asked_at)

    async with in_background(keep_renewing(), f"lease of {name}"):
        yield lease
