"""Finds jobs whose worker is dead, and tasks whose job is gone; queues these tasks for another worker.

A worker counts as dead when its heartbeat is older than `lost_after` seconds. Its job is ended, and the task
gets a new one: the engine ends jobs by their number alone, so what a worker that wakes up again reports of
the old job changes nothing. After an outage of the database every heartbeat is old, so no worker is judged
before the database has been there for a while. A takeover holds the turn of its task: a task on which an
action is under way is left to that action.

Decisions: docs/decisions/cluster.md
"""

import asyncio
import logging

from psycopg import AsyncConnection

from server.cluster.admission import ANY_WAITING, Admission
from server.cluster.database import ClusterDatabase
from server.cluster.engine import DOWNLOADS
from server.cluster.shared_turns import try_turn
from server.core.errors import DatabaseAway, StoreUnavailable, TaskNotFound
from server.core.events import Requeued, Waits
from server.core.task import Stage
from server.storage.postgresql.advisory_locks import OURS, SWEEP
from server.tasks.recorder import Recorder

log = logging.getLogger(__name__)

SWEEPS_WITHIN = 2.0  # seconds that a sweep may take on a busy machine, however short `lost_after` is
# Seconds before a worker is judged after an outage, at most half of `lost_after`: other nodes may reconnect
# that much later.
MOST_GRACE = 5.0
ADMITS_FOR = 1.0  # a sweep begins to admit another `AT_ONCE` tasks only within its first seconds
RECORDED_AT_ONCE = 100  # tasks whose wait for a busy host is recorded together
NEXT_ATTEMPT = "next_attempt"

_IS_STALLED = """
    SELECT jobs.id FROM procrastinate_jobs AS jobs
    LEFT JOIN procrastinate_workers AS workers ON workers.id = jobs.worker_id
    WHERE jobs.id = %s AND jobs.status = 'doing'
      AND (workers.id IS NULL OR workers.last_heartbeat < now() - make_interval(secs => %s))
    FOR UPDATE OF jobs"""
_IS_LOST = """
    SELECT job_id FROM tasks WHERE task_id = %s AND NOT EXISTS (
        SELECT FROM procrastinate_jobs AS jobs WHERE jobs.id = job_id AND jobs.status IN ('todo', 'doing')
    ) FOR UPDATE"""
_IS_DOING = "SELECT id FROM procrastinate_jobs WHERE id = %s AND status = 'doing' FOR UPDATE"
# One statement, by one node at a time. It does what needs no second check under locks:
# - deletes jobs of dead workers that belong to no task or to a deleted one, as no task needs a new job;
# - deletes rows of dead nodes that did not start again, so that they do not count as alive;
# - gives jobs to any worker that wait too long for the node with their partial files, or whose node is dead.
# It returns stalled jobs, and lost tasks; not lists that wait for their entries, which have no jobs.
_JUDGE = """
    WITH one AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(%(ours)s, %(sweep)s) AS is_us),
    alive AS MATERIALIZED (
        SELECT id FROM procrastinate_workers
        WHERE last_heartbeat >= now() - make_interval(secs => %(lost_after)s)
    ), forgotten AS (
        DELETE FROM procrastinate_jobs AS jobs WHERE jobs.status = 'doing' AND (SELECT is_us FROM one)
          AND NOT EXISTS (SELECT FROM tasks WHERE task_id = jobs.lock)
          AND NOT EXISTS (SELECT FROM alive WHERE alive.id = jobs.worker_id)
    ), gone AS (
        DELETE FROM nodes WHERE heartbeat_at < now() - interval '1 day' AND (SELECT is_us FROM one)
    ), moved AS (
        UPDATE procrastinate_jobs AS jobs SET queue_name = %(downloads)s
        WHERE status = 'todo' AND queue_name LIKE 'node-%%' AND (SELECT is_us FROM one) AND (
            (SELECT max(at) FROM procrastinate_events WHERE job_id = jobs.id) < now() - interval '60 s'
            OR NOT EXISTS (SELECT FROM nodes WHERE 'worker' = ANY(roles)
                             AND queue_name IN ('node-' || node_id, 'node-' || node_id || '-start')
                           AND heartbeat_at > now() - make_interval(secs => %(lost_after)s)))
    )
    SELECT tasks.task_id, jobs.id FROM procrastinate_jobs AS jobs JOIN tasks ON tasks.task_id = jobs.lock
    WHERE jobs.status = 'doing' AND NOT EXISTS (SELECT FROM alive WHERE alive.id = jobs.worker_id)
        AND (SELECT is_us FROM one)
    UNION ALL
    SELECT task_id, NULL FROM tasks LEFT JOIN procrastinate_jobs AS jobs
        ON jobs.id = tasks.job_id AND jobs.status IN ('todo', 'doing')
    WHERE NOT removed AND (withdrawn_at IS NULL OR withdrawn_at < now() - interval '10 s')
      AND (job_id IS NOT NULL OR stage IN ('info', 'download', 'convert')) AND jobs.id IS NULL
      AND NOT (job_id IS NULL AND is_expanded(tasks.status)) AND (SELECT is_us FROM one)"""
