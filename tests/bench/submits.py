"""`POST /api/process`: a burst, against a bare insert with the same group commit, and a batch."""

import json
from collections.abc import Awaitable, Callable

from tests.bench.client import NEVER
from tests.bench.figures import Figure, middle
from tests.bench.http_load import Load, Outcome, post
from tests.bench.lab import Lab
from tests.bench.programs import Program

BURST, CONNECTIONS = 1_000, 32
BATCH = 500
ROUNDS = 7
WORTH = 0.5  # least part of the reference's rate
BODY = json.dumps(NEVER).encode()


async def submits(lab: Lab) -> list[Figure]:
    return [*await _burst(lab), await _batch(lab)]


async def _burst(lab: Lab) -> list[Figure]:
    count = lab.count(BURST, 50)
    database = lab.new_folder("insert") / "bare.db"
    bare = Program("-m", "tests.bench.references", "insert", str(database))
    async with lab.service("burst", CLIPWIRE_DOWNLOADS__MAX_QUEUED="100000") as ours, bare:
        sides = [_submitter(lab, program.pin(), count) for program in (ours, bare)]
        runs = await lab.alternate(ROUNDS, *sides)
    rates = [middle(outcome.per_second for outcome, _ in side) for side in runs]
    costs = [middle(cpu for _, cpu in side) * 1e6 for side in runs]
    what = f"{count:,} durable submits, {CONNECTIONS} connections"
    return [
        Figure(what, rates[0], "submits/s", rates[1], at_least=WORTH),
        Figure(f"{what}: CPU", costs[0], "us", costs[1], at_most=1 / WORTH),
    ]


def _submitter(lab: Lab, program: Program, count: int) -> Callable[[], Awaitable[tuple[Outcome, float]]]:
    requests = (post("/api/process", program.port, BODY),) * count
    load = Load(program.port, requests, lab.count(CONNECTIONS, 4))

    async def submit() -> tuple[Outcome, float]:
        before = program.cpu()
        outcome = await lab.load(load)
        assert set(outcome.statuses) == {202}, outcome.statuses
        return outcome, (program.cpu() - before) / len(outcome.latencies)

    return submit


async def _batch(lab: Lab) -> Figure:
    count = lab.count(BATCH, 10)
    together = json.dumps({"requests": [NEVER] * count}).encode()
    async with lab.service("batch", CLIPWIRE_DOWNLOADS__MAX_QUEUED="100000") as ours:
        as_one = Load(ours.port, (post("/api/process/batch", ours.port, together),), 1, answers=1)
        each = Load(ours.port, (post("/api/process", ours.port, BODY),), 1, answers=count)
        mine, theirs = await lab.alternate(ROUNDS, _timed(lab, as_one), _timed(lab, each))
    what = f"a batch of {count}, against as many submits one after the other"
    return Figure(what, middle(mine) * 1e3, "ms", middle(theirs) * 1e3, at_most=0.1)


def _timed(lab: Lab, load: Load) -> Callable[[], Awaitable[float]]:
    async def measure() -> float:
        outcome = await lab.load(load)
        assert set(outcome.statuses) <= {200, 202}, outcome.statuses
        return outcome.seconds

    return measure
