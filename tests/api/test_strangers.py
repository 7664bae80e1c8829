"""Requests that no browser sends: each gets a plain answer, and none leaves an error in the log."""

import asyncio
import gzip
import json
import logging
import os
import re
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from socket import IPPROTO_TCP, SO_LINGER, SOL_SOCKET, TCP_NODELAY
from typing import Any

import pytest
from aiohttp import web
from aiohttp.compression_utils import ZLibDecompressor
from aiohttp.test_utils import TestClient, TestServer

from server.api.protocol import HttpRunner
from server.api.security import HEADERS
from server.app import create_app
from server.commands import logs
from server.settings import DownloadSettings, LimitSettings, ServerSettings, Settings, StorageSettings

Client = TestClient[web.Request, web.Application]
HOST = "Host: localhost"
JSON = (HOST, "Content-Type: application/json")
SOCKET = (
    HOST,
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
NO_MASK = bytes(4)  # clients must mask their frames; a mask of zeros changes nothing


@pytest.fixture
def section() -> dict[str, Any]:
    return {}


@pytest.fixture
async def client(tmp_path: Path, section: dict[str, Any]) -> AsyncIterator[Client]:
    defaults: dict[str, Any] = {
        "server": ServerSettings(allowed_hosts=("clip.example",)),
        "storage": StorageSettings(data_dir=tmp_path / "data"),
        "downloads": DownloadSettings(min_free_disk=0),
    }
    app = create_app(Settings(**defaults | section))
    async with asyncio.timeout(60), TestClient(ServedAsOurs(app)) as client:
        yield client


class ServedAsOurs(TestServer):
    """A server with the connection class of `python -m server`."""

    async def _make_runner(self, **options: Any) -> HttpRunner:
        return HttpRunner(self.app, **options)


def head(line: str, *headers: str) -> bytes:
    return "\r\n".join((line, *headers, "", "")).encode("latin-1")


@dataclass(frozen=True, slots=True)
class Answer:
    version: str
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Return the code of an answer, after checking that it is a problem."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        return str(problem["code"])


async def ask(client: Client, request: bytes, *later: bytes) -> Answer:
    """Send bytes exactly as given, and return the first final answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    try:
        writer.write(request)
        for piece in later:
            await asyncio.sleep(0.01)  # so that the next piece arrives separately
            writer.write(piece)
        answer = await _answer(reader)
        return await _answer(reader) if answer.status == 100 else answer
    finally:
        writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> Answer:
    line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(line.split()[0], int(line.split()[1]), headers, body)


# --- under which host name ---


NO_NAME_OF_OURS = [
    head("GET /api/tasks HTTP/1.1", "Host:"),
    head("GET /api/tasks HTTP/1.1", "Host: "),
    head("GET /api/tasks HTTP/1.0"),
    head("GET / HTTP/1.0"),
    head("GET /static/js/main.js HTTP/1.0"),
    head("GET /nowhere HTTP/1.0"),
    head("GET /api/tasks HTTP/1.1", "Host: :8080"),
    head("GET /api/tasks HTTP/1.1", "Host: evil.example/@localhost"),
    head("GET /api/tasks HTTP/1.1", "Host: evil.example@localhost"),
    head("GET /api/tasks HTTP/1.1", "Host: localhost#.evil.example"),
    head("GET http://evil.example/api/tasks HTTP/1.1", HOST),
    head("GET http://localhost@evil.example/api/tasks HTTP/1.1", HOST),
    head("OPTIONS * HTTP/1.1", "Host: evil.example"),
]


async def test_who_names_nobody_or_somebody_else_is_refused(client: Client) -> None:
    for request in NO_NAME_OF_OURS:
        answer = await ask(client, request)
        assert (answer.status, answer.code) == (403, "host_forbidden"), request


async def test_http_1_1_without_a_host_is_refused_like_a_foreign_one(client: Client) -> None:
    answer = await ask(client, head("GET /healthz HTTP/1.1"))
    assert (answer.status, answer.code) == (403, "host_forbidden")


async def test_of_two_hosts_neither_is_taken(client: Client) -> None:
    """RFC 9112, section 3.2: the answer is 400 for every target."""
    answer = await ask(client, head("GET /healthz HTTP/1.1", HOST, "Host: clip.example"))
    assert (answer.status, answer.code) == (400, "unreadable")


LONG = "a" * 3700
TOO_LONG = [
    (f"Host: {LONG}",),
    (f"Host: {LONG}.localhost",),
    (f"Host: localhost:{'8' * 3700}",),
    ("Host: localhost:65536",),
    (f"Host: [fe80::1%{LONG}]",),
    (HOST, f"X-Forwarded-Host: {LONG}"),
    (HOST, f"X-Forwarded-Host: {LONG}.localhost"),
    (HOST, f"X-Forwarded-Host: other, localhost:{'8' * 3700}"),
]


@pytest.fixture
def behind_a_proxy(section: dict[str, Any]) -> None:
    section["server"] = ServerSettings(trusted_proxies=("127.0.0.1",))


@pytest.mark.usefixtures("behind_a_proxy")
async def test_a_host_that_is_longer_than_any_name_is_refused(client: Client) -> None:
    for fields in TOO_LONG:
        for target in ("/api/tasks", "/api/tasks/any/files/video/qr.svg"):
            answer = await ask(client, head(f"GET {target} HTTP/1.1", *fields))
            assert (answer.status, answer.code) == (403, "host_forbidden"), fields
    assert (await ask(client, head("GET /api/tasks HTTP/1.1", "Host: localhost:65535"))).status == 200


A_PROBE_OR_A_NAME_OF_OURS = [
    head("GET /healthz HTTP/1.0"),
    head("GET /healthz HTTP/1.1", "Host:"),
    head("GET /healthz HTTP/1.1", "Host: anybody"),
    head("GET /api/tasks HTTP/1.0", HOST),
    # The host in the target outranks the header (RFC 9112, section 3.2.2).
    head("GET http://clip.example/api/tasks HTTP/1.1", "Host: evil.example"),
    head("GET https://localhost:99/api/tasks?limit=1 HTTP/1.1", HOST),
    head("GET /api/tasks HTTP/1.1", "Host: CLIP.example:80"),
]


async def test_a_probe_and_whoever_names_us_is_answered(client: Client) -> None:
    for request in A_PROBE_OR_A_NAME_OF_OURS:
        assert (await ask(client, request)).status == 200, request


async def test_the_origin_is_compared_with_the_name_in_the_target(client: Client) -> None:
    def submit(target: str) -> bytes:
        fields = ("Host: 127.0.0.1", "Origin: http://clip.example", "Content-Type: application/json")
        return head(f"POST {target} HTTP/1.1", *fields, "Content-Length: 2") + b"{}"

    assert (await ask(client, submit("http://clip.example/api/process"))).status == 422
    assert (await ask(client, submit("http://localhost/api/process"))).code == "origin_forbidden"


# --- requests that aiohttp itself would answer ---


CONDITIONS = [
    "Range: bytes=99999999-",
    "Range: bytes=0-1",
    "Range: bytes=a-b",
    'If-Match: "other"',
    "If-Unmodified-Since: Mon, 01 Jan 1990 00:00:00 GMT",
    "If-Unmodified-Since: Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    "If-Modified-Since: Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    "Expect: the-unexpected",
    "Expect: 100-continue, more",
    "Accept-Encoding: \xff;q=a",
    "Accept-Language: ;q=9,,*;q=a,\xff",
    'Cookie: =;;\xff"; clipwire_session; clipwire_session="',
    "Content-Type: ;;=",
]


async def test_the_page_comes_whole_whatever_the_conditions(client: Client) -> None:
    for condition in CONDITIONS:
        for path in ("/", "/static/js/main.js", "/api/docs"):
            answer = await ask(client, head(f"GET {path} HTTP/1.1", HOST, condition))
            assert answer.status == 200, (condition, path)
            assert len(answer.body) > 1000


async def test_a_body_may_be_announced(client: Client) -> None:
    for expect in ("100-continue", "100-Continue", "the-unexpected"):
        fields = (*JSON, f"Expect: {expect}", "Content-Length: 2")
        answer = await ask(client, head("POST /api/process HTTP/1.1", *fields), b"{}")
        assert (answer.status, answer.code) == (422, "invalid_request")


async def test_nobody_is_told_to_send_a_body_that_is_refused(client: Client) -> None:
    announced = ("Content-Type: application/json", "Expect: 100-continue", "Content-Length: 4000000")
    text = ("Content-Type: text/plain", "Expect: 100-continue", "Content-Length: 4000000")
    for line, fields, first in (
        ("POST /api/process/batch HTTP/1.1", ("Host: evil.example", *announced), 403),
        ("POST /api/process/batch HTTP/1.1", (HOST, *announced), 100),
        ("POST /api/process HTTP/1.1", (HOST, *announced), 413),
        ("POST /api/process HTTP/1.1", (HOST, *text), 415),
        ("POST /api/tasks/unknown/cancel HTTP/1.1", (HOST, *announced), 404),
        ("POST /api/media HTTP/1.1", (HOST, *text), 100),
        ("PUT /api/cookies/a HTTP/1.1", (HOST, *text), 413),
        ("PUT /api/cookies/a HTTP/1.1", (HOST, *announced), 415),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(head(line, *fields))
        answer = await _answer(reader)
        assert (answer.status, answer.headers.get("connection")) == (
            first,
            None if first == 100 else "close",
        ), line
        writer.transport.abort()


@pytest.mark.wide
@pytest.mark.parametrize(
    ("line", "kind", "status"),
    [
        ("POST /api/process HTTP/1.1", JSON, 413),
        ("PUT /api/cookies/a HTTP/1.1", (HOST, "Content-Type: text/plain"), 413),
        ("POST /api/process HTTP/1.1", ("Host: evil.example", "Content-Type: application/json"), 403),
    ],
)
async def test_what_is_left_of_a_packed_body_is_not_unpacked(
    client: Client, monkeypatch: pytest.MonkeyPatch, line: str, kind: tuple[str, ...], status: int
) -> None:
    unpacked, unpack = 0, ZLibDecompressor.decompress_sync

    def counted(self: ZLibDecompressor, data: bytes, max_length: int = 0) -> bytes:
        nonlocal unpacked
        found = unpack(self, data, max_length)
        unpacked += len(found)
        return found

    monkeypatch.setattr(ZLibDecompressor, "decompress_sync", counted)
    body = gzip.compress(bytes(64 << 20))
    fields = (*kind, "Content-Encoding: gzip", f"Content-Length: {len(body)}")
    answer = await ask(client, head(line, *fields), body)
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert unpacked < 8 << 20


TARGETS = [
    ("GET http://localhost HTTP/1.1", 200, None),
    ("GET http://localhost?lang=en HTTP/1.1", 200, None),
    ("GET http://evil.example HTTP/1.1", 403, "host_forbidden"),
    ("CONNECT localhost:443 HTTP/1.1", 501, "method_unknown"),
    ("CONNECT evil.example:443 HTTP/1.1", 403, "host_forbidden"),
    ("PURGE /api/tasks HTTP/1.1", 501, "method_unknown"),
    ("QUERY /api/tasks HTTP/1.1", 405, "method_not_allowed"),
    ("FOO /api/tasks HTTP/1.1", 501, "method_unknown"),
    ("FOO http://evil.example/api/tasks HTTP/1.1", 403, "host_forbidden"),
    ("get /healthz HTTP/1.1", 400, "unreadable"),
    ("OPTIONS * HTTP/1.1", 204, None),
    ("GET //api/tasks HTTP/1.1", 404, "not_found"),
    ("GET http://localhost/ HTTP/1.1", 200, None),
    ("GET http://localhost/nowhere HTTP/1.1", 404, "not_found"),
    ("DELETE / HTTP/1.1", 405, "method_not_allowed"),
    ("TRACE /api/tasks HTTP/1.1", 405, "method_not_allowed"),
    ("GET /%zz%ff%00 HTTP/1.1", 404, "not_found"),
    ("GET /api/status/%ff%fe%00 HTTP/1.1", 404, "task_not_found"),
    ("GET /api/tasks?q=%ff%ED%A0%80&%zz HTTP/1.1", 200, None),
    ("GET /api/tasks?lang=%ff HTTP/1.1", 200, None),
]


async def test_every_target_gets_an_answer_of_ours(client: Client) -> None:
    for line, status, code in TARGETS:
        answer = await ask(client, head(line, HOST))
        assert answer.status == status, line
        assert code is None or answer.code == code
        assert_has_all_headers(answer)


async def test_options_of_the_whole_server_names_its_methods(client: Client) -> None:
    answer = await ask(client, head("OPTIONS * HTTP/1.1", HOST))
    assert answer.headers["allow"] == "GET, HEAD, POST, PUT, PATCH, DELETE"


def assert_has_all_headers(answer: Answer) -> None:
    for name in HEADERS.keys() - {"Cache-Control"}:
        assert answer.headers[name.lower()] == HEADERS[name]
    assert answer.headers["x-request-id"]
    if answer.status >= 400:
        assert json.loads(answer.body)["request_id"] == answer.headers["x-request-id"]


NO_REQUEST = [
    (head("GET"), 400, "unreadable"),
    (head("GET api HTTP/1.1", HOST), 400, "unreadable"),
    (head("GET / HTTP/1.1", HOST, "no colon"), 400, "unreadable"),
    (head("GET / HTTP/1.1", HOST, "X: a\0b"), 400, "unreadable"),
    (head("GET / HTTP/1.1", HOST, "Content-Length: -5"), 400, "unreadable"),
    (head("POST / HTTP/1.1", HOST, "Content-Length: 5", "Transfer-Encoding: chunked"), 400, "unreadable"),
    (head("POST / HTTP/1.1", HOST, "Transfer-Encoding: gzip") + b"{}", 400, "unreadable"),
    (b"\x16\x03\x01\x02\x00\x01\x00", 400, "unreadable"),
    (head("GET /" + "a" * 9000 + " HTTP/1.1", HOST), 414, "target_too_long"),
    (head("FOO / HTTP/1.1", HOST, "X: " + "a" * 9000), 431, "head_too_large"),
    (head("GET / HTTP/1.1", HOST, "X: " + "a" * 9000), 431, "head_too_large"),
    (head("GET / HTTP/1.1", HOST, *(f"X{number}: a" for number in range(200))), 431, "head_too_large"),
    (head("GET /healthz HTTP/2.0", HOST), 505, "version_not_supported"),
    (head("PRI * HTTP/2.0") + b"SM\r\n\r\n", 505, "version_not_supported"),
    (head("GET /healthz HTTP/9.9", HOST), 505, "version_not_supported"),
    (head("GET /healthz HTTP/0.9", HOST), 505, "version_not_supported"),
    (head("GET /healthz"), 505, "version_not_supported"),  # a request line of HTTP/0.9
]


async def test_what_is_no_request_gets_a_problem_in_http_1_1_and_a_close(client: Client) -> None:
    for request, status, code in NO_REQUEST:
        answer = await ask(client, request)
        assert (answer.status, answer.code, answer.version) == (status, code, "HTTP/1.1"), request
        assert answer.headers["connection"] == "close"
        assert_has_all_headers(answer)


async def test_a_coding_that_aiohttp_knows_but_cannot_decode_here_is_unknown(client: Client) -> None:
    answer = await ask(
        client,
        head("POST /api/process HTTP/1.1", *JSON, "Content-Encoding: zstd", "Content-Length: 2"),
        b"{}",
    )
    assert (answer.status, answer.code) == (415, "encoding_unknown")
    assert_has_all_headers(answer)


async def test_a_body_that_turns_out_to_be_none_is_answered_at_once(client: Client) -> None:
    fields = (*JSON, "Transfer-Encoding: chunked")
    for answer in (
        await ask(client, head("POST /api/process HTTP/1.1", *fields), b"no chunk\r\n"),
        await ask(client, head("POST /nowhere HTTP/1.1", *fields), b"no chunk\r\n"),
    ):
        assert answer.code in ("not_json", "not_found")


async def test_a_body_is_not_taken_for_a_request_because_an_unknown_method_follows_it(client: Client) -> None:
    smuggled = head("DELETE /api/tasks/any HTTP/1.1", HOST)
    asked = head("POST /nowhere HTTP/1.1", HOST, f"Content-Length: {len(smuggled)}")
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(asked)
    await asyncio.sleep(0.01)  # so that the body arrives separately
    writer.write(smuggled + head("FOO / HTTP/1.1", HOST))
    codes = [(await _answer(reader)).code, (await _answer(reader)).code]
    assert codes == ["not_found", "unreadable"]
    assert await reader.read() == b""
    writer.close()


async def test_an_upgrade_that_nobody_can_read_is_none(client: Client) -> None:
    for place, name in ((1, "Upgrade"), (3, "Sec-WebSocket-Version"), (4, "Sec-WebSocket-Key")):
        fields = [*SOCKET[:place], f"{name}: \xff", *SOCKET[place + 1 :]]
        assert (await ask(client, head("GET /ws HTTP/1.1", *fields))).code == "upgrade_required"


CODED = [
    ("gzip, chunked", 501, "transfer_coding_unknown"),
    ("GZIP,chunked", 501, "transfer_coding_unknown"),
    ("Chunked", 422, "invalid_request"),
]


async def test_no_body_is_read_with_a_transfer_coding_that_nobody_has_undone(client: Client) -> None:
    """RFC 9112, section 6.1."""
    for coding, status, code in CODED:
        request = head("POST /api/process HTTP/1.1", *JSON, f"Transfer-Encoding: {coding}")
        answer = await ask(client, request + b"2\r\n{}\r\n0\r\n\r\n")
        assert (answer.status, answer.code) == (status, code)
    foreign = head("POST / HTTP/1.1", "Host: evil.example", "Transfer-Encoding: gzip, chunked")
    assert (await ask(client, foreign)).code == "host_forbidden"


MASKED = b"\x81\x83" + NO_MASK + b"abc"
LONG_MASKED = b"\x82\xfe\x01\x00" + NO_MASK + bytes(256)


async def test_a_frame_without_a_mask_closes_the_socket_with_1002(client: Client) -> None:
    """RFC 6455, section 5.1; the frames before it may come in any pieces."""
    for unmasked in (b"\x81\x02", b"\x88\x00", b"\x89\x00", b"\x82\x7e"):
        sent = MASKED + LONG_MASKED + MASKED + unmasked
        for step in (1, 7, 130, len(sent)):
            pieces = [sent[at : at + step] for at in range(0, len(sent), step)]
            assert await closed_with(client, pieces) == 1002, (unmasked, step)
    assert await closed_with(client, [MASKED, LONG_MASKED, b"\x88\x82" + NO_MASK + b"\x03\xe8"]) == 1000


async def closed_with(client: Client, pieces: Sequence[bytes]) -> int:
    """Send `pieces` on a socket, each separately; return the close code of the server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.get_extra_info("socket").setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    writer.write(head("GET /ws HTTP/1.1", *SOCKET))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0)
    begin = await reader.readexactly(4)
    writer.transport.abort()
    assert begin[0] == 0x88
    return int.from_bytes(begin[2:], "big")


