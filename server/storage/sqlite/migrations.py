"""Brings a database to this server's schema, and refuses one that it cannot read.

A script that was released is never edited; the next number is added. Each is applied in one
transaction together with its number, so that a start after a kill goes on with the first unapplied one.
"""

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import aiosqlite

from server.core.unusable import DatabaseUnusable

APPLICATION_ID = 0x436C7077  # as the first script sets it
# A check of every page takes about a second for a gigabyte; a small database gets one at each start.
CHECKED_UP_TO = 10_000  # pages
_SCRIPT = re.compile(r"(?P<number>\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Script:
    number: int
    sql: str


def released_scripts() -> list[Script]:
    return scripts_in(resources.files("server.storage.sqlite") / "sql")


def scripts_in(folder: Traversable) -> list[Script]:
    """Return the scripts in the order of their numbers; other files in the folder are ignored."""
    found = [(name, file) for file in folder.iterdir() if (name := _SCRIPT.fullmatch(file.name))]
    scripts = [Script(int(name["number"]), file.read_text("utf-8")) for name, file in found]
    return sorted(scripts, key=lambda script: script.number)


async def migrate(db: aiosqlite.Connection, path: Path, scripts: Sequence[Script]) -> int:
    """Apply the scripts that this database lacks; return its new version. Raises `DatabaseUnusable`."""
    version = await verify(db, path, newest=scripts[-1].number)
    for script in scripts:
        if script.number <= version:
            continue
        step = f"BEGIN IMMEDIATE;\n{script.sql}\nPRAGMA user_version = {script.number};\nCOMMIT;"
        try:
            await db.executescript(step)
        except sqlite3.DatabaseError as error:
            if db.in_transaction:
                await db.execute_fetchall("ROLLBACK")
            why = f"could not be brought to schema {script.number}, it is unchanged ({error})"
            raise DatabaseUnusable(path, why) from error
    return scripts[-1].number


async def verify(db: aiosqlite.Connection, path: Path, newest: int) -> int:
    """Return the version, 0 for an empty file.

    Raises `DatabaseUnusable` for a database of another program or a newer server, and for a damaged one. A
    damaged header or schema, and a truncated file, are refused by SQLite itself at the first read.
    """
    version = await _integer(db, "PRAGMA user_version")
    if await _integer(db, "SELECT count(*) FROM sqlite_schema"):
        if await _integer(db, "PRAGMA application_id") != APPLICATION_ID:
            raise DatabaseUnusable(path, "belongs to another program: choose another storage.data_dir")
        if version > newest:
            raise DatabaseUnusable(
                path, f"is of a newer server (schema {version}, this one knows {newest}): update this one"
            )
        if await _integer(db, "PRAGMA page_count") <= CHECKED_UP_TO:
            [(verdict,)] = await db.execute_fetchall("PRAGMA quick_check(1)")
            if verdict != "ok":
                why = "is damaged: restore a backup, or move the file away to begin anew"
                raise DatabaseUnusable(path, f"{why} ({' '.join(verdict.split())})")
    return version


async def _integer(db: aiosqlite.Connection, sql: str) -> int:
    [(value,)] = await db.execute_fetchall(sql)
    return int(value)
