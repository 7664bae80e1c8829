"""`GET /api/download.zip`: all finished files of many tasks as one archive, made while it is sent."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from datetime import datetime

from aiohttp import web

from server.api import wire
from server.api.archive import Member, archive, length_of
from server.api.downloads import SANDBOX_POLICY, beginning_with
from server.api.keys import FILES, TASKS
from server.api.openapi.operation import BINARY, IDS, READER, Operation, Parameter, Reply
from server.api.query import Query
from server.api.route import get
from server.api.security import DOORS
from server.core.attachment import filename_of
from server.core.errors import FileNotFound, InvalidQuery, StorageAway, TaskNotFound
from server.core.models import TaskStatus
from server.core.ports import Filter

MOST = 200  # tasks


async def download_all(request: web.Request) -> web.StreamResponse:
    """Raises `InvalidQuery`, `TaskNotFound`, `FileNotFound`, `StorageAway`; a file that is removed meanwhile
    cuts the connection.
    """
    statuses = await _statuses(request)
    members = await asyncio.to_thread(lambda: list(named(statuses)))  # there may be tens of thousands
    if not members:
        raise FileNotFound
    response = web.StreamResponse(headers=_HEADERS)
    response.content_length = await asyncio.to_thread(length_of, members)
    request.app[DOORS].add_headers(request, response)
    async with aclosing(archive(request.app[FILES], members)) as pieces:
        first = await anext(pieces)  # before the headers: a missing first file can still be a 404
        await response.prepare(request)
        if request.method == "GET":
            await wire.send_pieces(request, beginning_with(first, pieces))
    await response.write_eof()
    return response


async def _statuses(request: web.Request) -> list[TaskStatus]:
    query = Query(request)
    ids = query.ids("ids", MOST)
    query.check()
    if ids is None:
        raise InvalidQuery("ids")
    named = await request.app[TASKS].statuses(ids)
    if len(named) != len(ids):
        raise TaskNotFound
    found: dict[str, TaskStatus] = {}
    for status in named:
        entries = await _entries(request, status) if status.is_list else [status]
        found |= {each.task_id: each for each in entries if each.files}
        if len(found) > MOST:
            raise InvalidQuery("ids")
    return list(found.values())


async def _entries(request: web.Request, playlist: TaskStatus) -> list[TaskStatus]:
    """The entries of a list, in its order, then those that it shares with others; of a long one not all, but
    more than `MOST` that have files.
    """
    found: list[TaskStatus] = []
    cursor = None
    while True:
        page = await request.app[TASKS].page(Filter(playlist_id=playlist.task_id), cursor, MOST)
        found += (entry for entry in page.tasks if entry.files)
        cursor = page.next_cursor
        if not cursor or len(found) > MOST:
            break
    found.reverse()
    for start in range(0, len(playlist.shares), MOST):
        if len(found) <= MOST:
            shared = await request.app[TASKS].statuses(playlist.shares[start : start + MOST])
            found += (entry for entry in shared if entry.files)
    return found


def named(statuses: Sequence[TaskStatus]) -> Iterator[Member]:
    """All files of `statuses`, named as in single downloads; if a name is taken, by their public names."""
    taken: set[str] = set()
    for status in statuses:
        for stored in status.files.values():
            name = filename_of(stored.name, status.video_info.title, stored.title)
            if name.casefold() in taken:  # many file systems ignore case
                name = stored.name
            taken.add(name.casefold())
            yield Member(status.task_id, stored, name, _modified(status))


def _modified(status: TaskStatus) -> datetime:
    return status.published_at or status.completed_at or status.created_at


_HEADERS = {
    "Accept-Ranges": "none",
    "Cache-Control": "private, no-store",
    "Content-Disposition": 'attachment; filename="clipwire.zip"',
    "Content-Security-Policy": SANDBOX_POLICY,
    "Content-Type": "application/zip",
    "X-Content-Type-Options": "nosniff",
}
_DESCRIBED = {"Accept-Ranges": "`none`: a `Range` gets the whole", "Content-Disposition": "`attachment`"}
_PARAMETERS = (
    Parameter(
        "ids",
        "of 1 to 200 different tasks, comma-separated; a list means its entries, up to 200 with files in all",
        {"type": "string", "pattern": IDS},
        is_required=True,
    ),
    *READER,
)
_ERRORS = (InvalidQuery, TaskNotFound, FileNotFound, StorageAway)
ROUTES = [
    get(
        "/api/download.zip",
        download_all,
        Operation(
            "download_all",
            "Files",
            "All files of many tasks",
            {200: Reply("A ZIP archive of stored entries", {"application/zip": BINARY}, _DESCRIBED)},
            "It is made while it is sent; its length is known before.",
            parameters=_PARAMETERS,
            errors=_ERRORS,
        ),
        head=Operation(
            "download_all_head",
            "Files",
            "What the archive comes with",
            {200: Reply("As with GET", headers=_DESCRIBED)},
            parameters=_PARAMETERS,
            errors=_ERRORS,
        ),
    )
]