# --- whose request it was ---


async def test_every_answer_names_its_request(client: Client) -> None:
    taken, passed_over = ("a", "A.b_c-9", "x" * 64), ("", "x" * 65, "a b", "ä", "a\tb", "a/b")
    for target in ("/", "/static/none", "/healthz", "/api/tasks", "/api/status/none", "/ws/none"):
        for own in (*taken, *passed_over):
            answer = await ask(client, head(f"GET {target} HTTP/1.1", HOST, f"X-Request-Id: {own}"))
            name = answer.headers["x-request-id"]
            assert (name == own) == (own in taken)
            assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name)
            if answer.status >= 400:
                assert json.loads(answer.body)["request_id"] == name
    handshake = await ask(client, head("GET /ws HTTP/1.1", *SOCKET, "X-Request-Id: mine"))
    assert (handshake.status, handshake.headers["x-request-id"]) == (101, "mine")


# --- what metrics count ---


@pytest.fixture
def limited(section: dict[str, Any]) -> None:
    section["limits"] = LimitSettings(requests_per_minute=2)
    section["server"] = ServerSettings(base_path="/clip")


@pytest.mark.usefixtures("limited")
async def test_the_page_and_its_files_do_not_count(client: Client) -> None:
    files = ("", "/", "/static/js/main.js", "/static/none", "/healthz")
    for path in [prefix + file for prefix in ("", "/clip") for file in files if prefix + file] * 5:
        assert (await client.get(path, allow_redirects=False)).status in (200, 308, 404), path
    answers = [(await client.get(path)).status for path in ("/api/tasks", "/clip/api/tasks", "/readyz")]
    assert answers == [200, 200, 429]
    assert (await client.get("/")).status == 200


