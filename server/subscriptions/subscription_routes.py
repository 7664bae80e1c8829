"""`/api/subscriptions`: links that are checked regularly, and the profiles of their settings.

There is no socket for subscriptions: a client polls, with `ETag` and `wait`.
"""

import asyncio
import hashlib
from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, assert_never

from aiohttp import hdrs, web

from server.api.acting import ACTING, act_for_owner, chosen_owner
from server.api.bodies import Query, client_has, encoded, language, read_object, respond_answer, validated
from server.api.connections import CONNECTIONS
from server.api.keys import DONE, FIELDS, SETTINGS, owner_of, principal_of, restricted_to, scope_of
from server.api.openapi.operation import (
    CURSOR,
    HAS_IT,
    IF_NONE_MATCH,
    JSON,
    LARGEST_PAGE,
    LIMIT,
    OF_CHANGES,
    OWNER,
    READER,
    Operation,
    Parameter,
    Reply,
)
from server.api.payload import dumps, instant
from server.api.problems import problem_of
from server.api.process import read_wish
from server.api.route import delete, get, patch, post
from server.api.session import LOG_INS
from server.api.status import MAX_WAIT, WAIT, Poll, wanted_wait
from server.core.action_requests import MOST_AT_ONCE
from server.core.durations import duration_of, seconds_of
from server.core.errors import (
    AdminOnly,
    AlreadySubscribed,
    AppError,
    FeedNameTaken,
    InvalidQuery,
    InvalidRequest,
    SubscriptionNotFound,
    TokenRequired,
    TooManySubscriptions,
    WrongField,
)
from server.core.values import without_password
from server.locales import LANGUAGES, Catalogue
from server.subscriptions.feed_addresses import address_of
from server.subscriptions.picture_routes import link_of_picture
from server.subscriptions.profiles import Profiles, own_of
from server.subscriptions.searching import SORTS, sort_of
from server.subscriptions.subscribing import Subscriptions
from server.subscriptions.subscription import (
    HOST_HELD,
    WAS_FEED,
    Findings,
    StoredSubscription,
    SubscriptionChange,
    SubscriptionRequest,
    SubscriptionSettings,
    SubscriptionsRequest,
    SubscriptionStage,
    as_http,
    written_interval,
)
from server.subscriptions.subscription_columns import host_of

SCHEMAS = "server.subscriptions.subscription_schemas"  # of responses
SUBSCRIPTIONS = web.AppKey("subscriptions", Subscriptions)
PROFILES = web.AppKey("profiles", Profiles)
if TYPE_CHECKING:
    from server.subscriptions import subscription_schemas as answers

MAX_SEARCHED = 200  # characters
READ_EVERY = 1.0  # seconds, while a client waits for a change, which another node may make


async def subscribe(request: web.Request) -> web.Response:
    """Subscribe to a link. The response is sent once that is on disk, before anything is fetched."""
    act_for_owner(request)
    subscription = await subscribed(request, await read_object(request))
    response = respond_answer(await shown_one(request, subscription), HTTPStatus.CREATED)
    base_path = request.app[SETTINGS].server.base_path
    response.headers[hdrs.LOCATION] = f"{base_path}/api/subscriptions/{subscription.subscription_id}"
    return response


async def subscribed(
    request: web.Request, body: dict[str, Any], *, is_resolved: bool = False
) -> StoredSubscription:
    url = body.get("url")
    if isinstance(url, str):
        url = as_http(url)
        body = body | {"url": url}
    resolved, wrong = await _with_wishes(
        request,
        body,
        url if isinstance(url, str) else "http://list.invalid/",
        body.keys(),
        is_resolved=is_resolved,
    )
    profiles = request.app[PROFILES]
    if "profile" not in resolved and profiles.default is not None:
        resolved = resolved | {"profile": profiles.default}
    completed, unknown = profiles.completed(resolved)
    wanted = validated(SubscriptionRequest, completed, *wrong, *unknown)
    settings = _settings_of(wanted)
    by, scope = principal_of(request).name, scope_of(request)
    return await request.app[SUBSCRIPTIONS].add(wanted.url, settings, scope, owner_of(request), by)


