"""The `Store` on PostgreSQL: changes go through the node's one writer, reads through its group readers."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import psycopg
from psycopg import AsyncConnection

from server.core.codes import ASKS
from server.core.counts import Counts
from server.core.entry_status import REMOVAL, ListAction, ListActions
from server.core.errors import AppError, IdempotencyMismatch, StoreUnavailable, TaskNotFound
from server.core.film import StoredFile
from server.core.ports import Filter, Idempotency, StatusPage, Submission, TaskOfKey
from server.core.stored import known_stage
from server.core.task import Stage, Task, TaskStatus
from server.storage.cursor import Cursor, page_of
from server.storage.entry_rows import (
    ACTIONS_ON_LIST,
    POSTGRESQL,
    EntrySql,
    by_stage,
    ranks_given,
    read_actions,
    read_shown,
)
from server.storage.postgresql import pages
from server.storage.postgresql.advisory_locks import DELIVER
from server.storage.postgresql.announcing import Gone, News
from server.storage.postgresql.changes import (
    DIALECT,
    Act,
    Add,
    Admits,
    Changes,
    Done,
    Execute,
    Reading,
    Remove,
    Save,
    Together,
    Transact,
    placed,
)
from server.storage.postgresql.connection import advice, connect, explain_errors, one_line
from server.storage.postgresql.database_clock import READ_EVERY, DatabaseClock
from server.storage.postgresql.group_reader import GroupReader, is_text
from server.storage.postgresql.link import Link, Links, open_links
from server.storage.postgresql.migrations import migrate, released_scripts
from server.storage.postgresql.sessions import BY_ID as SESSION_BY_ID
from server.storage.postgresql.sessions import PostgresSessions, read_session
from server.storage.postgresql.writer import Writer
from server.storage.statements import Reads, Result, Signals, StoreHooks, Work, kept
from server.storage.task_queries import FINAL_STAGES, Query, count_query, ids_query
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

log = logging.getLogger(__name__)

REACHED_WITHIN = 60.0  # seconds that a start waits for the database
READS, LISTS, SEARCHES = 2, 2, 1  # connections
SEARCH_WITHIN = 8.0  # seconds
_BY_ID = f"""
    SELECT task_id, number, request, status, {ACTIONS_ON_LIST} FROM tasks
    WHERE task_id = ANY(%s) AND NOT removed"""  # noqa: S608
_BY_SHORT = f"""
    SELECT short, number, request, status, {ACTIONS_ON_LIST} FROM tasks
    WHERE short = ANY(%s) AND NOT removed"""  # noqa: S608
# Keys are a person's name, which has no spaces, a space, and what is looked for.
_OF_OWNER = f"""
    SELECT key, number, request, status, {ACTIONS_ON_LIST} FROM unnest(%s::text[]) AS asked (key)
    JOIN tasks ON {{}} = substr(key, strpos(key, ' ') + 1) AND owner = split_part(key, ' ', 1)
        AND NOT removed"""  # noqa: S608
_BY_OWNER_AND_ID, _BY_OWNER_AND_SHORT = _OF_OWNER.format("task_id"), _OF_OWNER.format("short")
_OWNERS = """
    SELECT task_id, owner FROM tasks WHERE task_id = ANY(%s) AND owner IS NOT NULL
    UNION ALL
    SELECT task_id, owner FROM removed_tasks WHERE task_id = ANY(%s) AND owner IS NOT NULL"""
_COUNT_FOLDED_OF_OWNER = """
    SELECT stage, count(*) FROM tasks WHERE owner = %s AND NOT removed AND playlist_id IS NULL
    GROUP BY stage"""
_ASKS = ", ".join(f"'{code}'" for code in ASKS)
_COUNT_ASKING = f"""
    SELECT count(*) FROM tasks
    WHERE substring(status FROM '"error_code":"([a-z0-9_]+)"') IN ({_ASKS})
        AND stage = 'failed' AND ended_at IS NOT NULL AND NOT removed AND playlist_id IS NULL
        AND (%s::text IS NULL OR owner = %s)"""  # noqa: S608
_BY_KEY = """
    SELECT task_id, idempotency_request, false FROM tasks WHERE idempotency = %s AND NOT removed
    UNION ALL
    SELECT task_id, hashes, true FROM shared_keys JOIN tasks USING (task_id) WHERE key = %s AND NOT removed"""
_BEHIND = f"""
    SELECT number, request, status, {ACTIONS_ON_LIST} FROM tasks
    WHERE playlist_id = %s AND NOT removed AND number > %s AND {{}} ORDER BY number LIMIT %s"""  # noqa: S608
_ACTIONS = "SELECT playlist_id, number, told FROM list_actions ORDER BY playlist_id, number"
_ACTED_ON = "SELECT playlist_id, max(number) FROM list_actions GROUP BY playlist_id"
_RECENT = """
    SELECT task_id FROM tasks WHERE ended_at IS NULL AND NOT removed
    UNION ALL
    SELECT task_id FROM tasks WHERE ended_at > now() - make_interval(secs => %s) AND NOT removed"""
_REMOVED = "SELECT task_id FROM tasks WHERE removed ORDER BY number"
_CHANGED = """
    (SELECT task_id, true FROM removed_tasks WHERE removed_at >= %s ORDER BY number LIMIT %s)
    UNION ALL
    (SELECT task_id, false FROM tasks WHERE ended_at >= %s AND NOT removed ORDER BY ended_at LIMIT %s)
    UNION ALL
    (SELECT task_id, false FROM tasks WHERE ended_at IS NULL AND NOT removed ORDER BY number LIMIT %s)"""
_STAGES = "SELECT task_id, stage, ended_at IS NOT NULL FROM tasks WHERE task_id = ANY(%s)"
_IN_STAGE = "SELECT task_id FROM tasks WHERE stage = %s AND NOT removed ORDER BY number LIMIT %s"
_OF_ERROR_CODE = """
    SELECT task_id FROM tasks WHERE substring(status FROM '"error_code":"([a-z0-9_]+)"') = %s
        AND stage = %s AND ended_at IS NOT NULL AND NOT removed
    ORDER BY number LIMIT %s"""
_URGENCIES = """
    SELECT coalesce(min(priority), 0), coalesce(max(priority), 0)
    FROM tasks WHERE stage = 'queued' AND NOT removed"""
# The short wish, then the whole one of earlier releases, whose tasks are older.
_OF_WISH = f"""
    (SELECT number, request, status, {ACTIONS_ON_LIST} FROM tasks
     WHERE wish = %s AND NOT removed AND stage NOT IN ('failed', 'cancelled')
        ORDER BY number DESC LIMIT 10)
    UNION ALL
    (SELECT number, request, status, {ACTIONS_ON_LIST} FROM tasks
     WHERE wish = %s AND NOT removed AND stage NOT IN ('failed', 'cancelled')
        ORDER BY number DESC LIMIT 10)"""  # noqa: S608
_COUNT = "SELECT stage, count(*) FROM tasks WHERE NOT removed GROUP BY stage"
# All tasks but the entries of lists: each half reads an index alone.
_COUNT_FOLDED = """
    SELECT stage, count(*) FROM tasks WHERE NOT removed GROUP BY stage UNION ALL
    SELECT stage, -count(*) FROM tasks WHERE playlist_id IS NOT NULL AND NOT removed GROUP BY stage"""
# In order: nodes that forget the same tasks must not wait for each other.
_FORGET = b"""
    DELETE FROM tasks WHERE number IN (
        SELECT number FROM tasks WHERE task_id = ANY(%s) ORDER BY number FOR UPDATE
    ) RETURNING task_id"""
_EXPIRE = """
    UPDATE tasks SET removed = true, idempotency = NULL WHERE number IN (
        SELECT number FROM tasks WHERE ended_at < ? AND NOT removed{kept}
            AND NOT EXISTS (SELECT FROM list_actions WHERE list_actions.playlist_id = tasks.playlist_id)
        ORDER BY ended_at LIMIT ? FOR UPDATE SKIP LOCKED
    ) RETURNING task_id"""
_LOCKS = {"deliveries": DELIVER}  # see `Transactions.write`
_DATE_BACK = b"UPDATE tasks SET ended_at = %s WHERE ended_at > %s AND NOT removed RETURNING task_id"
_NOTHING = b"UPDATE tasks SET revision = revision WHERE false RETURNING task_id"


@asynccontextmanager
async def open_store(
    url: str,
    *,
    max_queued: int,
    find_short: FindShort,
    admits: Admits | None = None,
    hooks: Sequence[StoreHooks] = (),
    counts: Counts | None = None,
) -> AsyncIterator["PostgresStore"]:
    """Bring the database to this server's schema and open it. Raises `DatabaseUnusable`.

    `find_short` finds the unique part in a file's public name; two tasks never share one. `admits` gives
    queued tasks their jobs, in the transaction of the change; `hooks` are the features' parts in such ones.
    """
    async with AsyncExitStack() as stack:
        clock = DatabaseClock()
        with explain_errors():
            async with _reached(url) as db:
                await migrate(db, released_scripts())
                await clock.look(db)
        enter = stack.enter_async_context
        lists = await enter(open_links(url, LISTS))
        # Less than the limit of a transaction (see `link`), or the database would end the connection as well.
        search = (*pages.SEARCH_SETTINGS, f"statement_timeout = {SEARCH_WITHIN * 1000 - 1000:.0f}")
        searches = await enter(
            open_links(url, SEARCHES, search, within=SEARCH_WITHIN, free_within=SEARCH_WITHIN)
        )
        changes = Changes(max_queued, admits, hooks, clock)
        writer = await enter(Writer(await enter(Link(url)), changes.write, counts))
        reads = await enter(open_links(url, READS))
        by_id = await enter(GroupReader(reads, _BY_ID, read_shown))
        by_short = await enter(GroupReader(reads, _BY_SHORT, read_shown))
        of_owner = await enter(GroupReader(reads, _BY_OWNER_AND_ID, read_shown))
        short_of_owner = await enter(GroupReader(reads, _BY_OWNER_AND_SHORT, read_shown))
        log_ins = await enter(GroupReader(reads, SESSION_BY_ID, read_session))
        await enter(_watched(clock, lists))
        sessions = PostgresSessions(writer, log_ins, lists)
        readers = _Readers(by_id, by_short, of_owner, short_of_owner)
        yield PostgresStore(writer, readers, lists, searches, find_short, sessions, clock, hooks)


@asynccontextmanager
async def _reached(url: str) -> AsyncIterator[AsyncConnection]:
    """Connect, and retry for `REACHED_WITHIN` seconds: the database may be starting or restarting.

    A database that answers, and refuses the connection, is not waited for.
    """
    give_up, waits = time.monotonic() + REACHED_WITHIN, False
    while True:
        try:
            db = await connect(url)
            break
        except (psycopg.OperationalError, OSError) as error:
            if advice(error) or time.monotonic() > give_up:
                raise
            if not waits:
                log.warning("the database cannot be reached yet: %s", one_line(error))
            waits = True
            await asyncio.sleep(1)
    try:
        yield db
    finally:
        await db.close()


@asynccontextmanager
async def _watched(clock: DatabaseClock, lists: Links) -> AsyncIterator[None]:
    async def watch() -> None:
        while True:
            await asyncio.sleep(READ_EVERY)
            with suppress(StoreUnavailable):
                await lists.do(clock.look)

    task = asyncio.create_task(watch(), name="database's clock")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@dataclass(frozen=True, slots=True)
class _Readers:
    """The two last ones find only what is a person's: see `_OF_OWNER`."""

    by_id: GroupReader[Task | None]
    by_short: GroupReader[Task | None]
    by_owner_and_id: GroupReader[Task | None]
    by_owner_and_short: GroupReader[Task | None]


