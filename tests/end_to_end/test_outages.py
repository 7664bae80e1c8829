"""A source that cannot be reached for a while, or whose links expire: a download that has begun goes on to
its end.

The tests stand for outages of minutes with seconds: `patience` is short, too. One long test has an outage of
minutes.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web

from tests.lasting import part_of
from tests.service import Payload, Service, Services
from tests.site import SECONDS, Site, probe, sha256

IMPATIENT = {"CLIPWIRE_DOWNLOADS__RETRIES": "0", "CLIPWIRE_DOWNLOADS__PATIENCE": "2"}
ENGLISH = {"CLIPWIRE_SERVER__LANGUAGE": "en"}
MINUTES = (pytest.mark.long, pytest.mark.minutes(6))


@dataclass
class Line:
    """A connection to the site that can be cut and mended; while it is cut, nobody answers."""

    to: int
    port: int = 0
    _server: asyncio.Server | None = None
    _ends: set[asyncio.StreamWriter] = field(default_factory=set)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server
        self._server.close()
        for end in list(self._ends):
            end.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self.to)
            self._ends |= {writer, back}
            await asyncio.gather(_carry(reader, back), _carry(there, writer))


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def line(site: Site) -> AsyncIterator[Line]:
    line = Line(site.port)
    await line.mend()
    yield line
    await line.cut()


async def begun(service: Service, task_id: str) -> Payload:
    """Return the payload once bytes were downloaded."""
    while not (payload := await service.status(task_id)).get("downloaded_bytes"):
        await asyncio.sleep(0.01)
    return payload


async def outage(line: Line, seconds: float) -> None:
    await line.cut()
    await asyncio.sleep(seconds)
    await line.mend()


@pytest.mark.parametrize("seconds", [6, pytest.param(part_of(300), marks=MINUTES, id="minutes")])
@pytest.mark.parametrize(
    "path",
    ["/8mb.mp4?rate=2000000", pytest.param("/hls/ts/index.m3u8?rate=100000", marks=pytest.mark.long)],
)
async def test_an_outage_in_the_middle_is_waited_out(
    services: Services, site: Site, line: Line, tmp_path: Path, media: Path, path: str, seconds: float
) -> None:
    async with services.lend(**ENGLISH) as service:
        task = await service.submit(line.url(path), outputs=["video"])
        await begun(service, task["task_id"])
        await outage(line, seconds)
        done = await service.wait(task["task_id"], within=90)
        fetched = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
        if path.startswith("/8mb"):
            assert sha256(fetched) == sha256(media / "8mb.mp4")
            assert site.seen("/8mb.mp4")[-1].range
        assert (await probe(fetched)).duration == pytest.approx(SECONDS, abs=0.2)
        assert service.complaints() == []


@pytest.mark.long
async def test_three_faults_do_not_end_a_long_download(
    services: Services, line: Line, tmp_path: Path
) -> None:
    async with services.lend(**IMPATIENT, CLIPWIRE_DOWNLOADS__STALL_TIMEOUT="1") as service:
        task = await service.submit(line.url("/8mb.mp4?rate=1500000"), outputs=["video"])
        for _ in range(3):
            await begun(service, task["task_id"])
            await outage(line, 1.5)
        await service.wait(task["task_id"])


@pytest.mark.long
async def test_an_outage_that_lasts_too_long_fails_the_task(services: Services, line: Line) -> None:
    async with services.lend(**IMPATIENT, CLIPWIRE_DOWNLOADS__STALL_TIMEOUT="2") as service:
        task = await service.submit(line.url("/8mb.mp4?rate=2000000"), outputs=["video"])
        await begun(service, task["task_id"])
        await line.cut()
        failed = await service.wait(task["task_id"], "failed")
        assert failed["error_code"] == "connection_failed"
        assert failed["attempt"] > 2
        await line.mend()


@pytest.mark.long
async def test_a_source_that_stalls_each_time_fails_the_task_at_last(services: Services, site: Site) -> None:
    async with services.lend(**IMPATIENT, CLIPWIRE_DOWNLOADS__STALL_TIMEOUT="1") as service:
        url = site.url("/hls/ts/index.m3u8?only=2&stall=1000&ranges=no")
        task = await service.submit(url, outputs=["video"])
        failed = await service.wait(task["task_id"], "failed")
        assert failed["error_code"] == "timeout"
        assert failed["attempt"] > 2


@pytest.mark.parametrize(
    "way", ["refused", pytest.param("silent", marks=[pytest.mark.long, pytest.mark.minutes(1)])]
)
async def test_an_outage_before_the_first_byte_fails_the_task_within_a_minute(
    services: Services, site: Site, way: str
) -> None:
    url = "http://127.0.0.1:1/a.mp4" if way == "refused" else site.url("/1mb.mp4?wait=600")
    async with services.lend(**ENGLISH) as service:
        task = await service.submit(url)
        failed = await service.wait(task["task_id"], "failed", within=60)
        expected = "connection_failed" if way == "refused" else "timeout"
        assert (failed["error_code"], failed["attempt"]) == (expected, 3)


@dataclass
class Signed:
    """A page whose links expire after so many bytes each."""

    film: bytes
    quota: int
    given: dict[str, int] = field(default_factory=dict)
    pages: "itertools.count[int]" = field(default_factory=itertools.count)

    async def page(self, _request: web.Request) -> web.Response:
        token = str(next(self.pages))
        self.given[token] = 0
        tag = (
            f'<!doctype html><html><title>A film</title><video src="/film.mp4?token={token}"></video></html>'
        )
        return web.Response(text=tag, content_type="text/html")

    async def send(self, request: web.Request) -> web.StreamResponse:
        token = request.query["token"]
        left = self.quota - self.given[token]
        if left <= 0:
            raise web.HTTPForbidden
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        status, headers = 200, {"Content-Type": "video/mp4", "ETag": '"a"'}
        if start:
            status, headers["Content-Range"] = 206, f"bytes {start}-{len(self.film) - 1}/{len(self.film)}"
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(self.film) - start
        await response.prepare(request)
        piece = self.film[start : start + left]
        self.given[token] += len(piece)
        await response.write(piece)
        if len(piece) < len(self.film) - start:
            assert request.transport
            request.transport.close()
        return response


@asynccontextmanager
async def opened(signed: Signed) -> AsyncIterator[str]:
    film = web.get("/film.mp4", signed.send, allow_head=False)
    async with serving(web.get("/page", signed.page), film) as url:
        yield f"{url}/page"


@asynccontextmanager
async def serving(*routes: web.RouteDef) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.long
async def test_links_that_expire_again_and_again_are_extracted_anew(
    services: Services, media: Path, tmp_path: Path
) -> None:
    signed = Signed((media / "8mb.mp4").read_bytes(), quota=2_500_000)
    async with opened(signed) as url, services.lend(**IMPATIENT) as service:
        task = await service.submit(url, outputs=["video"])
        done = await service.wait(task["task_id"])
        assert sha256(await service.fetch(done["files"]["video"], tmp_path / "a.mp4")) == sha256(
            media / "8mb.mp4"
        )
        assert done["attempt"] == 4


@pytest.mark.long
async def test_links_that_give_no_byte_however_often_they_are_extracted_fail_the_task(
    services: Services, media: Path
) -> None:
    signed = Signed((media / "8mb.mp4").read_bytes(), quota=2_500_000)
    async with opened(signed) as url, services.lend(**IMPATIENT) as service:
        task = await service.submit(url, outputs=["video"])
        await begun(service, task["task_id"])
        signed.quota = 0
        failed = await service.wait(task["task_id"], "failed")
        assert failed["error_code"] == "http_403"


@pytest.mark.parametrize("fault", ["status=404", "status=500", "cut=5000"])
async def test_a_segment_is_retried_as_often_as_by_yt_dlp(services: Services, site: Site, fault: str) -> None:
    async with services.lend(**IMPATIENT) as service:
        url = site.url(f"/hls/ts/index.m3u8?only=2&{fault}&times=4")
        task = await service.submit(url, outputs=["video"])
        done = await service.wait(task["task_id"])
        assert done["attempt"] == 1
        assert len(site.seen("/hls/ts/2.ts")) == 5


@pytest.mark.long
async def test_a_file_that_is_refused_a_few_times_before_its_first_byte_is_fetched_in_the_end(
    service: Service, site: Site
) -> None:
    film = quote("/1mb.mp4?status=500&times=7")
    task = await service.submit(site.url(f"/page?kind=video&src={film}"), outputs=["video"])
    assert (await service.wait(task["task_id"]))["attempt"] == 3


@pytest.mark.long
async def test_a_stream_of_very_many_segments_that_each_fail_once_leaves_no_sockets_behind(
    services: Services, media: Path, tmp_path: Path
) -> None:
    """A child may have at most 512 files open."""
    pieces, body = 620, (media / "hls" / "ts" / "0.ts").read_bytes()[: 188 * 4]
    whole, asked = (media / "hls" / "ts" / "0.ts").read_bytes(), Counter[str]()

    async def playlist(_request: web.Request) -> web.Response:
        links = "".join(f"#EXTINF:0.01,\n{number}.ts\n" for number in range(pieces))
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n{links}#EXT-X-ENDLIST\n"
        return web.Response(text=text, content_type="application/vnd.apple.mpegurl")

    async def segment(request: web.Request) -> web.Response:
        asked[request.path] += 1
        if asked[request.path] == 1:
            raise web.HTTPNotFound(text="no" * 10_000)
        return web.Response(body=whole if request.path.startswith("/0.") else body, content_type="video/mp2t")

    routes = web.get("/a.m3u8", playlist), web.get("/{name}", segment)
    async with serving(*routes) as url, services.lend(**IMPATIENT) as service:
        task = await service.submit(f"{url}/a.m3u8", outputs=["video"])
        ended = await service.wait(task["task_id"], "completed", "convert", "failed", within=60)
        assert ended["attempt"] == 1
        assert len(asked) == pieces
        assert min(asked.values()) > 1  # once more, if the stream is shorter than announced
