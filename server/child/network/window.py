"""A file at its source of which only some is needed, as ffmpeg sees it: on a port of loopback, with ranges.

ffmpeg knows which bytes belong to which seconds, for MP4 and Matroska alike, but it asks for all from a byte
on and leaves when it has enough. Here what it reads is fetched in blocks, each by a request of yt-dlp's, with
its cookies, headers and walls, and judged by the guard. ffmpeg itself reaches nothing but this port.
"""

import contextlib
import math
import re
import secrets
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Final, Self

BLOCK: Final = 64 * 1024
_MOST: Final = 128  # blocks that are asked for at once
_KEPT: Final = 512  # blocks that are remembered: a film may be read at two places in turn
_BUFFER: Final = 16 * 1024  # bytes that are on their way to ffmpeg
_RANGE: Final = re.compile(r"bytes=(\d{1,18})-")

Fetch = Callable[[int, int], list[bytes]]


class Window(ThreadingTCPServer):
    """Runs in threads while the block lasts. `fetch(first, count)` gives so many blocks from that one on; the
    last of all `total` bytes is shorter. `failed` is what it has raised: then nothing more is answered.

    A source is far away, so each answer of it costs time: `index` are bytes that will be read as a whole, and
    wherever else something is read, some `expected` bytes are.
    """

    daemon_threads = True
    block_on_close = False
    url = None
    refused = None

    def __init__(self, total: int, fetch: Fetch, index: range, expected: float) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.port: int = self.server_address[1]
        self.total = total
        self.path = f"/{secrets.token_urlsafe(24)}"
        self.failed: Exception | None = None
        self._fetch = fetch
        self._index = index
        self._expected = max(1, min(math.ceil(expected / BLOCK), _MOST))
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

    def asks(self, at: int) -> Iterator[int]:
        """How many blocks to ask for, each time one is missing, where is read from byte `at` on.

        As many as are expected, then first few and ever more. Who begins with the head or the index looks for
        the place to go to, and is not there yet.
        """
        first = 1 if at == 0 or at in self._index else self._expected
        yield first
        more = max(1, first // 4)
        while True:
            yield more
            more = min(2 * more, _MOST)

    def block(self, number: int, asks: Iterator[int]) -> bytes:
        """The block of that number. If it is missing, as many are asked for as `asks` says."""
        with self._one_at_a_time:
            if self.failed:
                raise ConnectionError(self.failed)
            if number not in self._blocks:
                self._load(number, self._left_of_index(number) or next(asks))
            return self._blocks[number]

    def _left_of_index(self, number: int) -> int:
        """Blocks of the index from that one on, and one into which its reader runs ahead."""
        first, stop = self._index.start // BLOCK, math.ceil(self._index.stop / BLOCK)
        return min(stop + 1 - number, _MOST) if first <= number < stop else 0

    def _load(self, number: int, wanted: int) -> None:
        count = min(wanted, math.ceil(self.total / BLOCK) - number)
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
        total, asks = self.server.total, self.server.asks(at)
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
            data = self.server.block(at // BLOCK, asks)[at % BLOCK :]
            self.wfile.write(data)
            at += len(data)
