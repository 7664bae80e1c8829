"""The log-ins of the page, for all nodes. None is cached, so that a log-out counts on every node.

How long a session lasts is measured by the database's clock.
"""

import time
from collections.abc import Callable, Collection

from server.core.ports import MAX_SESSIONS, MAX_SESSIONS_OF_PERSON, SESSION_LASTS, Session
from server.core.principal import OF_PERSON
from server.storage.postgresql.announcing import LoggedOut
from server.storage.postgresql.changes import Execute, Reading
from server.storage.postgresql.group_reader import GroupReader
from server.storage.postgresql.link import Links
from server.storage.postgresql.writer import Writer

BY_ID = """
    SELECT session_id, session_id, scope, extract(epoch FROM ends_at - clock_timestamp())::float8,
        way, token_id, about
    FROM sessions WHERE session_id = ANY(%s) AND ends_at > clock_timestamp()"""
_OF_SCOPE = """
    SELECT session_id, scope, extract(epoch FROM ends_at - clock_timestamp())::float8, way, token_id, about
    FROM sessions WHERE scope = ? AND ends_at > clock_timestamp() ORDER BY number DESC"""
# The DELETE does not see the row of the INSERT, so it leaves room for that one below the limit.
_BEGIN = b"""
    WITH new AS (
        INSERT INTO sessions (session_id, scope, ends_at, way, token_id, about)
        VALUES (%s, %s, clock_timestamp() + make_interval(secs => %s), %s, %s, %s)
    )
    DELETE FROM sessions
    WHERE number <= (SELECT number FROM sessions ORDER BY number DESC OFFSET %s LIMIT 1)
        OR starts_with(scope, %s) AND scope = %s AND number <= (
            SELECT number FROM sessions WHERE scope = %s ORDER BY number DESC OFFSET %s LIMIT 1
        )
    RETURNING session_id"""
_END = b"DELETE FROM sessions WHERE session_id = %s RETURNING session_id"
_END_OTHERS = b"""
    DELETE FROM sessions
    WHERE scope <> ALL(%s::text[]) AND NOT starts_with(scope, %s) OR ends_at <= clock_timestamp()
    RETURNING session_id"""
_END_OF_SCOPE = b"DELETE FROM sessions WHERE scope = %s RETURNING session_id"


def read_session(
    session_id: str, scope: str, lasts: float, way: str, token_id: int | None, about: str
) -> Session:
    """Read a row; `lasts` are seconds from now on."""
    ends_at = time.monotonic() + min(lasts, SESSION_LASTS)
    return Session(session_id, scope, ends_at, way, token_id, about)


class PostgresSessions:
    """See `server.core.ports.Sessions`."""

    def __init__(self, writer: Writer, reader: GroupReader[Session], lists: Links) -> None:
        self._writer = writer
        self._lists = lists
        self._reader = reader
        self.heard: Callable[[str], None] = lambda _: None
        self._held: Callable[[], Collection[str]] = tuple

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
        new = (session_id, scope, seconds, way, token_id, about)
        of_person = (OF_PERSON, scope, scope, MAX_SESSIONS_OF_PERSON - 1)
        await self._run(_BEGIN, *new, MAX_SESSIONS - 1, *of_person)

    async def get(self, session_id: str) -> Session | None:
        return await self._reader.get(session_id)

    async def end(self, session_id: str) -> None:
        await self._run(_END, session_id)

    async def end_others(self, scopes: Collection[str]) -> None:
        await self._run(_END_OTHERS, list(scopes), OF_PERSON)

    async def of_scope(self, scope: str) -> list[Session]:
        rows = await self._lists.do(lambda db: Reading(db).fetch(_OF_SCOPE, (scope,)))
        return [read_session(*row) for row in rows]

    async def end_of_scope(self, scope: str) -> None:
        await self._run(_END_OF_SCOPE, scope)

    def listen(self, ended: Callable[[str], None], held: Callable[[], Collection[str]]) -> None:
        """The relay calls `heard` as well, for sessions that were ended on other nodes."""
        self.heard, self._held = ended, held

    async def catch_up(self) -> None:
        for session_id in tuple(self._held()):
            if await self.get(session_id) is None:
                self.heard(session_id)

    async def _run(self, sql: bytes, *values: object) -> None:
        for session_id in await self._writer.submit(Execute(sql, values, tells=LoggedOut)):
            self.heard(session_id)
