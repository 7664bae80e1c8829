"""No connection reaches an address that is not public, in whatever spelling, and whichever code connects.

The guard can't be taken off again, so whatever installs it runs in an interpreter of its own.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.child.network import guard
from server.child.process import sandbox
from server.core import addresses
from server.core.addresses import Allowed, numeric, parse_allowed
from tests.interpreters import run

# Each of these leads to a loopback address, or would on some system.
LOOPBACK = [
    "127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "0x7f000001", "0x7f.1", "2130706433",
    "017700000001", "0177.0.0.1", "0177.0x0.0.1", "0.0.0.0", "0", "localhost", "LOCALHOST",
    "localhost.", "127。0。0。1", "１２７.0.0.1", "①②⑦.0.0.1", "::1", "0:0:0:0:0:0:0:1", "::",
    "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:0:127.0.0.2", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1", "2002:7f00:1::", "::1%lo",
]  # fmt: skip

# Other private addresses: a connection must be refused at once, not after a timeout.
PRIVATE = [
    "10.0.0.1", "100.64.0.1", "100.127.255.255", "169.254.169.254", "172.16.0.1", "172.31.255.255",
    "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "0.1.2.3", "fe80::1", "fe80::1%1", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1", "100::1",
    "2001::1", "2001:db8::1", "2001:2::1", "2001:10::1", "2002:c0a8:1::", "3fff::1", "5f00::1",
    "64:ff9b::a00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::a00:1", "4000::1",
]  # fmt: skip

PUBLIC = [
    "1.1.1.1", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "172.15.255.255",
    "172.32.0.1", "192.0.1.1", "198.17.255.255", "198.20.0.1", "223.255.255.255", "2606:4700::1111",
    "2a00:1450::1", "2001:200::1", "2003::1", "::ffff:1.1.1.1",
]  # fmt: skip

WAYS = ["plain", "browser"]

# A program that connects to every host in every way; it reports whether it got through, was blocked, or
# failed.
TRY = """
import asyncio, json, socket, sys
sys.path.append(sys.argv[1])
import yt_dlp
from yt_dlp.networking.common import Request
from server.child.network import guard

hosts, port, allowed = json.loads(sys.argv[2])
guard.install(allowed)

def by_name(host):
    socket.create_connection((host, port), 10).close()

