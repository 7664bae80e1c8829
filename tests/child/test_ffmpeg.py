"""The programs that yt-dlp starts in a child: real ones, each in an interpreter of its own."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from server.child.process import sandbox
from tests.bundled import SYSTEMS
from tests.tools import FFMPEG, FFPROBE, without

ROOT = Path(__file__).parents[2]

# The program of such an interpreter: it installs `ffmpeg`, collects its reports, and runs the body that
# follows.
CHILD = """
import fcntl, json, os, shutil, subprocess, sys, threading, time
sys.path.append(sys.argv[1])
import yt_dlp
from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor
from yt_dlp.utils import Popen as before
from server.child.media import run_ffmpeg
from server.child.process import sandbox

executable, times, written, probe = sys.argv[2], [], [], shutil.which("ffprobe")
lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
fcntl.flock(lock, fcntl.LOCK_EX)
run_ffmpeg.install(executable, lock, times.append, lambda: written.append(time.monotonic()))
from yt_dlp.utils import Popen
FFmpegPostProcessor._ffmpeg_location.set(executable)

def say(**fields):
    print(json.dumps(fields), flush=True)

def run(*command):
    return Popen.run(list(command), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                     stderr=subprocess.PIPE)
"""

A_MINUTE = """
program = Popen([executable, "-v", "quiet", "-re", "-f", "lavfi", "-i", "testsrc=size=16x16:duration=60",
                 "-f", "null", "-"], stdin=subprocess.PIPE)
say(pid=program.pid, me=os.getpid())
"""


class Child:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> dict[str, Any]:
        assert self.process.stdout
        line = await self.process.stdout.readline()
        assert line, "the child has ended without a word"
        told: dict[str, Any] = json.loads(line)
        return told


@pytest.fixture
async def start(tmp_path: Path, ffmpeg: str) -> AsyncIterator[Any]:
    children = []

    async def start(body: str, executable: str = ffmpeg) -> Child:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-c", CHILD + body, str(ROOT), executable),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            limit=1 << 24,
            start_new_session=True,
        )
        children.append(process)
        return Child(process)

    yield start
    for process in children:
        if process.returncode is None:
            with suppress(ProcessLookupError):  # the process may have ended
                os.killpg(process.pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            await process.communicate()


@pytest.fixture
async def canary() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server on loopback that must not be reached: its port, and the lines that it has received."""
    hits: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hits.append(await reader.readline())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], hits


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    source = ["-f", "lavfi", "-i", "testsrc=size=64x64:duration=8", "-f", "lavfi", "-i", "sine=duration=8"]
    subprocess.run([FFMPEG, "-v", "error", *source, str(path)], check=True)
    return path


