"""Work that rows of the store stand for. A row is leased to one server; if that server dies, another one does
the work once the lease has ended.
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
MARGIN = 5.0  # seconds before the end of a lease at which work under it stops
RETRY_WHILE_STORE_UNAVAILABLE = 1.0  # seconds


class LeasedWork:
    """Does leased work on this server, `most` pieces at once.

    Set `called` when work may be due earlier than `begin_due` said. `each_end_calls`: whenever a piece of
    work ends, another one may have become possible, also where `most` are not under way.
    """

    def __init__(self, name: str, most: int, *, each_end_calls: bool = True) -> None:
        self.called = asyncio.Event()
        self._name = name
        self._most = most
        self._each_end_calls = each_end_calls
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def room(self) -> int:
        """How many may begin now. If none may, `called` is set when one of those under way ends."""
        return max(0, self._most - len(self._under_way))

    async def run(self, begin_due: Callable[[], Awaitable[float | None]], look_every: float) -> None:
        """Begin what is due, until cancelled; then cancel what is under way.

        `begin_due` begins all that is due, and returns the seconds until more may be due; None if nothing is
        to come. It is called again after these seconds, at the latest after `look_every`, or when `called` is
        set.
        """
        try:
            while True:
                self.called.clear()
                try:
                    wait = await begin_due()
                except StoreUnavailable:
                    wait = RETRY_WHILE_STORE_UNAVAILABLE
                except Exception:  # outermost: a fault with one row must not end the work on all others
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
    """Release the leases that an earlier server has left; retry until it succeeds."""
    while True:
        try:
            return await release_all()
        except StoreUnavailable:
            await asyncio.sleep(RETRY_WHILE_STORE_UNAVAILABLE)


class Lease:
    """A lease that was asked for at `since`, a time of `stopwatch`."""

    def __init__(self, since: float) -> None:
        self._since: float | None = since

    def holds(self) -> bool:
        """Say whether no other server can have begun the work. Callable in any thread.

        Ask before changing what the store does not guard, such as files: this server may have been suspended
        for longer than the lease.
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
    """Renew a lease, which was asked for at `since` (or now), while the block lasts.

    Stops renewing once another server has the lease: the store then ignores what this server reports.
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
