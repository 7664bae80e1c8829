"""An HTTP server on loopback, from which ffmpeg reads parts of a remote file by byte ranges.

ffmpeg knows which bytes belong to which seconds, for MP4 and Matroska alike, but requests all bytes from an
offset on and disconnects when it has enough. What ffmpeg reads is fetched in blocks by yt-dlp, with its
cookies, headers and browser impersonation, under the guard. ffmpeg itself connects to this port alone.
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
_MAX_BLOCKS: Final = 128  # most blocks in one request
_CACHED_BLOCKS: Final = 512  # a cache for several places: ffmpeg may read two places of a film in turn
_BUFFER: Final = 16 * 1024  # bytes of the send buffer of each connection from ffmpeg
_RANGE: Final = re.compile(r"bytes=(\d{1,18})-")

Fetch = Callable[[int, int], list[bytes]]


class RangeServer(ThreadingTCPServer):
    """Runs in threads while the `with` block lasts.

    `fetch(first, count)` returns `count` blocks from block `first` on. The file has `total` bytes; its last
    block is shorter. `failed` is the exception that `fetch` has raised; no more blocks are served then.

    Each request costs a round trip to the source, so it covers what ffmpeg will read next: the whole of the
    bytes `index`, and about `expected` bytes from any other place where it begins to read.
    """

    daemon_threads = True
    block_on_close = False
    url = None  # there is no proxy URL: `guarded_ffmpeg.running` reads this attribute of its server

    def __init__(self, total: int, fetch: Fetch, index: range, expected: float) -> None:
        super().__init__(("127.0.0.1", 0), _RangeRequest)
        self.port: int = self.server_address[1]
        self.total = total
        self.path = f"/{secrets.token_urlsafe(24)}"
        self.failed: Exception | None = None
        self._fetch = fetch
        self._index = index
        self._expected = max(1, min(math.ceil(expected / BLOCK), _MAX_BLOCKS))
        self._blocks = OrderedDict[int, bytes]()
        self._one_at_a_time = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.1,), name="ranges", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def counts(self, at: int) -> Iterator[int]:
        """Yield, for each missing block, how many blocks to fetch for a reader that began at byte `at`.

        The first number covers the expected bytes; the next is small, and doubles each time. A reader that
        begins in the head or the index still searches for the place to seek to, so it gets one block first.
        """
        first = 1 if at == 0 or at in self._index else self._expected
        yield first
        more = max(1, first // 4)
        while True:
            yield more
            more = min(2 * more, _MAX_BLOCKS)

    def block(self, number: int, counts: Iterator[int]) -> bytes:
        """Return block `number`; if it is missing, fetch the rest of the index, or as many blocks as
        `next(counts)` says (see `counts`).

        Raises `ConnectionError` if a fetch has failed.
        """
        with self._one_at_a_time:
            if self.failed:
                raise ConnectionError(self.failed)
            if number not in self._blocks:
                first, stop = self._index.start // BLOCK, math.ceil(self._index.stop / BLOCK)
                # Fetch all that is left of the index, and one more block for ffmpeg's read-ahead.
                left = min(stop - number + 1, _MAX_BLOCKS)
                count = left if first <= number < stop else next(counts)
                count = min(count, math.ceil(self.total / BLOCK) - number)
                try:
                    fetched = self._fetch(number, count)
                except Exception as error:  # outermost in this thread: the thread that runs ffmpeg raises it
                    self.failed = error
                    raise ConnectionError(error) from error
                self._blocks.update(enumerate(fetched, number))
                while len(self._blocks) > _CACHED_BLOCKS:
                    self._blocks.popitem(last=False)
            return self._blocks[number]


class _RangeRequest(BaseHTTPRequestHandler):
    server: RangeServer
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
            found = _RANGE.match(self.headers.get("Range", "bytes=0-"))
            at, total = int(found[1]) if found else 0, self.server.total
            counts = self.server.counts(at)
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
                data = self.server.block(at // BLOCK, counts)[at % BLOCK :]
                self.wfile.write(data)
                at += len(data)

    def log_message(self, *_: object) -> None:
        """Log nothing: the log has ffmpeg's own output."""
