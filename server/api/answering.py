"""What every request goes through: the doors, its handler, and errors as problems (RFC 9457)."""

import logging
import secrets
from collections.abc import Callable, Sequence
from functools import wraps
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from server.api.connections import Connections
from server.api.kit import docs_path, language, respond_json
from server.errors import (
    AppError,
    BodyTooLarge,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    SourceRefused,
)
from server.locales import LANGUAGES, Catalogue

log = logging.getLogger(__name__)

Admit = Callable[[web.Request], web.Response | None]
Finish = Callable[[web.Request, web.StreamResponse], None]
Wrap = Callable[[Handler], Handler]


def answering(admit: Admit, finish: Finish, connections: Connections) -> Wrap:
    """A wrapper for each handler: a middleware and a signal would be four more coroutines for each request.

    `admit` raises if the request may not in; what it returns, if anything, is the answer. `finish` adds
    what every answer carries; sockets, which are answered within their handlers, do that themselves.
    """

    def wrap(handler: Handler) -> Handler:
        @wraps(handler)
        async def answer(request: web.Request) -> web.StreamResponse:
            connection = request.protocol
            connections.begin(connection)
            try:
                response = admit(request) or await handler(request)
            except Exception as exc:
                response = _answer_to(request, exc)
            finally:
                connections.end(connection)
            if not response.prepared:
                finish(request, response)
            return response

        return answer

    return wrap


def wrapped(routes: Sequence[web.RouteDef], wrap: Wrap) -> list[web.RouteDef]:
    """`routes`, and one for everything else: it goes through the doors as well."""
    return [
        web.RouteDef(route.method, route.path, wrap(route.handler), route.kwargs)
        for route in (*routes, web.route("*", r"/{path:[\s\S]*}", unknown))
    ]


async def unknown(request: web.Request) -> web.StreamResponse:
    """Raises `MethodNotAllowed` for a path that is there, else `NotFound`."""
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        _, methods = await resource.resolve(request)
        allowed |= methods
    allowed.discard("*")  # this route itself
    raise MethodNotAllowed(", ".join(sorted(allowed))) if allowed else NotFound(docs_path(request))


def _answer_to(request: web.Request, exc: Exception) -> web.Response:
    match exc:
        case AppError():
            return problem(request, exc)
        case web.HTTPException():
            return _problem_of_aiohttp(request, exc)
        case ConnectionError():
            raise exc  # the client left: there is nobody to answer
    error_id = secrets.token_hex(8)
    log.error("error %s in %s %s", error_id, request.method, request.path, exc_info=exc)
    return problem(request, InternalError(error_id))


def problem(request: web.Request, error: AppError) -> web.Response:
    """`error` in the reader's words; codes are stable, texts are not."""
    chosen = language(request)
    words = LANGUAGES[chosen]
    title, detail = words.problem(error.code, error.values)
    body: dict[str, object] = {
        "type": f"{docs_path(request)}#{error.code}",
        "title": title,
        "status": int(error.status),
        "detail": detail,
        "code": error.code,
    }
    response = respond_json(
        body | error.extra | _members(error, words), error.status, "application/problem+json"
    )
    response.headers.update(error.headers)
    response.headers["Content-Language"] = chosen
    response.headers["Vary"] = "Accept-Language"
    return response


def _members(error: AppError, words: Catalogue) -> dict[str, object]:
    """What some errors say beyond the common members."""
    match error:
        case InvalidRequest(problems=wrong):
            return {"errors": [{"field": name, "message": words.field(key, ctx)} for name, key, ctx in wrong]}
        case SourceRefused(error_code=code):
            hint = words.hint(code)
            told = {"error_code": code, "error": words.error(code), "hint": hint}
            return {name: value for name, value in told.items() if value}
    return {}


def _problem_of_aiohttp(request: web.Request, exc: web.HTTPException) -> web.Response:
    if isinstance(exc, web.HTTPRequestEntityTooLarge):
        return problem(request, BodyTooLarge())
    code = exc.reason.lower().replace(" ", "_")
    body = {
        "type": "about:blank",
        "title": exc.reason,
        "status": exc.status,
        "detail": exc.reason,
        "code": code,
    }
    return respond_json(body, HTTPStatus(exc.status), "application/problem+json")
