"""Log-ins of the page: the session cookie, and the WebSockets and long polls that end with their session.

Only a hash of the cookie's value is stored.
"""

import asyncio
import hashlib
import secrets
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from aiohttp import WSCloseCode, hdrs, web

from server.core.ports import Session, Sessions

COOKIE = "clipwire_session"
SESSION = web.RequestKey("session", Session)  # only in requests that were authenticated by a cookie
_NOTHING = nullcontext()


class Line(Protocol):
    """A long-lived request: a WebSocket or a long poll."""

    def end(self, code: WSCloseCode) -> None:
        """Called when the session of the request ends; `code` is the close code of a WebSocket."""
        ...


class LogIns:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._lines: defaultdict[str, set[Line]] = defaultdict(set)
        sessions.listen(self._ended, self._lines.keys)

    async def begin(self, scope: str) -> str:
        """Begin a session and return the value for its cookie. Raises `StoreUnavailable`."""
        secret = secrets.token_urlsafe(32)
        await self._sessions.begin(_session_id(secret), scope)
        return secret

    async def find(self, request: web.Request) -> Session | None:
        """The session whose cookie came with `request`; None if there is none or it has ended."""
        for secret in _cookies(request):
            if session := await self._sessions.get(_session_id(secret)):
                return session
        return None

    async def end(self, request: web.Request) -> None:
        """End the session whose cookie came with `request`, with its WebSockets and long polls.

        Raises `StoreUnavailable`; then the session stays valid.
        """
        for secret in _cookies(request):
            await self._sessions.end(_session_id(secret))

    def hold(self, request: web.Request, line: Line) -> AbstractContextManager[None]:
        """A context manager: within it, `line.end` is called when the session of `request`, if any, ends."""
        session = request.get(SESSION)
        return HeldLine(self._lines, session, line) if session else _NOTHING

    def _ended(self, session_id: str) -> None:
        for line in tuple(self._lines.get(session_id, ())):
            line.end(WSCloseCode.POLICY_VIOLATION)


class HeldLine:
    __slots__ = ("_line", "_lines", "_session", "_timer")

    def __init__(self, lines: defaultdict[str, set[Line]], session: Session, line: Line) -> None:
        self._lines, self._session, self._line = lines, session, line

    def __enter__(self) -> None:
        self._lines[self._session.session_id].add(self._line)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(self._session.ends_at, self._line.end, WSCloseCode.POLICY_VIOLATION)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        lines = self._lines[self._session.session_id]
        lines.discard(self._line)
        if not lines:
            del self._lines[self._session.session_id]


LOG_INS = web.AppKey("log-ins", LogIns)


def carries_cookie(request: web.Request) -> bool:
    """Whether `request` has a session cookie, valid or not."""
    return any(True for _ in _cookies(request))


def _cookies(request: web.Request) -> Iterator[str]:
    """The values of all session cookies: there may be one for each path under which the page was opened."""
    for header in request.headers.getall(hdrs.COOKIE, ()):
        for cookie in header.split(";"):
            name, _, value = cookie.strip().partition("=")
            if name == COOKIE:
                yield value


def _session_id(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()  # headers may hold any bytes