async def _with_wishes(
    request: web.Request, body: dict[str, Any], url: str, sent: Collection[str], *, is_resolved: bool = False
) -> tuple[dict[str, Any], list[WrongField]]:
    """Return `body` with the preset of its `request` resolved, and what is wrong with the fields.

    Fields whose validity depends on the configuration, or on stored cookies, are checked only if they were
    `sent`: the others were valid when they were stored, and must not keep a client from changing something
    else. `is_resolved`: the preset was resolved before, perhaps by another server, and is only named.
    """
    wrong: list[WrongField] = []
    interval = body.get("interval") if "interval" in sent else None
    least = request.app[SETTINGS].subscriptions.min_interval
    if isinstance(interval, str):
        try:
            if seconds_of(interval) < least:
                wrong.append(("interval", "interval_least", {"least": duration_of(least)}))
        except ValueError:
            pass  # the model reports this error with all others
    wrong += [
        (field, key, {})
        for field, key in (("library", "library_unset"), ("feed", "extra_forbidden"))
        if field in body and field in sent and field not in request.app[FIELDS]
    ]
    if "of_profile" in sent:
        wrong.append(("of_profile", "extra_forbidden", {}))
    asked = body.get("request") if "request" in sent else None
    if not isinstance(asked, dict) or not asked:
        return body, wrong
    if {"url", "playlist", "playlist_items", "start_at", "reuse"} & asked.keys():
        return body, wrong  # the model of a subscription refuses these fields
    preset = {"preset": asked["preset"]} if is_resolved and "preset" in asked else {}
    made = {name: value for name, value in asked.items() if name not in preset}
    found = await read_wish(request, {**made, "url": url}, None)
    if isinstance(found, InvalidRequest):
        wrong += [(f"request.{name}", key, values) for name, key, values in found.wrong if name != "url"]
        return body, wrong
    if isinstance(found, AppError):
        raise found
    resolved = found[0].model_dump(mode="json", exclude_unset=True, exclude={"url", "library"})
    library = found[0].library  # the preset's library becomes the subscription's
    if library and "library" not in asked and body.get("library") is None:
        body = body | {"library": library.model_dump(mode="json", exclude_unset=True)}
    elif "library" in asked:
        resolved["library"] = asked["library"]  # the model reports this error
    return body | {"request": preset | resolved}, wrong


def _settings_of(wanted: SubscriptionSettings) -> SubscriptionSettings:
    """Return the fields that the client sent, without the URL."""
    sent = wanted.model_dump(mode="json", exclude_unset=True, exclude={"url"})
    return SubscriptionSettings.model_validate_json(dumps(sent))


async def list_subscriptions(request: web.Request) -> web.Response:
    from server.subscriptions import subscription_schemas as answers

    query = Query(request)
    limit, cursor = query.limit(), query.cursor()
    text, sort = query.search("q", MAX_SEARCHED), sort_of(query.one_of("sort", SORTS))
    owner = chosen_owner(request, query)
    query.check()
    service = request.app[SUBSCRIPTIONS]
    if text or sort:
        found, more = await service.store.find(text, sort, cursor, limit, service.now, owner)
    else:
        found, more = await service.store.page(cursor, limit, owner)
    shown = await _shown(request, found)
    return respond_answer(answers.SubscriptionPage(subscriptions=shown, next_cursor=more))


async def get_subscription(request: web.Request) -> web.Response:
    """Answer with the subscription, or 304 if the client has it; with `wait` only once it has changed."""
    subscription_id = request.match_info["subscription_id"]
    wait = wanted_wait(request)
    body = await _encoded(request, subscription_id)
    if wait is not None and client_has(request, _etag(body)):
        waiting = _wait_for_change(request, subscription_id, wait)
        body = await request.app[CONNECTIONS].attended(request.protocol, waiting)
    headers = {
        hdrs.ETAG: _etag(body),
        "Cache-Control": "private, no-cache",
        "Content-Language": language(request),
        "Vary": "Accept-Language",
    }
    if client_has(request, _etag(body)):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return web.Response(body=body, content_type=JSON, headers=headers)


