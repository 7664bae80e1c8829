"""Ten seconds of an hour against the whole: how long they take, and how much is fetched for them."""

import asyncio
import re
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from tests.bench.client import Client, client_of
from tests.bench.figures import Figure, alternate, middle
from tests.bench.lab import Lab
from tests.bench.programs import Clipwire
from tests.site import SECONDS
from tests.tools import FFMPEG

HOUR, CLIP = 3600, 10  # seconds
ROUNDS = 5
DISTANT = 0.05  # seconds until each answer
_FETCHED = re.compile(r"clip: (\d+) of (\d+) bytes were fetched")


async def clip(lab: Lab) -> list[Figure]:
    length = lab.count(HOUR, 40)
    await asyncio.to_thread(_make, lab.media, length)
    near = await _measure(lab, f"{lab.site.url}/hour.mp4", length, "")
    return near + await _measure(lab, f"{lab.site.url}/hour.mp4?wait={DISTANT}", length, ", from far away")


async def _measure(lab: Lab, url: str, length: int, where: str) -> list[Figure]:
    wanted = {"outputs": ["video"], "clip": {"start": length / 2, "end": length / 2 + CLIP}}
    logs: list[str] = []
    async with Clipwire(lab.new_folder("clip")) as ours, client_of(ours) as client:

        async def some() -> float:
            took, task_id = await _timed(client, url, wanted)
            async with client.session.get(f"/api/tasks/{task_id}/log") as answer:
                logs.append(await answer.text())
            return took

        runs = await alternate(lab.count(ROUNDS, 1), some, _whole(client, url))
    clipped, whole = map(middle, runs)
    fetched, of = map(int, _FETCHED.findall(logs[-1])[0])
    what = f"{CLIP} s of {length} s{where}, against the whole"
    return [
        Figure(f"{what}: time", clipped, "s", whole, at_most=None if lab.smoke else 1.5),
        Figure(f"{what}: fetched", fetched / 1e6, "MB", of / 1e6, at_most=1.0 if lab.smoke else 0.05),
    ]


def _whole(client: Client, url: str) -> Callable[[], Awaitable[float]]:
    async def fetch() -> float:
        return (await _timed(client, url, {"outputs": ["video"]}))[0]

    return fetch


async def _timed(client: Client, url: str, wanted: Mapping[str, object]) -> tuple[float, str]:
    began = time.monotonic()
    task_id = await client.submit(url, **wanted)
    await client.completed(task_id)
    return time.monotonic() - began, task_id


def _make(media: Path, seconds: int) -> None:
    """The site's film again and again."""
    again = ("-stream_loop", str(seconds // SECONDS - 1), "-i", "video.mp4", "-c", "copy")
    command = (FFMPEG, "-v", "error", "-nostdin", "-y", *again, "-movflags", "+faststart", "hour.mp4")
    subprocess.run(command, cwd=media, check=True, stdin=subprocess.DEVNULL)
