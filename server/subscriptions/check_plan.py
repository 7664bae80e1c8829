"""What a check leads to: which entries are new, which become tasks, and which wait. Nothing is changed here.

The plan is made within the transaction that stores the outcome, from rows that this transaction has read: so
a kill between two steps neither loses an entry nor makes two tasks of it.

Decisions: docs/decisions/library.md
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from server.core.media_keys import is_guid, key_of_link
from server.memory.remembering import IMPORTED, Fetched
from server.subscriptions.known_entries import (
    KnownItems,
    about_now,
    are_moved,
    is_another_entry,
    is_same_entry,
    keys_of,
    known_by_place,
)
from server.subscriptions.source import SourcePicture, noted
from server.subscriptions.subscription import (
    BACKLOG,
    HELD,
    HOUR,
    IN_MEMORY,
    MEMBERS_ONLY,
    NO_MEDIA,
    NOT_LIVE_YET,
    RETRY,
    TOO_YOUNG,
    UNCLEAR,
    CheckResult,
    Claim,
    Findings,
    FoundEntry,
    LastOnes,
    SinceDay,
    StoredItem,
    StoredSubscription,
    day_in_seconds,
    is_known_media,
    moment_of,
)
from server.subscriptions.subscription_rules import (
    WITHOUT_FILM,
    after_announced_move,
    after_check,
    age_of,
    delay_of,
    with_full_read_next,
)

_WAITS = frozenset((NOT_LIVE_YET, MEMBERS_ONLY, TOO_YOUNG, UNCLEAR))


MAX_READ_AGAIN = 10  # items that wait for what their own pages say, in one check


MAX_WAIT = 30 * 86_400.0  # seconds until an entry that is to begin is checked again


@dataclass(slots=True)
class CheckPlan:
    """What is to be stored after a check: `items` by their keys, and new tasks for those of them in `wanted`.
    The failed tasks of the items in `retry` are to be retried. `abouts` is what the source says now of stored
    items, by their keys. `all_new`: no entry was known, though not all of them can be new.
    """

    items: dict[str, StoredItem] = field(default_factory=dict)
    wanted: list[StoredItem] = field(default_factory=list)
    retry: list[StoredItem] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    abouts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    knows_one: bool = False
    all_new: bool = False

    def renewed(self, item: StoredItem) -> StoredItem:
        """Return `item` with the link and the facts that its source has for it now."""
        return replace(item, about=self.abouts.get(item.key, item.about))


def items_to_read_again(due: Iterable[StoredItem]) -> list[StoredItem]:
    """Return the due items whose own pages the check reads; the others wait for a task or for their turn."""
    waiting = (item for item in due if item.task_id is None and item.reason not in (RETRY, BACKLOG))
    return [*islice(waiting, MAX_READ_AGAIN)]


def plan_check(
    subscription: StoredSubscription,
    found: Sequence[FoundEntry],
    result: CheckResult,
    known: KnownItems,
    max_new: int,
    now: float,
    *,
    is_part: bool = False,
) -> CheckPlan:
    """Decide what becomes of the entries that a check has found, in the order of the list. `max_new` is how
    many tasks one check may make. With `is_part` they are one of the parts of `in_parts`.
    """
    plan = CheckPlan()
    first = not subscription.findings.seeded
    fresh, pages_by_file = _add_new_items(plan, subscription, found, known, now)
    # The first entry of the list is the newest and gets the highest number.
    for place, (item, _) in enumerate(reversed(fresh), 1):
        plan.items[item.key] = replace(item, number=known.last_number + place)
    entries = [entry for _, entry in fresh]
    held = _held_keys(plan, subscription, fresh, known, pages_by_file)
    asks_for_none = is_part and isinstance(subscription.wanted.backlog, LastOnes)
    seeds = first or subscription.findings.cut
    backlog = _places_of_backlog(subscription, entries) if seeds and not asks_for_none else set[int]()
    asked = backlog if first else None
    if not first and subscription.findings.cut and result.tail:
        # The first check did not come to the end of the list: these entries are older than the subscription.
        begin = max(0, len(fresh) - result.tail)
        asked = {*range(begin)}
        # The newest entries, which `LastOnes` asks for, were all found by the first check.
        if not isinstance(subscription.wanted.backlog, LastOnes):
            asked |= {place for place in backlog if place >= begin}
    wanted: list[StoredItem] = []
    for place, (item, entry) in enumerate(fresh):
        asks = asked is not None and place in backlog
        judged = _new_item(plan.items[item.key], entry, subscription, known, now, asks=asks)
        if asked is not None and place not in asked and judged.state != "fetched":
            judged = replace(judged, state="known", reason=None, not_before=None)
            if isinstance(subscription.wanted.backlog, LastOnes) and _may_pass(entry):
                judged = replace(judged, about={**judged.about, "may_pass": True})
        elif judged.state == "queued" and judged.task_id is None and judged.key in held:
            judged = replace(judged, state="waiting", reason=HELD)
        elif judged.state == "queued" and judged.task_id is None:
            wanted.append(judged)
        plan.items[item.key] = judged
    _replace_failed(plan, subscription, known, now)
    _give_turns(plan, wanted, known, max_new, now, first=first)
    return plan


def _add_new_items(
    plan: CheckPlan,
    subscription: StoredSubscription,
    found: Sequence[FoundEntry],
    known: KnownItems,
    now: float,
) -> tuple[list[tuple[StoredItem, FoundEntry]], set[str]]:
    """Add an item for each entry that is new, and renew what is stored of the others.

    Return the new items with their entries, and the pages with a player that is stored under the link of its
    file.
    """
    first = not subscription.findings.seeded
    fresh: list[tuple[StoredItem, FoundEntry]] = []
    pages_by_file = set[str]()
    for entry in found:
        if entry.again is not None:
            _plan_waiting(plan, entry, subscription, known, now)
            continue
        key, aliases = keys_of(entry, subscription.key_origin)
        names = (key, *aliases)
        # All keys under which the entry may be stored, the most certain ones first.
        stored = (*names, *(known.aliases[name] for name in names if name in known.aliases))
        own = next((one for one in stored if one in known.items or one in plan.items), None)
        is_moved = subscription.findings.key_origin is not None
        if own is not None and is_moved and is_another_entry(known.items.get(own) or plan.items[own], entry):
            # A source that has moved may have other entries with the same guids, such as 1, 2 and 3, at its
            # new link.
            names = tuple(name for name in names if not is_guid(name))
            stored = (*names, *(known.aliases[name] for name in names if name in known.aliases))
            own = next((one for one in stored if one in known.items or one in plan.items), None)
        if own is not None:
            item = known.items.get(own) or plan.items[own]
            plan.knows_one |= own in known.items
            if entry.item is not None and own != key_of_link(entry.url, entry.item):
                pages_by_file.add(entry.url)
            says_the_same = is_same_entry(item, entry)
            if not entry.known:
                others = [name for name in names if name != own and name not in known.items]
                others = [name for name in others if says_the_same or not is_guid(name)]
                plan.aliases |= dict.fromkeys(others, own)
            guids = [name for name in names if is_guid(name)]
            if own in known.items and (
                says_the_same or all(known.aliases.get(name) == own for name in guids)
            ):
                _renew(plan, item, entry)
            continue
        # A client had the item forgotten during the check: the next check finds the entry as new.
        if entry.known:
            continue
        plan.aliases |= dict.fromkeys(aliases, key)
        about: dict[str, Any] = entry.model_dump(
            include={"url", "item", "title", "duration", "uploader", "says"}, exclude_none=True
        )
        if entry.kind != "video":
            about["kind"] = entry.kind
        item = StoredItem(
            subscription.subscription_id,
            key,
            0,
            "queued",
            published_at=entry.published_at,
            found_at=known.began_at if first and known.began_at is not None else now,
            about=about,
        )
        plan.items[key] = item
        fresh.append((item, entry))
    return fresh, pages_by_file


def _held_keys(
    plan: CheckPlan,
    subscription: StoredSubscription,
    fresh: Sequence[tuple[StoredItem, FoundEntry]],
    known: KnownItems,
    pages_by_file: Set[str],
) -> set[str]:
    """Return the keys of new items that a client decides on, as they are old, or may be stored already."""
    entries = [entry for _, entry in fresh]
    if not plan.knows_one and are_moved(entries, known):
        plan.all_new = True
        return {item.key for item, _ in fresh}
    # Entries that only a check of the whole list finds are old, and are held. After `forget`, however, the
    # whole list is read to find again what was forgotten.
    is_read_again = subscription.findings.whole_at is None
    by_place = known_by_place(entries, known) - pages_by_file
    return {
        item.key
        for item, entry in fresh
        if (entry.behind and not is_read_again) or (entry.item is not None and entry.url in by_place)
    }


def planned_fetch(
    subscription: StoredSubscription, items: Iterable[StoredItem], gone_tasks: Mapping[str, str | None]
) -> tuple[CheckPlan, dict[str, str]]:
    """Decide how `items` that a client asks for are downloaded. Return a plan with new tasks, and by the keys
    of other items the ids of their tasks, which are to be retried. Queued and fetched items are left out, but
    not those whose files are gone: `gone_tasks` has the tasks of these by the items' keys.
    """
    plan, retried = CheckPlan(), dict[str, str]()
    for item in sorted(items, key=lambda item: -item.number):  # the newest first
        is_gone = item.key in gone_tasks and item.task_id == gone_tasks[item.key]
        if item.state == "queued" or (item.state == "fetched" and not is_gone):
            continue
        # A skipped item's task was cancelled then; it continues if the settings ask for the same files still.
        is_skipped = item.state == "skipped" and item.manner == subscription.manner
        if item.task_id is not None and (item.state in ("waiting", "failed") or is_skipped):
            retried[item.key] = item.task_id
            continue
        plan.items[item.key] = queued = replace(
            item, state="queued", reason=None, not_before=None, task_id=None, tries=0
        )
        plan.wanted.append(queued)
    return plan, retried


def findings_after(
    claim: Claim,
    subscription: StoredSubscription,
    result: CheckResult,
    plan: CheckPlan,
    pictures: Sequence[SourcePicture],
    now: float,
) -> tuple[Findings, str | None]:
    """Return what is known of the source after a check, and the link to which it has moved, if it has.

    `claim` has the subscription as it was when the check began, `subscription` as it is now.
    """
    findings = after_check(subscription.findings, result, now)
    findings = findings.model_copy(update={"pictures": noted(findings.pictures, pictures, now)})
    if findings.forgets != claim.subscription.findings.forgets:
        # This check has not reported entries that were forgotten meanwhile.
        findings = with_full_read_next(findings)
    if plan.all_new or plan.knows_one:
        findings = findings.model_copy(update={"notice": "all_new" if plan.all_new else None})
    return after_announced_move(findings, result)


def continues_soon(findings: Findings, plan: CheckPlan, known: KnownItems) -> bool:
    """Whether the next check is to be soon, because this one has not come to the end of what is new."""
    is_cut = findings.cut or findings.cut_at is not None
    return is_cut and any(key not in known.items for key in plan.items)


def in_parts(
    subscription: StoredSubscription, found: Sequence[FoundEntry], most: int
) -> tuple[list[Sequence[FoundEntry]], Sequence[FoundEntry]]:
    """Split the entries of a first check. Return parts of `most` entries, the oldest first, each of which can
    be stored by itself, since none of them becomes a task yet; and the newest, which are decided last.
    """
    if subscription.findings.seeded or len(found) <= most:
        return [], found
    is_of_last = isinstance(subscription.wanted.backlog, LastOnes)
    asked = _places_of_backlog(subscription, found) if is_of_last else set[int]()
    last = [entry for place, entry in enumerate(found) if place < most or place in asked]
    early = [entry for place, entry in enumerate(found) if place >= most and place not in asked]
    return [early[max(0, end - most) : end] for end in range(len(early), 0, -most)], last


def _may_pass(entry: FoundEntry) -> bool:
    return entry.verdict is None or entry.verdict in _WAITS


def _replace_failed(plan: CheckPlan, subscription: StoredSubscription, known: KnownItems, now: float) -> None:
    """Have the next older entry read in place of each one that `backlog` asks for and no filter lets pass."""
    began_at = known.began_at
    if not isinstance(subscription.wanted.backlog, LastOnes) or began_at is None:
        return
    failed = [
        item
        for item in plan.items.values()
        if item.state in ("skipped", "failed")
        and item.key in known.items
        and known.items[item.key].reason in _WAITS
        and item.found_at <= began_at
    ]
    spare = [item for item in known.spare if item.key not in plan.items]
    for item in spare[: len(failed)]:
        plan.items[item.key] = replace(item, state="waiting", reason=UNCLEAR, not_before=now)


def _renew(plan: CheckPlan, item: StoredItem, entry: FoundEntry) -> None:
    """Store the link, title and place that a known entry has now: some feeds sign their links anew, and new
    entries of a list change the places of the others.
    """
    if (about := about_now(item.about, entry)) is not None:
        plan.abouts[item.key] = about


def _places_of_backlog(subscription: StoredSubscription, entries: Sequence[FoundEntry]) -> set[int]:
    """Return the places of the entries that `backlog` asks for."""
    match subscription.wanted.backlog:
        case "all":
            return {*range(len(entries))}
        case LastOnes(last=last):
            dates = [moment_of(entry.published_at) for entry in entries]
            passed = [_may_pass(entry) for entry in entries]
            order = [place for place, is_wanted in enumerate(passed) if is_wanted]
            if all(date is not None for date in dates):  # if a date is unknown, the order of the list counts
                order.sort(key=lambda place: -(dates[place] or 0.0))
            return {*order[:last]}
        case SinceDay(since=since):
            begin = day_in_seconds(since)
            dates = [moment_of(entry.published_at) for entry in entries]
            # The page of an entry without a date is read at the next check: its verdict is `UNCLEAR`.
            return {place for place, date in enumerate(dates) if date is None or date >= begin}
    return set()


def _new_item(
    item: StoredItem,
    entry: FoundEntry,
    subscription: StoredSubscription,
    known: KnownItems,
    now: float,
    *,
    asks: bool,
) -> StoredItem:
    """Return a new item in the state that follows from its entry: `queued` with the task of another
    subscription, or without one if a task is to be made.

    With `asks` the backlog asks for it: then it is downloaded again if it was fetched before and its files
    are gone.
    """
    names = (item.key, *keys_of(entry, subscription.key_origin)[1])
    keys = [*names, *(known.aliases[name] for name in names if name in known.aliases)]
    keys += [known.aliases[key] for key in keys if key in known.aliases]
    fetched = next((known.media[key] for key in keys if key in known.media), None)
    is_gone = fetched is not None and is_gone_media(fetched) and known.placed.isdisjoint(keys)
    if fetched is not None and is_known_media(fetched, subscription.manner) and not (asks and is_gone):
        there = {"task_id": fetched.task_id, "fetched_at": fetched.fetched_at}
        return replace(item, state="fetched", reason=IN_MEMORY, **there)  # type: ignore[arg-type]
    if entry.verdict is not None:
        return _waits_or_skipped(item, entry.verdict, entry, now)
    other = next((known.others[key] for key in keys if key in known.others), None)
    if other is not None:
        return replace(
            item, state=other.state, task_id=other.task_id, manner=other.manner, fetched_at=other.fetched_at
        )
    return item


def is_gone_media(fetched: Fetched) -> bool:
    """Say whether the files of remembered media are gone, since their task is. Files that another program has
    downloaded count as there: the memory does not know where they are.
    """
    return fetched.task_id is None and IMPORTED not in fetched.manners


def _waits_or_skipped(item: StoredItem, verdict: str, entry: FoundEntry, now: float) -> StoredItem:
    if verdict not in _WAITS:
        return replace(item, state="skipped", reason=verdict, not_before=None)
    code = {NOT_LIVE_YET: "not_live", MEMBERS_ONLY: "members_only"}.get(verdict, "")
    _, delay = delay_of(code, item.tries, age_of(item.published_at, item.found_at, now))
    if verdict in (NOT_LIVE_YET, MEMBERS_ONLY) and delay is None:
        return replace(item, state="failed", reason=verdict, not_before=None)
    at = now + (delay or 0.0)
    # A broadcast that has not begun at its announced time is late, and its new time is not known.
    is_set = verdict == TOO_YOUNG or (verdict == NOT_LIVE_YET and (entry.begins_at or 0.0) > now)
    if entry.begins_at is not None and is_set:
        at = min(max(entry.begins_at, now + 60.0), now + MAX_WAIT)
    return replace(
        item, state="waiting", reason=verdict, not_before=at, tries=item.tries + (delay is not None)
    )


def _plan_waiting(
    plan: CheckPlan, entry: FoundEntry, subscription: StoredSubscription, known: KnownItems, now: float
) -> None:
    """Decide what becomes of a waiting item after its own page was read."""
    item = known.items.get(entry.again or "")
    if item is None or item.state != "waiting" or item.task_id is not None:
        return  # a client has acted on the item during the check
    item = replace(item, published_at=item.published_at or entry.published_at)
    backlog, moment = subscription.wanted.backlog, moment_of(item.published_at)
    was_there = known.began_at is not None and item.found_at <= known.began_at
    since = day_in_seconds(backlog.since) if isinstance(backlog, SinceDay) and was_there else None
    if entry.verdict is None and since is not None and moment is None and item.reason == UNCLEAR:
        plan.items[item.key] = replace(item, state="skipped", not_before=None)  # its page has no date either
    elif entry.verdict is None and since is not None and moment is not None and moment < since:
        plan.items[item.key] = replace(item, state="known", reason=None, not_before=None)
    elif entry.verdict is None:
        plan.items[item.key] = replace(item, state="waiting", reason=BACKLOG, not_before=None)
    elif entry.verdict in _WAITS:
        item = _waits_or_skipped(item, entry.verdict, entry, now)
        if entry.verdict == UNCLEAR:  # even its own page says too little
            item = replace(item, state="skipped", reason=UNCLEAR, not_before=None)
        plan.items[item.key] = item
    elif entry.verdict.startswith("code:"):
        age = age_of(item.published_at, item.found_at, now)
        reason, delay = delay_of(entry.verdict.removeprefix("code:"), item.tries, age)
        if delay is None and reason in WITHOUT_FILM:
            plan.items[item.key] = replace(item, state="skipped", reason=NO_MEDIA, not_before=None)
        elif delay is None:
            plan.items[item.key] = replace(item, state="failed", reason=reason, not_before=None)
        else:
            if reason not in _WAITS:
                reason = item.reason if item.reason in _WAITS else UNCLEAR
            plan.items[item.key] = replace(item, reason=reason, not_before=now + delay, tries=item.tries + 1)
    else:
        plan.items[item.key] = replace(item, state="skipped", reason=entry.verdict, not_before=None)


def _give_turns(
    plan: CheckPlan, wanted: Sequence[StoredItem], known: KnownItems, max_new: int, now: float, *, first: bool
) -> None:
    """Choose at most `max_new` items that become tasks: first new ones, then those that wait for their turn,
    then those that are tried again.

    New items beyond `max_new` are held for a client to decide; what `backlog` asks for, and all while the
    queue is full, waits for its turn.
    """
    most = min(max_new, known.room)
    for place, item in enumerate(wanted):
        if place < most:
            plan.wanted.append(item)
        else:
            reason = BACKLOG if first or place < max_new else HELD
            plan.items[item.key] = replace(item, state="waiting", reason=reason)
    now_waiting = [
        item
        for item in plan.items.values()
        if item.state == "waiting" and item.reason == BACKLOG and item.key in known.items
    ]
    waiting = {item.key: item for item in (*now_waiting, *known.backlog)}
    for item in list(waiting.values())[: max(0, most - len(plan.wanted))]:
        plan.items[item.key] = queued = replace(item, state="queued", reason=None, not_before=None)
        plan.wanted.append(queued)
    for item in known.due:
        if item.reason not in (RETRY, MEMBERS_ONLY, NOT_LIVE_YET) or item.key in plan.items:
            continue
        if item.task_id is not None:
            if len(plan.retry) < max_new:
                plan.retry.append(plan.renewed(item))
                # A kill or a full queue may lose the retry: there is another one in an hour.
                plan.items[item.key] = replace(item, not_before=now + HOUR)
        elif item.reason == RETRY and len(plan.wanted) < most:
            plan.items[item.key] = queued = replace(item, state="queued", reason=None, not_before=None)
            plan.wanted.append(queued)
