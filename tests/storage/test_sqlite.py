"""Tests of the SQLite store alone: query plans, faults, memory, backups."""

import asyncio
import itertools
import re
import sqlite3
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import aiosqlite
import pytest

from server.core.errors import DatabaseBusy, DiskFull, QueueFull, TaskNotFound
from server.core.events import Cancelled, Paused, Progress, Requeued, Retried, apply
from server.core.ports import Filter, Idempotency
from server.core.task import Queued, Stage, TaskStatus
from server.core.unusable import DatabaseUnusable
from server.files.public_names import short_of
from server.storage.atomic_file import new_file
from server.storage.cursor import Cursor
from server.storage.sqlite import SqliteStore, backup, open_store, writer
from server.storage.sqlite import store as store_module
from server.storage.sqlite.connection import connect_from_outside
from server.storage.sqlite.pages import TASKS, Match, Unindexed, page_query
from server.storage.sqlite.writer import Memory
from server.storage.statements import kept
from server.storage.task_queries import FINAL_STAGES, count_query
from tests.adding import add
from tests.examples import downloading, finished, new_task, started, utc_now
from tests.rooms import HOOKS

LIVE = tuple(stage for stage in Stage if not stage.is_final)
QUEUE = Filter((Stage.QUEUED,))
FILTERS = [
    Filter(),
    QUEUE,
    Filter((Stage.COMPLETED,)),
    Filter((Stage.FAILED, Stage.CANCELLED)),
    Filter(LIVE),
    Filter(tuple(Stage)),
    Filter((Stage.INFO, Stage.DOWNLOAD), order="oldest"),
    Filter((Stage.COMPLETED, Stage.FAILED), order="ended"),
]
FILTERS += [replace(wanted, is_folded=True) for wanted in FILTERS]
WRITER = """
import asyncio, sys
from pathlib import Path
from server.storage.sqlite import open_store
from server.files.public_names import short_of
from tests.adding import add
from tests.examples import finished, new_task, utc_now

async def live(store):
    while True:
        task = await add(store, new_task())
        print(task.status.task_id, 1, flush=True)
        final = finished(task.status)
        assert await store.save(final)
        print(final.task_id, final.revision, flush=True)

async def main():
    async with open_store(Path(sys.argv[1]), max_queued=10**6, find_short=short_of) as store:
        await asyncio.gather(*(live(store) for _ in range(8)))

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "clipwire.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    async with open_store(path, max_queued=10_000, find_short=short_of) as store:
        yield store


async def ended(store: SqliteStore, title: str | None = None) -> TaskStatus:
    status = finished((await add(store, new_task(title=title))).status)
    assert await store.save(status)
    return status


# --- query plans ---


READ_WHOLE = "|".join(
    (
        *("CONSTANT ROW", "json_each", "tasks_text", "tasks USING INDEX tasks_removed"),
        "tasks USING COVERING INDEX tasks_stage",  # a count of all tasks has to read the whole index
        # A count of all entries of lists has to read the whole index.
        "tasks USING COVERING INDEX tasks_entry_stage",
        "list_actions",  # this table has a row only while entries wait for an action
        # This table has at most 10,000 rows; a subquery has the rows that an index has found.
        *("removed_tasks", r"\(subquery"),
    )
)


def plan(path: Path, sql: str, values: list[object]) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


def assert_follows_indexes(steps: list[str]) -> None:
    for step in steps:
        assert "TEMP B-TREE" not in step, steps
        assert not re.match(rf"SCAN (?!{READ_WHOLE})", step), steps


async def test_tasks_with_an_error_code_are_found_by_its_index(store: SqliteStore, path: Path) -> None:
    [step] = plan(path, store_module._OF_ERROR_CODE, ["http_404", "failed", 500])
    assert step == "SEARCH tasks USING INDEX tasks_error_code (error_code=? AND stage=?)"


async def test_every_page_is_read_in_the_order_of_an_index(store: SqliteStore, path: Path) -> None:
    matches: tuple[Match, ...] = (*Unindexed, '"tex" AND "ext"')
    for wanted, match, text in itertools.product(FILTERS, matches, ("", "text")):
        query = page_query(wanted, text, match, Cursor.read(None, wanted.sorting), 50)
        if query is not None and not (wanted.is_folded and text):
            assert_follows_indexes(plan(path, *query))


async def test_a_persons_page_is_read_by_an_index_of_their_own_tasks(store: SqliteStore, path: Path) -> None:
    steps = list[tuple[Filter, str]]()
    for wanted in FILTERS:
        after = Cursor.read(None, wanted.sorting)
        query = page_query(replace(wanted, owner="anna"), "", Unindexed.READ, after, 50)
        assert query
        steps += [(wanted, step) for step in plan(path, *query)]
    for wanted, step in steps:
        is_of_one = re.search(r"\(owner=\?|\(playlist_id=\?", step)
        # One person has few waiting tasks, which may be sorted.
        is_sorted = "TEMP B-TREE" in step and wanted.sorting == "queue"
        assert is_of_one or is_sorted or not re.match("SCAN tasks|SEARCH|USE TEMP", step), step


async def test_a_persons_tasks_are_counted_by_an_index_alone(store: SqliteStore, path: Path) -> None:
    for sql in (count_query(TASKS, {}, "anna")[0], store_module._COUNT_FOLDED_OF_OWNER):
        [step] = plan(path, sql, ["anna"])
        assert step.startswith("SEARCH tasks USING COVERING INDEX tasks_owner_stage (owner=?"), step


async def test_what_expires_of_a_person_is_found_by_an_index_of_their_own_tasks(
    store: SqliteStore, path: Path
) -> None:
    of_owner = f" AND owner = ? AND stage IN ({FINAL_STAGES})"
    steps = plan(path, store_module._EXPIRE.replace("{kept}", of_owner), [1.0, "anna", 5])
    assert any("INDEX tasks_owner_stage_ended (owner=? AND stage=? AND ended_at<?)" in step for step in steps)


STATEMENTS = [
    value
    for module in (store_module, writer)
    for value in vars(module).values()
    if isinstance(value, str)
    and re.match(r"\s*(SELECT|UPDATE|DELETE)", value)
    and "sqlite_sequence" not in value
    and "{kept}" not in value
]


async def test_expiry_follows_indexes_also_for_what_features_keep(store: SqliteStore, path: Path) -> None:
    condition, values = kept(HOOKS, writer.DIALECT, utc_now())
    assert condition.count("AND NOT (") == 3
    sql = store_module._EXPIRE.replace("{kept}", condition)
    assert_follows_indexes(plan(path, sql, [1, *values, 1]))


async def test_every_other_statement_follows_an_index(store: SqliteStore, path: Path) -> None:
    for sql in STATEMENTS:
        # A numbered parameter may be used more than once.
        values = int(max(re.findall(r"\?(\d)", sql), default=sql.count("?")))
        assert_follows_indexes(plan(path, sql, ["[1]"] * values))


def insert_many(path: Path, count: int) -> None:
    """Insert tasks of every stage and priority in turn."""
    stages = [stage.value for stage in Stage]
    rows = [
        (str(number), stages[number % 8], number // 8 % 5, 1 if number % 8 > 4 else None)
        for number in range(count)
    ]
    with closing(sqlite3.connect(path)) as db, db:
        db.executemany(
            "INSERT INTO tasks (task_id, revision, stage, priority, request, status, search, ended_at) "
            "VALUES (?, 1, ?, ?, '', '', 'some text', ?)",
            rows,
        )


def cost(path: Path, wanted: Filter, after: Cursor) -> int:
    """Return the cost of a page of 50, in hundreds of steps of SQLite's virtual machine."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    query = page_query(wanted, "", Unindexed.READ, after, 50)
    assert query
    with closing(sqlite3.connect(path)) as db:
        db.set_progress_handler(count, 100)
        assert len(db.execute(*query).fetchall()) == 50
    return steps


