"""Real jobs: fork server, yt-dlp and ffmpeg against the local site."""

import asyncio
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any
from unicodedata import category

import pytest

from server.child.extract.generic import EMBEDDED
from server.core.jobs import to_message
from server.core.process_request import ProcessRequest
from tests.jobs import (
    ENVIRONMENT,
    ROOT,
    Jobs,
    Outcome,
    broken,
    download_job,
    line,
    probe,
    run_by_exec,
    told,
    told_info,
)
from tests.shelf import Shelf
from tests.site import SECONDS, Site, sha256
from tests.site import probe as look_into


def progress(outcome: Outcome) -> list[float]:
    return [event["progress"] for event in outcome.events if event["kind"] == "progress"]


# --- the files that come out ---


async def test_a_plain_file_keeps_the_sources_bytes(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/1mb.mp4"), outputs=["video"])
    # Only on a slow machine is there progress to report.
    told = [kind for kind in outcome.kinds if kind != "progress"]
    assert told == ["described", "download_started", "needs", "produced"]
    assert outcome.events[0]["starts"], "there is no thumbnail to be fetched before: one save tells both"
    assert sha256(outcome.file("video")) == sha256(media / "1mb.mp4")
    assert outcome.last["video_info"] == {
        "title": "1mb",
        "duration": SECONDS,
        "webpage_url": site.url("/1mb.mp4"),
        "extractor": "generic",
        "width": 320,
        "height": 180,
        "filesize": 1_000_000,
        "id": "1mb",
        "extractor_key": "Generic",
    }
    assert outcome.code == 0


async def test_video_and_audio_come_from_one_download(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/1mb.mp4"))
    assert sha256(outcome.file("video")) == sha256(media / "1mb.mp4")
    assert "Audio: mp3" in probe(outcome.file("audio"))
    assert len(site.seen("/1mb.mp4")) == 2  # one request to find out the kind, one for the content


@pytest.mark.parametrize("path", ["/1mb.mp4", "/hls/ts/index.m3u8", "/dash/manifest.mpd"])
async def test_a_muted_film_has_the_picture_of_the_source_and_no_sound(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path, path: str
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(path), mute=True)
    assert _streams(outcome.file("video")) == ["Video: h264"]
    assert _streams(outcome.file("audio")) == ["Audio: mp3"]
    alone = await jobs.download(tmp_path / "u", site.url(path), outputs=["video"], mute=True)
    assert _streams(alone.file("video")) == ["Video: h264"]
    film = await look_into(alone.file("video"))
    assert film.pictures == (await look_into(media / "1mb.mp4")).pictures


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
        (
            "/video.mp4",
            {"outputs": ["video"], "video_format": "webm", "clip": {"start": 1, "end": 2, "exact": True}},
            "video.webm",
            "vp9",
        ),
    ],
)
async def test_a_wish_for_a_format_is_met(
    jobs: Jobs, site: Site, tmp_path: Path, path: str, wishes: dict[str, Any], name: str, codec: str
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(path), **wishes)
    kind = wishes["outputs"][0]
    assert outcome.last["files"][kind]["path"] == name
    assert f": {codec}" in probe(outcome.file(kind))
    assert outcome.last["files"][kind]["codec"] == codec


