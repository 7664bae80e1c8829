"""`/api/tasks`: lists of tasks, actions on one task or on many, remedies, its log and its thumbnail.

A request for many tasks is answered by `{"results": [{"status", "task" or "problem"}, ...]}`: each result has
the HTTP status and the body that a request for this task alone would have got.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from server.api.acting import chosen_owner
from server.api.bodies import (
    Query,
    encoded,
    language,
    payload_form,
    read_object,
    respond,
    respond_answer,
    takes_gzip,
    validated,
)
from server.api.connections import CONNECTIONS
from server.api.cookies import unknown_cookies
from server.api.downloads import CONDITIONS, replies, replies_to_head, send
from server.api.keys import DONE, ENCODER, FILES, LEAVE_LIBRARY, tasks_of
from server.api.openapi.operation import (
    CURSOR,
    IDS,
    IF_NONE_MATCH,
    JSON,
    LARGEST_PAGE,
    LIMIT,
    OF_CHANGES,
    OWNER,
    READER,
    TASK_ID,
    TEXT,
    Operation,
    Parameter,
    Reply,
)
from server.api.payload import TaskPayload, dumps
from server.api.problems import problem_of
from server.api.route import Route, delete, get, patch, post
from server.core.action_requests import MOST_AT_ONCE, ActionRequest, PlaceChange, RemedyRequest
from server.core.attachment import disposition
from server.core.errors import (
    AdminOnly,
    AppError,
    FileNotFound,
    InvalidQuery,
    NoRoom,
    OverLimit,
    PreconditionFailed,
    QueueFull,
    QueuePaused,
    RangeNotSatisfiable,
    RemedyNotFound,
    RemedyNotOffered,
    StorageAway,
    TaskAlreadyFinal,
    TaskNotFound,
    ThumbnailNotFound,
    TooManyRunning,
    WorkerSilent,
    WrongField,
    WrongStage,
)
from server.core.ports import Filter, StatusPage
from server.core.task import Stage, TaskStatus
from server.locales import LANGUAGES
from server.tasks.bulk import act_on_all
from server.tasks.remedies import NEEDS_COOKIES, REMEDIES, offered

AT_ONCE = 20  # tasks to encode before other coroutines run
STATUSES = frozenset(stage.status for stage in Stage)
SORTS = ("added", "state")
MAX_TEXT = 500  # characters of a search
IN_A_THREAD = 32 * 1024  # bytes from which an answer is compressed in a thread
MOST_SHARED = 1 << 31  # a bound for counts of shared tasks; every list has fewer entries
MAX_LOG = 1 << 20  # bytes; the child caps it long before
MAX_PROBLEMS = 256 * 1024  # bytes of all problems in an answer
MAX_RESULTS = 750_000  # bytes of an answer beyond the length of the request
RESULTS_AT_ONCE = 5  # results to encode before other coroutines run
THUMBNAIL_WIDTHS = ("96", "192", "320", "480")  # pixels, as `?w=` has them
_RUNNING = (Stage.QUEUED, *(stage for stage in Stage if stage.is_running))
# The stages in which each action has an effect; an action that is missing here has one in any stage.
_EFFECTIVE: dict[str, tuple[Stage, ...]] = {
    "cancel": (*_RUNNING, Stage.PAUSED),
    "pause": _RUNNING,
    "resume": (Stage.PAUSED,),
    "retry": (Stage.FAILED, Stage.CANCELLED),
}
Result = tuple[HTTPStatus, TaskStatus | None] | AppError  # None: no task to show, such as after a deletion


async def list_tasks(request: web.Request) -> web.Response:
    """One page of tasks, newest first, by their state, or queued ones in queue order; or the tasks that `ids`
    names.
    """
    query, service = Query(request), tasks_of(request)
    if "ids" in request.query:  # all other parameters are ignored
        ids = query.ids("ids", LARGEST_PAGE) or []
        query.check()
        page = StatusPage(await service.statuses(ids), None)
    elif "shared_by" in request.query:
        sharing, limit = query.text("shared_by", MAX_TEXT), query.limit()
        begin = query.whole("cursor", 0, MOST_SHARED, 0)
        query.check()
        lists = await service.statuses([sharing]) if sharing else []
        shared = lists[0].shares if lists else ()
        end = begin + limit
        page = StatusPage(await service.statuses(shared[begin:end]), str(end) if end < len(shared) else None)
    else:
        text = query.search("q", MAX_TEXT).strip()
        status = query.one_of("status", STATUSES)
        named = query.some_of("stage", tuple(Stage))
        playlist_id = query.text("playlist_id", MAX_TEXT)
        is_folded = query.flag("folded") and not text and playlist_id is None
        cursor, limit = query.cursor(), query.limit()
        read_page = service.page_by_state if query.one_of("sort", SORTS) == "state" else service.page
        owner = chosen_owner(request, query)
        query.check()
        stages = tuple(
            each for each in Stage if status in (None, each.status) and (named is None or each in named)
        )
        wanted = Filter(
            () if len(stages) == len(Stage) else stages, text, playlist_id, is_folded=is_folded, owner=owner
        )
        # No task can be in a `stage` of another `status`.
        page = await read_page(wanted, cursor, limit) if stages else StatusPage([], None)
    encoder, chosen = request.app[ENCODER], language(request)
    form = payload_form(request, chosen)
    tasks = list[bytes]()
    for number, task in enumerate(page.tasks, 1):
        tasks.append(encoder.encode(task, form).body)
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)  # tasks may have hundreds of files: let other coroutines run
    following = b',"next_cursor":' + dumps(page.next_cursor) if page.next_cursor else b""
    headers = {
        "Content-Language": chosen,
        "Vary": "Accept-Encoding, Accept-Language",
        "Cache-Control": "private, no-cache",
    }
    body = b'{"tasks":[' + b",".join(tasks) + b"]" + following + b"}"
    response = web.Response(
        body=body, content_type="application/json", headers=headers, zlib_executor_size=IN_A_THREAD
    )
    # Compress: a list then has a tenth of the size, and arrives in half the time on a slow line.
    if takes_gzip(request):
        response.enable_compression(web.ContentCoding.gzip)
    return response


async def change(request: web.Request) -> web.Response:
    """Change the priority or the position of a task in the queue."""
    body = await read_object(request)
    says_nothing = all(body.get(name) is None for name in PlaceChange.model_fields)
    wanted = validated(PlaceChange, body, *([("priority", "missing", {})] if says_nothing else []))
    task_id = request.match_info["task_id"]
    return respond(request, await tasks_of(request).move(task_id, wanted.priority, wanted.position))


async def remove(request: web.Request) -> web.Response:
    query = Query(request)
    library = query.one_of("library", ("keep", "delete") if LEAVE_LIBRARY in request.app else ())
    query.check()
    task_id = request.match_info["task_id"]
    if library == "delete":
        await tasks_of(request).status(task_id)
        tasks_of(request).refuse_when_closing()
        await request.app[LEAVE_LIBRARY](task_id)
    await tasks_of(request).delete(task_id)
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def cancel(request: web.Request) -> web.Response:
    return await _act(request, tasks_of(request).cancel)


async def pause(request: web.Request) -> web.Response:
    return await _act(request, tasks_of(request).pause)


async def resume(request: web.Request) -> web.Response:
    return await _act(request, tasks_of(request).resume)


async def retry(request: web.Request) -> web.Response:
    return await _act(request, tasks_of(request).retry)


async def start(request: web.Request) -> web.Response:
    return await _act(request, tasks_of(request).start)


async def finish(request: web.Request) -> web.Response:
    return await _act(request, tasks_of(request).finish)


async def _act(request: web.Request, action: Callable[[str], Awaitable[TaskStatus]]) -> web.Response:
    return respond(request, await action(request.match_info["task_id"]))


async def get_log(request: web.Request) -> web.Response:
    """The task's own yt-dlp and ffmpeg log; empty while there is none."""
    status = await tasks_of(request).status(request.match_info["task_id"])
    reading = request.app[FILES].read_log(status.task_id, MAX_LOG)
    text = await request.app[CONNECTIONS].attended(request.protocol, reading)
    headers = {"Cache-Control": "private, no-cache"}
    return web.Response(body=text, content_type="text/plain", charset="utf-8", headers=headers)


