"""One machine alone: it has nothing of all this, and costs what it did in the release before.

`CLIPWIRE_BENCH_BEFORE` names that release, a commit; without it only the first is looked at.
"""

import asyncio
import json
import os
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench import sockets
from tests.bench.against import checked_out
from tests.bench.client import NEVER, client_of
from tests.bench.figures import Figure, alternate, middle
from tests.bench.http_load import Load, get, post
from tests.bench.lab import Lab
from tests.bench.programs import ROOT, Clipwire

NEW = re.compile(r"/(psycopg|psycopg_binary\.libs|psycopg_pool|procrastinate|obstore|croniter)[-/.]")
ROUNDS = 5
READERS = 1_000


@dataclass(frozen=True, slots=True)
class Cost:
    memory: float  # MiB
    start: float  # seconds
    status: float  # requests a second
    submit: float  # submits a second
    fanout: float  # seconds to the last of many sockets


async def cluster_alone(lab: Lab) -> list[Figure]:
    folder = lab.new_folder("cluster-alone")
    async with Clipwire(folder / "now") as server, client_of(server) as client:
        await client.paused()
        mapped = {found[0] for found in NEW.finditer(Path(f"/proc/{server.pid}/maps").read_text())}
    figures = [Figure("one machine alone: new packages that are mapped", len(mapped), "packages", at_most=0)]
    if before := os.environ.get("CLIPWIRE_BENCH_BEFORE"):
        old = await asyncio.to_thread(checked_out, before, folder / "release")
        figures += await _compared(lab, folder, old)
    return figures


async def _compared(lab: Lab, folder: Path, old: Path) -> list[Figure]:
    runs = await alternate(
        lab.count(ROUNDS, 1), *(_runner(lab, folder / name, at) for name, at in (("new", ROOT), ("old", old)))
    )

    def both(name: str) -> tuple[float, float]:
        now, then = (middle(getattr(cost, name) for cost in side) for side in runs)
        return now, then

    memory, then = both("memory")
    what = "one machine alone, against the release before: "
    return [
        Figure(f"{what}memory", memory, "MiB", then, at_most=1.05),
        Figure(f"{what}more memory", memory - then, "MiB", at_most=2),
        Figure(f"{what}start to first answer", both("start")[0], "s", both("start")[1], at_most=1.15),
        Figure(f"{what}status", both("status")[0], "requests/s", both("status")[1], at_least=0.95),
        Figure(f"{what}submits", both("submit")[0], "submits/s", both("submit")[1], at_least=0.95),
        Figure(f"{what}one change to {lab.count(READERS, 20)} sockets", both("fanout")[0] * 1e3, "ms",
               both("fanout")[1] * 1e3, at_most=1.05),
    ]  # fmt: skip


def _runner(lab: Lab, folder: Path, release: Path) -> Callable[[], Awaitable[Cost]]:
    folder.mkdir()

    async def run() -> Cost:
        server = Clipwire(folder / str(time.monotonic_ns()))
        server.cwd = release
        began = time.monotonic()
        async with server, client_of(server) as client:
            async with client.session.get("/api/tasks") as answer:
                assert answer.status == 200
            started = time.monotonic() - began
            task_id = await client.paused()
            server.pin()
            path = get(f"/api/status/{task_id}", server.port)
            polls = await lab.load(Load(server.port, (path,), lab.count(64, 4), seconds=lab.seconds(2)))
            body = post("/api/process", server.port, json.dumps(NEVER).encode())
            submits = await lab.load(Load(server.port, (body,) * lab.count(1000, 20), lab.count(32, 4)))
            memory = server.memory()
            arguments = (server.port, server.pid, task_id, lab.count(READERS, 20), lab.count(15, 2))
            spread = await lab.elsewhere(sockets.fan_out, *arguments)
        return Cost(memory, started, polls.per_second, submits.per_second, middle(spread.last))

    return run
