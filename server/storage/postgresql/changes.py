"""Writes changes to the tables, all changes of a kind in a group by one statement."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from psycopg import AsyncConnection

from server.core.clock import Clock
from server.core.entry_status import REMOVAL, ListAction
from server.core.errors import AppError, QueueFull
from server.core.events import EntriesMoved, apply
from server.core.ports import Submission
from server.core.task import Stage, Task, TaskStatus
from server.storage.entry_rows import (
    ACTIONS_ON_LIST,
    POSTGRESQL,
    EntrySql,
    by_stage,
    has_taken_all,
    read_actions,
    read_shown,
)
from server.storage.group_commit import Change
from server.storage.postgresql.advisory_locks import ADD, CHECKS, OURS
from server.storage.postgresql.announcing import ActedOnList, Changed, Gone, News, Signal
from server.storage.statements import Dialect, Ended, Row, StoreHooks, Values, Work, follow_ends, rooms_of
from server.storage.task_rows import (
    STATUS,
    FindShort,
    forms_of_wish,
    read_task,
    shared_keys,
    short_wish,
    status_values,
    to_be_inserted,
)


class Admits(Protocol):
    """Gives tasks the jobs by which they run, within the transaction of a change."""

    async def jobs_for(self, db: AsyncConnection, tasks: Sequence[Task]) -> list[int | None]:
        """Make jobs for new tasks, which are not stored yet; return a job's number, or None, for each."""
        ...

    async def follow(self, db: AsyncConnection, hosts: Collection[str], changed: Collection[str]) -> None:
        """Adjust the jobs to a change after which tasks of `hosts` are queued; `changed` are the ids of those
        tasks that are not new.
        """
        ...


DIALECT = Dialect(
    name="postgresql",
    moment="to_timestamp({})",
    seconds="extract(epoch FROM {})::float8",
    iso="""to_char(to_timestamp({}) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')""",
)
_NAMED = re.compile(r"(?<!:):([a-z_]+)")  # `:name`, not the cast `::text`
_LOCK = b"SELECT pg_advisory_xact_lock(%s, %s)"
_WAITING = b"""
    SELECT count(*) FILTER (WHERE stage IN ('queued', 'paused')), count(*)
    FROM tasks WHERE ended_at IS NULL AND NOT removed"""
_GIVEN = b"SELECT last_value - (NOT is_called)::int FROM tasks_number_seq"
_GIVE_AWAY = b"SELECT max(nextval('tasks_number_seq')) FROM generate_series(1, %s)"
_BY_KEY = f"""
    SELECT key, hashes, number, request, status, {ACTIONS_ON_LIST}
    FROM shared_keys JOIN tasks USING (task_id) WHERE key = ANY(%s) AND NOT removed
    UNION ALL
    SELECT idempotency, idempotency_request, number, request, status, {ACTIONS_ON_LIST} FROM tasks
    WHERE idempotency = ANY(%s) AND NOT removed""".encode()  # noqa: S608
_BY_WISH = f"""
    SELECT wish, number, request, status, {ACTIONS_ON_LIST} FROM tasks
    WHERE wish = ANY(%s) AND NOT removed AND ended_at IS NULL ORDER BY number""".encode()  # noqa: S608
_BY_ID = f"""
    SELECT task_id, number, request, status, {ACTIONS_ON_LIST} FROM tasks
    WHERE task_id = ANY(%s) AND NOT removed""".encode()  # noqa: S608
# The key's old task may just be in removal. A task that another node deletes meanwhile gets no key.
_SHARE = b"""
    INSERT INTO shared_keys (key, hashes, task_id)
    SELECT key, hashes, task_id
    FROM unnest(%b::text[], %b::text[], %b::text[]) AS new (key, hashes, task_id)
    JOIN tasks USING (task_id) FOR KEY SHARE OF tasks
    ON CONFLICT (key) DO UPDATE SET hashes = excluded.hashes, task_id = excluded.task_id"""
