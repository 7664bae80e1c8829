"""Where a child may connect to: public addresses, and the private ones that the operator has allowed.

The check is an audit hook, which can't be removed and sees the numeric address of every connect of Python's
sockets, whoever makes it, after redirects and name resolution. The programs that a child starts are kept
off the network by other means (`server.child.media.ffmpeg`), as is libcurl, which connects without Python's
sockets (`server.child.network.impersonation`).
"""

import errno
import functools
import http.client
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

refused: list[str] = []
"""The last addresses that were refused, newest last: of some errors yt-dlp keeps only the text."""

FAKE_IP: Final = IPv4Network("198.18.0.0/15")
"""The range for benchmarks (RFC 2544); proxy programs in fake-IP mode resolve every name to one of these."""

_KEPT: Final = 20
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_SOCKS_PORT: Final = 1080
_V4_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")

# IANA's registries of special addresses (RFC 6890), without the few entries that are public.
_SPECIAL: Final[tuple[Network, ...]] = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local; also the metadata services of clouds
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            str(FAKE_IP),
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
            "2001::/23",  # protocol assignments, Teredo among them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4 carries any IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)


class AddressBlocked(PermissionError):
    """The source, or what it refers to, is at an address to which connections are not allowed."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"connections to {address} are blocked")
        self.address = address
        refused.append(address)
        del refused[:-_KEPT]


def is_fake_ip(address: str) -> bool:
    try:
        return _numeric(address) in FAKE_IP
    except ValueError:
        return False


@dataclass(frozen=True)
class Allowed:
    """What the operator has allowed; a host in `names` at its port, whichever address it resolves to."""

    networks: tuple[Network, ...] = ()
    endpoints: frozenset[tuple[Address, int]] = frozenset()
    names: frozenset[tuple[str, int]] = frozenset()

    def permits(self, address: Address, port: int) -> bool:
        return (address, port) in self.endpoints or any(address in network for network in self.networks)


def parse_allowed(entries: Sequence[str], proxy: str | None = None) -> Allowed:
    """Read addresses, networks (`10.0.0.0/8`) and `host:port`; raises `ValueError` on anything else.

    The endpoint of `proxy`, a URL, is allowed too.
    """
    networks, endpoints, names = [], set(), set()
    for host, port in [*map(_entry, entries), *_endpoint_of(proxy)]:
        if port is None:
            networks.append(_network(host))
        elif _is_numeric(host):
            endpoints.add((_numeric(host), port))
        else:
            names.add((_plain(host), port))
    return Allowed(tuple(networks), frozenset(endpoints), frozenset(names))


@contextmanager
def going_to(url: str) -> Iterator[None]:
    """Inside the block this thread, and no other, may also connect to the host and port of `url`."""
    _aside.open = _Open(parse_allowed((), url))
    try:
        yield
    finally:
        del _aside.open


def install(allowed_private_hosts: Sequence[str], proxy: str | None = None) -> None:
    """Make connections that are not allowed raise `AddressBlocked`, for the rest of this process.

    A `proxy` resolves names and connects by itself: then only addresses that a URL contains can be checked
    here, and the rest is up to the proxy.
    """
    guard = _Guard(parse_allowed(allowed_private_hosts, proxy), socket.getaddrinfo)
    socket.getaddrinfo = guard.getaddrinfo
    sys.addaudithook(guard.audit)
    _leave_out_curl()
    if proxy:
        _judge_what_the_proxy_is_asked_for(guard)


class _Open:
    """What is allowed, with the addresses that its names were resolved to so far."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._resolved: set[tuple[Address, int]] = set()

    def has(self, name: str, port: int) -> bool:
        return (name, port) in self._allowed.names

    def learn(self, name: str, address: Address, port: int) -> None:
        if self.has(name, port):
            self._resolved.add((address, port))

    def permits(self, address: Address, port: int) -> bool:
        return self._allowed.permits(address, port) or (address, port) in self._resolved


_aside = threading.local()


