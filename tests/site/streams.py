"""HLS and DASH: playlists that hand their query on to their segments."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from xml.sax.saxutils import escape

from aiohttp import web
from pydantic import BaseModel

from tests.site.delivery import MEDIA, TYPES, deliver
from tests.site.media import BROADCAST, SEGMENTS

SENT = web.AppKey("SENT", Counter[str])
_WINDOW = 3


async def playlist(request: web.Request) -> web.Response:
    """The playlist as ffmpeg made it, each link with the query of the request."""
    text = (request.app[MEDIA] / "hls" / request.match_info["kind"] / "index.m3u8").read_text()
    add = _adder(request)
    text = re.sub(r'URI="([^"]+)"', lambda found: f'URI="{add(found[1])}"', text)
    text = re.sub(r"^(?!#).+$", lambda found: add(found[0]), text, flags=re.MULTILINE)
    return web.Response(text=text, content_type=TYPES[".m3u8"])


async def live_playlist(request: web.Request) -> web.Response:
    """The newest segments of a broadcast that shows the same four for ever."""
    newest, add = int(asyncio.get_running_loop().time()), _adder(request)
    oldest = newest - _WINDOW
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:3",
        "#EXT-X-TARGETDURATION:1",
        f"#EXT-X-MEDIA-SEQUENCE:{oldest}",
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{(oldest - 1) // SEGMENTS}",
    ]
    for number in range(oldest, newest):
        if number % SEGMENTS == 0:
            lines.append("#EXT-X-DISCONTINUITY")
        lines += ["#EXTINF:1.000000,", add(f"../ts/{number % SEGMENTS}.ts")]
    return web.Response(text="\n".join(lines) + "\n", content_type=TYPES[".m3u8"])


class Broadcast(BaseModel):
    """What the query asks for; the rest of it is for the segments."""

    step: int = 1
    end: int = BROADCAST
    quiet: int = BROADCAST
    gone: int = BROADCAST + 1
    busy: int = BROADCAST + 1
    back: int = BROADCAST + 1
    segments: str = "../long/"
    key: str | None = None


async def broadcast(request: web.Request) -> web.Response:
    """What has been sent so far of a film; each request for it lets it go on."""
    wanted = Broadcast.model_validate(dict(request.query))
    request.app[SENT][request.path_qs] += wanted.step
    sent = request.app[SENT][request.path_qs]
    if sent > wanted.gone:
        raise web.HTTPNotFound
    if wanted.busy < sent <= wanted.back:
        raise web.HTTPServiceUnavailable
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", "#EXT-X-MEDIA-SEQUENCE:0"]
    if wanted.key:
        lines.append(f'#EXT-X-KEY:METHOD=AES-128,URI="{wanted.key}"')
    query = request.rel_url.without_query_params(*Broadcast.model_fields).query_string
    for number in range(min(sent, wanted.end, wanted.quiet)):
        link = f"{wanted.segments}{number}.ts"
        # They take a second; told less, who follows it looks again sooner.
        lines += ["#EXTINF:0.200000,", f"{link}?{query}" if query else link]
    if wanted.end < sent and wanted.end <= wanted.quiet:
        lines.append("#EXT-X-ENDLIST")
    return web.Response(text="\n".join(lines) + "\n", content_type=TYPES[".m3u8"])


async def broadcast_apart(request: web.Request) -> web.Response:
    """The same with a sound that has a playlist of its own."""
    link = f"index.m3u8?{request.query_string}"
    lines = [
        "#EXTM3U",
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound",NAME="sound",DEFAULT=YES,URI="{link}"',
        '#EXT-X-STREAM-INF:BANDWIDTH=700000,CODECS="avc1.42c00d,mp4a.40.2",RESOLUTION=320x180,AUDIO="sound"',
        link,
    ]
    return web.Response(text="\n".join(lines) + "\n", content_type=TYPES[".m3u8"])


async def manifest(request: web.Request) -> web.Response:
    text = (request.app[MEDIA] / "dash" / "manifest.mpd").read_text()
    query = f"?{request.query_string}" if request.query_string else ""
    text = text.replace(".m4s", f".m4s{escape(query)}")
    return web.Response(text=text, content_type=TYPES[".mpd"])


async def segment(request: web.Request) -> web.StreamResponse:
    return await deliver(request, request.app[MEDIA] / request.path.lstrip("/"))


def _adder(request: web.Request) -> Callable[[str], str]:
    """Adds the query to a link, and breaks the link of the segment that shall be missing."""
    missing = request.query.get("missing")
    query = request.rel_url.without_query_params("missing").query_string

    def add(link: str) -> str:
        if missing is not None and re.fullmatch(rf"(.*/)?{missing}\.\w+", link):
            return f"missing-{missing}.ts"
        return f"{link}?{query}" if query else link

    return add


ROUTES = [
    web.get("/hls/live/index.m3u8", live_playlist),
    web.get("/hls/broadcast/index.m3u8", broadcast),
    web.get("/hls/broadcast/apart.m3u8", broadcast_apart),
    web.get("/hls/{kind:ts|fmp4|aes}/index.m3u8", playlist),
    web.get("/hls/{kind:ts|fmp4|aes|long}/{name}", segment),
    web.get("/dash/manifest.mpd", manifest),
    web.get("/dash/{name}", segment),
]
