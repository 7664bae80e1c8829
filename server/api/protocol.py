"""Serves the application over HTTP/1, with requests that aiohttp would refuse by itself or misread.

aiohttp answers a request that its parser refuses by itself, without calling the application. Here such a
request reaches the catch-all route with its `REFUSAL`, which `admission` raises: so it counts for the rate
limit, and its answer is a problem with the headers of every response.

Decisions: docs/decisions/http.md
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http import HttpProcessingError, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMethod, ContentEncodingError, LineTooLong
from aiohttp.http_parser import HttpRequestParserPy
from aiohttp.http_websocket import WebSocketReader
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import ERROR, _ErrInfo
from multidict import CIMultiDict, CIMultiDictProxy

from server.core.errors import (
    AppError,
    EncodingUnknown,
    HeadTooLarge,
    HostForbidden,
    TargetTooLong,
    TransferCodingUnknown,
    Unreadable,
    VersionNotSupported,
)

REFUSAL: web.RequestKey[AppError | None] = web.RequestKey("why HTTP itself does not allow the request")

_OTHER_VERSION = re.compile(rb"[^\r\n]* HTTP/(?!1\.[01]\r?\n)[0-9.]+\r?\n")
_NO_HEADERS: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())
_INVALID_FRAME = b"\xf0\x80"  # with reserved bits, which no extension has negotiated
# asyncio's transports cache bound methods in these attributes.
_CALLBACKS_OF_TRANSPORT = {"_read_ready_cb", "_write_ready"}


class HttpRunner(web.AppRunner):
    """Like aiohttp's, but with connections of this module."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        make_request = made.request_factory

        # Turns parsed heads into requests, and refuses those that aiohttp's parser should have refused.
        def make(message: RawRequestMessage, *others: Any) -> web.BaseRequest:
            refusal: AppError | None = None
            if message is ERROR:  # stands in aiohttp for a request that could not be parsed
                message = message._replace(version=HttpVersion11, headers=_NO_HEADERS)
            elif message.version.major != 1:
                # HTTP/0.9, which is also reported if the request line has no version
                message = message._replace(version=HttpVersion11, should_close=True)
                refusal = VersionNotSupported()
            elif message.chunked and message.headers[hdrs.TRANSFER_ENCODING].strip().lower() != "chunked":
                message, refusal = message._replace(should_close=True), TransferCodingUnknown()
            elif message.method == hdrs.METH_CONNECT:  # the bytes that follow are for another host
                message = message._replace(url=message.url.with_path("/"), should_close=True)
            elif message.url.absolute and not message.url.relative().raw_path:  # RFC 9110, section 4.2.3
                message = message._replace(url=message.url.with_path("/", keep_query=True))
            request = make_request(message, *others)
            if refusal:
                request[REFUSAL] = refusal
            return request

        return Server(made.request_handler, request_factory=make, **made._kwargs)  # noqa: SLF001


