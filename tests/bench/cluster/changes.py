"""A change on one web node, until it is known at a subscriber there and at one of another node."""

import asyncio
from pathlib import Path

from tests.bench import sockets
from tests.bench.client import Client, client_of
from tests.bench.cluster.stage import ROUNDS, node, postgres
from tests.bench.figures import Figure, middle, percentile
from tests.bench.lab import Lab
from tests.bench.programs import Program

TASKS, PERIOD = 200, 0.25  # 800 changes a second
SECONDS = 10.0
WITHIN = 30.0


async def cluster_changes(lab: Lab) -> list[Figure]:
    here, elsewhere, missed = [], [], 0
    for number in range(lab.count(ROUNDS, 1)):
        with postgres() as url:
            near, far, unheard = await _round(lab, url, lab.new_folder(f"cluster-changes-{number}-"))
        here.append(near)
        elsewhere.append(far)
        missed += unheard
    tasks = lab.count(TASKS, 5)
    what = f"{tasks / PERIOD:,.0f} changes a second, two web nodes"
    return [
        Figure(f"{what}: p99 at a subscriber of the same one", _p99(here), "ms", at_most=100),
        Figure(f"{what}: p99 at one of the other", _p99(elsewhere), "ms", at_most=100),
        Figure(f"{what}: median at one of the other", _median(elsewhere), "ms"),
        Figure(f"{what}: last words missed there", missed, "of them", at_most=0),
        Figure(f"{what}: CPU of the other", middle(f.cpu / f.seconds for f in elsewhere) * 100, "%"),
    ]


async def _round(lab: Lab, url: str, folder: Path) -> tuple[sockets.Feed, sockets.Feed, int]:
    tasks = lab.count(TASKS, 5)
    arguments = (url, str(folder / "data"), str(tasks), str(PERIOD))
    driven = Program("-m", "tests.bench.cluster.driven", *arguments)
    async with driven, node(folder / "web", url, "web") as other, client_of(driven) as client:
        async with client_of(other) as far:
            feeds = await asyncio.gather(*(_heard(lab, each) for each in (driven, other)))
            unheard = await _last_words(client, far, tasks)
        return feeds[0], feeds[1], unheard


async def _heard(lab: Lab, program: Program) -> sockets.Feed:
    return await lab.elsewhere(sockets.feed, program.port, program.pid, 1, lab.seconds(SECONDS), PERIOD)


async def _last_words(near: Client, far: Client, count: int) -> int:
    """Cancel all on one node while their sockets are open on the other; how many never heard of it."""
    listed: list[str] = []
    cursor = ""
    while len(listed) < count:
        page = await near.get(f"/api/tasks?limit=200{cursor}")
        listed += [task["task_id"] for task in page["tasks"]]
        cursor = f"&cursor={page.get('next_cursor')}"
    hearing = [asyncio.create_task(far.ended(task_id, WITHIN)) for task_id in listed]
    await asyncio.sleep(1)
    await asyncio.gather(*(near.act(task_id, "cancel") for task_id in listed))
    words = await asyncio.gather(*hearing, return_exceptions=True)
    return sum(not isinstance(word, dict) or word["stage"] != "cancelled" for word in words)


def _p99(feeds: list[sockets.Feed]) -> float:
    return middle(percentile(feed.lags, 99) for feed in feeds) * 1e3


def _median(feeds: list[sockets.Feed]) -> float:
    return middle(percentile(feed.lags, 50) for feed in feeds) * 1e3
