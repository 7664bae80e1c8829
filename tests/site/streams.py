"""HLS, DASH, SMIL and Smooth Streaming; playlists pass their query on to their segments."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable
from xml.sax.saxutils import escape

from aiohttp import web
from pydantic import BaseModel
from yarl import URL

from tests.site.delivery import GATE, MEDIA, TYPES, deliver
from tests.site.media import BROADCAST, SEGMENTS

SENT = web.AppKey("SENT", Counter[str])
BEGINS = web.AppKey("BEGINS", dict[str, float])
_WINDOW = 3


async def playlist(request: web.Request) -> web.Response:
    """Send the playlist as ffmpeg made it, each link with the query of the request."""
    text = (request.app[MEDIA] / "hls" / request.match_info["kind"] / "index.m3u8").read_text()
    return web.Response(text=passing_on(request, text), content_type=TYPES[".m3u8"])


def passing_on(request: web.Request, text: str) -> str:
    """Send the playlist `text`, each link with the query of the request."""
    add = _adder(request)
    text = re.sub(r'URI="([^"]+)"', lambda found: f'URI="{add(found[1])}"', text)
    return re.sub(r"^(?!#).+$", lambda found: add(found[0]), text, flags=re.MULTILINE)


async def live_playlist(request: web.Request) -> web.Response:
    """Send the newest segments of a broadcast that repeats the same four segments for ever."""
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
    """The parameters of a broadcast in the query (see `tests.site`); all other parameters are for the
    segments.
    """

    step: int = 1
    end: int = BROADCAST
    quiet: int = BROADCAST
    gone: int = BROADCAST + 1
    busy: int = BROADCAST + 1
    back: int = BROADCAST + 1
    segments: str = "../long/"
    key: str | None = None
    n: int = 0
    over: float | None = None
    signed: bool = False
    window: int = BROADCAST
    held: int | None = None


async def master(request: web.Request) -> web.Response:
    """Send a master playlist with a variant for each link in the query, the best first."""
    links = {"best": "../ts/index.m3u8", "next": "../fmp4/index.m3u8"} | dict(request.query)
    lines = ["#EXTM3U"]
    for at, (name, link) in enumerate(links.items()):
        height = 360 // (at + 1)
        lines += [f'#EXT-X-STREAM-INF:BANDWIDTH={height * 1000},RESOLUTION=640x{height},NAME="{name}"', link]
    return web.Response(text="\n".join(lines) + "\n", content_type=TYPES[".m3u8"])


async def ranges(request: web.Request) -> web.Response:
    """Send a playlist of one file in three byte ranges."""
    size = (request.app[MEDIA] / "hls" / "ts" / "0.ts").stat().st_size
    third = size // 188 // 3 * 188
    pieces = ((third, 0), (third, third), (size - 2 * third, 2 * third))
    lines = ["#EXTM3U", "#EXT-X-VERSION:4", "#EXT-X-TARGETDURATION:1"]
    for length, start in pieces:
        lines += ["#EXTINF:1.0,", f"#EXT-X-BYTERANGE:{length}@{start}", _adder(request)("../ts/0.ts")]
    return web.Response(text="\n".join((*lines, "#EXT-X-ENDLIST", "")), content_type=TYPES[".m3u8"])


async def smil(request: web.Request) -> web.Response:
    links = {"best": "/video.mp4", "next": "/video.mp4"} | dict(request.query)
    videos = [
        f'<video src="{escape(link)}" system-bitrate="{900_000 // (at + 1)}" height="{360 // (at + 1)}"/>'
        for at, link in enumerate(links.values())
    ]
    base = f'<head><meta base="{request.url.origin()}"/></head>'
    text = f"<smil>{base}<body><switch>{''.join(videos)}</switch></body></smil>"
    return web.Response(text=text, content_type="application/smil+xml")


async def smooth(_request: web.Request) -> web.Response:
    text = """<?xml version="1.0"?>
