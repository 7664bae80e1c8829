"""`POST /api/process/batch`: many links in one request, each with its own result."""

import asyncio
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from aiohttp import web

from server.api.bodies import MAX_BODY, read_json, uncollected, validated
from server.api.idempotency import key_of
from server.api.keys import TASKS
from server.api.openapi.operation import JSON, OF_CHANGES, READER, Operation, Reply
from server.api.openapi.schemas import Results
from server.api.pieces import pieces
from server.api.process import IDEMPOTENCY_KEY, Asked, Reading
from server.api.results import Result, respond_results
from server.api.route import post
from server.core.errors import AmbiguousHeader, AppError, InvalidQuery, InvalidRequest
from server.core.models import MOST_AT_ONCE, Batch
from server.tasks.service import Accepted

MAX_BATCH = 4 << 20  # bytes


async def submit_batch(request: web.Request) -> web.Response:
    """Add all valid requests in one transaction; an invalid one does not affect the others.

    With an `Idempotency-Key` each request has this key and its index as its own key, so a retry of the same
    batch returns the same tasks.
    """
    key = key_of(request)
    asked = await _read_all(request, await read_json(request, MAX_BATCH), key)
    possible = [each for each in asked if isinstance(each, tuple)]
    accepted = iter(await request.app[TASKS].accept_all(possible))
    return await respond_results(request, _results(asked, accepted))


async def _read_all(request: web.Request, body: bytes, key: str | None) -> list[Asked | AppError]:
    """What each request of the batch asks for, or its error.

    The event loop turns after each, and of what was wrong only the little that is told is kept.
    """
    reading, asked, others = Reading(request), list[Asked | AppError](), dict[str, Any]()
    with uncollected():
        for name, place, value in pieces(body, "requests", MAX_BODY):
            if place is None:
                others[name] = value
            elif not isinstance(value, dict):
                asked[place:] = [InvalidRequest([("body", "dict_type", {})])]
            else:
                asked[place:] = [await reading.read(value, f"{key} {place}" if key else None)]
            if len(asked) > MOST_AT_ONCE:
                break  # which is too many, whatever else there is
            await asyncio.sleep(0)
    validated(Batch, {"requests": asked, **others} if asked else others)
    return asked


def _results(asked: list[Asked | AppError], accepted: Iterator[Accepted | AppError]) -> Iterator[Result]:
    for each in asked:
        outcome = each if isinstance(each, AppError) else next(accepted)
        if isinstance(outcome, AppError):
            yield outcome
        else:
            yield HTTPStatus.OK if outcome.is_shared else HTTPStatus.ACCEPTED, outcome.status


ROUTES = [
    post(
        "/api/process/batch",
        submit_batch,
        Operation(
            "process_batch",
            "Tasks",
            "Make many tasks",
            {200: Reply("What became of each, in order", {JSON: Results})},
            "Each is taken or refused by itself; those that are taken are on disk, all in one transaction.",
            parameters=(IDEMPOTENCY_KEY, *READER),
            body=Batch,
            errors=(AmbiguousHeader, InvalidQuery, *OF_CHANGES),
        ),
    )
]
