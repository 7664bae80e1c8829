"""Carries out what is planned for entries of a subscription: stores items, and adds their tasks."""

import json
from collections.abc import Container
from dataclasses import replace
from datetime import UTC, datetime

from server.core.task import Task
from server.library.placement_requests import to_be_placed
from server.library.placements import set_of_item
from server.memory.media_rows import name
from server.storage.statements import Tables, fetch_in, insert
from server.subscriptions.check_plan import CheckPlan
from server.subscriptions.known_entries import aliases_to_store
from server.subscriptions.known_rows import read_shared_items
from server.subscriptions.searching import search_of_item
from server.subscriptions.source_host_rows import read_holds
from server.subscriptions.subscription import StoredItem, StoredSubscription
from server.subscriptions.subscription_columns import ITEM_COLUMNS, item_row
from server.subscriptions.task_of_item import begun_after, task_of

_COUNT_ALIASES = "SELECT key, count(*) FROM aliases WHERE key IN ({keys}) GROUP BY key"
_PUT = f"""
    INSERT INTO items ({ITEM_COLUMNS}, search) VALUES {{rows}}
    ON CONFLICT (subscription_id, key) DO UPDATE SET state = excluded.state, reason = excluded.reason,
        published_at = excluded.published_at, task_id = excluded.task_id, manner = excluded.manner,
        not_before = excluded.not_before, tries = excluded.tries, pinned = excluded.pinned,
        fetched_at = excluded.fetched_at"""  # noqa: S608
_ABOUT = "UPDATE items SET about = ?, search = ? WHERE subscription_id = ? AND key = ?"


async def carry_out(
    tables: Tables, subscription: StoredSubscription, plan: CheckPlan, now: float, *, is_separate: bool
) -> dict[str, Task]:
    """Store the items of `plan` and add its tasks, those for held hosts to be begun later.

    Return the tasks by the keys of their items. An item whose entry another subscription has, in the same
    manner, shares that one's task.
    """
    moment = datetime.fromtimestamp(now, UTC)
    wanted_keys = [item.key for item in plan.wanted]
    shared = await read_shared_items(tables, subscription, wanted_keys, is_separate=is_separate)
    items = dict(plan.items)
    wanted: list[StoredItem] = []
    for item in plan.wanted:
        other = shared.get(item.key)
        if other is None:
            wanted.append(item)
        else:
            items[item.key] = replace(
                item,
                state=other.state,
                task_id=other.task_id,
                manner=other.manner,
                fetched_at=other.fetched_at,
            )
    # The oldest task is added first, since tasks begin in the order in which they were added.
    new = [task_of(subscription, plan.renewed(item), moment) for item in reversed(wanted)]
    held = await read_holds(tables, {task.status.host for task in new}, now)
    new = [begun_after(task, held.get(task.status.host), moment) for task in new]
    tasks = (await tables.add(new))[::-1] if new else []
    for item, task in zip(wanted, tasks, strict=True):
        items[item.key] = replace(item, task_id=task.status.task_id, manner=subscription.manner)
    await insert(tables, _PUT, [item_row(item) for item in items.values()])
    for key, about in plan.abouts.items():
        text = json.dumps(about, ensure_ascii=False)
        await tables.run(_ABOUT, (text, search_of_item(about), subscription.subscription_id, key))
    # The files of a task that is still running are placed when the task ends.
    if library := subscription.wanted.library:
        mine = subscription.subscription_id
        fetched = [(item.key, item.task_id) for item in items.values() if item.state == "fetched"]
        sets = [set_of_item(mine, key, task_id, library) for key, task_id in fetched if task_id]
        await to_be_placed(tables, sets)
    await _store_aliases(tables, plan, items)
    return {item.key: task for item, task in zip(wanted, tasks, strict=True)}


async def _store_aliases(tables: Tables, plan: CheckPlan, new: Container[str]) -> None:
    """Store the aliases of a plan, as many as items may have; `new` are the keys of its items."""
    known = {key for key in plan.aliases.values() if key not in new}
    counts: dict[str, int] = dict(await fetch_in(tables, _COUNT_ALIASES, known))
    await name(tables, aliases_to_store(plan.aliases, known, counts))
