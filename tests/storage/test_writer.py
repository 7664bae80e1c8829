"""The group-committing writer, on a real database."""

import asyncio
import resource
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiosqlite
import pytest

from server.core.errors import AppError, DatabaseBusy, DiskFull, QueueFull, ShuttingDown, StorageFailed
from server.storage.group_commit import Change
from server.storage.sqlite.ballast import Ballast
from server.storage.sqlite.connection import connect_writer
from server.storage.sqlite.writer import Writer

PAYLOAD = "x" * 500


@dataclass(eq=False)
class Put(Change[int]):
    """A change that adds a row with `key`; its outcome is the number of such rows, which must be one."""

    key: int | str
    touches: tuple[str, ...] = ()
    makes_room: bool = False


class Rows:
    """A table of keys, the keys that were committed, and the statements that the database ran."""

    def __init__(self, db: aiosqlite.Connection) -> None:
        self.db = db
        self.committed: list[int | str] = []
        self.statements: list[str] = []
        self.before_write: Callable[[], None] = lambda: None

    async def write(self, group: Sequence[Change[Any]]) -> None:
        self.before_write()
        for put in group:
            assert isinstance(put, Put)
            if put.key == "refused":
                put.outcome = QueueFull()
                continue
            await self.db.execute_fetchall("INSERT INTO rows VALUES (?, ?)", (put.key, PAYLOAD))
            [(put.outcome,)] = await self.db.execute_fetchall("SELECT count(*) FROM rows")

    def remember(self, group: Sequence[Change[Any]]) -> None:
        self.committed += [put.key for put in group if isinstance(put, Put)]

    @property
    def commits(self) -> int:
        return self.statements.count("COMMIT")

    async def stored(self) -> set[int]:
        return {key for (key,) in await self.db.execute_fetchall("SELECT key FROM rows")}


@asynccontextmanager
async def open_rows(path: Path) -> AsyncIterator[tuple[Rows, Writer]]:
    async with connect_writer(path) as db:
        await db.execute_fetchall("CREATE TABLE rows (key INTEGER PRIMARY KEY, payload TEXT) STRICT")
        rows = Rows(db)
        await db.set_trace_callback(rows.statements.append)
        async with Writer(db, path, Ballast(path.parent), rows.write, rows.remember) as writer:
            yield rows, writer


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[tuple[Rows, Writer]]:
    async with open_rows(tmp_path / "rows.db") as opened:
        yield opened


def submit(writer: Writer, *keys: int | str) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(writer.submit(Put(key))) for key in keys]


async def answers(tasks: list[asyncio.Task[int]]) -> list[int | BaseException]:
    async with asyncio.timeout(20):
        return await asyncio.gather(*tasks, return_exceptions=True)


def are(kind: type[Exception], found: list[int | BaseException]) -> bool:
    return all(isinstance(answer, kind) for answer in found)


def void(_: object) -> None:
    """Do nothing, for a callback without a result."""


async def test_what_waits_is_committed_together(opened: tuple[Rows, Writer]) -> None:
    rows, writer = opened
    assert await answers(submit(writer, *range(100))) == list(range(1, 101))
    assert rows.commits == 1
    assert await rows.stored() == set(range(100))


async def test_a_group_has_a_bound(opened: tuple[Rows, Writer], monkeypatch: pytest.MonkeyPatch) -> None:
    rows, writer = opened
    monkeypatch.setattr("server.storage.group_commit.GROUP", 10)
    await answers(submit(writer, *range(25)))
    assert rows.commits == 3


async def test_nobody_hears_of_a_change_before_it_is_committed(opened: tuple[Rows, Writer]) -> None:
    rows, writer = opened
    order: list[int | str] = []

    async def hear(key: int) -> None:
        await writer.submit(Put(key))
        assert rows.commits
        assert key in rows.committed
        order.append(key)

    async with asyncio.timeout(20):
        await asyncio.gather(*(hear(key) for key in range(20)))
    assert order == rows.committed == list(range(20))


async def test_what_touches_the_same_is_in_two_groups(opened: tuple[Rows, Writer]) -> None:
    rows, writer = opened
    changes = [Put(1, ("a",)), Put(2, ("b",)), Put(3, ("b", "a")), Put(4, ("c",))]
    await answers([asyncio.create_task(writer.submit(change)) for change in changes])
    assert (rows.commits, rows.committed) == (2, [1, 2, 3, 4])


