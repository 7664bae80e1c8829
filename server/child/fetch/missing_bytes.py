"""What is missing of a partial file, taken from a response that begins earlier.

Some sources do not support ranges, and send the whole file. The bytes that the partial file has already are
then read again and dropped; the last of them tell whether it is the same file.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import TransportError

from server.child.process.job_failed import JobFailed

COMPARED: Final = 64 * 1024  # bytes
_BLOCK: Final = 256 * 1024


class Another(Exception):
    """The bytes that come are not those of the partial file."""


class NothingMissing(Exception):
    """The partial file is complete already."""


def tail(path: Path) -> bytes:
    """The last `COMPARED` bytes at `path`, or fewer."""
    with path.open("rb") as file:
        file.seek(-min(COMPARED, path.stat().st_size), 2)
        return file.read()


def skip(response: Response, count: int, last: bytes, on_bytes: Callable[[int], None]) -> None:
    """Drop `count` bytes; raises `Another` if they do not end with `last`, and what reading raises."""
    done, seen = 0, b""
    while done < count:
        block = response.read(min(_BLOCK, count - done))
        if not block:
            raise Another("it ends before what is there does")
        done += len(block)
        seen = (seen + block)[-len(last) :] if last else b""
        on_bytes(done)
    if seen != last:
        raise Another("the end of what is there is not what comes")


class MissingBytes:
    """`response`, of which byte `start` is read next, as the response to a range request from there on.

    It ends before byte `stop`, if that is given; `total` is the size of the whole file, if that is known.
    """

    def __init__(self, response: Response, start: int, stop: int | None, total: int | None) -> None:
        self._response = response
        end = total if stop is None else min(stop, total or stop)
        self._left = None if end is None else max(0, end - start)
        self._nothing_yet = True
        self.headers = copy.copy(response.headers)
        del self.headers["Content-Range"], self.headers["Content-Length"]
        last, of = "" if end is None else end - 1, "" if total is None else f"/{total}"
        self.headers["Content-Range"] = f"bytes {start}-{last}{of}"
        if self._left is not None:
            self.headers["Content-Length"] = str(self._left)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    @property
    def is_empty(self) -> bool:
        return self._left == 0

    def read(self, amount: int) -> bytes:
        """Raises `JobFailed` if no byte comes at all: an immediate retry would get no more, either.

        Raises `NothingMissing` if none comes and nobody has said that there are more.
        """
        data = self._read(amount if self._left is None else min(amount, self._left))
        self._nothing_yet = self._nothing_yet and not data
        if self._left is not None:
            self._left -= len(data)
        return data

    def _read(self, amount: int) -> bytes:
        try:
            data = bytes(self._response.read(amount))
        except TransportError as error:
            if not self._nothing_yet:
                raise
            raise JobFailed("incomplete", f"what is there comes again, and no more: {error}") from error
        if not data and amount and self._nothing_yet:
            if self._left is None:
                raise NothingMissing
            raise JobFailed("incomplete", "what is there comes again, and no more")
        return data
