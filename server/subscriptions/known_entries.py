"""Which entries of a source are stored already, under which names, and whether they are still the same.

Decisions: docs/decisions/library.md
"""

from collections.abc import Container, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from server.core.media_keys import MOST_ALIASES, is_guid, key_of_link, keys_of_entry
from server.memory.remembering import Fetched
from server.subscriptions.subscription import Findings, FoundEntry, StoredItem, moment_of

MAX_KNOWN_NAMES = 20_000  # the most keys and aliases that the child of a check gets


FEW_KNOWN = 50  # unchanged entries that are kept for the decision whether a list is still the same


@dataclass(frozen=True, slots=True)
class KnownItems:
    """What the tables hold of the entries that a check has found.

    - `items`: the subscription's own, by key; `aliases` maps other names of entries to keys.
    - `media`: what was downloaded before, by key (`server.memory`).
    - `others`: items of other subscriptions, `queued` or `fetched`, whose tasks make the same files.
    - `backlog`: the subscription's items that wait for their turn, the newest first; `due`: those whose
      `not_before` has passed.
    - `room`: how many more tasks the queue takes.
    - `last_number`: the highest number of the subscription's items.
    - `began_at`: when the first items were found, in seconds since 1970.
    - `placed`: keys of videos in the library, whoever placed them; read only where the plan depends on them.
    - `recent`: the newest items; read only if none of the entries is known.
    - `spare`: items that may replace one that the field `backlog` of the subscription asks for, the newest
      first.
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


def names_of_known(findings: Findings, keys: Sequence[str], aliases: Sequence[str]) -> list[str]:
    """Return the `keys` and `aliases` of stored items that a check is told, so that of these it reports only
    what has changed; at most `MAX_KNOWN_NAMES`.
    """
    if findings.seeded and findings.form is None:
        # A client has set another link. Its entries may have the same guids as those of the link before, so
        # all entries whose guids are known are to be reported in full.
        aliases = [alias for alias in aliases if not is_guid(alias)]
    return [*keys, *aliases][:MAX_KNOWN_NAMES]


def keys_of(entry: FoundEntry, key_origin: str) -> tuple[str, tuple[str, ...]]:
    """Return the key of an entry, and its aliases: its guid in this feed, and links that lead to it alone."""
    return keys_of_entry(
        entry.extractor_key, entry.id, entry.url, entry.item, entry.guid, key_origin, entry.media
    )


def keys_of_known(found: Sequence[FoundEntry], key_origin: str) -> dict[int, str]:
    """Return the keys of the entries that the check took for known, by their indexes in `found`."""
    return {
        place: keys_of(entry, key_origin)[0]
        for place, entry in enumerate(found)
        if entry.known and entry.again is None and entry.item is None
    }


def without_unchanged(
    found: Sequence[FoundEntry], keys: Mapping[int, str], abouts: Mapping[str, Mapping[str, Any]]
) -> list[FoundEntry]:
    """Leave out known entries that are stored as their source tells of them, but for the first `FEW_KNOWN`,
    which show that this is still the same list. `keys` are those of `keys_of_known`, `abouts` what is stored.
    """
    unchanged = [
        place for place, key in keys.items() if key in abouts and about_now(abouts[key], found[place]) is None
    ]
    left_out = {*unchanged[FEW_KNOWN:]}
    return [entry for place, entry in enumerate(found) if place not in left_out]


def aliases_to_store(
    aliases: Mapping[str, str], known: Container[str], counts: Mapping[str, int]
) -> dict[str, str]:
    """Choose among new `aliases` of items: a `known` item, which has `counts` of them, gets no more than
    `MOST_ALIASES`, since some feeds give each entry another guid whenever they are read.
    """
    count, chosen = dict(counts), dict[str, str]()
    for alias, key in aliases.items():
        if count.get(key, 0) < MOST_ALIASES:
            count[key] = count.get(key, 0) + (key in known)
            chosen[alias] = key
    return chosen


def about_now(before: Mapping[str, Any], entry: FoundEntry) -> Mapping[str, Any] | None:
    """Return what the source says of a known entry now, for `StoredItem.about`; None if it says the same as
    `before`.
    """
    told = entry.model_dump(include={"url", "item", "title", "says"}, exclude_none=True)
    about = {name: value for name, value in before.items() if name != "item"} | told
    return about if any(about.get(name) != before.get(name) for name in ("url", "item", "title")) else None


def is_same_entry(item: StoredItem, entry: FoundEntry) -> bool:
    """Say whether a stored item and an entry with the same link, but another guid, are the same: some feeds
    have one link for whatever is their latest entry.
    """
    title = item.about.get("title")
    if entry.title is not None and entry.title == title:
        return True
    return entry.published_at is not None and entry.published_at == item.published_at


def is_another_entry(item: StoredItem, entry: FoundEntry) -> bool:
    """Say whether title and date differ. Both the entry and the item have them."""
    title = item.about.get("title")
    have_both = entry.title and title and entry.published_at and item.published_at
    return bool(have_both) and entry.title != title and entry.published_at != item.published_at


def are_moved(entries: Sequence[FoundEntry], known: KnownItems) -> bool:
    """Say whether these entries, none of which is known, cannot all be new: then their ids have changed."""
    moments = [moment for item in known.recent if (moment := moment_of(item.published_at)) is not None]
    told = {(item.about.get("title"), item.published_at) for item in known.recent}
    for entry in entries:
        moment = moment_of(entry.published_at)
        if moment is not None and moments and moment <= max(moments):
            return True
        # Players of one page may be numbered by their places: "Page (1)".
        if entry.item is None and entry.title is not None and (entry.title, entry.published_at) in told:
            return True
    return bool(known_by_place(entries, known))


def known_by_place(entries: Sequence[FoundEntry], known: KnownItems) -> set[str]:
    """Return the pages whose players earlier releases stored by their places alone. Which of today's players
    is which of the stored ones cannot be told.
    """
    return {
        entry.url
        for entry in entries
        if entry.item is not None and key_of_link(entry.url, entry.item) in known.items
    }
