"""The only writer of the file: decides on a group of changes, writes them, and updates memory.

Whether a change may be made is decided before its statement is sent: from memory, which holds committed
tasks, or by a read in the same transaction. So all changes of a kind are one `executemany`, one trip to the
connection's thread. Memory is updated only after a COMMIT, so that nothing in it can be rolled back.
"""

import asyncio
import json
import sqlite3
from asyncio import to_thread
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import starmap
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import aiosqlite

from server.core.clock import Clock
from server.core.counts import Counts
from server.core.data_dir import DataDir
from server.core.entry_status import REMOVAL, ListAction, ListActions, status_after_actions
from server.core.errors import AppError, DatabaseBusy, DiskFull, QueueFull
from server.core.events import EntriesMoved, apply
from server.core.ports import Submission
from server.core.task import Stage, Task, TaskStatus
from server.storage.entry_rows import SQLITE, EntrySql, by_stage, merged
from server.storage.group_commit import Change, GroupWriter
from server.storage.sqlite.ballast import Ballast
from server.storage.sqlite.connection import unavailable
from server.storage.statements import (
    Dialect,
    Ended,
    Row,
    Signals,
    StoreHooks,
    Values,
    Work,
    follow_ends,
    rooms_of,
)
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

PATIENCE = 5.0  # seconds that changes wait for another program which holds the database
# Seconds that SQLite waits for a lock before this module tries again: `hurry` cannot shorten SQLite's waits.
_BUSY_TIMEOUT = 0.1
RECENT = 1000  # tasks in memory that do not run

DIALECT = Dialect(
    name="sqlite", moment="{}", seconds="{}", iso="strftime('%Y-%m-%dT%H:%M:%SZ', {}, 'unixepoch')"
)
TASKS_BY_ID = """
    SELECT number, request, status FROM tasks
    WHERE task_id IN (SELECT value FROM json_each(?)) AND removed = 0"""
