"""`/api/subscriptions.opml`: all subscriptions as a file, which other programs and servers read."""

import asyncio
import json
from contextlib import suppress
from typing import Any

from aiohttp import web

from server.api.bodies import MAX_BODY, language, received_text, respond_answer
from server.api.keys import SETTINGS, restricted_to
from server.api.openapi.operation import JSON, LARGEST_PAGE, OF_CHANGES, READER, Operation, Reply
from server.api.problems import problem_of
from server.api.route import get, post
from server.core.errors import (
    AlreadySubscribed,
    AppError,
    BodyTooLarge,
    BodyTooSlow,
    FeedNameTaken,
    InvalidOpml,
    InvalidRequest,
    NotTextType,
    ServerBusy,
    TooManySubscriptions,
)
from server.core.long_work import compute
from server.core.shielding import to_the_end
from server.core.values import without_password
from server.subscriptions import opml
from server.subscriptions.profiles import own_of
from server.subscriptions.subscription import StoredSubscription
from server.subscriptions.subscription_routes import SCHEMAS, SUBSCRIPTIONS, shown_one, subscribed

# The most bytes of an OPML file; a server that allows more subscriptions takes more.
MOST_OUTLINES = 1000
MAX_OPML = 1 << 20  # bytes
MAX_OUTLINE = 4096  # bytes of one outline, with all settings
OPML = "text/x-opml"
OPML_TYPES = (OPML, "application/xml", "text/xml", "application/octet-stream")


async def export_opml(request: web.Request) -> web.Response:
    store, cursor, found = request.app[SUBSCRIPTIONS].store, None, list[StoredSubscription]()
    while True:
        page, cursor = await store.page(cursor, LARGEST_PAGE, restricted_to(request))
        found += page
        if cursor is None:
            break
    # The oldest first: a server that imports them in this order lists them in the order that they have here.
    outlines = [
        opml.Outline(
            one.wanted.name or one.findings.title or without_password(one.url),
            without_password(one.url),
            json.dumps(own_of(one.wanted.model_dump(mode="json", exclude_unset=True, exclude_none=True))),
        )
        for one in reversed(found)
    ]
    headers = {"Content-Disposition": 'attachment; filename="subscriptions.opml"'}
    body = await compute(opml.written, outlines)  # in a thread: there may be 100,000 outlines
    return web.Response(body=body, content_type=OPML, charset="utf-8", headers=headers)


async def import_opml(request: web.Request) -> web.Response:
    """Subscribe to each outline with a link, up to the allowed number; an invalid outline stops no other.

    An outline with Clipwire's settings gets no name from its title, which may be that of its source.
    """
    from server.subscriptions import subscription_schemas as answers

    most = max(MOST_OUTLINES, request.app[SETTINGS].subscriptions.max)
    try:
        async with received_text(request, max(MAX_OPML, most * MAX_OUTLINE), *OPML_TYPES) as file:
            outlines = await to_the_end(compute(lambda: opml.read(file.read(), most)))
    except web.RequestPayloadError:
        raise InvalidOpml("encoding", 1) from None
    outcomes: list[StoredSubscription | AppError] = []
    for outline in outlines:
        try:
            outcomes.append(await subscribed(request, _body_of_outline(outline), is_resolved=True))
        except (InvalidRequest, AlreadySubscribed, FeedNameTaken, TooManySubscriptions) as error:
            outcomes.append(error.with_traceback(None))
        await asyncio.sleep(0)
    chosen = language(request)
    results = list[answers.SubscriptionResult]()
    for outline, outcome in zip(outlines, outcomes, strict=True):
        url = outline.url[:4096]
        if isinstance(outcome, AppError):
            problem, status = problem_of(request, outcome, chosen), int(outcome.status)
            results.append(answers.SubscriptionResult(url=url, status=status, problem=problem))
        else:
            shown = await shown_one(request, outcome)
            results.append(answers.SubscriptionResult(url=url, status=201, subscription=shown))
    return respond_answer(answers.SubscriptionResults(results=results))


def _body_of_outline(outline: opml.Outline) -> dict[str, Any]:
    """Return the body of a request to subscribe. Raises `InvalidRequest` if the settings are no object."""
    if outline.settings is None:
        return {"url": outline.url, **({"name": outline.name[:200]} if outline.name else {})}
    settings = None
    with suppress(ValueError, RecursionError):
        settings = json.loads(outline.settings) if len(outline.settings) <= MAX_BODY else None
    if not isinstance(settings, dict):
        raise InvalidRequest([("clipwire:settings", "settings_json", {})])
    return {"profile": None} | settings | {"url": outline.url}


ROUTES = [
    get(
        "/api/subscriptions.opml",
        export_opml,
        Operation(
            "export_opml",
            "Subscriptions",
            "All links as OPML",
            {200: Reply("OPML 2.0", {OPML: {"type": "string"}})},
        ),
    ),
    post(
        "/api/subscriptions.opml",
        import_opml,
        Operation(
            "import_opml",
            "Subscriptions",
            "Subscribe to all links of an OPML file",
            {
                200: Reply(
                    "What became of each outline with a link",
                    {JSON: f"{SCHEMAS}:SubscriptionResults"},
                )
            },
            f"At most 4 MiB. An outline with settings in the namespace `{opml.NAMESPACE}` gets these.",
            parameters=READER,
            text_bodies=OPML_TYPES,
            errors=(InvalidOpml, NotTextType, BodyTooLarge, BodyTooSlow, ServerBusy, *OF_CHANGES),
        ),
    ),
]