async def get_thumbnail(request: web.Request) -> web.StreamResponse:
    """The thumbnail, sent like a file. Raises `TaskNotFound`, `ThumbnailNotFound` and what `send` raises.

    With `w`, sends the smallest stored version that is wide enough. Pictures are not resized here, so that no
    request costs more than sending a file.
    """
    query = Query(request)
    width = query.one_of("w", THUMBNAIL_WIDTHS)
    query.check()
    status = await tasks_of(request).status(request.match_info["task_id"])
    thumbnail = await request.app[FILES].thumbnail(status)
    if thumbnail is None:
        raise ThumbnailNotFound
    # The small file may be missing: a server of an earlier release, which does not know it, deletes it.
    for picture in (thumbnail.for_width(int(width)) if width else thumbnail, thumbnail):
        with suppress(FileNotFound):  # another thumbnail has just replaced it
            return await send(request, status.task_id, picture, disposition(picture.name, None, inline=True))
    raise ThumbnailNotFound


async def act(request: web.Request) -> web.Response:
    """Act on up to `MOST_AT_ONCE` tasks; if more match, the response has `more`.

    For a list with more entries, it acts on those for which the action has an effect, so that a client that
    repeats the request while there are `more` reaches all. Retrying a list does not repeat its completed
    entries; to repeat one, name it in `ids`.
    """
    body, tasks = await read_object(request), tasks_of(request)
    wrong = list[WrongField]()
    by_kind = any(body.get(name) is not None for name in ("stage", "error_code"))
    said = [name for name in ("ids", "playlist_id") if body.get(name) is not None]
    if not said and not by_kind:
        wrong.append(("ids", "tasks_missing", {}))
    elif len(said) + by_kind > 1:
        wrong.append((said[0], "ids_alone", {}))
    wanted = validated(ActionRequest, body, *wrong)
    if wanted.ids is not None:
        ids = list(wanted.ids)
    elif wanted.playlist_id is not None:
        stages = tuple(stage for stage in Stage if wanted.action != "retry" or stage is not Stage.COMPLETED)
        entries = Filter(stages, playlist_id=wanted.playlist_id)
        page = await tasks.page(entries, None, MOST_AT_ONCE + 1)
        if len(page.tasks) > MOST_AT_ONCE and (effective := _EFFECTIVE.get(wanted.action)):
            page = await tasks.page(replace(entries, stages=effective), None, MOST_AT_ONCE + 1)
        ids = [status.task_id for status in page.tasks]
    else:
        stage = wanted.stage or (Stage.CANCELLED if wanted.error_code == Stage.CANCELLED else Stage.FAILED)
        ids = await tasks.ids_in(stage, wanted.error_code, MOST_AT_ONCE + 1)
    outcomes = await act_on_all(tasks, wanted.action, ids[:MOST_AT_ONCE])
    if wanted.action == "delete":
        pairs = zip(ids, outcomes, strict=False)
        request[DONE] = [("task_deleted", task_id) for task_id, outcome in pairs if outcome is None]
    results = (
        outcome
        if isinstance(outcome, AppError)
        else (HTTPStatus.OK if outcome else HTTPStatus.NO_CONTENT, outcome)
        for outcome in outcomes
    )
    return await respond_results(request, results, more=len(ids) > MOST_AT_ONCE)


