"""How subscriptions and their items stand in rows, and the statements that several modules run."""

import json
import logging
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any
from urllib.parse import urlsplit

from server.core.errors import AlreadySubscribed, InvalidQuery, SubscriptionNotFound
from server.core.media_keys import key_of_link
from server.memory.media_rows import name
from server.storage.statements import Row, Statements, Tables, Transactions
from server.subscriptions.searching import search_of_item, search_of_subscription
from server.subscriptions.subscription import Findings, StoredItem, StoredSubscription, SubscriptionSettings

log = logging.getLogger(__name__)

# The prefix of an alias under which a subscription keeps the key that its source had before it moved.
SOURCE_ALIAS = "source "
_FIELDS = [field.name for field in fields(StoredSubscription)]
COLUMNS = ", ".join(_FIELDS)
OF_OWNER = " AND owner = ?"
BY_ID = f"SELECT {COLUMNS} FROM subscriptions WHERE subscription_id = ?"  # noqa: S608
_SAME = "SELECT subscription_id, owner FROM subscriptions WHERE source_key = ? AND wish = ?"
_MOVE_TO = """
    UPDATE subscriptions SET revision = ?, url = ?, source_key = ?, host = ?, findings = ?, check_no = ?,
        search = ?
    WHERE subscription_id = ?"""
ITEM_COLUMNS = """
    subscription_id, key, number, state, reason, published_at, task_id, manner, not_before, tries, pinned,
    found_at, fetched_at, about"""
ITEMS_BY_KEY = f"SELECT {ITEM_COLUMNS} FROM items WHERE subscription_id = ? AND key IN ({{keys}})"  # noqa: S608
ITEM_PAGE = f"""
    SELECT {ITEM_COLUMNS} FROM items WHERE subscription_id = ? AND number < ? ORDER BY number DESC LIMIT ?"""  # noqa: S608
ITEM_PAGE_OF_STATE = f"""
    SELECT {ITEM_COLUMNS} FROM items WHERE subscription_id = ? AND state = ? AND number < ?
    ORDER BY number DESC LIMIT ?"""  # noqa: S608
DUE_ITEMS = f"""
    SELECT {ITEM_COLUMNS} FROM items WHERE subscription_id = ? AND state = 'waiting' AND not_before <= ?
    ORDER BY not_before LIMIT ?"""  # noqa: S608
NAMES_OF_KEYS = "SELECT alias, key FROM aliases WHERE key IN ({keys})"
RETENTION_DUE_AT = """
    UPDATE subscriptions SET keep_at = ? WHERE subscription_id IN ({keys}) AND wanted LIKE '%"keep"%'"""
STORE_FINDINGS = "UPDATE subscriptions SET findings = ? WHERE subscription_id = ?"
FORGET_HOST = """
    DELETE FROM source_hosts WHERE host = ? AND held_until = 0
        AND NOT EXISTS (SELECT 1 FROM subscriptions WHERE subscriptions.host = source_hosts.host)"""
SEARCHED_AT_ONCE = 500  # rows


async def refuse_same(
    tables: Statements, one: StoredSubscription, wish: str, *, separate: bool, is_new: bool = False
) -> None:
    """Raises `AlreadySubscribed` if another subscription wants the same of its source; where lists are
    separate, another one of its owner.
    """
    for subscription_id, owner in await tables.fetch(_SAME, (one.source_key, wish)):
        is_other = is_new or subscription_id != one.subscription_id
        if is_other and (not separate or owner == one.owner):
            raise AlreadySubscribed(subscription_id)


async def run_in(tables: Statements, sql: str, keys: Iterable[object], *before: object) -> None:
    """Like `fetch_in`, for a statement that returns no rows."""
    chosen = list(dict.fromkeys(keys))
    for start in range(0, len(chosen), 200):
        some = chosen[start : start + 200]
        await tables.run(sql.replace("{keys}", ", ".join("?" * len(some))), (*before, *some))


async def read_by_id(
    tables: Statements, subscription_id: str, owner: str | None = None
) -> StoredSubscription:
    if "\0" in subscription_id:  # PostgreSQL has no NUL in texts
        raise SubscriptionNotFound
    query = (BY_ID, (subscription_id,)) if owner is None else (BY_ID + OF_OWNER, (subscription_id, owner))
    for found in readable(await tables.fetch(*query)):
        return found
    raise SubscriptionNotFound


