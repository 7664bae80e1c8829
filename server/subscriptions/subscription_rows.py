"""Subscriptions and their items as rows, on every database; see `server.subscriptions.subscription`.

What becomes of the entries that a check has found is decided (`server.subscriptions.check_plan`) within the
transaction that stores it, one such transaction at a time: so two nodes that check two subscriptions with the
same entry make one task of it.
"""

import json
import logging
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import starmap
from typing import Any
from urllib.parse import urlsplit

from server.core.errors import (
    AlreadySubscribed,
    InvalidQuery,
    QueueFull,
    SubscriptionNotFound,
    TooManySubscriptions,
)
from server.core.events import Relinked
from server.core.list_entries import ListEntry
from server.core.media_keys import key_of, key_of_link
from server.core.principal import scope_of_person
from server.core.task import Task, TaskStatus
from server.core.values import without_password
from server.core.whose import Whose
from server.library.placement_rows import (
    DUE_SOONER,
    describe_show,
    leave_all,
    leave_items,
    made_by_checks,
    to_be_placed,
    with_films,
)
from server.library.placements import set_of_item
from server.memory.media_rows import look_up, name, resolved
from server.notices.deliveries import Others, SubscriptionNotice
from server.notices.delivery_rows import tell_no_more, tell_of_subscription
from server.settings import LONGEST_INTERVAL
from server.storage.statements import (
    Dialect,
    Ended,
    Row,
    Statements,
    StoreHooks,
    Tables,
    Transactions,
    fetch_in,
    insert,
)
from server.subscriptions.check_plan import (
    FEW_KNOWN,
    MAX_KNOWN_NAMES,
    CheckPlan,
    KnownItems,
    aliases_to_store,
    continues_soon,
    findings_after,
    in_parts,
    is_gone_media,
    items_to_read_again,
    keys_of,
    keys_of_known,
    names_of_known,
    plan_check,
    planned_fetch,
    without_unchanged,
)
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
    ORDERS_OF_ITEMS,
    ORDERS_OF_SUBSCRIPTIONS,
    Sort,
    pattern_of,
    search_of_item,
    search_of_subscription,
    start_of,
)
from server.subscriptions.source import SourcePicture, shown_of
from server.subscriptions.source_picture_rows import delete_pictures, put_pictures
from server.subscriptions.subscription import (
    AUTO,
    DAY,
    HOLDING,
    HOUR,
    REFUSED,
    STAGES,
    STATES,
    CheckOutcome,
    CheckResult,
    Claim,
    Findings,
    FoundEntry,
    ItemState,
    LastOnes,
    Pace,
    StoredItem,
    StoredSubscription,
    SubscriptionSettings,
    moment_of,
    wish_of,
)
from server.subscriptions.subscription_rules import (
    AUTO_OF,
    LONGEST_HOLD,
    address_of_move,
    after_failure,
    ends_with_log_in,
    hold_for,
    is_below,
    item_after,
    moved,
    next_check_at,
    not_kept,
    unread,
)
from server.subscriptions.task_of_item import begun_after, request_of, task_of

log = logging.getLogger(__name__)

_SOURCE = "source "  # before the key of a source, as an alias of the one that it had before it moved
# What is said of a link is not said of another.
_FRESH = {"failing": 0, "failing_since": None, "error_code": None, "hint": None, "form": None, "feeds": ()}
MOST_TOGETHER = 1000  # entries of a first check that one transaction stores: one has few seconds
MOST_DUE = 50
MOST_SPARE = 1000  # items that may replace others
MOST_RECENT = 1000  # items with which entries are compared of which none is known
MOST_REFUSED = 1000  # items of which is asked whether new cookies are for them
LATEST = LONGEST_INTERVAL * 1.2  # seconds: what is due later was put off by a clock that was ahead
MOST_LEASE = 3600.0  # seconds: the same of a lease

COLUMNS = """
    subscription_id, number, revision, url, source_key, manner, scope, wanted, findings, next_check_at,
    lease_until, check_no, created_at, owner, created_by"""
_OF_OWNER = " AND owner = ?"
_BY_ID = f"SELECT {COLUMNS} FROM subscriptions WHERE subscription_id = ?"  # noqa: S608
_PAGE = f"SELECT {COLUMNS} FROM subscriptions WHERE number < ? ORDER BY number DESC LIMIT ?"  # noqa: S608
_PAGE_OF_OWNER = f"""
    SELECT {COLUMNS} FROM subscriptions WHERE owner = ? AND number < ? ORDER BY number DESC LIMIT ?"""  # noqa: S608
GIVEN_AT_ONCE = 100
_SOME_OF = "SELECT subscription_id FROM subscriptions WHERE coalesce(owner, '') = ? ORDER BY number LIMIT ?"
_GIVE = "UPDATE subscriptions SET owner = ?, scope = ? WHERE subscription_id IN ({keys})"
_WITH_FEED = "SELECT name FROM feeds WHERE subscription_id IN ({keys})"
_WITH_FEEDS = """
    SELECT DISTINCT owner FROM feeds JOIN subscriptions USING (subscription_id) WHERE owner IS NOT NULL"""
_SAME = "SELECT subscription_id, owner FROM subscriptions WHERE source_key = ? AND wish = ?"
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
_MOVE_TO = """
    UPDATE subscriptions SET revision = ?, url = ?, source_key = ?, host = ?, findings = ?, check_no = ?,
        search = ?
    WHERE subscription_id = ?"""
_COUNTS = """
    SELECT subscription_id, state, count(*) FROM items WHERE subscription_id IN ({keys})
    GROUP BY subscription_id, state"""
# As `StoredSubscription.stage` says.
_STAGES = """
    SELECT CASE WHEN next_check_at IS NULL THEN 'paused' WHEN lease_until > ? THEN 'checking'
        WHEN findings LIKE '%"error_code":%' THEN 'failing' WHEN findings LIKE '%"seeded":true%' THEN 'idle'
        ELSE 'seeding' END AS stage, count(*)
    FROM subscriptions GROUP BY 1"""
_DUE_NOW = """
    UPDATE subscriptions SET next_check_at = ? WHERE subscription_id = ? AND next_check_at IS NOT NULL"""
_ITEM = """
    subscription_id, key, number, state, reason, published_at, task_id, manner, not_before, tries, pinned,
    found_at, fetched_at, about"""
_ITEMS = f"SELECT {_ITEM} FROM items WHERE subscription_id = ? AND key IN ({{keys}})"  # noqa: S608
_ITEM_PAGE = f"""
    SELECT {_ITEM} FROM items WHERE subscription_id = ? AND number < ? ORDER BY number DESC LIMIT ?"""  # noqa: S608
_ITEM_PAGE_OF = f"""
    SELECT {_ITEM} FROM items WHERE subscription_id = ? AND state = ? AND number < ?
    ORDER BY number DESC LIMIT ?"""  # noqa: S608
SEARCHED_AT_ONCE = 500  # rows
_FOUND = f"""
    SELECT {COLUMNS} FROM subscriptions WHERE search LIKE ? ESCAPE '\\'{{owner}}
    ORDER BY {{order}} LIMIT ? OFFSET ?"""  # noqa: S608
_FOUND_ITEMS = f"""
    SELECT {_ITEM} FROM items
    WHERE subscription_id = ? AND state IN ({{states}}) AND search LIKE ? ESCAPE '\\'
    ORDER BY {{order}} LIMIT ? OFFSET ?"""  # noqa: S608
_UNSEARCHED = f"SELECT {COLUMNS} FROM subscriptions WHERE search IS NULL LIMIT ?"  # noqa: S608
_SEARCHED = "UPDATE subscriptions SET search = ? WHERE subscription_id = ?"
_UNSEARCHED_ITEMS = """
    SELECT subscription_id, key, about FROM items WHERE subscription_id = ? AND search IS NULL LIMIT ?"""
_SEARCHED_ITEM = "UPDATE items SET search = ? WHERE subscription_id = ? AND key = ?"
_WAITING = f"""
    SELECT {_ITEM} FROM items WHERE subscription_id = ? AND state = 'waiting' AND reason = 'backlog'
    ORDER BY number DESC LIMIT ?"""  # noqa: S608
_DUE_ITEMS = f"""
    SELECT {_ITEM} FROM items WHERE subscription_id = ? AND state = 'waiting' AND not_before <= ?
    ORDER BY not_before LIMIT ?"""  # noqa: S608
