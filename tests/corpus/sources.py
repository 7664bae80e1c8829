"""The sources of the corpus: the name of each, its place on the site, and its content."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from tests.corpus.live import LASTS

PICTURES: Final = 100  # frames of the site's film, at 25 a second
SOUND: Final = 4.0  # seconds of sound in the site's film


@dataclass(frozen=True, slots=True)
class Source:
    """A source. `pictures` and `sound` are its content, if it is a film; `code` is the error in which it has
    to end.

    `cookies` is the value of the cookie that the client must send. `live`: a broadcast that is recorded.
    `secure`: behind HTTPS with an authority that only the operator knows. `sent`: a broadcast that begins
    when it is requested. `parts` are links that an extractor reports as one film. Of a `list` the first entry
    is compared.
    """

    kind: str
    path: str
    pictures: int = PICTURES
    sound: float = SOUND
    code: str | None = None
    cookies: str | None = None
    live: bool = False
    secure: bool = False
    sent: bool = False
    parts: tuple[str, ...] = ()
    list: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind}: {self.path}"


def _of(kind: str, *paths: str, **more: object) -> Iterator[Source]:
    for path in paths:
        yield replace(Source(kind, path), **more)  # type: ignore[arg-type]


def _fails(kind: str, code: str, *paths: str, **more: object) -> Iterator[Source]:
    yield from _of(kind, *paths, code=code, pictures=0, sound=0.0, **more)


def _has_a_hole(kind: str, code: str, *paths: str) -> Iterator[Source]:
    yield from _of(kind, *paths, code=code)


def _texts(*names: str) -> list[str]:
    return [f"/texts/{name}" for name in names]


def _page(link: str, **query: str) -> str:
    return "/page?" + "&".join(f"{name}={quote(value)}" for name, value in {**query, "src": link}.items())


_SOUND_ALONE: Final = {"pictures": 0}
_HALF: Final = {"pictures": 50, "sound": 2.0}
_SECOND: Final = {"pictures": 25, "sound": 1.0}
_TWICE: Final = {"pictures": 200, "sound": 8.0}


def _files() -> Iterator[Source]:
    yield from _of("file", "/video.mp4", "/1mb.mp4")
    yield from _of("file", "/silent.mp4", sound=0.0)
    yield from _of("file", "/clip.webm", **_SECOND)
    many = (
        "late.mp4",
        "fragmented.mp4",
        "film.mov",
        "film.3gp",
        "film.mkv",
        "film.flv",
        "film.ts",
        "film.m4v",
    )
    yield from _of(
        "file", *(f"/more/{name}" for name in (*many, "film.f4v", "film.avi", "film.mpg", "film.wmv"))
    )
    yield from _of(
        "file", *(f"/more/{name}" for name in ("wma.mkv", "ac3.mkv", "two-sounds.mp4", "words.mkv"))
    )
    yield from _of("file", *(f"/more/{name}" for name in ("words.mp4", "turned.mp4", "trailing.mp4")))
    yield from _of(
        "file", *(f"/more/{name}" for name in ("film.ogv", "vp8.webm", "hevc.mp4", "av1.mp4")), **_HALF
    )
    yield from _of("file", "/more/animated.gif", pictures=10, sound=0.0)
    yield from _of("sound", "/audio.m4a", "/audio.mp3", **_SOUND_ALONE)
    sounds = ("opus", "ogg", "flac", "wav", "aac", "wma", "ac3", "mp2", "aiff", "mka", "caf", "au")
    yield from _of("sound", *(f"/more/sound.{kind}" for kind in sounds), **_SOUND_ALONE)
    yield from _of("sound", "/more/alac.m4a", "/more/cover.mp3", "/more/cover.m4a", **_SOUND_ALONE)
    yield from _of("name", "/more/film", "/more/FILM.MP4", f"/more/{quote('Ein Film, ä & 100%.mp4')}")
    yield from _of(
        "name", "/more/film?type=video/mp4", "/more/film?attached=film.mp4", "/video.mp4?type=text/plain"
    )
    yield from _of(
        "name",
        "/video.mp4?type=application/octet-stream",
        "/video.mp4?type=VIDEO/MP4%3B%20q%3D1",
        "/video.mp4#t=1",
    )
    yield from _of(
        "name",
        "/video.mp4?type=video/x-unknown",
        "/video.mp4?type=application/mp4",
        "/clip.webm?type=video/mp4",
    )


def _delivery() -> Iterator[Source]:
    yield from _of(
        "delivery", "/video.mp4?ranges=no", "/video.mp4?chunked=yes", "/video.mp4?chunked=yes&ranges=no"
    )
    yield from _of("delivery", "/video.mp4?wait=1", "/1mb.mp4?rate=2000000", "/1mb.mp4?etag=yes")
    yield from _of(
        "redirect", "/redirect?to=/video.mp4", "/redirect?to=/redirect?to=/video.mp4", "/redirect?to=/page"
    )
    yield from _of("redirect", "/redirect?to=/hls/ts/index.m3u8", "/redirect?to=/dash/manifest.mpd")
    yield from _of("broken off", "/1mb.mp4?cut=300000&times=1", "/1mb.mp4?cut=300000&times=1&after=1")
    yield from _of(
        "broken off", "/1mb.mp4?cut=300000&times=3&after=1", "/1mb.mp4?cut=300000&times=1&after=1&ranges=no"
    )
    yield from _of(
        "broken off", "/1mb.mp4?cut=300000&times=1&after=1&etag=yes", "/1mb.mp4?lie=1000&times=1&after=1"
    )
    yield from _of("broken off", "/1mb.mp4?cut=300000&times=1&after=1&chunked=yes&ranges=no")
    yield from _of("busy", "/video.mp4?status=503&times=1&after=1", "/video.mp4?status=500&times=2&after=1")
    yield from _of(
        "busy", "/video.mp4?status=429&retry_after=1&times=1", "/video.mp4?status=503&retry_after=1&times=1"
    )
    yield from _of(
        "busy", "/video.mp4?status=429&retry_after=1&times=1&after=1", "/hls/ts/index.m3u8?status=503&times=1"
    )
    yield from _of(
        "expired link",
        "/ticket?to=/8mb.mp4?cut=3000000%26times=1%26after=2&good=3",
        "/ticket?to=/hls/ts/index.m3u8&good=8",
    )
    yield from _of("secure", "/video.mp4", "/hls/ts/index.m3u8", "/dash/manifest.mpd", "/page", secure=True)


def _hls() -> Iterator[Source]:
    yield from _of("HLS", "/hls/ts/index.m3u8", "/hls/fmp4/index.m3u8", "/hls/ts/index.m3u8?chunked=yes")
    yield from _of("HLS, one file", *(f"/more/hls/{name}/index.m3u8" for name in ("file", "file-fmp4")))
    yield from _of("HLS, one file", "/more/hls/file/index.m3u8?ranges=no")
    yield from _of("HLS, one file", "/hls/ranges/index.m3u8", **_SECOND)
    yield from _of(
        "HLS, AES-128",
        "/hls/aes/index.m3u8",
        "/more/hls/rekeyed/index.m3u8",
        "/more/hls/sealed-iv/index.m3u8",
    )
    yield from _of("HLS, SAMPLE-AES", "/texts/sealed.m3u8", sound=0.0)
    yield from _of("HLS, SAMPLE-AES", "/more/hls/sealed/index.m3u8")
    yield from _of("HLS, SAMPLE-AES", *_texts("sealed-sound.m3u8", "sealed-apart.m3u8"))
    yield from _of("HLS", "/more/hls/hevc/index.m3u8", **_HALF)
    yield from _of("HLS", "/more/hls/vp9/index.m3u8", **_SECOND)
    yield from _of("HLS", "/more/hls/sound/index.m3u8", "/more/hls/packed/index.m3u8", **_SOUND_ALONE)
    yield from _of("HLS", "/more/hls/silent/index.m3u8", sound=0.0)
    yield from _of("HLS, discontinuities", *_texts("discontinuity.m3u8", "discontinuity-init.m3u8"), **_TWICE)
    yield from _fails("HLS, discontinuities", "unsupported_stream", "/texts/discontinuity-another-init.m3u8")
    yield from _of("HLS, discontinuities", "/texts/discontinuity-size.m3u8", pictures=150, sound=6.0)
    yield from _of("HLS, discontinuities", "/texts/discontinuity-none.m3u8", "/texts/advertised.m3u8")
    yield from _of(
        "HLS, as written", *_texts("event.m3u8", "sequence.m3u8", "crlf.m3u8", "master-define.m3u8")
    )
    yield from _of(
        "HLS, as written",
        "/texts/event.m3u8?type=text/plain",
        "/texts/event.m3u8?type=application/octet-stream",
    )
    yield from _of(
        "HLS, qualities", "/texts/master-qualities.m3u8", "/hls/master/index.m3u8", "/texts/master-gone.m3u8"
    )
    yield from _of("HLS, separate sound", "/texts/master-apart.m3u8", "/texts/master-languages.m3u8")
    yield from _of("HLS, subtitles", "/texts/master-subtitles.m3u8")
    busy = (
        "status=503&times=1",
        "status=503&times=2&only=2",
        "cut=10000&times=1",
        "lie=500&times=1",
        "lie=-5000&times=1",
    )
    yield from _of("HLS, faults", *(f"/hls/ts/index.m3u8?{fault}" for fault in busy))
    yield from _of("HLS, faults", "/hls/ts/index.m3u8?status=429&retry_after=1&times=1&only=1")
    yield from _has_a_hole(
        "HLS, faults", "http_404", "/hls/ts/index.m3u8?missing=2", "/hls/fmp4/index.m3u8?missing=2"
    )
    yield from _has_a_hole("HLS, faults", "http_404", "/texts/master-sound-gone.m3u8")
    yield from _has_a_hole("HLS, faults", "incomplete", "/hls/aes/index.m3u8?lie=-1000&only=1")
    yield from _of("HLS, faults", "/texts/gap.m3u8", pictures=75, sound=3.0)
    yield from _fails("HLS, faults", "http_404", "/texts/key-gone.m3u8")
    yield from _fails("HLS, faults", "incomplete", "/texts/nothing.m3u8")
    yield from _fails("HLS, faults", "no_media", "/texts/key-wrong.m3u8")
    yield from _of("HLS, as written", "/texts/bom.m3u8")
    yield from _fails("HLS, faults", "drm_protected", "/texts/fairplay.m3u8")
    yield from _of("HLS, live", "/hls/broadcast/index.m3u8?end=5&step=2", live=True, pictures=125, sound=5.0)
    yield from _of("HLS, live", "/hls/broadcast/apart.m3u8?end=5&step=2", live=True, pictures=125, sound=5.0)


def _dash() -> Iterator[Source]:
    yield from _of("DASH", "/dash/manifest.mpd", "/texts/files.mpd", "/texts/languages.mpd")
    yield from _of("DASH", *(f"/more/dash/{name}/index.mpd" for name in ("numbers", "list", "qualities")))
    yield from _of("DASH", "/more/dash/webm/index.mpd", **_SECOND)
    yield from _of("DASH", "/more/dash/silent/index.mpd", "/texts/words.mpd", sound=0.0)
    yield from _of("DASH", "/texts/sound.mpd", **_SOUND_ALONE)
    yield from _of("DASH, periods", "/dash/manifest.mpd?periods=2", **_TWICE)
    yield from _of("DASH, periods", "/texts/periods-sizes.mpd", pictures=150, sound=6.0)
    faults = ("status=503&times=1", "cut=3000&times=1", "status=429&retry_after=1&times=1")
    yield from _of(
        "DASH, faults", *(f"/dash/manifest.mpd?{fault}" for fault in faults), "/dash/manifest.mpd?broken=yes"
    )
    yield from _fails("DASH, faults", "http_404", "/dash/manifest.mpd?status=404")
    yield from _fails("DASH, faults", "extraction_failed", "/more/dash/file/index.mpd")
    yield from _has_a_hole("DASH, faults", "no_media", "/dash/manifest.mpd?lie=-500&times=1")
    yield from _has_a_hole("DASH, faults", "http_404", *_texts("picture-gone.mpd", "sound-gone.mpd"))
    yield from _fails("DASH, faults", "drm_protected", "/texts/protected.mpd")
    yield from _of("DASH, live", "sent", sent=True, live=True, pictures=25 * LASTS, sound=float(LASTS))
    yield from _of("ISM", "/more/ism/Manifest", "/more/ism/Manifest?type=text/xml")
    yield from _fails("ISM", "http_404", "/ism/Manifest")
    yield from _has_a_hole("ISM", "http_404", "/more/ism/Late?type=text/xml")
    yield from _of("HDS", "/more/hds/index.f4m")


def _pages() -> Iterator[Source]:
    yield from _of(
        "page, JSON-LD",
        "/page",
        _page("/1mb.mp4"),
        _page("/hls/ts/index.m3u8"),
        "/page/emoji",
        "/page/markup",
    )
    yield from _of(
        "page, JSON-LD",
        *_texts("jsonld-graph.html", "jsonld-list.html", "jsonld-dash.html", "jsonld-broken.html"),
    )
    yield from _of("page, JSON-LD", "/texts/jsonld-audio.html", **_SOUND_ALONE)
    yield from _of("page, Open Graph", "/page?kind=og", *_texts("og-hls.html", "og-dash.html"))
    yield from _of("page, Open Graph", "/texts/og-audio.html", **_SOUND_ALONE)
    yield from _of("page, <video>", "/page?kind=video", "/page/playlist")
    yield from _of("page, <video>", "/page/playlist?first=/gone.mp4", sound=0.0)
    yield from _of(
        "page, <video>",
        *_texts(
            "video-sources.html",
            "video-hls.html",
            "video-dash.html",
            "video-captions.html",
            "video-many.html",
            "amp.html",
        ),
    )
    yield from _fails("page, <video>", "http_404", "/texts/video-relative.html")
    yield from _of("page, <video>", "/texts/audio.html", **_SOUND_ALONE)
    yield from _of(
        "page, JW Player",
        *_texts(
            "jwplayer.html",
            "jwplayer-sources.html",
            "jwplayer-hls.html",
            "jwplayer-dash.html",
            "jwplayer-captions.html",
            "jwplayer-two.html",
            "jwplayer-old.html",
            "jwplayer-loader.html",
        ),
    )
    yield from _of(
        "page, other players",
        *_texts(
            "videojs.html",
            "videojs-dash.html",
            "flowplayer.html",
            "kvs.html",
            "wordpress.html",
            "twitter-stream.html",
        ),
    )
    yield from _of("page, elsewhere", *_texts("refresh.html", "twitter-player.html"))
    frames = (
        "iframe.html",
        "iframe-film.html",
        "quoted.html",
        "embed.html",
        "jsonld-embed.html",
        "links.html",
    )
    yield from _fails("page, elsewhere", "unsupported_url", *_texts(*frames))
    yield from _of("feed", *_texts("feed.rss", "list.xspf"), list=True, **_SOUND_ALONE)
    yield from _fails("feed", "http_404", "/texts/feed-gone.rss", list=True)
    yield from _of("feed", "/texts/feed-links.rss")
    yield from _of("feed", "/smil", *_texts("film.smil", "film-dash.smil"))
    yield from _fails("feed", "no_media", "/texts/feed-empty.rss")
    yield from _of(
        "cookies",
        "/page?kind=video&renew=me&src=/video.mp4%3Flogin=me",
        "/redirect?to=/video.mp4?login=me&renew=me",
    )
    yield from _of(
        "cookies",
        "/video.mp4?login=me",
        "/hls/ts/index.m3u8?login=me",
        "/dash/manifest.mpd?login=me",
        _page("/video.mp4?login=me"),
        cookies="me",
    )
    yield from _fails("cookies", "http_403", "/video.mp4?login=you", cookies="me")
    yield from _of(
        "referer",
        *_texts("videojs-file.html", "video-referer.html"),
        _page("/video.mp4?referer=own"),
        _page("/video.mp4?referer=own", kind="og"),
        _page("/hls/ts/index.m3u8?referer=own"),
    )
    yield from _of("parts", "parts", parts=("/video.mp4", "/video.mp4"), **_TWICE)
    yield from _of("parts", "HLS parts", parts=("/hls/ts/index.m3u8", "/hls/ts/index.m3u8"), **_TWICE)
    yield from _of("parts", "DASH parts", parts=("/dash/manifest.mpd", "/dash/manifest.mpd"), **_TWICE)
    yield from _of(
        "parts", "parts of two sizes", parts=("/video.mp4", "/more/small.mp4"), pictures=150, sound=6.0
    )
    yield from _of("parts", "parts of two containers", parts=("/video.mp4", "/hls/ts/index.m3u8"), **_TWICE)
    yield from _of("parts", "one part", parts=("/video.mp4",))
    yield from _fails("parts", "http_404", "a part is gone", parts=("/video.mp4", "/gone.mp4"))


def _nothing() -> Iterator[Source]:
    for status in (401, 403, 404, 410, 451):
        yield from _fails("refused", f"http_{status}", f"/video.mp4?status={status}")
    yield from _fails(
        "refused",
        "http_404",
        "/gone.mp4",
        "/gone/index.m3u8",
        _page("/gone.mp4"),
        "/texts/gone.html",
        "/redirect?to=/gone.mp4",
    )
    yield from _fails("refused", "http_500", "/video.mp4?status=500")
    yield from _fails("refused", "http_503", "/video.mp4?status=503", "/video.mp4?status=503&after=1")
    yield from _fails("refused", "redirect_loop", "/redirect/endless")
    yield from _fails(
        "no film",
        "unsupported_url",
        "/page/blank",
        "/more/page.mp4?type=text/html",
        "/more/film.zip",
        "/more/paper.pdf",
        "/more/words.txt",
        "/more/still.png",
        "/thumbnail.jpg",
        "/texts/words.vtt",
    )
    yield from _fails("no film", "no_media", "/garbage.mp4", "/more/page.mp4")
    yield from _fails("no film", "incomplete", "/more/empty.mp4")
    yield from _has_a_hole(
        "half a film",
        "incomplete",
        "/more/half.mp4",
        "/video.mp4?lie=-100000",
        "/clip.webm?lie=-5000",
        "/video.mp4?lie=1000",
    )


SOURCES: Final = (*_files(), *_delivery(), *_hls(), *_dash(), *_pages(), *_nothing())
