"""A library of 100,000 files is verified, while the server answers others."""

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from server.library.library_folder import LibraryFolder
from server.library.placements import folded
from server.storage.sqlite import DATABASE
from tests.bench.client import client_of
from tests.bench.figures import Figure, percentile
from tests.bench.lab import Lab
from tests.bench.programs import Clipwire
from tests.bench.rows import make_tables

FILES, OF_A_FOLDER = 100_000, 250
CONTENT = b"x"


async def library(lab: Lab) -> list[Figure]:
    count, folder = lab.count(FILES, 500), lab.new_folder("library")
    root = folder / "library"
    await asyncio.to_thread(fill, folder / "data", root, count)
    server = Clipwire(folder, CLIPWIRE_LIBRARY__PATH=str(root))
    waits: list[float] = []
    async with server, client_of(server) as client:
        await client.get("/api/tasks?limit=1")
        cpu, memory, began = server.cpu(), server.memory(), time.monotonic()

        async def verify() -> None:
            async with client.session.post("/api/library/actions", json={"action": "verify"}) as answer:
                found = await answer.json()
                assert (found["count"], found["missing"], found["unknown"]) == (count, 0, 0), found

        verifying = asyncio.create_task(verify(), name="verify")
        while not verifying.done():
            asked = time.monotonic()
            await client.get("/api/tasks?limit=1")
            waits.append(time.monotonic() - asked)
            await asyncio.sleep(0.02)
        await verifying
        seconds, cpu = time.monotonic() - began, server.cpu() - cpu
        memory = server.memory() - memory
    what = f"a library of {count:,} files is verified"
    return [
        Figure(what, seconds, "s", at_most=30),
        Figure(f"{what}: CPU of the server", cpu, "s"),
        Figure(f"{what}: memory for it", memory, "MiB", at_most=64),
        Figure(f"{what}: p99 of a page of tasks meanwhile", percentile(waits, 99) * 1e3, "ms", at_most=200),
    ]


def fill(data_dir: Path, root: Path, count: int) -> None:
    """Files and their rows, as the placer would have left them."""
    asyncio.run(make_tables(data_dir))
    root.mkdir()
    LibraryFolder(root).mark()
    for number in range(0, count, OF_A_FOLDER):
        (root / path_of(number)).parent.mkdir(parents=True)
    for number in range(count):
        (root / path_of(number)).write_bytes(CONTENT)
    with sqlite3.connect(data_dir / DATABASE) as db:
        db.execute("PRAGMA synchronous = OFF")  # a crash would cost a database that can be made again
        db.executemany("INSERT INTO placed VALUES (?, ?, ?, ?, ?, ?, ?)", _rows(count))
    db.close()


def path_of(number: int) -> str:
    channel = number // OF_A_FOLDER
    return f"Channel {channel}/Season 2026/Channel {channel} - S2026E{number:06} - Film [{number:011}].mp4"


def _rows(count: int) -> Iterator[tuple[object, ...]]:
    digest = hashlib.sha256(CONTENT).hexdigest()
    for number in range(count):
        path = path_of(number)
        yield folded(path), path, f"{number:032}", "video", len(CONTENT), digest, "placed"
