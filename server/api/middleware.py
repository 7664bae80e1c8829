"""Wraps every handler: the checks that a request passes before it, errors as problems (RFC 9457) after it.

Decisions: docs/decisions/http.md
"""

import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from random import getrandbits
from typing import Any

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.typedefs import Handler

from server.api.bodies import Query, docs_path, is_awaited
from server.api.connections import Connections
from server.api.keys import carried
from server.api.problems import problem
from server.api.protocol import REFUSAL
from server.api.route import Access, Route
from server.api.security import ALLOWED_METHODS, X_REQUEST_ID, Doors, answer_preflight
from server.api.session import GATE, Minute
from server.core.counts import Counts
from server.core.errors import (
    AppError,
    EncodingUnknown,
    FileNotFound,
    InternalError,
    MethodNotAllowed,
    MethodUnknown,
    NotFound,
    StorageAway,
    StorageFailed,
    TokenRequired,
    TooManyRequests,
    Unreadable,
)
from server.core.redaction import without_path_secret as shown
from server.core.request_ids import PERSON, REQUEST_ID
from server.settings import LimitSettings

log = logging.getLogger(__name__)
Admit = Callable[[web.Request, Access], Awaitable[web.Response | None]]
AddHeaders = Callable[[web.Request, web.StreamResponse], None]
# Other methods are answered with 501, not 405 (RFC 9110, section 9.1).
_METHODS = (hdrs.METH_ALL | {"QUERY"}) - {hdrs.METH_CONNECT}
_ID_OF_A_CLIENT = re.compile(r"[A-Za-z0-9._-]{1,64}")


async def _later(request: web.Request) -> None:
    """Do not send `100 Continue` yet: `bodies.go_on` does so when the body is read."""


_OPTIONS: dict[str, Any] = {"expect_handler": _later}


def wrapped(
    routes: Sequence[Route],
    admit: Admit,
    add_headers: AddHeaders,
    connections: Connections,
    counts: Counts | None = None,
) -> list[web.AbstractRouteDef]:
    """`routes`, and a catch-all route, with every handler wrapped.

    `admit` raises an error to refuse a request to a route of this `Access`; if it returns a response, the
    handler is not called.
    `add_headers` adds the headers of every response. Handlers that send their response themselves (files,
    WebSockets) must call it, too.
    """

    requests = (counts or Counts()).requests

    def answering(handler: Handler, access: Access, path: str) -> Handler:
        # aiohttp's middlewares and signals would cost four more coroutines a request.
        @wraps(handler)
        async def answer(request: web.Request) -> web.StreamResponse:
            sent = request.headers.get(X_REQUEST_ID)
            # The request id is no secret, and `secrets` would make a system call for each request.
            known = sent if sent and _ID_OF_A_CLIENT.fullmatch(sent) else getrandbits(64).to_bytes(8).hex()
            REQUEST_ID.set(known)
            if PERSON.get():  # an earlier request of this connection may have set it
                PERSON.set("")
            connection = request.protocol
            connections.answering.add(connection)
            try:
                response = await admit(request, access) or await handler(request)
            except ConnectionError:
                response = ClientGone()
            except Exception as exc:
                response = _answer_to(request, exc)
            finally:
                connections.answering.discard(connection)
                connections.answered.add(connection)
            if request.body_exists:
                if is_awaited(request):
                    # The client may still send its body, or never: what follows on the connection is no
                    # request.
                    response.force_close()
                if hdrs.CONTENT_ENCODING in request.headers and not request.content.is_eof():
                    # Stop aiohttp from decompressing the rest of the body only to drop it: that may be a
                    # gigabyte, without a pause.
                    response.force_close()
                    connection.close()  # later bytes are dropped undecoded
            if not response.prepared:
                add_headers(request, response)
            # Unknown methods are counted as one, since clients could invent any number of labels.
            requests[request.method if path else "other", path, response.status] += 1
            if log.isEnabledFor(logging.DEBUG):  # the path alone: a query may hold secrets
                log.debug("%s %s: %d", request.method, shown(request.rel_url.raw_path), response.status)
            return response

        return answer

    known = [
        (route.definition, answering(route.definition.handler, route.access, route.path)) for route in routes
    ]
    return [
        *(web.route(each.method, each.path, handler, **_OPTIONS) for each, handler in known),
        CatchAllRoute(answering(unknown, Access.TOKEN, "")),
    ]


