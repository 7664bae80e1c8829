"""Clips: which frames the file shows, and how much of the source is fetched for it."""

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from tests import clips
from tests.clips import RATE, SECONDS, ClipSite, numbers, shown, times
from tests.jobs import Jobs, Outcome, broken, probe, running_jobs, told
from tests.shelf import Shelf
from tests.subtitles import cues
from tests.tools import BUNDLED

EXACT = {"start": 10.5, "end": 13, "exact": True}
COPIED = EXACT | {"exact": False}
TOUCHED = ["5", "6"]  # the segments of two seconds that overlap the clip


@pytest.fixture
async def films_site(films: Path) -> AsyncIterator[ClipSite]:
    async with clips.open_site(films) as site:
        yield site


def seconds(report: str) -> float:
    hours, minutes, rest = re.findall(r"Duration: (\d+):(\d+):([\d.]+)", report)[0]
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


async def clipped(jobs: Jobs, folder: Path, url: str, clip: dict[str, Any], **wishes: Any) -> Outcome:
    return await jobs.download(folder / "t", url, clip=clip, **{"outputs": ["video"], **wishes})


@pytest.mark.wide
@pytest.mark.parametrize(
    "path",
    [
        "film.mp4",
        "ts/index.m3u8",
        *(
            pytest.param(path, marks=pytest.mark.long)
            for path in (
                "behind.mp4", "film.ts", "whole/film.mp4",
                "fmp4/index.m3u8", "one/index.m3u8", "aes/index.m3u8", "dash/index.mpd",
            )
        ),
    ],
)  # fmt: skip
async def test_an_exact_clip_begins_and_ends_with_the_very_picture(
    jobs: Jobs, films_site: ClipSite, tmp_path: Path, path: str
) -> None:
    outcome = await clipped(jobs, tmp_path, films_site.url(path), EXACT)
    assert numbers(outcome.file("video")) == shown(10.5, 13)
    assert {"Video: h264", "Audio: aac"} <= set(
        re.findall("(?:Video|Audio): \\w+", probe(outcome.file("video")))
    )
    assert outcome.last["video_info"]["duration"] in (2, 3)


@pytest.mark.wide
@pytest.mark.parametrize(
    ("folder", "index", "ending"),
    [
        ("ts", "index.m3u8", "ts"),
        pytest.param("fmp4", "index.m3u8", "m4s", marks=pytest.mark.long),
        pytest.param("aes", "index.m3u8", "ts", marks=pytest.mark.long),
    ],
)
async def test_of_hls_only_the_segments_that_touch_the_clip_are_fetched(
    jobs: Jobs, films_site: ClipSite, tmp_path: Path, folder: str, index: str, ending: str
) -> None:
    outcome = await clipped(jobs, tmp_path, films_site.url(f"{folder}/{index}"), COPIED)
    assert films_site.segments(folder) == [f"{number}.{ending}" for number in TOUCHED]
    assert numbers(outcome.file("video"))[0] in shown(10, 10.6)


@pytest.mark.wide
async def test_of_dash_only_the_segments_that_touch_the_clip_are_fetched_and_picture_and_sound_agree(
    jobs: Jobs, films_site: ClipSite, tmp_path: Path
) -> None:
    outcome = await clipped(jobs, tmp_path, films_site.url("dash/index.mpd"), COPIED)
    numbers_of_segments = [int(number) + 1 for number in TOUCHED]
    assert films_site.segments("dash") == [
        *(f"chunk-stream{stream}-{number:05}.m4s" for stream in (0, 1) for number in numbers_of_segments),
        *(f"init-stream{stream}.m4s" for stream in (0, 1)),
    ]
    report = probe(outcome.file("video"))
    assert "Video: h264" in report
    assert "Audio: aac" in report
    assert seconds(report) == pytest.approx(2.5, abs=0.3)


@pytest.mark.wide
async def test_of_a_plain_mp4_the_index_and_the_bytes_around_the_clip_are_fetched(
    jobs: Jobs, films: Path, films_site: ClipSite, tmp_path: Path
) -> None:
    outcome = await clipped(jobs, tmp_path, films_site.url("film.mp4"), COPIED)
    assert films_site.bytes_of("film.mp4") < (films / "film.mp4").stat().st_size / 2
    pictures = numbers(outcome.file("video"))
    # The frames from the key frame to the begin of the clip are in the file, but hidden.
    assert pictures[0] in shown(10.5, 10.6)
    assert pictures[-1] in shown(12.9, 13.1)
    hidden = numbers(outcome.file("video"), "-ignore_editlist", "1")
    assert hidden[0] == 10 * RATE
    assert outcome.last["video_info"]["cut"] is True