_ABOUTS = "SELECT key, about FROM items WHERE subscription_id = ? AND key IN ({keys})"
_NEXT_ITEM = """
    SELECT min(not_before) FROM items
    WHERE subscription_id = ? AND state = 'waiting' AND not_before IS NOT NULL"""
_OTHERS = f"""
    SELECT {_ITEM} FROM items WHERE manner = ? AND subscription_id <> ? AND state IN ('queued', 'fetched')
    AND task_id IS NOT NULL AND key IN ({{keys}})"""  # noqa: S608
_OF_SAME_OWNER = """
    EXISTS (SELECT 1 FROM subscriptions s WHERE s.subscription_id = items.subscription_id
        AND coalesce(s.owner, '') = ?)"""
_LOCK_TASKS = "SELECT task_id FROM tasks WHERE task_id IN ({keys}) ORDER BY task_id FOR SHARE"
_KEYS_SINCE = "SELECT key FROM items WHERE subscription_id = ? AND found_at >= ?"
_NEWEST_KEYS = "SELECT key FROM items WHERE subscription_id = ? ORDER BY number DESC LIMIT ?"
_ALIASES = "SELECT alias, key FROM aliases WHERE key IN ({keys})"
_COUNT_ALIASES = "SELECT key, count(*) FROM aliases WHERE key IN ({keys}) GROUP BY key"
_LAST_NUMBER = "SELECT coalesce(max(number), 0) FROM items WHERE subscription_id = ?"
_BEGAN_AT = "SELECT found_at FROM items WHERE subscription_id = ? ORDER BY number LIMIT 1"
_PUT = f"""
    INSERT INTO items ({_ITEM}, search) VALUES {{rows}}
    ON CONFLICT (subscription_id, key) DO UPDATE SET state = excluded.state, reason = excluded.reason,
        published_at = excluded.published_at, task_id = excluded.task_id, manner = excluded.manner,
        not_before = excluded.not_before, tries = excluded.tries, pinned = excluded.pinned,
        fetched_at = excluded.fetched_at"""  # noqa: S608
_ABOUT = "UPDATE items SET about = ?, search = ? WHERE subscription_id = ? AND key = ?"
_CLAIMABLE = """
    SELECT s.subscription_id, s.host FROM subscriptions s LEFT JOIN source_hosts h ON h.host = s.host
    WHERE (s.next_check_at <= ? OR s.next_check_at > ?) AND s.next_check_at IS NOT NULL
        AND (s.lease_until IS NULL OR s.lease_until <= ? OR s.lease_until > ?)
        AND (h.host IS NULL OR ((h.next_look_at <= ? OR h.next_look_at > ?)
            AND (h.held_until <= ? OR h.held_until > ?)))
        AND NOT EXISTS (SELECT 1 FROM subscriptions o WHERE o.host = s.host AND o.lease_until > ?
            AND o.lease_until <= ?)
    ORDER BY s.next_check_at, s.number LIMIT 200"""
_LEASE = """
    UPDATE subscriptions SET lease_until = ?, check_no = check_no + 1 WHERE subscription_id = ?"""
# As for `_CLAIMABLE`, what a clock that was ahead has put off is due.
_SOONEST = """
    SELECT (SELECT min(CASE
                WHEN h.held_until > s.next_check_at AND h.held_until >= h.next_look_at
                    AND h.held_until <= ? THEN h.held_until
                WHEN h.next_look_at > s.next_check_at AND h.next_look_at <= ? THEN h.next_look_at
                WHEN s.next_check_at > ? THEN 0
                ELSE s.next_check_at END)
            FROM subscriptions s LEFT JOIN source_hosts h ON h.host = s.host
            WHERE s.next_check_at IS NOT NULL
                AND (s.lease_until IS NULL OR s.lease_until <= ? OR s.lease_until > ?)),
        (SELECT min(lease_until) FROM subscriptions WHERE lease_until > ? AND lease_until <= ?),
        (SELECT min(keep_at) FROM subscriptions WHERE keep_at IS NOT NULL),
        EXISTS (SELECT 1 FROM subscriptions)"""
_LOOKED = """
    UPDATE subscriptions SET findings = ?, search = ?, lease_until = NULL,
        next_check_at = CASE WHEN next_check_at IS NULL THEN NULL ELSE ? END
    WHERE subscription_id = ? AND check_no = ?"""
_TOLD = "UPDATE subscriptions SET findings = ? WHERE subscription_id = ?"
_REFUSED_ITEMS = """
    SELECT items.subscription_id, key, status, subscriptions.owner
    FROM items JOIN tasks ON tasks.task_id = items.task_id
    JOIN subscriptions ON subscriptions.subscription_id = items.subscription_id
    WHERE state = 'waiting' AND reason IN ('members_only', 'retry') AND NOT removed LIMIT ?"""
_REFUSED_ITEMS_OF = _REFUSED_ITEMS.replace("LIMIT", "AND coalesce(subscriptions.owner, '') = ? LIMIT")
_ITEM_NOW = "UPDATE items SET not_before = ? WHERE subscription_id = ? AND key = ? AND state = 'waiting'"
_FAILING = f"SELECT {COLUMNS} FROM subscriptions WHERE findings LIKE '%\"error_code\":%'"  # noqa: S608
_RELEASE = "UPDATE source_hosts SET held_until = 0, holds = 0, next_look_at = ? WHERE host IN ({keys})"
_ALL_DUE_NOW = """
    UPDATE subscriptions SET next_check_at = ?
    WHERE subscription_id IN ({keys}) AND next_check_at IS NOT NULL"""
_NEWEST_TIMES = """
    SELECT published_at, found_at FROM items WHERE subscription_id = ? ORDER BY number DESC LIMIT ?"""
_NEWEST_PUBLISHED = """
    SELECT subscription_id, (SELECT max(published_at) FROM (
            SELECT published_at FROM items WHERE items.subscription_id = subscriptions.subscription_id
            ORDER BY number DESC LIMIT 10) AS newest)
    FROM subscriptions WHERE subscription_id IN ({keys})"""
_SOONER = """
    UPDATE subscriptions SET next_check_at = ?
    WHERE subscription_id = ? AND next_check_at > ?"""
_PACE = """
    INSERT INTO source_hosts (host, next_look_at, held_until, holds) VALUES {rows}
    ON CONFLICT (host) DO UPDATE SET next_look_at = excluded.next_look_at, holds = 0"""
_HOLD = """
    INSERT INTO source_hosts (host, next_look_at, held_until, holds) VALUES {rows}
    ON CONFLICT (host) DO UPDATE SET next_look_at = excluded.next_look_at,
        held_until = excluded.held_until, holds = excluded.holds"""
_HOSTS = "SELECT host, next_look_at, held_until, holds FROM source_hosts WHERE host IN ({keys})"
_FORGET_HOST = """
    DELETE FROM source_hosts WHERE host = ? AND held_until = 0
        AND NOT EXISTS (SELECT 1 FROM subscriptions WHERE subscriptions.host = source_hosts.host)"""
_OF_TASK = """
    SELECT subscription_id, key, tries, published_at, found_at FROM items WHERE task_id = ?"""
_MOVE = """
    UPDATE items SET state = ?, reason = ?, not_before = ?, tries = ?, fetched_at = coalesce(?, fetched_at)
    WHERE subscription_id = ? AND key = ?"""
_KEEP_NOW = """
    UPDATE subscriptions SET keep_at = ? WHERE subscription_id IN ({keys}) AND wanted LIKE '%"keep"%'"""
_WITH_LIBRARY = f"""
    SELECT {COLUMNS} FROM subscriptions WHERE subscription_id = ? AND wanted LIKE '%"library"%'"""  # noqa: S608
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
_UNKEPT = """
    SELECT DISTINCT task_id FROM items AS mine WHERE subscription_id = ? AND task_id IS NOT NULL
    AND state = 'expired' AND NOT EXISTS (SELECT 1 FROM items AS other WHERE other.task_id = mine.task_id
        AND other.state IN ('queued', 'fetched', 'waiting'))"""
_TO_KEEP = f"""
    SELECT {_ITEM} FROM items WHERE subscription_id = ? AND state = 'fetched' ORDER BY number DESC"""  # noqa: S608
_STATE = """
    UPDATE items SET state = ?, reason = ?, not_before = NULL WHERE subscription_id = ? AND key IN ({keys})"""
