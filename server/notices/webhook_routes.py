"""`GET /api/webhooks`: deliveries that are due or were given up; one of them can be sent again."""

from typing import TYPE_CHECKING

from aiohttp import web

from server.api.acting import chosen_owner
from server.api.bodies import Query, respond_answer
from server.api.keys import SETTINGS, restricted_to
from server.api.openapi.operation import CURSOR, JSON, LIMIT, OF_CHANGES, OWNER, Operation, Parameter, Reply
from server.api.route import get, post
from server.core.errors import AdminOnly, DeliveryNotFound, InvalidQuery
from server.core.values import without_password, without_path
from server.notices.deliveries import Delivery, SubscriptionNotice
from server.notices.delivery_rows import DeliveryRows

if TYPE_CHECKING:
    from server.notices.webhook_schemas import WebhookDelivery

_SCHEMAS = "server.notices.webhook_schemas"  # of responses
OUTBOX: web.AppKey[DeliveryRows] = web.AppKey("outbox")


async def list_webhooks(request: web.Request) -> web.Response:
    """A page of deliveries, newest first."""
    query = Query(request)
    cursor, limit = query.cursor(), query.limit()
    owner = chosen_owner(request, query)
    query.check()
    deliveries, more = await request.app[OUTBOX].page(cursor, limit, owner)
    from server.notices.webhook_schemas import WebhookPage

    shown = [_shown(request, delivery) for delivery in deliveries]
    return respond_answer(WebhookPage(webhooks=shown, next_cursor=more))


async def retry_webhook(request: web.Request) -> web.Response:
    """Send one again, now; if that fails, the plan of retries begins anew."""
    delivery_id, owner = request.match_info["webhook_id"], restricted_to(request)
    return respond_answer(_shown(request, await request.app[OUTBOX].again(delivery_id, owner)))


def _shown(request: web.Request, delivery: Delivery) -> "WebhookDelivery":
    from server.notices.webhook_schemas import WebhookDelivery

    url, settings = delivery.addressee.target, request.app[SETTINGS]
    is_notice = isinstance(delivery.status, SubscriptionNotice)
    # Clients see no path of an address in the configuration: often it is the receiver's only secret.
    if delivery.addressee.kind == "default" and settings.webhooks.default:
        url = without_path(settings.webhooks.default)
    elif any(url == preset.get("webhook") for preset in settings.presets.values()):
        url = without_path(url)
    return WebhookDelivery(
        id=delivery.delivery_id,
        task_id=None if is_notice else delivery.about,
        subscription_id=delivery.about if is_notice else None,
        url=without_password(url),
        state="due" if delivery.next_at else "dead",
        attempts=delivery.attempts,
        last_error=delivery.last_error,
        next_at=delivery.next_at.isoformat()[:19] + "Z" if delivery.next_at else None,
    )


ROUTES = [
    get(
        "/api/webhooks",
        list_webhooks,
        Operation(
            "webhooks",
            "Service",
            "Deliveries to webhooks that are due or given up",
            {200: Reply("A page, newest first", {JSON: f"{_SCHEMAS}:WebhookPage"})},
            "What was delivered is not listed.",
            parameters=(OWNER, LIMIT, CURSOR),
            errors=(InvalidQuery, AdminOnly),
        ),
    ),
    post(
        "/api/webhooks/{webhook_id}/retry",
        retry_webhook,
        Operation(
            "retry_webhook",
            "Service",
            "Send a delivery again",
            {
                200: Reply(
                    "It is due now, and the plan of retries begins anew; or it is being sent already",
                    {JSON: f"{_SCHEMAS}:WebhookDelivery"},
                )
            },
            parameters=(Parameter("webhook_id", "`id` of the delivery", {"type": "string"}, place="path"),),
            errors=(DeliveryNotFound, *OF_CHANGES),
        ),
    ),
]
