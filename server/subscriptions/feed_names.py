"""The names of podcast feeds, given within the transactions that change subscriptions."""

import hashlib
import secrets

from server.core.errors import FeedNameTaken
from server.core.owner_scope import OwnerScope
from server.storage.statements import Statements

SECRET = "feeds"  # noqa: S105 -- under which the secret of all feeds is stored
_BYTES = 32
_SECRET = "SELECT value FROM secrets WHERE name = ?"  # noqa: S105
_KEEP = "INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
_HOLDER = """
    SELECT f.subscription_id, s.owner FROM feeds f
    JOIN subscriptions s ON s.subscription_id = f.subscription_id
    WHERE f.name = ? AND f.subscription_id <> ?"""
# Frees the name also where its subscription is gone: the release before deletes subscriptions without their
# feeds.
_CLEAR = """
    DELETE FROM feeds WHERE subscription_id = ? OR (name = ? AND NOT EXISTS (
        SELECT 1 FROM subscriptions s WHERE s.subscription_id = feeds.subscription_id))"""
_NAME = "INSERT INTO feeds (name, subscription_id) VALUES (?, ?)"
_FORGET = "DELETE FROM secrets WHERE name = ?"
_DROP = "DELETE FROM feeds WHERE subscription_id = ?"


def fresh_secret() -> str:
    return secrets.token_urlsafe(_BYTES)


def holder_of(secret: str) -> str:
    """Return under which name the table has the person whose feeds `secret` opens, where lists are separate.

    It is a hash, so that the time of a look-up tells nothing of the secret.
    """
    digest = hashlib.sha256(secret.encode(errors="replace")).hexdigest()
    return f"feeds of {digest}"


async def secret_of_feeds(tables: Statements, scope: OwnerScope) -> str | None:
    """Return the secret in the addresses of these feeds; None if it was never made."""
    return next((value for (value,) in await tables.fetch(_SECRET, (scope.key(SECRET),))), None)


async def person_of_secret(tables: Statements, secret: str) -> str | None:
    """Return the person whose feeds `secret` opens; None for the feeds that belong to nobody."""
    return next((value for (value,) in await tables.fetch(_SECRET, (holder_of(secret),))), None)


async def renew_secret(tables: Statements, scope: OwnerScope) -> None:
    """Replace the secret of these feeds, if they have one."""
    before = await secret_of_feeds(tables, scope)
    if before is None:
        return
    await forget_secret(tables, scope)
    await make_secret(tables, scope)


async def forget_secret(tables: Statements, scope: OwnerScope) -> None:
    if secret := await secret_of_feeds(tables, scope):
        await tables.run(_FORGET, (holder_of(secret),))
        await tables.run(_FORGET, (scope.key(SECRET),))


async def make_secret(tables: Statements, scope: OwnerScope) -> None:
    """Make the secret of these feeds, unless they have one."""
    secret = fresh_secret()
    await tables.run(_KEEP, (scope.key(SECRET), secret))
    if scope.person is not None and await secret_of_feeds(tables, scope) == secret:
        await tables.run(_KEEP, (holder_of(secret), scope.person))


async def inherit_secret(tables: Statements, heir: OwnerScope) -> None:
    """Give the secret of the feeds that belonged to nobody to `heir`, who owns these feeds now: podcast apps
    keep their addresses. An heir with a secret keeps that one; without separate lists nothing changes.
    """
    secret = await secret_of_feeds(tables, OwnerScope())
    if secret and heir.person is not None and await secret_of_feeds(tables, heir) is None:
        await tables.run(_FORGET, (SECRET,))
        await tables.run(_KEEP, (heir.key(SECRET), secret))
        await tables.run(_KEEP, (holder_of(secret), heir.person))


async def refuse_taken(tables: Statements, subscription_id: str, name: str, scope: OwnerScope) -> None:
    """Raise `FeedNameTaken` if another subscription of this person has a feed with the name."""
    for holder, owner in await tables.fetch(_HOLDER, (name, subscription_id)):
        if not scope.is_separate or owner == scope.owner:
            raise FeedNameTaken(holder)


async def name_feed(tables: Statements, subscription_id: str, name: str | None, scope: OwnerScope) -> None:
    """Name the subscription's feed, and make the secret with a person's first feed. None removes the feed.
    No other subscription of this person may have the name.
    """
    if name is None:
        await tables.run(_DROP, (subscription_id,))
        return
    await make_secret(tables, scope)
    await tables.run(_CLEAR, (subscription_id, name))
    await tables.run(_NAME, (name, subscription_id))
