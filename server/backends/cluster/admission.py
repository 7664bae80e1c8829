"""Decides which tasks get a job: as many of a host as `max_per_host` allows, by priority and then number.

A task has a job (`tasks.job_id`) from its admission to the end of its attempt. So a host's jobs are its
occupied places, and a task without a job costs the workers nothing. Everything here runs in the caller's
transaction: a new job is committed together with the change that made room for it. A host's jobs are counted
under an advisory lock of that host. Lock order, against deadlocks: rows first, then hosts, sorted by name.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from procrastinate.jobs import Job
from procrastinate.manager import JobManager
from psycopg import AsyncConnection

from server.backends.cluster.engine import DOWNLOAD, DOWNLOADS, queue_of
from server.models import Stage, Task, TaskStatus
from server.tasks.patience import MAX_RETRY_AFTER

AT_ONCE = 500  # jobs; the other tasks wait for the end of an attempt, or for a sweeper
CLOCKS_DIFFER = 5.0  # seconds by which a node's estimate of the database's clock may be wrong

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('clipwire host ' || %s, 0))"
_COUNT = "SELECT count(*) FROM tasks WHERE host = %s AND job_id IS NOT NULL"
# SKIP LOCKED: the transaction that changes a row admits its task itself; waiting for it here, under the
# lock of the host, could deadlock. A withdrawn task is left to the action that withdrew it; after ten
# seconds that action counts as dead. A task may begin at the `not_before` of its status, but its wait is
# capped at its delay, counted from now: after the database's clock was set back, or after a failover, it
# would otherwise wait for as long as the clocks differ. A scheduled task waits for its moment, without a
# cap.
_WAITING = """
    SELECT task_id, priority, CASE WHEN at IS NOT NULL THEN least(at, latest) END,
        (SELECT node_id FROM nodes WHERE node_id = tasks.node AND NOT low AND 'worker' = ANY(roles)
            AND heartbeat_at > now() - make_interval(secs => %(alive)s))
    FROM tasks CROSS JOIN LATERAL due(status, %(longest)s) AS due
    WHERE host = ANY(%(hosts)s) AND stage = 'queued' AND job_id IS NULL AND NOT removed
      AND (withdrawn_at IS NULL OR withdrawn_at < now() - interval '10 s')
      AND NOT EXISTS (SELECT FROM pauses)
      AND (%(early)s OR coalesce(at <= now() OR at > latest + make_interval(secs => %(differ)s), true))
    ORDER BY priority DESC, number LIMIT %(limit)s FOR UPDATE OF tasks SKIP LOCKED"""
_ADMITTED = """
    UPDATE tasks SET job_id = job
    FROM unnest(%s::text[], %s::bigint[]) AS made(id, job) WHERE task_id = id"""
# Their new status is stored, so the withdrawal is over: they may be admitted again. But that a host is busy
# may be recorded after a withdrawal, and does not end it.
_KEPT = """
    UPDATE tasks SET withdrawn_at = NULL WHERE task_id = ANY(%s) AND withdrawn_at IS NOT NULL
      AND coalesce(status::json ->> 'waiting', '') <> 'host_busy'"""
_FREED = "UPDATE tasks SET job_id = NULL WHERE job_id = %s"
# Only of jobs that have not begun: after that the priority no longer matters.
_OUTDATED = """
    SELECT job_id FROM tasks JOIN procrastinate_jobs AS jobs ON jobs.id = job_id
    WHERE task_id = ANY(%s) AND stage = 'queued'
      AND jobs.status = 'todo' AND jobs.priority <> tasks.priority"""
# A worker that has fetched a job before the pause finds the row when it begins, and gives the job back.
_PAUSED = "SELECT FROM pauses"
_PAUSE = "INSERT INTO pauses VALUES ('all') ON CONFLICT DO NOTHING"
_TAKE_BACK = """
    WITH waiting AS (
        SELECT task_id, jobs.id FROM tasks JOIN procrastinate_jobs AS jobs ON jobs.id = job_id
        WHERE jobs.status = 'todo' LIMIT %s FOR UPDATE OF tasks SKIP LOCKED
    ), gone AS (
        DELETE FROM procrastinate_jobs AS jobs USING waiting
        WHERE jobs.id = waiting.id AND jobs.status = 'todo' RETURNING jobs.id
    )
    UPDATE tasks SET job_id = NULL FROM waiting JOIN gone USING (id) WHERE tasks.task_id = waiting.task_id"""
_RESUME = "DELETE FROM pauses"
_HELD_UP = """
    SELECT head.task_id FROM unnest(%(hosts)s::text[]) AS busy(host) CROSS JOIN LATERAL (
        SELECT task_id FROM tasks, due(status, %(longest)s) AS due
        WHERE tasks.host = busy.host AND stage = 'queued' AND job_id IS NULL AND NOT removed
          AND withdrawn_at IS NULL
          AND coalesce(at <= now() OR at > latest + make_interval(secs => %(differ)s), true)
        ORDER BY priority DESC, number LIMIT 1) AS head
    WHERE NOT EXISTS (SELECT FROM pauses)
      AND (SELECT count(*) FROM tasks WHERE tasks.host = busy.host AND job_id IS NOT NULL) >= %(limit)s"""
_HOSTS = "SELECT DISTINCT host FROM tasks WHERE stage = 'queued' AND job_id IS NULL AND NOT removed"

Waiting = tuple[str, int, datetime | None, str | None]  # id, priority, not before, node


class Admission:
    """`max_per_host` holds over all nodes; 0: no limit.

    A task goes back to the node that has its partial files, if that node's disk has room and its heartbeat is
    at most `node_alive` seconds old; 0: all nodes share the partial files.
    """

    def __init__(self, jobs: JobManager, max_per_host: int, node_alive: float = 0) -> None:
        self._jobs = jobs
        self.max_per_host = max_per_host
        self._node_alive = node_alive

    async def jobs_for(self, db: AsyncConnection, tasks: Sequence[Task]) -> list[int | None]:
        """Make the jobs of new tasks before their rows, where hosts have no limit: each row is written once.

        Return the job's number for each task, None for one that has no job yet.
        """
        may_begin = [task.status for task in tasks if self._begins_at_once(task.status)]
        if may_begin and await (await db.execute(_PAUSED, prepare=True)).fetchall():
            may_begin = []
        waiting: list[Waiting] = [(status.task_id, status.priority, None, None) for status in may_begin]
        made = dict(zip((status.task_id for status in may_begin), await self._make(db, waiting), strict=True))
        return [made.get(task.status.task_id) for task in tasks]

    def _begins_at_once(self, status: TaskStatus) -> bool:
        return not self.max_per_host and status.stage is Stage.QUEUED and status.not_before is None

    async def follow(self, db: AsyncConnection, hosts: Collection[str], changed: Collection[str]) -> None:
        """Adjust the jobs to a change after which tasks of `hosts` are queued; `changed` are the ids of those
        tasks that are not new.
        """
        if changed:
            await db.execute(_KEPT, (list(changed),))
            for (job_id,) in await (await db.execute(_OUTDATED, (list(changed),))).fetchall():
                if await self._drop(db, job_id):
                    await db.execute(_FREED, (job_id,))
        await self.admit(db, hosts)

    async def admit(self, db: AsyncConnection, hosts: Collection[str]) -> None:
        """Give jobs to waiting tasks of `hosts` while there is room; without a limit at most `AT_ONCE`."""
        if not self.max_per_host:  # then a job may come early: the engine holds it until its time
            await self._admit(db, list(hosts), AT_ONCE, early=True)
            return
        for host in sorted(hosts):
            await db.execute(_LOCK, (host,))
            [(taken,)] = await (await db.execute(_COUNT, (host,))).fetchall()
            if taken < self.max_per_host:
                await self._admit(db, [host], self.max_per_host - taken, early=False)

    async def pause(self, db: AsyncConnection) -> None:
        """Give no task a job until `resume`."""
        await db.execute(_PAUSE)

    async def take_back(self, db: AsyncConnection) -> bool:
        """Delete some jobs that have not begun; return whether there were any."""
        return (await db.execute(_TAKE_BACK, (AT_ONCE,))).rowcount > 0

    async def resume(self, db: AsyncConnection) -> list[str]:
        """End the pause; return the hosts whose tasks wait for a job."""
        await db.execute(_RESUME)
        return await self.waited_for(db)

    async def waited_for(self, db: AsyncConnection) -> list[str]:
        return [host for (host,) in await (await db.execute(_HOSTS)).fetchall()]

    async def held_up(self, db: AsyncConnection, hosts: Sequence[str]) -> list[str]:
        """The next task of each of `hosts` whose places are all taken."""
        if not self.max_per_host:
            return []
        values = {"hosts": hosts, "longest": MAX_RETRY_AFTER, "differ": CLOCKS_DIFFER}
        rows = await db.execute(_HELD_UP, values | {"limit": self.max_per_host})
        return [task_id for (task_id,) in await rows.fetchall()]

    async def _drop(self, db: AsyncConnection, job_id: int) -> bool:
        """Delete a job that has not begun; say whether there was one."""
        return await self._jobs.cancel_job_by_id_async(job_id, delete_job=True, connection=db)

    async def _admit(self, db: AsyncConnection, hosts: list[str], limit: int, *, early: bool) -> None:
        values: dict[str, object] = {
            "hosts": hosts,
            "limit": limit,
            "early": early,
            "alive": self._node_alive,
        }
        values |= {"longest": MAX_RETRY_AFTER, "differ": CLOCKS_DIFFER}
        await self._defer(db, await (await db.execute(_WAITING, values)).fetchall())

    async def _defer(self, db: AsyncConnection, waiting: Sequence[Waiting]) -> None:
        if waiting:
            task_ids = [task_id for task_id, *_ in waiting]
            await db.execute(_ADMITTED, (task_ids, await self._make(db, waiting)))

    async def _make(self, db: AsyncConnection, waiting: Sequence[Waiting]) -> list[int]:
        """Make the jobs; return their numbers, in the order of `waiting`."""
        if not waiting:
            return []
        wanted = [_job(*one) for one in waiting]
        made = await self._jobs.batch_defer_jobs_async(jobs=wanted, connection=db)
        return [job.id for job in made if job.id is not None]


def _job(task_id: str, priority: int, not_before: datetime | None, node: str | None) -> Job:
    return Job(
        queue=queue_of(node) if node else DOWNLOADS,
        lock=task_id,  # one job at a time: no attempt begins while the one before still ends
        queueing_lock=None,
        task_name=DOWNLOAD,
        task_kwargs={"task_id": task_id},
        priority=priority,
        scheduled_at=not_before,
    )
