"""A forward proxy for the programs that would connect without Python's sockets: ffmpeg and libcurl.

The proxy connects with Python's sockets, so `server.child.network.guard` checks every address, resolved once:
of the playlist, of segments, of keys, and of what any of them redirects to, because each request comes
through the proxy. It listens on loopback and requires a token that only this job's ffmpeg and libcurl know.

HTTPS goes through a tunnel (CONNECT). Plain HTTP goes on as a request: to its host, or to the operator's HTTP
proxy as yt-dlp sends it there, because many proxies, such as Squid as it is shipped, tunnel to port 443 only.

Decisions: docs/decisions/network.md
"""

import base64
import contextlib
import hmac
import re
import secrets
import select
import socket
import ssl
import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Final, Self
from urllib.parse import SplitResult, unquote, urlsplit

from yt_dlp.networking import _helper as networking
from yt_dlp.networking.exceptions import HTTPError

from server.child.network.guard import AddressBlocked
from server.child.process import yt_dlp_parts
from server.child.process.job_failed import JobFailed

Dial = Callable[[str, int], socket.socket]
Headers = list[tuple[str, str]]

_TIMEOUT: Final = 20.0  # seconds to connect, and to wait for the next byte from either side
_BLOCK: Final = 64 * 1024  # bytes
_PORTS: Final = {"http": 80, "https": 443}
_CONNECTION_HEADERS: Final = frozenset(  # between client and proxy only (RFC 9110, 7.6.1)
    (
        "connection",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "upgrade",
    )
)
OWN_HOST: Final = "clipwire.invalid"
"""The host of the proxy's own pages: RFC 6761 reserves `.invalid`, so that no such name is in the DNS."""

_OWN_PAGE: Final = re.compile(rf"http://{re.escape(OWN_HOST)}(?::80)?(/.*)")
REFUSED_BY_US: Final = "Clipwire-Refused"
"""A header with `Proxy.signature` in errors that come from the proxy itself, and not from a source."""


