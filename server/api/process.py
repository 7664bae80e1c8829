"""`POST /api/process`: a link goes in, a task comes out; with `/batch`, `/api/info` and `/api/presets`.

The body of a batch is read piece by piece, and the event loop turns between two pieces: parsing 4 MiB at
once can take a second, if they are full of brackets, and no thread can do it beside the loop, since it
holds Python's interpreter all that time.

Decisions: docs/decisions/http.md
"""

import asyncio
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from aiohttp import web

from server.api.acting import ACTING, act_for_owner
from server.api.bodies import (
    MAX_BODY,
    parsed,
    read_json,
    read_object,
    respond,
    respond_answer,
    uncollected,
    validated,
)
from server.api.connections import CONNECTIONS
from server.api.cookies import unknown_cookies
from server.api.keys import (
    FIELDS,
    INSPECTOR,
    PLACE_IN_LIBRARY,
    SETTINGS,
    TASKS,
    WAKE,
    owner_of,
    principal_of,
    scope_of,
)
from server.api.openapi.operation import JSON, OF_CHANGES, READER, Operation, Reply, header
from server.api.payload import TaskPayload
from server.api.route import get, post
from server.api.tasks import Result, respond_results
from server.core.action_requests import MOST_AT_ONCE, Batch, InfoRequest, ThumbnailsRequest
from server.core.errors import (
    AdminOnly,
    AmbiguousHeader,
    AppError,
    BodyTooLarge,
    IdempotencyMismatch,
    InvalidQuery,
    InvalidRequest,
    NotJson,
    OverLimit,
    QueueFull,
    SourceRefused,
    TaskNotFound,
    TooManyRequests,
    WrongField,
)
from server.core.library import outputs_for
from server.core.ports import Idempotency
from server.core.process_request import ProcessRequest
from server.core.task import TaskStatus
from server.core.values import without_path
from server.tasks.service import Accepted, RequestedTask

MAX_BATCH = 4 << 20  # bytes
MOST_NAMES = 100  # members that are read of an object; more are an error in any case
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
Presets = Mapping[str, dict[str, Any]]


async def submit(request: web.Request) -> web.Response:
    """Accept a download. The response is sent once the task is on disk, before anything is fetched."""
    request.app[WAKE]()
    act_for_owner(request)
    asked = await read_wish(request, await read_object(request), key_of(request))
    if isinstance(asked, AppError):
        raise asked
    by, owner = principal_of(request).name, owner_of(request)
    [accepted] = await request.app[TASKS].accept([asked], created_by=by, owner=owner)
    if isinstance(accepted, AppError):
        raise accepted
    if accepted.is_shared:
        return respond(request, await _placed_too(request, asked.request, accepted))
    response = respond(request, accepted.status, HTTPStatus.ACCEPTED)
    base_path = request.app[SETTINGS].server.base_path
    response.own["Location"] = f"{base_path}/api/status/{accepted.status.task_id}"
    return response


async def _placed_too(request: web.Request, wanted: ProcessRequest, accepted: Accepted) -> TaskStatus:
    """Return the status of the task. If it is shared with an earlier request, place its files where this
    client wants them, too.
    """
    if accepted.is_shared and wanted.library and PLACE_IN_LIBRARY in request.app:
        with suppress(TaskNotFound):  # the task has just been removed
            return await request.app[PLACE_IN_LIBRARY](accepted.status.task_id, wanted.library)
    return accepted.status


