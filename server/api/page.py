"""`GET /`: the web page, plain files without a build step."""

from pathlib import Path

from aiohttp import web

STATIC = Path(__file__).parent.parent.parent / "static"


async def index(request: web.Request) -> web.FileResponse:
    """Always asked for again, so that a new version is seen at once."""
    return web.FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


ROUTES = [web.get("/", index), web.static("/static", STATIC)]
