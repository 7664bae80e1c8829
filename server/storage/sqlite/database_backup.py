"""Backs up and checks the database, also while a server runs on it."""

import sqlite3
from pathlib import Path

from server.core.unusable import DatabaseUnusable
from server.storage.atomic_file import new_file
from server.storage.sqlite.connection import connect_from_outside, explain_errors
from server.storage.sqlite.migrations import released_scripts, verify


async def backup(path: Path, target: Path) -> None:
    """Write all that is committed in the database `path` to the new file `target`, completely or not at all.

    Neither the database nor a log that a crash has left is changed. To restore, stop the server and put the
    copy in the place of the database, without the old `-wal` and `-shm` files. Raises `DatabaseUnusable`.
    """
    _must_exist(path)
    async with new_file(target) as part:
        # One statement is one snapshot. SQLite's page-wise backup would begin anew with every commit.
        with explain_errors(path):
            async with connect_from_outside(path) as db:
                try:
                    await db.execute_fetchall("VACUUM INTO ?", (str(part),))
                except sqlite3.OperationalError as error:
                    is_full = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL
                    with explain_errors(target if is_full else path):
                        raise


async def check(path: Path) -> bool:
    """Raise `DatabaseUnusable` if a server could not work with the database `path`; changes nothing.

    Return False for an empty file, in which a server would create its tables.
    """
    _must_exist(path)
    with explain_errors(path):
        async with connect_from_outside(path) as db:
            return await verify(db, path, released_scripts()[-1].number) > 0


def is_there(path: Path) -> bool:
    """Say whether there is a database `path`. Raises `DatabaseUnusable` if this user has no access."""
    try:
        return path.exists()
    except OSError as error:
        raise DatabaseUnusable(path, f"cannot be opened ({error.strerror})") from error


def _must_exist(path: Path) -> None:
    if not is_there(path):
        raise DatabaseUnusable(path, "does not exist")
    if not path.is_file():
        raise DatabaseUnusable(path, "is no file")
