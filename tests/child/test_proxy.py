"""The proxy through which ffmpeg reaches the network: it serves only its own ffmpeg, and leads to no address
that the guard forbids.
"""

import asyncio
import atexit
import base64
import functools
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from server.child.network.proxy import OWN_HOST
from server.child.process import sandbox
from tests.tools import FFMPEG

ROOT = Path(__file__).parents[2]
Host = tuple[int, list[bytes]]

# The guard cannot be removed, so each proxy runs in a process of its own, until the test closes its socket.
# The processes are forks of one, since the imports take a third of a second of CPU.
SERVE = """
import json, os, signal, socket, sys
sys.path.append(sys.argv[1])
from server.child.network import guard, proxy

def serve(asking, saying):
    allowed, upstream, told = json.loads(asking.readline())
    guard.install(allowed, upstream)
    paced = []
    with proxy.Proxy(paced.append, upstream) as running:
        running.cookie_domains.update(told)
        running.pages["/a.m3u8"] = lambda: "a page"
        running.pages["/spoilt"] = lambda: {}["nothing"]
        print(running.url, file=saying, flush=True)
        asking.read()
    print(json.dumps([running.refused is not None, sum(paced)]), file=saying, flush=True)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with socket.socket(fileno=int(sys.argv[2])) as door:
    while (asker := socket.recv_fds(door, 1, 1)[1]):
        if os.fork() == 0:
            with open(asker[0]) as asking, open(asker[0], "w", closefd=False) as saying:
                serve(asking, saying)
            os._exit(0)
        os.close(asker[0])
"""

# A program whose ffmpeg is told to connect past the proxy.
STRAY = """
import os, sys
sys.path.append(sys.argv[1])
from server.child.media import run_ffmpeg as programs
os.environ["no_proxy"] = "*"
programs.install(sys.argv[4], os.open(os.devnull, os.O_RDONLY), print, print)
command = [sys.argv[4], "-i", sys.argv[2], "-f", "null", "-"]
with programs.start(command, programs.NetworkAccess(int(sys.argv[3]), "http://127.0.0.1:1")) as program:
    print(program.stderr.read())
"""


class Running:
    """A running proxy, and what it reports when it ends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self.port = parts.port or 0
        self._login = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        self._reader, self._writer = reader, writer

    async def ask(
        self, line: str, *, then: bytes = b"", login: str | None = None, body: bytes | None = None
    ) -> bytes:
        """Send a request, with a `body` if given, or send `then` through the tunnel that it opens; return all
        that is answered.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        header = f"Proxy-Authorization: Basic {self._login if login is None else login}"
        header += "" if body is None else f"\r\nContent-Length: {len(body)}"
        writer.write(f"{line} HTTP/1.1\r\nHost: media.test\r\n{header}\r\n\r\n".encode() + (body or b""))
        answer = await reader.readuntil(b"\r\n\r\n")
        if then:
            writer.write(then)
        answer += await reader.read()
        writer.close()
        return answer

    async def end(self) -> tuple[bool, int]:
        """End the proxy; return whether it refused an address, and how many bytes it has received."""
        self._writer.write_eof()
        refused, came_in = json.loads(await self._reader.readline())
        return refused, came_in


