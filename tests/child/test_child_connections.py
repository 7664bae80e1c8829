"""Connections that fail in yt-dlp's request handlers: whatever the libraries raise, each fault has one
code.
"""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import RequestError
from yt_dlp.utils import DownloadError

from server.child.extract import options
from server.child.extract.failures import Trail, classify
from server.child.extract.youtube_dl import Engine
from server.child.network import guard
from server.child.process.log import Log
from tests.jobs import download_job

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PATH = "/sign%20in%20with%20captcha%2C%20this%20video%20is%20private.mp4"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def closing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def resetting(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def saying(answer: bytes, then: Handler = closing) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        await then(reader, writer)

    return handle


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[int]]]:
    """Start a server that reads a request and then answers as `handler` does; return its port."""
    servers: list[asyncio.Server] = []

    async def start(handler: Handler) -> int:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(64 * 1024)
            await handler(reader, writer)
            writer.close()

        servers.append(await asyncio.start_server(connected, "127.0.0.1", 0))
        port: int = servers[-1].sockets[0].getsockname()[1]
        return port

    yield start
    for server in servers:
        server.close()


def failures(url: str, handler: str, timeout: float = 10) -> set[str]:
    """Request `url`; return the codes that the failure gets: as an exception, and, if it may be retried, as a
    downloader's words.
    """
    trail, log = Trail(url), Log(os.open(os.devnull, os.O_WRONLY))
    with Engine(options.for_download(download_job(Path("/nowhere")), log), trail) as engine:
        handlers = engine._request_director.handlers
        for other in handlers.keys() - {handler}:
            handlers.pop(other).close()
        try:
            with engine.urlopen(Request(url, extensions={"timeout": timeout})) as response:
                response.read()
        except RequestError as error:
            words = DownloadError(f"ERROR: [download] Got error: {error}. Giving up after 2 retries")
            return {classify(error, trail).code, classify(words, trail).code}
        except ValueError as error:
            return {classify(error, trail).code}
        finally:
            log.close()
    return set()


@pytest.mark.parametrize("handler", ["Requests", "Urllib"])
@pytest.mark.parametrize(
    ("scheme", "answer", "code"),
    [
        ("http", silent, "timeout"),
        ("http", closing, "connection_failed"),
        ("http", resetting, "connection_failed"),
        ("http", saying(b"220 mail.example.org ESMTP\r\n"), "connection_failed"),
        ("http", saying(HEADERS + b"Content-Length: 9\r\n\r\n1", silent), "timeout"),
        ("http", saying(HEADERS + b"Content-Length: 9\r\n\r\n1", resetting), "incomplete"),
        ("http", saying(HEADERS + b"Transfer-Encoding: chunked\r\n\r\n9\r\n1"), "incomplete"),
        ("http", saying(b"HTTP/1.1 404 captcha\r\nContent-Length: 0\r\n\r\n"), "http_404"),
        ("http", saying(b"HTTP/1.1 302 Found\r\nLocation: http://10.1.1.1:x/\r\n\r\n"), "unsupported_url"),
        ("https", silent, "timeout"),
        ("https", closing, "connection_failed"),
        ("https", resetting, "connection_failed"),
        ("https", saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "tls_error"),
    ],
)
async def test_a_connection_that_goes_wrong_has_a_code(
    serve: Any, scheme: str, answer: Handler, code: str, handler: str
) -> None:
    port = await serve(answer)
    patience = 0.5 if code == "timeout" else 10
    found = await asyncio.to_thread(failures, f"{scheme}://127.0.0.1:{port}{PATH}", handler, patience)
    assert found == {code}


@pytest.fixture
def passing_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the child's way to skip informational answers, until the test is over."""
    monkeypatch.setattr(HTTPResponse, "_read_status", vars(HTTPResponse)["_read_status"])
    guard.skip_informational_responses()


@pytest.mark.usefixtures("passing_over")
@pytest.mark.parametrize("handler", ["Requests", "Urllib"])
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (HINTS + CONTINUE + HINTS + HEADERS + b"Content-Length: 1\r\n\r\n1", set()),
        (HINTS + b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", {"http_404"}),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", {"http_101"}),
        (HINTS, {"connection_failed"}),
    ],
)
async def test_what_comes_before_the_answer_is_passed_over(
    serve: Any, answer: bytes, code: set[str], handler: str
) -> None:
    port = await serve(saying(answer))
    async with asyncio.timeout(20):
        found = await asyncio.to_thread(failures, f"http://127.0.0.1:{port}{PATH}", handler)
    assert found == code


@pytest.mark.parametrize("handler", ["Requests", "Urllib"])
@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:1/captcha.mp4", "connection_failed"),
        ("http://sign-in.invalid/captcha.mp4", "dns_error"),
        ("http://[::1/captcha.mp4", "unsupported_url"),
        (f"http://{'a' * 70}.test/", "unsupported_url"),
        ("http://a..test/", "unsupported_url"),
    ],
)
async def test_where_nobody_is_has_a_code(url: str, code: str, handler: str) -> None:
    assert await asyncio.to_thread(failures, url, handler) == {code}