# The item of a task that goes on for another subscription follows it no longer.
_SKIP = """
    UPDATE items SET state = 'skipped', reason = ?, not_before = NULL,
        task_id = CASE WHEN state = 'queued' THEN NULL ELSE task_id END
    WHERE subscription_id = ? AND key IN ({keys}) AND (state NOT IN ('queued', 'fetched', 'expired')
        OR (state = 'queued' AND EXISTS (SELECT 1 FROM items AS other WHERE other.task_id = items.task_id
            AND other.subscription_id <> items.subscription_id AND other.state IN ('queued', 'waiting'))))"""
# Without reading the statuses, of which a page has 200. JSON within a text has other quotes.
_WITH_THUMBNAIL = """
    SELECT task_id FROM tasks WHERE task_id IN ({keys}) AND NOT removed AND status LIKE '%"thumbnail":{%'"""
_PIN = "UPDATE items SET pinned = ? WHERE subscription_id = ? AND key IN ({keys})"


async def follow_tasks(tables: Statements, ended: Sequence[Ended], now: datetime) -> Collection[str]:
    """Have the items follow their tasks, which have ended or wait again; what was fetched may have to go into
    the library.
    """
    places = False
    for status in (one.status for one in ended if one.status.subscription_id):
        rows = await tables.fetch(_OF_TASK, (status.task_id,))
        for subscription_id, key, tries, published_at, found_at in rows:
            after = item_after(status, tries, published_at, found_at)
            moved = (after.state, after.reason, after.not_before, after.tries, after.fetched_at)
            await tables.run(_MOVE, (*moved, subscription_id, key))
            if after.not_before is not None:
                asked = [
                    one.findings.asked_until or 0.0
                    for one in readable(await tables.fetch(_BY_ID, (subscription_id,)))
                ]
                at = max([after.not_before, *asked])
                await tables.run(_SOONER, (at, subscription_id, at))
            if after.state == "fetched":
                info = status.video_info
                led_to = key_of(info.extractor_key, info.id, status.url, status.item)
                # At its place on a page is another film when there is a new one.
                is_place = status.item is not None and led_to.startswith("url ")
                if led_to != key and not is_place:
                    await name(tables, {key: led_to})
                await _run_in(tables, _KEEP_NOW, [subscription_id], after.fetched_at)
                for one in readable(await tables.fetch(_WITH_LIBRARY, (subscription_id,))):
                    if library := one.wanted.library:
                        places = True
                        placed = set_of_item(subscription_id, key, status.task_id, library)
                        await to_be_placed(tables, [placed])
    return (DUE_SOONER,) if places else ()


def _kept(dialect: Dialect, now: datetime) -> tuple[str, Sequence[object]]:
    """What a subscription has fetched is kept, or let go, by its own rule, unless the library has a copy."""
    copied = """
        SELECT 1 FROM file_sets AS copy WHERE copy.holder = items.subscription_id AND copy.key = items.key
        AND copy.state = 'placed'"""
    has_feed = "SELECT 1 FROM feeds WHERE feeds.subscription_id = items.subscription_id"
    held = f"""
        SELECT 1 FROM items WHERE items.task_id = tasks.task_id AND items.state = 'fetched'
        AND (NOT EXISTS ({copied}) OR EXISTS ({has_feed}))"""  # noqa: S608
    return f"EXISTS ({held})", ()


HOOKS = StoreHooks(follow_tasks, _kept)


