"""A restart while many tasks wait: only what the queue needs is read of each."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.bench.client import Client, client_of
from tests.bench.figures import Figure, middle
from tests.bench.lab import Lab
from tests.bench.programs import Clipwire

WAITING, HOSTS, BATCH = 20_000, 50, 500
ROUNDS = 5


async def waiting(lab: Lab) -> list[Figure]:
    count = lab.count(WAITING, 500)
    full, empty = (lab.new_folder(f"waiting-{name}") for name in ("full", "empty"))
    async with _service(lab, full) as server, client_of(server) as client:
        await _fill(client, count)
    runs = await lab.alternate(ROUNDS, _starter(lab, full), _starter(lab, empty))
    (cpu, memory), (no_cpu, no_memory) = (
        (middle(cpu for cpu, _ in side), middle(memory for _, memory in side)) for side in runs
    )
    what = f"a restart with {count:,} waiting tasks, against one with none"
    return [
        Figure(f"{what}: CPU of the server", cpu, "s", no_cpu, at_most=1.25),
        Figure(f"{what}: memory", memory, "MiB", no_memory, at_most=1.8),
    ]


def _service(lab: Lab, folder: Path) -> Clipwire:
    return Clipwire(folder, lab.tree, CLIPWIRE_DOWNLOADS__MAX_QUEUED=str(WAITING * 2))


def _starter(lab: Lab, folder: Path) -> Callable[[], Awaitable[tuple[float, float]]]:
    async def start() -> tuple[float, float]:
        async with _service(lab, folder) as server, client_of(server) as client:
            await client.get("/api/tasks?limit=1")
            return server.cpu(), server.memory()

    return start


async def _fill(client: Client, count: int) -> None:
    """Store so many queued tasks, and pause the queue, so that no download disturbs the measurement."""
    async with client.session.post("/api/queue/pause") as answer:
        assert answer.status == 200
    for begin in range(0, count, BATCH):
        requests = [
            {"url": f"https://host{number % HOSTS}.example.org/watch/no{number:07d}"}
            for number in range(begin, begin + BATCH)
        ]
        async with client.session.post("/api/process/batch", json={"requests": requests}) as answer:
            assert {each["status"] for each in (await answer.json())["results"]} == {202}
