"""Podcast feeds as rows, on every database; see `server.feeds.feed_store`."""

import json
from collections.abc import Sequence
from typing import Any

from server.core.owner_scope import OwnerScope
from server.feeds.feed_store import Listed
from server.storage.statements import Row, Statements, Tables, Transactions, fetch_in
from server.subscriptions.feed_names import person_of_secret, renew_secret, secret_of_feeds
from server.subscriptions.subscription import StoredSubscription
from server.subscriptions.subscription_columns import COLUMNS, readable

_OF_FEEDS = ", ".join(f"s.{name.strip()}" for name in COLUMNS.split(","))
_FIND = f"""
    SELECT {_OF_FEEDS} FROM feeds f JOIN subscriptions s ON s.subscription_id = f.subscription_id
    WHERE f.name = ?"""  # noqa: S608
_ALL = f"""
    SELECT f.name, {_OF_FEEDS} FROM feeds f JOIN subscriptions s ON s.subscription_id = f.subscription_id
    {{chosen}}ORDER BY f.name"""  # noqa: S608
# Until a retry is completed, the task still has the files of the previous attempt, so its item stays in the
# feed.
_LISTED = "i.state IN ('fetched', 'queued', 'waiting', 'failed') AND t.short IS NOT NULL AND NOT t.removed"
# Sorted by the date of publication. A date after the download is wrong: then the date of the download is
# used.
_FETCHED = f"""
    SELECT i.key, i.number, i.published_at, i.found_at, i.fetched_at, i.task_id, t.revision
    FROM items i JOIN tasks t ON t.task_id = i.task_id WHERE i.subscription_id = ? AND {_LISTED}
    ORDER BY CASE WHEN i.published_at < {{fetched_at}} THEN i.published_at ELSE {{fetched_at}} END DESC,
        i.number DESC, i.key DESC LIMIT ?"""  # noqa: S608
_ABOUT = "SELECT key, about FROM items WHERE subscription_id = ? AND key IN ({keys})"
_HAS = f"""
    SELECT 1 FROM items i JOIN tasks t ON t.task_id = i.task_id
    WHERE i.task_id = ? AND i.subscription_id = ? AND {_LISTED} LIMIT 1"""  # noqa: S608


class FeedRows:
    """All methods may raise `StoreUnavailable`."""

    def __init__(self, transactions: Transactions, *, separate_lists: bool = False) -> None:
        self._transactions = transactions
        self._separate = separate_lists

    def _scope_of(self, owner: str | None) -> OwnerScope:
        return OwnerScope(owner, is_separate=self._separate)

    async def secret(self, owner: str | None = None) -> str | None:
        """Return the secret of all feeds, or of the person's where lists are separate; None before the first
        feed.
        """
        return await self._transactions.read(lambda tables: secret_of_feeds(tables, self._scope_of(owner)))

    async def renew(self, owner: str | None = None) -> str | None:
        """Make another secret, so that all addresses change, and return it; None before the first feed."""

        async def work(tables: Tables) -> str | None:
            await renew_secret(tables, self._scope_of(owner))
            return await secret_of_feeds(tables, self._scope_of(owner))

        return await self._transactions.write(work)

    async def find(self, name: str, secret: str = "") -> tuple[str | None, StoredSubscription | None]:
        """Return the valid secret to compare with the sent `secret`, and the subscription whose feed has this
        name.
        """

        async def work(tables: Statements) -> tuple[str | None, StoredSubscription | None]:
            scope = await self._owner_of_secret(tables, secret)
            found = [one for one in readable(await tables.fetch(_FIND, (name,))) if self._is(one, scope)]
            return await secret_of_feeds(tables, scope), next(iter(found), None)

        return await self._transactions.read(work)

    async def _owner_of_secret(self, tables: Statements, secret: str) -> OwnerScope:
        """Return whose feeds the sent secret opens."""
        return self._scope_of(await person_of_secret(tables, secret) if self._separate else None)

    def _is(self, subscription: StoredSubscription, scope: OwnerScope) -> bool:
        return not self._separate or subscription.owner == scope.owner

    async def all(self, secret: str = "") -> tuple[str | None, Sequence[tuple[str, StoredSubscription]]]:
        """Return the valid secret to compare with the sent `secret`, and all feeds that it opens, by their
        names.
        """

        async def work(tables: Statements) -> tuple[str | None, list[tuple[str, StoredSubscription]]]:
            scope = await self._owner_of_secret(tables, secret)
            chosen = "WHERE coalesce(s.owner, '') = ? " if self._separate else ""
            values = (scope.owner or "",) if self._separate else ()
            rows = await tables.fetch(_ALL.replace("{chosen}", chosen), values)
            found = [(name, one) for name, *row in rows for one in readable([tuple(row)])]
            return await secret_of_feeds(tables, scope), found

        return await self._transactions.read(work)

    async def fetched(self, subscription_id: str, most: int) -> Sequence[Listed]:
        """Return the `most` newest items whose task may have files, the newest first: by when they were
        published, or fetched if that was earlier.
        """

        async def work(tables: Statements) -> list[Row]:
            fetched_at = tables.dialect.iso.format("coalesce(i.fetched_at, i.found_at)")
            return await tables.fetch(_FETCHED.replace("{fetched_at}", fetched_at), (subscription_id, most))

        return [Listed(*row) for row in await self._transactions.read(work)]

    async def about(self, subscription_id: str, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return `StoredItem.about` of those of `keys` that exist."""

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, _ABOUT, keys, subscription_id)

        return {key: json.loads(about) for key, about in await self._transactions.read(work)}

    async def has(self, subscription_id: str, task_id: str) -> bool:
        """Say whether the task is that of an item that `fetched` would return."""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_HAS, (task_id, subscription_id))

        return bool(await self._transactions.read(work))
