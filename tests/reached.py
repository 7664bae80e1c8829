"""Sources that take more than a plain request, for `tests.kills`: films in parts, live and announced
broadcasts, a site that answers only browsers, and streams that only ffmpeg can fetch.
"""

import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.dash import sending_dash
from tests.kills import KINDS, Kind, Rampage, rampage
from tests.service import Service
from tests.site import SECONDS, Site, open_site
from tests.site.media import KEY
from tests.tools import FFMPEG
from tests.walled import Walled, open_walled

SESSION = "s3cr3t-of-a-session"
COOKIES = f"# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\t{SESSION}\n"
_PAGE = '<html><head><title>A film</title></head><body><video src="/film.mp4"></video></body></html>'
_LENGTH = 8  # seconds of a broadcast
_ENOUGH = 150_000  # bytes of a broadcast without an end


@asynccontextmanager
async def all_kinds(folder: Path, film: Path, seed: int, *, reached: bool) -> AsyncIterator[Rampage]:
    """Yield a `Rampage` on the sources of this module if `reached`, else on those of `tests.kills`.

    `film` is the folder of the site's media.
    """
    async with AsyncExitStack() as stack:
        kinds, settings = list(KINDS), {}
        if reached:
            _seal(film)
        site = await stack.enter_async_context(open_site(film))
        if reached:
            walled = stack.enter_context(open_walled(folder))
            live = await stack.enter_async_context(sending_dash(film, folder / "live"))
            kinds, settings = (
                _kinds(site, _behind(walled, film), live),
                {"SSL_CERT_FILE": str(walled.authority)},
            )
        running = await stack.enter_async_context(
            rampage(folder / "service", site, film, seed, kinds, **settings)
        )
        await _store_cookies(running.service)
        yield running


async def _store_cookies(service: Service) -> None:
    plain = {"Content-Type": "text/plain"}
    async with service.client.put("/api/cookies/main", data=COOKIES, headers=plain) as answer:
        assert answer.status == 204


def _kinds(site: Site, page: str, live: str) -> list[Kind]:
    """Return the kinds of download on these sources.

    `{n}` gives each task its own broadcast: the site's broadcasts advance with each request. A broadcast
    stays available after its end: otherwise a task whose attempts were all killed early would find nothing to
    record.
    """
    wanted = f"end={_LENGTH}&over=7&gone=100000&n={{n}}"
    with_cookies = {"live": "record", "cookies": "main"}
    return [
        Kind(site.url("/told/parts?rate=900000"), seconds=2 * SECONDS),
        Kind(
            site.url(f"/hls/broadcast/index.m3u8?{wanted}&login={SESSION}&renew={SESSION}"),
            body=with_cookies,
            recorded=_LENGTH,
        ),
        Kind(site.url(f"/told/announced?in=3&{wanted}"), body={"live": "wait"}, recorded=_LENGTH),
        Kind(site.url("/sealed.m3u8")),
        Kind(page, same_as="video.mp4"),
        Kind(live, body={"live": "record"}, recorded=600, finish_at=_ENOUGH),
    ]


def _behind(walled: Walled, film: Path) -> str:
    walled.put("/film.mp4", (film / "video.mp4").read_bytes(), "video/mp4")
    walled.pause = 0.3
    return walled.put("/watch", _PAGE.encode(), "text/html")


def _seal(film: Path) -> None:
    """Add a film with SAMPLE-AES encryption, and its playlist: yt-dlp leaves such a playlist to ffmpeg."""
    key = ["-encryption_key", KEY.hex(), "-encryption_kid", KEY.hex()]
    scheme = ["-encryption_scheme", "cenc-aes-ctr", *key]
    parts = ["-movflags", "frag_keyframe+empty_moov+default_base_moof"]
    _run("-i", str(film / "silent.mp4"), "-c", "copy", *scheme, *parts, str(film / "sealed.mp4"))
    (film / "key.bin").write_bytes(KEY)
    lines = (
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:4",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        f'#EXT-X-KEY:METHOD=SAMPLE-AES,URI="key.bin",IV=0x{bytes(16).hex()}',
        "#EXTINF:4.0,",
        "sealed.mp4?rate=120000",
        "#EXT-X-ENDLIST",
    )
    (film / "sealed.m3u8").write_text("\n".join(lines) + "\n")


def _run(*arguments: str) -> None:
    subprocess.run([FFMPEG, "-v", "error", "-nostdin", *arguments], check=True)
