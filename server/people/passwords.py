"""Passwords: how they are hashed and compared, and in which order.

Argon2id takes a core for some hundredths of a second, on purpose. So it is done in threads, few at a time.
Waiting requests take turns by address, and those of one address by name: whoever sends thousands of wrong
passwords waits behind their own requests. An unknown name costs what a known one does.

Decisions: docs/decisions/people.md
"""

import asyncio
import unicodedata
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from server.core.errors import TooManyRequests

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST, LONGEST = 10, 1000  # characters
HASHES_AT_ONCE = 2  # hashes computed at once, each of which takes 19 MiB
MAX_OF_NAME = 10  # waiting requests of one address and name
MAX_OF_ADDRESS = 100  # waiting requests
MAX_ADDRESSES = 1000
Who = tuple[str, str]  # address and name
T = TypeVar("T")


class Passwords:
    def __init__(self) -> None:
        self._turns = _Turns(HASHES_AT_ONCE)
        self._hasher: PasswordHasher | None = None
        self._unknown_hash = ""

    async def hashed(self, password: str, who: Who) -> str:
        """Return the hash of a password. Raises `TooManyRequests`."""
        return await self._turns.take(who, lambda: self._made_hasher().hash(_normal(password)))

    async def matches(self, hashed: str | None, password: str, who: Who, *, is_suspect: bool = False) -> bool:
        """Whether `hashed` is of this password; False for None. `is_suspect`: many wrong passwords came from
        this address. Raises `TooManyRequests`.
        """
        work = partial(self._matches, hashed, _normal(password))
        return await self._turns.take(who, work, is_suspect=is_suspect)

    def _matches(self, hashed: str | None, password: str) -> bool:
        from argon2.exceptions import Argon2Error, InvalidHashError

        hasher = self._made_hasher()
        if not hashed:
            self._unknown_hash = self._unknown_hash or hasher.hash("nobody has this password")
        with suppress(Argon2Error, InvalidHashError):
            hasher.verify(hashed or self._unknown_hash, password)
            return bool(hashed)
        return False

    def _made_hasher(self) -> "PasswordHasher":
        if self._hasher is None:
            from argon2 import PasswordHasher

            # What OWASP recommends where memory is scarce (Password Storage Cheat Sheet).
            self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        return self._hasher


class _Turns:
    """Runs functions in threads, `at_once` of them; one for a suspect only while no other runs."""

    def __init__(self, at_once: int) -> None:
        self._at_once = self._free = at_once
        self._is_suspect_at_work = False
        self._others, self._suspects = _Lanes(), _Lanes()

    async def take(self, who: Who, function: Callable[[], T], *, is_suspect: bool = False) -> T:
        """Run `function` when it is the turn of `who`. Raises `TooManyRequests` if too many wait already."""
        if self._may_begin(is_suspect=is_suspect):
            self._begin(is_suspect=is_suspect)
        else:
            turn = (self._suspects if is_suspect else self._others).put(*who)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # it has a turn, which another must get now
                    self._end(is_suspect=is_suspect)
                raise
        work = asyncio.get_running_loop().run_in_executor(None, function)
        # The turn ends with the thread, and not when the caller is cancelled: the thread works on.
        work.add_done_callback(lambda _: self._end(is_suspect=is_suspect))
        return await asyncio.shield(work)

    def _may_begin(self, *, is_suspect: bool) -> bool:
        if is_suspect:
            return self._free == self._at_once and not self._is_suspect_at_work
        return self._free > 0

    def _begin(self, *, is_suspect: bool) -> None:
        if is_suspect:
            self._is_suspect_at_work = True
        else:
            self._free -= 1

    def _end(self, *, is_suspect: bool) -> None:
        if is_suspect:
            self._is_suspect_at_work = False
        else:
            self._free += 1
        if self._may_begin(is_suspect=False) and (turn := self._others.pop()):
            self._begin(is_suspect=False)
            turn.set_result(None)
        elif self._may_begin(is_suspect=True) and (turn := self._suspects.pop()):
            self._begin(is_suspect=True)
            turn.set_result(None)


class _Lanes:
    """Waiting requests, in a lane for each address and name. Addresses take turns, and so do the names of one
    address: whoever tries many names waits behind their own requests.
    """

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, OrderedDict[str, deque[asyncio.Future[None]]]] = OrderedDict()

    def put(self, address: str, name: str) -> "asyncio.Future[None]":
        """Add a waiting request. Raises `TooManyRequests` if too many wait already."""
        lanes = self._lanes.get(address, OrderedDict())
        is_full = len(lanes.get(name, ())) >= MAX_OF_NAME or sum(map(len, lanes.values())) >= MAX_OF_ADDRESS
        if is_full or (not lanes and len(self._lanes) >= MAX_ADDRESSES):
            raise TooManyRequests(1)
        turn = asyncio.get_running_loop().create_future()
        self._lanes.setdefault(address, lanes).setdefault(name, deque()).append(turn)
        return turn

    def pop(self) -> "asyncio.Future[None] | None":
        """Take the first request of the next name of the next address, which then is the last of all."""
        while self._lanes:
            address, lanes = self._lanes.popitem(last=False)
            name, lane = lanes.popitem(last=False)
            turn = lane.popleft()
            if lane:
                lanes[name] = lane
            if lanes:
                self._lanes[address] = lanes
            if not turn.done():
                return turn
        return None


def _normal(password: str) -> str:
    """Bring characters that look the same into one form (NIST SP 800-63B, section 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)
