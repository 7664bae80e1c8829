"""Films that a source has in several parts: they become one film or an error, and never only the first
part.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.child.test_media import COPY, made
from tests.jobs import Jobs, Outcome, broken, probe, told
from tests.shelf import Shelf
from tests.site import SECONDS, Site
from tests.site import probe as look_into

VIDEO: dict[str, Any] = {"outputs": ["video"]}
H264, VP9 = ["Video: h264", "Audio: aac"], ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-c:a", "libopus"]


def series(*parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what an extractor says of a video in `parts`, each of which is its list of formats."""
    entries = [
        {"id": "a", "title": f"part {at}", "duration": SECONDS, "formats": formats}
        for at, formats in enumerate(parts)
    ]
    return {"_type": "multi_video", "id": "a", "title": "Film", "entries": entries}


def whole(url: str) -> list[dict[str, Any]]:
    return [{"format_id": "0", "url": url}]


def apart(picture: str, sound: str) -> list[dict[str, Any]]:
    return [
        {"format_id": "1", "url": picture, "vcodec": "avc1", "acodec": "none", "ext": "mp4"},
        {"format_id": "2", "url": sound, "vcodec": "none", "acodec": "mp4a", "ext": "m4a"},
    ]


async def check_is_twice_the_film(outcome: Outcome, name: str = "video.mp4") -> None:
    film = outcome.file("video")
    assert film.name == name
    report = probe(film)
    assert all(codec in report for codec in H264)
    seen = await look_into(film)
    assert seen.pictures == 200
    assert seen.duration == pytest.approx(2 * SECONDS, abs=0.2)
    said = outcome.last["video_info"]
    assert (said["title"], said["duration"]) == ("Film", 2 * SECONDS)


async def test_a_video_in_parts_comes_out_as_one_film(shelf: Shelf, media: Path, tmp_path: Path) -> None:
    film = shelf.put("a.mp4", (media / "video.mp4").read_bytes())
    await check_is_twice_the_film(
        await told(tmp_path / "t", shelf, series(whole(film), whole(film)), **VIDEO)
    )


async def test_picture_and_sound_of_each_part_are_merged_first(
    shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    picture = shelf.put("a.mp4", (media / "silent.mp4").read_bytes())
    sound = shelf.put("a.m4a", (media / "audio.m4a").read_bytes())
    parts = series(apart(picture, sound), apart(picture, sound))
    outcome = await told(tmp_path / "t", shelf, parts, audio_format="best")
    await check_is_twice_the_film(outcome)
    assert (await look_into(outcome.file("audio"))).duration == pytest.approx(2 * SECONDS, abs=0.2)


async def test_parts_in_different_containers_are_joined(shelf: Shelf, media: Path, tmp_path: Path) -> None:
    first = shelf.put("a.mp4", (media / "video.mp4").read_bytes())
    turned_round = ["-map", "0:a", "-map", "0:v", *COPY]
    second = shelf.put("b.mkv", made(media / "video.mp4", tmp_path / "b.mkv", turned_round))
    await check_is_twice_the_film(
        await told(tmp_path / "t", shelf, series(whole(first), whole(second)), **VIDEO)
    )


async def test_parts_of_different_sizes_go_where_that_is_allowed(
    shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    first = shelf.put("a.mp4", (media / "video.mp4").read_bytes())
    smaller = ["-s", "160x90", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "copy"]
    second = shelf.put("b.mp4", made(media / "video.mp4", tmp_path / "b.mp4", smaller))
    outcome = await told(tmp_path / "t", shelf, series(whole(first), whole(second)), **VIDEO)
    await check_is_twice_the_film(outcome, "video.mkv")


async def test_parts_that_cannot_be_joined_are_an_error(shelf: Shelf, media: Path, tmp_path: Path) -> None:
    first = shelf.put("a.mp4", (media / "video.mp4").read_bytes())
    second = shelf.put("b.webm", made(media / "video.mp4", tmp_path / "b.webm", ["-t", "1", *VP9]))
    outcome = await told(tmp_path / "t", shelf, series(whole(first), whole(second)), **VIDEO)
    assert broken(outcome)[:2] == ("conversion_failed", False)
    assert "sections of different codecs cannot be joined" in outcome.log


async def test_a_part_that_is_not_there_is_an_error(shelf: Shelf, media: Path, tmp_path: Path) -> None:
    first = shelf.put("a.mp4", (media / "video.mp4").read_bytes())
    outcome = await told(tmp_path / "t", shelf, series(whole(first), whole(shelf.url("b.mp4"))), **VIDEO)
    assert broken(outcome)[:2] == ("http_404", False)


async def test_a_period_that_is_protected_is_no_part_of_a_film(
    jobs: Jobs, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    manifest = (media / "dash/manifest.mpd").read_text()
    begin, end = manifest.index("<Period"), manifest.index("</MPD>")
    sealed = '<ContentProtection schemeIdUri="urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed"/><Representation'
    period = manifest[begin:end].replace('start="PT0.0S"', "")
    text = manifest[:end] + period.replace("<Representation", sealed, 1) + manifest[end:]
    url = shelf.put("film.mpd", text.encode(), "application/dash+xml")
    assert broken(await jobs.download(tmp_path / "t", url, **VIDEO))[0] == "drm_protected"


async def test_all_periods_of_a_dash_are_fetched(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/dash/manifest.mpd?periods=2"), **VIDEO)
    film = await look_into(outcome.file("video"))
    assert film.pictures == 200
    assert film.duration == pytest.approx(2 * SECONDS, abs=0.2)
    probe(outcome.file("video"))