async def test_a_page_far_in_costs_what_the_first_page_costs(store: SqliteStore, path: Path) -> None:
    insert_many(path, 20_000)
    for wanted in FILTERS:
        first = cost(path, wanted, Cursor.read(None, wanted.sorting))
        for number, rank in ((10_000, 2), (1_000, 1), (19_000, 1)):
            assert cost(path, wanted, Cursor(wanted.sorting, number, rank)) <= first * 1.2 + 1, wanted


# --- faults ---


@pytest.mark.wide
async def test_a_killed_server_loses_no_row_that_was_acknowledged(path: Path) -> None:
    async with asyncio.timeout(30):
        writer = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, str(path), stdout=PIPE)
        assert writer.stdout
        lines = [await writer.stdout.readline() for _ in range(500)]
        writer.kill()
        lines += (await writer.stdout.read()).splitlines(keepends=True)
        await writer.wait()
    acknowledged = {line.split()[0].decode(): int(line.split()[1]) for line in lines if line.endswith(b"\n")}
    async with open_store(path, max_queued=10_000, find_short=short_of) as store:
        for task_id, revision in acknowledged.items():
            assert (await store.get(task_id)).status.revision >= revision
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        db.execute("INSERT INTO tasks_text (tasks_text) VALUES ('integrity-check')")


