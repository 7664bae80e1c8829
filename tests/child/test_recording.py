"""Recordings of broadcasts in a child: which parts are kept, and which addresses ffmpeg may not reach."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from server.child.media import recorded_pieces
from server.child.media.guarded_ffmpeg import Run
from server.child.process.job_failed import JobFailed
from tests.jobs import Jobs, Outcome, broken, running_jobs, told
from tests.shelf import Shelf
from tests.site import Site, open_site
from tests.site import probe as film
from tests.tags import about, cover
from tests.tools import FFMPEG

BROADCAST = "/hls/broadcast/index.m3u8"


@pytest.fixture
async def inside(media: Path) -> AsyncIterator[Site]:
    """A site at an address that no download may reach."""
    async with open_site(media, 0, "127.0.0.2") as site:
        yield site


@pytest.fixture(scope="module")
def impatient() -> Iterator[Jobs]:
    """Jobs that ask after three seconds of silence whether a broadcast goes on, and wait three seconds for
    the answer.
    """
    with running_jobs(SILENT="3") as jobs:
        yield jobs


async def record(jobs: Jobs, folder: Path, url: str, **wishes: Any) -> Outcome:
    return await jobs.download(folder, url, live="record", **wishes)


def segments(site: Site) -> int:
    """Return how many different segments of one second were requested."""
    return len({request.path for request in site.requests if request.path.startswith("/hls/long/")})


async def cut_short(jobs: Jobs, folder: Path, url: str, after: int) -> Outcome:
    """Record, and kill the child when it has more than `after` bytes."""
    async with jobs.begin(folder, url, live="record") as job:
        async for event in job.events():
            if event.get("downloaded_bytes", 0) > after:
                job.kill()
        return await job.end()


async def leave_recorded(source: Path, folder: Path, times: int = 1) -> Path:
    """Make `folder` look as if a killed child had recorded `source` in it, so many times in a row."""
    folder.mkdir()
    piece = folder / "recorded-0001.mkv"
    command = ["-stream_loop", str(times - 1), "-i", str(source), "-c", "copy", str(piece)]
    ffmpeg = await asyncio.create_subprocess_exec(FFMPEG, "-v", "error", "-nostdin", *command)
    assert await ffmpeg.wait() == 0
    return piece


async def test_what_is_asked_for_is_made_of_a_recording(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    url = site.url(f"{BROADCAST}?end=7")
    outcome = await record(jobs, tmp_path / "t", url, outputs=["video", "audio"], video_format="mkv")
    assert (await film(outcome.file("video"))).codecs == ["aac", "h264"]
    assert outcome.file("video").name == "video.mkv"
    assert (await film(outcome.file("audio"))).duration == pytest.approx(segments(site), abs=0.3)
    assert outcome.last["video_info"]["live"] is True


async def test_a_recording_begins_with_what_was_in_the_playlist_when_it_was_first_read(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    """The window of four segments moves by two at each reading; the extractor reads it three times."""
    url = site.url(f"{BROADCAST}?step=2&window=4&gone=99")
    outcome = await record(jobs, tmp_path / "t", url, outputs=["video"])
    fetched = [request.path for request in site.requests if request.path.endswith(".ts")]
    assert fetched == [f"/hls/long/{number}.ts" for number in range(5, 20)]
    assert (await film(outcome.file("video"))).duration == pytest.approx(len(fetched), abs=0.3)


@pytest.mark.long
async def test_a_broadcast_that_stops_without_an_end_is_recorded_once_and_ends_by_itself(
    impatient: Jobs, site: Site, tmp_path: Path
) -> None:
    outcome = await record(
        impatient, tmp_path / "t", site.url(f"{BROADCAST}?quiet=9&gone=999"), outputs=["video"]
    )
    assert (await film(outcome.file("video"))).duration == pytest.approx(segments(site), abs=0.3)
    fetched = [request.path for request in site.requests if request.path.startswith("/hls/long/")]
    assert len(fetched) == len(set(fetched)), "the newest segment is not there twice"
    assert fetched[-1] == "/hls/long/8.ts"
    assert "nothing has come for 3 s" in outcome.log


@pytest.mark.long
async def test_a_broadcast_that_has_fallen_silent_ends_whatever_its_extractor_says(
    impatient: Jobs, shelf: Shelf, site: Site, tmp_path: Path
) -> None:
    """The extractor of the broadcast says at each question that it is live."""
    stream = {"url": site.url(f"{BROADCAST}?quiet=9&gone=999"), "protocol": "m3u8_native", "ext": "mp4"}
    live = {"id": "a", "title": "A", "is_live": True, "formats": [stream | {"format_id": "0"}]}
    url = shelf.put("told/it", json.dumps(live).encode(), "application/json")
    outcome = await record(impatient, tmp_path / "t", url, outputs=["video"])
    fetched = [request.path for request in site.requests if request.path.startswith("/hls/long/")]
    assert len(fetched) == len(set(fetched))
    assert (await film(outcome.file("video"))).duration == pytest.approx(len(fetched), abs=0.3)


async def test_a_recording_that_was_killed_in_a_silence_does_not_take_up_its_last_segment_again(
    impatient: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    await leave_recorded(media / "video.mp4", tmp_path / "t")
    outcome = await record(
        impatient, tmp_path / "t", site.url(f"{BROADCAST}?step=9&quiet=9&gone=999"), outputs=["video"]
    )
    assert (await film(outcome.file("video"))).duration == pytest.approx(4, abs=0.3)
    assert not segments(site)


async def test_a_playlist_that_cannot_be_read_is_not_taken_for_ended(
    impatient: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    await leave_recorded(media / "video.mp4", tmp_path / "t")
    busy = site.url(f"/page?kind=video&src={quote(f'{BROADCAST}?busy=0&back=99')}")
    assert broken(await record(impatient, tmp_path / "t", busy)) == ("extraction_failed", True, None)
    # The page is busy when the child asks whether the broadcast goes on.
    busy = site.url(f"/page?kind=video&src={quote(f'{BROADCAST}?busy=1&back=99')}")
    assert broken(await record(impatient, tmp_path / "t", busy)) == ("http_503", True, None)
    gone = site.url(f"/page?kind=video&src={quote(f'{BROADCAST}?gone=0')}")
    assert (await record(impatient, tmp_path / "t", gone)).last["kind"] == "produced"


async def test_sound_alone_is_all_that_is_recorded_for_sound_alone(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = site.url(f"{BROADCAST}?end=7")
    outcome = await record(jobs, tmp_path / "t", url, outputs=["audio"], audio_format="m4a")
    assert (await film(outcome.file("audio"))).codecs == ["aac"]
    assert (await film(tmp_path / "t/recorded-0001.mkv")).codecs == ["aac"]


@pytest.mark.long
async def test_sound_from_a_playlist_of_its_own_gets_to_its_picture(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = site.url("/hls/broadcast/apart.m3u8?end=9")
    outcome = await record(jobs, tmp_path / "t", url, outputs=["video"])
    made = await film(outcome.file("video"))
    assert made.codecs == ["aac", "h264"]
    assert made.duration == pytest.approx(segments(site), abs=1.3)


async def test_finish_before_anything_was_recorded_waits_for_something_to_keep(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = site.url(BROADCAST)
    async with jobs.begin(tmp_path / "t", url, live="record") as job:
        async for event in job.events():
            if event["kind"] == "download_started":
                job.command("finish")
        outcome = await job.end()
    assert (await film(outcome.file("video"))).duration > 0.5


@pytest.mark.long
async def test_finish_keeps_what_an_earlier_child_recorded_though_nothing_more_comes(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = site.url(f"{BROADCAST}?quiet=5")
    await cut_short(jobs, tmp_path / "t", url, after=150_000)
    silent = site.url(f"{BROADCAST}?quiet=5&stall=0")
    async with jobs.begin(tmp_path / "t", silent, live="record") as job:
        async for event in job.events():
            if event["kind"] == "download_started":
                job.command("finish")
        outcome = await job.end()
    assert (await film(outcome.file("video"))).duration > 1


@pytest.mark.long
async def test_a_source_that_is_busy_for_a_while_is_taken_up_again(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = site.url(f"{BROADCAST}?busy=9&back=12&end=18")
    outcome = await record(jobs, tmp_path / "t", url, outputs=["video"])
    assert "recorded-0002.mkv" in outcome.log
    first, second = [(await film(piece)).duration for piece in sorted((tmp_path / "t").glob("*.mkv"))]
    assert (await film(outcome.file("video"))).duration == pytest.approx(first + second, abs=0.2)
    assert outcome.kinds.count("download_started") == 1


@pytest.mark.long
async def test_a_broadcast_whose_playlist_goes_away_is_kept(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await record(jobs, tmp_path / "t", site.url(f"{BROADCAST}?gone=6"), outputs=["video"])
    assert (await film(outcome.file("video"))).duration > 0.5


@pytest.mark.long
async def test_what_a_killed_child_has_recorded_is_kept_when_the_broadcast_is_over(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = site.url(f"{BROADCAST}?end=12&gone=14")
    assert (await cut_short(jobs, tmp_path / "t", url, after=150_000)).code == -9
    async with aiohttp.ClientSession() as client:
        while (await client.get(url)).status == 200:
            await asyncio.sleep(0.05)
    outcome = await record(jobs, tmp_path / "t", url)
    assert outcome.kinds[0] == "download_started", "there is nothing to describe any more"
    assert (await film(outcome.file("video"))).duration > 1
    assert (await film(outcome.file("audio"))).codecs == ["mp3"]


async def test_a_recording_ends_when_it_is_as_large_as_is_allowed_and_is_kept(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    outcome = await record(jobs, tmp_path / "t", site.url(BROADCAST), outputs=["video"], max_filesize=300_000)
    assert 100_000 < outcome.file("video").stat().st_size <= 300_000
    assert (await film(outcome.file("video"))).duration > 1


@pytest.mark.parametrize(
    "hostile",
    [
        "segments={inside}/hls/long/",
        "key={inside}/hls/aes/key.bin",
        "segments=/redirect?to={inside}/hls/long/",
        "segments=http://0x7f.2:{port}/hls/long/",
        "segments=http://[::1]:{port}/hls/long/",
        "segments=http://[::ffff:127.0.0.2]:{port}/hls/long/",
    ],
)
async def test_no_part_of_a_broadcast_leads_inside(
    jobs: Jobs, site: Site, inside: Site, tmp_path: Path, hostile: str
) -> None:
    name, _, value = hostile.format(inside=inside.url("", "127.0.0.2"), port=inside.port).partition("=")
    url = site.url(f"{BROADCAST}?{name}={quote(value, safe='')}")
    outcome = await record(jobs, tmp_path / "t", url)
    assert broken(outcome) == ("blocked_address", False, None)
    assert inside.requests == []


@pytest.mark.parametrize(
    "link", ["file:///etc/passwd?", "tcp://127.0.0.1:{port}/", "concat:/etc/passwd|", "data:,"]
)
async def test_a_broadcast_names_nothing_but_http(
    jobs: Jobs, site: Site, inside: Site, tmp_path: Path, link: str
) -> None:
    url = site.url(f"{BROADCAST}?end=6&segments={quote(link.format(port=inside.port), safe='')}")
    outcome = await record(jobs, tmp_path / "t", url)
    assert outcome.last["kind"] == "broken"
    assert "root:" not in outcome.log
    assert inside.requests == []


@pytest.mark.parametrize("more", [{"formats": []}, {"url": "http://127.0.0.1:9/tomorrow.mp4"}])
async def test_a_broadcast_that_is_announced_has_not_begun_whether_or_not_it_has_formats(
    shelf: Shelf, tmp_path: Path, more: dict[str, Any]
) -> None:
    announced = {"id": "a", "title": "Tomorrow", "live_status": "is_upcoming"} | more
    assert broken(await told(tmp_path / "t", shelf, announced)) == ("not_live", False, None)


async def test_what_is_recorded_of_a_broadcast_that_has_ended_meanwhile_is_not_there_twice(
    shelf: Shelf, site: Site, media: Path, tmp_path: Path
) -> None:
    """The extractor still says that it is live, and its playlist has all of it."""
    stream = {"url": site.url(f"{BROADCAST}?step=4&end=8&over=-1"), "protocol": "m3u8_native", "ext": "mp4"}
    live = {"id": "a", "title": "A", "is_live": True, "formats": [stream | {"format_id": "0"}]}
    await leave_recorded(media / "video.mp4", tmp_path / "t")
    outcome = await told(tmp_path / "t", shelf, live, live="record", outputs=["video"])
    assert (await film(outcome.file("video"))).duration == pytest.approx(4, abs=0.3)


@pytest.mark.parametrize(("recorded", "kept"), [(1, 8), (4, 16)], ids=["all of it", "its last part alone"])
async def test_what_was_recorded_is_not_there_twice_if_the_broadcast_ends_while_ffmpeg_begins(
    shelf: Shelf, site: Site, media: Path, tmp_path: Path, recorded: int, kept: int
) -> None:
    """The playlist has no end when the child reads it. When ffmpeg reads it, it has an end and 8 s."""
    stream = {"url": site.url(f"{BROADCAST}?step=5&end=8"), "protocol": "m3u8_native", "ext": "mp4"}
    live = {"id": "a", "title": "A", "is_live": True, "formats": [stream | {"format_id": "0"}]}
    await leave_recorded(media / "video.mp4", tmp_path / "t", times=recorded)
    outcome = await told(tmp_path / "t", shelf, live, live="record", outputs=["video"])
    assert "recorded-0002.mkv" in outcome.log
    assert (await film(outcome.file("video"))).duration == pytest.approx(kept, abs=0.3)


async def test_a_kill_does_not_join_a_recording_to_what_may_repeat_it(
    jobs: Jobs, shelf: Shelf, site: Site, media: Path, tmp_path: Path
) -> None:
    """The broadcast ends while ffmpeg begins with the second piece; then the child is killed."""
    # The first segment comes, and a later, larger one is cut off.
    most = (media / "hls/long/0.ts").stat().st_size
    link = site.url(f"{BROADCAST}?step=5&end=8&stall={most}")
    stream = {"url": link, "protocol": "m3u8_native", "ext": "mp4", "format_id": "0"}
    live = {"id": "a", "title": "A", "is_live": True, "formats": [stream]}
    url = shelf.put("told/it", json.dumps(live).encode(), "application/json")
    first = await leave_recorded(media / "video.mp4", tmp_path / "t")
    assert (await cut_short(jobs, tmp_path / "t", url, after=first.stat().st_size)).code == -9
    outcome = await record(jobs, tmp_path / "t", url, outputs=["video"])
    assert (await film(outcome.file("video"))).duration == pytest.approx(4, abs=0.3)


async def test_what_a_killed_child_has_recorded_gets_all_that_the_page_still_says_of_it(
    shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    picture = (media / "thumbnail.jpg").read_bytes()
    over: dict[str, Any] = {"id": "a", "title": "A", "uploader": "Someone", "live_status": "was_live"}
    over["thumbnails"] = [{"url": shelf.put("thumbnail.jpg", picture)}]
    over["formats"] = [{"format_id": "0", "url": shelf.put("rerun.mp4", b"")}]
    await leave_recorded(media / "video.mp4", tmp_path / "t")
    outputs = ["video", "thumbnail"]
    outcome = await told(tmp_path / "t", shelf, over, live="record", outputs=outputs, embed_metadata=True)
    assert about(outcome.file("video")).tags["artist"] == "Someone"
    assert cover(outcome.file("video")) == outcome.file("thumbnail").read_bytes() == picture
    assert outcome.described["live"] is outcome.last["video_info"]["live"] is True
    assert not shelf.asked["rerun.mp4"]


async def test_what_a_killed_child_has_recorded_stays_a_recording_though_its_page_is_gone(
    jobs: Jobs, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    await leave_recorded(media / "video.mp4", tmp_path / "t")
    wishes: dict[str, Any] = {"outputs": ["video", "thumbnail"], "embed_metadata": True}
    outcome = await record(jobs, tmp_path / "t", shelf.url("told/gone"), **wishes)
    assert list(outcome.last["files"]) == ["video"]
    assert outcome.last["video_info"]["live"] is True
    assert "described" not in outcome.kinds


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        (["0001", "0002", "in-doubt"], ["0001", "0002"]),
        (["0001", "0002", "whole"], ["whole"]),
        (["0002", "whole"], ["whole"]),
        (["whole"], ["whole"]),
    ],
    ids=["undecided", "decided", "half deleted", "deleted"],
)
def test_whenever_a_kill_comes_nothing_is_kept_twice(
    tmp_path: Path, left: list[str], kept: list[str]
) -> None:
    for name in left:
        suffix = ".mkv" if name.isdigit() else ""
        (tmp_path / f"recorded-{name}{suffix}").write_text(name.ljust(20_000))
    recorded_pieces.delete_unkept(tmp_path)
    assert [piece.read_text().strip() for piece in recorded_pieces.list_pieces(tmp_path)] == kept
    assert len(list(tmp_path.iterdir())) == len(kept)


async def test_a_piece_that_holds_nothing_keeps_nobody_from_what_there_is(
    shelf: Shelf, site: Site, tmp_path: Path
) -> None:
    stream = {"url": site.url(f"{BROADCAST}?step=4&end=4&over=-1"), "protocol": "m3u8_native", "ext": "mp4"}
    live = {"id": "a", "title": "A", "is_live": True, "formats": [stream | {"format_id": "0"}]}
    (tmp_path / "t").mkdir()
    (tmp_path / "t/recorded-0001.mkv").write_bytes(b"\x1aE\xdf\xa3".ljust(20_000, b"\0"))
    outcome = await told(tmp_path / "t", shelf, live, live="record", outputs=["video"])
    assert (await film(outcome.file("video"))).duration == pytest.approx(4, abs=0.3)


def test_an_ffmpeg_that_has_just_ended_is_asked_to_end_without_a_fault() -> None:
    command = [FFMPEG, "-version"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as program:
        program.wait()
        Run(program).ask_to_end()


def test_an_ffmpeg_that_is_killed_while_it_looks_does_not_make_a_recording_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise JobFailed("worker_lost")

    (tmp_path / "recorded-0001.mkv").write_bytes(bytes(20_000))
    monkeypatch.setattr("server.child.media.probe.inspect", killed)
    with pytest.raises(JobFailed, match="worker_lost"):
        recorded_pieces.join_pieces(tmp_path, FFMPEG)