<SmoothStreamingMedia MajorVersion="2" MinorVersion="0" Duration="40000000" TimeScale="10000000">
<StreamIndex Type="video" Chunks="2" Url="QualityLevels({bitrate})/Fragments(video={start time})">
<QualityLevel Index="0" Bitrate="500000" FourCC="H264" MaxWidth="320" MaxHeight="180" CodecPrivateData="00"/>
<c t="0" d="20000000"/><c d="20000000"/></StreamIndex></SmoothStreamingMedia>"""
    return web.Response(text=text, content_type="text/xml")


async def broadcast(request: web.Request) -> web.Response:
    """Send the playlist of a broadcast so far; each request for it adds `step` segments."""
    wanted = Broadcast.model_validate(dict(request.query))
    is_held = wanted.held == request.app[SENT][request.path_qs] and not request.app[GATE].opened.is_set()
    request.app[SENT][request.path_qs] += 0 if is_held else wanted.step
    sent = request.app[SENT][request.path_qs]
    if sent > wanted.gone:
        raise web.HTTPNotFound
    if wanted.busy < sent <= wanted.back:
        raise web.HTTPServiceUnavailable
    there = min(sent, wanted.end, wanted.quiet)
    oldest = max(0, there - wanted.window)
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{oldest}"]
    if wanted.key:
        lines.append(f'#EXT-X-KEY:METHOD=AES-128,URI="{wanted.key}"')
    query = request.rel_url.without_query_params(*Broadcast.model_fields).query_string
    if wanted.signed:
        lines.append(f"# answer {sent}")
        query = f"signature={sent}"
    for number in range(oldest, there):
        link = f"{wanted.segments}{number}.ts"
        # Segments last a second; with a shorter target duration clients reload the playlist sooner.
        lines += ["#EXTINF:0.200000,", f"{link}?{query}" if query else link]
    if wanted.over is None:
        is_over = wanted.end < sent and wanted.end <= wanted.quiet
    else:
        is_over = time.time() > request.app[BEGINS].setdefault(request.path_qs, time.time()) + wanted.over
    if is_over:
        lines.append("#EXT-X-ENDLIST")
    return web.Response(text="\n".join(lines) + "\n", content_type=TYPES[".m3u8"])


async def announced(request: web.Request) -> web.Response:
    """Return a broadcast that begins `in=` seconds after the first request, as an extractor's result, for
    `tests.fakes.told`.

    The rest of the query is for the broadcast itself.
    """
    after, unsaid = float(request.query.get("in", "0")), "unsaid" in request.query
    begins_at = request.app[BEGINS].setdefault(request.path_qs, time.time() + after)
    told = {"id": "announced", "title": "A broadcast"}
    if time.time() < begins_at:
        when = {} if unsaid else {"release_timestamp": begins_at}
        return web.json_response(told | when | {"live_status": "is_upcoming", "formats": []})
    query = request.rel_url.without_query_params("in", "unsaid").query_string
    link = request.url.origin().join(URL(f"/hls/broadcast/index.m3u8?{query}", encoded=True))
    stream = {"url": str(link), "protocol": "m3u8_native", "ext": "mp4", "format_id": "0"}
    return web.json_response(told | {"live_status": "is_live", "formats": [stream]})


async def parts(request: web.Request) -> web.Response:
    """Return a film in two parts, as an extractor's result, for `tests.fakes.told`."""
    link = str(request.url.origin().join(URL(f"/1mb.mp4?{request.query_string}", encoded=True)))
    entries = [
        {"id": str(at), "title": f"Part {at}", "formats": [{"format_id": "0", "url": link}]} for at in (1, 2)
    ]
    return web.json_response({"_type": "multi_video", "id": "parts", "title": "A film", "entries": entries})


async def broadcast_apart(request: web.Request) -> web.Response:
    """Send the broadcast with a separate playlist for the sound."""
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
    if request.query.get("broken"):
        text = re.sub(
            r"<Representation .*?</Representation>", _with_a_broken_one, text, count=1, flags=re.DOTALL
        )
    if "periods" in request.query:
        text = re.sub(r"<Period .*</Period>", _with_another_period, text, flags=re.DOTALL)
    passed_on = request.rel_url.without_query_params("broken", "periods").query_string
    query = f"?{passed_on}" if passed_on else ""
    text = text.replace(".m4s", f".m4s{escape(query)}")
    return web.Response(text=text, content_type=TYPES[".mpd"])


async def segment(request: web.Request) -> web.StreamResponse:
    return await deliver(request, request.app[MEDIA] / request.path.lstrip("/"))


def _with_a_broken_one(picture: re.Match[str]) -> str:
    better = re.sub(r'bandwidth="\d+"', 'bandwidth="9000000"', picture[0])
    return better.replace('id="0"', 'id="9"') + picture[0]


def _with_another_period(period: re.Match[str]) -> str:
    """Return the manifest with its period twice, the second time with another bandwidth."""
    return period[0] + re.sub(r'bandwidth="(\d+)"', r'bandwidth="1\1"', period[0])


def _adder(request: web.Request) -> Callable[[str], str]:
    """Return a function that adds the query to a link, or with `only=N` only to that of segment N.

    With `missing=N` the link of segment N leads nowhere.
    """
    missing, only = request.query.get("missing"), request.query.get("only")
    query = request.rel_url.without_query_params("missing", "only").query_string

    def add(link: str) -> str:
        if missing is not None and _is_of(link, missing):
            return f"missing-{missing}.ts"
        return f"{link}?{query}" if query and (only is None or _is_of(link, only)) else link

    return add


def _is_of(link: str, number: str) -> bool:
    return bool(re.fullmatch(rf"(.*/)?{number}\.\w+", link))


ROUTES = [
    web.get("/hls/live/index.m3u8", live_playlist),
    web.get("/hls/master/index.m3u8", master),
    web.get("/hls/ranges/index.m3u8", ranges),
    web.get("/hls/broadcast/index.m3u8", broadcast),
    web.get("/hls/broadcast/apart.m3u8", broadcast_apart),
    web.get("/told/announced", announced),
    web.get("/told/parts", parts),
    web.get("/hls/{kind:ts|fmp4|aes}/index.m3u8", playlist),
    web.get("/hls/{kind:ts|fmp4|aes|long}/{name}", segment),
    web.get("/smil", smil),
    web.get("/ism/Manifest", smooth),
    web.get("/dash/manifest.mpd", manifest),
    web.get("/dash/{name}", segment),
]