class _Guard:
    def __init__(self, allowed: Allowed, getaddrinfo: Callable[..., list[Any]]) -> None:
        self._open = _Open(allowed)
        self._getaddrinfo = getaddrinfo

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            return
        sock, address = arguments
        if address is None:  # sendmsg on a connected socket, whose address was checked by the connect
            return
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            raise AddressBlocked(str(address))
        self.check(address[0], address[1])

    def check(self, host: object, port: int) -> None:
        """Raise `AddressBlocked` unless `host` is an allowed address: the C library would resolve a name."""
        text = host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host)
        try:
            address = _numeric(text)
        except ValueError:
            raise AddressBlocked(text) from None
        if not self._permits(address, port):
            raise AddressBlocked(text)

    def getaddrinfo(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        """Leave out what `connect` would refuse, so that a name with public and private addresses works.

        Raises `AddressBlocked` if nothing is left.
        """
        found = self._getaddrinfo(host, port, *args, **kwargs)
        by_name = _plain(host) if isinstance(host, str) else ""
        for *_, (address, number, *_) in found:
            for each in self._all_open():
                each.learn(by_name, _numeric(address), number)
        good = [entry for entry in found if self._permits(_numeric(entry[4][0]), entry[4][1])]
        if found and not good:
            raise AddressBlocked(found[0][4][0])
        return good

    def check_literal(self, host: str | None, port: int) -> None:
        """Check the host of a URL as far as is possible without resolving it. Raises `AddressBlocked`."""
        name = _plain((host or "").strip("[]"))
        if not name or self._open.has(name, port):
            return
        try:
            address: Address = _numeric(name) if ":" in name else IPv4Address(socket.inet_aton(name))
        except (OSError, ValueError):
            if name == "localhost" or name.endswith(".localhost"):
                raise AddressBlocked(name) from None
        else:
            self.check(str(address), port)

    def _permits(self, address: Address, port: int) -> bool:
        return _is_public(address) or any(each.permits(address, port) for each in self._all_open())

    def _all_open(self) -> list[_Open]:
        return [self._open, _aside.open] if hasattr(_aside, "open") else [self._open]


def _is_public(address: Address) -> bool:
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return False
    return not any(address in network for network in _SPECIAL)


def _numeric(text: str) -> Address:
    """Parse an address, an IPv4-mapped IPv6 address as IPv4. Raises `ValueError`."""
    address = ip_address(text.partition("%")[0])
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _is_numeric(text: str) -> bool:
    try:
        return bool(_numeric(text))
    except ValueError:
        return False


def _network(text: str) -> Network:
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network) and network.subnet_of(_V4_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _entry(text: str) -> tuple[str, int | None]:
    """Host and port; the port is None if there is none. IPv6 addresses have a port only after brackets.

    Raises `ValueError`.
    """
    host, _, port = text.rpartition(":")
    if text.count(":") == 1 or host.endswith("]"):
        if not (host and port.isdecimal() and int(port) < 65536):
            raise ValueError(f"{text!r} is not an address, a network or host:port")
        return host.strip("[]"), int(port)
    return text, None


def _endpoint_of(proxy: str | None) -> list[tuple[str, int]]:
    if not proxy:
        return []
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return [(parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, _SOCKS_PORT))]


def _leave_out_curl() -> None:
    """Remove yt-dlp's handler for curl_cffi, which connects unseen by audit hooks.

    `server.child.network.browser` has the handler that takes its place.
    """
    from yt_dlp.networking.common import _REQUEST_HANDLERS

    _REQUEST_HANDLERS.pop("CurlCFFI", None)


def _judge_what_the_proxy_is_asked_for(guard: _Guard) -> None:
    """Check the targets of all proxied requests, redirects among them: HTTP, CONNECT tunnels and SOCKS."""
    from yt_dlp.socks import sockssocket

    def url(_self: Any, _method: str, url: str, *_: Any, **__: Any) -> None:
        parts = urlsplit(url)
        guard.check_literal(parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme, 0))

    def tunnel(_self: Any, host: str, port: int | None = None, *_: Any, **__: Any) -> None:
        guard.check_literal(host, port or _DEFAULT_PORTS["https"])

    def socks(self: Any, _connect: Any, address: tuple[str, int]) -> None:
        if self._proxy:
            guard.check_literal(*address[:2])

    _check_before(http.client.HTTPConnection, "putrequest", url)
    _check_before(http.client.HTTPConnection, "set_tunnel", tunnel)
    _check_before(sockssocket, "_make_proxy", socks)


def _check_before(owner: type, name: str, check: Callable[..., None]) -> None:
    method = getattr(owner, name)

    @functools.wraps(method)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check(*args, **kwargs)
        return method(*args, **kwargs)

    setattr(owner, name, checked)
