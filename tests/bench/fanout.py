"""Sends one change to thousands of sockets, compared with a bare loop of sends."""

from tests.bench import sockets
from tests.bench.client import client_of
from tests.bench.figures import Figure, middle
from tests.bench.lab import Lab
from tests.bench.programs import Program
from tests.bench.sockets import FanOut

SUBSCRIBERS = 5_000
CHANGES = 15
ROUNDS = 3  # rounds of the server and of the bare loop, in turns
LONGER = 1.25  # times the reference that the server may take


async def fanout(lab: Lab) -> list[Figure]:
    count, changes = lab.count(SUBSCRIBERS, 20), lab.count(CHANGES, 2)
    frame = b""

    async def ours() -> FanOut:
        nonlocal frame
        async with lab.service("fanout") as server, client_of(server) as client:
            task_id = await client.paused()
            server.pin()
            found = await lab.elsewhere(sockets.fan_out, server.port, server.pid, task_id, count, changes)
            async with client.session.get(f"/api/status/{task_id}") as answer:
                body = await answer.read()
        frame = b"\x81\x7e" + len(body).to_bytes(2, "big") + body
        return found

    async def bare() -> FanOut:
        path = lab.new_folder("frame") / "frame"
        path.write_bytes(frame)
        async with Program("-m", "tests.bench.references", "frames", str(path), str(count)) as program:
            program.pin()
            return await lab.elsewhere(sockets.raw, program.port, program.pid, count, len(frame), changes)

    runs = await lab.alternate(ROUNDS, ours, bare)
    spreads, costs = [list(map(_spread, side)) for side in runs], [[run.cpu for run in side] for side in runs]
    (mine, theirs), (cost, its_cost) = (map(middle, spreads), map(middle, costs))
    what = f"one change to {count:,} sockets, first to last"
    return [
        Figure(what, mine * 1e3, "ms", theirs * 1e3, at_most=LONGER),
        Figure("CPU of the server for one delivery", cost * 1e6, "us", its_cost * 1e6, at_most=LONGER),
    ]


def _spread(run: FanOut) -> float:
    return middle(last - first for first, last in zip(run.first, run.last, strict=True))
