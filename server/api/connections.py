"""Connections on which nobody asks for anything, and how many sockets one client holds.

aiohttp waits without end for the head of a request. Whoever opens connections and says nothing, or
says it a letter at a time, would use up the descriptors of the process.
"""

import asyncio
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from aiohttp import web

from server.errors import TooManyRequests

QUIET = 30.0  # seconds that a connection may stay without a request under way
LOOK = 5.0  # seconds
COME_BACK = 10  # seconds, for a client that holds too many sockets


class Connections:
    """`sockets_per_client` of 0: no limit."""

    def __init__(self, sockets_per_client: int) -> None:
        self._limit = sockets_per_client
        self._sockets: Counter[str] = Counter()
        self._answering: set[web.RequestHandler] = set()
        self._quiet_since: dict[web.RequestHandler, float] = {}

    def hold_socket(self, address: str) -> "HeldSocket":
        """Use it as a context manager: while it is open, this client holds one more.

        Raises `TooManyRequests`.
        """
        if self._limit and self._sockets[address] >= self._limit:
            raise TooManyRequests(COME_BACK)
        return HeldSocket(self._sockets, address)

    def begin(self, connection: web.RequestHandler) -> None:
        """A request of this connection is being answered, until `end`."""
        self._answering.add(connection)
        self._quiet_since.pop(connection, None)

    def end(self, connection: web.RequestHandler) -> None:
        self._answering.discard(connection)

    def close_quiet(self, connections: Collection[web.RequestHandler], now: float) -> None:
        """Close those of `connections` that have been without a request for too long."""
        quiet = [connection for connection in connections if not self._is_busy(connection)]
        self._quiet_since = {connection: self._quiet_since.get(connection, now) for connection in quiet}
        for connection, since in self._quiet_since.items():
            if now - since > QUIET and connection.transport:
                connection.transport.abort()

    def _is_busy(self, connection: web.RequestHandler) -> bool:
        transport = connection.transport
        still_sending = transport is not None and transport.get_write_buffer_size() > 0
        return still_sending or connection in self._answering

    async def watch(self, server: web.Server) -> None:
        while True:
            await asyncio.sleep(LOOK)
            self.close_quiet(server.connections, asyncio.get_running_loop().time())


@dataclass(frozen=True, slots=True)
class HeldSocket:
    """A generator would do, for half a kilobyte more a socket."""

    sockets: Counter[str]
    address: str

    def __enter__(self) -> None:
        self.sockets[self.address] += 1

    def __exit__(self, *_: object) -> None:
        self.sockets[self.address] -= 1
        if not self.sockets[self.address]:
            del self.sockets[self.address]


CONNECTIONS = web.AppKey("connections", Connections)
