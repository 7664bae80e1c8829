"""Downloads behind Debian's Squid, configured as it is shipped: it tunnels to port 443 only.

So every plain HTTP request has to go through it as a request: those of yt-dlp, of a recording ffmpeg, and of
libcurl, which asks as a browser does.
"""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import Jobs, broken, told
from tests.ports import free_port
from tests.shelf import Shelf
from tests.site import Site
from tests.site import probe as look_into
from tests.tools import SQUID, without

SHIPPED = Path("/etc/squid/squid.conf")
OWN = """
http_port 127.0.0.1:{port}
pid_filename none
access_log none
cache_log /dev/null
cache_store_log none
cache_mem 1 MB
coredump_dir {folder}
shutdown_lifetime 0 seconds
"""


@pytest.fixture
async def squid(tmp_path: Path) -> AsyncIterator[str]:
    """A Squid with Debian's rules; yields its URL."""
    if SQUID is None or not SHIPPED.is_file():
        without("Squid", "apt-get install squid")
    port, replaced = free_port(), ("http_port", "coredump_dir")
    shipped = [line for line in SHIPPED.read_text().splitlines() if not line.startswith(replaced)]
    config = tmp_path / "squid.conf"
    config.write_text(OWN.format(port=port, folder=tmp_path) + "\n".join(shipped))
    process = await asyncio.create_subprocess_exec(
        *(SQUID, "-N", "-f", str(config)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(20):
            while not await answers(port):
                assert process.returncode is None, process.stderr and await process.stderr.read()
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def came_through(site: Site, path: str) -> bool:
    seen = [request for request in site.requests if request.path.startswith(path)]
    return bool(seen) and all("squid" in request.headers.get("Via", "") for request in seen)


async def test_a_download_goes_through_squid(jobs: Jobs, site: Site, squid: str, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/video.mp4"), proxy=squid)
    assert outcome.file("video").stat().st_size > 100_000
    assert came_through(site, "/video.mp4")


async def test_a_recording_goes_through_squid(jobs: Jobs, site: Site, squid: str, tmp_path: Path) -> None:
    url = site.url("/hls/broadcast/index.m3u8?end=5")
    outcome = await jobs.download(tmp_path / "t", url, proxy=squid, live="record", outputs=["video"])
    assert (await look_into(outcome.file("video"))).duration == pytest.approx(5, abs=1)
    assert came_through(site, "/hls/long/")


async def test_a_clip_that_ffmpeg_reads_goes_through_squid(
    jobs: Jobs, site: Site, squid: str, tmp_path: Path
) -> None:
    clip = {"start": 1, "end": 2, "exact": True}
    outcome = await jobs.download(tmp_path / "t", site.url("/video.mp4"), proxy=squid, clip=clip)
    assert (await look_into(outcome.file("video"))).duration == pytest.approx(1, abs=0.2)
    assert came_through(site, "/video.mp4")


async def test_a_request_as_a_browser_goes_through_squid(
    site: Site, shelf: Shelf, squid: str, media: Path, tmp_path: Path
) -> None:
    film: dict[str, Any] = {
        "id": "a",
        "title": "a",
        "url": site.url("/1mb.mp4"),
        "ext": "mp4",
        "impersonate": True,
    }
    outcome = await told(tmp_path / "t", shelf, film, proxy=squid, outputs=["video"])
    assert outcome.file("video").read_bytes() == (media / "1mb.mp4").read_bytes()
    assert came_through(site, "/1mb.mp4")
    assert "Sec-Ch-Ua" in site.seen("/1mb.mp4")[0].headers


async def test_what_it_leads_to_is_guarded_and_a_source_s_refusal_stays_one(
    site: Site, shelf: Shelf, squid: str, tmp_path: Path
) -> None:
    film = {"id": "a", "title": "a", "ext": "mp4", "impersonate": True}
    for link, code in (
        ("http://10.1.1.1/a.mp4", "blocked_address"),
        (site.url("/redirect?to=http://10.1.1.1/a.mp4"), "blocked_address"),
        (site.url("/1mb.mp4?status=403"), "http_403"),
    ):
        outcome = await told(tmp_path / code, shelf, film | {"url": link}, proxy=squid)
        assert broken(outcome)[0] == code, f"{link} {json.dumps(outcome.last)}"
