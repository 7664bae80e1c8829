"""The service with tasks that progress by themselves: `python -m tests.bench.driven DATA_DIR TASKS PERIOD`.

Two hundred real downloads would measure yt-dlp. Here the events come from within, and everything behind
them is real: `apply`, the store with its commits, the hub, the sockets. Each event carries the time it
happened at, as its number of bytes.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from server.api.keys import TASKS
from server.app import create_app
from server.core.events import DownloadStarted, Progress, Requeued, Resumed, Started
from server.core.process_request import ProcessRequest
from server.settings import DownloadSettings, Settings, StorageSettings
from tests.adding import accept
from tests.bench.client import NEVER
from tests.bench.references import serve


def driven_app(data_dir: Path, count: int, period: float) -> web.Application:
    settings = Settings(
        storage=StorageSettings(data_dir=data_dir), downloads=DownloadSettings(min_free_disk=0)
    )
    return driven(settings, count, period)


def driven(settings: Settings, count: int, period: float) -> web.Application:
    app = create_app(settings)

    async def drive(app: web.Application) -> AsyncIterator[None]:
        drivers = [asyncio.create_task(_drive(app, period, n * period / count)) for n in range(count)]
        yield
        for driver in drivers:
            driver.cancel()
        await asyncio.wait(drivers)

    app.cleanup_ctx.append(drive)
    return app


async def _drive(app: web.Application, period: float, phase: float) -> None:
    tasks, loop = app[TASKS], asyncio.get_running_loop()
    task_id = (await accept(tasks, ProcessRequest.model_validate(NEVER))).task_id
    record = tasks._recorder.record
    for event in (Resumed(), Started(), DownloadStarted()):
        await record(task_id, event)
    due = loop.time() + phase
    try:
        while True:
            await asyncio.sleep(due - loop.time())
            due += period
            stamp = time.monotonic_ns()
            await record(task_id, Progress(progress=50, downloaded_bytes=stamp, total_bytes=1 << 62))
    finally:
        await record(task_id, Requeued())


if __name__ == "__main__":
    asyncio.run(serve(driven_app(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
