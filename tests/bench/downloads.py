"""From a submit to `completed`, against the command line that does the same job on the same file."""

import asyncio
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.client import Client, client_of
from tests.bench.figures import Figure, middle
from tests.bench.http_load import Load, post
from tests.bench.lab import BIG, Lab
from tests.bench.programs import PATIENCE, Clipwire, clean_environment
from tests.tools import FFMPEG

ROUNDS, ROUNDS_OF_MANY = 7, 3
MANY = 50
YT_DLP = str(Path(sys.executable).with_name("yt-dlp"))
# With these options the command line chooses formats, containers and checks itself, and writes no extra
# files.
QUIET = ("--quiet", "--no-warnings", "--no-cache-dir", "--ignore-config", "--ffmpeg-location", FFMPEG)


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a download in seconds: from submit to end, CPU in all, and CPU in the server process."""

    time: float
    cpu: float
    server: float = 0.0


async def downloads(lab: Lab) -> list[Figure]:
    folder = lab.new_folder("commands")
    async with lab.service("downloads") as ours, client_of(ours) as client:
        await client.completed(await client.submit(f"{lab.site.url}/1mb.mp4", outputs=["video"]))
        small, its_small = await _compared(lab, folder, ours, client, f"{lab.site.url}/1mb.mp4")
        big, its_big = await _compared(lab, folder, ours, client, f"{lab.files.url}/{BIG}")
        many, its_many = await _many(lab, folder, ours, client)
    count = lab.count(MANY, 4)
    what = f"{count} files of 1 MB, 4 at a time"
    return [
        Figure("submit to completed: 1 MB", small.time, "s", its_small.time, at_most=0.05),
        Figure("submit to completed: 109 MB", big.time, "s", its_big.time, at_most=0.3),
        Figure("submit to completed: 109 MB: CPU", big.cpu, "s", its_big.cpu, at_most=0.2),
        Figure(what, count / many.time, "files/s", count / its_many.time, at_least=15),
        Figure(f"{what}: CPU a file", many.cpu / count * 1e3, "ms", its_many.cpu / count * 1e3, at_most=0.05),
        Figure(f"{what}: CPU of the server a file", many.server / count * 1e3, "ms", at_most=5),
    ]  # fmt: skip


async def _compared(lab: Lab, folder: Path, ours: Clipwire, client: Client, url: str) -> tuple[Cost, Cost]:
    async def submit_and_wait() -> Cost:
        return await _cost(ours, _submit_and_wait(client, url))

    return _middle(await lab.alternate(ROUNDS, submit_and_wait, _command(folder, [YT_DLP, *QUIET, url])))


async def _submit_and_wait(client: Client, url: str) -> None:
    await client.completed(await client.submit(url, outputs=["video"]))


async def _many(lab: Lab, folder: Path, ours: Clipwire, client: Client) -> tuple[Cost, Cost]:
    """Submit many downloads, four at a time, each with its own address."""
    urls = [f"{lab.site.url}/1mb.mp4?after={number}" for number in range(lab.count(MANY, 4))]
    bodies = [json.dumps({"url": url, "outputs": ["video"]}).encode() for url in urls]
    requests = tuple(post("/api/process", ours.port, body) for body in bodies)

    async def all_completed() -> None:
        async with client.session.ws_connect("/ws") as feed:
            await lab.load(Load(ours.port, requests, 4))
            done: set[str] = set()
            async with asyncio.timeout(PATIENCE):
                async for message in feed:
                    payload = message.json()
                    assert payload["status"] != "error", payload
                    done |= {payload["task_id"]} if payload["status"] == "completed" else set()
                    if len(done) == len(urls):
                        break

    (folder / "urls").write_text("\n".join(urls) + "\n")
    script = f'xargs -n1 -P4 sh -c \'exec "{YT_DLP}" {" ".join(QUIET)} -o "$$.mp4" "$0"\' < {folder / "urls"}'
    sides = (lambda: _cost(ours, all_completed()), _command(folder, ["sh", "-c", script]))
    return _middle(await lab.alternate(ROUNDS_OF_MANY, *sides))


async def _cost(ours: Clipwire, work: Awaitable[None]) -> Cost:
    before, began = (ours.cpu_with_children(), ours.cpu()), time.perf_counter()
    await work
    took = time.perf_counter() - began
    await asyncio.sleep(0.2)  # lets the last children end
    return Cost(took, ours.cpu_with_children() - before[0], ours.cpu() - before[1])


def _command(folder: Path, arguments: list[str]) -> Callable[[], Awaitable[Cost]]:
    """Run the command in a new folder each time, so that no file exists already."""
    number = 0

    async def run() -> Cost:
        nonlocal number
        number += 1
        place = folder / f"{abs(hash(tuple(arguments)))}-{number}"
        place.mkdir()
        before, began = _cpu_of_ended(), time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *arguments, cwd=place, env=clean_environment(),
            stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            async with asyncio.timeout(PATIENCE * 5):
                assert await process.wait() == 0, arguments
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return Cost(time.perf_counter() - began, _cpu_of_ended() - before)

    return run


def _cpu_of_ended() -> float:
    """Return the CPU of the programs that this process has waited for: in this time, only commands end."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def _middle(runs: list[list[Cost]]) -> tuple[Cost, Cost]:
    mine, theirs = (
        Cost(*(middle(getattr(cost, name) for cost in side) for name in ("time", "cpu", "server")))
        for side in runs
    )
    return mine, theirs
