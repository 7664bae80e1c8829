"""Subscriptions as rows, on every database; see `server.subscriptions.subscription`."""

import json
import logging
from collections.abc import Iterable
from dataclasses import replace

from server.core.errors import AlreadySubscribed, SubscriptionNotFound, TooManySubscriptions
from server.core.owner_scope import OwnerScope
from server.core.principal import scope_of_person
from server.library.placement_columns import DUE_SOONER
from server.library.placement_requests import leave_all, made_by_checks
from server.memory.media_rows import resolved
from server.notices.delivery_rows import tell_no_more
from server.storage.statements import Row, Statements, Tables, Transactions, fetch_in, insert
from server.subscriptions.feed_names import (
    forget_secret,
    inherit_secret,
    make_secret,
    name_feed,
    refuse_taken,
    secret_of_feeds,
)
from server.subscriptions.profiles import Profiles, own_of
from server.subscriptions.searching import (
    ORDERS_OF_SUBSCRIPTIONS,
    Sort,
    pattern_of,
    search_of_subscription,
    start_of,
)
from server.subscriptions.source_picture_rows import delete_pictures
from server.subscriptions.subscription import DAY, STAGES, StoredSubscription, SubscriptionSettings, wish_of
from server.subscriptions.subscription_columns import (
    COLUMNS,
    FORGET_HOST,
    OF_OWNER,
    SOURCE_ALIAS,
    complete_search,
    number_before,
    read_by_id,
    readable,
    refuse_same,
    run_in,
    store_move,
    subscription_row,
    with_unknown,
    written_settings,
)
from server.subscriptions.subscription_rules import LONGEST_HOLD, findings_after_move
from server.subscriptions.task_of_item import request_of

log = logging.getLogger(__name__)
# Findings that are reset when a subscription gets another link.
_NEW_LINK = {
    "failing": 0,
    "failing_since": None,
    "error_code": None,
    "hint": None,
    "form": None,
    "feeds": (),
}
_PAGE = f"SELECT {COLUMNS} FROM subscriptions WHERE number < ? ORDER BY number DESC LIMIT ?"  # noqa: S608
_PAGE_OF_OWNER = f"""
    SELECT {COLUMNS} FROM subscriptions WHERE owner = ? AND number < ? ORDER BY number DESC LIMIT ?"""  # noqa: S608
GIVEN_AT_ONCE = 100
_SOME_OF = "SELECT subscription_id FROM subscriptions WHERE coalesce(owner, '') = ? ORDER BY number LIMIT ?"
_GIVE = "UPDATE subscriptions SET owner = ?, scope = ? WHERE subscription_id IN ({keys})"
_WITH_FEED = "SELECT name FROM feeds WHERE subscription_id IN ({keys})"
_WITH_FEEDS = """
    SELECT DISTINCT owner FROM feeds JOIN subscriptions USING (subscription_id) WHERE owner IS NOT NULL"""
_TOTALS = "SELECT count(*), coalesce(max(number), 0) FROM subscriptions"
_COUNT_OF = "SELECT count(*) FROM subscriptions WHERE coalesce(owner, '') = ?"
_ADD = """
    INSERT INTO subscriptions (subscription_id, number, revision, url, source_key, wish, host, manner, scope,
        wanted, findings, next_check_at, lease_until, check_no, keep_at, created_at, search, owner,
        created_by)
    VALUES {rows}"""
_CHANGE = """
    UPDATE subscriptions SET revision = ?, wish = ?, manner = ?, wanted = ?, next_check_at = ?, search = ?,
        keep_at = coalesce(?, keep_at)
    WHERE subscription_id = ? AND revision = ?"""
# As `StoredSubscription.stage` says.
_STAGES = """
    SELECT CASE WHEN next_check_at IS NULL THEN 'paused' WHEN lease_until > ? THEN 'checking'
        WHEN findings LIKE '%"error_code":%' THEN 'failing' WHEN findings LIKE '%"seeded":true%' THEN 'idle'
        ELSE 'seeding' END AS stage, count(*)
    FROM subscriptions GROUP BY 1"""
_FOUND = f"""
    SELECT {COLUMNS} FROM subscriptions WHERE search LIKE ? ESCAPE '\\'{{owner}}
    ORDER BY {{order}} LIMIT ? OFFSET ?"""  # noqa: S608
