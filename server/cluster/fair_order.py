"""Which tasks get a job next where people take turns.

Among the most urgent tasks the next one is that of the person with the fewest jobs, then the oldest; tasks
that belong to nobody count as one more person's. The number of a person's jobs changes all the time, so tasks
cannot be put in order long before they begin: there are as many jobs as the workers have places, and all
other tasks wait without one.

The tasks of a host and a person are a line. Lines are found by steps in an index (`tasks_in_line`), and only
their first tasks are read, so the time it takes grows with the number of lines and not with that of tasks.

Everything here is done under the lock `ADMIT`: nobody else makes a job meanwhile, so what was counted holds.

Decisions: docs/decisions/people.md
"""

from collections import Counter
from dataclasses import dataclass, field

from psycopg import AsyncConnection

from server.cluster.waiting_tasks import CLOCKS_DIFFER, IS_DUE, WAITS
from server.core.shares import Shares
from server.core.task import Queued
from server.tasks.dispatcher import Queue
from server.tasks.next_attempt import MAX_RETRY_AFTER

# The tasks of only this many lines are read; those of more lines only if none of these lines has a task that
# may begin now.
LINES = (32, 512, 1_000_000)
MOST_DEPTH = 64  # tasks that are read of one line
# Selects live workers and how many places each has.
_PLACES = """
    SELECT node_id, coalesce((nullif(settings, '')::json ->> 'places')::int, 1) FROM nodes
    WHERE 'worker' = ANY(roles) AND NOT low AND heartbeat_at > now() - make_interval(secs => %s)"""
# The jobs, as few as there are places: how many of a host and a person wait or run, and on or for which node.
_JOBS = """
    SELECT host, owner, jobs.status = 'todo',
        CASE WHEN jobs.status <> 'todo' OR queue_name LIKE 'node-%' THEN node END, count(*)
    FROM tasks LEFT JOIN procrastinate_jobs AS jobs ON jobs.id = job_id
    WHERE job_id IS NOT NULL GROUP BY 1, 2, 3, 4"""
