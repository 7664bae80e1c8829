"""What a check leads to: which entries are new, which become tasks, and which wait. Nothing is changed here.

The plan is made within the transaction that stores the outcome, from rows that this transaction has read: so
a kill between two steps neither loses an entry nor makes two tasks of it.

Decisions: docs/decisions/library.md
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from server.core.media_keys import is_guid, key_of_link, keys_of_entry
from server.memory.remembering import IMPORTED, Fetched
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
    FoundEntry,
    LastOnes,
    SinceDay,
    StoredItem,
    StoredSubscription,
    day_in_seconds,
    is_known_media,
    moment_of,
)
from server.subscriptions.subscription_rules import WITHOUT_FILM, age_of, delay_of

_WAITS = frozenset((NOT_LIVE_YET, MEMBERS_ONLY, TOO_YOUNG, UNCLEAR))
MOST_WAIT = 30 * 86_400.0  # seconds until an entry that is to begin is checked again


@dataclass(frozen=True, slots=True)
class KnownItems:
    """What the tables hold: items of the subscription by their keys; what aliases of the entries stand for;
    what is remembered; items of others that are wanted in the same manner, `queued` or `fetched`; those of
    the subscription that wait for a turn (`BACKLOG`), the newest first, and those whose time has come.

    `placed` are keys of videos of which the library has a film, whoever has placed it; they are told only
    where that decides something.

    If no entry is known, `recent` are the newest items. `spare` are those that may replace one that `backlog`
    asks for, the newest first.

    `room` is how many tasks the queue takes, `last_number` the highest of the subscription's items,
    `began_at` when the first of them were found, in seconds since 1970.
    """

    items: Mapping[str, StoredItem]
    aliases: Mapping[str, str]
    media: Mapping[str, Fetched]
    others: Mapping[str, StoredItem]
    backlog: Sequence[StoredItem]
    due: Sequence[StoredItem]
    room: int
    last_number: int
    began_at: float | None = None
    placed: Set[str] = frozenset()
    recent: Sequence[StoredItem] = ()
    spare: Sequence[StoredItem] = ()


@dataclass(slots=True)
class CheckPlan:
    """`items` are to be stored as they are; for those in `wanted`, which are among them, tasks are to be
    made; `retry` are items whose failed tasks are to be tried again. `abouts` is what is said now of items
    that are known, by their keys. `all_new`: nothing was known, but not all of it can be new.
    """

    items: dict[str, StoredItem] = field(default_factory=dict)
    wanted: list[StoredItem] = field(default_factory=list)
    retry: list[StoredItem] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    abouts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    knows_one: bool = False
    all_new: bool = False

    def renewed(self, item: StoredItem) -> StoredItem:
        """`item` as its source tells of it now."""
        return replace(item, about=self.abouts.get(item.key, item.about))


def keys_of(entry: FoundEntry, key_origin: str) -> tuple[str, tuple[str, ...]]:
    """The key of an entry, and its aliases: its guid in this feed, and links that lead to it alone."""
    return keys_of_entry(
        entry.extractor_key, entry.id, entry.url, entry.item, entry.guid, key_origin, entry.media
    )


def decided(
    subscription: StoredSubscription,
    noticed: Sequence[FoundEntry],
    result: CheckResult,
    known: KnownItems,
    max_new: int,
    now: float,
    *,
    is_part: bool = False,
) -> CheckPlan:
    """What is to be stored of a check that found `noticed`, in the order of the list; `is_part`: that is one
    of the parts of `in_parts`.
    """
    plan = CheckPlan()
    first = not subscription.findings.seeded
    fresh: list[tuple[StoredItem, FoundEntry]] = []
    by_file = set[str]()  # pages of which a player is known by its file
    for entry in noticed:
        if entry.again is not None:
            _plan_waiting(plan, entry, subscription, known, now)
            continue
        key, aliases = keys_of(entry, subscription.key_origin)
        names = (key, *aliases)
        # All keys under which the entry may be stored, the surest first.
        stored = (*names, *(known.aliases[name] for name in names if name in known.aliases))
        own = next((one for one in stored if one in known.items or one in plan.items), None)
        is_moved = subscription.findings.key_origin is not None
        if own is not None and is_moved and _is_another(known.items.get(own) or plan.items[own], entry):
            # What has moved may be another source, whose guids count up like those of the one before.
            names = tuple(name for name in names if not is_guid(name))
            stored = (*names, *(known.aliases[name] for name in names if name in known.aliases))
            own = next((one for one in stored if one in known.items or one in plan.items), None)
        if own is not None:
            item = known.items.get(own) or plan.items[own]
            plan.knows_one |= own in known.items
            if entry.item is not None and own != key_of_link(entry.url, entry.item):
                by_file.add(entry.url)
            is_same = _is_same(item, entry)
            if not entry.known:
                others = [name for name in names if name != own and name not in known.items]
                others = [name for name in others if is_same or not is_guid(name)]
                plan.aliases |= dict.fromkeys(others, own)
            guids = [name for name in names if is_guid(name)]
            if own in known.items and (is_same or all(known.aliases.get(name) == own for name in guids)):
                _renew(plan, item, entry)
            continue
        if entry.known:  # it was forgotten meanwhile, and is new at the next check
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
    # The first in the list gets the highest number: it is the newest.
    for place, (item, _) in enumerate(reversed(fresh), 1):
        plan.items[item.key] = replace(item, number=known.last_number + place)
    entries = [entry for _, entry in fresh]
    # What only a check of the whole list finds is old. After `forget` it is what is to be read again.
    is_read_again = subscription.findings.whole_at is None
    held = {item.key for item, entry in fresh if entry.behind and not is_read_again}
    by_place = _known_by_place(entries, known) - by_file
    held |= {item.key for item, entry in fresh if entry.item is not None and entry.url in by_place}
    if not plan.knows_one and _are_moved(entries, known):
        plan.all_new = True
        held = {item.key for item, _ in fresh}
    asks_for_none = is_part and isinstance(subscription.wanted.backlog, LastOnes)
    seeds = first or subscription.findings.cut
    backlog = _asked_for(subscription, entries) if seeds and not asks_for_none else set[int]()
    asked = backlog if first else None
    if not first and subscription.findings.cut and result.tail:
        # They were there before the subscription: the first check did not come to them.
        begin = max(0, len(fresh) - result.tail)
        asked = {*range(begin)}
        if not isinstance(subscription.wanted.backlog, LastOnes):  # they came with the first check
            asked |= {place for place in backlog if place >= begin}
    wanted: list[StoredItem] = []
    for place, (item, entry) in enumerate(fresh):
        asks = asked is not None and place in backlog
        judged = _judged(plan.items[item.key], entry, subscription, known, now, asks=asks)
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


def in_parts(
    subscription: StoredSubscription, noticed: Sequence[FoundEntry], most: int
) -> tuple[list[Sequence[FoundEntry]], Sequence[FoundEntry]]:
    """Split the entries of a first check. Return parts of `most` entries, the oldest first, each of which can
    be stored by itself, since none of them becomes a task yet; and the newest, which are decided last.
    """
    if subscription.findings.seeded or len(noticed) <= most:
        return [], noticed
    is_of_last = isinstance(subscription.wanted.backlog, LastOnes)
    asked = _asked_for(subscription, noticed) if is_of_last else set[int]()
    last = [entry for place, entry in enumerate(noticed) if place < most or place in asked]
    early = [entry for place, entry in enumerate(noticed) if place >= most and place not in asked]
    return [early[max(0, end - most) : end] for end in range(len(early), 0, -most)], last


def _are_moved(entries: Sequence[FoundEntry], known: KnownItems) -> bool:
    """Whether entries of which none is known cannot all be new: their source has given them other ids."""
    moments = [moment for item in known.recent if (moment := moment_of(item.published_at)) is not None]
    told = {(item.about.get("title"), item.published_at) for item in known.recent}
    for entry in entries:
        moment = moment_of(entry.published_at)
        if moment is not None and moments and moment <= max(moments):
            return True
        # Players of one page may be numbered by their places: "Page (1)".
        if entry.item is None and entry.title is not None and (entry.title, entry.published_at) in told:
            return True
    return bool(_known_by_place(entries, known))


def _known_by_place(entries: Sequence[FoundEntry], known: KnownItems) -> set[str]:
    """Pages of whose players earlier releases knew the places alone: who of them is who, nobody can tell."""
    return {
        entry.url
        for entry in entries
        if entry.item is not None and key_of_link(entry.url, entry.item) in known.items
    }


def _may_pass(entry: FoundEntry) -> bool:
    return entry.verdict is None or entry.verdict in _WAITS


def _replace_failed(plan: CheckPlan, subscription: StoredSubscription, known: KnownItems, now: float) -> None:
    """Check the next older entry in place of each that `backlog` has asked for and that does not pass."""
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
    """Note the link, title and place that a known entry has now: feeds sign their links anew, and what is new
    in a list moves the others.
    """
    if (about := about_now(item.about, entry)) is not None:
        plan.abouts[item.key] = about


def about_now(before: Mapping[str, Any], entry: FoundEntry) -> Mapping[str, Any] | None:
    """Return what the source says of a known entry now, for `StoredItem.about`; None if it says the same as
    `before`.
    """
    told = entry.model_dump(include={"url", "item", "title", "says"}, exclude_none=True)
    about = {name: value for name, value in before.items() if name != "item"} | told
    return about if any(about.get(name) != before.get(name) for name in ("url", "item", "title")) else None


def _is_same(item: StoredItem, entry: FoundEntry) -> bool:
    """Whether a guid that is new at a known link is another one of the same entry: some feeds have one link
    for whatever is their latest.
    """
    title = item.about.get("title")
    if entry.title is not None and entry.title == title:
        return True
    return entry.published_at is not None and entry.published_at == item.published_at


def _is_another(item: StoredItem, entry: FoundEntry) -> bool:
    title = item.about.get("title")
    have_both = entry.title and title and entry.published_at and item.published_at
    return bool(have_both) and entry.title != title and entry.published_at != item.published_at


def _asked_for(subscription: StoredSubscription, entries: Sequence[FoundEntry]) -> set[int]:
    """The places of entries that `backlog` asks for."""
    match subscription.wanted.backlog:
        case "all":
            return {*range(len(entries))}
        case LastOnes(last=last):
            dates = [moment_of(entry.published_at) for entry in entries]
            passed = [_may_pass(entry) for entry in entries]
            order = [place for place, is_wanted in enumerate(passed) if is_wanted]
            if all(date is not None for date in dates):  # else the order of the list
                order.sort(key=lambda place: -(dates[place] or 0.0))
            return {*order[:last]}
        case SinceDay(since=since):
            begin = day_in_seconds(since)
            dates = [moment_of(entry.published_at) for entry in entries]
            # One without a date has its own page read: its child says `UNCLEAR`.
            return {place for place, date in enumerate(dates) if date is None or date >= begin}
    return set()


def _judged(
    item: StoredItem,
    entry: FoundEntry,
    subscription: StoredSubscription,
    known: KnownItems,
    now: float,
    *,
    asks: bool,
) -> StoredItem:
    """The item in the state that its entry gives it; `queued` if a task is to be made, or there is one.

    `asks`: the backlog asks for it, also if it was fetched before and nothing is left of that.
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
    """Whether no task has it any more; where the files of another program are, nobody knows."""
    return fetched.task_id is None and IMPORTED not in fetched.manners


