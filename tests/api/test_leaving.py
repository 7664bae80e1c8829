"""Clients that disconnect at any moment and in any way: the log does not tell, since nobody could do anything
about it.
"""

import asyncio
import gc
import logging
import re
import socket
import struct
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from server.api import push
from server.api.connections import CONNECTIONS
from server.api.keys import FILES
from server.commands.logs import OurErrorsOnly
from server.core.long_work import compute
from tests.inside import Inside, get, inside, post

TIMES = 10  # clients at once


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as service:
        yield service


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log with the filter of the server's own log."""
    caplog.set_level(logging.INFO)
    handling, ours = logging.getLogger("aiohttp.server"), OurErrorsOnly()
    handling.addFilter(ours)
    yield caplog
    handling.removeFilter(ours)


UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")  # fmt: skip
REQUESTS = {
    "a file": get("{link}"),
    "a part of a file": get("{link}", "Range: bytes=1000000-9000000"),
    "the head of a file": get("{link}").replace(b"GET", b"HEAD"),
    "an empty file": get("{empty}"),
    "file after file": get("{link}") * 20,
    "empty file after empty file": get("{empty}") * 20,
    "half a head": get("{link}")[:-2],
    "the page": get("/"),
    "its modules": get("/static/js/main.js") * 20,
    "a list": get("/api/tasks"),
    "the description": get("/api/openapi.json") * 40,
    "half a body": post("/api/process", "Content-Length: 100", body=b"{"),
    "a body in broken chunks": post("/api/process", "Transfer-Encoding: chunked", body=b"zz\r\n"),
    "half a chunk": post("/api/process", "Transfer-Encoding: chunked", body=b"10\r\n{"),
    "a body that is no gzip": post(
        "/api/process", "Content-Encoding: gzip", "Content-Length: 20", body=bytes(20)
    ),
    "half a gzip": post(
        "/api/process", "Content-Encoding: gzip", "Content-Length: 20", body=b"\x1f\x8b\x08\0\0"
    ),
    "the feed": get("/ws", *UPGRADE),
    "the socket of a task": get("/ws/{task}", *UPGRADE),
    "a long poll": get("/api/status/{task}?wait=50", "If-None-Match: *"),
    "a look at a link": post("/api/info", "Content-Length: 30", body=b'{"url": "http://127.0.0.9:9/"}'),
    "nothing": b"",
    "what is no HTTP": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
}


