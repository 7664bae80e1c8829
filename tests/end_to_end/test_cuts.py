"""Clips, and films without their sponsored parts, through the whole service, on one machine and on many."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.service import Payload, Told
from tests.site import SECONDS, Site, probe
from tests.site.sponsors import CUT

RATE = 25  # frames a second


@pytest.fixture(params=["sqlite", pytest.param("postgresql and s3", marks=pytest.mark.long)])
async def told(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> AsyncIterator[Told]:
    settings = {"CLIPWIRE_DOWNLOADS__SPONSORBLOCK_API": site.url("")}
    if request.param != "sqlite":
        settings["CLIPWIRE_STORAGE__DATABASE"] = request.getfixturevalue("empty_database")
        settings |= request.getfixturevalue("s3").settings("cuts")
    async with Told(tmp_path / "service", **settings) as service:
        yield service


@pytest.mark.long
async def test_what_sponsors_paid_for_is_cut_out(told: Told, site: Site, tmp_path: Path) -> None:
    task = await told.submit(
        site.url("/told/sponsored?src=/1mb.mp4"), outputs=["video"], sponsorblock=["sponsor"]
    )
    await check(told, await told.wait(task["task_id"]), SECONDS - (CUT[1] - CUT[0]), tmp_path)


async def test_a_clip_is_cut_to_the_frame(told: Told, site: Site, tmp_path: Path) -> None:
    clip = {"start": 1.2, "end": 3, "exact": True}
    task = await told.submit(site.url("/1mb.mp4"), outputs=["video"], clip=clip)
    await check(told, await told.wait(task["task_id"]), 1.8, tmp_path)


async def check(told: Told, done: Payload, seconds: float, folder: Path) -> None:
    film = await probe(await told.fetch(done["files"]["video"], folder / "video.mp4"))
    assert film.pictures == round(seconds * RATE)
    assert film.duration == pytest.approx(seconds, abs=0.1)
    assert done["video_info"]["duration"] == round(seconds)
    assert told.complaints() == []
