"""Reads and validates JSON bodies, and makes JSON responses in the reader's language."""

import asyncio
from functools import lru_cache
from http import HTTPStatus
from typing import Any, TypeVar

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from server.api.keys import ENCODER, LANGUAGE, SETTINGS
from server.api.payload import dumps
from server.api.security import HEADERS
from server.errors import BodyTooLarge, BodyTooSlow, InvalidRequest, NotJson, NotJsonType, WrongField
from server.locales import LANGUAGES, negotiate
from server.models import OF_A_CLIENT, TaskStatus

MAX_BODY = 64 * 1024
BODY_WITHIN = 20.0  # seconds

M = TypeVar("M", bound=BaseModel)


def language(request: web.Request) -> str:
    """The language of the response: `?lang=`, else `Accept-Language`, else the configured one."""
    asked = request.query.get("lang") if "?" in request.raw_path else None
    if asked and asked in LANGUAGES:
        return asked
    return negotiate(",".join(request.headers.getall(hdrs.ACCEPT_LANGUAGE, ())), request.app[LANGUAGE])


def docs_path(request: web.Request) -> str:
    return f"{request.app[SETTINGS].server.base_path}/api/docs"


async def read_object(request: web.Request, most: int = MAX_BODY) -> dict[str, Any]:
    """The body, a JSON object of at most `most` bytes.

    Raises `NotJsonType`, `BodyTooLarge`, `BodyTooSlow`, `NotJson`, `InvalidRequest`.
    """
    if request.content_type != "application/json":
        raise NotJsonType
    if (request.content_length or 0) > most:
        raise BodyTooLarge
    if most != MAX_BODY:  # aiohttp's limit, which `create_app` sets
        request = request.clone(client_max_size=most)
    try:
        async with asyncio.timeout(None if request.content.is_eof() else BODY_WITHIN):
            body = from_json(await request.read(), allow_inf_nan=False)
    except web.HTTPRequestEntityTooLarge:
        raise BodyTooLarge from None
    except (ValueError, web.RequestPayloadError):  # the latter: such as a wrong Content-Encoding
        raise NotJson from None
    except TimeoutError:
        raise BodyTooSlow from None
    if not isinstance(body, dict):
        raise InvalidRequest([("body", "dict_type", {})])
    return body


def validated(model: type[M], body: dict[str, Any], *known: WrongField) -> M:
    """`body` as `model`. Raises `InvalidRequest` with every wrong field, including those in `known`."""
    try:
        found = model.model_validate(body, context=OF_A_CLIENT)
    except ValidationError as exc:
        raise InvalidRequest([*map(_wrong, _true_errors(exc)), *known]) from None
    if known:
        raise InvalidRequest(list(known))
    return found


def _true_errors(exc: ValidationError) -> list[ErrorDetails]:
    """The errors, except `too_short` of arrays with invalid elements, which pydantic does not count."""
    errors = exc.errors(include_url=False, include_input=False)
    inner = {error["loc"][:-1] for error in errors}
    return [error for error in errors if error["type"] != "too_short" or error["loc"] not in inner]


def _wrong(error: ErrorDetails) -> WrongField:
    field = ".".join(str(part) for part in error["loc"])
    return field, error["type"], dict(error.get("ctx") or {})


def respond(
    request: web.Request, status: TaskStatus, http_status: HTTPStatus = HTTPStatus.OK
) -> web.Response:
    """The payload of `status` in the reader's language."""
    chosen = language(request)
    payload = request.app[ENCODER].encode(status, chosen)
    return web.Response(body=payload.body, status=http_status, headers=payload_headers(chosen))


@lru_cache
def payload_headers(chosen: str) -> CIMultiDictProxy[str]:
    """The headers of every payload in this language; aiohttp copies a proxy much faster than a `dict`."""
    headers = HEADERS | {
        "Cache-Control": "private, no-cache",
        "Content-Language": chosen,
        "Content-Type": "application/json",
        "Vary": "Accept-Language",
    }
    return CIMultiDictProxy(CIMultiDict(headers))


def respond_json(
    value: object, status: HTTPStatus = HTTPStatus.OK, content_type: str = "application/json"
) -> web.Response:
    return web.Response(body=dumps(value), status=status, content_type=content_type)