async def test_a_change_that_cannot_be_written_does_not_sink_the_others(opened: tuple[Rows, Writer]) -> None:
    rows, writer = opened
    found = await answers(submit(writer, 1, 2, 2, "text", 3))
    assert [type(answer) for answer in found] == [
        int,
        int,
        sqlite3.IntegrityError,
        sqlite3.IntegrityError,
        int,
    ]
    assert await rows.stored() == {1, 2, 3} == set(rows.committed)


async def test_an_outcome_may_be_an_error(opened: tuple[Rows, Writer]) -> None:
    rows, writer = opened
    one, refused, other = await answers(submit(writer, 1, "refused", 2))
    assert (one, other, rows.commits) == (1, 2, 1)
    assert isinstance(refused, AppError)


async def test_what_is_submitted_together_is_committed_together_however_much_it_is(
    opened: tuple[Rows, Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, writer = opened
    monkeypatch.setattr("server.storage.group_commit.GROUP", 2)
    found = await writer.submit_all([Put(2), Put("refused"), Put(3), Put(4, ("a",)), Put(5, ("a",))])
    assert [type(answer) for answer in found] == [int, QueueFull, int, int, int]
    assert (rows.commits, [key for key in rows.committed if key != "refused"]) == (1, [2, 3, 4, 5])


async def test_of_what_is_submitted_together_nothing_is_written_if_one_cannot_be(
    opened: tuple[Rows, Writer],
) -> None:
    rows, writer = opened
    other = submit(writer, 1)
    with pytest.raises(sqlite3.IntegrityError):
        await writer.submit_all([Put(2), Put("text"), Put(3)])
    assert await answers(other) == [1]
    assert await rows.stored() == {1} == set(rows.committed)


async def test_a_full_database_fails_all_that_waited_and_then_takes_writes_again(
    opened: tuple[Rows, Writer],
) -> None:
    rows, writer = opened
    await answers(submit(writer, 0))
    [(pages,)] = await rows.db.execute_fetchall("PRAGMA page_count")
    await rows.db.execute_fetchall(f"PRAGMA max_page_count = {pages + 1}")
    assert are(DiskFull, await answers(submit(writer, *range(1, 50))))
    assert await rows.stored() == {0} == set(rows.committed)
    await rows.db.execute_fetchall("PRAGMA max_page_count = 100000")
    assert await answers(submit(writer, *range(1, 50))) == list(range(2, 51))


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Let the system refuse to write beyond `size` bytes, which is an error of the disk. (Python ignores
    `SIGXFSZ`.)
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_commit_that_fails_takes_everything_back(opened: tuple[Rows, Writer], tmp_path: Path) -> None:
    rows, writer = opened
    await answers(submit(writer, 0))
    log = tmp_path / "rows.db-wal"
    with no_file_larger_than(log.stat().st_size + 5000):
        found = await answers(submit(writer, *range(1, 50)))
    assert are(StorageFailed, found)
    assert isinstance(found[0], StorageFailed)
    assert "disk I/O error" in str(found[0].__cause__)
    assert rows.statements[-1] == "COMMIT"
    assert await rows.stored() == {0} == set(rows.committed)
    assert await answers(submit(writer, *range(1, 50))) == list(range(2, 51))


async def test_an_outage_is_logged_once_and_the_next_one_again(
    opened: tuple[Rows, Writer], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = opened
    await answers(submit(writer, 0))
    for outage in (1, 2):
        with no_file_larger_than((tmp_path / "rows.db-wal").stat().st_size + 5000):
            for _ in range(3):
                assert are(StorageFailed, await answers(submit(writer, *range(1, 50))))
        assert await answers(submit(writer, 100 + outage)) == [outage + 1]
        assert [record.getMessage().startswith("the database did not take") for record in caplog.records] == [
            True
        ] * outage


async def test_an_input_output_error_of_a_full_disk_is_a_full_disk(
    opened: tuple[Rows, Writer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, writer = opened
    await answers(submit(writer, 0))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with no_file_larger_than((tmp_path / "rows.db-wal").stat().st_size):
        assert are(DiskFull, await answers(submit(writer, 1, 2)))


async def test_a_deletion_on_a_full_disk_has_the_room_that_was_kept_for_it(
    opened: tuple[Rows, Writer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, writer = opened
    monkeypatch.setattr(Ballast, "is_due", False)
    await answers(submit(writer, 0))
    with ExitStack() as full:
        full.enter_context(pytest.MonkeyPatch.context()).setattr(
            shutil, "disk_usage", lambda _: SimpleNamespace(free=0)
        )
        full.enter_context(no_file_larger_than((tmp_path / "rows.db-wal").stat().st_size))
        monkeypatch.setattr(Ballast, "drop", lambda _: not full.close())  # type: ignore[func-returns-value]
        assert are(DiskFull, await answers(submit(writer, 1)))
        async with asyncio.timeout(20):
            assert await writer.submit(Put(2, makes_room=True)) == 2
    assert await rows.stored() == {0, 2}


@asynccontextmanager
async def held_by_another_program(path: Path) -> AsyncIterator[None]:
    """Lock the database for writing, as another program would; it can still be read. Waits for a server that
    is writing.
    """
    async with aiosqlite.connect(path, timeout=60, isolation_level=None) as other:
        await other.execute_fetchall("BEGIN IMMEDIATE")
        yield
        await other.execute_fetchall("ROLLBACK")


async def test_a_database_that_another_program_holds_is_waited_for(
    opened: tuple[Rows, Writer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, writer = opened
    monkeypatch.setattr(writer, "_patience", 20.0)
    async with held_by_another_program(tmp_path / "rows.db"):
        tasks = submit(writer, 1, 2)
        while rows.statements.count("BEGIN IMMEDIATE") < 3:
            await asyncio.sleep(0.01)
        assert not any(task.done() for task in tasks)
    assert await answers(tasks) == [1, 2]


async def test_after_five_seconds_in_all_nobody_waits_for_another_program(
    opened: tuple[Rows, Writer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes that come later, while the lock is still held, do not wait as long again."""
    rows, writer = opened
    monkeypatch.setattr(writer, "_patience", 1.5)
    clock = asyncio.get_running_loop().time
    async with held_by_another_program(tmp_path / "rows.db"):
        began = clock()
        assert are(DatabaseBusy, await answers(submit(writer, 1, 2)))
        assert clock() - began >= 1.5
        rows.statements.clear()
        assert are(DatabaseBusy, await answers(submit(writer, 3)))
        assert rows.statements == ["BEGIN IMMEDIATE"]
    assert await answers(submit(writer, 1, 2)) == [1, 2]


async def test_an_end_waits_for_no_other_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.storage.sqlite.writer.PATIENCE", 3600.0)
    path = tmp_path / "rows.db"
    async with asyncio.timeout(20), open_rows(path) as (_, writer), held_by_another_program(path):
        tasks = submit(writer, 1, 2)
        await asyncio.sleep(0)
        await writer.__aexit__(None, None, None)
    assert are(DatabaseBusy, await answers(tasks))


async def test_a_waiter_that_is_cancelled_in_the_middle_loses_nobody_else(
    opened: tuple[Rows, Writer],
) -> None:
    rows, writer = opened
    tasks = submit(writer, *range(10))
    rows.before_write = lambda: void(tasks[4].cancel())
    found = await answers(tasks)
    assert isinstance(found.pop(4), asyncio.CancelledError)
    assert found == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert await answers(submit(writer, 10)) == [11]


async def test_a_waiter_that_is_cancelled_before_its_turn_changes_nothing(
    opened: tuple[Rows, Writer],
) -> None:
    rows, writer = opened
    first = asyncio.create_task(writer.submit(Put(1, ("a",))))
    second = asyncio.create_task(writer.submit(Put(2, ("a",))))
    third = asyncio.create_task(writer.submit(Put(3, ("a",))))
    rows.before_write = lambda: void(second.cancel())
    found = await answers([first, second, third])
    assert (found[0], found[2]) == (1, 2)
    assert await rows.stored() == {1, 3}


async def test_an_unforeseen_error_reaches_who_waits_and_the_writer_goes_on(
    opened: tuple[Rows, Writer],
) -> None:
    rows, writer = opened

    def fail() -> None:
        raise ZeroDivisionError

    rows.before_write = fail
    assert [type(answer) for answer in await answers(submit(writer, 1, 2))] == [ZeroDivisionError] * 2
    rows.before_write = lambda: None
    assert await answers(submit(writer, 1, 2)) == [1, 2]


async def test_what_waits_at_the_end_is_still_written(tmp_path: Path) -> None:
    async with open_rows(tmp_path / "rows.db") as (rows, writer):
        tasks = submit(writer, *range(10))
        await asyncio.sleep(0)
    assert await answers(tasks) == list(range(1, 11))
    assert rows.committed == list(range(10))
    with pytest.raises(ShuttingDown):
        await writer.submit(Put(11))
