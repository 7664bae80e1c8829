"""`GET /`: the web page, plain files without a build step."""

import asyncio
import hashlib
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from server.api import conditions
from server.api.bodies import docs_path
from server.api.keys import SETTINGS
from server.api.openapi.operation import TEXT, Operation, Reply
from server.api.route import get, undescribed
from server.errors import NotFound

_PACKAGE = Path(__file__).parent.parent
# In the package where a wheel was installed, beside it in a checkout.
STATIC = next(path for path in (_PACKAGE / "static", _PACKAGE.parent / "static") if path.is_dir())
TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


def assets_in(folder: Path) -> dict[str, Path]:
    """Path in a link -> file, for what the page is made of: nothing hidden, and no editor's copies."""
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.suffix in TYPES}
    return {
        name.as_posix(): path
        for name, path in found.items()
        if path.is_file() and not any(part.startswith(".") for part in name.parts)
    }


ASSETS = assets_in(STATIC)


async def index(request: web.Request) -> web.Response:
    return await _answer(request, STATIC / "index.html")


async def moved(request: web.Request) -> web.Response:
    """The prefix without its slash: relative links on the page would lead elsewhere. The query goes along."""
    _, mark, query = request.raw_path.partition("?")
    location = f"{request.app[SETTINGS].server.base_path}/{mark}{query}"
    return web.Response(status=HTTPStatus.PERMANENT_REDIRECT, headers={"Location": location})


async def static(request: web.Request) -> web.Response:
    """Only files that were there when the server started: no path is made from what a request says."""
    path = ASSETS.get(request.match_info["path"])
    if path is None:
        raise NotFound(docs_path(request))
    return await _answer(request, path)


async def _answer(request: web.Request, path: Path) -> web.Response:
    """The file as it is now, or 304 for those who have it; browsers ask each time, so they see a new one."""
    body = await asyncio.to_thread(path.read_bytes)
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    if conditions.has(request, etag):
        response = web.Response(status=HTTPStatus.NOT_MODIFIED)
    else:
        response = web.Response(body=body, content_type=TYPES[path.suffix])
    response.headers["ETag"] = etag
    return response


ROUTES = [
    get(
        "/",
        index,
        Operation("page", "Service", "The web page", {200: Reply("HTML", {"text/html": TEXT})}),
    ),
    undescribed(web.get("/static/{path:.+}", static)),
]
