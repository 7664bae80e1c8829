"""Answers with a prepared head are byte for byte those that aiohttp would send."""

import asyncio
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from server.settings import ServerSettings
from tests.inside import inside

OF_EACH = {"connection", "date", "x-request-id", "location", "etag"}
SUBMIT = b'{"url": "http://media.test/a.mp4", "auto_start": false}'


async def exchange(
    port: int, first_line: str, body: bytes = b"", *headers: str
) -> tuple[str, list[str], bytes]:
    """Return the status line, the headers in the order of their names, and the body of an answer."""
    lines = [first_line, f"Host: 127.0.0.1:{port}", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in head[1:] if line)
    content = await reader.readexactly(int(fields.get("Content-Length", 0)))
    writer.close()
    return head[0], sorted(line for line in head[1:] if line), content


def shared(headers: list[str]) -> list[str]:
    return [line for line in headers if line.partition(":")[0].lower() not in OF_EACH]


def value(headers: list[str], name: str) -> str:
    [line] = [line for line in headers if line.lower().startswith(f"{name}: ")]
    return line.partition(": ")[2]


async def test_it_has_the_headers_and_the_body_that_aiohttp_would_send(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        port = server.port
        line, headers, body = await exchange(port, "POST /api/process HTTP/1.1", SUBMIT, "X-Request-Id: mine")
        assert line == "HTTP/1.1 202 Accepted"
        assert value(headers, "x-request-id") == "mine"
        path = value(headers, "location")
        others = await exchange(port, "POST /api/process HTTP/1.1", SUBMIT, "Connection: close")
        assert shared(headers) == shared(others[1])
        assert value(others[1], "connection") == "close"

        status, headers, body = await exchange(port, f"GET {path} HTTP/1.1")
        assert status == "HTTP/1.1 200 OK"
        parsedate_to_datetime(value(headers, "date"))  # raises if it is no date
        for old in (f"GET {path} HTTP/1.1", f"GET {path} HTTP/1.0"):
            _, others_headers, others_body = await exchange(port, old, b"", "Connection: close")
            assert shared(headers) == shared(others_headers)
            assert value(headers, "etag") == value(others_headers, "etag")
            assert body == others_body

        known = f"If-None-Match: {value(headers, 'etag')}"
        status, headers, body = await exchange(port, f"GET {path} HTTP/1.1", b"", known)
        assert (status, body) == ("HTTP/1.1 304 Not Modified", b"")
        _, others_headers, _ = await exchange(port, f"GET {path} HTTP/1.1", b"", known, "Connection: close")
        assert shared(headers) == shared(others_headers)
        assert not any(line.startswith(("Content-Type", "Content-Length")) for line in headers)


@pytest.mark.parametrize("origin", ["https://clips.example", "https://other.example"])
async def test_pages_of_allowed_origins_get_what_lets_them_read_it(tmp_path: Path, origin: str) -> None:
    allowed = ServerSettings(allowed_origins=("https://clips.example",))
    async with inside(tmp_path, server=allowed) as server:
        _, headers, _ = await exchange(server.port, "GET /api/queue HTTP/1.1", b"", f"Origin: {origin}")
        is_allowed = origin == "https://clips.example"
        assert (f"Access-Control-Allow-Origin: {origin}" in headers) == is_allowed
        async with server.client.post("/api/process", json={"url": "http://media.test/a"}) as answer:
            path = answer.headers["Location"]
        _, headers, _ = await exchange(server.port, f"GET {path} HTTP/1.1", b"", f"Origin: {origin}")
        assert (f"Access-Control-Allow-Origin: {origin}" in headers) == is_allowed
        assert ("Vary: Origin" in headers) == is_allowed
