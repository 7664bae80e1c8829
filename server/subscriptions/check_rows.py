"""Checks of subscriptions as rows: which are due, which server does them, and what they have found.

What becomes of the entries that a check has found is decided (`server.subscriptions.check_plan`) within the
transaction that stores it, one such transaction at a time: so two nodes that check two subscriptions with the
same entry make one task of it.
"""

import json
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import starmap

from server.core.errors import AlreadySubscribed, SubscriptionNotFound
from server.core.media_keys import key_of_link
from server.core.values import without_password
from server.library.placement_columns import DUE_SOONER
from server.library.placement_requests import describe_show
from server.notices.deliveries import Others, SubscriptionNotice
from server.notices.delivery_rows import tell_of_subscription
from server.settings import LONGEST_INTERVAL
from server.storage.statements import Row, Statements, Tables, Transactions, fetch_in
from server.subscriptions.check_plan import (
    continues_soon,
    findings_after,
    in_parts,
    items_to_read_again,
    plan_check,
)
from server.subscriptions.known_entries import (
    FEW_KNOWN,
    MAX_KNOWN_NAMES,
    keys_of_known,
    names_of_known,
    without_unchanged,
)
from server.subscriptions.known_rows import MOST_DUE, read_known_items
from server.subscriptions.plan_rows import carry_out
from server.subscriptions.refusal_rows import retry_refused
from server.subscriptions.searching import search_of_subscription
from server.subscriptions.source import SourcePicture, shown_of
from server.subscriptions.source_host_rows import hold_host, pause_host, read_holds
from server.subscriptions.source_picture_rows import put_pictures
from server.subscriptions.subscription import (
    AUTO,
    DAY,
    HOST_REFUSALS,
    CheckOutcome,
    CheckResult,
    Claim,
    Findings,
    FoundEntry,
    Pace,
    StoredSubscription,
    moment_of,
    wish_of,
)
from server.subscriptions.subscription_columns import (
    BY_ID,
    DUE_ITEMS,
    NAMES_OF_KEYS,
    STORE_FINDINGS,
    host_of,
    read_by_id,
    read_item,
    readable,
    refuse_same,
    store_move,
)
from server.subscriptions.subscription_rules import (
    AUTO_OF,
    LONGEST_HOLD,
    address_of_move,
    after_failure,
    findings_after_move,
    next_check_at,
)

log = logging.getLogger(__name__)

MOST_TOGETHER = 1000  # entries of a first check that one transaction stores, so that it lasts few seconds
# Seconds from now. A check that is due later, or a lease that ends later, was set by a clock that was ahead.
LATEST, MOST_LEASE = LONGEST_INTERVAL * 1.2, 3600.0
_DUE_NOW = """
    UPDATE subscriptions SET next_check_at = ? WHERE subscription_id = ? AND next_check_at IS NOT NULL"""
_ABOUTS = "SELECT key, about FROM items WHERE subscription_id = ? AND key IN ({keys})"
_NEXT_ITEM = """
    SELECT min(not_before) FROM items
    WHERE subscription_id = ? AND state = 'waiting' AND not_before IS NOT NULL"""
_KEYS_SINCE = "SELECT key FROM items WHERE subscription_id = ? AND found_at >= ?"
_NEWEST_KEYS = "SELECT key FROM items WHERE subscription_id = ? ORDER BY number DESC LIMIT ?"
_CLAIMABLE = """
    SELECT s.subscription_id, s.host FROM subscriptions s LEFT JOIN source_hosts h ON h.host = s.host
    WHERE (s.next_check_at <= :now OR s.next_check_at > :last_check) AND s.next_check_at IS NOT NULL
        AND (s.lease_until IS NULL OR s.lease_until <= :now OR s.lease_until > :last_lease)
        AND (h.host IS NULL OR ((h.next_look_at <= :now OR h.next_look_at > :last_lease)
            AND (h.held_until <= :now OR h.held_until > :last_hold)))
        AND NOT EXISTS (SELECT 1 FROM subscriptions o WHERE o.host = s.host AND o.lease_until > :now
            AND o.lease_until <= :last_lease)
    ORDER BY s.next_check_at, s.number LIMIT 200"""
