"""Who may use the service, if a log-in is needed: a bearer token, or the page's cookie after a log-in.

Tokens are compared in constant time and never stored or logged; a hash of the token is stored as the scope
of idempotency keys and sessions, and of a cookie's value only a hash. An address that sends more than ten
wrong tokens a minute gets 429 for these; a right token is always accepted.

`/api/session` is for the page: to ask whether a log-in is needed, to log in with a token, and to log out.
WebSockets and long polls end with their session.
"""

import asyncio
import hashlib
import hmac
import json
import math
import secrets
import time
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from typing import NoReturn, Protocol

from aiohttp import WSCloseCode, hdrs, web
from pydantic import Field, RootModel

from server.api.bodies import read_object, respond_answer, validated
from server.api.keys import PRINCIPAL, SCOPE, SETTINGS
from server.api.openapi.operation import JSON, OF_CHANGES, READER, Operation, Reply
from server.api.route import Access, delete, get, post
from server.api.security import DOORS, SAFE
from server.core.errors import OriginForbidden, TokenRequired, TooManyRequests
from server.core.ports import SESSION_LASTS, Session, Sessions
from server.core.principal import EVERYBODY, Principal, person_of_scope
from server.core.request_ids import PERSON
from server.core.values import Frozen
from server.settings import ServerSettings

MAX_WRONG = 10  # tokens a minute from one address
COOKIE = "clipwire_session"
# For log-ins of people over TLS; `_host_cookie` adds a hash of the server's prefix.
HOST_COOKIE = f"__Host-{COOKIE}"
MINUTE = 60.0  # seconds
MAX_AGENT = 200  # characters of the `User-Agent` that is stored and shown with a log-in
MAX_ADDRESSES = 100_000  # when there are more addresses, the one counted longest ago is forgotten
SESSION = web.RequestKey("session", Session)  # only in requests that were authenticated by a cookie
_NOTHING = nullcontext()


class LogIn(Frozen):
    """The body of `POST /api/session`."""

    token: str = Field(min_length=1, max_length=4096)


class PasswordLogIn(Frozen):
    """The body of `POST /api/session`, where people were added."""

    name: str = Field(min_length=1, max_length=64)
    password: str = Field(min_length=1, max_length=1000)


class LogInRequest(RootModel[LogIn | PasswordLogIn]):
    """The body of `POST /api/session`: a token, or a name and a password."""


class Directory(Protocol):
    """Knows the people that were added, and their tokens; without the feature `people`, it is `Nobody`.

    It answers from memory. After a change, made on any node, it calls `ended` (see `listen`).
    """

    is_needed: bool
    """Whether a log-in is needed: somebody was added, or a setting asks for it."""

    @property
    def is_stale(self) -> bool:
        """Whether changes may have been missed; then call `refresh`."""
        ...

    async def refresh(self) -> None:
        """Raises `StoreUnavailable`."""
        ...

    def is_known_here_alone(self, token: str) -> bool:
        """Whether no other node can have made this token just now."""
        ...

    async def look_again(self) -> None:
        """Read what other nodes have changed until now; nothing where there are none. Raises
        `StoreUnavailable`.
        """
        ...

    def of_token(self, token_hash: bytes) -> Principal | None:
        """Return the person with this token, or None."""
        ...

    def of_session(self, session: Session) -> Principal | None:
        """Return the person of the session; None if the person, or the token that has begun it, is gone."""
        ...

    async def of_header(self, request: web.Request) -> Principal | None:
        """Return the person that a trusted proxy names in a header, if that is configured."""
        ...

    async def of_password(self, name: str, password: str, address: str) -> Principal:
        """Return the person with this password. Raises `TokenRequired` and `TooManyRequests`, in the same way
        whether the name exists or not.
        """
        ...

    def admits(self, principal: Principal) -> bool:
        """Whether the credential that admitted this person is still valid: not after the password was
        changed.
        """
        ...

    def knows(self, name: str) -> bool:
        """Whether there is a person of this name, who is not being removed."""
        ...

    def has(self, name: str) -> bool:
        """Whether something may belong to a person of this name, who may be being removed."""
        ...

    @property
    def ways(self) -> list[str]:
        """Return the ways in which people can log in."""
        ...

    def refused(self, address: str) -> None:
        """Note that a wrong token came from `address`."""
        ...

    def listen(self, ended: Callable[[Callable[[Principal], bool]], None]) -> None:
        """Call `ended` after each change, with a function that says whether a principal is still admitted."""
        ...


