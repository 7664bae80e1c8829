"""All routes, as the OpenAPI description tells them; a test compares this table with the application."""

from server import errors
from server.api.auth import LogIn
from server.api.openapi.operation import (
    BINARY,
    HAS_IT,
    IF_NONE_MATCH,
    JSON,
    OF_SOCKETS,
    READER,
    TASK,
    TEXT,
    Operation,
    Parameter,
    Reply,
    header,
)
from server.api.openapi.schemas import Health, Readiness, Session
from server.api.openapi.task_operations import TASKS

_NAME = Parameter("name", "the last part of a link in `files`", place="path")
_OF_FILES = {
    "ETag": "for `If-Range` and `If-None-Match`",
    "Last-Modified": "when the task completed",
    "Accept-Ranges": "`bytes`",
    "Content-Disposition": "`attachment`, or `inline` where asked for and safe; the title as file name",
}
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
        parameters=(TASK, *READER),
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
        parameters=READER,
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
            304: Reply(HAS_IT, headers=_OF_FILES),
        },
        parameters=(
            _NAME,
            Parameter("inline", "`1`: play it, if it is video, audio, JPEG, PNG, WebP or WebVTT"),
            header("Range", "one range of bytes; anything else gives the whole"),
            header("If-Range", "an ETag or a date; if it is stale, the whole is sent"),
            IF_NONE_MATCH,
            header("If-Modified-Since", "a date"),
            *READER,
        ),
        errors=(errors.FileNotFound, errors.RangeNotSatisfiable),
    ),
    Operation(
        "download_head",
        "head",
        "/api/download/{name}",
        "Files",
        "What a finished file comes with",
        {200: Reply("As with GET", headers=_OF_FILES), 304: Reply(HAS_IT, headers=_OF_FILES)},
        parameters=(_NAME, IF_NONE_MATCH, *READER),
        errors=(errors.FileNotFound,),
    ),
)
_SERVICE = (
    Operation(
        "get_session",
        "get",
        "/api/session",
        "Service",
        "Whether a log-in is needed, and is there",
        {200: Reply("Either way", {JSON: Session})},
        "For the page, before it asks for anything else: it never answers 401, and a token is not looked at.",
        parameters=READER,
    ),
    Operation(
        "log_in",
        "post",
        "/api/session",
        "Service",
        "Exchange a token for a cookie",
        {204: Reply("Logged in", headers={"Set-Cookie": "HttpOnly, SameSite=Strict"})},
        parameters=READER,
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
        parameters=READER,
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
        parameters=READER,
    ),
    Operation("page", "get", "/", "Service", "The web page", {200: Reply("HTML", {"text/html": TEXT})}),
)

OPERATIONS = TASKS + _PUSH + _FILES + _SERVICE