class SubscriptionRows:
    """A change is on disk when its method returns. All methods may raise `StoreUnavailable`.

    Times are those of the server's clock, in seconds since 1970: callers give the time that it is `now`.
    """

    def __init__(
        self, transactions: Transactions, others: Others = (), *, separate_lists: bool = False
    ) -> None:
        self._transactions = transactions
        self._others = others
        self._separate = separate_lists

    def listen(self, called: Callable[[], None]) -> None:
        """Call `called` when something may be due earlier than was said."""
        self._transactions.signals.listen(DUE_SOONER, called)

    async def add(self, subscription: StoredSubscription, wish: str, most: int) -> StoredSubscription:
        """Return it with its number. Raises `AlreadySubscribed`, `FeedNameTaken`, and `TooManySubscriptions`
        above `most`.
        """

        async def work(tables: Tables) -> StoredSubscription:
            tables.wake(DUE_SOONER)
            await tables.alone()
            await self._refuse_same(tables, subscription, wish, is_new=True)
            feed = subscription.wanted.feed
            if feed is not None:
                await refuse_taken(tables, subscription.subscription_id, feed.name, self._whose(subscription))
            [(count, last)] = await tables.fetch(_TOTALS)
            if self._separate:  # what others have is neither counted against somebody nor told to them
                [(count,)] = await tables.fetch(_COUNT_OF, (subscription.owner or "",))
            if count >= most:
                raise TooManySubscriptions(most)
            numbered = replace(subscription, number=last + 1)
            origin = f"{_SOURCE}{subscription.source_key}"
            if known_as := (await resolved(tables, [origin])).get(origin):  # its source moved there once
                findings = subscription.findings.model_copy(
                    update={"key_origin": known_as.removeprefix(_SOURCE)}
                )
                numbered = replace(numbered, findings=findings)
            await insert(tables, _ADD, [_row(numbered, wish)])
            if feed is not None:
                await name_feed(tables, subscription.subscription_id, feed.name, self._whose(subscription))
            return numbered

        return await self._transactions.write(work)

    async def newest_published(self, subscription_ids: Sequence[str]) -> dict[str, str]:
        """When the newest of the entries found last was published; nothing of those without any."""

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, _NEWEST_PUBLISHED, subscription_ids)

        rows = await self._transactions.read(work)
        return {subscription_id: at for subscription_id, at in rows if at is not None}

    async def held_hosts(self, hosts: Collection[str], now: float) -> dict[str, float]:
        """Until when those of `hosts` are left alone that are."""

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, _HOSTS, hosts)

        late = now + LONGEST_HOLD + DAY  # as in `_latest`: set by a clock that was ahead
        rows = await self._transactions.read(work)
        return {host: until for host, _, until, _ in rows if now < until <= late}

    def _whose(self, subscription: StoredSubscription) -> Whose:
        return Whose(subscription.owner, is_separate=self._separate)

    async def feed_secrets(self, subscriptions: Iterable[StoredSubscription]) -> dict[str | None, str | None]:
        """The secrets of the addresses of these people's podcast feeds; None where there never was a feed."""
        whose = {one.owner: self._whose(one) for one in subscriptions}

        async def work(tables: Statements) -> dict[str | None, str | None]:
            return {owner: await secret_of_feeds(tables, each) for owner, each in whose.items()}

        return await self._transactions.read(work) if whose else {}

    async def get(self, subscription_id: str, owner: str | None = None) -> StoredSubscription:
        """With `owner` only theirs. Raises `SubscriptionNotFound`."""
        return await self._transactions.read(lambda tables: _get(tables, subscription_id, owner))

    async def page(
        self, cursor: str | None, limit: int, owner: str | None = None
    ) -> tuple[list[StoredSubscription], str | None]:
        """Newest first, with `owner` only theirs. Raises `InvalidQuery`."""
        before = _number(cursor)

        async def work(tables: Statements) -> list[Row]:
            if owner is not None:
                return await tables.fetch(_PAGE_OF_OWNER, (owner, before, limit + 1))
            return await tables.fetch(_PAGE, (before, limit + 1))

        rows = await self._transactions.read(work)
        return list(readable(rows[:limit])), str(rows[limit - 1][1]) if len(rows) > limit else None

    async def counts(self, subscription_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """How many items of each are in each state."""

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, _COUNTS, subscription_ids)

        counts: dict[str, dict[str, int]] = {one: {} for one in subscription_ids}
        for subscription_id, state, count in await self._transactions.read(work):
            counts[subscription_id][state] = count
        return counts

    async def change(self, subscription: StoredSubscription, wish: str, *, check: bool, keep: bool) -> bool:
        """Save its settings, if its revision follows the stored one; `check`: it is to be checked, now;
        `keep`: what is kept has changed. Raises `AlreadySubscribed`, `FeedNameTaken`, `SubscriptionNotFound`.
        """

        async def work(tables: Tables) -> bool:
            tables.wake(DUE_SOONER)
            await tables.alone()
            stored = await _get(tables, subscription.subscription_id)
            if stored.revision != subscription.revision - 1:
                return False
            await self._refuse_same(tables, subscription, wish)
            feed = subscription.wanted.feed
            if feed is not None:
                await refuse_taken(tables, subscription.subscription_id, feed.name, self._whose(subscription))
            at = subscription.next_check_at
            at = None if not subscription.wanted.enabled else at if check else stored.next_check_at or at
            changed = replace(subscription, next_check_at=at)
            await _store_settings(tables, stored, changed, wish, keep=keep)
            if subscription.url != stored.url:
                # A check that is under way there is late.
                there = replace(
                    stored,
                    revision=subscription.revision,
                    wanted=subscription.wanted,
                    check_no=stored.check_no + 1,
                )
                findings = moved(stored.findings, stored.url, stored.key_origin)
                await _move(tables, there, subscription.url, findings.model_copy(update=_FRESH))
                free = "UPDATE subscriptions SET lease_until = NULL WHERE subscription_id = ?"
                await tables.run(free, (subscription.subscription_id,))
            if feed != stored.wanted.feed:
                name = feed.name if feed else None
                await name_feed(tables, subscription.subscription_id, name, self._whose(subscription))
            return True

        return await self._transactions.write(work)

    async def follow_profiles(self, profiles: Profiles) -> None:
        """Store subscriptions anew whose profile has changed, unless they would be the same as another."""

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
                    await self._refuse_same(tables, one, wish_of(manner, wanted))
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
            # Whether or not this release can read it: its owner does not want it any more.
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
            await name_feed(tables, subscription_id, None, Whose())
            await tables.run(_FORGET_HOST, (host,))  # one that refused is left alone, whoever subscribes next
            return []

        return await self._transactions.write(work)

    async def due(self, subscription_id: str, now: float) -> StoredSubscription:
        """Have it checked as soon as possible. Raises `SubscriptionNotFound`."""

        async def work(tables: Tables) -> StoredSubscription:
            tables.wake(DUE_SOONER)
            stored = await _get(tables, subscription_id)
            if stored.lease_until is None or stored.lease_until <= now:  # else it is the same one
                await tables.run(_DUE_NOW, (now, subscription_id))
            return await _get(tables, subscription_id)

        return await self._transactions.write(work)

    async def items(
        self, subscription_id: str, state: ItemState | None, cursor: str | None, limit: int
    ) -> tuple[list[StoredItem], str | None]:
        """Newest first. Raises `SubscriptionNotFound`, `InvalidQuery`."""
        before = _number(cursor)

        async def work(tables: Statements) -> list[Row]:
            await _get(tables, subscription_id)
            if state is None:
                return await tables.fetch(_ITEM_PAGE, (subscription_id, before, limit + 1))
            return await tables.fetch(_ITEM_PAGE_OF, (subscription_id, state, before, limit + 1))

        found = [_item(*row) for row in await self._transactions.read(work)]
        return found[:limit], str(found[limit - 1].number) if len(found) > limit else None

    async def find(
        self,
        text: str,
        sort: Sort | None,
        cursor: str | None,
        limit: int,
        now: float,
        owner: str | None = None,
    ) -> tuple[list[StoredSubscription], str | None]:
        """A page of those whose name, title or link has `text` in it. Raises `InvalidQuery`."""
        start = start_of(cursor)
        await self._complete_search(_UNSEARCHED, _read_searched, _SEARCHED)
        held = (now, now + LONGEST_HOLD + DAY) if sort == "trouble" else ()  # late: a clock was ahead
        sql = _FOUND.replace("{order}", ORDERS_OF_SUBSCRIPTIONS[sort])
        sql = sql.replace("{owner}", "" if owner is None else _OF_OWNER)
        mine = () if owner is None else (owner,)

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(sql, (pattern_of(text), *mine, *held, limit + 1, start))

        rows = await self._transactions.read(work)
        return list(readable(rows[:limit])), str(start + limit) if len(rows) > limit else None

    async def find_items(
        self,
        subscription_id: str,
        state: ItemState | None,
        text: str,
        sort: Sort | None,
        cursor: str | None,
        limit: int,
    ) -> tuple[list[StoredItem], str | None]:
        """A page of those whose title, uploader or link has `text` in it.

        Raises `InvalidQuery`, `SubscriptionNotFound`.
        """
        start = start_of(cursor)
        await self.get(subscription_id)
        await self._complete_search(_UNSEARCHED_ITEMS, _read_searched_item, _SEARCHED_ITEM, subscription_id)
        sql = _FOUND_ITEMS.replace("{order}", ORDERS_OF_ITEMS[sort])
        states = STATES if state is None else (state,)
        sql = sql.replace("{states}", ", ".join("?" * len(states)))

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(sql, (subscription_id, *states, pattern_of(text), limit + 1, start))

        found = [_item(*row) for row in await self._transactions.read(work)]
        return found[:limit], str(start + limit) if len(found) > limit else None

    async def _complete_search(
        self, missing: str, read: Callable[[Row], Row], put: str, *values: object
    ) -> None:
        """Give rows that an earlier release wrote a text to be searched."""

        async def check(tables: Statements) -> list[Row]:
            return await tables.fetch(missing, (*values, SEARCHED_AT_ONCE))

        while rows := await self._transactions.read(check):

            async def work(tables: Tables, rows: Sequence[Row] = rows) -> None:
                for row in rows:
                    await tables.run(put, read(row))

            await self._transactions.write(work)

    async def items_of(
        self, subscription_id: str, keys: Sequence[str] | None, state: ItemState | None, most: int
    ) -> list[StoredItem]:
        """Those with these `keys`, or up to `most` in `state`. Raises `SubscriptionNotFound`."""

        async def work(tables: Statements) -> list[Row]:
            await _get(tables, subscription_id)
            if keys is not None:
                told = [key for key in keys if "\0" not in key]  # which is no text for PostgreSQL
                return await fetch_in(tables, _ITEMS, told, subscription_id)
            return await tables.fetch(_ITEM_PAGE_OF, (subscription_id, state, _number(None), most))

        return [_item(*row) for row in await self._transactions.read(work)]

    async def with_thumbnails(self, task_ids: Sequence[str]) -> set[str]:
        """Those of the tasks that are there and have a thumbnail."""

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, _WITH_THUMBNAIL, task_ids)

        return {task_id for (task_id,) in await self._transactions.read(work)} if task_ids else set()

    async def claim(self, most: int, lease: float, now: float) -> list[Claim]:
        """Up to `most` checks that are due, at most one of each host, for `lease` seconds."""

        async def work(tables: Tables) -> list[Claim]:
            await tables.alone()
            late, leased, held = _latest(now)
            values = (now, late, now, leased, now, leased, now, held, now, leased)
            hosts, claims = set[str](), list[Claim]()
            for subscription_id, host in await tables.fetch(_CLAIMABLE, values):
                if host in hosts or len(claims) >= most:
                    continue
                hosts.add(host)
                await tables.run(_LEASE, (now + lease, subscription_id))
                rows = await tables.fetch(_BY_ID, (subscription_id,))
                subscription = next(readable(rows), None)
                if subscription is None:  # it is asked for again when the lease ends
                    continue
                newest = await tables.fetch(_NEWEST_KEYS, (subscription_id, MAX_KNOWN_NAMES // 2))
                keys = [key for (key,) in newest]
                aliases = [alias for alias, _ in await fetch_in(tables, _ALIASES, keys)]
                since_cut: list[str] = []
                if (cut_at := subscription.findings.cut_at) is not None:
                    rows = await tables.fetch(_KEYS_SINCE, (subscription_id, cut_at))
                    since_cut = [key for (key,) in rows]
                    since_cut += [alias for alias, _ in await fetch_in(tables, _ALIASES, since_cut)]
                due = await tables.fetch(_DUE_ITEMS, (subscription_id, now, MOST_DUE))
                known = names_of_known(subscription.findings, keys, aliases)
                again = items_to_read_again(starmap(_item, due))
                claims.append(Claim(subscription, known, since_cut, again))
            return claims

        return await self._transactions.write(work) if most > 0 else []

    async def due_in(self, now: float) -> float | None:
        """Seconds until something is due, at most 0 if it is; None if there is no subscription at all."""

        async def work(tables: Statements) -> list[Row]:
            late, leased, held = _latest(now)
            return await tables.fetch(_SOONEST, (held, held, late, now, leased, now, leased))

        [(check, lease, keep, exist)] = await self._transactions.read(work)
        if not exist:
            return None
        return min((max(at - now, 0.0) for at in (check, lease, keep) if at is not None), default=DAY)

    async def settle(
        self,
        claim: Claim,
        found: Sequence[FoundEntry],
        result: CheckResult,
        pace: Pace,
        now: float,
        pictures: Sequence[SourcePicture] = (),
    ) -> CheckOutcome:
        """Store the items that a check has found, their tasks, the source's pictures and the time of the next
        check, in one transaction. Only parts of a first check are stored before.
        """
        found = await self._without_unchanged(claim.subscription, found)
        found = await self._store_parts(claim, found, result, now)

        async def work(tables: Tables) -> CheckOutcome:
            await tables.alone()
            subscription = await _still_ours(tables, claim)
            if subscription is None:
                return CheckOutcome(is_late=True)
            known = await _known(tables, subscription, found, now, is_separate=self._separate)
            plan = plan_check(subscription, found, result, known, pace.max_new, now)
            tasks = await _carry_out(tables, subscription, plan, now, is_separate=self._separate)
            before = subscription.findings
            findings, moved_to = findings_after(claim, subscription, result, plan, pictures, now)
            await put_pictures(tables, subscription.subscription_id, pictures)
            if shown_of(findings.facts, findings.pictures) != shown_of(before.facts, before.pictures):
                await describe_show(tables, subscription.subscription_id)
            if before.told_failing:
                await self._tell(tables, subscription, findings, now)
            more = continues_soon(findings, plan, known)
            await _put_off(tables, subscription, findings, pace, now, result.max_age or 0.0, more=more)
            host, held_until = host_of(subscription.url), None
            if result.refusal is not None:
                held_until = await _hold(tables, host, result.refusal.retry_after, now)
            else:
                await insert(tables, _PACE, [(host, now + pace.pause, 0.0, 0)])
            if moved_to is not None:
                await self._follow(tables, subscription, moved_to)
            return CheckOutcome(list(tasks.values()), plan.retry, held_until=held_until)

        return await self._transactions.write(work)

    async def _store_parts(
        self, claim: Claim, found: Sequence[FoundEntry], result: CheckResult, now: float
    ) -> Sequence[FoundEntry]:
        """Store a first check's entries in parts, but for the newest ones, which are returned. After a kill
        between two parts the next check counts as the first one again, and finds the others.
        """
        parts, last = in_parts(claim.subscription, found, MOST_TOGETHER)
        for part in parts:

            async def work(tables: Tables, part: Sequence[FoundEntry] = part) -> None:
                await tables.alone()
                subscription = await _still_ours(tables, claim)
                if subscription is None:
                    return
                known = await _known(tables, subscription, part, now, is_separate=self._separate)
                plan = plan_check(subscription, part, result, known, 0, now, is_part=True)
                await _carry_out(tables, subscription, plan, now, is_separate=self._separate)

            await self._transactions.write(work)
        return last

    async def _without_unchanged(
        self, subscription: StoredSubscription, found: Sequence[FoundEntry]
    ) -> Sequence[FoundEntry]:
        """Leave out entries of which nothing is to be stored, but for the first ones, which show that this is
        still the same list: with thousands of them a transaction would last too long.
        """
        keys = keys_of_known(found, subscription.key_origin)
        if len(keys) <= FEW_KNOWN:
            return found

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, _ABOUTS, keys.values(), subscription.subscription_id)

        abouts = {key: json.loads(about) for key, about in await self._transactions.read(work)}
        return without_unchanged(found, keys, abouts)

    async def fail(
        self, claim: Claim, code: str, hint: str | None, retry_after: float | None, pace: Pace, now: float
    ) -> float | None:
        """Store that a check has failed; return until when its host is left alone, if it is from now on."""

        async def work(tables: Tables) -> float | None:
            await tables.alone()
            subscription = await _still_ours(tables, claim)
            if subscription is None:
                return None
            findings = after_failure(subscription.findings, code, now, hint)
            if findings.told_failing and not subscription.findings.told_failing:
                await self._tell(tables, subscription, findings, now)
            await _put_off(tables, subscription, findings, pace, now, at_least=retry_after or 0.0)
            host = host_of(subscription.url)
            if code in HOLDING:
                return await _hold(tables, host, retry_after, now)
            [before, *_] = await fetch_in(tables, _HOSTS, [host]) or [(host, 0.0, 0.0, 0)]
            await insert(tables, _HOLD, [(host, now + pace.pause, *before[2:])])
            return None

        return await self._transactions.write(work)

    async def _tell(
        self, tables: Tables, subscription: StoredSubscription, findings: Findings, now: float
    ) -> None:
        """Tell others that the subscription fails, or works again, in the transaction that stores it."""
        link, fails = without_password(subscription.url), findings.told_failing
        notice = SubscriptionNotice(
            type="subscription_failing" if fails else "subscription_works",
            subscription_id=subscription.subscription_id,
            name=subscription.wanted.name or findings.title or link,
            url=link,
            since=(findings.failing_since if fails else None) or now,
            error_code=findings.error_code if fails else None,
        )
        await tell_of_subscription(tables, self._others, notice, now)

    async def _refuse_same(
        self, tables: Statements, one: StoredSubscription, wish: str, *, is_new: bool = False
    ) -> None:
        """Raises `AlreadySubscribed` if another one wants the same of its source, where lists are separate
        another one of its owner.
        """
        for subscription_id, owner in await tables.fetch(_SAME, (one.source_key, wish)):
            is_other = is_new or subscription_id != one.subscription_id
            if is_other and (not self._separate or owner == one.owner):
                raise AlreadySubscribed(subscription_id)

    async def _follow(self, tables: Statements, subscription: StoredSubscription, moved_to: str) -> None:
        """Have the subscription read at `moved_to` from now on, unless another wants the same there."""
        [stored] = readable(await tables.fetch(_BY_ID, (subscription.subscription_id,)))
        url = address_of_move(stored.url, moved_to)
        wish = wish_of(stored.manner, stored.wanted)
        try:
            await self._refuse_same(tables, replace(stored, source_key=key_of_link(url)), wish)
        except AlreadySubscribed:
            log.info("%s stays: another that wants the same is where it would move", stored.subscription_id)
            findings = stored.findings.model_copy(update={"moved_taken": True})
            await tables.run(_TOLD, (findings.model_dump_json(exclude_defaults=True), stored.subscription_id))
            return
        log.info("%s is at %s from now on", stored.subscription_id, without_password(url))
        findings = moved(stored.findings, stored.url, stored.key_origin)
        await _move(tables, replace(stored, revision=stored.revision + 1), url, findings)

    async def stages(self, now: float) -> dict[str, int]:
        """How many subscriptions are in each stage."""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_STAGES, (now,))

        return dict.fromkeys(map(str, STAGES), 0) | dict(await self._transactions.read(work))

    async def count_held_hosts(self, now: float) -> int:
        sql = "SELECT count(*) FROM source_hosts WHERE held_until > ? AND held_until <= ?"

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(sql, (now, now + LONGEST_HOLD + DAY))

        [(count,)] = await self._transactions.read(work)
        return int(count)

    async def hold(self, host: str, retry_after: float | None, now: float) -> float:
        """Leave a host alone, unless it is already; return until when."""

        async def work(tables: Tables) -> float:
            await tables.alone()
            for _, _, held_until, _ in await fetch_in(tables, _HOSTS, [host]):
                if held_until > now:
                    return float(held_until)
            return await _hold(tables, host, retry_after, now)

        return await self._transactions.write(work)

    async def log_in(self, hosts: Sequence[str], now: float, owner: str | None = None) -> set[str]:
        """There are new cookies of `owner` for `hosts` and what is below them: what was refused there for
        want of a log-in is due at once; where lists are separate, only what is theirs. Return the hosts that
        were left alone for that, and are not any more.
        """
        domains, is_for_all = frozenset(hosts), not self._separate

        async def work(tables: Tables) -> set[str]:
            tables.wake(DUE_SOONER)
            await tables.alone()
            codes: dict[str, set[str]] = {}  # why its tasks and checks were refused, by host
            mine = set[str]()
            refused_mine = set[str]()  # hosts
            refused = await tables.fetch(_REFUSED_ITEMS, (MOST_REFUSED,))
            if not is_for_all:  # those of others may be as many as are read
                refused += await tables.fetch(_REFUSED_ITEMS_OF, (owner or "", MOST_REFUSED))
            for subscription_id, key, text, whose in refused:
                status = TaskStatus.model_validate_json(text, extra="ignore")
                if status.error_code in REFUSED and is_below(status.host, domains):
                    codes.setdefault(status.host, set()).add(status.error_code)
                    if is_for_all or whose == owner:
                        mine.add(subscription_id)
                        refused_mine.add(status.host)
                        await tables.run(_ITEM_NOW, (now, subscription_id, key))
            for failing in readable(await tables.fetch(_FAILING)):
                host, code = host_of(failing.url), failing.findings.error_code
                if code is not None and is_below(host, domains):
                    codes.setdefault(host, set()).add(code)
                    if is_for_all or failing.owner == owner:
                        refused_mine.add(host)
                        if code in REFUSED:
                            mine.add(failing.subscription_id)
            free = {host for host in refused_mine if ends_with_log_in(codes[host])}
            await _run_in(tables, _RELEASE, free, now)
            await _run_in(tables, _ALL_DUE_NOW, mine, now)
            return free

        async def exist(tables: Statements) -> list[Row]:
            return await tables.fetch("SELECT 1 FROM subscriptions LIMIT 1")

        if not await self._transactions.read(exist):
            return set()
        return await self._transactions.write(work)

    async def renew(self, claim: Claim, lease: float, now: float) -> bool:
        """Prolong the lease of a check; False if it is not ours any more."""

        async def work(tables: Tables) -> bool:
            if await _still_ours(tables, claim) is None:
                return False
            mine = claim.subscription.subscription_id
            await tables.run(
                "UPDATE subscriptions SET lease_until = ? WHERE subscription_id = ?", (now + lease, mine)
            )
            return True

        return await self._transactions.write(work)

    async def give(self, owner: str | None, to: str | None) -> bool:
        """Make some subscriptions of one person, or of nobody, those of another, or nobody's; return whether
        there were any. The memory and the secret of feeds of who had them are forgotten.
        """
        scope = scope_of_person(to) if to else ""

        async def work(tables: Tables) -> bool:
            await tables.alone()
            rows = await tables.fetch(_SOME_OF, (owner or "", GIVEN_AT_ONCE))
            ids = [row[0] for row in rows]
            await _run_in(tables, _GIVE, ids, to, scope)
            if await fetch_in(tables, _WITH_FEED, ids):
                heir = Whose(to, is_separate=self._separate)
                if owner is None:
                    await inherit_secret(tables, heir)
                await make_secret(tables, heir)
            if owner is not None:
                theirs = Whose(owner, is_separate=True)
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
                await make_secret(tables, Whose(owner, is_separate=self._separate))

        await self._transactions.write(work)

    async def release_all(self) -> None:
        """End all leases: no server but this one, which has just started, checks anything."""

        async def work(tables: Tables) -> None:
            await tables.run("UPDATE subscriptions SET lease_until = NULL WHERE lease_until IS NOT NULL")

        await self._transactions.write(work)

    async def is_wanted(self, task_id: str, but: str) -> bool:
        """Whether any subscription waits for the task, beside the one with the id `but`."""
        sql = """
            SELECT 1 FROM items WHERE task_id = ? AND subscription_id <> ? AND state IN ('queued', 'waiting')
            LIMIT 1"""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(sql, (task_id, but))

        return bool(await self._transactions.read(work))

    async def queued_tasks(self) -> list[str]:
        """The ids of all tasks of items that are `queued`."""
        sql = "SELECT DISTINCT task_id FROM items WHERE task_id IS NOT NULL AND state = 'queued'"

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(sql)

        return [task_id for (task_id,) in await self._transactions.read(work)]

    async def newest_link(self, task: Task) -> Relinked | None:
        """Return the link that the entry of a task that is to begin has now, if a check found another."""
        status, wanted = task.status, task.effective_request
        if status.subscription_id is None or wanted is None:
            return None
        sql = "SELECT about FROM items WHERE task_id = ? AND subscription_id = ? AND state = 'queued'"

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(sql, (status.task_id, status.subscription_id))

        for (told,) in await self._transactions.read(work):
            about = json.loads(told)
            is_same = (about["url"], about.get("item")) == (wanted.url, status.item)
            # A task that turned out to be a list goes on as an entry of that.
            is_as_asked = ListEntry(index=1, url=wanted.url).shown_url == status.url
            return Relinked(url=about["url"], item=about.get("item")) if is_as_asked and not is_same else None
        return None

    async def fetch(
        self, items: Sequence[StoredItem], now: float, gone: Container[str] = ()
    ) -> dict[str, Task | str]:
        """Make tasks of items, by their keys, or the id of a task that is to be retried; for items that are
        `queued`, or `fetched` and not `gone`, there is neither. Raises `QueueFull`; then none was made.
        """

        async def work(tables: Tables) -> dict[str, Task | str]:
            await tables.alone()
            subscription = await _get(tables, items[0].subscription_id)
            rows = await fetch_in(tables, _ITEMS, [item.key for item in items], subscription.subscription_id)
            gone_tasks = {item.key: item.task_id for item in items if item.key in gone}
            plan, retried = planned_fetch(subscription, starmap(_item, rows), gone_tasks)
            if len(plan.wanted) > await tables.room():
                raise QueueFull
            made = await _carry_out(tables, subscription, plan, now, is_separate=self._separate)
            return {**retried, **made}

        return await self._transactions.write(work) if items else {}

    async def place(self, subscription_id: str, tasks: Mapping[str, str]) -> None:
        """Have placed what these tasks have fetched for items, which are named by their keys, if the
        subscription has a library; items that were let go are fetched again.
        """

        async def work(tables: Tables) -> None:
            tables.wake(DUE_SOONER)
            library = (await _get(tables, subscription_id)).wanted.library
            rows = await fetch_in(tables, _ITEMS, tasks, subscription_id)
            there = [item for item in starmap(_item, rows) if item.task_id == tasks[item.key]]
            fetched = [item.key for item in there if item.state in ("fetched", "expired")]
            await _run_in(tables, _STATE, fetched, "fetched", None, subscription_id)
            if library:
                sets = [set_of_item(subscription_id, key, tasks[key], library) for key in fetched]
                await to_be_placed(tables, sets)

        await self._transactions.write(work)

    async def set_state(
        self, subscription_id: str, keys: Sequence[str], state: ItemState, reason: str
    ) -> None:
        async def work(tables: Tables) -> None:
            await _run_in(tables, _STATE, keys, state, reason, subscription_id)
            if state == "expired":
                tables.wake(DUE_SOONER)
                await leave_items(tables, subscription_id, keys)
                await tables.run(
                    "UPDATE subscriptions SET keep_at = 0 WHERE subscription_id = ?", (subscription_id,)
                )

        await self._transactions.write(work)

    async def skip(self, subscription_id: str, keys: Sequence[str], reason: str) -> dict[str, ItemState]:
        """Have items skipped that are neither fetched nor let go, and whose tasks are not under way, unless
        that is for another subscription; return the states that all have now.
        """

        async def work(tables: Tables) -> dict[str, ItemState]:
            await tables.alone()
            await _run_in(tables, _SKIP, keys, reason, subscription_id)
            items = starmap(_item, await fetch_in(tables, _ITEMS, keys, subscription_id))
            return {item.key: item.state for item in items}

        return await self._transactions.write(work)

    async def pin(self, subscription_id: str, keys: Sequence[str], *, pinned: bool) -> None:
        async def work(tables: Tables) -> None:
            await _run_in(tables, _PIN, keys, int(pinned), subscription_id)
            if not pinned:  # it may be one that is not kept
                tables.wake(DUE_SOONER)
                await _run_in(tables, _KEEP_NOW, [subscription_id], 0.0)

        await self._transactions.write(work)

    async def forget(self, subscription_id: str, keys: Sequence[str]) -> None:
        """Delete items, and what the memory has of them: they are new at the next check."""

        async def work(tables: Tables) -> None:
            await tables.alone()
            sql = "DELETE FROM items WHERE subscription_id = ? AND key IN ({keys})"
            await _run_in(tables, sql, keys, subscription_id)
            others = [*keys, *(await resolved(tables, keys)).values()]
            subscription = await _get(tables, subscription_id)
            whose = self._whose(subscription)
            remembered = [whose.key(key) for key in others]
            await _run_in(tables, "DELETE FROM media WHERE key IN ({keys})", remembered)
            await _run_in(tables, "DELETE FROM aliases WHERE key IN ({keys})", others)
            # A source that has not changed is to be read all the same.
            findings = unread(subscription.findings)
            # A check that is under way passes over what it knows, and so over what is forgotten now.
            findings = findings.model_copy(update={"forgets": findings.forgets + 1})
            await tables.run(_TOLD, (findings.model_dump_json(exclude_defaults=True), subscription_id))

        await self._transactions.write(work)

    async def expire(self, now: float) -> list[str]:
        """Let go what `keep` says, of subscriptions where something may be due; return the ids of tasks that
        subscriptions have made and none keeps any more, also those whose removal an earlier call has asked
        for in vain.
        """

        async def work(tables: Tables) -> list[str]:
            sql = f"SELECT {COLUMNS} FROM subscriptions WHERE keep_at <= ? LIMIT 20"  # noqa: S608
            rows = await tables.fetch(sql, (now,))
            due, unkept = list(readable(rows)), list[str]()
            if rows:
                await tables.alone()
                later = "UPDATE subscriptions SET keep_at = ? WHERE subscription_id IN ({keys})"
                await _run_in(tables, later, (row[0] for row in rows), now + HOUR)
            for subscription in due:
                mine = subscription.subscription_id
                items = [_item(*row) for row in await tables.fetch(_TO_KEEP, (mine,))]
                gone, again_at = not_kept(subscription, items, now)
                await _run_in(tables, _STATE, gone, "expired", "retention", mine)
                await leave_items(tables, mine, gone)
                if gone:
                    tables.wake(DUE_SOONER)
                rows = await tables.fetch(_UNKEPT, (mine,))
                found = await made_by_checks(tables, [task_id for (task_id,) in rows])
                unkept += found
                # Once more, until the tasks are gone: their removal may be cut off.
                at = now + 30.0 if found else again_at
                await tables.run("UPDATE subscriptions SET keep_at = ? WHERE subscription_id = ?", (at, mine))
            return list(dict.fromkeys(unkept))

        return await self._transactions.write(work)


