"""A proxy in front of an S3 server that spoils answers as a test says.

async with open_proxy(s3.endpoint) as proxy:
    proxy.spoil = lambda request: Spoiled(status=503) if request.method == "PUT" else None
"""

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from yarl import URL

_HOP_BY_HOP = ("Connection", "Transfer-Encoding", "Keep-Alive", "Expect")
_PIECE = 64 << 10


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A way to spoil an answer: `status` is sent at once; `silent` sends nothing; `cut` breaks the body off
    after so many bytes; `rate` sends it at so many bytes a second.
    """

    status: int | None = None
    silent: bool = False
    cut: int | None = None
    rate: int | None = None


Spoil = Callable[[web.BaseRequest], Spoiled | None]


@dataclass
class Proxy:
    url: str = ""
    spoil: Spoil = lambda _: None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    is_back: asyncio.Event = field(default_factory=asyncio.Event)

    def come_back(self) -> None:
        """Spoil nothing more, and break off silent answers, as a server does that has started again."""
        self.spoil = lambda _: None
        self.is_back.set()

    async def spoils(self) -> None:
        """Return when the proxy spoils its next answer."""
        self.arrived.clear()
        await self.arrived.wait()


@asynccontextmanager
async def open_proxy(endpoint: str) -> AsyncIterator[Proxy]:
    proxy = Proxy()
    async with aiohttp.ClientSession(auto_decompress=False) as client:

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await _handle(request, proxy, client, endpoint)

        # A handler must be cancelled when its client disconnects: one that stays silent would wait for ever.
        server = web.Server(handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield proxy
        finally:
            await runner.cleanup()


async def _handle(
    request: web.BaseRequest, proxy: Proxy, client: aiohttp.ClientSession, endpoint: str
) -> web.StreamResponse:
    spoiled = proxy.spoil(request) or Spoiled()
    if spoiled != Spoiled():
        proxy.arrived.set()
    if spoiled.silent:
        await proxy.is_back.wait()
        _cut(request)
        return web.Response()
    if spoiled.status is not None:
        await _all_of(request.content)
        return web.Response(status=spoiled.status, text="<Error><Code>InternalError</Code></Error>")
    headers = [(name, value) for name, value in request.headers.items() if name.title() not in _HOP_BY_HOP]
    body = io.BytesIO(await _all_of(request.content)) if request.can_read_body else None
    target = URL(endpoint + request.raw_path, encoded=True)
    async with client.request(request.method, target, headers=headers, data=body) as answer:
        return await _pass_on(request, answer, spoiled)


async def _all_of(body: aiohttp.StreamReader) -> bytes:
    """Read the whole body of a request: `request.read` refuses more than a megabyte."""
    return b"".join([chunk async for chunk in body.iter_any()])


async def _pass_on(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, spoiled: Spoiled
) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, reason=answer.reason)
    for name, value in answer.headers.items():
        if name.title() not in _HOP_BY_HOP:
            response.headers.add(name, value)
    await response.prepare(request)
    left = spoiled.cut
    async for chunk in answer.content.iter_chunked(_PIECE):
        if left is not None and len(chunk) >= left:
            await response.write(chunk[:left])
            _cut(request)
            return response
        left = None if left is None else left - len(chunk)
        await response.write(chunk)
        if spoiled.rate:
            await asyncio.sleep(len(chunk) / spoiled.rate)
    await response.write_eof()
    return response


def _cut(request: web.BaseRequest) -> None:
    assert request.transport
    connection: socket.socket = request.transport.get_extra_info("socket")
    connection.shutdown(socket.SHUT_RDWR)