@pytest.mark.long
async def test_where_nothing_can_be_hidden_a_clip_begins_with_its_key_frame_and_says_so(
    jobs: Jobs, films_site: ClipSite, tmp_path: Path
) -> None:
    outcome = await clipped(jobs, tmp_path, films_site.url("film.mp4"), COPIED, video_format="mkv")
    assert numbers(outcome.file("video"))[0] == 10 * RATE
    assert outcome.last["video_info"]["duration"] == 3
    assert re.search(r"it begins at (10\.0|9\.9)\d+ s, with the key frame before its start", outcome.log)


@pytest.mark.long
async def test_without_ranges_the_whole_file_is_fetched_and_cut(
    jobs: Jobs, films_site: ClipSite, tmp_path: Path
) -> None:
    outcome = await clipped(jobs, tmp_path, films_site.url("whole/film.mp4"), COPIED)
    assert numbers(outcome.file("video"))[0] in shown(10.5, 10.6)
    assert "the whole stream is fetched" in outcome.log


@pytest.mark.wide
async def test_sound_alone_is_cut_out_of_what_has_a_picture(
    jobs: Jobs, films_site: ClipSite, tmp_path: Path
) -> None:
    url = films_site.url("film.mp4")
    outcome = await clipped(jobs, tmp_path, url, EXACT, outputs=["audio"], audio_format="wav")
    assert seconds(probe(outcome.file("audio"))) == pytest.approx(2.5, abs=0.03)


@pytest.mark.long
@pytest.mark.parametrize("name", ["mp3", "m4a", "opus", "flac", "wav"])
@pytest.mark.parametrize("exact", [False, True])
async def test_a_file_of_sound_alone_is_as_long_as_it_says(
    jobs: Jobs, films_site: ClipSite, films: Path, tmp_path: Path, name: str, exact: bool
) -> None:
    source = films / f"{tmp_path.name}.{name}"
    command = (BUNDLED, "-v", "error", "-i", films / "film.mp4", "-vn", source)
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)
    clip = {**EXACT, "exact": exact}
    url = films_site.url(source.name)
    outcome = await clipped(jobs, tmp_path, url, clip, outputs=["audio"], audio_format=name)
    assert seconds(probe(outcome.file("audio"))) == pytest.approx(2.5, abs=0.08)
    assert outcome.last["video_info"]["duration"] in (2, 3)


@pytest.mark.parametrize(
    "path",
    [
        "film.mp4",
        "ts/index.m3u8",
        pytest.param("dash/index.mpd", marks=pytest.mark.long),
        pytest.param("whole/film.mp4", marks=pytest.mark.long),
    ],
)
async def test_a_clip_behind_the_end_is_out_of_range(
    jobs: Jobs, films_site: ClipSite, tmp_path: Path, path: str
) -> None:
    clip = {"start": SECONDS + 1, "end": SECONDS + 5}
    outcome = await clipped(jobs, tmp_path, films_site.url(path), clip)
    assert broken(outcome)[:2] == ("clip_out_of_range", False)
    told = [event for event in outcome.events if event["kind"] == "described"]
    known = SECONDS if path.startswith("ts/") else 0
    assert [event["film_duration"] for event in told] == [known], "not the wish's length"
    assert not films_site.segments("ts") + films_site.segments("dash")


@pytest.mark.wide
@pytest.mark.parametrize("path", ["ts/index.m3u8", pytest.param("film.mp4", marks=pytest.mark.long)])
async def test_a_clip_that_ends_behind_the_end_ends_there(
    jobs: Jobs, films_site: ClipSite, tmp_path: Path, path: str
) -> None:
    clip = {"start": SECONDS - 1, "end": SECONDS + 5, "exact": True}
    outcome = await clipped(jobs, tmp_path, films_site.url(path), clip)
    assert numbers(outcome.file("video")) == shown(SECONDS - 1, SECONDS)
    assert re.search(r"clip: it ends with the film at (39\.9|40\.0)\d+ s, not at 45.0 s", outcome.log)


@pytest.mark.long
async def test_progress_never_falls_and_the_length_is_the_clips(
    jobs: Jobs, films_site: ClipSite, tmp_path: Path
) -> None:
    outcome = await clipped(jobs, tmp_path, films_site.url("dash/index.mpd"), COPIED)
    told = [event["progress"] for event in outcome.events if event["kind"] == "progress"]
    assert told == sorted(told)
    assert told[-1] <= 99
    assert outcome.described.get("duration") == 2
    assert outcome.last["video_info"]["duration"] in (2, 3)  # the clip has 2.5 s


@pytest.mark.long
async def test_a_clip_may_be_larger_than_a_limit_that_its_film_exceeds(
    jobs: Jobs, films: Path, films_site: ClipSite, tmp_path: Path
) -> None:
    most = (films / "film.mp4").stat().st_size // 2
    outcome = await clipped(jobs, tmp_path, films_site.url("film.mp4"), COPIED, max_filesize=most)
    assert outcome.last["kind"] == "produced"


