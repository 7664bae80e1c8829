"""Connections to the database file, and the errors that are raised where it cannot be used.

One connection of the server writes. Reads go through others, since the writing one sees changes that are not
committed yet. Other programs read by `connect_from_outside`, which changes nothing.
"""

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiosqlite

from server.core.errors import DatabaseBusy, DiskFull, StorageFailed, StoreUnavailable
from server.core.unusable import DatabaseUnusable

DATABASE = "clipwire.db"
BUSY_TIMEOUT = 5.0  # seconds that a start waits for another program, such as the sqlite3 shell
READ_TIMEOUT = 1.0  # seconds that a read waits for a lock; in WAL mode readers normally wait for none
OUTSIDE_TIMEOUT = 5.0  # seconds that another program waits for the one that holds the database
FULL = 1 << 20  # bytes: a disk with less free space counts as full
WAL_LIMIT = 64 << 20  # bytes that the write-ahead log keeps after a checkpoint
# The log's index is only read, or built in memory (https://www.sqlite.org/wal.html#read_only_databases).
_WITH_LOG = "mode=ro&readonly_shm=1"
_WITHOUT_LOG = "mode=ro&immutable=1"  # nobody writes: a server that has written has a log
# Without an adapter, sqlite3 searches each None for methods in vain, which takes as long as writing it.
sqlite3.register_adapter(type(None), lambda none: none)
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

_UNAVAILABLE: dict[int, type[StoreUnavailable]] = {
    sqlite3.SQLITE_BUSY: DatabaseBusy,
    sqlite3.SQLITE_LOCKED: DatabaseBusy,
    sqlite3.SQLITE_PROTOCOL: DatabaseBusy,  # another connection got the log's locks first too often
    sqlite3.SQLITE_FULL: DiskFull,
    sqlite3.SQLITE_IOERR: StorageFailed,
    sqlite3.SQLITE_READONLY: StorageFailed,
    sqlite3.SQLITE_CANTOPEN: StorageFailed,
    sqlite3.SQLITE_PERM: StorageFailed,
    sqlite3.SQLITE_CORRUPT: StorageFailed,
    sqlite3.SQLITE_NOTADB: StorageFailed,
}


@contextmanager
def explain_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors on `path` into `DatabaseUnusable`: for a start, or a command."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise DatabaseUnusable(path, f"{_advice(_code(error))} ({error})") from error
    except StoreUnavailable as error:
        codes = [code for code, kind in _UNAVAILABLE.items() if isinstance(error, kind)]
        known = _code(error.__cause__)
        why = _advice(known if known in codes else codes[0])
        raise DatabaseUnusable(path, f"{why} ({error.__cause__ or error})") from error


def _advice(code: int) -> str:
    return _ADVICE.get(code, "cannot be used: restore a backup, or move the file away to begin anew")


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors on `path` into `StoreUnavailable`, if their cause is outside this program."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if reason := unavailable(error, path):
            raise reason from error
        raise


def unavailable(error: sqlite3.DatabaseError, path: Path) -> StoreUnavailable | None:
    """Return the error to raise to callers of the store for `error`; None if the fault is this program's."""
    kind = _UNAVAILABLE.get(_code(error))
    if kind is StorageFailed:
        with suppress(OSError):
            if shutil.disk_usage(path.parent).free < FULL:  # SQLite sometimes reports another error
                return DiskFull()
    return kind() if kind else None


def _code(error: BaseException | None) -> int:
    """The primary result code: the lower byte of SQLite's extended one; 0 if `error` has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


class Reader:
    """A connection that cannot write."""

    def __init__(self, db: aiosqlite.Connection, path: Path) -> None:
        self._db = db
        self._path = path

    async def fetch(
        self, sql: str, values: Sequence[object] | Mapping[str, object] = ()
    ) -> list[sqlite3.Row]:
        """Fetch all rows at once: an open read would keep the log from being reset. Raises
        `StoreUnavailable`.
        """
        with translate_errors(self._path):
            return list(await self._db.execute_fetchall(sql, values))


@asynccontextmanager
async def connect_writer(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    """Yield the connection that writes; create the file if there is none. A commit survives a power cut."""
    _create(path)
    async with aiosqlite.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT) as db:
        await db.execute_fetchall("PRAGMA journal_mode = WAL")
        await db.execute_fetchall("PRAGMA synchronous = FULL")
        await db.execute_fetchall(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
        yield db


@asynccontextmanager
async def connect_reader(path: Path) -> AsyncIterator[Reader]:
    async with aiosqlite.connect(path, isolation_level=None, timeout=READ_TIMEOUT) as db:
        await db.execute_fetchall("PRAGMA query_only = ON")
        yield Reader(db, path)


@asynccontextmanager
async def connect_from_outside(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    """Yield a connection for programs other than the server. It sees all that is committed in the database
    `path`, and changes nothing: no byte, no timestamp, no file.

    A server may be running on the database, or may have been killed: its last commits are then only in the
    write-ahead log (`-wal`). An ordinary connection, even one that only reads, would rebuild the log's index
    (`-shm`), and move the log's content into the database (a checkpoint) when it closes. The folder may be
    read-only.
    """
    log, index = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    if log.exists() and index.exists():
        async with _connect_as(path, _WITH_LOG) as db:
            yield db
    elif not log.exists() or not log.stat().st_size:
        async with _connect_as(path, _WITHOUT_LOG) as db:
            yield db
    else:  # read a copy of both files: SQLite builds the missing index beside them
        with tempfile.TemporaryDirectory() as folder:
            for file in (path, log):
                await asyncio.to_thread(shutil.copy, file, folder)
            async with _connect_as(Path(folder) / path.name, "mode=rw") as db:
                yield db


def _create(path: Path) -> None:
    """Create the file readable for this user alone: its `-wal` and `-shm` files take over its mode.

    SQLite would make it readable for everybody. It would also open a file that this user may not write; the
    first write would fail.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DatabaseUnusable(path, f"cannot be written ({error.strerror})") from error


@asynccontextmanager
async def _connect_as(path: Path, how: str) -> AsyncIterator[aiosqlite.Connection]:
    """Connect; `how` has the parameters of SQLite's URI."""
    uri = _uri(path, how)
    # Open it once without aiosqlite, which after a failure leaves a thread that may outlive the event loop.
    await asyncio.to_thread(lambda: sqlite3.connect(uri, uri=True).close())
    async with aiosqlite.connect(uri, uri=True, isolation_level=None, timeout=OUTSIDE_TIMEOUT) as db:
        yield db


def _uri(path: Path, how: str) -> str:
    return f"{path.absolute().as_uri()}?{how}"
