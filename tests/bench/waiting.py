"""A restart while many tasks wait: what the queue needs of them is read, nothing more."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from server.core.process_request import ProcessRequest
from server.core.task import Task, TaskStatus
from server.files.public_names import short_of
from server.storage.sqlite import DATABASE
from server.storage.task_rows import task_values
from tests.bench.client import client_of
from tests.bench.figures import Figure, alternate, middle
from tests.bench.lab import Lab
from tests.bench.programs import Clipwire
from tests.bench.rows import COLUMNS, make_tables, task_id

WAITING, HOSTS = 100_000, 50
STARTS = 3


@dataclass(frozen=True, slots=True)
class Start:
    seconds: float  # until the first answer
    cpu: float  # seconds
    memory: float  # MiB


async def waiting(lab: Lab) -> list[Figure]:
    count = lab.count(WAITING, 500)
    folders = {many: lab.new_folder(f"waiting-{many}") for many in (count, 0)}
    for many, folder in folders.items():
        await asyncio.to_thread(fill, folder / "data", many)
    starts = [partial(_start, folder) for folder in folders.values()]
    with_them, without = await alternate(lab.count(STARTS, 1), *starts)
    cpu, no_cpu = (middle(start.cpu for start in runs) for runs in (with_them, without))
    memory, no_memory = (middle(start.memory for start in runs) for runs in (with_them, without))
    what = f"a restart with {count:,} waiting tasks"
    seconds = middle(start.seconds for start in with_them)
    return [
        Figure(f"{what}: start to first answer", seconds, "s"),
        Figure(f"{what}: CPU of the server", cpu, "s", at_most=1),
        Figure(f"{what}: CPU of the server for each", (cpu - no_cpu) / count * 1e6, "us", at_most=10),
        Figure(f"{what}: memory", memory, "MiB", at_most=150),
        Figure(f"{what}: memory without them", no_memory, "MiB"),
    ]


async def _start(folder: Path) -> Start:
    server = Clipwire(folder, CLIPWIRE_DOWNLOADS__MAX_QUEUED=str(WAITING * 2))
    began = time.monotonic()
    async with server, client_of(server) as client:
        await client.get("/api/tasks?limit=1")
        return Start(time.monotonic() - began, server.cpu(), server.memory())


def fill(data_dir: Path, count: int) -> None:
    """So many queued tasks, and a paused queue: no download disturbs the measurement."""
    asyncio.run(make_tables(data_dir))
    with sqlite3.connect(data_dir / DATABASE) as db:
        db.execute("PRAGMA synchronous = OFF")  # a crash would cost a database that can be made again
        marks = ",".join("?" * len(COLUMNS.split(",")))
        db.executemany(f"INSERT INTO tasks ({COLUMNS}) VALUES ({marks})", _rows(count))
        db.execute("INSERT INTO pauses VALUES ('all')")
    db.close()


def _rows(count: int) -> Iterator[tuple[object, ...]]:
    began = datetime(2024, 1, 1, tzinfo=UTC)
    for number in range(count):
        request = ProcessRequest(url=f"https://host{number % HOSTS}.example.org/watch/no{number:07d}")
        status = TaskStatus.new(request, began + timedelta(seconds=number))
        yield task_values(Task(request, status.model_copy(update={"task_id": task_id(number)})), short_of)
