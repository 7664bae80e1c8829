"""Opening a database on PostgreSQL: numbered scripts migrate it, two releases use it side by side, and an
unusable one is refused.
"""

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from server.core.unusable import DatabaseUnusable
from server.storage.postgresql import migrations
from server.storage.postgresql.connection import connected
from server.storage.postgresql.migrations import Script, migrate, released_scripts, scripts_in
from tests.cluster.breaking import proxied
from tests.cluster.postgres import database
from tests.release_before import POSTGRESQL

FIRST = Script(1, "CREATE TABLE tasks (number int); -- of a server")
ADD_ONE = Script(2, "CREATE TABLE one (a int); INSERT INTO one VALUES (1);")
ADD_TWO = Script(3, "CREATE TABLE two (a int); INSERT INTO one VALUES (2);")
BROKEN = Script(3, "CREATE TABLE two (a int); INSERT INTO missing VALUES (2);")
CONTRACT = Script(4, "-- oldest server: 3\nDROP TABLE one;")


async def apply(url: str, *scripts: Script) -> int:
    async with connected(url) as db:
        return await migrate(db, scripts)


def read(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as db:
        return db.execute(sql.encode()).fetchall()


async def test_scripts_are_applied_once_and_in_order(empty_database: str) -> None:
    assert await apply(empty_database, FIRST, ADD_ONE) == 2
    assert await apply(empty_database, FIRST, ADD_ONE, ADD_TWO) == 3
    assert await apply(empty_database, FIRST, ADD_ONE, ADD_TWO) == 3
    assert read(empty_database, "SELECT a FROM one") == [(1,), (2,)]
    assert read(empty_database, "SELECT version, oldest_server FROM schema") == [(3, 0)]


async def test_of_many_nodes_that_start_at_once_one_applies_them(empty_database: str) -> None:
    async with asyncio.timeout(20):
        versions = await asyncio.gather(*(apply(empty_database, FIRST, ADD_ONE, ADD_TWO) for _ in range(5)))
    assert versions == [3] * 5
    assert read(empty_database, "SELECT a FROM one") == [(1,), (2,)]


async def test_a_script_that_fails_changes_nothing_and_can_be_applied_later(empty_database: str) -> None:
    with pytest.raises(DatabaseUnusable, match=r"schema 3.*missing"):
        await apply(empty_database, FIRST, ADD_ONE, BROKEN)
    assert read(empty_database, "SELECT version FROM schema") == [(2,)]
    assert await apply(empty_database, FIRST, ADD_ONE, ADD_TWO) == 3


async def test_a_neighbour_of_the_release_before_works_on_until_something_was_taken_away(
    empty_database: str,
) -> None:
    await apply(empty_database, FIRST, ADD_ONE, ADD_TWO)
    assert await apply(empty_database, FIRST, ADD_ONE) == 3
    assert read(empty_database, "SELECT version FROM schema") == [(3,)], "the older one changes nothing"
    await apply(empty_database, FIRST, ADD_ONE, ADD_TWO, CONTRACT)
    assert await apply(empty_database, FIRST, ADD_ONE, ADD_TWO) == 4
    with pytest.raises(DatabaseUnusable, match=r"newer server \(schema 4, this one knows 2\)"):
        await apply(empty_database, FIRST, ADD_ONE)


@pytest.mark.parametrize("theirs", ["CREATE TABLE tasks (a int)", "CREATE TABLE schema (a int)"])
async def test_the_database_of_another_program_is_refused(empty_database: str, theirs: str) -> None:
    with psycopg.connect(empty_database) as db:
        db.execute(theirs.encode())
    with pytest.raises(DatabaseUnusable, match="belongs to another program"):
        await apply(empty_database, *released_scripts())


async def test_another_encoding_is_refused_in_one_line(postgres: str) -> None:
    with database(postgres, "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0") as url:
        with pytest.raises(DatabaseUnusable, match=r"^storage.database is encoded in LATIN1: .*UTF8'$"):
            await apply(url, *released_scripts())
        assert read(url, "SELECT to_regclass('schema')") == [(None,)]


def test_released_scripts_are_numbered_without_a_gap_and_none_twice() -> None:
    numbers = [script.number for script in released_scripts()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_engines_tables_are_those_of_the_package_that_is_installed() -> None:
    assert "CREATE TABLE procrastinate_jobs" in released_scripts()[0].sql


def test_a_script_is_what_is_named_like_one(tmp_path: Path) -> None:
    scripts = {"0002_more.sql": "two", "0001_engine.sql": "one"}
    foreign = (".DS_Store", "0001_engine.sql~", "0001_engine.sql.orig", "0003-more.sql", "tasks.sql")
    for name, content in (scripts | dict.fromkeys(foreign, "nonsense")).items():
        (tmp_path / name).write_text(content)
    assert scripts_in(tmp_path) == [Script(1, "one"), Script(2, "two")]


async def test_the_released_scripts_make_a_database_and_find_it_made(empty_database: str) -> None:
    for _ in range(2):
        assert await apply(empty_database, *released_scripts()) == released_scripts()[-1].number
    assert read(empty_database, "SELECT count(*) FROM tasks, procrastinate_jobs, sessions, nodes") == [(0,)]


ADD_COLUMN = Script(3, "ALTER TABLE one ADD COLUMN b int;")
ADD_INDEX = Script(3, "-- concurrently\nDROP INDEX CONCURRENTLY IF EXISTS ones;\n"
                      "CREATE INDEX CONCURRENTLY ones ON one (a);\n")  # fmt: skip
# Most seconds that a statement may wait for a migration, on a busy machine; see `migrations.LOCKED_WITHIN`.
NOBODY_WAITS_LONGER = 3.0


@asynccontextmanager
async def migrating(url: str, *scripts: Script) -> AsyncIterator["asyncio.Task[int]"]:
    """Start a migration; the block runs while the migration waits for a lock."""
    task = asyncio.create_task(apply(url, *scripts))
    async with connected(url) as db, asyncio.timeout(20):
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database "
        waits += "WHERE datname = current_database()) OR NOT granted AND locktype = 'virtualxid'"
        while await (await db.execute(waits.encode())).fetchone() == (0,):
            await asyncio.sleep(0.01)
        yield task
        await task


async def test_a_migration_that_waits_for_a_lock_lets_all_others_pass_and_tries_again(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "RETRY_LOCK_AFTER", 0.2)
    await apply(empty_database, FIRST, ADD_ONE)
    async with connected(empty_database) as long, connected(empty_database) as other, long.transaction():
        await long.execute(b"SELECT a FROM one")  # this transaction still reads the table
        async with migrating(empty_database, FIRST, ADD_ONE, ADD_COLUMN) as task:
            for _ in range(3):  # longer than one try of the migration lasts
                began = time.monotonic()
                await other.execute(b"INSERT INTO one VALUES (2)")
                assert time.monotonic() - began < NOBODY_WAITS_LONGER
                await asyncio.sleep(migrations.LOCKED_WITHIN / 2)
            assert not task.done()
            await long.execute(b"COMMIT")
            assert await task == 3


async def test_a_lock_that_is_never_free_ends_the_start_in_one_line(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LOCKED_WITHIN": 0.05, "RETRY_LOCK_AFTER": 0.05, "GIVE_UP_AFTER": 0.3}.items():
        monkeypatch.setattr(migrations, name, value)
    await apply(empty_database, FIRST, ADD_ONE)
    async with connected(empty_database) as long, long.transaction():
        await long.execute(b"SELECT a FROM one")
        with pytest.raises(
            DatabaseUnusable, match=r"^storage.database could not be brought to schema 3, [^\n]*$"
        ):
            await apply(empty_database, FIRST, ADD_ONE, ADD_COLUMN)
    assert read(empty_database, "SELECT version FROM schema") == [(2,)]


async def test_while_an_index_is_built_others_write_and_other_nodes_wait_to_start(
    empty_database: str,
) -> None:
    await apply(empty_database, FIRST, ADD_ONE)
    async with connected(empty_database) as long, connected(empty_database) as other, long.transaction():
        await long.execute(b"INSERT INTO one VALUES (2)")  # the index has to wait for this transaction
        async with migrating(empty_database, FIRST, ADD_ONE, ADD_INDEX) as task:
            node = asyncio.create_task(apply(empty_database, FIRST, ADD_ONE, ADD_INDEX))
            for _ in range(3):
                began = time.monotonic()
                await other.execute(b"INSERT INTO one VALUES (3)")
                assert time.monotonic() - began < NOBODY_WAITS_LONGER
                await asyncio.sleep(0.5)  # PostgreSQL would notice a deadlock after a second
            assert not task.done()
            await long.execute(b"COMMIT")
            assert (await task, await node) == (3, 3)
    assert read(empty_database, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]


async def killed(url: str, statement: int, *, is_sent: bool) -> bool:
    """Run a migration whose connection breaks at the given statement, as if its node had died; return whether
    it came so far.
    """
    async with proxied(url) as proxy:
        left = statement

        def counted(_: bytes) -> bool:
            nonlocal left
            left -= 1
            return left == 0

        setattr(proxy, "cut_after" if is_sent else "cut_before", counted)
        try:
            await apply(proxy.url, *released_scripts())
        except (psycopg.OperationalError, DatabaseUnusable):
            return True
        return False


@pytest.mark.wide
@pytest.mark.parametrize("is_sent", [False, True])
async def test_a_migration_can_be_killed_at_any_statement_and_goes_on_at_the_next_start(
    empty_database: str, *, is_sent: bool
) -> None:
    """Each migration is killed one statement later than the one before."""
    kills = 1
    while await killed(empty_database, kills, is_sent=is_sent):
        kills += 1
    assert kills > 15
    await whole(empty_database)


@pytest.mark.long
@pytest.mark.parametrize("is_sent", [False, True])
async def test_a_migration_of_the_release_before_can_be_killed_at_each_statement(
    empty_database: str, *, is_sent: bool
) -> None:
    before = released_scripts()[:POSTGRESQL]
    for statement in itertools.count(1):
        with psycopg.connect(empty_database, autocommit=True) as db:
            db.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await apply(empty_database, *before)
        was_killed = await killed(empty_database, statement, is_sent=is_sent)
        await whole(empty_database)
        if not was_killed:
            break
    assert statement > 15


async def whole(url: str) -> None:
    """Bring the database to the newest schema, and compare it with a database that was migrated without
    kills.
    """
    async with asyncio.timeout(20):
        assert await apply(url, *released_scripts()) == released_scripts()[-1].number
    assert read(url, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
    named = re.compile(r"INDEX (?:CONCURRENTLY )?(tasks_\w+) ON")
    dropped = {"tasks_waiting", "tasks_owner_ended"}
    wanted = {name for script in released_scripts() for name in named.findall(script.sql)} - dropped
    found = read(url, "SELECT indexname FROM pg_indexes WHERE tablename = 'tasks'")
    assert {name for (name,) in found} == wanted | {"tasks_pkey", "tasks_task_id_key"}


def test_scripts_build_indexes_on_tables_of_others_concurrently() -> None:
    """A transaction that builds an index on a large table would make all nodes wait."""
    for script in released_scripts()[POSTGRESQL:]:  # released scripts before this one stay as they are
        made = set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", script.sql))
        for index in re.findall(r"CREATE (?:UNIQUE )?INDEX [^;]*?;", script.sql):
            [table] = re.findall(r" ON (\w+)", index)
            assert table in made or (script.concurrent and "INDEX CONCURRENTLY" in index), index
        for name in re.findall(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY (\w+)", script.sql):
            assert f"DROP INDEX CONCURRENTLY IF EXISTS {name};" in script.sql, "a kill may have left a part"


GRAMS = [
    ("abcd", "'abc' 'bcd' 'cd' 'd'"),
    ("猫咪", "'咪' '猫咪'"),
    ("🐈", "'🐈'"),
    ("a 'b\\", "' ''b' '''b\\\\' '\\\\' 'a ''' 'b\\\\'"),
    ("aaaa", "'a' 'aa' 'aaa'"),
]


def test_grams_are_all_windows_and_the_tail(clean_database: str) -> None:
    with psycopg.connect(clean_database) as db:
        for text, expected in GRAMS:
            found = db.execute("SELECT grams(%s) = %s::tsvector", (text, expected)).fetchone()
            assert found == (True,), text


def test_an_empty_text_has_no_grams(clean_database: str) -> None:
    assert read(clean_database, "SELECT grams('')") == [(None,)]
