"""Fetches parts of a file at its source by range requests."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from yt_dlp.networking import Request
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError, TransportError
from yt_dlp.utils import YoutubeDLError, parse_http_range

from server.child.extract import failures
from server.child.extract.youtube_dl import Engine
from server.child.fetch.resuming import SourceVersion
from server.child.network.range_server import BLOCK
from server.child.process.job_failed import JobFailed
from server.core.codes import PASSING_STATUSES

_RETRIES: Final = 4  # in a row without a new byte


class Ranges:
    """Fetches blocks of the file of `stream`. `on_bytes` gets the number of bytes of each read, `alive` is
    called while this waits before a retry.
    """

    def __init__(
        self,
        engine: Engine,
        stream: Mapping[str, Any],
        on_bytes: Callable[[int], None],
        alive: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._stream = stream
        self._on_bytes = on_bytes
        self._pause = failures.pause(0.25, 2.0, alive)
        self._source = SourceVersion()
        self.head = b""
        self.total = 0

    def are_supported(self) -> bool:
        """Whether the source serves ranges. If so, sets `head` to the first block, and `total` to the file's
        bytes.

        An error of yt-dlp means no, and is reported by the download of the whole file, which follows.
        """
        try:
            with self._open(0, BLOCK) as response:
                self._source = SourceVersion.of(response)
                self.total = self._source.total or 0
                if not (self.total and _is_from(response, 0)):
                    return False
                self.head = self._read(response, min(BLOCK, self.total))
        except YoutubeDLError:
            return False
        return True

    def blocks(self, first: int, count: int) -> list[bytes]:
        """Return `count` blocks from number `first` on.

        Raises errors of the network, and `JobFailed` if the source's file has changed.
        """
        start, stop = first * BLOCK, min((first + count) * BLOCK, self.total)
        data, fruitless = b"", 0
        if (start, stop) == (0, len(self.head)):
            data = self.head
        while len(data) < stop - start:
            before = len(data)
            try:
                with self._open(start + before, stop) as response:
                    if self._source.contradicts(SourceVersion.of(response)):
                        raise JobFailed("incomplete", "the file at the source has changed meanwhile")
                    if not _is_from(response, start + before):
                        detail = f"bytes from {start + before} on were requested, and others came"
                        raise JobFailed("incomplete", detail)
                    data += self._read(response, stop - start - before)
            except (TransportError, HTTPError) as error:
                is_lasting = isinstance(error, HTTPError) and error.status not in PASSING_STATUSES
                if fruitless == _RETRIES or is_lasting or failures.is_refused_here(error):
                    raise
            fruitless = 0 if len(data) > before else fruitless + 1
            if fruitless > _RETRIES:
                raise JobFailed("incomplete", f"{len(data)} of {stop - start} bytes from {start} on")
            if len(data) < stop - start:
                self._pause(fruitless)
        return [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]

    def _open(self, start: int, stop: int) -> Response:
        headers = {**(self._stream.get("http_headers") or {}), "Range": f"bytes={start}-{stop - 1}"}
        headers |= {"Accept-Encoding": "identity"}
        return self._engine.urlopen(Request(self._stream["url"], headers=headers))

    def _read(self, response: Response, count: int) -> bytes:
        """Return at most `count` bytes; a broken connection is an error only if none has come."""
        data = bytearray()
        try:
            while len(data) < count and (block := response.read(min(BLOCK, count - len(data)))):
                data += block
                self._on_bytes(len(block))
        except TransportError:
            if not data:
                raise
        return bytes(data)


def has_size(engine: Engine, stream: Mapping[str, Any], size: int) -> bool:
    """Whether the source states, when byte `size` is requested, that the file of `stream` ends before it."""
    headers = {**(stream.get("http_headers") or {}), "Range": f"bytes={size}-{size}"}
    try:
        with engine.urlopen(Request(stream["url"], headers=headers)) as response:
            return SourceVersion.of(response).total == size
    except HTTPError as error:
        with error.response:
            return (
                error.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
                and SourceVersion.of(error.response).total == size
            )
    except (YoutubeDLError, ValueError):
        return False


def _is_from(response: Response, start: int) -> bool:
    begins, _, _ = parse_http_range(response.headers.get("Content-Range"))
    return bool(response.status == HTTPStatus.PARTIAL_CONTENT and begins == start)
