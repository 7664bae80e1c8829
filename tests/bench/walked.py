"""Runs the three journeys with a service in this process, and prints the functions that each has entered.

`python -m tests.bench.walked FOLDER LINK` prints three lists in JSON. It uses private parts of today's
service. No benchmark imports it, so benchmarks can measure other commits as well.
"""

import asyncio
import json
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from server.api import connections, keys
from server.core.events import DownloadStarted, Started
from server.tasks import children, janitor
from tests.bench.function_tracer import FunctionTracer
from tests.bench.traced import NOTES
from tests.inside import Inside, inside

NEVER = 3600.0  # seconds
PROGRAM = Path(__file__).with_name("traced.py")


async def walk(folder: Path, film: str) -> tuple[set[str], set[str], set[str]]:
    """Return the functions that each journey enters: request to 202, status to a socket, link to files."""
    notes = folder / "child"
    environment = children.child_environment() | {NOTES: str(notes)}
    with (
        patch.object(children, "PROGRAM", PROGRAM),
        patch.object(children, "child_environment", lambda: environment),
        patch.object(janitor, "CHECK_DISK_EVERY", NEVER),
        patch.object(janitor, "CHECK_IDLE_DISK_EVERY", NEVER),
        patch.object(connections, "CHECK_EVERY", NEVER),
    ):
        async with inside(folder) as service:
            # A first download, so that functions that run only once do not count.
            await _downloaded(service, film)
            submit = await _submit(service)
            await _ended(service)
            await service.app[keys.TASKS].pause_queue()  # for the status alone, no task may begin to run
            status = await _status(service)
            await service.app[keys.TASKS].resume_queue()
            await _ended(service)
            with _entered() as server:
                await _downloaded(service, film)
    return submit, status, server | set(notes.read_text("utf-8").splitlines())


@contextmanager
def _entered() -> Iterator[set[str]]:
    found: set[str] = set()
    tracer = FunctionTracer(found.add)
    tracer.begin()
    try:
        yield found
    finally:
        tracer.end()


async def _submit(service: Inside) -> set[str]:
    """Return the functions from the request's first byte to the first byte of the 202."""
    return await _until_written(b"HTTP/1.1 202", service.submit(auto_start=True))


async def _status(service: Inside) -> set[str]:
    """Return the functions from the event to the text message on a socket."""
    task_id = await service.submit()
    recorder = service.app[keys.TASKS]._recorder
    await service.app[keys.TASKS].resume(task_id)
    async with service.client.ws_connect(f"/ws/{task_id}") as socket:
        await socket.receive()
        await recorder.record(task_id, Started(), attempt=0)
        await socket.receive()
        return await _until_written(b"\x81", recorder.record(task_id, DownloadStarted(), attempt=1))


async def _ended(service: Inside) -> None:
    """Return once no work of the earlier journeys goes on."""
    async with asyncio.timeout(30):
        await service.app[keys.HUB].left_alone()
        while any(not stage.is_final for stage in await service.app[keys.TASKS]._store.count()):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)


async def _until_written(beginning: bytes, work: Coroutine[Any, Any, object]) -> set[str]:
    found: set[str] = set()

    def written(data: bytes) -> None:
        if data.startswith(beginning):
            tracer.end()

    tracer = FunctionTracer(found.add, written)
    tracer.begin()
    try:
        await work
        await asyncio.sleep(0.1)
    finally:
        tracer.end()
    return found


async def _downloaded(service: Inside, url: str) -> None:
    task_id = await service.submit(url=url, outputs=["video"], auto_start=True)
    async with asyncio.timeout(30):
        while not (status := await service.app[keys.TASKS].status(task_id)).stage.is_final:
            await asyncio.sleep(0.01)
    assert status.stage == "completed", status
    await asyncio.sleep(0.5)


if __name__ == "__main__":
    walked = asyncio.run(walk(Path(sys.argv[1]), sys.argv[2]))
    print(json.dumps([sorted(each) for each in walked]))
