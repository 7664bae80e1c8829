"""Thousands of tasks and sockets, one after the other: nothing may grow."""

import asyncio
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

from tests.bench import sockets
from tests.bench.client import Client, client_of
from tests.bench.figures import Figure
from tests.bench.lab import Lab
from tests.bench.programs import Clipwire, memory_of

TASKS, SOCKETS, AT_ONCE = 1_500, 2_000, 4
WARM_UP = 2  # times the same


@dataclass(frozen=True, slots=True)
class Size:
    memory: float  # MiB
    fork_server: float
    descriptors: int
    threads: int
    processes: int
    wal: float


async def long_run(lab: Lab) -> list[Figure]:
    tasks, count = lab.count(TASKS, 8), lab.count(SOCKETS, 20)
    async with Clipwire(lab.new_folder("long")) as server, client_of(server) as client:
        # First fill what is bounded: recent tasks and payloads, pools, free lists, and what aiohttp's
        # heartbeats keep of sockets that closed within the last 45 seconds.
        for _ in range(WARM_UP):
            await _run(lab, server, client, tasks, count)
        before = _size(server)
        await _run(lab, server, client, tasks, count)
        after = _size(server)
    what = f"{tasks} tasks and {count} sockets later: more"
    return [
        Figure(f"{what} memory in the server", after.memory - before.memory, "MiB", at_most=4),
        Figure(f"{what} memory in the fork server", after.fork_server - before.fork_server, "MiB", at_most=1),
        Figure(f"{what} descriptors", after.descriptors - before.descriptors, "", at_most=2),
        Figure(f"{what} threads", after.threads - before.threads, "", at_most=1),
        Figure(f"{what} processes", after.processes - before.processes, "", at_most=0),
        Figure("the write-ahead log then", after.wal, "MiB", at_most=64),
    ]


async def _run(lab: Lab, server: Clipwire, client: Client, tasks: int, count: int) -> None:
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with turns:
            url = f"{lab.site.url}/video.mp4?after={number}"
            await client.completed(await client.submit(url, outputs=["video"]))

    await asyncio.gather(*(one(number) for number in range(tasks)))
    for _ in range(count // 100 or 1):
        readers = await lab.elsewhere(sockets.come_and_go, server.port, "/ws", min(count, 100))
        assert readers == min(count, 100)
    await asyncio.sleep(1)


def _size(server: Clipwire) -> Size:
    process = psutil.Process(server.pid)
    wal = server.data / "clipwire.db-wal"
    return Size(
        memory=server.memory(),
        fork_server=memory_of(server.fork_server().pid),
        descriptors=process.num_fds(),
        threads=process.num_threads(),
        processes=len(server.processes()),
        wal=wal.stat().st_size / (1 << 20) if wal.exists() else 0,
    )
