"""What becomes of items when their tasks end, and which tasks are kept for them."""

from collections.abc import Collection, Sequence
from datetime import datetime

from server.core.media_keys import key_of
from server.library.placement_columns import DUE_SOONER
from server.library.placement_requests import to_be_placed
from server.library.placements import set_of_item
from server.memory.media_rows import name
from server.storage.statements import Dialect, Ended, Statements, StoreHooks
from server.subscriptions.subscription_columns import BY_ID, COLUMNS, RETENTION_DUE_AT, readable, run_in
from server.subscriptions.subscription_rules import item_after

_OF_TASK = """
    SELECT subscription_id, key, tries, published_at, found_at FROM items WHERE task_id = ?"""
_MOVE = """
    UPDATE items SET state = ?, reason = ?, not_before = ?, tries = ?, fetched_at = coalesce(?, fetched_at)
    WHERE subscription_id = ? AND key = ?"""
_WITH_LIBRARY = f"""
    SELECT {COLUMNS} FROM subscriptions WHERE subscription_id = ? AND wanted LIKE '%"library"%'"""  # noqa: S608
_SOONER = """
    UPDATE subscriptions SET next_check_at = ?
    WHERE subscription_id = ? AND next_check_at > ?"""


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
                # A place in a list names no film for good: a new film moves all others.
                is_place = status.item is not None and led_to.startswith("url ")
                if led_to != key and not is_place:
                    await name(tables, {key: led_to})
                await run_in(tables, RETENTION_DUE_AT, [subscription_id], after.fetched_at)
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
