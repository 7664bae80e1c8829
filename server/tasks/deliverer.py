"""Delivers what is in the outbox: at once, and again by a plan, over restarts and the loss of nodes.

Decisions: docs/decisions/notifications.md
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from server.core.counts import Counts
from server.core.deliveries import LONGEST_WAIT, Delivery, Outbox
from server.core.errors import StoreUnavailable

log = logging.getLogger(__name__)

PLAN = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, LONGEST_WAIT)  # seconds between a try and the next
AT_ONCE = 128  # deliveries; receivers that hang hold up no others as long as there are fewer
LOOK = 30.0  # seconds between two looks, on whatever nobody has told of: another node may have died
AGAIN = 1.0  # seconds between tries while the store is unavailable

Send = Callable[[Delivery], Awaitable[str | None]]
"""Tries a delivery once, in less than `LEASE`; the result is None, or a word for what went wrong."""


class Deliverer:
    """`senders` by the kind of the addressee; a kind without one stays in the outbox."""

    def __init__(
        self,
        outbox: Outbox,
        senders: Mapping[str, Send],
        plan: tuple[float, ...] = PLAN,
        counts: Counts | None = None,
    ) -> None:
        self._outbox = outbox
        self._senders = senders
        self._plan = plan
        self._counts = counts or Counts()
        self._called = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Deliver until cancelled: what is under way then is tried again once its lease has ended."""
        self._outbox.listen(self._called.set)
        try:
            while True:
                self._called.clear()
                try:
                    due = await self._outbox.claim(list(self._senders), AT_ONCE - len(self._under_way))
                    for delivery in due:
                        task = asyncio.create_task(
                            self._deliver(delivery), name=f"delivery of {delivery.task_id}"
                        )
                        self._under_way.add(task)
                        task.add_done_callback(self._under_way.discard)
                    wait = 0.0 if due else await self._outbox.due_in(list(self._senders))
                except StoreUnavailable:
                    wait = AGAIN
                if len(self._under_way) >= AT_ONCE:
                    await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
                elif wait != 0.0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK if wait is None else min(wait, LOOK)):
                            await self._called.wait()
        finally:
            for task in self._under_way:
                task.cancel()
            if self._under_way:
                await asyncio.wait(self._under_way)

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            error = await self._senders[delivery.addressee.kind](delivery)
        except Exception:
            log.exception("a delivery about %s failed by a fault of the service", delivery.task_id)
            error = "internal"
        again_in = self._plan[delivery.step] if delivery.step < len(self._plan) else None
        self._counts.tries[
            "delivered" if error is None else "given up" if again_in is None else "failed"
        ] += 1
        if error is None:
            log.info("%s was told to %s", delivery.task_id, _whom(delivery))
        elif again_in is None:
            log.warning(
                "%s could not be told to %s, and was given up: %s", delivery.task_id, _whom(delivery), error
            )
        else:
            log.info("%s is told to %s again in %d s: %s", delivery.task_id, _whom(delivery), again_in, error)
        # If the outcome cannot be saved, the delivery is due again when its lease ends: at least once.
        with suppress(StoreUnavailable):
            if error is None:
                await self._outbox.delivered(delivery.delivery_id)
            else:
                await self._outbox.failed(delivery.delivery_id, error, again_in)
                self._called.set()  # it is due sooner than its lease would end


def _whom(delivery: Delivery) -> str:
    """Not the address, which may be a secret."""
    return {"webhook": "its webhook", "default": "the default webhook", "notify": "people"}[
        delivery.addressee.kind
    ]
