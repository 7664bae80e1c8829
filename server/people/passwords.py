"""Passwords: how they are hashed and compared, and in which order.

Argon2id takes a core for some hundredths of a second, on purpose. So it is done in threads, few at a time,
and those who wait take turns by address and name: whoever sends thousands of wrong ones waits behind
themselves. An unknown name costs what a known one does.

Decisions: docs/decisions/people.md
"""

import asyncio
import unicodedata
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from server.core.errors import TooManyRequests

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST, LONGEST = 10, 1000  # characters
AT_ONCE = 2  # hashes; each takes 19 MiB
WAITING = 10  # of one address and name
MOST_LANES = 1000
T = TypeVar("T")


class Passwords:
    def __init__(self) -> None:
        self._turns = _Turns(AT_ONCE)
        self._hasher: PasswordHasher | None = None
        self._of_nobody = ""

    async def hashed(self, password: str, who: Hashable) -> str:
        """Raises `TooManyRequests`."""
        return await self._turns.take(who, lambda: self._made_hasher().hash(_normal(password)))

    async def matches(self, hashed: str | None, password: str, who: Hashable) -> bool:
        """Whether this is the password; never if there is none. Raises `TooManyRequests`."""
        return await self._turns.take(who, lambda: self._matches(hashed, _normal(password)))

    def _matches(self, hashed: str | None, password: str) -> bool:
        from argon2.exceptions import Argon2Error, InvalidHashError

        hasher = self._made_hasher()
        if not hashed:
            self._of_nobody = self._of_nobody or hasher.hash("nobody has this password")
        with suppress(Argon2Error, InvalidHashError):
            hasher.verify(hashed or self._of_nobody, password)
            return bool(hashed)
        return False

    def _made_hasher(self) -> "PasswordHasher":
        if self._hasher is None:
            from argon2 import PasswordHasher

            # What OWASP recommends where memory is scarce (Password Storage Cheat Sheet).
            self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        return self._hasher


class _Turns:
    """Runs functions in threads, `at_once`. Those who wait have a lane each, and lanes take turns."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._lanes: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, who: Hashable, function: Callable[[], T]) -> T:
        """Raises `TooManyRequests` if too many wait already."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(who)
        try:
            return await asyncio.to_thread(function)
        finally:
            self._pass_on()

    async def _wait(self, who: Hashable) -> None:
        lane = self._lanes.get(who)
        if (lane is None and len(self._lanes) >= MOST_LANES) or (lane and len(lane) >= WAITING):
            raise TooManyRequests(1)
        turn = asyncio.get_running_loop().create_future()
        self._lanes.setdefault(who, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had got its turn
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Give the place to the first of the next lane, which then is the last of all."""
        while self._lanes:
            who, lane = self._lanes.popitem(last=False)
            turn = lane.popleft()
            if lane:
                self._lanes[who] = lane
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def _normal(password: str) -> str:
    """One form of what looks the same on different keyboards (NIST SP 800-63B, section 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)
