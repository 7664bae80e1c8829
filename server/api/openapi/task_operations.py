"""The routes about tasks, as the OpenAPI description tells them."""

from server import errors
from server.api.openapi.operation import (
    BINARY,
    HAS_IT,
    IF_NONE_MATCH,
    JSON,
    OF_CHANGES,
    READER,
    TASK,
    TEXT,
    Operation,
    Parameter,
    Reply,
    header,
)
from server.api.openapi.schemas import Info, TaskPage, TaskStatus
from server.errors import AppError
from server.models import InfoRequest, PriorityChange, ProcessRequest, Stage

_PAYLOAD = Reply("The task", {JSON: TaskStatus})
_ETAG = {"ETag": "names the revision, its language and its wording"}


def _action(name: str, summary: str, text: str, *reasons: type[AppError]) -> Operation:
    return Operation(
        name,
        "post",
        f"/api/tasks/{{task_id}}/{name}",
        "Tasks",
        summary,
        {200: _PAYLOAD},
        text,
        parameters=(TASK, *READER),
        errors=(errors.TaskNotFound, *reasons, *OF_CHANGES),
    )


TASKS = (
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
            *READER,
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
            304: Reply(HAS_IT, headers=_ETAG),
        },
        "With `wait` and `If-None-Match` held until the next change; when the time is up, `304`.",
        parameters=(
            TASK,
            Parameter(
                "wait",
                "seconds, at most 50",
                {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$"},
            ),
            header("Prefer", "`wait=<seconds>`, like `wait`"),
            IF_NONE_MATCH,
            *READER,
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
            *READER,
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
        parameters=(TASK, *READER),
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
        parameters=(TASK, *READER),
        errors=(errors.TaskNotFound, *OF_CHANGES),
    ),
    _action("cancel", "Cancel", "Answers when all that was started is gone.", errors.TaskAlreadyFinal),
    _action("pause", "Pause", "Frees its slot; stays paused over restarts.", errors.TaskAlreadyFinal),
    _action("resume", "Resume", "Goes on from the partial file.", errors.TaskAlreadyFinal),
    _action("retry", "Retry", "A task that has ended begins anew.", errors.WrongStage),
    _action(
        "finish",
        "Finish a live recording",
        "Ends it and keeps it. Answers when the files are there, or after 30 seconds with how far they are.",
        errors.TaskAlreadyFinal,
        errors.WrongStage,
    ),
    Operation(
        "log",
        "get",
        "/api/tasks/{task_id}/log",
        "Tasks",
        "The task's own log",
        {200: Reply("What yt-dlp and ffmpeg said, capped, without secrets", {"text/plain": TEXT})},
        parameters=(TASK, *READER),
        errors=(errors.TaskNotFound,),
    ),
    Operation(
        "thumbnail",
        "get",
        "/api/tasks/{task_id}/thumbnail",
        "Tasks",
        "A small JPEG",
        {200: Reply("At most 480 pixels wide", {"image/jpeg": BINARY})},
        parameters=(TASK, *READER),
        errors=(errors.TaskNotFound, errors.ThumbnailNotFound),
    ),
    Operation(
        "info",
        "post",
        "/api/info",
        "Tasks",
        "What a link offers",
        {200: Reply("Nothing of it is kept", {JSON: Info})},
        parameters=READER,
        body=InfoRequest,
        errors=(errors.SourceRefused, errors.OriginForbidden),
    ),
)
