"""A download goes on where it was interrupted, though the source may have changed meanwhile."""

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from aiohttp import web
from yt_dlp import YoutubeDL
from yt_dlp.downloader.hls import HlsFD
from yt_dlp.downloader.http import HttpFD
from yt_dlp.downloader.ism import IsmFD
from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import HTTPError

from server.child.extract import options
from server.child.extract.failures import Trail
from server.child.extract.youtube_dl import Engine
from server.child.fetch import fragments, resuming
from server.child.fetch.resuming import COMPARED, Partial, SourceVersion
from server.child.media import parts
from server.child.process.log import Log
from server.child.process.progress import LARGEST_BLOCK
from tests.jobs import Jobs, Outcome, broken, download_job
from tests.site import SECONDS, Film, Site, sha256
from tests.site import probe as film_of

CUT = 5_000_000
OLD = "Sun, 01 Jan 2023 00:00:00 GMT"
NEW = "Mon, 02 Jan 2023 00:00:00 GMT"


@pytest.fixture
def film(media: Path) -> bytes:
    return (media / "8mb.mp4").read_bytes()


def another(film: bytes) -> bytes:
    """Return a film of the same length that differs after its first megabyte."""
    return film[:1_000_000] + film[1_000_000:].translate(bytes(reversed(range(256))))


