"""`/api/subscriptions/<id>/picture`: the picture by which a source is known, from our own store.

The page never asks another host for it: that would tell whoever owns the host who follows what.
"""

from http import HTTPStatus

from aiohttp import hdrs, web

from server.api.bodies import Query, client_has
from server.api.downloads import SANDBOX_POLICY
from server.api.keys import SETTINGS, restricted_to
from server.api.openapi.operation import BINARY, HAS_IT, IF_NONE_MATCH, READER, Operation, Parameter, Reply
from server.api.route import get
from server.core.errors import InvalidQuery, PictureNotFound, SubscriptionNotFound
from server.subscriptions.source_picture_rows import SourcePictures
from server.subscriptions.subscription import StoredSubscription
from server.subscriptions.subscription_rows import SubscriptionRows

SOURCE_PICTURES = web.AppKey("pictures of sources", SourcePictures)
FOLLOWED: web.AppKey[SubscriptionRows] = web.AppKey("store of subscriptions")
SMALL, MAX_WIDTH = 240, 10_000  # pixels: the width of small pictures, and the most that is asked for


async def get_picture(request: web.Request) -> web.Response:
    """The picture of its source. Raises `SubscriptionNotFound`, `PictureNotFound`, `InvalidQuery`."""
    query = Query(request)
    width = query.whole("w", 1, MAX_WIDTH, MAX_WIDTH)
    query.check()
    subscription_id = request.match_info["subscription_id"]
    subscription = await request.app[FOLLOWED].get(subscription_id, restricted_to(request))
    note = subscription.findings.pictures.get("picture")
    if note is None or note.tag is None:
        raise PictureNotFound
    is_small = width <= SMALL
    headers = {
        hdrs.ETAG: f'"{note.tag}{"-small" if is_small else ""}"',
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": SANDBOX_POLICY,
    }
    if client_has(request, headers[hdrs.ETAG]):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    pictures = request.app[SOURCE_PICTURES]
    body = await pictures.get(subscription.subscription_id, "picture", small=is_small)
    if body is None:  # the subscription was deleted in this moment
        raise PictureNotFound
    return web.Response(body=body, content_type="image/jpeg", headers=headers)


def link_of_picture(request: web.Request, one: StoredSubscription) -> str | None:
    """Return the path of the picture; None while there is no picture."""
    note = one.findings.pictures.get("picture")
    if note is None or note.tag is None:
        return None
    return f"{request.app[SETTINGS].server.base_path}/api/subscriptions/{one.subscription_id}/picture"


ROUTES = [
    get(
        "/api/subscriptions/{subscription_id}/picture",
        get_picture,
        Operation(
            "subscription_picture",
            "Subscriptions",
            "The picture of its source",
            {
                200: Reply("A JPEG", {"image/jpeg": BINARY}, {"ETag": "names the picture"}),
                304: Reply(HAS_IT, headers={"ETag": "names the picture"}),
            },
            parameters=(
                Parameter("subscription_id", "as `POST /api/subscriptions` gave it", place="path"),
                Parameter(
                    "w",
                    f"pixels: of at most {SMALL} the small one is sent",
                    {"type": "integer", "minimum": 1, "maximum": MAX_WIDTH},
                ),
                IF_NONE_MATCH,
                *READER,
            ),
            errors=(InvalidQuery, SubscriptionNotFound, PictureNotFound),
        ),
    ),
]
