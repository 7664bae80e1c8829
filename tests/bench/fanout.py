"""One change to thousands of sockets, and many tasks to the sockets of the page."""

from pathlib import Path

from tests.bench import sockets
from tests.bench.client import client_of
from tests.bench.figures import Figure, middle, percentile
from tests.bench.lab import Lab
from tests.bench.programs import Clipwire, Program

SUBSCRIBERS = 5_000
ROUNDS = 15
RUNS = 3  # of the server and of the bare loop, in turns
READERS, STUCK = 500, 100
TASKS, FEEDS, PERIOD = 200, 100, 0.25


async def fanout(lab: Lab) -> list[Figure]:
    folder = lab.new_folder("fanout")
    ours, bare = [], []
    for run in range(lab.count(RUNS, 1)):
        found, frame = await _our_run(lab, folder / f"run{run}")
        ours.append(found)
        bare.append(await _bare_run(lab, folder, frame))
    count = lab.count(SUBSCRIBERS, 20)
    last, bare_last = (_milliseconds(runs, "last") for runs in (ours, bare))
    spread, bare_spread = (_spread(runs) for runs in (ours, bare))
    costs = [middle(run.cpu for run in runs) * 1e6 for runs in (ours, bare)]
    alone, beside = await _beside_stuck(lab, lab.new_folder("stuck"))
    return [
        Figure(f"one change to {count} sockets, first to last", spread, "ms", bare_spread, at_most=1.25),
        Figure(f"one change to {count} sockets, from the PATCH on", last, "ms", bare_last),
        Figure("CPU of the server for one delivery", costs[0], "us", costs[1], at_most=1.25),
        Figure("memory of the server for one socket", middle(run.memory for run in ours), "KiB", at_most=16),
        Figure(
            f"one change to {lab.count(READERS, 20)} sockets beside stuck ones",
            beside,
            "ms",
            alone,
            at_most=1.25,
        ),
    ]


async def _our_run(lab: Lab, folder: Path) -> tuple[sockets.FanOut, bytes]:
    count, rounds = lab.count(SUBSCRIBERS, 20), lab.count(ROUNDS, 2)
    async with Clipwire(folder) as server, client_of(server) as client:
        task_id = await client.paused()
        server.pin()
        found = await lab.elsewhere(sockets.fan_out, server.port, server.pid, task_id, count, rounds)
        async with client.session.get(f"/api/status/{task_id}") as answer:
            body = await answer.read()
    return found, b"\x81\x7e" + len(body).to_bytes(2, "big") + body


async def _beside_stuck(lab: Lab, folder: Path) -> list[float]:
    async with Clipwire(folder) as server, client_of(server) as client:
        task_ids = [await client.paused(), await client.paused()]
        server.pin()
        counts = lab.count(READERS, 20), lab.count(STUCK, 5), lab.count(ROUNDS, 2)
        times = await lab.elsewhere(sockets.beside_stuck, server.port, task_ids, *counts)
    return [middle(seconds) * 1e3 for seconds in times]


async def _bare_run(lab: Lab, folder: Path, frame: bytes) -> sockets.FanOut:
    (folder / "frame").write_bytes(frame)
    count = lab.count(SUBSCRIBERS, 20)
    async with Program("-m", "tests.bench.references", "frames", str(folder / "frame"), str(count)) as bare:
        bare.pin()
        return await lab.elsewhere(sockets.raw, bare.port, bare.pid, count, len(frame), lab.count(ROUNDS, 2))


def _milliseconds(runs: list[sockets.FanOut], name: str) -> float:
    return middle(seconds for run in runs for seconds in getattr(run, name)) * 1e3


def _spread(runs: list[sockets.FanOut]) -> float:
    return middle(last - first for run in runs for first, last in zip(run.first, run.last, strict=True)) * 1e3


async def feed(lab: Lab) -> list[Figure]:
    tasks, readers = lab.count(TASKS, 5), lab.count(FEEDS, 3)
    folder = lab.new_folder("feed")
    async with Program("-m", "tests.bench.driven", str(folder), str(tasks), str(PERIOD)) as server:
        server.pin()
        found = await lab.elsewhere(
            sockets.feed, server.port, server.pid, readers, 0.6 if lab.smoke else 8.0, PERIOD
        )
    what = f"the page's feed, {tasks} tasks to {readers} sockets"
    return [
        Figure(f"{what}: newest status at p99 after", percentile(found.lags, 99) * 1e3, "ms", at_most=100),
        Figure(f"{what}: messages", found.messages / found.seconds, "messages/s"),
        Figure(f"{what}: CPU of the server", found.cpu / found.seconds * 100, "%"),
    ]
