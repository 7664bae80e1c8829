"""`/api/tasks/<id>/links`, `/api/links/<id>` and `/links/...`: links to one file that need no token.

Whoever has such a link gets this file and nothing else, until the link expires or is revoked; a download that
has begun goes on to its end.
"""

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from aiohttp import web
from pydantic import Field

from server.api.bodies import Query, read_object, respond_answer, validated
from server.api.connections import CONNECTIONS
from server.api.downloads import CONDITIONS, PLAYABLE, SANDBOX_POLICY, replies, replies_to_head, send
from server.api.keys import CLOCK, SETTINGS, TASKS, restricted_to, tasks_of
from server.api.openapi.operation import (
    IF_NONE_MATCH,
    JSON,
    OF_CHANGES,
    READER,
    TASK_ID,
    Operation,
    Parameter,
    Reply,
)
from server.api.payload import instant
from server.api.qr import SVG, drawn
from server.api.route import Access, delete, get, post
from server.api.security import DOORS
from server.core.attachment import disposition
from server.core.errors import (
    FileNotFound,
    InvalidQuery,
    LinkGone,
    LinkNotFound,
    PreconditionFailed,
    RangeNotSatisfiable,
    StorageAway,
    TaskNotFound,
    TooManyLinks,
)
from server.core.long_work import compute
from server.core.values import Frozen
from server.links.link_rows import LinkRows, StoredLink, is_signed, sign

if TYPE_CHECKING:
    from server.core.film import StoredFile
    from server.core.task import TaskStatus

_SCHEMAS = "server.links.link_schemas"  # of responses
LINKS = web.AppKey("links", LinkRows)


class LinkRequest(Frozen):
    kind: Annotated[str, Field(min_length=1, max_length=200, description="a key of `files`")]
    expires_in: Annotated[int, Field(strict=True, ge=60, le=604_800, description="seconds")] = 600


async def make_link(request: web.Request) -> web.Response:
    """Make a link to a file. Raises `TaskNotFound`, `FileNotFound`, `TooManyLinks`."""
    wanted = validated(LinkRequest, await read_object(request))
    request.app[TASKS].refuse_when_closing()
    status = await tasks_of(request).status(request.match_info["task_id"])
    stored = status.files.get(wanted.kind)
    if stored is None:
        raise FileNotFound
    link = await request.app[LINKS].add(
        status.task_id, wanted.kind, stored.name, request.app[CLOCK].now().timestamp(), wanted.expires_in
    )
    from server.links.link_schemas import FileLink

    url = await _url_of(request, link)
    answer = FileLink(id=link.link_id, url=url, expires_at=instant(link.expires_at))
    return respond_answer(answer, HTTPStatus.CREATED)


async def open_links(request: web.Request) -> web.Response:
    """List the open links of a task. Raises `TaskNotFound`."""
    status = await tasks_of(request).status(request.match_info["task_id"])
    now = request.app[CLOCK].now().timestamp()
    names = {stored.name for stored in status.files.values()}
    links = [link for link in await request.app[LINKS].of_task(status.task_id, now) if link.name in names]
    from server.links.link_schemas import OpenLink, OpenLinks

    answers = [
        OpenLink(
            id=link.link_id,
            url=await _url_of(request, link),
            expires_at=instant(link.expires_at),
            kind=link.kind,
        )
        for link in links
    ]
    return respond_answer(OpenLinks(links=answers))


async def revoke_link(request: web.Request) -> web.Response:
    """Revoke a link. Raises `LinkNotFound`."""
    link = await _open_link(request)
    await request.app[LINKS].revoke(link.link_id)
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def qr_of_link(request: web.Request) -> web.Response:
    """Answer with the QR code of a link. Raises `LinkNotFound`."""
    url = await _url_of(request, await _open_link(request))
    headers = {"Cache-Control": "private, no-store", "Content-Security-Policy": SANDBOX_POLICY}
    picture = await request.app[CONNECTIONS].attended(request.protocol, compute(drawn, url))
    return web.Response(body=picture, content_type=SVG, headers=headers)


async def file_of_link(request: web.Request) -> web.StreamResponse:
    """Answer the file, a part of it, or 304. Raises `LinkNotFound`, `LinkGone`, `InvalidQuery`,
    `PreconditionFailed`, `RangeNotSatisfiable` and `StorageAway`.
    """
    query = Query(request)
    is_download = not query.flag("inline")
    query.check()
    status, stored = await _linked_file(request)
    inline = not is_download and bool(PLAYABLE.fullmatch(stored.type))
    named = disposition(stored.name, status.video_info.title, inline=inline, chapter=stored.title)
    try:
        return await send(request, status.task_id, stored, named, may_redirect=is_download)
    except FileNotFound:
        raise LinkGone from None


