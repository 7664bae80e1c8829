"""A film whose source lacks segments: a job refuses it, unless the job accepts gaps."""

import asyncio
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.jobs import Jobs, broken
from tests.site import Site, open_site
from tests.site import probe as look_into

VIDEO: dict[str, Any] = {"outputs": ["video"]}
PICTURES = 25  # frames in a segment; the film has four segments


@pytest.mark.parametrize("path", ["/missing.m3u8", "/hls/ts/index.m3u8?status=403", "/1mb.mp4?status=404"])
async def test_a_film_that_is_missing_or_refused_altogether_gets_no_hint_of_gaps(
    jobs: Jobs, site: Site, tmp_path: Path, path: str
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(f"/page?kind=og&src={quote(path)}"))
    assert broken(outcome)[0] in ("http_404", "http_403")
    assert "hint" not in outcome.last


@pytest.mark.parametrize(
    ("path", "pictures"),
    [
        ("/hls/ts/index.m3u8?missing=2", 3 * PICTURES),
        ("/hls/ts/index.m3u8?missing=0", 3 * PICTURES),
        ("/hls/ts/index.m3u8?missing=3", 3 * PICTURES),
        ("/hls/fmp4/index.m3u8?missing=1", 3 * PICTURES),
        ("/hls/aes/index.m3u8?missing=1", 3 * PICTURES),
    ],
)
async def test_a_job_that_accepts_gaps_takes_the_segments_that_there_are(
    jobs: Jobs, site: Site, tmp_path: Path, path: str, pictures: int
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(path), outputs=["video"], accept_gaps=True)
    film = await look_into(outcome.file("video"))
    assert film.pictures == pictures
    assert "is left out: the source does not have it" in outcome.log


async def test_picture_and_sound_keep_their_times_around_a_gap(
    jobs: Jobs, media: Path, tmp_path: Path
) -> None:
    """The third second is missing in the picture, and not in the sound."""
    folder = shutil.copytree(
        media, tmp_path / "media", ignore=shutil.ignore_patterns("chunk-stream0-00003.m4s")
    )
    async with open_site(folder) as site:
        url = site.url("/dash/manifest.mpd")
        outcome = await jobs.download(tmp_path / "t", url, outputs=["video"], accept_gaps=True)
    film = await look_into(outcome.file("video"))
    assert film.pictures == 3 * PICTURES
    assert film.duration == pytest.approx(4, abs=0.2)


@pytest.mark.wide
async def test_a_gap_is_reported_although_the_child_was_killed_meanwhile(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url, wishes = site.url("/hls/ts/index.m3u8?missing=1&only=3&stall=1000"), VIDEO
    async with jobs.begin(tmp_path / "t", url, accept_gaps=True, **wishes) as job:
        running = asyncio.create_task(job.run())
        await site.stalled()
        job.kill()
        await running
    site.release()
    asked = len(site.seen("/hls/ts/missing-1.ts"))
    outcome = await jobs.download(tmp_path / "t", url, accept_gaps=True, **wishes)
    assert len(site.seen("/hls/ts/missing-1.ts")) == asked > 0, "it is not asked for again"
    hints = [event.get("hint") for event in outcome.events if event["kind"] == "described"]
    assert hints == [None, "with_gaps"]


@pytest.mark.parametrize("fault", ["status=503&retry_after=1", "status=403", "lie=1000"])
async def test_a_segment_that_only_fails_is_no_gap(
    jobs: Jobs, site: Site, tmp_path: Path, fault: str
) -> None:
    url = site.url(f"/hls/ts/index.m3u8?only=2&{fault}")
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video"], accept_gaps=True)
    assert broken(outcome)[0] in ("http_503", "http_403", "incomplete")
    assert "left out" not in outcome.log


@pytest.mark.wide
async def test_a_film_that_lacks_a_segment_says_so_and_goes_on_behind_it_once_gaps_are_accepted(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = site.url("/hls/ts/index.m3u8?missing=2")
    lacking = await jobs.download(tmp_path / "t", url, outputs=["video"])
    assert broken(lacking) == ("http_404", False, None)
    assert lacking.last["hint"] == "missing_segments"
    seen = len(site.seen("/hls/ts/0.ts"))
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video"], accept_gaps=True)
    assert (await look_into(outcome.file("video"))).pictures == 3 * PICTURES
    assert len(site.seen("/hls/ts/0.ts")) == seen, "what had come was kept"
