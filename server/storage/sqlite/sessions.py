"""The log-ins of the page: a small table, which is also kept in memory.

Memory is updated after the COMMIT, so that it never knows more than the disk. On disk a session's end is a
time of the wall clock; at the start it is converted to the monotonic clock, which nobody can set. As the wall
clock may have been wrong, a loaded session has at most `SESSION_LASTS` seconds left.
"""

import json
import time
from collections.abc import Callable, Collection, Sequence

from server.core.ports import MAX_SESSIONS, MAX_SESSIONS_OF_PERSON, SESSION_LASTS, Session
from server.core.principal import OF_PERSON
from server.storage.sqlite.connection import Reader
from server.storage.sqlite.writer import Execute, Writer

_ALL = "SELECT session_id, scope, ends_at, way, token_id, about FROM sessions ORDER BY number"
_IDS = "SELECT session_id FROM sessions"
_BEGIN = "INSERT INTO sessions (session_id, scope, ends_at, way, token_id, about) VALUES (?, ?, ?, ?, ?, ?)"
_END = "DELETE FROM sessions WHERE session_id IN (SELECT value FROM json_each(?))"


async def load_sessions(reads: Reader, writer: Writer) -> "SqliteSessions":
    epoch, latest = time.time() - time.monotonic(), time.monotonic() + SESSION_LASTS
    sessions = [
        Session(session_id, scope, min(ends_at - epoch, latest), way, token_id, about)
        for session_id, scope, ends_at, way, token_id, about in await reads.fetch(_ALL)
    ]
    return SqliteSessions(reads, writer, sessions, epoch)


class SqliteSessions:
    """See `server.core.ports.Sessions`. `epoch`: when `time.monotonic()` was 0, in seconds since 1970."""

    def __init__(self, reads: Reader, writer: Writer, sessions: Collection[Session], epoch: float) -> None:
        self._reads = reads
        self._writer = writer
        self._epoch = epoch
        self._sessions = {session.session_id: session for session in sessions}  # oldest first
        self._ended: Callable[[str], None] = lambda _: None

    async def begin(
        self,
        session_id: str,
        scope: str,
        *,
        lasts: float | None = None,
        way: str = "token",
        token_id: int | None = None,
        about: str = "{}",
    ) -> None:
        seconds = SESSION_LASTS if lasts is None else min(lasts, SESSION_LASTS)
        session = Session(session_id, scope, time.monotonic() + seconds, way, token_id, about)
        row = (session_id, scope, self._epoch + session.ends_at, way, token_id, about)
        await self._writer.submit(Execute(_BEGIN, row))
        self._sessions[session_id] = session
        too_many = list(self._sessions)[:-MAX_SESSIONS]
        if scope.startswith(OF_PERSON):
            theirs = [each.session_id for each in self._sessions.values() if each.scope == scope]
            too_many += theirs[:-MAX_SESSIONS_OF_PERSON]
        await self._end(too_many)

    async def get(self, session_id: str) -> Session | None:
        session = self._sessions.get(session_id)
        return session if session and time.monotonic() < session.ends_at else None

    async def end(self, session_id: str) -> None:
        await self._end([session_id] if session_id in self._sessions else [])

    async def end_others(self, scopes: Collection[str]) -> None:
        now = time.monotonic()
        others = [
            session.session_id
            for session in self._sessions.values()
            if (session.scope not in scopes and not session.scope.startswith(OF_PERSON))
            or session.ends_at <= now
        ]
        await self._end(others)

    async def of_scope(self, scope: str) -> list[Session]:
        now = time.monotonic()
        found = [each for each in self._sessions.values() if each.scope == scope and now < each.ends_at]
        return found[::-1]

    async def end_of_scope(self, scope: str) -> None:
        await self._end([each.session_id for each in self._sessions.values() if each.scope == scope])

    async def catch_up(self) -> None:
        known = list(self._sessions)  # read first: of a session that begins meanwhile nothing is said
        stored = {row[0] for row in await self._reads.fetch(_IDS)}
        self._forget([session_id for session_id in known if session_id not in stored])

    def listen(self, ended: Callable[[str], None], held: Callable[[], Collection[str]]) -> None:
        self._ended = ended

    async def _end(self, session_ids: Sequence[str]) -> None:
        if not session_ids:
            return
        await self._writer.submit(Execute(_END, (json.dumps(session_ids),)))
        self._forget(session_ids)

    def _forget(self, session_ids: Sequence[str]) -> None:
        for session_id in session_ids:
            if self._sessions.pop(session_id, None):  # else another call has ended it meanwhile
                self._ended(session_id)