_HAS_NO_JOB = "stage = 'queued' AND job_id IS NULL AND NOT removed"
_WHAT = "number, task_id, priority, host, owner"
# The first task of each line is found by one step in the index, whether it may begin now or not. Of the lines
# that seem to be next by these, the tasks that may begin are read. The row that ends with true is the first
# of those lines that were not read. BETWEEN as in `admission`: only `tasks_in_line` has the order.
NEXT_IN_LINES = f"""
    WITH RECURSIVE waiting(host) AS (
        (SELECT host FROM tasks WHERE {_HAS_NO_JOB} ORDER BY host LIMIT 1)
        UNION ALL
        SELECT (SELECT tasks.host FROM tasks WHERE {_HAS_NO_JOB} AND tasks.host > waiting.host
                ORDER BY tasks.host LIMIT 1)
        FROM waiting WHERE waiting.host IS NOT NULL
    ),
    hosts AS MATERIALIZED (
        SELECT host FROM waiting WHERE host IS NOT NULL AND host <> ALL(%(busy_hosts)s::text[])
    ),
    lines AS MATERIALIZED (
        SELECT hosts.host, people.* FROM hosts CROSS JOIN LATERAL (
            WITH RECURSIVE first_of(owner, priority, number) AS (
                (SELECT owner, priority, number FROM tasks
                 WHERE {_HAS_NO_JOB} AND tasks.host BETWEEN hosts.host AND hosts.host AND owner IS NOT NULL
                 ORDER BY tasks.host, owner, priority DESC, number LIMIT 1)
                UNION ALL
                SELECT next.* FROM first_of CROSS JOIN LATERAL (
                    SELECT tasks.owner, tasks.priority, tasks.number FROM tasks
                    WHERE {_HAS_NO_JOB} AND tasks.host BETWEEN hosts.host AND hosts.host
                        AND tasks.owner > first_of.owner
                    ORDER BY tasks.host, tasks.owner, tasks.priority DESC, tasks.number LIMIT 1) AS next
            )
            SELECT * FROM first_of WHERE owner <> ALL(%(busy_people)s::text[])
        ) AS people
        UNION ALL
        SELECT hosts.host, nobody.* FROM hosts CROSS JOIN LATERAL (
            SELECT owner, priority, number FROM tasks
            WHERE {_HAS_NO_JOB} AND tasks.host BETWEEN hosts.host AND hosts.host AND owner IS NULL
            ORDER BY tasks.host, owner, priority DESC, number LIMIT 1) AS nobody
    ),
    next AS MATERIALIZED (
        SELECT lines.*, row_number() OVER (ORDER BY priority DESC, coalesce(jobs, 0), number) AS place
        FROM lines LEFT JOIN unnest(%(people)s::text[], %(running)s::bigint[]) AS running (name, jobs)
            ON running.name = coalesce(owner, '')
        ORDER BY place LIMIT %(lines)s + 1
    )
    SELECT due.*, false FROM next CROSS JOIN LATERAL (
        SELECT {_WHAT} FROM tasks CROSS JOIN LATERAL due(status, %(longest)s) AS due
        WHERE next.owner IS NOT NULL AND tasks.host BETWEEN next.host AND next.host
            AND owner BETWEEN next.owner AND next.owner AND {WAITS} AND {IS_DUE}
        ORDER BY tasks.host, owner, priority DESC, number LIMIT %(depth)s) AS due
    WHERE place <= %(lines)s
    UNION ALL
    SELECT due.*, false FROM next CROSS JOIN LATERAL (
        SELECT {_WHAT} FROM tasks CROSS JOIN LATERAL due(status, %(longest)s) AS due
        WHERE next.owner IS NULL AND tasks.host BETWEEN next.host AND next.host
            AND owner IS NULL AND {WAITS} AND {IS_DUE}
        ORDER BY tasks.host, owner, priority DESC, number LIMIT %(depth)s) AS due
    WHERE place <= %(lines)s
    UNION ALL
    SELECT number, '', priority, host, owner, true FROM next WHERE place > %(lines)s"""  # noqa: S608
# Deletes the jobs of the last tasks in the queue first.
_NOT_BEGUN = """
    SELECT jobs.id, owner FROM tasks JOIN procrastinate_jobs AS jobs ON jobs.id = job_id
    WHERE jobs.status = 'todo' AND queue_name NOT LIKE '%start' ORDER BY jobs.priority, jobs.id DESC"""
_TAKE_BACK = """
    WITH surplus AS (
        SELECT task_id, job_id FROM tasks WHERE job_id = ANY(%s) FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM procrastinate_jobs AS jobs USING surplus
        WHERE jobs.id = job_id AND status = 'todo' RETURNING jobs.id
    )
    UPDATE tasks SET job_id = NULL FROM surplus JOIN gone ON id = surplus.job_id
    WHERE tasks.task_id = surplus.task_id RETURNING tasks.task_id"""


@dataclass
class Occupancy:
    """The present jobs. `waiting`: jobs that have not begun. `places`: how many jobs all live workers run at
    once; `free`: how many more jobs there may be.
    """

    places: int = 0
    free: int = 0
    waiting: int = 0
    of_host: Counter[str] = field(default_factory=Counter)
    of_owner: Counter[str | None] = field(default_factory=Counter)


def values_of(load: Occupancy, shares: Shares, per_host: int, lines: int, depth: int) -> dict[str, object]:
    """Return the parameters of `NEXT_IN_LINES`."""
    return {
        "busy_hosts": [host for host, count in load.of_host.items() if 0 < per_host <= count],
        "busy_people": [name for name, most in shares.most.items() if load.of_owner[name] >= most],
        "people": [name or "" for name in load.of_owner],
        "running": [*load.of_owner.values()],
        "lines": lines,
        "depth": depth,
        "longest": MAX_RETRY_AFTER,
        "differ": CLOCKS_DIFFER,
    }


