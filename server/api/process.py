"""`POST /api/process`: a link goes in, a task comes out."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from server.api.bodies import read_object, respond, validated
from server.api.idempotency import idempotency
from server.api.keys import SETTINGS, TASKS
from server.api.openapi.operation import JSON, OF_CHANGES, READER, Operation, Reply, header
from server.api.openapi.schemas import TaskPayload
from server.api.route import post
from server.errors import IdempotencyMismatch, InvalidQuery, QueueFull, WrongField
from server.models import ProcessRequest

Presets = Mapping[str, dict[str, Any]]


async def submit(request: web.Request) -> web.Response:
    """Accept a download; the answer comes once the task is on disk and before anything is fetched."""
    body, presets = await read_object(request), request.app[SETTINGS].presets
    wanted = validated(ProcessRequest, with_preset(body, presets), *unknown_preset(body, presets))
    status = await request.app[TASKS].submit(wanted, idempotency(request, wanted, body.keys()))
    response = respond(request, status, HTTPStatus.ACCEPTED)
    base_path = request.app[SETTINGS].server.base_path
    response.headers["Location"] = f"{base_path}/api/status/{status.task_id}"
    return response


def with_preset(body: dict[str, Any], presets: Presets) -> dict[str, Any]:
    """`body` over what its preset says: the task keeps this even if the configuration changes."""
    name = body.get("preset")
    return presets.get(name, {}) | body if isinstance(name, str) else body


def unknown_preset(body: dict[str, Any], presets: Presets) -> list[WrongField]:
    """That nobody has configured the preset, if so."""
    name = body.get("preset")
    return [("preset", "preset_unknown", {})] if isinstance(name, str) and name not in presets else []


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
