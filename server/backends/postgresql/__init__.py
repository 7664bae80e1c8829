"""Tasks in PostgreSQL, which many nodes share.

Its packages are imported with it: only where the settings ask for it.
"""

from server.backends.postgresql.store import PostgresStore, open_store

__all__ = ["PostgresStore", "open_store"]
