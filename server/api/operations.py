"""All routes, as the OpenAPI description tells them; a test compares this table with the application."""

from server import errors
from server.api.auth import LogIn
from server.api.operation import (
    BINARY,
    JSON,
    OF_CHANGES,
    OF_SOCKETS,
    TEXT,
    Operation,
    Parameter,
    Reply,
    header,
)
from server.api.schemas import Health, Info, Readiness, TaskPage, TaskStatus
from server.errors import AppError
from server.models import InfoRequest, PriorityChange, ProcessRequest, Stage

_TASK = Parameter("task_id", "as `POST /api/process` gave it", place="path")
_NAME = Parameter("name", "the last part of a link in `files`", place="path")
_READER = (
    Parameter("lang", "`zh` or `en`; outranks `Accept-Language`"),
    header("Accept-Language", "the language of texts"),
)
_IF_NONE_MATCH = header("If-None-Match", "ETags of what the client has")
_PAYLOAD = Reply("The task", {JSON: TaskStatus})
_ETAG = {"ETag": "names the revision, its language and its wording"}
_HAS_IT = "The client has it already"
_OF_FILES = {
    "ETag": "for `If-Range` and `If-None-Match`",
    "Last-Modified": "when the task completed",
    "Accept-Ranges": "`bytes`",
    "Content-Disposition": "`attachment`, or `inline` where asked for and safe; the title as file name",
}


def _action(name: str, summary: str, text: str, error: type[AppError]) -> Operation:
    return Operation(
        name,
        "post",
        f"/api/tasks/{{task_id}}/{name}",
        "Tasks",
        summary,
        {200: _PAYLOAD},
        text,
        parameters=(_TASK, *_READER),
        errors=(errors.TaskNotFound, error, *OF_CHANGES),
    )