class Server(web.Server):
    """`connected` is set by each new connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.connected = asyncio.Event()

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.connected.set()

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


class Connection(web.RequestHandler):
    """A client's connection; `half_closed_at` is the loop's time at which the client said that it sends no
    more, while its last requests are being answered.
    """

    __slots__ = ("_last_body", "half_closed_at")

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.half_closed_at: float | None = None
        self._last_body: StreamReader = EMPTY_PAYLOAD  # of the last request that was parsed

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp closes always
        """Answer all requests that are complete before the connection is closed (RFC 9112, section 9.6).

        A client that shuts down its sending half looks like one that has left. Only writing tells them apart.
        """
        is_idle = not self._messages and (self._waiter is not None or not self._request_count)
        is_websocket = self._upgraded or self._payload_parser is not None
        if is_idle or is_websocket or not self._last_body.is_eof():
            return False
        if self.half_closed_at is None:
            self.half_closed_at = self._loop.time()
        if self._messages:
            message, body = self._messages[-1]
            if not isinstance(message, _ErrInfo):
                self._messages[-1] = message._replace(should_close=True), body
        else:
            self.close()  # behind the current request
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        transport_fields: dict[str, Any] = getattr(self.transport, "__dict__", {})
        super().connection_lost(exc)
        # aiohttp keeps a bound method of the WebSocket, which refers to this connection, and asyncio's
        # transport caches bound methods of its own. Break these cycles, which only the garbage collector
        # would free: late, and with a pause of 0.2 s for 10,000 clients.
        self._data_received_cb, self._last_body = None, EMPTY_PAYLOAD
        for callback in _CALLBACKS_OF_TRANSPORT & transport_fields.keys():
            transport_fields[callback] = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages:
            self._last_body = self._messages[-1][1]
        if not self._messages or not isinstance(self._messages[-1][0], _ErrInfo):
            return
        refused, asked = self._messages[-1][0], self._current_request
        # The rest of this body is invalid: the handler would wait for it in vain.
        if asked and not asked.content.is_eof():
            self._messages.pop()
            asked.content.set_exception(web.RequestPayloadError(refused.message))
            asked.content.feed_eof()
            self.close()
            return
        exc, known = refused.exc, None
        if isinstance(exc, BadHttpMethod):
            try:
                known = self._with_any_method(data)
            except HttpProcessingError as other:
                exc = other
        refusal = _ErrInfo(400, _refusal_of(exc, data), refused.message)
        self._messages[-1] = known or refusal, EMPTY_PAYLOAD

    def _with_any_method(self, data: bytes) -> RawRequestMessage | None:
        """Return the request at the beginning of `data`, if its method is unknown to aiohttp's fast parser.

        Then nothing more is read from the connection: this parser cannot tell whether `data` begins with a
        request at all, or with the rest of the body before; only the fast parser knew. So a method that a
        route may have is refused here. Raises `HttpProcessingError`.
        """
        head, end, _ = data.partition(b"\r\n\r\n")
        if not end:
            return None
        messages, _, _ = HttpRequestParserPy(self, self._loop).feed_data(head + end)
        for message, _ in messages[:1]:
            if message.method not in hdrs.METH_ALL:
                return message._replace(should_close=True)
        return None

    def _make_error_handler(self, err_info: _ErrInfo) -> Callable[[Any], Awaitable[web.StreamResponse]]:
        async def refuse(request: web.Request) -> web.StreamResponse:
            request[REFUSAL] = _refusal_of(err_info.exc)
            assert self._request_handler is not None
            return await self._request_handler(request)

        return refuse

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> None:
        super().set_parser(_Masked(parser), data_received_cb)  # type: ignore[arg-type]  # has what is used


def _refusal_of(exc: BaseException, data: bytes = b"") -> AppError:
    """Return the error for `data` that aiohttp's parser has refused with `exc`."""
    if isinstance(exc, AppError):
        return exc
    if "Missing 'Host' header" in str(exc):
        return HostForbidden()
    if isinstance(exc, ContentEncodingError):  # aiohttp accepts zstd, which this Python cannot decode
        return EncodingUnknown()
    if _OTHER_VERSION.match(data):
        return VersionNotSupported()
    # The error of aiohttp contains the target as a bytearray, or a header as bytes.
    if isinstance(exc, LineTooLong):
        return TargetTooLong() if isinstance(exc.args[0], bytearray) else HeadTooLarge()
    return HeadTooLarge() if "Too many headers" in str(exc) else Unreadable()


class _Masked:
    """Passes frames of a WebSocket's client on to aiohttp's reader, up to the first one without a mask.

    aiohttp would accept that one, while a server must close the connection (RFC 6455, section 5.1). So the
    reader gets an invalid frame instead, on which it closes with 1002.
    """

    __slots__ = ("_begun", "_left", "_reader")

    def __init__(self, reader: WebSocketReader) -> None:
        self._reader = reader
        self._begun = b""  # the incomplete header of a frame, which does not tell yet how long the frame is
        self._left = 0  # bytes of the current frame that are still to come

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        data, next_frame = self._begun + data, self._left
        while next_frame + 2 <= len(data):
            if not data[next_frame + 1] & 0x80:
                return self._reader.feed_data(data[:next_frame] + _INVALID_FRAME)
            length = data[next_frame + 1] & 0x7F
            payload = next_frame + 2 + {126: 2, 127: 8}.get(length, 0)  # or its mask
            if payload > len(data):
                break
            if length > 125:
                length = int.from_bytes(data[next_frame + 2 : payload], "big")
            next_frame = payload + 4 + length
        data, self._begun = data[:next_frame], data[next_frame:]
        self._left = next_frame - len(data)
        return self._reader.feed_data(data)

    def feed_eof(self) -> None:
        self._reader.feed_eof()
