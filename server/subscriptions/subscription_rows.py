"""Subscriptions and their items as rows, on every database; see `server.subscriptions.subscription`."""

import json
import logging
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import starmap

from server.core.errors import (
    AlreadySubscribed,
    QueueFull,
    SubscriptionNotFound,
    TooManySubscriptions,
)
from server.core.events import Relinked
from server.core.list_entries import ListEntry
from server.core.media_keys import key_of
from server.core.principal import scope_of_person
from server.core.task import Task
from server.core.whose import Whose
from server.library.placement_columns import DUE_SOONER
from server.library.placement_requests import leave_all, leave_items, made_by_checks, to_be_placed
from server.library.placements import set_of_item
from server.memory.media_rows import name, resolved
from server.notices.delivery_rows import tell_no_more
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
    planned_fetch,
)
from server.subscriptions.check_rows import carry_out
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
from server.subscriptions.source_picture_rows import delete_pictures
from server.subscriptions.subscription import (
    DAY,
    HELD,
    HOUR,
    STAGES,
    STATES,
    ItemState,
    StoredItem,
    StoredSubscription,
    SubscriptionSettings,
    wish_of,
)
from server.subscriptions.subscription_columns import (
    BY_ID,
    COLUMNS,
    FORGET_HOST,
    ITEM_COLUMNS,
    ITEM_PAGE,
    ITEM_PAGE_OF_STATE,
    ITEMS_BY_KEY,
    OF_OWNER,
    SOURCE_ALIAS,
    STORE_FINDINGS,
    number_before,
    read_by_id,
    read_item,
    readable,
    refuse_same,
    run_in,
    store_move,
    subscription_row,
    with_unknown,
    written_settings,
)
from server.subscriptions.subscription_rules import (
    LONGEST_HOLD,
    expired_items,
    findings_after_move,
    item_after,
    with_full_read_next,
)
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
_COUNTS = """
    SELECT subscription_id, state, count(*) FROM items WHERE subscription_id IN ({keys})
    GROUP BY subscription_id, state"""
_COUNTS_OF_HELD = f"""
    SELECT subscription_id, count(*) FROM items
    WHERE subscription_id IN ({{keys}}) AND state = 'waiting' AND reason = '{HELD}'
    GROUP BY subscription_id"""  # noqa: S608
_LAST_FETCHED = """
    SELECT subscription_id, max(fetched_at) FROM items
    WHERE subscription_id IN ({keys}) AND state = 'fetched' GROUP BY subscription_id"""
# As `StoredSubscription.stage` says.
_STAGES = """
    SELECT CASE WHEN next_check_at IS NULL THEN 'paused' WHEN lease_until > ? THEN 'checking'
        WHEN findings LIKE '%"error_code":%' THEN 'failing' WHEN findings LIKE '%"seeded":true%' THEN 'idle'
        ELSE 'seeding' END AS stage, count(*)
    FROM subscriptions GROUP BY 1"""
SEARCHED_AT_ONCE = 500  # rows
_FOUND = f"""
    SELECT {COLUMNS} FROM subscriptions WHERE search LIKE ? ESCAPE '\\'{{owner}}
    ORDER BY {{order}} LIMIT ? OFFSET ?"""  # noqa: S608
_FOUND_ITEMS = f"""
    SELECT {ITEM_COLUMNS} FROM items
    WHERE subscription_id = ? AND state IN ({{states}}) AND search LIKE ? ESCAPE '\\'
    ORDER BY {{order}} LIMIT ? OFFSET ?"""  # noqa: S608
_UNSEARCHED = f"SELECT {COLUMNS} FROM subscriptions WHERE search IS NULL LIMIT ?"  # noqa: S608
_SEARCHED = "UPDATE subscriptions SET search = ? WHERE subscription_id = ?"
_UNSEARCHED_ITEMS = """
    SELECT subscription_id, key, about FROM items WHERE subscription_id = ? AND search IS NULL LIMIT ?"""
_SEARCHED_ITEM = "UPDATE items SET search = ? WHERE subscription_id = ? AND key = ?"
_NEWEST_PUBLISHED = """
    SELECT subscription_id, (SELECT max(published_at) FROM (
            SELECT published_at FROM items WHERE items.subscription_id = subscriptions.subscription_id
            ORDER BY number DESC LIMIT 10) AS newest)
    FROM subscriptions WHERE subscription_id IN ({keys})"""