async def complete_search(
    transactions: Transactions, missing: str, read: Callable[[Row], Row], put: str, *values: object
) -> None:
    """Fill in the text to be searched in rows that an earlier release wrote."""

    async def check(tables: Statements) -> list[Row]:
        return await tables.fetch(missing, (*values, SEARCHED_AT_ONCE))

    while rows := await transactions.read(check):

        async def work(tables: Tables, rows: Sequence[Row] = rows) -> None:
            for row in rows:
                await tables.run(put, read(row))

        await transactions.write(work)


async def store_move(
    tables: Statements, subscription: StoredSubscription, url: str, findings: Findings
) -> None:
    """Store where the subscription is read from now on; its entries keep their keys, also for whoever
    subscribes there when it is gone.
    """
    told, source_key = findings.model_dump_json(exclude_defaults=True), key_of_link(url)
    values = (subscription.revision, url, source_key, host_of(url), told, subscription.check_no)
    search = search_of_subscription(url, subscription.wanted, findings)
    await tables.run(_MOVE_TO, (*values, search, subscription.subscription_id))
    await tables.run(FORGET_HOST, (host_of(subscription.url),))
    if source_key != subscription.key_origin:
        await name(tables, {f"{SOURCE_ALIAS}{source_key}": f"{SOURCE_ALIAS}{subscription.key_origin}"})


def host_of(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()


def number_before(cursor: str | None) -> int:
    if cursor is None:
        return 1 << 62
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InvalidQuery("cursor")
    return int(cursor)


def _read_settings(text: str) -> SubscriptionSettings:
    """Read settings. Fields that only a newer release knows are left out; `change` keeps them."""
    return SubscriptionSettings.model_validate_json(text, extra="ignore")


def with_unknown(settings: str, stored: str) -> str:
    """`settings` with what is `stored` and unknown to this release, also within what is still set."""

    def add(
        told: dict[str, Any], before: dict[str, Any], known: Container[str], read: dict[str, Any]
    ) -> None:
        for key, value in before.items():
            if key not in known:
                told[key] = value
            elif isinstance(value, dict) and isinstance(told.get(key), dict):
                inner = read.get(key, {})
                add(told[key], value, inner, inner)

    told, read = json.loads(settings), json.loads(written_settings(_read_settings(stored)))
    add(told, json.loads(stored), SubscriptionSettings.model_fields, read)
    return json.dumps(told, ensure_ascii=False)


def written_settings(wanted: SubscriptionSettings) -> str:
    return wanted.model_dump_json(exclude_unset=True, exclude_none=True)


def subscription_row(one: StoredSubscription, wish: str) -> Row:
    kept = 0.0 if one.wanted.keep.days or one.wanted.keep.last else None
    return (
        one.subscription_id, one.number, one.revision, one.url, one.source_key, wish, host_of(one.url),
        one.manner, one.scope, written_settings(one.wanted),
        one.findings.model_dump_json(exclude_defaults=True),
        one.next_check_at, one.lease_until, one.check_no, kept, one.created_at,
        search_of_subscription(one.url, one.wanted, one.findings), one.owner, one.created_by,
    )  # fmt: skip


def _read_subscription(row: Row) -> StoredSubscription:
    columns = dict(zip(_FIELDS, row, strict=True))
    columns["wanted"] = _read_settings(columns["wanted"])
    columns["findings"] = Findings.model_validate_json(columns["findings"])
    return StoredSubscription(**columns)


def readable(rows: Iterable[Row]) -> Iterator[StoredSubscription]:
    """Yield the readable subscriptions. One that is damaged, or has a value that only a newer release knows,
    is logged and left out.
    """
    for row in rows:
        try:
            yield _read_subscription(row)
        except ValueError:
            log.error("subscription %s cannot be read: it is damaged, or of a newer release", row[0])


def item_row(item: StoredItem) -> Row:
    return (
        item.subscription_id, item.key, item.number, item.state, item.reason, item.published_at, item.task_id,
        item.manner, item.not_before, item.tries, int(item.pinned), item.found_at, item.fetched_at,
        json.dumps(item.about, ensure_ascii=False), search_of_item(item.about),
    )  # fmt: skip


def read_item(*row: Any) -> StoredItem:
    *columns, about = row
    item = StoredItem(*columns)
    return replace(item, pinned=bool(item.pinned), about=json.loads(about))
