"""The little HTTP that the handlers share: typed keys, bodies in, payloads and problems out."""

import asyncio
import logging
import secrets
from http import HTTPStatus
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from server.api.connections import CONNECTIONS
from server.api.payload import Encoder, dumps
from server.errors import (
    AppError,
    BodyTooLarge,
    BodyTooSlow,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    NotJson,
    NotJsonType,
    SourceRefused,
)
from server.locales import LANGUAGES, Catalogue, negotiate
from server.models import TaskStatus
from server.ports import FileStore
from server.settings import Settings
from server.tasks.hub import Hub
from server.tasks.inspector import Inspector
from server.tasks.readiness import Readiness
from server.tasks.service import Tasks

log = logging.getLogger(__name__)

SETTINGS = web.AppKey("settings", Settings)
TASKS = web.AppKey("tasks", Tasks)
HUB = web.AppKey("hub", Hub)
FILES: web.AppKey[FileStore] = web.AppKey("files")
INSPECTOR = web.AppKey("inspector", Inspector)
READINESS = web.AppKey("readiness", Readiness)
ENCODER = web.AppKey("encoder", Encoder)

SCOPE = web.RequestKey("scope", str)  # names the token, where tokens are set

MAX_BODY = 64 * 1024
BODY_WITHIN = 20.0  # seconds

M = TypeVar("M", bound=BaseModel)


def language(request: web.Request) -> str:
    """The reader's: `?lang=`, else `Accept-Language`, else the configured one."""
    asked = request.query.get("lang") if "?" in request.raw_path else None
    if asked and asked in LANGUAGES:
        return asked
    return negotiate(request.headers.get("Accept-Language"), request.app[SETTINGS].server.language)


async def read_object(request: web.Request) -> dict[str, Any]:
    """The body, a JSON object. Raises `NotJsonType`, `BodyTooLarge`, `NotJson`, `InvalidRequest`."""
    if request.content_type != "application/json":
        raise NotJsonType
    if (request.content_length or 0) > MAX_BODY:
        raise BodyTooLarge
    try:
        async with asyncio.timeout(BODY_WITHIN):
            body = from_json(await request.read(), allow_inf_nan=False)
    except (ValueError, web.RequestPayloadError):  # also a Content-Encoding that it has not
        raise NotJson from None
    except TimeoutError:
        raise BodyTooSlow from None
    if not isinstance(body, dict):
        raise InvalidRequest([("body", "dict_type", {})])
    return body


def validated(model: type[M], body: dict[str, Any]) -> M:
    """`body` as `model`; raises `InvalidRequest` that names every wrong field."""
    try:
        return model.model_validate(body)
    except ValidationError as exc:
        problems = exc.errors(include_url=False, include_input=False)
        raise InvalidRequest([_wrong(problem) for problem in problems]) from None


def _wrong(problem: ErrorDetails) -> tuple[str, str, dict[str, object]]:
    field = ".".join(str(part) for part in problem["loc"])
    return field, problem["type"], dict(problem.get("ctx") or {})


def respond(
    request: web.Request, status: TaskStatus, http_status: HTTPStatus = HTTPStatus.OK
) -> web.Response:
    """The payload of `status` in the reader's language."""
    chosen = language(request)
    payload = request.app[ENCODER].encode(status, chosen)
    headers = {
        "Content-Type": "application/json",
        "Content-Language": chosen,
        "Vary": "Accept-Language",
    }
    return web.Response(body=payload.body, status=http_status, headers=headers)


def respond_json(
    value: object, status: HTTPStatus = HTTPStatus.OK, content_type: str = "application/json"
) -> web.Response:
    return web.Response(body=dumps(value), status=status, content_type=content_type)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error as application/problem+json (RFC 9457)."""
    connections, connection = request.app[CONNECTIONS], request.protocol
    connections.begin(connection)
    try:
        return await handler(request)
    except AppError as exc:
        return problem(request, exc)
    except web.HTTPException as exc:
        if exc.status < HTTPStatus.BAD_REQUEST:
            raise
        return _problem_of_aiohttp(request, exc)
    except ConnectionError:
        raise  # the client left: there is nobody to answer
    except Exception:
        error_id = secrets.token_hex(8)
        log.exception("error %s in %s %s", error_id, request.method, request.path)
        return problem(request, InternalError(error_id))
    finally:
        connections.end(connection)


def problem(request: web.Request, error: AppError) -> web.Response:
    """`error` in the reader's words; codes are stable, texts are not."""
    chosen = language(request)
    words = LANGUAGES[chosen]
    title, detail = words.problem(error.code, error.values)
    body: dict[str, object] = {
        "type": f"{request.app[SETTINGS].server.base_path}/api/docs#{error.code}",
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


def _problem_of_aiohttp(request: web.Request, exc: web.HTTPException) -> web.StreamResponse:
    match exc:
        case web.HTTPNotFound():
            return problem(request, NotFound())
        case web.HTTPMethodNotAllowed():
            return problem(request, MethodNotAllowed(", ".join(sorted(exc.allowed_methods))))
        case web.HTTPRequestEntityTooLarge():
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
