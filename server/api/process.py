"""`POST /api/process`: a link goes in, a task comes out."""

import hashlib
import re
from http import HTTPStatus
from typing import Any

from aiohttp import web

from server.api.bodies import read_object, respond, validated
from server.api.keys import SCOPE, SETTINGS, TASKS
from server.api.openapi.operation import JSON, OF_CHANGES, READER, Operation, Reply, header
from server.api.openapi.schemas import TaskPayload
from server.api.route import post
from server.errors import IdempotencyMismatch, InvalidQuery, InvalidRequest, QueueFull
from server.models import ProcessRequest
from server.ports import Idempotency

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


async def submit(request: web.Request) -> web.Response:
    """Accept a download; the answer comes once the task is on disk and before anything is fetched."""
    body = with_preset(await read_object(request), request.app[SETTINGS].presets)
    wanted = validated(ProcessRequest, body)
    status = await request.app[TASKS].submit(wanted, _idempotency(request, wanted))
    response = respond(request, status, HTTPStatus.ACCEPTED)
    base_path = request.app[SETTINGS].server.base_path
    response.headers["Location"] = f"{base_path}/api/status/{status.task_id}"
    return response


def with_preset(body: dict[str, Any], presets: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """`body` over what its preset says: the task keeps this even if the configuration changes."""
    name = body.get("preset")
    if not isinstance(name, str):
        return body
    if name not in presets:
        raise InvalidRequest([("preset", "preset_unknown", {})])
    return presets[name] | body


def _idempotency(request: web.Request, wanted: ProcessRequest) -> Idempotency | None:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidQuery("Idempotency-Key")
    asked = hashlib.sha256(wanted.model_dump_json().encode()).hexdigest()
    return Idempotency(key=f"{request.get(SCOPE, '')}:{key}", request=asked)


ROUTES = [
    post(
        "/api/process",
        submit,
        Operation(
            "process",
            "Tasks",
            "Make a task",
            {202: Reply("It is on disk", {JSON: TaskPayload}, {"Location": "`/api/status/<task_id>`"})},
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
            errors=(InvalidQuery, IdempotencyMismatch, QueueFull, *OF_CHANGES),
        ),
    )
]
