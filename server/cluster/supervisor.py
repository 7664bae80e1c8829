"""Keeps one worker of the engine running on this node, for as long as the node runs.

The engine's own heartbeat would end when its worker begins to stop, while downloads are still ending. So it
is turned off, and sent with the node's (`presence`). If the answer to a fetch is lost, a job is assigned to a
worker that does not know of it: such jobs are given back here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Self

from procrastinate import App
from procrastinate.worker import Worker

from server.cluster.engine import NEVER
from server.cluster.worker import Jobs
from server.core.background import in_background
from server.core.errors import StoreUnavailable
from server.tasks.dispatcher import MOST_RUNNING

log = logging.getLogger(__name__)

POLL = 1.0  # seconds between polls for jobs and abort requests, whose notification may be lost
GRACE = 4.0  # seconds that jobs have to end when their worker stops
UNKNOWN_FOR = 10.0  # seconds after which a job that is assigned to this worker, and not run, is given back
POLL_WHILE_STOPPING = 0.25  # seconds between polls for abort requests, as a stopping worker does not poll
RESTART_AFTER = 1.0  # seconds before a failed worker is replaced

_OURS = """
    SELECT id, abort_requested FROM procrastinate_jobs WHERE status = 'doing' AND worker_id = ANY(%s)"""
_TO_START = "SELECT id FROM procrastinate_jobs WHERE status = 'todo' AND queue_name = ANY(%s)"


class Supervisor:
    """Runs jobs of `queues`, `concurrency` at once, and those of `to_start` as soon as they are there.

    `warm` returns once this node can run jobs; until then it leaves them to other nodes. `stranded` is called
    with the number of a job that is assigned to this worker and not run. `drain` is how many seconds more
    than `GRACE` running jobs have to end when the worker stops.
    """

    def __init__(
        self,
        app: App,
        jobs: Jobs,
        queues: Sequence[str],
        to_start: Sequence[str],
        concurrency: int,
        heartbeat: float,
        warm: Callable[[], Awaitable[object]],
        stranded: Callable[[int], Awaitable[object]],
        drain: float = 0,
    ) -> None:
        self._app = app
        self._jobs = jobs
        self._queues = queues
        self._to_start = to_start
        self._concurrency = concurrency
        self._heartbeat = heartbeat
        self._warm = warm
        self._stranded = stranded
        self._grace = GRACE + drain
        self._worker: Worker | None = None
        # Each of these asyncio tasks runs a job beyond `concurrency`, with its own worker of the engine.
        self._beyond: dict[asyncio.Task[None], Worker | None] = {}
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._released = asyncio.Event()
        self._released.set()
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()  # when set, poll for abort requests more often
        self._unknown: dict[int, float] = {}

    def hold(self) -> None:
        """Take no more jobs until `release`."""
        self._jobs.held = True
        self._released.clear()
        self._stopping.set()
        self._hurried.set()
        for worker in (self._worker, *self._beyond.values()):
            if worker:
                worker.stop()  # type: ignore[no-untyped-call]

    def release(self) -> None:
        if self._jobs.draining:
            return
        self._jobs.held = False
        self._stopping.clear()
        self._released.set()

    async def start_requested(self) -> None:
        """Run the waiting jobs of `to_start`, as far as there are places, each by a worker of its own."""
        if self._worker is None:
            return
        for _ in await self._jobs_to_start():
            if len(self._beyond) < (MOST_RUNNING - 1) * self._concurrency:
                running = asyncio.create_task(self._run_beyond(), name="worker beyond the limit")
                self._beyond[running] = None
                running.add_done_callback(self._beyond.pop)
                self._hurried.set()

    async def _run_beyond(self) -> None:
        """Run jobs of `to_start`, one after the other, until none waits."""
        me = asyncio.current_task()
        assert me is not None
        try:
            while not self._jobs.held and await self._jobs_to_start():
                self._beyond[me] = worker = Worker(
                    self._app,
                    queues=[*self._to_start],
                    wait=False,
                    listen_notify=False,
                    update_heartbeat_interval=NEVER,
                    stalled_worker_timeout=NEVER,
                    delete_jobs="always",
                    install_signal_handlers=False,
                )
                await worker.run()  # type: ignore[no-untyped-call]
        except Exception as exc:
            log.warning("what was to start waits for a place: %s", exc)

    async def _jobs_to_start(self) -> Sequence[tuple[int]]:
        return await self._jobs.database.rows(_TO_START, list(self._to_start))

    async def drain(self) -> None:
        """Take no more jobs, for good; return when no job runs."""
        self._jobs.draining = True
        self.hold()
        await self._jobs.all_ended()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="worker")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop all jobs at once; other workers go on with their tasks."""
        self._closing = True
        self.hold()
        self._jobs.stop()
        if self._task:
            if not self._worker:
                self._task.cancel()
            await asyncio.wait([self._task, *self._beyond])

    async def _run(self) -> None:
        async with in_background(self._look_after_all(), "jobs"):
            while not self._closing:
                await self._released.wait()
                await self._warm()
                if not self._released.is_set():
                    continue
                self._worker = worker = Worker(
                    self._app,
                    queues=[*self._queues, *self._to_start],
                    concurrency=self._concurrency,
                    update_heartbeat_interval=NEVER,
                    stalled_worker_timeout=NEVER,
                    fetch_job_polling_interval=POLL,
                    abort_job_polling_interval=POLL,
                    shutdown_graceful_timeout=self._grace,
                    delete_jobs="always",
                    install_signal_handlers=False,
                )
                try:
                    await worker.run()  # type: ignore[no-untyped-call]
                except Exception as exc:
                    log.warning("the engine's worker ended, there will be another one: %s", exc)
                    await asyncio.sleep(RESTART_AFTER)
                finally:
                    self._worker = None

    def workers(self) -> list[int]:
        """Return the numbers of the engine's workers on this node."""
        ids = (worker.worker_id for worker in (self._worker, *self._beyond.values()) if worker)
        return [worker_id for worker_id in ids if worker_id is not None]

    async def _look_after_all(self) -> None:
        while True:
            try:
                await self._look_after(self.workers())
            except StoreUnavailable as exc:
                log.info("the jobs here cannot be looked after: %s", exc.__cause__ or exc)
            except Exception:
                log.exception("looking after the engine's worker failed")
            if self._stopping.is_set() or self._beyond:
                await asyncio.sleep(min(POLL_WHILE_STOPPING, self._heartbeat))
                continue
            self._hurried.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat):
                    await self._hurried.wait()

    async def _look_after(self, workers: Sequence[int]) -> None:
        ours = dict(await self._jobs.database.rows(_OURS, list(workers))) if workers else {}
        for job_id, is_to_abort in ours.items():
            if is_to_abort:
                self._jobs.withdraw(job_id)
        # Give back jobs that are assigned to this worker, but do not run after a while.
        now, unknown = asyncio.get_running_loop().time(), ours.keys() - self._jobs.known()
        self._unknown = {job_id: self._unknown.get(job_id, now) for job_id in unknown}
        for job_id, since in list(self._unknown.items()):
            if now - since >= UNKNOWN_FOR:
                log.warning("job %s was taken, and its beginning never heard of: it is given back", job_id)
                await self._stranded(job_id)
                del self._unknown[job_id]
