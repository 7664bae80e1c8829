"""A fake of `/api/people`, `/api/me` and `/api/audit` for tests of the page."""

from typing import Any

from aiohttp import web

_AT = "2025-03-01T12:00:00Z"


class FakePeople:
    """The fake. `me` is the person who is logged in; it is empty if no people were added."""

    def __init__(self) -> None:
        self.me: dict[str, Any] = {}
        self.ways: list[str] = []
        self.people: list[dict[str, Any]] = []
        self.tokens: list[dict[str, str]] = [{"label": "first", "created_at": _AT, "used_at": _AT}]
        self.sessions: list[dict[str, Any]] = []
        self.events: list[dict[str, str]] = []

    def become(self, name: str, role: str = "admin", **more: Any) -> None:
        used = {"running": 1, "waiting": 3, "bytes_per_day": 0}
        self.me = {"name": name, "role": role, "way": "password", "separate_lists": True,
                   "has_password": True, "limits": {}, "used": used} | more  # fmt: skip
        self.ways = ["token", "password"]

    def add(self, *names: str) -> None:
        self.people += [
            {
                "name": name,
                "role": "user",
                "added_at": _AT,
                "has_password": False,
                "limits": {},
                "own_limits": {},
            }
            for name in names
        ]

    # --- routes ---

    async def about_me(self, _: web.Request) -> web.Response:
        return web.json_response(self.me)

    async def all(self, _: web.Request) -> web.Response:
        return web.json_response({"people": self.people})

    async def one(self, request: web.Request) -> web.Response:
        return web.json_response(
            next(one for one in self.people if one["name"] == request.match_info["name"])
        )

    async def all_tokens(self, _: web.Request) -> web.Response:
        return web.json_response({"tokens": self.tokens})

    async def add_token(self, _: web.Request) -> web.Response:
        return web.json_response({"token": "clipwire_" + "x" * 43}, status=201)

    async def all_sessions(self, _: web.Request) -> web.Response:
        return web.json_response({"sessions": self.sessions})

    async def audit(self, request: web.Request) -> web.Response:
        first, limit = int(request.query.get("cursor", "0")), int(request.query["limit"])
        more = {"next_cursor": str(first + limit)} if first + limit < len(self.events) else {}
        return web.json_response({"events": self.events[first : first + limit]} | more)

    def routes(self, prefix: str) -> list[web.RouteDef]:
        return [
            web.get(f"{prefix}/api/me", self.about_me),
            web.get(f"{prefix}/api/me/tokens", self.all_tokens),
            web.post(f"{prefix}/api/me/tokens", self.add_token),
            web.get(f"{prefix}/api/me/sessions", self.all_sessions),
            web.get(f"{prefix}/api/people", self.all),
            web.get(f"{prefix}/api/people/{{name}}", self.one),
            web.get(f"{prefix}/api/people/{{name}}/tokens", self.all_tokens),
            web.get(f"{prefix}/api/audit", self.audit),
        ]