_SOONER = """
    UPDATE subscriptions SET next_check_at = ?
    WHERE subscription_id = ? AND next_check_at > ?"""
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
    SELECT {ITEM_COLUMNS} FROM items WHERE subscription_id = ? AND state = 'fetched' ORDER BY number DESC"""  # noqa: S608
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
                    for one in readable(await tables.fetch(BY_ID, (subscription_id,)))
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
                await run_in(tables, _KEEP_NOW, [subscription_id], after.fetched_at)
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

    def __init__(self, transactions: Transactions, *, separate_lists: bool = False) -> None:
        self._transactions = transactions
        self._separate = separate_lists

    async def add(self, subscription: StoredSubscription, wish: str, most: int) -> StoredSubscription:
        """Return it with its number. Raises `AlreadySubscribed`, `FeedNameTaken`, and `TooManySubscriptions`
        above `most`.
        """

        async def work(tables: Tables) -> StoredSubscription:
            tables.wake(DUE_SOONER)
            await tables.alone()
            await refuse_same(tables, subscription, wish, is_new=True, separate=self._separate)
            feed = subscription.wanted.feed
            if feed is not None:
                await refuse_taken(tables, subscription.subscription_id, feed.name, self._whose(subscription))
            [(count, last)] = await tables.fetch(_TOTALS)
            if self._separate:  # what others have is neither counted against somebody nor told to them
                [(count,)] = await tables.fetch(_COUNT_OF, (subscription.owner or "",))
            if count >= most:
                raise TooManySubscriptions(most)
            numbered = replace(subscription, number=last + 1)
            origin = f"{SOURCE_ALIAS}{subscription.source_key}"
            if known_as := (await resolved(tables, [origin])).get(origin):  # its source moved there once
                findings = subscription.findings.model_copy(
                    update={"key_origin": known_as.removeprefix(SOURCE_ALIAS)}
                )
                numbered = replace(numbered, findings=findings)
            await insert(tables, _ADD, [subscription_row(numbered, wish)])
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
        return await self._transactions.read(lambda tables: read_by_id(tables, subscription_id, owner))

    async def page(
        self, cursor: str | None, limit: int, owner: str | None = None
    ) -> tuple[list[StoredSubscription], str | None]:
        """Newest first, with `owner` only theirs. Raises `InvalidQuery`."""
        before = number_before(cursor)

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

    async def counts_of_held(self, subscription_ids: Sequence[str]) -> dict[str, int]:
        """How many items of each are held; nothing of those without any."""
        rows = await self._transactions.read(
            lambda tables: fetch_in(tables, _COUNTS_OF_HELD, subscription_ids)
        )
        return dict(rows)

    async def last_fetched(self, subscription_ids: Sequence[str]) -> dict[str, float]:
        """When the newest file that is there of each was fetched; nothing of those without any."""
        rows = await self._transactions.read(lambda tables: fetch_in(tables, _LAST_FETCHED, subscription_ids))
        return {subscription_id: at for subscription_id, at in rows if at is not None}

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
                findings = findings_after_move(stored.findings, stored.url, stored.key_origin)
                await store_move(tables, there, subscription.url, findings.model_copy(update=_NEW_LINK))
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
            await tables.run(FORGET_HOST, (host,))  # one that refused is left alone, whoever subscribes next
            return []

        return await self._transactions.write(work)

    async def items(
        self, subscription_id: str, state: ItemState | None, cursor: str | None, limit: int
    ) -> tuple[list[StoredItem], str | None]:
        """Newest first. Raises `SubscriptionNotFound`, `InvalidQuery`."""
        before = number_before(cursor)

        async def work(tables: Statements) -> list[Row]:
            await read_by_id(tables, subscription_id)
            if state is None:
                return await tables.fetch(ITEM_PAGE, (subscription_id, before, limit + 1))
            return await tables.fetch(ITEM_PAGE_OF_STATE, (subscription_id, state, before, limit + 1))

        found = [read_item(*row) for row in await self._transactions.read(work)]
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
        sql = sql.replace("{owner}", "" if owner is None else OF_OWNER)
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

        found = [read_item(*row) for row in await self._transactions.read(work)]
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
            await read_by_id(tables, subscription_id)
            if keys is not None:
                told = [key for key in keys if "\0" not in key]  # which is no text for PostgreSQL
                return await fetch_in(tables, ITEMS_BY_KEY, told, subscription_id)
            return await tables.fetch(ITEM_PAGE_OF_STATE, (subscription_id, state, number_before(None), most))

        return [read_item(*row) for row in await self._transactions.read(work)]

    async def with_thumbnails(self, task_ids: Sequence[str]) -> set[str]:
        """Those of the tasks that are there and have a thumbnail."""

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, _WITH_THUMBNAIL, task_ids)

        return {task_id for (task_id,) in await self._transactions.read(work)} if task_ids else set()

    async def stages(self, now: float) -> dict[str, int]:
        """How many subscriptions are in each stage."""

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
            subscription = await read_by_id(tables, items[0].subscription_id)
            rows = await fetch_in(
                tables, ITEMS_BY_KEY, [item.key for item in items], subscription.subscription_id
            )
            gone_tasks = {item.key: item.task_id for item in items if item.key in gone}
            plan, retried = planned_fetch(subscription, starmap(read_item, rows), gone_tasks)
            if len(plan.wanted) > await tables.room():
                raise QueueFull
            made = await carry_out(tables, subscription, plan, now, is_separate=self._separate)
            return {**retried, **made}

        return await self._transactions.write(work) if items else {}

    async def place(self, subscription_id: str, tasks: Mapping[str, str]) -> None:
        """Have placed what these tasks have fetched for items, which are named by their keys, if the
        subscription has a library; items that were let go are fetched again.
        """

        async def work(tables: Tables) -> None:
            tables.wake(DUE_SOONER)
            library = (await read_by_id(tables, subscription_id)).wanted.library
            rows = await fetch_in(tables, ITEMS_BY_KEY, tasks, subscription_id)
            there = [item for item in starmap(read_item, rows) if item.task_id == tasks[item.key]]
            fetched = [item.key for item in there if item.state in ("fetched", "expired")]
            await run_in(tables, _STATE, fetched, "fetched", None, subscription_id)
            if library:
                sets = [set_of_item(subscription_id, key, tasks[key], library) for key in fetched]
                await to_be_placed(tables, sets)

        await self._transactions.write(work)

    async def set_state(
        self, subscription_id: str, keys: Sequence[str], state: ItemState, reason: str
    ) -> None:
        async def work(tables: Tables) -> None:
            await run_in(tables, _STATE, keys, state, reason, subscription_id)
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
            await run_in(tables, _SKIP, keys, reason, subscription_id)
            items = starmap(read_item, await fetch_in(tables, ITEMS_BY_KEY, keys, subscription_id))
            return {item.key: item.state for item in items}

        return await self._transactions.write(work)

    async def pin(self, subscription_id: str, keys: Sequence[str], *, pinned: bool) -> None:
        async def work(tables: Tables) -> None:
            await run_in(tables, _PIN, keys, int(pinned), subscription_id)
            if not pinned:  # it may be one that is not kept
                tables.wake(DUE_SOONER)
                await run_in(tables, _KEEP_NOW, [subscription_id], 0.0)

        await self._transactions.write(work)

    async def forget(self, subscription_id: str, keys: Sequence[str]) -> None:
        """Delete items, and what the memory has of them: they are new at the next check."""

        async def work(tables: Tables) -> None:
            await tables.alone()
            sql = "DELETE FROM items WHERE subscription_id = ? AND key IN ({keys})"
            await run_in(tables, sql, keys, subscription_id)
            others = [*keys, *(await resolved(tables, keys)).values()]
            subscription = await read_by_id(tables, subscription_id)
            whose = self._whose(subscription)
            remembered = [whose.key(key) for key in others]
            await run_in(tables, "DELETE FROM media WHERE key IN ({keys})", remembered)
            await run_in(tables, "DELETE FROM aliases WHERE key IN ({keys})", others)
            # A source that has not changed is to be read all the same.
            findings = with_full_read_next(subscription.findings)
            # A check that is under way passes over what it knows, and so over what is forgotten now.
            findings = findings.model_copy(update={"forgets": findings.forgets + 1})
            await tables.run(
                STORE_FINDINGS, (findings.model_dump_json(exclude_defaults=True), subscription_id)
            )

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
                await run_in(tables, later, (row[0] for row in rows), now + HOUR)
            for subscription in due:
                mine = subscription.subscription_id
                items = [read_item(*row) for row in await tables.fetch(_TO_KEEP, (mine,))]
                gone, again_at = expired_items(subscription, items, now)
                await run_in(tables, _STATE, gone, "expired", "retention", mine)
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
    """`keep`: what is kept has changed; if it is not said, that is found out."""
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


def _read_searched_item(row: Row) -> Row:
    subscription_id, key, about = row
    return search_of_item(json.loads(about)), subscription_id, key