_UNSEARCHED = f"SELECT {COLUMNS} FROM subscriptions WHERE search IS NULL LIMIT ?"  # noqa: S608
_SEARCHED = "UPDATE subscriptions SET search = ? WHERE subscription_id = ?"
_UNSHARED = """
    SELECT DISTINCT task_id FROM items AS mine WHERE subscription_id = ?
    AND EXISTS (SELECT 1 FROM tasks WHERE tasks.task_id = mine.task_id AND NOT removed)
    AND NOT EXISTS (SELECT 1 FROM items AS other WHERE other.task_id = mine.task_id
        AND other.subscription_id <> mine.subscription_id
        AND other.state IN ('queued', 'fetched', 'waiting'))"""
_MADE = """
    SELECT task_id FROM tasks WHERE NOT removed AND status LIKE ? AND NOT EXISTS (
        SELECT 1 FROM items WHERE items.task_id = tasks.task_id AND subscription_id <> ?
        AND state IN ('queued', 'fetched', 'waiting'))"""


class SubscriptionRows:
    """A change is on disk when its method returns. All methods may raise `StoreUnavailable`.

    Times are those of the server's clock, in seconds since 1970: callers give the time that it is `now`.
    """

    def __init__(self, transactions: Transactions, *, separate_lists: bool = False) -> None:
        self._transactions = transactions
        self._separate = separate_lists

    async def add(self, subscription: StoredSubscription, wish: str, most: int) -> StoredSubscription:
        """Add the subscription; return it with its number. Raises `AlreadySubscribed`, `FeedNameTaken`, and
        `TooManySubscriptions` above `most`.
        """

        async def work(tables: Tables) -> StoredSubscription:
            tables.wake(DUE_SOONER)
            await tables.alone()
            await refuse_same(tables, subscription, wish, is_new=True, separate=self._separate)
            feed = subscription.wanted.feed
            if feed is not None:
                await refuse_taken(
                    tables, subscription.subscription_id, feed.name, self._scope_of(subscription)
                )
            [(count, last)] = await tables.fetch(_TOTALS)
            # A person's limit does not count the subscriptions of others, and no error tells of them.
            if self._separate:
                [(count,)] = await tables.fetch(_COUNT_OF, (subscription.owner or "",))
            if count >= most:
                raise TooManySubscriptions(most)
            numbered = replace(subscription, number=last + 1)
            origin = f"{SOURCE_ALIAS}{subscription.source_key}"
            if known_as := (await resolved(tables, [origin])).get(
                origin
            ):  # a subscription that has moved there
                findings = subscription.findings.model_copy(
                    update={"key_origin": known_as.removeprefix(SOURCE_ALIAS)}
                )
                numbered = replace(numbered, findings=findings)
            await insert(tables, _ADD, [subscription_row(numbered, wish)])
            if feed is not None:
                await name_feed(tables, subscription.subscription_id, feed.name, self._scope_of(subscription))
            return numbered

        return await self._transactions.write(work)

    def _scope_of(self, subscription: StoredSubscription) -> OwnerScope:
        return OwnerScope(subscription.owner, is_separate=self._separate)

    async def feed_secrets(self, subscriptions: Iterable[StoredSubscription]) -> dict[str | None, str | None]:
        """The secrets of the addresses of these people's podcast feeds; None where there never was a feed."""
        scope = {one.owner: self._scope_of(one) for one in subscriptions}

        async def work(tables: Statements) -> dict[str | None, str | None]:
            return {owner: await secret_of_feeds(tables, each) for owner, each in scope.items()}

        return await self._transactions.read(work) if scope else {}

    async def get(self, subscription_id: str, owner: str | None = None) -> StoredSubscription:
        """Return the subscription; with `owner` only if it is theirs. Raises `SubscriptionNotFound`."""
        return await self._transactions.read(lambda tables: read_by_id(tables, subscription_id, owner))

    async def page(
        self, cursor: str | None, limit: int, owner: str | None = None
    ) -> tuple[list[StoredSubscription], str | None]:
        """Return a page, the newest first; with `owner` only theirs. Raises `InvalidQuery`."""
        before = number_before(cursor)

        async def work(tables: Statements) -> list[Row]:
            if owner is not None:
                return await tables.fetch(_PAGE_OF_OWNER, (owner, before, limit + 1))
            return await tables.fetch(_PAGE, (before, limit + 1))

        rows = await self._transactions.read(work)
        return list(readable(rows[:limit])), str(rows[limit - 1][1]) if len(rows) > limit else None

    async def change(self, subscription: StoredSubscription, wish: str, *, check: bool, keep: bool) -> bool:
        """Save its settings, if its revision follows the stored one; `check`: it is to be checked, now;
        `keep`: what is kept has changed. Raises `AlreadySubscribed`, `FeedNameTaken`, `SubscriptionNotFound`.
        """

        async def work(tables: Tables) -> bool:
            tables.wake(DUE_SOONER)
            await tables.alone()
            stored = await read_by_id(tables, subscription.subscription_id)
            if stored.revision != subscription.revision - 1:
                return False
            await refuse_same(tables, subscription, wish, separate=self._separate)
            feed = subscription.wanted.feed
            if feed is not None:
                await refuse_taken(
                    tables, subscription.subscription_id, feed.name, self._scope_of(subscription)
                )
            at = subscription.next_check_at
            at = None if not subscription.wanted.enabled else at if check else stored.next_check_at or at
            changed = replace(subscription, next_check_at=at)
            await _store_settings(tables, stored, changed, wish, keep=keep)
            if subscription.url != stored.url:
                # The check that is under way can then no longer store its outcome.
                there = replace(
                    stored,
                    revision=subscription.revision,
                    wanted=subscription.wanted,
                    check_no=stored.check_no + 1,
                )
                findings = findings_after_move(stored.findings, stored.url, stored.key_origin)
                await store_move(tables, there, subscription.url, findings.model_copy(update=_NEW_LINK))
                free = "UPDATE subscriptions SET lease_until = NULL WHERE subscription_id = ?"
                await tables.run(free, (subscription.subscription_id,))
            if feed != stored.wanted.feed:
                name = feed.name if feed else None
                await name_feed(tables, subscription.subscription_id, name, self._scope_of(subscription))
            return True

        return await self._transactions.write(work)

    async def follow_profiles(self, profiles: Profiles) -> None:
        """Apply changed profiles to their subscriptions, unless one would then want the same as another."""

        async def work(tables: Tables) -> None:
            await tables.alone()
            sql = f"SELECT {COLUMNS} FROM subscriptions WHERE wanted LIKE '%\"profile\":%'"  # noqa: S608
            for one in readable(await tables.fetch(sql)):
                stored = one.wanted.model_dump(mode="json", exclude_unset=True, exclude_none=True)
                completed, unknown = profiles.completed(own_of(stored))
                if unknown or completed == stored:
                    continue
                wanted = SubscriptionSettings.model_validate_json(json.dumps(completed))
                manner = request_of(wanted, one.url).manner()
                changed = replace(one, revision=one.revision + 1, wanted=wanted, manner=manner)
                try:
                    await refuse_same(tables, one, wish_of(manner, wanted), separate=self._separate)
                except AlreadySubscribed:
                    log.warning("%s keeps its settings: another would be the same", one.subscription_id)
                    continue
                await _store_settings(tables, one, changed, wish_of(manner, wanted))

        await self._transactions.write(work)

    async def unshared_tasks(self, subscription_id: str) -> list[str]:
        """The ids of its tasks that no other subscription has, without those of a client's own links: those
        of its items, and those that it has made for items which have none any more.
        """

        async def work(tables: Statements) -> list[str]:
            # JSON within a text of the status has other quotes. All rows are read, which is why this is asked
            # before the transaction of the removal.
            mine = f'%"subscription_id":"{subscription_id}"%'
            rows = [] if "\0" in mine else await tables.fetch(_MADE, (mine, subscription_id))
            of_items = await _unshared(tables, subscription_id)
            return list(dict.fromkeys([*of_items, *(task_id for (task_id,) in rows)]))

        return await self._transactions.read(work)

    async def remove(self, subscription_id: str, *, with_files: bool = False) -> list[str]:
        """Remove it with its items and return []. `with_files`: what it has in the library is to be deleted,
        and while it has unshared tasks it stays and their ids are returned, to be deleted first.

        Raises `SubscriptionNotFound`.
        """

        async def work(tables: Tables) -> list[str]:
            await tables.alone()
            # Only its host is read, so that it can be removed even if this release cannot read the rest.
            sql = "SELECT host FROM subscriptions WHERE subscription_id = ?"
            rows = [] if "\0" in subscription_id else await tables.fetch(sql, (subscription_id,))
            if not rows:
                raise SubscriptionNotFound
            [(host,)] = rows
            if with_files:
                if unshared := await _unshared(tables, subscription_id):
                    return unshared
                tables.wake(DUE_SOONER)
                await leave_all(tables, subscription_id)
            await tell_no_more(tables, subscription_id)
            await tables.run("DELETE FROM items WHERE subscription_id = ?", (subscription_id,))
            await tables.run("DELETE FROM subscriptions WHERE subscription_id = ?", (subscription_id,))
            await delete_pictures(tables, subscription_id)
            await name_feed(tables, subscription_id, None, OwnerScope())
            # A host that refused is still left alone, whoever subscribes to it next.
            await tables.run(FORGET_HOST, (host,))
            return []

        return await self._transactions.write(work)

    async def find(
        self,
        text: str,
        sort: Sort | None,
        cursor: str | None,
        limit: int,
        now: float,
        owner: str | None = None,
    ) -> tuple[list[StoredSubscription], str | None]:
        """Return a page of those with `text` in their name, title or link. Raises `InvalidQuery`."""
        start = start_of(cursor)
        await complete_search(self._transactions, _UNSEARCHED, _read_searched, _SEARCHED)
        # A hold that ends later was set by a clock that was ahead.
        held = (now, now + LONGEST_HOLD + DAY) if sort == "trouble" else ()
        sql = _FOUND.replace("{order}", ORDERS_OF_SUBSCRIPTIONS[sort])
        sql = sql.replace("{owner}", "" if owner is None else OF_OWNER)
        mine = () if owner is None else (owner,)

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(sql, (pattern_of(text), *mine, *held, limit + 1, start))

        rows = await self._transactions.read(work)
        return list(readable(rows[:limit])), str(start + limit) if len(rows) > limit else None

    async def stages(self, now: float) -> dict[str, int]:
        """Count the subscriptions in each stage."""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_STAGES, (now,))

        return dict.fromkeys(map(str, STAGES), 0) | dict(await self._transactions.read(work))

    async def give(self, owner: str | None, to: str | None) -> bool:
        """Make some subscriptions of one person, or of nobody, those of another, or nobody's; return whether
        there were any. The memory and the secret of feeds of who had them are forgotten.
        """
        scope = scope_of_person(to) if to else ""

        async def work(tables: Tables) -> bool:
            await tables.alone()
            rows = await tables.fetch(_SOME_OF, (owner or "", GIVEN_AT_ONCE))
            ids = [row[0] for row in rows]
            await run_in(tables, _GIVE, ids, to, scope)
            if await fetch_in(tables, _WITH_FEED, ids):
                heir = OwnerScope(to, is_separate=self._separate)
                if owner is None:
                    await inherit_secret(tables, heir)
                await make_secret(tables, heir)
            if owner is not None:
                theirs = OwnerScope(owner, is_separate=True)
                await forget_secret(tables, theirs)
                first = theirs.key("")
                await tables.run("DELETE FROM media WHERE key >= ? AND key < ?", (first, first[:-1] + "!"))
            return bool(ids)

        return await self._transactions.write(work)

    async def some_of(self, owner: str) -> list[str]:
        """The ids of some subscriptions of a person; none if there are none."""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_SOME_OF, (owner, GIVEN_AT_ONCE))

        return [row[0] for row in await self._transactions.read(work)]

    async def make_secrets(self) -> None:
        """Have everybody who has a feed have a secret, also if lists were not separate before."""

        async def work(tables: Tables) -> None:
            for (owner,) in await tables.fetch(_WITH_FEEDS):
                await make_secret(tables, OwnerScope(owner, is_separate=self._separate))

        await self._transactions.write(work)


