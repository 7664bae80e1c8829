"""Films that are downloaded in chunks, like those of YouTube, from sources that do not say how large they
are.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from tests.jobs import told
from tests.shelf import Shelf


@dataclass
class Source:
    """Answers requests for ranges; the total size is left out unless `says_total`. The answer with the number
    `breaks` stops in its middle; after `last` answers the film is gone. With `changes`, each answer has
    another ETag.
    """

    film: bytes
    says_length: bool = True
    says_total: bool = False
    knows_ranges: bool = True
    knows_ends: bool = True
    changes: bool = False
    breaks: int | None = None
    last: int | None = None
    asked: list[str | None] = field(default_factory=list)
    url: str = ""

    async def give(self, request: web.Request) -> web.StreamResponse:
        wanted = request.headers.get("Range") if self.knows_ranges else None
        self.asked.append(request.headers.get("Range"))
        if self.last is not None and len(self.asked) > self.last:
            raise web.HTTPNotFound
        first, _, last = (wanted or "bytes=0-").removeprefix("bytes=").partition("-")
        data = self.film[int(first) : int(last) + 1 if last and self.knows_ends else None]
        total = len(self.film) if self.says_total else "*"
        answer = web.StreamResponse(status=206 if wanted else 200, headers={"Content-Type": "video/mp4"})
        if wanted:
            answer.headers["Content-Range"] = f"bytes {first}-{int(first) + len(data) - 1}/{total}"
        if self.changes:
            answer.headers["ETag"] = f'"{len(self.asked)}"'
        if self.says_length or wanted:
            answer.content_length = len(data)
        await answer.prepare(request)
        if len(self.asked) == self.breaks:
            await answer.write(data[: len(data) // 2])
            request.transport.abort()  # type: ignore[union-attr]
        else:
            await answer.write(data)
        return answer


@pytest.fixture
async def source(media: Path) -> AsyncIterator[Source]:
    source, app = Source((media / "1mb.mp4").read_bytes()), web.Application()
    app.add_routes([web.get("/film.mp4", source.give)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        source.url = f"http://127.0.0.1:{runner.addresses[0][1]}/film.mp4"
        yield source
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("chunk", [300_000, 10_000_000], ids=["several", "one"])
@pytest.mark.parametrize(
    ("says_length", "breaks"),
    [(True, None), (False, None), (True, 2)],
    ids=["whole", "without a length", "breaks off"],
)
async def test_a_film_comes_whole_though_nobody_says_how_many_chunks_it_has(
    source: Source, shelf: Shelf, tmp_path: Path, chunk: int, says_length: bool, breaks: int | None
) -> None:
    source.says_length, source.breaks = says_length, breaks
    found = {
        "id": "a",
        "title": "Film",
        "url": source.url,
        "ext": "mp4",
        "downloader_options": {"http_chunk_size": chunk},
    }
    outcome = await told(tmp_path / "t", shelf, found, outputs=["video"])
    assert outcome.file("video").read_bytes() == source.film
    assert source.asked[0], "it was not asked for in chunks"
    assert len(source.asked) == (2 if breaks is None else 3)


@pytest.mark.parametrize(
    "marks",
    [{"knows_ranges": False}, {"knows_ends": False}, {"changes": True}],
    ids=["knows no ranges", "knows no end of a range", "changes its ETag"],
)
async def test_what_follows_a_partial_file_is_not_taken_for_the_film(
    source: Source, shelf: Shelf, tmp_path: Path, marks: dict[str, bool]
) -> None:
    """Such a source sends more than the requested chunk."""
    source.says_total = True
    vars(source).update(marks)
    source.breaks = source.last = 1
    film = {"id": "a", "title": "Film", "url": source.url, "ext": "mp4"}
    await told(tmp_path / "t", shelf, film, outputs=["video"])
    [partial] = (tmp_path / "t").glob("*.part")
    assert 0 < partial.stat().st_size < len(source.film)
    source.breaks = source.last = None
    chunked = film | {"downloader_options": {"http_chunk_size": 200_000}}
    outcome = await told(tmp_path / "t", shelf, chunked, outputs=["video"])
    assert outcome.file("video").read_bytes() == source.film