class FairOrder:
    """`lost_after`: seconds without a heartbeat after which a worker's places do not count."""

    def __init__(self, shares: Shares, max_per_host: int, lost_after: float) -> None:
        self._shares = shares
        self._max_per_host = max_per_host
        self._lost_after = lost_after

    async def next_tasks(self, db: AsyncConnection, at_once: int) -> tuple[list[int], bool]:
        """Return the numbers of the tasks that get a job now, in their order, `at_once` at most; and whether
        more may fit than were found. Jobs that have not begun, and are more than there may be, are deleted.
        """
        load = await self._load(db)
        if await self._take_back_surplus(db, load):
            load = await self._load(db)
        if load.free <= 0:
            return [], False
        free = min(load.free, at_once)
        for lines in LINES:
            found, is_all = await self._choose(db, load, free, lines)
            if found or is_all:
                return found, not is_all
        return [], False

    async def _choose(
        self, db: AsyncConnection, load: Occupancy, free: int, lines: int
    ) -> tuple[list[int], bool]:
        """Return the numbers of the next tasks, as far as the first `lines` lines tell, and whether these are
        all that fit.
        """
        depth = min(free, MOST_DEPTH)
        values = values_of(load, self._shares, self._max_per_host, lines, depth)
        # Else PostgreSQL would compile this statement, whose cost it overestimates.
        await db.execute("SET LOCAL jit = off")
        rows = await (await db.execute(NEXT_IN_LINES.encode(), values)).fetchall()
        queue, bound = Queue(), None
        for number, task_id, urgency, host, owner, is_bound in rows:
            if is_bound:
                bound = -urgency, load.of_owner[owner], number
            else:
                queue.put(Queued(task_id, number, urgency, 0, host, owner=owner))
        of_host, of_owner = Counter(load.of_host), Counter(load.of_owner)
        of_line = Counter[tuple[str, str | None]]()
        found = list[int]()
        while len(found) < free:
            head = queue.pop(of_host, self._max_per_host, of_owner, self._shares.most)
            if head is None:
                return found, bound is None
            if bound and bound < (-head.urgency, of_owner[head.owner], head.number):
                return found, False
            line = head.host, head.owner
            found.append(head.number)
            of_host[head.host] += 1
            of_owner[head.owner] += 1
            of_line[line] += 1
            if of_line[line] == depth < free:  # only the first `depth` tasks of each line were read
                return found, len(found) == free
        return found, True

    async def _load(self, db: AsyncConnection) -> Occupancy:
        rows = await (await db.execute(_PLACES, (self._lost_after,))).fetchall()
        places: dict[str, int] = dict(rows)
        load = Occupancy(sum(places.values()))
        of_node, of_any = Counter[str](), 0
        for host, owner, is_waiting, node, count in await (await db.execute(_JOBS)).fetchall():
            load.of_host[host] += count
            load.of_owner[owner] += count
            load.waiting += count if is_waiting else 0
            if node in places:
                of_node[node] += count
            elif is_waiting or node is None:
                of_any += count
        # A task that waits for a node with its partial files takes no place of the other nodes.
        free = sum(max(0, places[node] - of_node[node]) for node in places) - of_any
        load.free = min(free, 2 * load.places - load.of_owner.total())
        return load

    async def _take_back_surplus(self, db: AsyncConnection, load: Occupancy) -> bool:
        """Delete jobs that have not begun: those of people with more jobs than their limit, and, if more jobs
        wait than workers have places, as many as are too many. Such a surplus arises when the first person is
        added, a limit is lowered, or workers go away.
        """
        most = self._shares.most
        surplus = {
            name: load.of_owner[name] - most[name] for name in most if load.of_owner[name] > most[name]
        }
        too_many = load.waiting - max(2 * load.places, 1)
        if not load.waiting or (too_many <= 0 and not surplus):
            return False
        ids = list[int]()
        for job_id, owner in await (await db.execute(_NOT_BEGUN)).fetchall():
            if surplus.get(owner, 0) > 0 or too_many > 0:
                ids.append(job_id)
                surplus[owner] = surplus.get(owner, 0) - 1
                too_many -= 1
        return bool(ids) and bool(await (await db.execute(_TAKE_BACK, (ids,))).fetchall())