_FINISH = "SELECT procrastinate_finish_job_v1(%s, 'failed', true)"
_FREE = "UPDATE tasks SET job_id = NULL WHERE task_id = %s AND job_id IS NOT DISTINCT FROM %s RETURNING host"
_OF_NODE = """
    SELECT tasks.task_id, jobs.id FROM tasks JOIN procrastinate_jobs AS jobs ON jobs.lock = tasks.task_id
    WHERE tasks.node = %s AND jobs.status = 'doing'"""


class Sweeper:
    """Sweeps for dead workers and lost tasks. Every worker calls `look` again and again; repeated checks
    under locks prevent that two do the same work.
    """

    def __init__(
        self, database: ClusterDatabase, recorder: Recorder, admission: Admission, lost_after: float
    ) -> None:
        self._database = database
        self._recorder = recorder
        self._admission = admission
        self._lost_after = lost_after
        # Seconds that the database must have been there before any worker is judged.
        self._contact = lost_after + min(lost_after / 2, MOST_GRACE)
        self._in_contact_since: float | None = None
        self._held_up: set[str] = set()  # the next task of each busy host, at the last sweep
        # Those of `_held_up` whose status says that they wait for their host.
        self._recorded: set[str] = set()
        self._damaged: set[str] = set()  # tasks whose rows cannot be read, which has been logged

    async def look(self) -> None:
        """Sweep once. Raises `StoreUnavailable`.

        The tasks of dead workers come first, in a transaction of their own, so that they are taken over even
        if admitting waiting tasks fails.
        """
        loop = asyncio.get_running_loop()
        values = {"ours": OURS, "sweep": SWEEP, "lost_after": self._lost_after, "downloads": DOWNLOADS}
        # Tasks with their stalled jobs; None for a task whose job is lost.
        judged: list[tuple[str, int | None]] = []
        try:
            async with asyncio.timeout(max(SWEEPS_WITHIN, self._lost_after / 2)):
                self._in_contact_since = self._in_contact_since or loop.time()
                if (
                    loop.time() - self._in_contact_since < self._contact
                ):  # after an outage, other workers may not have sent a heartbeat yet
                    await self._database.rows("SELECT 1")
                else:
                    judged = [(task_id, job) for task_id, job in await self._database.rows(_JUDGE, **values)]
        except (StoreUnavailable, TimeoutError) as exc:
            self._in_contact_since = None
            raise DatabaseAway from exc
        for task_id, job_id in judged:
            if job_id is None:
                await self._recover(task_id)
            else:
                await self._take_over(task_id, job_id, self._lost_after)

        # Admit tasks that wait although there is room, unless another node sweeps.
        held_up: list[str] = []  # tasks that wait for a place of their host
        until = loop.time() + ADMITS_FOR
        while await self._database.rows(ANY_WAITING):
            async with self._database.transaction() as db:
                is_first = await db.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", (OURS, SWEEP))
                if await is_first.fetchall() != [(True,)]:
                    return
                are_more, held_up = await self._admission.admit_all(db)
            if not are_more or loop.time() >= until:
                break
            held_up = []
        await self._record_waits(set(held_up))

    async def give_back(self, job_id: int) -> None:
        """End a job that is assigned to a worker and not run; its task gets another job."""
        sql = "SELECT lock FROM procrastinate_jobs WHERE id = %s AND status = 'doing'"
        for (task_id,) in await self._database.rows(sql, job_id):
            await self._take_over(task_id, job_id, None)

    async def take_over(self, node_id: str) -> None:
        """Queue the tasks of a dead node for other workers."""
        for task_id, job_id in await self._database.rows(_OF_NODE, node_id):
            await self._take_over(task_id, job_id, None)

    async def _record_waits(self, held_up: set[str]) -> None:
        """Record, once for each, that tasks wait for a place of their host: those that waited at the last
        sweep and still do.
        """
        wait = held_up & self._held_up
        unrecorded = sorted(wait - self._recorded - self._damaged)
        self._held_up, self._recorded = held_up, self._recorded & wait
        for start in range(0, len(unrecorded), RECORDED_AT_ONCE):
            ids = unrecorded[start : start + RECORDED_AT_ONCE]
            recordings = (self._recorder.record(task_id, Waits()) for task_id in ids)
            for outcome in await asyncio.gather(*recordings, return_exceptions=True):
                # The task is gone, or its row is damaged, which `_attempt` has logged.
                if isinstance(outcome, BaseException) and not isinstance(outcome, TaskNotFound | ValueError):
                    raise outcome
            self._recorded.update(ids)

    async def _take_over(self, task_id: str, job_id: int, silent_for: float | None) -> None:
        """End the job and queue its task again, unless the job has ended meanwhile.

        With `silent_for`, the heartbeat of the job's worker must also still be older than that, in seconds.
        """
        attempt = await self._attempt(task_id)
        async with self._database.transaction() as db:
            if not await try_turn(db, task_id):
                return
            # Check again, now holding the turn: the job may have ended since it was found.
            if silent_for is None:
                found = await db.execute(_IS_DOING, (job_id,))
            else:
                found = await db.execute(_IS_STALLED, (job_id, silent_for))
            if not await found.fetchall():
                return
            await db.execute(_FINISH, (job_id,))
            await self._free(db, task_id, job_id)
        log.warning("%s is taken over: its worker is gone", task_id)
        await self._requeue(task_id, Requeued(), attempt)

    async def _recover(self, task_id: str) -> None:
        """Give a new job to a task that is to run, or is stored as running, and has no job."""
        attempt = await self._attempt(task_id)
        async with self._database.transaction() as db:
            if not await try_turn(db, task_id):
                return
            row = await (await db.execute(_IS_LOST, (task_id,))).fetchone()
            # A task with a damaged row cannot run: only its place is freed.
            is_damaged = task_id in self._damaged
            if row is None or (is_damaged and row[0] is None):
                return
            await self._free(db, task_id, row[0])
        if is_damaged:
            return
        log.warning("%s had lost its job: it gets another one", task_id)
        await self._requeue(task_id, Requeued(because=NEXT_ATTEMPT, counts_as_lost=True), attempt)

    async def _free(self, db: AsyncConnection, task_id: str, job_id: int | None) -> None:
        hosts = await (await db.execute(_FREE, (task_id, job_id))).fetchall()
        await self._admission.admit(db, [host for (host,) in hosts])

    async def _attempt(self, task_id: str) -> int | None:
        """Return the attempt that is under way, None if there is none. A damaged row is logged once and does
        not stop the sweep.
        """
        try:
            status = await self._recorder.read_surely(task_id)
        except TaskNotFound:
            return None
        except ValueError as error:
            if task_id not in self._damaged:
                log.error("task %s cannot be read, its row is damaged: %s", task_id, error)
            self._damaged.add(task_id)
            return None
        self._damaged.discard(task_id)
        return status.attempt if status.stage.is_running else None

    async def _requeue(self, task_id: str, event: Requeued, attempt: int | None) -> None:
        """Record `event` for `attempt`, which is over, unless a later attempt has begun meanwhile."""
        if attempt is not None:
            try:
                after = await self._recorder.record_surely(task_id, event, attempt)
            except TaskNotFound:
                return
            log.info("%s is %s again", task_id, Stage(after.stage))
