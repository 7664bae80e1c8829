"""The media site does what its table says: many tests rely on it."""

import asyncio
import sys
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.site import SECONDS, Site, open_site, probe
from tests.site.pages import TITLES
from tests.tools import FFMPEG


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30), auto_decompress=False) as session:
        yield session


async def get(client: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, bytes]:
    async with client.get(url, headers=headers) as answer:
        return answer.status, await answer.read()


async def test_a_file_is_served_whole_and_in_ranges_and_every_request_is_remembered(
    client: aiohttp.ClientSession, site: Site, media: Path
) -> None:
    film = (media / "1mb.mp4").read_bytes()
    assert len(film) == 1_000_000
    assert await get(client, site.url("/1mb.mp4")) == (200, film)
    assert await get(client, site.url("/1mb.mp4"), Range="bytes=999990-") == (206, film[-10:])
    assert await get(client, site.url("/1mb.mp4?ranges=no"), Range="bytes=999990-") == (200, film)
    assert (await get(client, site.url("/1mb.mp4"), Range="bytes=1000000-"))[0] == 416
    assert [seen.range for seen in site.seen("/1mb.mp4")][:2] == [None, "bytes=999990-"]


async def test_a_chunked_file_has_no_length(client: aiohttp.ClientSession, site: Site, media: Path) -> None:
    async with client.get(site.url("/video.mp4?chunked=yes")) as answer:
        assert "Content-Length" not in answer.headers
        assert await answer.read() == (media / "video.mp4").read_bytes()


async def test_a_slow_file_comes_at_its_rate(client: aiohttp.ClientSession, site: Site) -> None:
    begin = asyncio.get_running_loop().time()
    await get(client, site.url("/video.mp4?rate=800000"))
    assert asyncio.get_running_loop().time() - begin > 0.4


@pytest.mark.parametrize("query", ["cut=1000", "lie=5000"])
async def test_a_body_that_ends_early_is_noticed(
    client: aiohttp.ClientSession, site: Site, query: str
) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await get(client, site.url(f"/video.mp4?{query}"))


async def test_a_length_that_is_too_short_hides_the_rest(
    client: aiohttp.ClientSession, site: Site, media: Path
) -> None:
    film = (media / "video.mp4").read_bytes()
    assert await get(client, site.url("/video.mp4?lie=-1000")) == (200, film[:-1000])


async def test_a_stalled_answer_goes_on_when_it_is_released(
    client: aiohttp.ClientSession, site: Site, media: Path
) -> None:
    async with client.get(site.url("/video.mp4?stall=1000")) as answer:
        beginning = await answer.content.readexactly(1000)
        await site.stalled()
        site.release()
        assert beginning + await answer.read() == (media / "video.mp4").read_bytes()


async def test_faults_begin_and_end_as_asked(client: aiohttp.ClientSession, site: Site) -> None:
    url = site.url("/video.mp4?status=503&after=1&times=2&retry_after=7")
    assert [(await get(client, url))[0] for _ in range(4)] == [200, 503, 503, 200]
    async with client.get(site.url("/video.mp4?status=429&retry_after=7")) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")


async def test_a_misspelt_wish_is_refused(client: aiohttp.ClientSession, site: Site) -> None:
    assert (await get(client, site.url("/video.mp4?stal=5")))[0] == 400


async def test_the_site_can_listen_on_two_addresses(client: aiohttp.ClientSession, media: Path) -> None:
    async with open_site(media, 0, "127.0.0.1", "127.0.0.2") as site:
        assert (await get(client, site.url("/video.mp4", "127.0.0.2")))[0] == 200


async def test_the_bomb_is_small_until_it_is_unpacked(client: aiohttp.ClientSession, site: Site) -> None:
    _, packed = await get(client, site.url("/bomb?mib=8"))
    assert len(packed) < 16_000
    assert len(zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(packed)) == 8 << 20


async def test_the_endless_are_endless(client: aiohttp.ClientSession, site: Site) -> None:
    async with client.get(site.url("/endless.mp4")) as answer:
        assert len(await answer.content.readexactly(200_000)) == 200_000
    with pytest.raises(aiohttp.TooManyRedirects):
        await get(client, site.url("/redirect/endless"))


async def test_a_live_playlist_has_no_end_and_its_segments_are_there(
    client: aiohttp.ClientSession, site: Site
) -> None:
    url = site.url("/hls/live/index.m3u8")
    _, playlist = await get(client, url)
    assert b"ENDLIST" not in playlist
    last = playlist.decode().splitlines()[-1]
    assert (await get(client, site.url("/hls/live/" + last)))[0] == 200


async def test_a_missing_segment_is_missing(client: aiohttp.ClientSession, site: Site) -> None:
    _, playlist = await get(client, site.url("/hls/ts/index.m3u8?missing=2&rate=900000"))
    links = [line for line in playlist.decode().splitlines() if not line.startswith("#")]
    assert links[2] == "missing-2.ts"
    assert links[3] == "3.ts?rate=900000"
    assert (await get(client, site.url("/hls/ts/missing-2.ts")))[0] == 404


async def test_odd_titles_stand_in_the_page_as_data(client: aiohttp.ClientSession, site: Site) -> None:
    assert len(TITLES["long"]) == 300
    _, page = await get(client, site.url("/page/markup"))
    assert b"<script>alert" not in page


@pytest.mark.long  # test_end_to_end.py and test_child_job.py test what the service makes of these files
@pytest.mark.parametrize(
    ("path", "codecs"),
    [
        ("/page", ["aac", "h264"]),
        ("/hls/ts/index.m3u8", ["aac", "h264"]),
        ("/hls/fmp4/index.m3u8", ["aac", "h264"]),
        ("/hls/aes/index.m3u8", ["aac", "h264"]),
        ("/dash/manifest.mpd", ["aac", "h264"]),
        ("/silent.mp4", ["h264"]),
        ("/audio.m4a", ["aac"]),
    ],
)
async def test_yt_dlp_gets_a_whole_film(site: Site, tmp_path: Path, path: str, codecs: list[str]) -> None:
    command = (
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "yt_dlp",
        "--quiet",
        "--ffmpeg-location",
        FFMPEG,
        "-o",
        "film.%(ext)s",
        site.url(path),
    )
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path)
    assert await process.wait() == 0
    [file] = tmp_path.iterdir()
    film = await probe(file)
    assert film.codecs == codecs
    assert film.duration == pytest.approx(SECONDS, abs=0.2)
