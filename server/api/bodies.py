"""Reads the body, query and conditions of a request, and makes JSON responses.

All routes read by the same rules. In a query a number is written in ASCII digits, without a sign, leading
zeros or surrounding characters. A repeated parameter is an error, because it is ambiguous, and so is one that
is empty: it names nothing, and a client whose variable is empty by mistake must not get everything. Only a
search text may be empty. Malformed conditions (RFC 9110, section 13) are ignored.
"""

import asyncio
import gc
import re
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from typing import Any, BinaryIO, TypeVar, get_args

from aiohttp import HttpVersion11, hdrs, web
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from server.api.keys import ENCODER, LANGUAGE, SETTINGS, SPOOL, principal_of
from server.api.openapi.operation import LARGEST_PAGE, MAX_CURSOR
from server.api.payload import Answer, form_of
from server.api.prepared import Prepared, SharedHeaders
from server.api.security import HEADERS
from server.core.errors import (
    BodyTooLarge,
    BodyTooSlow,
    EncodingUnknown,
    InvalidQuery,
    InvalidRequest,
    NotJson,
    NotJsonType,
    NotTextType,
    WrongField,
)
from server.core.task import TaskStatus
from server.core.values import OF_A_CLIENT
from server.locales import LANGUAGES, negotiate

MAX_BODY = 64 * 1024
SHORT = 1024  # bytes: a body too short to trigger many runs of the garbage collector
MOST_NAMED = 20  # most wrong elements, and most unknown fields, that an error names
LONGEST_NAME = 100  # characters of a field's name in an answer
BODY_WITHIN = 20.0  # seconds
M = TypeVar("M", bound=BaseModel)
Default = TypeVar("Default")
_PERSON = re.compile(r"[a-z0-9._-]{1,64}")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")
_DECIMAL = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?")
_GOES_ON = web.RequestKey("the client was told to send its body", bool)
_FORMS = (  # section 5.6.7: the preferred format, and two obsolete ones that must be accepted
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%y %H:%M:%S GMT",
    "%a %b %d %H:%M:%S %Y",
)


def language(request: web.Request) -> str:
    """The language of the response: `?lang=`, else `Accept-Language`, else the configured one."""
    asked = request.query.get("lang") if "?" in request.raw_path else None
    if asked:
        parts = asked.lower().split("-")  # a browser's own is mostly longer, such as `en-US`
        for count in range(min(len(parts), 8), 0, -1):
            if (tag := "-".join(parts[:count])) in LANGUAGES:
                return tag
    wanted = request.headers.getall(hdrs.ACCEPT_LANGUAGE, ())
    return negotiate(",".join(wanted), request.app[LANGUAGE]) if wanted else request.app[LANGUAGE]


def docs_path(request: web.Request) -> str:
    return f"{request.app[SETTINGS].server.base_path}/api/docs"


async def read_object(request: web.Request) -> dict[str, Any]:
    """Return the body, a JSON object of at most `MAX_BODY` bytes.

    Raises `NotJsonType`, `BodyTooLarge`, `BodyTooSlow`, `NotJson`, `InvalidRequest`.
    """
    body = parsed(await read_json(request, MAX_BODY))
    if not isinstance(body, dict):
        raise InvalidRequest([("body", "dict_type", {})])
    return body


async def read_json(request: web.Request, most: int) -> bytes:
    """Return the body, not parsed yet and without a byte order mark, of at most `most` bytes.

    Raises `NotJsonType`, `EncodingUnknown`, `BodyTooLarge`, `BodyTooSlow`, `NotJson`.
    """
    if request.content_type != "application/json":
        raise NotJsonType
    if hdrs.CONTENT_ENCODING in request.headers:
        _insist_on_known_encoding(request)
    if (request.content_length or 0) > most:
        raise BodyTooLarge
    if hdrs.EXPECT in request.headers:
        await go_on(request)
    if most != MAX_BODY:  # the application's own limit, which `create_app` gives to aiohttp
        request = request.clone(client_max_size=most)
    try:
        if request.content.is_eof():  # the body arrived together with the headers: no timer is needed
            body = await request.read()
        else:
            async with asyncio.timeout(BODY_WITHIN):
                body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise BodyTooLarge from None
    except web.RequestPayloadError:  # such as a wrong Content-Encoding
        raise NotJson from None
    except TimeoutError:
        raise BodyTooSlow from None
    return body.removeprefix(BOM_UTF8)  # Windows PowerShell writes files with one (RFC 8259, section 8.1)


