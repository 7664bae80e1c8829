"""Where a child may connect to: public addresses, and the private ones that the operator has allowed.

The check is an audit hook. It can't be removed, and sees the numeric address of every connect of Python's
sockets, after redirects and name resolution. Other means keep off the network what connects without Python's
sockets: the programs that a child starts (`server.child.media.run_ffmpeg`) and libcurl
(`server.child.network.impersonation`).

Decisions: docs/decisions/network.md
"""

import errno
import functools
import http.client
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPResponse, parse_headers
from ipaddress import IPv4Address
from typing import Any, Final
from urllib.parse import urlsplit

from server.core.addresses import (
    DEFAULT_PORTS,
    FAKE_IP,
    Address,
    Allowed,
    is_public,
    numeric,
    parse_allowed,
    plain,
)

refused: list[str] = []
"""The last addresses that were refused, newest last: of some errors yt-dlp keeps only the text."""

_MAX_REFUSED: Final = 20


class AddressBlocked(PermissionError):
    """The source, or what it refers to, is at an address to which connections are not allowed."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"connections to {address} are blocked")
        self.address = address
        refused.append(address)
        del refused[:-_MAX_REFUSED]


def is_fake_ip(address: str) -> bool:
    try:
        return numeric(address) in FAKE_IP
    except ValueError:
        return False


@contextmanager
def also_allow(url: str) -> Iterator[None]:
    """Inside the block this thread, and no other, may also connect to the host and port of `url`."""
    _this_thread.also = _AllowedHosts(parse_allowed((), url))
    try:
        yield
    finally:
        del _this_thread.also


def install(allowed_private_hosts: Sequence[str], proxy: str | None = None) -> None:
    """Make connections that are not allowed raise `AddressBlocked`, for the rest of this process.

    A `proxy` resolves names and connects by itself: then only a URL with a numeric address can be checked
    here, and the proxy has to check names.
    """
    guard = _Guard(parse_allowed(allowed_private_hosts, proxy), socket.getaddrinfo)
    socket.getaddrinfo = guard.getaddrinfo
    sys.addaudithook(guard.audit)
    # Remove yt-dlp's handler for curl_cffi, which connects unseen by audit hooks.
    # `server.child.network.browser` has the handler that takes its place.
    from yt_dlp.networking.common import _REQUEST_HANDLERS

    _REQUEST_HANDLERS.pop("CurlCFFI", None)
    if proxy:
        # Check the targets of all requests that go through the proxy: HTTP, CONNECT tunnels and SOCKS.
        from yt_dlp.socks import sockssocket

        if proxy.startswith("socks"):
            guard.socks_proxy = plain(urlsplit(proxy).hostname or "")

        def url(_self: Any, _method: str, url: str, *_: Any, **__: Any) -> None:
            parts = urlsplit(url)
            guard.check_literal(parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme, 0))

        def tunnel(_self: Any, host: str, port: int | None = None, *_: Any, **__: Any) -> None:
            guard.check_literal(host, port or DEFAULT_PORTS["https"])

        make_proxy = sockssocket._make_proxy

        def socks(self: Any, connect: Callable[..., Any], address: tuple[str, int]) -> Any:
            def connect_to_proxy(*arguments: Any) -> Any:
                try:
                    return connect(*arguments)
                except ConnectionError as error:
                    raise _socks_proxy_error(error) from error

            if not self._proxy:
                return make_proxy(self, connect, address)
            guard.check_literal(*address[:2])
            return make_proxy(self, connect_to_proxy, address)

        _check_before(http.client.HTTPConnection, "putrequest", url)
        _check_before(http.client.HTTPConnection, "set_tunnel", tunnel)
        sockssocket._make_proxy = socks


def _socks_proxy_error(error: OSError) -> OSError:
    """What yt-dlp raises if a SOCKS proxy refuses: a fault of the way to it would look like the source's."""
    from yt_dlp.socks import ProxyError

    proxy_error: OSError = ProxyError(error.errno, error.strerror)
    return proxy_error


class _AllowedHosts:
    """Allowed hosts, with the addresses that their names were resolved to so far."""

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


_this_thread = threading.local()


class _Guard:
    def __init__(self, allowed: Allowed, getaddrinfo: Callable[..., list[Any]]) -> None:
        self._hosts = _AllowedHosts(allowed)
        self._getaddrinfo = getaddrinfo
        self.socks_proxy: str | None = None  # its host

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            return
        sock, address = arguments
        # Sendmsg without an address: the socket is connected, and the connect was checked.
        if address is None:
            return
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            raise AddressBlocked(str(address))
        self.check(address[0], address[1])

    def check(self, host: object, port: int) -> None:
        """Raise `AddressBlocked` unless `host` is an allowed address: the C library would resolve a name."""
        text = host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host)
        try:
            address = numeric(text)
        except ValueError:
            raise AddressBlocked(text) from None
        if not self._permits(address, port):
            raise AddressBlocked(text)

    def getaddrinfo(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        """Leave out what `connect` would refuse, so that a name with public and private addresses works.

        Raises `AddressBlocked` if nothing is left.
        """
        by_name = plain(host) if isinstance(host, str) else ""
        try:
            found = self._getaddrinfo(host, port, *args, **kwargs)
        except socket.gaierror as error:
            if by_name and by_name == self.socks_proxy:
                raise _socks_proxy_error(error) from error
            raise
        for *_, (address, number, *_) in found:
            for hosts in self._all_hosts():
                hosts.learn(by_name, numeric(address), number)
        good = [entry for entry in found if self._permits(numeric(entry[4][0]), entry[4][1])]
        if found and not good:
            raise AddressBlocked(found[0][4][0])
        return good

    def check_literal(self, host: str | None, port: int) -> None:
        """Check the host of a URL as far as is possible without resolving it. Raises `AddressBlocked`."""
        name = plain((host or "").strip("[]"))
        if not name or self._hosts.has(name, port):
            return
        try:
            address: Address = numeric(name) if ":" in name else IPv4Address(socket.inet_aton(name))
        except (OSError, ValueError):
            if name == "localhost" or name.endswith(".localhost"):
                raise AddressBlocked(name) from None
        else:
            self.check(str(address), port)

    def _permits(self, address: Address, port: int) -> bool:
        return is_public(address) or any(hosts.permits(address, port) for hosts in self._all_hosts())

    def _all_hosts(self) -> list[_AllowedHosts]:
        return [self._hosts, _this_thread.also] if hasattr(_this_thread, "also") else [self._hosts]


def _check_before(owner: type, name: str, check: Callable[..., None]) -> None:
    method = getattr(owner, name)

    @functools.wraps(method)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check(*args, **kwargs)
        return method(*args, **kwargs)

    setattr(owner, name, checked)


_SWITCHING_PROTOCOLS: Final = 101  # a final response, unlike the other 1xx: it ends HTTP on the connection


def skip_informational_responses() -> None:
    """Make `http.client` skip all 1xx responses, not only 100, for the rest of this process."""
    read = HTTPResponse._read_status  # type: ignore[attr-defined]

    def read_last(response: Any) -> tuple[str, int, str]:
        version, status, reason = read(response)
        while 100 < status < 200 and status != _SWITCHING_PROTOCOLS:
            parse_headers(response.fp)
            version, status, reason = read(response)
        return version, status, reason

    HTTPResponse._read_status = read_last  # type: ignore[attr-defined]
