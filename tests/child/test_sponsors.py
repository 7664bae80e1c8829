"""Sponsored parts are cut out, as far as SponsorBlock's answer is credible."""

import asyncio
import hashlib
import json
import re
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yt_dlp import YoutubeDL
from yt_dlp.postprocessor import ModifyChaptersPP, SponsorBlockPP

from server.child.extract.sponsorblock import read_spans
from tests.clips import BETWEEN_KEYS, RATE, SECONDS, numbers, shown
from tests.jobs import Outcome, told
from tests.shelf import Shelf
from tests.site import probe, sha256
from tests.subtitles import cues
from tests.tools import FFMPEG

FILM = "dQw4w9WgXcQ"
DIGITS = hashlib.sha256(FILM.encode()).hexdigest()[:4]


def segment(start: Any, end: Any, **other: Any) -> dict[str, Any]:
    return {
        "segment": [start, end],
        "category": "sponsor",
        "actionType": "skip",
        "videoDuration": SECONDS,
    } | other


def answer(*segments: Any) -> list[dict[str, Any]]:
    return [{"videoID": "another", "segments": [segment(0, 30)]}, {"videoID": FILM, "segments": [*segments]}]


# --- which segments of an answer are used ---


@pytest.mark.parametrize(
    ("said", "spans"),
    [
        ([segment(5, 10), segment(8, 12)], [(5, 10), (8, 12)]),
        ([segment(0.8, 10)], [(0, 10)]),
        ([segment(30, 39.2)], [(30, 40)]),
        ([segment(30, 99)], [(30, 40)]),
        ([segment(50, 99)], []),
        ([segment(5, 10, category="intro"), segment(5, 10, category=["sponsor"])], []),
        ([segment(5, 10, actionType="mute"), segment(0, 0), segment(10, 5), segment(-1, 5)], []),
        ([segment(5, 10, videoDuration=0), segment(5, 10, videoDuration=None)], [(5, 10), (5, 10)]),
        ([segment(5, 10, videoDuration=40.9), segment(5, 10, videoDuration=42)], [(5, 10)]),
        # The lengths differ by less than a twentieth of the cut part.
        ([segment(5, 36, videoDuration=41.4)], [(5, 36)]),
        ([segment("5", 10), segment(None, 10), segment(True, 10), segment(5, 1e300), {}, None, 7, "x"], []),
        ([segment(5, 10, videoDuration="40"), segment(5, 10, videoDuration=-1), {"segment": [5]}], []),
    ],
)
def test_of_the_answer_what_is_no_segment_of_this_film_is_passed_over(
    said: list[Any], spans: list[tuple[float, float]]
) -> None:
    assert read_spans(answer(*said), FILM, ["sponsor"], SECONDS)[0] == spans


@pytest.mark.parametrize(
    "said", [None, {}, [], "x", [7], [{"videoID": FILM}], [{"videoID": FILM, "segments": {}}]]
)
def test_an_answer_of_another_kind_has_nothing_to_cut(said: object) -> None:
    assert read_spans(said, FILM, ["sponsor"], SECONDS) == ([], 0)


@pytest.mark.parametrize("duration", [None, 0])
def test_without_a_known_length_every_version_will_do(duration: float | None) -> None:
    assert read_spans(answer(segment(5, 10, videoDuration=7)), FILM, ["sponsor"], duration)[0] == [(5, 10)]


