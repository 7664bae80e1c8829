"""The items of subscriptions as rows: pages of them, what clients do with them, what retention deletes."""

import json
from collections.abc import Container, Mapping, Sequence
from itertools import starmap

from server.core.errors import QueueFull
from server.core.events import Relinked
from server.core.list_entries import ListEntry
from server.core.owner_scope import OwnerScope
from server.core.task import Task
from server.library.placement_columns import DUE_SOONER
from server.library.placement_requests import leave_items, made_by_checks, to_be_placed
from server.library.placements import set_of_item
from server.memory.media_rows import resolved
from server.storage.statements import Row, Statements, Tables, Transactions, fetch_in
from server.subscriptions.check_plan import planned_fetch
from server.subscriptions.plan_rows import carry_out
from server.subscriptions.searching import ORDERS_OF_ITEMS, Sort, pattern_of, search_of_item, start_of
from server.subscriptions.subscription import HELD, HOUR, STATES, ItemState, StoredItem
from server.subscriptions.subscription_columns import (
    COLUMNS,
    ITEM_COLUMNS,
    ITEM_PAGE,
    ITEM_PAGE_OF_STATE,
    ITEMS_BY_KEY,
    RETENTION_DUE_AT,
    STORE_FINDINGS,
    complete_search,
    number_before,
    read_by_id,
    read_item,
    readable,
    run_in,
)
from server.subscriptions.subscription_rules import expired_items, with_full_read_next

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
_NEWEST_PUBLISHED = """
    SELECT subscription_id, (SELECT max(published_at) FROM (
            SELECT published_at FROM items WHERE items.subscription_id = subscriptions.subscription_id
            ORDER BY number DESC LIMIT 10) AS newest)
    FROM subscriptions WHERE subscription_id IN ({keys})"""
_FOUND_ITEMS = f"""
    SELECT {ITEM_COLUMNS} FROM items
    WHERE subscription_id = ? AND state IN ({{states}}) AND search LIKE ? ESCAPE '\\'
    ORDER BY {{order}} LIMIT ? OFFSET ?"""  # noqa: S608
_UNSEARCHED_ITEMS = """
    SELECT subscription_id, key, about FROM items WHERE subscription_id = ? AND search IS NULL LIMIT ?"""
_SEARCHED_ITEM = "UPDATE items SET search = ? WHERE subscription_id = ? AND key = ?"
_UNKEPT = """
    SELECT DISTINCT task_id FROM items AS mine WHERE subscription_id = ? AND task_id IS NOT NULL
    AND state = 'expired' AND NOT EXISTS (SELECT 1 FROM items AS other WHERE other.task_id = mine.task_id
        AND other.state IN ('queued', 'fetched', 'waiting'))"""
_TO_KEEP = f"""
    SELECT {ITEM_COLUMNS} FROM items WHERE subscription_id = ? AND state = 'fetched' ORDER BY number DESC"""  # noqa: S608
_STATE = """
    UPDATE items SET state = ?, reason = ?, not_before = NULL WHERE subscription_id = ? AND key IN ({keys})"""
# A skipped item loses its task, which may go on for another subscription.
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


