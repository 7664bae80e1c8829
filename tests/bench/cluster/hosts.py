"""What it costs to look after thousands of hosts, each with all its places taken and tasks that wait."""

import asyncio
import time
from contextlib import AsyncExitStack

import psutil  # type: ignore[import-untyped]

from server.cluster.admission import Admission
from server.cluster.database import open_database
from server.cluster.engine import Shared, new_app
from server.cluster.sweeper import Sweeper
from server.files.public_names import short_of
from server.storage.postgresql.store import open_store
from server.tasks.hub import Hub
from server.tasks.recorder import Recorder
from tests.bench.figures import Figure, middle
from tests.bench.lab import Lab
from tests.bench.programs import cpu_of
from tests.cluster.crowd import UNLIMITED, crowd
from tests.cluster.postgres import own_postgres

HOSTS, EACH, PER_HOST = 3_000, 3, 1
LOST_AFTER = 0.5  # seconds: so dead workers are looked for in each sweep
ROUNDS = 15


async def hosts(lab: Lab) -> list[Figure]:
    count = lab.count(HOSTS, 30)
    async with AsyncExitStack() as stack:
        server = stack.enter_context(own_postgres())
        await crowd(server.url, count, EACH)
        database = await stack.enter_async_context(open_database(server.url, 3))
        app = new_app(server.url)
        admission = Admission(app.job_manager, PER_HOST)
        store = await stack.enter_async_context(
            open_store(server.url, max_queued=UNLIMITED, find_short=short_of, admits=admission)
        )
        await stack.enter_async_context(app.open_async(Shared(database)))
        sweeper = Sweeper(database, Recorder(store, Hub(), store.clock), admission, LOST_AFTER)

        async def have_jobs() -> int:
            [(so_many,)] = await database.rows("SELECT count(*) FROM tasks WHERE job_id IS NOT NULL")
            return int(so_many)

        began = time.monotonic()
        while await have_jobs() < count:
            await sweeper.look()
        caught_up = time.monotonic() - began
        for _ in range(2):  # it is recorded of the next of each host that it waits for a place
            await sweeper.look()
        await asyncio.sleep(LOST_AFTER * 1.5)
        took, cost = [], []
        for _ in range(lab.count(ROUNDS, 2)):
            began, before = time.monotonic(), _cpu(server.processes())
            await sweeper.look()
            took.append((time.monotonic() - began) * 1e3)
            cost.append((_cpu(server.processes()) - before) * 1e3)
        assert await have_jobs() == count, "no host has more than it may"
    what = f"{count:,} hosts whose places are taken, with {count * (EACH - 1):,} tasks that wait"
    return [
        Figure(f"{what}: the first place of each", caught_up, "s"),
        Figure(f"{what}: a sweep", middle(took), "ms"),
        Figure("... CPU of node and database", middle(cost), "ms", at_most=100),
    ]


def _cpu(database: list[int]) -> float:
    """Seconds of this process and of those of the database."""
    return cpu_of(psutil.Process().pid) + sum(cpu_of(pid) for pid in database)
