"""The one place that knows which backend is on."""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from server.backends import embedded, sqlite
from server.backends.embedded import Backend
from server.backends.sqlite import DatabaseUnusable, DataDirInUse
from server.clock import Clock
from server.settings import Settings
from server.tasks.hub import Hub

__all__ = ["Backend", "DataDirInUse", "DatabaseUnusable", "back_up", "check_database", "open_backend"]


def open_backend(
    settings: Settings, hub: Hub, clock: Clock, scopes: Collection[str] = ()
) -> AbstractAsyncContextManager[Backend]:
    """Log-ins of other `scopes` than these end. Raises `DataDirInUse` and `DatabaseUnusable` when entered."""
    match settings.storage.database:
        case "sqlite":
            return embedded.open_embedded(settings, hub, clock, scopes)


async def check_database(settings: Settings) -> str:
    """What is there, in a few words; raises `DatabaseUnusable` if a server could not work with it."""
    path = settings.storage.data_dir / sqlite.DATABASE
    if not sqlite.is_there(path):
        return f"{path} will be made"
    await sqlite.check(path)
    return f"{path} is in order"


async def back_up(settings: Settings, target: Path) -> None:
    """Copy the database while a server may be running on it. Raises `DatabaseUnusable`."""
    await sqlite.backup(settings.storage.data_dir / sqlite.DATABASE, target)
