"""Deliveries as rows, on every database; see `server.notices.deliveries`. Times are by the store's clock."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

from server.core.clock import Clock
from server.core.errors import DeliveryNotFound
from server.notices.deliveries import (
    AT_ONCE,
    LEASE,
    LIBRARY_WITHIN,
    LONGEST_WAIT,
    TOLD_WITHIN,
    Addressee,
    Delivery,
    Kind,
    Others,
    SubscriptionNotice,
    Tells,
    waits_for_library,
)
from server.storage.cursor import Cursor
from server.storage.statements import (
    Dialect,
    Ended,
    Row,
    Statements,
    StoreHooks,
    Tables,
    Transactions,
    fetch_in,
    insert,
)
from server.storage.task_rows import read_status, readable

DUE = "deliveries"  # the signal that a delivery is due
_ADD = """
    INSERT INTO deliveries (delivery_id, task_id, kind, target, receiver, status, next_at) VALUES {rows}"""
# Step from one receiver to the next by the index: a receiver that hangs may have any number of deliveries.
_RECEIVERS = """
    WITH RECURSIVE kinds (kind) AS (VALUES {kinds}), receivers (kind, receiver) AS (
        SELECT kind, (SELECT min(receiver) FROM deliveries WHERE kind = kinds.kind AND next_at IS NOT NULL)
        FROM kinds
        UNION ALL
        SELECT kind, (
            SELECT min(receiver) FROM deliveries
            WHERE kind = receivers.kind AND receiver > receivers.receiver AND next_at IS NOT NULL
        ) FROM receivers WHERE receiver IS NOT NULL
    ), under_way (receiver, tries) AS (
        SELECT receiver, count(*) FROM deliveries WHERE claimed_until > {moment} GROUP BY receiver
    )"""
# Selects the first due deliveries of each receiver.
_FIRST = {
    "sqlite": f"""
        deliveries ON number IN (
            SELECT number FROM deliveries AS each
            WHERE each.kind = receivers.kind AND each.receiver = receivers.receiver
                AND each.next_at <= {{moment}}
            ORDER BY each.next_at LIMIT {AT_ONCE})""",  # noqa: S608
    "postgresql": f"""
        LATERAL (
            SELECT number, next_at FROM deliveries AS each
            WHERE each.kind = receivers.kind AND each.receiver = receivers.receiver
                AND each.next_at <= {{moment}}
                AND NOT EXISTS (SELECT FROM tasks WHERE task_id = each.task_id AND removed)
            ORDER BY each.next_at LIMIT {AT_ONCE}) AS first""",  # noqa: S608
}
_CLAIM = f"""
    {_RECEIVERS}, due (number, next_at, nth) AS (
        SELECT number, next_at,
            row_number() OVER (PARTITION BY receivers.receiver ORDER BY next_at) + coalesce(tries, 0)
        FROM receivers LEFT JOIN under_way ON under_way.receiver = receivers.receiver CROSS JOIN {{first}}
    )
    UPDATE deliveries SET next_at = {{moment}}, claimed_until = {{moment}}
    WHERE number IN (SELECT number FROM due WHERE nth <= {AT_ONCE} ORDER BY next_at LIMIT {{most}})
    RETURNING delivery_id"""  # noqa: S608
_NEXT = f"""
    {_RECEIVERS} SELECT {{seconds}} FROM (SELECT (
        SELECT min(next_at) FROM deliveries
        WHERE kind = receivers.kind AND receiver = receivers.receiver AND next_at IS NOT NULL
    ) AS next_at FROM receivers LEFT JOIN under_way ON under_way.receiver = receivers.receiver
    WHERE coalesce(tries, 0) < {AT_ONCE}) AS soonest"""  # noqa: S608
# A delivery that is due later than any plan says was put off by a clock that was ahead.
_RELEASE = """
    UPDATE deliveries SET next_at = {moment}, claimed_until = NULL
    WHERE claimed_until IS NOT NULL OR next_at > {moment}"""
_UNTRIED = """
    SELECT delivery_id, status FROM deliveries
    WHERE task_id = ? AND attempts = 0 AND claimed_until IS NULL AND next_at IS NOT NULL"""
_AS_IT_IS = """
    UPDATE deliveries SET status = ?, next_at = coalesce({moment}, next_at)
    WHERE delivery_id = ? AND attempts = 0 AND claimed_until IS NULL"""
_FAILED = """
    UPDATE deliveries SET attempts = attempts + 1, step = step + 1, last_error = ?, next_at = {moment},
        claimed_until = NULL
    WHERE delivery_id = ?"""
_AGAIN = """
    UPDATE deliveries SET step = 0, next_at = {moment}
    WHERE delivery_id = ? AND kind <> 'notify' AND (claimed_until IS NULL OR claimed_until <= {moment})"""
_ADD_NOTICE = """
    INSERT INTO deliveries (delivery_id, subscription_id, kind, target, receiver, status, next_at)
    VALUES {rows}"""
# The columns are those of `_DeliveryRow`.
_COLUMNS = """
    SELECT deliveries.number, delivery_id, deliveries.task_id, kind, target, tasks.number, deliveries.status,
        attempts, step, last_error, {seconds}
    FROM deliveries LEFT JOIN tasks ON tasks.task_id = deliveries.task_id
    WHERE (subscription_id IS NOT NULL OR NOT removed)"""
# Of what belongs to this person, who is named twice.
_OF_OWNER = """
    (EXISTS (SELECT 1 FROM tasks t WHERE t.task_id = deliveries.task_id AND t.owner = ?)
        OR EXISTS (SELECT 1 FROM subscriptions s
            WHERE s.subscription_id = deliveries.subscription_id AND s.owner = ?))"""
_BY_ID = f"{_COLUMNS} AND delivery_id IN ({{keys}})"
_PAGE = f"{_COLUMNS} AND deliveries.number < ? AND kind <> 'notify' ORDER BY deliveries.number DESC LIMIT ?"


def hooks_of(tells: Tells) -> StoreHooks:
    """Store, with the end of a task, who is to be told of it. Until all are told, or given up, the task is
    not deleted.
    """

    async def deliver(tables: Statements, ended: Sequence[Ended], now: datetime) -> Collection[str]:
        rows = [
            (
                *(f"msg_{uuid4().hex}", one.status.task_id, whom.kind, whom.target, whom.receiver, one.text),
                now.timestamp() + (LIBRARY_WITHIN if waits_for_library(one.status) else 0.0),
            )
            for one in ended
            if not one.again
            for whom in tells(one.request, one.status)
        ]
        if not rows:
            return ()
        await insert(tables, _ADD, rows, f"(?, ?, ?, ?, ?, ?, {tables.dialect.moment.format('?')})")
        return (DUE,)

    return StoreHooks(deliver, _untold)


async def tell_of_subscription(
    tables: Tables, others: Others, notice: SubscriptionNotice, now: float
) -> None:
    """Add deliveries to `others`, which are sent once the transaction is on disk."""
    moment = tables.dialect.moment.format("?")
    text = notice.model_dump_json(exclude_none=True)
    rows = [
        (f"msg_{uuid4().hex}", notice.subscription_id, whom.kind, whom.target, whom.receiver, text, now)
        for whom in others
    ]
    if rows:
        await insert(tables, _ADD_NOTICE, rows, f"(?, ?, ?, ?, ?, ?, {moment})")
        tables.wake(DUE)


async def tell_no_more(tables: Statements, subscription_id: str) -> None:
    """Drop the deliveries about a removed subscription."""
    await tables.run("DELETE FROM deliveries WHERE subscription_id = ?", (subscription_id,))


async def tell_as_it_is(tables: Statements, task_id: str, now: float | None) -> bool:
    """Give the deliveries of a task's end the status that the task has by now, except those that were tried
    already and those about an earlier attempt. Return whether there are any that were not tried.

    They are due at `now`; without it, when they were due anyway.
    """
    untried = await tables.fetch(_UNTRIED, (task_id,))
    if not untried:
        return False
    rows = await tables.fetch("SELECT number, status FROM tasks WHERE task_id = ?", (task_id,))
    for number, text in rows:
        attempt = read_status(number, text).attempt
        for delivery_id, told in untried:
            is_of_last = read_status(number, told).attempt == attempt
            values = (text if is_of_last else told, now, delivery_id)
            await tables.run(_written(tables.dialect, _AS_IT_IS), values)
    return bool(rows)


def _untold(dialect: Dialect, now: datetime) -> tuple[str, Sequence[object]]:
    ended_lately = f"ended_at >= {dialect.moment.format('?')}"
    waits = "SELECT 1 FROM deliveries WHERE deliveries.task_id = tasks.task_id AND next_at IS NOT NULL"
    return f"{ended_lately} AND EXISTS ({waits})", [(now - TOLD_WITHIN).timestamp()]


class DeliveryRows:
    """The deliveries of tasks that are there; those of a removed task are gone.

    A change is on disk when its method returns. Any method may raise `StoreUnavailable`.
    """

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def listen(self, called: Callable[[], None]) -> None:
        """Call `called` when a delivery may have come, on whichever node."""
        self._transactions.signals.listen(DUE, called)

    async def claim(self, kinds: Sequence[str], most: int) -> list[Delivery]:
        """Lease up to `most` due deliveries of these `kinds` for `LEASE` seconds, and return them. Of one
        receiver at most `AT_ONCE` are leased at a time.
        """
        now = self._now()

        async def work(tables: Tables) -> list[Delivery]:
            rows = await tables.fetch(*claim(tables.dialect, kinds, now, most))
            return await _named(tables, [delivery_id for (delivery_id,) in rows]) if rows else []

        return await self._transactions.write(work, under=DUE)  # so that no two nodes count the same tries

    async def release_all(self) -> None:
        """Make claimed deliveries due at once: this server, which has just started, is the only one that
        delivers.
        """
        now = self._now()

        async def work(tables: Tables) -> None:
            await tables.run(_written(tables.dialect, _RELEASE), (now, now + LONGEST_WAIT + LEASE))

        await self._transactions.write(work)

    async def due_in(self, kinds: Sequence[str]) -> float | None:
        """Seconds until the next delivery of these `kinds` may be claimed; None if there is none.

        For a receiver with as many tries as it may have, the end of one of them counts.
        """
        now = self._now()

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(*soonest(tables.dialect, kinds, now))

        [(next_at,)] = await self._transactions.read(work)
        return None if next_at is None else max(0.0, next_at - now)

    async def delivered(self, delivery_id: str) -> None:
        async def work(tables: Tables) -> None:
            await tables.run("DELETE FROM deliveries WHERE delivery_id = ?", (delivery_id,))

        await self._transactions.write(work)

    async def failed(self, delivery_id: str, error: str, again_in: float | None) -> None:
        """Count a try that failed; without `again_in`, seconds, the delivery is given up."""
        next_at = None if again_in is None else self._now() + again_in

        async def work(tables: Tables) -> None:
            await tables.run(_written(tables.dialect, _FAILED), (error, next_at, delivery_id))

        await self._transactions.write(work)

    async def page(
        self, cursor: str | None, limit: int, owner: str | None = None
    ) -> tuple[list[Delivery], str | None]:
        """Those to webhooks that are due or given up, newest first; with `owner` theirs alone.

        Raises `InvalidQuery` on a bad cursor.
        """
        after = Cursor.read(cursor, "newest")

        async def work(tables: Statements) -> list[Row]:
            sql, mine = _PAGE, list[object]([after.number])
            if owner is not None:
                sql = sql.replace("ORDER BY", f"AND {_OF_OWNER} ORDER BY")
                mine = [after.number, owner, owner]
            return await tables.fetch(_written(tables.dialect, sql), (*mine, limit + 1))

        rows = await self._transactions.read(work)
        more = str(Cursor("newest", rows[limit - 1][0])) if len(rows) > limit else None
        return list(readable(_read, rows[:limit])), more

    async def again(self, delivery_id: str, owner: str | None = None) -> Delivery:
        """Make a delivery to a webhook due now, with `owner` only one of theirs, and begin the plan anew; one
        that is under way, on whichever node, stays as it is. Raises `DeliveryNotFound`.
        """
        if "\0" in delivery_id:  # PostgreSQL takes no text with NUL
            raise DeliveryNotFound
        now = self._now()

        async def work(tables: Tables) -> list[Delivery]:
            again, mine = _AGAIN, list[object]([now, delivery_id, now])
            if owner is not None:
                again, mine = f"{again} AND {_OF_OWNER}", [*mine, owner, owner]
            await tables.run(_written(tables.dialect, again), mine)
            tables.wake(DUE)
            return await _named(tables, [delivery_id], owner)

        for delivery in await self._transactions.write(work):
            if delivery.addressee.kind != "notify":
                return delivery
        raise DeliveryNotFound


def claim(dialect: Dialect, kinds: Sequence[str], now: float, most: int) -> tuple[str, Sequence[object]]:
    """Return a statement that claims at most `most` deliveries, and its values."""
    sql = _CLAIM.replace("{first}", _FIRST[dialect.name]).replace("{most}", f"{most:d}")
    return _written(dialect, sql, kinds), (*kinds, now, now, now + LEASE, now + LEASE)


def soonest(dialect: Dialect, kinds: Sequence[str], now: float) -> tuple[str, Sequence[object]]:
    """Return a query for the time of the next delivery that may be claimed, and its values."""
    sql = _NEXT.replace("{seconds}", dialect.seconds.format("min(next_at)"))
    return _written(dialect, sql, kinds), (*kinds, now)


def _written(dialect: Dialect, sql: str, kinds: Sequence[str] = ()) -> str:
    sql = sql.replace("{moment}", dialect.moment.format("?"))
    sql = sql.replace("{seconds}", dialect.seconds.format("next_at"))
    return sql.replace("{kinds}", ", ".join(["(?)"] * len(kinds)))


async def _named(tables: Statements, delivery_ids: Sequence[str], owner: str | None = None) -> list[Delivery]:
    sql, mine = _BY_ID, list[object]()
    if owner is not None:
        sql, mine = sql.replace("AND delivery_id", f"AND {_OF_OWNER} AND delivery_id"), [owner, owner]
    rows = await fetch_in(tables, _written(tables.dialect, sql), delivery_ids, *mine)
    return list(readable(_read, sorted(rows)))


class _DeliveryRow(NamedTuple):
    number: int
    delivery_id: str
    task_id: str | None
    kind: Kind
    target: str
    task_number: int | None
    status: str
    attempts: int
    step: int
    last_error: str | None
    next_at: float | None


def _read(*columns: Any) -> Delivery:
    row = _DeliveryRow(*columns)
    return Delivery(
        delivery_id=row.delivery_id,
        number=row.number,
        task_id=row.task_id or "",
        addressee=Addressee(row.kind, row.target),
        status=(
            SubscriptionNotice.model_validate_json(row.status, extra="ignore")
            if row.task_number is None
            else read_status(row.task_number, row.status)
        ),
        attempts=row.attempts,
        step=row.step,
        last_error=row.last_error,
        next_at=None if row.next_at is None else datetime.fromtimestamp(row.next_at, UTC),
    )