async def limit_pages(store: SqliteStore, pages: int) -> None:
    await store._writer._db.execute_fetchall(f"PRAGMA max_page_count = {pages}")


async def test_on_a_full_disk_nothing_changes_and_afterwards_all_goes_on(store: SqliteStore) -> None:
    task = await add(store, new_task())
    await limit_pages(store, 1)  # a limit below the present size: SQLite uses the present size
    async with asyncio.timeout(20):
        answers = await asyncio.gather(
            *(add(store, new_task(title="x" * 500), Idempotency(f"{index}", "")) for index in range(100)),
            store.save(started(task.status)),
            return_exceptions=True,
        )
    assert all(isinstance(answer, DiskFull) for answer in answers)
    assert await store.get(task.status.task_id) == task
    assert (await store.page(Filter(), None, 200)).tasks == [task.status]
    assert [each async for each in store.queued()] == [Queued.of(task.status)]
    await limit_pages(store, 1 << 20)
    assert await store.save(started(task.status))
    await add(store, new_task(), Idempotency("0", "another request"))


async def test_a_task_that_cannot_be_stored_does_not_sink_the_others(store: SqliteStore) -> None:
    task, same_id = new_task(), new_task()
    same_id = replace(same_id, status=task.status)
    async with asyncio.timeout(20):
        answers = await asyncio.gather(
            add(store, task), add(store, same_id), add(store, new_task()), return_exceptions=True
        )
    assert [type(answer).__name__ for answer in answers] == ["Task", "IntegrityError", "Task"]
    assert len([each async for each in store.queued()]) == 2


async def test_a_group_that_is_written_one_by_one_is_decided_anew(path: Path) -> None:
    """Written together, the new task got the last place in the queue; one by one, the retry is written
    first.
    """
    async with open_store(path, max_queued=2, find_short=short_of) as store:
        final, owner = await ended(store), await ended(store)
        running, new = started((await add(store, new_task())).status), new_task()
        assert await store.save(running)
        await add(store, new_task())
        async with asyncio.timeout(20):
            answers = await asyncio.gather(
                store.save(apply(final, Retried(), utc_now())),
                add(store, new),
                store.save(finished(running).model_copy(update={"files": owner.files})),
                return_exceptions=True,
            )
        assert [type(answer).__name__ for answer in answers] == ["bool", "QueueFull", "IntegrityError"]
    async with open_store(path, max_queued=2, find_short=short_of) as store:
        with pytest.raises(TaskNotFound):
            await store.get(new.status.task_id)
        assert sum(count for stage, count in (await store.count()).items() if not stage.is_final) == 3


async def test_two_tasks_never_share_the_name_of_a_file(store: SqliteStore) -> None:
    one, other, third = [(await add(store, new_task())).status for _ in range(3)]
    final = finished(one)
    async with asyncio.timeout(20):
        answers = await asyncio.gather(
            store.save(final),
            store.save(finished(other).model_copy(update={"files": final.files})),
            store.save(started(third)),
            return_exceptions=True,
        )
    assert [type(answer).__name__ for answer in answers] == ["bool", "IntegrityError", "bool"]
    assert (await store.get(other.task_id)).status == other


async def test_a_caller_that_goes_away_leaves_the_task_and_memory_whole(store: SqliteStore) -> None:
    status = (await add(store, new_task())).status
    saving = asyncio.create_task(store.save(started(status)))
    await asyncio.sleep(0)  # by now the change waits for the writer
    while store._writer._waiting:
        await asyncio.sleep(0)
    saving.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait([saving])
        await store.ping()
        assert await store.save(downloading(started(status)))