class PostgresStore:
    """See `server.core.ports.Store`. No task is kept in memory, so that each node sees the
    changes of others.
    """

    def __init__(
        self,
        writer: Writer,
        readers: _Readers,
        lists: Links,
        searches: Links,
        find_short: FindShort,
        sessions: PostgresSessions,
        clock: DatabaseClock,
        hooks: Sequence[StoreHooks],
    ) -> None:
        def adding(submission: Submission) -> Add:
            return Add(submission, task_values(submission.task, find_short))

        self.signals = Signals()  # given by the relay, for announcements of all nodes
        self.transactions = _InTurn(writer, lists, adding, self.signals)
        self.sessions = sessions
        self.clock = clock
        self.writer = writer
        self._readers = readers
        self._lists = lists
        self._searches = searches
        self._find_short = find_short
        self._hooks = hooks

    async def add(self, submissions: Sequence[Submission]) -> list[Task | AppError]:
        find = self._find_short
        return await self.writer.submit_all([Add(each, task_values(each.task, find)) for each in submissions])

    async def find_by_key(self, idempotency: Idempotency) -> TaskOfKey | None:
        for task_id, request, is_shared in await self._fetch(_BY_KEY, idempotency.key, idempotency.key):
            if not idempotency.is_of(request):
                raise IdempotencyMismatch
            with suppress(TaskNotFound):  # the task has just been removed, so that the key is free again
                return TaskOfKey(await self.get(task_id), is_shared)
        return None

    async def find_by_wish(self, wish: str) -> list[Task]:
        found = readable(read_shown, await self._fetch(_OF_WISH, *forms_of_wish(wish)))
        return [task for task in found if task and not task.status.stage.has_failed]

    async def get(self, task_id: str, owner: str | None = None) -> Task:
        if task := await self._find(task_id, owner):
            return task
        raise TaskNotFound

    async def _find(self, task_id: str, owner: str | None = None) -> Task | None:
        if owner is None:
            return await self._readers.by_id.get(task_id)
        return await self._readers.by_owner_and_id.get(f"{owner} {task_id}")

    async def save(self, status: TaskStatus) -> bool:
        return await self.writer.submit(Save(status, status_values(status, self._find_short)))

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
        return await self.writer.submit(Together(saves, adds))

    async def act_on_list(
        self, playlist: TaskStatus, action: ListAction, follow: Callable[[Mapping[Stage, int]], TaskStatus]
    ) -> TaskStatus | None:
        return await self.writer.submit(Act(playlist, action, follow, self._find_short))

    async def lists_acted_on(self) -> dict[str, int]:
        return {row[0]: row[1] for row in await self._fetch(_ACTED_ON)}

    async def entries_behind(
        self, playlist_id: str, number: int, limit: int
    ) -> tuple[list[Task], int | None]:
        actions = (await self._actions()).get(playlist_id)
        if not actions:
            return [], None
        is_behind = EntrySql(actions, POSTGRESQL).is_behind
        rows = await self._fetch(_BEHIND.format(is_behind), playlist_id, number, limit)
        if actions[-1][0] == REMOVAL:
            tasks = list(readable(read_task, (row[:3] for row in rows)))
        else:
            tasks = [task for task in readable(read_shown, rows) if task and task.row]
        return tasks, rows[-1][0] if rows else None

    async def forget_actions(self, playlist_id: str, number: int) -> TaskStatus | None:
        return await self.writer.submit(Done(playlist_id, number, self.clock.now(), self._find_short))

    async def _actions(self) -> dict[str, ListActions]:
        return read_actions(await self._fetch(_ACTIONS))

    async def page(self, wanted: Filter, cursor: str | None, limit: int) -> StatusPage:
        after = Cursor.read(cursor, wanted.sorting)
        text = folded(wanted.text)
        if not is_text(text) or not is_text(wanted.playlist_id or ""):
            return StatusPage([], None)
        actions = await self._actions()
        is_list = wanted.sorting != "newest" or wanted.playlist_id is not None
        is_list |= wanted.owner is not None  # their tasks alone are read
        if text and not is_list and any(stage.is_final for stage in wanted.stages or Stage):
            # The newest tasks are read; older ones are found by the index.
            stages, most = wanted.stages or tuple(Stage), limit + 1
            [(last,)] = await self._fetch(pages.LAST_NUMBER)
            end = min(after.number, last + 1)
            first = end - pages.WINDOW
            rows = await self._query(pages.window_query(stages, text, first, end, most, actions))
            if len(rows) < most and first > 1:
                older = pages.indexed_query(stages, text, min(first, end), most - len(rows), actions)
                rows = [*rows, *await self._searches.do(partial(_rows, *older))]
        else:
            rows = await self._query(pages.page_query(wanted, text, after, limit + 1, actions))
        return page_of(rows, wanted.sorting, limit, actions)

    async def statuses(self, task_ids: Sequence[str], owner: str | None = None) -> list[TaskStatus]:
        found = await self.readable_statuses(list(dict.fromkeys(task_ids)), owner)
        return [status for status in found.values() if status]

    async def readable_statuses(
        self, task_ids: Collection[str], owner: str | None = None
    ) -> dict[str, TaskStatus | None]:
        """By id, of the tasks that exist; None stands for one whose row is damaged, which is logged."""
        reading = (self._find(task_id, owner) for task_id in task_ids)
        answers = await asyncio.gather(*reading, return_exceptions=True)
        found: dict[str, TaskStatus | None] = {}
        for task_id, answer in zip(task_ids, answers, strict=True):
            match answer:
                case Task():
                    found[task_id] = answer.status
                case ValueError():
                    log.error("task %s cannot be read, its row is damaged: %s", task_id, answer)
                    found[task_id] = None
                case BaseException():
                    raise answer
        return found

    async def recent(self, seconds: float) -> list[str]:
        """Return the ids of tasks that have not ended, or ended at most `seconds` ago."""
        return [task_id for (task_id,) in await self._fetch(_RECENT, seconds)]

    async def say(self, news: News) -> None:
        """Announce `news` to all nodes, with this one."""
        await self.writer.submit(Execute(b"SELECT ''", tells=lambda _: news))

    async def ids_in(
        self, stage: Stage, error_code: str | None, limit: int, owner: str | None = None
    ) -> list[str]:
        actions = await self._actions()
        if actions or owner is not None:
            rows = await self._query(ids_query(pages.TASKS, stage, error_code, limit, actions, owner))
        elif error_code is None:
            rows = await self._fetch(_IN_STAGE, stage.value, limit)
        else:
            rows = await self._fetch(_OF_ERROR_CODE, error_code, stage.value, limit)
        return [row[0] for row in rows]

    async def urgencies(self) -> tuple[int, int]:
        [(lowest, highest)] = await self._fetch(_URGENCIES)
        moved = ranks_given(await self._actions())
        return min(lowest, *moved), max(highest, *moved)

    async def count(self, *, is_folded: bool = False, owner: str | None = None) -> dict[Stage, int]:
        if owner is not None and is_folded:
            return counted(await self._fetch(_COUNT_FOLDED_OF_OWNER, owner))
        if owner is not None:
            return by_stage(await self._query(count_query(pages.TASKS, await self._actions(), owner)))
        if is_folded:
            return by_stage(await self._fetch(_COUNT_FOLDED))
        if actions := await self._actions():
            return by_stage(await self._query(count_query(pages.TASKS, actions)))
        return counted(await self._fetch(_COUNT))

    async def count_asking(self, owner: str | None = None) -> int:
        [(count,)] = await self._fetch(_COUNT_ASKING, owner, owner)
        return int(count)

    async def find_file(self, name: str, owner: str | None = None) -> tuple[str, StoredFile] | None:
        short, task = self._find_short(name), None
        if short and owner is None:
            task = await self._readers.by_short.get(short)
        elif short:
            task = await self._readers.by_owner_and_short.get(f"{owner} {short}")
        if task is None:
            return None
        found = (file for file in task.status.files.values() if file.name == name)
        return next(((task.status.task_id, file) for file in found), None)

    async def mark_removed(self, *task_ids: str) -> list[str]:
        now = self.clock.now()
        action = ListAction(kind="remove", at=now, wall=self.clock.wall())
        marked = await self.writer.submit(Remove([*filter(is_text, task_ids)], action))
        if not marked:
            raise TaskNotFound
        return marked

    async def forget(self, *task_ids: str) -> None:
        await self._run(_FORGET, [*task_ids], touches=task_ids)

    async def ids_removed(self) -> list[str]:
        return [task_id for (task_id,) in await self._fetch(_REMOVED)]

    async def mark_expired(self, before: datetime, limit: int, owner: str | None = None) -> list[str]:
        sql, values = kept(self._hooks, DIALECT, self.clock.now())
        if owner is not None:
            sql, values = f" AND owner = ? AND stage IN ({FINAL_STAGES}){sql}", [owner, *values]
        expire = placed(_EXPIRE.replace("{kept}", sql))
        return await self._run(expire, before, *values, limit, is_gone=True)

    async def limit_ends(self, moment: datetime) -> None:
        now = moment.replace(microsecond=0)
        await self._run(_DATE_BACK, now, now)

    async def stages(self, task_ids: list[str]) -> dict[str, Stage]:
        rows = await self._fetch(_STAGES, list(filter(is_text, task_ids)))
        return {task_id: known_stage(stage, ended=ended) for task_id, stage, ended in rows}

    async def changed_since(self, moment: datetime) -> dict[str, bool] | None:
        """Unfinished tasks are all included: any of them may have changed."""
        if moment < self.clock.now() - CHANGED_WITHIN:
            return None
        rows = await self._fetch(
            _CHANGED, moment, MOST_CHANGED + 1, moment, MOST_CHANGED + 1, MOST_CHANGED + 1
        )
        if len(rows) > MOST_CHANGED:
            return None
        return {str(task_id): bool(is_gone) for task_id, is_gone in rows}

    async def owners(self, task_ids: Sequence[str]) -> dict[str, str]:
        ids = list(filter(is_text, task_ids))
        return dict(map(tuple, await self._fetch(_OWNERS, ids, ids)))

    async def ping(self) -> None:
        """Test reading and writing. The transaction takes a number, and so is written to the log; a database
        that is read-only for now refuses its UPDATE, although that changes no row.
        """
        await self._fetch(pages.LAST_NUMBER)
        await self._run(_NOTHING)

    def hurry(self) -> None:
        self.writer.hurry()

    async def _run(
        self, sql: bytes, *values: object, touches: tuple[str, ...] = (), is_gone: bool = False
    ) -> list[str]:
        return await self.writer.submit(Execute(sql, values, touches, Gone if is_gone else None))

    async def _fetch(self, sql: str, *values: object) -> Sequence[pages.Row]:
        return await self._query((sql, list(values)))

    async def _query(self, query: Query) -> Sequence[pages.Row]:
        return await self._lists.do(partial(_rows, *query))


class _InTurn:
    """See `server.storage.statements.Transactions`."""

    def __init__(
        self, writer: Writer, lists: Links, adding: Callable[[Submission], Add], signals: Signals
    ) -> None:
        self._writer = writer
        self._lists = lists
        self._adding = adding
        self.signals = signals

    async def write(self, work: Work[Result], *, under: str | None = None) -> Result:
        lock = _LOCKS[under] if under else 0
        outcome: Result = await self._writer.submit(Transact(work, self._adding, under=lock))
        return outcome

    async def read(self, work: Reads[Result]) -> Result:
        return await self._lists.do(lambda db: work(Reading(db)))


async def _rows(sql: str, values: Sequence[object], db: AsyncConnection) -> list[tuple[Any, ...]]:
    return await (await db.execute(sql.encode(), values)).fetchall()