async def respond_results(
    request: web.Request, results: Iterable[Result], *, more: bool = False
) -> web.Response:
    """The response; `more` says that more tasks match than were acted on.

    Once its problems have `MAX_PROBLEMS` bytes, the others come without their `errors`, and once all of
    it has `MAX_RESULTS` more than the request, tasks come as their ids: a short request must not get
    megabytes, by many errors in a few bytes or by ids of tasks with long links.
    """
    chosen, parts, of_problems, of_all = language(request), list[bytes](), 0, 0
    form = payload_form(request, chosen)
    most = MAX_RESULTS + (request.content_length or 0)
    for number, result in enumerate(results, 1):
        match result:
            case AppError() as error:
                shown = problem_of(request, error, chosen)
                if of_problems >= MAX_PROBLEMS:
                    shown.errors = None
                parts.append(b'{"status":%d,"problem":' % error.status + encoded(shown) + b"}")
                of_problems += len(parts[-1])
            case status, None:
                parts.append(b'{"status":%d}' % status)
            case status, TaskStatus() as task:
                payload = request.app[ENCODER].encode(task, form).body
                if of_all + len(payload) > most:
                    parts.append(dumps({"status": status, "task_id": task.task_id}))
                else:
                    parts.append(b'{"status":%d,"task":' % status + payload + b"}")
        of_all += len(parts[-1])
        if number % RESULTS_AT_ONCE == 0:
            await asyncio.sleep(0)
    headers = {"Content-Language": chosen, "Vary": "Accept-Language", "Cache-Control": "private, no-cache"}
    body = b'{"results":[' + b",".join(parts) + b"]" + (b',"more":true' if more else b"") + b"}"
    return web.Response(body=body, content_type="application/json", headers=headers)


