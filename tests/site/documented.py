"""Where the links in the documents lead: those of `example.org`, and the film of the README."""

from aiohttp import web
from aiohttp.typedefs import Handler

LONG = "/page?kind=video&src=/minutes.mp4&track=/minutes.vtt:en&track=/minutes.vtt:zh"
LEADS_TO = {
    **dict.fromkeys(("/watch", "/a", "/b"), "/page?src=/1mb.mp4"),
    **dict.fromkeys(("/channel", "/list"), "/feed?count=2"),
    "/feed.xml": "/feed?count=2&image=/thumbnail.png",
    "/video": LONG,
    "/talks": "/feed?entry=/talk",
    "/talk": "/page?chapters=yes",
    "/members.mp4": "/1mb.mp4?login=secret",
    "/live.m3u8": "/hls/live/index.m3u8",
    "/durian/trailer/sintel_trailer-480p.mp4": "/1mb.mp4",
}


def _leading_to(there: str) -> Handler:
    async def redirect(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(there)

    return redirect


ROUTES = [web.get(path, _leading_to(there)) for path, there in LEADS_TO.items()]