async def _wait_for_change(request: web.Request, subscription_id: str, wait: float) -> bytes:
    """Return the first payload that the client does not have; after `wait` seconds the current one.

    Raises `TokenRequired`.
    """
    loop, poll = asyncio.get_running_loop(), Poll()
    until = loop.time() + wait
    with request.app[LOG_INS].hold(request, poll):
        while True:
            body = await _encoded(request, subscription_id)
            if poll.is_logged_out:
                raise TokenRequired
            left = until - loop.time()
            if left <= 0 or not client_has(request, _etag(body)) or request.app[SUBSCRIPTIONS].is_closing:
                return body
            await asyncio.sleep(min(left, READ_EVERY))


async def change(request: web.Request) -> web.Response:
    """Apply a merge patch (RFC 7396): null brings a setting back to its default."""
    body = await read_object(request)
    after = await _apply_patch(request, request.match_info["subscription_id"], body)
    return respond_answer(await shown_one(request, after))


async def _apply_patch(
    request: web.Request, subscription_id: str, body: dict[str, Any]
) -> StoredSubscription:
    """Apply the merge patch `body`, again if somebody else changes the subscription meanwhile."""
    service = request.app[SUBSCRIPTIONS]
    while True:
        before = await service.store.get(subscription_id, restricted_to(request))
        sent = before.wanted.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        # Unknown fields are refused, also if they are null.
        unknown = dict.fromkeys(body.keys() - SubscriptionChange.model_fields)
        url = body.get("url", before.url)
        url = as_http(url) if isinstance(url, str) else url
        own, merged = own_of(sent), _merged(sent, body)
        own = {name: value for name, value in merged.items() if name in own or name in body} | unknown
        own.pop("url", None)
        resolved, wrong = await _with_wishes(request, own, before.url, body.keys())
        if url is None:
            wrong.append(("url", "missing", {}))
        completed, unknown_profile = request.app[PROFILES].completed(resolved)
        if unknown_profile and "profile" in body:
            wrong += unknown_profile
        elif unknown_profile:  # no profile of that name any more: keep the settings that it gave last
            given = [name for name in sent.get("of_profile", ()) if name not in resolved]
            completed |= {name: sent[name] for name in given} | {"of_profile": given}
        moved = {} if "url" not in body or url == without_password(before.url) else {"url": url}
        change = validated(SubscriptionChange, completed | moved, *wrong)
        if after := await service.change(before, _settings_of(change), change.url or before.url):
            return after


def _merged(before: dict[str, Any], patched: dict[str, Any]) -> dict[str, Any]:
    """Return `before`, changed by the merge patch `patched`."""
    after = dict(before)
    for name, value in patched.items():
        if value is None:
            after.pop(name, None)
        elif isinstance(value, dict):
            stored = after.get(name)
            # A backlog is replaced: it has one of several kinds, and no two of them share a field.
            base = stored if isinstance(stored, dict) and name != "backlog" else {}
            after[name] = _merged(base, value)
        else:
            after[name] = value
    return after


async def unsubscribe(request: web.Request) -> web.Response:
    query = Query(request)
    files = query.one_of("files", ("keep", "delete"))
    query.check()
    subscription_id = await id_in_path(request)
    await request.app[SUBSCRIPTIONS].remove(subscription_id, with_files=files == "delete")
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def check(request: web.Request) -> web.Response:
    subscription = await request.app[SUBSCRIPTIONS].check(await id_in_path(request))
    return respond_answer(await shown_one(request, subscription), HTTPStatus.ACCEPTED)


async def id_in_path(request: web.Request) -> str:
    """Return the id in the path. Raises as `_checked_id`."""
    return await _checked_id(request, request.match_info["subscription_id"])


async def _checked_id(request: web.Request, subscription_id: str) -> str:
    """Return the id; where lists are separate, raise `SubscriptionNotFound` unless it is the user's."""
    if (owner := restricted_to(request)) is not None:
        await request.app[SUBSCRIPTIONS].store.get(subscription_id, owner)
    return subscription_id


