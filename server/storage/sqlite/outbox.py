"""The deliveries to webhooks and people, in the database file, by its one writer."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from server.core.errors import DeliveryNotFound
from server.notices.deliveries import AT_ONCE, LEASE, LONGEST_WAIT, Delivery
from server.storage.cursor import Cursor
from server.storage.sqlite.connection import Reader
from server.storage.sqlite.writer import Changes, Execute, Writer
from server.storage.task_rows import read_delivery, readable

# From one receiver to the next by the index: a receiver that hangs may have any number of deliveries. `?1` is
# the time, `?2` has the kinds.
_RECEIVERS = """
    WITH RECURSIVE receivers (kind, receiver) AS (
        SELECT value, (SELECT min(receiver) FROM deliveries WHERE kind = value AND next_at IS NOT NULL)
        FROM json_each(?2)
        UNION ALL
        SELECT kind, (
            SELECT min(receiver) FROM deliveries
            WHERE kind = receivers.kind AND receiver > receivers.receiver AND next_at IS NOT NULL
        ) FROM receivers WHERE receiver IS NOT NULL
    ), under_way (receiver, tries) AS (
        SELECT receiver, count(*) FROM deliveries WHERE claimed_until > ?1 GROUP BY receiver
    )"""
_CLAIM = f"""
    {_RECEIVERS}, due (number, next_at, nth) AS (
        SELECT number, next_at,
            row_number() OVER (PARTITION BY receivers.receiver ORDER BY next_at) + coalesce(tries, 0)
        FROM receivers LEFT JOIN under_way USING (receiver) CROSS JOIN deliveries ON number IN (
            SELECT number FROM deliveries AS each
            WHERE each.kind = receivers.kind AND each.receiver = receivers.receiver AND each.next_at <= ?1
            ORDER BY each.next_at LIMIT {AT_ONCE}
        )
    )
    UPDATE deliveries SET next_at = ?3, claimed_until = ?3
    WHERE number IN (SELECT number FROM due WHERE nth <= {AT_ONCE} ORDER BY next_at LIMIT ?4)
    RETURNING delivery_id"""  # noqa: S608
# One that is due later than any plan says was put off by a clock that was ahead.
_RELEASE = (
    "UPDATE deliveries SET next_at = ?1, claimed_until = NULL WHERE claimed_until IS NOT NULL OR next_at > ?2"
)
_NEXT = f"""
    {_RECEIVERS} SELECT min((
        SELECT min(next_at) FROM deliveries
        WHERE kind = receivers.kind AND receiver = receivers.receiver AND next_at IS NOT NULL
    )) FROM receivers LEFT JOIN under_way USING (receiver) WHERE coalesce(tries, 0) < {AT_ONCE}"""  # noqa: S608
_DELIVERED = "DELETE FROM deliveries WHERE delivery_id = ?"
_FAILED = """
    UPDATE deliveries SET attempts = attempts + 1, step = step + 1, last_error = ?, next_at = ?,
        claimed_until = NULL
    WHERE delivery_id = ?"""
_AGAIN = """
    UPDATE deliveries SET step = 0, next_at = ?1
    WHERE delivery_id = ?2 AND kind <> 'notify' AND (claimed_until IS NULL OR claimed_until <= ?1)"""
_COLUMNS = """
    SELECT deliveries.number, delivery_id, task_id, kind, target, tasks.number, deliveries.status, attempts,
        step, last_error, next_at
    FROM deliveries JOIN tasks USING (task_id)"""
_BY_ID = f"{_COLUMNS} WHERE delivery_id IN (SELECT value FROM json_each(?)) ORDER BY 1"  # noqa: S608
_PAGE = f"{_COLUMNS} WHERE deliveries.number < ? AND kind <> 'notify' ORDER BY 1 DESC LIMIT ?"


class SqliteOutbox:
    """See `server.notices.deliveries.Outbox`. Times are those of the server's clock."""

    def __init__(self, writer: Writer, reads: Reader, changes: Changes) -> None:
        self._writer = writer
        self._reads = reads
        self._changes = changes

    def _now(self) -> float:
        return self._changes.clock.now().timestamp()

    def listen(self, called: Callable[[], None]) -> None:
        self._changes.told = called

    async def claim(self, kinds: Sequence[str], most: int) -> list[Delivery]:
        now = self._now()
        claim = Execute(_CLAIM, (now, json.dumps(kinds), now + LEASE, most))
        return await self._named(await self._writer.submit(claim))

    async def release_all(self) -> None:
        """Make due at once what was claimed: no server but this one, which has just started, delivers."""
        now = self._now()
        await self._writer.submit(Execute(_RELEASE, (now, now + LONGEST_WAIT + LEASE)))

    async def due_in(self, kinds: Sequence[str]) -> float | None:
        now = self._now()
        [(next_at,)] = await self._reads.fetch(_NEXT, (now, json.dumps(kinds)))
        return None if next_at is None else max(0.0, next_at - now)

    async def delivered(self, delivery_id: str) -> None:
        await self._writer.submit(Execute(_DELIVERED, (delivery_id,)))

    async def failed(self, delivery_id: str, error: str, again_in: float | None) -> None:
        next_at = None if again_in is None else self._now() + again_in
        await self._writer.submit(Execute(_FAILED, (error, next_at, delivery_id)))

    async def page(self, cursor: str | None, limit: int) -> tuple[list[Delivery], str | None]:
        after = Cursor.read(cursor, "newest")
        rows = await self._reads.fetch(_PAGE, (after.number, limit + 1))
        more = str(Cursor("newest", rows[limit - 1][0])) if len(rows) > limit else None
        return list(readable(_read, rows[:limit])), more

    async def again(self, delivery_id: str) -> Delivery:
        await self._writer.submit(Execute(_AGAIN, (self._now(), delivery_id)))
        for delivery in await self._named([delivery_id]):
            if delivery.addressee.kind != "notify":
                self._changes.told()
                return delivery
        raise DeliveryNotFound

    async def _named(self, delivery_ids: list[str]) -> list[Delivery]:
        if not delivery_ids:
            return []
        return list(readable(_read, await self._reads.fetch(_BY_ID, (json.dumps(delivery_ids),))))


def _read(*row: Any) -> Delivery:
    next_at = row[-1]
    moment = None if next_at is None else datetime.fromtimestamp(next_at, UTC)
    return read_delivery(*row[:-1], moment)  # type: ignore[call-arg]
