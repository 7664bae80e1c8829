"""The `Dispatcher` of a cluster, which sends requests to a task's worker through the database.

A waiting task gets its job in the transaction that made it wait, so there is nothing to submit. `withdraw`
has the job ended by the worker that runs it, and polls until the job is gone. A job to `start` goes into a
queue of its own, which workers empty beyond their limits when they are notified.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from server.cluster.admission import Admission
from server.cluster.database import ClusterDatabase
from server.cluster.engine import DOWNLOAD, WISHES
from server.cluster.nodes import Nodes
from server.cluster.supervisor import Supervisor
from server.cluster.worker import Jobs
from server.core.errors import OverLimit, StoreUnavailable, TooManyRunning, WorkerSilent
from server.core.task import Task
from server.storage.postgresql.announcing import QueueChanged, announce
from server.tasks.dispatcher import MOST_RUNNING

log = logging.getLogger(__name__)

JOB_ENDS_WITHIN = 2.0  # seconds that a worker has to end a job
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.1  # seconds between two checks whether a job is gone
PAUSE_FRACTION = 0.1  # the pause before a check, as a fraction of the time waited so far

_JOBS = "SELECT task_id, job_id, host FROM tasks WHERE task_id = ANY(%s) ORDER BY task_id FOR UPDATE"
_DROP = "DELETE FROM procrastinate_jobs WHERE id = ANY(%s) AND status = 'todo'"
# Withdraws tasks: they are not admitted again until a new status is recorded, or ten seconds have passed.
_WITHDRAWN = "UPDATE tasks SET job_id = NULL, withdrawn_at = now() WHERE task_id = ANY(%s)"
_ABORT = """
    SELECT id, procrastinate_cancel_job_v1(id, true, false) FROM procrastinate_jobs
    WHERE id = ANY(%s) AND status = 'doing'"""
_OF_LIST = """
    SELECT task_id FROM procrastinate_jobs AS jobs JOIN tasks ON task_id = jobs.lock
    WHERE jobs.status = 'doing' AND playlist_id = %s"""
_ARE_DOING = "SELECT id FROM procrastinate_jobs WHERE id = ANY(%s) AND status = 'doing'"
# Queues whose names end in `start` have the jobs that begin beyond all limits: see `queues_to_start`.
_RUN_OR_ARE_TO_START = """
    SELECT count(*) FROM procrastinate_jobs WHERE task_name = %s
        AND (status = 'doing' OR status = 'todo' AND queue_name LIKE '%%start')"""
_ARE_OF = "EXISTS (SELECT FROM tasks WHERE task_id = lock AND owner = %s)"
_FINISH = "UPDATE tasks SET finish_asked = true WHERE task_id = %s AND job_id IS NOT NULL RETURNING job_id"


class SharedDispatcher:
    """Dispatches by the database. `supervisor` and `ours`, its jobs, are those of this node; None if the node
    is no worker.
    """

    def __init__(
        self,
        database: ClusterDatabase,
        admission: Admission,
        nodes: Nodes,
        supervisor: Supervisor | None,
        ours: Jobs | None,
    ) -> None:
        self._database = database
        self._admission = admission
        self._nodes = nodes
        self._supervisor = supervisor
        self._ours = ours

    def submit(self, task: Task) -> None:
        """Nothing to do: the transaction that stored the task has admitted it, if there was room."""

    async def start(self, task: Task) -> None:
        async with self._database.transaction() as db:
            await self._admission.start(db, task.status.task_id)
            await db.execute("SELECT pg_notify(%s, '')", (WISHES,))

    async def check_room_to_start(self, owner: str | None = None) -> None:
        most = MOST_RUNNING * self._nodes.places
        [(count,)] = await self._database.rows(_RUN_OR_ARE_TO_START, DOWNLOAD)
        if most and count >= most:
            raise TooManyRunning(most)
        if owner and (share := self._admission.shares.most.get(owner)):
            [(used,)] = await self._database.rows(f"{_RUN_OR_ARE_TO_START} AND {_ARE_OF}", DOWNLOAD, owner)
            if used >= share:
                raise OverLimit("max_running", share, used)

    async def withdraw(self, *task_ids: str) -> None:
        """Ask the workers to end the tasks' jobs, and wait for it. Raises `WorkerSilent` if a worker does not
        end its job in time; the request stays stored.
        """
        while True:
            async with self._database.transaction() as db:
                # Delete the jobs that have not begun; request the end of the others.
                found = await (await db.execute(_JOBS, (list(task_ids),))).fetchall()
                jobs = {job_id: task_id for task_id, job_id, _ in found if job_id is not None}
                await db.execute(_DROP, (list(jobs),))
                doing = [job_id for job_id, _ in await (await db.execute(_ABORT, (list(jobs),))).fetchall()]
                run = {jobs[job_id] for job_id in doing}
                await db.execute(_WITHDRAWN, ([task_id for task_id, *_ in found if task_id not in run],))
                hosts = sorted({host for task_id, _, host in found if task_id not in run})
                await self._admission.admit(db, hosts)
            if not doing:
                return
            if not await self._are_gone(doing, JOB_ENDS_WITHIN):
                raise WorkerSilent

    def hold_list(self, playlist_id: str, number: int) -> None:
        """Nothing to do: admissions and workers see the action on the list in the database."""

    def release_list(self, playlist_id: str) -> None:
        """Nothing to do, as for `hold_list`."""

    async def withdraw_list(self, playlist_id: str) -> None:
        if running := await self._database.rows(_OF_LIST, playlist_id):
            await self.withdraw(*(task_id for (task_id,) in running))

    async def finish(self, task_id: str) -> None:
        async with self._database.transaction() as db:
            rows = await (await db.execute(_FINISH, (task_id,))).fetchall()
            if rows:
                await db.execute("SELECT pg_notify(%s, '')", (WISHES,))
        await self._are_gone([job_id for (job_id,) in rows], None)

    def running(self) -> list[str]:
        return self._ours.running() if self._ours else []

    def hold(self) -> None:
        if self._supervisor:
            self._supervisor.hold()

    def release(self) -> None:
        if self._supervisor:
            self._supervisor.release()

    async def pause(self) -> None:
        async with self._database.transaction() as db:
            await self._admission.pause(db)
            await announce(db, "", [QueueChanged()])
        with suppress(StoreUnavailable):  # the pause is stored: a worker that gets a job gives it back
            are_more = True
            while are_more:
                async with self._database.transaction() as db:
                    are_more = await self._admission.take_back(db)

    async def resume(self) -> None:
        async with self._database.transaction() as db:
            await self._admission.resume(db)
            await announce(db, "", [QueueChanged()])
        with suppress(StoreUnavailable):  # the pause has ended; a sweeper admits the tasks that are left
            async with self._database.transaction() as db:
                await self._admission.admit_all(db)

    async def is_paused(self) -> bool:
        return bool(await self._database.rows("SELECT queue FROM pauses"))

    async def drain(self) -> None:
        if self._supervisor:
            await self._supervisor.drain()

    async def _are_gone(self, job_ids: Sequence[int], within: float | None) -> bool:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while await self._database.rows(_ARE_DOING, list(job_ids)):
            waited = loop.time() - began
            if within is not None and waited >= within:
                return False
            await asyncio.sleep(min(max(FIRST_PAUSE, PAUSE_FRACTION * waited), LONGEST_PAUSE))
        return True