# Numbers are given in the order of the arrays.
_INSERT = b"""
    INSERT INTO tasks (job_id, host, idempotency, idempotency_request, wish, playlist_id, playlist_index,
                       task_id, request, revision, stage, priority, status, short, search, ended_at, owner)
    SELECT job_id, host, idempotency, idempotency_request, wish, playlist_id, playlist_index,
           task_id, request, revision, stage, priority, status, short, search, to_timestamp(ended), owner
    FROM unnest(%b::bigint[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::integer[],
                %b::text[], %b::text[],
                %b::bigint[], %b::text[], %b::integer[], %b::text[], %b::text[], %b::text[], %b::float8[],
                %b::text[])
        AS new (job_id, host, idempotency, idempotency_request, wish, playlist_id, playlist_index,
                task_id, request,
                revision, stage, priority, status, short, search, ended, owner)
    RETURNING task_id, number"""
_UPDATE = f"""
    UPDATE tasks SET revision = new.revision, stage = new.stage, priority = new.priority, status = new.status,
        short = new.short, search = new.search, ended_at = to_timestamp(new.ended), owner = new.owner
    FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::text[], %b::integer[],
                %b::text[], %b::text[], %b::text[], %b::float8[], %b::text[])
        AS new (task_id, follows, revision, stage, priority, status, short, search, ended, owner)
    WHERE tasks.task_id = new.task_id AND tasks.revision = new.follows AND NOT removed
        AND {has_taken_all("new.status")}
    RETURNING tasks.task_id, host""".encode()  # noqa: S608
# Tasks that end by the save that follows. One that had ended before may still change its counts.
_ENDS = b"""
    SELECT task_id, request FROM tasks
    JOIN unnest(%s::text[], %s::bigint[]) AS new (task_id, revision) USING (task_id)
    WHERE tasks.revision = new.revision AND ended_at IS NULL AND NOT removed"""
_ENDED = b"""
    SELECT task_id FROM tasks JOIN unnest(%s::text[], %s::bigint[]) AS new (task_id, revision) USING (task_id)
    WHERE tasks.revision = new.revision AND ended_at IS NOT NULL AND NOT removed"""

# Locks the rows in the order of their ids, so that two transactions that lock the same rows cannot deadlock.
_FOLLOWED = f"""
    SELECT task_id, host FROM tasks
    JOIN unnest(%s::text[], %s::bigint[], %s::text[]) AS new (task_id, revision, status) USING (task_id)
    WHERE tasks.revision = new.revision AND NOT removed AND {has_taken_all("new.status")}
    ORDER BY task_id FOR UPDATE OF tasks""".encode()  # noqa: S608
# These locks exclude saves of a list's entries and actions on the list from each other: each has to see what
# the other did. They are taken before any row is locked, in one order, so that no two nodes deadlock.
_LOCK_LISTS = b"""
    SELECT CASE WHEN is_acted_on THEN pg_advisory_xact_lock(lock) ELSE pg_advisory_xact_lock_shared(lock) END
    FROM (SELECT hashtextextended('clipwire list ' || playlist_id, 0) AS lock, bool_or(acted) AS is_acted_on
        FROM unnest(%s::text[], %s::boolean[]) AS lists (playlist_id, acted)
        GROUP BY lock ORDER BY lock) AS locks"""
# A removed task's idempotency key is free again; its row stays until its files are deleted.
_MARK = b"""
    UPDATE tasks SET removed = true, idempotency = NULL
    WHERE task_id = ANY(%s) AND NOT removed RETURNING task_id"""
_WITH_ENTRIES = b"""
    SELECT id FROM unnest(%s::text[]) AS marked (id)
    WHERE EXISTS (SELECT FROM tasks WHERE playlist_id = id AND NOT removed)"""
_ACT = b"INSERT INTO list_actions (playlist_id, number, told, owed) VALUES (%s, %s, %s, %s)"
_ACTIONS = b"SELECT playlist_id, number, told FROM list_actions WHERE playlist_id = %s ORDER BY number"
_TO_ACT_ON = f"""
    SELECT FROM tasks WHERE task_id = %s AND revision = %s AND NOT removed AND {has_taken_all()}
    FOR UPDATE""".encode()
