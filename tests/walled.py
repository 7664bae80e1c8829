"""A site behind a wall: it uses TLS with a certificate authority of its own, and turns away all but browsers.

Browsers are recognised by their ClientHello: Chrome, and what imitates it, offers reserved cipher values
(GREASE: RFC 8701).
"""

import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any

import trustme

HASHED = "00dbd3e4.0"
"""The file name, a hash of the subject, by which OpenSSL finds the site's authority in a folder."""

CHALLENGE = {"cf-mitigated": "challenge"}
_PEEKED = 8192
_PIECE = 64 * 1024
# Bytes of record header, message header, version and random; the session ID follows them.
_BEFORE_CIPHERS = 43


@dataclass(frozen=True)
class Seen:
    path: str
    browser: bool
    headers: Mapping[str, str]


@dataclass
class Walled:
    """The site. `things` has the type and the content of each path. A client that is no browser gets
    `status`, `headers` and `wall` instead; with `for_all`, browsers do, too. With `challenges_browsers`,
    browsers get a challenge.

    `asides` are additional headers of `things`. `pause` is the time in seconds before each piece of a body.
    """

    authority: Path
    port: int = 0
    things: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=CHALLENGE.copy)
    wall: bytes = b"<title>no</title>"
    status: int = HTTPStatus.FORBIDDEN
    for_all: bool = False
    challenges_browsers: bool = False
    asides: dict[str, str] = field(default_factory=dict)
    hangs_up: bool = False
    pause: float = 0.0
    seen: list[Seen] = field(default_factory=list)

    def put(self, path: str, content: bytes, kind: str) -> str:
        self.things[path] = kind, content
        return self.url(path)

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.port}{path}"

    def asked(self, path: str) -> list[bool]:
        """Return for each request for `path` whether a browser sent it."""
        return [seen.browser for seen in self.seen if seen.path == path]


@contextmanager
def open_walled(folder: Path) -> Iterator[Walled]:
    authority, context = (
        trustme.CA(organization_name="walled", organization_unit_name="walled"),
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
    )
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    walled = Walled(folder / "authority.pem")
    with _Server(walled, context) as server:
        walled.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="walled", daemon=True)
        thread.start()
        yield walled
        server.shutdown()
        thread.join()


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, walled: Walled, context: ssl.SSLContext) -> None:
        self.walled = walled
        self._context = context
        super().__init__(("127.0.0.1", 0), _Request)

    def finish_request(self, request: Any, client_address: Any) -> None:
        hello = request.recv(_PEEKED, socket.MSG_PEEK)
        if self.walled.hangs_up:
            return
        try:
            with self._context.wrap_socket(request, server_side=True) as wrapped:
                wrapped.browser = _is_browsers(hello)  # type: ignore[attr-defined]
                _Request(wrapped, client_address, self)
        except OSError:  # the client does not trust the authority, or has disconnected
            return


class _Request(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        walled, browser = self.server.walled, self.connection.browser
        path = self.path.partition("?")[0]
        walled.seen.append(Seen(path, browser, dict(self.headers.items())))
        if walled.for_all or not browser:
            self._answer(walled.status, walled.headers, "text/html", walled.wall)
        elif walled.challenges_browsers:
            self._answer(HTTPStatus.FORBIDDEN, CHALLENGE, "text/html", b"<title>Just a moment...</title>")
        elif path not in walled.things:
            self._answer(HTTPStatus.NOT_FOUND, {}, "text/html", b"")
        else:
            self._answer(HTTPStatus.OK, walled.asides, *walled.things[path])

    def log_message(self, *_: Any) -> None:
        """Log nothing: tests read the requests from `Walled.seen`."""

    def _answer(self, status: int, headers: dict[str, str], kind: str, content: bytes) -> None:
        self.send_response(status)
        length = {"Content-Type": kind, "Content-Length": str(len(content))}
        for name, value in (length | headers).items():
            self.send_header(name, value)
        self.end_headers()
        for start in range(0, len(content), _PIECE):
            time.sleep(self.server.walled.pause)
            self.wfile.write(content[start : start + _PIECE])


def _is_browsers(hello: bytes) -> bool:
    start = _BEFORE_CIPHERS + 1 + hello[_BEFORE_CIPHERS]
    length = int.from_bytes(hello[start : start + 2])
    ciphers = hello[start + 2 : start + 2 + length]
    pairs = zip(ciphers[::2], ciphers[1::2], strict=True)
    return any(one == two and one & 0x0F == 0x0A for one, two in pairs)
