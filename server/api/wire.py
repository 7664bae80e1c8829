"""Socket operations on a client's connection: count unacknowledged bytes, send a file, reset the connection.

A byte counts as taken when the client's system has acknowledged it (TCP ACK). Until then it is in the
transport's write buffer or in the kernel's send buffer, which holds megabytes.
"""

import asyncio
import fcntl
import os
import socket
import struct
import termios
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EIO
from typing import BinaryIO

from aiohttp import web

_BYTES_ACKED = struct.Struct("=120xQ")  # in `struct tcp_info`
_SEND_NOTHING_MORE = struct.pack("ii", 1, 0)  # `struct linger`: close with a reset and drop unsent data


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
    left = _send(_socket(transport), file, part)  # mostly all of it: the kernel's buffer holds megabytes
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
    """A duplicated descriptor of the connection: the event loop does not let others use a transport's own.

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
        if _is_connected(sock):
            raise
        raise ConnectionResetError("the client left") from exc
    if sent == 0:
        raise OSError(EIO, "the file has become shorter")
    return part[sent:]


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _socket(transport: asyncio.Transport) -> socket.socket:
    found: socket.socket = transport.get_extra_info("socket")  # a `TransportSocket`: not all methods
    return found