class Proxy(ThreadingTCPServer):
    """Runs in threads while the `with` block lasts; `pace` is called with each number of bytes received, and
    may block to limit the rate.

    `upstream` is the URL of the operator's proxy. `cookies` returns the `Cookie` header for a plain HTTP
    request: ffmpeg does not send its cookies to a proxy. `cookie_domains` are those of the cookies that
    ffmpeg got for HTTPS, with a leading dot if subdomains get them too. `signature` is a token that no source
    knows. `refused` is why the last target was refused, `failed` the error of the last connection that could
    not be made. `pages` maps a path at `OWN_HOST` to the function that makes the text of the page for each
    request; an `HTTPError` that it raises becomes the status. Once the proxy has `ended` it answers every
    request with status 410.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        pace: Callable[[int], None],
        upstream: str | None = None,
        cookies: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self.cookies = cookies
        self.cookie_domains: set[str] = set()
        super().__init__(("127.0.0.1", 0), _ProxyRequest)
        token = secrets.token_urlsafe(24)
        self.port: int = self.server_address[1]
        self.url = f"http://clipwire:{token}@127.0.0.1:{self.port}"
        self.authorization = _basic("clipwire", token)
        self.pace = pace
        self.dial = dialer(upstream)
        self.http_proxy = _http_proxy(upstream)
        self.signature = secrets.token_urlsafe(24)
        self.refused: AddressBlocked | JobFailed | None = None
        self.failed: Exception | None = None
        self.ended = False
        self.pages: dict[str, Callable[[], str]] = {}
        self.open_connections: set[socket.socket] = set()

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.1,), name="proxy", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def end(self) -> None:
        """Break off all connections, so that ffmpeg no longer waits for a silent source."""
        self.ended = True
        for upstream in list(self.open_connections):
            with contextlib.suppress(OSError):
                upstream.shutdown(socket.SHUT_RDWR)


class _ProxyRequest(BaseHTTPRequestHandler):
    server: Proxy
    timeout = _TIMEOUT
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        upstream = self._connect(f"https://{self.path}", "https", self._dial)
        if upstream is None:
            return
        with upstream, contextlib.suppress(OSError):
            self.send_response_only(HTTPStatus.OK)
            self.end_headers()
            self._relay(upstream)

    def do_GET(self) -> None:
        """Pass on a plain HTTP request of any method, or answer it with a page of the proxy's own."""
        own_page = _OWN_PAGE.fullmatch(self.path)
        if own_page and self._is_authorized() and not self.server.ended:
            self._send_page(self.server.pages.get(own_page[1]))
            return
        upstream = self._connect(self.path, "http", self._send_request)
        if upstream is None:
            return
        with upstream, contextlib.suppress(OSError):
            left = int(self.headers.get("Content-Length") or 0)
            while left > 0 and (data := self.rfile.read(min(left, _BLOCK))):
                upstream.sendall(data)
                left -= len(data)
            self._relay(upstream)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 - as `http.server` says

    def log_message(self, *_: Any) -> None:
        """Log nothing: ffmpeg's own output has what matters."""

    def _connect(self, url: str, scheme: str, connect: Dial) -> socket.socket | None:
        """Return the connection that `connect` makes to the host of `url`; None after an error response."""
        status = HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
        if self.server.ended:
            status = HTTPStatus.GONE
        elif self._is_authorized():
            try:
                return connect(*_endpoint(url, scheme))
            except (AddressBlocked, JobFailed) as error:
                self.server.refused = error
                status = HTTPStatus.FORBIDDEN
            except ValueError:
                status = HTTPStatus.BAD_REQUEST
            except (OSError, HTTPException) as error:
                self.server.failed = error
                status = HTTPStatus.BAD_GATEWAY
        self._refuse(status)
        return None

    def _dial(self, host: str, port: int) -> socket.socket:
        for domain in self.server.cookie_domains:
            # ffmpeg compares only the ends of names: it would send `host` another host's cookie.
            name = domain.removeprefix(".")
            is_subdomain = domain.startswith(".") and host.endswith(domain)
            if host.endswith(name) and host != name and not is_subdomain:
                raise JobFailed("unsupported_stream", f"ffmpeg would send {host} cookies of another host")
        return self.server.dial(host, port)

    def _send_request(self, host: str, port: int) -> socket.socket:
        """Connect to the host, or to the operator's proxy, and send all of the request but its body."""
        if self.headers.get("Transfer-Encoding"):
            raise ValueError("a body of unknown length")
        parts = urlsplit(self.path)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        http_proxy = self.server.http_proxy
        if http_proxy is None:
            connection = HTTPConnection(host, port)
            connection.sock = self.server.dial(host, port)
        else:
            connection = http_proxy.connection()
            target = f"http://{parts.netloc.rpartition('@')[2]}{target}"
        connection.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
        headers = [
            (name, value) for name, value in self.headers.items() if name.lower() not in _CONNECTION_HEADERS
        ]
        if "Cookie" not in self.headers and (cookies := self.server.cookies(self.path)):
            headers.append(("Cookie", cookies))
        login = http_proxy.login if http_proxy else []
        for name, value in [*headers, *login, ("Connection", "close")]:
            connection.putheader(name, value)
        connection.endheaders()
        upstream: socket.socket = connection.sock
        return upstream

    def _send_page(self, page: Callable[[], str] | None) -> None:
        """Answer with a page of the proxy's own, or with the error status that the page's source sent."""
        status: int = HTTPStatus.OK if page else HTTPStatus.NOT_FOUND
        text = b""
        try:
            text = page().encode() if page else b""
        except HTTPError as error:
            status = error.status
        except (AddressBlocked, JobFailed) as error:
            self.server.refused = error
            status = HTTPStatus.FORBIDDEN
        except Exception as error:  # outermost in this thread; the code of a page may raise anything
            self.server.failed = error
            status = HTTPStatus.BAD_GATEWAY
        if status != HTTPStatus.OK:
            self._refuse(status)
            return
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(text)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(text)

    def _is_authorized(self) -> bool:
        authorization = self.headers.get("Proxy-Authorization", "").encode()
        return hmac.compare_digest(authorization, self.server.authorization.encode())

    def _refuse(self, status: int) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.send_response_only(status)
            self.send_header(REFUSED_BY_US, self.server.signature)
            # ffmpeg sends its token only after a response 407.
            if status is HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
                self.send_header("Proxy-Authenticate", 'Basic realm="clipwire"')
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()

    def _relay(self, upstream: socket.socket) -> None:
        self.close_connection = True
        self.server.open_connections.add(upstream)
        try:
            if not self.server.ended:
                relay(self.connection, upstream, self.server.pace)
        finally:
            self.server.open_connections.discard(upstream)


