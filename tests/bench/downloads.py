"""From a submit to `completed`, against the command line that does the same job on the same file."""

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.bench.client import Client, client_of
from tests.bench.figures import Figure, alternate, middle
from tests.bench.http_load import Load, post
from tests.bench.lab import BIG, Lab
from tests.bench.programs import PATIENCE, Clipwire, clean_environment
from tests.tools import FFMPEG

ROUNDS = 7
MANY = 50
YT_DLP = str(Path(sys.executable).with_name("yt-dlp"))
# The command line's own choice of formats, containers and checks, without files that only it writes.
QUIET = ("--quiet", "--no-warnings", "--no-cache-dir", "--ignore-config", "--ffmpeg-location", FFMPEG)
BOTH = ("--extract-audio", "--keep-video", "--audio-format", "mp3")
MERGED = ("--format", "bv*+ba/b", "--merge-output-format", "mp4")

Jobs = tuple[tuple[str, str, list[str], tuple[str, ...], float], ...]


async def downloads(lab: Lab) -> list[Figure]:
    site, both = lab.site.url, ["video", "audio"]
    jobs: Jobs = (
        # what, where, our outputs, the command line's options, the target
        ("1 MB, video", f"{site}/1mb.mp4", ["video"], (), 0.12),
        ("1 MB, video and audio", f"{site}/1mb.mp4", both, BOTH, 0.6),
        ("HLS, video", f"{site}/hls/ts/index.m3u8", ["video"], MERGED, 0.6),
        ("DASH, video, merged", f"{site}/dash/manifest.mpd", ["video"], MERGED, 0.35),
        ("109 MB, video", f"{lab.files.url}/{BIG}", ["video"], (), 0.5),
    )
    folder = lab.new_folder("downloads")
    figures = []
    async with Clipwire(folder) as ours, client_of(ours) as client:
        await client.completed(await client.submit(f"{site}/1mb.mp4", outputs=["video"]))
        for what, url, outputs, options, target in jobs:
            sides = [_ours(client, url, outputs), command(folder, [YT_DLP, *QUIET, *options, url])]
            mine, theirs = (middle(runs) for runs in await alternate(lab.count(ROUNDS, 1), *sides))
            figures.append(Figure(f"submit to completed: {what}", mine, "s", theirs, at_most=target))
        figures += await _of_curl(folder, lab, figures[-1].value)
        figures += [await _of_ffmpeg(folder, lab), *await _many(lab, folder, ours, client)]
    return figures


def _ours(client: Client, url: str, outputs: list[str]) -> Callable[[], Awaitable[float]]:
    async def submit_and_wait() -> float:
        began = time.perf_counter()
        task_id = await client.submit(url, outputs=outputs)
        await client.completed(task_id)
        return time.perf_counter() - began

    return submit_and_wait


def command(
    folder: Path, arguments: list[str], environment: dict[str, str] | None = None
) -> Callable[[], Awaitable[float]]:
    """Run it in a folder of its own each time, so that nothing is there already; return the seconds."""
    number = 0

    async def run() -> float:
        nonlocal number
        number += 1
        place = folder / f"{abs(hash(tuple(arguments)))}-{number}"
        place.mkdir()
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *arguments, cwd=place, env=clean_environment() | (environment or {}),
            stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            async with asyncio.timeout(PATIENCE * 5):
                assert await process.wait() == 0, arguments
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return time.perf_counter() - began

    return run


async def _of_curl(folder: Path, lab: Lab, ours: float) -> list[Figure]:
    """The bytes alone. Where there is no curl there is no such figure; it has no target."""
    if not (curl := shutil.which("curl")):
        print("curl is not on the PATH: nothing is compared with it", file=sys.stderr)
        return []
    run = command(folder, [curl, "--silent", "--output", "curl.mp4", f"{lab.files.url}/{BIG}"])
    [times] = await alternate(lab.count(ROUNDS, 1), run)
    return [Figure("the same 109 MB against curl", ours, "s", middle(times))]


async def _of_ffmpeg(folder: Path, lab: Lab) -> Figure:
    """What nobody can do without: the conversion to MP3 alone."""
    source = str(lab.media / "1mb.mp4")
    conversion = [FFMPEG, "-v", "error", "-nostdin", "-i", source, "-vn", "-q:a", "2", "audio.mp3"]
    [times] = await alternate(lab.count(ROUNDS, 1), command(folder, conversion))
    return Figure("of it, ffmpeg's conversion to MP3 alone", middle(times), "s")


async def _many(lab: Lab, folder: Path, ours: Clipwire, client: Client) -> list[Figure]:
    """Files a second, four at a time; each has an address of its own."""
    costs: list[tuple[float, float]] = []
    count = lab.count(MANY, 4)
    urls = [f"{lab.site.url}/1mb.mp4?after={number}" for number in range(count)]

    async def all_of_ours() -> float:
        bodies = [json.dumps({"url": url, "outputs": ["video"]}).encode() for url in urls]
        requests = tuple(post("/api/process", ours.port, body) for body in bodies)
        async with client.session.ws_connect("/ws") as feed:
            before = ours.cpu_with_children(), ours.cpu()
            began = time.perf_counter()
            await lab.load(Load(ours.port, requests, 4))
            done: set[str] = set()
            async with asyncio.timeout(PATIENCE):
                async for message in feed:
                    payload = message.json()
                    assert payload["status"] != "error", payload
                    done |= {payload["task_id"]} if payload["status"] == "completed" else set()
                    if len(done) == count:
                        break
            took = time.perf_counter() - began
        await asyncio.sleep(0.2)  # the last children end
        after = ours.cpu_with_children(), ours.cpu()
        costs.append(((after[0] - before[0]) / count * 1e3, (after[1] - before[1]) / count * 1e3))
        return count / took

    (folder / "urls").write_text("\n".join(urls) + "\n")
    script = f'xargs -n1 -P4 sh -c \'exec "{YT_DLP}" {" ".join(QUIET)} -o "$$.mp4" "$0"\' < {folder / "urls"}'
    xargs = command(folder, ["sh", "-c", script])

    async def all_of_theirs() -> float:
        return count / await xargs()

    mine, theirs = (middle(rates) for rates in await alternate(lab.count(2, 1), all_of_ours, all_of_theirs))
    what = f"{count} files of 1 MB, 4 at a time"
    return [
        Figure(what, mine, "files/s", theirs, at_least=6),
        Figure(f"{what}: CPU a file", middle(each for each, _ in costs), "ms", at_most=40),
        Figure(f"{what}: CPU of the server a file", middle(each for _, each in costs), "ms", at_most=5),
    ]