async def _linked_file(request: web.Request) -> "tuple[TaskStatus, StoredFile]":
    """Return the file that the address opens, and its task. Raises `LinkNotFound` if no link ever had this
    address, and `LinkGone` if it has expired or was revoked, or if its file is deleted.
    """
    link_id, links = request.match_info["link_id"], request.app[LINKS]
    if not is_signed(await links.key(), link_id, request.match_info["signature"]):
        raise LinkNotFound
    link = await links.find(link_id, request.app[CLOCK].now().timestamp())
    if link is None:
        raise LinkGone
    try:
        return await request.app[TASKS].find_file(link.name)
    except (FileNotFound, TaskNotFound):
        raise LinkGone from None


async def _open_link(request: web.Request) -> StoredLink:
    """Return the link that the path names by its id. Raises `LinkNotFound`."""
    now = request.app[CLOCK].now().timestamp()
    link = await request.app[LINKS].find(request.match_info["link_id"], now, restricted_to(request))
    if link is None:
        raise LinkNotFound
    return link


async def _url_of(request: web.Request, link: StoredLink) -> str:
    """Return the address of a link, with the origin by which the client reaches this server."""
    key = await request.app[LINKS].key()
    if key is None:
        raise LinkNotFound
    origin = request.app[DOORS].origin(request) + request.app[SETTINGS].server.base_path
    return f"{origin}/links/{link.link_id}/{sign(key, link.link_id)}"


_ID = Parameter("link_id", "the link's `id`", place="path")
_ADDRESS = (_ID, Parameter("signature", "as the link has it", place="path"))
_NO_TOKEN = "Needs no token: the signature in the path takes its place."  # noqa: S105
_TAGGED = {"ETag": "for `If-Range` and `If-None-Match`"}
_INLINE = Parameter("inline", "`1`: play it, if it is video, audio or a picture", {"enum": ["0", "1"]})
ROUTES = [
    post(
        "/api/tasks/{task_id}/links",
        make_link,
        Operation(
            "make_link",
            "Files",
            "Make a link to one file that needs no token",
            {201: Reply("The link", {JSON: f"{_SCHEMAS}:FileLink"})},
            "Whoever has the link gets this one file until it expires or is revoked.",
            parameters=(TASK_ID, *READER),
            body=LinkRequest,
            errors=(TaskNotFound, FileNotFound, TooManyLinks, *OF_CHANGES),
        ),
    ),
    get(
        "/api/tasks/{task_id}/links",
        open_links,
        Operation(
            "open_links",
            "Files",
            "The links of a task that are open",
            {200: Reply("The first made comes first", {JSON: f"{_SCHEMAS}:OpenLinks"})},
            parameters=(TASK_ID, *READER),
            errors=(TaskNotFound,),
        ),
    ),
    delete(
        "/api/links/{link_id}",
        revoke_link,
        Operation(
            "revoke_link",
            "Files",
            "Revoke a link",
            {204: Reply("It opens nothing any more")},
            "A download that has begun goes on.",
            parameters=(_ID, *READER),
            errors=(LinkNotFound, *OF_CHANGES),
        ),
    ),
    get(
        "/api/links/{link_id}/qr.svg",
        qr_of_link,
        Operation(
            "link_qr_code",
            "Files",
            "A link as a QR code",
            {200: Reply("An SVG without a size of its own", {SVG: {}})},
            "It holds the whole link, with the host name by which the client reaches the service.",
            parameters=(_ID, *READER),
            errors=(LinkNotFound,),
        ),
    ),
    get(
        "/links/{link_id:[^/]+}/{signature:[^/]+}",
        file_of_link,
        Operation(
            "linked_file",
            "Files",
            "The file of a link",
            replies("The whole file", "*/*", _TAGGED)
            | {
                307: Reply(
                    "With `storage.redirect_downloads`: the whole file is elsewhere",
                    headers={"Location": "where, for five minutes"},
                )
            },
            _NO_TOKEN,
            parameters=(*_ADDRESS, _INLINE, *CONDITIONS, *READER),
            errors=(
                *(LinkNotFound, LinkGone, PreconditionFailed, RangeNotSatisfiable, InvalidQuery),
                StorageAway,
            ),
        ),
        head=Operation(
            "linked_file_head",
            "Files",
            "What the file of a link comes with",
            replies_to_head(_TAGGED),
            _NO_TOKEN,
            parameters=(*_ADDRESS, _INLINE, IF_NONE_MATCH, *READER),
            errors=(LinkNotFound, LinkGone, PreconditionFailed, InvalidQuery, StorageAway),
        ),
        access=Access.SECRET,
    ),
]
