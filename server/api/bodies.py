"""Reads and validates JSON bodies, and makes JSON responses in the reader's language."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from http import HTTPStatus
from typing import Any, TypeVar, get_args

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from server.api.keys import ENCODER, LANGUAGE, SETTINGS
from server.api.payload import dumps
from server.api.security import HEADERS
from server.core.errors import BodyTooLarge, BodyTooSlow, InvalidRequest, NotJson, NotJsonType, WrongField
from server.core.models import OF_A_CLIENT, TaskStatus
from server.locales import LANGUAGES, negotiate

MAX_BODY = 64 * 1024
MOST_TOLD = 20  # wrong elements, and unknown fields, that an answer names
LONGEST_NAME = 100  # characters of a field's name in an answer
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


async def read_object(request: web.Request) -> dict[str, Any]:
    """The body, a JSON object of at most `MAX_BODY` bytes.

    Raises `NotJsonType`, `BodyTooLarge`, `BodyTooSlow`, `NotJson`, `InvalidRequest`.
    """
    return as_object(await read_json(request, MAX_BODY))


async def read_json(request: web.Request, most: int) -> bytes:
    """The body, not parsed yet, of at most `most` bytes.

    Raises `NotJsonType`, `BodyTooLarge`, `BodyTooSlow`, `NotJson`.
    """
    if request.content_type != "application/json":
        raise NotJsonType
    if (request.content_length or 0) > most:
        raise BodyTooLarge
    if most != MAX_BODY:  # aiohttp's limit, which `create_app` sets
        request = request.clone(client_max_size=most)
    try:
        async with asyncio.timeout(None if request.content.is_eof() else BODY_WITHIN):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise BodyTooLarge from None
    except web.RequestPayloadError:  # such as a wrong Content-Encoding
        raise NotJson from None
    except TimeoutError:
        raise BodyTooSlow from None


def as_object(text: bytes) -> dict[str, Any]:
    """Raises `NotJson`, `InvalidRequest`. Blocks up to 0.3 µs a byte, so `text` has at most `MAX_BODY`."""
    body = parsed(text)
    if not isinstance(body, dict):
        raise InvalidRequest([("body", "dict_type", {})])
    return body


def parsed(text: bytes) -> Any:
    """The JSON value of `text`. Raises `NotJson`."""
    with uncollected():
        try:
            return from_json(text, allow_inf_nan=False)
        except ValueError:
            raise NotJson from None


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector, which would run dozens of times while a body that is full of brackets is
    parsed, and now and then look through all that the server holds. What is made within is freed without it.
    """
    is_enabled = gc.isenabled()  # not within another of these
    gc.disable()
    try:
        yield
    finally:
        if is_enabled:
            gc.enable()


def validated(model: type[M], body: dict[str, Any], *known: WrongField) -> M:
    """`body` as `model`. Raises `InvalidRequest` with the wrong fields, including those in `known`.

    Each field of the model is told once; of elements of lists, and of fields that do not exist, the first
    `MOST_TOLD`: a body of 64 KiB has room for thousands.
    """
    wrong = list(known)
    try:
        found = model.model_validate(_with_few_unknown(model, body), context=OF_A_CLIENT)
    except ValidationError as exc:
        wrong = [*_first_ones(_true_errors(exc)), *known]
    if wrong:
        told = {field: (field, key, values) for field, key, values in reversed(wrong)}
        raise InvalidRequest([*reversed(told.values())])
    return found


def _with_few_unknown(model: type[BaseModel], body: dict[str, Any]) -> dict[str, Any]:
    """`body` without the unknown fields behind the first `MOST_TOLD`, also within its objects."""
    unknown = {*[name for name in body if name not in model.model_fields][MOST_TOLD:]}
    few = {name: value for name, value in body.items() if name not in unknown} if unknown else body
    inner = {
        name: _with_few_unknown(kind, value)
        for name, kind in _objects(model).items()
        if isinstance(value := body.get(name), dict)
    }
    return few | inner


@cache
def _objects(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The fields that are objects, with their models."""
    kinds = {
        name: [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        for name, field in model.model_fields.items()
    }
    return {name: kind for name, found in kinds.items() for kind in found if issubclass(kind, BaseModel)}


def _first_ones(errors: list[ErrorDetails]) -> Iterator[WrongField]:
    elements = unknown = 0
    for error in errors:
        is_element = any(isinstance(part, int) for part in error["loc"])
        is_unknown = error["type"] == "extra_forbidden"
        elements, unknown = elements + is_element, unknown + is_unknown
        if (is_element and elements > MOST_TOLD) or (is_unknown and unknown > MOST_TOLD):
            continue
        yield _wrong(error)


def _true_errors(exc: ValidationError) -> list[ErrorDetails]:
    """The errors, except `too_short` of arrays with invalid elements, which pydantic does not count."""
    errors = exc.errors(include_url=False, include_input=False)
    inner = {error["loc"][:-1] for error in errors}
    return [error for error in errors if error["type"] != "too_short" or error["loc"] not in inner]


def _wrong(error: ErrorDetails) -> WrongField:
    field = ".".join(str(part) for part in error["loc"])
    field = field if len(field) <= LONGEST_NAME else f"{field[: LONGEST_NAME - 1]}…"
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