async def list_remedies(request: web.Request) -> web.Response:
    """The remedies offered for the task, the likeliest first."""
    from server.api.openapi.schemas import Remedies

    chosen, task_id = language(request), request.match_info["task_id"]
    names = offered(await tasks_of(request).status(task_id))
    texts = {name: LANGUAGES[chosen].remedy(name) for name in names}
    response = respond_answer(Remedies(remedies=names, texts=texts))
    response.headers.update(
        {"Cache-Control": "private, no-cache", "Content-Language": chosen, "Vary": "Accept-Language"}
    )
    return response


async def apply(request: web.Request) -> web.Response:
    """Apply the remedy. The body is validated only after checking that the remedy is offered."""
    name, task_id = request.match_info["name"], request.match_info["task_id"]
    if name not in REMEDIES:
        raise RemedyNotFound
    possible = offered(await tasks_of(request).status(task_id))
    if name not in possible:
        raise RemedyNotOffered(possible)
    body = await read_object(request) if request.body_exists else {}
    wrong = list[WrongField]()
    if (has_cookies := body.get("cookies") is not None) != (name == NEEDS_COOKIES):
        wrong.append(("cookies", "extra_forbidden" if has_cookies else "missing", {}))
    wanted = validated(RemedyRequest, body, *wrong, *await unknown_cookies(request, body))
    given = {"cookies": wanted.cookies} if wanted.cookies else {}
    return respond(request, await tasks_of(request).repair(task_id, name, given))


# The pattern excludes `/api/tasks/actions`, which is another route.
_ONE = "/api/tasks/{task_id:(?!actions$)[^/]+}"
_TASK = {200: Reply("The task", {JSON: TaskPayload})}
_STOPS = (TaskAlreadyFinal, WorkerSilent)


def _action(name: str, handler: Handler, summary: str, text: str, *reasons: type[AppError]) -> Route:
    """The route of an action on one task; `reasons` are its errors beside `TaskNotFound` and `OF_CHANGES`."""
    operation = Operation(
        name,
        "Tasks",
        summary,
        _TASK,
        text,
        parameters=(TASK_ID, *READER),
        errors=(TaskNotFound, *reasons, *OF_CHANGES),
    )
    return post(f"/api/tasks/{{task_id}}/{name}", handler, operation)


