"""The estimate of the disk space that a download needs, compared with what it really writes."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import pytest

from server.child.fetch.disk_estimate import FilmFacts, estimate_bytes
from server.core.process_request import ProcessRequest
from tests.child.test_sponsors import FILM as VIDEO_ID
from tests.child.test_sponsors import giving, segment, service
from tests.clips import SECONDS
from tests.jobs import Outcome, told, wished
from tests.shelf import Shelf

FILM = {"filesize": 1000, "ext": "mp4", "protocol": "https", "vcodec": "avc1", "acodec": "mp4a"}
PICTURE = FILM | {"acodec": "none", "filesize": None, "filesize_approx": 800}
SOUND = FILM | {"vcodec": "none", "filesize": 200, "ext": "m4a"}
HLS = FILM | {"protocol": "m3u8_native"}
WEBM = FILM | {"ext": "webm"}
CUT_IN_THE_MIDDLE, CUT_AT_THE_END = ((4.0, 6.0),), ((8.0, 10.0),)
CLIP = {"start": 2, "end": 12}


@pytest.mark.parametrize(
    ("wishes", "sections", "known", "expected"),
    [
        ({}, [[FILM]], {}, {"fetched": 1000}),
        ({"video_format": "any"}, [[FILM | {"ext": "flv"}]], {}, {"fetched": 1000}),
        ({"video_format": "mkv"}, [[FILM]], {}, {"fetched": 1000, "video": 1000}),
        ({"embed_metadata": True}, [[FILM]], {}, {"fetched": 1000, "video": 1000}),
        ({"mute": True}, [[FILM]], {}, {"fetched": 1000, "video": 1000}),
        ({"mute": True}, [[FILM | {"acodec": "none"}]], {}, {"fetched": 1000}),
        ({}, [[HLS]], {}, {"fetched": 1000, "video": 1000}),
        ({}, [[PICTURE, SOUND]], {}, {"fetched": 1000, "video": 1000}),
        ({}, [[FILM], [FILM]], {}, {"fetched": 2000, "video": 2000}),
        ({}, [[FILM], [WEBM]], {}, {"fetched": 2000, "merged": 2000, "video": 2000}),
        ({}, [[PICTURE, SOUND]] * 2, {}, {"fetched": 2000, "merged": 2000, "video": 2000}),
        ({"outputs": ["audio"], "audio_quality": 8}, [[FILM]], {}, {"fetched": 1000, "audio": 10_000}),
        (
            {"outputs": ["video", "audio"], "audio_format": "best"},
            [[PICTURE, SOUND]],
            {},
            {"fetched": 1000, "video": 1000},
        ),
        ({"outputs": ["audio"], "audio_format": "m4a"}, [[SOUND]], {}, {"fetched": 200}),
        ({"outputs": ["audio"], "audio_format": "m4a"}, [[SOUND | {"ext": "webm"}]], {}, {"audio": 200_000}),
        ({"clip": CLIP}, [[FILM]], {}, {"fetched": 1000, "video": 1000}),
        ({"clip": CLIP}, [[HLS]], {}, {"fetched": 1000, "indexed": 1000, "video": 1000}),
        ({"clip": CLIP}, [[FILM], [FILM]], {}, {"fetched": 2000, "indexed": 2000, "video": 2000}),
        ({"sponsorblock": ["sponsor"]}, [[FILM]], {}, {"fetched": 1000}),
        (
            {"sponsorblock": ["sponsor"]},
            [[FILM]],
            {"left_out": CUT_AT_THE_END},
            {"fetched": 1000, "video": 800},
        ),
        (
            {"sponsorblock": ["sponsor"]},
            [[FILM]],
            {"left_out": CUT_IN_THE_MIDDLE},
            {"fetched": 1000, "apart": 1000, "spliced": 800, "video": 800},
        ),
        (
            {"sponsorblock": ["sponsor"]},
            [[PICTURE, SOUND]],
            {"left_out": CUT_IN_THE_MIDDLE},
            {"fetched": 1000, "spliced": 800, "video": 800},
        ),
        (
            {"sponsorblock": ["sponsor"], "clip": CLIP | {"exact": True}},
            [[FILM]],
            {"left_out": CUT_IN_THE_MIDDLE},
            {"fetched": 1000, "video": 800},
        ),
        ({"split_chapters": True}, [[FILM]], {}, {"fetched": 1000}),
        ({"split_chapters": True}, [[FILM]], {"chapters": True}, {"fetched": 1000, "chapters": 1000}),
        (
            {"split_chapters": True, "outputs": ["audio"], "audio_quality": 8},
            [[FILM]],
            {"chapters": True},
            {"fetched": 1000, "audio": 10_000, "chapters": 10_000},
        ),
        ({}, [[FILM | {"filesize": None, "tbr": 8}]], {}, {"fetched": 10_000}),
        ({}, [[FILM]], {"sizes": [3000]}, {"fetched": 3000}),
    ],
)
def test_each_step_that_writes_another_copy_counts(
    wishes: dict[str, Any], sections: Any, known: dict[str, Any], expected: dict[str, int]
) -> None:
    film = FilmFacts(wished(**{"outputs": ["video"], **wishes}), sections, 10, **known)
    assert estimate_bytes(film) == sum({**_fetched(sections), **expected}.values())


@pytest.mark.parametrize("wanted", get_args(ProcessRequest.model_fields["audio_format"].annotation))
def test_every_audio_format_that_can_be_asked_for_has_a_rate(wanted: str) -> None:
    """Without a rate, encoded sound would be estimated as large as the source's sound, here 800 bytes."""
    film = FilmFacts(
        wished(outputs=["audio"], audio_format=wanted), [[PICTURE, SOUND | {"ext": "ac3"}]], 1000
    )
    assert ((estimate_bytes(film) or 0) > 1_000_000) == (wanted != "best")


