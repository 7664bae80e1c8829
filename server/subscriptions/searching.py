"""Subscriptions and items by a text, or in another order than that of the rows.

A name may be the client's, the source's or the link, all within JSON, and letters of all scripts count alike
in upper and lower case: so no database finds or sorts them, and whoever asks pays for reading all.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar, get_args

from server.core.errors import InvalidQuery
from server.core.values import without_password
from server.subscriptions.subscription import HELD, Item, ItemState, Subscription
from server.subscriptions.subscription_rows import SubscriptionRows, host_of

Sort = Literal["name", "newest", "trouble"]
SORTS: tuple[Sort, ...] = get_args(Sort)
_One = TypeVar("_One")
_AT_ONCE = 500  # rows


def name_of(one: Subscription) -> str:
    return one.wanted.name or one.findings.title or without_password(one.url)


async def find_subscriptions(
    store: SubscriptionRows, text: str, sort: Sort | None, cursor: str | None, limit: int, now: float
) -> tuple[list[Subscription], str | None]:
    """A page of those whose name, title or link has `text` in it. Raises `InvalidQuery`."""
    searched = text.casefold()
    found = [
        one
        for one in await _all(lambda at: store.page(at, _AT_ONCE))
        if searched
        in "\n".join((name_of(one), one.findings.title or "", without_password(one.url))).casefold()
    ]
    if sort == "name":
        found.sort(key=lambda one: name_of(one).casefold())
    elif sort == "newest":
        newest = await store.newest_published([one.subscription_id for one in found])
        found.sort(key=lambda one: newest.get(one.subscription_id, ""), reverse=True)
    elif sort == "trouble":
        held = await store.held_hosts({host_of(one.url) for one in found}, now)

        def trouble(one: Subscription) -> int:
            if one.wanted.enabled and host_of(one.url) in held:
                return 0
            return 1 if one.wanted.enabled and one.findings.error_code else 2

        found.sort(key=trouble)
    return _page(found, cursor, limit)


async def find_items(
    store: SubscriptionRows,
    subscription_id: str,
    state: ItemState | None,
    text: str,
    sort: Sort | None,
    cursor: str | None,
    limit: int,
) -> tuple[list[Item], str | None]:
    """A page of those whose title, uploader or link has `text` in it.

    Raises `InvalidQuery`, `SubscriptionNotFound`.
    """
    searched = text.casefold()
    found = [
        item
        for item in await _all(lambda at: store.items(subscription_id, state, at, _AT_ONCE))
        if searched
        in "\n".join(str(item.about.get(field) or "") for field in ("title", "uploader", "url")).casefold()
    ]
    if sort == "name":
        found.sort(key=lambda item: str(item.about.get("title") or item.about["url"]).casefold())
    elif sort == "newest":
        found.sort(key=lambda item: item.published_at or "", reverse=True)
    elif sort == "trouble":
        found.sort(key=lambda item: 0 if item.reason == HELD else 1 if item.state == "failed" else 2)
    return _page(found, cursor, limit)


async def _all(page: Callable[[str | None], Awaitable[tuple[list[_One], str | None]]]) -> list[_One]:
    found, cursor = await page(None)
    while cursor is not None:
        more, cursor = await page(cursor)
        found += more
    return found


def _page(found: Sequence[_One], cursor: str | None, limit: int) -> tuple[list[_One], str | None]:
    """`cursor` is how many came before."""
    if cursor is not None and not (cursor.isascii() and cursor.isdigit()):
        raise InvalidQuery("cursor")
    start = int(cursor or 0)
    end = start + limit
    return list(found[start:end]), str(end) if end < len(found) else None


def sort_of(told: str | None) -> Sort | None:
    return next((one for one in SORTS if one == told), None)
