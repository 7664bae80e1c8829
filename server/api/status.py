"""`GET /api/status/<task_id>`: the current status, or with `wait` the next one (long polling)."""

import asyncio
import contextlib
import re
from http import HTTPStatus

from aiohttp import WSCloseCode, web
from multidict import istr

from server.api.bodies import Query, client_has, language, payload_form, payload_headers
from server.api.connections import CONNECTIONS
from server.api.keys import ENCODER, HUB, tasks_of
from server.api.openapi.operation import (
    HAS_IT,
    IF_NONE_MATCH,
    JSON,
    READER,
    TASK_ID,
    Operation,
    Parameter,
    Reply,
    header,
)
from server.api.payload import TaskPayload
from server.api.prepared import Prepared
from server.api.route import get
from server.api.session import LOG_INS
from server.core.errors import InvalidQuery, TaskNotFound, TokenRequired
from server.core.task import TaskStatus
from server.tasks.hub import Removed, Waiter

MAX_WAIT = 50.0  # seconds
POLL_EVERY = "2"  # seconds: `Retry-After` for clients that poll, as docs/api.md advises
_PREFER = istr("Prefer")
_PREFER_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*(\"?)([0-9]+)\1\s*(?=$|[,;])", re.IGNORECASE)


async def get_status(request: web.Request) -> web.Response:
    """The current status; 304 if the client has it already; with `?wait=` held until it changes."""
    task_id = request.match_info["task_id"]
    wait = wanted_wait(request)
    if wait is None:
        return _answer(request, await tasks_of(request).status(task_id))
    waiting = request.app[CONNECTIONS].attended(request.protocol, _next_status(request, task_id, wait))
    response = _answer(request, await waiting)
    response.headers.popall("Retry-After", None)
    return response


def wanted_wait(request: web.Request) -> float | None:
    """Seconds from `?wait=` or `Prefer: wait=` (RFC 7240), at most `MAX_WAIT`; None if not asked for."""
    if "?" in request.raw_path:
        query = Query(request)
        wait = query.seconds("wait", MAX_WAIT)
        query.check()
        if wait is not None:
            return wait
    if _PREFER in request.headers:  # a malformed `Prefer` is ignored
        preferred = _PREFER_WAIT.search(",".join(request.headers.getall(_PREFER)))
        return min(float(preferred[2]), MAX_WAIT) if preferred else None
    return None


class Poll(Waiter):
    """A long poll's wait for a change, which also ends when the session of its request ends."""

    is_logged_out = False

    def end(self, code: WSCloseCode) -> None:
        self.is_logged_out = True
        self.close()


async def _next_status(request: web.Request, task_id: str, wait: float) -> TaskStatus:
    """The first status that the client does not have; after `wait` seconds the current one.

    Raises `TaskNotFound`, `TokenRequired`.
    """
    tasks, poll = tasks_of(request), Poll()
    encoder, form = request.app[ENCODER], payload_form(request, language(request))
    with request.app[LOG_INS].hold(request, poll), request.app[HUB].watch(task_id, poll):
        # Subscribe, then read: a change in between is held by `poll` and not lost.
        status = await tasks.status(task_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while client_has(request, encoder.encode(status, form).etag):
                    update = await anext(poll, None)
                    if poll.is_logged_out:
                        raise TokenRequired
                    if update is None:  # the server shuts down
                        break
                    if isinstance(update, Removed):
                        raise TaskNotFound
                    if update.revision > status.revision:
                        status = update
    return status


def _answer(request: web.Request, status: TaskStatus) -> web.Response:
    chosen = language(request)
    payload = request.app[ENCODER].encode(status, payload_form(request, chosen))
    own = {"ETag": payload.etag} if payload.is_last else {"ETag": payload.etag, "Retry-After": POLL_EVERY}
    if client_has(request, payload.etag):
        return Prepared(payload_headers(chosen, has_body=False), own, None, HTTPStatus.NOT_MODIFIED)
    return Prepared(payload_headers(chosen), own, payload.body)


WAIT = Parameter(
    "wait",
    "seconds; more than 50 is 50",
    {"type": "string", "pattern": r"^(0|[1-9][0-9]*)(\.[0-9]+)?$"},
)
_ETAG = {"ETag": "names the revision, its language and its wording"}
ROUTES = [
    get(
        "/api/status/{task_id}",
        get_status,
        Operation(
            "status",
            "Tasks",
            "The current status, or the next",
            {
                200: Reply(
                    "The task",
                    {JSON: TaskPayload},
                    _ETAG | {"Retry-After": "seconds, while `processing`; not after a `wait`"},
                ),
                304: Reply(HAS_IT, headers=_ETAG),
            },
            "With `wait` and `If-None-Match` held until the next change; when the time is up, `304`.",
            parameters=(
                TASK_ID,
                WAIT,
                header("Prefer", "`wait=<seconds>`, like `wait`"),
                IF_NONE_MATCH,
                *READER,
            ),
            errors=(InvalidQuery, TaskNotFound),
        ),
    )
]
