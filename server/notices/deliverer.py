"""Sends the deliveries in the outbox, and retries by a plan, over restarts and the loss of nodes.

Decisions: docs/decisions/notifications.md
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from server.core.errors import StoreUnavailable
from server.notices.deliveries import LONGEST_WAIT, Delivery, Kind
from server.notices.delivery_rows import DeliveryRows
from server.tasks.leases import LeasedWork, until_released

log = logging.getLogger(__name__)

PLAN = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, LONGEST_WAIT)  # seconds between a try and the next
# Without the address of a receiver, which may be a secret.
IN_THE_LOG: Mapping[Kind, str] = {
    "webhook": "its webhook",
    "default": "the default webhook",
    "notify": "people",
}
SLOTS = {("webhook", "default"): 128, ("notify",): 32}  # most tries at once; kinds in one tuple share them
TRIES = ("delivered", "failed", "given up")  # the possible outcomes of a try
LOOK_EVERY = 30.0  # seconds between looks at the outbox without a signal: another node may have died

Send = Callable[[Delivery], Awaitable[str | None]]
"""Tries a delivery once, in less than `LEASE`; the result is None, or a word for what went wrong."""


class Deliverer:
    """Sends deliveries. `senders` has a sender for each kind of addressee; deliveries of other kinds stay in
    the outbox. `tries` counts tries by their outcomes.
    """

    def __init__(
        self,
        outbox: DeliveryRows,
        senders: Mapping[str, Send],
        tries: Counter[str] | None = None,
    ) -> None:
        self._outbox = outbox
        self._senders = senders
        self._tries = Counter[str]() if tries is None else tries
        self._works = [
            (kinds, LeasedWork("outbox", most))
            for group, most in SLOTS.items()
            if (kinds := [kind for kind in group if kind in senders])
        ]

    async def run(self, *, alone: bool) -> None:
        """Deliver until cancelled: deliveries under way then are retried once their leases have ended.

        `alone`: no other server delivers.
        """
        self._outbox.listen(self._call)
        if alone:
            await until_released(self._outbox.release_all)
        await asyncio.gather(
            *(work.run(partial(self._begin, kinds, work), LOOK_EVERY) for kinds, work in self._works)
        )

    def _call(self) -> None:
        for _, work in self._works:
            work.called.set()

    async def _begin(self, kinds: Sequence[str], work: LeasedWork) -> float:
        """Begin what is due; return the seconds until something may be."""
        while work.room and (due := await self._outbox.claim(kinds, work.room)):
            for delivery in due:
                work.begin(self._deliver(delivery), f"delivery of {delivery.about}")
        wait = await self._outbox.due_in(kinds) if work.room else None
        return LOOK_EVERY if wait is None else wait

    async def _deliver(self, delivery: Delivery) -> None:
        whom = IN_THE_LOG[delivery.addressee.kind]
        try:
            error = await self._senders[delivery.addressee.kind](delivery)
        except Exception:
            log.exception("a delivery about %s failed by a fault of the service", delivery.about)
            error = "internal"
        again_in = PLAN[delivery.step] if delivery.step < len(PLAN) else None
        self._tries["delivered" if error is None else "given up" if again_in is None else "failed"] += 1
        if error is None:
            log.info("%s was told to %s", delivery.about, whom)
        elif again_in is None:
            log.warning("%s could not be told to %s, and was given up: %s", delivery.about, whom, error)
        else:
            log.info("%s is told to %s again in %d s: %s", delivery.about, whom, again_in, error)
        # If the outcome cannot be saved, the delivery is due again when its lease ends: at least once.
        with suppress(StoreUnavailable):
            if error is None:
                await self._outbox.delivered(delivery.delivery_id)
            else:
                await self._outbox.failed(delivery.delivery_id, error, again_in)
