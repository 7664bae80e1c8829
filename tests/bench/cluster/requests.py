"""Submits and status, each against the barest program on the same database, and against one machine alone."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.bench.client import NEVER, client_of
from tests.bench.cluster.stage import ROUNDS, node, postgres, reference
from tests.bench.figures import Figure, alternate, middle, percentile
from tests.bench.http_load import Load, Outcome, get, post
from tests.bench.lab import Lab
from tests.bench.programs import Clipwire, Program

BURST, SUBMITTERS, POLLERS = 2_000, 32, 64
# On the cluster it waits with a job, which nobody takes where there is no worker; alone it would begin.
WAITING, PAUSED = json.dumps({"url": NEVER["url"]}).encode(), json.dumps(NEVER).encode()


@dataclass(frozen=True, slots=True)
class Run:
    rate: float
    p99: float  # milliseconds
    cpu: float  # microseconds of the server for one request


async def cluster_submits(lab: Lab) -> list[Figure]:
    folder, count = lab.new_folder("cluster-submits"), lab.count(BURST, 50)
    with postgres() as url:
        ours, alone = node(folder / "web", url, "web"), Clipwire(folder / "alone", **_ROOM)
        async with ours, alone, reference("submit", url) as bare:
            sides = [
                _runner(lab, each, tuple([post("/api/process", each.port, body)] * count), SUBMITTERS)
                for each, body in ((ours, WAITING), (bare, WAITING), (alone, PAUSED))
            ]
            cluster, barest, default = await _medians(lab, sides)
    what = f"{count:,} submits, {SUBMITTERS} connections"
    return [
        Figure(f"{what}: against a transaction each", cluster.rate, "submits/s", barest.rate, at_least=2),
        Figure(f"{what}: against one machine alone", cluster.rate, "submits/s", default.rate, at_least=0.2),
        Figure(f"{what}: p99", cluster.p99, "ms", barest.p99, at_most=1),
        Figure(f"{what}: CPU a submit", cluster.cpu, "us", barest.cpu),
    ]


async def cluster_status(lab: Lab) -> list[Figure]:
    folder = lab.new_folder("cluster-status")
    with postgres() as url:
        ours, alone = node(folder / "web", url, "web"), Clipwire(folder / "alone")
        async with ours, alone, reference("status", url) as bare:
            async with client_of(ours) as client, client_of(alone) as other:
                task_id, alike = await client.paused(), await other.paused()
            sides = [
                _runner(lab, each, (get(f"/api/status/{which}", each.port),), POLLERS, lab.seconds(3.0))
                for each, which in ((ours, task_id), (bare, task_id), (alone, alike))
            ]
            cluster, barest, default = await _medians(lab, sides)
    what = f"status, {POLLERS} connections"
    return [
        Figure(f"{what}: against a SELECT each", cluster.rate, "requests/s", barest.rate, at_least=1.5),
        Figure(
            f"{what}: CPU a request, against one machine alone", cluster.cpu, "us", default.cpu, at_most=3
        ),
        Figure(f"{what}: CPU, against a SELECT each", cluster.cpu, "us", barest.cpu),
        Figure(f"{what}: p99", cluster.p99, "ms", barest.p99),
    ]


_ROOM = {"CLIPWIRE_DOWNLOADS__MAX_QUEUED": "1000000"}


def _runner(
    lab: Lab, program: Program, requests: tuple[bytes, ...], connections: int, seconds: float | None = None
) -> Callable[[], Awaitable[Run]]:
    load = Load(program.pin().port, requests, lab.count(connections, 4), seconds=seconds)

    async def run() -> Run:
        before = program.cpu()
        outcome: Outcome = await lab.load(load)
        assert set(outcome.statuses) <= {200, 202}, outcome.statuses
        cpu = (program.cpu() - before) / len(outcome.latencies)
        return Run(outcome.per_second, percentile(outcome.latencies, 99) * 1e3, cpu * 1e6)

    return run


async def _medians(lab: Lab, sides: list[Callable[[], Awaitable[Run]]]) -> list[Run]:
    return [
        Run(middle(r.rate for r in runs), middle(r.p99 for r in runs), middle(r.cpu for r in runs))
        for runs in await alternate(lab.count(ROUNDS, 1), *sides)
    ]