class Nobody:
    """The directory of a server without people."""

    is_needed = is_stale = False

    async def refresh(self) -> None:
        pass

    def is_known_here_alone(self, _: str) -> bool:
        return True

    async def look_again(self) -> None:
        pass

    def of_token(self, _: bytes) -> Principal | None:
        return None

    def of_session(self, _: Session) -> Principal | None:
        return None

    async def of_header(self, _: web.Request) -> Principal | None:
        return None

    async def of_password(self, name: str, password: str, address: str) -> Principal:
        raise TokenRequired

    def admits(self, _: Principal) -> bool:
        return True

    def knows(self, _: str) -> bool:
        return False

    def has(self, _: str) -> bool:
        return False

    @property
    def ways(self) -> list[str]:
        return []

    def refused(self, address: str) -> None:
        pass

    def listen(self, ended: Callable[[Callable[[Principal], bool]], None]) -> None:
        pass


DIRECTORY: web.AppKey[Directory] = web.AppKey("directory")
# Returns the address where a browser logs out at the OpenID provider; set only where there is one.
WAY_OUT: web.AppKey[Callable[[web.Request], Awaitable[str | None]]] = web.AppKey("way out")


class Minute:
    """Counts events by address within a minute, which begins with the first count; if it `is_extended`, with
    the newest one, so that the count restarts only after a minute without events. `MAX_ADDRESSES` bounds the
    memory.
    """

    def __init__(self, clock: Callable[[], float], *, is_extended: bool = False) -> None:
        self._clock = clock
        self._is_extended = is_extended
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def count(self, address: str) -> int:
        """Add one and return the count of this address in its current minute."""
        began, so_far = self._counts.pop(address, (0.0, 0))
        now = self._clock()
        if now - began >= MINUTE or not so_far:
            began, so_far = now, 0
        elif self._is_extended:
            began = now
        self._counts[address] = began, so_far + 1
        if len(self._counts) > MAX_ADDRESSES:
            self._counts.popitem(last=False)
        return so_far + 1

    def so_far(self, address: str) -> int:
        """Return the count of this address in its current minute."""
        began, count = self._counts.get(address, (0.0, 0))
        return count if self._clock() - began < MINUTE else 0

    def left(self, address: str) -> int:
        """Return the seconds, at least one, until the count of the address begins anew."""
        began, _ = self._counts.get(address, (0.0, 0))
        return max(1, math.ceil(began + MINUTE - self._clock()))


