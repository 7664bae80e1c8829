"""Subscriptions and items by a text, or in another order than that of the rows.

A name may be the client's, the source's or the link, all within JSON, and letters of all scripts count alike
in upper and lower case. So each row has a text to be searched, `search`, which begins with the name: by it
both databases find and sort. A row that an earlier release wrote has none, and gets one when it is searched.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from server.core.errors import InvalidQuery
from server.core.values import without_password
from server.storage.task_rows import folded
from server.subscriptions.subscription import HELD, Findings, SubscriptionSettings

Sort = Literal["name", "newest", "trouble"]
SORTS: tuple[Sort, ...] = get_args(Sort)
ORDERS_OF_SUBSCRIPTIONS: Mapping[Sort | None, str] = {
    None: "number DESC",
    "name": "search, number DESC",
    "newest": """
        coalesce((SELECT max(published_at) FROM (
            SELECT published_at FROM items WHERE items.subscription_id = subscriptions.subscription_id
            ORDER BY items.number DESC LIMIT 10) AS newest), '') DESC, number DESC""",
    "trouble": f"""
        CASE WHEN next_check_at IS NULL THEN 3
            WHEN EXISTS (SELECT 1 FROM source_hosts WHERE source_hosts.host = subscriptions.host
                AND held_until > ? AND held_until <= ?) THEN 0
            WHEN findings LIKE '%"error_code":%' THEN 1
            WHEN findings LIKE '%"notice":%' OR EXISTS (SELECT 1 FROM items
                WHERE items.subscription_id = subscriptions.subscription_id
                AND items.state = 'waiting' AND items.reason = '{HELD}') THEN 2
            ELSE 3 END, number DESC""",  # noqa: S608
}
ORDERS_OF_ITEMS: Mapping[Sort | None, str] = {
    None: "number DESC",
    "name": "search, number DESC",
    "newest": "coalesce(published_at, '') DESC, number DESC",
    "trouble": f"CASE WHEN reason = '{HELD}' THEN 0 WHEN state = 'failed' THEN 1 ELSE 2 END, number DESC",
}


def sort_of(told: str | None) -> Sort | None:
    return next((one for one in SORTS if one == told), None)


def start_of(cursor: str | None) -> int:
    """Return how many rows come before the page. Raises `InvalidQuery`."""
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InvalidQuery("cursor")
    return int(cursor or 0)


def pattern_of(text: str) -> str:
    """Return the pattern for `LIKE ... ESCAPE` that finds `text` anywhere. No character of `text` is a
    wildcard.
    """
    plain = folded(text)
    for sign in "\\%_":
        plain = plain.replace(sign, f"\\{sign}")
    return f"%{plain}%"


def search_of_subscription(url: str, wanted: SubscriptionSettings, findings: Findings) -> str:
    link, title = without_password(url), findings.title or ""
    return "\n".join(map(folded, (wanted.name or title or link, title, link)))


def search_of_item(about: Mapping[str, Any]) -> str:
    title, uploader, url = (str(about.get(field) or "") for field in ("title", "uploader", "url"))
    return "\n".join(map(folded, (title or url, uploader, url)))