@pytest.mark.usefixtures("limited")
async def test_what_is_no_request_counts_as_well(client: Client) -> None:
    lines = ("GET / HTTP/2.0", "FOO / HTTP/1.1", "GET api HTTP/1.1")
    assert [(await ask(client, head(line, HOST))).status for line in lines] == [505, 501, 429]


# --- what the log has ---


def socket(*frames: bytes) -> list[bytes]:
    return [head("GET /ws HTTP/1.1", *SOCKET), *frames]


def body(path: str, *pieces: bytes, encoding: str = "identity", length: str = "") -> list[bytes]:
    """Send a body in pieces; unless a length is given, it has that of its pieces."""
    framing = length or f"Content-Length: {sum(map(len, pieces))}"
    return [head(f"POST {path} HTTP/1.1", *JSON, f"Content-Encoding: {encoding}", framing), *pieces]


CUT = gzip.compress(os.urandom(3000))[:1500]
RUDE: dict[str, Sequence[bytes]] = {
    "a TLS handshake": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200))],
    "HTTP/2": [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    "SOCKS": [b"\x05\x01\x00"],
    "noise": [bytes(range(256)) * 4],
    "half a head": [b"GET /api/ta"],
    "a version from tomorrow": [head("GET / HTTP/9.9", HOST)],
    "a method of its own": [head("BREW / HTTP/1.1", HOST)],
    "a target without a slash": [head("GET api HTTP/1.1", HOST)],
    "bytes in a target": [head("GET /\xff HTTP/1.1", HOST)],
    "a port beyond all": [head("GET http://localhost:99999999/ HTTP/1.1", HOST)],
    "a line without end": [b"GET /" + b"a" * 20_000],
    "a header without end": [head("GET / HTTP/1.1", HOST, "X: " + "a" * 20_000)],
    "headers without number": [head("GET / HTTP/1.1", HOST, *(f"X{n}: a" for n in range(5000)))],
    "a header without a colon": [head("GET / HTTP/1.1", HOST, "no colon")],
    "a NUL in a header": [head("GET / HTTP/1.1", HOST, "X: a\0b")],
    "noise after a request": [head("GET /healthz HTTP/1.1", HOST) + b"\x00\x01\r\n\r\n"],
    "noise after a refused upgrade": [head("GET /api/tasks HTTP/1.1", *SOCKET) + b"\x00\x01\r\n\r\n"],
    "two lengths": body("/api/process", length="Content-Length: 5\r\nTransfer-Encoding: chunked"),
    "a negative length": body("/api/process", length="Content-Length: -5"),
    "a length beyond all": body("/api/process", length=f"Content-Length: {10**30}"),
    "half a body": body("/api/process", b'{"url"', length="Content-Length: 1000"),
    "half a body for nobody": body("/nowhere", b'{"url"', length="Content-Length: 1000"),
    "half a chunk": body("/api/process", b'5\r\n{"u', length="Transfer-Encoding: chunked"),
    "no chunks": body("/nowhere", b"ZZ\r\nhello\r\n0\r\n\r\n", length="Transfer-Encoding: chunked"),
    "no gzip": body("/api/process", b"\xff" * 100, b"\xff" * 100, encoding="gzip"),
    "no gzip for nobody": body("/nowhere", b"\xff" * 100, b"\xff" * 100, encoding="gzip"),
    "gzip that turns into noise": body("/api/process", CUT, b"\xff" * 1500, encoding="gzip"),
    "gzip that turns into noise for nobody": body("/nowhere", CUT, b"\xff" * 1500, encoding="gzip"),
    "half of a gzip": body("/api/process", CUT, encoding="gzip"),
    "no deflate": body("/api/process", b"\xff" * 100, encoding="deflate"),
    "no brotli": body("/api/process", b"\xff" * 100, encoding="br"),
    "no zstd": body("/api/process", b"\xff" * 100, encoding="zstd"),
    "an encoding of its own": body("/api/process", b"\xff" * 100, encoding="rot13"),
    "a protocol of its own": [head("GET /ws HTTP/1.1", *SOCKET, "Sec-WebSocket-Protocol: x, \xff,")],
    "an extension of its own": [head("GET /ws HTTP/1.1", *SOCKET, "Sec-WebSocket-Extensions: ;=\xff")],
    "an upgrade to no text": [head("GET /ws HTTP/1.1", HOST, "Upgrade: \xff", *SOCKET[2:])],
    "a version that is no text": [head("GET /ws HTTP/1.1", *SOCKET[:3], "Sec-WebSocket-Version: \xff")],
    "a message beyond its limit": socket(b"\x81\xfe\x10\x00" + NO_MASK + b"x" * 4096),
    "a message beyond all": socket(b"\x81\xff" + b"\xff" * 8 + NO_MASK),
    "a frame without a mask": socket(b"\x81\x02hi"),
    "an opcode of its own": socket(b"\x83\x80" + NO_MASK),
    "reserved bits": socket(b"\xf1\x80" + NO_MASK),
    "text that is none": socket(b"\x81\x82" + NO_MASK + b"\xff\xfe"),
    "a close of one byte": socket(b"\x88\x81" + NO_MASK + b"a"),
    "a close code that is none": socket(b"\x88\x82" + NO_MASK + b"\x00\x01"),
    "a ping in pieces": socket(b"\x09\x80" + NO_MASK),
    "half a frame": socket(b"\x81"),
    "two thousand messages": socket((b"\x81\x82" + NO_MASK + b"hi") * 2000),
}  # fmt: skip


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the messages that would alarm an operator: errors, tracebacks, and all that name a single
    socket.
    """
    return [
        f"{record.levelname} {record.name}: {record.getMessage()} {record.exc_info or ''}"
        for record in caplog.records
        if record.levelno >= logging.ERROR
        or (record.levelno >= logging.WARNING and (record.exc_info or record.name == "aiohttp.websocket"))
    ]


@pytest.mark.parametrize("leaves", ["politely", "rudely"])
async def test_nothing_that_a_client_does_is_an_error(
    client: Client, caplog: pytest.LogCaptureFixture, leaves: str
) -> None:
    logs.quieten()
    caplog.set_level(logging.DEBUG)
    await asyncio.gather(*(say(client, pieces, rudely=leaves == "rudely") for pieces in RUDE.values()))
    assert complaints(caplog) == []
    assert (await client.get("/api/tasks")).status == 200


async def say(client: Client, pieces: Sequence[bytes], *, rudely: bool) -> None:
    """Send the pieces one by one, read for a moment, and disconnect, perhaps with a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.01)
    try:
        async with asyncio.timeout(0.05):
            while await reader.read(65536):
                pass
    except (TimeoutError, ConnectionError):
        pass
    if rudely:
        with suppress(OSError):  # the socket is closed already
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    writer.close()
    await asyncio.sleep(0.01)
