"""What the kernel knows of a client's connection, and what it does with one: send a file to it, cut it off.

A byte counts as taken when the client's system has confirmed it. Until then it waits here, in the
transport's buffer or in the kernel's, which takes megabytes.
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
_SEND_NOTHING_MORE = struct.pack("ii", 1, 0)  # `struct linger`: reset instead of a polite end


def outstanding(transport: asyncio.Transport) -> int:
    """Bytes that were written for the client and that it has not taken."""
    waiting = fcntl.ioctl(_socket(transport).fileno(), termios.TIOCOUTQ, bytes(4))
    return transport.get_write_buffer_size() + int.from_bytes(waiting, "little")


def taken(transport: asyncio.Transport) -> int:
    """Bytes that the client has taken since it connected; 0 where the kernel does not count them."""
    info = _socket(transport).getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
    acked: int = _BYTES_ACKED.unpack(info)[0] if len(info) == _BYTES_ACKED.size else 0
    return acked


def cut(transport: asyncio.Transport) -> None:
    """End the connection at once, whoever is writing to it; what the client has not taken is thrown away."""
    sock = _socket(transport)
    with suppress(OSError):  # it is gone already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _SEND_NOTHING_MORE)
        sock.shutdown(socket.SHUT_RDWR)  # wakes `send_file`, which has a descriptor of its own
    transport.abort()


async def send_file(request: web.BaseRequest, file: BinaryIO, part: range) -> None:
    """Copy `part` of `file`, which is not empty, to the client, behind the headers.

    Raises `ConnectionError` if the client leaves, another `OSError` if the file cannot be read to its end.
    """
    with _lent(await _drained(request)) as sock:
        await _Copy(file, part, sock).run()


@dataclass(frozen=True, slots=True)
class FilePart:
    """`part` of `file`, for the kernel to copy: it is not empty, and the file stays open until it is sent."""

    file: BinaryIO
    part: range


async def send_pieces(request: web.BaseRequest, pieces: AsyncIterator[bytes | memoryview | FilePart]) -> None:
    """Send `pieces` behind the headers, each from where it lies. Raises what `send_file` does."""
    loop = asyncio.get_running_loop()
    with _lent(await _drained(request)) as sock:
        async for piece in pieces:
            if isinstance(piece, FilePart):
                await _Copy(piece.file, piece.part, sock).run()
            else:
                await loop.sock_sendall(sock, piece)


async def _drained(request: web.BaseRequest) -> asyncio.Transport:
    """The client's connection, once what was written before is in the kernel's hands."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client left")
    transport.set_write_buffer_limits(high=0)
    await request.writer.drain()
    transport.set_write_buffer_limits()
    return transport


@contextmanager
def _lent(transport: asyncio.Transport) -> Iterator[socket.socket]:
    """A second descriptor of the connection: the event loop keeps a transport's own to itself.

    What the client says meanwhile stays unread; that it left shows when it is written to.
    """
    if transport.is_closing():
        raise ConnectionResetError("the client left")
    was_reading = transport.is_reading()
    transport.pause_reading()
    try:
        with _socket(transport).dup() as sock:
            yield sock
    finally:
        if was_reading:
            transport.resume_reading()


class _Copy:
    """`done` has a result once all of `part` is in the kernel's hands."""

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
        """Called when the kernel takes more, or has an error to tell."""
        if self.done.done():
            return
        try:
            self._send()
        except BlockingIOError:
            return
        except OSError as exc:
            self.done.set_exception(exc)
        else:
            if not self._left:
                self.done.set_result(None)

    def _send(self) -> None:
        left = self._left
        try:
            sent = os.sendfile(self._sock.fileno(), self._file.fileno(), left.start, len(left))
        except OSError as exc:
            if isinstance(exc, BlockingIOError) or _is_connected(self._sock):
                raise
            raise ConnectionResetError("the client left") from exc
        if sent == 0:
            raise OSError(EIO, "the file has become shorter")
        self._left = left[sent:]


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _socket(transport: asyncio.Transport) -> socket.socket:
    found: socket.socket = transport.get_extra_info("socket")  # all but the whole interface of one
    return found