def by_connect(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(10)
        sock.connect((host, port))

def by_connect_ex(host):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.settimeout(10)
        if number := sock.connect_ex((host, port)):
            raise OSError(number, "")

def by_bytes(host):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.settimeout(10)
        sock.connect((host.encode(), port))

def by_datagram(host):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hello", (host, port))

def by_message(host):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendmsg([b"hello"], [], 0, (host, port))

def by_asyncio(host):
    async def connect():
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
    asyncio.run(connect())

def by_handler(name):
    def fetch(host):
        with yt_dlp.YoutubeDL({"quiet": True, "socket_timeout": 10}) as ydl:
            handler = ydl._request_director.handlers[name]
            handler.send(Request(f"http://{f'[{host}]' if ':' in host else host}:{port}/")).close()
    return fetch

def outcome(way, host):
    try:
        way(host)
    except Exception as exc:
        chain = [exc]
        while link := chain[-1].__cause__ or chain[-1].__context__:
            chain.append(link)
        return "blocked" if any(isinstance(link, guard.AddressBlocked) for link in chain) else repr(exc)
    return "through"

ways = [by_name, by_connect, by_connect_ex, by_bytes, by_datagram, by_message, by_asyncio,
        by_handler("Urllib"), by_handler("Requests")]
print(json.dumps({host: [outcome(way, host) for way in ways] for host in hosts}))
"""

# A program that fetches links through yt-dlp; it reports the text, and the addresses that were refused.
FETCH = """
import json, sys
sys.path.append(sys.argv[1])
import yt_dlp
from yt_dlp.networking.common import Request
from server.child.network import guard
from server.child.network import browser

urls, proxy, allowed, *way = json.loads(sys.argv[2])
guard.install(allowed, proxy)
extensions = {browser.WANTED: browser.ANY} if way == ["browser"] else {}

def fetch(url):
    guard.refused.clear()
    try:
        text = ydl.urlopen(Request(url, extensions=extensions)).read().decode()
    except Exception as exc:
        text = str(exc)
    return {"text": text, "refused": guard.refused[:]}

with yt_dlp.YoutubeDL({"quiet": True, "socket_timeout": 10, "proxy": proxy or ""}) as ydl:
    director = ydl._request_director
    director.add_handler(browser.BrowserRH(director.handlers["Urllib"], proxy))
    print(json.dumps([fetch(url) for url in urls]))
"""

# A program that sends a request as a browser past its proxy, with and without the kernel's limits; it reports
# whether the request got through.
STRAY = """
import json, sys
sys.path.append(sys.argv[1])
from yt_dlp.networking.common import Request
from server.child.network import guard
from server.child.process import sandbox
from tests.interpreters import run
from server.child.network import browser

url, leash = json.loads(sys.argv[2])
guard.install([])
if not leash:
    sandbox.one_tcp_port = lambda port: None
handler = browser.load().GuardedRH(None, logger=None)
handler._proxy.url = ""
try:
    handler.send(Request(url, extensions={browser.WANTED: browser.ANY}))
except Exception:
    print("false")
else:
    print("true")
"""

# A name that leads to another address at each question; only this program knows the name.
REBIND = (
    """
import json, socket, sys
answers = iter(json.loads(sys.argv[2])[2])
def getaddrinfo(host, port, *_, **__):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]
socket.getaddrinfo = getaddrinfo
sys.argv[2] = json.dumps([*json.loads(sys.argv[2])[:2], ["127.0.0.2"], "browser"])
"""
    + FETCH
)


@dataclass
class Canary:
    """A server at a private address, which counts the connections that must not come."""

    port: int = 0
    hits: list[bytes] = field(default_factory=list)
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\ninner"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hits.append(await reader.readline())
        writer.write(self.answer)
        await writer.drain()
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, canary: Canary) -> None:
        self._canary = canary

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._canary.hits.append(data)


@asynccontextmanager
async def canary_at(*hosts: str) -> AsyncIterator[Canary]:
    """Start one canary on the same port of all `hosts`, for TCP and UDP."""
    canary, loop = Canary(), asyncio.get_running_loop()
    servers, transports = [], []
    for host in hosts:
        server = await asyncio.start_server(canary.serve, host, canary.port)
        canary.port = server.sockets[0].getsockname()[1]
        servers.append(server)
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(canary), local_addr=(host, canary.port)
        )
        transports.append(transport)
    try:
        yield canary
    finally:
        for transport in transports:
            transport.close()
        for server in servers:
            server.close()
            await server.wait_closed()


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    hosts = ["127.0.0.1", "127.0.0.2", *(["::1"] if _has_ipv6() else [])]
    async with canary_at(*hosts) as canary:
        yield canary


def _has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            return False
    return True


def is_public(address: str) -> bool:
    """Return whether a child may connect to `address`; a text that is no numeric address is never used for
    that.
    """
    try:
        return addresses.is_public(numeric(address))
    except ValueError:
        return False


@pytest.mark.parametrize("address", PRIVATE)
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", LOOPBACK)
def test_no_spelling_of_loopback_is_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_next_to_the_special_ones_are_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_address_mapped_to_ipv6_is_judged_as_itself(address: Any) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address))


@given(st.ip_addresses())
def test_what_python_calls_private_is_never_public(address: Any) -> None:
    if not address.is_global or address.is_multicast:
        assert not is_public(str(address))


@pytest.mark.long
async def test_nothing_gets_to_a_private_address_in_any_spelling_or_way(canary: Canary) -> None:
    outcomes = await run(TRY, [LOOPBACK + PRIVATE, canary.port, []])
    assert canary.hits == []
    assert not [host for host, ends in outcomes.items() if "through" in ends]
    for host in (host for host in PRIVATE if "%" not in host):
        assert set(outcomes[host]) == {"blocked"}, host


@pytest.mark.wide
async def test_an_open_address_is_open_in_both_of_its_forms_and_no_other(canary: Canary) -> None:
    hosts = ["127.0.0.2", "::ffff:127.0.0.2", "127.0.0.1", "::ffff:127.0.0.1", "::1"]
    outcomes = await run(TRY, [hosts, canary.port, ["127.0.0.2"]])
    # One way passes the address as bytes, which not every C library takes for an IPv6 address.
    refused_anyway = 1
    for host in hosts[:2]:
        assert outcomes[host].count("through") >= len(outcomes[host]) - refused_anyway, outcomes[host]
    assert all(set(outcomes[host]) == {"blocked"} for host in hosts[2:])


@pytest.mark.wide
@pytest.mark.parametrize("way", WAYS)
async def test_an_open_endpoint_is_open_at_its_port_only(canary: Canary, way: str) -> None:
    urls = [f"http://127.0.0.1:{canary.port}/", "http://127.0.0.1:9/"]
    opened, other = await run(FETCH, [urls, None, [f"127.0.0.1:{canary.port}"], way])
    assert opened == {"text": "inner", "refused": []}
    assert other["refused"] == ["127.0.0.1"]


@pytest.mark.wide
@pytest.mark.parametrize("way", WAYS)
async def test_an_open_name_is_open_wherever_it_leads_at_its_port_only(canary: Canary, way: str) -> None:
    by_address = f"http://127.0.0.1:{canary.port}/"
    by_name = f"http://localhost:{canary.port}/"
    told = await run(
        FETCH, [[by_address, by_name, "http://localhost:9/"], None, [f"LocalHost:{canary.port}"], way]
    )
    assert [bool(each["refused"]) for each in told] == [True, False, True]
    assert told[1]["text"] == "inner"
    assert len(canary.hits) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_redirect_inside_is_refused(way: str) -> None:
    async with canary_at("127.0.0.1") as inside, canary_at("127.0.0.2") as outside:
        outside.answer = (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.1:%d/\r\nContent-Length: 0\r\n\r\n" % inside.port
        )
        [told] = await run(FETCH, [[f"http://127.0.0.2:{outside.port}/"], None, ["127.0.0.2"], way])
        assert told["refused"] == ["127.0.0.1"]
        assert (len(outside.hits), inside.hits) == (1, [])


@pytest.mark.parametrize(
    "scheme",
    [
        "http",
        "socks5h",
        pytest.param("socks5", marks=pytest.mark.long),
        pytest.param("socks4a", marks=pytest.mark.long),
    ],
)
async def test_a_proxy_is_not_asked_for_private_addresses(canary: Canary, scheme: str) -> None:
    hosts = ["127.0.0.1", "127.1", "2130706433", "localhost", "a.LOCALHOST.", "[::1]", "10.0.0.1"]
    urls = [f"{kind}://{host}:9/" for host in hosts for kind in ("http", "https")]
    told = await run(FETCH, [urls, f"{scheme}://127.0.0.2:{canary.port}", []])
    assert all(each["refused"] for each in told), told
    if scheme == "http":
        assert canary.hits == []


async def test_a_proxy_is_reached_where_it_is_and_resolves_names_itself(canary: Canary) -> None:
    told = await run(FETCH, [["http://public.invalid/"], f"http://127.0.0.2:{canary.port}", []])
    assert told == [{"text": "inner", "refused": []}]
    assert canary.hits == [b"GET http://public.invalid/ HTTP/1.1\r\n"]


async def test_a_redirect_of_a_proxied_source_is_judged_as_well(canary: Canary) -> None:
    canary.answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.1:9/\r\nContent-Length: 0\r\n\r\n"
    [told] = await run(FETCH, [["http://public.invalid/"], f"http://127.0.0.2:{canary.port}", []])
    assert told["refused"] == ["127.0.0.1"]
    assert len(canary.hits) == 1


@pytest.mark.wide
async def test_a_request_as_a_browser_gets_to_no_private_address_in_any_spelling(canary: Canary) -> None:
    hosts = [f"[{host}]" if ":" in host else host for host in LOOPBACK + PRIVATE if "%" not in host]
    told = await run(FETCH, [[f"http://{host}:{canary.port}/" for host in hosts], None, [], "browser"])
    assert canary.hits == []
    assert not [host for host, each in zip(hosts, told, strict=True) if each["text"] == "inner"]
    assert all(each["refused"] for host, each in zip(hosts, told, strict=True) if host in PRIVATE)


@pytest.mark.wide
async def test_a_request_as_a_browser_uses_no_proxy_of_the_environment(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")
    urls = [f"{scheme}://127.0.0.1:{canary.port}/" for scheme in ("http", "https")]
    told = await run(FETCH, [urls, None, [], "browser"])
    assert [each["refused"] for each in told] == [["127.0.0.1"], ["127.0.0.1"]]
    assert canary.hits == []


async def test_a_request_as_a_browser_connects_to_the_address_that_was_checked() -> None:
    async with canary_at("127.0.0.1") as inside, canary_at("127.0.0.2") as outside:
        outside.answer = (
            b"HTTP/1.1 302 Found\r\nLocation: http://rebinding.test:%d/\r\nContent-Length: 0\r\n"
            b"Connection: close\r\n\r\n" % inside.port
        )
        url = f"http://rebinding.test:{outside.port}/"
        [told] = await run(REBIND, [[url], None, ["127.0.0.2", "127.0.0.1", "127.0.0.2"]])
        assert (len(outside.hits), inside.hits) == (1, [])
        assert told["refused"] == ["127.0.0.1"]


async def test_a_request_as_a_browser_can_connect_only_to_its_proxy(canary: Canary) -> None:
    url = f"http://127.0.0.1:{canary.port}/"
    assert await run(STRAY, [url, False])
    assert canary.hits, "then nothing would be shown by its silence"
    canary.hits.clear()
    if sandbox.knows_tcp():
        assert not await run(STRAY, [url, True])
        assert canary.hits == []


async def test_a_request_as_a_browser_goes_through_the_operators_proxy(canary: Canary) -> None:
    canary.answer = b"HTTP/1.1 200 OK\r\n\r\n"
    private = ["127.0.0.1", "127.1", "2130706433", "localhost", "[::1]", "10.0.0.1"]
    urls = [f"{scheme}://public.invalid/" for scheme in ("http", "https")]
    urls += [f"{scheme}://{host}:9/" for scheme in ("http", "https") for host in private]
    plain, tunnel, *refused = await run(FETCH, [urls, f"http://127.0.0.2:{canary.port}", [], "browser"])
    assert (plain["refused"], tunnel["refused"]) == ([], [])
    assert all(each["refused"] for each in refused), refused
    assert [hit.partition(b" HTTP")[0] for hit in canary.hits] == [
        b"GET http://public.invalid/",
        b"CONNECT public.invalid:443",
    ]


def test_a_unix_socket_is_refused(tmp_path: Path) -> None:
    checked = guard._Guard(Allowed(), socket.getaddrinfo)
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(guard.AddressBlocked):
        checked.audit("socket.connect", (sock, str(tmp_path / "socket")))


def _answers(*addresses: str) -> Any:
    """Return a resolver that gives these addresses for every name."""
    return lambda _host, port, *_: [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in addresses
    ]


def test_only_the_public_addresses_of_a_mixed_answer_are_used() -> None:
    checked = guard._Guard(Allowed(), _answers("127.0.0.1", "1.1.1.1", "10.0.0.1"))
    assert [entry[4] for entry in checked.getaddrinfo("rebinding.example", 80)] == [("1.1.1.1", 80)]


def test_a_refused_address_is_remembered_but_not_for_ever() -> None:
    checked = guard._Guard(Allowed(), _answers("198.18.0.7"))
    for _ in range(100):
        with pytest.raises(guard.AddressBlocked, match=r"198\.18\.0\.7"):
            checked.getaddrinfo("fake-ip.example", 443)
    assert guard.refused[-1] == "198.18.0.7"
    assert len(guard.refused) <= 20


@pytest.mark.parametrize(
    ("entry", "address", "port", "allowed"),
    [
        ("127.0.0.2", "127.0.0.2", 80, True),
        ("127.0.0.2", "127.0.0.3", 80, False),
        ("::ffff:127.0.0.2", "127.0.0.2", 80, True),
        ("10.0.0.0/8", "10.255.0.1", 443, True),
        ("10.1.2.3/8", "10.255.0.1", 443, True),
        ("::ffff:10.0.0.0/104", "10.255.0.1", 443, True),
        ("fd00::/8", "fd12::1", 443, True),
        ("fd00::/8", "fe80::1", 443, False),
        ("::1", "::1", 0, True),
        ("127.0.0.1:8000", "127.0.0.1", 8000, True),
        ("127.0.0.1:8000", "127.0.0.1", 8001, False),
        ("[::1]:8000", "::1", 8000, True),
        ("[::1]:8000", "::1", 80, False),
    ],
)
def test_entries_open_exactly_what_they_name(entry: str, address: str, port: int, allowed: bool) -> None:
    assert parse_allowed([entry]).permits(numeric(address), port) is allowed


@pytest.mark.parametrize(
    "entry", ["", "localhost", "example.org", ":80", "a:b", "a:99999", "[::1]:", "10.0.0.0/99"]
)
def test_an_entry_that_names_nothing_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"not|Address|appear"):
        parse_allowed([entry])


@pytest.mark.parametrize(
    ("proxy", "endpoint"),
    [
        ("http://proxy.example", ("proxy.example", 80)),
        ("https://user:secret@Proxy.Example", ("proxy.example", 443)),
        ("socks5h://proxy.example", ("proxy.example", 1080)),
        ("http://proxy.example:3128/", ("proxy.example", 3128)),
    ],
)
def test_the_proxy_itself_is_allowed(proxy: str, endpoint: tuple[str, int]) -> None:
    assert parse_allowed([], proxy).names == {endpoint}
