"""Connections to the database file, and what is said when it cannot be used.

There is one connection that writes and there are others that read: what the writing one sees is not
yet committed.
"""

import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiosqlite

DATABASE = "clipwire.db"
BUSY_TIMEOUT = 5.0  # seconds that a write waits for another program, such as the sqlite3 shell
WAL_LIMIT = 64 << 20  # bytes that the write-ahead log keeps after a checkpoint

_ADVICE = {
    sqlite3.SQLITE_NOTADB: "is not a SQLite database: restore a backup, or move the file away to begin anew",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore a backup, or move the file away to begin anew",
    sqlite3.SQLITE_READONLY: "cannot be written: give the server's user write access to it and to its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check that its folder is there and writable",
    sqlite3.SQLITE_PERM: "cannot be opened: give the server's user access to it and to its folder",
    sqlite3.SQLITE_BUSY: "is locked by another program: close that",
    sqlite3.SQLITE_FULL: "cannot be written, the disk is full: make room",
    sqlite3.SQLITE_IOERR: "cannot be read or written: check the disk",
}


class DatabaseUnusable(Exception):
    """One line that names the file, what is wrong with it and what to do."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} {why}")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors on `path` into `DatabaseUnusable`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        # The lower byte is the primary code; the rest says more than an operator needs.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        why = _ADVICE.get(code, "cannot be used: restore a backup, or move the file away to begin anew")
        raise DatabaseUnusable(path, f"{why} ({error})") from error


@asynccontextmanager
async def connect_writer(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    """The connection that writes; makes the file if there is none. A commit survives a power cut."""
    _create(path)
    async with aiosqlite.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT) as db:
        await db.execute_fetchall("PRAGMA journal_mode = WAL")
        await db.execute_fetchall("PRAGMA synchronous = FULL")
        await db.execute_fetchall(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
        yield db


@asynccontextmanager
async def connect_reader(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    """A connection that cannot write. Fetch all at once: an open read keeps the log from being reset."""
    async with aiosqlite.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT) as db:
        await db.execute_fetchall("PRAGMA query_only = ON")
        yield db


def _create(path: Path) -> None:
    """SQLite would make the file readable for everybody; its side files take over its mode.

    And it would open one that it may not write, which the first client would learn.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DatabaseUnusable(path, f"cannot be written ({error.strerror})") from error