_TASKS = (
    Operation(
        "process",
        "post",
        "/api/process",
        "Tasks",
        "Make a task",
        {202: Reply("It is on disk", {JSON: TaskStatus}, {"Location": "`/api/status/<task_id>`"})},
        "Only `url` is required; by default there will be a video and an audio file, from one download. "
        "The answer comes before anything is fetched.",
        parameters=(
            header(
                "Idempotency-Key",
                "the same key and request give the same task",
                {"type": "string", "pattern": "^[!-~]{1,255}$"},
            ),
            *_READER,
        ),
        body=ProcessRequest,
        errors=(errors.InvalidQuery, errors.IdempotencyMismatch, errors.QueueFull, *OF_CHANGES),
    ),
    Operation(
        "status",
        "get",
        "/api/status/{task_id}",
        "Tasks",
        "The current status, or the next",
        {
            200: Reply(
                "The task",
                {JSON: TaskStatus},
                _ETAG | {"Retry-After": "seconds, while `processing`; not after a `wait`"},
            ),
            304: Reply(_HAS_IT, headers=_ETAG),
        },
        "With `wait` and `If-None-Match` held until the next change; when the time is up, `304`.",
        parameters=(
            _TASK,
            Parameter(
                "wait",
                "seconds, at most 50",
                {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$"},
            ),
            header("Prefer", "`wait=<seconds>`, like `wait`"),
            _IF_NONE_MATCH,
            *_READER,
        ),
        errors=(errors.InvalidQuery, errors.TaskNotFound),
    ),
    Operation(
        "list",
        "get",
        "/api/tasks",
        "Tasks",
        "List tasks, newest first",
        {200: Reply("One page", {JSON: TaskPage})},
        "With `stage=queued` in the order of the queue.",
        parameters=(
            Parameter("status", "only these", {"enum": ["processing", "completed", "error"]}),
            Parameter("stage", "only these", {"enum": [stage.value for stage in Stage]}),
            Parameter(
                "q", "a text in title, uploader or URL, literally", {"type": "string", "maxLength": 500}
            ),
            Parameter("limit", "50 if not said", {"type": "integer", "minimum": 1, "maximum": 200}),
            Parameter("cursor", "`next_cursor` of the page before"),
            *_READER,
        ),
        errors=(errors.InvalidQuery,),
    ),
    Operation(
        "prioritize",
        "patch",
        "/api/tasks/{task_id}",
        "Tasks",
        "Change the priority",
        {200: _PAYLOAD},
        parameters=(_TASK, *_READER),
        body=PriorityChange,
        errors=(errors.TaskNotFound, errors.TaskAlreadyFinal, *OF_CHANGES),
    ),
    Operation(
        "delete",
        "delete",
        "/api/tasks/{task_id}",
        "Tasks",
        "Remove a task and its files",
        {204: Reply("It is gone; it was cancelled if it ran")},
        parameters=(_TASK, *_READER),
        errors=(errors.TaskNotFound, *OF_CHANGES),
    ),
    _action("cancel", "Cancel", "Answers when all that was started is gone.", errors.TaskAlreadyFinal),
    _action("pause", "Pause", "Frees its slot; stays paused over restarts.", errors.TaskAlreadyFinal),
    _action("resume", "Resume", "Goes on from the partial file.", errors.TaskAlreadyFinal),
    _action("retry", "Retry", "A task that has ended begins anew.", errors.WrongStage),
    Operation(
        "log",
        "get",
        "/api/tasks/{task_id}/log",
        "Tasks",
        "The task's own log",
        {200: Reply("What yt-dlp and ffmpeg said, capped, without secrets", {"text/plain": TEXT})},
        parameters=(_TASK, *_READER),
        errors=(errors.TaskNotFound,),
    ),
    Operation(
        "thumbnail",
        "get",
        "/api/tasks/{task_id}/thumbnail",
        "Tasks",
        "A small JPEG",
        {200: Reply("At most 480 pixels wide", {"image/jpeg": BINARY})},
        parameters=(_TASK, *_READER),
        errors=(errors.TaskNotFound, errors.ThumbnailNotFound),
    ),
    Operation(
        "info",
        "post",
        "/api/info",
        "Tasks",
        "What a link offers",
        {200: Reply("Nothing of it is kept", {JSON: Info})},
        parameters=_READER,
        body=InfoRequest,
        errors=(errors.SourceRefused, errors.OriginForbidden),
    ),
)
_PUSH = (
    Operation(
        "watch",
        "get",
        "/ws/{task_id}",
        "Push",
        "WebSocket: one task",
        {101: Reply("Text messages, each the payload of `GET /api/status/{task_id}`")},
        "The current payload at once, then the newest after each change. After `completed` or `error` "
        "the socket is closed with 1000; when the server goes away, with 1001.",
        parameters=(_TASK, *_READER),
        errors=(errors.TaskNotFound, *OF_SOCKETS),
    ),
    Operation(
        "watch_all",
        "get",
        "/ws",
        "Push",
        "WebSocket: all tasks",
        {101: Reply('Text messages: payloads, and `{"task_id": ..., "removed": true}`')},
        "The newest payload of every task that changes from now on. No snapshot: connect, then list.",
        parameters=_READER,
        errors=OF_SOCKETS,
    ),
)
_FILES = (
    Operation(
        "download",
        "get",
        "/api/download/{name}",
        "Files",
        "A finished file",
        {
            200: Reply("The whole file", {"*/*": BINARY}, _OF_FILES),
            206: Reply("The part asked for", {"*/*": BINARY}, _OF_FILES | {"Content-Range": "which it is"}),
            304: Reply(_HAS_IT, headers=_OF_FILES),
        },
        parameters=(
            _NAME,
            Parameter("inline", "`1`: play it, if it is video, audio, JPEG, PNG, WebP or WebVTT"),
            header("Range", "one range of bytes; anything else gives the whole"),
            header("If-Range", "an ETag or a date; if it is stale, the whole is sent"),
            _IF_NONE_MATCH,
            header("If-Modified-Since", "a date"),
            *_READER,
        ),
        errors=(errors.FileNotFound, errors.RangeNotSatisfiable),
    ),
    Operation(
        "download_head",
        "head",
        "/api/download/{name}",
        "Files",
        "What a finished file comes with",
        {200: Reply("As with GET", headers=_OF_FILES), 304: Reply(_HAS_IT, headers=_OF_FILES)},
        parameters=(_NAME, _IF_NONE_MATCH, *_READER),
        errors=(errors.FileNotFound,),
    ),
)
_SERVICE = (
    Operation(
        "log_in",
        "post",
        "/api/session",
        "Service",
        "Exchange a token for a cookie",
        {204: Reply("Logged in", headers={"Set-Cookie": "HttpOnly, SameSite=Strict"})},
        parameters=_READER,
        body=LogIn,
        errors=(errors.OriginForbidden,),
    ),
    Operation(
        "log_out",
        "delete",
        "/api/session",
        "Service",
        "End the session",
        {204: Reply("Logged out", headers={"Set-Cookie": "takes the cookie away"})},
        parameters=_READER,
        errors=(errors.OriginForbidden,),
    ),
    Operation(
        "healthz",
        "get",
        "/healthz",
        "Service",
        "The process answers",
        {200: Reply("Alive", {JSON: Health})},
        always=(errors.InternalError,),
    ),
    Operation(
        "readyz",
        "get",
        "/readyz",
        "Service",
        "Whether everything needed is there",
        {
            200: Reply("Ready", {JSON: Readiness}),
            503: Reply("Something needed is missing", {JSON: Readiness}),
        },
    ),
    Operation(
        "openapi",
        "get",
        "/api/openapi.json",
        "Service",
        "This description",
        {200: Reply("OpenAPI 3.1", {JSON: {"type": "object"}})},
    ),
    Operation(
        "docs",
        "get",
        "/api/docs",
        "Service",
        "This description as a page",
        {200: Reply("HTML", {"text/html": TEXT})},
        parameters=_READER,
    ),
    Operation("page", "get", "/", "Service", "The web page", {200: Reply("HTML", {"text/html": TEXT})}),
)

OPERATIONS = _TASKS + _PUSH + _FILES + _SERVICE
