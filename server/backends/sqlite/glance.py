"""A look at the database from outside, which changes nothing: no byte, no time, no file.

A server may be running on it, or may have been killed: then what it committed last stands in the log alone.
An ordinary connection, even one that only reads, would make the log's index anew, and carry the log over into
the database when it closes. The folder may be one that nobody can write.
"""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite

# The log's index is only looked at, or made in memory (https://www.sqlite.org/wal.html#read_only_databases).
_WITH_LOG = "mode=ro&readonly_shm=1"
_WITHOUT_LOG = "mode=ro&immutable=1"  # a server would have one
TIMEOUT = 5.0  # seconds that another program may hold the database


@asynccontextmanager
async def connect_from_outside(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    """See all that is committed in the database `path`."""
    log, index = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    if not log.exists() or not log.stat().st_size:
        async with _connect(path, _WITHOUT_LOG) as db:
            yield db
    elif index.exists():
        async with _connect(path, _WITH_LOG) as db:
            yield db
    else:  # somebody has copied the two, without the index, which SQLite can only make in their folder
        with tempfile.TemporaryDirectory() as folder:
            for file in (path, log):
                await asyncio.to_thread(shutil.copy, file, folder)
            async with _connect(Path(folder) / path.name, "mode=rw") as db:
                yield db


@asynccontextmanager
async def _connect(path: Path, how: str) -> AsyncIterator[aiosqlite.Connection]:
    uri = _uri(path, how)
    # Tried first: what aiosqlite cannot open leaves it with a thread that may outlive the event loop.
    await asyncio.to_thread(_try_to_open, uri)
    async with aiosqlite.connect(uri, uri=True, isolation_level=None, timeout=TIMEOUT) as db:
        yield db


def _uri(path: Path, how: str) -> str:
    return f"{path.absolute().as_uri()}?{how}"


def _try_to_open(uri: str) -> None:
    sqlite3.connect(uri, uri=True).close()
