"""Real jobs: fork server, yt-dlp and ffmpeg against the local site."""

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unicodedata import category

import pytest

from tests.jobs import FFMPEG, Jobs, Outcome, probe, running_jobs
from tests.site import SECONDS, Site, sha256


@pytest.fixture(scope="module")
def jobs() -> Iterator[Jobs]:
    with running_jobs() as jobs:
        yield jobs


def broken(outcome: Outcome) -> tuple[str, bool, float | None]:
    assert outcome.last["kind"] == "broken", outcome.last
    return outcome.last["code"], outcome.last["retryable"], outcome.last.get("retry_after")


def progress(outcome: Outcome) -> list[float]:
    return [event["progress"] for event in outcome.events if event["kind"] == "progress"]


# What comes out.


async def test_a_plain_file_keeps_the_sources_bytes(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/1mb.mp4"), outputs=["video"])
    assert outcome.kinds == ["described", "download_started", "produced"]
    assert sha256(outcome.file("video")) == sha256(media / "1mb.mp4")
    assert outcome.last["video_info"] == {
        "title": "1mb",
        "duration": SECONDS,
        "webpage_url": site.url("/1mb.mp4"),
        "extractor": "generic",
        "width": 320,
        "height": 180,
        "filesize": 1_000_000,
    }
    assert outcome.code == 0


async def test_video_and_audio_come_from_one_download(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/1mb.mp4"))
    assert sha256(outcome.file("video")) == sha256(media / "1mb.mp4")
    assert "Audio: mp3" in probe(outcome.file("audio"))
    assert len(site.seen("/1mb.mp4")) == 2  # one to look, one to load


@pytest.mark.parametrize("path", ["/hls/ts/", "/hls/fmp4/", "/hls/aes/"])
async def test_hls_becomes_a_plain_mp4(jobs: Jobs, site: Site, tmp_path: Path, path: str) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(f"{path}index.m3u8"), outputs=["video"])
    report = probe(outcome.file("video"))
    assert "Duration: 00:00:04.0" in report
    assert "Video: h264" in report
    assert "Audio: aac" in report
    assert outcome.file("video").read_bytes()[4:8] == b"ftyp"


async def test_dash_is_merged_and_the_sound_taken_from_its_own_stream(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/dash/manifest.mpd"), audio_format="m4a")
    assert {"Video: h264", "Audio: aac"} <= set(_streams(outcome.file("video")))
    assert _streams(outcome.file("audio")) == ["Audio: aac"]
    assert progress(outcome) == sorted(progress(outcome))


async def test_only_sound_is_fetched_where_only_sound_is_wanted(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = site.url("/dash/manifest.mpd")
    outcome = await jobs.download(tmp_path / "t", url, outputs=["audio"], audio_format="best")
    assert outcome.last["files"]["audio"]["path"] == "audio.m4a"
    assert not [seen for seen in site.requests if "stream0" in seen.path or "init-0" in seen.path]
    assert _streams(outcome.file("audio")) == ["Audio: aac"]


@pytest.mark.parametrize(
    ("path", "wishes", "name", "codec"),
    [
        ("/video.mp4", {"outputs": ["audio"], "audio_format": "m4a"}, "audio.m4a", "aac"),
        (
            "/video.mp4",
            {"outputs": ["audio"], "audio_format": "opus", "audio_quality": 64},
            "audio.opus",
            "opus",
        ),
        ("/video.mp4", {"outputs": ["audio"], "audio_format": "flac"}, "audio.flac", "flac"),
        ("/video.mp4", {"outputs": ["audio"], "audio_format": "wav"}, "audio.wav", "pcm_s16le"),
        ("/video.mp4", {"outputs": ["audio"], "audio_format": "best"}, "audio.m4a", "aac"),
        ("/clip.webm", {"outputs": ["audio"], "audio_format": "best"}, "audio.opus", "opus"),
        ("/video.mp4", {"outputs": ["video"], "video_format": "mkv"}, "video.mkv", "h264"),
        ("/clip.webm", {"outputs": ["video"], "video_format": "mp4"}, "video.mp4", "vp9"),
        ("/clip.webm", {"outputs": ["video"], "video_format": "any"}, "video.webm", "vp9"),
    ],
)
async def test_a_wish_for_a_format_is_met(
    jobs: Jobs, site: Site, tmp_path: Path, path: str, wishes: dict[str, Any], name: str, codec: str
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(path), **wishes)
    kind = wishes["outputs"][0]
    assert outcome.last["files"][kind]["path"] == name
    assert f": {codec}" in probe(outcome.file(kind))


async def test_what_cannot_be_in_the_container_stays_as_it_is(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    url = site.url("/video.mp4")
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video"], video_format="webm")
    assert sha256(outcome.file("video")) == sha256(media / "video.mp4")
    assert "h264 and aac cannot be in webm: kept as mp4" in outcome.log


@pytest.mark.parametrize(
    ("path", "wanted", "files"),
    [
        ("/silent.mp4", ["video", "audio"], {"video"}),
        ("/silent.mp4", ["audio"], "no_audio"),
        ("/audio.mp3", ["video", "audio"], {"audio"}),
        ("/audio.mp3", ["video"], "no_video"),
        ("/video.mp4", ["thumbnail"], "no_thumbnail"),
        ("/video.mp4", ["video", "thumbnail"], {"video"}),
    ],
)
async def test_what_the_source_lacks_is_left_out_if_something_remains(
    jobs: Jobs, site: Site, tmp_path: Path, path: str, wanted: list[str], files: set[str] | str
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(path), outputs=wanted)
    if isinstance(files, str):
        assert broken(outcome)[:2] == (files, False)
    else:
        assert set(outcome.last["files"]) == files


async def test_a_page_gives_title_duration_uploader_and_thumbnails(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = site.url("/page?title=Film&uploader=Somebody")
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video", "thumbnail"])
    said = outcome.events[0]["video_info"]
    assert (said["title"], said["duration"], said["uploader"]) == ("Film", SECONDS, "Somebody")
    assert outcome.file("thumbnail").name == "thumbnail.jpg"
    assert "Video: mjpeg" in probe(tmp_path / "t" / "preview.jpg")


async def test_a_thumbnail_alone_needs_no_media(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    url = site.url("/page?thumbnail=/thumbnail.webp")
    outcome = await jobs.download(tmp_path / "t", url, outputs=["thumbnail"])
    assert outcome.file("thumbnail").name == "thumbnail.webp"
    assert len(site.seen("/video.mp4")) <= 1


@pytest.mark.parametrize("name", ["long", "control", "rtl"])
async def test_a_title_is_one_harmless_line(jobs: Jobs, site: Site, tmp_path: Path, name: str) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(f"/page/{name}"), outputs=["video"])
    title = outcome.last["video_info"]["title"]
    assert 0 < len(title) <= 500
    assert title == "".join(letter for letter in title if category(letter) not in ("Cc", "Cs"))
    assert not set(title) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert outcome.file("video").name == "video.mp4"


async def test_of_a_page_with_several_videos_the_first_is_taken(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/page/playlist"), outputs=["video"])
    assert sha256(outcome.file("video")) == sha256(media / "video.mp4")
    assert outcome.last["video_info"]["title"] == "Two videos"


async def test_progress_is_one_number_that_never_falls(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/dash/manifest.mpd?rate=400000"))
    assert outcome.kinds.count("download_started") == 1
    assert outcome.kinds.index("download_started") < outcome.kinds.index("progress")
    assert progress(outcome) == sorted(progress(outcome))
    assert all(20 <= value <= 99 for value in progress(outcome))
    stages = [event["stage"] for event in outcome.events if event["kind"] == "progress"]
    assert stages == sorted(stages, key=["download", "convert"].index)
    assert set(stages) == {"download", "convert"}


async def test_bytes_are_those_of_the_file(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/1mb.mp4?rate=1000000"), outputs=["video"])
    said = [event for event in outcome.events if event["kind"] == "progress"]
    assert said
    assert all(event["total_bytes"] == 1_000_000 for event in said)
    assert [event["downloaded_bytes"] for event in said] == sorted(e["downloaded_bytes"] for e in said)


async def test_without_a_length_no_total_is_claimed(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    url = site.url("/1mb.mp4?rate=1000000&chunked=yes")
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video"])
    said = [event for event in outcome.events if event["kind"] == "progress"]
    assert said
    assert not any("total_bytes" in event or "eta" in event for event in said)


# What goes wrong.


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/1mb.mp4?status=404", ("http_404", False, None)),
        ("/1mb.mp4?status=403", ("http_403", False, None)),
        ("/1mb.mp4?status=500", ("http_500", True, None)),
        ("/1mb.mp4?status=429&retry_after=7", ("http_429", True, 7)),
        ("/1mb.mp4?status=503&retry_after=9&after=1", ("http_503", True, 9)),
        ("/1mb.mp4?cut=500000&ranges=no", ("incomplete", True, None)),
        ("/1mb.mp4?lie=1000", ("incomplete", True, None)),
        ("/8mb.mp4?lie=-7700000", ("incomplete", True, None)),
        ("/hls/ts/index.m3u8?missing=2", ("http_404", False, None)),
        ("/hls/ts/index.m3u8?status=500", ("http_500", True, None)),
        ("/hls/live/index.m3u8", ("live_rejected", False, None)),
        ("/garbage.mp4", ("no_media", False, None)),
        ("/page/blank", ("unsupported_url", False, None)),
        ("/bomb", ("page_too_large", False, None)),
        ("/redirect/endless", ("redirect_loop", False, None)),
        ("/redirect?to=http://10.1.1.1/a.mp4", ("blocked_address", False, None)),
        ("/page?src=http://10.1.1.1/a.mp4", ("blocked_address", False, None)),
    ],
)
async def test_a_fault_has_a_code(
    jobs: Jobs, site: Site, tmp_path: Path, path: str, expected: tuple[str, bool, float | None]
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(path))
    assert broken(outcome) == expected
    assert not list((tmp_path / "t").glob("out/*"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://10.0.0.1/a.mp4", ("blocked_address", False, None)),
        ("http://127.0.0.1:1/a.mp4", ("connection_failed", True, None)),
        ("http://nowhere.invalid/a.mp4", ("dns_error", False, None)),
    ],
)
async def test_an_address_has_a_code_too(
    jobs: Jobs, tmp_path: Path, url: str, expected: tuple[str, bool, float | None]
) -> None:
    assert broken(await jobs.download(tmp_path / "t", url)) == expected


@pytest.mark.parametrize("path", ["/1mb.mp4", "/1mb.mp4?chunked=yes", "/endless.mp4", "/hls/ts/index.m3u8"])
async def test_nobody_gets_more_than_the_largest_file(
    jobs: Jobs, site: Site, tmp_path: Path, path: str
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(path), max_filesize=200_000)
    assert broken(outcome) == ("too_large", False, None)
    assert sum(file.stat().st_size for file in (tmp_path / "t").iterdir()) <= 500_000


async def test_a_format_that_is_not_there_is_said_so(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/dash/manifest.mpd"), format="137+140")
    assert broken(outcome)[0] == "format_unavailable"


async def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    url = site.url("/1mb.mp4?cut=500000&times=1&after=1")
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video"])
    assert sha256(outcome.file("video")) == sha256(media / "1mb.mp4")
    assert (site.seen("/1mb.mp4")[-1].range or "").startswith("bytes=")


async def test_no_secret_gets_into_the_log(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    url = site.url("/page/unknown?sig=s3cret").replace("http://", "http://user:pa55word@")
    outcome = await jobs.download(tmp_path / "t", url)
    assert broken(outcome)[0] == "http_404"
    assert "/page/unknown" in outcome.log
    assert "s3cret" not in outcome.log
    assert "pa55word" not in outcome.log


# Killed, and started again in the same directory.


@pytest.mark.parametrize(
    ("path", "moment"),
    [
        ("/8mb.mp4?rate=4000000", 1),
        ("/8mb.mp4?rate=4000000", 4),
        ("/hls/ts/index.m3u8?rate=150000", 3),
        ("/dash/manifest.mpd?rate=100000", 4),
    ],
)
async def test_a_killed_download_goes_on_and_ends_whole(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path, path: str, moment: int
) -> None:
    begun = jobs.begin(tmp_path / "t", site.url(path), outputs=["video"])
    async with asyncio.timeout(20), begun as job:
        async for event in job.events():
            moment -= event["kind"] == "progress"
            if not moment:
                job.kill()
        assert (await job.end()).code == -9
    _as_if_killed_in_the_middle_of_a_write(tmp_path / "t")
    first = {seen.path for seen in site.requests}
    site.requests.clear()
    outcome = await jobs.download(tmp_path / "t", site.url(path), outputs=["video"])
    if path.startswith("/8mb"):
        assert sha256(outcome.file("video")) == sha256(media / "8mb.mp4")
        assert site.requests[-1].range
    else:
        assert "Duration: 00:00:04.0" in probe(outcome.file("video"))
        assert _frames(outcome.file("video")) == SECONDS * 25
        assert first - {seen.path for seen in site.requests}  # fragments that were not fetched again


async def test_a_finished_file_that_was_not_taken_is_not_fetched_again(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    await jobs.download(tmp_path / "t", site.url("/1mb.mp4"), outputs=["video"])
    site.requests.clear()
    outcome = await jobs.download(tmp_path / "t", site.url("/1mb.mp4"), outputs=["video"])
    assert sha256(outcome.file("video")) == sha256(media / "1mb.mp4")
    assert len(site.seen("/1mb.mp4")) == 1


async def test_another_choice_does_not_go_on_with_the_bytes_of_the_first(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    assert broken(await jobs.download(tmp_path / "t", site.url("/1mb.mp4?lie=1000")))[0] == "incomplete"
    assert list((tmp_path / "t").glob("*.part"))
    outcome = await jobs.download(tmp_path / "t", site.url("/video.mp4"), outputs=["video"])
    assert sha256(outcome.file("video")) == sha256(media / "video.mp4")
    assert not list((tmp_path / "t").glob("*.part"))


async def test_a_second_child_waits_until_the_first_is_gone(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    url = site.url("/8mb.mp4?stall=3000000&after=1")
    async with (
        asyncio.timeout(20),
        jobs.begin(tmp_path / "t", url, outputs=["video"]) as first,
        jobs.begin(tmp_path / "t", url, outputs=["video"]) as second,
    ):
        hearing = asyncio.create_task(first.run())
        await site.stalled()
        waiting = asyncio.create_task(second.run())
        assert len(site.seen("/8mb.mp4")) == 2  # both of them the first's
        first.kill()
        assert (await hearing).code == -9
        site.release()
        assert (await waiting).last["kind"] == "produced"
        assert site.seen("/8mb.mp4")[-1].range


async def test_a_stop_ends_it_and_a_stall_is_silent(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    begun = jobs.begin(tmp_path / "t", site.url("/8mb.mp4?stall=3000000&after=1"), outputs=["video"])
    async with asyncio.timeout(20), begun as job:
        hearing = asyncio.create_task(job.run())
        await site.stalled()
        before = len(job.outcome.events)
        await asyncio.sleep(3)  # nothing moves: nothing must be said, although time passes
        assert len(job.outcome.events) <= before + 1
        job.command("stop")
        assert (await hearing).code == -9


async def test_a_limit_holds_and_can_be_lifted_at_once(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    begun = jobs.begin(tmp_path / "t", site.url("/8mb.mp4"), outputs=["video"], rate_limit=100_000)
    async with asyncio.timeout(20), begun as job:
        async for event in job.events():
            if event["kind"] == "progress" and event["downloaded_bytes"] > 100_000:
                job.command("rate", bytes_per_second=None)
        outcome = await job.end()
    said = [event["downloaded_bytes"] for event in outcome.events if event["kind"] == "progress"]
    assert said[0] < 400_000
    assert outcome.last["kind"] == "produced"


# Looking without loading.


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/page?title=Film", {"title": "Film", "duration": SECONDS, "uploader": "上传者"}),
        ("/hls/ts/index.m3u8", {"title": "index", "duration": SECONDS}),
    ],
)
async def test_an_info_job_tells_and_keeps_nothing(
    jobs: Jobs, site: Site, tmp_path: Path, path: str, expected: dict[str, Any]
) -> None:
    outcome = await _info(jobs, tmp_path / "t", site.url(path))
    assert outcome.kinds == ["extracted"]
    info = outcome.last["info"]
    assert expected.items() <= info.items()
    assert info["formats"][0]["format_id"]
    assert None not in info.values()
    if path.startswith("/page"):
        assert info["thumbnail"].startswith("data:image/jpeg;base64,")


async def test_an_info_job_lists_entries(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await _info(jobs, tmp_path / "t", site.url("/page/playlist"))
    assert [entry["title"] for entry in outcome.last["info"]["entries"]] == [
        "Two videos (1)",
        "Two videos (2)",
    ]


async def test_an_info_job_fails_with_the_same_codes(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await _info(jobs, tmp_path / "t", site.url("/1mb.mp4?status=404"))
    assert broken(outcome) == ("http_404", False, None)


async def _info(jobs: Jobs, directory: Path, url: str) -> Outcome:
    async with asyncio.timeout(20), jobs.start(directory, "info", {"url": url}) as job:
        return await job.run()


def _as_if_killed_in_the_middle_of_a_write(directory: Path) -> None:
    """A fragment was joined to the others, or half of it, and nobody wrote that down."""
    for note in directory.glob("*.ytdl"):
        with note.with_suffix(".part").open("ab") as part:
            part.write(b"half a fragment")


def _streams(path: Path) -> list[str]:
    report = probe(path).partition("Stream mapping")[0]
    return re.findall(r"Stream #0:.*?: (Video: \w+|Audio: \w+)", report)


def _frames(path: Path) -> int:
    command = ["-i", str(path), "-map", "0:v", "-c", "copy", "-f", "framehash", "-"]
    result = subprocess.run([FFMPEG, "-v", "error", *command], capture_output=True, text=True, check=True)
    return sum(not line.startswith("#") for line in result.stdout.splitlines())


def test_the_requests_of_these_tests_are_those_of_the_model() -> None:
    from server.models import ProcessRequest
    from tests.jobs import REQUEST

    json.dumps(REQUEST)
    ProcessRequest(url="http://a.test/", **REQUEST)
