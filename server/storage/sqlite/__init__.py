"""Tasks in one SQLite file.

A server enters `open_lock`, then `open_store`; `backup` and `check` also work while a server runs.
"""

from server.storage.sqlite.connection import DATABASE, explain_errors
from server.storage.sqlite.data_dir_lock import LOCK, DataDirInUse, open_lock
from server.storage.sqlite.database_backup import backup, check, is_there
from server.storage.sqlite.store import SqliteStore, open_store

__all__ = [
    "DATABASE",
    "LOCK",
    "DataDirInUse",
    "SqliteStore",
    "backup",
    "check",
    "explain_errors",
    "is_there",
    "open_lock",
    "open_store",
]