def open_files(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor was closed meanwhile
            found.add(os.readlink(link))
    return found


async def gone(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)


async def test_ffmpeg_tells_how_far_it_is(start: Any, video: Path) -> None:
    child = await start("""
with yt_dlp.YoutubeDL({"quiet": True}) as ydl:
    FFmpegPostProcessor(ydl).run_ffmpeg("video.mp4", "audio.mp3", ["-vn", "-q:a", "2"])
say(times=times, size=os.path.getsize("audio.mp3"))
""")
    told = await child.line()
    assert told["size"] > 10_000
    assert told["times"] == sorted(told["times"])
    assert told["times"][-1] == pytest.approx(8, abs=0.2)


@pytest.mark.long
async def test_yt_dlp_still_reads_what_ffmpeg_prints(start: Any, video: Path) -> None:
    child = await start("""
with yt_dlp.YoutubeDL({"quiet": True}) as ydl:
    processor = FFmpegPostProcessor(ydl)
    processor.probe_basename = None
    say(codec=processor.get_audio_codec("video.mp4"))
""")
    assert await child.line() == {"codec": "aac"}


@pytest.mark.long
async def test_yt_dlp_still_reads_what_ffprobe_prints(start: Any, video: Path) -> None:
    if not (FFPROBE and SYSTEMS):
        without("ffprobe", "apt-get install ffmpeg")
    body = """
with yt_dlp.YoutubeDL({"quiet": True}) as ydl:
    processor = FFmpegPostProcessor(ydl)
    duration = processor._get_real_video_duration("video.mp4")
    say(codec=processor.get_audio_codec("video.mp4"), duration=duration)
"""
    child = await start(body, SYSTEMS)  # the system's ffmpeg, which has ffprobe beside it
    assert await child.line() == {"codec": "aac", "duration": pytest.approx(8, abs=0.1)}


@pytest.mark.long
async def test_a_failing_ffmpeg_leaves_its_words_and_no_descriptors(start: Any) -> None:
    child = await start("""
open("broken.mp4", "w").write("garbage")
before = len(os.listdir("/proc/self/fd"))
ends = [run(executable, "-i", "file:broken.mp4", "out.mp3") for _ in range(3)]
try:
    run(executable + "-absent", "-i", "x")
except FileNotFoundError:
    say(errors=ends[0][1], status=ends[0][2], leaked=len(os.listdir("/proc/self/fd")) - before)
""")
    told = await child.line()
    assert "Invalid data found" in told["errors"]
    assert told["status"] != 0
    assert told["leaked"] == 0


@pytest.mark.long
async def test_an_executable_that_can_not_be_started_leaves_no_descriptors(
    start: Any, tmp_path: Path
) -> None:
    child = await start(
        """
before = len(os.listdir("/proc/self/fd"))
try:
    run(executable, "-i", "x")
except FileNotFoundError:
    say(leaked=len(os.listdir("/proc/self/fd")) - before)
""",
        str(tmp_path / "ffmpeg"),
    )
    assert await child.line() == {"leaked": 0}


async def test_ffmpeg_holds_the_lock_and_dies_with_a_killed_child(start: Any, tmp_path: Path) -> None:
    child = await start(A_MINUTE + "time.sleep(600)")
    told = await child.line()
    assert os.path.realpath(tmp_path / "lock") in open_files(told["pid"])
    os.kill(told["me"], signal.SIGKILL)
    await gone(told["pid"])


async def test_a_file_that_gets_too_large_is_an_error_with_a_name(start: Any, video: Path) -> None:
    child = await start("""
sandbox.limit(max_filesize=20_000)
_, errors, status = run(executable, "-i", "file:video.mp4", "file:out.wav")
say(errors=errors, status=status, size=os.path.getsize("out.wav"))
""")
    told = await child.line()
    assert "File too large" in told["errors"]
    assert told["status"] > 0
    assert told["size"] <= 20_000


CONVERT = """
from pathlib import Path
from server.child.media import run_ffmpeg as programs
from server.child.process.job_failed import JobFailed

def converted(*arguments):
    log = []
    try:
        programs.convert(executable, list(arguments), log.append)
    except JobFailed as failed:
        return failed.code, log
    return "well", log
"""


def fake(tmp_path: Path, body: str) -> str:
    path = tmp_path / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return str(path)


SIGNALLED = "Exiting normally, received signal 15."
NO_SPACE = "No space left on device"


ENDS = {
    "exit 255": "conversion_failed",
    "echo '[fc#0 @ 0x5f] [error] Operation not permitted' >&2; exit 255": "conversion_failed",
    f"echo 'title: {SIGNALLED}' >&2; exit 255": "conversion_failed",
    f"echo '[info] {SIGNALLED}' >&2; exit 255": "worker_lost",
    "kill -9 $$": "worker_lost",
    "exit 228": "disk_full",
    "exit 229": "too_large",
    "exit 244": "out_of_memory",
    f"echo 'file:{NO_SPACE}.mp4: {NO_SPACE}' >&2; exit 1": "conversion_failed",
    "echo 'File too large' >&2; exit 1": "conversion_failed",
}


async def test_what_ended_ffmpeg_is_told_by_its_status_and_not_by_names_in_its_words(
    start: Any, tmp_path: Path
) -> None:
    body = f"""
codes = dict()
for end in {list(ENDS)!r}:
    Path(executable).write_text("#!/bin/sh\\n" + end)
    codes[end] = converted("-i", "file:a.mp4", "b.mp4")[0]
say(codes=codes)
"""
    child = await start(CONVERT + body, fake(tmp_path, "exit 0"))
    assert (await child.line())["codes"] == ENDS


@pytest.mark.long
async def test_an_old_ffmpeg_has_no_status_for_a_full_disk_so_the_disk_is_checked(
    start: Any, tmp_path: Path
) -> None:
    """ffmpeg 6.0 and older releases end with the status 1, whatever went wrong."""
    body = (
        CONVERT
        + """
sandbox.limit(max_filesize=100_000)
open("out.mkv", "wb").write(bytes(100_000))
found = [converted("-i", "file:a.mp4", "b.mp4")[0]]
os.truncate("out.mkv", 99_999)
from server.child.process import job_failed as disk
disk.is_full = lambda directory: directory.absolute() == Path.cwd()
say(found=[*found, converted("-i", "file:a.mp4", "b.mp4")[0]])
"""
    )
    child = await start(body, fake(tmp_path, "exit 1"))
    assert await child.line() == {"found": ["too_large", "disk_full"]}


async def test_only_what_ffmpeg_complains_of_is_in_the_log(start: Any, video: Path) -> None:
    body = (
        CONVERT
        + """
open("broken.mp4", "w").write("garbage")
say(ends=[converted("-i", f"file:{name}.mp4", "-vn", "out.wav") for name in ("video", "broken")])
"""
    )
    [(well, quiet), (broken, loud)] = (await (await start(body)).line())["ends"]
    assert (well, len(quiet), broken) == ("well", 1, "conversion_failed")
    assert "Invalid data found" in loud[1]
    assert "[info]" not in loud[1]


REPORTING = 'to=$(echo "$*" | sed "s/.*-progress pipe:\\([0-9]*\\) .*/\\1/")'


@pytest.mark.long
async def test_a_time_that_is_repeated_is_no_sign_of_life_and_a_file_that_is_written_is_one(
    start: Any, tmp_path: Path
) -> None:
    """Like ffmpeg's second pass, the program writes for two seconds in the middle of its file, and reports
    nothing.
    """
    silent = "for n in 1 2 3 4; do sleep 0.5; printf x | dd of=out.mp4 conv=notrunc 2>/dev/null; done"
    repeated = 'for n in 1 2 3 4; do eval "echo out_time_us=7000000 >&$to"; sleep 0.5; done'
    body = f"{REPORTING}\nprintf x >out.mp4\n{repeated}\n{silent}"
    program = fake(tmp_path, body)
    (tmp_path / "ffmpeg").write_text((tmp_path / "ffmpeg").read_text().replace("/bin/sh", "/bin/bash"))
    child = await start(
        CONVERT + 'say(code=converted("-i", "file:a.mp4", "file:out.mp4"), times=times, writes=len(written))',
        program,
    )
    told = await child.line()
    assert told["times"] == [7.0]
    assert 2 <= told["writes"] <= 6


@pytest.mark.long
async def test_of_a_flood_of_warnings_both_ends_are_kept_within_little_memory(
    start: Any, tmp_path: Path
) -> None:
    flood = "seq -f 'warning %.0f: a packet is late, and it is told at some length' 700000 >&2"
    program = fake(tmp_path, f"{flood}; echo 'the reason' >&2; exit 1")
    child = await start(
        CONVERT
        + """
began = time.monotonic()
code, log = converted("-i", "file:a.mp4", "file:out.mp4")
of_its_own = open("/proc/self/status").read()  # getrusage() counts what started it as well
say(code=code, lines=log[1].splitlines(), took=time.monotonic() - began,
    memory=int(of_its_own.partition("VmHWM:")[2].split()[0]))
""",
        program,
    )
    told = await child.line()
    assert told["code"] == "conversion_failed"
    assert told["lines"][0].startswith("warning 1:")
    assert told["lines"][-1] == "the reason"
    assert "(696001 lines left out)" in told["lines"]
    assert told["memory"] < 300_000  # KiB
    assert told["took"] < 60


@pytest.mark.long
async def test_a_line_without_an_end_is_read_in_pieces(start: Any, tmp_path: Path) -> None:
    program = fake(tmp_path, "head -c 50000000 /dev/zero | tr '\\0' x >&2; echo >&2; exit 1")
    child = await start(
        CONVERT + 'say(longest=max(map(len, converted("-i", "a")[1][1].splitlines())))', program
    )
    assert (await child.line())["longest"] <= 4096 + len(" [and 12345 more like that]")


HOSTILE = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}a.ts\n#EXT-X-ENDLIST\n",
    "key": '#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-KEY:METHOD=AES-128,URI="{url}key"\n'
    "#EXTINF:5,\nvideo.mp4\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {url}a.mp4\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT5S"><BaseURL>{url}</BaseURL><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="0" bandwidth="1"><SegmentList duration="5"><Initialization sourceURL="i.mp4"/>'
    '<SegmentURL media="a.mp4"/></SegmentList></Representation></AdaptationSet></Period></MPD>',
}