async def test_a_clip_too_large_is_refused(jobs: Jobs, films_site: ClipSite, tmp_path: Path) -> None:
    outcome = await clipped(jobs, tmp_path, films_site.url("film.mp4"), COPIED, max_filesize=1000)
    assert broken(outcome)[0] == "too_large"


# --- what a source may do while the clip is fetched ---


@pytest.mark.long
@pytest.mark.parametrize("path", ["dash/index.mpd", "film.mp4"])
async def test_a_clip_that_was_killed_in_the_middle_comes_in_the_next_attempt(
    jobs: Jobs, films_site: ClipSite, tmp_path: Path, path: str
) -> None:
    wishes: dict[str, Any] = {"clip": EXACT, "outputs": ["video"]}
    for kind in ("download_started", "progress"):
        async with jobs.begin(tmp_path / "t", films_site.url(path), **wishes) as job:
            async for event in job.events():
                if event["kind"] == kind:
                    job.kill()
            await job.end()
    outcome = await jobs.download(tmp_path / "t", films_site.url(path), **wishes)
    assert numbers(outcome.file("video")) == shown(10.5, 13)
    assert sorted(path.name for path in (tmp_path / "t/out").iterdir()) == ["video.mp4"]


@pytest.mark.wide
async def test_an_ffmpeg_that_is_killed_while_it_reads_is_no_fault_of_the_film(
    jobs: Jobs, films_site: ClipSite, tmp_path: Path
) -> None:
    wishes: dict[str, Any] = {"clip": EXACT, "outputs": ["video"]}
    url = films_site.url("film.mp4")
    async with jobs.begin(tmp_path / "t", url, **wishes, rate_limit=50_000) as job:
        hearing = asyncio.create_task(job.run())
        (await reader()).kill()
        assert broken(await hearing)[:2] == ("worker_lost", True)
    outcome = await jobs.download(tmp_path / "t", url, **wishes)
    assert numbers(outcome.file("video")) == shown(10.5, 13)


async def reader() -> psutil.Process:
    """Wait until an ffmpeg copies from the source; return the process."""
    while True:
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "-copyts" in process.cmdline():
                    return process
        await asyncio.sleep(0.01)


