"""People for commands, in a database that many nodes share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.core.unusable import DatabaseUnusable
from server.people.people_rows import PEOPLE_CHANGED
from server.storage.postgresql.announcing import Signal, announce
from server.storage.postgresql.changes import Reading
from server.storage.postgresql.connection import PLACE, connected, explain_errors
from server.storage.postgresql.migrations import migrate, released_scripts
from server.storage.statements import Statements

SENDER = "people"  # the sender of announcements; no node has this name
# Finds live nodes of a release that does not know people: they would still admit everybody.
_OLDER = """
    SELECT node_id FROM nodes WHERE heartbeat_at > now() - make_interval(secs => 60)
        AND 'web' = ANY(roles)
        AND coalesce(settings, '') NOT LIKE '%"access.separate_lists"%' ORDER BY node_id"""


@asynccontextmanager
async def cluster_transaction(url: str) -> AsyncIterator[Statements]:
    """Like `people_transaction`, for a cluster. Raises `DatabaseUnusable`, also while nodes run that do not
    know people.
    """
    with explain_errors():
        async with connected(url) as db:
            await migrate(db, released_scripts())
            older = await (await db.execute(_OLDER)).fetchall()
            if older:
                names = ", ".join(name for (name,) in older)
                why = f"has nodes of a release that would let everybody in ({names}): update them first"
                raise DatabaseUnusable(PLACE, why)
            async with db.transaction():
                yield Reading(db)
                await announce(db, SENDER, [Signal(PEOPLE_CHANGED)])
