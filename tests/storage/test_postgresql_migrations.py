"""Opening a database on PostgreSQL: numbered scripts, two releases side by side, and what cannot be used."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from server.core.unusable import DatabaseUnusable
from server.storage.postgresql.connection import connected
from server.storage.postgresql.migrations import Script, migrate, released_scripts, scripts_in
from tests.cluster.postgres import database

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


GRAMS = [
    ("abcd", "'abc' 'bcd' 'cd' 'd'"),
    ("猫咪", "'咪' '猫咪'"),
    ("🐈", "'🐈'"),
    ("a 'b\\", "' ''b' '''b\\\\' '\\\\' 'a ''' 'b\\\\'"),
    ("aaaa", "'a' 'aa' 'aaa'"),
]


@pytest.mark.parametrize(("text", "expected"), GRAMS)
async def test_grams_are_all_windows_and_the_tail(empty_database: str, text: str, expected: str) -> None:
    await apply(empty_database, *released_scripts())
    with psycopg.connect(empty_database) as db:
        assert db.execute("SELECT grams(%s) = %s::tsvector", (text, expected)).fetchone() == (True,)


async def test_an_empty_text_has_no_grams(empty_database: str) -> None:
    await apply(empty_database, *released_scripts())
    assert read(empty_database, "SELECT grams('')") == [(None,)]