@dataclass
class Shelf:
    """A site with one film at `/film.mp4`, and a page that shows it; tests change its fields.

    `hold` is the number of bytes after which an answer waits for ever. `deaf`: the site ignores If-Range.
    `part` answers requests for a range.
    """

    body: bytes
    etag: str | None = None
    modified: str | None = None
    hold: int | None = None
    deaf: bool = False
    part: Any = None
    port: int = 0
    asked: list[web.Request] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def ranges(self) -> list[str | None]:
        return [request.headers.get("Range") for request in self.asked]

    async def film(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        wanted = request.headers.get("Range") if self._is_meant(request) else None
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if wanted and self.part:
            answer: web.StreamResponse | Awaitable[web.StreamResponse] = self.part(request)
            return answer if isinstance(answer, web.StreamResponse) else await answer
        return await self._send_from(request, start)

    async def rest(self, request: web.Request) -> web.StreamResponse:
        """Answer a request for a range correctly."""
        return await self._send_from(request, int(request.headers["Range"][6:-1]))

    async def _send_from(self, request: web.Request, start: int) -> web.StreamResponse:
        if start >= len(self.body):
            raise web.HTTPRequestRangeNotSatisfiable(
                headers={"Content-Range": f"bytes */{len(self.body)}"} | self._marks()
            )
        response = web.StreamResponse(status=206 if start else 200, headers=self._marks())
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        response.content_length = len(self.body) - start
        await response.prepare(request)
        await self._send(response, self.body[start:])
        return response

    async def page(self, request: web.Request) -> web.Response:
        tag = '<!doctype html><html><title>A film</title><video src="/film.mp4"></video></html>'
        return web.Response(text=tag, content_type="text/html")

    def _is_meant(self, request: web.Request) -> bool:
        """Return whether a request's Range has to be obeyed (RFC 9110, 13.1.5)."""
        wished = request.headers.get("If-Range")
        return self.deaf or wished is None or wished in (self.etag, self.modified)

    def _marks(self) -> dict[str, str]:
        marks = {"ETag": self.etag, "Last-Modified": self.modified, "Content-Type": "video/mp4"}
        return {name: value for name, value in marks.items() if value}

    async def _send(self, response: web.StreamResponse, data: bytes) -> None:
        try:
            await response.write(data[: self.hold])
            if self.hold is not None:
                await asyncio.Event().wait()
        except ConnectionResetError:
            pass  # yt-dlp closes its first request, which only asks for the kind of the file


@asynccontextmanager
async def opened(shelf: Shelf) -> AsyncIterator[Shelf]:
    app = web.Application()
    app.add_routes([web.get("/film.mp4", shelf.film, allow_head=False), web.get("/page", shelf.page)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        shelf.port = runner.addresses[0][1]
        yield shelf
    finally:
        await runner.cleanup()


async def begin_and_kill(jobs: Jobs, shelf: Shelf, directory: Path, path: str = "/film.mp4") -> int:
    """Start a download and kill it after about `CUT` bytes; return how many it has left."""
    shelf.hold = CUT
    async with jobs.begin(directory, shelf.url(path), outputs=["video"]) as job:
        hearing = asyncio.create_task(job.run())
        while _partial(directory) < CUT - 2 * LARGEST_BLOCK:
            await asyncio.sleep(0.01)
        job.kill()
        assert (await hearing).code == -9
    shelf.hold = None
    shelf.asked.clear()
    return _partial(directory)


async def again(jobs: Jobs, shelf: Shelf, directory: Path, path: str = "/film.mp4") -> Outcome:
    return await jobs.download(directory, shelf.url(path), outputs=["video"])


def _partial(directory: Path) -> int:
    return sum(part.stat().st_size for part in directory.glob("*.part"))


def _noted_size(note: Path) -> int:
    return int(json.loads(note.read_text())["downloader"]["size"])


@pytest.mark.parametrize(
    ("path", "marks"),
    [
        ("/page", {"etag": '"a"'}),
        ("/film.mp4", {"etag": 'W/"a"'}),
        ("/film.mp4", {"modified": OLD}),
        ("/film.mp4", {"etag": '"a"', "modified": OLD}),
        ("/film.mp4", {}),
    ],
)
async def test_a_download_of_an_unchanged_source_goes_on(
    jobs: Jobs, film: bytes, tmp_path: Path, path: str, marks: dict[str, str]
) -> None:
    async with opened(Shelf(film, **marks)) as shelf:  # type: ignore[arg-type]
        left = await begin_and_kill(jobs, shelf, tmp_path / "t", path)
        outcome = await again(jobs, shelf, tmp_path / "t", path)
        assert outcome.file("video").read_bytes() == film
        assert shelf.ranges[-1] == f"bytes={left}-"
        strong = marks.get("etag", "").startswith('"')
        expected = marks["etag"] if strong else marks.get("modified")
        assert shelf.asked[-1].headers.get("If-Range") == expected
        assert {path.suffix for path in (tmp_path / "t").iterdir()} <= {
            "",
            ".json",
            ".moved",
            ".source",
            ".whole",
        }


@pytest.mark.parametrize(
    "is_known", [True, False], ids=["and says how long it is", "and does not say how long it is"]
)
async def test_a_file_that_has_come_whole_is_kept_if_its_source_knows_no_parts(
    jobs: Jobs, film: bytes, tmp_path: Path, is_known: bool
) -> None:
    """The child was killed after the last byte, and before it renamed the file."""

    async def whole(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "video/mp4"})
        response.content_length = len(film) if is_known else None
        await response.prepare(request)
        await response.write(film)
        return response

    async with opened(Shelf(film)) as shelf:
        await begin_and_kill(jobs, shelf, tmp_path / "t")
        [partial] = (tmp_path / "t").glob("*.part")
        partial.write_bytes(film)
        shelf.part = whole
        outcome = await again(jobs, shelf, tmp_path / "t")
        assert outcome.file("video").read_bytes() == film
        assert len(shelf.ranges) == 2


@pytest.mark.parametrize(
    "deaf",
    [
        pytest.param(False, id="knows If-Range", marks=pytest.mark.long),
        pytest.param(True, id="does not know If-Range"),
    ],
)
@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("/page", {"etag": '"a"'}, {"etag": '"b"'}),
        ("/film.mp4", {"etag": '"a"', "modified": OLD}, {"etag": '"b"', "modified": OLD}),
        ("/film.mp4", {"etag": 'W/"a"'}, {"etag": 'W/"b"'}),
        ("/film.mp4", {"modified": OLD}, {"modified": NEW}),
        ("/film.mp4", {"etag": '"a"'}, {}),
        ("/film.mp4", {}, {"body": bytes(20)}),
    ],
)
async def test_a_source_that_has_become_another_is_fetched_from_its_beginning(
    jobs: Jobs,
    film: bytes,
    tmp_path: Path,
    path: str,
    before: dict[str, Any],
    after: dict[str, Any],
    deaf: bool,
) -> None:
    async with opened(Shelf(film, **before, deaf=deaf)) as shelf:
        await begin_and_kill(jobs, shelf, tmp_path / "t", path)
        shelf.body = another(film) + after.get("body", b"")
        shelf.etag, shelf.modified = after.get("etag"), after.get("modified")
        outcome = await again(jobs, shelf, tmp_path / "t", path)
        assert outcome.file("video").read_bytes() == shelf.body


