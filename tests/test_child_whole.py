"""Only whole files are published: of what the source has told, nothing is missing."""

from pathlib import Path
from typing import Any

import pytest

from tests.jobs import Jobs, broken, probe
from tests.site import Site, sha256
from tests.site import probe as look_into

VIDEO: dict[str, Any] = {"outputs": ["video"], "video_format": "any"}


@pytest.mark.parametrize("name", ["clip.webm", "video.mp4"])
async def test_a_file_that_a_power_cut_has_shortened_is_fetched_to_its_end(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path, name: str
) -> None:
    first = await jobs.download(tmp_path / "t", site.url(f"/{name}"), **VIDEO)
    with first.file("video").open("r+b") as file:  # it was moved, and not yet flushed
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


async def test_a_film_shorter_than_announced_is_fetched_once_more_and_then_published(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/page?duration=60"), **VIDEO)
    assert sha256(outcome.file("video")) == sha256(media / "video.mp4")
    assert len(site.seen("/video.mp4")) == 3, "a look, and twice the film"
    assert "the source has 4.0 s, although it announces 60" in outcome.log
    assert (outcome.described["duration"], outcome.last["video_info"]["duration"]) == (60, 4)


async def test_what_has_come_is_kept_if_it_does_not_come_once_more(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    source = "/video.mp4%3Fstatus=403%26after=2"
    outcome = await jobs.download(tmp_path / "t", site.url(f"/page?duration=60&src={source}"), **VIDEO)
    assert sha256(outcome.file("video")) == sha256(media / "video.mp4")
    assert "what has come is kept" in outcome.log


async def test_a_few_frames_less_than_announced_are_nothing(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/page?duration=5"), **VIDEO)
    assert outcome.kinds[-1] == "produced"
    assert len(site.seen("/video.mp4")) == 2
