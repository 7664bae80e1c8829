"""What is done to tasks that run on another node, and what becomes of those whose worker is killed."""

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack

from tests.bench.client import Client, client_of
from tests.bench.cluster.stage import ROUNDS, node, postgres
from tests.bench.figures import Figure, middle, percentile
from tests.bench.lab import Lab

AT_ONCE, CANCELS = 4, 200
QUICK = {"CLIPWIRE_WORKERS__HEARTBEAT": "1", "CLIPWIRE_WORKERS__LOST_AFTER": "4"}
LONG = 120.0  # seconds


async def cluster_cancels(lab: Lab) -> list[Figure]:
    times: list[float] = []
    folder, count = lab.new_folder("cluster-cancels"), lab.count(CANCELS, 4)
    with postgres() as url:
        web, worker = node(folder / "web", url, "web"), node(folder / "worker", url, "worker")
        async with web, worker, client_of(web) as client:
            while len(times) < count:
                times += await asyncio.gather(*(_cancelled(lab, client, each) for each in range(AT_ONCE)))
    what = f"cancel of {count} tasks that run on another node, {AT_ONCE} at a time"
    return [
        Figure(f"{what}: p99", percentile(times, 99) * 1e3, "ms", at_most=200),
        Figure(f"{what}: median", middle(times) * 1e3, "ms"),
    ]


async def _cancelled(lab: Lab, client: Client, number: int) -> float:
    task_id = await _runs(lab, client, number)
    began = time.perf_counter()
    await client.act(task_id, "cancel")
    return time.perf_counter() - began


async def _runs(lab: Lab, client: Client, number: int) -> str:
    task_id = await client.submit(f"{lab.site.url}/8mb.mp4?rate=500000&after={number}", outputs=["video"])
    await client.in_stage([task_id], "download")
    return task_id


async def cluster_takeover(lab: Lab) -> list[Figure]:
    usual = [await _taken_over(lab) for _ in range(lab.count(ROUNDS, 0))]
    quick = [await _taken_over(lab, **QUICK) for _ in range(lab.count(ROUNDS, 1))]
    what = "kill -9 of a worker, until another one downloads its task"
    figures = [Figure(f"{what}, heartbeat 1 s, lost after 4 s", middle(quick), "s", at_most=6)]
    if usual:
        figures.append(Figure(f"{what}, heartbeat 5 s, lost after 30 s", middle(usual), "s", at_most=40))
    return figures


async def _taken_over(lab: Lab, **settings: str) -> float:
    folder = lab.new_folder("cluster-takeover")
    async with AsyncExitStack() as stack:
        url = stack.enter_context(postgres())
        enter = stack.enter_async_context
        web = await enter(node(folder / "web", url, "web", **settings))
        worker = await enter(node(folder / "first", url, "worker", **settings))
        client = await enter(client_of(web))
        task_id = await _runs(lab, client, 0)
        await enter(node(folder / "second", url, "worker", **settings))
        await asyncio.sleep(1)
        os.kill(worker.pid, signal.SIGKILL)
        began = time.monotonic()
        async with asyncio.timeout(LONG):
            while True:
                status = await client.get(f"/api/status/{task_id}")
                if (status["attempt"], status["stage"]) == (2, "download"):
                    return time.monotonic() - began
                await asyncio.sleep(0.02)