async def test_a_stream_that_does_not_fit_the_container_stays_as_it_is(
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
async def test_an_output_that_the_source_lacks_is_left_out_if_another_remains(
    jobs: Jobs, site: Site, tmp_path: Path, path: str, wanted: list[str], files: set[str] | str
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(path), outputs=wanted)
    if isinstance(files, str):
        assert broken(outcome)[:2] == (files, False)
    else:
        assert set(outcome.last["files"]) == files


async def test_of_sound_alone_there_is_no_mute_video(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    url = site.url("/audio.mp3")
    assert broken(await jobs.download(tmp_path / "t", url, outputs=["video"], mute=True))[0] == "no_video"
    url = site.url("/page?src=/audio.mp3&thumbnail=/thumbnail.jpg")
    outcome = await jobs.download(tmp_path / "u", url, outputs=["thumbnail"], mute=True)
    assert set(outcome.last["files"]) == {"thumbnail"}


async def test_a_page_gives_title_duration_uploader_and_thumbnails(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = site.url("/page?title=Film&uploader=Somebody")
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video", "thumbnail"])
    said = outcome.described
    assert (said["title"], said["duration"], said["uploader"]) == ("Film", SECONDS, "Somebody")
    assert outcome.file("thumbnail").name == "thumbnail.jpg"
    assert "Video: mjpeg" in probe(tmp_path / "t" / "preview.jpg")
    assert " 192x" in probe(tmp_path / "t" / "preview.small.jpg")
    assert outcome.kinds[:3] == ["described", "previewed", "download_started"]
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video"])
    assert outcome.kinds.count("previewed") == 1, "a later attempt says so, too"
    assert len(site.seen("/thumbnail.jpg")) == 1


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
    assert hints(outcome) == {"first_of_several"}
    alone = await jobs.download(tmp_path / "alone", site.url("/page/cjk"), outputs=["video"])
    assert hints(alone) == {None}


def hints(outcome: Outcome) -> set[str | None]:
    """Return the hints about outputs that are left out."""
    return {event.get("hint") for event in outcome.events if event["kind"] == "described"}


@pytest.mark.parametrize("first", ["/missing.mp4", "/garbage.mp4", "http://127.0.0.2:9/video.mp4"])
async def test_if_the_first_video_of_a_page_fails_the_next_is_taken(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path, first: str
) -> None:
    url = site.url(f"/page/playlist?first={first}")
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video"])
    assert sha256(outcome.file("video")) == sha256(media / "silent.mp4")
    assert hints(outcome) == {"first_of_several"}


async def test_if_all_videos_of_a_page_fail_the_first_one_gives_the_reason(
    shelf: Shelf, site: Site, tmp_path: Path
) -> None:
    links = [site.url("/page/blank"), site.url("/missing.mp4")]
    entries = [{"_type": "url", "url": link} for link in links]
    outcome = await told(
        tmp_path / "t", shelf, {"_type": "playlist", "id": "a", "entries": entries, EMBEDDED: True}
    )
    assert broken(outcome)[:2] == ("unsupported_url", False)
    good = [*entries, {"_type": "url", "url": site.url("/video.mp4")}]
    outcome = await told(
        tmp_path / "t", shelf, {"_type": "playlist", "id": "a", "entries": good, EMBEDDED: True}
    )
    assert outcome.last["kind"] == "produced"


async def test_every_format_that_an_info_job_shows_can_be_asked_for(
    shelf: Shelf, site: Site, media: Path, tmp_path: Path
) -> None:
    silent, sound = {"vcodec": "avc1", "acodec": "none"}, {"vcodec": "none", "acodec": "mp4a"}
    formats = [
        {"format_id": "video=7 (Größe: 1/2)", "url": site.url("/silent.mp4"), **silent},
        {"format_id": "worst", "url": site.url("/audio.m4a"), **sound},
        {"format_id": "ton|1'", "url": site.url("/audio.m4a"), **sound},
        {"format_id": "best", "url": site.url("/video.mp4"), "quality": -9},
    ]
    result = {"id": "a", "title": "Film", "formats": formats}
    shown = [one["format_id"] for one in (await told_info(tmp_path / "i", shelf, result))["formats"]]
    assert len(set(shown)) == len(formats)
    for name in shown:
        ProcessRequest(url="http://a.test/", format=name)
    outcome = await told(tmp_path / "a", shelf, result, outputs=["video"], format="best")
    assert sha256(outcome.file("video")) == sha256(media / "video.mp4")
    picture = next(name for name in shown if name.startswith("video="))
    outcome = await told(tmp_path / "b", shelf, result, outputs=["video"], format=f"{picture}+ton|1'")
    assert _streams(outcome.file("video")) == ["Video: h264", "Audio: aac"]


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
    before_its_end = [event for event in said if event["downloaded_bytes"] < 1_000_000]
    assert before_its_end
    assert not any("total_bytes" in event or "eta" in event for event in before_its_end)


# --- info jobs ---


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


async def test_a_job_also_runs_by_exec(site: Site, media: Path, tmp_path: Path) -> None:
    job = download_job(tmp_path / "t", site.url("/1mb.mp4"), outputs=["video"])
    outcome = await run_by_exec(ROOT / "server/child/job.py", tmp_path / "t", job)
    assert outcome.code == 0
    assert sha256(outcome.file("video")) == sha256(media / "1mb.mp4")


async def test_a_child_that_begins_after_the_server_gave_it_up_creates_no_file(tmp_path: Path) -> None:
    """The server closed the channel while the fork server was stopped; the task may be deleted by now."""
    job = download_job(tmp_path / "t", "http://127.0.0.1:9/", outputs=["video"])
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(line(to_message(job)))
    with theirs:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-B", str(ROOT / "server/child/job.py"), str(theirs.fileno())),
            pass_fds=[theirs.fileno()],
            env=ENVIRONMENT,
        )
        assert await process.wait() == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


async def _info(jobs: Jobs, directory: Path, url: str) -> Outcome:
    async with jobs.look(directory, url) as job:
        return await job.run()


def _streams(path: Path) -> list[str]:
    report = probe(path).partition("Stream mapping")[0]
    return re.findall(r"Stream #0:.*?: (Video: \w+|Audio: \w+)", report)
