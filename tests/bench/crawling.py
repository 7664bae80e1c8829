"""Hundreds of downloads at once from sources that crawl."""

import asyncio

from tests.bench.client import Client, client_of
from tests.bench.figures import Figure, percentile
from tests.bench.http_load import Load, get
from tests.bench.lab import Lab
from tests.bench.programs import Clipwire, cpu_of, memory_of_all

DOWNLOADS, AT_ONCE = 500, 200
RATE = 15_000  # bytes a second: 380 kB take 25 seconds


async def crawling(lab: Lab) -> list[Figure]:
    count, at_once = lab.count(DOWNLOADS, 6), lab.count(AT_ONCE, 3)
    settings = {"CLIPWIRE_DOWNLOADS__MAX_CONCURRENT": str(at_once)}
    async with Clipwire(lab.new_folder("crawling"), **settings) as server, client_of(server) as client:
        asked = await client.paused()
        load = Load(
            server.port, (get(f"/api/status/{asked}", server.port),), 1, seconds=lab.seconds(8), pause=0.004
        )
        idle = percentile((await lab.load(load)).latencies, 99)
        rate = RATE if not lab.smoke else 200_000
        urls = [f"{lab.site.url}/video.mp4?rate={rate}&after={number}" for number in range(count)]
        task_ids = [await client.submit(url, outputs=["video"]) for url in urls]
        await _so_many_crawl(client, at_once)
        before = cpu_of(server.pid)
        busy = await lab.load(load)
        cpu = (cpu_of(server.pid) - before) / busy.seconds
        children = [each for each in server.processes() if each.pid != server.fork_server().pid]
        memory = memory_of_all(children) / max(1, len(children))
        slowest = await _all_end(client, task_ids)
    what = f"{count} downloads that crawl, {at_once} at a time"
    return [
        Figure(f"{what}: memory of a child", memory, "MiB"),
        Figure(f"{what}: CPU of the server for each", cpu / at_once * 100, "%"),
        Figure(f"{what}: status, p99", percentile(busy.latencies, 99) * 1e3, "ms", idle * 1e3, at_most=5),
        Figure(f"{what}: completed", slowest, "tasks", at_least=count),
    ]


async def _so_many_crawl(client: Client, count: int) -> None:
    """Return when most of `count` are past their start: the first of them may have ended again."""
    async with asyncio.timeout(120):
        while len((await client.get("/api/tasks?stage=download&limit=200"))["tasks"]) < count * 0.9:
            await asyncio.sleep(0.1)


async def _all_end(client: Client, task_ids: list[str]) -> int:
    """Nothing starves: all of them complete, in a time that is bounded."""
    async with asyncio.timeout(300):
        ended = [await client.ended(task_id, 300) for task_id in task_ids]
    return sum(payload["stage"] == "completed" for payload in ended)
