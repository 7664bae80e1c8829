"""`GET /`: the web page, plain files without a build step."""

from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from server.api.bodies import docs_path
from server.api.keys import SETTINGS
from server.api.openapi.operation import TEXT, Operation, Reply
from server.api.route import get, undescribed
from server.errors import NotFound

_PACKAGE = Path(__file__).parent.parent
# In the package where a wheel was installed, beside it in a checkout.
STATIC = next(path for path in (_PACKAGE / "static", _PACKAGE.parent / "static") if path.is_dir())
ASSETS = {path.relative_to(STATIC).as_posix(): path for path in STATIC.rglob("*.*") if path.is_file()}


async def index(request: web.Request) -> web.FileResponse:
    """Always asked for again, so that a new version is seen at once."""
    return web.FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


async def moved(request: web.Request) -> web.Response:
    """The prefix without its slash: relative links on the page would lead elsewhere. The query goes along."""
    _, mark, query = request.raw_path.partition("?")
    location = f"{request.app[SETTINGS].server.base_path}/{mark}{query}"
    return web.Response(status=HTTPStatus.PERMANENT_REDIRECT, headers={"Location": location})


async def static(request: web.Request) -> web.FileResponse:
    """Only files that were there when the server started: no path is made from what a request says."""
    path = ASSETS.get(request.match_info["path"])
    if path is None:
        raise NotFound(docs_path(request))
    return web.FileResponse(path)


ROUTES = [
    get(
        "/",
        index,
        Operation("page", "Service", "The web page", {200: Reply("HTML", {"text/html": TEXT})}),
    ),
    undescribed(web.get("/static/{path:.+}", static)),
]