async def test_sound_that_has_ended_before_the_clip_makes_no_empty_file(jobs: Jobs, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    sources = ("-f", "lavfi", "-i", "testsrc=s=64x36:d=3", "-f", "lavfi", "-i", "sine=d=0.1")
    command = (BUNDLED, "-v", "error", *sources, "-pix_fmt", "yuv420p", film)
    await asyncio.to_thread(subprocess.run, command, check=True)
    async with clips.open_site(tmp_path) as site:
        wishes: dict[str, Any] = {"clip": {"start": 1, "end": 2, "exact": True}}
        outcome = await jobs.download(tmp_path / "both", site.url("film.mp4"), **wishes)
        assert outcome.last["files"].keys() == {"video"}
        outcome = await jobs.download(tmp_path / "one", site.url("film.mp4"), **wishes, outputs=["audio"])
        assert broken(outcome)[0] == "conversion_failed"


async def test_a_file_that_changes_meanwhile_is_not_mixed(
    jobs: Jobs, films_site: ClipSite, films: Path, tmp_path: Path
) -> None:
    other = (films / "behind.mp4").read_bytes()
    films_site.instead = {"/film.mp4": (3, other)}
    outcome = await clipped(jobs, tmp_path, films_site.url("film.mp4"), COPIED)
    assert broken(outcome)[:2] == ("incomplete", True)
    assert "the file at the source has changed meanwhile" in outcome.log


async def test_a_source_that_refuses_meanwhile_is_told_of(
    jobs: Jobs, films_site: ClipSite, tmp_path: Path
) -> None:
    films_site.refusing = {"/film.mp4": 3}
    outcome = await clipped(jobs, tmp_path, films_site.url("film.mp4"), COPIED)
    assert broken(outcome)[0] == "http_403"


@pytest.mark.wide
async def test_segments_that_are_there_are_not_the_whole_stream_because_a_playlist_is_refused(
    jobs: Jobs, films_site: ClipSite, tmp_path: Path
) -> None:
    url = films_site.url("ts/index.m3u8")
    assert (await clipped(jobs, tmp_path, url, COPIED)).last["kind"] == "produced"
    films_site.refusing = {"/ts/index.m3u8": 2 * films_site.requests_for("ts/index.m3u8")}
    outcome = await clipped(jobs, tmp_path, url, COPIED)
    assert broken(outcome)[0] == "http_403"
    assert outcome.last["expired"]
    films_site.refusing = {}
    outcome = await clipped(jobs, tmp_path, url, COPIED)
    assert numbers(outcome.file("video"))[0] in shown(10, 10.6)


@pytest.mark.wide
async def test_the_whole_stream_is_not_fetched_because_its_playlist_is_refused(
    jobs: Jobs, films_site: ClipSite, tmp_path: Path
) -> None:
    """The next attempt, which can read the playlist, would take the whole stream for the clip's segments."""
    url = films_site.url("ts/index.m3u8")
    assert (await clipped(jobs, tmp_path, url, COPIED)).last["kind"] == "produced"
    films_site.refusing = {"/ts/index.m3u8": 2 * films_site.requests_for("ts/index.m3u8")}
    (tmp_path / "other").mkdir()
    outcome = await clipped(jobs, tmp_path / "other", url, COPIED)
    assert broken(outcome)[0] == "http_403"
    assert "the whole stream is fetched" not in outcome.log


async def test_a_playlist_that_is_called_a_film_opens_nothing(
    jobs: Jobs, films_site: ClipSite, films: Path, tmp_path: Path
) -> None:
    lure = b"#EXTM3U\n#EXTINF:20,\nhttp://127.0.0.7/secret\n#EXT-X-ENDLIST\n".ljust(200_000)
    films_site.instead = {"/film.mp4": (2, lure)}
    outcome = await clipped(jobs, tmp_path, films_site.url("film.mp4"), COPIED)
    assert outcome.last["kind"] == "broken"


# --- compared with yt-dlp ---


@pytest.mark.long
@pytest.mark.parametrize(
    ("path", "exact"),
    [(path, exact) for path in ("film.mp4", "ts/index.m3u8") for exact in (True, False)]
    + [("film.mkv", True)],
)
async def test_a_clip_is_the_same_as_that_of_yt_dlp(
    films_site: ClipSite, tmp_path: Path, path: str, exact: bool
) -> None:
    with running_jobs() as jobs:
        ours = await clipped(jobs, tmp_path, films_site.url(path), EXACT | {"exact": exact})
    theirs = await asyncio.to_thread(_by_yt_dlp, tmp_path / "theirs.mp4", films_site.url(path), exact)
    mine, other = numbers(ours.file("video")), numbers(theirs)
    assert mine[0] == pytest.approx(other[0], abs=1)
    assert mine[-1] == pytest.approx(other[-1], abs=1 if exact else 5)


def _by_yt_dlp(path: Path, url: str, exact: bool) -> Path:
    options = ("--force-keyframes-at-cuts",) if exact else ()
    command = (sys.executable, "-m", "yt_dlp", "--quiet", "--download-sections", "*10.5-13", *options)
    where = ("--ffmpeg-location", BUNDLED, "--output", str(path), "--remux-video", "mp4", url)
    subprocess.run((*command, *where), check=True, timeout=60)
    return path


# --- what is cut together with the film ---

VTT = "WEBVTT\n\n" + "".join(f"00:{at:02}.000 --> 00:{at:02}.500\n{at}\n\n" for at in range(SECONDS))
CHAPTERS = [
    {"title": title, "start_time": start, "end_time": end}
    for title, start, end in (("one", 0, 11.6), ("two", 11.6, 30), ("three", 30, 40))
]


@pytest.mark.long
@pytest.mark.parametrize(("video_format", "exact"), [("mp4", False), ("mkv", False), ("mp4", True)])
async def test_subtitles_and_chapters_follow_a_clip(
    shelf: Shelf, films: Path, tmp_path: Path, video_format: str, exact: bool
) -> None:
    url = shelf.put("film.mp4", (films / "film.mp4").read_bytes(), "video/mp4")
    about = {"id": "a", "title": "Film", "url": url, "ext": "mp4", "duration": SECONDS, "chapters": CHAPTERS}
    about |= {"subtitles": {"en": [{"ext": "vtt", "data": VTT}]}}
    wishes: dict[str, Any] = {"outputs": ["video", "subtitles"], "subtitles": {"embed": True}}
    wishes |= {"embed_metadata": True, "split_chapters": True, "video_format": video_format}
    outcome = await told(tmp_path / "t", shelf, about, clip={**EXACT, "exact": exact}, **wishes)
    when = times(outcome.file("video"))
    for path in (outcome.file("subtitle.en"), outcome.file("video")):
        shows = {text: start for start, _, text in cues(path)}
        assert shows["11"] == pytest.approx(when[11 * RATE], abs=0.05)
        assert shows["12"] == pytest.approx(when[12 * RATE], abs=0.05)
        assert not {"9", "13"} & shows.keys()
    report = probe(outcome.file("video")).partition("Stream mapping")[0]
    starts = {float(start) for start in re.findall(r"Chapter #0:\d+: start ([\d.]+)", report)}
    assert sorted(starts) == pytest.approx([0, when[round(11.6 * RATE)]], abs=0.05)
    assert set(shown(11.7, 12.9)) <= set(numbers(outcome.file("chapter.2")))
