"""Clients' connections: ends those that are idle or stalled, sends files, counts what was taken.

aiohttp has no timeout for the head of a request nor for a client that does not read its response. Clients
that send nothing, send very slowly (Slowloris) or never read would exhaust the process's file descriptors.
Nor does aiohttp tell a handler that its client has disconnected.

A byte counts as taken when the client's system has acknowledged it (TCP ACK). Until then it is in the
transport's write buffer or in the kernel's send buffer, which holds megabytes.
"""

import asyncio
import fcntl
import logging
import os
import socket
import struct
import termios
from collections import Counter
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EIO
from math import inf
from typing import Any, BinaryIO, TypeVar

from aiohttp import web

from server.api.protocol import Connection, Server
from server.core.errors import TooManyRequests

log = logging.getLogger(__name__)
MAX_IDLE = 30.0  # seconds that a connection may be open while no request is answered
MAX_UNREAD = 60.0  # seconds that a client may go without acknowledging a byte of its response
CHECK_EVERY = 5.0  # seconds between two checks of all connections
AT_ONCE = 256  # connections that are checked before the event loop runs other tasks
CHECK_ATTENDED_EVERY = 0.5  # seconds between two checks whether clients have disconnected
HALF_CLOSED_FOR = 0.25  # seconds after which a client that sends no more counts as disconnected
RETRY_AFTER = 10  # seconds, for a client with too many WebSockets
_BYTES_ACKED = struct.Struct("=120xQ")  # in `struct tcp_info`
_SEND_NOTHING_MORE = struct.pack("ii", 1, 0)  # `struct linger`: close with a reset and drop unsent data
T = TypeVar("T")


