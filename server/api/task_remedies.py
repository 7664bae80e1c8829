"""`/api/tasks/{task_id}/remedies`: lists what the service can do about a failure, and does it."""

from typing import Any

from aiohttp import web

from server.api.bodies import language, read_object, respond, respond_json, validated
from server.api.cookies import cookies_named, unknown_cookies
from server.api.keys import COOKIES, TASKS
from server.api.openapi.operation import JSON, OF_CHANGES, READER, TASK_ID, Operation, Parameter, Reply
from server.api.openapi.schemas import Remedies
from server.api.payload import TaskPayload
from server.api.route import get, post
from server.core.errors import QueueFull, RemedyNotFound, RemedyNotOffered, TaskNotFound, WrongField
from server.core.models import RemedyRequest
from server.locales import LANGUAGES
from server.tasks.remedies import NEEDS_COOKIES, REMEDIES, offered


async def list_remedies(request: web.Request) -> web.Response:
    """The remedies offered for the task, the likeliest first."""
    chosen, task_id = language(request), request.match_info["task_id"]
    names = offered(await request.app[TASKS].status(task_id))
    texts = {name: LANGUAGES[chosen].remedy(name) for name in names}
    response = respond_json({"remedies": names, "texts": texts})
    response.headers.update(
        {"Cache-Control": "private, no-cache", "Content-Language": chosen, "Vary": "Accept-Language"}
    )
    return response


async def apply(request: web.Request) -> web.Response:
    """The body is validated only once it is clear that the remedy is offered."""
    name, task_id = request.match_info["name"], request.match_info["task_id"]
    if name not in REMEDIES:
        raise RemedyNotFound
    possible = offered(await request.app[TASKS].status(task_id))
    if name not in possible:
        raise RemedyNotOffered(possible)
    body = await read_object(request) if request.body_exists else {}
    unknown = unknown_cookies(body, await cookies_named([body], request.app[COOKIES]))
    wanted = validated(RemedyRequest, body, *_misplaced(name, body), *unknown)
    given = {"cookies": wanted.cookies} if wanted.cookies else {}
    return respond(request, await request.app[TASKS].repair(task_id, name, given))


def _misplaced(name: str, body: dict[str, Any]) -> list[WrongField]:
    """The error of a body that lacks the cookies a remedy needs, or has cookies that it does not take."""
    said = body.get("cookies") is not None
    if said == (name == NEEDS_COOKIES):
        return []
    return [("cookies", "extra_forbidden" if said else "missing", {})]


_NAME = Parameter("name", "one of `remedies`", {"enum": list(REMEDIES)}, "path")
_PATH = "/api/tasks/{task_id}/remedies"
ROUTES = [
    get(
        _PATH,
        list_remedies,
        Operation(
            "remedies",
            "Tasks",
            "What can be done about a failure",
            {200: Reply("Perhaps nothing", {JSON: Remedies})},
            parameters=(TASK_ID, *READER),
            errors=(TaskNotFound,),
        ),
    ),
    post(
        _PATH + "/{name}",
        apply,
        Operation(
            "repair",
            "Tasks",
            "Do it",
            {200: Reply("The task, which begins anew", {JSON: TaskPayload})},
            "The same task begins anew, in the way that the remedy says.",
            parameters=(TASK_ID, _NAME, *READER),
            body=RemedyRequest,
            needs_body=False,
            errors=(TaskNotFound, RemedyNotFound, RemedyNotOffered, QueueFull, *OF_CHANGES),
        ),
    ),
]
