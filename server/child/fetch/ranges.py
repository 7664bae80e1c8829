"""A plain file of which only some bytes are fetched, each time by a request for exactly their range."""

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

_TRIES: Final = 4


class Ranges:
    """The file of `stream`; `on_bytes` gets the number of bytes that came, `alive` is called in pauses."""

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

    def understood(self) -> bool:
        """Whether the source serves ranges; then `head` is the first block, and the file has `total` bytes.

        Raises no error of yt-dlp: the download of the whole file, which follows, reports it.
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
        """`count` blocks from number `first` on; raises network errors, `JobFailed` if the file changed."""
        start, stop = first * BLOCK, min((first + count) * BLOCK, self.total)
        data, in_vain = b"", 0
        if (start, stop) == (0, len(self.head)):
            data = self.head
        while len(data) < stop - start:
            before = len(data)
            try:
                with self._open(start + before, stop) as response:
                    if self._source.contradicts(SourceVersion.of(response)):
                        raise JobFailed("incomplete", "the file at the source has changed meanwhile")
                    if not _is_from(response, start + before):
                        why = f"bytes from {start + before} on were asked for, and others came"
                        raise JobFailed("incomplete", why)
                    data += self._read(response, stop - start - before)
            except (TransportError, HTTPError) as error:
                if (
                    in_vain == _TRIES
                    or not (not isinstance(error, HTTPError) or error.status in PASSING_STATUSES)
                    or failures.are_in_vain(error)
                ):
                    raise
            in_vain = 0 if len(data) > before else in_vain + 1
            if in_vain > _TRIES:
                raise JobFailed("incomplete", f"{len(data)} of {stop - start} bytes from {start} on")
            if len(data) < stop - start:
                self._pause(in_vain)
        return [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]

    def _open(self, start: int, stop: int) -> Response:
        headers = {**(self._stream.get("http_headers") or {}), "Range": f"bytes={start}-{stop - 1}"}
        headers |= {"Accept-Encoding": "identity"}
        return self._engine.urlopen(Request(self._stream["url"], headers=headers))

    def _read(self, response: Response, count: int) -> bytes:
        """At most `count` bytes; fewer if the connection breaks, which is raised only if none came."""
        data = bytearray()
        try:
            while len(data) < count and (block := response.read(min(BLOCK, count - len(data)))):
                data += block
                self._on_bytes(len(block))
        except TransportError:
            if not data:
                raise
        return bytes(data)


def ends_at(engine: Engine, stream: Mapping[str, Any], size: int) -> bool:
    """Whether the source says that the file of `stream` has just `size` bytes: it is asked for the next."""
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
