"""Clients that do not read their answers, or read them slowly; the tests set the clock."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from server.api import connections
from server.api.connections import CONNECTIONS, MAX_IDLE, MAX_UNREAD
from tests.inside import Inside, get, inside

CONTENT = os.urandom(1 << 20) * 8  # more bytes than all buffers take
BURST = 64 * 1024
REQUESTS = {
    "a file": get("{link}"),
    "a part": get("{link}", "Range: bytes=1000000-"),
    "file after file": get("{link}") * 3,
    "an answer that fits into buffers": get("/api/openapi.json"),
    "many answers": get("/api/openapi.json") * 30,
    "the page": get("/static/js/main.js") * 30,
}


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Inside]:
    monkeypatch.setattr(connections, "CHECK_EVERY", 3600)  # the tests check connections themselves
    async with inside(tmp_path) as service:
        yield service


def look(service: Inside, at: float) -> None:
    service.app[CONNECTIONS].look(service.server.connections, at)


async def settled(service: Inside, sock: socket.socket) -> asyncio.Transport:
    """Return once no byte is transferred any more."""
    [transport] = [
        connection.transport
        for connection in service.server.connections
        if connection.transport and port_of(connection) == sock.getsockname()[1]
    ]
    looks: list[tuple[int, int]] = []
    while len(looks) < 5 or len(set(looks[-5:])) > 1:
        looks.append((connections.taken(transport), connections.outstanding(transport)))
        await asyncio.sleep(0.05)
    return transport


def port_of(connection: web.RequestHandler) -> object:
    return connection.peername[1] if connection.peername else None


async def begin(service: Inside, sock: socket.socket, request: bytes) -> None:
    """Send a request, and return once the answer has begun to arrive."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, request)
    assert await loop.sock_recv(sock, 9) == b"HTTP/1.1 "


@pytest.mark.parametrize("what", REQUESTS)
async def test_who_takes_nothing_for_a_minute_is_cut_off(
    service: Inside, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    request = REQUESTS[what].replace(b"{link}", (await service.finished(CONTENT)).encode())
    async with service.connected() as sock:
        await begin(service, sock, request)
        transport = await settled(service, sock)
        look(service, at=0)
        look(service, at=MAX_UNREAD)
        assert not transport.is_closing()
        look(service, at=MAX_UNREAD + 1)
        assert transport.is_closing()
        await service.all_gone()
        with pytest.raises(ConnectionError):
            await read(sock, 1 << 30)
    assert caplog.records == []


async def test_who_reads_in_bursts_gets_the_whole_however_long_it_takes(service: Inside) -> None:
    asked, now = CONTENT[:7_000_000], 0.0
    link = await service.finished(CONTENT)
    async with service.connected(takes=BURST // 2) as sock:
        await begin(service, sock, get(link, f"Range: bytes=0-{len(asked) - 1}", "Connection: close"))
        while burst := await read(sock, BURST):
            look(service, now := now + MAX_UNREAD - 10)
            asked = asked.removeprefix(burst.rpartition(b"\r\n\r\n")[2])
    assert (asked, now > 50 * MAX_UNREAD) == (b"", True)


async def test_who_is_slow_at_the_end_gets_it_too(service: Inside) -> None:
    """The kernel's buffers have all of the file, and the handler has ended."""
    content, now = CONTENT[: 20 * BURST], 0.0
    link = await service.finished(content)
    async with service.connected(takes=BURST // 2) as sock:
        await begin(service, sock, get(link))
        await settled(service, sock)
        received = b""
        while not received.endswith(content[-10:]):
            assert not service.app[CONNECTIONS].answering
            look(service, now := now + MAX_UNREAD - 10)
            received = await read(sock, BURST, until=content[-10:])
        await asyncio.get_running_loop().sock_sendall(sock, get(link, "Range: bytes=0-9"))
        assert (await read(sock, BURST, until=content[:10])).startswith(b"HTTP/1.1 206")
    assert now > 10 * MAX_IDLE


async def test_a_finished_download_is_quiet_and_ends_like_any_other_connection(service: Inside) -> None:
    """Bytes that the client has not read yet are not lost."""
    link = await service.finished(CONTENT[:1000])
    async with service.connected(takes=BURST) as sock:
        await begin(service, sock, get(link))
        await settled(service, sock)
        look(service, at=0)
        look(service, at=MAX_IDLE + 1)
        await service.all_gone()
        assert (await read(sock, BURST)).endswith(CONTENT[:1000])


async def read(sock: socket.socket, size: int, until: bytes | None = None) -> bytes:
    """Return the next `size` bytes; fewer at the end of the answer, or only those up to `until`."""
    received = bytearray()
    while len(received) < size and (until is None or not received.endswith(until)):
        piece = await asyncio.get_running_loop().sock_recv(sock, min(size - len(received), 1 << 20))
        if not piece:
            break
        received += piece
    return bytes(received)


async def test_the_service_looks_by_itself_and_forgets_who_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("CHECK_EVERY", 0.02), ("MAX_UNREAD", 0.1), ("AT_ONCE", 2)):
        monkeypatch.setattr(connections, name, value)
    async with inside(tmp_path) as service, AsyncExitStack() as clients:
        link = await service.finished(CONTENT)
        for _ in range(5):
            await begin(service, await clients.enter_async_context(service.connected()), get(link))
        await service.all_gone()
        while len(service.app[CONNECTIONS]._seen) > 1:
            await asyncio.sleep(0.01)