@asynccontextmanager
async def received_text(request: web.Request, most: int, *types: str) -> AsyncIterator[BinaryIO]:
    """Receive an undecoded body of one of the media `types`, of at most `most` bytes, and yield it as a file.

    Raises `NotTextType`, `EncodingUnknown`, `BodyTooLarge`, `BodyTooSlow`, `ServerBusy`, `StoreUnavailable`;
    and `RequestPayloadError` if the body contradicts its headers, such as its Content-Encoding.
    """
    if request.content_type not in types:
        raise NotTextType(types[0])
    _insist_on_known_encoding(request)
    if (request.content_length or 0) > most:
        raise BodyTooLarge
    if hdrs.EXPECT in request.headers:
        await go_on(request)
    async with request.app[SPOOL].body() as body:
        try:
            async with asyncio.timeout(BODY_WITHIN):
                async for block in request.content.iter_any():
                    await body.write(block)
                    if body.size > most:
                        raise BodyTooLarge
        except TimeoutError:
            raise BodyTooSlow from None
        yield await body.end()


async def go_on(request: web.Request) -> None:
    """Answer `Expect: 100-continue` with 100; any other expectation may be ignored (RFC 9110, 10.1.1)."""
    if is_awaited(request):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the final response has not begun
        request[_GOES_ON] = True


def is_awaited(request: web.Request) -> bool:
    """Whether the client waits for `100 Continue` before it sends its body."""
    is_announced = request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"
    can_wait = request.body_exists and request.version >= HttpVersion11
    return is_announced and can_wait and _GOES_ON not in request


def _insist_on_known_encoding(request: web.Request) -> None:
    """Raise `EncodingUnknown` for a coding that aiohttp does not decode but would pass on (RFC 9110, 8.4)."""
    coded = ",".join(request.headers.getall(hdrs.CONTENT_ENCODING, ())).strip().lower()
    if coded not in ("", "identity", "gzip", "deflate", "br"):
        raise EncodingUnknown