_INSERT = """
    INSERT INTO tasks (number, idempotency, idempotency_request, wish, playlist_id, playlist_index,
                       task_id, request, revision, stage, priority, status, short, search, ended_at,
                       owner)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_BY_WISH = """
    SELECT wish, task_id FROM tasks
    WHERE wish IN (SELECT value FROM json_each(?)) AND removed = 0 AND ended_at IS NULL
    ORDER BY wish, number"""
_UPDATE = """
    UPDATE tasks SET revision = ?, stage = ?, priority = ?, status = ?, short = ?, search = ?, ended_at = ?,
        owner = ?
    WHERE task_id = ? AND revision = ? AND removed = 0"""
_BY_KEY = """
    SELECT key, hashes, task_id FROM shared_keys JOIN tasks USING (task_id)
    WHERE key IN (SELECT value FROM json_each(?1)) AND removed = 0
    UNION ALL
    SELECT idempotency, idempotency_request, task_id FROM tasks
    WHERE idempotency IN (SELECT value FROM json_each(?1))"""
# The key may be that of a task that is being removed.
_SHARE = """
    INSERT INTO shared_keys (key, hashes, task_id) VALUES (?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET hashes = excluded.hashes, task_id = excluded.task_id"""
# A removed task's idempotency key is free again; its row stays until its files are deleted.
_MARK = """
    UPDATE tasks SET removed = 1, idempotency = NULL
    WHERE task_id IN (SELECT value FROM json_each(?)) AND removed = 0 RETURNING task_id"""
_HAS_ENTRIES = "SELECT 1 FROM tasks WHERE playlist_id = ? AND removed = 0 LIMIT 1"
_ACT = "INSERT INTO list_actions (playlist_id, number, told, owed) VALUES (?, ?, ?, ?)"
_TAKE = "UPDATE list_actions SET owed = owed - ? WHERE playlist_id = ? AND number = ?"
_OWED = "SELECT max(number), sum(owed) FROM list_actions WHERE playlist_id = ?"
_DONE = "DELETE FROM list_actions WHERE playlist_id = ?"


class Writer(GroupWriter):
    """`write` writes a group's changes within a transaction; `committed` is called after the COMMIT.

    `data` tells whether the file is still where the next start looks for it. It is checked before the COMMIT,
    which mostly saves writing in vain, and after it, so that no lost change is reported as stored.
    """

    def __init__(
        self,
        db: aiosqlite.Connection,
        path: Path,
        ballast: Ballast,
        write: Callable[[Sequence[Change[Any]]], Awaitable[None]],
        committed: Callable[[Sequence[Change[Any]]], None],
        data: DataDir | None = None,
        counts: Counts | None = None,
    ) -> None:
        super().__init__(counts=counts)
        self._db = db
        self._path = path
        self._write = write
        self._committed = committed
        self._data = data or DataDir(path.parent)
        self._patience = PATIENCE
        self._held_since: float | None = None  # since when another program has held the database
        self._ballast = ballast
        # Takes on the ballast in the background, as no answer should wait for it.
        self._ballast_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._db.execute_fetchall(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT * 1000:.0f}")
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if self._ballast_task:
            await asyncio.wait([self._ballast_task])

    def hurry(self) -> None:
        self._patience = 0.0

    async def commit(self, changes: Sequence[Change[Any]]) -> None:
        try:
            await self._transaction(changes)
        except DiskFull:
            if not (any(change.makes_room for change in changes) and await to_thread(self._ballast.drop)):
                raise
            await self._transaction(changes)
        ballast, earlier = self._ballast, self._ballast_task
        if not ballast.is_there and ballast.is_due and (earlier is None or earlier.done()):
            self._ballast_task = asyncio.create_task(to_thread(self._ballast.take_on), name="ballast")

    async def _transaction(self, changes: Sequence[Change[Any]]) -> None:
        """Raises `DatabaseBusy` if another program holds the database for longer than `PATIENCE`, and
        `StorageFailed` if the file is lost.
        """
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    await self._db.execute_fetchall("BEGIN IMMEDIATE")
                except sqlite3.DatabaseError as error:
                    if not isinstance(unavailable(error, self._path), DatabaseBusy):
                        raise
                    self._held_since = self._held_since or loop.time()
                    if loop.time() - self._held_since >= self._patience:
                        raise
                else:
                    self._held_since = None
                    break
            try:
                await self._write(changes)
                # One trip to a thread in place of three, which cost each submit of a group 15 us more.
                committing = self._db._execute(self._look_and_commit)  # type: ignore[no-untyped-call]  # noqa: SLF001
                is_committed, lost = await committing
            except BaseException:
                if self._db.in_transaction:  # after some errors SQLite has rolled back by itself
                    await self._db.execute_fetchall("ROLLBACK")
                raise
        except sqlite3.DatabaseError as error:
            if reason := unavailable(error, self._path):
                raise reason from error
            raise
        if is_committed:
            self._committed(changes)
        if lost:
            raise self._data.error(lost)

    def _look_and_commit(self) -> tuple[bool, str | None]:
        """Commit, or roll back if a file of the data directory is lost. Return whether the transaction was
        committed, and what is lost. Runs in the connection's thread.
        """
        if lost := self._data.lost():
            self._db._conn.execute("ROLLBACK")  # noqa: SLF001
            return False, lost
        self._db._conn.execute("COMMIT")  # noqa: SLF001
        return True, self._data.lost()


@dataclass(eq=False)
class Add(Change[Task]):
    """`values`, the row's columns from `task_id` on, are made by the caller: an error fails only its call."""

    wanted: Submission
    values: tuple[object, ...]
    is_new: bool = False
    task: Task = field(init=False)
    shared_wish: str | None = None  # another task with this wish may take the place of this one

    def __post_init__(self) -> None:
        self.task, key = self.wanted.task, self.wanted.idempotency
        if self.task.request and self.task.request.may_be_shared:
            self.shared_wish = self.wanted.wish
        self.touches = (
            self.task.status.task_id,
            *([f"key {key.key}"] if key else []),
            *([f"wish {self.shared_wish}"] if self.shared_wish else []),
        )


@dataclass(eq=False)
class Save(Change[bool]):
    """`values` are the columns of the status; `task` is the task after the save, None if that is refused.

    `taken` is the row of an entry that takes the actions on its list with this save.
    """

    status: TaskStatus
    values: tuple[object, ...]
    taken: TaskStatus | None = None
    task: Task | None = None
    ends: bool = False  # the task had not ended before
    begins_anew: bool = False  # the task had ended before

    def __post_init__(self) -> None:
        self.follows = self.taken.revision if self.taken else self.status.revision - 1
        self.row = (*self.values, self.status.task_id, self.follows)
        self.touches = (self.status.task_id,)
        # A cancel may use the last room: the partial files of cancelled tasks can be deleted.
        self.makes_room = self.status.stage is Stage.CANCELLED


@dataclass(eq=False)
class Together(Change["list[Task] | None"]):
    """Makes all of its saves and adds, or none; the outcome is None if one does not follow what is stored."""

    saves: Sequence[Save]
    adds: Sequence[Add]

    def __post_init__(self) -> None:
        changes: tuple[Change[Any], ...] = (*self.saves, *self.adds)
        self.touches = tuple({name for change in changes for name in change.touches})
        self.makes_room = any(save.makes_room for save in self.saves)


@dataclass(eq=False)
class Act(Change["TaskStatus | None"]):
    """An action on a list, see `server.core.ports.Store.act_on_list`. `save` is that of the list."""

    playlist: TaskStatus
    action: ListAction
    follow: Callable[[Mapping[Stage, int]], TaskStatus]
    find_short: FindShort
    number: int = 0  # of the action; 0 if no entry has to take it
    save: Save | None = None

    def __post_init__(self) -> None:
        self.touches = (self.playlist.task_id,)
        self.makes_room = self.action.kind == "cancel"


@dataclass(eq=False)
class Remove(Change[list[str]]):
    """Mark tasks as removed. The entries of a removed list are marked later, by an action on the list."""

    task_ids: Sequence[str]
    lists: list[str] = field(default_factory=list)  # those of them that have entries
    action: ListAction | None = None
    makes_room: bool = True

    def __post_init__(self) -> None:
        self.touches = tuple(self.task_ids)


@dataclass(eq=False)
class Done(Change["TaskStatus | None"]):
    """All entries have taken the actions up to `number`; its outcome is the list if that changes."""

    playlist_id: str
    number: int
    find_short: FindShort
    save: Save | None = None
    is_last: bool = False

    def __post_init__(self) -> None:
        self.touches = (self.playlist_id,)


@dataclass(eq=False)
class Execute(Change[list[str]]):
    """A single statement, which returns the ids of tasks to drop from memory."""

    sql: str
    parameters: tuple[object, ...] = ()
    touches: tuple[str, ...] = field(default=())
    makes_room: bool = False


@dataclass(eq=False)
class Transact(Change[Any]):
    """See `server.storage.statements.Transactions`. `adding` makes an `Add` of a submission; `adds` are those
    that `work` has made.
    """

    work: Work[Any]
    adding: "Callable[[Submission], Add]"
    adds: "list[Add]" = field(default_factory=list)
    signals: set[str] = field(default_factory=set)


class SqliteStatements:
    """See `server.storage.statements.Statements`."""

    dialect = DIALECT

    def __init__(self, db: aiosqlite.Connection) -> None:
        self._db = db

    async def fetch(self, sql: str, values: Values = ()) -> list[Row]:
        return [tuple(row) for row in await self._db.execute_fetchall(sql, values)]

    async def run(self, sql: str, values: Values = ()) -> None:
        await self._db.execute_fetchall(sql, values)


class Transacting(SqliteStatements):
    """See `server.storage.statements.Tables`. `alone` has nothing to do, as there is one writer."""

    def __init__(self, db: aiosqlite.Connection, changes: "Changes", change: Transact) -> None:
        super().__init__(db)
        self._changes = changes
        self._change = change

    async def alone(self) -> None:
        pass

    async def room(self) -> int:
        return max(0, self._changes.free)

    async def add(self, tasks: Sequence[Task]) -> list[Task]:
        adds = [self._change.adding(Submission(task)) for task in tasks]
        await self._changes.admit(adds)
        self._change.adds += adds
        return [add.task for add in adds]

    def wake(self, signal: str) -> None:
        self._change.signals.add(signal)


class Changes:
    """Writes groups for the `Writer`, and updates `memory` after each COMMIT.

    `hooks` are the features' parts at the ends of tasks; `signals` are given after a COMMIT.
    """

    def __init__(
        self,
        db: aiosqlite.Connection,
        memory: "Memory",
        last_number: int,
        max_queued: int,
        hooks: Sequence[StoreHooks] = (),
        signals: Signals | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self._hooks = hooks
        self._signals = signals or Signals()
        self._due = set[str]()  # signals to give once the group is committed
        self._db = db
        self._memory = memory
        self._number = last_number
        self._max_queued = max_queued
        self.free = 0  # free places in the queue that the changes of this group may still take

    async def write(self, group: Sequence[Change[Any]]) -> None:
        self.free = self._max_queued - len(self._memory.waiting)
        self._due.clear()  # an earlier try to commit may have filled it
        if self._memory.actions and (
            self.free < len(group)
            or any(isinstance(change, Act) and change.action.kind == "retry" for change in group)
        ):
            self.free -= await self._yet_to_wait()
        if adds := [change for change in group if isinstance(change, Add)]:
            await self._add(adds)
        if saves := [change for change in group if isinstance(change, Save)]:
            await self._decide(saves)
            await self._update([save for save in saves if save.task])
        for change in group:
            if isinstance(change, Together):
                await self._decide(change.saves)
                if not all(save.task for save in change.saves):
                    refused = (save.outcome for save in change.saves if isinstance(save.outcome, QueueFull))
                    change.outcome = next(refused, None)
                    continue
                await self._update(change.saves)
                await self._insert(change.adds)
                change.outcome = [add.task for add in change.adds]
        for change in group:
            if isinstance(change, Execute):  # last: a task that this group retries must not expire
                rows = await self._db.execute_fetchall(change.sql, change.parameters)
                change.outcome = [task_id for (task_id,) in rows]
            elif isinstance(change, Act):
                await self._act(change)
            elif isinstance(change, Remove):
                await self._remove(change)
            elif isinstance(change, Done):
                await self._done(change)
            elif isinstance(change, Transact):
                change.adds.clear()  # of an earlier try to commit this change
                try:
                    change.outcome = await change.work(Transacting(self._db, self, change))
                except AppError as error:
                    change.outcome = error
                self._due |= change.signals

    def committed(self, group: Sequence[Change[Any]]) -> None:
        for change in group:
            match change:
                case Add(is_new=True, task=task) | Save(task=Task() as task):
                    self._memory.put(task)
                case Together(outcome=list() as new, saves=saves):
                    for task in (*(save.task for save in saves if save.task), *new):
                        self._memory.put(task)
                case Act(save=Save(task=Task() as task)) | Done(save=Save(task=Task() as task)):
                    self._memory.put(task)
                case Transact(adds=adds):
                    for add in adds:
                        self._memory.put(add.task)
        for change in group:
            match change:
                case Act(number=number, action=action) if number:
                    self._memory.acted(change.playlist.task_id, number, action)
                case Remove(action=ListAction() as action):
                    for playlist_id in change.lists:
                        self._memory.acted(playlist_id, REMOVAL, action)
                case Done(is_last=True):
                    self._memory.acted(change.playlist_id)
            if isinstance(change, Execute | Remove) and isinstance(change.outcome, list):
                for task_id in change.outcome:
                    self._memory.drop(task_id)
        for signal in self._due:
            self._signals.give(signal)

    async def _add(self, adds: Sequence[Add]) -> None:
        known: dict[str, tuple[str, Task]] = {}
        if keys := [add.wanted.idempotency.key for add in adds if add.wanted.idempotency]:
            rows = list(await self._db.execute_fetchall(_BY_KEY, (json.dumps(keys),)))
            tasks = await self._shown_by_id([task_id for _, _, task_id in rows])
            known = {key: (request, tasks[task_id]) for key, request, task_id in rows if task_id in tasks}
        shared: dict[str, Task] = {}
        if wishes := [add.shared_wish for add in adds if add.shared_wish]:
            wish_of = {form: wish for wish in wishes for form in forms_of_wish(wish)}
            rows = list(await self._db.execute_fetchall(_BY_WISH, (json.dumps(list(wish_of)),)))
            tasks = await self._shown_by_id([task_id for _, task_id in rows])
            rows = [row for row in rows if row[1] in tasks and not tasks[row[1]].status.stage.is_final]
            rows.sort(key=lambda row: tasks[row[1]].status.number)  # the newest of both forms is the last
            shared = {wish_of[form]: tasks[task_id] for form, task_id in rows}
        instead: dict[str, Task] = {}
        if found := [add.wanted.instead for add in adds if add.wanted.instead]:
            instead = await self._shown_by_id(found)
        for add in adds:
            add.is_new = False  # an earlier try to commit this change may have set it
        owners = {owner for add in adds if (owner := add.wanted.task.status.owner)}
        rooms = await rooms_of(self._hooks, SqliteStatements(self._db), owners) if owners else {}
        new, sharing = to_be_inserted(adds, known, shared, instead, self.free, rooms)
        self.free -= len(new)
        await self._insert(new)
        for add, other in sharing:
            add.outcome = other.task
        if keys:
            outcomes = ((add.wanted, add.outcome) for add in adds)
            await self._execute_each(_SHARE, shared_keys(outcomes, known))

    async def admit(self, adds: Sequence[Add]) -> None:
        """Add the tasks of `adds`, for which there is room."""
        self.free -= len(adds)
        await self._insert(adds)

    async def _insert(self, adds: Sequence[Add]) -> None:
        """Give the tasks their numbers and write their rows."""
        rows: list[tuple[object, ...]] = []
        for add in adds:
            self._number += 1
            status = add.wanted.task.status
            status.give_number(self._number)
            add.task = add.outcome = add.wanted.task
            add.is_new = True
            key = add.wanted.idempotency
            keys = (key.key, key.request) if key else (None, None)
            place = status.playlist_id, status.playlist_index
            wish = add.wanted.wish and short_wish(add.wanted.wish)
            rows.append((status.number, *keys, wish, *place, *add.values))
        await self._execute_each(_INSERT, rows)

    async def _decide(self, saves: Sequence[Save]) -> None:
        """Accept the revisions that follow what is stored; a final task that waits again needs a place."""
        stored = await self._tasks_by_id([save.status.task_id for save in saves])
        for save in saves:
            current = stored.get(save.status.task_id)
            # An earlier try to commit this change may have set them.
            save.task = None
            save.ends = save.begins_anew = False
            if (
                current is None
                or current.status.revision != save.follows
                or save.status.list_action < self._memory.last_action(current.status.playlist_id)
            ):
                save.outcome = False
                continue
            if current.status.stage.is_final and save.status.stage.is_waiting and not save.taken:
                self.free -= 1
                if self.free < 0:
                    save.outcome = QueueFull()
                    continue
            save.outcome, save.task = True, Task(current.request, save.status)
            save.ends = save.status.stage.is_final and not current.status.stage.is_final
            save.begins_anew = current.status.stage.is_final and not save.status.stage.is_final

    async def _update(self, saves: Sequence[Save]) -> None:
        """Write the statuses, and what features do at the ends of tasks."""
        await self._execute_each(_UPDATE, [save.row for save in saves])
        if any(save.taken for save in saves):
            await self._take(saves)
        ended = [
            Ended(save.status, str(save.values[STATUS]), save.task.request, again=save.begins_anew)
            for save in saves
            if save.task and (save.ends or save.begins_anew)
        ]
        if ended:
            self._due |= await follow_ends(self._hooks, SqliteStatements(self._db), ended, self.clock.now())

    async def _take(self, saves: Sequence[Save]) -> None:
        """Note that the rows of entries have come to agree with the counts of their lists."""
        owed: Counter[tuple[str | None, int]] = Counter()
        for save in saves:
            if save.taken and save.status.stage.has_failed != save.taken.stage.has_failed:
                more = 1 if save.status.stage.has_failed else -1
                owed[save.status.playlist_id, save.status.list_action] += more
        for (playlist_id, number), failed in owed.items():
            await self._db.execute_fetchall(_TAKE, (failed, playlist_id, number))

    async def _act(self, change: Act) -> None:
        change.number, change.save, change.outcome = 0, None, None  # an earlier try may have set them
        before, action = change.playlist, change.action
        current = (await self._tasks_by_id([before.task_id])).get(before.task_id)
        if current is None or current.status.revision != before.revision:
            return
        entries = self._memory.entries(before.task_id)
        # Where the list's counts do not change, it is enough to know whether the action concerns any entry.
        counted, end = ("count(*)", "GROUP BY 1") if action.kind in ("cancel", "retry") else ("1", "LIMIT 1")
        sql = f"""
            SELECT {entries.state}, {counted} FROM tasks INDEXED BY tasks_playlist
            WHERE playlist_id = ? AND removed = 0 AND {entries.concerned(action)} {end}"""  # noqa: S608
        concerned = by_stage(tuple(row) for row in await self._db.execute_fetchall(sql, (before.task_id,)))
        after = change.follow(concerned)
        count = concerned.total()
        if after is before:
            change.outcome = before
            return
        if action.kind == "retry":
            if self.free < count:
                change.outcome = QueueFull()
                return
            self.free -= count
        if count:
            number = before.list_action + 1
            after = after.model_copy(update={"list_action": number})
        save = Save(after, status_values(after, change.find_short))
        await self._decide([save])
        if isinstance(save.outcome, QueueFull) or not save.task:
            change.outcome = save.outcome if isinstance(save.outcome, QueueFull) else None
            return
        await self._update([save])
        if count:
            owed = count if action.kind == "cancel" else -count if action.kind == "retry" else 0
            row = (before.task_id, number, action.model_dump_json(exclude_none=True), owed)
            await self._db.execute_fetchall(_ACT, row)
            change.number = number
        change.save, change.outcome = save, after

    async def _remove(self, change: Remove) -> None:
        change.lists, change.action = [], None  # an earlier try may have set them
        rows = await self._db.execute_fetchall(_MARK, (json.dumps(list(change.task_ids)),))
        change.outcome = [task_id for (task_id,) in rows]
        for task_id in change.outcome:
            if await self._db.execute_fetchall(_HAS_ENTRIES, (task_id,)):
                change.action = ListAction(kind="remove", at=self.clock.now(), wall=self.clock.wall())
                change.lists.append(task_id)
                row = (task_id, REMOVAL, change.action.model_dump_json(exclude_none=True), 0)
                await self._db.execute_fetchall(_ACT, row)

    async def _done(self, change: Done) -> None:
        change.save, change.is_last, change.outcome = None, False, None  # an earlier try may have set them
        [(last, owed)] = await self._db.execute_fetchall(_OWED, (change.playlist_id,))
        if last is None or last > change.number:
            return
        await self._db.execute_fetchall(_DONE, (change.playlist_id,))
        change.is_last = True
        current = (await self._tasks_by_id([change.playlist_id])).get(change.playlist_id)
        if owed and current and last != REMOVAL:
            # Damaged rows could not take the action: the list must not wait for them.
            after = apply(current.status, EntriesMoved(failed=-owed), self.clock.now())
            change.save = Save(after, status_values(after, change.find_short))
            await self._decide([change.save])
            if change.save.task:
                await self._update([change.save])
                change.outcome = after

    async def _yet_to_wait(self) -> int:
        """Return how many more entries wait than their rows say: these take actions on lists later."""
        more = 0
        for playlist_id in self._memory.actions:
            waiting = self._memory.entries(playlist_id).in_stages([Stage.QUEUED, Stage.PAUSED])
            sql = f"""
                SELECT coalesce(sum(coalesce({waiting}, 0) - (stage IN ('queued', 'paused'))), 0)
                FROM tasks INDEXED BY tasks_playlist WHERE playlist_id = ? AND removed = 0"""  # noqa: S608
            [(shift,)] = await self._db.execute_fetchall(sql, (playlist_id,))
            more += shift
        return more

    async def _shown_by_id(self, task_ids: Iterable[str]) -> dict[str, Task]:
        """Return tasks as clients see them."""
        found = await self._tasks_by_id(task_ids)
        return {
            task_id: task for task_id, each in found.items() if (task := self._memory.with_list_actions(each))
        }

    async def _execute_each(self, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        if not rows:
            return
        cursor = await self._db.executemany(sql, rows)
        if cursor.rowcount != len(rows):
            raise RuntimeError("another program has changed the database; restart the server")

    async def _tasks_by_id(self, task_ids: Iterable[str]) -> dict[str, Task]:
        """Return tasks from memory, and others from the table as this open transaction has left it."""
        known = {task_id: self._memory.get(task_id) for task_id in task_ids}
        missing = [task_id for task_id, task in known.items() if task is None]
        found = {task_id: task for task_id, task in known.items() if task is not None}
        if missing:
            rows = await self._db.execute_fetchall(TASKS_BY_ID, (json.dumps(missing),))
            found |= {task.status.task_id: task for task in starmap(read_task, rows)}
        return found


class Memory:
    """Holds running and recently used tasks; of waiting tasks only the ids.

    A hundred thousand tasks may wait, after a burst or a restart; each would take 5 KB, and the garbage
    collector's time. `version` grows with every change.

    Tasks are as in their rows: `with_list_actions` applies those `actions` on lists that entries have not
    taken yet.
    """

    def __init__(
        self,
        recent: int = RECENT,
        waiting: Iterable[str] = (),
        actions: Mapping[str, ListActions] = MappingProxyType({}),
    ) -> None:
        self.actions = actions  # by list; each change makes a new mapping
        self.waiting = set(waiting)  # the ids of all tasks that are queued or paused
        self._limit = recent
        self._running: dict[str, Task] = {}
        # Tasks that do not run, the last used at the end.
        self._recent: OrderedDict[str, Task] = OrderedDict()
        self._owners: dict[str, str] = {}  # public name of a file -> id of its task
        self.version = 0

    def get(self, task_id: str) -> Task | None:
        if task := self._running.get(task_id):
            return task
        if task := self._recent.get(task_id):
            self._recent.move_to_end(task_id)
        return task

    def task_with(self, name: str) -> Task | None:
        """The task that has a file of this public name, if the task is in memory."""
        task_id = self._owners.get(name)
        return self.get(task_id) if task_id else None

    def with_list_actions(
        self, task: Task, read_with: Mapping[str, ListActions] | None = None
    ) -> Task | None:
        """Return the task as clients see it; None if it is removed with its list. `read_with` are the
        `actions` from before its row was read.
        """
        playlist_id = task.status.playlist_id
        if playlist_id is None or not (self.actions or read_with):
            return task
        actions = merged(read_with or {}, self.actions).get(playlist_id, ())
        status = status_after_actions(task.status, actions)
        if status is None or status is task.status:
            return task if status else None
        return Task(task.request, status, task.status)

    def last_action(self, playlist_id: str | None) -> int:
        """Return the number of the last of the `actions` on the list; 0 if there is none."""
        actions = self.actions.get(playlist_id) if self.actions and playlist_id else None
        return actions[-1][0] if actions else 0

    def entries(self, playlist_id: str) -> EntrySql:
        return EntrySql(self.actions.get(playlist_id, ()), SQLITE)

    def acted(self, playlist_id: str, number: int = 0, action: ListAction | None = None) -> None:
        """Remember an action on the list; without one, forget all, since the entries have taken them."""
        others = {name: actions for name, actions in self.actions.items() if name != playlist_id}
        known = self.actions.get(playlist_id, ())
        self.actions = others | ({playlist_id: (*known, (number, action))} if action else {})
        self.version += 1

    def running(self) -> list[Task]:
        return [*self._running.values()]

    def unfinished(self) -> list[str]:
        """Return the ids of all tasks that are not final."""
        return [*self._running, *self.waiting]

    def put(self, task: Task) -> None:
        """Hold the newest form of a task, which was read or committed."""
        status = task.status
        self.drop(status.task_id)
        self._owners |= {file.name: status.task_id for file in status.files.values()}
        if status.stage.is_running:
            self._running[status.task_id] = task
            return
        if status.stage.is_waiting:
            self.waiting.add(status.task_id)
        self._recent[status.task_id] = task
        if len(self._recent) > self._limit:
            _, oldest = self._recent.popitem(last=False)
            self._forget_names(oldest.status)

    def drop(self, task_id: str) -> None:
        self.version += 1
        self.waiting.discard(task_id)
        if task := self._running.pop(task_id, None) or self._recent.pop(task_id, None):
            self._forget_names(task.status)

    def keep(self, task: Task, version: int) -> None:
        """Keep a task that was read at `version`, unless a change since then may have made it stale."""
        if version == self.version and (task.status.stage.is_final or task.status.task_id in self.waiting):
            self.put(task)
            self.version = version  # nothing has changed

    def _forget_names(self, status: TaskStatus) -> None:
        for file in status.files.values():
            self._owners.pop(file.name, None)
