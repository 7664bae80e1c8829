"""Checks of subscriptions as rows: which are due, who does them, and what they have found.

What becomes of the entries that a check has found is decided (`server.subscriptions.check_plan`) within the
transaction that stores it, one such transaction at a time: so two nodes that check two subscriptions with the
same entry make one task of it.
"""

import json
import logging
from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import starmap

from server.core.errors import AlreadySubscribed, SubscriptionNotFound
from server.core.media_keys import key_of_link
from server.core.owner_scope import OwnerScope
from server.core.task import Task, TaskStatus
from server.core.values import without_password
from server.library.placement_columns import DUE_SOONER
from server.library.placement_requests import describe_show, to_be_placed, with_films
from server.library.placements import set_of_item
from server.memory.media_rows import look_up, name, resolved
from server.notices.deliveries import Others, SubscriptionNotice
from server.notices.delivery_rows import tell_of_subscription
from server.settings import LONGEST_INTERVAL
from server.storage.statements import Row, Statements, Tables, Transactions, fetch_in, insert
from server.subscriptions.check_plan import (
    CheckPlan,
    continues_soon,
    findings_after,
    in_parts,
    is_gone_media,
    items_to_read_again,
    plan_check,
)
from server.subscriptions.known_entries import (
    FEW_KNOWN,
    MAX_KNOWN_NAMES,
    KnownItems,
    aliases_to_store,
    keys_of,
    keys_of_known,
    names_of_known,
    without_unchanged,
)
from server.subscriptions.searching import search_of_item, search_of_subscription
from server.subscriptions.source import SourcePicture, shown_of
from server.subscriptions.source_picture_rows import put_pictures
from server.subscriptions.subscription import (
    AUTO,
    DAY,
    HOST_REFUSALS,
    REFUSED,
    CheckOutcome,
    CheckResult,
    Claim,
    Findings,
    FoundEntry,
    LastOnes,
    Pace,
    StoredItem,
    StoredSubscription,
    moment_of,
    wish_of,
)
from server.subscriptions.subscription_columns import (
    BY_ID,
    COLUMNS,
    ITEM_COLUMNS,
    ITEM_PAGE,
    ITEM_PAGE_OF_STATE,
    ITEMS_BY_KEY,
    STORE_FINDINGS,
    host_of,
    item_row,
    number_before,
    read_by_id,
    read_item,
    readable,
    refuse_same,
    run_in,
    store_move,
)
from server.subscriptions.subscription_rules import (
    AUTO_OF,
    LONGEST_HOLD,
    address_of_move,
    after_failure,
    ends_with_log_in,
    findings_after_move,
    hold_for,
    is_below,
    next_check_at,
)
from server.subscriptions.task_of_item import begun_after, task_of

log = logging.getLogger(__name__)

MOST_TOGETHER = 1000  # entries of a first check that one transaction stores: one has few seconds
MOST_DUE = 50
MOST_SPARE = 1000  # items that may replace others
MOST_RECENT = 1000  # items with which entries are compared of which none is known
MOST_REFUSED = 1000  # items of which is asked whether new cookies are for them
LATEST = LONGEST_INTERVAL * 1.2  # seconds: what is due later was put off by a clock that was ahead
MOST_LEASE = 3600.0  # seconds: the same of a lease
_DUE_NOW = """
    UPDATE subscriptions SET next_check_at = ? WHERE subscription_id = ? AND next_check_at IS NOT NULL"""
_WAITING = f"""
    SELECT {ITEM_COLUMNS} FROM items WHERE subscription_id = ? AND state = 'waiting' AND reason = 'backlog'
    ORDER BY number DESC LIMIT ?"""  # noqa: S608
_DUE_ITEMS = f"""
    SELECT {ITEM_COLUMNS} FROM items WHERE subscription_id = ? AND state = 'waiting' AND not_before <= ?
    ORDER BY not_before LIMIT ?"""  # noqa: S608
