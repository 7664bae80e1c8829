"""The deliveries to webhooks and people, for all nodes: of those that may deliver, one at a time claims each.

Times are those of the database's clock.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from psycopg import AsyncConnection

from server.core.errors import DeliveryNotFound
from server.notices.deliveries import AT_ONCE, LEASE, Delivery
from server.storage.cursor import Cursor
from server.storage.postgresql.advisory_locks import DELIVER
from server.storage.postgresql.announcing import Deliveries, News
from server.storage.postgresql.changes import Execute
from server.storage.postgresql.group_reader import is_text
from server.storage.postgresql.link import Links
from server.storage.postgresql.writer import Writer
from server.storage.task_rows import read_delivery, readable

# From one receiver to the next by the index: a receiver that hangs may have any number of deliveries.
_RECEIVERS = b"""
    WITH RECURSIVE receivers (kind, receiver) AS (
        SELECT kind, (SELECT min(receiver) FROM deliveries WHERE kind = kinds.kind AND next_at IS NOT NULL)
        FROM unnest(%s::text[]) AS kinds (kind)
        UNION ALL
        SELECT kind, (
            SELECT min(receiver) FROM deliveries
            WHERE kind = receivers.kind AND receiver > receivers.receiver AND next_at IS NOT NULL
        ) FROM receivers WHERE receiver IS NOT NULL
    ), under_way (receiver, tries) AS (
        SELECT receiver, count(*) FROM deliveries WHERE claimed_until > clock_timestamp() GROUP BY receiver
    )"""
# Under `DELIVER`, so that no two nodes count the same tries.
_CLAIM = b"""
    %b, due (number, next_at, nth) AS (
        SELECT number, next_at,
            row_number() OVER (PARTITION BY receiver ORDER BY next_at) + coalesce(tries, 0)
        FROM receivers LEFT JOIN under_way USING (receiver) CROSS JOIN LATERAL (
            SELECT number, next_at FROM deliveries
            WHERE kind = receivers.kind AND receiver = receivers.receiver AND next_at <= clock_timestamp()
                AND NOT EXISTS (SELECT FROM tasks WHERE task_id = deliveries.task_id AND removed)
            ORDER BY next_at LIMIT %d
        ) AS first
    ), claim (until) AS (SELECT clock_timestamp() + make_interval(secs => %%s))
    UPDATE deliveries SET next_at = until, claimed_until = until FROM claim
    WHERE next_at <= clock_timestamp()
        AND number IN (SELECT number FROM due WHERE nth <= %d ORDER BY next_at LIMIT %%s)
    RETURNING delivery_id""" % (_RECEIVERS, AT_ONCE, AT_ONCE)
_NEXT = b"""
    %b SELECT extract(epoch FROM min((
        SELECT min(next_at) FROM deliveries
        WHERE kind = receivers.kind AND receiver = receivers.receiver AND next_at IS NOT NULL
    )) - clock_timestamp())::float8 FROM receivers LEFT JOIN under_way USING (receiver)
    WHERE coalesce(tries, 0) < %d""" % (_RECEIVERS, AT_ONCE)
_DELIVERED = b"DELETE FROM deliveries WHERE delivery_id = %s RETURNING delivery_id"
_FAILED = b"""
    UPDATE deliveries SET attempts = attempts + 1, step = step + 1, last_error = %s,
        next_at = clock_timestamp() + make_interval(secs => %s), claimed_until = NULL
    WHERE delivery_id = %s RETURNING delivery_id"""
_AGAIN = b"""
    UPDATE deliveries SET step = 0, next_at = clock_timestamp()
    WHERE delivery_id = %s AND kind <> 'notify'
        AND (claimed_until IS NULL OR claimed_until <= clock_timestamp())
    RETURNING delivery_id"""
_COLUMNS = b"""
    SELECT deliveries.number, delivery_id, task_id, kind, target, tasks.number, deliveries.status, attempts,
        step, last_error, next_at
    FROM deliveries JOIN tasks USING (task_id) WHERE NOT removed"""
_BY_ID = _COLUMNS + b" AND delivery_id = ANY(%s) ORDER BY deliveries.number"
_PAGE = (
    _COLUMNS + b" AND deliveries.number < %s AND kind <> 'notify' ORDER BY deliveries.number DESC LIMIT %s"
)


class PostgresOutbox:
    """See `server.notices.deliveries.Outbox`. The relay calls `heard`, for what any node has announced."""

    def __init__(self, writer: Writer, lists: Links) -> None:
        self._writer = writer
        self._lists = lists
        self.heard: Callable[[], None] = lambda: None

    def listen(self, called: Callable[[], None]) -> None:
        self.heard = called

    async def claim(self, kinds: Sequence[str], most: int) -> list[Delivery]:
        claim = Execute(_CLAIM, (list(kinds), LEASE, most), under=DELIVER)
        return await self._named(await self._writer.submit(claim))

    async def due_in(self, kinds: Sequence[str]) -> float | None:
        [(seconds,)] = await self._lists.do(partial(_rows, _NEXT, list(kinds)))
        return None if seconds is None else max(0.0, seconds)

    async def delivered(self, delivery_id: str) -> None:
        await self._run(_DELIVERED, delivery_id)

    async def failed(self, delivery_id: str, error: str, again_in: float | None) -> None:
        await self._run(_FAILED, error, again_in, delivery_id)

    async def page(self, cursor: str | None, limit: int) -> tuple[list[Delivery], str | None]:
        after = Cursor.read(cursor, "newest")
        rows = await self._lists.do(partial(_rows, _PAGE, after.number, limit + 1))
        more = str(Cursor("newest", rows[limit - 1][0])) if len(rows) > limit else None
        return list(readable(read_delivery, rows[:limit])), more

    async def again(self, delivery_id: str) -> Delivery:
        if is_text(delivery_id):
            await self._run(_AGAIN, delivery_id, tells=lambda _: Deliveries())
            for delivery in await self._named([delivery_id]):
                if delivery.addressee.kind != "notify":
                    return delivery
        raise DeliveryNotFound

    async def _named(self, delivery_ids: list[str]) -> list[Delivery]:
        if not delivery_ids:
            return []
        return list(readable(read_delivery, await self._lists.do(partial(_rows, _BY_ID, delivery_ids))))

    async def _run(
        self, sql: bytes, *values: object, tells: Callable[[str], News] | None = None
    ) -> list[str]:
        return await self._writer.submit(Execute(sql, values, (), tells))


async def _rows(sql: bytes, *values_and_db: Any) -> Sequence[tuple[Any, ...]]:
    *values, db = values_and_db
    assert isinstance(db, AsyncConnection)
    return await (await db.execute(sql, values)).fetchall()
