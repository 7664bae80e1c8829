"""Who did what, as rows, on every database.

Decisions: docs/decisions/people.md
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from server.storage.cursor import Cursor
from server.storage.statements import Row, Statements, Tables, Transactions, insert

RETENTION_SECONDS = 90 * 86_400.0
MAX_DELETED_PER_WRITE = 1000  # events
COMMAND_LINE = "command line"  # in place of an address
_COLUMNS = "at, who, what, subject, address, request_id"
_ADD = f"INSERT INTO audit ({_COLUMNS}) VALUES {{rows}}"  # noqa: S608
_DELETE_OLD = f"""
    DELETE FROM audit WHERE number IN (
        SELECT number FROM audit WHERE at < ? ORDER BY at LIMIT {MAX_DELETED_PER_WRITE}
    )"""  # noqa: S608
_PAGE = f"""
    SELECT number, {_COLUMNS} FROM audit WHERE number < ? AND at >= ? ORDER BY number DESC LIMIT ?"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """`at`: seconds since 1970. `who`: a person, None for an admin without a name. `subject`: to what or whom
    it was done, such as a task or a person. `address`: from where; `COMMAND_LINE` for commands.
    """

    at: float
    who: str | None
    what: str
    subject: str = ""
    address: str = COMMAND_LINE
    request_id: str = ""


async def add_events(tables: Statements, events: Sequence[AuditEvent]) -> None:
    """Add events, and delete some of those that are older than `RETENTION_SECONDS`."""
    rows = [(one.at, one.who, one.what, one.subject, one.address, one.request_id) for one in events]
    await insert(tables, _ADD, rows)
    await tables.run(_DELETE_OLD, (events[-1].at - RETENTION_SECONDS,))


async def add_command(tables: Statements, what: str, subject: str) -> None:
    """Add the event of a command, within its transaction. Who runs it is not known."""
    await add_events(tables, [AuditEvent(time.time(), None, what, subject)])


class AuditRows:
    """All methods may raise `StoreUnavailable`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def add(self, events: Sequence[AuditEvent]) -> None:
        async def work(tables: Tables) -> None:
            await add_events(tables, events)

        await self._transactions.write(work)

    async def page(self, cursor: str | None, limit: int, now: float) -> tuple[list[AuditEvent], str | None]:
        """The newest first. Raises `InvalidQuery` on a bad cursor."""
        after = Cursor.read(cursor, "newest")

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_PAGE, (after.number, now - RETENTION_SECONDS, limit + 1))

        rows = await self._transactions.read(work)
        more = str(Cursor("newest", rows[limit - 1][0])) if len(rows) > limit else None
        return [AuditEvent(*row[1:]) for row in rows[:limit]], more