def relay(client: socket.socket, upstream: socket.socket, pace: Callable[[int], None]) -> None:
    """Copy bytes in both directions until a side ends, or both are silent for `_TIMEOUT` seconds.

    `pace` is called with the number of bytes from `upstream`. Writes to the client have no timeout: it is a
    program of this job, and may read slowly.
    """
    upstream.settimeout(_TIMEOUT)
    client.settimeout(None)
    other_side = {upstream: client, client: upstream}
    while True:
        ready = [upstream]  # TLS may have decrypted bytes already, which `select` does not see
        if not (isinstance(upstream, ssl.SSLSocket) and upstream.pending()):
            ready = select.select([upstream, client], [], [], _TIMEOUT)[0]
        if not ready:
            return
        for side in ready:
            data = side.recv(_BLOCK)
            if not data:
                return
            other_side[side].sendall(data)
            if side is upstream:
                pace(len(data))


def _endpoint(url: str, scheme: str) -> tuple[str, int]:
    """Host and port of `url`; raises `ValueError` if it has no host, or another scheme."""
    parts = urlsplit(url)
    if parts.scheme != scheme or not parts.hostname:
        raise ValueError(url)
    return parts.hostname, parts.port or _PORTS[scheme]


def dialer(upstream: str | None) -> Dial:
    """Return a function that connects to a host: directly, or through the operator's proxy."""
    if upstream is None:
        return lambda host, port: socket.create_connection((host, port), _TIMEOUT)
    if http_proxy := _http_proxy(upstream):
        return http_proxy.tunnel
    if not yt_dlp_parts.fits("socks"):
        raise JobFailed("proxy_error", "\n".join(yt_dlp_parts.report()))
    options = networking.make_socks_proxy_opts(upstream)

    def through_socks(host: str, port: int) -> socket.socket:
        connect = partial(networking.create_socks_proxy_socket, (host, port), options)
        address = options["addr"], options["port"]
        connection: socket.socket = networking.create_connection(
            address, _TIMEOUT, _create_socket_func=connect
        )
        return connection

    return through_socks


class _HttpProxy:
    """The operator's HTTP proxy, whose URL is `parts`; `login` are the headers with its password."""

    def __init__(self, parts: SplitResult) -> None:
        self._parts = parts
        login = unquote(parts.username or ""), unquote(parts.password or "")
        self.login: Headers = [("Proxy-Authorization", _basic(*login))] if any(login) else []

    def connection(self) -> HTTPConnection:
        """Return a connection that is opened by its first request; `guard` checks the URL of each request."""
        parts = self._parts
        connection = HTTPConnection(
            parts.hostname or "", parts.port or _PORTS[parts.scheme], timeout=_TIMEOUT
        )
        if parts.scheme == "https":
            connection._create_connection = partial(_over_tls, parts.hostname)  # type: ignore[attr-defined]
        return connection

    def tunnel(self, host: str, port: int) -> socket.socket:
        connection = self.connection()
        connection.set_tunnel(host, port, dict(self.login))
        connection.connect()
        tunnel: socket.socket = connection.sock
        return tunnel


def _http_proxy(upstream: str | None) -> _HttpProxy | None:
    """Return the upstream proxy if it speaks HTTP; None for a SOCKS proxy, or if there is none."""
    if upstream is None:
        return None
    parts = urlsplit(upstream if "://" in upstream else f"http://{upstream}")
    return None if parts.scheme.startswith("socks") else _HttpProxy(parts)


def _over_tls(name: str | None, *address: Any) -> socket.socket:
    return ssl.create_default_context().wrap_socket(socket.create_connection(*address), server_hostname=name)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