_ABOUTS = "SELECT key, about FROM items WHERE subscription_id = ? AND key IN ({keys})"
_NEXT_ITEM = """
    SELECT min(not_before) FROM items
    WHERE subscription_id = ? AND state = 'waiting' AND not_before IS NOT NULL"""
_OTHERS = f"""
    SELECT {ITEM_COLUMNS} FROM items WHERE manner = ? AND subscription_id <> ?
    AND state IN ('queued', 'fetched') AND task_id IS NOT NULL AND key IN ({{keys}})"""  # noqa: S608
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
    INSERT INTO items ({ITEM_COLUMNS}, search) VALUES {{rows}}
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
_PACE = """
    INSERT INTO source_hosts (host, next_look_at, held_until, holds) VALUES {rows}
    ON CONFLICT (host) DO UPDATE SET next_look_at = excluded.next_look_at, holds = 0"""
_HOLD = """
    INSERT INTO source_hosts (host, next_look_at, held_until, holds) VALUES {rows}
    ON CONFLICT (host) DO UPDATE SET next_look_at = excluded.next_look_at,
        held_until = excluded.held_until, holds = excluded.holds"""
_HOSTS = "SELECT host, next_look_at, held_until, holds FROM source_hosts WHERE host IN ({keys})"


class CheckRows:
    """A change is on disk when its method returns. All methods may raise `StoreUnavailable`.

    Times are those of the server's clock, in seconds since 1970: callers give the time that it is `now`.
    """

    def __init__(
        self, transactions: Transactions, others: Others = (), *, separate_lists: bool = False
    ) -> None:
        self._transactions = transactions
        self._others = others
        self._separate = separate_lists

    def listen(self, on_sooner: Callable[[], None]) -> None:
        """Call `on_sooner` when a check may be due earlier than the times that were read before."""
        self._transactions.signals.listen(DUE_SOONER, on_sooner)

    async def held_hosts(self, hosts: Collection[str], now: float) -> dict[str, float]:
        """Until when those of `hosts` are left alone that are."""

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, _HOSTS, hosts)

        late = now + LONGEST_HOLD + DAY  # as in `_latest`: set by a clock that was ahead
        rows = await self._transactions.read(work)
        return {host: until for host, _, until, _ in rows if now < until <= late}

    async def due(self, subscription_id: str, now: float) -> StoredSubscription:
        """Have it checked as soon as possible. Raises `SubscriptionNotFound`."""

        async def work(tables: Tables) -> StoredSubscription:
            tables.wake(DUE_SOONER)
            stored = await read_by_id(tables, subscription_id)
            if stored.lease_until is None or stored.lease_until <= now:  # else it is the same one
                await tables.run(_DUE_NOW, (now, subscription_id))
            return await read_by_id(tables, subscription_id)

        return await self._transactions.write(work)

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
                rows = await tables.fetch(BY_ID, (subscription_id,))
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
                again = items_to_read_again(starmap(read_item, due))
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
            tasks = await carry_out(tables, subscription, plan, now, is_separate=self._separate)
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
                await carry_out(tables, subscription, plan, now, is_separate=self._separate)

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
            if code in HOST_REFUSALS:
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

    async def _follow(self, tables: Statements, subscription: StoredSubscription, moved_to: str) -> None:
        """Have the subscription read at `moved_to` from now on, unless another wants the same there."""
        [stored] = readable(await tables.fetch(BY_ID, (subscription.subscription_id,)))
        url = address_of_move(stored.url, moved_to)
        wish = wish_of(stored.manner, stored.wanted)
        try:
            await refuse_same(
                tables, replace(stored, source_key=key_of_link(url)), wish, separate=self._separate
            )
        except AlreadySubscribed:
            log.info("%s stays: another that wants the same is where it would move", stored.subscription_id)
            findings = stored.findings.model_copy(update={"moved_taken": True})
            await tables.run(
                STORE_FINDINGS, (findings.model_dump_json(exclude_defaults=True), stored.subscription_id)
            )
            return
        log.info("%s is at %s from now on", stored.subscription_id, without_password(url))
        findings = findings_after_move(stored.findings, stored.url, stored.key_origin)
        await store_move(tables, replace(stored, revision=stored.revision + 1), url, findings)

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
            for subscription_id, key, text, scope in refused:
                status = TaskStatus.model_validate_json(text, extra="ignore")
                if status.error_code in REFUSED and is_below(status.host, domains):
                    codes.setdefault(status.host, set()).add(status.error_code)
                    if is_for_all or scope == owner:
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
            await run_in(tables, _RELEASE, free, now)
            await run_in(tables, _ALL_DUE_NOW, mine, now)
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

    async def release_all(self) -> None:
        """End all leases: no server but this one, which has just started, checks anything."""

        async def work(tables: Tables) -> None:
            await tables.run("UPDATE subscriptions SET lease_until = NULL WHERE lease_until IS NOT NULL")

        await self._transactions.write(work)