_LEASE = """
    UPDATE subscriptions SET lease_until = ?, check_no = check_no + 1 WHERE subscription_id = ?"""
# As for `_CLAIMABLE`, what a clock that was ahead has put off is due.
_SOONEST = """
    SELECT (SELECT min(CASE
                WHEN h.held_until > s.next_check_at AND h.held_until >= h.next_look_at
                    AND h.held_until <= :last_hold THEN h.held_until
                WHEN h.next_look_at > s.next_check_at AND h.next_look_at <= :last_hold THEN h.next_look_at
                WHEN s.next_check_at > :last_check THEN 0
                ELSE s.next_check_at END)
            FROM subscriptions s LEFT JOIN source_hosts h ON h.host = s.host
            WHERE s.next_check_at IS NOT NULL
                AND (s.lease_until IS NULL OR s.lease_until <= :now OR s.lease_until > :last_lease)),
        (SELECT min(lease_until) FROM subscriptions
            WHERE lease_until > :now AND lease_until <= :last_lease),
        (SELECT min(keep_at) FROM subscriptions WHERE keep_at IS NOT NULL),
        EXISTS (SELECT 1 FROM subscriptions)"""
_STORE_CHECK = """
    UPDATE subscriptions SET findings = ?, search = ?, lease_until = NULL,
        next_check_at = CASE WHEN next_check_at IS NULL THEN NULL ELSE ? END
    WHERE subscription_id = ? AND check_no = ?"""
_NEWEST_TIMES = """
    SELECT published_at, found_at FROM items WHERE subscription_id = ? ORDER BY number DESC LIMIT ?"""


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
        """Return until when each of `hosts` is left alone; hosts that are not are left out."""

        async def work(tables: Statements) -> dict[str, float]:
            return await read_holds(tables, hosts, now)

        held = await self._transactions.read(work)
        return {host: until for host, until in held.items() if until <= _latest(now)["last_hold"]}

    async def due(self, subscription_id: str, now: float) -> StoredSubscription:
        """Have the subscription checked as soon as possible. Raises `SubscriptionNotFound`."""

        async def work(tables: Tables) -> StoredSubscription:
            tables.wake(DUE_SOONER)
            stored = await read_by_id(tables, subscription_id)
            # Else the check that is under way is meant.
            if stored.lease_until is None or stored.lease_until <= now:
                await tables.run(_DUE_NOW, (now, subscription_id))
            return await read_by_id(tables, subscription_id)

        return await self._transactions.write(work)

    async def claim(self, most: int, lease: float, now: float) -> list[Claim]:
        """Lease up to `most` checks that are due, at most one of each host, for `lease` seconds."""

        async def work(tables: Tables) -> list[Claim]:
            await tables.alone()
            hosts, claims = set[str](), list[Claim]()
            for subscription_id, host in await tables.fetch(_CLAIMABLE, _latest(now)):
                if host in hosts or len(claims) >= most:
                    continue
                hosts.add(host)
                await tables.run(_LEASE, (now + lease, subscription_id))
                rows = await tables.fetch(BY_ID, (subscription_id,))
                for subscription in readable(rows):  # an unreadable row is tried again when its lease ends
                    claims.append(await _read_claim(tables, subscription, now))
            return claims

        return await self._transactions.write(work) if most > 0 else []

    async def due_in(self, now: float) -> float | None:
        """Seconds until something is due, at most 0 if it is; None if there is no subscription at all."""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_SOONEST, _latest(now))

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
            known = await read_known_items(tables, subscription, found, now, is_separate=self._separate)
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
                held_until = await hold_host(tables, host, result.refusal.retry_after, now)
            else:
                await pause_host(tables, host, now + pace.pause, has_succeeded=True)
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
                known = await read_known_items(tables, subscription, part, now, is_separate=self._separate)
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
        """Store that a check has failed. Return until when its host is left alone from now on; None if it is
        not.
        """

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
                return await hold_host(tables, host, retry_after, now)
            await pause_host(tables, host, now + pace.pause, has_succeeded=False)
            return None

        return await self._transactions.write(work)

    async def _tell(
        self, tables: Tables, subscription: StoredSubscription, findings: Findings, now: float
    ) -> None:
        """Send the notifications and webhooks that the subscription fails, or works again, within the
        transaction that stores it.
        """
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
        """Read the subscription at `moved_to` from now on, unless another subscription wants the same
        there.
        """
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
        """Leave a host alone, unless it is left alone already. Return until when."""

        async def work(tables: Tables) -> float:
            await tables.alone()
            held = await read_holds(tables, [host], now)
            return held.get(host) or await hold_host(tables, host, retry_after, now)

        return await self._transactions.write(work)

    async def log_in(self, hosts: Sequence[str], now: float, owner: str | None = None) -> set[str]:
        """Make due what `hosts` and their subdomains have refused because a log-in was missing: `owner` has
        stored new cookies for them. Return the hosts whose hold for that reason has ended with this call.
        """

        async def work(tables: Tables) -> set[str]:
            tables.wake(DUE_SOONER)
            await tables.alone()
            return await retry_refused(tables, hosts, owner, now, is_separate=self._separate)

        async def exist(tables: Statements) -> list[Row]:
            return await tables.fetch("SELECT 1 FROM subscriptions LIMIT 1")

        if not await self._transactions.read(exist):
            return set()
        return await self._transactions.write(work)

    async def renew(self, claim: Claim, lease: float, now: float) -> bool:
        """Prolong the lease of a check. Return False if another server has the lease by now."""

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
        """End all leases: this server, which has just started, is the only one that checks."""

        async def work(tables: Tables) -> None:
            await tables.run("UPDATE subscriptions SET lease_until = NULL WHERE lease_until IS NOT NULL")

        await self._transactions.write(work)