_FOR_UPDATE = b"SELECT number, request, status FROM tasks WHERE task_id = %s AND NOT removed FOR UPDATE"
_ALL_ACTIONS = b"SELECT playlist_id, number, told FROM list_actions ORDER BY playlist_id, number"
_TAKE = b"UPDATE list_actions SET owed = owed - %s WHERE playlist_id = %s AND number = %s"
_OWED = b"SELECT max(number), sum(owed)::bigint FROM list_actions WHERE playlist_id = %s"
_DONE = b"DELETE FROM list_actions WHERE playlist_id = %s"
_MOVED = b"""
    UPDATE tasks SET host = new.host FROM unnest(%s::text[], %s::text[]) AS new (task_id, host)
    WHERE tasks.task_id = new.task_id"""


@dataclass(eq=False)
class Add(Change[Task]):
    """`values`, the row's columns from `task_id` on, are made by the caller: an error fails only its call."""

    wanted: Submission
    values: tuple[object, ...]
    shared_wish: str | None = None  # another task with this wish may take the place of this one

    def __post_init__(self) -> None:
        task, key = self.wanted.task, self.wanted.idempotency
        if task.request and task.request.may_be_shared:
            self.shared_wish = self.wanted.wish
        self.touches = (task.status.task_id, *([f"key {key.key}"] if key else []))


@dataclass(eq=False)
class Save(Change[bool]):
    """`values` are the columns of the status. `taken` is the row of an entry that takes with this save what
    happened to its list.
    """

    status: TaskStatus
    values: tuple[object, ...]
    taken: TaskStatus | None = None

    def __post_init__(self) -> None:
        self.follows = self.taken.revision if self.taken else self.status.revision - 1
        self.touches = (self.status.task_id,)


@dataclass(eq=False)
class Together(Change["list[Task] | None"]):
    """Makes all of its saves and adds, or none; its outcome is None if a save does not directly follow.

    `hosts` are the old and new hosts of tasks that got another link.
    """

    saves: Sequence[Save]
    adds: Sequence[Add]
    hosts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        changes: tuple[Change[Any], ...] = (*self.saves, *self.adds)
        self.touches = tuple({name for change in changes for name in change.touches})


@dataclass(eq=False)
class Act(Change["TaskStatus | None"]):
    """An action on a list, see `server.core.ports.Store.act_on_list`. `save` is that of the list."""

    playlist: TaskStatus
    action: ListAction
    follow: Callable[[Mapping[Stage, int]], TaskStatus]
    find_short: FindShort
    count: int = 0  # how many of the entries the action concerns
    save: Save | None = None

    def __post_init__(self) -> None:
        self.touches = (self.playlist.task_id,)


@dataclass(eq=False)
class Remove(Change[list[str]]):
    """Mark tasks as removed. The entries of a removed list are marked later, by an action on the list."""

    task_ids: Sequence[str]
    action: ListAction

    def __post_init__(self) -> None:
        self.touches = tuple(self.task_ids)


@dataclass(eq=False)
class Done(Change["TaskStatus | None"]):
    """All entries have taken the actions up to `number`; its outcome is the list if that changes."""

    playlist_id: str
    number: int
    at: datetime
    find_short: FindShort
    save: Save | None = None

    def __post_init__(self) -> None:
        self.touches = (self.playlist_id,)


@dataclass(eq=False)
class Execute(Change[list[str]]):
    """A single statement, which returns ids; `tells` makes an announcement to other nodes of each id."""

    sql: bytes
    values: tuple[object, ...] = ()
    touches: tuple[str, ...] = field(default=())
    tells: Callable[[str], News] | None = None


@dataclass(eq=False)
class Transact(Change[Any]):
    """See `server.storage.statements.Transactions`. `adding` makes the change that adds a task; `adds` are
    those that `work` has made.
    """

    work: Work[Any]
    adding: Callable[[Submission], Add]
    adds: list[Add] = field(default_factory=list)
    signals: set[str] = field(default_factory=set)
    under: int = 0  # an advisory lock; 0: none


