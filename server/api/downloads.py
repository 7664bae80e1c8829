"""`GET /api/download/<name>`: finished files, whole or in part.

aiohttp's `FileResponse` follows symlinks, does not know `If-Range` with an ETag and answers several
ranges with 416; so this module evaluates the conditions and has the kernel send the file (sendfile).

A name is never reused for other bytes, so the name is the ETag.

Decisions: docs/decisions/files.md
"""

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import BinaryIO, TypeVar

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

from server.api import connections
from server.api.bodies import Query, allows_part, client_has, is_wanted
from server.api.keys import FILES, tasks_of
from server.api.openapi.operation import (
    BINARY,
    HAS_IT,
    IF_NONE_MATCH,
    READER,
    Operation,
    Parameter,
    Reply,
    header,
)
from server.api.route import get
from server.api.security import DOORS
from server.core.attachment import disposition
from server.core.errors import (
    FileNotFound,
    InvalidQuery,
    PreconditionFailed,
    RangeNotSatisfiable,
    StorageAway,
)
from server.core.film import StoredFile
from server.core.ports import Stream

T = TypeVar("T")
SANDBOX_POLICY = "sandbox; default-src 'none'"
PLAYABLE = re.compile(r"(video|audio)/.+|image/(jpeg|png|webp)|text/vtt")
# int() refuses more than 4,300 digits.
_RANGE = re.compile(r"bytes=\s*(\d{0,4000})-(\d{0,4000})\s*", re.ASCII | re.IGNORECASE)


async def download(request: web.Request) -> web.StreamResponse:
    """The file, a part of it, or 304. Raises `FileNotFound`, `RangeNotSatisfiable`, `InvalidQuery`, and
    `StorageAway`.
    """
    if "%" in request.raw_path.partition("?")[0]:  # names of files need no encoding
        raise FileNotFound
    status, stored = await tasks_of(request).find_file(request.match_info["name"])
    query = Query(request)
    is_plain = not query.flag("inline")
    query.check()
    inline = not is_plain and bool(PLAYABLE.fullmatch(stored.type))
    published = status.published_at or status.completed_at or status.created_at
    named = disposition(stored.name, status.video_info.title, inline=inline, chapter=stored.title)
    modified = published.replace(microsecond=0)
    return await send(request, status.task_id, stored, named, modified, may_redirect=is_plain)


async def send(
    request: web.Request,
    task_id: str,
    stored: StoredFile,
    content_disposition: str,
    modified: datetime | None = None,
    *,
    may_redirect: bool = False,
) -> web.StreamResponse:
    """Send a stored file, a part of it, or 304, by the request's conditions; `modified` has whole seconds.

    A request for the whole file `may_redirect` to the bucket. Raises `FileNotFound`, `PreconditionFailed`,
    `RangeNotSatisfiable`, `StorageAway`.
    """
    headers = {
        "ETag": _etag(stored),
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",  # revalidated each time, so a deleted file is gone at once
        "Content-Disposition": content_disposition,
        "Content-Security-Policy": SANDBOX_POLICY,
        "X-Content-Type-Options": "nosniff",
    }
    if modified:
        headers["Last-Modified"] = format_datetime(modified, usegmt=True)
    if not is_wanted(request, _etag(stored), modified):
        raise PreconditionFailed
    if client_has(request, _etag(stored), modified):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    part = _part(request, stored, modified)
    file = await request.app[FILES].open(task_id, stored)
    if may_redirect and request.method == "GET" and hdrs.RANGE not in request.headers:
        link = await request.app[FILES].link(task_id, stored)
        if link:
            # Not to be cached: the link expires after some minutes.
            elsewhere = {"Location": link, "Cache-Control": "no-store"}
            return web.Response(status=HTTPStatus.TEMPORARY_REDIRECT, headers=elsewhere)
    response = FilePartResponse(file, stored, part, headers)
    request.app[DOORS].add_headers(request, response)
    await response.prepare(request)  # sends here, so that `Connections` sees a request until all is sent
    return response


