"""Checks the database without changing anything or taking a lock."""

import os

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
            # A notification that no node hears has to reach another connection.
            channel = f"clipwire_check_{os.getpid()}"
            await db.execute(f"LISTEN {channel}".encode())
            await other.execute("SELECT pg_notify(%s, '')", (channel,))
            if not [one async for one in db.notifies(timeout=HEARD_WITHIN, stop_after=1)]:
                raise DatabaseUnusable(PLACE, POOLER)
            what = f"PostgreSQL {db.info.parameter_status('server_version')}, UTF8, announcements arrive"
    if not version:
        return f"{what}; it is empty: tables will be made"
    return f"{what}; it is in order (schema {version}, this server knows {newest})"