async def _unshared(tables: Statements, subscription_id: str) -> list[str]:
    rows = await tables.fetch(_UNSHARED, (subscription_id,))
    return await made_by_checks(tables, [task_id for (task_id,) in rows])


async def _store_settings(
    tables: Tables,
    before: StoredSubscription,
    after: StoredSubscription,
    wish: str,
    *,
    keep: bool | None = None,
) -> None:
    """Store the settings. `keep`: whether the retention has changed; None: find out."""
    sql = "SELECT wanted FROM subscriptions WHERE subscription_id = ?"
    [(stored,)] = await tables.fetch(sql, (after.subscription_id,))
    settings = with_unknown(written_settings(after.wanted), stored)
    search = search_of_subscription(after.url, after.wanted, before.findings)
    values = (after.revision, wish, after.manner, settings, after.next_check_at, search)
    keeps_anew = before.wanted.keep != after.wanted.keep if keep is None else keep
    kept = 0.0 if keeps_anew else None
    await tables.run(_CHANGE, (*values, kept, after.subscription_id, before.revision))


def _read_searched(row: Row) -> Row:
    """Return the text to be searched of a subscription, empty if it is of a newer release, and its id."""
    for one in readable([row]):
        return search_of_subscription(one.url, one.wanted, one.findings), one.subscription_id
    return "", row[0]