_STAGE_NAMES = "|".join(Stage)
_PICTURE = {"ETag": "for `If-Range` and `If-None-Match`", "Accept-Ranges": "`bytes`"}
_WIDTH = Parameter(
    "w",
    "how wide it will be shown, in pixels: the smallest file that does is sent",
    {"enum": list(THUMBNAIL_WIDTHS)},
)
_NAME = Parameter("name", "one of `remedies`", {"enum": list(REMEDIES)}, "path")
_PATH = "/api/tasks/{task_id}/remedies"
ROUTES = [
    get(
        "/api/tasks",
        list_tasks,
        Operation(
            "list",
            "Tasks",
            "List tasks, newest first",
            {200: Reply("One page", {JSON: "TaskPage"})},
            "With `stage=queued` in the order of the queue; with `ids` only the tasks that it names, on one "
            "page, and with `shared_by` only those of that list, whatever else is asked for.",
            parameters=(
                Parameter("status", "only these", {"enum": ["processing", "completed", "error"]}),
                Parameter(
                    "stage",
                    "only these, one or more, comma-separated",
                    {"type": "string", "pattern": f"^({_STAGE_NAMES})(,({_STAGE_NAMES}))*$"},
                ),
                Parameter(
                    "sort",
                    "`added` (if not said): newest first. `state`: what runs, the queue in its order, what "
                    "is paused, then what has ended, the last ended first; with `q` or `playlist_id` the "
                    "newest of those first",
                    {"enum": list(SORTS)},
                ),
                Parameter(
                    "playlist_id",
                    "only the entries of this list",
                    {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
                ),
                Parameter(
                    "folded",
                    "`1`: without the entries of lists; of no effect with `q` or `playlist_id`",
                    {"enum": ["0", "1"]},
                ),
                Parameter(
                    "q",
                    "a text in title, uploader or URL, literally; empty: all",
                    {"type": "string", "maxLength": MAX_TEXT},
                ),
                OWNER,
                LIMIT,
                CURSOR,
                Parameter(
                    "ids",
                    "up to 200 different ones, comma-separated: those of them that exist, in this order",
                    {"type": "string", "pattern": IDS},
                ),
                Parameter(
                    "shared_by",
                    "only the tasks that this list counts, by `reuse`, and that are none of its entries",
                    {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
                ),
                *READER,
            ),
            errors=(InvalidQuery, AdminOnly),
        ),
    ),
    patch(
        _ONE,
        change,
        Operation(
            "prioritize",
            "Tasks",
            "Change the place in the queue",
            _TASK,
            parameters=(TASK_ID, *READER),
            body=PlaceChange,
            errors=(TaskNotFound, TaskAlreadyFinal, *OF_CHANGES),
        ),
    ),
    delete(
        _ONE,
        remove,
        Operation(
            "delete",
            "Tasks",
            "Remove a task and its files",
            {204: Reply("It is gone; it was cancelled if it ran")},
            parameters=(
                TASK_ID,
                Parameter(
                    "library",
                    "what becomes of what it has placed in the library; `keep` if left out",
                    {"type": "string", "enum": ["keep", "delete"]},
                ),
                *READER,
            ),
            errors=(InvalidQuery, TaskNotFound, StorageAway, WorkerSilent, *OF_CHANGES),
        ),
    ),
    _action("cancel", cancel, "Cancel", "Answers when all that was started is gone.", *_STOPS),
    _action("pause", pause, "Pause", "Frees its slot; stays paused over restarts.", *_STOPS),
    _action("resume", resume, "Resume", "Goes on from the partial file.", TaskAlreadyFinal),
    _action(
        "start",
        start,
        "Start now",
        "One that waits begins, beyond `max_concurrent` and `max_per_host`, while fewer than four times "
        "`max_concurrent` run. Answers when it has begun, or after two seconds with how far it is.",
        TaskAlreadyFinal,
        QueuePaused,
        NoRoom,
        TooManyRunning,
        OverLimit,
    ),
    _action("retry", retry, "Retry", "A task that has ended begins anew.", WrongStage, QueueFull),
    _action(
        "finish",
        finish,
        "Finish a live recording",
        "Ends it and keeps it. Answers when the files are there, or after 30 seconds with how far they are.",
        TaskAlreadyFinal,
        WrongStage,
    ),
    get(
        "/api/tasks/{task_id}/log",
        get_log,
        Operation(
            "log",
            "Tasks",
            "The task's own log",
            {200: Reply("What yt-dlp and ffmpeg said, capped, without secrets", {"text/plain": TEXT})},
            parameters=(TASK_ID, *READER),
            errors=(TaskNotFound, StorageAway),
        ),
    ),
    get(
        "/api/tasks/{task_id}/thumbnail",
        get_thumbnail,
        Operation(
            "thumbnail",
            "Tasks",
            "A small JPEG",
            replies("At most 480 pixels wide", "image/jpeg", _PICTURE),
            parameters=(TASK_ID, _WIDTH, *CONDITIONS, *READER),
            errors=(
                TaskNotFound,
                ThumbnailNotFound,
                PreconditionFailed,
                RangeNotSatisfiable,
                StorageAway,
                InvalidQuery,
            ),
        ),
        head=Operation(
            "thumbnail_head",
            "Tasks",
            "What the small JPEG comes with",
            replies_to_head(_PICTURE),
            parameters=(TASK_ID, _WIDTH, IF_NONE_MATCH, *READER),
            errors=(TaskNotFound, ThumbnailNotFound, PreconditionFailed, StorageAway, InvalidQuery),
        ),
    ),
    post(
        "/api/tasks/actions",
        act,
        Operation(
            "act",
            "Tasks",
            "Act on many tasks",
            {200: Reply("What became of each, in order", {JSON: "ActionResults"})},
            "On those that `ids` names, on the entries of a list, or on all in a `stage`, "
            "with an `error_code`, or both. What goes wrong with one stops no other.",
            parameters=READER,
            body=ActionRequest,
            errors=OF_CHANGES,
        ),
    ),
    get(
        _PATH,
        list_remedies,
        Operation(
            "remedies",
            "Tasks",
            "What can be done about a failure",
            {200: Reply("Perhaps nothing", {JSON: "Remedies"})},
            parameters=(TASK_ID, *READER),
            errors=(TaskNotFound,),
        ),
    ),
    post(
        _PATH + "/{name}",
        apply,
        Operation(
            "repair",
            "Tasks",
            "Do it",
            {200: Reply("The task, which begins anew", {JSON: TaskPayload})},
            "The same task begins anew, in the way that the remedy says.",
            parameters=(TASK_ID, _NAME, *READER),
            body=RemedyRequest,
            needs_body=False,
            errors=(TaskNotFound, RemedyNotFound, RemedyNotOffered, QueueFull, *OF_CHANGES),
        ),
    ),
]