def parsed(text: bytes) -> Any:
    """Return the JSON value of `text`, which has at most `MAX_BODY` bytes: parsing blocks the event loop for
    up to 0.3 µs a byte. Raises `NotJson`.
    """
    with uncollected() if len(text) > SHORT else nullcontext():
        try:
            return from_json(text, allow_inf_nan=False)
        except ValueError:
            raise NotJson from None


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the garbage collector while a body is parsed.

    Else it would run dozens of times for a body full of brackets, and now and then search all objects of the
    server. A parsed body has no reference cycles, so it is freed without the collector.
    """
    is_enabled = gc.isenabled()  # already False if another request parses its body just now
    gc.disable()
    try:
        yield
    finally:
        if is_enabled:
            gc.enable()


def validated(model: type[M], body: dict[str, Any], *known: WrongField) -> M:
    """Return `body` as a `model`. Raises `InvalidRequest` with the wrong fields, including those in `known`.

    Each field of the model is named once. Of wrong elements in lists, and of unknown fields, only the first
    `MOST_NAMED` are named: a body of 64 KiB has room for thousands.
    """
    try:
        if len(body) > MOST_NAMED or any(isinstance(value, dict) for value in body.values()):
            body = _with_few_unknown(model, body)
        found = model.model_validate(body, context=OF_A_CLIENT)
        wrong = [*known]
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
        inner = {error["loc"][:-1] for error in errors}
        wrong, elements, unknown = [], 0, 0
        for error in errors:
            place, kind = error["loc"], error["type"]
            if kind == "too_short" and place in inner:
                # Pydantic does not count invalid elements, so its error about the length of the list would be
                # wrong.
                continue
            if kind == "string_too_short" and error["ctx"]["min_length"] > 1:
                kind = "string_shorter"  # our text for `string_too_short` says "is empty"
            is_element, is_unknown = any(isinstance(part, int) for part in place), kind == "extra_forbidden"
            elements, unknown = elements + is_element, unknown + is_unknown
            if (is_element and elements > MOST_NAMED) or (is_unknown and unknown > MOST_NAMED):
                continue
            field = ".".join(str(part) for part in place)
            field = field if len(field) <= LONGEST_NAME else f"{field[: LONGEST_NAME - 1]}…"
            wrong.append((field, kind, dict(error.get("ctx") or {})))
        wrong += known
    if wrong:
        first_of_field = {field: (field, key, values) for field, key, values in reversed(wrong)}
        raise InvalidRequest([*reversed(first_of_field.values())])
    return found


def _with_few_unknown(model: type[BaseModel], body: dict[str, Any]) -> dict[str, Any]:
    """Return `body` with only the first `MOST_NAMED` unknown fields, also within its objects."""
    unknown = {*[name for name in body if name not in model.model_fields][MOST_NAMED:]}
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


class Query:
    """Reads one parameter at a time; then `check` raises `InvalidQuery` with the names of all invalid ones.

    Until then an invalid parameter has its default.
    """

    def __init__(self, request: web.Request) -> None:
        self._query = request.query
        self._wrong: list[str] = []

    def get(self, name: str) -> str | None:
        """The value as sent, not empty; None if the parameter is missing."""
        values = self._query.getall(name, ())
        if not values:
            return None
        return values[0] if len(values) == 1 and values[0] else self._is_wrong(name, None)

    def text(self, name: str, longest: int) -> str | None:
        """At most `longest` characters, without NUL, which PostgreSQL text cannot hold; None if missing."""
        value = self.get(name)
        if value is None or (len(value) <= longest and "\0" not in value):
            return value
        return self._is_wrong(name, None)

    def search(self, name: str, longest: int) -> str:
        """Like `text`, but the parameter may be empty, which finds everything, as if it were missing."""
        return "" if self._query.getall(name, ()) == [""] else self.text(name, longest) or ""

    def person(self, name: str) -> str | None:
        """What may be a person's name; None if missing."""
        value = self.get(name)
        return value if value is None or _PERSON.fullmatch(value) else self._is_wrong(name, None)

    def one_of(self, name: str, choices: Collection[str]) -> str | None:
        """One of `choices`; None if missing."""
        value = self.get(name)
        return value if value is None or value in choices else self._is_wrong(name, None)

    def ids(self, name: str, most: int) -> list[str] | None:
        """From 1 to `most` different ids, comma-separated, in the order of their first mention; None if
        missing.
        """
        value = self.get(name)
        if value is None:
            return None
        found = list(dict.fromkeys(value.split(",")))
        return found if len(found) <= most and all(found) else self._is_wrong(name, None)

    def some_of(self, name: str, choices: Collection[str]) -> frozenset[str] | None:
        """Some of `choices`, comma-separated; None if missing."""
        value = self.get(name)
        if value is None:
            return None
        values = frozenset(value.split(","))
        return values if values <= set(choices) else self._is_wrong(name, None)

    def whole(self, name: str, least: int, most: int, default: int) -> int:
        value = self.get(name)
        if value is None:
            return default
        number = int(value) if _WHOLE.fullmatch(value) else -1
        return number if least <= number <= most else self._is_wrong(name, default)

    def cursor(self) -> str | None:
        """Where a page of a list begins."""
        return self.text("cursor", MAX_CURSOR)

    def limit(self) -> int:
        """How long a page of a list may be."""
        return self.whole("limit", 1, LARGEST_PAGE, 50)

    def seconds(self, name: str, most: float) -> float | None:
        """Seconds, perhaps with a fraction, capped at `most`; None if missing."""
        value = self.get(name)
        if value is None:
            return None
        return min(float(value), most) if _DECIMAL.fullmatch(value) else self._is_wrong(name, None)

    def flag(self, name: str) -> bool:
        """True for `1`; False for `0` or a missing parameter."""
        return self.one_of(name, ("0", "1")) == "1"

    def check(self) -> None:
        if self._wrong:
            raise InvalidQuery(*self._wrong)

    def _is_wrong(self, name: str, default: Default) -> Default:
        self._wrong.append(name)
        return default