class Reading:
    """See `server.storage.statements.Statements`."""

    dialect = DIALECT

    def __init__(self, db: AsyncConnection) -> None:
        self._db = db

    async def fetch(self, sql: str, values: Values = ()) -> list[Row]:
        return await (await self._db.execute(placed(sql, values), values)).fetchall()

    async def run(self, sql: str, values: Values = ()) -> None:
        await self._db.execute(placed(sql, values), values)


class Transacting(Reading):
    """See `server.storage.statements.Tables`."""

    def __init__(self, db: AsyncConnection, changes: "Changes", change: Transact) -> None:
        super().__init__(db)
        self._changes = changes
        self._change = change

    async def alone(self) -> None:
        await self._db.execute(_LOCK, (OURS, CHECKS), prepare=True)

    async def room(self) -> int:
        return await self._changes.room(self._db)

    async def add(self, tasks: Sequence[Task]) -> list[Task]:
        adds = [self._change.adding(Submission(task)) for task in tasks]
        if not adds:
            return []
        await self._changes.room(self._db)  # numbers are given while the lock is held that `room` takes
        self._change.adds += adds
        return await _insert(self._db, adds, [None] * len(adds))

    def wake(self, signal: str) -> None:
        self._change.signals.add(signal)


class Changes:
    """Writes groups for the `Writer`.

    Counting the waiting tasks takes time for each unfinished one. So `Changes` remembers how many tasks were
    unfinished at the last count, and the last number that was given by then. Each task that any node adds or
    queues again later takes a number, so both give an upper bound of the waiting tasks. They are counted anew
    only when that bound leaves no place.
    """

    def __init__(
        self,
        max_queued: int,
        admits: Admits | None,
        hooks: Sequence[StoreHooks],
        clock: Clock,
    ) -> None:
        self._hooks = hooks
        self._clock = clock
        self._max_queued = max_queued
        self._admits = admits
        self._most, self._given = max_queued, 0  # unfinished tasks at the last count, and the last number

    async def write(self, db: AsyncConnection, group: Sequence[Change[Any]]) -> list[News]:
        """Write the changes of a group and set their outcomes; return what to announce to other nodes."""
        adds = [change for change in group if isinstance(change, Add)]
        saves = [change for change in group if isinstance(change, Save)]
        whole = [change for change in group if isinstance(change, Together)]
        acts = [change for change in group if isinstance(change, Act | Remove | Done)]
        saves_of_whole = [save for change in whole for save in change.saves]
        await _lock_lists(db, [*saves, *saves_of_whole], acts)
        saves += await self._prepare_saves_of_lists(db, acts)
        requests = await _requests_of_ending(db, [*saves, *saves_of_whole])
        ended = await _ended_that_wait_again(db, [*saves, *saves_of_whole])
        wanted = len(adds) + len(ended) + sum(len(change.adds) for change in whole)
        free = await self._free_places(db, wanted) if wanted else 0
        if ended:  # each takes a number, as a new task does: see the class
            await db.execute(_GIVE_AWAY, (len(ended),), prepare=True)
        added, have_jobs = await self._add(db, adds, free) if adds else (list[Task](), set[str]())
        free -= len([task for task in added if task.status.stage.is_waiting])
        possible = _refuse_beyond(free, saves, ended)
        queued_hosts = await _save(db, possible)
        free -= _joining_again(possible, ended)
        announced: list[News] = []
        for act in acts:
            if isinstance(act, Act):
                announced += await _act(db, act)
            elif isinstance(act, Done) and act.save and act.save.outcome is True:
                act.outcome = act.save.status
        for each in whole:
            queued_hosts |= await _do_together(db, each, ended, free)
            if isinstance(each.outcome, list):
                added += each.outcome
                saves += each.saves
                free -= _joining_again(each.saves, ended)
        # Works under a lock come last, after changes that may take other locks, so that no two nodes
        # deadlock.
        transacts = [change for change in group if isinstance(change, Transact)]
        for transact in sorted(transacts, key=lambda change: change.under):
            added += await self._transact(db, transact)
        saved = [save for save in saves if save.outcome is True]
        changed = [*(task.status for task in added), *(save.status for save in saved)]
        announced += [Changed(status.task_id, status.revision) for status in changed]
        signals = {signal for transact in transacts for signal in transact.signals}
        signals |= await self._follow_ends(db, saved, requests, ended)
        announced += map(Signal, sorted(signals))
        await _take(db, [save for save in saved if save.taken])
        for change in group:
            if isinstance(change, Remove):
                announced += await _remove(db, change)
            if isinstance(change, Execute):  # last: a task that this group retries must not expire
                announced += await _execute(db, change)
        without_jobs = [task.status for task in added if task.status.task_id not in have_jobs]
        hosts = {status.host for status in without_jobs if status.stage is Stage.QUEUED}
        hosts |= {*queued_hosts.values(), *(host for each in whole for host in each.hosts)}
        if self._admits and hosts:
            await self._admits.follow(db, sorted(hosts), list(queued_hosts))
        return announced

    async def _prepare_saves_of_lists(
        self, db: AsyncConnection, acts: Iterable[Act | Remove | Done]
    ) -> list[Save]:
        saves: list[Save] = []
        for act in acts:
            if isinstance(act, Remove):
                continue
            if isinstance(act, Act):
                await self._prepare_act(db, act)
            else:
                await _prepare_done(db, act)
            saves += [act.save] if act.save else []
        return saves

    async def _transact(self, db: AsyncConnection, change: Transact) -> list[Task]:
        """Do the work of `change` and set the outcome; return the tasks that it has added."""
        change.adds.clear()  # of an earlier try
        if change.under:
            await db.execute(_LOCK, (OURS, change.under), prepare=True)
        try:
            change.outcome = await change.work(Transacting(db, self, change))
        except AppError as error:
            change.outcome = error
        return [add.outcome for add in change.adds if isinstance(add.outcome, Task)]

    async def _follow_ends(
        self, db: AsyncConnection, saved: Iterable[Save], requests: Mapping[str, str], ended: Collection[str]
    ) -> set[str]:
        """Have features follow tasks that have ended, or wait again after their end; return the signals."""
        moved = [
            Ended(save.status, str(save.values[STATUS]), requests.get(task_id), again=task_id in ended)
            for save in saved
            if (task_id := save.status.task_id) in requests or task_id in ended
        ]
        return await follow_ends(self._hooks, Reading(db), moved, self._clock.now()) if moved else set()

    async def _prepare_act(self, db: AsyncConnection, change: Act) -> None:
        """Find the list's status after the action, or set the outcome if the action changes nothing."""
        before, action = change.playlist, change.action
        change.save, change.count, change.outcome = None, 0, None  # an earlier try may have set them
        if not await (await db.execute(_TO_ACT_ON, (before.task_id, before.revision))).fetchall():
            return
        actions = read_actions(await (await db.execute(_ACTIONS, (before.task_id,))).fetchall())
        entries = EntrySql(actions.get(before.task_id, ()), POSTGRESQL)
        # Where the list's counts do not change, one entry tells that there are some.
        counted, end = ("count(*)", "GROUP BY 1") if action.kind in ("cancel", "retry") else ("1", "LIMIT 1")
        sql = f"""
            SELECT {entries.state}, {counted} FROM tasks
            WHERE playlist_id = %s AND NOT removed AND {entries.concerned(action)} {end}"""  # noqa: S608
        rows = await (await db.execute(sql.encode(), (before.task_id,))).fetchall()
        concerned = by_stage(rows)
        after, change.count = change.follow(concerned), concerned.total()
        if after is before:
            change.outcome = before
            return
        if change.count and action.kind == "retry":
            if await self._free_places(db, change.count + 1) < change.count:
                change.outcome = QueueFull()
                return
            await db.execute(_GIVE_AWAY, (change.count,), prepare=True)
        if change.count:
            after = after.model_copy(update={"list_action": before.list_action + 1})
        change.save = Save(after, status_values(after, change.find_short))

    async def room(self, db: AsyncConnection) -> int:
        """How many tasks the queue takes."""
        return max(0, await self._free_places(db, self._max_queued))

    async def _free_places(self, db: AsyncConnection, wanted: int) -> int:
        """How many places are free, or a lower bound that is at least `wanted`.

        It holds until the end of the transaction: its advisory lock keeps other nodes from giving numbers.
        """
        await db.execute(_LOCK, (OURS, ADD), prepare=True)
        given = await _row(db, _GIVEN)
        free = self._max_queued - self._most - (given[0] - self._given)
        if free >= wanted:
            return free
        waiting, self._most = await _row(db, _WAITING)
        more = await _yet_to_wait(db)
        self._given, self._most = given[0], self._most + max(0, more)
        return self._max_queued - waiting - more

    async def _add(
        self, db: AsyncConnection, adds: Sequence[Add], free: int
    ) -> tuple[list[Task], Collection[str]]:
        """Set the outcomes; return the new tasks, and which of them have jobs."""
        known: dict[str, tuple[str, Task]] = {}
        if keys := [add.wanted.idempotency.key for add in adds if add.wanted.idempotency]:
            rows = await (await db.execute(_BY_KEY, (keys, keys), prepare=True)).fetchall()
            known = {key: (request, task) for key, request, *row in rows if (task := read_shown(*row))}
        shared: dict[str, Task] = {}
        if wishes := [add.shared_wish for add in adds if add.shared_wish]:
            wish_of = {form: wish for wish in wishes for form in forms_of_wish(wish)}
            rows = await (await db.execute(_BY_WISH, (list(wish_of),), prepare=True)).fetchall()
            shared = {
                wish_of[form]: task
                for form, *row in rows
                if (task := read_shown(*row)) and not task.status.stage.is_final
            }
        instead: dict[str, Task] = {}
        if found := [add.wanted.instead for add in adds if add.wanted.instead]:
            rows = await (await db.execute(_BY_ID, (found,), prepare=True)).fetchall()
            instead = {task_id: task for task_id, *row in rows if (task := read_shown(*row))}
        owners = {owner for add in adds if (owner := add.wanted.task.status.owner)}
        rooms = await rooms_of(self._hooks, Reading(db), owners) if owners else {}
        new, sharing = to_be_inserted(adds, known, shared, instead, free, rooms)
        added, have_jobs = list[Task](), set[str]()
        if new:
            tasks = [add.wanted.task for add in new]
            jobs = await self._admits.jobs_for(db, tasks) if self._admits else [None for _ in tasks]
            have_jobs = {
                task.status.task_id for task, job in zip(tasks, jobs, strict=True) if job is not None
            }
            added = await _insert(db, new, jobs)
        for add, other in sharing:
            add.outcome = other.outcome
        if bound := shared_keys(((add.wanted, add.outcome) for add in adds), known):
            await db.execute(_SHARE, _columns(bound), prepare=True)
        return added, have_jobs