@pytest.mark.long
async def test_a_hostile_file_makes_nobody_reach_the_network(
    start: Any, canary: tuple[int, list[bytes]], tmp_path: Path, video: Path
) -> None:
    port, hits = canary
    for kind, text in HOSTILE.items():
        (tmp_path / f"{kind}.mp4").write_text(text.format(url=f"http://127.0.0.1:{port}/"))
    child = await start(f"""
for kind in {list(HOSTILE)!r}:
    for reading in ([], ["-f", "hls"], ["-f", "concat", "-safe", "0"], ["-f", "dash"]):
        run(executable, "-y", *reading, "-i", f"file:{{kind}}.mp4", "-c", "copy", "out.mp4")
        if probe:
            run(probe, *reading, "-show_streams", f"file:{{kind}}.mp4")
    say(done=kind)
""")
    for kind in HOSTILE:
        assert await child.line() == {"done": kind}
        assert hits == [], kind


async def test_no_program_gets_to_a_host_even_if_asked_to(
    start: Any, canary: tuple[int, list[bytes]], tmp_path: Path
) -> None:
    port, hits = canary
    connecting = tmp_path / "deno"
    connecting.write_text(
        f"#!{sys.executable} -I\nimport socket\n"
        f"socket.create_connection(('127.0.0.1', {port})).sendall(b'hit\\n')\n"
    )
    connecting.chmod(0o700)
    child = await start(f"""
asked = [run(executable, "-i", "http://127.0.0.1:{port}/", "out.mp4")]
if probe:
    asked.append(run(probe, "http://127.0.0.1:{port}/"))
say(asked=[end[2] for end in asked], connecting=run({str(connecting)!r})[1])
""")
    told = await child.line()
    assert all(told["asked"])
    if sandbox.abi() >= 4:
        assert "PermissionError" in told["connecting"]
        assert hits == []
    else:
        assert hits == [b"hit\n"]