async def act_on_subscriptions(request: web.Request) -> web.Response:
    """Act on the subscriptions in `ids`, or on all in a `stage`; an error of one stops no other."""
    from server.subscriptions import subscription_schemas as answers

    body = await read_object(request)
    wrong = list[WrongField]()
    selectors = [name for name in ("ids", "stage") if body.get(name) is not None]
    if not selectors:
        wrong.append(("ids", "subscriptions_missing", {}))
    elif len(selectors) > 1:
        wrong.append(("ids", "keys_alone_stage", {}))
    if body.get("action") == "profile" and "profile" not in body:
        wrong.append(("profile", "missing", {}))
    elif body.get("action") != "profile" and "profile" in body:
        wrong.append(("profile", "extra_forbidden", {}))
    wanted = validated(SubscriptionsRequest, body, *wrong)
    service, more = request.app[SUBSCRIPTIONS], False
    ids = None if wanted.ids is None else list(dict.fromkeys(wanted.ids))
    if ids is None:
        ids = await _ids_in(request, wanted.stage, MOST_AT_ONCE + 1)
        ids, more = ids[:MOST_AT_ONCE], len(ids) > MOST_AT_ONCE
    outcomes: list[StoredSubscription | AppError | None] = []
    for subscription_id in ids:
        try:
            match wanted.action:
                case "pause" | "resume":
                    patched = {"enabled": wanted.action == "resume"}
                    outcomes.append(await _apply_patch(request, subscription_id, patched))
                case "check":
                    outcomes.append(await service.check(await _checked_id(request, subscription_id)))
                case "profile":
                    patched_profile = {"profile": wanted.profile}
                    outcomes.append(await _apply_patch(request, subscription_id, patched_profile))
                case "delete":
                    await service.remove(await _checked_id(request, subscription_id), with_files=False)
                    outcomes.append(None)
                case _:
                    assert_never(wanted.action)
        except (SubscriptionNotFound, InvalidRequest, AlreadySubscribed) as error:
            outcomes.append(error.with_traceback(None))
    if wanted.action == "delete":
        pairs = zip(ids, outcomes, strict=False)
        request[DONE] = [("subscription_deleted", name) for name, outcome in pairs if outcome is None]
    chosen = language(request)
    shown = iter(await _shown(request, [one for one in outcomes if isinstance(one, StoredSubscription)]))
    results = list[answers.SubscriptionActionResult]()
    for outcome in outcomes:
        if isinstance(outcome, AppError):
            problem, status = problem_of(request, outcome, chosen), int(outcome.status)
            results.append(answers.SubscriptionActionResult(status=status, problem=problem))
        elif outcome is None:
            results.append(answers.SubscriptionActionResult(status=204))
        else:
            results.append(answers.SubscriptionActionResult(status=200, subscription=next(shown)))
    page = answers.SubscriptionActionResults(results=results, more=True if more else None)
    response = respond_answer(page)
    response.headers["Content-Language"], response.headers["Vary"] = chosen, "Accept-Language"
    return response


async def _ids_in(request: web.Request, stage: SubscriptionStage | None, most: int) -> list[str]:
    service, cursor, ids = request.app[SUBSCRIPTIONS], None, list[str]()
    while len(ids) < most:
        page, cursor = await service.store.page(cursor, LARGEST_PAGE, restricted_to(request))
        ids += [one.subscription_id for one in page if one.stage(service.now) == stage]
        if cursor is None:
            break
    return ids[:most]


async def list_profiles(request: web.Request) -> web.Response:
    from server.subscriptions import subscription_schemas as answers

    profiles = request.app[PROFILES]
    return respond_answer(answers.ProfileList(profiles=profiles.shown, default=profiles.default))


async def _encoded(request: web.Request, subscription_id: str) -> bytes:
    store = request.app[SUBSCRIPTIONS].store
    shown = await shown_one(request, await store.get(subscription_id, restricted_to(request)))
    return encoded(shown)


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:20]}"'