@functools.cache
def door() -> socket.socket:
    """Return a socket to the forking process. A socket that is sent through it gets a proxy at its other end.
    The process ends with this one.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        program = (sys.executable, "-I", "-c", SERVE, str(ROOT), str(theirs.fileno()))
        process = subprocess.Popen(program, pass_fds=[theirs.fileno()])
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


@asynccontextmanager
async def running(
    *allowed: str, upstream: str | None = None, told: tuple[str, ...] = ()
) -> AsyncIterator[Running]:
    async with asyncio.timeout(20):
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(door(), [b"1"], [theirs.fileno()])
        reader, writer = await asyncio.open_connection(sock=ours)
        writer.write(json.dumps([allowed, upstream, told]).encode() + b"\n")
        try:
            url = (await reader.readline()).decode().strip()
            yield Running(reader, writer, url)
        finally:
            writer.close()


@pytest.fixture
async def host() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server on loopback that answers each request with OK; yields its port and the requests."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with await asyncio.start_server(serve, "127.0.0.2", port):
            yield port, heard


HELLO = b"GET /hello HTTP/1.1\r\n\r\n"


async def test_requests_and_tunnels_get_through_and_are_counted(host: Host) -> None:
    port, heard = host
    async with running("127.0.0.1") as proxy:
        assert (await proxy.ask(f"GET http://127.0.0.1:{port}/a.ts?b=c")).endswith(b"OK")
        assert (await proxy.ask(f"CONNECT 127.0.0.1:{port}", then=HELLO)).endswith(b"OK")
        assert await proxy.end() == (False, 2 * len(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"))
    assert heard[0] == b"GET /a.ts?b=c HTTP/1.1\r\nHost: media.test\r\nConnection: close\r\n\r\n"
    assert heard[1] == HELLO


async def test_a_request_arrives_with_its_method_and_its_body() -> None:
    came = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set_result((await reader.readuntil(b"\r\n\r\n"), await reader.readexactly(200_000)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with running("127.0.0.1") as proxy:
            answer = await proxy.ask(f"POST http://127.0.0.1:{port}/form", body=b"x" * 200_000)
    head, body = await came
    assert answer.endswith(b"OK")
    assert head.startswith(b"POST /form HTTP/1.1\r\n")
    assert body == b"x" * 200_000


async def test_plain_http_is_asked_of_the_operators_proxy_by_its_whole_url_and_with_its_log_in(
    host: Host,
) -> None:
    """The log-in of our proxy is not sent to the operator's proxy, nor that of the operator's proxy to the
    host.
    """
    port, heard = host
    async with running("127.0.0.1", upstream=f"http://me:secret@127.0.0.1:{port}") as proxy:
        assert (await proxy.ask("GET http://media.test/a.ts?b=c")).endswith(b"OK")
    known = base64.b64encode(b"me:secret")
    assert heard == [
        b"GET http://media.test/a.ts?b=c HTTP/1.1\r\nHost: media.test\r\n"
        b"Proxy-Authorization: Basic " + known + b"\r\nConnection: close\r\n\r\n"
    ]
    heard.clear()
    async with running("127.0.0.1") as operators, running("127.0.0.1", upstream=operators.url) as proxy:
        assert (await proxy.ask(f"GET http://127.0.0.1:{port}/hello")).endswith(b"OK")
        assert (await proxy.ask("GET http://10.0.0.1/")).startswith(b"HTTP/1.1 403 ")
    assert heard == [b"GET /hello HTTP/1.1\r\nHost: media.test\r\nConnection: close\r\n\r\n"]


@pytest.mark.parametrize("login", ["", "Y2xpcHdpcmU6", "ü"])
async def test_no_other_program_on_the_machine_may_use_the_proxy(host: Host, login: str) -> None:
    port, heard = host
    async with running("127.0.0.1") as proxy:
        for line in (f"GET http://127.0.0.1:{port}/", f"CONNECT 127.0.0.1:{port}"):
            answer = await proxy.ask(line, login=login)
            assert answer.startswith(b"HTTP/1.1 407 ")
            assert b"Proxy-Authenticate: Basic" in answer
    assert heard == []


@pytest.mark.parametrize("port", ["", ":80"])
async def test_the_proxys_own_pages_are_for_ffmpeg_alone(port: str) -> None:
    async with running("127.0.0.1") as proxy:
        page = f"GET http://{OWN_HOST}{port}/"
        answer = await proxy.ask(f"{page}a.m3u8")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"a page")
        assert (await proxy.ask(f"{page}b.m3u8")).startswith(b"HTTP/1.1 404 ")
        assert (await proxy.ask(f"{page}spoilt")).startswith(b"HTTP/1.1 502 ")
        assert (await proxy.ask(f"{page}a.m3u8", login="")).startswith(b"HTTP/1.1 407 ")


@pytest.mark.parametrize(
    "name", ["127.0.0.2", "0x7f.2", "2130706434", "[::1]", "[::ffff:127.0.0.2]", "10.0.0.1"]
)
async def test_the_proxy_leads_to_no_address_that_is_not_public(host: Host, name: str) -> None:
    port, heard = host
    async with running("127.0.0.1") as proxy:
        for line in (f"GET http://{name}:{port}/", f"CONNECT {name}:{port}"):
            assert (await proxy.ask(line)).startswith(b"HTTP/1.1 403 "), line
        assert await proxy.end() == (True, 0)
    assert heard == []


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET https://127.0.0.1/", 400),
        ("GET file:///etc/passwd", 400),
        ("GET /", 400),
        ("GET http://[::1", 400),
        ("CONNECT 127.0.0.1:http", 400),
        ("CONNECT :1", 400),
        ("CONNECT 127.0.0.1:1", 502),
        ("POST http://127.0.0.1:1/", 502),
        ("BREW http://127.0.0.1/", 501),
    ],
)
async def test_a_request_that_the_proxy_does_not_serve_has_a_status(line: str, status: int) -> None:
    async with running("127.0.0.1") as proxy:
        assert (await proxy.ask(line)).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    ("told", "hosts", "others"),
    [
        ("x.invalid", ["x.invalid", "other.invalid"], ["evilx.invalid", "a.x.invalid"]),
        (".x.invalid", ["x.invalid", "a.x.invalid", "a.b.x.invalid"], ["evilx.invalid"]),
    ],
)
async def test_the_proxy_leads_to_no_host_to_which_ffmpeg_would_send_cookies_of_another(
    told: str, hosts: list[str], others: list[str]
) -> None:
    async with running(told=(told,)) as proxy:
        for host in hosts:
            assert (await proxy.ask(f"CONNECT {host}:443")).startswith(b"HTTP/1.1 502 "), host
        for host in others:
            assert (await proxy.ask(f"CONNECT {host.upper()}:443")).startswith(b"HTTP/1.1 403 "), host
        assert (await proxy.end())[0]


@pytest.mark.long
async def test_the_proxy_connects_through_the_proxy_of_the_operator(host: Host) -> None:
    port, heard = host
    async with running("127.0.0.1") as operators, running(upstream=operators.url) as proxy:
        # Media.test cannot be resolved.
        assert (await proxy.ask(f"CONNECT media.test:{port}")).startswith(b"HTTP/1.1 502 ")
        assert (await proxy.ask(f"CONNECT 127.0.0.1:{port}")).startswith(b"HTTP/1.1 403 ")
        assert heard == []
    async with running("127.0.0.1") as operators, running("127.0.0.1", upstream=operators.url) as proxy:
        assert (await proxy.ask(f"CONNECT 127.0.0.1:{port}", then=HELLO)).endswith(b"OK")
        assert (await operators.end())[1] > 0
    assert heard == [HELLO]


async def stray(link: str, port: int) -> bytes:
    """Run an ffmpeg with `link` as its input and a proxy at `port`; return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-c", STRAY, str(ROOT), link, str(port), FFMPEG), stdout=subprocess.PIPE
    )
    said, _ = await process.communicate()
    return said


@pytest.mark.long
async def test_ffmpeg_reaches_no_other_port_than_that_of_the_proxy(host: Host) -> None:
    port, heard = host
    await stray(f"http://127.0.0.1:{port}/a.mp4", port)
    assert heard, "then nothing would be shown by its silence"
    heard.clear()
    said = await stray(f"http://127.0.0.1:{port}/a.mp4", 1)
    if sandbox.abi() >= 4:
        assert b"Permission denied" in said
        assert heard == []


async def test_an_ffmpeg_that_has_a_way_to_the_network_reads_no_file() -> None:
    assert b"Protocol 'file' not on whitelist" in await stray(f"file:{__file__}", 1)
