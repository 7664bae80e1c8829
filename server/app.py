"""The application: all parts are made and connected here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress

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
from server.api.spool import Spool, Turns
from server.assembly import open_backend
from server.core.background import in_background
from server.core.clock import Clock
from server.core.counts import Counts
from server.feeds import feed_routes
from server.library import library_routes
from server.memory import media_routes
from server.notices import webhook_routes
from server.notices.deliverer import Deliverer, Send
from server.settings import ConfigurationError, ServerSettings, Settings
from server.subscriptions import subscription_routes
from server.tasks.children import Launched
from server.tasks.hub import Hub

ROUTES: list[Route] = [
    route
    for module in (
        process,
        status,
        tasks,
        queue,
        push,
        event_streams,
        downloads,
        stream,
        qr,
        archive,
        cookies,
        subscription_routes,
        feed_routes,
        library_routes,
        media_routes,
        webhook_routes,
        session,
        health,
        metrics,
        document,
        openapi_page,
        page,
    )
    for route in module.ROUTES
]

ANSWER_WITHIN = 0.7  # seconds that clients have at shutdown to answer the close of their sockets


def create_app(
    settings: Settings, clock: Clock | None = None, launched: Launched | None = None
) -> web.Application:
    """The application, not started; starting it raises what `open_backend` raises."""
    doors, gate = security.Doors(settings.server), session.Gate(settings.server)
    connections = Connections(settings.limits.sockets_per_client)
    admit = admission(doors, gate, settings.limits)
    app = web.Application(client_max_size=bodies.MAX_BODY)
    hub = app[keys.HUB] = Hub()
    app[keys.SETTINGS], app[keys.LANGUAGE] = settings, settings.server.language
    app[security.DOORS], app[session.GATE] = doors, gate
    app[CONNECTIONS] = connections
    app[feed_routes.SHELF] = feed_routes.FeedShelf()
    app[keys.SPOOL] = Spool(settings.storage.data_dir / "scratch")
    app[cookies.LIST], app[cookies.TURNS] = cookies.SharedReading(), Turns()
    app[media_routes.TURNS] = Turns()
    counts = app[keys.COUNTS] = Counts()
    app[keys.ENCODER] = Encoder(settings.server.base_path)
    app[DESCRIPTION] = Description(ROUTES, settings.server.base_path, settings.presets)
    app[push.TO_TASKS], app[push.FEEDS] = push.Flusher(), push.Feeds(hub)

    @asynccontextmanager
    async def backend(app: web.Application) -> AsyncIterator[None]:
        async with open_backend(settings, hub, clock or Clock(), gate.scopes, counts, launched) as opened:
            app[keys.TASKS] = opened.tasks
            app[keys.FILES] = opened.files
            app[keys.WORKPLACE] = opened.workplace
            app[keys.COOKIES] = opened.cookies
            app[keys.OUTBOX] = opened.outbox
            app[keys.SUBSCRIPTIONS] = opened.subscriptions
            app[keys.FEEDS], app[keys.COVERS] = opened.feeds, opened.covers
            app[keys.PLACEMENTS] = opened.placements
            app[keys.LIBRARY_ACTIONS] = opened.library_actions
            app[keys.MEDIA], app[keys.CLOCK] = opened.media, opened.clock
            app[keys.INSPECTOR] = opened.inspector
            app[keys.READINESS] = opened.readiness
            app[LOG_INS] = LogIns(opened.sessions)
            async with (
                _senders(settings, app[keys.ENCODER]) as senders,
                in_background(Deliverer(opened.outbox, senders, counts=counts).run(), "outbox")
                if senders
                else nullcontext(),
            ):
                yield

    async def say_goodbye(app: web.Application) -> None:
        app[keys.TASKS].close()
        app[keys.INSPECTOR].close()
        app[keys.COVERS].close()
        hub.close()
        # Wait for clients to answer the close of their WebSockets: aiohttp's own shutdown reads no answers.
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN):
                await hub.left_alone()

    app.cleanup_ctx.append(backend)
    app.on_shutdown.append(say_goodbye)  # before cleanup: WebSockets and long polls end, then the backend
    app[page.PAGE] = page.Page()
    app.add_routes(wrapped(_routes(settings.server), admit, doors.add_headers, connections, counts))
    return app


@asynccontextmanager
async def _senders(settings: Settings, encoder: Encoder) -> AsyncIterator[dict[str, Send]]:
    """What tells others of the ends of tasks, by the kind of the addressee; workers alone have none.

    Raises `ConfigurationError`.
    """
    webhooks, senders = settings.webhooks, dict[str, Send]()
    is_web = "web" in settings.server.roles
    if is_web and webhooks.secret:
        from server.notices.webhook_sender import WebhookSender  # of no use without a secret

        sender = WebhookSender(
            encoder,
            settings.server.language,
            webhooks.secret.get_secret_value(),
            webhooks.default,
            webhooks.allowed_private_hosts,
        )
        senders |= {"webhook": sender.send, "default": sender.send}
    if is_web and settings.notify.urls:
        from server.notices.notifier import Notifier  # of no use without an address

        urls = [url.get_secret_value() for url in settings.notify.urls]
        async with Notifier(urls, settings.server.language) as notifier:
            yield senders | {"notify": notifier.send}
    else:
        yield senders


def _routes(settings: ServerSettings) -> list[Route]:
    """The routes with and without `base_path`; a server without the role `web` has only the health checks.

    Raises `ConfigurationError`.
    """
    check_base_path(settings.base_path)
    ours = ROUTES if "web" in settings.roles else [*health.ROUTES, *metrics.ROUTES]
    base_path = settings.base_path  # both, because a reverse proxy may or may not strip its prefix
    if not base_path:
        return ours
    moved = undescribed(web.get(base_path, page.moved), Access.PAGE)
    return [*ours, moved, *(route.below(base_path) for route in ours)]


def check_base_path(base_path: str) -> None:
    """Refuse a prefix that begins like a path of our own: both would be the address of one thing.

    Below `/static`, for example, `/static/api/tasks` is the API and a file of the page. Raises
    `ConfigurationError`.
    """
    first = base_path.strip("/").partition("/")[0]
    ours = {route.path.split("/")[1] for route in ROUTES} - {""}
    if first in ours:
        raise ConfigurationError(
            f"server.base_path: /{first} is a path of Clipwire's own; one like /clipwire is expected"
        )
