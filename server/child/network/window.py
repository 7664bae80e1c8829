"""A file at its source of which only some is needed, as ffmpeg sees it: on a port of loopback, with ranges.

ffmpeg knows which bytes belong to which seconds, for MP4 and Matroska alike, but it asks for all from a byte
on and leaves when it has enough. Here what it reads is fetched in blocks, each by a request of yt-dlp's, with
its cookies, headers and walls, and judged by the guard. ffmpeg itself reaches nothing but this port.
"""

import contextlib
import re
import secrets
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Final, Self

BLOCK: Final = 64 * 1024
_MOST_AHEAD: Final = 128  # blocks that are asked for at once: one at first, then one more each time
_KEPT: Final = 512  # blocks that are remembered: a film may be read at two places in turn
_BUFFER: Final = 16 * 1024  # bytes that are on their way to ffmpeg
_RANGE: Final = re.compile(r"bytes=(\d{1,18})-")

Fetch = Callable[[int, int], list[bytes]]


class Window(ThreadingTCPServer):
    """Runs in threads while the block lasts. `fetch(first, count)` gives so many blocks from that one on; the
    last of all `total` bytes is shorter. `failed` is what it has raised: then nothing more is answered.
    """

    daemon_threads = True
    block_on_close = False
    url = None
    refused = None

    def __init__(self, total: int, fetch: Fetch) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.port: int = self.server_address[1]
        self.total = total
        self.path = f"/{secrets.token_urlsafe(24)}"
        self.failed: Exception | None = None
        self._fetch = fetch
        self._blocks = OrderedDict[int, bytes]()
        self._one_at_a_time = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.1,), name="window", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def block(self, number: int, ahead: int) -> tuple[bytes, int]:
        """The block of that number, and how many to ask for when the next one is missing."""
        with self._one_at_a_time:
            if self.failed:
                raise ConnectionError(self.failed)
            if number not in self._blocks:
                self._load(number, ahead)
                ahead = min(ahead + 1, _MOST_AHEAD)
            return self._blocks[number], ahead

    def _load(self, number: int, ahead: int) -> None:
        count = min(ahead, -(-self.total // BLOCK) - number)
        try:
            fetched = self._fetch(number, count)
        except Exception as error:  # outermost in this thread: whoever has started ffmpeg raises it
            self.failed = error
            raise ConnectionError(error) from error
        self._blocks.update(enumerate(fetched, number))
        while len(self._blocks) > _KEPT:
            self._blocks.popitem(last=False)


class _Request(BaseHTTPRequestHandler):
    server: Window
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        super().setup()

    def do_GET(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            if self.path != self.server.path:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            asked = _RANGE.match(self.headers.get("Range", "bytes=0-"))
            self._send_from(int(asked[1]) if asked else 0)

    def log_message(self, *_: object) -> None:
        """Nothing: ffmpeg's own words are in the log."""

    def _send_from(self, at: int) -> None:
        total, ahead = self.server.total, 1
        if at >= total:
            self.send_error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            return
        self.send_response_only(HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {at}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - at))
        self.send_header("Connection", "close")
        self.end_headers()
        while at < total:
            block, ahead = self.server.block(at // BLOCK, ahead)
            data = block[at % BLOCK :]
            self.wfile.write(data)
            at += len(data)