async def shown_one(request: web.Request, subscription: StoredSubscription) -> "answers.Subscription":
    [shown] = await _shown(request, [subscription], is_alone=True)
    return shown


async def _shown(
    request: web.Request, found: Sequence[StoredSubscription], *, is_alone: bool = False
) -> list["answers.Subscription"]:
    """Return what is answered of subscriptions; the description only of one that `is_alone`.

    The page asks for 200 every few seconds, and their descriptions would be a book.
    """
    from server.subscriptions import subscription_schemas as answers

    service, words = request.app[SUBSCRIPTIONS], LANGUAGES[language(request)]
    ids = [one.subscription_id for one in found]
    counts, counts_of_held = await service.items.counts(ids), await service.items.counts_of_held(ids)
    last_fetched = await service.items.last_fetched(ids)
    default = request.app[SETTINGS].subscriptions.interval
    secrets = await service.store.feed_secrets([one for one in found if one.wanted.feed])
    tells_owner = request.app[SETTINGS].access.separate_lists and principal_of(request).is_admin
    held = await service.checks.held_hosts({host_of(one.url) for one in found}, service.now)
    shown = list[answers.Subscription]()
    for one in found:
        wanted, findings = one.wanted, one.findings
        code = findings.error_code
        due = one.next_check_at
        until = held.get(host_of(one.url), 0.0) if due is not None else 0.0
        settings = wanted.model_dump(
            mode="json",
            include={"request", "filters", "backlog", "keep", "library", "profile"},
            exclude_none=True,
        )
        feed = None
        if wanted.feed and (secret := secrets.get(one.owner)):
            url = address_of(request, secret, f"/{wanted.feed.name}.xml")
            feed = answers.FeedAddress(**wanted.feed.model_dump(mode="json", exclude_unset=True), url=url)
        shown.append(
            answers.Subscription(
                subscription_id=one.subscription_id,
                revision=one.revision,
                url=without_password(one.url),
                name=wanted.name or findings.title or without_password(one.url),
                title=findings.title,
                description=findings.facts.description if is_alone else None,
                author=findings.facts.author,
                picture=link_of_picture(request, one),
                enabled=wanted.enabled,
                stage=one.stage(service.now),
                checked_at=time_of(findings.checked_at),
                succeeded_at=time_of(findings.succeeded_at),
                waiting=HOST_HELD if until else None,
                next_check_at=time_of(max(until, due) if due is not None else None),
                items=counts[one.subscription_id],
                held=counts_of_held.get(one.subscription_id),
                last_fetched_at=time_of(last_fetched.get(one.subscription_id)),
                error_code=code,
                error=words.error(code) if code else None,
                hint=_hint(words, findings, code) if code else None,
                notice=findings.notice or ("already_subscribed" if findings.moved_taken else None),
                moved_to=findings.moved_to,
                feeds=[answers.FeedOfPage(**each.model_dump()) for each in findings.feeds] or None,
                interval=written_interval(default if wanted.interval is None else wanted.interval),
                feed=feed,
                created_by=one.created_by,
                owner=one.owner if tells_owner else None,
                **settings,
            )
        )
    return shown


def _hint(words: Catalogue, findings: Findings, code: str) -> str | None:
    if findings.hint == WAS_FEED:
        return words.was_feed(time_of(findings.succeeded_at) or "")
    return words.hint(findings.hint or code, None)


def time_of(seconds: float | None) -> str | None:
    return None if seconds is None else instant(seconds)