def placed(sql: str, values: Values = ()) -> bytes:
    """Return `sql` with psycopg's placeholders: by name if `values` have names."""
    sql = sql.replace("%", "%%")
    if isinstance(values, Mapping):
        return _NAMED.sub(r"%(\1)s", sql).encode()
    return sql.replace("?", "%s").encode()


async def _row(db: AsyncConnection, sql: bytes) -> tuple[int, ...]:
    [row] = await (await db.execute(sql, prepare=True)).fetchall()
    return row


async def _insert(db: AsyncConnection, adds: Sequence[Add], jobs: Sequence[int | None]) -> list[Task]:
    rows: list[tuple[object, ...]] = []
    for add, job in zip(adds, jobs, strict=True):
        key, status = add.wanted.idempotency, add.wanted.task.status
        keys = (key.key, key.request) if key else (None, None)
        place = status.playlist_id, status.playlist_index
        wish = add.wanted.wish and short_wish(add.wanted.wish)
        rows.append((job, status.host, *keys, wish, *place, *add.values))
    inserted = await db.execute(_INSERT, _columns(rows), prepare=True)
    numbers: dict[str, int] = dict(await inserted.fetchall())
    added = []
    for add in adds:
        task = add.wanted.task
        task.status.give_number(numbers[task.status.task_id])
        add.outcome = task
        added.append(task)
    return added