def _latest(now: float) -> tuple[float, float, float]:
    """When a check, the end of a lease, and that of a hold can be at the latest."""
    return now + LATEST, now + MOST_LEASE, now + LONGEST_HOLD + DAY


async def _run_in(tables: Statements, sql: str, keys: Iterable[object], *before: object) -> None:
    """Like `fetch_in`, for a statement without rows."""
    chosen = list(dict.fromkeys(keys))
    for start in range(0, len(chosen), 200):
        some = chosen[start : start + 200]
        await tables.run(sql.replace("{keys}", ", ".join("?" * len(some))), (*before, *some))


async def _get(tables: Statements, subscription_id: str, owner: str | None = None) -> StoredSubscription:
    if "\0" in subscription_id:  # which is no text for PostgreSQL
        raise SubscriptionNotFound
    query = (_BY_ID, (subscription_id,)) if owner is None else (_BY_ID + _OF_OWNER, (subscription_id, owner))
    for found in readable(await tables.fetch(*query)):
        return found
    raise SubscriptionNotFound


async def _unshared(tables: Statements, subscription_id: str) -> list[str]:
    rows = await tables.fetch(_UNSHARED, (subscription_id,))
    return await made_by_checks(tables, [task_id for (task_id,) in rows])


async def _move(tables: Statements, subscription: StoredSubscription, url: str, findings: Findings) -> None:
    """Store where the subscription is read from now on; its entries keep their keys, also for whoever
    subscribes there when it is gone.
    """
    told, source_key = findings.model_dump_json(exclude_defaults=True), key_of_link(url)
    values = (subscription.revision, url, source_key, host_of(url), told, subscription.check_no)
    search = search_of_subscription(url, subscription.wanted, findings)
    await tables.run(_MOVE_TO, (*values, search, subscription.subscription_id))
    await tables.run(_FORGET_HOST, (host_of(subscription.url),))
    if source_key != subscription.key_origin:
        await name(tables, {f"{_SOURCE}{source_key}": f"{_SOURCE}{subscription.key_origin}"})


