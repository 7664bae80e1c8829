"""An answer whose head is encoded once for many requests, such as polls.

When aiohttp answers a poll, encoding a dozen headers takes a tenth of the time, and preparing them another
tenth.

Decisions: docs/decisions/http.md
"""

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import SERVER_SOFTWARE
from multidict import CIMultiDict, CIMultiDictProxy


class SharedHeaders:
    """Headers that many answers have in common."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        # aiohttp copies a proxy much faster than a `dict`.
        self.headers = CIMultiDictProxy(CIMultiDict(headers))
        self.lines = f"{_lines({**headers, hdrs.SERVER: SERVER_SOFTWARE})}\r\n".encode()


class Prepared(web.Response):
    """An answer with `shared` headers and some of its `own`, which are sent without aiohttp's processing.

    Reading `headers` turns it into an ordinary response with all of them, which may then be changed. So do
    clients that speak HTTP/1.0, send HEAD, or close the connection.
    """

    def __init__(
        self,
        shared: SharedHeaders,
        own: dict[str, str],
        body: bytes | None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> None:
        super().__init__(body=body, status=status)
        self._shared: SharedHeaders | None = shared
        self.own = own

    @property
    def headers(self) -> CIMultiDict[str]:
        if self._shared is not None:
            self._headers.extend(self._shared.headers)
            self._headers.update(self.own)
            self._shared = None
        return self._headers

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        shared, body = self._shared, self.body
        is_plain = request.version == HttpVersion11 and request.method != hdrs.METH_HEAD
        if shared is None or not is_plain or not request.keep_alive or self.keep_alive is False:
            _ = self.headers
            return await super().prepare(request)
        assert body is None or isinstance(body, bytes)
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        date = _date(int(time.time()))
        head = f"HTTP/1.1 {self.status} {self.reason}\r\nDate: {date}\r\n{length}{_lines(self.own)}"
        self._keep_alive = self._eof_sent = True
        await request.writer.write(b"".join((head.encode(), shared.lines, body or b"")))
        return None


def _lines(headers: Mapping[str, str]) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


@lru_cache(1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
