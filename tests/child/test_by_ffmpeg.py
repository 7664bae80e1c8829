"""Streams that yt-dlp leaves to ffmpeg: they are fetched whole or end in an error, and never from a private
address.
"""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from server.child.fetch import by_ffmpeg
from server.child.network.guard import AddressBlocked
from tests.jobs import Jobs, broken, probe, told
from tests.shelf import Shelf
from tests.site import SECONDS, Site, open_site
from tests.site import probe as look_into
from tests.site.media import KEY
from tests.tools import FFMPEG

VIDEO: dict[str, Any] = {"outputs": ["video"]}
SEGMENT = "#EXTINF:4.0,\n{}\n"


@pytest.fixture
async def inside(media: Path) -> AsyncIterator[Site]:
    """A site at an address that no download may reach."""
    async with open_site(media, 0, "127.0.0.2") as site:
        yield site


@pytest.fixture
def sealed(media: Path, tmp_path: Path) -> bytes:
    """A film in which only the samples are encrypted, as in SAMPLE-AES, with the site's key."""
    key = ["-encryption_key", KEY.hex(), "-encryption_kid", KEY.hex()]
    scheme = ["-encryption_scheme", "cenc-aes-ctr", *key]
    parts = ["-movflags", "frag_keyframe+empty_moov+default_base_moof"]
    return run(["-i", str(media / "silent.mp4"), "-c", "copy", *scheme, *parts], tmp_path / "sealed.mp4")


def run(arguments: list[str], target: Path) -> bytes:
    subprocess.run([FFMPEG, "-v", "error", "-nostdin", *arguments, str(target)], check=True)
    return target.read_bytes()


def playlist(shelf: Shelf, *segments: str, key: str = "key.bin") -> str:
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:4", "#EXT-X-PLAYLIST-TYPE:VOD"]
    lines.append(f'#EXT-X-KEY:METHOD=SAMPLE-AES,URI="{key}",IV=0x{bytes(16).hex()}')
    text = "\n".join(lines) + "\n" + "".join(map(SEGMENT.format, segments)) + "#EXT-X-ENDLIST\n"
    shelf.put("key.bin", KEY)
    return shelf.put("index.m3u8", text.encode(), "application/vnd.apple.mpegurl")


@pytest.mark.wide
async def test_sample_aes_is_fetched_and_opened(
    jobs: Jobs, shelf: Shelf, sealed: bytes, tmp_path: Path
) -> None:
    shelf.put("sealed.mp4", sealed)
    outcome = await jobs.download(tmp_path / "t", playlist(shelf, "sealed.mp4"), **VIDEO)
    film = await look_into(outcome.file("video"))
    assert film.pictures == 100
    assert film.duration == pytest.approx(SECONDS, abs=0.2)
    probe(outcome.file("video"))
    assert shelf.asked["key.bin"] == 1


async def test_an_ffmpeg_that_is_killed_is_no_fault_of_the_film(
    jobs: Jobs, shelf: Shelf, sealed: bytes, tmp_path: Path
) -> None:
    shelf.put("sealed.mp4", sealed)
    link = playlist(shelf, "sealed.mp4")
    async with jobs.begin(tmp_path / "t", link, **VIDEO, rate_limit=20_000) as job:
        hearing = asyncio.create_task(job.run())
        (await _fetching(link)).kill()
        assert broken(await hearing)[:2] == ("worker_lost", True)


async def _fetching(link: str) -> psutil.Process:
    """Wait until an ffmpeg fetches `link`; return the process."""
    while True:
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if link in process.cmdline():
                    return process
        await asyncio.sleep(0.01)


async def test_a_segment_that_is_missing_is_no_hole(
    jobs: Jobs, shelf: Shelf, sealed: bytes, tmp_path: Path
) -> None:
    shelf.put("sealed.mp4", sealed)
    outcome = await jobs.download(tmp_path / "t", playlist(shelf, "sealed.mp4", "missing.mp4"), **VIDEO)
    assert broken(outcome)[0] == "incomplete"


