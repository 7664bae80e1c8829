"""Cookie files that all nodes share: see `server.core.ports.Cookies`."""

import secrets
import time

from server.cluster.database import Database
from server.core import cookie_format
from server.core.errors import TooManyCookies
from server.core.ports import StoredCookies

_PUT = """
    INSERT INTO cookies (name, put, content) SELECT %s, %s, %s
    WHERE (SELECT count(*) FROM cookies) < %s OR EXISTS (SELECT 1 FROM cookies WHERE name = %s)
    ON CONFLICT (name) DO UPDATE SET put = excluded.put, content = excluded.content
    RETURNING name"""
_GET = "SELECT put, content FROM cookies WHERE name = %s"
_NAMES = "SELECT name FROM cookies ORDER BY name"
_DELETE = "DELETE FROM cookies WHERE name = %s RETURNING name"
_LOCKED = b"SELECT content FROM cookies WHERE name = %s AND put = %s FOR UPDATE"
_RENEW = b"UPDATE cookies SET content = %s WHERE name = %s"


class SharedCookies:
    """All methods raise `StoreUnavailable`. Of nodes that store at the same moment each counts for itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, name: str, text: str) -> None:
        most = cookie_format.MOST_FILES
        if not await self._database.rows(_PUT, name, secrets.token_hex(8), text, most, name):
            raise TooManyCookies(most)

    async def get(self, name: str) -> StoredCookies | None:
        rows = await self._database.rows(_GET, name)
        return StoredCookies(*rows[0]) if rows else None

    async def names(self) -> list[str]:
        return [name for (name,) in await self._database.rows(_NAMES)]

    async def delete(self, name: str) -> bool:
        return bool(await self._database.rows(_DELETE, name))

    async def renew(self, name: str, given: StoredCookies, back: str) -> None:
        """The row is locked meanwhile: a renewal by another node waits, and builds on this one's changes."""
        async with self._database.transaction() as db:
            row = await (await db.execute(_LOCKED, (name, given.put))).fetchone()
            if row is None:
                return
            text = cookie_format.renewed(row[0], given.text, back, time.time())
            if text != row[0] and len(text.encode()) <= cookie_format.MAX_SIZE:
                await db.execute(_RENEW, (text, name))