async def test_somebody_elses_change_is_noticed_and_not_written_over(store: SqliteStore, path: Path) -> None:
    status = (await add(store, new_task())).status
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE tasks SET revision = 7")
    with pytest.raises(RuntimeError, match="another program"):
        await store.save(started(status))


async def test_ping_fails_when_writes_are_not_taken(store: SqliteStore, path: Path) -> None:
    store.hurry()
    async with aiosqlite.connect(path, isolation_level=None) as other:
        await other.execute_fetchall("BEGIN IMMEDIATE")
        async with asyncio.timeout(20):
            with pytest.raises(DatabaseBusy):
                await store.ping()
        await other.execute_fetchall("ROLLBACK")
    await store.ping()


# --- what waits when the store is opened ---


async def test_of_what_waits_a_restart_reads_what_the_queue_needs(path: Path) -> None:
    async with open_store(path, max_queued=9, find_short=short_of) as store:
        tasks = [await add(store, new_task(priority=priority)) for priority in (0, 5, 0, -1)]
        waits = apply(tasks[1].status, Requeued(because="host_busy", after=60), utc_now())
        paused = apply(tasks[2].status, Paused(), utc_now())
        running = started(tasks[3].status)
        assert all([await store.save(status) for status in (waits, paused, running)])
        removed = (await add(store, new_task())).status.task_id
        await store.mark_removed(removed)
        final = await ended(store)
    async with open_store(path, max_queued=9, find_short=short_of) as store:
        assert [task.status for task in await store.running()] == [running]
        assert [each async for each in store.queued()] == [Queued.of(tasks[0].status), Queued.of(waits)]
        assert len(store._memory.waiting) == 3
        live = {task.status.task_id for task in tasks}
        assert set(store._memory.unfinished()) == live
        assert await store.changed_since(utc_now()) == {
            removed: True,
            **dict.fromkeys(live | {final.task_id}, False),
        }
        # A task that was read or changed is served from memory from then on.
        assert (await store.get(waits.task_id)).status == waits
        assert await store.save(started(tasks[0].status))
        await store.mark_removed(paused.task_id)
        await store._reads._db.close()
        assert (await store.get(waits.task_id)).status == waits
        assert (await store.get(tasks[0].status.task_id)).status == started(tasks[0].status)
        assert len(store._memory.waiting) == 1
        assert set(store._memory.unfinished()) == live - {paused.task_id}


async def test_what_waits_takes_its_place_after_a_restart_too(path: Path) -> None:
    async with open_store(path, max_queued=2, find_short=short_of) as store:
        first = (await add(store, new_task())).status
        await add(store, new_task())
    async with open_store(path, max_queued=2, find_short=short_of) as store:
        with pytest.raises(QueueFull):
            await add(store, new_task())
        assert await store.save(apply(first, Cancelled(), utc_now()))
        await add(store, new_task())