async def read_wish(request: web.Request, body: dict[str, Any], key: str | None) -> RequestedTask | AppError:
    """Check `body`, one of the wishes in `request`, with its idempotency key. Return the task to make, or the
    error.
    """
    whole, wrong, unknown = body, list[WrongField](), list[WrongField]()
    if "preset" in body:
        whole, wrong = with_preset(body, request.app[SETTINGS].presets)
    if "library" in whole:
        whole = outputs_for(whole["library"]) | whole
    fields = request.app[FIELDS]
    if "library" in whole and "library" not in fields:
        wrong.append(("library", "library_unset", {}))
    if "cookies" in whole:
        unknown = await unknown_cookies(request, whole)
    known = None
    try:
        if unknown and key:  # A repeated request must succeed even if its cookie file was deleted meanwhile.
            with suppress(InvalidRequest):
                known = idempotency(key, validated(ProcessRequest, whole), body.keys())
            if known and await request.app[TASKS].is_known(known):
                unknown = []
        if whole.get("webhook") is not None and "webhook" not in fields:
            unknown.append(("webhook", "webhook_unsigned", {}))
        wanted = validated(ProcessRequest, whole, *wrong, *unknown)
    except (InvalidRequest, IdempotencyMismatch) as error:
        return error.with_traceback(None)  # the traceback would keep the whole body in memory
    known = idempotency(key, wanted, body.keys()) if key else None
    return RequestedTask(wanted, known, wanted.wish(scope_of(request)))


def with_preset(body: dict[str, Any], presets: Presets) -> tuple[dict[str, Any], list[WrongField]]:
    """`body` with its preset as defaults, and the error of an unknown preset.

    The task stores these defaults: a new configuration does not change it.
    """
    name = body.get("preset")
    if not isinstance(name, str):
        return body, []
    if name not in presets:
        return body, [("preset", "preset_unknown", {})]
    return presets[name] | body, []


def key_of(request: web.Request) -> str | None:
    """Return the key, with the token's scope before it, or None. Raises `AmbiguousHeader`, `InvalidQuery`."""
    keys = set(request.headers.getall("Idempotency-Key", ()))
    if not keys:
        return None
    if len(keys) > 1:
        raise AmbiguousHeader("Idempotency-Key")
    [key] = keys
    if not _KEY.fullmatch(key):
        raise InvalidQuery("Idempotency-Key")
    return f"{scope_of(request)}:{key}"


def idempotency(key: str, wanted: ProcessRequest, sent: Collection[str]) -> Idempotency:
    """Return the idempotency of a request: `sent` are the fields of the body, `wanted` also has those of its
    preset.
    """
    # Hash only the fields that were sent: when the client retries, the preset may have changed.
    hashes = (wanted.hash(), *([wanted.hash_of_sent(sent)] if wanted.preset else []))
    return Idempotency(key, " ".join(hashes))


async def submit_batch(request: web.Request) -> web.Response:
    """Add all valid requests in one transaction; an invalid one does not affect the others.

    With an `Idempotency-Key` each request has this key and its index as its own key, so a retry of the same
    batch returns the same tasks. Other coroutines run after each request, and each error is reduced at once
    to what the answer says about it.
    """
    act_for_owner(request)
    key = key_of(request)
    request.app[WAKE]()
    body = await read_json(request, MAX_BATCH)
    asked, others = list[RequestedTask | AppError](), dict[str, Any]()
    with uncollected():
        for name, place, value in pieces(body, "requests", MAX_BODY):
            if place is None:
                others[name] = value
            elif not isinstance(value, dict):
                asked[place:] = [InvalidRequest([("body", "dict_type", {})])]
            else:
                asked[place:] = [await read_wish(request, value, f"{key} {place}" if key else None)]
            if len(asked) > MOST_AT_ONCE:
                break  # too many requests: the whole batch is refused anyway
            await asyncio.sleep(0)
    validated(Batch, {"requests": asked, **others} if asked else others)
    possible = [each for each in asked if isinstance(each, RequestedTask)]
    by, owner = principal_of(request).name, owner_of(request)
    outcomes = await request.app[TASKS].accept(possible, created_by=by, owner=owner)
    accepted = zip(possible, outcomes, strict=True)
    results = list[Result]()
    for each in asked:
        if isinstance(each, AppError):
            results.append(each)
            continue
        (wanted, *_), outcome = next(accepted)
        if isinstance(outcome, AppError):
            results.append(outcome)
        else:
            status = await _placed_too(request, wanted, outcome)
            results.append((HTTPStatus.OK if outcome.is_shared else HTTPStatus.ACCEPTED, status))
    return await respond_results(request, results)