class Gate:
    """Accepts requests with a token or a session cookie. If no log-in is needed (not `is_locked`: no tokens
    are set and nobody was added to the `directory`), accepts all.

    `admission` calls it only for routes that need a token.
    """

    def __init__(
        self,
        settings: ServerSettings,
        directory: Directory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hashes = _hashes_of(settings)
        self._wrong = Minute(clock)
        self.directory = directory or Nobody()

    @property
    def has_tokens(self) -> bool:
        """Whether the settings have tokens, whose holders are admins."""
        return bool(self._hashes)

    @property
    def is_locked(self) -> bool:
        return bool(self._hashes) or self.directory.is_needed

    @property
    def ways(self) -> list[str]:
        """Return the ways in which people can log in to the page; none if nobody was added."""
        return ["token", *self.directory.ways] if self.directory.is_needed else []

    async def admit(self, request: web.Request, address: str, *, like_a_socket: bool = False) -> None:
        """Authenticate the request. Set its `SCOPE`, with a cookie its `SESSION`, for a person its
        `PRINCIPAL`.

        Raises `TokenRequired`, `TooManyRequests`, `OriginForbidden`, `StoreUnavailable`.
        """
        if self.directory.is_stale:
            await self.directory.refresh()
        if token := _bearer(request):
            principal = self._find(token) or await self.find_again(token, address)
        else:
            known = await self.of_browser(request)
            if known is None:
                raise TokenRequired
            principal = known
            # Browsers send cookies, and proxies add their header, whichever page has made the request.
            if like_a_socket or request.method not in SAFE or "Upgrade" in request.headers:
                check_sender(request)
        request[SCOPE] = principal.scope
        if principal.name is not None:
            request[PRINCIPAL] = principal
            PERSON.set(principal.name)

    async def of_browser(self, request: web.Request) -> Principal | None:
        """Return who is logged in by a cookie, or by the header of a trusted proxy. Both are sent without the
        page's doing.
        """
        if named := await self.directory.of_header(request):
            return named
        session = await request.app[LOG_INS].find(request)
        if session is None:
            return None
        request[SESSION] = session
        if person_of_scope(session.scope) is None:
            return Principal(None, "admin", "token", session.scope)
        if found := self.directory.of_session(session):
            return found
        # Another node may have just added the person, or the token that began the session.
        await self.directory.look_again()
        return self.directory.of_session(session)

    def has_right_token(self, request: web.Request, address: str) -> bool:
        """Whether the request has a right bearer token; False if no tokens are set. A wrong token is counted.

        Raises `TooManyRequests`.
        """
        token = _bearer(request)
        try:
            return bool(token and self.is_locked and self.check(token, address))
        except TokenRequired:
            return False

    def check(self, token: str, address: str) -> Principal:
        """Return who has this token; `EVERYBODY` if none is needed. Raises `TokenRequired`,
        `TooManyRequests`.
        """
        return self._find(token) or self._refuse(address)

    async def find_again(self, token: str, address: str) -> Principal:
        """Like `check`, but first read what other nodes have changed, since one of them may just have made
        the token. After many wrong tokens from an address, nothing is read for it.

        Raises `StoreUnavailable` as well.
        """
        if not self.directory.is_known_here_alone(token) and self._wrong.so_far(address) < MAX_WRONG:
            await self.directory.look_again()
        return self.check(token, address)

    async def of_password(self, name: str, password: str, address: str) -> Principal:
        """Return the person with this password; `EVERYBODY` if no log-in is needed.

        Raises `TokenRequired`, `TooManyRequests`, `StoreUnavailable`.
        """
        await self.directory.look_again()  # another node may have just added the person, or set the password
        if not self.is_locked:
            return EVERYBODY
        if not self.directory.is_needed:
            self._refuse(address)
        return await self.directory.of_password(name, password, address)

    def _find(self, token: str) -> Principal | None:
        if not self.is_locked:
            return EVERYBODY
        given, found = _hash(token), b""
        for known in self._hashes:
            if hmac.compare_digest(known, given):
                found = known
        if found:
            return Principal(None, "admin", "token", _scope(found))
        return self.directory.of_token(given)

    def _refuse(self, address: str) -> NoReturn:
        self.directory.refused(address)
        if self._wrong.count(address) > MAX_WRONG:
            raise TooManyRequests(self._wrong.left(address))
        raise TokenRequired


GATE = web.AppKey("gate", Gate)


def scopes_of(settings: ServerSettings) -> list[str]:
    """Return the scopes of the tokens in the settings."""
    return [_scope(known) for known in _hashes_of(settings)]


def _hashes_of(settings: ServerSettings) -> list[bytes]:
    return [_hash(token.get_secret_value()) for token in settings.tokens]


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()  # headers may hold any bytes


def _scope(token_hash: bytes) -> str:
    return token_hash.hex()[:16]


def check_sender(request: web.Request) -> None:
    """CSRF protection for cookies: require `Origin`, which `Doors.check` has compared, or a `Sec-Fetch-Site`
    that excludes other sites. Raises `OriginForbidden`.
    """
    if "Origin" not in request.headers and request.headers.get("Sec-Fetch-Site") not in (
        "same-origin",
        "none",
    ):
        raise OriginForbidden


class Line(Protocol):
    """A long-lived request: a WebSocket or a long poll."""

    def end(self, code: WSCloseCode) -> None:
        """Called when the session of the request ends; `code` is the close code of a WebSocket."""
        ...


class LogIns:
    """The sessions, and the sockets and long polls that end with them. `directory` reports who is not
    admitted any more.
    """

    def __init__(self, sessions: Sessions, directory: Directory) -> None:
        self._sessions = sessions
        # The lines of each session, or of each credential of a person.
        self._lines: defaultdict[str, set[Line]] = defaultdict(set)
        self._people: dict[str, Principal] = {}  # by credential, of those people who have lines
        self._held = set[str]()  # the sessions that have lines
        sessions.listen(self._ended, lambda: self._held)
        directory.listen(self._end_of_people)

    async def begin(self, principal: Principal, about: str = "{}") -> str:
        """Begin a session and return the value for its cookie. Raises `StoreUnavailable`."""
        secret = secrets.token_urlsafe(32)
        # The session lasts no longer than the token with which it begins.
        lasts = None if principal.ends_at is None else principal.ends_at - time.monotonic()
        await self._sessions.begin(
            _session_id(secret),
            principal.scope,
            lasts=lasts,
            way=principal.way,
            token_id=principal.token_id,
            about=about,
        )
        return secret

    async def find(self, request: web.Request) -> Session | None:
        """The session whose cookie came with `request`; None if there is none or it has ended.

        Over TLS, a person's session counts only in the `__Host-` cookie: the other one can be set by a
        neighbouring domain, to log visitors in as somebody else.
        """
        is_https = request.app[DOORS].is_https(request)
        for name, secret in _cookies(request):
            session = await self._sessions.get(_session_id(secret))
            if session and not (is_https and name == COOKIE and person_of_scope(session.scope) is not None):
                return session
        return None

    async def end(self, request: web.Request) -> None:
        """End the session whose cookie came with `request`, with its WebSockets and long polls.

        Raises `StoreUnavailable`; then the session stays valid.
        """
        for _, secret in _cookies(request):
            await self._sessions.end(_session_id(secret))

    async def of_scope(self, scope: str) -> list[Session]:
        """All sessions of a person or a token, the newest first."""
        return await self._sessions.of_scope(scope)

    async def end_by_id(self, session_id: str) -> None:
        """End the session with this id. Raises `StoreUnavailable`; then the session stays valid."""
        await self._sessions.end(session_id)

    async def catch_up(self) -> None:
        """End the lines of sessions that another transaction has deleted. Raises `StoreUnavailable`."""
        await self._sessions.catch_up()

    def hold(self, request: web.Request, line: Line) -> AbstractContextManager[None]:
        """A context manager: within it, `line.end` is called when the session of `request`, if any, ends, or
        when its person is admitted no more.
        """
        session, principal = request.get(SESSION), request.get(PRINCIPAL)
        if session:
            return HeldLine(self, session.session_id, session.ends_at, principal, line, is_session=True)
        if principal:
            return HeldLine(self, principal.credential, principal.ends_at, principal, line)
        return _NOTHING

    def add(self, credential: str, principal: Principal | None, line: Line, *, is_session: bool) -> None:
        self._lines[credential].add(line)
        if is_session:
            self._held.add(credential)
        if principal:
            self._people[credential] = principal

    def remove(self, credential: str, line: Line) -> None:
        lines = self._lines[credential]
        lines.discard(line)
        if not lines:
            del self._lines[credential]
            self._people.pop(credential, None)
            self._held.discard(credential)

    def _ended(self, session_id: str) -> None:
        for line in tuple(self._lines.get(session_id, ())):
            line.end(WSCloseCode.POLICY_VIOLATION)

    def _end_of_people(self, is_admitted: Callable[[Principal], bool]) -> None:
        for credential, principal in tuple(self._people.items()):
            if not is_admitted(principal):
                self._ended(credential)


class HeldLine:
    """`ends_at`: when the session or the token expires, by `time.monotonic()`; None if it does not expire."""

    __slots__ = ("_credential", "_ends_at", "_is_session", "_line", "_log_ins", "_principal", "_timer")

    def __init__(
        self,
        log_ins: LogIns,
        credential: str,
        ends_at: float | None,
        principal: Principal | None,
        line: Line,
        *,
        is_session: bool = False,
    ) -> None:
        self._log_ins, self._credential, self._ends_at = log_ins, credential, ends_at
        self._principal, self._line, self._is_session = principal, line, is_session
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._log_ins.add(self._credential, self._principal, self._line, is_session=self._is_session)
        if self._ends_at is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._ends_at, self._line.end, WSCloseCode.POLICY_VIOLATION)

    def __exit__(self, *_: object) -> None:
        if self._timer:
            self._timer.cancel()
        self._log_ins.remove(self._credential, self._line)


