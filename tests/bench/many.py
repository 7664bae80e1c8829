"""Many at once: a batch against submits one after the other, an archive of many files against `cat`."""

import json
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.bench.client import NEVER, client_of
from tests.bench.figures import Figure, alternate, middle
from tests.bench.http_load import Load, get, post
from tests.bench.lab import BIG, Lab
from tests.bench.programs import Clipwire

ROUNDS = 5
BATCH = 500  # tasks
FILMS = 10  # of 109 MB
READ = 1 << 20  # bytes


async def batch(lab: Lab) -> list[Figure]:
    count = lab.count(BATCH, 10)
    body, all_of_them = json.dumps(NEVER).encode(), json.dumps({"requests": [NEVER] * count}).encode()
    settings = {"CLIPWIRE_DOWNLOADS__MAX_QUEUED": "100000"}
    async with Clipwire(lab.new_folder("batch"), **settings) as ours:
        together = Load(ours.port, (post("/api/process/batch", ours.port, all_of_them),), 1, answers=1)
        each = Load(ours.port, (post("/api/process", ours.port, body),), 1, answers=count)
        runs = await alternate(lab.count(ROUNDS, 1), _timed(lab, together), _timed(lab, each))
    ours_in, theirs = [middle(side) * 1e3 for side in runs]
    what = f"a batch of {count}, against as many submits one after the other"
    return [Figure(what, ours_in, "ms", theirs, at_most=0.1)]


async def together(lab: Lab) -> list[Figure]:
    count = lab.count(FILMS, 2)
    async with Clipwire(lab.new_folder("together")) as ours, client_of(ours) as client:
        ids = [await client.submit(f"{lab.files.url}/{BIG}", outputs=["video"]) for _ in range(count)]
        for task_id in ids:
            await client.completed(task_id)
        request = get(f"/api/download.zip?ids={','.join(ids)}", ours.port, Connection="close")
        paths = sorted((ours.data / "files").rglob("*.mp4"))

        async def read_all() -> float:
            return await lab.elsewhere(_read_from_cat, paths)

        async def fetch() -> float:
            return await lab.elsewhere(_read_archive, ours.port, request)

        runs = await alternate(lab.count(ROUNDS, 1), fetch, read_all)
        size = sum(path.stat().st_size for path in paths) / 1e6
    speeds = [size / middle(side) for side in runs]
    what = f"{count} files of 109 MB as one archive, against `cat`"
    return [Figure(what, speeds[0], "MB/s", speeds[1], at_least=0.5)]


def _timed(lab: Lab, load: Load) -> Callable[[], Awaitable[float]]:
    async def measure() -> float:
        outcome = await lab.load(load)
        assert set(outcome.statuses) <= {200, 202}, outcome.statuses
        return outcome.seconds

    return measure


def _read_archive(port: int, request: bytes) -> float:
    """Seconds in which the service hands the archive on to a reader that is as plain as that of `cat`."""
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(request)
        buffer, size = bytearray(READ), 0
        while read := sock.recv_into(buffer):
            size += read
    assert size > READ, bytes(buffer[:500])
    return time.perf_counter() - began


def _read_from_cat(paths: list[Path]) -> float:
    """Seconds in which `cat` hands all of them on to a reader."""
    began = time.perf_counter()
    with subprocess.Popen(["cat", *paths], stdout=subprocess.PIPE, bufsize=0) as cat:
        assert cat.stdout
        while cat.stdout.read(READ):
            pass
    return time.perf_counter() - began
