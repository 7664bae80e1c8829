"""A look at the database from outside: nothing is changed, no lock is taken."""

import os

from psycopg import AsyncConnection

from server.backends.postgresql.connection import PLACE, connected, explained
from server.backends.postgresql.migrations import released_scripts, verify
from server.backends.postgresql.relay import POOLER
from server.backends.unusable import DatabaseUnusable

HEARD_WITHIN = 2.0  # seconds


async def check(url: str) -> str:
    """What is there, in a few words. Raises `DatabaseUnusable` if a server could not work with it."""
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
    """Whether `db` hears what `other` says, on a channel that no node listens to."""
    channel = f"clipwire_check_{os.getpid()}"
    await db.execute(f"LISTEN {channel}".encode())
    await other.execute("SELECT pg_notify(%s, '')", (channel,))
    async for _ in db.notifies(timeout=HEARD_WITHIN, stop_after=1):
        return
    raise DatabaseUnusable(PLACE, POOLER)