async def test_a_source_that_has_shrunk_is_fetched_from_its_beginning(
    jobs: Jobs, media: Path, film: bytes, tmp_path: Path
) -> None:
    async with opened(Shelf(film)) as shelf:
        left = await begin_and_kill(jobs, shelf, tmp_path / "t")
        shelf.body = (media / "1mb.mp4").read_bytes()
        outcome = await again(jobs, shelf, tmp_path / "t")
        assert outcome.file("video").read_bytes() == shelf.body
        assert shelf.ranges[-2:] == [f"bytes={left}-", None]


def empty(request: web.Request) -> web.Response:
    """Answer with the right range and total, but without a byte."""
    start = request.headers["Range"].removeprefix("bytes=").rstrip("-")
    headers = {"Content-Range": f"bytes {start}-7999999/8000000", "Content-Type": "video/mp4"}
    return web.Response(status=206, headers=headers)


def elsewhere(request: web.Request) -> web.Response:
    headers = {"Content-Range": "bytes 0-99/8000000", "Content-Type": "video/mp4"}
    return web.Response(status=206, headers=headers, body=bytes(100))


def unsatisfiable(request: web.Request) -> web.Response:
    return web.Response(status=416)


@pytest.mark.parametrize("part", [empty, elsewhere, unsatisfiable])
async def test_an_odd_answer_costs_nothing_of_what_is_there(
    jobs: Jobs, film: bytes, tmp_path: Path, part: Any
) -> None:
    async with opened(Shelf(film)) as shelf:
        left = await begin_and_kill(jobs, shelf, tmp_path / "t")
        answers = iter([part] * 3)
        shelf.part = lambda request: next(answers, shelf.rest)(request)
        outcome = await again(jobs, shelf, tmp_path / "t")
        assert outcome.file("video").read_bytes() == film
        assert shelf.ranges[-4:] == [f"bytes={left}-"] * 4


@pytest.mark.long
@pytest.mark.parametrize("part", [empty, elsewhere, unsatisfiable])
async def test_of_a_source_that_knows_no_parts_all_is_fetched_and_the_rest_is_kept(
    jobs: Jobs, film: bytes, tmp_path: Path, part: Any
) -> None:
    directory = tmp_path / "t"
    async with opened(Shelf(film)) as shelf:
        left = await begin_and_kill(jobs, shelf, directory)
        shelf.part, shelf.hold = part, CUT - 1_000_000
        async with (
            jobs.begin(directory, shelf.url("/film.mp4"), outputs=["video"]) as job,
        ):
            hearing = asyncio.create_task(job.run())
            while shelf.ranges[-2:] != [f"bytes={left}-", None]:
                await asyncio.sleep(0.01)
            job.kill()  # killed while the source repeats bytes that are there already
            await hearing
        assert _partial(directory) == left
        shelf.hold = None
        assert (await again(jobs, shelf, directory)).file("video").read_bytes() == film


async def test_a_page_in_place_of_what_is_missing_costs_nothing_of_what_is_there(
    jobs: Jobs, film: bytes, tmp_path: Path
) -> None:
    async with opened(Shelf(film)) as shelf:
        left = await begin_and_kill(jobs, shelf, tmp_path / "t")
        shelf.part = shelf.page
        assert broken(await again(jobs, shelf, tmp_path / "t")) == ("incomplete", False, None)
        assert _partial(tmp_path / "t") == left
        shelf.part = None
        assert (await again(jobs, shelf, tmp_path / "t")).file("video").read_bytes() == film


