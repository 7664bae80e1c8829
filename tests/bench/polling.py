"""`GET /api/status/<id>` of a finished task, against a handler that answers a constant."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.bench.client import Client, client_of
from tests.bench.figures import Figure, middle
from tests.bench.http_load import Load, Outcome, get
from tests.bench.lab import Lab
from tests.bench.programs import Program

CONNECTIONS = 64
ROUNDS = 5
OF_THE_CONNECTION = ("Date", "Server", "Content-Length")
WORTH = 0.9  # least part of the reference's rate


async def polling(lab: Lab) -> list[Figure]:
    async with lab.service("polling") as ours, client_of(ours) as client:
        task_id = await client.submit(f"{lab.site.url}/video.mp4", outputs=["video"])
        await client.completed(task_id)
        path = f"/api/status/{task_id}"
        async with constant_like(client, path, lab.new_folder("constant")) as bare:
            sides = [_asker(lab, program.pin(), path) for program in (ours, bare)]
            runs = await lab.alternate(ROUNDS, *sides)
    what = f"status of a finished task, {CONNECTIONS} connections"
    rates = [middle(outcome.per_second for outcome, _ in side) for side in runs]
    costs = [middle(cpu for _, cpu in side) * 1e6 for side in runs]
    return [
        Figure(what, rates[0], "requests/s", rates[1], at_least=WORTH),
        Figure(f"{what}: CPU", costs[0], "us", costs[1], at_most=1 / WORTH),
    ]


@asynccontextmanager
async def constant_like(client: Client, path: str, folder: Path) -> AsyncIterator[Program]:
    """Start a server that answers everything with what is at `path` now, headers included."""
    async with client.session.get(path) as answer:
        body = await answer.read()
        headers = {name: value for name, value in answer.headers.items() if name not in OF_THE_CONNECTION}
    (folder / "body").write_bytes(body)
    arguments = ("constant", str(folder / "body"), json.dumps(headers))
    async with Program("-m", "tests.bench.references", *arguments) as bare:
        yield bare


def _asker(lab: Lab, program: Program, path: str) -> Callable[[], Awaitable[tuple[Outcome, float]]]:
    request = get(path, program.port)
    load = Load(program.port, (request,), lab.count(CONNECTIONS, 4), seconds=lab.seconds(2.0))

    async def ask() -> tuple[Outcome, float]:
        before = program.cpu()
        outcome = await lab.load(load)
        assert set(outcome.statuses) == {200}, outcome.statuses
        return outcome, (program.cpu() - before) / len(outcome.latencies)

    return ask
