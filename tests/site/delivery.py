"""Sends bodies to the client: quickly, slowly, in part, or not at all."""

import asyncio
import mimetypes
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

MEDIA = web.AppKey("MEDIA", Path)
HITS = web.AppKey("HITS", Counter[str])
TYPES = {
    ".m3u8": "application/vnd.apple.mpegurl",
    ".m4s": "video/iso.segment",
    ".mpd": "application/dash+xml",
}
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate at which stalled answers wait until a test opens it."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)


GATE = web.AppKey("GATE", Gate)
Count = Annotated[int, Field(ge=0)]


class Manner(BaseModel):
    """How a file is sent, as the query of the request asks; the table in `tests.site` explains each word."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: Annotated[int, Field(gt=0)] | None = None
    wait: float = 0
    ranges: bool = True
    chunked: bool = False
    lie: int = 0
    stall: Count | None = None
    signature: str | None = None  # part of a link that is signed anew now and then; any signature is accepted
    cut: Count | None = None
    status: int = 200
    retry_after: int | None = None
    times: Count | None = None
    after: Count = 0
    type: str | None = None
    attached: str | None = None
    etag: bool = False
    login: str | None = None  # `login`, `renew`, `referer` and `ticket` are for `tests.site.app`
    renew: str | None = None
    referer: str | None = None
    ticket: str | None = None

    def at(self, hit: int) -> "Manner":
        """Return this manner, without its faults if they are not due at request number `hit` (from 0) of its
        URL.
        """
        last = self.after + self.times if self.times is not None else hit + 1
        if self.after <= hit < last:
            return self
        return self.model_copy(update={"lie": 0, "stall": None, "cut": None, "status": 200})


async def deliver_file(request: web.Request) -> web.StreamResponse:
    return await deliver(request, request.app[MEDIA] / request.match_info["name"])


async def deliver(request: web.Request, path: Path) -> web.StreamResponse:
    """Answer with the file at `path`, in the manner that the query of the request asks for."""
    if not path.is_file():
        raise web.HTTPNotFound
    manner = manner_of(request)
    await asyncio.sleep(manner.wait)
    if manner.status != 200:
        return _refusal(manner)
    size, headers = path.stat().st_size, {"Content-Type": manner.type or _type(path)}
    if manner.attached:
        headers["Content-Disposition"] = f'attachment; filename="{manner.attached}"'
    if manner.etag:
        headers["ETag"] = f'"{uuid4()}"'
    if not manner.ranges:
        return await send(request, _pieces(path, range(size), manner.rate), manner, headers, length=size)
    headers["Accept-Ranges"] = "bytes"
    part = request.http_range
    start, stop, _ = part.indices(size)
    if part.start is None and part.stop is None:
        return await send(request, _pieces(path, range(size), manner.rate), manner, headers, length=size)
    if start >= stop:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    pieces = _pieces(path, range(start, stop), manner.rate)
    return await send(request, pieces, manner, headers, length=stop - start)


def manner_of(request: web.Request) -> Manner:
    try:
        manner = Manner.model_validate(dict(request.query))
    except ValidationError as wrong:
        raise web.HTTPBadRequest(text=str(wrong)) from None
    hits = request.app[HITS]
    hits[request.path_qs] += 1
    return manner.at(hits[request.path_qs] - 1)


async def send(
    request: web.Request, pieces: Iterable[bytes], manner: Manner, headers: dict[str, str], length: int | None
) -> web.StreamResponse:
    """Write `pieces` as far as `manner` lets them go; `length` is None where there is no end."""
    response = web.StreamResponse(status=206 if "Content-Range" in headers else 200, headers=headers)
    if length is None or manner.chunked:
        response.enable_chunked_encoding()
    else:
        response.content_length = length + manner.lie
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    try:
        whole = await _write(request, response, pieces, manner)
    except ConnectionResetError:  # the client has disconnected, perhaps because it has read enough
        whole = False
    if not whole or manner.lie > 0:
        _hang_up(request)
    return response


async def _write(
    request: web.Request, response: web.StreamResponse, pieces: Iterable[bytes], manner: Manner
) -> bool:
    """Write the body up to its fault; return whether all was written. A fault comes at an exact byte, however
    the body is split into pieces.
    """
    sent, stalls_at = 0, manner.stall
    for piece in pieces:
        if stalls_at is not None and sent + len(piece) > stalls_at:
            await response.write(piece[: stalls_at - sent])
            piece, sent, stalls_at = piece[stalls_at - sent :], stalls_at, None
            await stall(request.app[GATE])
        if manner.cut is not None and sent + len(piece) > manner.cut:
            await response.write(piece[: manner.cut - sent])
            return False
        await response.write(piece)
        sent += len(piece)
        if manner.rate:
            await asyncio.sleep(len(piece) / manner.rate)
    return True


async def stall(gate: Gate) -> None:
    gate.reached.set()
    await gate.opened.wait()


def _hang_up(request: web.Request) -> None:
    """Close the connection after all that was written has been sent."""
    if request.transport is not None:
        request.transport.close()


def _pieces(path: Path, part: range, rate: int | None) -> Iterator[bytes]:
    """Yield the pieces of the requested part only, so that a small part of a large file costs little."""
    size = min(_PIECE, max(1, rate // 20)) if rate else _PIECE
    with path.open("rb") as file:
        file.seek(part.start)
        for start in range(part.start, part.stop, size):
            yield file.read(min(size, part.stop - start))


def _refusal(manner: Manner) -> web.Response:
    headers = {} if manner.retry_after is None else {"Retry-After": str(manner.retry_after)}
    return web.Response(status=manner.status, text="no\n", headers=headers)


def _type(path: Path) -> str:
    return TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
