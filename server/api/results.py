"""The response to a request for many things: `{"results": [{"status", "task" or "problem"}, ...]}`.

Each result has the HTTP status and the body that a request for this one thing would have got.
"""

from collections.abc import Iterable
from http import HTTPStatus

from aiohttp import web

from server.api.bodies import language
from server.api.keys import ENCODER
from server.api.payload import dumps
from server.api.problems import problem_body
from server.errors import AppError
from server.models import TaskStatus

Result = tuple[HTTPStatus, TaskStatus | None] | AppError  # None: no task to show, such as after a deletion


def respond_results(request: web.Request, results: Iterable[Result], *, more: bool = False) -> web.Response:
    """The response; `more` says that more tasks match than were acted on."""
    chosen = language(request)
    encoded = b",".join(_encoded(request, result, chosen) for result in results)
    headers = {"Content-Language": chosen, "Vary": "Accept-Language", "Cache-Control": "private, no-cache"}
    body = b'{"results":[' + encoded + b"]" + (b',"more":true' if more else b"") + b"}"
    return web.Response(body=body, content_type="application/json", headers=headers)


def _encoded(request: web.Request, result: Result, chosen: str) -> bytes:
    match result:
        case AppError() as error:
            shown = b',"problem":' + dumps(problem_body(request, error, chosen))
            return b'{"status":%d' % error.status + shown + b"}"
        case status, None:
            return b'{"status":%d}' % status
        case status, TaskStatus() as task:
            payload = request.app[ENCODER].encode(task, chosen).body
            return b'{"status":%d,"task":' % status + payload + b"}"