async def _requests_of_ending(db: AsyncConnection, saves: Iterable[Save]) -> dict[str, str]:
    """Return the stored requests of the tasks that these saves end, by id."""
    ending = [(save.status.task_id, save.follows) for save in saves if save.status.stage.is_final]
    if not ending:
        return {}
    return dict(await (await db.execute(_ENDS, _columns(ending), prepare=True)).fetchall())


async def _ended_that_wait_again(db: AsyncConnection, saves: Iterable[Save]) -> set[str]:
    """Return the ids of the tasks that have ended and that these saves queue or pause."""
    waiting = [save for save in saves if save.status.stage.is_waiting and not save.taken]
    if not waiting:
        return set()
    columns = _columns((save.status.task_id, save.follows) for save in waiting)
    return {task_id for (task_id,) in await (await db.execute(_ENDED, columns, prepare=True)).fetchall()}


def _refuse_beyond(free: int, saves: Iterable[Save], ended: Collection[str]) -> list[Save]:
    """Refuse to let more than `free` tasks wait again; return the other saves."""
    possible: list[Save] = []
    for save in saves:
        free -= save.status.task_id in ended
        if save.status.task_id in ended and free < 0:
            save.outcome = QueueFull()
        else:
            possible.append(save)
    return possible


def _joining_again(saves: Iterable[Save], ended: Collection[str]) -> int:
    """Return how many places in the queue the retried tasks take."""
    return len([save for save in saves if save.status.task_id in ended])