@pytest.mark.long
async def test_other_programs_seem_not_to_be_installed(start: Any) -> None:
    child = await start("""
from yt_dlp.utils import check_executable
say(found=[check_executable(name) for name in ("rtmpdump", "sh", "true", "/bin/true")])
""")
    assert await child.line() == {"found": [False] * 4}


async def test_a_download_is_not_left_to_ffmpeg(start: Any, canary: tuple[int, list[bytes]]) -> None:
    port, hits = canary
    child = await start(f"""
from yt_dlp.downloader.external import FFmpegFD
with yt_dlp.YoutubeDL({{"quiet": True}}) as ydl:
    try:
        FFmpegFD(ydl, {{}}).real_download("out.mp4", {{"url": "http://127.0.0.1:{port}/", "ext": "mp4"}})
    except yt_dlp.utils.DownloadError as exc:
        say(error=str(exc))
""")
    assert "uses the network by itself" in (await child.line())["error"]
    assert hits == []


async def test_every_module_of_yt_dlp_starts_programs_this_way(start: Any) -> None:
    child = await start("""
import yt_dlp.extractor.extractors, yt_dlp.extractor.youtube.jsc._builtin.deno
say(left=[name for name, module in sys.modules.items() if vars(module).get("Popen") is before])
""")
    assert await child.line() == {"left": []}