def client_has(request: web.Request, etag: str, modified: datetime | None = None) -> bool:
    """Whether the client has this version already; `etag` is in quotes, `modified` in whole seconds.

    An ETag takes precedence over a date (13.2.2); it is compared weakly (13.1.2).
    """
    known = request.headers.getall(hdrs.IF_NONE_MATCH, ())
    if known:
        return "*" in known or any(
            etag in (tag.strip().removeprefix("W/") for tag in header.split(",")) for header in known
        )
    since = http_date(",".join(request.headers.getall(hdrs.IF_MODIFIED_SINCE, ()))) if modified else None
    return since is not None and modified is not None and modified <= since


def is_wanted(request: web.Request, etag: str, modified: datetime | None) -> bool:
    """Whether this version fulfils the request's `If-Match`, or without it `If-Unmodified-Since` (13.1.1,
    13.1.4).
    """
    wanted = request.headers.getall(hdrs.IF_MATCH, ())
    if wanted:
        return any(tag.strip() in ("*", etag) for header in wanted for tag in header.split(","))
    until = http_date(",".join(request.headers.getall(hdrs.IF_UNMODIFIED_SINCE, ()))) if modified else None
    return until is None or modified is None or modified <= until


def allows_part(request: web.Request, etag: str, modified: datetime | None) -> bool:
    """Whether `If-Range` allows a part: no such header, or the same ETag or the exact date (13.1.5)."""
    header = ",".join(request.headers.getall(hdrs.IF_RANGE, ())).strip()
    if not header or header == etag:
        return True
    return modified is not None and http_date(header) == modified


def http_date(text: str | None) -> datetime | None:
    """The time that an HTTP date names; None if it is malformed or out of range."""
    for form in _FORMS if text else ():
        try:
            return datetime.strptime(text or "", form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def takes_gzip(request: web.Request) -> bool:
    """Whether `Accept-Encoding` allows gzip (RFC 9110, section 12.5.3): `gzip` takes precedence over `*`."""
    weights = {}
    for part in ",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, ())).lower().split(","):
        name, _, parameter = part.partition(";")
        weights[name.strip()] = parameter.replace(" ", "").removeprefix("q=")
    weight = weights.get("gzip", weights.get("*", "0"))
    return weight.strip("0.") != "" or weight == ""


def respond(request: web.Request, status: TaskStatus, http_status: HTTPStatus = HTTPStatus.OK) -> Prepared:
    """The payload of `status` in the reader's language."""
    chosen, encoder = language(request), request.app[ENCODER]
    form = payload_form(request, chosen) if encoder.tells_owner else chosen
    payload = encoder.encode(status, form)
    return Prepared(payload_headers(chosen), {}, payload.body, http_status)


def payload_form(request: web.Request, chosen: str) -> str:
    """The form in which `Encoder` makes payloads for this request, in the language `chosen`."""
    tells_owner = request.app[ENCODER].tells_owner and principal_of(request).is_admin
    return form_of(chosen, tells_owner=True) if tells_owner else chosen


@cache
def payload_headers(chosen: str, *, has_body: bool = True) -> SharedHeaders:
    """Return the headers of every payload in this language, also of a 304."""
    of_body = {"Content-Type": "application/json"} if has_body else {}
    return SharedHeaders(
        HEADERS
        | {"Cache-Control": "private, no-cache", "Content-Language": chosen, "Vary": "Accept-Language"}
        | of_body
    )


def respond_answer(answer: Answer, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(body=encoded(answer), status=status, content_type="application/json")


def encoded(answer: Answer) -> bytes:
    """Return `answer` as JSON, without the fields that are None."""
    return answer.model_dump_json(exclude_none=True).encode()