async def test_the_queue_is_read_in_pages(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_ROWS_AT_ONCE", 2)
    async with open_store(path, max_queued=9, find_short=short_of) as store:
        expected = [(await add(store, new_task())).status.task_id for _ in range(5)]
        assert [each.task_id async for each in store.queued()] == expected


async def test_a_damaged_row_that_waits_stops_no_other(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_store(path, max_queued=9, find_short=short_of) as store:
        damaged = [await add(store, new_task()) for _ in range(3)]
        whole = await add(store, new_task())
    with closing(sqlite3.connect(path)) as db, db:
        for task, text in zip(damaged, ("{", "[]", '{"url": "http://a", "not_before": "x"}'), strict=True):
            db.execute("UPDATE tasks SET status = ? WHERE task_id = ?", (text, task.status.task_id))
    async with open_store(path, max_queued=9, find_short=short_of) as store:
        assert [each async for each in store.queued()] == [Queued.of(whole.status)]
    assert caplog.text.count("its row is damaged") == 3


# --- memory and the log ---


async def test_a_live_task_is_answered_without_the_database(store: SqliteStore) -> None:
    task = await add(store, new_task())
    await store._reads._db.close()
    assert await store.get(task.status.task_id) == task


def test_memory_keeps_all_running_tasks_and_a_bounded_number_of_others() -> None:
    memory = Memory(recent=10)
    waiting, running, final = ([new_task() for _ in range(50)] for _ in range(3))
    running = [replace(task, status=started(task.status)) for task in running]
    final = [replace(task, status=finished(task.status)) for task in final]
    for task in waiting + running:
        memory.put(task)
    assert [task for task in waiting + running if memory.get(task.status.task_id)] == waiting[-10:] + running
    assert memory.running() == running
    for task in final:
        memory.put(task)
        memory.get(final[0].status.task_id)  # a task that is used stays in memory
    kept = [task for task in final if memory.get(task.status.task_id)]
    assert kept == [final[0], *final[-9:]]
    assert len(memory._owners) == 2 * len(kept)
    again = [replace(task, status=apply(task.status, Retried(), utc_now())) for task in kept]
    for task in again:
        memory.put(task)
    assert [memory.task_with(task.status.files["video"].name) for task in again] == again
    for task in again:
        memory.drop(task.status.task_id)
    assert memory._owners == {}
    assert set(memory.unfinished()) == {task.status.task_id for task in waiting + running}
    assert memory.waiting == {task.status.task_id for task in waiting}


async def test_of_many_waiting_tasks_each_is_known_and_goes_on(path: Path) -> None:
    async with open_store(path, max_queued=20, find_short=short_of) as store:
        store._memory._limit = 5
        tasks = [await add(store, new_task()) for _ in range(20)]
        with pytest.raises(QueueFull):
            await add(store, new_task())
        assert [await store.get(task.status.task_id) for task in tasks] == tasks
        found = await store.statuses([task.status.task_id for task in tasks])
        assert found == [task.status for task in tasks]
        for task in tasks:
            assert await store.save(started(task.status))
        assert [task.status.stage for task in store._memory.running()] == [Stage.INFO] * 20
        await add(store, new_task())


def test_what_a_commit_has_overtaken_is_not_kept() -> None:
    memory, task = Memory(), new_task()
    final = replace(task, status=finished(task.status))
    version = memory.version
    memory.drop(final.status.task_id)
    memory.keep(final, version)
    assert memory.get(final.status.task_id) is None
    memory.keep(final, memory.version)
    assert memory.get(final.status.task_id) == final


async def test_reading_many_final_tasks_does_not_fill_memory(path: Path) -> None:
    async with open_store(path, max_queued=10, find_short=short_of) as store:
        store._memory._limit = 5
        finals = [await ended(store) for _ in range(20)]
        for status in finals:
            assert (await store.get(status.task_id)).status == status
        assert len(store._memory._recent) == 5


async def test_the_log_stays_small_while_tasks_change_and_are_read(store: SqliteStore, path: Path) -> None:
    def begun(status: TaskStatus) -> TaskStatus:
        return downloading(started(status).model_copy(update={"revision": 1}))

    statuses = [begun((await add(store, new_task())).status) for _ in range(40)]
    assert all(await asyncio.gather(*map(store.save, statuses)))

    async def change() -> None:
        nonlocal statuses
        for index in range(200):
            progress = Progress(progress=30 + index % 2, eta=index)
            statuses = [apply(status, progress, utc_now()) for status in statuses]
            assert all(await asyncio.gather(*map(store.save, statuses)))

    async with asyncio.timeout(60):
        changing = asyncio.create_task(change())
        while not changing.done():
            await store.page(Filter(), None, 10)
        await changing
    assert path.with_name("clipwire.db-wal").stat().st_size < 8 << 20


# --- the text index ---


async def test_the_text_index_agrees_with_the_table(store: SqliteStore, path: Path) -> None:
    first, second, third = [await ended(store, f"title {index}") for index in range(3)]
    await store.save(apply(first, Retried(), utc_now()))
    await store.mark_removed(second.task_id)
    await store.forget(second.task_id)
    queued = await add(store, new_task(title="title 4"))
    await store.save(apply(queued.status, Cancelled(), utc_now()))
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT rowid FROM tasks_text WHERE tasks_text MATCH '\"tit\"' ORDER BY rowid")
        assert found.fetchall() == [
            ((await store.get(third.task_id)).status.number,),
            (queued.status.number,),
        ]
        db.execute("INSERT INTO tasks_text (tasks_text, rank) VALUES ('integrity-check', 1)")


async def test_a_text_too_common_for_the_index_is_found_all_the_same(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.storage.sqlite.pages.MOST_BEGINNINGS", 3)
    finals = [await ended(store, f"猫{index}") for index in range(9)]
    page = await store.page(Filter((Stage.COMPLETED,), "猫"), None, 5)
    assert page.tasks == finals[:3:-1]


# --- backups ---


async def test_a_backup_taken_under_writes_can_be_restored(path: Path) -> None:
    copy = path.with_name("backup.db")
    async with open_store(path, max_queued=10_000, find_short=short_of) as store:
        finals = [await ended(store, f"title {index}") for index in range(20)]
        queued = await add(store, new_task(), Idempotency("key", "hash"))

        async def write() -> None:
            while not copy.exists():
                await add(store, new_task())

        async with asyncio.timeout(30):
            writing = asyncio.create_task(write())
            await backup(path, copy)
            await writing
    assert copy.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.glob("*.part")) == []
    async with open_store(copy, max_queued=10_000, find_short=short_of) as restored:
        assert [(await restored.get(final.task_id)).status for final in finals] == finals
        assert await add(restored, new_task(), Idempotency("key", "hash")) == queued
        assert (await restored.page(Filter(text="title 1"), None, 50)).tasks[-1] == finals[1]
        assert (await add(restored, new_task())).status.number > queued.status.number


async def test_a_backup_never_replaces_a_file(path: Path) -> None:
    async with open_store(path, max_queued=10, find_short=short_of):
        copy = path.with_name("backup.db")
        copy.write_text("mine")
        with pytest.raises(DatabaseUnusable, match="already there"):
            await backup(path, copy)
        assert copy.read_text() == "mine"


async def test_a_backup_of_nothing_says_so(path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match="does not exist"):
        await backup(path, path.with_name("backup.db"))
    assert list(path.parent.iterdir()) == []


async def test_a_backup_that_fails_leaves_nothing_behind(path: Path) -> None:
    path.write_text("not a database " * 500)
    with pytest.raises(DatabaseUnusable, match="not a SQLite database"):
        await backup(path, path.with_name("backup.db"))
    assert list(path.parent.iterdir()) == [path]


async def test_the_journal_of_a_backup_that_fails_goes_with_it(path: Path) -> None:
    async def fail_half_way() -> None:
        async with new_file(path) as part:
            part.with_name(f"{part.name}-journal").write_bytes(b"a journal")
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        await fail_half_way()
    assert list(path.parent.iterdir()) == []


async def test_a_backup_without_a_name_is_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    async with open_store(path, max_queued=10, find_short=short_of):
        for target in (Path(), Path("/")):
            with pytest.raises(DatabaseUnusable, match="already there"):
                await backup(path, target)
    assert not list(path.parent.glob("*.part"))


async def test_a_backup_onto_a_full_disk_names_that_one(path: Path) -> None:
    small = path.with_name("small")
    small.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small))
    if (await asyncio.to_thread(subprocess.run, mount, capture_output=True, check=False)).returncode:
        pytest.skip("a full disk was not tried: this user may mount no file system")
    try:
        async with open_store(path, max_queued=10, find_short=short_of):
            with pytest.raises(DatabaseUnusable, match=r"small/copy\.db.*the disk is full"):
                await backup(path, small / "copy.db")
        assert list(small.iterdir()) == []
    finally:
        await asyncio.to_thread(subprocess.run, ("umount", "-l", str(small)), check=False)


async def test_an_expired_task_is_gone_from_memory(store: SqliteStore) -> None:
    status = finished((await add(store, new_task())).status, hours_ago=2)
    await store.save(status)
    assert await store.mark_expired(utc_now() - timedelta(hours=1), 10) == [status.task_id]
    with pytest.raises(TaskNotFound):
        await store.get(status.task_id)


async def test_a_look_from_outside_follows_a_server_whose_log_is_empty(path: Path) -> None:
    async with open_store(path, max_queued=10, find_short=short_of) as store:
        await store._writer._db.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
        assert path.with_name("clipwire.db-wal").stat().st_size == 0
        async with connect_from_outside(path) as db:
            assert list(await db.execute_fetchall("SELECT count(*) FROM tasks")) == [(0,)]
            await add(store, new_task())
            assert list(await db.execute_fetchall("SELECT count(*) FROM tasks")) == [(1,)]
