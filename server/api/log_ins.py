"""Log-ins of the page: the cookie that stands for one, and what is open in its name and ends with it.

Only a hash of what the cookie holds is kept.
"""

import asyncio
import hashlib
import secrets
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from aiohttp import WSCloseCode, hdrs, web

from server.ports import Session, Sessions

COOKIE = "clipwire_session"
SESSION = web.RequestKey("session", Session)  # of those who have come with a cookie
_NOTHING = nullcontext()


class Line(Protocol):
    """Something that is open for longer than a moment: a socket, a long poll."""

    def end(self, code: WSCloseCode) -> None:
        """Called when the session ends in whose name it is open, with the code that sockets close with."""
        ...


class LogIns:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._lines: defaultdict[str, set[Line]] = defaultdict(set)
        sessions.listen(self._ended)

    async def begin(self, scope: str) -> str:
        """What the cookie of a new session is to hold. Raises `StoreUnavailable`."""
        secret = secrets.token_urlsafe(32)
        await self._sessions.begin(_session_id(secret), scope)
        return secret

    async def find(self, request: web.Request) -> Session | None:
        """The session whose cookie came with `request`, if it goes on."""
        for secret in _cookies(request):
            if session := await self._sessions.get(_session_id(secret)):
                return session
        return None

    async def end(self, request: web.Request) -> None:
        """End the session whose cookie came with `request`, and all that is open in its name.

        Raises `StoreUnavailable`; then it goes on.
        """
        for secret in _cookies(request):
            await self._sessions.end(_session_id(secret))

    def hold(self, request: web.Request, line: Line) -> AbstractContextManager[None]:
        """While this is open, `line` hears when the session of `request` ends; if it has none, never."""
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
    """Whether it came with the cookie of a session, be it one that goes on or not."""
    return any(True for _ in _cookies(request))


def _cookies(request: web.Request) -> Iterator[str]:
    """What each cookie of ours holds: there may be one for each path under which the page was opened."""
    for header in request.headers.getall(hdrs.COOKIE, ()):
        for cookie in header.split(";"):
            name, _, value = cookie.strip().partition("=")
            if name == COOKIE:
                yield value


def _session_id(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()  # headers may hold any bytes
