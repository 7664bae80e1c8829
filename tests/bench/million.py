"""A million finished tasks, against a thousand."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from server.storage.cursor import Cursor
from tests.bench.client import client_of
from tests.bench.figures import Figure, alternate, middle
from tests.bench.http_load import Load, get
from tests.bench.lab import Lab
from tests.bench.programs import Clipwire
from tests.bench.rows import fill, task_id

MANY, FEW = 1_000_000, 1_000
STARTS, TIMES = 5, 15
PAGE = 50
TEXTS = ("river", "no0000123", "视频", "channel 7 river", "zzzzzz", "x")


@dataclass(frozen=True, slots=True)
class Side:
    server: Clipwire
    count: int


async def million(lab: Lab) -> list[Figure]:
    many, few = lab.count(MANY, 2000), lab.count(FEW, 200)
    folders = [lab.new_folder(f"tasks-{count}") for count in (many, few)]
    began = time.monotonic()
    await asyncio.to_thread(fill, folders[0] / "data", many)
    filled = time.monotonic() - began
    await asyncio.to_thread(fill, folders[1] / "data", few)
    starts = [middle(times) for times in await alternate(lab.count(STARTS, 1), *map(_starter, folders))]
    what = f"{many:,} finished tasks"
    figures = [
        Figure(f"{what}: filled by the benchmark's own command", filled, "s", at_most=60),
        Figure(f"{what}: start to first answer", starts[0], "s", starts[1], at_most=1.5),
    ]
    async with Clipwire(folders[0]) as large, Clipwire(folders[1]) as small:
        sides = Side(large, many), Side(small, few)
        for name, paths in QUESTIONS.items():
            times = [middle(await asked(lab, side, paths)) * 1e3 for side in sides]
            figures.append(Figure(f"{what}: {name}", times[0], "ms", times[1], at_most=2))
        searches = [middle(await asked(lab, sides[0], search(text))) for text in TEXTS]
        figures += [
            Figure(f"{what}: the slowest of {len(TEXTS)} searches", max(searches) * 1e3, "ms", at_most=200),
            Figure(f"{what}: memory after all this", large.memory(), "MiB", small.memory(), at_most=1.5),
        ]
    return figures


def _starter(folder: Path) -> Callable[[], Awaitable[float]]:
    async def start() -> float:
        server = Clipwire(folder)
        began = time.monotonic()
        async with server, client_of(server) as client:
            await client.get("/api/tasks?limit=1")
            return time.monotonic() - began

    return start


def _page(number: int) -> str:
    return f"/api/tasks?limit={PAGE}&cursor={Cursor('newest', number)}"


def search(text: str) -> Callable[[int], list[str]]:
    return lambda count: [f"/api/tasks?limit={PAGE}&q={quote(text)}"] * TIMES


QUESTIONS: dict[str, Callable[[int], list[str]]] = {
    # of so many tasks: the paths to ask for
    "first page": lambda count: [f"/api/tasks?limit={PAGE}"] * TIMES,
    "middle page": lambda count: [_page(count // 2)] * TIMES,
    "last page": lambda count: [_page(PAGE + 1)] * TIMES,
    "status of any one": lambda count: [f"/api/status/{task_id(n)}" for n in range(0, count, count // 150)],
}


async def asked(lab: Lab, side: Side, paths: Callable[[int], list[str]]) -> list[float]:
    """The time for each answer, one after the other."""
    port = side.server.port
    requests = tuple(get(path, port) for path in paths(side.count))
    outcome = await lab.load(Load(port, requests, 1, answers=len(requests)))
    assert set(outcome.statuses) == {200}, outcome.statuses
    return outcome.latencies
