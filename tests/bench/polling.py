"""`GET /api/status/<id>`: how many, and how soon, against a handler that answers a constant."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.bench.client import Client, client_of
from tests.bench.figures import Figure, alternate, middle, percentile
from tests.bench.http_load import Load, Outcome, get
from tests.bench.lab import Lab
from tests.bench.programs import Clipwire, Program

CONNECTIONS = 64
ROUNDS = 5
OF_THE_CONNECTION = ("Date", "Server", "Content-Length")

Measured = tuple[Outcome, float]  # with the CPU of the server for one request


async def polling(lab: Lab) -> list[Figure]:
    folder = lab.new_folder("polling")
    async with Clipwire(folder) as ours, client_of(ours) as client:
        finished, live = await _tasks(lab, client)
        figures = []
        for name, task_id in (("finished", finished), ("live", live)):
            async with constant_like(client, f"/api/status/{task_id}", folder) as bare:
                figures += await _compared(lab, ours, bare, task_id, name)
        return figures + await _beside_downloads(lab, ours, client, live)


async def _tasks(lab: Lab, client: Client) -> tuple[str, str]:
    finished = await client.submit(f"{lab.site.url}/video.mp4", outputs=["video"])
    await client.completed(finished)
    return finished, await client.paused()


@asynccontextmanager
async def constant_like(client: Client, path: str, folder: Path) -> AsyncIterator[Program]:
    """A server that answers everything with what is at `path` now, headers included."""
    async with client.session.get(path) as answer:
        body = await answer.read()
        headers = {name: value for name, value in answer.headers.items() if name not in OF_THE_CONNECTION}
    (folder / "body").write_bytes(body)
    arguments = ("constant", str(folder / "body"), json.dumps(headers))
    async with Program("-m", "tests.bench.references", *arguments) as bare:
        yield bare


async def _compared(lab: Lab, ours: Program, bare: Program, task_id: str, name: str) -> list[Figure]:
    sides = [_asker(lab, program.pin(), task_id) for program in (ours, bare)]
    our_runs, bare_runs = await alternate(lab.count(ROUNDS, 1), *sides)
    what = f"status of a {name} task, {CONNECTIONS} connections"
    rates = [middle(outcome.per_second for outcome, _ in runs) for runs in (our_runs, bare_runs)]
    costs = [middle(cpu for _, cpu in runs) * 1e6 for runs in (our_runs, bare_runs)]
    return [
        Figure(what, rates[0], "requests/s", rates[1], at_least=0.85),
        Figure(f"{what}: CPU a request", costs[0], "us", costs[1], at_most=1 / 0.85),
    ]


def _asker(lab: Lab, program: Program, task_id: str) -> Callable[[], Awaitable[Measured]]:
    load = Load(
        program.port,
        (get(f"/api/status/{task_id}", program.port),),
        lab.count(CONNECTIONS, 4),
        seconds=lab.seconds(2.0),
    )

    async def ask() -> Measured:
        before = program.cpu()
        outcome = await lab.load(load)
        assert set(outcome.statuses) == {200}, outcome.statuses
        return outcome, (program.cpu() - before) / len(outcome.latencies)

    return ask


async def _beside_downloads(lab: Lab, ours: Clipwire, client: Client, task_id: str) -> list[Figure]:
    ask = _asker(lab, ours, task_id)

    async def idle() -> Measured:
        return await ask()

    async def busy() -> Measured:
        async with running_downloads(lab, client, 4):
            return await ask()

    idle_runs, busy_runs = await alternate(lab.count(ROUNDS, 1), idle, busy)
    p99 = [
        middle(percentile(outcome.latencies, 99) for outcome, _ in runs) * 1e3
        for runs in (busy_runs, idle_runs)
    ]
    return [Figure("status, p99 with 4 downloads running, against idle", p99[0], "ms", p99[1], at_most=2)]


@asynccontextmanager
async def running_downloads(lab: Lab, client: Client, count: int) -> AsyncIterator[list[str]]:
    """So many, at one MB a second each, for as long as the block lasts."""
    async with AsyncExitStack() as stack:
        task_ids = []
        for number in range(count):
            url = f"{lab.site.url}/8mb.mp4?rate=500000&after={number}"
            task_ids.append(await client.submit(url, outputs=["video"]))
            stack.push_async_callback(_delete, client, task_ids[-1])
        await client.in_stage(task_ids, "download")
        yield task_ids


async def _delete(client: Client, task_id: str) -> None:
    async with asyncio.timeout(30), client.session.delete(f"/api/tasks/{task_id}") as answer:
        assert answer.status in (204, 404)
