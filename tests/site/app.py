"""The media site: its routes, the requests that it has seen, and how a test opens it."""

import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from tests.site import documented, followed, oddities, pages, sponsors, streams, texts, tickets
from tests.site.delivery import GATE, HITS, MEDIA, Gate, deliver_file
from tests.site.followed import FOLLOWED, Followed


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that the site has received; `path` is without the query."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def range(self) -> str | None:
        return self.headers.get("Range")


@dataclass(slots=True)
class Site:
    port: int
    gate: Gate
    requests: list[Seen] = field(default_factory=list)
    scheme: str = "http"
    followed: dict[str, Followed] = field(default_factory=dict)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def seen(self, path: str) -> list[Seen]:
        """Return the requests for `path`, whatever their query."""
        return [request for request in self.requests if request.path == path]

    async def stalled(self) -> None:
        """Return once an answer has stopped at its `stall=`."""
        await self.gate.reached.wait()

    def release(self) -> None:
        """Let all stalled answers go on, now and later."""
        self.gate.opened.set()


@asynccontextmanager
async def open_site(
    media: Path, port: int = 0, *hosts: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Site]:
    """Serve `media` (see `make_media`) on one port of 127.0.0.1, or of all `hosts`; with `tls` by HTTPS."""
    site = Site(port, Gate(), scheme="https" if tls else "http")
    app = _app(media, site)
    # A handler must be cancelled when its client disconnects: a stalled one would wait for ever.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        for host in hosts or ("127.0.0.1",):
            await web.TCPSite(runner, host, site.port, ssl_context=tls).start()
            site.port = runner.addresses[0][1]
        yield site
    finally:
        await runner.cleanup()


def wears(request: web.Request) -> str | None:
    """Return the client's `session` cookie, or None."""
    return request.cookies.get("session")


def _came_from_here(request: web.Request) -> bool:
    return request.headers.get("Referer", "").startswith(f"{request.url.origin()}/")


def _app(media: Path, site: Site) -> web.Application:
    @web.middleware
    async def remember(request: web.Request, handler: Handler) -> web.StreamResponse:
        site.requests.append(Seen(request.method, request.path, dict(request.query), request.headers.copy()))
        if request.query.get("login", wears(request)) != wears(request):
            raise web.HTTPForbidden
        if "referer" in request.query and not _came_from_here(request):
            raise web.HTTPForbidden
        tickets.take(request)
        return await handler(request)

    async def renew(request: web.Request, response: web.StreamResponse) -> None:
        if "renew" in request.query:
            renewed = f"session={request.query['renew']}; Max-Age=3600; Path=/"
            # aiohttp has written its own cookies into the headers before.
            response.headers.add("Set-Cookie", renewed)

    app = web.Application(middlewares=[remember])
    app.on_response_prepare.append(renew)
    app[MEDIA], app[GATE], app[HITS], app[streams.SENT] = media, site.gate, Counter(), Counter()
    app[streams.BEGINS], app[tickets.TICKETS] = {}, {}
    app[FOLLOWED] = site.followed
    routes = [
        *documented.ROUTES,
        *followed.ROUTES,
        *pages.ROUTES,
        *oddities.ROUTES,
        *tickets.ROUTES,
        *streams.ROUTES,
        *texts.ROUTES,
    ]
    app.add_routes([*routes, *sponsors.ROUTES, web.get("/{name}", deliver_file)])
    return app