async def test_a_stream_that_is_refused_has_the_code_of_its_refusal(
    jobs: Jobs, shelf: Shelf, tmp_path: Path
) -> None:
    outcome = await jobs.download(tmp_path / "t", playlist(shelf, "missing.mp4"), **VIDEO)
    assert broken(outcome)[0] == "http_404"


@pytest.mark.parametrize("what", ["key", "segment"])
async def test_nothing_that_ffmpeg_fetches_leads_inside(
    jobs: Jobs, shelf: Shelf, inside: Site, sealed: bytes, tmp_path: Path, what: str
) -> None:
    shelf.put("sealed.mp4", sealed)
    hostile = inside.url("/hls/aes/key.bin", "127.0.0.2")
    url = playlist(shelf, "sealed.mp4", key=hostile) if what == "key" else playlist(shelf, hostile)
    outcome = await jobs.download(tmp_path / "t", url, **VIDEO)
    assert broken(outcome) == ("blocked_address", False, None)
    assert inside.requests == []


def film_at(link: str, **more: object) -> dict[str, Any]:
    return {"id": "a", "title": "Film", "formats": [{"format_id": "0", "url": link, "ext": "flv"}], **more}


def test_a_refusal_counts_also_where_ffmpeg_has_ended_over_it(tmp_path: Path) -> None:
    ended, server = SimpleNamespace(poll=lambda: 1), SimpleNamespace(refused=AddressBlocked("127.0.0.2"))
    with pytest.raises(AddressBlocked):
        by_ffmpeg._watch(None, ended, tmp_path / "none", {}, server)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("link", "code"),
    [
        ("rtmp://127.0.0.1/a/b", "unsupported_stream"),
        ("rtmps://127.0.0.1/a/b", "unsupported_stream"),
        ("rtmpe://127.0.0.1/a/b", "unsupported_stream"),
        ("rtsp://127.0.0.1/film", "unsupported_url"),
        ("mms://127.0.0.1/film", "unsupported_url"),
    ],
)
async def test_what_cannot_be_guarded_is_refused(shelf: Shelf, tmp_path: Path, link: str, code: str) -> None:
    outcome = await told(tmp_path / "t", shelf, film_at(link), **VIDEO)
    assert broken(outcome)[:2] == (code, False)


async def test_a_broadcast_that_cannot_be_guarded_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    result = film_at("rtmp://127.0.0.1/a/b", is_live=True)
    outcome = await told(tmp_path / "t", shelf, result, live="record", **VIDEO)
    assert broken(outcome) == ("live_unsupported", False, None)


@pytest.mark.wide
async def test_of_live_formats_one_is_chosen_that_can_be_recorded(
    shelf: Shelf, site: Site, tmp_path: Path
) -> None:
    better = {"format_id": "1", "url": site.url("/a"), "protocol": "ism", "ext": "mp4", "height": 1080}
    url = site.url("/hls/broadcast/index.m3u8?end=6")
    good = {"format_id": "0", "url": url, "protocol": "m3u8_native", "height": 180}
    result = {"id": "a", "title": "Film", "is_live": True, "formats": [good, better]}
    outcome = await told(tmp_path / "t", shelf, result, live="record", **VIDEO)
    assert (await look_into(outcome.file("video"))).codecs == ["aac", "h264"]


@pytest.mark.wide
async def test_what_a_decoder_begins_with_may_come_again(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    url = site.url("/texts/discontinuity-init.m3u8")
    outcome = await jobs.download(tmp_path / "t", url, **VIDEO)
    film = await look_into(outcome.file("video"))
    assert film.pictures == 200
    assert film.duration == pytest.approx(2 * SECONDS, abs=0.2)
    probe(outcome.file("video"))


async def test_a_decoder_that_begins_with_something_else_is_not_confused(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = site.url("/texts/discontinuity-another-init.m3u8")
    outcome = await jobs.download(tmp_path / "t", url, **VIDEO)
    assert broken(outcome) == ("unsupported_stream", False, None)