def _waits_or_skipped(item: StoredItem, verdict: str, entry: FoundEntry, now: float) -> StoredItem:
    if verdict not in _WAITS:
        return replace(item, state="skipped", reason=verdict, not_before=None)
    code = {NOT_LIVE_YET: "not_live", MEMBERS_ONLY: "members_only"}.get(verdict, "")
    _, delay = delay_of(code, item.tries, age_of(item.published_at, item.found_at, now))
    if verdict in (NOT_LIVE_YET, MEMBERS_ONLY) and delay is None:
        return replace(item, state="failed", reason=verdict, not_before=None)
    at = now + (delay or 0.0)
    # A broadcast whose time has passed is late, and nobody knows how much.
    is_set = verdict == TOO_YOUNG or (verdict == NOT_LIVE_YET and (entry.begins_at or 0.0) > now)
    if entry.begins_at is not None and is_set:
        at = min(max(entry.begins_at, now + 60.0), now + MOST_WAIT)
    return replace(
        item, state="waiting", reason=verdict, not_before=at, tries=item.tries + (delay is not None)
    )


def _plan_waiting(
    plan: CheckPlan, entry: FoundEntry, subscription: StoredSubscription, known: KnownItems, now: float
) -> None:
    """Decide what becomes of a waiting item whose own page was read."""
    item = known.items.get(entry.again or "")
    if item is None or item.state != "waiting" or item.task_id is not None:
        return  # a client has decided otherwise meanwhile
    item = replace(item, published_at=item.published_at or entry.published_at)
    backlog, moment = subscription.wanted.backlog, moment_of(item.published_at)
    was_there = known.began_at is not None and item.found_at <= known.began_at
    since = day_in_seconds(backlog.since) if isinstance(backlog, SinceDay) and was_there else None
    if entry.verdict is None and since is not None and moment is None and item.reason == UNCLEAR:
        plan.items[item.key] = replace(item, state="skipped", not_before=None)  # that did not tell its day
    elif entry.verdict is None and since is not None and moment is not None and moment < since:
        plan.items[item.key] = replace(item, state="known", reason=None, not_before=None)
    elif entry.verdict is None:
        plan.items[item.key] = replace(item, state="waiting", reason=BACKLOG, not_before=None)
    elif entry.verdict in _WAITS:
        item = _waits_or_skipped(item, entry.verdict, entry, now)
        if entry.verdict == UNCLEAR:  # it was checked, and that did not tell
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
            kept = next((one for one in (reason, item.reason) if one in _WAITS), UNCLEAR)
            later = {"reason": kept, "not_before": now + delay, "tries": item.tries + 1}
            plan.items[item.key] = replace(item, **later)  # type: ignore[arg-type]
    else:
        plan.items[item.key] = replace(item, state="skipped", reason=entry.verdict, not_before=None)


def _give_turns(
    plan: CheckPlan, wanted: Sequence[StoredItem], known: KnownItems, max_new: int, now: float, *, first: bool
) -> None:
    """At most `max_new` items become tasks: those that are new, then those that wait, then failed ones.

    What is new beyond that is held; what `backlog` asked for waits for its turn, as does all while the queue
    is full.
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
                # If the retry is not saved, because of a kill or a full queue, there will be another.
                plan.items[item.key] = replace(item, not_before=now + HOUR)
        elif item.reason == RETRY and len(plan.wanted) < most:
            plan.items[item.key] = queued = replace(item, state="queued", reason=None, not_before=None)
            plan.wanted.append(queued)
