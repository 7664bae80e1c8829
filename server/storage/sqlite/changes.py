"""The changes of the table of tasks, and how a group of them is written.

Whether a change may be made is decided before its statement is sent: by memory, which holds what was
committed, and for tasks that are not in memory by a read in the same transaction. So all changes of a kind
are one `executemany`, which is one trip to the connection's thread.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import starmap
from typing import Any

import aiosqlite

from server.core.deliveries import Tells, tells_of
from server.core.errors import IdempotencyMismatch, QueueFull
from server.core.models import Stage, Task, TaskStatus
from server.core.ports import Submission
from server.storage.group_commit import Change, all_touched
from server.storage.rows import STATUS, delivery_values, read_task
from server.storage.sqlite.task_cache import Memory

TASKS_BY_ID = """
    SELECT number, request, status FROM tasks
    WHERE task_id IN (SELECT value FROM json_each(?)) AND removed = 0"""
_INSERT = """
    INSERT INTO tasks (number, idempotency, idempotency_request, wish, playlist_id, playlist_index,
                       task_id, request, revision, stage, priority, status, short, search, ended_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_DELIVER = """
    INSERT INTO deliveries (delivery_id, task_id, kind, target, status, next_at) VALUES (?, ?, ?, ?, ?, ?)"""
_BY_WISH = """
    SELECT wish, task_id FROM tasks
    WHERE wish IN (SELECT value FROM json_each(?)) AND removed = 0 AND ended_at IS NULL
    ORDER BY wish, number"""
_UPDATE = """
    UPDATE tasks SET revision = ?, stage = ?, priority = ?, status = ?, short = ?, search = ?, ended_at = ?
    WHERE task_id = ? AND revision = ? AND removed = 0"""
_BY_KEY = """
    SELECT idempotency, idempotency_request, task_id FROM tasks
    WHERE idempotency IN (SELECT value FROM json_each(?))"""


class Places:
    """The free places in the queue, which the changes of a group take in their order."""

    def __init__(self, free: int) -> None:
        self._free = free

    def take(self) -> bool:
        """Take a place; return whether there was one left."""
        self._free -= 1
        return self._free >= 0


@dataclass(eq=False)
class Add(Change[Task]):
    """`values`, the row's columns from `task_id` on, are made by the caller: an error fails only its call."""

    wanted: Submission
    values: tuple[object, ...]
    is_new: bool = False
    task: Task = field(init=False)

    def __post_init__(self) -> None:
        self.task = self.wanted.task
        key, wish = self.wanted.idempotency, self.wanted.wish if self.wanted.shares else None
        self.touches = (
            self.task.status.task_id,
            *([f"key {key.key}"] if key else []),
            *([f"wish {wish}"] if wish else []),
        )

    def row(self) -> tuple[object, ...]:
        key = self.wanted.idempotency
        keys = (key.key, key.request) if key else (None, None)
        status, wish = self.task.status, self.wanted.wish
        return status.number, *keys, wish, status.playlist_id, status.playlist_index, *self.values


@dataclass(eq=False)
class Save(Change[bool]):
    """`values` are the columns of the status; `task` is the task after the save, None if that is refused."""

    status: TaskStatus
    values: tuple[object, ...]
    task: Task | None = None
    ends: bool = False  # the task had not ended before

    def __post_init__(self) -> None:
        self.touches = (self.status.task_id,)
        # The partial files of cancelled tasks are given up if others need their room.
        self.makes_room = self.status.stage is Stage.CANCELLED

    def row(self) -> tuple[object, ...]:
        return *self.values, self.status.task_id, self.status.revision - 1

    def decide(self, current: Task | None, places: Places) -> None:
        """Accept only the revision that follows `current`; a final task that waits again needs a place."""
        self.task, self.ends = None, False  # an earlier try to commit this change may have set them
        if current is None or current.status.revision != self.status.revision - 1:
            self.outcome = False
        elif current.status.stage.is_final and self.status.stage.is_waiting and not places.take():
            self.outcome = QueueFull()
        else:
            self.outcome, self.task = True, replace(current, status=self.status)
            self.ends = self.status.stage.is_final and not current.status.stage.is_final


@dataclass(eq=False)
class Together(Change["list[Task] | None"]):
    """Makes all of its saves and adds, or none; its outcome is None if a save does not directly follow."""

    saves: Sequence[Save]
    adds: Sequence[Add]

    def __post_init__(self) -> None:
        self.touches = tuple(all_touched((*self.saves, *self.adds)))
        self.makes_room = any(save.makes_room for save in self.saves)


@dataclass(eq=False)
class Execute(Change[list[str]]):
    """A single statement; the rows that it returns are the ids of tasks to be dropped from memory."""

    sql: str
    parameters: tuple[object, ...] = ()
    touches: tuple[str, ...] = field(default=())
    makes_room: bool = False


def _saves(change: Change[Any]) -> Sequence[Save]:
    if isinstance(change, Together):
        return change.saves if isinstance(change.outcome, list) else ()
    return (change,) if isinstance(change, Save) else ()


class Changes:
    """Writes groups for the `Writer`, and updates `memory` after each COMMIT.

    `tells` says who is to be told of the end of a task; `told` is called when there is something to be told.
    """

    def __init__(
        self,
        db: aiosqlite.Connection,
        memory: Memory,
        last_number: int,
        max_queued: int,
        tells: Tells = tells_of(),  # noqa: B008 -- a function
    ) -> None:
        self.told: Callable[[], None] = lambda: None
        self._tells = tells
        self._db = db
        self._memory = memory
        self._number = last_number
        self._max_queued = max_queued

    async def write(self, group: Sequence[Change[Any]]) -> None:
        places = Places(self._max_queued - self._memory.waiting)
        await self._add([change for change in group if isinstance(change, Add)], places)
        await self._save([change for change in group if isinstance(change, Save)], places)
        for change in group:
            if isinstance(change, Together):
                await self._do_together(change, places)
        for change in group:
            if isinstance(change, Execute):  # last: a task that this group retries must not expire
                rows = await self._db.execute_fetchall(change.sql, change.parameters)
                change.outcome = [task_id for (task_id,) in rows]

    def committed(self, group: Sequence[Change[Any]]) -> None:
        if any(save.ends for change in group for save in _saves(change)):
            self.told()
        for change in group:
            match change:
                case Add(is_new=True, task=task) | Save(task=Task() as task):
                    self._memory.put(task)
                case Together(outcome=list() as new, saves=saves):
                    for task in (*(save.task for save in saves if save.task), *new):
                        self._memory.put(task)
        for change in group:
            if isinstance(change, Execute) and isinstance(change.outcome, list):
                for task_id in change.outcome:
                    self._memory.drop(task_id)

    async def _add(self, adds: Sequence[Add], places: Places) -> None:
        submissions = [add.wanted for add in adds]
        known = await self._tasks_by_key([each.idempotency.key for each in submissions if each.idempotency])
        shared = await self._tasks_by_wish([each.wish for each in submissions if each.wish and each.shares])
        for add in adds:
            add.is_new = False  # an earlier try to commit this change may have set it
            key, wish = add.wanted.idempotency, add.wanted.wish if add.wanted.shares else None
            if key and key.key in known:
                request, task = known[key.key]
                add.outcome = task if key.is_of(request) else IdempotencyMismatch()
            elif wish and wish in shared:
                add.outcome = shared[wish]
            elif places.take():
                self._admit(add)
                if wish:
                    shared[wish] = add.task
            else:
                add.outcome = QueueFull()
        await self._executemany(_INSERT, [add.row() for add in adds if add.is_new])

    def _admit(self, add: Add) -> None:
        self._number += 1
        numbered = add.task.status.model_copy(update={"number": self._number})
        add.task = add.outcome = replace(add.wanted.task, status=numbered)
        add.is_new = True

    async def _save(self, saves: Sequence[Save], places: Places) -> None:
        current = await self._tasks_by_id([save.status.task_id for save in saves])
        for save in saves:
            save.decide(current.get(save.status.task_id), places)
        await self._executemany(_UPDATE, [save.row() for save in saves if save.task])
        await self._deliver(saves)

    async def _do_together(self, change: Together, places: Places) -> None:
        current = await self._tasks_by_id([save.status.task_id for save in change.saves])
        for save in change.saves:
            save.decide(current.get(save.status.task_id), places)
        refused = (save.outcome for save in change.saves if isinstance(save.outcome, QueueFull))
        if not all(save.task for save in change.saves):
            change.outcome = next(refused, None)
            return
        await self._executemany(_UPDATE, [save.row() for save in change.saves])
        await self._deliver(change.saves)
        for add in change.adds:
            self._admit(add)
        await self._executemany(_INSERT, [add.row() for add in change.adds])
        change.outcome = [add.task for add in change.adds]

    async def _deliver(self, saves: Sequence[Save]) -> None:
        """Put into the outbox what is to be told of the tasks that end."""
        now = time.time()
        rows = [
            (*delivery_values(save.status, str(save.values[STATUS]), addressee), now)
            for save in saves
            if save.ends and save.task
            for addressee in self._tells(save.task.request, save.status)
        ]
        await self._executemany(_DELIVER, rows)

    async def _executemany(self, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        if not rows:
            return
        cursor = await self._db.executemany(sql, rows)
        if cursor.rowcount != len(rows):
            raise RuntimeError("somebody else has changed the database; restart the server")

    async def _tasks_by_key(self, keys: Sequence[str]) -> dict[str, tuple[str, Task]]:
        if not keys:
            return {}
        rows = list(await self._db.execute_fetchall(_BY_KEY, (json.dumps(keys),)))
        tasks = await self._tasks_by_id([task_id for _, _, task_id in rows])
        return {key: (request, tasks[task_id]) for key, request, task_id in rows}

    async def _tasks_by_wish(self, wishes: Sequence[str]) -> dict[str, Task]:
        if not wishes:
            return {}
        rows = list(await self._db.execute_fetchall(_BY_WISH, (json.dumps(wishes),)))
        tasks = await self._tasks_by_id([task_id for _, task_id in rows])
        return {wish: tasks[task_id] for wish, task_id in rows}

    async def _tasks_by_id(self, task_ids: Iterable[str]) -> dict[str, Task]:
        """Tasks from memory, others from the table as this transaction, not yet committed, has left it."""
        known = {task_id: self._memory.get(task_id) for task_id in task_ids}
        missing = [task_id for task_id, task in known.items() if task is None]
        found = {task_id: task for task_id, task in known.items() if task is not None}
        if missing:
            rows = await self._db.execute_fetchall(TASKS_BY_ID, (json.dumps(missing),))
            found |= {task.status.task_id: task for task in starmap(read_task, rows)}
        return found
