"""A connection for other programs than the server, which changes nothing: no byte, no timestamp, no file.

A server may be running on the database, or may have been killed: then its last commits are only in the
write-ahead log (`-wal`). An ordinary connection, even one that only reads, would rebuild the log's index
(`-shm`), and move the log's content into the database (a checkpoint) when it closes. The folder may be
read-only.
"""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite

# The log's index is only read, or built in memory (https://www.sqlite.org/wal.html#read_only_databases).
_WITH_LOG = "mode=ro&readonly_shm=1"
_WITHOUT_LOG = "mode=ro&immutable=1"  # nobody writes: a server that has written has a log
TIMEOUT = 5.0  # seconds to wait for another program that holds the database


@asynccontextmanager
async def connect_from_outside(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    """A connection that sees all that is committed in the database `path`."""
    log, index = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    if log.exists() and index.exists():
        async with _connect(path, _WITH_LOG) as db:
            yield db
    elif not log.exists() or not log.stat().st_size:
        async with _connect(path, _WITHOUT_LOG) as db:
            yield db
    else:  # a copy of the two without the index, which SQLite could build only in their folder
        with tempfile.TemporaryDirectory() as folder:
            for file in (path, log):
                await asyncio.to_thread(shutil.copy, file, folder)
            async with _connect(Path(folder) / path.name, "mode=rw") as db:
                yield db


@asynccontextmanager
async def _connect(path: Path, how: str) -> AsyncIterator[aiosqlite.Connection]:
    uri = _uri(path, how)
    # Tried first: a file that aiosqlite cannot open leaves a thread that may outlive the event loop.
    await asyncio.to_thread(lambda: sqlite3.connect(uri, uri=True).close())
    async with aiosqlite.connect(uri, uri=True, isolation_level=None, timeout=TIMEOUT) as db:
        yield db


def _uri(path: Path, how: str) -> str:
    return f"{path.absolute().as_uri()}?{how}"
