"""Web pages with a video, and titles that need escaping or shortening."""

import asyncio
import html
import json

from aiohttp import web
from yarl import URL

from tests.site import tickets
from tests.site.delivery import GATE, HITS, stall

TITLES = {
    "long": "A very long title " * 16 + "of 300 chars",
    "traversal": "../../etc/passwd",
    "control": "bell\x07 tab\t line\nescape\x1b[31m nul\x00 end",
    "rtl": "photo\u202egnp.exe \u200f\u05e9\u05dc\u05d5\u05dd",
    "cjk": "示例视频 動画サンプル 예시",
    "emoji": "🎬 👩‍👩‍👧‍👦 🇪🇺 video",
    "markup": "<script>alert(1)</script> & \"quotes\" <img src=x onerror='alert(2)'>",
}


async def page(request: web.Request) -> web.Response:
    return _page(request, request.query.get("title", "示例视频"))


async def odd_page(request: web.Request) -> web.Response:
    try:
        return _page(request, TITLES[request.match_info["name"]])
    except KeyError:
        raise web.HTTPNotFound from None


async def playlist_page(request: web.Request) -> web.Response:
    first = html.escape(request.query.get("first", "../video.mp4"))
    return _html("Two videos", f'<video src="{first}"></video><video src="../silent.mp4"></video>')


async def feed(request: web.Request) -> web.Response:
    """Return a feed with one entry for each `entry` of the query, then `count` times the film, after `delay`
    seconds; with `stall`, not before stalled answers go on. `image` is the feed's picture.

    With `stale=N` each link has a ticket, and the tickets of the first N answers have expired.
    """
    await asyncio.sleep(float(request.query.get("delay", 0)))
    if "stall" in request.query:
        await stall(request.app[GATE])
    count = int(request.query.get("count", 0))
    links = [*request.query.getall("entry", []), *(f"/video.mp4?times={n}" for n in range(1, count + 1))]
    if "stale" in request.query:
        request.app[HITS][request.path_qs] += 1
        good = 99 if request.app[HITS][request.path_qs] > int(request.query["stale"]) else 0
        links = [str(URL(link).update_query(ticket=tickets.new(request.app, good))) for link in links]
    items = "".join(
        f"<item><title>Entry {n}</title><link>{html.escape(str(request.url.join(URL(link))))}</link></item>"
        for n, link in enumerate(links, 1)
    )
    image = (
        f"<image><url>{html.escape(_link(request, 'image', ''))}</url></image>"
        if "image" in request.query
        else ""
    )
    text = (
        f'<?xml version="1.0"?><rss version="2.0"><channel><title>Feed</title>{image}{items}</channel></rss>'
    )
    return web.Response(text=text, content_type="application/rss+xml")


async def blank_page(_request: web.Request) -> web.Response:
    return _html("Nothing to see", "<p>No video here.</p>")


def _page(request: web.Request, title: str) -> web.Response:
    source = _link(request, "src", "/video.mp4")
    match request.query.get("kind", "jsonld"):
        case "video":
            description = _meta("og:description", "A film with a tone")
            tag = f'<video src="{html.escape(source)}"{_poster(request)}>{_tracks(request)}</video>'
            return _html(title, tag, _meta("og:title", title) + description)
        case "og":
            return _html(title, "", _meta("og:title", title) + _meta("og:video", source))
        case _:
            return _html(title, "", _json_ld(request, title, source))


def _poster(request: web.Request) -> str:
    picture = request.query.get("thumbnail")
    return f' poster="{html.escape(picture)}"' if picture else ""


def _tracks(request: web.Request) -> str:
    """Return a `<track>` for each `track=LINK:LANGUAGE`; without a language it is English."""
    tracks = [track.rpartition(":") for track in request.query.getall("track", [])]
    named = [(link, language) if link else (language, "en") for link, _, language in tracks]
    return "".join(f'<track srclang="{name}" src="{html.escape(link)}">' for link, name in named)


def _link(request: web.Request, name: str, default: str) -> str:
    """Return the link in the query's `name`, made absolute, because JSON-LD has no relative links."""
    return str(request.url.join(URL(request.query.get(name, default))))


def _json_ld(request: web.Request, title: str, source: str) -> str:
    video: dict[str, object] = {
        "@context": "https://schema.org",
        "@type": "VideoObject",
        "name": title,
        "description": "A film with a tone",
        "duration": f"PT{request.query.get('duration', '4')}S",
        "author": {"@type": "Person", "name": request.query.get("uploader", "上传者")},
        "thumbnailUrl": [_link(request, "thumbnail", "/thumbnail.jpg")],
        "contentUrl": source,
    }
    if "uploaded" in request.query:
        video["uploadDate"] = request.query["uploaded"]
    if "chapters" in request.query:
        video["hasPart"] = [
            {"@type": "Clip", "name": name, "startOffset": start, "endOffset": start + 2}
            for name, start in (("Opening", 0), ("End", 2))
        ]
    text = json.dumps(video, ensure_ascii=False).replace("<", "\\u003c")
    return f'<script type="application/ld+json">{text}</script>'


def _meta(name: str, content: str) -> str:
    return f'<meta property="{name}" content="{html.escape(content)}">'


def _html(title: str, body: str, head: str = "") -> web.Response:
    head = f"<title>{html.escape(title)}</title>{head}"
    text = f"<!doctype html><html><head>{head}</head><body>{body}</body></html>"
    return web.Response(text=text, content_type="text/html")


ROUTES = [
    web.get("/page", page),
    web.get("/page/playlist", playlist_page),
    web.get("/feed", feed),
    web.get("/page/blank", blank_page),
    web.get("/page/{name}", odd_page),
]
