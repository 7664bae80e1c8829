"""The response to a request for many things: `{"results": [{"status", "task" or "problem"}, ...]}`.

Each result has the HTTP status and the body that a request for this one thing would have got.
"""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus

from aiohttp import web

from server.api.bodies import language
from server.api.keys import ENCODER
from server.api.payload import dumps
from server.api.problems import problem_body
from server.core.errors import AppError
from server.core.models import TaskStatus

Result = tuple[HTTPStatus, TaskStatus | None] | AppError  # None: no task to show, such as after a deletion


MOST_OF_PROBLEMS = 256 * 1024  # bytes
AT_ONCE = 5  # results that are encoded before the event loop turns


async def respond_results(
    request: web.Request, results: Iterable[Result], *, more: bool = False
) -> web.Response:
    """The response; `more` says that more tasks match than were acted on.

    Once its problems have `MOST_OF_PROBLEMS` bytes, the others come without their `errors`: a few bytes that
    are wrong in many ways must not make megabytes.
    """
    chosen, encoded, of_problems = language(request), list[bytes](), 0
    for number, result in enumerate(results, 1):
        encoded.append(_encoded(request, result, chosen, in_full=of_problems < MOST_OF_PROBLEMS))
        of_problems += len(encoded[-1]) if isinstance(result, AppError) else 0
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    headers = {"Content-Language": chosen, "Vary": "Accept-Language", "Cache-Control": "private, no-cache"}
    body = b'{"results":[' + b",".join(encoded) + b"]" + (b',"more":true' if more else b"") + b"}"
    return web.Response(body=body, content_type="application/json", headers=headers)


def _encoded(request: web.Request, result: Result, chosen: str, *, in_full: bool) -> bytes:
    match result:
        case AppError() as error:
            told = problem_body(request, error, chosen)
            if not in_full:
                told.pop("errors", None)
            shown = b',"problem":' + dumps(told)
            return b'{"status":%d' % error.status + shown + b"}"
        case status, None:
            return b'{"status":%d}' % status
        case status, TaskStatus() as task:
            payload = request.app[ENCODER].encode(task, chosen).body
            return b'{"status":%d,"task":' % status + payload + b"}"
