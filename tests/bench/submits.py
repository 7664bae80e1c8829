"""`POST /api/process`: a burst, against a bare insert, and one after the other beside downloads."""

import json
from collections.abc import Awaitable, Callable

from tests.bench.client import NEVER, client_of
from tests.bench.figures import Figure, alternate, middle, percentile
from tests.bench.http_load import Load, Outcome, post
from tests.bench.lab import Lab
from tests.bench.polling import running_downloads
from tests.bench.programs import Clipwire, Program

BURST, CONNECTIONS = 1_000, 32
ROUNDS = 7
BODY = json.dumps(NEVER).encode()


async def submits(lab: Lab) -> list[Figure]:
    return [*await _burst(lab), *await _beside_downloads(lab)]


async def _burst(lab: Lab) -> list[Figure]:
    folder = lab.new_folder("burst")
    bare = Program("-m", "tests.bench.references", "insert", str(folder / "bare.db"))
    async with Clipwire(folder) as ours, bare:
        sides = [_submitter(lab, program.pin()) for program in (ours, bare)]
        our_runs, bare_runs = await alternate(lab.count(ROUNDS, 1), *sides)
    rates = [middle(outcome.per_second for outcome, _ in runs) for runs in (our_runs, bare_runs)]
    costs = [middle(cpu for _, cpu in runs) * 1e6 for runs in (our_runs, bare_runs)]
    p99 = middle(percentile(outcome.latencies, 99) for outcome, _ in our_runs) * 1e3
    what = f"{lab.count(BURST, 50)} submits, {CONNECTIONS} connections"
    return [
        Figure(what, rates[0], "submits/s", rates[1], at_least=0.7),
        Figure(f"{what}: durable", rates[0], "submits/s", at_least=2000),
        Figure(f"{what}: p99", p99, "ms", at_most=200),
        Figure(f"{what}: CPU a submit", costs[0], "us", costs[1], at_most=1 / 0.7),
    ]


def _submitter(lab: Lab, program: Program) -> Callable[[], Awaitable[tuple[Outcome, float]]]:
    requests = (post("/api/process", program.port, BODY),) * lab.count(BURST, 50)
    load = Load(program.port, requests, lab.count(CONNECTIONS, 4))

    async def submit() -> tuple[Outcome, float]:
        before = program.cpu()
        outcome = await lab.load(load)
        assert set(outcome.statuses) == {202}, outcome.statuses
        return outcome, (program.cpu() - before) / len(outcome.latencies)

    return submit


async def _beside_downloads(lab: Lab) -> list[Figure]:
    async with Clipwire(lab.new_folder("submits")) as ours, client_of(ours) as client:
        request = post("/api/process", ours.port, BODY)
        load = Load(ours.port, (request,), 1, answers=lab.count(400, 10), pause=0.005)
        async with running_downloads(lab, client, 4):
            outcome = await lab.load(load)
    assert set(outcome.statuses) == {202}, outcome.statuses
    return [
        Figure(f"a submit beside 4 downloads: p{percent}", percentile(outcome.latencies, percent) * 1e3, "ms",
               at_most=limit)
        for percent, limit in ((50, 5), (99, 25))
    ]  # fmt: skip
