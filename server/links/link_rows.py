"""Links to files as rows, on every database.

A link's address holds its id and a signature of that id (HMAC-SHA256), so a link that has ended can be
told from one that never was made, although its row is deleted.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from server.core.errors import TooManyLinks
from server.storage.statements import Row, Statements, Tables, Transactions

MAX_OPEN = 100  # links of a task at a time
_KEY_BYTES = 32
_KEY_NAME = "links"
_KEY = "SELECT value FROM secrets WHERE name = ?"
_ADD_KEY = "INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
_DELETE_EXPIRED = "DELETE FROM links WHERE expires_at <= ?"
_COUNT = "SELECT count(*) FROM links WHERE task_id = ?"
_ADD = "INSERT INTO links (link_id, task_id, kind, name, made_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)"
_COLUMNS = "SELECT link_id, task_id, kind, name, expires_at FROM links"
_FIND = f"{_COLUMNS} WHERE link_id = ? AND expires_at > ?"
_FIND_OF_OWNER = f"""
    {_FIND} AND EXISTS (SELECT 1 FROM tasks WHERE tasks.task_id = links.task_id AND owner = ?)"""  # noqa: S608
_OF_TASK = f"{_COLUMNS} WHERE task_id = ? AND expires_at > ? ORDER BY made_at, link_id"
_REVOKE = "DELETE FROM links WHERE link_id = ?"


@dataclass(frozen=True, slots=True)
class StoredLink:
    """Opens the stored file `name`, which a task has under `kind`, until `expires_at` (since 1970)."""

    link_id: str
    task_id: str
    kind: str
    name: str
    expires_at: float


def sign(key: str, link_id: str) -> str:
    digest = hmac.digest(key.encode(), link_id.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_signed(key: str | None, link_id: str, signature: str) -> bool:
    if key is None:
        return False
    return hmac.compare_digest(sign(key, link_id).encode(), signature.encode(errors="replace"))


async def _key(tables: Statements) -> str | None:
    return next((value for (value,) in await tables.fetch(_KEY, (_KEY_NAME,))), None)


class LinkRows:
    """All methods may raise `StoreUnavailable`. Times are seconds since 1970."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def key(self) -> str | None:
        """Return the key that signs links; None if there never was a link."""
        return await self._transactions.read(_key)

    async def add(self, task_id: str, kind: str, name: str, now: float, seconds: int) -> StoredLink:
        """Make a link. Raises `TooManyLinks`."""
        link = StoredLink(secrets.token_urlsafe(12), task_id, kind, name, now + seconds)

        async def work(tables: Tables) -> None:
            await tables.run(_DELETE_EXPIRED, (now,))
            ((count,),) = await tables.fetch(_COUNT, (task_id,))
            if count >= MAX_OPEN:
                raise TooManyLinks(MAX_OPEN)
            await tables.run(_ADD_KEY, (_KEY_NAME, secrets.token_urlsafe(_KEY_BYTES)))
            await tables.run(_ADD, (link.link_id, task_id, kind, name, now, link.expires_at))

        await self._transactions.write(work)
        return link

    async def find(self, link_id: str, now: float, owner: str | None = None) -> StoredLink | None:
        """Return a link; None if it has ended, or never was made; with `owner`, also if its task is
        another's.
        """
        if "\0" in link_id:  # PostgreSQL refuses it
            return None
        if owner is None:
            return next(iter(await self._fetch(_FIND, (link_id, now))), None)
        return next(iter(await self._fetch(_FIND_OF_OWNER, (link_id, now, owner))), None)

    async def of_task(self, task_id: str, now: float) -> Sequence[StoredLink]:
        """Return the task's open links, the oldest first."""
        return await self._fetch(_OF_TASK, (task_id, now))

    async def revoke(self, link_id: str) -> None:
        async def work(tables: Tables) -> None:
            await tables.run(_REVOKE, (link_id,))

        await self._transactions.write(work)

    async def _fetch(self, sql: str, values: Sequence[object]) -> Sequence[StoredLink]:
        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(sql, values)

        return [StoredLink(*row) for row in await self._transactions.read(work)]
