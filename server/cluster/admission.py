"""Decides which tasks get a job: as many of a host as `max_per_host` allows, by priority and then number.

A task has a job (`tasks.job_id`) from its admission to the end of its attempt. So a host's jobs are its
occupied places, and workers never see a task without a job. Everything here runs in the caller's
transaction: a new job is committed together with the change that made room for it.

The engine runs jobs of equal priority in the order in which they were made. So no task gets a job while an
older one of the same priority, for which there is room, lacks one. Nodes admit one after the other: each
holds the lock `ADMIT` to the end of its transaction. Lock order, against deadlocks: rows and the writer's
`ADD` first, then `ADMIT`; whoever holds `ADMIT` waits for nothing more.

Decisions: docs/decisions/queue.md
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import takewhile
from typing import NamedTuple

from procrastinate.jobs import Job
from procrastinate.manager import JobManager
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from server.cluster.engine import DOWNLOAD, DOWNLOADS, queue_of, queues_to_start
from server.cluster.fair_order import FairOrder
from server.cluster.waiting_tasks import CLOCKS_DIFFER, IS_DUE, WAITS
from server.core.shares import Shares
from server.core.task import Stage, Task
from server.storage.entry_rows import has_taken_all
from server.storage.postgresql.advisory_locks import ADD, ADMIT, OURS
from server.tasks.next_attempt import MAX_RETRY_AFTER

AT_ONCE = 500  # jobs made in one transaction; the other tasks wait for the next admission

_LOCK = "SELECT pg_advisory_xact_lock(%s, %s)"
# Selects a row if any task lacks a job, because there is no room or because it was not admitted yet.
ANY_WAITING = f"SELECT 1 FROM tasks WHERE {WAITS} LIMIT 1"  # noqa: S608
_MAY_NOT_BEGIN = f"SELECT 1 FROM pauses UNION ALL (SELECT 1 FROM tasks WHERE {WAITS} LIMIT 1)"  # noqa: S608
_NEXT_OF_ALL = f"""
    SELECT number, task_id, priority, node, CASE WHEN at IS NOT NULL THEN least(at, latest) END AS begins
    FROM tasks CROSS JOIN LATERAL due(status, %(longest)s) AS due
    WHERE {WAITS} AND NOT EXISTS (SELECT FROM pauses)
    ORDER BY priority DESC, number LIMIT %(at_once)s"""  # noqa: S608
# The hosts whose tasks are considered: the given hosts; or, if all are wanted or there is a backlog, every
# host with waiting tasks. Each such host is found by one step in an index.
_HOSTS = """
    all_hosts AS MATERIALIZED (SELECT %(all)s OR EXISTS (SELECT FROM backlog) AS are_meant),
    waiting(host) AS (
        (SELECT host FROM tasks
         WHERE stage = 'queued' AND job_id IS NULL AND NOT removed AND (SELECT are_meant FROM all_hosts)
         ORDER BY host LIMIT 1)
        UNION ALL
        SELECT (SELECT tasks.host FROM tasks
                WHERE stage = 'queued' AND job_id IS NULL AND NOT removed AND tasks.host > waiting.host
                ORDER BY tasks.host LIMIT 1)
        FROM waiting WHERE waiting.host IS NOT NULL
    ),
    hosts AS MATERIALIZED (
        SELECT host, (SELECT count(*) FROM (
            SELECT FROM tasks WHERE tasks.host = given.host AND job_id IS NOT NULL LIMIT %(per_host)s
        ) AS admitted) AS taken
        FROM (SELECT host FROM waiting WHERE host IS NOT NULL
              UNION ALL
              SELECT host COLLATE "C" FROM unnest(%(hosts)s::text[]) AS host
              WHERE NOT (SELECT are_meant FROM all_hosts)) AS given
    )"""
# BETWEEN, since for an equation the database may choose an index that sorts the tasks of all hosts, and
# search these for the host's. With BETWEEN, only `tasks_not_admitted` has the order.
_OF_HOST = "tasks.host BETWEEN hosts.host AND hosts.host"
_NEXT_OF_HOSTS = f"""
    SELECT next.* FROM hosts CROSS JOIN LATERAL (
        SELECT number, task_id, priority, node, CASE WHEN at IS NOT NULL THEN least(at, latest) END AS begins
        FROM tasks CROSS JOIN LATERAL due(status, %(longest)s) AS due
        WHERE {_OF_HOST} AND {WAITS} AND {IS_DUE}
        ORDER BY tasks.host, priority DESC, number LIMIT greatest(%(per_host)s - hosts.taken, 0)) AS next
    WHERE NOT EXISTS (SELECT FROM pauses)
    ORDER BY priority DESC, number LIMIT %(at_once)s"""  # noqa: S608
# SKIP LOCKED, since waiting here for another transaction that has locked a row could deadlock: the other one
# may wait for the lock `ADMIT`. A locked row comes with `is_ours` false, and admission stops there, so that
# no later task overtakes the task of that row. `stage || ''`, so that rows are found by their numbers, not
# through an index of all waiting tasks.
_TAKE = """
    ours AS (
        SELECT number FROM tasks WHERE number = ANY(ARRAY(SELECT number FROM next))
            AND stage || '' = 'queued' AND job_id IS NULL AND NOT removed
        FOR UPDATE SKIP LOCKED
    )
    SELECT number, task_id, priority, begins,
        (SELECT node_id FROM nodes WHERE node_id = next.node AND NOT low AND 'worker' = ANY(roles)
            AND %(alive)s > 0 AND heartbeat_at > now() - make_interval(secs => %(alive)s)),
        ours.number IS NOT NULL
    FROM next LEFT JOIN ours USING (number)"""
_IN_ORDER = "ORDER BY priority DESC, number"
# Selects the next task of each host whose places were all taken before.
_HELD_UP = f"""
    SELECT head.number, head.task_id, head.priority, NULL, NULL, NULL FROM hosts CROSS JOIN LATERAL (
        SELECT number, task_id, priority FROM tasks CROSS JOIN LATERAL due(status, %(longest)s) AS due
        WHERE {_OF_HOST} AND stage = 'queued' AND job_id IS NULL AND NOT removed
          AND withdrawn_at IS NULL AND {IS_DUE} AND {has_taken_all()}
        ORDER BY tasks.host, priority DESC, number LIMIT 1) AS head
    WHERE %(all)s AND hosts.taken >= %(per_host)s AND NOT EXISTS (SELECT FROM pauses)"""  # noqa: S608
_ADMIT_ANY = f"WITH next AS MATERIALIZED ({_NEXT_OF_ALL}), {_TAKE} {_IN_ORDER}"
_ADMIT = f"""
    WITH RECURSIVE {_HOSTS}, next AS MATERIALIZED ({_NEXT_OF_HOSTS}), {_TAKE}
    UNION ALL {_HELD_UP} {_IN_ORDER}"""
# Selects the tasks that `FairOrder` has chosen.
_ADMIT_CHOSEN = f"""
    WITH next AS MATERIALIZED (
        SELECT number, task_id, priority, node, NULL::timestamptz AS begins
        FROM tasks WHERE number = ANY(%(chosen)s)
    ), {_TAKE}"""  # noqa: S608
_ALL_HELD_UP = f"WITH RECURSIVE {_HOSTS} {_HELD_UP}"
_ADMITTED = """
    UPDATE tasks SET job_id = job
    FROM unnest(%s::text[], %s::bigint[]) AS made(id, job) WHERE task_id = id"""
# A new status ends the withdrawal of its task, which may then be admitted again. Only the status that a host
# is busy does not end a withdrawal, as it may be recorded after one.
_KEPT = """
    UPDATE tasks SET withdrawn_at = NULL WHERE task_id = ANY(%s) AND withdrawn_at IS NOT NULL
      AND coalesce(status::json ->> 'waiting', '') <> 'host_busy'"""
# Changes only jobs that have not begun: after that the priority no longer matters.
_DROP_OUTDATED = """
    WITH gone AS (
        DELETE FROM procrastinate_jobs AS jobs USING tasks
        WHERE jobs.id = tasks.job_id AND task_id = ANY(%s) AND stage = 'queued'
            AND jobs.status = 'todo' AND jobs.priority <> tasks.priority
        RETURNING jobs.id
    )
    UPDATE tasks SET job_id = NULL FROM gone WHERE job_id = gone.id"""
# Selects the task to start, its job so far, and the node that has its partial files, as in `_TAKE`.
_TO_START = """
    SELECT job_id, priority, (
        SELECT node_id FROM nodes WHERE node_id = tasks.node AND NOT low AND 'worker' = ANY(roles)
            AND %(alive)s > 0 AND heartbeat_at > now() - make_interval(secs => %(alive)s)), owner
    FROM tasks WHERE task_id = %(task_id)s AND stage = 'queued' AND NOT removed
        AND NOT EXISTS (SELECT FROM pauses) FOR UPDATE"""
_DROP = "DELETE FROM procrastinate_jobs WHERE id = %s AND status = 'todo'"
_OTHER_JOBS = "SELECT count(*) FROM tasks WHERE owner = %s AND job_id IS NOT NULL AND task_id <> %s"
_STARTS = "UPDATE tasks SET job_id = %s, withdrawn_at = NULL WHERE task_id = %s"
_PAUSE = "INSERT INTO pauses VALUES ('all') ON CONFLICT DO NOTHING"
# Deletes the jobs of the last tasks in the queue first: if this is interrupted, the tasks that keep their
# jobs are still the first in the queue.
_TAKE_BACK = """
    WITH last AS (
        SELECT task_id, jobs.id FROM tasks JOIN procrastinate_jobs AS jobs ON jobs.id = job_id
        WHERE jobs.status = 'todo' AND EXISTS (SELECT FROM pauses)
        ORDER BY jobs.priority, jobs.id DESC LIMIT %s FOR UPDATE OF tasks SKIP LOCKED
    ), gone AS (
        DELETE FROM procrastinate_jobs AS jobs USING last
        WHERE jobs.id = last.id AND jobs.status = 'todo' RETURNING jobs.id
    )
    UPDATE tasks SET job_id = NULL FROM last JOIN gone USING (id) WHERE tasks.task_id = last.task_id"""
_ARE_PAUSED = "SELECT 1 FROM pauses"
_RESUME = "DELETE FROM pauses"
_FALL_BEHIND = "INSERT INTO backlog VALUES ('all') ON CONFLICT DO NOTHING"
_CATCH_UP = "DELETE FROM backlog"

Waiting = tuple[str, int, datetime | None, str | None]  # id, priority, not before, node


class Admitted(NamedTuple):
    """`are_more`: more tasks may fit than one transaction admits. `held_up`: the next task of each host whose
    places were all taken, if all hosts were considered.
    """

    are_more: bool
    held_up: list[str]


class Admission:
    """Gives jobs to tasks. `max_per_host` is the limit over all nodes together; 0 means no limit.

    A task goes back to the node that has its partial files, if that node's disk has room and its heartbeat is
    at most `node_alive` seconds old; 0: all nodes share the partial files. Where people take turns, as
    `shares` say, a worker's places count while its heartbeat is at most `lost_after` seconds old.
    """

    def __init__(
        self,
        jobs: JobManager,
        max_per_host: int,
        node_alive: float = 0,
        shares: Shares | None = None,
        lost_after: float = 30,
    ) -> None:
        self._jobs = jobs
        self.max_per_host = max_per_host
        self.shares = shares or Shares()
        self._fair_order = FairOrder(self.shares, max_per_host, lost_after)
        self._values = {
            "per_host": max_per_host,
            "alive": node_alive,
            "longest": MAX_RETRY_AFTER,
            "differ": CLOCKS_DIFFER,
            "at_once": AT_ONCE,
        }

    async def jobs_for(self, db: AsyncConnection, tasks: Sequence[Task]) -> list[int | None]:
        """Make the jobs of new tasks before their rows, where neither hosts nor people have a limit: each row
        is written once.

        Return the job's number for each task, None for one that has no job yet.
        """
        is_limited = self.max_per_host or self.shares.take_turns or not self.shares.are_known
        statuses = [] if is_limited else [task.status for task in tasks]
        may_begin = [each for each in statuses if each.stage is Stage.QUEUED and each.not_before is None]
        if may_begin and await _rows(db, _MAY_NOT_BEGIN):
            may_begin = []
        waiting: list[Waiting] = [(status.task_id, status.priority, None, None) for status in may_begin]
        made = dict(zip((status.task_id for status in may_begin), await self._make(db, waiting), strict=True))
        return [made.get(task.status.task_id) for task in tasks]

    async def follow(self, db: AsyncConnection, hosts: Collection[str], changed: Collection[str]) -> None:
        """Adjust the jobs to a change after which tasks of `hosts` are queued; `changed` are the ids of those
        tasks that are not new.
        """
        if changed:
            await db.execute(_KEPT, (list(changed),))
            await db.execute(_DROP_OUTDATED, (list(changed),))
        await self.admit(db, hosts)

    async def admit(self, db: AsyncConnection, hosts: Collection[str]) -> None:
        """Give jobs to waiting tasks of `hosts` while there is room, to `AT_ONCE` at most. Tasks of all hosts
        are considered if hosts have no limit, or if there is a backlog.
        """
        if hosts:
            await self._admit(db, hosts=list(hosts), all=False)

    async def admit_all(self, db: AsyncConnection) -> Admitted:
        """Like `admit`, for the tasks of all hosts."""
        return await self._admit(db, hosts=[], all=True)

    async def _admit(self, db: AsyncConnection, **which: object) -> Admitted:
        if not self.shares.are_known:
            return Admitted(are_more=False, held_up=[])
        is_limited = self.max_per_host > 0 and not self.shares.take_turns
        if not is_limited and not await _rows(db, ANY_WAITING):
            return Admitted(are_more=False, held_up=[])
        await db.execute(_LOCK, (OURS, ADMIT))
        if self.shares.take_turns:
            return await self._admit_in_turns(db, which)
        # Without a limit a task may get its job before its time: the engine holds the job until then.
        sql = _ADMIT if self.max_per_host else _ADMIT_ANY
        found = await (await db.execute(sql.encode(), self._values | which)).fetchall()
        held_up = [task_id for _, task_id, *_, is_ours in found if is_ours is None]
        room = [(*task, is_ours) for _, *task, is_ours in found if is_ours is not None]
        ours = list(takewhile(lambda row: row[-1], room))
        if ours:
            jobs = await self._make(db, [(*task,) for *task, _ in ours])
            await db.execute(_ADMITTED, ([task_id for task_id, *_ in ours], jobs))
        are_all = len(ours) == len(room) < AT_ONCE
        if self.max_per_host and (which["all"] or not are_all):
            await db.execute(_CATCH_UP if are_all else _FALL_BEHIND)
        return Admitted(len(ours) == AT_ONCE, held_up)

    async def _admit_in_turns(self, db: AsyncConnection, which: dict[str, object]) -> Admitted:
        """Admit tasks in fair turns. `which` does not matter: a place that became free may go to a task of
        any host.
        """
        if await _rows(db, _ARE_PAUSED):
            return Admitted(are_more=False, held_up=[])
        chosen, are_more = await self._fair_order.next_tasks(db, AT_ONCE)
        ours: list[TupleRow] = []
        if chosen:
            found = await db.execute(_ADMIT_CHOSEN.encode(), self._values | {"chosen": chosen})
            rows = {number: row for number, *row in await found.fetchall()}
            ours = list(
                takewhile(lambda row: row[-1], (tuple(rows[each]) for each in chosen if each in rows))
            )
        if ours:
            jobs = await self._make(db, [(*task,) for *task, _ in ours])
            await db.execute(_ADMITTED, ([task_id for task_id, *_ in ours], jobs))
        held_up: list[str] = []
        if which["all"] and self.max_per_host:
            rows_held_up = await (await db.execute(_ALL_HELD_UP.encode(), self._values | which)).fetchall()
            held_up = [task_id for _, task_id, *_ in rows_held_up]
        return Admitted(are_more and len(ours) == len(chosen), held_up)

    async def start(self, db: AsyncConnection, task_id: str) -> None:
        """Give a queued task a job that is run beyond all limits, in place of a job that has not begun. If
        its person runs as many as they may, it waits for its turn.
        """
        row = await (await db.execute(_TO_START, self._values | {"task_id": task_id})).fetchone()
        if row is None:
            return
        job_id, priority, node, owner = row
        if owner in self.shares.most:
            await db.execute(_LOCK, (OURS, ADMIT))
            [(count,)] = await (await db.execute(_OTHER_JOBS, (owner, task_id))).fetchall()
            if count >= self.shares.most[owner]:
                return
        if job_id is not None and not (await db.execute(_DROP, (job_id,))).rowcount:
            return  # the job has begun
        own, any_node = queues_to_start(node or "")
        job = _job(task_id, priority, None, None).evolve(queue=own if node else any_node)
        [made] = await self._jobs.batch_defer_jobs_async(jobs=[job], connection=db)
        await db.execute(_STARTS, (made.id, task_id))

    async def pause(self, db: AsyncConnection) -> None:
        """Give no task a job until `resume`."""
        # This lock waits for transactions that have not seen the pause and may still make jobs.
        await db.execute(_LOCK, (OURS, ADD))
        await db.execute(_LOCK, (OURS, ADMIT))
        await db.execute(_PAUSE)

    async def take_back(self, db: AsyncConnection) -> bool:
        """Delete some jobs that have not begun, as the queue is paused; return whether there were any."""
        return (await db.execute(_TAKE_BACK, (AT_ONCE,))).rowcount > 0

    async def resume(self, db: AsyncConnection) -> None:
        """End the pause. Waiting tasks get their jobs by `admit_all`, or by the next admission of
        any node.
        """
        # Under the lock no other node admits: an admission that still sees the pause would find nothing to
        # admit, and end the backlog.
        await db.execute(_LOCK, (OURS, ADMIT))
        await db.execute(_RESUME)
        await db.execute(_FALL_BEHIND)

    async def _make(self, db: AsyncConnection, waiting: Sequence[Waiting]) -> list[int]:
        """Make the jobs; return their numbers, in the order of `waiting`."""
        if not waiting:
            return []
        wanted = [
            _job(task_id, priority, not_before, node) for task_id, priority, not_before, node in waiting
        ]
        made = await self._jobs.batch_defer_jobs_async(jobs=wanted, connection=db)
        return [job.id for job in made if job.id is not None]


async def _rows(db: AsyncConnection, sql: str) -> list[TupleRow]:
    return await (await db.execute(sql.encode(), prepare=True)).fetchall()


def _job(task_id: str, priority: int, not_before: datetime | None, node: str | None) -> Job:
    return Job(
        queue=queue_of(node) if node else DOWNLOADS,
        # One job at a time: the next attempt must not begin while the previous one is still ending.
        lock=task_id,
        queueing_lock=None,
        task_name=DOWNLOAD,
        task_kwargs={"task_id": task_id},
        priority=priority,
        scheduled_at=not_before,
    )