Member = tuple[str, int | None, Any]
"""The name of a member, and its value; or of its list one element, with its place."""


def pieces(body: bytes, listed: str, most: int) -> Iterator[Member]:
    """Yield the members of the object in `body`. The member called `listed` is a list: yield its elements one
    by one.

    Raises `NotJson`, `InvalidRequest`, and `BodyTooLarge` if a piece has more than `most` bytes.
    """
    if len(body) <= most:
        whole = parsed(body)
        if not isinstance(whole, dict):
            raise InvalidRequest([("body", "dict_type", {})])
        for name, value in whole.items():
            if name == listed and isinstance(value, list) and value:
                yield from ((name, place, element) for place, element in enumerate(value))
            else:
                yield name, None, value
        return
    try:
        reader = _JsonReader(body.decode(), most)
    except UnicodeDecodeError:
        raise NotJson from None
    if not reader.has("{"):
        raise InvalidRequest([("body", "dict_type", {})])
    if reader.has("}"):
        reader.ends()
        return
    for _ in range(MOST_NAMES):
        name = reader.name()
        if name == listed and reader.has("["):
            yield from reader.elements(name)
        else:
            yield name, None, reader.value()
        if not reader.goes_on("}"):
            reader.ends()
            return


class _JsonReader:
    """Reads `text` from its beginning. All methods raise `NotJson`, or `BodyTooLarge` for a long value."""

    def __init__(self, text: str, most: int) -> None:
        self._text, self._most, self._at = text, most, 0

    def has(self, sign: str) -> bool:
        """Skip `sign` if it comes next; return whether it did."""
        self._pass_space()
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        return True

    def goes_on(self, end: str) -> bool:
        """True after a comma, False after `end`."""
        if self.has(","):
            return True
        if not self.has(end):
            raise NotJson
        return False

    def ends(self) -> None:
        """Raise `NotJson` unless the text ends here."""
        self._pass_space()
        if self._at < len(self._text):
            raise NotJson

    def name(self) -> str:
        name = self.value()
        if not isinstance(name, str) or not self.has(":"):
            raise NotJson
        return name

    def elements(self, name: str) -> Iterator[Member]:
        """Yield each element of the list that has just begun, with its index; if the list is empty, yield
        `[]` once.
        """
        place = 0
        if self.has("]"):
            yield name, None, []
            return
        while True:
            yield name, place, self.value()
            place += 1
            if not self.goes_on("]"):
                return

    def value(self) -> Any:
        """Read a value: Python's JSON decoder finds where it ends, then the decoder for all other bodies
        parses it.
        """
        self._pass_space()
        window = self._text[self._at : self._at + self._most + 1]
        is_cut = len(window) > self._most
        try:
            _, end = _DECODER.raw_decode(window)
        except json.JSONDecodeError as exc:
            reaches_the_cut = exc.pos >= self._most - 12 or exc.msg.startswith("Unterminated")
            raise BodyTooLarge if is_cut and reaches_the_cut else NotJson from None
        except (ValueError, RecursionError):  # a number with thousands of digits, or too many nested brackets
            raise NotJson from None
        piece = window[:end].encode(errors="surrogatepass")
        if len(piece) > self._most:
            raise BodyTooLarge
        value = parsed(piece)
        self._at += end
        return value

    def _pass_space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at


async def list_presets(request: web.Request) -> web.Response:
    """List the presets. Of a webhook's address only the host is shown: its path may be a secret."""
    from server.api.openapi.schemas import PresetList

    presets = request.app[SETTINGS].presets
    shown = {
        name: fields | ({"webhook": without_path(fields["webhook"])} if fields.get("webhook") else {})
        for name, fields in presets.items()
    }
    return respond_answer(PresetList(presets=shown))


