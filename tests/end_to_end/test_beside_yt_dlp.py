"""The same request, sent to this service and given to yt-dlp's command line: do both make the same files?

With `--load-info-json`, yt-dlp starts from the same extracted data as the child. Where the files differ on
purpose, the test says so.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.child.test_tags import LINK, film
from tests.jobs import Jobs, Outcome, told
from tests.shelf import Shelf
from tests.site import probe as look_into
from tests.subtitles import SRT, VTT, cues, streams
from tests.tags import about, cover
from tests.tools import FFMPEG, FFPROBE, without

pytestmark = pytest.mark.long

TAGS = ("title", "artist", "date", "album", "track", "genre", "episode_id", "show", "language")
CUES = SRT.replace("Hello <i>there</i>", "Hello there")


def offer(shelf: Shelf, media: Path) -> dict[str, Any]:
    """Return what an extractor offers: subtitles, chapters, tags and whatever else yt-dlp has a postprocessor
    for.
    """
    texts = {"en": VTT, "zh-Hans": CUES, "pt-BR": CUES}
    subtitles = {
        name: [{"ext": "vtt" if text == VTT else "srt", "url": shelf.put(f"{name}.txt", text.encode())}]
        for name, text in texts.items()
    }
    subtitles["zh-Hans"][0]["name"] = "简体中文"
    more: dict[str, Any] = {
        "album": "Album",
        "track_number": 3,
        "categories": ["A", "B"],
        "episode": "Pilot",
        "series": "Show",
    }
    return film(shelf, media, subtitles=subtitles, webpage_url=LINK, **more)


async def by_yt_dlp(folder: Path, told_of: dict[str, Any], *options: str) -> list[Path]:
    """Run yt-dlp; return the files that it leaves, in the order of their names."""
    if FFPROBE is None:
        without("ffprobe", "install ffmpeg")
    folder.mkdir()
    known = {"extractor": "told", "extractor_key": "Told", "ext": "mp4", "webpage_url_basename": "it"}
    formats = [one | {"ext": "mp4", "vcodec": "avc1", "acodec": "mp4a"} for one in told_of["formats"]]
    (folder / "it.json").write_text(json.dumps(told_of | known | {"formats": formats}))
    program = [
        sys.executable,
        "-m",
        "yt_dlp",
        "--ignore-config",
        "--no-cache-dir",
        "--no-plugin-dirs",
        "--quiet",
    ]
    where = [
        "-o",
        "whole.%(ext)s",
        "-o",
        "chapter:part-%(section_number)03d.%(ext)s",
        "--ffmpeg-location",
        str(Path(FFPROBE).parent),
    ]
    command = [*program, *where, "--load-info-json", "it.json", *options]
    await asyncio.to_thread(subprocess.run, command, cwd=folder, check=True, timeout=60)
    return sorted(path for path in folder.iterdir() if path.name != "it.json")


def files(outcome: Outcome) -> dict[str, Path]:
    assert outcome.last["kind"] == "produced", outcome.last
    return {kind: outcome.file(kind) for kind in outcome.last["files"]}


def said(path: Path) -> dict[str, str]:
    """Return the tags of a file. yt-dlp writes a day as 20240131, and an MP3 keeps only its year."""
    tags = about(path).tags
    return {name: tags[name][:4] if name == "date" else tags[name] for name in TAGS if name in tags}


@pytest.mark.parametrize("container", ["mp4", "mkv"])
async def test_a_film_with_everything_embedded_is_as_yt_dlp_makes_it(
    container: str, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    told_of = offer(shelf, media)
    wishes: dict[str, Any] = {"subtitles": {"embed": True}, "embed_metadata": True, "video_format": container}
    outcome = await told(tmp_path / "t", shelf, told_of, outputs=["video", "subtitles"], **wishes)
    ours = files(outcome)
    embed = ["--embed-metadata", "--embed-chapters", "--embed-thumbnail", "--embed-subs", "--write-subs"]
    choice = ["--sub-langs", "all", "--convert-subs", "srt", "--remux-video", container]
    theirs = {path.name: path for path in await by_yt_dlp(tmp_path / "y", told_of, *embed, *choice)}
    mine, yours = ours["video"], theirs[f"whole.{container}"]
    assert (await look_into(mine)).codecs == (await look_into(yours)).codecs
    assert (await look_into(mine)).pictures == (await look_into(yours)).pictures
    assert streams(mine) == streams(yours)
    assert [cues(mine, at) for at in range(3)] == [cues(yours, at) for at in range(3)]
    assert said(mine) == said(yours)
    assert (about(mine).description, about(mine).link) == (about(yours).description, about(yours).link)
    assert about(mine).chapters == about(yours).chapters
    assert cover(mine) == cover(yours)
    for language in ("en", "zh-Hans", "pt-BR"):
        assert cues(ours[f"subtitle.{language}"]) == cues(theirs[f"whole.{language}.srt"])


@pytest.mark.parametrize("wanted", ["mp3", "m4a", "flac", "opus"])
async def test_sound_with_everything_embedded_is_as_yt_dlp_makes_it(
    wanted: str, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    told_of = offer(shelf, media)
    wishes: dict[str, Any] = {"embed_metadata": True, "audio_format": wanted}
    mine = files(await told(tmp_path / "t", shelf, told_of, outputs=["audio"], **wishes))["audio"]
    options = ["-x", "--audio-format", wanted, "--embed-metadata", "--embed-chapters", "--embed-thumbnail"]
    [yours] = await by_yt_dlp(tmp_path / "y", told_of, *options)
    assert said(mine) == said(yours)
    assert cover(mine) == cover(yours)
    if wanted in ("mp3", "m4a"):  # in the other formats yt-dlp's chapters have wrong times, or are missing
        pairs = zip(about(mine).chapters, about(yours).chapters, strict=True)
        assert all(abs(one[0] - other[0]) < 0.1 and one[2] == other[2] for one, other in pairs)
        assert (about(mine).description, about(mine).link) == (about(yours).description, about(yours).link)


async def test_chapters_as_files(shelf: Shelf, media: Path, tmp_path: Path) -> None:
    told_of = offer(shelf, media)
    ours = files(await told(tmp_path / "t", shelf, told_of, outputs=["video"], split_chapters=True))
    theirs = await by_yt_dlp(tmp_path / "y", told_of, "--split-chapters")
    assert [path.name for path in theirs] == ["part-001.mp4", "part-002.mp4", "whole.mp4"]
    for number in (1, 2):
        mine, yours = await look_into(ours[f"chapter.{number}"]), await look_into(theirs[number - 1])
        assert (mine.codecs, mine.pictures) == (yours.codecs, yours.pictures)
        assert mine.duration == pytest.approx(yours.duration, abs=0.1)


def broadcast(media: Path, seen: dict[str, list[str]]) -> web.Application:
    """Serve a broadcast that gets a segment of one second each second, and lists the newest three; it ends
    with the fifteenth.

    It stands still until both programs have asked for the playlist four times: yt-dlp's extractor asks three
    times before its ffmpeg starts, our child as often to see whether the broadcast grows.
    """
    both, length = asyncio.Barrier(2), 15
    asked, began = Counter[str](), list[float]()

    async def playlist(request: web.Request) -> web.Response:
        asked[request.match_info["whose"]] += 1
        if asked[request.match_info["whose"]] == 4:
            await both.wait()
            began.append(time.monotonic() - 3)
        there = int(time.monotonic() - began[0]) if began else 3
        first, last = max(0, min(there, length) - 3), min(there, length)
        head = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        lines = [line for number in range(first, last) for line in ("#EXTINF:1.0,", f"{number}.ts")]
        end = ["#EXT-X-ENDLIST"] if there > length else []
        return web.Response(text="\n".join([*head, *lines, *end, ""]), content_type="audio/mpegurl")

    async def segment(request: web.Request) -> web.FileResponse:
        seen.setdefault(request.match_info["whose"], []).append(request.match_info["number"])
        return web.FileResponse(media / "hls/long" / f"{request.match_info['number']}.ts")

    app = web.Application()
    app.add_routes([web.get("/{whose}/it.m3u8", playlist), web.get(r"/{whose}/{number:\d+}.ts", segment)])
    return app


async def test_a_recording_begins_no_later_than_that_of_yt_dlp(
    jobs: Jobs, media: Path, tmp_path: Path
) -> None:
    seen: dict[str, list[str]] = {}
    runner = web.AppRunner(broadcast(media, seen), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        ours = asyncio.create_task(
            jobs.download(
                tmp_path / "t", f"http://127.0.0.1:{port}/ours/it.m3u8", live="record", outputs=["video"]
            )
        )
        program = [sys.executable, "-m", "yt_dlp", "--ignore-config", "--no-cache-dir", "--quiet"]
        where = ["--ffmpeg-location", FFMPEG, "-o", "it.%(ext)s", f"http://127.0.0.1:{port}/its/it.m3u8"]
        await asyncio.to_thread(subprocess.run, [*program, *where], cwd=tmp_path, check=True, timeout=60)
        outcome = await ours
    finally:
        await runner.cleanup()
    [its] = tmp_path.glob("it.*")
    assert int(seen["ours"][0]) <= int(seen["its"][0])
    assert seen["ours"] == [str(number) for number in range(int(seen["ours"][0]), 15)]
    mine = outcome.file("video")
    print(
        seen,
        (await look_into(mine)).duration,
        (await look_into(its)).duration,
        mine.stat().st_size,
        its.stat().st_size,
    )
    assert (await look_into(mine)).duration >= (await look_into(its)).duration - 0.3