LOG_INS = web.AppKey("log-ins", LogIns)


def carries_cookie(request: web.Request) -> bool:
    """Whether `request` has a session cookie, valid or not."""
    return any(True for _ in _cookies(request))


def _cookies(request: web.Request) -> Iterator[tuple[str, str]]:
    """Names and values of all session cookies: there may be one for each path under which the page was
    opened.
    """
    for header in request.headers.getall(hdrs.COOKIE, ()):
        for cookie in header.split(";"):
            name, _, value = cookie.strip().partition("=")
            if name == COOKIE or name.startswith(HOST_COOKIE):
                yield name, value


def _session_id(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()  # headers may hold any bytes


async def get_session(request: web.Request) -> web.Response:
    """Whether a log-in is needed, and whether the request has a valid session: always 200."""
    from server.api.openapi.schemas import SessionState

    gate = request.app[GATE]
    if gate.directory.is_stale:
        await gate.directory.refresh()
    is_there = gate.is_locked and await gate.of_browser(request) is not None
    state = SessionState(login_required=gate.is_locked, logged_in=is_there)
    if gate.directory.is_needed:
        people = {"needed": True, "there": is_there, "ways": gate.ways}
        state = state.model_copy(update=people)
    response = respond_answer(state)
    response.headers["Cache-Control"] = "no-store"
    return response


async def log_in(request: web.Request) -> web.Response:
    """Exchange a token, or a name and a password, for an HttpOnly session cookie; without a cookie if no
    log-in is needed.
    """
    gate, address = request.app[GATE], request.app[DOORS].client(request)
    body = await read_object(request)
    if gate.directory.is_stale:
        await gate.directory.refresh()
    # A page that was open when the last person was removed still asks for a name and a password.
    if body.keys() == PasswordLogIn.model_fields.keys() or (
        gate.directory.is_needed and ("name" in body or "password" in body)
    ):
        given = validated(PasswordLogIn, body)
        principal = await gate.of_password(given.name, given.password, address)
    else:
        principal = await gate.find_again(validated(LogIn, body).token, address)
    response = web.Response(status=HTTPStatus.NO_CONTENT)
    if gate.is_locked:
        await begin_session(request, response, principal)
    return response


async def begin_session(
    request: web.Request, response: web.Response, principal: Principal, about: Mapping[str, str] | None = None
) -> None:
    """Begin a session, whose cookie is added to `response`, and end the browser's earlier one. `about` is
    stored with the session. Raises `StoreUnavailable`, and `TokenRequired` if the person was removed
    meanwhile.
    """
    doors = request.app[DOORS]
    # End the earlier session: its cookie must not belong to the new log-in.
    await request.app[LOG_INS].end(request)
    secret = await request.app[LOG_INS].begin(principal, about_log_in(request, principal, about or {}))
    if principal.name is not None and not request.app[GATE].directory.admits(principal):
        # All log-ins of the person were revoked just before this one began.
        await request.app[LOG_INS].end_by_id(_session_id(secret))
        raise TokenRequired
    request[SCOPE] = principal.scope
    is_https = doors.is_https(request)
    # A `__Host-` cookie: browsers accept it only from this host, over TLS.
    if is_https and principal.name is not None:
        _set_cookie(response, _host_cookie(request), secret, "/", f"; Max-Age={SESSION_LASTS:.0f}; Secure")
        return
    # Set the cookie's path to `base_path` if the browser's address has this prefix, else to `/`. A request
    # without the prefix came either through a proxy that strips the prefix, or directly, past the proxy.
    base_path = request.app[SETTINGS].server.base_path
    has_prefix = request.path.startswith(base_path + "/") or doors.is_forwarded(request)
    path = base_path if base_path and has_prefix else "/"
    secure = "; Secure" if is_https else ""
    _set_cookie(response, COOKIE, secret, path, f"; Max-Age={SESSION_LASTS:.0f}{secure}")


def _host_cookie(request: web.Request) -> str:
    """Return the name of the `__Host-` cookie. Its path is always `/`, so servers under different prefixes of
    one host need different names.
    """
    base_path = request.app[SETTINGS].server.base_path
    return HOST_COOKIE + (f"_{hashlib.sha256(base_path.encode()).hexdigest()[:8]}" if base_path else "")


def about_log_in(request: web.Request, principal: Principal, more: Mapping[str, str]) -> str:
    """Return what people see about one of their sessions, as JSON: when and from where it began. Empty for a
    session by a token.
    """
    if principal.name is None:
        return "{}"
    agent = request.headers.get(hdrs.USER_AGENT, "")[:MAX_AGENT]
    about = {"at": time.time(), "address": request.app[DOORS].client(request), **more}
    return json.dumps(about | ({"agent": agent} if agent.isprintable() and agent else {}))


async def log_out(request: web.Request) -> web.Response:
    """End the session on the server and delete its cookie in the browser."""
    if carries_cookie(request):
        check_sender(request)
    session = await request.app[LOG_INS].find(request)
    await request.app[LOG_INS].end(request)
    if session:
        request[SCOPE] = session.scope
    response = web.Response(status=HTTPStatus.NO_CONTENT)
    if session and session.way == "oidc" and WAY_OUT in request.app:
        from server.api.openapi.schemas import LogOutAtProvider

        if place := await request.app[WAY_OUT](request):
            response = respond_answer(LogOutAtProvider(log_out_at=place))
    for path in {"/", request.app[SETTINGS].server.base_path or "/"}:
        _set_cookie(response, COOKIE, "", path, "; Max-Age=0")
    if request.app[DOORS].is_https(request) and _host_cookie(request) in request.cookies:
        _set_cookie(response, _host_cookie(request), "", "/", "; Max-Age=0; Secure")
    return response


def _set_cookie(response: web.Response, name: str, value: str, path: str, more: str) -> None:
    response.headers.add("Set-Cookie", f"{name}={value}; Path={path}; HttpOnly; SameSite=Strict{more}")


ROUTES = [
    get(
        "/api/session",
        get_session,
        Operation(
            "get_session",
            "Service",
            "Whether a log-in is needed, and is there",
            {200: Reply("Either way", {JSON: "SessionState"})},
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
            "Exchange a token, or name and password, for a cookie",
            {204: Reply("Logged in", headers={"Set-Cookie": "HttpOnly, SameSite=Strict"})},
            "With a name and a password where people were added.",
            parameters=READER,
            body=LogInRequest,
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
            {
                200: Reply(
                    "Of somebody who has logged in at the OpenID provider", {JSON: "LogOutAtProvider"}
                ),
                204: Reply("Logged out", headers={"Set-Cookie": "takes the cookie away"}),
            },
            parameters=READER,
            errors=OF_CHANGES,
        ),
        access=Access.LOG_IN,
    ),
]