def _latest(now: float) -> dict[str, float]:
    """When a check, the end of a lease, and that of a hold can be at the latest.

    A later one was set by a clock that was ahead.
    """
    last_hold = now + LONGEST_HOLD + DAY
    return {"now": now, "last_check": now + LATEST, "last_lease": now + MOST_LEASE, "last_hold": last_hold}


async def _read_claim(tables: Statements, subscription: StoredSubscription, now: float) -> Claim:
    """Read from the items of the subscription what a check needs to know."""
    mine, findings = subscription.subscription_id, subscription.findings
    newest = await tables.fetch(_NEWEST_KEYS, (mine, MAX_KNOWN_NAMES // 2))
    keys = [key for (key,) in newest]
    aliases = [alias for alias, _ in await fetch_in(tables, NAMES_OF_KEYS, keys)]
    since_cut: list[str] = []
    if findings.cut_at is not None:
        since_cut = [key for (key,) in await tables.fetch(_KEYS_SINCE, (mine, findings.cut_at))]
        since_cut += [alias for alias, _ in await fetch_in(tables, NAMES_OF_KEYS, since_cut)]
    due = starmap(read_item, await tables.fetch(DUE_ITEMS, (mine, now, MOST_DUE)))
    known = names_of_known(findings, keys, aliases)
    return Claim(subscription, known, since_cut, items_to_read_again(due))


async def _still_ours(tables: Statements, claim: Claim) -> StoredSubscription | None:
    """Return the subscription as it is now; None if it was removed, or if another check of it has begun
    since.
    """
    try:
        now = await read_by_id(tables, claim.subscription.subscription_id)
    except SubscriptionNotFound:
        return None
    return now if now.check_no == claim.subscription.check_no else None


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
    await tables.run(_STORE_CHECK, (*values, subscription.subscription_id, subscription.check_no))
