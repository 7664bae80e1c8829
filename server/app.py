"""The application: all parts are made and connected here."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from server.api import (
    archive,
    bodies,
    cookies,
    downloads,
    event_streams,
    health,
    keys,
    metrics,
    page,
    process,
    push,
    qr,
    queue,
    security,
    session,
    status,
    stream,
    tasks,
)
from server.api.connections import CONNECTIONS, Connections
from server.api.middleware import admission, wrapped
from server.api.openapi import docs_page as openapi_page
from server.api.openapi import document
from server.api.openapi.document import DESCRIPTION, Description
from server.api.payload import Encoder
from server.api.route import Access, Route, undescribed
from server.api.session import LOG_INS, LogIns
from server.api.spool import Spool, SpoolTurns
from server.assembly import open_backend
from server.assembly.features import FEATURES
from server.core.clock import Clock
from server.core.counts import Counts
from server.feature import Added, Feature
from server.settings import ConfigurationError, ServerSettings, Settings
from server.tasks.children import Launched


def routes_of(features: Iterable[Feature]) -> list[Route]:
    """All routes of a server with these features."""
    before = (process, status, tasks, queue, push, event_streams, downloads, stream, qr, archive, cookies)
    after = (session, health, metrics, document, openapi_page, page)
    return [
        *(route for module in before for route in module.ROUTES),
        *(route for feature in features for route in feature.routes),
        *(route for module in after for route in module.ROUTES),
    ]


ROUTES = routes_of(FEATURES)
ADDED: web.AppKey[Sequence[Added]] = web.AppKey("added")  # what the features have added

ANSWER_WITHIN = 0.7  # seconds that clients have at shutdown to answer the close of their sockets


def create_app(
    settings: Settings,
    clock: Clock | None = None,
    launched: Launched | None = None,
    features: Sequence[Feature] = FEATURES,
) -> web.Application:
    """The application, not started; starting it raises what `open_backend` raises."""
    doors = security.Doors(settings.server)
    connections = Connections(settings.limits.sockets_per_client)
    app = web.Application(client_max_size=bodies.MAX_BODY)
    admit = admission(app, doors, settings.limits)
    app[keys.SETTINGS], app[keys.LANGUAGE] = settings, settings.server.language
    app[security.DOORS] = doors
    app[CONNECTIONS] = connections
    app[keys.SPOOL] = Spool(settings.storage.data_dir / "scratch")
    app[cookies.LIST], app[cookies.TURNS] = cookies.SharedReading(), SpoolTurns()
    counts = app[keys.COUNTS] = Counts()
    routes = routes_of(features)
    for feature in features:
        routes = [feature.wraps(route) for route in routes] if feature.wraps else routes
    takes = (feature.fields(settings) for feature in features if feature.fields)
    app[keys.FIELDS] = frozenset(field for fields in takes for field in fields)
    app[keys.ENCODER] = Encoder(settings.server.base_path, tells_owner=settings.access.separate_lists)
    app[DESCRIPTION] = Description(routes, settings.server.base_path, settings.presets)
    app[push.TO_TASKS] = push.Flusher()

    @asynccontextmanager
    async def backend(app: web.Application) -> AsyncIterator[None]:
        scopes = session.scopes_of(settings.server)
        async with open_backend(settings, features, clock or Clock(), scopes, counts, launched) as opened:
            kernel = opened.kernel
            app[keys.TASKS] = kernel.tasks
            app[keys.FILES] = kernel.files
            app[keys.WORKPLACE] = kernel.workplace
            app[keys.COOKIES] = kernel.cookies
            app[keys.HUB], app[keys.HOOKS], app[keys.CLOCK] = opened.hub, kernel.hooks, kernel.clock
            app[push.FEEDS] = push.TaskFeeds(opened.hub)
            app[keys.INSPECTOR] = opened.inspector
            app[keys.READINESS] = opened.readiness
            app[keys.WAKE] = kernel.fork_server.wake
            app[ADDED] = opened.added
            app[keys.METRICS] = [family for each in opened.added for family in each.metrics]
            app[keys.SEES] = [sees for each in opened.added for sees in each.sees]
            for each in opened.added:
                for key, value in each.values.items():
                    app[key] = value
            gate = app[session.GATE] = session.Gate(settings.server, app.get(session.DIRECTORY))
            app[LOG_INS] = LogIns(kernel.store.sessions, gate.directory)
            yield

    async def say_goodbye(app: web.Application) -> None:
        app[keys.TASKS].close()
        app[keys.INSPECTOR].close()
        for each in app[ADDED]:
            if each.close:
                each.close()
        app[keys.HUB].close()
        # Wait for clients to answer the close of their WebSockets: aiohttp's own shutdown reads no answers.
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN):
                await app[keys.HUB].left_alone()

    app.cleanup_ctx.append(backend)
    app.on_shutdown.append(say_goodbye)  # before cleanup: WebSockets and long polls end, then the backend
    app[page.PAGE] = page.Page()
    app.add_routes(wrapped(_routes(routes, settings.server), admit, doors.add_headers, connections, counts))
    return app


def _routes(routes: list[Route], settings: ServerSettings) -> list[Route]:
    """These routes with and without `base_path`; a server without the role `web` has only the health checks.

    Raises `ConfigurationError`.
    """
    check_base_path(settings.base_path)
    ours = routes if "web" in settings.roles else [*health.ROUTES, *metrics.ROUTES]
    base_path = settings.base_path  # both, because a reverse proxy may or may not strip its prefix
    if not base_path:
        return ours
    moved = undescribed(web.get(base_path, page.moved), Access.PAGE)
    return [*ours, moved, *(route.below(base_path) for route in ours)]


def check_base_path(base_path: str) -> None:
    """Refuse a prefix that begins like one of the server's own paths: the same URL would have two meanings.

    With `base_path = "/static"`, for example, `/static/api/tasks` would be both the API and a file of the
    page. Raises `ConfigurationError`.
    """
    first = base_path.strip("/").partition("/")[0]
    ours = {route.path.split("/")[1] for route in ROUTES} - {""}
    if first in ours:
        raise ConfigurationError(
            f"server.base_path: /{first} is a path of Clipwire's own; one like /clipwire is expected"
        )
