"""The `Store` on SQLite: changes go through the one writer, reads through memory or their own connections."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from sys import intern

from server.core.clock import Clock
from server.core.codes import ASKS
from server.core.counts import Counts
from server.core.data_dir import DataDir
from server.core.entry_status import REMOVAL, ListAction, ListActions
from server.core.errors import AppError, IdempotencyMismatch, TaskNotFound
from server.core.film import StoredFile
from server.core.ports import Filter, Idempotency, StatusPage, Submission, TaskOfKey
from server.core.stored import known_stage
from server.core.task import Queued, Stage, Task, TaskStatus
from server.core.values import host_of
from server.storage.cursor import Cursor, page_of
from server.storage.entry_rows import by_stage, merged, ranks_given, read_actions
from server.storage.sqlite.ballast import Ballast
from server.storage.sqlite.connection import Reader, connect_reader, connect_writer, explain_errors
from server.storage.sqlite.migrations import migrate, released_scripts
from server.storage.sqlite.pages import TASKS, match_expression, page_query
from server.storage.sqlite.sessions import SqliteSessions, load_sessions
from server.storage.sqlite.writer import (
    DIALECT,
    TASKS_BY_ID,
    Act,
    Add,
    Changes,
    Done,
    Execute,
    Memory,
    Remove,
    Save,
    Together,
    Transact,
    Writer,
)
from server.storage.statements import Reads, Result, Row, Signals, StoreHooks, Values, Work, kept
from server.storage.task_queries import FINAL_STAGES, count_query, ids_query
from server.storage.task_rows import (
    CHANGED_WITHIN,
    MOST_CHANGED,
    FindShort,
    counted,
    folded,
    forms_of_wish,
    read_task,
    readable,
    status_values,
    task_values,
)

_BY_ID = "SELECT number, request, status FROM tasks WHERE task_id = ? AND removed = 0"
_BY_KEY = """
    SELECT task_id, idempotency_request, 0 FROM tasks WHERE idempotency = ?1
    UNION ALL
    SELECT task_id, hashes, 1 FROM shared_keys JOIN tasks USING (task_id) WHERE key = ?1 AND removed = 0"""
_BY_SHORT = "SELECT number, request, status FROM tasks WHERE short = ? AND removed = 0"
_OF_OWNER = " AND owner = ?"
_ACTIONS = "SELECT playlist_id, number, told FROM list_actions ORDER BY playlist_id, number"
_BY_STAGE = """
    SELECT number, request, status FROM tasks
    WHERE stage IN (SELECT value FROM json_each(?)) AND removed = 0"""
_WAITING = "SELECT task_id FROM tasks WHERE stage IN ('queued', 'paused') AND removed = 0"
# For a damaged status the link is null, so that it does not stop the others.
_QUEUED = """
    SELECT number, task_id, priority, revision, json_extract(told, '$.url'), json_extract(told, '$.waiting'),
        json_extract(told, '$.not_before'), json_extract(told, '$.begins_at'), playlist_id,
        json_extract(told, '$.list_action'), owner, json_type(told, '$.entries') = 'object'
    FROM (SELECT *, CASE WHEN json_valid(status) THEN status END AS told FROM tasks
        WHERE stage = 'queued' AND removed = 0 AND number > ? ORDER BY number LIMIT ?)"""
_ROWS_AT_ONCE = 5_000  # rows read at once when the queue is loaded
_FORGET = "DELETE FROM tasks WHERE task_id IN (SELECT value FROM json_each(?)) RETURNING task_id"
_EXPIRE = """
    UPDATE tasks SET removed = 1, idempotency = NULL WHERE number IN (
        SELECT number FROM tasks WHERE ended_at < ? AND removed = 0{kept}
            AND NOT EXISTS (SELECT 1 FROM list_actions WHERE list_actions.playlist_id = tasks.playlist_id)
        ORDER BY ended_at LIMIT ?
    ) RETURNING task_id"""
_DATE_BACK = "UPDATE tasks SET ended_at = ? WHERE ended_at > ? AND removed = 0"
_CHANGED = """
    SELECT task_id, 0 FROM (
        SELECT task_id FROM tasks WHERE ended_at >= ?1 AND removed = 0 ORDER BY ended_at LIMIT ?2)
    UNION ALL
    SELECT task_id, 1 FROM (
        SELECT task_id FROM removed_tasks WHERE removed_at >= ?1 ORDER BY number LIMIT ?2)"""
WRITTEN_WITHIN = 5  # seconds from a change's time until it is published, with the error of rounding
_STAGES = "SELECT task_id, stage, ended_at FROM tasks WHERE task_id IN (SELECT value FROM json_each(?))"
_IN_STAGE = "SELECT task_id FROM tasks WHERE stage = ? AND removed = 0 ORDER BY number LIMIT ?"
_OF_ERROR_CODE = """
    SELECT task_id FROM tasks WHERE error_code = ? AND stage = ? AND ended_at IS NOT NULL AND removed = 0
    ORDER BY number LIMIT ?"""
_COUNT = "SELECT stage, count(*) FROM tasks WHERE removed = 0 GROUP BY stage"
# All tasks but the entries of lists: each half reads an index alone.
_COUNT_FOLDED = """
    SELECT stage, count(*) FROM tasks WHERE removed = 0 GROUP BY stage UNION ALL
    SELECT stage, -count(*) FROM tasks INDEXED BY tasks_entry_stage
    WHERE playlist_id IS NOT NULL AND removed = 0 GROUP BY stage"""
_COUNT_FOLDED_OF_OWNER = """
    SELECT stage, count(*) FROM tasks INDEXED BY tasks_owner_stage
    WHERE owner = ? AND removed = 0 AND playlist_id IS NULL GROUP BY stage"""
_ASKS = ", ".join(f"'{code}'" for code in ASKS)
_COUNT_ASKING = f"""
    SELECT count(*) FROM tasks INDEXED BY tasks_error_code
    WHERE error_code IN ({_ASKS}) AND stage = 'failed' AND ended_at IS NOT NULL
        AND removed = 0 AND playlist_id IS NULL AND (?1 IS NULL OR owner = ?1)"""  # noqa: S608
_OWNERS = """
    SELECT task_id, owner FROM tasks
    WHERE task_id IN (SELECT value FROM json_each(?1)) AND owner IS NOT NULL
    UNION ALL
    SELECT task_id, owner FROM removed_tasks
    WHERE task_id IN (SELECT value FROM json_each(?1)) AND owner IS NOT NULL"""
_URGENCIES = """
    SELECT coalesce((SELECT min(priority) FROM tasks WHERE stage = 'queued' AND removed = 0), 0),
        coalesce((SELECT max(priority) FROM tasks WHERE stage = 'queued' AND removed = 0), 0)"""
# The short wish, then the whole one of earlier releases, whose tasks are older.
_OF_WISH = """
    SELECT * FROM (
        SELECT number, request, status FROM tasks
        WHERE wish = ?1 AND removed = 0 AND stage NOT IN ('failed', 'cancelled')
        ORDER BY number DESC LIMIT 10)
    UNION ALL SELECT * FROM (
        SELECT number, request, status FROM tasks
        WHERE wish = ?2 AND removed = 0 AND stage NOT IN ('failed', 'cancelled')
        ORDER BY number DESC LIMIT 10)"""
_PAUSE = "INSERT OR IGNORE INTO pauses VALUES ('all')"
_RESUME = "DELETE FROM pauses"
_LAST_NUMBER = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'tasks'"


@asynccontextmanager
async def open_store(
    path: Path,
    *,
    max_queued: int,
    find_short: FindShort,
    data: DataDir | None = None,
    hooks: Sequence[StoreHooks] = (),
    counts: Counts | None = None,
    clock: Clock | None = None,
) -> AsyncIterator["SqliteStore"]:
    """Open or create the database; the caller must hold `open_lock` meanwhile. Raises `DatabaseUnusable`.

    `hooks` are the features' parts in the transactions of tasks. `find_short` finds the unique part of a
    file's public name, which no two tasks share. Changes fail once the database's files are gone from the
    data directory, `data`.
    """
    async with AsyncExitStack() as stack:
        with explain_errors(path):
            data = data or DataDir(path.parent)
            ballast = Ballast(path.parent)
            await asyncio.to_thread(ballast.drop)
            db = await stack.enter_async_context(connect_writer(path))
            version = await migrate(db, path, released_scripts())
            reads = await stack.enter_async_context(connect_reader(path))
            lists = await stack.enter_async_context(connect_reader(path))
            actions = read_actions(await reads.fetch(_ACTIONS))
            waiting = (task_id for (task_id,) in await reads.fetch(_WAITING))
            memory = Memory(waiting=waiting, actions=actions)
            running = [stage.value for stage in Stage if stage.is_running]
            for task in readable(read_task, await reads.fetch(_BY_STAGE, (json.dumps(running),))):
                memory.put(task)
            [(last_number,)] = await reads.fetch(_LAST_NUMBER)
            signals = Signals()
            changes = Changes(db, memory, last_number, max_queued, hooks, signals, clock)
            beside = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
            await asyncio.to_thread(data.keep_watch_of, path, *beside)
            writer = await stack.enter_async_context(
                Writer(db, path, ballast, changes.write, changes.committed, data, counts)
            )
            sessions = await load_sessions(reads, writer)
            was_paused = bool(await reads.fetch("SELECT queue FROM pauses"))
            store = SqliteStore(
                writer,
                reads,
                lists,
                memory,
                data,
                find_short,
                version,
                sessions,
                changes.clock,
                hooks=hooks,
                signals=signals,
                was_paused=was_paused,
            )
        yield store


class SqliteStore:
    """See `server.core.ports.Store`. Long lists have their own connection, so that a search
    delays no status.
    """

    def __init__(
        self,
        writer: Writer,
        reads: Reader,
        lists: Reader,
        memory: Memory,
        data: DataDir,
        find_short: FindShort,
        version: int,
        sessions: SqliteSessions,
        clock: Clock,
        *,
        hooks: Sequence[StoreHooks],
        signals: Signals,
        was_paused: bool,
    ) -> None:
        def adding(submission: Submission) -> Add:
            return Add(submission, task_values(submission.task, find_short))

        self.transactions = _InTurn(writer, lists, adding, signals)
        self.sessions = sessions  # in the same file, written by the same writer
        self.clock = clock
        self.was_paused = was_paused  # whether the queue was paused when the store was opened
        self._writer = writer
        self._reads = reads
        self._lists = lists
        self._memory = memory
        self._data = data
        self._hooks = hooks
        self._find_short = find_short
        # For `ping`: setting the same version again changes nothing, and yet writes to the disk.
        self._rewrite_version = f"PRAGMA user_version = {version:d}"

    async def add(self, submissions: Sequence[Submission]) -> list[Task | AppError]:
        find = self._find_short
        return await self._writer.submit_all(
            [Add(each, task_values(each.task, find)) for each in submissions]
        )

    async def find_by_key(self, idempotency: Idempotency) -> TaskOfKey | None:
        for task_id, request, is_shared in await self._reads.fetch(_BY_KEY, (idempotency.key,)):
            if not idempotency.is_of(request):
                raise IdempotencyMismatch
            with suppress(TaskNotFound):  # the task has just been removed, so that the key is free again
                task = await self.get(task_id)
                await self._data.must_be_there()  # the answer tells the client that the task is accepted
                return TaskOfKey(task, bool(is_shared))
        return None

    async def find_by_wish(self, wish: str) -> list[Task]:
        read_with = self._memory.actions
        found = list(readable(read_task, await self._reads.fetch(_OF_WISH, forms_of_wish(wish))))
        await self._data.must_be_there()  # the answer may tell the client that one of them is accepted
        return [task for task in self._as_shown(found, read_with) if not task.status.stage.has_failed]

    async def get(self, task_id: str, owner: str | None = None) -> Task:
        read_with = self._memory.actions
        task = _of_owner(self._memory.get(task_id), owner) or await self._read(_BY_ID, task_id, owner)
        if task and (task := self._memory.with_list_actions(task, read_with)):
            return task
        raise TaskNotFound

    async def save(self, status: TaskStatus) -> bool:
        values = status_values(status, self._find_short)
        return await self._writer.submit(Save(status, values))

    async def save_together(
        self,
        statuses: Sequence[TaskStatus],
        new: Sequence[Task] = (),
        wishes: Sequence[str | None] | None = None,
        taken: Sequence[Task] = (),
    ) -> list[Task] | None:
        saves = [Save(status, status_values(status, self._find_short)) for status in statuses]
        saves += [Save(task.status, status_values(task.status, self._find_short), task.row) for task in taken]
        adds = [
            Add(Submission(task, None, wish), task_values(task, self._find_short))
            for task, wish in zip(new, wishes or [None] * len(new), strict=True)
        ]
        return await self._writer.submit(Together(saves, adds))

    async def act_on_list(
        self, playlist: TaskStatus, action: ListAction, follow: Callable[[Mapping[Stage, int]], TaskStatus]
    ) -> TaskStatus | None:
        return await self._writer.submit(Act(playlist, action, follow, self._find_short))

    async def lists_acted_on(self) -> dict[str, int]:
        return {playlist_id: actions[-1][0] for playlist_id, actions in self._memory.actions.items()}

    async def entries_behind(
        self, playlist_id: str, number: int, limit: int
    ) -> tuple[list[Task], int | None]:
        read_with = self._memory.actions
        if playlist_id not in read_with:
            return [], None
        sql = f"""
            SELECT number, request, status FROM tasks INDEXED BY tasks_playlist
            WHERE playlist_id = ? AND removed = 0 AND number > ?
                AND {self._memory.entries(playlist_id).is_behind} ORDER BY number LIMIT ?"""  # noqa: S608
        rows = await self._lists.fetch(sql, (playlist_id, number, limit))
        tasks = readable(read_task, rows)
        if read_with[playlist_id][-1][0] != REMOVAL:
            tasks = (task for task in self._as_shown(tasks, read_with) if task.row)
        return list(tasks), rows[-1][0] if rows else None

    async def forget_actions(self, playlist_id: str, number: int) -> TaskStatus | None:
        return await self._writer.submit(Done(playlist_id, number, self._find_short))

    async def running(self) -> list[Task]:
        """Return all tasks with an attempt that runs, or ran when the server ended, and lists until all
        entries end.
        """
        tasks = self._as_shown(self._memory.running(), {})
        return [task for task in tasks if task.status.stage.is_running]

    async def queued(self) -> AsyncIterator[Queued]:
        """Yield all queued tasks, the oldest first, each reduced to what the queue needs."""
        last = 0
        while rows := await self._lists.fetch(_QUEUED, (last, _ROWS_AT_ONCE)):
            last = rows[-1][0]
            for queued in readable(_read_queued, rows):
                if queued.list_action >= self._memory.last_action(queued.playlist_id):
                    yield queued

    async def page(self, wanted: Filter, cursor: str | None, limit: int) -> StatusPage:
        after = Cursor.read(cursor, wanted.sorting)
        text = folded(wanted.text)
        asked = text if wanted.playlist_id is None else ""  # entries of a list are searched without the index
        match = await match_expression(self._lists, asked, wanted.stages or tuple(Stage))
        actions = self._memory.actions
        query = page_query(wanted, text, match, after, limit + 1, actions)
        rows = await self._lists.fetch(*query) if query else []
        return page_of(rows, wanted.sorting, limit, merged(actions, self._memory.actions))

    async def statuses(self, task_ids: Sequence[str], owner: str | None = None) -> list[TaskStatus]:
        read_with = self._memory.actions
        found = {task_id: _of_owner(self._memory.get(task_id), owner) for task_id in task_ids}
        if missing := [task_id for task_id, task in found.items() if task is None]:
            sql, mine = (TASKS_BY_ID, ()) if owner is None else (TASKS_BY_ID + _OF_OWNER, (owner,))
            rows = await self._reads.fetch(sql, (json.dumps(missing), *mine))
            found |= {task.status.task_id: task for task in readable(read_task, rows)}
        tasks = self._as_shown((task for task in found.values() if task), read_with)
        return [task.status for task in tasks]

    async def ids_in(
        self, stage: Stage, error_code: str | None, limit: int, owner: str | None = None
    ) -> list[str]:
        actions = self._memory.actions
        if actions or owner is not None:
            query = ids_query(TASKS, stage, error_code, limit, actions, owner)
            rows = await self._lists.fetch(*query)
        elif error_code is None:
            rows = await self._lists.fetch(_IN_STAGE, (stage.value, limit))
        else:
            rows = await self._lists.fetch(_OF_ERROR_CODE, (error_code, stage.value, limit))
        return [row[0] for row in rows]

    async def urgencies(self) -> tuple[int, int]:
        [(lowest, highest)] = await self._reads.fetch(_URGENCIES)
        moved = ranks_given(self._memory.actions)
        return min(lowest, *moved), max(highest, *moved)

    async def count(self, *, is_folded: bool = False, owner: str | None = None) -> dict[Stage, int]:
        if owner is not None and is_folded:
            return counted(await self._lists.fetch(_COUNT_FOLDED_OF_OWNER, (owner,)))
        if owner is not None:
            return by_stage(await self._lists.fetch(*count_query(TASKS, self._memory.actions, owner)))
        if is_folded:
            return by_stage(await self._lists.fetch(_COUNT_FOLDED))
        if actions := self._memory.actions:
            return by_stage(await self._lists.fetch(*count_query(TASKS, actions)))
        return counted(await self._lists.fetch(_COUNT))

    async def count_asking(self, owner: str | None = None) -> int:
        [(count,)] = await self._lists.fetch(_COUNT_ASKING, (owner,))
        return int(count)

    async def find_file(self, name: str, owner: str | None = None) -> tuple[str, StoredFile] | None:
        read_with = self._memory.actions
        task = _of_owner(self._memory.task_with(name), owner)
        if task is None and (short := self._find_short(name)):
            task = await self._read(_BY_SHORT, short, owner)
        task = task and self._memory.with_list_actions(task, read_with)
        if task is None:
            return None
        found = (file for file in task.status.files.values() if file.name == name)
        return next(((task.status.task_id, file) for file in found), None)

    async def mark_removed(self, *task_ids: str) -> list[str]:
        marked = await self._writer.submit(Remove(task_ids))
        if not marked:
            raise TaskNotFound
        return marked

    async def forget(self, *task_ids: str) -> None:
        ids = (json.dumps(task_ids),)
        await self._writer.submit(Execute(_FORGET, ids, touches=task_ids, makes_room=True))

    async def ids_removed(self) -> list[str]:
        rows = await self._reads.fetch("SELECT task_id FROM tasks WHERE removed = 1 ORDER BY number")
        return [task_id for (task_id,) in rows]

    async def mark_expired(self, before: datetime, limit: int, owner: str | None = None) -> list[str]:
        sql, values = kept(self._hooks, DIALECT, self.clock.now())
        if owner is not None:
            sql, values = f" AND owner = ? AND stage IN ({FINAL_STAGES}){sql}", [owner, *values]
        values = [before.timestamp(), *values, limit]
        return await self._writer.submit(
            Execute(_EXPIRE.replace("{kept}", sql), tuple(values), makes_room=True)
        )

    async def limit_ends(self, moment: datetime) -> None:
        now = int(moment.timestamp())
        await self._writer.submit(Execute(_DATE_BACK, (now, now)))

    async def stages(self, task_ids: list[str]) -> dict[str, Stage]:
        rows = await self._reads.fetch(_STAGES, (json.dumps(task_ids),))
        return {task_id: known_stage(stage, ended=bool(ended)) for task_id, stage, ended in rows}

    async def keep_paused(self, paused: bool) -> None:
        await self._writer.submit(Execute(_PAUSE if paused else _RESUME))

    async def changed_since(self, moment: datetime) -> dict[str, bool] | None:
        """Unfinished tasks are all included: any of them may have changed."""
        began = int(moment.timestamp()) - WRITTEN_WITHIN
        if began < self.clock.now().timestamp() - CHANGED_WITHIN.total_seconds():
            return None
        rows = await self._lists.fetch(_CHANGED, (began, MOST_CHANGED + 1))
        live = self._memory.unfinished()
        if len(rows) + len(live) > MOST_CHANGED:
            return None
        return {task_id: bool(gone) for task_id, gone in rows} | dict.fromkeys(live, False)

    async def owners(self, task_ids: Sequence[str]) -> dict[str, str]:
        rows = await self._reads.fetch(_OWNERS, (json.dumps(list(task_ids)),))
        return dict(map(tuple, rows))

    async def ping(self) -> None:
        await self._reads.fetch("SELECT number FROM tasks LIMIT 1")
        await self._writer.submit(Execute(self._rewrite_version))

    def hurry(self) -> None:
        self._writer.hurry()

    def _as_shown(self, tasks: Iterable[Task], read_with: Mapping[str, ListActions]) -> Iterator[Task]:
        """Yield tasks as `Memory.with_list_actions` returns them, without those removed with their list."""
        for each in tasks:
            if task := self._memory.with_list_actions(each, read_with):
                yield task

    async def _read(self, sql: str, value: str, owner: str | None = None) -> Task | None:
        version = self._memory.version
        query = (sql, (value,)) if owner is None else (sql + _OF_OWNER, (value, owner))
        for row in await self._reads.fetch(*query):
            task = read_task(*row)
            self._memory.keep(task, version)
            return task
        return None


def _of_owner(task: Task | None, owner: str | None) -> Task | None:
    """A task in memory, if it is this person's: else it is looked for in the database, like one that there
    is not, so that both take the same time.
    """
    return task if task is None or owner is None or task.status.owner == owner else None


def _read_queued(
    number: int,
    task_id: str,
    urgency: int,
    revision: int,
    url: object,
    waiting: str | None,
    not_before: str | None,
    begins_at: str | None,
    playlist_id: str | None,
    list_action: int | None,
    owner: str | None,
    is_list: int | None,
) -> Queued:
    """Read a row of `_QUEUED`; raises `ValueError` if it is damaged.

    No row type: a start of the server reads a row for each waiting task, which would cost a quarter more.
    """
    if not isinstance(url, str):
        raise ValueError("the status has no link")  # noqa: TRY004 -- as for all damaged rows
    return Queued(
        task_id,
        number,
        urgency,
        revision,
        host_of(url),
        waiting,
        datetime.fromisoformat(not_before) if not_before else None,
        datetime.fromisoformat(begins_at) if begins_at else None,
        playlist_id and intern(playlist_id),  # thousands of entries have the same
        list_action or 0,
        owner,
        bool(is_list),
    )


class _InTurn:
    """See `server.storage.statements.Transactions`."""

    def __init__(
        self, writer: Writer, lists: Reader, adding: Callable[[Submission], Add], signals: Signals
    ) -> None:
        self._writer = writer
        self._lists = lists
        self._adding = adding
        self.signals = signals

    async def write(self, work: Work[Result], *, under: str | None = None) -> Result:
        """Ignores `under`: with one writer, no two works are done at a time."""
        outcome: Result = await self._writer.submit(Transact(work, self._adding))
        return outcome

    async def read(self, work: Reads[Result]) -> Result:
        return await work(_Reading(self._lists))


@dataclass(frozen=True, slots=True)
class _Reading:
    lists: Reader
    dialect = DIALECT

    async def fetch(self, sql: str, values: Values = ()) -> list[Row]:
        return [tuple(row) for row in await self.lists.fetch(sql, values)]

    async def run(self, sql: str, values: Values = ()) -> None:
        raise NotImplementedError("a connection that only reads")
