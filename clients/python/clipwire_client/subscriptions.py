"""Subscriptions: links that the service checks regularly, and whose new entries it downloads.

    made = await client.subscriptions.add("https://example.org/feed.xml", backlog={"last": 5})
    async for item in client.subscriptions.items(made.subscription_id, state="waiting"):
        ...

An action on many subscriptions returns one result for each: a `ClipwireError` in place of one that is
refused.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, Unpack
from urllib.parse import quote

from aiohttp import ClientTimeout

from clipwire_client.errors import ClipwireError, NotClipwire
from clipwire_client.models import Item, Subscription
from clipwire_client.wishes import SubscriptionWishes

LONG_POLL = 30  # seconds that the service holds a request until something changes
POLL_EVERY = 2.0  # seconds between polls, if no long poll is possible
NOT_MODIFIED = 304
_PATH = "/api/subscriptions"
_Model = TypeVar("_Model", Subscription, Item)
SubscriptionAction = Literal["pause", "resume", "check", "profile", "delete"]
ItemAction = Literal["fetch", "skip", "pin", "unpin", "forget", "delete", "place"]


class _Requests(Protocol):
    def __call__(
        self, method: str, path: str, **arguments: Any
    ) -> Awaitable[tuple[int, Mapping[str, str], bytes]]: ...


class _Reads(Protocol):
    def __call__(self, model: type[_Model], text: str | bytes) -> _Model: ...


class Imported(NamedTuple):
    """The result of one line of an OPML file: a subscription, or the reason why there is none."""

    url: str
    outcome: Subscription | ClipwireError


class Subscriptions:
    """The methods of `Client.subscriptions`. Each raises `ClipwireError` if the service refuses."""

    def __init__(
        self, request: _Requests, read: _Reads, refusal: Callable[[Mapping[str, Any]], ClipwireError]
    ):
        self._request = request
        self._read = read
        self._refusal = refusal

    async def add(self, url: str, **wishes: Unpack[SubscriptionWishes]) -> Subscription:
        """Subscribe to the source at `url`; the subscription is stored when this returns, and nothing was
        fetched yet.

        The error's code is `subscribed` if there is one with the same request.
        """
        return await self._ask("POST", _PATH, json={"url": url, **wishes})

    async def get(self, subscription_id: str) -> Subscription:
        return await self._ask("GET", _path_of(subscription_id))

    async def all(
        self,
        *,
        q: str | None = None,
        sort: Literal["name", "newest", "trouble"] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Subscription]:
        """Yield all subscriptions, or those in which `q` is found, the newest first unless `sort` says
        otherwise.
        """
        async for each in self._pages(_PATH, "subscriptions", Subscription, {"q": q, "sort": sort}, limit):
            yield each

    async def change(self, subscription_id: str, **wishes: Unpack[SubscriptionWishes]) -> Subscription:
        """Change settings: None sets one back to its default, or to that of its profile."""
        return await self._ask("PATCH", _path_of(subscription_id), json=wishes)

    async def check(self, subscription_id: str) -> Subscription:
        """Have the subscription checked as soon as possible."""
        return await self._ask("POST", f"{_path_of(subscription_id)}/check")

    async def delete(self, subscription_id: str, *, files: Literal["keep", "delete"] = "keep") -> None:
        """End a subscription; `files` says what happens to its files."""
        await self._request("DELETE", _path_of(subscription_id), params={"files": files})

    async def act(
        self,
        action: SubscriptionAction,
        ids: Sequence[str] | None = None,
        *,
        stage: str | None = None,
        profile: str | None = None,
    ) -> list[Subscription | ClipwireError | None]:
        """Act on the subscriptions with these `ids`, or on all in a `stage`, up to 500 in one call.

        `profile` is the name for the action `profile`. A result is None if the subscription is gone.
        """
        value = {"action": action, "ids": ids, "stage": stage, "profile": profile}
        body = {name: value for name, value in value.items() if value is not None}
        answer = await self._object("POST", f"{_PATH}/actions", json=body)
        return [self._outcome(Subscription, "subscription", one) for one in _list(answer, "results")]

    async def follow(self, subscription_id: str) -> AsyncIterator[Subscription]:
        """Yield the subscription as it is, then after each change, until it is deleted."""
        etag: str | None = None
        while True:
            status, headers, body = await self._request(
                "GET",
                _path_of(subscription_id),
                params={"wait": str(LONG_POLL)} if etag else {},
                headers={"If-None-Match": etag} if etag else {},
                timeout=ClientTimeout(total=LONG_POLL + 60.0),
            )
            if status != NOT_MODIFIED:
                yield self._read(Subscription, body)
            etag = headers.get("ETag", etag)
            if etag is None:  # some proxy drops the ETag
                await asyncio.sleep(POLL_EVERY)

    # --- entries ---

    async def items(
        self,
        subscription_id: str,
        *,
        state: str | None = None,
        q: str | None = None,
        sort: Literal["name", "newest", "trouble"] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Item]:
        """Yield the entries of a subscription, or those in a `state`, the newest first unless `sort` says
        otherwise.
        """
        query = {"state": state, "q": q, "sort": sort}
        async for each in self._pages(f"{_path_of(subscription_id)}/items", "items", Item, query, limit):
            yield each

    async def act_on_items(
        self,
        subscription_id: str,
        action: ItemAction,
        keys: Sequence[str] | None = None,
        *,
        state: str | None = None,
    ) -> list[Item | ClipwireError]:
        """Act on the entries with these `keys`, or on all in a `state`, up to 500 in one call."""
        body = {"action": action, **({"keys": list(keys)} if keys is not None else {"state": state})}
        answer = await self._object("POST", f"{_path_of(subscription_id)}/items/actions", json=body)
        outcomes = [self._outcome(Item, "item", one) for one in _list(answer, "results")]
        return [one for one in outcomes if one is not None]

    # --- OPML ---

    async def export_opml(self) -> bytes:
        """Return all subscriptions with their settings as OPML, for another Clipwire or a feed reader."""
        _, _, body = await self._request("GET", f"{_PATH}.opml")
        return body

    async def import_opml(self, opml: bytes) -> list[Imported]:
        """Subscribe to all links in an OPML file; a link with a subscription is refused as `subscribed`."""
        headers = {"Content-Type": "text/x-opml"}
        answer = await self._object("POST", f"{_PATH}.opml", data=opml, headers=headers)
        results = list[Imported]()
        for one in _list(answer, "results"):
            if outcome := self._outcome(Subscription, "subscription", one):
                results.append(Imported(str(one.get("url")), outcome))
        return results

    # --- HTTP ---

    async def _ask(self, method: str, path: str, **arguments: Any) -> Subscription:
        _, _, body = await self._request(method, path, **arguments)
        return self._read(Subscription, body)

    async def _object(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        _, _, body = await self._request(method, path, **arguments)
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise NotClipwire("its answer is no object")
        return found

    async def _pages(
        self,
        path: str,
        name: str,
        model: type[_Model],
        query: Mapping[str, str | None],
        limit: int | None,
    ) -> AsyncIterator[_Model]:
        asked = {key: value for key, value in query.items() if value is not None}
        left = limit
        while left is None or left > 0:
            size = min(200, left) if left is not None else 200
            page = await self._object("GET", path, params={**asked, "limit": str(size)})
            found = _list(page, name)[:size]
            for each in found:
                yield self._as(model, each)
            left = None if left is None else left - len(found)
            cursor = page.get("next_cursor")
            if not isinstance(cursor, str):
                return
            asked["cursor"] = cursor

    def _outcome(
        self, model: type[_Model], name: str, result: Mapping[str, Any]
    ) -> _Model | ClipwireError | None:
        if isinstance(problem := result.get("problem"), dict):
            return self._refusal(problem)
        return self._as(model, result[name]) if name in result else None

    def _as(self, model: type[_Model], value: object) -> _Model:
        return self._read(model, json.dumps(value, ensure_ascii=False))


def _path_of(subscription_id: str) -> str:
    return f"{_PATH}/{quote(subscription_id, safe='')}"


def _list(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = answer.get(name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise NotClipwire(f"its list of {name} is none")
    return found