async def _store_settings(
    tables: Tables,
    before: StoredSubscription,
    after: StoredSubscription,
    wish: str,
    *,
    keep: bool | None = None,
) -> None:
    """`keep`: what is kept has changed; if it is not said, that is found out."""
    sql = "SELECT wanted FROM subscriptions WHERE subscription_id = ?"
    [(stored,)] = await tables.fetch(sql, (after.subscription_id,))
    settings = _with_unknown(_settings(after.wanted), stored)
    search = search_of_subscription(after.url, after.wanted, before.findings)
    values = (after.revision, wish, after.manner, settings, after.next_check_at, search)
    keeps_anew = before.wanted.keep != after.wanted.keep if keep is None else keep
    kept = 0.0 if keeps_anew else None
    await tables.run(_CHANGE, (*values, kept, after.subscription_id, before.revision))


async def _still_ours(tables: Statements, claim: Claim) -> StoredSubscription | None:
    """The subscription as it is now; None if it is gone, or another check of it has begun since."""
    try:
        now = await _get(tables, claim.subscription.subscription_id)
    except SubscriptionNotFound:
        return None
    return now if now.check_no == claim.subscription.check_no else None


async def _known(
    tables: Tables,
    subscription: StoredSubscription,
    found: Sequence[FoundEntry],
    now: float,
    *,
    is_separate: bool,
) -> KnownItems:
    mine = subscription.subscription_id
    names: dict[str, None] = {}
    listed: dict[str, None] = {}
    new: dict[str, None] = {}
    for entry in found:
        key, aliases = keys_of(entry, subscription.key_origin)
        names |= dict.fromkeys((key, *aliases))
        if entry.again is None:
            listed |= dict.fromkeys((key, *aliases))
        if not entry.known:
            new |= dict.fromkeys((key, *aliases))
        if entry.item is not None and entry.media is not None:
            names[key_of_link(entry.url, entry.item)] = None  # as it was called once
    stands_for = await resolved(tables, names)
    again = [entry.again for entry in found if entry.again is not None]
    keys = [*names, *stands_for.values()]
    named = [stands_for[name] for name in new if name in stands_for]
    # What a guid names may have led to a film that the memory has by the film's own key.
    led_to = await resolved(tables, named)
    stands_for |= {key: film for key, film in led_to.items() if key not in names}
    new_keys = [*new, *named, *led_to.values()]
    led_here = await fetch_in(tables, _ALIASES, names)
    wanted = [*keys, *again, *(alias for alias, _ in led_here)]
    items = {row[1]: _item(*row) for row in await fetch_in(tables, _ITEMS, wanted, mine)}
    # An item's link may have led to what is an entry of its own now: see `follow_tasks`.
    for alias, key in led_here:
        if alias in items and key not in items:
            stands_for.setdefault(key, alias)
    others = await _shared_with(tables, subscription, new_keys, is_separate=is_separate)
    [(last,)] = await tables.fetch(_LAST_NUMBER, (mine,))
    seeds = not subscription.findings.seeded
    first = await tables.fetch(_BEGAN_AT, (mine,)) if again or seeds else []
    whose = Whose(subscription.owner, is_separate=is_separate)
    media, placed = await look_up(tables, new_keys, whose), set[str]()
    if subscription.wanted.backlog != "none" and any(map(is_gone_media, media.values())):
        # Of an entry that has led elsewhere, the library has its own key.
        placed = await with_films(tables, [*new_keys, *(alias for alias, _ in led_here)])
        placed |= {key for alias, key in led_here if alias in placed}
    spare, recent = list[StoredItem](), list[StoredItem]()
    if again and isinstance(subscription.wanted.backlog, LastOnes):
        rows = await tables.fetch(_ITEM_PAGE_OF, (mine, "known", _number(None), MOST_SPARE))
        spare = [item for item in starmap(_item, rows) if item.about.get("may_pass")]
    stored = {*listed, *(stands_for[name] for name in listed if name in stands_for)}
    is_set_anew = subscription.findings.form is None  # what is known by a guid there may be another's
    if listed and subscription.findings.seeded and (is_set_anew or items.keys().isdisjoint(stored)):
        recent = list(starmap(_item, await tables.fetch(_ITEM_PAGE, (mine, _number(None), MOST_RECENT))))
    return KnownItems(
        items=items,
        spare=spare,
        recent=recent,
        aliases=stands_for,
        media=media,
        placed=placed,
        others=others,
        backlog=[_item(*row) for row in await tables.fetch(_WAITING, (mine, MOST_DUE))],
        due=[_item(*row) for row in await tables.fetch(_DUE_ITEMS, (mine, now, MOST_DUE))],
        room=await tables.room(),
        last_number=last,
        began_at=first[0][0] if first else None,
    )


