"""Redirects, and hostile answers: endless redirects and bodies, a gzip bomb, garbage."""

import hashlib
import itertools
import zlib
from collections.abc import Iterator

from aiohttp import web

from tests.site.delivery import Manner, manner_of, send

_MIB = 1 << 20


async def redirect(request: web.Request) -> web.Response:
    raise web.HTTPFound(request.query["to"])


async def redirect_for_ever(request: web.Request) -> web.Response:
    """Redirect to a new URL each time, so that no loop detection helps."""
    step = int(request.query.get("step", "0")) + 1
    raise web.HTTPFound(f"/redirect/endless?step={step}")


async def endless(request: web.Request) -> web.StreamResponse:
    piece = hashlib.shake_128(b"endless").digest(8192)
    manner = manner_of(request)
    unhurried = manner if manner.rate else manner.model_copy(update={"rate": 4 * _MIB})
    return await send(request, itertools.repeat(piece), unhurried, {"Content-Type": "video/mp4"}, length=None)


async def bomb(request: web.Request) -> web.StreamResponse:
    headers = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    return await send(request, _gzipped_zeros(int(request.query.get("mib", "1024"))), Manner(), headers, None)


def _gzipped_zeros(mib: int) -> Iterator[bytes]:
    """Yield `mib` MiB of zeros as gzip, after a beginning of HTML, because of which clients read all of it.

    A MiB of zeros is a kilobyte of gzip, the same bytes after each full flush: repeating it costs nothing.
    """
    deflate = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    yield deflate.compress(b"<!doctype html><html>".ljust(_MIB, b"\0")) + deflate.flush(zlib.Z_FULL_FLUSH)
    again = deflate.compress(bytes(_MIB)) + deflate.flush(zlib.Z_FULL_FLUSH)
    yield from itertools.repeat(again, mib - 1)


async def garbage(request: web.Request) -> web.StreamResponse:
    body = hashlib.shake_128(b"garbage").digest(100_000)
    return await send(request, [body], manner_of(request), {"Content-Type": "video/mp4"}, length=len(body))


ROUTES = [
    web.get("/redirect", redirect),
    web.get("/redirect/endless", redirect_for_ever),
    web.get("/endless.mp4", endless),
    web.get("/bomb", bomb),
    web.get("/garbage.mp4", garbage),
]