async def test_what_comes_behind_the_end_of_a_film_is_none_of_it(
    jobs: Jobs, film: bytes, tmp_path: Path
) -> None:
    def longer(request: web.Request) -> web.Response:
        start = int(request.headers["Range"][6:-1])
        told = {"Content-Range": f"bytes {start}-{len(film) - 1}/{len(film)}"}
        return web.Response(status=206, headers=told, body=film[start:] + bytes(5000))

    async with opened(Shelf(film)) as shelf:
        await begin_and_kill(jobs, shelf, tmp_path / "t")
        shelf.part = longer
        assert (await again(jobs, shelf, tmp_path / "t")).file("video").read_bytes() == film


async def test_a_whole_film_that_is_called_the_missing_part_is_not_appended(
    jobs: Jobs, film: bytes, tmp_path: Path
) -> None:
    def whole(request: web.Request) -> web.Response:
        start = int(request.headers["Range"][6:-1])
        told = {"Content-Range": f"bytes {start}-{len(film) - 1}/{len(film)}"}
        return web.Response(status=206, headers=told, body=film)

    async with opened(Shelf(film)) as shelf:
        left = await begin_and_kill(jobs, shelf, tmp_path / "t")
        shelf.part = whole
        assert (await again(jobs, shelf, tmp_path / "t")).file("video").read_bytes() == film
        assert shelf.ranges[-1] == f"bytes={left}-"  # it was not requested again after that


