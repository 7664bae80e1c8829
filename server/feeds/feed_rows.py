"""Podcast feeds as rows, on every database; see `server.feeds.feed_store`."""

import json
from collections.abc import Sequence
from typing import Any

from server.feeds.feed_store import Listed
from server.storage.statements import Row, Statements, Tables, Transactions, fetch_in
from server.subscriptions.feed_names import SECRET, fresh_secret, secret_of_feeds
from server.subscriptions.subscription import Subscription
from server.subscriptions.subscription_rows import COLUMNS, readable

_RENEW = "UPDATE secrets SET value = ? WHERE name = ?"
_OF_FEEDS = ", ".join(f"s.{name.strip()}" for name in COLUMNS.split(","))
_FIND = f"""
    SELECT {_OF_FEEDS} FROM feeds f JOIN subscriptions s ON s.subscription_id = f.subscription_id
    WHERE f.name = ?"""  # noqa: S608
_ALL = f"""
    SELECT f.name, {_OF_FEEDS} FROM feeds f JOIN subscriptions s ON s.subscription_id = f.subscription_id
    ORDER BY f.name"""  # noqa: S608
# A retry leaves the files of the attempt before until it is completed, so that its item stays.
_LISTED = "i.state IN ('fetched', 'queued', 'waiting', 'failed') AND t.short IS NOT NULL AND NOT t.removed"
# Sorted by when an item was published, which was not after it was fetched.
_FETCHED = f"""
    SELECT i.key, i.number, i.published_at, i.found_at, i.fetched_at, i.task_id, t.revision
    FROM items i JOIN tasks t ON t.task_id = i.task_id WHERE i.subscription_id = ? AND {_LISTED}
    ORDER BY CASE WHEN i.published_at < {{there}} THEN i.published_at ELSE {{there}} END DESC,
        i.number DESC, i.key DESC LIMIT ?"""  # noqa: S608
_ABOUT = "SELECT key, about FROM items WHERE subscription_id = ? AND key IN ({keys})"
_HAS = f"""
    SELECT 1 FROM items i JOIN tasks t ON t.task_id = i.task_id
    WHERE i.task_id = ? AND i.subscription_id = ? AND {_LISTED} LIMIT 1"""  # noqa: S608


class FeedRows:
    """All methods may raise `StoreUnavailable`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def secret(self) -> str | None:
        """Return the secret; None if there never was a feed."""
        return await self._transactions.read(secret_of_feeds)

    async def renew(self) -> str | None:
        """Make another secret, so that all addresses change; None if there never was a feed."""
        fresh = fresh_secret()

        async def work(tables: Tables) -> str | None:
            await tables.run(_RENEW, (fresh, SECRET))
            return await secret_of_feeds(tables)

        return await self._transactions.write(work)

    async def find(self, name: str) -> tuple[str | None, Subscription | None]:
        """The secret, and the subscription whose feed has this name."""

        async def work(tables: Statements) -> tuple[str | None, Subscription | None]:
            rows = await tables.fetch(_FIND, (name,))
            return await secret_of_feeds(tables), next(readable(rows), None)

        return await self._transactions.read(work)

    async def all(self) -> tuple[str | None, Sequence[tuple[str, Subscription]]]:
        """Return the secret, and all feeds by name, in the order of names."""

        async def work(tables: Statements) -> tuple[str | None, list[tuple[str, Subscription]]]:
            rows = await tables.fetch(_ALL)
            found = [(name, one) for name, *row in rows for one in readable([tuple(row)])]
            return await secret_of_feeds(tables), found

        return await self._transactions.read(work)

    async def fetched(self, subscription_id: str, most: int) -> Sequence[Listed]:
        """The newest items whose task may have files, the newest first: by when they were published, which
        was not after they were fetched.
        """

        async def work(tables: Statements) -> list[Row]:
            there = tables.dialect.iso.format("coalesce(i.fetched_at, i.found_at)")
            return await tables.fetch(_FETCHED.replace("{there}", there), (subscription_id, most))

        return [Listed(*row) for row in await self._transactions.read(work)]

    async def about(self, subscription_id: str, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return `Item.about` of those of `keys` that exist."""

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, _ABOUT, keys, subscription_id)

        return {key: json.loads(about) for key, about in await self._transactions.read(work)}

    async def has(self, subscription_id: str, task_id: str) -> bool:
        """Say whether the task is that of an item that `fetched` would return."""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_HAS, (task_id, subscription_id))

        return bool(await self._transactions.read(work))
