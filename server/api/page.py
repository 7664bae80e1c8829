"""`GET /` and `/static/`: the web page and its files, without a build step."""

from functools import cache
from http import HTTPStatus
from pathlib import Path

from aiohttp import hdrs, web

from server.api import conditions
from server.api.assets import Asset, Assets, read_assets
from server.api.bodies import docs_path, language
from server.api.keys import SETTINGS
from server.api.openapi.operation import TEXT, Operation, Reply
from server.api.route import Access, get, undescribed
from server.core.errors import NotFound

_PACKAGE = Path(__file__).parent.parent
# In the package if it was installed from a wheel, beside the package in a checkout.
STATIC = next(path for path in (_PACKAGE / "static", _PACKAGE.parent / "static") if path.is_dir())
ASSETS = web.AppKey("assets", Assets)
WORKER = "js/sw.js"
FOREVER = "public, max-age=31536000, immutable"


@cache
def assets() -> Assets:
    """The page's files, read when this process first makes an application."""
    return read_assets(STATIC)


async def index(request: web.Request) -> web.Response:
    chosen = language(request)
    response = _answer(request, request.app[ASSETS].pages[chosen])
    response.headers[hdrs.VARY] = "Accept-Encoding, Accept-Language"
    response.headers[hdrs.CONTENT_LANGUAGE] = chosen
    return response


async def moved(request: web.Request) -> web.Response:
    """Redirect `base_path` to `base_path` + `/` and the query: relative links of the page need the slash."""
    _, mark, query = request.raw_path.partition("?")
    location = f"{request.app[SETTINGS].server.base_path}/{mark}{query}"
    return web.Response(status=HTTPStatus.PERMANENT_REDIRECT, headers={"Location": location})


async def static(request: web.Request) -> web.Response:
    """A file that was read at the start. No path is built from the request, so there is no path traversal."""
    asset = request.app[ASSETS].files.get(request.match_info["path"])
    if asset is None:
        raise NotFound(docs_path(request))
    response = _answer(request, asset)
    # Only if the tag is this file's: beside a server of another release, requests come for that one's files.
    if request.query_string == asset.tag:
        response.headers[hdrs.CACHE_CONTROL] = FOREVER
    if request.match_info["path"] == WORKER:
        response.headers["Service-Worker-Allowed"] = "/"  # the page is above the worker's own folder
    return response


def _answer(request: web.Request, asset: Asset) -> web.Response:
    """The file, with gzip if the client accepts that, or 304 if the client has it."""
    packed = asset.is_packable and conditions.takes_gzip(request)
    etag = f'"{asset.tag}-gzip"' if packed else f'"{asset.tag}"'
    if conditions.has(request, etag):
        response = web.Response(status=HTTPStatus.NOT_MODIFIED)
    else:
        response = web.Response(body=asset.packed if packed else asset.body, content_type=asset.type)
        if packed:
            response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    response.headers[hdrs.ETAG] = etag
    response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
    return response


ROUTES = [
    get(
        "/",
        index,
        Operation("page", "Service", "The web page", {200: Reply("HTML", {"text/html": TEXT})}),
        access=Access.PAGE,
    ),
    undescribed(web.get("/static/{path:.+}", static), Access.PAGE),
]