async def _save(db: AsyncConnection, saves: Sequence[Save]) -> dict[str, str]:
    """Set the outcomes; return the hosts of the tasks that are queued now, by id."""
    if not saves:
        return {}
    columns = _columns((save.status.task_id, save.follows, *save.values) for save in saves)
    hosts: dict[str, str] = dict(await (await db.execute(_UPDATE, columns, prepare=True)).fetchall())
    for save in saves:
        save.outcome = save.status.task_id in hosts
    queued = {save.status.task_id for save in saves if save.status.stage is Stage.QUEUED}
    return {task_id: host for task_id, host in hosts.items() if task_id in queued}


async def _do_together(
    db: AsyncConnection, change: Together, ended: Collection[str], free: int
) -> dict[str, str]:
    """Set the outcome; return the hosts of the saved tasks that are queued now, by id."""
    followed = _columns((save.status.task_id, save.follows, save.values[STATUS]) for save in change.saves)
    found = await (await db.execute(_FOLLOWED, followed, prepare=True)).fetchall() if change.saves else []
    if len(found) < len(change.saves):
        change.outcome = None
    elif _joining_again(change.saves, ended) > max(free, 0):
        change.outcome = QueueFull()
    else:
        hosts = await _save(db, change.saves)
        before: dict[str, str] = dict(found)
        moved = [save.status for save in change.saves if save.status.host != before[save.status.task_id]]
        change.hosts = {host for status in moved for host in (status.host, before[status.task_id])}
        if moved:
            await db.execute(_MOVED, _columns((status.task_id, status.host) for status in moved))
        # These tasks get their jobs in `Admits.follow`, as all waiting tasks do.
        change.outcome = await _insert(db, change.adds, [None] * len(change.adds)) if change.adds else []
        return hosts
    return {}


