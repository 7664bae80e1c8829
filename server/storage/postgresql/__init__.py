"""Tasks in PostgreSQL, which many nodes share.

Importing it imports psycopg, so it is imported only where the settings choose PostgreSQL.
"""

from server.storage.postgresql.store import PostgresStore, open_store

__all__ = ["PostgresStore", "open_store"]
