"""Serves the pages, playlists and manifests of the folder `texts`, and the media in `more/`.

A text links to other things on the site by path; `{origin}` is replaced by the site's URL, for full links.
"""

from pathlib import Path

from aiohttp import web

from tests.site.delivery import MEDIA, TYPES, deliver
from tests.site.streams import passing_on

_FOLDER = Path(__file__).parent / "texts"
_TYPES = TYPES | {
    ".html": "text/html",
    ".rss": "application/rss+xml",
    ".smil": "application/smil+xml",
    ".vtt": "text/vtt",
    ".xspf": "application/xspf+xml",
}


async def text(request: web.Request) -> web.Response:
    path = _FOLDER / request.match_info["name"]
    if not path.is_file():
        raise web.HTTPNotFound
    written = path.read_bytes().replace(b"{origin}", str(request.url.origin()).encode())
    kind = request.query.get("type", _TYPES[path.suffix])
    return web.Response(body=written, headers={"Content-Type": kind})


async def more(request: web.Request) -> web.StreamResponse:
    path = request.app[MEDIA] / "more" / request.match_info["path"]
    if path.suffix == ".m3u8" and path.is_file():
        return web.Response(text=passing_on(request, path.read_text()), content_type=TYPES[".m3u8"])
    return await deliver(request, path)


async def told(request: web.Request) -> web.Response:
    """Return a film of which each `part=` is a link, for `tests.fakes.extractor`."""
    parts = [str(request.url.origin()) + part for part in request.query.getall("part")]
    entries = [{"_type": "url", "url": part} for part in parts]
    return web.json_response({"_type": "multi_video", "id": "a", "title": "Film", "entries": entries})


ROUTES = [web.get("/texts/{name}", text), web.get("/told/{name}", told), web.get("/more/{path:.+}", more)]