async def inspect(request: web.Request) -> web.Response:
    """What a link offers, before anything is downloaded."""
    request.app[WAKE]()
    body = await read_object(request)
    with_defaults, wrong = with_preset(body, request.app[SETTINGS].presets)
    name = with_defaults.get("cookies")  # `InfoRequest` uses only this field of a preset
    whole = body | {"cookies": name} if name is not None else body
    wanted = validated(InfoRequest, whole, *wrong, *await unknown_cookies(request, whole))
    looking = request.app[INSPECTOR].inspect(wanted, owner_of(request))
    found = await request.app[CONNECTIONS].attended(request.protocol, looking)
    from server.api.openapi.schemas import Info

    return respond_answer(Info.model_validate(found))


async def make_thumbnails(request: web.Request) -> web.Response:
    """Pictures at their sources, small."""
    request.app[WAKE]()
    wanted = validated(ThumbnailsRequest, await read_object(request))
    making = request.app[INSPECTOR].thumbnails(wanted.urls)
    made = await request.app[CONNECTIONS].attended(request.protocol, making)
    from server.api.openapi.schemas import EntryThumbnails

    return respond_answer(EntryThumbnails(thumbnails=made))


IDEMPOTENCY_KEY = header(
    "Idempotency-Key",
    "the same key and request give the same task",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
)
ROUTES = [
    post(
        "/api/process",
        submit,
        Operation(
            "process",
            "Tasks",
            "Make a task",
            {
                200: Reply("With `reuse`: another task that will do", {JSON: TaskPayload}),
                202: Reply("It is on disk", {JSON: TaskPayload}, {"Location": "`/api/status/<task_id>`"}),
            },
            "Only `url` is required; by default there will be a video and an audio file, from one download. "
            "The answer comes before anything is fetched.",
            parameters=(ACTING, IDEMPOTENCY_KEY, *READER),
            body=ProcessRequest,
            errors=(
                *(AdminOnly, AmbiguousHeader, InvalidQuery, IdempotencyMismatch, OverLimit, QueueFull),
                *OF_CHANGES,
            ),
        ),
    ),
    post(
        "/api/process/batch",
        submit_batch,
        Operation(
            "process_batch",
            "Tasks",
            "Make many tasks",
            {200: Reply("What became of each, in order", {JSON: "Results"})},
            "Each is taken or refused by itself; those that are taken are on disk, all in one transaction.",
            parameters=(ACTING, IDEMPOTENCY_KEY, *READER),
            body=Batch,
            errors=(AdminOnly, AmbiguousHeader, InvalidQuery, *OF_CHANGES),
        ),
    ),
    get(
        "/api/presets",
        list_presets,
        Operation(
            "presets",
            "Tasks",
            "The presets of the configuration",
            {200: Reply("What each of them sets", {JSON: "PresetList"})},
        ),
    ),
    post(
        "/api/info",
        inspect,
        Operation(
            "info",
            "Tasks",
            "What a link offers",
            {200: Reply("Nothing of it is kept", {JSON: "Info"})},
            parameters=READER,
            body=InfoRequest,
            errors=(SourceRefused, TooManyRequests, *OF_CHANGES),
        ),
    ),
    post(
        "/api/info/thumbnails",
        make_thumbnails,
        Operation(
            "info_thumbnails",
            "Tasks",
            "Small pictures of the entries of a list",
            {200: Reply("Nothing of it is kept", {JSON: "EntryThumbnails"})},
            "Each is fetched from its source and made anew. One that fails is left out, and harms no other.",
            parameters=READER,
            body=ThumbnailsRequest,
            errors=(SourceRefused, TooManyRequests, *OF_CHANGES),
        ),
    ),
]
