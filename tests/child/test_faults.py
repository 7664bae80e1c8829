"""Real jobs with a site that misbehaves; some are killed and started again."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]
import pytest

from tests.jobs import Jobs, broken, probe
from tests.service import descendants
from tests.shelf import Shelf
from tests.site import SECONDS, Site, sha256
from tests.tools import FFMPEG

# --- faults of the site ---


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/1mb.mp4?status=404", ("http_404", False, None)),
        pytest.param("/1mb.mp4?status=403", ("http_403", False, None), marks=pytest.mark.long),
        pytest.param("/1mb.mp4?status=500", ("http_500", True, None), marks=pytest.mark.long),
        ("/1mb.mp4?status=429&retry_after=7", ("http_429", True, 7)),
        ("/1mb.mp4?status=403&retry_after=7", ("bot_check", True, 7)),
        ("/1mb.mp4?status=503&retry_after=9&after=1", ("http_503", True, 9)),
        ("/1mb.mp4?cut=500000&ranges=no", ("incomplete", True, None)),
        ("/1mb.mp4?lie=1000", ("incomplete", True, None)),
        ("/8mb.mp4?lie=-7700000", ("incomplete", True, None)),
        ("/hls/ts/index.m3u8?missing=2", ("http_404", False, None)),
        pytest.param("/hls/ts/index.m3u8?status=500", ("http_500", True, None), marks=pytest.mark.long),
        pytest.param(
            "/hls/aes/index.m3u8?lie=-1000&only=1", ("incomplete", True, None), marks=pytest.mark.long
        ),
        ("/texts/key-wrong.m3u8", ("no_media", False, None)),
        pytest.param("/texts/iv-wrong.m3u8", ("extraction_failed", True, None), marks=pytest.mark.long),
        pytest.param(
            "/texts/byterange-wrong.m3u8", ("extraction_failed", True, None), marks=pytest.mark.long
        ),
        ("/texts/nothing.m3u8", ("incomplete", True, None)),
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
    "proxy",
    ["http://127.0.0.1:1", "socks5://127.0.0.1:1", "socks5h://proxy.invalid:1080", "socks4://127.0.0.1:1"],
)
async def test_a_proxy_that_cannot_be_reached_is_no_fault_of_the_source(
    jobs: Jobs, site: Site, tmp_path: Path, proxy: str
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/video.mp4"), proxy=proxy)
    assert broken(outcome)[0] == "proxy_error"


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/1mb.mp4?lie=-1000000", "nothing_came"),  # an empty file
        ("/8mb.mp4?lie=-7700000", "ends_too_early"),
        ("/1mb.mp4?cut=500000&ranges=no", None),
    ],
)
async def test_a_file_that_does_not_come_whole_gets_the_hint_that_is_true(
    jobs: Jobs, site: Site, tmp_path: Path, path: str, hint: str | None
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(path))
    assert (outcome.last["code"], outcome.last.get("hint")) == ("incomplete", hint)


async def test_a_key_of_a_wrong_length_is_what_the_hint_says(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/texts/key-wrong.m3u8"))
    assert (broken(outcome), outcome.last["hint"]) == (("no_media", False, None), "wrong_key")


@pytest.mark.parametrize(
    ("name", "query", "code"),
    [
        ("how-captcha-works.mp4", "status=404", "http_404"),
        ("My blog in Paris.mp4", "cut=500000&after=1&ranges=no", "incomplete"),
        ("no space left on device.mp4", "cut=500000&after=1&ranges=no", "incomplete"),
    ],
)
async def test_the_words_of_a_link_decide_no_code(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path, name: str, query: str, code: str
) -> None:
    shutil.copy(media / "1mb.mp4", media / name)
    outcome = await jobs.download(tmp_path / "t", site.url(f"/{quote(name)}?{query}"))
    assert broken(outcome)[0] == code


def refused(status: int, **more: int) -> str:
    return quote(f"/video.mp4?status={status}" + "".join(f"&{name}={value}" for name, value in more.items()))


MASTER, NOBODYS = "/hls/master/index.m3u8", "http://10.1.1.1/a.m3u8"


@pytest.mark.wide
@pytest.mark.parametrize(
    "path",
    [
        *(f"{MASTER}?best={refused(status)}" for status in (404, 503)),
        *(
            pytest.param(f"{MASTER}?best={refused(status)}", marks=pytest.mark.long)
            for status in (403, 410, 429)
        ),
        f"{MASTER}?best={NOBODYS}",
        f"{MASTER}?best={quote('../ts/index.m3u8?status=404')}",
        f"{MASTER}?best={refused(404)}&next={refused(503)}&last=../ts/index.m3u8",
        f"{MASTER}?best=../ts/index.m3u8&next={refused(404)}",
        "/dash/manifest.mpd?broken=yes",
        f"/smil?best={refused(404)}",
        f"/page?kind=og&src={quote(f'{MASTER}?best={refused(404)}')}",
    ],
)
async def test_if_a_stream_is_refused_the_next_best_is_taken(
    jobs: Jobs, site: Site, tmp_path: Path, path: str
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(path), outputs=["video"])
    assert "Duration: 00:00:04.0" in probe(outcome.file("video"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"{MASTER}?best={refused(404)}&next={refused(404)}", ("http_404", False, None)),
        (f"{MASTER}?best={refused(503)}&next={refused(503)}", ("http_503", True, None)),
        (f"{MASTER}?best={refused(404)}&next={refused(429, retry_after=7)}", ("http_429", True, 7)),
        (f"{MASTER}?best={NOBODYS}&next={NOBODYS}", ("blocked_address", False, None)),
        (f"{MASTER}?best={refused(403)}&next=/hls/live/index.m3u8", ("live_rejected", False, None)),
        ("/dash/manifest.mpd?status=404", ("http_404", False, None)),
        ("/ism/Manifest", ("http_404", False, None)),
        (f"/smil?best={refused(503)}&next={refused(503)}", ("http_503", True, None)),
        (f"/page?kind=og&src={refused(404)}", ("http_404", False, None)),
        (f"/page?kind=og&src={quote('/hls/ts/index.m3u8?status=403')}", ("http_403", False, None)),
        ("/page?kind=og&src=/missing.m3u8", ("http_404", False, None)),
    ],
)
async def test_if_all_streams_are_refused_the_reason_is_reported(
    jobs: Jobs, site: Site, tmp_path: Path, path: str, expected: tuple[str, bool, float | None]
) -> None:
    assert broken(await jobs.download(tmp_path / "t", site.url(path))) == expected


@pytest.mark.parametrize("name", ["picture-gone.mpd", "sound-gone.mpd", "master-sound-gone.m3u8"])
async def test_a_refused_picture_or_sound_is_not_left_out_of_the_film(
    jobs: Jobs, site: Site, tmp_path: Path, name: str
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(f"/texts/{name}"))
    assert broken(outcome) == ("http_404", False, None)


async def test_an_exact_choice_has_no_alternative(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    url = site.url("/dash/manifest.mpd?broken=yes")
    outcome = await jobs.download(tmp_path / "t", url, format="9+1")
    assert broken(outcome) == ("http_404", False, None)


@pytest.mark.parametrize(
    ("path", "fetched"), [("/1mb.mp4", "/1mb.mp4"), ("/hls/ranges/index.m3u8", "/hls/ts/0.ts")]
)
async def test_a_film_that_is_known_to_be_too_large_is_not_fetched(
    jobs: Jobs, site: Site, tmp_path: Path, path: str, fetched: str
) -> None:
    url = site.url(f"{path}?rate=20000")
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video"], max_filesize=60_000)
    assert broken(outcome) == ("too_large", False, None)
    assert sum(file.stat().st_size for file in (tmp_path / "t").glob("*.part*")) < 20_000
    assert len(site.seen(fetched)) <= 2


@pytest.mark.parametrize("path", ["/redirect?to=", "/page?src=", "/page?src=/redirect?to="])
@pytest.mark.parametrize("link", ["file:///etc/passwd", "ftp://127.0.0.1/a.mp4", "javascript:alert(1)"])
async def test_nothing_is_fetched_by_another_way_than_http(
    jobs: Jobs, site: Site, tmp_path: Path, path: str, link: str
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(path + link))
    assert broken(outcome) == ("unsupported_url", False, None)


async def test_a_stream_that_needs_another_program_is_said_so(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/page?src=rtmpe://127.0.0.1/a"))
    assert broken(outcome) == ("unsupported_stream", False, None)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://10.0.0.1/a.mp4", ("blocked_address", False, None)),
        ("http://127.0.0.1:1/a.mp4", ("connection_failed", True, None)),
        ("http://nowhere.invalid/a.mp4", ("dns_error", False, None)),
    ],
)
async def test_a_blocked_address_has_a_code_too(
    jobs: Jobs, tmp_path: Path, url: str, expected: tuple[str, bool, float | None]
) -> None:
    assert broken(await jobs.download(tmp_path / "t", url)) == expected


@pytest.mark.parametrize("begun", [False, True])
async def test_an_address_that_is_blocked_in_a_segment_is_not_tried_again(
    jobs: Jobs, site: Site, shelf: Shelf, tmp_path: Path, begun: bool
) -> None:
    """Another try would meet the same address, whether or not the film has begun to come."""
    first = f"#EXTINF:1,\n{site.url('/hls/ts/0.ts')}\n" * begun
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n{first}#EXTINF:1,\nhttp://10.0.0.1/1.ts\n#EXT-X-ENDLIST\n"
    outcome = await jobs.download(tmp_path / "t", shelf.put("a.m3u8", playlist.encode()))
    assert broken(outcome) == ("blocked_address", False, None)
    assert "Retrying" not in outcome.log


@pytest.mark.parametrize("path", ["/1mb.mp4", "/1mb.mp4?chunked=yes", "/endless.mp4", "/hls/ts/index.m3u8"])
async def test_nobody_gets_more_than_the_largest_file(
    jobs: Jobs, site: Site, tmp_path: Path, path: str
) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url(path), max_filesize=200_000)
    assert broken(outcome) == ("too_large", False, None)
    assert sum(file.stat().st_size for file in (tmp_path / "t").iterdir()) <= 500_000


async def test_two_streams_together_may_not_be_larger_than_allowed(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    """Each stream alone would be small enough."""
    url = site.url("/dash/manifest.mpd")
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video"], max_filesize=350 << 10)
    assert broken(outcome) == ("too_large", False, None)


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


# --- jobs that are killed, and started again in the same directory ---


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        pytest.param("/8mb.mp4?rate=2000000", 1, marks=pytest.mark.long),
        ("/8mb.mp4?stall=5000000&after=1&times=1", 1),
        # Three connections fetch fragments at a time: when the fourth fragment is requested, one is complete.
        ("/hls/ts/index.m3u8?rate=150000", 1 + 4),
        pytest.param("/dash/manifest.mpd?rate=100000", 2 + 4, marks=pytest.mark.long),
    ],
)
async def test_a_killed_download_goes_on_and_ends_whole(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path, path: str, asked: int
) -> None:
    begun = jobs.begin(tmp_path / "t", site.url(path), outputs=["video"])
    async with begun as job:
        running = asyncio.create_task(job.run())
        while "progress" not in job.outcome.kinds or len({seen.path for seen in site.requests}) < asked:
            await asyncio.sleep(0.01)
        job.kill()
        assert (await running).code == -9
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
        assert first - {seen.path for seen in site.requests}  # some fragments were not fetched again


async def test_a_finished_file_that_was_not_published_is_not_fetched_again(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    await jobs.download(tmp_path / "t", site.url("/1mb.mp4"), outputs=["video"])
    site.requests.clear()
    outcome = await jobs.download(tmp_path / "t", site.url("/1mb.mp4"), outputs=["video"])
    assert sha256(outcome.file("video")) == sha256(media / "1mb.mp4")
    assert len(site.seen("/1mb.mp4")) == 1


@pytest.mark.long
async def test_another_choice_does_not_go_on_with_the_bytes_of_the_first(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path
) -> None:
    assert (
        broken(await jobs.download(tmp_path / "t", site.url("/1mb.mp4?cut=500000&after=1&ranges=no")))[0]
        == "incomplete"
    )
    assert list((tmp_path / "t").glob("*.part"))
    outcome = await jobs.download(tmp_path / "t", site.url("/video.mp4"), outputs=["video"])
    assert sha256(outcome.file("video")) == sha256(media / "video.mp4")
    assert not list((tmp_path / "t").glob("*.part"))


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_killed_ffmpeg_is_no_fault_of_the_film_and_only_its_work_is_done_again(
    jobs: Jobs, site: Site, media: Path, tmp_path: Path, how: signal.Signals
) -> None:
    url = site.url(f"/{long_sound(media).name}")
    async with jobs.begin(tmp_path / "t", url, outputs=["audio"]) as job:
        hearing = asyncio.create_task(job.run())
        (await _encoder()).send_signal(how)
        assert broken(await hearing) == ("worker_lost", True, None)
    site.requests.clear()
    outcome = await jobs.download(tmp_path / "t", url, outputs=["audio"])
    assert outcome.last["kind"] == "produced"
    assert len(site.requests) == 1  # one request: the file is as it was, and is kept


def long_sound(media: Path) -> Path:
    """Return a sound file that is long enough for a test to kill its encoder."""
    target = media / "long.m4a"
    if not target.exists():
        part = media / f"long-{os.getpid()}.m4a"  # another worker of the tests may make it at the same time
        command = [FFMPEG, "-v", "error", "-nostdin", "-stream_loop", "80", "-i", str(media / "audio.m4a")]
        subprocess.run([*command, "-c", "copy", str(part)], check=True)
        part.rename(target)
    return target


async def _encoder() -> psutil.Process:
    while True:
        for process in descendants(os.getpid()):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "libmp3lame" in process.cmdline():
                    return process
        await asyncio.sleep(0.01)


async def test_a_second_child_waits_until_the_first_is_gone(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    url = site.url("/8mb.mp4?stall=3000000&after=1")
    async with (
        jobs.begin(tmp_path / "t", url, outputs=["video"]) as first,
        jobs.begin(tmp_path / "t", url, outputs=["video"]) as second,
    ):
        hearing = {job: asyncio.create_task(job.run()) for job in (first, second)}
        while not (_has_bytes(tmp_path / "t") and _is_waited_for(tmp_path / "t.lock")):
            await asyncio.sleep(0.01)
        ahead, behind = (first, second) if first.outcome.events else (second, first)
        assert not behind.outcome.events
        ahead.kill()
        # The first child is dead before the rest of the film comes: a kill takes milliseconds.
        assert (await hearing[ahead]).code == -9
        site.release()
        assert (await hearing[behind]).code == 0
        assert behind.outcome.last["kind"] == "produced"
        assert site.seen("/8mb.mp4")[-1].range


def _has_bytes(directory: Path) -> bool:
    return any(part.stat().st_size for part in directory.glob("*.part"))


def _is_waited_for(lock: Path) -> bool:
    inode = f":{lock.stat().st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


async def test_a_stop_ends_a_job_and_a_stalled_job_is_silent(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    begun = jobs.begin(tmp_path / "t", site.url("/8mb.mp4?stall=3000000&after=1"), outputs=["video"])
    async with begun as job:
        hearing = asyncio.create_task(job.run())
        await site.stalled()
        before = len(job.outcome.events)  # a job on a slow machine may have sent an "alive" before
        await asyncio.sleep(3)  # a living job would send an "alive" in this time
        assert not any(event["kind"] == "alive" for event in job.outcome.events[before:])
        job.command("stop")
        assert (await hearing).code == -9


async def test_a_limit_holds_and_can_be_lifted_at_once(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    begun = jobs.begin(tmp_path / "t", site.url("/8mb.mp4"), outputs=["video"], rate_limit=100_000)
    async with begun as job:
        async for event in job.events():
            if event["kind"] == "progress" and event["downloaded_bytes"] > 100_000:
                job.command("rate", bytes_per_second=None)
                break
        outcome = await job.run()
    said = [event["downloaded_bytes"] for event in outcome.events if event["kind"] == "progress"]
    assert said[0] < 400_000
    assert outcome.last["kind"] == "produced"


def _as_if_killed_in_the_middle_of_a_write(directory: Path) -> None:
    """Append half a fragment to the file of a killed child, which its note does not count."""
    for note in directory.glob("*.ytdl"):
        with note.with_suffix(".part").open("ab") as part:
            part.write(b"half a fragment")


def _frames(path: Path) -> int:
    command = ["-i", str(path), "-map", "0:v", "-c", "copy", "-f", "framehash", "-"]
    result = subprocess.run([FFMPEG, "-v", "error", *command], capture_output=True, text=True, check=True)
    return sum(not line.startswith("#") for line in result.stdout.splitlines())