def admission(app: web.Application, doors: Doors, limits: LimitSettings) -> Admit:
    """A function that checks host name, origin, rate and token, in this order, and raises the first error.

    For a browser extension the token is checked together with the origin, because an extension's origin is
    allowed only with a valid token. The last check is that of `lang`, the one parameter that every route has.
    """
    asked, limit = Minute(time.monotonic), limits.requests_per_minute

    async def admit(request: web.Request, access: Access) -> web.Response | None:
        refusal = carried(request, REFUSAL, None)
        # aiohttp has not parsed this request, not even its host.
        if isinstance(refusal, Unreadable | EncodingUnknown):
            if limit:
                slow_down(doors.client(request))
            raise refusal
        gate = app[GATE]
        doors.check(request, access, lambda: gate.has_right_token(request, doors.client(request)))
        if limit and access in (Access.TOKEN, Access.STREAM, Access.LOG_IN, Access.SECRET):
            slow_down(doors.client(request))
        if request.method == "OPTIONS" and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
            # A preflight, which browsers send without a token.
            return answer_preflight() if doors.is_allowed_origin(request) else None
        if gate.is_locked and access in (Access.TOKEN, Access.STREAM):
            await gate.admit(request, doors.client(request), like_a_socket=access is Access.STREAM)
        if refusal:
            raise refusal
        if access is not Access.PAGE and request.query_string:
            query = Query(request)
            query.get("lang")  # every route has this parameter; an invalid one never prevents the page
            query.check()
        return None

    def slow_down(address: str) -> None:
        if asked.count(address) > limit:
            raise TooManyRequests(asked.left(address))

    return admit


async def unknown(request: web.Request) -> web.StreamResponse:
    """The catch-all handler. Raises `MethodUnknown`, `MethodNotAllowed` if another method has this path, else
    `NotFound`.
    """
    if request.method not in _METHODS:
        raise MethodUnknown
    # `OPTIONS *` asks about the whole server (RFC 9110, 9.3.7)
    if request.method == hdrs.METH_OPTIONS and request.raw_path == "*":
        return web.Response(status=HTTPStatus.NO_CONTENT, headers={"Allow": ALLOWED_METHODS})
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        _, methods = await resource.resolve(request)
        allowed |= methods
    allowed.discard("*")  # the catch-all route accepts every method
    raise MethodNotAllowed(", ".join(sorted(allowed))) if allowed else NotFound(docs_path(request))


class ClientGone(web.Response):
    """Takes the place of a response that cannot be sent any more: aiohttp closes the connection silently."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        raise ConnectionResetError("the client left")


def _answer_to(request: web.Request, exc: Exception) -> web.Response:
    if isinstance(exc, OSError) and exc.errno is not None and not request.writer.output_size:
        failed = StorageFailed()  # such as a folder that turned into a file, or no descriptors being left
        failed.__cause__, exc = exc, failed
    # Log here, because failed reads are logged nowhere else.
    if isinstance(exc, StorageFailed) and not exc.is_logged:
        log.error(
            "%s %s: the storage fails: %s", request.method, shown(request.raw_path), exc.__cause__ or exc
        )
    if isinstance(exc, AppError) and not request.writer.output_size:
        if isinstance(exc, TokenRequired) and (ways := request.app[GATE].ways):
            exc.extra["ways"] = ways
        return problem(request, exc)
    if isinstance(exc, StorageAway):
        log.info("%s broke off, the bucket is away", shown(request.path))
        return ClientGone()
    if isinstance(exc, FileNotFound):
        log.info("%s broke off, a file was removed meanwhile", shown(request.path))
        return ClientGone()
    error_id = secrets.token_hex(8)
    log.error("error %s in %s %s", error_id, request.method, shown(request.raw_path), exc_info=exc)
    if request.writer.output_size:  # the response has begun: cut the connection to show that it is incomplete
        return ClientGone()
    return problem(request, InternalError(error_id))


@dataclass(frozen=True, slots=True)
class CatchAllRoute(web.AbstractRouteDef):
    """The catch-all route, which also matches the request target `*` of `OPTIONS *`."""

    handler: Handler

    def register(self, router: web.UrlDispatcher) -> list[web.AbstractRoute]:
        resource = _Anything("/")
        router.register_resource(resource)
        return [resource.add_route("*", self.handler, **_OPTIONS)]


class _Anything(web.PlainResource):
    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo, set[str]]:
        [route] = self
        return web.UrlMappingMatchInfo({}, route), {"*"}
