"""The names of podcast feeds, given within the transactions that change subscriptions."""

import secrets

from server.core.errors import FeedNameTaken
from server.storage.statements import Statements

SECRET = "feeds"  # noqa: S105 -- under which the secret of all feeds is stored
_BYTES = 32
_SECRET = "SELECT value FROM secrets WHERE name = ?"  # noqa: S105
_KEEP = "INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
_HOLDER = """
    SELECT f.subscription_id FROM feeds f JOIN subscriptions s ON s.subscription_id = f.subscription_id
    WHERE f.name = ? AND f.subscription_id <> ?"""
# Frees the name also where its subscription is gone: the release before deletes subscriptions without their
# feeds.
_CLEAR = """
    DELETE FROM feeds WHERE subscription_id = ? OR (name = ? AND NOT EXISTS (
        SELECT 1 FROM subscriptions s WHERE s.subscription_id = feeds.subscription_id))"""
_NAME = "INSERT INTO feeds (name, subscription_id) VALUES (?, ?)"
_DROP = "DELETE FROM feeds WHERE subscription_id = ?"


def fresh_secret() -> str:
    return secrets.token_urlsafe(_BYTES)


async def secret_of_feeds(tables: Statements) -> str | None:
    """The secret of all feeds; None if there never was one."""
    return next((value for (value,) in await tables.fetch(_SECRET, (SECRET,))), None)


async def refuse_taken(tables: Statements, subscription_id: str, name: str) -> None:
    """Raises `FeedNameTaken` if the feed of another subscription has the name."""
    for (holder,) in await tables.fetch(_HOLDER, (name, subscription_id)):
        raise FeedNameTaken(holder)


async def name_feed(tables: Statements, subscription_id: str, name: str | None) -> None:
    """Give the subscription's feed its `name`, which no other has; None: it has no feed. With the first feed
    comes the secret.
    """
    if name is None:
        await tables.run(_DROP, (subscription_id,))
        return
    await tables.run(_KEEP, (SECRET, fresh_secret()))
    await tables.run(_CLEAR, (subscription_id, name))
    await tables.run(_NAME, (name, subscription_id))
