"""`/api/session`: for the page, to ask whether a log-in is needed, to log in with a token, and to log out."""

from http import HTTPStatus

from aiohttp import web
from pydantic import Field

from server.api.auth import GATE, check_sender
from server.api.bodies import read_object, respond_json, validated
from server.api.keys import SETTINGS
from server.api.log_ins import COOKIE, LOG_INS, carries_cookie
from server.api.openapi.operation import JSON, OF_CHANGES, READER, Operation, Reply
from server.api.openapi.schemas import SessionState
from server.api.route import Access, delete, get, post
from server.api.security import DOORS
from server.core.models import Frozen
from server.core.ports import SESSION_LASTS


class LogIn(Frozen):
    """The body of `POST /api/session`."""

    token: str = Field(min_length=1, max_length=4096)


async def get_session(request: web.Request) -> web.Response:
    """Whether a log-in is needed, and whether the request has a valid session: always 200."""
    gate = request.app[GATE]
    logged_in = gate.is_locked and await request.app[LOG_INS].find(request) is not None
    response = respond_json({"login_required": gate.is_locked, "logged_in": logged_in})
    response.headers["Cache-Control"] = "no-store"
    return response


async def log_in(request: web.Request) -> web.Response:
    """Exchange a token for an HttpOnly session cookie; without a cookie if no tokens are configured."""
    gate, doors = request.app[GATE], request.app[DOORS]
    wanted = validated(LogIn, await read_object(request))
    scope = gate.check(wanted.token, doors.client(request))
    response = web.Response(status=HTTPStatus.NO_CONTENT)
    if gate.is_locked:
        secret = await request.app[LOG_INS].begin(scope)
        secure = "; Secure" if doors.is_https(request) else ""
        _set_cookie(response, secret, _path(request), f"; Max-Age={SESSION_LASTS:.0f}{secure}")
    return response


async def log_out(request: web.Request) -> web.Response:
    """End the session on the server and delete its cookie in the browser."""
    if carries_cookie(request):
        check_sender(request)
    await request.app[LOG_INS].end(request)
    response = web.Response(status=HTTPStatus.NO_CONTENT)
    for path in {"/", request.app[SETTINGS].server.base_path or "/"}:
        _set_cookie(response, "", path, "; Max-Age=0")
    return response


def _path(request: web.Request) -> str:
    """The `Path` of the session cookie: `base_path` if the browser's address has this prefix, else `/`.

    A request without the prefix came either through a proxy that strips it, or directly, past the proxy.
    """
    base_path = request.app[SETTINGS].server.base_path
    has_prefix = request.path.startswith(base_path + "/") or request.app[DOORS].is_forwarded(request)
    return base_path if base_path and has_prefix else "/"


def _set_cookie(response: web.Response, value: str, path: str, more: str) -> None:
    response.headers.add("Set-Cookie", f"{COOKIE}={value}; Path={path}; HttpOnly; SameSite=Strict{more}")


ROUTES = [
    get(
        "/api/session",
        get_session,
        Operation(
            "get_session",
            "Service",
            "Whether a log-in is needed, and is there",
            {200: Reply("Either way", {JSON: SessionState})},
            "For the page, before it asks for anything else: never 401, and a token is not looked at.",
            parameters=READER,
        ),
        access=Access.LOG_IN,
    ),
    post(
        "/api/session",
        log_in,
        Operation(
            "log_in",
            "Service",
            "Exchange a token for a cookie",
            {204: Reply("Logged in", headers={"Set-Cookie": "HttpOnly, SameSite=Strict"})},
            parameters=READER,
            body=LogIn,
            errors=OF_CHANGES,
        ),
        access=Access.LOG_IN,
    ),
    delete(
        "/api/session",
        log_out,
        Operation(
            "log_out",
            "Service",
            "End the session",
            {204: Reply("Logged out", headers={"Set-Cookie": "takes the cookie away"})},
            parameters=READER,
            errors=OF_CHANGES,
        ),
        access=Access.LOG_IN,
    ),
]
