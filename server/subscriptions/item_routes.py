"""`/api/subscriptions/{subscription_id}/items`: the entries of a subscription, and what is done with them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from server.api.bodies import Query, language, read_object, respond_answer, validated
from server.api.keys import DONE, FIELDS, SETTINGS
from server.api.openapi.operation import CURSOR, JSON, LIMIT, OF_CHANGES, READER, Operation, Parameter, Reply
from server.api.payload import LibraryPlace
from server.api.problems import problem_of
from server.api.route import get, post
from server.core.action_requests import MOST_AT_ONCE
from server.core.errors import (
    AppError,
    InvalidQuery,
    ItemNotFound,
    SubscriptionNotFound,
    WrongField,
    WrongState,
)
from server.core.task import InLibrary
from server.core.values import without_password
from server.library.library_routes import PLACEMENTS
from server.subscriptions.searching import SORTS, sort_of
from server.subscriptions.subscription import STATES, ItemsRequest, StoredItem
from server.subscriptions.subscription_routes import (
    ID_IN_PATH,
    MAX_SEARCHED,
    ONE,
    SCHEMAS,
    SEARCH,
    SORT,
    SUBSCRIPTIONS,
    id_in_path,
    time_of,
)

if TYPE_CHECKING:
    from server.subscriptions import subscription_schemas as answers


async def list_items(request: web.Request) -> web.Response:
    from server.subscriptions import subscription_schemas as answers

    query = Query(request)
    state = query.one_of("state", STATES)
    chosen = next((one for one in STATES if one == state), None)
    limit, cursor = query.limit(), query.cursor()
    text, sort = query.search("q", MAX_SEARCHED), sort_of(query.one_of("sort", SORTS))
    query.check()
    items, subscription_id = request.app[SUBSCRIPTIONS].items, await id_in_path(request)
    if text or sort:
        found, more = await items.find(subscription_id, chosen, text, sort, cursor, limit)
    else:
        found, more = await items.page(subscription_id, chosen, cursor, limit)
    return respond_answer(answers.ItemPage(items=await _shown_items(request, found), next_cursor=more))


async def act_on_items(request: web.Request) -> web.Response:
    body = await read_object(request)
    wrong = list[WrongField]()
    selectors = [name for name in ("keys", "state") if body.get(name) is not None]
    if not selectors:
        wrong.append(("keys", "items_missing", {}))
    elif len(selectors) > 1:
        wrong.append(("keys", "keys_alone", {}))
    wanted = validated(ItemsRequest, body, *wrong)
    keys = None if wanted.keys is None else list(wanted.keys)
    outcomes, more = await request.app[SUBSCRIPTIONS].act(
        await id_in_path(request), wanted.action, keys, wanted.state, MOST_AT_ONCE
    )
    if wanted.action == "delete":
        count = sum(not isinstance(outcome, AppError) for outcome in outcomes)
        request[DONE] = [("items_deleted", f"{request.match_info['subscription_id']}: {count}")]
    return await _item_results(request, outcomes, more=more)


async def _item_results(
    request: web.Request, outcomes: Sequence[StoredItem | AppError], *, more: bool
) -> web.Response:
    from server.subscriptions import subscription_schemas as answers

    chosen = language(request)
    items = [outcome for outcome in outcomes if isinstance(outcome, StoredItem)]
    shown = {each.key: each for each in await _shown_items(request, items)}
    results = [
        answers.ItemResult(status=int(outcome.status), problem=problem_of(request, outcome, chosen))
        if isinstance(outcome, AppError)
        else answers.ItemResult(status=200, item=shown[outcome.key])
        for outcome in outcomes
    ]
    response = respond_answer(answers.ItemResults(results=results, more=True if more else None))
    response.headers["Content-Language"], response.headers["Vary"] = chosen, "Accept-Language"
    return response


async def _shown_items(request: web.Request, items: Sequence[StoredItem]) -> list["answers.Item"]:
    """Return what is answered of `items`, with their files in the library and their tasks' thumbnails."""
    fetched = [item.key for item in items if item.state == "fetched"]
    there: dict[str, InLibrary] = {}
    if fetched and "library" in request.app[FIELDS]:
        store = request.app[PLACEMENTS]
        there = await store.items_in_library(items[0].subscription_id, fetched)
    pictured = await request.app[SUBSCRIPTIONS].items.with_thumbnails(
        [item.task_id for item in items if item.task_id is not None]
    )
    root = f"{request.app[SETTINGS].server.base_path}/api/tasks"
    links = {task_id: f"{root}/{task_id}/thumbnail" for task_id in pictured}
    return [_shown_item(item, there.get(item.key), links.get(item.task_id or "")) for item in items]


def _shown_item(item: StoredItem, library: InLibrary | None, thumbnail: str | None) -> "answers.Item":
    from server.subscriptions import subscription_schemas as answers

    about = item.about
    return answers.Item(
        key=item.key,
        url=without_password(about["url"].partition("#__youtubedl_smuggle")[0]),
        title=about.get("title"),
        duration=about.get("duration"),
        uploader=about.get("uploader"),
        published_at=item.published_at,
        state=item.state,
        reason=item.reason,
        not_before=time_of(item.not_before),
        fetched_at=time_of(item.fetched_at),
        task_id=item.task_id,
        thumbnail=thumbnail,
        library=LibraryPlace.of(library) if library else None,
        paths=list(library.paths) if library else [],
        pinned=item.pinned,
    )


ROUTES = [
    get(
        f"{ONE}/items",
        list_items,
        Operation(
            "items",
            "Subscriptions",
            "The entries of a subscription",
            {200: Reply("A page, newest first", {JSON: f"{SCHEMAS}:ItemPage"})},
            parameters=(
                ID_IN_PATH,
                Parameter("state", "only those in it", {"type": "string", "enum": list(STATES)}),
                SEARCH,
                SORT,
                LIMIT,
                CURSOR,
                *READER,
            ),
            errors=(InvalidQuery, SubscriptionNotFound),
        ),
    ),
    post(
        f"{ONE}/items/actions",
        act_on_items,
        Operation(
            "act_on_items",
            "Subscriptions",
            "Act on entries",
            {200: Reply("What became of each", {JSON: f"{SCHEMAS}:ItemResults"})},
            parameters=(ID_IN_PATH, *READER),
            body=ItemsRequest,
            errors=(SubscriptionNotFound, ItemNotFound, WrongState, *OF_CHANGES),
        ),
    ),
]
