"""Rate limiting: counts by address in fixed windows of a minute."""

import math
from collections import OrderedDict
from collections.abc import Callable

MINUTE = 60.0  # seconds
MAX_ADDRESSES = 100_000  # beyond that the address that was counted longest ago is forgotten


class Minute:
    """Counts by address; its minute begins with its first count. `MAX_ADDRESSES` bounds the memory."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def count(self, address: str) -> int:
        """Add one and return the count of this address in its current minute."""
        began, so_far = self._counts.pop(address, (0.0, 0))
        if self._clock() - began >= MINUTE or not so_far:
            began, so_far = self._clock(), 0
        self._counts[address] = began, so_far + 1
        if len(self._counts) > MAX_ADDRESSES:
            self._counts.popitem(last=False)
        return so_far + 1

    def left(self, address: str) -> int:
        """Whole seconds, at least one, until the address's minute ends and its count restarts."""
        began, _ = self._counts.get(address, (0.0, 0))
        return max(1, math.ceil(began + MINUTE - self._clock()))
