"""The `Store` on SQLite: changes go through the one writer, reads through memory or their own connections."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from server.core.clock import Clock
from server.core.counts import Counts
from server.core.data_dir import DataDir
from server.core.errors import AppError, IdempotencyMismatch, TaskNotFound
from server.core.models import Queued, Stage, StoredFile, Task, TaskStatus, host_of
from server.core.ports import Filter, Idempotency, Known, Page, Submission
from server.core.stored import known_stage
from server.storage.cursor import Cursor, page_of
from server.storage.sqlite.ballast import Ballast
from server.storage.sqlite.connection import Reader, connect_reader, connect_writer, explained
from server.storage.sqlite.migrations import migrate, released_scripts
from server.storage.sqlite.pages import match_expression, page_query
from server.storage.sqlite.sessions import SqliteSessions, load_sessions
from server.storage.sqlite.writer import (
    DIALECT,
    TASKS_BY_ID,
    Add,
    Changes,
    Execute,
    Memory,
    Save,
    Together,
    Transact,
    Writer,
)
from server.storage.statements import Reads, Result, Row, Signals, StoreHooks, Work, kept
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
_ENTRIES = """
    SELECT number, request, status FROM tasks INDEXED BY tasks_playlist
    WHERE playlist_id = ? AND removed = 0 AND stage IN (SELECT value FROM json_each(?)) ORDER BY number"""
_BY_STAGE = """
    SELECT number, request, status FROM tasks
    WHERE stage IN (SELECT value FROM json_each(?)) AND removed = 0"""
_WAITING = "SELECT task_id FROM tasks WHERE stage IN ('queued', 'paused') AND removed = 0"
# A damaged status has no link, and stops no other.
_QUEUED = """
    SELECT number, task_id, priority, revision, json_extract(told, '$.url'), json_extract(told, '$.waiting'),
        json_extract(told, '$.not_before'), json_extract(told, '$.begins_at')
    FROM (SELECT *, CASE WHEN json_valid(status) THEN status END AS told FROM tasks
        WHERE stage = 'queued' AND removed = 0 AND number > ? ORDER BY number LIMIT ?)"""
_AT_ONCE = 5_000  # rows of the queue
# A removed task's idempotency key is free again; its row stays until its files are deleted.
_MARK = """
    UPDATE tasks SET removed = 1, idempotency = NULL
    WHERE removed = 0 AND (task_id = ?1 OR playlist_id = (
        SELECT task_id FROM tasks WHERE task_id = ?1 AND removed = 0)) RETURNING task_id"""
_FORGET = "DELETE FROM tasks WHERE task_id = ? RETURNING task_id"
_EXPIRE = """
    UPDATE tasks SET removed = 1, idempotency = NULL WHERE number IN (
        SELECT number FROM tasks WHERE ended_at < ? AND removed = 0{kept} ORDER BY ended_at LIMIT ?
    ) RETURNING task_id"""
_DATE_BACK = "UPDATE tasks SET ended_at = ? WHERE ended_at > ? AND removed = 0"
_CHANGED = """
    SELECT task_id, 0 FROM (
        SELECT task_id FROM tasks WHERE ended_at >= ?1 AND removed = 0 ORDER BY ended_at LIMIT ?2)
    UNION ALL
    SELECT task_id, 1 FROM (
        SELECT task_id FROM removed_tasks WHERE removed_at >= ?1 ORDER BY number LIMIT ?2)"""
WRITTEN_WITHIN = 5  # seconds from the time of a change until it is published, and of rounding
_STAGES = "SELECT task_id, stage, ended_at FROM tasks WHERE task_id IN (SELECT value FROM json_each(?))"
_IN_STAGE = "SELECT task_id FROM tasks WHERE stage = ? AND removed = 0 ORDER BY number LIMIT ?"
_OF_ERROR_CODE = """
    SELECT task_id FROM tasks WHERE error_code = ? AND stage = ? AND ended_at IS NOT NULL AND removed = 0
    ORDER BY number LIMIT ?"""
_COUNT = "SELECT stage, count(*) FROM tasks WHERE removed = 0 GROUP BY stage"
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

    `hooks` are what features do within the transactions of tasks.
    `find_short` finds the unique part in a file's public name; two tasks never share one. Nothing counts as
    stored any more once the files of the database are not in the data directory, `data`.
    """
    async with AsyncExitStack() as stack:
        with explained(path):
            data = data or DataDir(path.parent)
            ballast = Ballast(path.parent)
            await asyncio.to_thread(ballast.drop)
            db = await stack.enter_async_context(connect_writer(path))
            version = await migrate(db, path, released_scripts())
            reads = await stack.enter_async_context(connect_reader(path))
            lists = await stack.enter_async_context(connect_reader(path))
            memory = Memory(waiting=(task_id for (task_id,) in await reads.fetch(_WAITING)))
            running = [stage.value for stage in Stage if stage.is_running]
            for task in readable(read_task, await reads.fetch(_BY_STAGE, (json.dumps(running),))):
                memory.put(task)
            [(last_number,)] = await reads.fetch(_LAST_NUMBER)
            signals = Signals()
            changes = Changes(db, memory, last_number, max_queued, hooks, signals, clock)
            opened = (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")))
            await asyncio.to_thread(data.keep_watch_of, *opened)
            writer = await stack.enter_async_context(
                Writer(db, path, ballast, changes.write, changes.committed, data, counts)
            )
            sessions = await load_sessions(reads, writer)
            was_paused = bool(await reads.fetch("SELECT queue FROM pauses"))
            own = (writer, reads, lists, memory, data, find_short, version, sessions, changes.clock)
            store = SqliteStore(*own, hooks=hooks, signals=signals, was_paused=was_paused)
        yield store


class SqliteStore:
    """See `server.core.ports.Store`. Long lists have a connection of their own: a search delays no status."""

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
        self.sessions = sessions  # in the same file, by the same writer
        self.clock = clock
        self.was_paused = was_paused  # the queue, when the store was opened
        self._writer = writer
        self._reads = reads
        self._lists = lists
        self._memory = memory
        self._data = data
        self._hooks = hooks
        self._find_short = find_short
        # For `ping`: setting the version that is set already changes nothing, and yet writes to the disk.
        self._rewrite_version = f"PRAGMA user_version = {version:d}"

    async def add(self, submissions: Sequence[Submission]) -> list[Task | AppError]:
        find = self._find_short
        return await self._writer.submit_all(
            [Add(each, task_values(each.task, find)) for each in submissions]
        )

    async def known(self, idempotency: Idempotency) -> Known | None:
        for task_id, request, is_shared in await self._reads.fetch(_BY_KEY, (idempotency.key,)):
            if not idempotency.is_of(request):
                raise IdempotencyMismatch
            with suppress(TaskNotFound):  # it is being removed in this moment, and the key is free again
                task = await self.get(task_id)
                await self._data.must_be_there()  # the client takes it for accepted
                return Known(task, bool(is_shared))
        return None

    async def of_wish(self, wish: str) -> list[Task]:
        found = list(readable(read_task, await self._reads.fetch(_OF_WISH, forms_of_wish(wish))))
        await self._data.must_be_there()  # the client takes one of them for accepted
        return found

    async def get(self, task_id: str) -> Task:
        if task := self._memory.get(task_id):
            return task
        if task := await self._read(_BY_ID, task_id):
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
    ) -> list[Task] | None:
        saves = [Save(status, status_values(status, self._find_short)) for status in statuses]
        adds = [
            Add(Submission(task, None, wish), task_values(task, self._find_short))
            for task, wish in zip(new, wishes or [None] * len(new), strict=True)
        ]
        return await self._writer.submit(Together(saves, adds))

    async def entries(self, playlist_id: str, stages: Collection[Stage]) -> list[Task]:
        rows = await self._lists.fetch(_ENTRIES, (playlist_id, json.dumps([stage.value for stage in stages])))
        return list(readable(read_task, rows))

    async def running(self) -> list[Task]:
        """All tasks whose attempt runs, or ran when the server ended; a list as long as its entries do."""
        return self._memory.running()

    async def queued(self) -> AsyncIterator[Queued]:
        """All queued tasks, the oldest first, with no more of each than the queue needs."""
        last = 0
        while rows := await self._lists.fetch(_QUEUED, (last, _AT_ONCE)):
            last = rows[-1][0]
            for queued in readable(_read_queued, rows):
                yield queued

    async def page(self, wanted: Filter, cursor: str | None, limit: int) -> Page:
        after = Cursor.read(cursor, wanted.sorting)
        text = folded(wanted.text)
        asked = text if wanted.playlist_id is None else ""  # the entries of a list are read without the index
        match = await match_expression(self._lists, asked, wanted.stages or tuple(Stage))
        query = page_query(wanted, text, match, after, limit + 1)
        rows = await self._lists.fetch(*query) if query else []
        return page_of(rows, wanted.sorting, limit)

    async def statuses(self, task_ids: Sequence[str]) -> list[TaskStatus]:
        found = {task_id: self._memory.get(task_id) for task_id in task_ids}
        if missing := [task_id for task_id, task in found.items() if task is None]:
            rows = await self._reads.fetch(TASKS_BY_ID, (json.dumps(missing),))
            found |= {task.status.task_id: task for task in readable(read_task, rows)}
        return [task.status for task in found.values() if task]

    async def ids_in(self, stage: Stage, error_code: str | None, limit: int) -> list[str]:
        if error_code is None:
            rows = await self._lists.fetch(_IN_STAGE, (stage.value, limit))
        else:
            rows = await self._lists.fetch(_OF_ERROR_CODE, (error_code, stage.value, limit))
        return [task_id for (task_id,) in rows]

    async def urgencies(self) -> tuple[int, int]:
        [(lowest, highest)] = await self._reads.fetch(_URGENCIES)
        return lowest, highest

    async def count(self) -> dict[Stage, int]:
        return counted(await self._lists.fetch(_COUNT))

    async def find_file(self, name: str) -> tuple[str, StoredFile] | None:
        task = self._memory.owner(name)
        if task is None and (short := self._find_short(name)):
            task = await self._read(_BY_SHORT, short)
        if task is None:
            return None
        found = (file for file in task.status.files.values() if file.name == name)
        return next(((task.status.task_id, file) for file in found), None)

    async def mark_removed(self, task_id: str) -> list[str]:
        marked = await self._writer.submit(Execute(_MARK, (task_id,), touches=(task_id,), makes_room=True))
        if not marked:
            raise TaskNotFound
        return marked

    async def forget(self, task_id: str) -> None:
        await self._writer.submit(Execute(_FORGET, (task_id,), touches=(task_id,), makes_room=True))

    async def removed(self) -> list[str]:
        rows = await self._reads.fetch("SELECT task_id FROM tasks WHERE removed = 1 ORDER BY number")
        return [task_id for (task_id,) in rows]

    async def mark_expired(self, before: datetime, limit: int) -> list[str]:
        sql, values = kept(self._hooks, DIALECT, self.clock.now())
        values = [before.timestamp(), *values, limit]
        return await self._writer.submit(
            Execute(_EXPIRE.replace("{kept}", sql), tuple(values), makes_room=True)
        )

    async def none_ended_after(self, moment: datetime) -> None:
        now = int(moment.timestamp())
        await self._writer.submit(Execute(_DATE_BACK, (now, now)))

    async def stages(self, task_ids: list[str]) -> dict[str, Stage]:
        rows = await self._reads.fetch(_STAGES, (json.dumps(task_ids),))
        return {task_id: known_stage(stage, ended=bool(ended)) for task_id, stage, ended in rows}

    async def keep_paused(self, paused: bool) -> None:
        await self._writer.submit(Execute(_PAUSE if paused else _RESUME))

    async def changed_since(self, moment: datetime) -> dict[str, bool] | None:
        """All tasks that have not ended may have changed."""
        began = int(moment.timestamp()) - WRITTEN_WITHIN
        if began < self.clock.now().timestamp() - CHANGED_WITHIN.total_seconds():
            return None
        rows = await self._lists.fetch(_CHANGED, (began, MOST_CHANGED + 1))
        live = self._memory.unfinished()
        if len(rows) + len(live) > MOST_CHANGED:
            return None
        return {task_id: bool(gone) for task_id, gone in rows} | dict.fromkeys(live, False)

    async def ping(self) -> None:
        await self._reads.fetch("SELECT number FROM tasks LIMIT 1")
        await self._writer.submit(Execute(self._rewrite_version))

    def hurry(self) -> None:
        self._writer.hurry()

    async def _read(self, sql: str, value: str) -> Task | None:
        version = self._memory.version
        for row in await self._reads.fetch(sql, (value,)):
            task = read_task(*row)
            self._memory.keep(task, version)
            return task
        return None


def _read_queued(
    number: int,
    task_id: str,
    urgency: int,
    revision: int,
    url: object,
    waiting: str | None,
    not_before: str | None,
    begins_at: str | None,
) -> Queued:
    """Raises `ValueError` if the row is damaged."""
    if not isinstance(url, str):
        raise ValueError("it has no link")  # noqa: TRY004 -- as of all damaged rows
    moments = (datetime.fromisoformat(str(text)) if text else None for text in (not_before, begins_at))
    return Queued(task_id, number, urgency, revision, host_of(url), waiting, *moments)


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
        """There is one writer, so that all work is done alone."""
        outcome: Result = await self._writer.submit(Transact(work, self._adding))
        return outcome

    async def read(self, work: Reads[Result]) -> Result:
        return await work(_Reading(self._lists))


@dataclass(frozen=True, slots=True)
class _Reading:
    lists: Reader
    dialect = DIALECT

    async def fetch(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        return [tuple(row) for row in await self.lists.fetch(sql, values)]

    async def run(self, sql: str, values: Sequence[object] = ()) -> None:
        raise NotImplementedError("a connection that only reads")