ID_IN_PATH = Parameter("subscription_id", "as `POST /api/subscriptions` gave it", place="path")
SEARCH = Parameter(
    "q", "found in the name, title or link, as plain text", {"type": "string", "maxLength": MAX_SEARCHED}
)
SORT = Parameter("sort", "another order than the newest first", {"type": "string", "enum": list(SORTS)})
# `/api/subscriptions/actions` is another route.
ONE = "/api/subscriptions/{subscription_id:(?!actions$)[^/]+}"
ROUTES = [
    post(
        "/api/subscriptions",
        subscribe,
        Operation(
            "subscribe",
            "Subscriptions",
            "Subscribe to a list",
            {
                201: Reply(
                    "It is on disk",
                    {JSON: f"{SCHEMAS}:Subscription"},
                    {"Location": "`/api/subscriptions/<subscription_id>`"},
                )
            },
            "Only `url` is required. The answer comes before anything is fetched.",
            parameters=(ACTING, *READER),
            body=SubscriptionRequest,
            errors=(
                *(AdminOnly, AlreadySubscribed, FeedNameTaken, InvalidQuery, TooManySubscriptions),
                *OF_CHANGES,
            ),
        ),
    ),
    get(
        "/api/subscriptions",
        list_subscriptions,
        Operation(
            "subscriptions",
            "Subscriptions",
            "The subscriptions",
            {
                200: Reply(
                    "A page, newest first",
                    {JSON: f"{SCHEMAS}:SubscriptionPage"},
                )
            },
            parameters=(SEARCH, SORT, OWNER, LIMIT, CURSOR, *READER),
            errors=(InvalidQuery, AdminOnly),
        ),
    ),
    get(
        ONE,
        get_subscription,
        Operation(
            "subscription",
            "Subscriptions",
            "One subscription, now or when it changes",
            {
                200: Reply(
                    "The subscription",
                    {JSON: f"{SCHEMAS}:Subscription"},
                    {"ETag": "names its state"},
                ),
                304: Reply(HAS_IT, headers={"ETag": "names its state"}),
            },
            f"With `wait` (at most {MAX_WAIT:.0f}) and `If-None-Match` held until the next change.",
            parameters=(ID_IN_PATH, WAIT, IF_NONE_MATCH, *READER),
            errors=(InvalidQuery, SubscriptionNotFound),
        ),
    ),
    patch(
        ONE,
        change,
        Operation(
            "change_subscription",
            "Subscriptions",
            "Change a subscription",
            {200: Reply("As it is now", {JSON: f"{SCHEMAS}:Subscription"})},
            "A merge patch: null brings a setting back to its default. `url` is where its source has moved "
            "to: what is known of its entries stays.",
            parameters=(ID_IN_PATH, *READER),
            body=SubscriptionChange,
            errors=(SubscriptionNotFound, AlreadySubscribed, FeedNameTaken, *OF_CHANGES),
        ),
    ),
    delete(
        ONE,
        unsubscribe,
        Operation(
            "unsubscribe",
            "Subscriptions",
            "End a subscription",
            {204: Reply("It is gone")},
            parameters=(
                ID_IN_PATH,
                Parameter(
                    "files",
                    "what becomes of what it has fetched; `keep` if left out",
                    {"type": "string", "enum": ["keep", "delete"]},
                ),
                *READER,
            ),
            errors=(InvalidQuery, SubscriptionNotFound, *OF_CHANGES),
        ),
    ),
    post(
        f"{ONE}/check",
        check,
        Operation(
            "check_subscription",
            "Subscriptions",
            "Check it now",
            {
                202: Reply(
                    "It is due; one check that is under way is this one",
                    {JSON: f"{SCHEMAS}:Subscription"},
                )
            },
            parameters=(ID_IN_PATH, *READER),
            errors=(SubscriptionNotFound, *OF_CHANGES),
        ),
    ),
    post(
        "/api/subscriptions/actions",
        act_on_subscriptions,
        Operation(
            "act_on_subscriptions",
            "Subscriptions",
            "Act on many subscriptions",
            {200: Reply("What became of each, in order", {JSON: f"{SCHEMAS}:SubscriptionActionResults"})},
            "On those that `ids` names, or on all in a `stage`. What goes wrong with one stops no other. "
            "`delete` keeps what was fetched.",
            parameters=READER,
            body=SubscriptionsRequest,
            errors=OF_CHANGES,
        ),
    ),
    get(
        "/api/profiles",
        list_profiles,
        Operation(
            "profiles",
            "Subscriptions",
            "The profiles of the configuration",
            {200: Reply("What each of them gives", {JSON: f"{SCHEMAS}:ProfileList"})},
        ),
    ),
]