async def reset(sock: socket.socket) -> None:
    """Disconnect with a reset, like a program that was killed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def close(sock: socket.socket) -> None:
    """Close the connection in the normal way, perhaps with an unread answer."""


async def close_when_it_begins(sock: socket.socket) -> None:
    await asyncio.get_running_loop().sock_recv(sock, 100)


async def say_no_more(sock: socket.socket) -> None:
    """Close the sending half, read a little, and disconnect."""
    sock.shutdown(socket.SHUT_WR)
    await asyncio.get_running_loop().sock_recv(sock, 100)


LEAVE = (reset, close, close_when_it_begins, say_no_more)
SAY_NOTHING = ("half a head", "half a body", "half a chunk", "half a gzip", "a long poll", "the feed",
               "the socket of a task", "a look at a link", "nothing")  # fmt: skip


async def test_a_client_that_leaves_is_not_worth_a_line(
    service: Inside, log: pytest.LogCaptureFixture
) -> None:
    paths = {
        b"{link}": await service.finished(bytes(16 << 20)),
        b"{empty}": await service.finished(b""),
        b"{task}": await service.submit(),
    }
    log.clear()
    for what, request in REQUESTS.items():
        for name, path in paths.items():
            request = request.replace(name, path.encode())
        for leave in LEAVE:
            if what in SAY_NOTHING and leave in (close_when_it_begins, say_no_more):
                continue  # the kernel has nothing to read yet
            await asyncio.gather(*(leaving(service, request, leave) for _ in range(TIMES)))
        await service.all_gone()
        assert [record.getMessage() for record in log.records] == [], what


async def leaving(service: Inside, request: bytes, leave: Callable[[socket.socket], Awaitable[None]]) -> None:
    async with service.connected() as sock:
        await asyncio.get_running_loop().sock_sendall(sock, request)
        await leave(sock)


async def read_to_the_end(sock: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(sock, 65536):
        pass


async def say_good_bye(sock: socket.socket) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, b"\x88\x82\0\0\0\0\x03\xe8")
    await read_to_the_end(sock)


async def send_a_wrong_frame(sock: socket.socket) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, b"\x81\x01a")  # a frame without a mask
    await read_to_the_end(sock)


async def close_half(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)
    await read_to_the_end(sock)


TASK_BODY = b'{"url": "http://127.0.0.9:9/v.mp4", "auto_start": false}'
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(TASK_BODY), TASK_BODY)
AT_ONCE = {
    "one": (get("/healthz"), 1),
    "of HTTP/1.0": (b"GET /healthz HTTP/1.0\r\n\r\n", 1),
    "many, pipelined": (get("/healthz") * 40 + get("/api/tasks"), 41),
    "a body": (post("/api/process", f"Content-Length: {len(TASK_BODY)}", body=TASK_BODY), 1),
    "a body in chunks": (post("/api/process", "Transfer-Encoding: chunked", body=CHUNKS), 1),
    "no HTTP": (b"\x16\x03\x01\x02\0\r\n\r\n", 1),
    "one, and half another": (get("/healthz") + get("/healthz")[:-2], 1),
    "a log, which a thread reads": (get("/api/tasks/{task}/log"), 1),
    "more than the kernel buffers": (get("{link}"), 1),
    "a file, then another": (get("{link}") + get("{link}"), 2),
}


@pytest.mark.parametrize("what", AT_ONCE)
async def test_who_sends_all_at_once_and_then_says_so_gets_all_answers(service: Inside, what: str) -> None:
    request, answers = AT_ONCE[what]
    size = 8 << 20
    if b"{link}" in request:
        request = request.replace(b"{link}", (await service.finished(bytes(size))).encode())
    request = request.replace(b"{task}", (await service.submit()).encode())
    received = bytearray()
    async with service.connected() as sock:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, request)
        sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(10):
            while piece := await loop.sock_recv(sock, 1 << 20):
                received += piece
    assert len(re.findall(rb"HTTP/1\.[01] ", received)) == answers
    if "file" in what or "kernel" in what:
        assert len(received) > answers * size
    await service.all_gone()


async def test_who_has_left_a_long_poll_is_not_kept_by_it(service: Inside) -> None:
    task_id = await service.submit()
    async with service.connected() as sock:
        poll = get(f"/api/status/{task_id}?wait=50", "If-None-Match: *")
        await asyncio.get_running_loop().sock_sendall(sock, poll)
        while not service.app[CONNECTIONS].answering:
            await asyncio.sleep(0)
    await service.all_gone(within=5)


Sockets = list[weakref.ref[web.WebSocketResponse] | weakref.ref[asyncio.Transport]]


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sockets]:
    """Yield WebSockets that were opened, and their transports; meanwhile the garbage collector is off."""
    opened, open_socket = Sockets(), push._socket

    def noted(request: web.Request) -> web.WebSocketResponse:
        ws = open_socket(request)
        assert request.transport
        opened.extend((weakref.ref(ws), weakref.ref(request.transport)))
        return ws

    monkeypatch.setattr(push, "_socket", noted)
    gc.disable()
    yield opened
    gc.enable()


async def none_is_left(service: Inside, sockets: Sockets) -> None:
    """Return once nothing refers to any of the `sockets`."""
    await service.all_gone()
    async with asyncio.timeout(5):
        while any(each() is not None for each in sockets):
            await service.app[CONNECTIONS]._look_at_all(service.server)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", ["/ws", "/ws/{task}"])
@pytest.mark.parametrize("leave", [reset, close, close_half, say_good_bye, send_a_wrong_frame])
async def test_a_socket_whose_client_has_left_is_freed_at_once(
    service: Inside, sockets: Sockets, path: str, leave: Callable[[socket.socket], Awaitable[None]]
) -> None:
    path = path.replace("{task}", await service.submit())
    async with service.connected() as sock:
        await asyncio.get_running_loop().sock_sendall(sock, get(path, *UPGRADE))
        await asyncio.get_running_loop().sock_recv(sock, 65536)
        await leave(sock)
    await none_is_left(service, sockets)
    assert len(sockets) == 2


@pytest.mark.parametrize("is_over", [False, True], ids=["ended later", "ended already"])
async def test_a_socket_whose_client_does_not_answer_its_end_is_freed_at_once(
    service: Inside, sockets: Sockets, monkeypatch: pytest.MonkeyPatch, is_over: bool
) -> None:
    monkeypatch.setattr(push, "CLOSE_WITHIN", 0.05)
    task_id = await service.submit()
    if is_over:
        await cancel(service, task_id)
    async with service.connected() as sock:
        await asyncio.get_running_loop().sock_sendall(sock, get(f"/ws/{task_id}", *UPGRADE))
        await asyncio.get_running_loop().sock_recv(sock, 65536)
        if not is_over:
            await cancel(service, task_id)
        await none_is_left(service, sockets)
    assert len(sockets) == 2


async def test_a_socket_whose_client_answers_no_ping_is_freed_at_once(
    service: Inside, sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "HEARTBEAT", 0.05)
    async with service.connected() as sock:
        await asyncio.get_running_loop().sock_sendall(sock, get("/ws", *UPGRADE))
        await read_to_the_end(sock)
    await none_is_left(service, sockets)
    assert len(sockets) == 2


async def cancel(service: Inside, task_id: str) -> None:
    async with service.client.post(f"/api/tasks/{task_id}/cancel") as answer:
        assert answer.status == 200


async def test_nothing_is_computed_for_who_has_left(service: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    read, go_on, files = list[str](), threading.Event(), service.app[FILES]
    task_id, read_log = await service.submit(), files.workplace.read_log  # type: ignore[attr-defined]

    def noted(task_id: str, limit: int) -> bytes:
        read.append(task_id)
        text: bytes = read_log(task_id, limit)
        return text

    monkeypatch.setattr(files.workplace, "read_log", noted)  # type: ignore[attr-defined]
    busy = asyncio.create_task(compute(go_on.wait))
    try:
        leaving = [asyncio.create_task(service.client.get(f"/api/tasks/{task_id}/log")) for _ in range(TIMES)]
        while len(service.app[CONNECTIONS].answering) < TIMES:
            await asyncio.sleep(0)
        for gone in leaving:
            gone.cancel()
        while service.app[CONNECTIONS].answering:
            service.app[CONNECTIONS].let_go()
            await asyncio.sleep(0)
    finally:
        go_on.set()
    await busy
    async with service.client.get(f"/api/tasks/{task_id}/log") as answer:
        assert answer.status == 200
    assert read == [task_id]
