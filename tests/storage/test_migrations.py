"""Opening a database: numbered scripts migrate it, and unusable files are refused."""

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from server.core.unusable import DatabaseUnusable
from server.files.public_names import short_of
from server.storage.sqlite.connection import connect_writer
from server.storage.sqlite.database_backup import check
from server.storage.sqlite.migrations import Script, migrate, released_scripts, scripts_in
from server.storage.sqlite.store import open_store
from tests.adding import add
from tests.examples import finished, new_task
from tests.release_before import SQLITE
from tests.service import ROOT

NOBODY = 65534
FIRST = released_scripts()[0]
ADD_ONE = Script(FIRST.number + 1, "CREATE TABLE one (a); INSERT INTO one VALUES (1);")
ADD_TWO = Script(FIRST.number + 2, "CREATE TABLE two (a); INSERT INTO one VALUES (2);")
BROKEN = Script(FIRST.number + 2, "CREATE TABLE two (a); INSERT INTO missing VALUES (2);")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "clipwire.db"


async def apply(path: Path, *scripts: Script) -> int:
    async with connect_writer(path) as db:
        return await migrate(db, path, scripts)


async def open_and_close(path: Path) -> None:
    async with open_store(path, max_queued=10, find_short=short_of) as store:
        await store.ping()


def read(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


async def test_scripts_are_applied_once_and_in_order(path: Path) -> None:
    assert await apply(path, FIRST, ADD_ONE) == ADD_ONE.number
    assert await apply(path, FIRST, ADD_ONE, ADD_TWO) == ADD_TWO.number
    assert await apply(path, FIRST, ADD_ONE, ADD_TWO) == ADD_TWO.number
    assert read(path, "SELECT a FROM one") == [(1,), (2,)]
    assert read(path, "PRAGMA user_version") == [(ADD_TWO.number,)]


# A program that forks: each child dies at another statement, as if it were killed.
MORTAL = """
import asyncio, os, sys
from itertools import count
from pathlib import Path

from server.storage.sqlite.connection import connect_writer
from server.storage.sqlite.migrations import migrate, released_scripts


async def dies_at(statement, path):
    left = statement

    def traced(_):
        nonlocal left
        left -= 1
        if left == 0:
            os._exit(9)

    async with connect_writer(path) as db:
        await db.set_trace_callback(traced)
        await migrate(db, path, released_scripts())


for statement in count(1):
    path = Path(sys.argv[1].format(statement))
    if len(sys.argv) > 2:
        path.write_bytes(Path(sys.argv[2]).read_bytes())
    if not (child := os.fork()):
        asyncio.run(dies_at(statement, path))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        break
    assert status == 9, status
print(statement)
"""


@pytest.mark.wide
@pytest.mark.parametrize(
    "before",
    [
        pytest.param(0, id="of a new file", marks=pytest.mark.long),
        pytest.param(SQLITE, id="of the release before"),
    ],
)
async def test_a_migration_can_be_killed_at_any_statement_and_goes_on_at_the_next_start(
    tmp_path: Path, before: int
) -> None:
    arguments = [str(tmp_path / "{}.db")]
    if before:
        await apply(tmp_path / "before", *released_scripts()[:before])
        arguments.append(str(tmp_path / "before"))
    command = (sys.executable, "-c", MORTAL, *arguments)
    ran = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    kills = int(ran.stdout) - 1
    assert kills > (5 if before else 40)
    await apply(tmp_path / "at once", *released_scripts())
    schema = "SELECT name, sql FROM sqlite_schema ORDER BY name"
    whole = read(tmp_path / "at once", schema)
    for statement in range(1, kills + 1):
        path = tmp_path / f"{statement}.db"
        assert await apply(path, *released_scripts()) == released_scripts()[-1].number
        assert read(path, schema) == whole
        assert read(path, "PRAGMA quick_check") == [("ok",)]


async def test_a_script_that_fails_changes_nothing_and_can_be_applied_later(path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match=f"schema {BROKEN.number}.*missing"):
        await apply(path, FIRST, ADD_ONE, BROKEN)
    assert read(path, "PRAGMA user_version") == [(ADD_ONE.number,)]
    assert await apply(path, FIRST, ADD_ONE, ADD_TWO) == ADD_TWO.number


def test_released_scripts_are_numbered_without_a_gap_and_none_twice() -> None:
    numbers = [script.number for script in released_scripts()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_script_is_what_is_named_like_one(tmp_path: Path) -> None:
    scripts = {"0002_more.sql": "two", "0001_tasks.sql": "one"}
    foreign = (".DS_Store", "README", "0001_tasks.sql~", "._0001_tasks.sql", "#0001_tasks.sql#",
               "0001_tasks.sql.orig", "0003_more copy.sql", "0003-more.sql", "tasks.sql")  # fmt: skip
    for name, content in (scripts | dict.fromkeys(foreign, "nonsense")).items():
        (tmp_path / name).write_text(content)
    (tmp_path / "__pycache__").mkdir()
    assert scripts_in(tmp_path) == [Script(1, "one"), Script(2, "two")]


async def test_only_the_owner_can_read_the_files(path: Path) -> None:
    async with open_store(path, max_queued=10, find_short=short_of) as store:
        await add(store, new_task())
        async with asyncio.timeout(20):
            while not path.with_name("ballast").exists():
                await asyncio.sleep(0.01)
        found = sorted(path.parent.iterdir())
        assert [file.name for file in found] == [
            "ballast", "clipwire.db", "clipwire.db-shm", "clipwire.db-wal"
        ]  # fmt: skip
        assert {file.stat().st_mode & 0o777 for file in found} == {0o600}


async def filled(path: Path) -> None:
    async with open_store(path, max_queued=100, find_short=short_of) as store:
        for _ in range(50):
            task = await add(store, new_task(title="A title of some length"))
            await store.save(finished(task.status))


def not_a_database(path: Path) -> None:
    path.write_text("SQLite? No, a shopping list.\n" * 400)


def damaged_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(16)
        file.write(b"\xff" * 40)


def damaged_schema(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)


def damaged_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 5000)


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 8192)


