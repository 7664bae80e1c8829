"""A site that serves what a test puts on it, with any Content-Type."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


class Shelf:
    """The test's site; `asked` counts the requests for each name."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: Counter[str] = Counter()
        self._things: dict[str, tuple[str, bytes]] = {}

    def put(self, name: str, content: bytes, kind: str = "application/octet-stream") -> str:
        """Serve `content` under `name`; return its URL."""
        self._things[name] = kind, content
        return self.url(name)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    async def give(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.asked[name] += 1
        if name not in self._things:
            raise web.HTTPNotFound
        kind, content = self._things[name]
        return web.Response(body=content, headers={"Content-Type": kind})


@asynccontextmanager
async def open_shelf() -> AsyncIterator[Shelf]:
    shelf, app = Shelf(), web.Application()
    app.add_routes([web.get("/{name:.+}", shelf.give)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        shelf.port = runner.addresses[0][1]
        yield shelf
    finally:
        await runner.cleanup()