def _latest(now: float) -> tuple[float, float, float]:
    """When a check, the end of a lease, and that of a hold can be at the latest."""
    return now + LATEST, now + MOST_LEASE, now + LONGEST_HOLD + DAY


async def _still_ours(tables: Statements, claim: Claim) -> StoredSubscription | None:
    """The subscription as it is now; None if it is gone, or another check of it has begun since."""
    try:
        now = await read_by_id(tables, claim.subscription.subscription_id)
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
    items = {row[1]: read_item(*row) for row in await fetch_in(tables, ITEMS_BY_KEY, wanted, mine)}
    # The download of an item's link may have shown that it is a film which the list now names itself as an
    # entry. Both are one item: see `follow_tasks`.
    for alias, key in led_here:
        if alias in items and key not in items:
            stands_for.setdefault(key, alias)
    others = await _shared_with(tables, subscription, new_keys, is_separate=is_separate)
    [(last,)] = await tables.fetch(_LAST_NUMBER, (mine,))
    seeds = not subscription.findings.seeded
    first = await tables.fetch(_BEGAN_AT, (mine,)) if again or seeds else []
    scope = OwnerScope(subscription.owner, is_separate=is_separate)
    media, placed = await look_up(tables, new_keys, scope), set[str]()
    if subscription.wanted.backlog != "none" and any(map(is_gone_media, media.values())):
        # The library has such an item under the key of the entry, not of the film.
        placed = await with_films(tables, [*new_keys, *(alias for alias, _ in led_here)])
        placed |= {key for alias, key in led_here if alias in placed}
    spare, recent = list[StoredItem](), list[StoredItem]()
    if again and isinstance(subscription.wanted.backlog, LastOnes):
        rows = await tables.fetch(ITEM_PAGE_OF_STATE, (mine, "known", number_before(None), MOST_SPARE))
        spare = [item for item in starmap(read_item, rows) if item.about.get("may_pass")]
    stored = {*listed, *(stands_for[name] for name in listed if name in stands_for)}
    is_set_anew = subscription.findings.form is None  # what is known by a guid there may be another's
    if listed and subscription.findings.seeded and (is_set_anew or items.keys().isdisjoint(stored)):
        recent = list(
            starmap(read_item, await tables.fetch(ITEM_PAGE, (mine, number_before(None), MOST_RECENT)))
        )
    return KnownItems(
        items=items,
        spare=spare,
        recent=recent,
        aliases=stands_for,
        media=media,
        placed=placed,
        others=others,
        backlog=[read_item(*row) for row in await tables.fetch(_WAITING, (mine, MOST_DUE))],
        due=[read_item(*row) for row in await tables.fetch(_DUE_ITEMS, (mine, now, MOST_DUE))],
        room=await tables.room(),
        last_number=last,
        began_at=first[0][0] if first else None,
    )


async def carry_out(
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
    await insert(tables, _PUT, [item_row(item) for item in items.values()])
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
        task_ids = {item.task_id or "" for item in (read_item(*row) for row in rows)}
        await fetch_in(tables, _LOCK_TASKS, sorted(task_ids))
        rows = await fetch_in(tables, others, keys, *values)
    return {row[1]: read_item(*row) for row in rows}


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