class ItemRows:
    """A change is on disk when its method returns. All methods may raise `StoreUnavailable`.

    Times are those of the server's clock, in seconds since 1970: callers give the time that it is `now`.
    """

    def __init__(self, transactions: Transactions, *, separate_lists: bool = False) -> None:
        self._transactions = transactions
        self._separate = separate_lists

    async def page(
        self, subscription_id: str, state: ItemState | None, cursor: str | None, limit: int
    ) -> tuple[list[StoredItem], str | None]:
        """Return a page of items, the newest first. Raises `SubscriptionNotFound`, `InvalidQuery`."""
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
        subscription_id: str,
        state: ItemState | None,
        text: str,
        sort: Sort | None,
        cursor: str | None,
        limit: int,
    ) -> tuple[list[StoredItem], str | None]:
        """Return a page of the items with `text` in their title, uploader or link.

        Raises `InvalidQuery`, `SubscriptionNotFound`.
        """
        start = start_of(cursor)
        await self._transactions.read(lambda tables: read_by_id(tables, subscription_id))
        await complete_search(
            self._transactions, _UNSEARCHED_ITEMS, _read_searched_item, _SEARCHED_ITEM, subscription_id
        )
        sql = _FOUND_ITEMS.replace("{order}", ORDERS_OF_ITEMS[sort])
        states = STATES if state is None else (state,)
        sql = sql.replace("{states}", ", ".join("?" * len(states)))

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(sql, (subscription_id, *states, pattern_of(text), limit + 1, start))

        found = [read_item(*row) for row in await self._transactions.read(work)]
        return found[:limit], str(start + limit) if len(found) > limit else None

    async def items_of(
        self, subscription_id: str, keys: Sequence[str] | None, state: ItemState | None, most: int
    ) -> list[StoredItem]:
        """Return the items with these `keys`, or up to `most` in `state`. Raises `SubscriptionNotFound`."""

        async def work(tables: Statements) -> list[Row]:
            await read_by_id(tables, subscription_id)
            if keys is not None:
                told = [key for key in keys if "\0" not in key]  # which is no text for PostgreSQL
                return await fetch_in(tables, ITEMS_BY_KEY, told, subscription_id)
            return await tables.fetch(ITEM_PAGE_OF_STATE, (subscription_id, state, number_before(None), most))

        return [read_item(*row) for row in await self._transactions.read(work)]

    async def with_thumbnails(self, task_ids: Sequence[str]) -> set[str]:
        """Return the ids of those of the tasks that exist and have a thumbnail."""

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, _WITH_THUMBNAIL, task_ids)

        return {task_id for (task_id,) in await self._transactions.read(work)} if task_ids else set()

    async def counts(self, subscription_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """Count each subscription's items by state."""

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, _COUNTS, subscription_ids)

        counts: dict[str, dict[str, int]] = {one: {} for one in subscription_ids}
        for subscription_id, state, count in await self._transactions.read(work):
            counts[subscription_id][state] = count
        return counts

    async def counts_of_held(self, subscription_ids: Sequence[str]) -> dict[str, int]:
        """Count each subscription's held items; subscriptions without any are missing."""
        rows = await self._transactions.read(
            lambda tables: fetch_in(tables, _COUNTS_OF_HELD, subscription_ids)
        )
        return dict(rows)

    async def last_fetched(self, subscription_ids: Sequence[str]) -> dict[str, float]:
        """When the newest file that is there of each was fetched; nothing of those without any."""
        rows = await self._transactions.read(lambda tables: fetch_in(tables, _LAST_FETCHED, subscription_ids))
        return {subscription_id: at for subscription_id, at in rows if at is not None}

    async def newest_published(self, subscription_ids: Sequence[str]) -> dict[str, str]:
        """When the newest of the entries found last was published; nothing of those without any."""

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, _NEWEST_PUBLISHED, subscription_ids)

        rows = await self._transactions.read(work)
        return {subscription_id: at for subscription_id, at in rows if at is not None}

    async def is_wanted(self, task_id: str, but: str) -> bool:
        """Whether any other subscription than `but` waits for the task."""
        sql = """
            SELECT 1 FROM items WHERE task_id = ? AND subscription_id <> ? AND state IN ('queued', 'waiting')
            LIMIT 1"""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(sql, (task_id, but))

        return bool(await self._transactions.read(work))

    async def queued_tasks(self) -> list[str]:
        """Return the ids of all tasks whose items are `queued`."""
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
        """Make tasks of items; return each by its item's key, or the id of a task that is to be retried.

        Items that are `queued`, or `fetched` and not `gone`, are left as they are. Raises `QueueFull`; then
        no task was made.
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
                await run_in(tables, RETENTION_DUE_AT, [subscription_id], 0.0)

        await self._transactions.write(work)

    async def forget(self, subscription_id: str, keys: Sequence[str]) -> None:
        """Delete items, and what the memory has of them, so that they are new at the next check."""

        async def work(tables: Tables) -> None:
            await tables.alone()
            sql = "DELETE FROM items WHERE subscription_id = ? AND key IN ({keys})"
            await run_in(tables, sql, keys, subscription_id)
            others = [*keys, *(await resolved(tables, keys)).values()]
            subscription = await read_by_id(tables, subscription_id)
            scope = OwnerScope(subscription.owner, is_separate=self._separate)
            remembered = [scope.key(key) for key in others]
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


def _read_searched_item(row: Row) -> Row:
    subscription_id, key, about = row
    return search_of_item(json.loads(about)), subscription_id, key
