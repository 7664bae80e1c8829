"""What the service costs when there is nothing to do, and how soon it comes and goes."""

import asyncio
import time

import psutil  # type: ignore[import-untyped]

from tests.bench import sockets
from tests.bench.client import Client, client_of
from tests.bench.figures import Figure, middle
from tests.bench.lab import Lab
from tests.bench.polling import running_downloads
from tests.bench.programs import Clipwire, cpu_of, memory_of, memory_of_all

SOCKETS = 500


async def idle(lab: Lab) -> list[Figure]:
    async with Clipwire(lab.new_folder("idle")) as server, client_of(server) as client:
        await _warm(server)
        fork_server = server.fork_server()
        before = cpu_of(server.pid) + cpu_of(fork_server.pid)
        await asyncio.sleep(lab.seconds(10))
        cpu = cpu_of(server.pid) + cpu_of(fork_server.pid) - before
        memory = server.memory(), memory_of(fork_server.pid)
        async with running_downloads(lab, client, 4):
            await asyncio.sleep(lab.seconds(2))
            children = [each for each in server.processes() if each.pid != fork_server.pid]
            # What all of them have grown by: a page that is shared is counted in part for each.
            running = memory_of_all([*children, fork_server, psutil.Process(server.pid)])
    return [
        Figure("idle server", memory[0], "MiB", at_most=45),
        Figure("idle fork server", memory[1], "MiB", at_most=45),
        Figure("idle, CPU of both", cpu / lab.seconds(10) * 100, "%", at_most=0.1),
        Figure("one of 4 running downloads", (running - sum(memory)) / 4, "MiB", at_most=25),
    ]


async def _warm(server: Clipwire) -> None:
    async with client_of(server) as client:
        await _ready(client)
    await asyncio.sleep(0.5)


async def _ready(client: Client) -> None:
    async with asyncio.timeout(30):
        while (await client.session.get("/readyz")).status != 200:
            await asyncio.sleep(0.1)  # each question costs a millisecond


async def coming_and_going(lab: Lab) -> list[Figure]:
    starts, readies, costs, both, stops = [], [], [], [], []
    folder = lab.new_folder("starts")
    for _ in range(lab.count(5, 1)):
        server = Clipwire(folder)
        began = time.monotonic()
        async with server, client_of(server) as client:
            async with client.session.get("/api/tasks") as answer:
                assert answer.status == 200
            starts.append(time.monotonic() - began)
            costs.append(server.cpu())
            await _ready(client)
            readies.append(time.monotonic() - began)
            both.append(server.cpu() + cpu_of(server.fork_server().pid))
            count = lab.count(SOCKETS, 10)
            readers = await asyncio.to_thread(sockets.idle_readers, server.port, "/ws", count)
            answering = asyncio.create_task(asyncio.to_thread(readers.answer_closes))
            stops.append(await server.stop())
            await answering
    return [
        Figure("start to first answer", middle(starts), "s", at_most=0.5),
        Figure("start to first answer: CPU of the server", middle(costs), "s", at_most=0.25),
        Figure("start to ready", middle(readies), "s"),
        Figure("start to ready: CPU of server and fork server", middle(both), "s", at_most=0.8),
        Figure(f"SIGTERM to exit with {lab.count(SOCKETS, 10)} sockets", middle(stops), "s", at_most=1),
    ]
