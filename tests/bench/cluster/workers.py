"""Files a second of three workers, against one, where the source and not the CPU is the limit."""

import asyncio
import time
from contextlib import AsyncExitStack

from tests.bench.client import client_of
from tests.bench.cluster.stage import ROUNDS, node, postgres
from tests.bench.figures import Figure, alternate, middle
from tests.bench.lab import Lab

FILES, AT_ONCE = 36, 2
SLOW = "1mb.mp4?rate=350000"  # bytes a second: three seconds, of which the CPU works a tenth


async def cluster_workers(lab: Lab) -> list[Figure]:
    three, one = await alternate(lab.count(ROUNDS, 1), lambda: _rate(lab, 3), lambda: _rate(lab, 1))
    what = f"files a second of 3 workers with {AT_ONCE} places each, against one, from a slow source"
    return [Figure(what, middle(three), "files/s", middle(one), at_least=2.5)]


async def _rate(lab: Lab, workers: int) -> float:
    folder, count = lab.new_folder("cluster-workers"), lab.count(FILES, 6) * workers // 3
    settings = {"CLIPWIRE_DOWNLOADS__MAX_CONCURRENT": str(AT_ONCE)}
    async with AsyncExitStack() as stack:
        url = stack.enter_context(postgres())
        enter = stack.enter_async_context
        client = await enter(client_of(await enter(node(folder / "web", url, "web"))))
        for number in range(workers):
            await enter(node(folder / f"worker{number}", url, "worker", **settings))
        await client.completed(await client.submit(f"{lab.site.url}/video.mp4", outputs=["video"]))
        await asyncio.sleep(lab.seconds(2))  # their fork servers are warm
        began = time.monotonic()
        names = [f"{lab.site.url}/{SLOW}&after={number}" for number in range(count)]
        ids = await asyncio.gather(*(client.submit(name, outputs=["video"]) for name in names))
        await asyncio.gather(*(client.completed(task_id) for task_id in ids))
        return count / (time.monotonic() - began)
