"""Closes idle and stalled connections, and cancels work whose client has disconnected.

aiohttp has no timeout for the head of a request nor for a client that does not read its response. Clients
that send nothing, send very slowly (Slowloris) or never read would exhaust the process's file descriptors.
Nor does aiohttp tell a handler that its client has disconnected.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass
from math import inf
from typing import Any, TypeVar

from aiohttp import web

from server.api import wire
from server.core.errors import TooManyRequests

log = logging.getLogger(__name__)

QUIET = 30.0  # seconds that a connection may be open without a request being answered
UNREAD = 60.0  # seconds that a client may go without acknowledging a byte of its response
LOOK = 5.0  # seconds between two looks at all connections
AT_ONCE = 256  # connections that are looked at before the event loop runs other tasks
LET_GO = 0.5  # seconds between two looks for disconnected clients
COME_BACK = 10  # seconds: `Retry-After` for a client with too many WebSockets

T = TypeVar("T")


class Connections:
    """`sockets_per_client` limits WebSockets by address; 0: no limit."""

    def __init__(self, sockets_per_client: int) -> None:
        self._limit = sockets_per_client
        self._sockets: Counter[str] = Counter()
        self._answering: set[web.RequestHandler] = set()
        self._attended: dict[asyncio.Timeout, web.RequestHandler] = {}
        self._seen: dict[web.RequestHandler, tuple[_Situation, float]] = {}  # with the time it began

    def hold_socket(self, address: str) -> "HeldSocket":
        """A context manager: within it, the client at `address` has one more WebSocket.

        Raises `TooManyRequests`.
        """
        if self._limit and self._sockets[address] >= self._limit:
            raise TooManyRequests(COME_BACK)
        return HeldSocket(self._sockets, address)

    def begin(self, connection: web.RequestHandler) -> None:
        """A request of this connection is being handled, until `end`."""
        self._answering.add(connection)
        self._seen.pop(connection, None)

    def end(self, connection: web.RequestHandler) -> None:
        self._answering.discard(connection)

    async def attended(self, connection: web.RequestHandler, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`. If the client disconnects, cancel `work` and raise `ConnectionResetError`."""
        left = asyncio.timeout(None)
        self._attended[left] = connection
        try:
            async with left:
                return await work
        except TimeoutError:
            if left.expired():
                raise ConnectionResetError("the client left") from None
            raise
        finally:
            del self._attended[left]

    def let_go(self) -> None:
        """Cancel `attended` work whose client has disconnected."""
        for left, connection in self._attended.items():
            is_gone = connection.transport is None or connection.transport.is_closing()
            if is_gone and not left.expired():
                left.reschedule(0)

    def look(self, connections: Collection[web.RequestHandler], now: float) -> None:
        """End `connections` whose situation has lasted longer than `may_last`; `now` is the loop's time."""
        for connection in connections:
            situation = self._situation(connection)
            before, since = self._seen.get(connection, (situation, now))
            since = since if situation == before else now
            self._seen[connection] = situation, since
            if now - since > situation.may_last and (transport := connection.transport):
                wire.cut(transport) if situation.left else transport.close()

    def _situation(self, connection: web.RequestHandler) -> "_Situation":
        transport = connection.transport
        if transport and (left := wire.outstanding(transport)):
            return _Situation(UNREAD, wire.taken(transport), left)
        return _Situation(inf if connection in self._answering else QUIET)

    async def end_all(self, server: web.Server, within: float) -> None:
        """Let running responses finish for `within` seconds, then cut the remaining connections."""
        until = asyncio.get_running_loop().time() + within
        while any(self._situation(each).may_last != QUIET for each in server.connections):
            await asyncio.sleep(0.1)  # poll: the kernel does not signal that the last byte was acknowledged
            if asyncio.get_running_loop().time() > until:
                break
        for connection in server.connections:
            if connection.transport and self._situation(connection).may_last != QUIET:
                wire.cut(connection.transport)
        await asyncio.sleep(0.1)  # handlers notice that their connections were cut

    async def watch(self, server: web.Server) -> None:
        """Look at all connections and `let_go` periodically, until cancelled."""
        await asyncio.gather(
            _again_and_again(LOOK, lambda: self._look_at_all(server)),
            _again_and_again(LET_GO, self._let_all_go),
        )

    async def _let_all_go(self) -> None:
        self.let_go()

    async def _look_at_all(self, server: web.Server) -> None:
        loop, connections = asyncio.get_running_loop(), server.connections
        for start in range(0, len(connections), AT_ONCE):
            self.look(connections[start : start + AT_ONCE], loop.time())
            await asyncio.sleep(0)
        self._seen = {each: self._seen[each] for each in connections if each in self._seen}


async def _again_and_again(pause: float, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` every `pause` seconds, also after an error: else descriptors could run out unnoticed."""
    while True:
        await asyncio.sleep(pause)
        try:
            await work()
        except Exception:
            log.exception("looking after connections failed; the next try is in %s s", pause)


@dataclass(frozen=True, slots=True)
class _Situation:
    """What a connection is doing; a change of the bytes `taken` or `left` shows that its client reads."""

    may_last: float  # seconds
    taken: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class HeldSocket:
    """Not a generator-based context manager: it would take half a kilobyte more a WebSocket."""

    sockets: Counter[str]
    address: str

    def __enter__(self) -> None:
        self.sockets[self.address] += 1

    def __exit__(self, *_: object) -> None:
        self.sockets[self.address] -= 1
        if not self.sockets[self.address]:
            del self.sockets[self.address]


CONNECTIONS = web.AppKey("connections", Connections)
