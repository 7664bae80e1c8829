"""What follows from time, and from what came of checks and tasks: when a link is checked again, what becomes
of an item, what is kept, and how long a host is left alone. Nothing here reads or writes.

Decisions: docs/decisions/library.md
"""

import hashlib
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from server.core.codes import PASSING, PASSING_STATUSES
from server.core.task import Stage, TaskStatus
from server.core.values import without_password
from server.subscriptions.subscription import (
    AUTO,
    CODES_OF_GONE_SOURCES,
    DAY,
    HOUR,
    MEMBERS_ONLY,
    NO_LIST,
    NO_MEDIA,
    NOT_LIVE,
    NOT_LIVE_YET,
    REFUSED,
    RETRY,
    SOURCE_GONE,
    WANTS_LOG_IN,
    WAS_FEED,
    CheckResult,
    Findings,
    ItemState,
    Pace,
    StoredItem,
    StoredSubscription,
    moment_of,
)

_PASSING_DELAYS = (HOUR, 6 * HOUR, DAY, 3 * DAY)
# Failures of entries whose link leads to no film.
WITHOUT_FILM = frozenset(("no_media", "unsupported_url"))
_REFUSED_DELAYS = (DAY, 7 * DAY, 30 * DAY)
_TOO_EARLY = frozenset(("http_403", "http_404"))
"""Codes that pass while an entry is `YOUNG`: feeds name a file before all of their servers have it."""
YOUNG = 7 * DAY
_LIVE_DELAYS = (HOUR,) * 48
AUTO_LEAST, AUTO_MOST = 15 * 60.0, 86_400.0  # seconds between two checks that go by the source's rate
AUTO_PART = 0.25  # part of the mean time between two entries
FIRST_RETRIES = (60.0, 300.0)  # seconds after each failure of a first check
LONGEST_WAIT = 86_400.0  # seconds until a link that fails is checked again
GONE_AFTER = 7 * 86_400.0  # seconds of failures after which a source counts as gone
FIRST_HOLD, LONGEST_HOLD = 3600.0, 12 * 3600.0  # seconds, doubled each time
AUTO_OF = 10  # newest entries from which the rate is computed
MOVES_AFTER = 3  # checks in a row at which a source says that it is elsewhere
MOST_FORMER_URLS = 10
NOTIFY_AFTER_FAILURES = 3  # checks in a row that failed


def delay_of(code: str, tries: int, age: float) -> tuple[str, float | None]:
    """Return why and for how many seconds an item waits whose task failed with `code` after so many `tries`;
    None instead of the seconds if it is not tried again. `age` is that of its entry, in seconds.
    """
    status = int(code[5:]) if re.fullmatch(r"http_[0-9]{3}", code) else 0
    is_too_early = code in _TOO_EARLY and age < YOUNG
    delays: tuple[float, ...]
    if code in NOT_LIVE:
        reason, delays = NOT_LIVE_YET, _LIVE_DELAYS
    elif code in REFUSED:
        reason, delays = (MEMBERS_ONLY if code == "members_only" else RETRY), _REFUSED_DELAYS
    elif is_too_early or code in PASSING or status in PASSING_STATUSES or code in ("dns_error", "incomplete"):
        reason, delays = RETRY, _PASSING_DELAYS
    else:
        return code, None
    return (reason, delays[tries]) if tries < len(delays) else (code, None)


@dataclass(frozen=True, slots=True)
class ItemChange:
    state: ItemState
    reason: str | None = None
    not_before: float | None = None
    tries: int = 0
    fetched_at: float | None = None


def age_of(published_at: str | None, found_at: float, now: float) -> float:
    """Return the seconds since an entry was published, or since it was found if its date is unknown."""
    moment = moment_of(published_at)
    return now - (found_at if moment is None else moment)


def item_after(status: TaskStatus, tries: int, published_at: str | None, found_at: float) -> ItemChange:
    """Return the item as it is after its task has ended, or waits again."""
    ended = (status.completed_at or status.created_at).timestamp()
    match status.stage:
        case Stage.COMPLETED:
            return ItemChange("fetched", fetched_at=ended)
        case Stage.CANCELLED:
            return ItemChange("failed", "cancelled")
        case Stage.FAILED:
            age = age_of(published_at, found_at, ended)
            reason, delay = delay_of(status.error_code or "internal", tries, age)
            if delay is None and reason in WITHOUT_FILM:
                return ItemChange("skipped", NO_MEDIA, tries=tries)
            if delay is None:
                return ItemChange("failed", reason, tries=tries)
            return ItemChange("waiting", reason, ended + delay, tries + 1)
    return ItemChange("queued", tries=tries)