@pytest.mark.parametrize("block", [1_000_000, COMPARED // 2])
async def test_a_server_that_sends_whole_blocks_is_gone_on_with(
    jobs: Jobs, film: bytes, tmp_path: Path, block: int
) -> None:
    def blocks(request: web.Request) -> web.Response:
        start = int(request.headers["Range"][6:-1]) // block * block
        told = {"Content-Range": f"bytes {start}-{len(film) - 1}/{len(film)}"}
        return web.Response(status=206, headers=told, body=film[start:])

    async with opened(Shelf(film)) as shelf:
        left = await begin_and_kill(jobs, shelf, tmp_path / "t")
        assert left % block
        shelf.part = blocks
        assert (await again(jobs, shelf, tmp_path / "t")).file("video").read_bytes() == film
        assert shelf.ranges[-1] == f"bytes={left}-"
    async with opened(Shelf(film)) as shelf:
        await begin_and_kill(jobs, shelf, tmp_path / "u")
        film = shelf.body = another(film)
        shelf.part = blocks
        assert (await again(jobs, shelf, tmp_path / "u")).file("video").read_bytes() == film


@pytest.mark.parametrize("status", [400, 412])
async def test_a_server_that_takes_no_condition_is_known_by_its_bytes(
    jobs: Jobs, film: bytes, tmp_path: Path, status: int
) -> None:
    async with opened(Shelf(film, etag='"a"')) as shelf:
        await begin_and_kill(jobs, shelf, tmp_path / "t")
        shelf.part = lambda request: (
            web.Response(status=status) if "If-Range" in request.headers else shelf.rest(request)
        )
        assert (await again(jobs, shelf, tmp_path / "t")).file("video").read_bytes() == film


async def test_a_source_that_sends_less_than_is_asked_for_is_asked_for_the_rest(
    jobs: Jobs, film: bytes, tmp_path: Path
) -> None:
    def some(request: web.Request) -> web.Response:
        start = int(request.headers["Range"][6:-1])
        piece = film[start : start + 2_000_000]
        told = {"Content-Range": f"bytes {start}-{start + len(piece) - 1}/{len(film)}"}
        return web.Response(status=206, headers=told, body=piece)

    async with opened(Shelf(film)) as shelf:
        left = await begin_and_kill(jobs, shelf, tmp_path / "t")
        shelf.part = some
        assert (await again(jobs, shelf, tmp_path / "t")).file("video").read_bytes() == film
        assert shelf.ranges[-2:] == [f"bytes={left}-", f"bytes={left + 2_000_000}-"]


@pytest.mark.parametrize(
    ("said", "wanted", "means"),
    [
        ({"Content-Length": "banana"}, None, {}),
        ({"Content-Length": "-1"}, None, {}),
        ({"Content-Length": "9, 9"}, None, {"Content-Length": "9"}),
        ({"Content-Length": "9, 8"}, None, {}),
        (
            {"Content-Length": "3", "Content-Range": "bytes 0-2/9"},
            None,
            {"Content-Length": "9", "Content-Range": "bytes 0-8/9"},
        ),
        (
            {"Content-Length": "3", "Content-Range": "bytes 2-4/9"},
            "bytes=2-6",
            {"Content-Length": "5", "Content-Range": "bytes 2-6/9"},
        ),
        (
            {"Content-Length": "3", "Content-Range": "bytes 2-4/9"},
            "bytes=2-4",
            {"Content-Length": "3", "Content-Range": "bytes 2-4/9"},
        ),
        (
            {"Content-Length": "3", "Content-Range": "bytes 2-4/*"},
            "bytes=2-",
            {"Content-Length": "3", "Content-Range": "bytes 2-4/*"},
        ),
        (
            {"Content-Length": "0", "Content-Range": "bytes 2-1/9"},
            "bytes=2-",
            {"Content-Length": "0", "Content-Range": "bytes 2-1/9"},
        ),
    ],
)
def test_what_an_answer_says_of_its_length_is_put_right(
    said: dict[str, str], wanted: str | None, means: dict[str, str]
) -> None:
    headers = Message()
    for name, value in said.items():
        headers[name] = value
    resuming.correct_lengths(headers, wanted)
    assert dict(headers) == means


async def test_a_server_whose_etags_rotate_is_known_by_its_bytes(
    jobs: Jobs, film: bytes, tmp_path: Path
) -> None:
    async with opened(Shelf(film, etag='"a"')) as shelf:
        left = await begin_and_kill(jobs, shelf, tmp_path / "t")
        shelf.etag = '"b"'
        outcome = await again(jobs, shelf, tmp_path / "t")
        assert outcome.file("video").read_bytes() == film
        assert shelf.ranges[-2:] == [f"bytes={left}-", f"bytes={left - COMPARED}-"]


@pytest.mark.long
async def test_a_source_that_breaks_off_again_and_again_is_gone_on_with_as_long_as_more_comes(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    """yt-dlp itself gives up after ten breaks."""
    outcome = await jobs.download(tmp_path / "t", site.url("/1mb.mp4?cut=70000&after=1"), outputs=["video"])
    assert sha256(outcome.file("video")) == sha256(media / "1mb.mp4")
    assert len(site.seen("/1mb.mp4")) > 12


@pytest.mark.wide
@pytest.mark.parametrize("query", ["", "?cut=20000&times=1"], ids=["whole", "broken off"])
async def test_of_all_in_answer_to_a_fragments_range_only_that_is_taken(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path, query: str
) -> None:
    url = site.url(f"/hls/ranges/index.m3u8?ranges=no{query.replace('?', '&')}")
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video"], video_format="any")
    whole = await jobs.download(tmp_path / "u", site.url("/hls/ranges/index.m3u8"), video_format="any")
    assert await film_in(outcome) == await film_in(whole)


async def film_in(outcome: Outcome) -> Film:
    return await film_of(outcome.file("video"))


def to_the_end(piece: slice, body: bytes) -> web.Response:
    """Answer with all bytes from the begin of the range: many servers ignore the end of a range."""
    told = {"Content-Range": f"bytes {piece.start}-{len(body) - 1}/{len(body)}"}
    return web.Response(status=206, headers=told, body=body[piece.start :])


def from_the_beginning(piece: slice, body: bytes) -> web.Response:
    size = piece.stop - piece.start
    told = {"Content-Range": f"bytes 0-{size - 1}/{len(body)}"}
    return web.Response(status=206, headers=told, body=body[:size])


def some_of_it(piece: slice, body: bytes) -> web.Response:
    some = body[piece][:60_000]
    told = {"Content-Range": f"bytes {piece.start}-{piece.start + len(some) - 1}/{len(body)}"}
    return web.Response(status=206, headers=told, body=some)


@pytest.mark.wide
@pytest.mark.parametrize(
    "odd", [to_the_end, some_of_it, pytest.param(from_the_beginning, marks=pytest.mark.long)]
)
async def test_of_an_odd_answer_to_a_fragments_range_that_range_is_taken(
    jobs: Jobs, media: Path, tmp_path: Path, odd: Any
) -> None:
    async with pieces(media, odd) as url:
        outcome = await jobs.download(tmp_path / "t", url, outputs=["video"], video_format="any")
    assert (await film_in(outcome)).pictures == 25 * SECONDS


async def test_a_page_in_place_of_a_fragment_is_none_of_the_film(
    jobs: Jobs, media: Path, tmp_path: Path
) -> None:
    def page(piece: slice, body: bytes) -> web.Response:
        if not piece.start:
            return web.Response(status=206, body=body[piece])
        return web.Response(
            text="<!doctype html><title>Your link has expired</title>", content_type="text/html"
        )

    async with pieces(media, page) as url:
        outcome = await jobs.download(tmp_path / "t", url, outputs=["video"])
    assert (broken(outcome), outcome.last["expired"]) == (("incomplete", False, None), True)


@asynccontextmanager
async def pieces(media: Path, answer: Any) -> AsyncIterator[str]:
    """Serve a playlist of byte ranges of one file; `answer` answers each of them."""
    segments = [(media / f"hls/ts/{number}.ts").read_bytes() for number in range(SECONDS)]
    body, begins = b"".join(segments), itertools.accumulate(map(len, segments), initial=0)
    listed = "".join(
        f"#EXTINF:1,\n#EXT-X-BYTERANGE:{len(segment)}@{begin}\nall.ts\n"
        for segment, begin in zip(segments, begins, strict=False)
    )

    async def playlist(_: web.Request) -> web.Response:
        text = f"#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-TARGETDURATION:2\n{listed}#EXT-X-ENDLIST\n"
        return web.Response(text=text, content_type="application/vnd.apple.mpegurl")

    async def file(request: web.Request) -> web.Response:
        wanted = request.http_range
        if wanted.stop is None:
            return web.Response(body=body)
        result: web.Response = answer(slice(wanted.start, wanted.stop), body)
        return result

    app = web.Application()
    app.add_routes([web.get("/index.m3u8", playlist), web.get("/all.ts", file)])
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/index.m3u8"
    finally:
        await runner.cleanup()


async def test_a_busy_source_does_not_cost_what_is_there(jobs: Jobs, film: bytes, tmp_path: Path) -> None:
    async with opened(Shelf(film)) as shelf:
        left = await begin_and_kill(jobs, shelf, tmp_path / "t")
        shelf.part = lambda _: web.Response(status=503, headers={"Retry-After": "7"})
        assert broken(await again(jobs, shelf, tmp_path / "t")) == ("http_503", True, 7)
        assert _partial(tmp_path / "t") == left


async def test_a_whole_file_that_lacks_only_its_name_is_not_fetched_again(
    jobs: Jobs, film: bytes, tmp_path: Path
) -> None:
    async with opened(Shelf(film, etag='"a"')) as shelf:
        left = await begin_and_kill(jobs, shelf, tmp_path / "t")
        with next((tmp_path / "t").glob("*.part")).open("ab") as part:
            part.write(film[left:])
        outcome = await again(jobs, shelf, tmp_path / "t")
        assert outcome.file("video").read_bytes() == film
        assert shelf.ranges[-1] == f"bytes={len(film)}-"


async def test_a_partial_file_of_an_unknown_source_is_not_trusted(
    jobs: Jobs, film: bytes, tmp_path: Path
) -> None:
    async with opened(Shelf(film)) as shelf:
        await begin_and_kill(jobs, shelf, tmp_path / "t")
        for note in (tmp_path / "t").glob("*.source"):
            note.write_text("{")
        outcome = await again(jobs, shelf, tmp_path / "t")
        assert outcome.file("video").read_bytes() == film
        assert set(shelf.ranges) == {None}


async def test_a_source_that_lies_about_its_length_is_no_trap(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    url = site.url("/8mb.mp4?lie=-100000&after=1&times=1")
    assert broken(await jobs.download(tmp_path / "t", url, outputs=["video"])) == ("incomplete", True, None)
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video"])
    assert sha256(outcome.file("video")) == sha256(media / "8mb.mp4")


@pytest.mark.wide
async def test_a_source_that_goes_on_lying_is_incomplete_each_time(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = site.url("/8mb.mp4?lie=-100000")
    for _ in range(3):
        outcome = await jobs.download(tmp_path / "t", url, outputs=["video"])
        assert broken(outcome) == ("incomplete", True, None)


@pytest.mark.wide
@pytest.mark.parametrize(("total", "again"), [(4, False), pytest.param(9, True, marks=pytest.mark.long)])
async def test_fragments_of_another_playlist_are_not_kept(
    jobs: Jobs, site: Site, tmp_path: Path, total: int, again: bool
) -> None:
    url, directory = site.url("/hls/ts/index.m3u8?rate=100000"), tmp_path / "t"
    async with jobs.begin(directory, url, outputs=["video"]) as job:
        hearing = asyncio.create_task(job.run())
        while not any(_noted_size(note) for note in directory.glob("*.ytdl")):
            await asyncio.sleep(0.01)
        job.kill()
        await hearing
    [note] = directory.glob("*.ytdl")
    note.write_text(note.read_text().replace('"total": 4', f'"total": {total}'))
    site.requests.clear()
    outcome = await jobs.download(directory, url, outputs=["video"])
    assert outcome.last["video_info"]["duration"] == SECONDS
    assert bool(site.seen("/hls/ts/0.ts")) is again


async def test_the_socket_of_a_refused_request_is_closed_at_once(site: Site, tmp_path: Path) -> None:
    """A stream of many segments may be refused many times: the garbage collector would close the sockets too
    late.
    """
    log, refused = Log(os.open(os.devnull, os.O_WRONLY)), []
    with Engine(options.for_download(download_job(tmp_path), log), Trail()) as engine:
        downloader = HttpFD(engine, {})
        requests = resuming._CheckedRequests(downloader, Partial(tmp_path / "a", tmp_path / "b"), {})

        def ask() -> None:
            with pytest.raises(HTTPError) as raised:
                requests.urlopen(Request(site.url("/1mb.mp4?status=503")))
            refused.append(raised.value)

        for _ in range(10):
            await asyncio.to_thread(ask)
        ours = psutil.Process().net_connections("tcp4")
        assert not [each for each in ours if each.raddr and each.raddr.port == site.port]
    log.close()


@pytest.mark.parametrize(
    ("kind", "first", "counted"),
    [
        pytest.param(HlsFD, 1, (4, 4), id="other threads have fetched all of them"),
        pytest.param(IsmFD, 0, (1, 2), id="a fragment is named before it is counted"),
    ],
)
def test_a_note_counts_what_is_written(
    tmp_path: Path, kind: Any, first: int, counted: tuple[int, int]
) -> None:
    """The files of the fragments are numbered from `first`; yt-dlp's own count may be ahead."""
    downloader: Any = kind(YoutubeDL(), {})
    name = str(tmp_path / "a.mp4")
    ctx: dict[str, Any] = {"filename": name, "total_frags": 4, "ad_frags": 0, "live": False}
    fragments._prepare_frag_download(downloader, ctx)
    for number, count in enumerate(counted, 1):
        fragment = tmp_path / f"a.mp4.part-Frag{first + number - 1}"
        fragment.write_bytes(b"12345")
        ctx |= {"fragment_filename_sanitized": str(fragment), "fragment_index": count}
        fragments._append_fragment(downloader, ctx, fragment.read_bytes())
        note = json.loads((tmp_path / "a.mp4.ytdl").read_text())["downloader"]
        assert (note["current_fragment"], note["size"]) == ({"index": number}, 5 * number)
    ctx["dest_stream"].close()


@pytest.mark.wide
@pytest.mark.parametrize("left", [0, 1000])
async def test_a_fragment_that_a_power_cut_has_shortened_is_fetched_to_its_end(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path, left: int
) -> None:
    """The fragment had come whole, and was not joined to the others yet."""
    directory, url = tmp_path / "t", site.url("/hls/ts/index.m3u8?only=0&stall=20000&times=1")
    async with jobs.begin(directory, url, outputs=["video"]) as job:
        hearing = asyncio.create_task(job.run())
        while not (whole := [one for one in directory.glob("*-Frag*") if one.name[-1].isdecimal()]):
            await asyncio.sleep(0.01)
        job.kill()
        await hearing
    os.truncate(whole[0], left)
    outcome = await jobs.download(directory, url, outputs=["video"])
    assert (await film_of(outcome.file("video"))).pictures == SECONDS * 25


def test_a_note_without_a_byte_of_its_fragment_is_no_beginning(tmp_path: Path) -> None:
    (tmp_path / "a.mp4.part-Frag1.source").write_text("{}")
    assert not parts.has_begun(tmp_path / "a.mp4")
    (tmp_path / "a.mp4.part-Frag1.part").write_text("{}")
    assert parts.has_begun(tmp_path / "a.mp4")


async def test_fragments_leave_no_notes(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/hls/ts/index.m3u8"), outputs=["video"])
    assert outcome.last["kind"] == "produced"
    assert not list((tmp_path / "t").glob("*Frag*"))


@pytest.mark.parametrize(
    ("kept", "answer", "same"),
    [
        (SourceVersion('"a"', OLD, 9), SourceVersion('"a"', OLD, 9), True),
        (SourceVersion('"a"', OLD, 9), SourceVersion('"a"', None, 9), True),
        (SourceVersion('"a"', OLD, 9), SourceVersion(None, OLD, None), True),
        (SourceVersion('"a"', None, 9), SourceVersion('"b"', None, 9), False),
        (SourceVersion('"a"', OLD, 9), SourceVersion('"a"', NEW, 9), False),
        (SourceVersion('"a"', None, 9), SourceVersion('"a"', None, 8), False),
        (SourceVersion('"a"', None, 9), SourceVersion(None, OLD, 9), False),
        (SourceVersion(None, None, 9), SourceVersion(None, None, 9), True),
        (SourceVersion(None, None, 9), SourceVersion(None, None, 8), False),
        (SourceVersion(None, None, None), SourceVersion('"a"', None, 8), True),
    ],
)
def test_a_source_is_known_by_its_marks_and_its_length(
    kept: SourceVersion, answer: SourceVersion, same: bool
) -> None:
    assert kept.is_continued_by(answer) is same


class Repeating(Shelf):
    """A site that answers every request with the same part of the film."""

    async def film(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        told = self._marks() | {"Content-Range": f"bytes 0-{CUT - 1}/{len(self.body)}"}
        return web.Response(status=206, headers=told, body=self.body[:CUT])


@pytest.mark.parametrize("etag", ['"one"', None])
async def test_a_source_that_repeats_itself_ends_the_attempt_at_the_second_answer(
    jobs: Jobs, film: bytes, tmp_path: Path, etag: str | None
) -> None:
    async with opened(Repeating(film, etag=etag)) as shelf:
        for _ in range(2):
            before = len(shelf.asked)
            outcome = await again(jobs, shelf, tmp_path / "t")
            assert broken(outcome) == ("incomplete", True, None)
            ranges = shelf.ranges[before:]
            told = [wanted for wanted in ranges if wanted == f"bytes={CUT}-"]
            assert len(told) <= 2
            assert len(ranges) <= 4, "with what the extractor asks for"
            assert _partial(tmp_path / "t") == CUT