def of_another_program(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (a)")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


WRONG = [
    (not_a_database, "is not a SQLite database"),
    (damaged_header, "is (damaged|not a SQLite database)"),
    (damaged_schema, "is damaged"),
    (damaged_page, "is damaged"),
    (cut_off, "is damaged"),
    (of_another_program, "belongs to another program"),
    (newer, r"is of a newer server \(schema 99, this one knows \d+\)"),
    (a_folder, "cannot be written"),
]


@pytest.mark.parametrize(("spoil", "reason"), WRONG)
async def test_a_database_that_cannot_be_used_is_one_clear_line(
    path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    await filled(path)
    spoil(path)
    for attempt in (open_and_close, check):
        with pytest.raises(DatabaseUnusable) as caught:
            await attempt(path)
        line = str(caught.value)
        assert re.search(reason, line) or attempt is check
        assert line.startswith(str(path))
        assert "\n" not in line


async def test_what_cannot_be_opened_leaves_no_thread_that_outlives_the_event_loop(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.mkdir()
    monkeypatch.setattr("aiosqlite.connect", lambda *_, **__: pytest.fail("its thread goes on"))
    with pytest.raises(DatabaseUnusable):
        await check(path)


async def test_a_database_that_is_refused_is_not_touched(path: Path) -> None:
    await filled(path)
    newer(path)
    before = path.read_bytes()
    with pytest.raises(DatabaseUnusable):
        await open_and_close(path)
    assert path.read_bytes() == before


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Drop the rights of root, for whom nothing is read-only."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user may enter; only the owner may enter the parent of `tmp_path`."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for writable, _, _ in os.walk(folder):  # only root can delete files in a read-only folder
        os.chmod(writable, 0o700)
    shutil.rmtree(folder)


async def test_a_read_only_database_is_one_clear_line(shared: Path) -> None:
    path = shared / "clipwire.db"
    await filled(path)
    path.chmod(0o444)
    shared.chmod(0o555)
    with as_somebody_else(), pytest.raises(DatabaseUnusable, match=r"cannot be (written|opened)") as caught:
        await open_and_close(path)
    assert "\n" not in str(caught.value)


async def test_a_missing_folder_is_one_clear_line(path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match="No such file or directory"):
        await open_and_close(path.parent / "missing" / path.name)


async def test_check_finds_a_good_database_good_and_makes_none(path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match="does not exist"):
        await check(path)
    assert not path.exists()
    await filled(path)
    await check(path)