class FilePartResponse(web.StreamResponse):
    """A response that sends `part` of an open file, or all of it (None), and closes the file."""

    def __init__(
        self, file: BinaryIO | Stream, stored: StoredFile, part: range | None, headers: dict[str, str]
    ) -> None:
        super().__init__(
            status=HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT, headers=headers
        )
        self._file = file
        self._part = range(stored.size) if part is None else part
        self.headers["Content-Type"] = stored.type
        self.content_length = len(self._part)
        if part is not None:
            self.headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{stored.size}"

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if self.prepared:
            return await super().prepare(request)
        part = self._part if request.method == "GET" else range(0)
        if isinstance(self._file, Stream):
            # The first bytes are read before the headers are sent, so that an error can still be a response.
            async with aclosing(self._file.read(part)) as pieces:
                first = await anext(pieces) if part else b""
                writer = await super().prepare(request)
                if part:
                    await connections.send_pieces(request, beginning_with(first, pieces))
                await self.write_eof()
                return writer
        with self._file as file:
            writer = await super().prepare(request)
            if part:
                await connections.send_file(request, file, part)
            await self.write_eof()
            return writer


async def beginning_with(first: T, others: AsyncIterator[T]) -> AsyncIterator[T]:
    yield first
    async for other in others:
        yield other


def _etag(stored: StoredFile) -> str:
    """The name in quotes: it is never reused for other bytes."""
    return f'"{stored.name}"'


def _part(request: web.Request, stored: StoredFile, modified: datetime | None) -> range | None:
    """The requested range of bytes; None for the whole file.

    The whole file is also sent for several ranges, in one header or in several, another unit or a malformed
    range (RFC 9110, 14.2), and if `If-Range` names another version. Raises `RangeNotSatisfiable`.
    """
    asked = _RANGE.fullmatch(",".join(request.headers.getall("Range", ())).strip())
    if request.method != "GET" or not asked or not allows_part(request, _etag(stored), modified):
        return None
    return part_of(stored.size, *asked.groups())


def part_of(size: int, first: str, last: str) -> range | None:
    """The bytes `first`-`last` (inclusive; either may be empty) of `size`; None if the range is invalid.

    Raises `RangeNotSatisfiable`.
    """
    if not first and not last:
        return None
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise RangeNotSatisfiable(size)
    return range(start, stop)


_INLINE = Parameter(
    "inline", "`1`: play it, if it is video, audio, JPEG, PNG, WebP or WebVTT", {"enum": ["0", "1"]}
)
_NAME = Parameter("name", "the last part of a link in `files`", place="path")
_HEADERS = {
    "ETag": "for `If-Range` and `If-None-Match`",
    "Last-Modified": "when the task completed",
    "Accept-Ranges": "`bytes`",
    "Content-Disposition": "`attachment`, or `inline` where asked for and safe; the title as file name",
}


def replies(whole: str, media_type: str, headers: dict[str, str]) -> dict[int, Reply]:
    """The responses of `send` for the OpenAPI description; `whole` is the text for 200."""
    return {
        200: Reply(whole, {media_type: BINARY}, headers),
        206: Reply("The part asked for", {media_type: BINARY}, headers | {"Content-Range": "which it is"}),
        304: Reply(HAS_IT, headers=headers),
    }


def replies_to_head(headers: dict[str, str]) -> dict[int, Reply]:
    return {200: Reply("As with GET", headers=headers), 304: Reply(HAS_IT, headers=headers)}


CONDITIONS = (
    header("If-Match", "ETags; of another file nothing is sent"),
    header("Range", "one range of bytes; anything else gives the whole"),
    header("If-Range", "an ETag or a date; if it is stale, the whole is sent"),
    IF_NONE_MATCH,
)
ROUTES = [
    get(
        "/api/download/{name:(?s:.*)}",
        download,
        Operation(
            "download",
            "Files",
            "A finished file",
            replies("The whole file", "*/*", _HEADERS)
            | {
                307: Reply(
                    "With `storage.redirect_downloads`: the whole file is elsewhere",
                    headers={"Location": "where, for five minutes"},
                )
            },
            parameters=(
                _NAME,
                _INLINE,
                *CONDITIONS,
                header("If-Modified-Since", "a date"),
                *READER,
            ),
            errors=(FileNotFound, PreconditionFailed, RangeNotSatisfiable, InvalidQuery, StorageAway),
        ),
        head=Operation(
            "download_head",
            "Files",
            "What a finished file comes with",
            replies_to_head(_HEADERS),
            parameters=(_NAME, _INLINE, IF_NONE_MATCH, *READER),
            errors=(FileNotFound, PreconditionFailed, InvalidQuery, StorageAway),
        ),
    )
]
