"""Webhooks and notifications as a feature: only servers with the role `web` send them."""

from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, nullcontext

from aiohttp import web

from server.api.metric_families import Family
from server.api.payload import Encoder
from server.core.background import in_background
from server.feature import Added, Feature, Kernel
from server.notices import webhook_routes
from server.notices.deliverer import TRIES, Deliverer, Send
from server.notices.deliveries import tells_of
from server.notices.delivery_rows import DeliveryRows, hooks_of
from server.settings import Settings
from server.storage.statements import StoreHooks

COUNTED: web.AppKey[Counter[str]] = web.AppKey("tries")  # by outcome


@asynccontextmanager
async def _open(kernel: Kernel) -> AsyncIterator[Added]:
    outbox, tries = DeliveryRows(kernel.store.transactions, kernel.clock), Counter(dict.fromkeys(TRIES, 0))

    metric = Family(
        "clipwire_webhook_tries",
        "counter",
        "Tries of deliveries.",
        lambda _: [((outcome,), count) for outcome, count in tries.items()],
        ("outcome",),
    )
    async with _senders(kernel.settings) as senders:
        delivering = Deliverer(outbox, senders, tries).run(alone=kernel.is_alone) if senders else None
        async with in_background(delivering, "outbox") if delivering else nullcontext():
            yield Added({webhook_routes.OUTBOX: outbox, COUNTED: tries}, metrics=[metric])


@asynccontextmanager
async def _senders(settings: Settings) -> AsyncIterator[dict[str, Send]]:
    """Return the senders, by the kind of addressee. Raises `ConfigurationError`."""
    webhooks, senders = settings.webhooks, dict[str, Send]()
    is_web = "web" in settings.server.roles
    if is_web and webhooks.secret:
        from server.notices.webhook_sender import WebhookSender  # of no use without a secret

        sender = WebhookSender(
            Encoder(settings.server.base_path),
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


def _store_hooks(settings: Settings) -> StoreHooks:
    return hooks_of(tells_of(default=settings.webhooks.default, notify=settings.notify.names))


def _fields(settings: Settings) -> Collection[str]:
    """Refuse a webhook without `webhooks.secret`: unsigned payloads are never sent."""
    return ("webhook",) if settings.webhooks.secret else ()


NOTICES = Feature("notices", _open, webhook_routes.ROUTES, _store_hooks, _fields)
