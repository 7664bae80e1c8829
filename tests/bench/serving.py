"""`GET /api/download/<name>`, against a bare `FileResponse`."""

from collections.abc import Awaitable, Callable

from tests.bench.client import client_of
from tests.bench.figures import Figure, middle
from tests.bench.http_load import Load, Outcome, get
from tests.bench.lab import BIG, Lab
from tests.bench.programs import Program

ROUNDS = 5
WAYS = (
    # the name of the file, its size, how many are fetched at a time, and how many in all
    (BIG, "109 MB", 1, 10),
    ("1mb.mp4", "1 MB", 64, 1000),
)
WORTH = 0.95  # least part of the reference's rate


async def serving(lab: Lab) -> list[Figure]:
    figures = []
    async with lab.service("serving") as ours, client_of(ours) as client:
        for name, size, at_a_time, answers in WAYS:
            task_id = await client.submit(f"{lab.files.url}/{name}", outputs=["video"])
            path = (await client.completed(task_id))["files"]["video"]
            sides = [
                _fetcher(lab, program.pin(), where, at_a_time, answers)
                for program, where in ((ours, path), (lab.files, f"/{name}"))
            ]
            runs = await lab.alternate(ROUNDS, *sides)
            costs = [middle(cpu for _, cpu in side) * 1e6 for side in runs]
            what = f"a file of {size}, {at_a_time} at a time: CPU a MB"
            figures.append(Figure(what, costs[0], "us", costs[1], at_most=1 / WORTH))
    return figures


def _fetcher(
    lab: Lab, program: Program, path: str, connections: int, answers: int
) -> Callable[[], Awaitable[tuple[Outcome, float]]]:
    request = get(path, program.port)
    load = Load(program.port, (request,), lab.count(connections, 2), answers=lab.count(answers, 4))

    async def fetch() -> tuple[Outcome, float]:
        before = program.cpu()
        outcome = await lab.load(load)
        assert set(outcome.statuses) == {200}, outcome.statuses
        return outcome, (program.cpu() - before) / (outcome.bytes / 1e6)

    return fetch
