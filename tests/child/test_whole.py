"""Only whole files are published: a file that is shorter than its source says is fetched again or refused."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import TransportError

from server.child.fetch.one_stream import StreamFetcher
from server.child.media import parts
from server.child.process.log import Log
from tests.jobs import Jobs, broken, download_job, probe, told
from tests.shelf import Shelf
from tests.site import Site, sha256
from tests.site import probe as look_into

VIDEO: dict[str, Any] = {"outputs": ["video"], "video_format": "any"}


@pytest.mark.parametrize("name", ["clip.webm", "video.mp4"])
async def test_a_file_that_a_power_cut_has_shortened_is_fetched_to_its_end(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path, name: str
) -> None:
    first = await jobs.download(tmp_path / "t", site.url(f"/{name}"), **VIDEO)
    # As after a power cut: the file was renamed, and not flushed yet.
    with first.file("video").open("r+b") as file:
        file.truncate(20_000)
    again = await jobs.download(tmp_path / "t", site.url(f"/{name}"), **VIDEO)
    assert sha256(again.file("video")) == sha256(media / name)
    assert site.requests[-1].range == "bytes=20000-"


async def test_each_stream_is_looked_at_after_a_power_cut(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    url = site.url("/dash/manifest.mpd")
    await jobs.download(tmp_path / "t", url, **VIDEO)
    [picture, sound] = sorted((tmp_path / "t").glob("*.m[p4][4a]"), key=lambda path: -path.stat().st_size)
    for part in (picture, sound):
        with part.open("r+b") as file:
            file.truncate(part.stat().st_size // 2)
        again = await jobs.download(tmp_path / "t", url, **VIDEO)
        probe(again.file("video"))
        film = await look_into(again.file("video"))
        assert film.pictures == 100
        assert film.duration == pytest.approx(4, abs=0.2)


async def test_a_webm_that_ends_too_early_is_incomplete(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/clip.webm?lie=-5000&ranges=no"), **VIDEO)
    assert broken(outcome) == ("incomplete", True, None)


@pytest.mark.parametrize(
    ("source", "requests"),
    [
        ("/video.mp4", ["/video.mp4"] * 2),
        ("/video.mp4?chunked=1&ranges=no", ["/video.mp4"] * 2),
        ("/clip.webm", ["/clip.webm"] * 3),
        ("/clip.webm?ranges=no", ["/clip.webm"] * 3),
        ("/hls/ts/index.m3u8", ["/hls/ts/0.ts", "/hls/ts/1.ts", "/hls/ts/2.ts", "/hls/ts/3.ts"]),
    ],
)
async def test_a_page_that_overstates_the_length_does_not_make_the_film_come_twice(
    jobs: Jobs, site: Site, tmp_path: Path, source: str, requests: list[str]
) -> None:
    """The child asks for the kind of the film, for the film, and perhaps once for the byte behind its end."""
    url = site.url(f"/page?duration=60&src={quote(source)}")
    outcome = await jobs.download(tmp_path / "t", url, **VIDEO)
    seen = [request.path for request in site.requests if request.path.endswith((".mp4", ".webm", ".ts"))]
    assert sorted(seen) == requests
    assert "s are all of it: 60 s is wrong" in outcome.log
    assert outcome.described["duration"] == 60
    assert outcome.last["video_info"]["duration"] < 5


async def test_a_manifest_that_is_shorter_than_its_page_says_is_fetched_once(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/texts/overstated-dash.html"), **VIDEO)
    assert outcome.last["kind"] == "produced"
    segments = [request.path for request in site.requests if request.path.endswith(".m4s")]
    assert len(segments) == len(set(segments))


async def test_a_film_shorter_than_announced_is_fetched_once_more_where_its_source_says_nothing(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    source = quote("/clip.webm?chunked=1&ranges=no")
    outcome = await jobs.download(tmp_path / "t", site.url(f"/page?duration=60&src={source}"), **VIDEO)
    assert len(site.seen("/clip.webm")) == 4, "a look, twice the film, and a question between them"
    assert "the source has 1.01 s, although it announces 60" in outcome.log


async def test_segments_that_are_shorter_than_their_playlist_says_are_fetched_once_more(
    jobs: Jobs, site: Site, shelf: Shelf, tmp_path: Path
) -> None:
    playlist = "".join(f"#EXTINF:9,\n{site.url(f'/hls/ts/{n}.ts')}\n" for n in range(4))
    url = shelf.put("a.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n{playlist}#EXT-X-ENDLIST\n".encode())
    outcome = await jobs.download(tmp_path / "t", url, **VIDEO)
    assert outcome.last["kind"] == "produced"
    assert len(site.seen("/hls/ts/0.ts")) == 2


async def test_what_has_come_is_kept_if_it_does_not_come_once_more(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    source = quote("/clip.webm?status=403&after=2")
    outcome = await jobs.download(tmp_path / "t", site.url(f"/page?duration=60&src={source}"), **VIDEO)
    assert sha256(outcome.file("video")) == sha256(media / "clip.webm")
    assert "keeping what was fetched before" in outcome.log


def test_what_has_come_is_kept_if_there_is_no_media_in_what_comes_then(media: Path, tmp_path: Path) -> None:
    film, path = (media / "clip.webm").read_bytes(), tmp_path / "a.webm"
    engine = Sending([film, bytes(len(film))])
    fetching = StreamFetcher(engine, download_job(tmp_path), Log(os.open(os.devnull, os.O_WRONLY)))  # type: ignore[arg-type]
    part = fetching.fetch(
        {"url": "http://a.test/", "protocol": "https", "duration": 60}, path, lambda _: None
    )
    assert not engine.bodies
    assert part.path.read_bytes() == film


async def test_what_was_laid_aside_when_it_was_killed_is_kept_if_its_source_refuses_now(
    shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    film = (media / "video.mp4").read_bytes()
    result = {"id": "a", "title": "A film", "url": shelf.url("a.mp4"), "ext": "mp4", "duration": 60}
    shelf.put("a.mp4", film)
    assert (await told(tmp_path / "t", shelf, result, **VIDEO)).last["kind"] == "produced"
    [note] = (tmp_path / "t").glob("*.mp4.moved")
    part = (tmp_path / "t/out/video.mp4").rename(note.with_suffix(""))
    note.unlink()
    parts.lay_aside(part)  # as if the child had been killed while it fetched the film a second time
    outcome = await told(tmp_path / "t", shelf, result | {"url": shelf.url("gone.mp4")}, **VIDEO)
    assert "keeping what was fetched before" in outcome.log
    assert outcome.file("video").read_bytes() == film


def test_what_a_power_cut_has_shortened_is_not_what_was_laid_aside(tmp_path: Path) -> None:
    part = tmp_path / "a.mp4"
    part.write_bytes(bytes(2000))
    parts.lay_aside(part)
    assert parts.is_laid_aside(part)
    os.truncate(parts.aside_of(part), 1000)
    assert not parts.is_laid_aside(part)


class Sending:
    """Stands for the engine: each download of a stream gives the next of `bodies`."""

    def __init__(self, bodies: list[bytes]) -> None:
        self.bodies = bodies

    def dl(self, name: str, stream: dict[str, Any], **_: Any) -> tuple[bool, bool]:
        Path(name).write_bytes(self.bodies.pop(0))
        return True, True

    def urlopen(self, request: Request) -> None:
        raise TransportError


async def test_a_few_frames_less_than_announced_are_nothing(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/page?duration=5"), **VIDEO)
    assert outcome.kinds[-1] == "produced"
    assert len(site.seen("/video.mp4")) == 2


async def test_what_is_no_media_is_fetched_anew_by_the_next_attempt(
    jobs: Jobs, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    film = (media / "video.mp4").read_bytes()
    url = shelf.put("a.mp4", bytes(len(film)), "video/mp4")
    assert broken(await jobs.download(tmp_path / "t", url, **VIDEO)) == ("no_media", False, None)
    shelf.put("a.mp4", film, "video/mp4")
    outcome = await jobs.download(tmp_path / "t", url, **VIDEO)
    assert outcome.file("video").read_bytes() == film
