"""A fake of `/api/subscriptions` for tests of the page: actions are done at once, and no source is asked."""

import asyncio
import contextlib
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

Subscription = dict[str, Any]
Item = dict[str, Any]
AFTER = {"fetch": "queued", "skip": "skipped", "delete": "expired"}


class FakeSubscriptions:
    """The fake. `add` a subscription, `change` one or its items; both answer the requests that wait for a
    change.
    """

    def __init__(self) -> None:
        self.all: dict[str, Subscription] = {}
        self.items: dict[str, dict[str, Item]] = {}
        self.media: dict[str, Any] = {}  # link -> answer of `GET /api/media`
        # Link -> body of the problem with which a subscription to the link is refused.
        self.refuses: dict[str, Any] = {}
        self.wrong: list[dict[str, str]] = []  # `errors` of the answer to the next change
        self.profiles: dict[str, Any] = {}  # name of a profile -> its fields
        self.secret = "secret-1"  # the secret in the addresses of podcast feeds
        self.archived: dict[str, Any] = {}  # the answer of the next import of an archive
        self.imported: list[dict[str, Any]] = []  # results of the next import
        self.asked: list[tuple[str, Any]] = []  # every change: its path and body
        self.is_closing = False
        self._changes = asyncio.Condition()
        self._numbers = itertools.count(1)

    def add(self, url: str, items: list[Item] | None = None, **fields: Any) -> str:
        number = next(self._numbers)
        name = f"subscription-{number}"
        self.all[name] = {
            "subscription_id": name, "revision": 1, "url": url, "name": url, "enabled": True, "stage": "idle",
            "next_check_at": from_now(minutes=42), "checked_at": from_now(minutes=-18), "interval": "1h",
            "request": {}, "filters": {"members": False}, "backlog": "none", "keep": {},
        } | fields  # fmt: skip
        self.items[name] = {item["key"]: item for item in items or []}
        return name

    async def change(self, name: str, items: list[Item] | None = None, /, **fields: Any) -> None:
        self.all[name] |= fields
        self.items[name] |= {item["key"]: item for item in items or []}
        await self._tell(name)

    async def close(self) -> None:
        self.is_closing = True
        async with self._changes:
            self._changes.notify_all()

    async def _tell(self, name: str) -> None:
        if name in self.all:
            self.all[name]["revision"] += 1
        async with self._changes:
            self._changes.notify_all()

    def _told(self, name: str) -> Subscription:
        one = self.all[name]
        stage = one["stage"] if one["enabled"] else "paused"
        items = self.items[name].values()
        held = sum(item.get("reason") == "held" for item in items)
        return (
            one
            | {"stage": stage, "items": Counter(item["state"] for item in items)}
            | ({"held": held} if held else {})
        )

    # --- routes ---

    async def listing(self, request: web.Request) -> web.Response:
        text, names = request.query.get("q", "").lower(), list(reversed(self.all))
        names = [name for name in names if text in self.all[name]["name"].lower()]
        if request.query.get("sort") == "name":
            names.sort(key=lambda name: str(self.all[name]["name"]).lower())
        if request.query.get("sort") == "trouble":
            names.sort(
                key=lambda name: (self.all[name]["stage"] != "failing", "held" not in self._told(name))
            )
        first, limit = int(request.query.get("cursor", "0")), int(request.query.get("limit", "50"))
        more = {"next_cursor": str(first + limit)} if first + limit < len(names) else {}
        page = [self._told(name) for name in names[first : first + limit]]
        return web.json_response({"subscriptions": page} | more)

    async def subscribe(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append((request.path, body))
        if problem := self.refuses.get(body["url"]):
            return web.json_response(
                problem, status=problem["status"], content_type="application/problem+json"
            )
        name = self.add(**body, stage="seeding")
        del self.all[name]["checked_at"]
        return web.json_response(self._told(name), status=201)

    async def one(self, request: web.Request) -> web.Response:
        name = self._name(request)
        known = request.headers.get("If-None-Match")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(float(request.query.get("wait", "0"))), self._changes:
                await self._changes.wait_for(lambda: self.is_closing or known != self._tag(name))
        tag = self._tag(name)
        if not tag:
            raise web.HTTPNotFound
        if known == tag:
            return web.Response(status=304, headers={"ETag": tag})
        return web.json_response(
            self._told(name), headers={"ETag": tag, "Cache-Control": "private, no-cache"}
        )

    def _tag(self, name: str) -> str:
        told = json.dumps(self._told(name), sort_keys=True) if name in self.all else ""
        return told and f'"{hashlib.sha256(told.encode()).hexdigest()[:20]}"'

    async def patch(self, request: web.Request) -> web.Response:
        name, body = self._name(request), await request.json()
        self.asked.append((request.path, body))
        if self.wrong:
            problem = {"code": "invalid_request", "errors": self.wrong}
            self.wrong = []
            return web.json_response(problem, status=422, content_type="application/problem+json")
        self.all[name] = _merged(self.all[name], body)
        await self._tell(name)
        return web.json_response(self._told(name))

    async def delete(self, request: web.Request) -> web.Response:
        name = self._name(request)
        self.asked.append((request.path_qs, None))
        del self.all[name]
        await self._tell(name)
        return web.Response(status=204)

    async def check(self, request: web.Request) -> web.Response:
        name = self._name(request)
        await self.change(name, stage="checking")
        return web.json_response(self._told(name), status=202)

    async def act_on_many(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append((request.path, body))
        results = []
        for name in body["ids"]:
            if problem := self.refuses.get(self.all[name]["url"]):
                results.append({"status": problem["status"], "problem": problem})
                continue
            match body["action"]:
                case "pause" | "resume":
                    self.all[name]["enabled"] = body["action"] == "resume"
                case "check":
                    self.all[name]["stage"] = "checking"
                case "profile":
                    self.all[name]["profile"] = body["profile"]
                case "delete":
                    del self.all[name]
            await self._tell(name)
            results.append(
                {"status": 200, "subscription": self._told(name)} if name in self.all else {"status": 204}
            )
        return web.json_response({"results": results})

    async def list_profiles(self, _: web.Request) -> web.Response:
        return web.json_response({"profiles": self.profiles})

    async def list_items(self, request: web.Request) -> web.Response:
        state, text = request.query.get("state"), request.query.get("q", "").lower()
        found = [
            item
            for item in self.items[self._name(request)].values()
            if state in (None, item["state"]) and text in item["title"].lower()
        ]
        first, limit = int(request.query.get("cursor", "0")), int(request.query.get("limit", "50"))
        more = {"next_cursor": str(first + limit)} if first + limit < len(found) else {}
        return web.json_response({"items": found[first : first + limit]} | more)

    async def act(self, request: web.Request) -> web.Response:
        name, body = self._name(request), await request.json()
        self.asked.append((request.path, body))
        items, action = self.items[name], body["action"]
        in_state = [key for key, item in items.items() if item["state"] == body.get("state")]
        keys = body.get("keys", in_state[:500])
        results = []
        for key in keys:
            if action == "forget":
                results.append({"status": 200, "item": items.pop(key)})
                continue
            items[key] = _acted(items[key], action)
            results.append({"status": 200, "item": items[key]})
        await self._tell(name)
        more = {"more": True} if "keys" not in body and len(in_state) > len(keys) else {}
        return web.json_response({"results": results} | more)

    async def have(self, request: web.Request) -> web.Response:
        found = self.media.get(request.query["url"])
        if found is None:
            if request.query.get("quiet") == "1":
                return web.Response(status=204)
            return web.json_response({"code": "media_not_found"}, status=404)
        return web.json_response(found)

    async def export_opml(self, _: web.Request) -> web.Response:
        return web.Response(text="<opml/>", content_type="text/x-opml")

    async def import_opml(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, await request.text()))
        return web.json_response({"results": self.imported})

    async def import_archive(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, await request.text()))
        return web.json_response(self.archived)

    async def feeds(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            self.asked.append((request.path, None))
            self.secret += "+1"
            for one in self.all.values():
                if "feed" in one:
                    one["feed"] = self.feed(one["feed"]["name"])
        return web.json_response({"opml": f"http://127.0.0.1/feeds/{self.secret}.opml"})

    def feed(self, name: str) -> dict[str, str]:
        """Return the feed of a subscription, as its payload has it."""
        return {"name": name, "url": f"http://127.0.0.1/feeds/{self.secret}/{name}.xml"}

    async def preview(self, request: web.Request) -> web.Response:
        library = await request.json()
        if "{nope}" in library.get("name", ""):
            problem = {"code": "invalid_request", "errors": [{"field": "name", "message": "No such field."}]}
            return web.json_response(problem, status=422, content_type="application/problem+json")
        parts = (library.get("folder"), library.get("name") or library.get("layout", "shows"), "Film.mp4")
        return web.json_response({"samples": [{"title": "Film", "paths": ["/".join(filter(None, parts))]}]})

    def _name(self, request: web.Request) -> str:
        name = request.match_info["id"]
        if name not in self.all:
            raise web.HTTPNotFound
        return name

    def routes(self, prefix: str) -> list[web.RouteDef]:
        top = f"{prefix}/api/subscriptions"
        return [
            web.get(top, self.listing),
            web.post(top, self.subscribe),
            web.get(f"{top}.opml", self.export_opml),
            web.post(f"{top}.opml", self.import_opml),
            web.post(f"{top}/actions", self.act_on_many),
            web.get(f"{prefix}/api/profiles", self.list_profiles),
            web.get(f"{top}/{{id}}", self.one),
            web.patch(f"{top}/{{id}}", self.patch),
            web.delete(f"{top}/{{id}}", self.delete),
            web.post(f"{top}/{{id}}/check", self.check),
            web.get(f"{top}/{{id}}/items", self.list_items),
            web.post(f"{top}/{{id}}/items/actions", self.act),
            web.get(f"{prefix}/api/media", self.have),
            web.post(f"{prefix}/api/media", self.import_archive),
            web.get(f"{prefix}/api/feeds", self.feeds),
            web.post(f"{prefix}/api/feeds/renew", self.feeds),
            web.post(f"{prefix}/api/library/preview", self.preview),
        ]


def entries(
    count: int, state: str, at: int = 1, title: Callable[[int], str] = str, **fields: Any
) -> list[Item]:
    """Return items with consecutive numbers, the newest first."""
    return [
        {
            "key": f"films {number}",
            "url": f"https://films.example/watch?v={number}",
            "title": title(number),
            "duration": 200 + number * 7 % 900,
            "published_at": (datetime(2026, 3, 14, tzinfo=UTC) - timedelta(days=number)).isoformat()[:10],
            "state": state,
            "paths": [],
            "pinned": False,
        }
        | fields
        for number in range(at, at + count)
    ]


def _acted(item: Item, action: str) -> Item:
    if action in ("pin", "unpin"):
        return item | {"pinned": action == "pin"}
    if action == "place":
        return item | {"paths": ["Films/1.mp4"]}
    after = {name: value for name, value in item.items() if name != "reason"}
    reason = {"reason": "by_client"} if action in ("skip", "delete") else {}
    return after | {"state": AFTER[action], **reason}


def _merged(before: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    after = dict(before)
    for name, value in patch.items():
        if value is None:
            after.pop(name, None)
        else:
            is_object = isinstance(value, dict)
            after[name] = _merged(after.get(name) or {}, value) if is_object else value
    return after


def from_now(**time: float) -> str:
    return (datetime.now(UTC) + timedelta(**time)).strftime("%Y-%m-%dT%H:%M:%SZ")
