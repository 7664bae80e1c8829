"""People for commands: a transaction on the database, whether a server runs on it or not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiosqlite

from server.assembly.backend import data_dir_of, make, prepare
from server.core.unusable import DatabaseUnusable
from server.people.bell import ring
from server.settings import Settings
from server.storage.sqlite.connection import DATABASE, connect_writer, explain_errors
from server.storage.sqlite.data_dir_lock import DataDirInUse, open_lock
from server.storage.sqlite.migrations import migrate, released_scripts, verify
from server.storage.sqlite.writer import SqliteStatements
from server.storage.statements import Statements

UNHEARD = "the server that runs has not heard of it: restart it"


@asynccontextmanager
async def people_transaction(settings: Settings, *, changes: bool = True) -> AsyncIterator[Statements]:
    """Open a transaction, which is committed at the end of the block; the changes apply when the block has
    returned. Without `changes` it only reads.

    Raises `DatabaseUnusable`, also if a running server cannot be told of the changes.
    """
    if settings.storage.database != "sqlite":
        from server.assembly.people_of_cluster import cluster_transaction

        async with cluster_transaction(settings.storage.database) as tables:
            yield tables
        return
    path = settings.storage.data_dir / DATABASE
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(make, settings.storage.data_dir)
        try:
            await stack.enter_async_context(open_lock(settings.storage.data_dir, patience=0))
            is_running = False
        except DataDirInUse:
            is_running = True
        else:
            await asyncio.to_thread(prepare, data_dir_of(settings.storage))
        with explain_errors(path):
            db = await stack.enter_async_context(connect_writer(path))
            if is_running:
                newest = released_scripts()[-1].number
                if await verify(db, path, newest) < newest:
                    why = "is of an older release: update the server that runs on it first"
                    raise DatabaseUnusable(path, why)
            else:
                await migrate(db, path, released_scripts())
            await db.execute_fetchall("BEGIN IMMEDIATE")
            try:
                yield SqliteStatements(db)
            except BaseException:
                await _roll_back(db)
                raise
            await db.execute_fetchall("COMMIT")
        if is_running and changes and not await asyncio.to_thread(ring, settings.storage.data_dir):
            raise DatabaseUnusable(path, f"was changed, but {UNHEARD}")


async def _roll_back(db: aiosqlite.Connection) -> None:
    if db.in_transaction:
        await db.execute_fetchall("ROLLBACK")
