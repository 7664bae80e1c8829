"""Chores that one node does for all, now and then: periodic jobs of the engine.

Each worker node offers the job of a period to the engine, which accepts the first one; any free node does it.
No chore is done twice at a time. One whose node has died is done again, once the sweeper has found the dead
node's job. Chores have an engine's worker of their own, so that neither downloads that last for hours nor a
full disk hold them up.

Decisions: docs/decisions/cluster.md
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Self

from procrastinate.worker import Worker

from server.cluster.database import Database
from server.cluster.engine import NEVER, Shared, new_app
from server.core.errors import StorageAway, StoreUnavailable

log = logging.getLogger(__name__)

QUEUE = "house"
EVERY_20_SECONDS = "* * * * * */20"
EVERY_6_HOURS = "23 */6 * * *"
POLL = 5.0  # seconds between looks for a chore
START_AGAIN = 1.0  # seconds before a worker that failed is replaced

Chore = Callable[[], Awaitable[None]]


class Chores:
    """Runs the chores; `add` all of them before entering it."""

    def __init__(self, database: Database, heartbeat: float, poll: float = POLL) -> None:
        self._database = database
        self._heartbeat = heartbeat
        self._poll = poll
        self._app = new_app(database.url)
        self._names: list[str] = []
        self._worker: Worker | None = None
        self._closing = False

    def add(self, name: str, cron: str, chore: Chore) -> None:
        async def do(timestamp: int) -> None:
            try:
                await chore()
            except StorageAway:
                pass  # the bucket tells its outages itself
            except StoreUnavailable as exc:
                log.warning("%s is put off: %s", name, exc.__cause__ or exc)
            except Exception:
                log.exception("%s failed, it is tried again later", name)

        self._names.append(name)
        lock = f"{QUEUE} {name}"
        task = self._app.task(name=name, queue=QUEUE, lock=lock, queueing_lock=lock)(do)
        self._app.periodic(cron=cron)(task)

    async def __aenter__(self) -> Self:
        await self._app.open_async(Shared(self._database))
        self._running = asyncio.create_task(self._run(), name="chores")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        if self._worker:
            self._worker.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait([self._running])

    async def _run(self) -> None:
        while not self._closing:
            self._worker = Worker(
                self._app,
                queues=[QUEUE],
                concurrency=len(self._names),
                update_heartbeat_interval=self._heartbeat,
                stalled_worker_timeout=NEVER,
                fetch_job_polling_interval=self._poll,
                shutdown_graceful_timeout=0,
                delete_jobs="always",
                install_signal_handlers=False,
                listen_notify=False,  # it costs a connection
            )
            try:
                await self._worker.run()  # type: ignore[no-untyped-call]
            except Exception as exc:
                log.warning("the engine's worker for chores ended, there will be another one: %s", exc)
                await asyncio.sleep(START_AGAIN)
