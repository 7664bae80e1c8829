"""Opens, checks and backs up the backend that `storage.database` chooses."""

import asyncio
import os
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from server.assembly import embedded
from server.assembly.backend import Backend
from server.assembly.file_store import check_files
from server.core.clock import Clock
from server.core.counts import Counts
from server.core.unusable import DatabaseUnusable, DataDirUnusable, FilesUnusable
from server.feature import Feature
from server.settings import Settings
from server.storage import sqlite
from server.storage.atomic_file import names_of_parts
from server.storage.sqlite import DataDirInUse
from server.tasks.children import Launched
from server.tasks.yt_dlp_releases import FOLDER as RELEASES

__all__ = [
    "Backend",
    "DataDirInUse",
    "DataDirUnusable",
    "DatabaseUnusable",
    "FilesUnusable",
    "back_up",
    "check_database",
    "check_files",
    "open_backend",
    "restore_database",
]


def open_backend(
    settings: Settings,
    features: Sequence[Feature],
    clock: Clock,
    scopes: Collection[str] = (),
    counts: Counts | None = None,
    launched: Launched | None = None,
) -> AbstractAsyncContextManager[Backend]:
    """Open the backend, and end log-ins whose scope is none of `scopes`.

    `launched` is the first fork server, if that is starting already (on one machine only).

    Raises `ConfigurationError`, `DataDirInUse`, `DataDirUnusable`, `DatabaseUnusable`, `FilesUnusable` when
    entered.
    """
    if settings.storage.database == "sqlite":
        return embedded.open_embedded(settings, features, clock, scopes, counts, launched)
    from server.assembly.node import open_cluster  # costs 30 MB: import it only where PostgreSQL is used

    return open_cluster(settings, features, scopes, counts)


async def check_database(settings: Settings) -> str:
    """Describe the database in a few words. Raises `DatabaseUnusable` if a server could not work with it."""
    if settings.storage.database != "sqlite":
        from server.storage.postgresql.database_backup import check as check_postgresql

        return await check_postgresql(settings.storage.database)
    path = settings.storage.data_dir / sqlite.DATABASE
    if not sqlite.is_there(path):
        return f"{path} will be made"
    await sqlite.check(path)
    return f"{path} is in order"


async def back_up(settings: Settings, target: Path) -> None:
    """Copy the database while a server may be running on it. Raises `DatabaseUnusable`."""
    if settings.storage.database != "sqlite":
        from server.storage.postgresql.database_backup import backup as back_up_postgresql

        await back_up_postgresql(settings.storage.database, target)
    else:
        await sqlite.backup(settings.storage.data_dir / sqlite.DATABASE, target)


async def restore_database(settings: Settings, source: Path) -> Path:
    """Restore a copy made by `back_up` to where a server finds it, and return its path.

    The data directory must be empty or missing. Raises `DatabaseUnusable`, `DataDirInUse`.
    """
    if settings.storage.database != "sqlite":
        raise DatabaseUnusable(
            "storage.database", "is PostgreSQL: restore with pg_restore into an empty database"
        )
    data_dir = settings.storage.data_dir
    target = data_dir / sqlite.DATABASE
    if not await sqlite.check(source):
        raise DatabaseUnusable(source, "is empty, and no backup")
    try:
        there = await asyncio.to_thread(os.listdir, data_dir) if data_dir.exists() else []
    except OSError as error:
        raise DatabaseUnusable(data_dir, f"cannot be read ({error.strerror})") from error
    # The directory still counts as empty with these: leftovers of a killed restore, releases of yt-dlp that
    # `update` has downloaded, and the `lost+found` of a new file system.
    if set(there) - {sqlite.LOCK, *names_of_parts(sqlite.DATABASE), RELEASES, "lost+found"}:
        raise DatabaseUnusable(data_dir, "is not empty: move it away, or name another storage.data_dir")
    async with sqlite.open_lock(data_dir, patience=0):
        await sqlite.backup(source, target)
    return target
