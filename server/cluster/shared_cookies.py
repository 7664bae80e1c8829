"""Cookie files that all nodes share: see `server.core.ports.Cookies`."""

import logging
import secrets
import time
from collections.abc import AsyncIterator

from server.cluster.database import ClusterDatabase
from server.core import cookie_format
from server.core.cookie_facts import CookieFacts, facts_in, facts_of, merge_changes, with_facts, without_facts
from server.core.errors import TooManyCookies
from server.core.long_work import compute
from server.core.ports import StoredCookies

log = logging.getLogger(__name__)

_LISTED_AT_ONCE = 50

_PUT = """
    INSERT INTO cookies (name, put, content) SELECT %s, %s, %s
    WHERE (SELECT count(*) FROM cookies WHERE left(name, strpos(name, '@')) = %s) < %s
        OR EXISTS (SELECT 1 FROM cookies WHERE name = %s)
    ON CONFLICT (name) DO UPDATE SET put = excluded.put, content = excluded.content
    RETURNING name"""
_GET = "SELECT put, content FROM cookies WHERE name = %s"
_NAMES = "SELECT name FROM cookies ORDER BY name"
_DELETE = "DELETE FROM cookies WHERE name = %s RETURNING name"
_ABOUT = """
    SELECT name, about FROM cookies WHERE name > %s AND starts_with(name, %s) ORDER BY name LIMIT %s"""
_CURRENT = "SELECT content FROM cookies WHERE name = %s AND put = %s"
_REPLACE = "UPDATE cookies SET content = %s WHERE name = %s AND put = %s AND content = %s RETURNING name"


class SharedCookies:
    """Cookie files in the database. All methods raise `StoreUnavailable`. Two nodes that store files at the
    same moment may exceed the limit of `TooManyCookies`.
    """

    def __init__(self, database: ClusterDatabase, *, are_separate: bool = False) -> None:
        self.are_separate = are_separate
        self._database = database

    async def put(self, name: str, text: str) -> None:
        most = cookie_format.MOST_FILES
        person = name[: name.find("@") + 1]
        if not await self._database.rows(_PUT, name, secrets.token_hex(8), text, person, most, name):
            raise TooManyCookies(most)

    async def get(self, name: str) -> StoredCookies | None:
        rows = await self._database.rows(_GET, name)
        return StoredCookies(rows[0][0], without_facts(rows[0][1])) if rows else None

    async def facts(self, begin: str = "") -> AsyncIterator[tuple[str, CookieFacts]]:
        last = ""
        while rows := await self._database.rows(_ABOUT, last, begin, _LISTED_AT_ONCE):
            for name, about in rows:
                if found := facts_in(about) or await self._work_out(name):
                    yield name, found
            last = rows[-1][0]

    async def _work_out(self, name: str) -> CookieFacts | None:
        """Compute and store the facts of a file that an earlier release has stored, perhaps just now on
        another node.
        """
        if not (rows := await self._database.rows(_GET, name)):
            return None
        [[put, content]] = rows
        try:
            facts = facts_of(await compute(cookie_format.parse, content), time.time())
        except cookie_format.WrongLine as error:
            log.error("cookies %s cannot be read, store them anew: %s", name, error)
            return None
        text = with_facts(without_facts(content), facts)
        await self._database.rows(_REPLACE, text, name, put, content)
        return facts

    async def names(self) -> list[str]:
        return [name for (name,) in await self._database.rows(_NAMES)]

    async def delete(self, name: str) -> bool:
        return bool(await self._database.rows(_DELETE, name))

    async def renew(self, name: str, given: StoredCookies, back: str) -> None:
        """Renew cookies. If another node stores the file meanwhile, repeat the merge with its text: a lock
        would have to be held while texts are parsed.
        """
        while rows := await self._database.rows(_CURRENT, name, given.put):
            [[content]] = rows
            text = await compute(merge_changes, content, given.text, back)
            if text is None or await self._database.rows(_REPLACE, text, name, given.put, content):
                return