async def _carry_out(
    tables: Tables, subscription: StoredSubscription, plan: CheckPlan, now: float, *, is_separate: bool
) -> dict[str, Task]:
    """Store the items of `plan` and add its tasks, those for held hosts to be begun later.

    Return the tasks by the keys of their items. An item whose entry another subscription has, in the same
    manner, shares that one's task.
    """
    moment = datetime.fromtimestamp(now, UTC)
    wanted_keys = [item.key for item in plan.wanted]
    others = await _shared_with(tables, subscription, wanted_keys, is_separate=is_separate)
    items = dict(plan.items)
    for item in plan.wanted:
        if other := others.get(item.key):
            shared = {"task_id": other.task_id, "manner": other.manner, "fetched_at": other.fetched_at}
            items[item.key] = replace(item, state=other.state, **shared)  # type: ignore[arg-type]
    wanted = [item for item in plan.wanted if item.key not in others]
    # The oldest first.
    new = [task_of(subscription, plan.renewed(item), moment) for item in reversed(wanted)]
    hosts = {task.status.host for task in new}
    held = {host: until for host, _, until, _ in await fetch_in(tables, _HOSTS, hosts) if until > now}
    new = [begun_after(task, held.get(task.status.host), moment) for task in new]
    tasks = (await tables.add(new))[::-1] if new else []
    for item, task in zip(wanted, tasks, strict=True):
        items[item.key] = replace(item, task_id=task.status.task_id, manner=subscription.manner)
    await insert(tables, _PUT, [_item_row(item) for item in items.values()])
    for key, about in plan.abouts.items():
        told = json.dumps(about, ensure_ascii=False)
        await tables.run(_ABOUT, (told, search_of_item(about), subscription.subscription_id, key))
    if library := subscription.wanted.library:  # of what is there already
        there = [item for item in items.values() if item.state == "fetched" and item.task_id]
        mine = subscription.subscription_id
        await to_be_placed(tables, [set_of_item(mine, one.key, one.task_id or "", library) for one in there])
    await _name_more(tables, plan, items)
    return {item.key: task for item, task in zip(wanted, tasks, strict=True)}