class Connections:
    """`sockets_per_client` limits WebSockets by address; 0: no limit."""

    def __init__(self, sockets_per_client: int) -> None:
        self._limit = sockets_per_client
        self._sockets: Counter[str] = Counter()
        self.answering: set[web.RequestHandler] = set()  # connections with a request that is being handled
        # Connections on which a request has been answered since the last check.
        self.answered: set[web.RequestHandler] = set()
        self._attended: dict[asyncio.Timeout, web.RequestHandler] = {}
        # The timer of `let_go`, while there are `_attended`
        self._letting_go: asyncio.TimerHandle | None = None
        # The situation of each connection at the last check, and since when it lasts.
        self._seen: dict[web.RequestHandler, tuple[_Situation, float]] = {}

    @property
    def open_sockets(self) -> int:
        return sum(self._sockets.values())

    def hold_socket(self, address: str) -> "HeldSocket":
        """A context manager: within it, the client at `address` has one more WebSocket.

        Raises `TooManyRequests`.
        """
        if self._limit and self._sockets[address] >= self._limit:
            raise TooManyRequests(RETRY_AFTER)
        return HeldSocket(self._sockets, address)

    async def attended(self, connection: web.RequestHandler, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`. If the client disconnects, cancel `work` and raise `ConnectionResetError`."""
        left = asyncio.timeout(None)
        self._attended[left] = connection
        self._let_go_soon()
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
        """Cancel `attended` work whose client has disconnected; called every `CHECK_ATTENDED_EVERY` while
        there is any.
        """
        now = asyncio.get_running_loop().time()
        for left, connection in self._attended.items():
            is_gone = connection.transport is None or connection.transport.is_closing()
            # A client that sends no more has mostly left. One that still reads gets what is done soon.
            half_closed_at = connection.half_closed_at if isinstance(connection, Connection) else None
            if half_closed_at is not None and now - half_closed_at >= HALF_CLOSED_FOR:
                is_gone = True
            if is_gone and not left.expired():
                left.reschedule(0)

    def _let_go_soon(self) -> None:
        if self._letting_go is None:
            self._letting_go = asyncio.get_running_loop().call_later(CHECK_ATTENDED_EVERY, self._let_go_again)

    def _let_go_again(self) -> None:
        self._letting_go = None
        if self._attended:
            self._let_go_soon()
            self.let_go()

    def look(self, connections: Collection[web.RequestHandler], now: float) -> None:
        """End `connections` whose situation has lasted longer than `may_last`; `now` is the loop's time."""
        for connection in connections:
            situation = self._situation(connection)
            before, since = self._seen.get(connection, (situation, now))
            if situation != before or connection in self.answered:
                since = now
            self.answered.discard(connection)
            self._seen[connection] = situation, since
            if now - since > situation.may_last and (transport := connection.transport):
                cut(transport) if situation.left else transport.close()

    def _situation(self, connection: web.RequestHandler) -> "_Situation":
        transport = connection.transport
        if transport and (left := outstanding(transport)):
            return _Situation(MAX_UNREAD, taken(transport), left)
        return _Situation(inf if connection in self.answering else MAX_IDLE)

    async def end_all(self, server: web.Server, within: float) -> None:
        """Let running responses finish for `within` seconds, then cut the remaining connections."""
        until = asyncio.get_running_loop().time() + within
        while any(self._situation(each).may_last != MAX_IDLE for each in server.connections):
            await asyncio.sleep(0.1)  # poll: the kernel does not notify when the last byte is acknowledged
            if asyncio.get_running_loop().time() > until:
                break
        for connection in server.connections:
            if connection.transport and self._situation(connection).may_last != MAX_IDLE:
                cut(connection.transport)
        await asyncio.sleep(0.1)  # handlers notice that their connections were cut

    async def watch(self, server: Server) -> None:
        """Look at all connections every `CHECK_EVERY` seconds while there are any, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_EVERY)
            try:
                await self._look_at_all(server)
            except Exception:  # If this loop ended, descriptors of dead connections could run out unnoticed.
                log.exception("looking after connections failed; the next try is in %s s", CHECK_EVERY)
            if not server.connections:
                server.connected.clear()
                await server.connected.wait()

    async def _look_at_all(self, server: web.Server) -> None:
        loop, connections = asyncio.get_running_loop(), server.connections
        for start in range(0, len(connections), AT_ONCE):
            self.look(connections[start : start + AT_ONCE], loop.time())
            await asyncio.sleep(0)
        # Forget connections that have closed meanwhile: if they were the last, no later check would do that.
        connections = server.connections
        self._seen = {each: self._seen[each] for each in connections if each in self._seen}
        self.answered.intersection_update(connections)


@dataclass(frozen=True, slots=True)
class _Situation:
    """What a connection is doing; a change of the bytes `taken` or `left` shows that its client reads."""

    may_last: float  # seconds
    taken: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class HeldSocket:
    """The context manager of `hold_socket`, as a class: a generator would take half a kilobyte more for each
    WebSocket.
    """

    sockets: Counter[str]
    address: str

    def __enter__(self) -> None:
        self.sockets[self.address] += 1

    def __exit__(self, *_: object) -> None:
        self.sockets[self.address] -= 1
        if not self.sockets[self.address]:
            del self.sockets[self.address]


CONNECTIONS = web.AppKey("connections", Connections)


def outstanding(transport: asyncio.Transport) -> int:
    """Bytes that were written for the client and that its system has not acknowledged."""
    waiting = fcntl.ioctl(_socket(transport).fileno(), termios.TIOCOUTQ, bytes(4))
    return transport.get_write_buffer_size() + int.from_bytes(waiting, "little")


def taken(transport: asyncio.Transport) -> int:
    """Bytes that the client's system has acknowledged since it connected; 0 if the kernel does not count."""
    info = _socket(transport).getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
    acked: int = _BYTES_ACKED.unpack(info)[0] if len(info) == _BYTES_ACKED.size else 0
    return acked


def cut(transport: asyncio.Transport) -> None:
    """Reset the connection at once, even while a handler writes to it; unacknowledged data is dropped."""
    sock = _socket(transport)
    with suppress(OSError):  # already closed
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _SEND_NOTHING_MORE)
        sock.shutdown(socket.SHUT_RDWR)  # wakes `send_file`, which uses a duplicated descriptor
    transport.abort()


async def send_file(request: web.BaseRequest, file: BinaryIO, part: range) -> None:
    """Copy `part` of `file`, which must not be empty, to the client, after the headers (sendfile).

    Raises `ConnectionError` if the client disconnects, another `OSError` if the file cannot be read to its
    end.
    """
    transport = await _drained(request)
    left = _send(_socket(transport), file, part)  # mostly all of it fits: the kernel's buffer holds megabytes
    if left:
        with _lent(transport) as sock:
            await _Copy(file, left, sock).run()


@dataclass(frozen=True, slots=True)
class FilePart:
    """A `part` of `file`, not empty, for the kernel to copy; `file` must stay open until it is sent."""

    file: BinaryIO
    part: range


async def send_pieces(request: web.BaseRequest, pieces: AsyncIterator[bytes | memoryview | FilePart]) -> None:
    """Send `pieces` after the headers, from memory or from a file. Raises what `send_file` does."""
    loop = asyncio.get_running_loop()
    with _lent(await _drained(request)) as sock:
        async for piece in pieces:
            if isinstance(piece, FilePart):
                await _Copy(piece.file, piece.part, sock).run()
            else:
                await loop.sock_sendall(sock, piece)


async def _drained(request: web.BaseRequest) -> asyncio.Transport:
    """The client's connection, once the kernel has all data written before. Raises `ConnectionError`."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client left")
    transport.set_write_buffer_limits(high=0)
    await request.writer.drain()
    transport.set_write_buffer_limits()
    if transport.is_closing():
        raise ConnectionResetError("the client left")
    return transport


@contextmanager
def _lent(transport: asyncio.Transport) -> Iterator[socket.socket]:
    """Yield a duplicated descriptor: the event loop does not let others use a transport's own.

    Reading is paused meanwhile; a disconnect shows when writing fails.
    """
    was_reading = transport.is_reading()
    transport.pause_reading()
    try:
        with _socket(transport).dup() as sock:
            yield sock
    finally:
        if was_reading:
            transport.resume_reading()


class _Copy:
    """Copies `part` of `file` to `sock`; the future `done` has a result once the kernel has all of it."""

    def __init__(self, file: BinaryIO, part: range, sock: socket.socket) -> None:
        self._file, self._left, self._sock = file, part, sock
        self.done = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        self._go_on()
        if not self.done.done():
            loop = asyncio.get_running_loop()
            loop.add_writer(self._sock, self._go_on)
            try:
                await self.done
            finally:
                loop.remove_writer(self._sock)
        self.done.result()

    def _go_on(self) -> None:
        """Called when the socket is writable or has an error."""
        if self.done.done():
            return
        try:
            self._left = _send(self._sock, self._file, self._left)
        except OSError as exc:
            self.done.set_exception(exc)
        else:
            if not self._left:
                self.done.set_result(None)


def _send(sock: socket.socket, file: BinaryIO, part: range) -> range:
    """Copy as much of `part` as the kernel takes at once; return the rest. Raises what `send_file` does."""
    try:
        sent = os.sendfile(sock.fileno(), file.fileno(), part.start, len(part))
    except BlockingIOError:
        return part
    except OSError as exc:
        try:
            sock.getpeername()
        except OSError:
            raise ConnectionResetError("the client left") from exc
        raise
    if sent == 0:
        raise OSError(EIO, "the file has become shorter")
    return part[sent:]


def _socket(transport: asyncio.Transport) -> socket.socket:
    # Asyncio returns a `TransportSocket`, which lacks some methods.
    found: socket.socket = transport.get_extra_info("socket")
    return found
