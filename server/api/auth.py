"""Who is let in, where tokens are set: a bearer token, or the page's session cookie after a log-in.

Tokens are compared in constant time and never kept or logged; what is kept is a hash that names the
scope of idempotency keys. Guessing is slowed for an address after ten wrong tokens a minute; a right
one is never slowed.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web
from pydantic import Field

from server.api.bodies import read_object, respond_json, validated
from server.api.keys import SCOPE
from server.api.openapi.operation import JSON, READER, Operation, Reply
from server.api.openapi.schemas import SessionState
from server.api.rate import Minute
from server.api.route import delete, get, post
from server.api.security import DOORS, SAFE
from server.errors import OriginForbidden, TokenRequired, TooManyRequests
from server.models import Frozen
from server.settings import ServerSettings

COOKIE = "clipwire_session"
SESSION = 30 * 24 * 3600.0  # seconds that a log-in lasts
MAX_SESSIONS = 10_000
MAX_WRONG = 10  # tokens a minute from one address


class LogIn(Frozen):
    """The body of `POST /api/session`."""

    token: str = Field(min_length=1, max_length=4096)


class Gate:
    """Lets in who shows a token or the cookie of a log-in; where no tokens are set, everybody (`is_locked`).

    What needs neither: the page and its files, `/healthz` and the log-in itself. Whoever guesses raises
    `TooManyRequests` after `MAX_WRONG` wrong tokens a minute from one address; a right token never does.
    """

    def __init__(self, settings: ServerSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._hashes = [_hash(token.get_secret_value()) for token in settings.tokens]
        self.is_locked = bool(self._hashes)
        self._clock = clock
        self._wrong = Minute(clock)
        self._sessions: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        base = settings.base_path
        self.path = base or "/"
        paths = ("", "/", "/healthz", "/api/session")
        self._open = frozenset(prefix + path for prefix in ("", base) for path in paths)
        self._static = tuple(prefix + "/static/" for prefix in {"", base})

    def admit(self, request: web.Request, address: str) -> None:
        """Note who asks in `request[SCOPE]`.

        Raises `TokenRequired`, `TooManyRequests`, `OriginForbidden`.
        """
        if request.path in self._open or request.path.startswith(self._static):
            return
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            request[SCOPE] = self.check(token.strip(), address)
            return
        scope = self.scope_of(request.cookies.get(COOKIE, ""))
        if scope is None:
            raise TokenRequired
        if request.method not in SAFE or "Upgrade" in request.headers:
            check_sender(request)
        request[SCOPE] = scope

    def check(self, token: str, address: str) -> str:
        """The scope of a right token. Raises `TokenRequired`, after ten in a minute `TooManyRequests`."""
        if not self._hashes:
            return ""
        given, found = _hash(token), b""
        for known in self._hashes:
            if hmac.compare_digest(known, given):
                found = known
        if found:
            return found.hex()[:16]
        if self._wrong.count(address) > MAX_WRONG:
            raise TooManyRequests(self._wrong.left(address))
        raise TokenRequired

    def log_in(self, scope: str) -> str:
        """A new session; the caller gives it to the page."""
        session = secrets.token_urlsafe(32)
        self._sessions[_hash(session).hex()] = (scope.encode(), self._clock() + SESSION)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def log_out(self, session: str) -> None:
        self._sessions.pop(_hash(session).hex(), None)

    def scope_of(self, session: str) -> str | None:
        """Of the token that `session` began with; None if there is no such session, or no longer."""
        scope, until = self._sessions.get(_hash(session).hex(), (b"", 0.0))
        return scope.decode() if self._clock() < until else None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()  # headers may hold any bytes


def check_sender(request: web.Request) -> None:
    """A cookie alone proves nothing: a browser also says that our page sent it. A foreign one was refused."""
    if "Origin" not in request.headers and request.headers.get("Sec-Fetch-Site") not in (
        "same-origin",
        "none",
    ):
        raise OriginForbidden


GATE = web.AppKey("gate", Gate)


async def get_session(request: web.Request) -> web.Response:
    """Whether the page has to ask for a token, and whether it has had one: always 200."""
    gate = request.app[GATE]
    logged_in = gate.is_locked and gate.scope_of(request.cookies.get(COOKIE, "")) is not None
    response = respond_json({"login_required": gate.is_locked, "logged_in": logged_in})
    response.headers["Cache-Control"] = "no-store"
    return response


async def log_in(request: web.Request) -> web.Response:
    """Exchange a token for a cookie that only the browser sees."""
    gate, doors = request.app[GATE], request.app[DOORS]
    wanted = validated(LogIn, await read_object(request))
    session = gate.log_in(gate.check(wanted.token, doors.client(request)))
    response = web.Response(status=HTTPStatus.NO_CONTENT)
    response.set_cookie(
        COOKIE,
        session,
        max_age=int(SESSION),
        path=gate.path,
        secure=doors.is_https(request),
        httponly=True,
        samesite="Strict",
    )
    return response


async def log_out(request: web.Request) -> web.Response:
    """End the session here, not only in the browser."""
    check_sender(request)
    gate = request.app[GATE]
    gate.log_out(request.cookies.get(COOKIE, ""))
    response = web.Response(status=HTTPStatus.NO_CONTENT)
    response.del_cookie(COOKIE, path=gate.path, httponly=True, samesite="Strict")
    return response


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
            errors=(OriginForbidden,),
        ),
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
            errors=(OriginForbidden,),
        ),
    ),
]