async def _shared_with(
    tables: Tables, subscription: StoredSubscription, keys: Sequence[str], *, is_separate: bool
) -> dict[str, StoredItem]:
    """Items of other subscriptions, by key, whose tasks do for this subscription as well. Where lists are
    separate, these are of the same owner.

    Over PostgreSQL the task of such an item may be ending by another transaction, which moves only the items
    that it sees. So the tasks are locked, in the order in which ends lock them, and the items read again:
    either they have been moved by then, or the end of the task waits and finds the item that shares it.
    """
    values: tuple[str | None, ...] = (subscription.manner, subscription.subscription_id)
    others = _OTHERS
    if is_separate:
        others = _OTHERS.replace("AND key IN", f"AND {_OF_SAME_OWNER} AND key IN")
        values = (*values, subscription.owner or "")
    rows = await fetch_in(tables, others, keys, *values)
    if rows and tables.dialect.name == "postgresql":
        task_ids = {item.task_id or "" for item in (_item(*row) for row in rows)}
        await fetch_in(tables, _LOCK_TASKS, sorted(task_ids))
        rows = await fetch_in(tables, others, keys, *values)
    return {row[1]: _item(*row) for row in rows}


async def _name_more(tables: Tables, plan: CheckPlan, new: Container[str]) -> None:
    """Store the aliases of a plan, as many as items may have; `new` are the keys of its items."""
    known = {key for key in plan.aliases.values() if key not in new}
    counts: dict[str, int] = dict(await fetch_in(tables, _COUNT_ALIASES, known))
    await name(tables, aliases_to_store(plan.aliases, known, counts))


async def _put_off(
    tables: Tables,
    subscription: StoredSubscription,
    findings: Findings,
    pace: Pace,
    now: float,
    at_least: float,
    *,
    more: bool = False,
) -> None:
    """Store the findings, and when the next check is due; `more`: soon, as the list goes on."""
    newest: list[float] = []
    if subscription.wanted.interval == AUTO:
        rows = await tables.fetch(_NEWEST_TIMES, (subscription.subscription_id, AUTO_OF))
        times = ((moment_of(published_at), found_at) for published_at, found_at in rows)
        newest = [found_at if moment is None else moment for moment, found_at in times]
    [(soonest,)] = await tables.fetch(_NEXT_ITEM, (subscription.subscription_id,))
    at_least = min(at_least, LONGEST_HOLD)
    at = next_check_at(subscription, findings, pace, newest, soonest, at_least, now, more=more)
    findings = findings.model_copy(update={"asked_until": now + at_least if at_least else None})
    search = search_of_subscription(subscription.url, subscription.wanted, findings)
    values = (findings.model_dump_json(exclude_defaults=True), search, at)
    await tables.run(_LOOKED, (*values, subscription.subscription_id, subscription.check_no))


async def _hold(tables: Tables, host: str, retry_after: float | None, now: float) -> float:
    """Leave `host` alone, twice as long as the last time, or as long as it asks for; return until when."""
    found = await fetch_in(tables, _HOSTS, [host])
    holds = found[0][3] if found else 0
    wait = hold_for(holds, retry_after)
    await insert(tables, _HOLD, [(host, now + wait, now + wait, holds + 1)])
    return now + wait


def host_of(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()


def _number(cursor: str | None) -> int:
    if cursor is None:
        return 1 << 62
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InvalidQuery("cursor")
    return int(cursor)


def _read_settings(text: str) -> SubscriptionSettings:
    """Fields that only a newer release knows are passed over; `change` keeps them."""
    return SubscriptionSettings.model_validate_json(text, extra="ignore")


def _with_unknown(settings: str, stored: str) -> str:
    """`settings` with what is `stored` and unknown to this release, also within what is still set."""

    def add(
        told: dict[str, Any], before: dict[str, Any], known: Container[str], read: dict[str, Any]
    ) -> None:
        for key, value in before.items():
            if key not in known:
                told[key] = value
            elif isinstance(value, dict) and isinstance(told.get(key), dict):
                inner = read.get(key, {})
                add(told[key], value, inner, inner)

    told, read = json.loads(settings), json.loads(_settings(_read_settings(stored)))
    add(told, json.loads(stored), SubscriptionSettings.model_fields, read)
    return json.dumps(told, ensure_ascii=False)


def _settings(wanted: SubscriptionSettings) -> str:
    return wanted.model_dump_json(exclude_unset=True, exclude_none=True)


def _row(one: StoredSubscription, wish: str) -> Row:
    kept = 0.0 if one.wanted.keep.days or one.wanted.keep.last else None
    return (
        one.subscription_id, one.number, one.revision, one.url, one.source_key, wish, host_of(one.url),
        one.manner, one.scope, _settings(one.wanted), one.findings.model_dump_json(exclude_defaults=True),
        one.next_check_at, one.lease_until, one.check_no, kept, one.created_at,
        search_of_subscription(one.url, one.wanted, one.findings), one.owner, one.created_by,
    )  # fmt: skip


def read_subscription(
    subscription_id: str, number: int, revision: int, url: str, source_key: str, manner: str, scope: str,
    wanted: str, findings: str, next_check_at: float | None, lease_until: float | None, check_no: int,
    created_at: float, owner: str | None, created_by: str | None,
) -> StoredSubscription:  # fmt: skip
    return StoredSubscription(
        subscription_id, number, revision, url, source_key, manner, scope, _read_settings(wanted),
        Findings.model_validate_json(findings), next_check_at, lease_until, check_no, created_at, owner,
        created_by,
    )  # fmt: skip


def readable(rows: Iterable[Row]) -> Iterator[StoredSubscription]:
    """A damaged one, or one with a value that only a newer release knows, stops no other; it is logged."""
    for row in rows:
        try:
            yield read_subscription(*row)
        except ValueError:
            log.error("subscription %s cannot be read: it is damaged, or of a newer release", row[0])


def _read_searched(row: Row) -> Row:
    """Return the text to be searched of a subscription, empty if it is of a newer release, and its id."""
    for one in readable([row]):
        return search_of_subscription(one.url, one.wanted, one.findings), one.subscription_id
    return "", row[0]


def _read_searched_item(row: Row) -> Row:
    subscription_id, key, about = row
    return search_of_item(json.loads(about)), subscription_id, key


def _item_row(item: StoredItem) -> Row:
    return (
        item.subscription_id, item.key, item.number, item.state, item.reason, item.published_at, item.task_id,
        item.manner, item.not_before, item.tries, int(item.pinned), item.found_at, item.fetched_at,
        json.dumps(item.about, ensure_ascii=False), search_of_item(item.about),
    )  # fmt: skip


def _item(*row: Any) -> StoredItem:
    *columns, about = row
    item = StoredItem(*columns)
    return replace(item, pinned=bool(item.pinned), about=json.loads(about))
