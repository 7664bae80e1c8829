"""Thumbnails as sources have them: a broken one is skipped, and harms nothing else."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from server.child.extract import options
from server.child.extract.failures import Trail
from server.child.extract.youtube_dl import Engine
from server.child.fetch import thumbnails
from server.child.fetch.thumbnails import PREVIEW, SMALL_PREVIEW, Thumbnails
from server.child.process.log import Log
from tests.jobs import Jobs, broken, download_job, running_jobs
from tests.site import Site
from tests.tools import FFMPEG

JPEG = b"\xff\xd8\xff\xe0" + b"what follows is no picture" * 100
GIGABYTES = 1_500_000_000


async def garbage(_request: web.Request) -> web.Response:
    return web.Response(body=JPEG)


async def empty(_request: web.Request) -> web.Response:
    return web.Response()


async def large(_request: web.Request) -> web.Response:
    return web.Response(body=b"", headers={"Content-Length": str(GIGABYTES)}, content_type="image/jpeg")


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(bytes(1 << 20))


@pytest.fixture
async def odd() -> AsyncIterator[str]:
    """A site with broken pictures; yields its address."""
    app = web.Application()
    for handler in (garbage, empty, large, endless):
        app.router.add_get(f"/{handler.__name__}.jpg", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def fetched(directory: Path, *links: str) -> str | None:
    """Fetch the best usable picture of `links`, the last of which is the best; return its format."""
    log = Log(os.open(directory.with_suffix(".log"), os.O_WRONLY | os.O_CREAT))
    directory.mkdir()
    with Engine(options.for_download(download_job(directory), log), Trail()) as engine:
        pictures = Thumbnails(engine, FFMPEG, directory, log)
        source = pictures.fetch({"thumbnails": [{"url": link} for link in links]})
        for name in (PREVIEW, SMALL_PREVIEW):
            assert (directory / name).exists() == bool(source)
        whole = pictures.make_full_size(source, directory) if source else None
    log.close()
    return whole.name if whole else None


@pytest.mark.parametrize(
    "link",
    [
        "{odd}/garbage.jpg",
        "{odd}/empty.jpg",
        "{odd}/large.jpg",
        "{odd}/endless.jpg",
        "{odd}/missing.jpg",
        "http://[::1/a.jpg",
        "http://127.0.0.1:port/a.jpg",
        "http://127.0.0.1:1/a.jpg",
        "nonsense",
        "ftp://127.0.0.1/a.jpg",
        "file:///etc/passwd",
        "data:image/jpeg;base64,AAAA",
    ],
)
async def test_of_two_pictures_the_bad_one_does_no_harm(
    site: Site, odd: str, tmp_path: Path, link: str
) -> None:
    bad, good = link.format(odd=odd), site.url("/thumbnail.png")
    assert await asyncio.to_thread(fetched, tmp_path / "a", good, bad) == "thumbnail.png"
    assert await asyncio.to_thread(fetched, tmp_path / "b", bad) is None


async def test_a_picture_is_not_waited_for(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "_TIMEOUT", 0.4)
    slow = site.url("/thumbnail.png?rate=5000")
    assert await asyncio.to_thread(fetched, tmp_path / "a", slow) is None


@pytest.fixture(scope="module")
def jobs() -> Iterator[Jobs]:
    with running_jobs() as jobs:
        yield jobs


@pytest.mark.wide
async def test_a_bad_picture_costs_the_film_nothing(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    (media / "garbage.jpg").write_bytes(JPEG)
    url = site.url("/page?thumbnail=/garbage.jpg")
    film = await jobs.download(tmp_path / "film", url, outputs=["video", "thumbnail"])
    assert film.last["files"].keys() == {"video"}
    alone = await jobs.download(tmp_path / "alone", url, outputs=["thumbnail"])
    assert broken(alone) == ("no_thumbnail", False, None)
