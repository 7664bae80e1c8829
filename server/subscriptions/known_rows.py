"""Reads what the tables hold of the entries that a check has found: see `KnownItems`."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import starmap

from server.core.media_keys import key_of_link
from server.core.owner_scope import OwnerScope
from server.library.placement_requests import with_films
from server.memory.media_rows import look_up, resolved
from server.memory.remembering import Fetched
from server.storage.statements import Row, Statements, Tables, fetch_in
from server.subscriptions.check_plan import is_gone_media
from server.subscriptions.known_entries import KnownItems, keys_of
from server.subscriptions.subscription import FoundEntry, LastOnes, StoredItem, StoredSubscription
from server.subscriptions.subscription_columns import (
    DUE_ITEMS,
    ITEM_COLUMNS,
    ITEM_PAGE,
    ITEM_PAGE_OF_STATE,
    ITEMS_BY_KEY,
    NAMES_OF_KEYS,
    number_before,
    read_item,
)

MOST_DUE = 50
MOST_SPARE = 1000  # items that may replace items which a filter refuses
MOST_RECENT = 1000  # items that are compared with a list of which no entry is known
_WAITING = f"""
    SELECT {ITEM_COLUMNS} FROM items WHERE subscription_id = ? AND state = 'waiting' AND reason = 'backlog'
    ORDER BY number DESC LIMIT ?"""  # noqa: S608
_SHARED = f"""
    SELECT {ITEM_COLUMNS} FROM items WHERE manner = ? AND subscription_id <> ?
    AND state IN ('queued', 'fetched') AND task_id IS NOT NULL AND key IN ({{keys}})"""  # noqa: S608
_OF_SAME_OWNER = """
    EXISTS (SELECT 1 FROM subscriptions s WHERE s.subscription_id = items.subscription_id
        AND coalesce(s.owner, '') = ?)"""
_SHARED_OF_OWNER = _SHARED.replace("AND key IN", f"AND {_OF_SAME_OWNER} AND key IN")
_LOCK_TASKS = "SELECT task_id FROM tasks WHERE task_id IN ({keys}) ORDER BY task_id FOR SHARE"
_LAST_NUMBER = "SELECT coalesce(max(number), 0) FROM items WHERE subscription_id = ?"
_BEGAN_AT = "SELECT found_at FROM items WHERE subscription_id = ? ORDER BY number LIMIT 1"


@dataclass(frozen=True, slots=True)
class _EntryNames:
    """Keys and aliases of the entries that a check has found, each once and in their order.

    `listed`: of entries that the list has; the others were read again. `new`: of entries that the check did
    not know.
    """

    all: dict[str, None] = field(default_factory=dict)
    listed: dict[str, None] = field(default_factory=dict)
    new: dict[str, None] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Iterable[FoundEntry], key_origin: str) -> "_EntryNames":
        names = cls()
        for entry in found:
            key, aliases = keys_of(entry, key_origin)
            own = dict.fromkeys((key, *aliases))
            names.all.update(own)
            if entry.again is None:
                names.listed.update(own)
            if not entry.known:
                names.new.update(own)
            if entry.item is not None and entry.media is not None:
                names.all[key_of_link(entry.url, entry.item)] = None  # the key that earlier releases gave it
        return names


async def read_known_items(
    tables: Tables,
    subscription: StoredSubscription,
    found: Sequence[FoundEntry],
    now: float,
    *,
    is_separate: bool,
) -> KnownItems:
    """Read what is stored of the entries that a check has `found`."""
    mine, findings = subscription.subscription_id, subscription.findings
    names = _EntryNames.of(found, subscription.key_origin)
    again = [entry.again for entry in found if entry.again is not None]

    aliases = await resolved(tables, names.all)
    keys_of_new = [aliases[name] for name in names.new if name in aliases]
    # The guid may be an alias of a link to a film. The memory has that film by the film's own key.
    films = await resolved(tables, keys_of_new)
    other_names: list[Row] = await fetch_in(tables, NAMES_OF_KEYS, names.all)
    wanted = [*names.all, *aliases.values(), *again, *(alias for alias, _ in other_names)]
    items = {row[1]: read_item(*row) for row in await fetch_in(tables, ITEMS_BY_KEY, wanted, mine)}
    aliases |= {key: film for key, film in films.items() if key not in names.all}
    # The download of an item's link may have shown that it is a film which the list now names itself as an
    # entry. Both are one item: see `follow_tasks`.
    for alias, key in other_names:
        if alias in items and key not in items:
            aliases.setdefault(key, alias)

    new_keys = [*names.new, *keys_of_new, *films.values()]
    others = await read_shared_items(tables, subscription, new_keys, is_separate=is_separate)
    media = await look_up(tables, new_keys, OwnerScope(subscription.owner, is_separate=is_separate))
    stored_as = {*names.listed, *(aliases[name] for name in names.listed if name in aliases)}
    [(last_number,)] = await tables.fetch(_LAST_NUMBER, (mine,))
    first = await tables.fetch(_BEGAN_AT, (mine,)) if again or not findings.seeded else []
    return KnownItems(
        items=items,
        spare=await _read_spare_items(tables, subscription) if again else [],
        recent=await _read_recent_items(tables, subscription, stored_as, items),
        aliases=aliases,
        media=media,
        placed=await _read_placed(tables, subscription, media, new_keys, other_names),
        others=others,
        backlog=list(starmap(read_item, await tables.fetch(_WAITING, (mine, MOST_DUE)))),
        due=list(starmap(read_item, await tables.fetch(DUE_ITEMS, (mine, now, MOST_DUE)))),
        room=await tables.room(),
        last_number=last_number,
        began_at=first[0][0] if first else None,
    )


async def read_shared_items(
    tables: Tables, subscription: StoredSubscription, keys: Sequence[str], *, is_separate: bool
) -> dict[str, StoredItem]:
    """Return items of other subscriptions, by key, whose tasks do for this subscription as well. Where lists
    are separate, these are of the same owner.

    Over PostgreSQL the task of such an item may be ending by another transaction, which moves only the items
    that it sees. So the tasks are locked, in the order in which ends lock them, and the items read again:
    either they have been moved by then, or the end of the task waits and finds the item that shares it.
    """
    sql, values = _SHARED, [subscription.manner, subscription.subscription_id]
    if is_separate:
        sql, values = _SHARED_OF_OWNER, [*values, subscription.owner or ""]
    rows = await fetch_in(tables, sql, keys, *values)
    if rows and tables.dialect.name == "postgresql":
        task_ids = {item.task_id or "" for item in starmap(read_item, rows)}
        await fetch_in(tables, _LOCK_TASKS, sorted(task_ids))
        rows = await fetch_in(tables, sql, keys, *values)
    return {row[1]: read_item(*row) for row in rows}


async def _read_placed(
    tables: Statements,
    subscription: StoredSubscription,
    media: Mapping[str, Fetched],
    new_keys: Sequence[str],
    other_names: Sequence[Row],
) -> set[str]:
    """Return the keys of videos that the library has. They are read only if the files of a fetched video are
    gone: else the plan does not depend on them.
    """
    if subscription.wanted.backlog == "none" or not any(map(is_gone_media, media.values())):
        return set()
    # The library has an item under the key of its entry, and not under that of the film.
    placed = await with_films(tables, [*new_keys, *(alias for alias, _ in other_names)])
    return placed | {key for alias, key in other_names if alias in placed}


async def _read_spare_items(tables: Statements, subscription: StoredSubscription) -> list[StoredItem]:
    """Return items that may replace one of the last ones, if the subscription wants a number of them."""
    if not isinstance(subscription.wanted.backlog, LastOnes):
        return []
    values = (subscription.subscription_id, "known", number_before(None), MOST_SPARE)
    rows = await tables.fetch(ITEM_PAGE_OF_STATE, values)
    return [item for item in starmap(read_item, rows) if item.about.get("may_pass")]


async def _read_recent_items(
    tables: Statements,
    subscription: StoredSubscription,
    stored_as: Collection[str],
    items: Mapping[str, StoredItem],
) -> list[StoredItem]:
    """Return the newest items if none of the listed entries is known by what it is `stored_as`, or if a
    client has set another link, where the same guids may be those of other entries.
    """
    findings = subscription.findings
    if not stored_as or not findings.seeded:
        return []
    if findings.form is not None and not items.keys().isdisjoint(stored_as):
        return []
    values = (subscription.subscription_id, number_before(None), MOST_RECENT)
    return list(starmap(read_item, await tables.fetch(ITEM_PAGE, values)))