# --- the films that come out ---

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def service(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Serve a SponsorBlock of the test; yield its address."""
    app = web.Application()
    app.add_routes([web.get(f"/api/skipSegments/{DIGITS}", handler), web.get("/{path:.*}", handler)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def freed(
    folder: Path, shelf: Shelf, films: Path, api: str, about: Mapping[str, Any] | None = None, **wishes: Any
) -> Outcome:
    """Download the film as one of YouTube, without its sponsored parts."""
    url = shelf.put("film.mp4", (films / "film.mp4").read_bytes(), "video/mp4")
    found = {
        "id": FILM,
        "extractor_key": "Youtube",
        "title": "Film",
        "duration": SECONDS,
        "url": url,
        "ext": "mp4",
    }
    wanted = {"outputs": ["video"], "sponsorblock": ["sponsor"], "sponsorblock_api": api}
    return await told(folder, shelf, {**found, **(about or {})}, **{**wanted, **wishes})


def giving(*segments: Any) -> Handler:
    async def give(request: web.Request) -> web.Response:
        assert request.path.endswith(DIGITS)
        assert request.query["service"] == "YouTube"
        assert "sponsor" in json.loads(request.query["categories"])
        assert FILM not in request.path_qs  # the request does not tell which film is watched
        return web.json_response(answer(*segments))

    return give


VTT = "WEBVTT\n\n" + "".join(f"00:{at:02}.000 --> 00:{at:02}.500\n{at}\n\n" for at in range(SECONDS))
SPONSORS = (segment(4, 10.5), segment(9, 12), segment(30, 39.5))
LEFT = 4 + 18  # seconds of the film without its sponsored parts


@pytest.mark.wide
async def test_picture_sound_subtitles_chapters_and_duration_follow_the_cut(
    shelf: Shelf, films: Path, tmp_path: Path
) -> None:
    about = {
        "subtitles": {"en": [{"ext": "vtt", "data": VTT}]},
        "chapters": [
            {"title": "one", "start_time": 0, "end_time": 20},
            {"title": "two", "start_time": 20, "end_time": 40},
        ],
    }
    wishes = {
        "outputs": ["video", "audio", "subtitles"],
        "subtitles": {"embed": True},
        "embed_metadata": True,
    }
    async with service(giving(*SPONSORS)) as api:
        outcome = await freed(tmp_path / "t", shelf, films, api, about, **wishes, audio_format="m4a")
    assert outcome.last["video_info"]["duration"] == LEFT
    film, sound = await probe(outcome.file("video")), await probe(outcome.file("audio"))
    assert film.duration == pytest.approx(LEFT, abs=0.3)
    assert sound.duration == pytest.approx(LEFT, abs=0.3)
    pictures = numbers(outcome.file("video"))
    assert set(pictures) >= set(shown(0, 4)) | set(shown(12, 30))
    assert not set(pictures) & set(shown(4.2, 12) + shown(30.2, 40))
    seen = [(0.0, "0"), (3.0, "3"), (4.0, "12"), (21.0, "29")]
    for path in (outcome.file("subtitle.en"), outcome.file("video")):
        assert set(seen) <= {(start, text) for start, _, text in cues(path)}
        assert not {"5", "11", "30", "39"} & {text for _, _, text in cues(path)}
    assert chapters_of(outcome.file("video")) == [("one", 0, 12), ("two", 12, 22)]


def joined(outcome: Outcome, *cuts: float) -> bool:
    """Return whether the frames between these times came out, and no others. Some releases of ffmpeg give the
    last frame no length, and do not show it.
    """
    pictures, wanted = numbers(outcome.file("video")), shown(*cuts[:2]) + shown(*cuts[2:])
    return pictures in (wanted, wanted[:-1])


@pytest.mark.long
async def test_an_exact_clip_is_cut_to_the_frame_there_as_well(
    shelf: Shelf, films: Path, tmp_path: Path
) -> None:
    clip = {"start": 2.5, "end": 14, "exact": True}
    async with service(giving(*SPONSORS)) as api:
        outcome = await freed(tmp_path / "t", shelf, films, api, clip=clip)
    assert joined(outcome, 2.5, 4, 12, 14)


@pytest.mark.long
@pytest.mark.parametrize("name", ["film.mkv", "picture.mp4", "sound.m4a", "sound.mkv", "film.ts"])
async def test_a_name_says_nothing_of_what_is_cut(
    shelf: Shelf, films: Path, tmp_path: Path, name: str
) -> None:
    url = shelf.put("odd", (films / name).read_bytes(), "application/octet-stream")
    async with service(giving(*SPONSORS)) as api:
        about = {"url": url, "ext": "unknown_video"}
        outcome = await freed(tmp_path / "t", shelf, films, api, about, outputs=["video", "audio"])
        exact = {"start": 2, "end": 14, "exact": True}
        clip = await freed(tmp_path / "u", shelf, films, api, about, outputs=["video", "audio"], clip=exact)
    assert outcome.last["video_info"]["duration"] == LEFT
    assert "backward in time" not in outcome.log  # ffmpeg warns so if sound from before a cut is left in
    assert clip.last["video_info"]["duration"] == 4
    if not name.startswith("sound"):
        assert joined(clip, 2, 4, 12, 14)


@pytest.mark.wide
async def test_what_is_left_of_a_clip_is_what_comes_out(shelf: Shelf, films: Path, tmp_path: Path) -> None:
    async with service(giving(*SPONSORS)) as api:
        outcome = await freed(tmp_path / "t", shelf, films, api, clip={"start": 6, "end": 14, "exact": True})
    assert numbers(outcome.file("video")) == shown(12, 14)


async def drop(_: web.Request) -> web.Response:
    raise web.HTTPInternalServerError


async def lead_away(request: web.Request) -> web.Response:
    raise web.HTTPFound(f"http://127.0.0.3:{request.url.port}/")


def saying(text: str) -> Handler:
    async def say(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="application/json")

    return say


ODD = {
    "an error": drop,
    "no JSON": saying("<html>"),
    "no numbers": saying(json.dumps(answer(segment(float("nan"), 10)))),
    "far too much": saying("[" + "1," * 3_000_000 + "1]"),
    "a deep pit": saying("[" * 100_000),
    "a way to a private address": lead_away,
}


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(odd, id=name, marks=pytest.mark.long if at > 1 else ())
        for at, (name, odd) in enumerate(ODD.items())
    ],
)
async def test_without_an_answer_the_film_comes_whole_and_the_log_says_so(
    shelf: Shelf, films: Path, tmp_path: Path, odd: Handler
) -> None:
    async with service(odd) as api:
        outcome = await freed(tmp_path / "t", shelf, films, api)
    assert sha256(outcome.file("video")) == sha256(films / "film.mp4")
    assert "WARNING: sponsorblock does not answer, and nothing is cut out" in outcome.log


@pytest.mark.long
async def test_a_sponsorblock_that_is_away_counts_as_no_answer(
    shelf: Shelf, films: Path, tmp_path: Path
) -> None:
    outcome = await freed(tmp_path / "t", shelf, films, "http://127.0.0.1:9")
    assert sha256(outcome.file("video")) == sha256(films / "film.mp4")
    assert "sponsorblock does not answer" in outcome.log


async def test_a_film_that_nobody_has_marked_comes_whole(shelf: Shelf, films: Path, tmp_path: Path) -> None:
    outcome = await freed(tmp_path / "t", shelf, films, shelf.url("")[:-1])
    assert sha256(outcome.file("video")) == sha256(films / "film.mp4")
    assert "sponsorblock: 0 segments are cut out" in outcome.log
    assert "cut" not in outcome.last["video_info"]


async def test_of_a_film_that_is_all_sponsor_nothing_is_cut(
    shelf: Shelf, films: Path, tmp_path: Path
) -> None:
    async with service(giving(segment(0, SECONDS))) as api:
        outcome = await freed(tmp_path / "t", shelf, films, api)
    assert sha256(outcome.file("video")) == sha256(films / "film.mp4")
    assert "nothing would be left" in outcome.log


async def test_sponsorblock_is_not_asked_about_other_sites(shelf: Shelf, films: Path, tmp_path: Path) -> None:
    outcome = await freed(tmp_path / "t", shelf, films, shelf.url("")[:-1], {"extractor_key": "Vimeo"})
    assert outcome.last["kind"] == "produced"
    assert not [name for name in shelf.asked if name.startswith("api/")]


async def test_the_address_of_sponsorblock_may_be_private_for_its_question_only(
    shelf: Shelf, films: Path, tmp_path: Path
) -> None:
    async with service(giving(segment(0, 10)), "127.0.0.2") as api:
        outcome = await freed(tmp_path / "t", shelf, films, api)
        assert outcome.last["video_info"]["duration"] == SECONDS - 10
        refused = await freed(tmp_path / "u", shelf, films, api, {"url": f"{api}/film.mp4"})
    assert refused.last["code"] == "blocked_address"


# --- compared with yt-dlp ---


@pytest.mark.long
@pytest.mark.parametrize("segments", [SPONSORS, (segment(0, 6.5),), (segment(33, 40), segment(10, 11))])
async def test_the_same_is_cut_out_as_by_yt_dlp(
    shelf: Shelf, films: Path, tmp_path: Path, segments: tuple[dict[str, Any], ...]
) -> None:
    async with service(giving(*segments)) as api:
        ours = await freed(tmp_path / "t", shelf, films, api, outputs=["video"])
        theirs = await asyncio.to_thread(_by_yt_dlp, tmp_path / "theirs.mp4", films, api)
    mine, other = await probe(ours.file("video")), await probe(theirs)
    assert mine.codecs == other.codecs
    # Our file may hide frames that yt-dlp's file shows.
    assert mine.duration == pytest.approx(other.duration, abs=BETWEEN_KEYS)
    assert abs(len(numbers(ours.file("video"))) - len(numbers(theirs))) <= BETWEEN_KEYS * RATE


def _by_yt_dlp(path: Path, films: Path, api: str) -> Path:
    path.write_bytes((films / "film.mp4").read_bytes())
    info: dict[str, Any] = {
        "id": FILM, "extractor_key": "Youtube", "title": "Film", "duration": SECONDS, "filepath": str(path),
        "__real_download": True,
    }  # fmt: skip
    with YoutubeDL({"quiet": True, "ffmpeg_location": FFMPEG}) as ydl:
        _, info = SponsorBlockPP(ydl, ["sponsor"], api).run(info)
        remover = ModifyChaptersPP(ydl, remove_sponsor_segments={"sponsor"})
        # The test has no ffprobe, which yt-dlp would ask.
        remover._get_real_video_duration = lambda *_, **__: float(SECONDS)
        remover.run(info)
    return path


def chapters_of(path: Path) -> list[tuple[str, int, int]]:
    said = subprocess.run(
        [FFMPEG, "-hide_banner", "-i", path], capture_output=True, text=True, check=False
    ).stderr
    found = re.findall(
        r"Chapter #0:\d+: start ([\d.]+), end ([\d.]+)\n\s+Metadata:\n\s+title\s+: (\w+)", said
    )
    return [(title, round(float(start)), round(float(end))) for start, end, title in found]