def _fetched(sections: Any) -> dict[str, int]:
    sizes = [stream.get("filesize") for section in sections for stream in section]
    return {"fetched": sum(sizes)} if all(sizes) else {}


@pytest.mark.parametrize(
    "sections",
    [
        [[FILM | {"filesize": None}]],
        [[FILM | {"filesize": 10**400}]],
        [[FILM | {"filesize": None, "tbr": float("inf")}]],
        [[FILM | {"filesize": None, "tbr": float("nan")}]],
        [],
    ],
)
def test_a_film_of_unknown_size_has_no_estimate(sections: Any) -> None:
    assert estimate_bytes(FilmFacts(wished(outputs=["video"]), sections, 10)) is None


# --- what a job really writes ---

CHAPTERS = [
    {"title": "one", "start_time": 0, "end_time": 20},
    {"title": "two", "start_time": 20, "end_time": 40},
]
ABOUT = {"id": VIDEO_ID, "extractor_key": "Youtube", "title": "Film", "duration": SECONDS}
REAL: dict[str, dict[str, Any]] = {
    "fetched": {},
    "merged": {},
    "indexed": {"clip": {"start": 0, "end": 40}},
    "apart": {"sponsorblock": ["sponsor"]},
    "spliced": {"sponsorblock": ["sponsor"], "video_format": "mkv"},
    "video": {"video_format": "mkv"},
    "audio": {"outputs": ["audio"], "audio_quality": 64},
    "chapters": {"split_chapters": True},
}
"""One job for each step that writes another copy: what is asked for."""


@pytest.fixture
async def sponsors() -> AsyncIterator[str]:
    async with service(giving(segment(10, 20))) as api:
        yield api


@pytest.mark.wide
@pytest.mark.parametrize("step", REAL)
async def test_a_job_writes_no_more_than_it_has_estimated(
    step: str, shelf: Shelf, films: Path, tmp_path: Path, sponsors: str
) -> None:
    wishes = {"outputs": ["video"], "sponsorblock_api": sponsors, **REAL[step]}
    outcome = await told(tmp_path / "t", shelf, found(step, shelf, films), **wishes)
    assert outcome.last["kind"] == "produced", outcome.log
    written = sum(path.stat().st_size for path in outcome.directory.rglob("*") if path.is_file())
    assert said(outcome) == pytest.approx(written, rel=0.2), outcome.log


def found(step: str, shelf: Shelf, films: Path) -> dict[str, Any]:
    film = shelf.put("film.mp4", (films / "film.mp4").read_bytes(), "video/mp4")
    if step == "merged":
        picture = shelf.put("picture.mp4", (films / "picture.mp4").read_bytes(), "video/mp4")
        sound = shelf.put("sound.m4a", (films / "sound.m4a").read_bytes(), "audio/mp4")
        formats = [
            {"format_id": "1", "url": picture, "vcodec": "avc1", "acodec": "none", "ext": "mp4"},
            {"format_id": "2", "url": sound, "vcodec": "none", "acodec": "mp4a", "ext": "m4a"},
        ]
        return {**ABOUT, "_type": "multi_video", "entries": [{**ABOUT, "formats": formats}] * 2}
    if step == "indexed":
        url = shelf.put("film.ts", (films / "film.ts").read_bytes(), "video/mp2t")
        return {**ABOUT, "url": url, "ext": "ts"}
    return {**ABOUT, "url": film, "ext": "mp4", "chapters": CHAPTERS if step == "chapters" else []}


def said(outcome: Outcome) -> int:
    """Return the last estimate of a job; fail if an earlier one was larger."""
    told = [event["needs"] for event in outcome.events if event["kind"] == "needs"]
    assert told == sorted(told), json.dumps(told)
    return int(told[-1])