def interval_of(
    subscription: StoredSubscription, default: int, least: int, newest: Sequence[float], now: float
) -> float:
    """Return the seconds between two checks, at least `least`: what was set earlier may be less.

    With `"auto"` they depend on the times of the `newest` entries, at most `AUTO_OF`: a source that becomes
    silent is asked less and less often.
    """
    wanted = subscription.wanted.interval
    if wanted == AUTO and newest:
        mean = (now - min(*newest, now)) / len(newest)
        return max(min(max(mean * AUTO_PART, AUTO_LEAST), AUTO_MOST), float(least))
    return float(max(wanted if isinstance(wanted, int) else default, least))


def jitter(subscription_id: str, check_no: int) -> float:
    """Return a factor from 0.9 to 1.1. It differs from check to check, and is the same on every node."""
    digest = hashlib.sha256(f"{subscription_id} {check_no}".encode()).digest()
    return 0.9 + 0.2 * digest[0] / 255


def after_failure(before: Findings, code: str, now: float, hint: str | None = None) -> Findings:
    """Return the findings after a failed check; with `told_failing` others are told that the subscription
    fails.
    """
    since = before.failing_since if before.failing else now
    since = now if since is None else since
    if code in CODES_OF_GONE_SOURCES and now - since >= GONE_AFTER:
        code = SOURCE_GONE
    change = {
        "checked_at": now,
        "failing": before.failing + 1,
        "failing_since": since,
        "error_code": code,
        "hint": WAS_FEED if code == NO_LIST and before.form == "feed" else hint,
        "told_failing": before.told_failing or before.failing + 1 >= NOTIFY_AFTER_FAILURES,
        "moved_to": None,  # three checks in a row have to say that the source has moved
        "moved_checks": 0,
    }
    return before.model_copy(update=change)


def wait_after(findings: Findings, interval: float) -> float:
    """Return the seconds until a failing link is checked again: few after the very first check, as somebody
    has just subscribed; then twice as many each time, up to a day.
    """
    if not findings.seeded and findings.failing <= len(FIRST_RETRIES):
        return min(interval, FIRST_RETRIES[findings.failing - 1])
    return max(interval, min(LONGEST_WAIT, interval * 2.0 ** min(findings.failing, 16)))


def next_check_at(
    subscription: StoredSubscription,
    findings: Findings,
    pace: Pace,
    newest: Sequence[float],
    soonest: float | None,
    at_least: float,
    now: float,
    *,
    more: bool,
) -> float:
    """When the next check is due, not before `at_least` seconds from `now`. `newest` is when the newest items
    came, `soonest` when one of the items is to be tried again; `more`: soon, as the list goes on.
    """
    interval = interval_of(subscription, pace.interval, pace.min_interval, newest, now)
    interval = min(interval, pace.min_interval) if more else interval
    wait = interval if not findings.failing else wait_after(findings, interval)
    at = now + max(wait * jitter(subscription.subscription_id, subscription.check_no), at_least)
    if soonest is not None and not findings.failing:
        at = min(at, max(soonest, now + max(min(pace.min_interval, interval), at_least)))
    return at


def hold_for(holds: int, retry_after: float | None) -> float:
    """Return the seconds for which a host is left alone: what it asks for, else twice as many each time."""
    if retry_after is not None:
        return min(retry_after, LONGEST_HOLD)
    return min(FIRST_HOLD * 2.0 ** min(holds, 10), LONGEST_HOLD)


def ends_with_log_in(refusals: Set[str]) -> bool:
    """Whether new cookies end what a host has refused with these error codes: not if it asked for a pause."""
    return bool(refusals & WANTS_LOG_IN) and "http_429" not in refusals


def is_below(host: str, domains: Set[str]) -> bool:
    """Whether `host` is one of `domains`, of which there may be 40,000, or below one."""
    labels = host.split(".")
    return any(".".join(labels[start:]) in domains for start in range(len(labels)))