async def _lock_lists(
    db: AsyncConnection, saves: Iterable[Save], acts: Iterable[Act | Remove | Done]
) -> None:
    lists = {save.status.playlist_id: False for save in saves}
    for act in acts:
        if isinstance(act, Act):
            lists.setdefault(act.playlist.playlist_id, False)
            lists[act.playlist.task_id] = True
        elif isinstance(act, Done):
            lists[act.playlist_id] = True
        else:
            lists |= dict.fromkeys(act.task_ids, True)
    if locked := [(playlist_id, acted) for playlist_id, acted in lists.items() if playlist_id]:
        await db.execute(_LOCK_LISTS, _columns(locked), prepare=True)


async def _act(db: AsyncConnection, change: Act) -> list[News]:
    if change.save is None:
        return []
    if change.save.outcome is not True:
        change.outcome = change.save.outcome or None
        return []
    after = change.outcome = change.save.status
    if not change.count:
        return []
    owed = {"cancel": change.count, "retry": -change.count}.get(change.action.kind, 0)
    row = (after.task_id, after.list_action, change.action.model_dump_json(exclude_none=True), owed)
    await db.execute(_ACT, row)
    return [ActedOnList(after.task_id)]


async def _prepare_done(db: AsyncConnection, change: Done) -> None:
    change.save, change.outcome = None, None  # an earlier try may have set them
    [(last, owed)] = await (await db.execute(_OWED, (change.playlist_id,))).fetchall()
    if last is None or last > change.number:
        return
    await db.execute(_DONE, (change.playlist_id,))
    if owed and last != REMOVAL:
        # Some rows could not take it, as they are damaged: the list must not wait for them.
        rows = await (await db.execute(_FOR_UPDATE, (change.playlist_id,))).fetchall()
        for row in rows:
            after = apply(read_task(*row).status, EntriesMoved(failed=-owed), change.at)
            change.save = Save(after, status_values(after, change.find_short))


async def _remove(db: AsyncConnection, change: Remove) -> list[News]:
    rows = await (await db.execute(_MARK, (list(change.task_ids),))).fetchall()
    marked = [task_id for (task_id,) in rows]
    change.outcome = marked
    announced: list[News] = [Gone(task_id) for task_id in marked]
    for (playlist_id,) in await (await db.execute(_WITH_ENTRIES, (marked,))).fetchall():
        row = (playlist_id, REMOVAL, change.action.model_dump_json(exclude_none=True), 0)
        await db.execute(_ACT, row)
        announced.append(ActedOnList(playlist_id))
    return announced


async def _execute(db: AsyncConnection, change: Execute) -> list[News]:
    rows = await (await db.execute(change.sql, change.values)).fetchall()
    change.outcome = [key for (key,) in rows]
    return [change.tells(key) for key in change.outcome] if change.tells else []


async def _yet_to_wait(db: AsyncConnection) -> int:
    """How many more entries wait than their rows say."""
    more = 0
    for playlist_id, acted in read_actions(await (await db.execute(_ALL_ACTIONS)).fetchall()).items():
        waiting = EntrySql(acted, POSTGRESQL).in_stages([Stage.QUEUED, Stage.PAUSED])
        sql = f"""
            SELECT count(*) FILTER (WHERE {waiting}) - count(*) FILTER (WHERE stage IN ('queued', 'paused'))
            FROM tasks WHERE playlist_id = %s AND NOT removed"""  # noqa: S608
        [(shift,)] = await (await db.execute(sql.encode(), (playlist_id,))).fetchall()
        more += shift
    return more


async def _take(db: AsyncConnection, saves: Iterable[Save]) -> None:
    """Subtract from `owed` of each action on a list what the rows of its entries have taken of it now:
    `owed` is the difference between the failed entries that the list counts and those that its rows have.
    """
    owed: Counter[tuple[str | None, int]] = Counter()
    for save in saves:
        if save.taken and (failed := save.status.stage.has_failed - save.taken.stage.has_failed):
            owed[save.status.playlist_id, save.status.list_action] += failed
    for (playlist_id, number), failed in owed.items():
        await db.execute(_TAKE, (failed, playlist_id, number))


def _columns(rows: Iterable[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
