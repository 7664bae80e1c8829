"""`POST /api/process`: a link goes in, a task comes out."""

from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from server.api.bodies import read_object, respond, validated
from server.api.cookies import cookies_named, unknown_cookies
from server.api.idempotency import idempotency, key_of
from server.api.keys import COOKIES, SCOPE, SETTINGS, TASKS
from server.api.openapi.operation import JSON, OF_CHANGES, READER, Operation, Reply, header
from server.api.payload import TaskPayload
from server.api.route import post
from server.core.errors import (
    AmbiguousHeader,
    AppError,
    IdempotencyMismatch,
    InvalidQuery,
    InvalidRequest,
    QueueFull,
    WrongField,
)
from server.core.models import ProcessRequest
from server.core.ports import Idempotency
from server.core.sameness import wish_of

Presets = Mapping[str, dict[str, Any]]
Asked = tuple[ProcessRequest, Idempotency | None, str]  # the request, its key, its wish


async def submit(request: web.Request) -> web.Response:
    """Accept a download. The response is sent once the task is on disk, before anything is fetched."""
    body, key = await read_object(request), key_of(request)
    asked = await Reading(request).read(body, key)
    if isinstance(asked, AppError):
        raise asked
    accepted = await request.app[TASKS].accept(*asked)
    if accepted.is_shared:
        return respond(request, accepted.status)
    response = respond(request, accepted.status, HTTPStatus.ACCEPTED)
    base_path = request.app[SETTINGS].server.base_path
    response.headers["Location"] = f"{base_path}/api/status/{accepted.status.task_id}"
    return response


class Reading:
    """Reads the bodies that come with one `request`."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._presets = request.app[SETTINGS].presets
        self._cookies: Collection[str] = ()  # the names of stored cookie files, once a body has named one

    async def read(self, body: dict[str, Any], key: str | None) -> Asked | AppError:
        """What `body` asks for, with its idempotency key; or its error."""
        whole = with_preset(body, self._presets)
        self._cookies = self._cookies or await cookies_named([whole], self._request.app[COOKIES])
        unknown = unknown_cookies(whole, self._cookies)
        try:
            if unknown and await _was_accepted(self._request, body, whole, key):
                unknown = []  # a retry, whose cookie file was deleted since
            wanted = validated(ProcessRequest, whole, *unknown_preset(body, self._presets), *unknown)
        except (InvalidRequest, IdempotencyMismatch) as wrong:
            return wrong.with_traceback(None)  # which would keep all that was sent
        return wanted, idempotency(key, wanted, body.keys()), wish_of(self._request.get(SCOPE, ""), wanted)


async def _was_accepted(
    request: web.Request, body: dict[str, Any], whole: dict[str, Any], key: str | None
) -> bool:
    """Whether the same request with the same key has made a task. Raises `IdempotencyMismatch`."""
    try:
        wanted = validated(ProcessRequest, whole)
    except InvalidRequest:
        return False
    known = idempotency(key, wanted, body.keys())
    return known is not None and await request.app[TASKS].is_known(known)


def with_preset(body: dict[str, Any], presets: Presets) -> dict[str, Any]:
    """`body` with its preset as defaults. The task stores these: a new configuration does not change it."""
    name = body.get("preset")
    return presets.get(name, {}) | body if isinstance(name, str) else body


def unknown_preset(body: dict[str, Any], presets: Presets) -> list[WrongField]:
    """The error of a `body` with an unknown preset; else nothing."""
    name = body.get("preset")
    return [("preset", "preset_unknown", {})] if isinstance(name, str) and name not in presets else []


IDEMPOTENCY_KEY = header(
    "Idempotency-Key",
    "the same key and request give the same task",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
)
ROUTES = [
    post(
        "/api/process",
        submit,
        Operation(
            "process",
            "Tasks",
            "Make a task",
            {
                200: Reply("With `reuse`: another task that will do", {JSON: TaskPayload}),
                202: Reply("It is on disk", {JSON: TaskPayload}, {"Location": "`/api/status/<task_id>`"}),
            },
            "Only `url` is required; by default there will be a video and an audio file, from one download. "
            "The answer comes before anything is fetched.",
            parameters=(
                IDEMPOTENCY_KEY,
                *READER,
            ),
            body=ProcessRequest,
            errors=(AmbiguousHeader, InvalidQuery, IdempotencyMismatch, QueueFull, *OF_CHANGES),
        ),
    )
]