def after_check(before: Findings, result: CheckResult, now: float) -> Findings:
    """Return the findings after a successful check, but for what the source says of its move."""
    change: dict[str, Any] = {
        "form": result.form,
        "checked_at": now,
        "succeeded_at": now,
        "failing": 0,
        "failing_since": None,
        "error_code": None,
        "told_failing": False,
        "hint": None,
        **({"etag": result.etag} if result.etag else {}),
        **({"modified": result.modified} if result.modified else {}),
    }
    if not result.unchanged:
        seeds = not before.seeded or before.cut
        # A channel that is longer than a first check reads is not read on: what is old there is at its end.
        is_cut = result.unfinished if result.newest_first else result.truncated
        change |= {
            "title": result.title or before.title,
            "facts": result.facts or before.facts,
            "etag": result.etag,
            "modified": result.modified,
            "digest": result.digest,
            "newest_first": result.newest_first,
            "cut": seeds and result.truncated and not result.newest_first,
            "cut_at": (before.cut_at or now) if is_cut and not seeds else None,
            "count": result.count,
            "seeded": True,
        }
        if result.whole:
            change["whole_at"] = now
    return before.model_copy(update=change)


def after_announced_move(before: Findings, result: CheckResult) -> tuple[Findings, str | None]:
    """Return the findings, and the link to which the source has moved once enough checks have said so."""
    # The source has not changed, so it announces the same move as before.
    if result.unchanged and result.moved_to is None:
        return before, None
    moved_to = result.moved_to
    if moved_to in before.former_urls:  # two that name each other would lead to and fro for ever
        moved_to = None
    checks = 0 if moved_to is None else before.moved_checks + 1 if before.moved_to == moved_to else 1
    if not result.is_there:
        checks = min(checks, MOVES_AFTER - 1)
    change: dict[str, Any] = {"moved_to": moved_to, "moved_checks": checks, "moved_taken": False}
    if result.feeds:
        change["feeds"] = result.feeds
    is_enough = checks >= MOVES_AFTER or result.moved_by == "page"
    return before.model_copy(update=change), moved_to if is_enough else None


def findings_after_move(findings: Findings, url: str, key_origin: str) -> Findings:
    """Return the findings of a source that has moved from `url`, without the `ETag` of that address."""
    left = without_password(url)
    former = (*(one for one in findings.former_urls if one != left), left)[-MOST_FORMER_URLS:]
    change = {
        "moved_to": None,
        "moved_checks": 0,
        "moved_taken": False,
        "former_urls": former,
        "key_origin": key_origin,
        "etag": None,
        "modified": None,
        "digest": None,
    }
    return findings.model_copy(update=change)


def address_of_move(url: str, moved_to: str) -> str:
    """Return `moved_to`, with the user and password of `url` if its server is the same, as well encrypted."""
    before, after = urlsplit(url), urlsplit(moved_to)
    user, at, _ = before.netloc.rpartition("@")
    is_same = (before.hostname, before.port) == (after.hostname, after.port)
    if not at or not is_same or after.scheme not in (before.scheme, "https"):
        return moved_to
    return urlunsplit(after._replace(netloc=f"{user}@{after.netloc}"))


def with_full_read_next(findings: Findings) -> Findings:
    """Return findings with which the next check reads the whole list, even if it has not changed."""
    return findings.model_copy(update={"etag": None, "modified": None, "digest": None, "whole_at": None})


def expired_items(
    subscription: StoredSubscription, items: Sequence[StoredItem], now: float
) -> tuple[list[str], float | None]:
    """Return the keys of fetched `items` that retention expires now, and when to ask for more of them."""
    keep = subscription.wanted.keep
    loose = [item for item in items if not item.pinned]
    gone: set[str] = set()
    again: list[float] = []
    if keep.days is not None:
        for item in loose:
            ends = (item.fetched_at or item.found_at) + keep.days * DAY
            if ends <= now:
                gone.add(item.key)
            else:
                again.append(ends)
    if keep.last is not None:

        def published(item: StoredItem) -> tuple[float, int]:
            moment = moment_of(item.published_at)
            return (item.found_at if moment is None else moment), item.number

        by_day = sorted(items, key=published, reverse=True)
        gone |= {item.key for item in by_day[keep.last :] if not item.pinned}
    return sorted(gone), min(again, default=None)
