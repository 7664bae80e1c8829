"""Checks the database without changing anything or taking a lock."""

import os

from psycopg import AsyncConnection

from server.core.unusable import DatabaseUnusable
from server.storage.postgresql.connection import PLACE, POOLER, connected, explained
from server.storage.postgresql.migrations import released_scripts, verify

HEARD_WITHIN = 2.0  # seconds in which a notification has to arrive


async def check(url: str) -> str:
    """Describe the database in a few words. Raises `DatabaseUnusable` if a server could not work with it."""
    newest = released_scripts()[-1].number
    with explained():
        async with connected(url) as db, connected(url) as other:
            version = await verify(db, newest)
            await _hears(db, other)
            what = f"PostgreSQL {db.info.parameter_status('server_version')}, UTF8, announcements arrive"
    if not version:
        return f"{what}; it is empty: tables will be made"
    return f"{what}; it is in order (schema {version}, this server knows {newest})"


async def _hears(db: AsyncConnection, other: AsyncConnection) -> None:
    """Raise `DatabaseUnusable` if a notification of `other`, which no node hears, does not reach `db`."""
    channel = f"clipwire_check_{os.getpid()}"
    await db.execute(f"LISTEN {channel}".encode())
    await other.execute("SELECT pg_notify(%s, '')", (channel,))
    async for _ in db.notifies(timeout=HEARD_WITHIN, stop_after=1):
        return
    raise DatabaseUnusable(PLACE, POOLER)
