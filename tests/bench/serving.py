"""`GET /api/download/<name>`: whole and in ranges, against a bare `FileResponse`."""

from collections.abc import Awaitable, Callable

from tests.bench.client import client_of
from tests.bench.figures import Figure, alternate, middle
from tests.bench.http_load import Load, Outcome, get
from tests.bench.lab import BIG, Lab
from tests.bench.programs import Clipwire, Program

ROUNDS = 5
SMALL = "1mb.mp4"
RANGE = {"Range": "bytes=1000000-1999999"}
WAYS: tuple[tuple[str, str, dict[str, str], int, int], ...] = (
    # what, of which file, how, how many at a time, how many in all
    ("whole", BIG, {}, 1, 10),
    ("whole", SMALL, {}, 64, 1000),
    ("in ranges", BIG, RANGE, 1, 500),
    ("in ranges", BIG, RANGE, 64, 1000),
)


async def serving(lab: Lab) -> list[Figure]:
    figures = []
    async with Clipwire(lab.new_folder("serving")) as ours, client_of(ours) as client:
        names = {}
        for name in (BIG, SMALL):
            task_id = await client.submit(f"{lab.files.url}/{name}", outputs=["video"])
            names[name] = (await client.completed(task_id))["files"]["video"]
        for what, name, headers, at_a_time, answers in WAYS:
            sides = [
                fetcher(lab, program.pin(), path, headers, at_a_time, answers)
                for program, path in ((ours, names[name]), (lab.files, f"/{name}"))
            ]
            size = "1 MB" if headers or name == SMALL else "109 MB"
            figures += await _compared(lab, f"a file {what}, {size}, {at_a_time} at a time", sides)
    return figures


async def _compared(
    lab: Lab, what: str, sides: list[Callable[[], Awaitable[tuple[Outcome, float]]]]
) -> list[Figure]:
    runs = await alternate(lab.count(ROUNDS, 1), *sides)
    speeds = [middle(outcome.bytes / outcome.seconds for outcome, _ in side) / 1e6 for side in runs]
    costs = [middle(cpu for _, cpu in side) * 1e6 for side in runs]
    return [
        Figure(what, speeds[0], "MB/s", speeds[1], at_least=0.95),
        Figure(f"{what}: CPU a MB", costs[0], "us", costs[1], at_most=1 / 0.95),
    ]


def fetcher(
    lab: Lab, program: Program, path: str, headers: dict[str, str], connections: int, answers: int
) -> Callable[[], Awaitable[tuple[Outcome, float]]]:
    request = get(path, program.port, **headers)
    load = Load(program.port, (request,), lab.count(connections, 2), answers=lab.count(answers, 4))

    async def fetch() -> tuple[Outcome, float]:
        before = program.cpu()
        outcome = await lab.load(load)
        assert set(outcome.statuses) <= {200, 206}, outcome.statuses
        return outcome, (program.cpu() - before) / (outcome.bytes / 1e6)

    return fetch
