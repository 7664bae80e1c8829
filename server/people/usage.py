"""What people have used of their limits, and what happens when a limit is reached.

The waiting tasks of a person are counted in the transaction that adds a task, so two requests, on whichever
nodes, cannot take the same last place. The size of a task is known only at its end: a person who has used up
the bytes of a day, or of storage, is refused new tasks, and their waiting tasks wait on.

Decisions: docs/decisions/people.md
"""

import json
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from server.core.errors import AppError, OverLimit
from server.core.events import Event, Requeued
from server.core.ports import Store
from server.core.task import OVER_LIMIT, Stage, Task
from server.people.limits import Limits
from server.people.person import Person
from server.settings import AccessSettings
from server.storage.statements import Ended, Statements, StoreHooks, Transactions, WaitingPlaces, fetch_in
from server.storage.task_queries import FINAL_STAGES, UNFINISHED_STAGES
from server.tasks.janitor import AT_ONCE, carry_out_removals
from server.tasks.service import Tasks

HOUR = 3600.0  # seconds
DAY = 24  # hours
REUSE_SUM_SECONDS = 10.0  # how long a sum of stored bytes that is below the limit is used again
MAX_HOLD_SECONDS = HOUR  # seconds after which a held task is tried again
_LIMITS = "SELECT name, limits FROM people WHERE name IN ({keys})"
# With the stages named, both read indexes that tasks of people have in any case, `tasks_owner_stage` and
# `tasks_owner_stage_ended`.
_UNFINISHED = f"""
    SELECT stage, count(*) FROM tasks
    WHERE owner = ? AND stage IN ({UNFINISHED_STAGES}) AND {{there}} GROUP BY stage"""  # noqa: S608
_EXPIRED = f"""
    SELECT 1 FROM tasks
    WHERE owner = ? AND stage IN ({FINAL_STAGES}) AND ended_at < {{moment}} AND {{there}} LIMIT 1"""  # noqa: S608
_STORED = {
    "sqlite": """
        SELECT coalesce(sum(json_extract(file.value, '$.size')), 0)
        FROM tasks, json_each(CASE WHEN json_valid(status) THEN status ELSE '{}' END, '$.files') AS file
        WHERE owner = ? AND removed = 0""",
    "postgresql": """
        SELECT coalesce(sum((file.value ->> 'size')::bigint), 0)::bigint
        FROM tasks CROSS JOIN LATERAL json_each(coalesce(status::json -> 'files', '{}')) AS file
        WHERE owner = ? AND NOT removed""",
}
_DOWNLOADED = "SELECT hour, bytes FROM downloaded WHERE name = ? AND hour > ? ORDER BY hour"
_ADD = """
    INSERT INTO downloaded (name, hour, bytes) VALUES (?, ?, ?)
    ON CONFLICT (name, hour) DO UPDATE SET bytes = downloaded.bytes + excluded.bytes"""
_FORGET = "DELETE FROM downloaded WHERE name = ? AND hour <= ?"


@dataclass(frozen=True, slots=True)
class Use:
    """`stored_bytes` is None where it was not asked for. `free_in`: seconds until some of the day's bytes are
    free again; None if none are used.
    """

    running: int
    waiting: int
    bytes_per_day: int
    free_in: float | None
    stored_bytes: int | None


async def downloaded(
    tables: Statements, name: str, now: float, most: int | None = None
) -> tuple[int, float | None]:
    """Return the bytes of the last 24 hours, and the seconds until they are fewer, or fewer than `most`."""
    rows = await tables.fetch(_DOWNLOADED, (name, int(now // HOUR) - DAY))
    used = left = sum(count for _, count in rows)
    for hour, count in rows:
        left -= count
        if most is None or left < most:
            return used, (hour + DAY) * HOUR - now
    return used, None


def hooks(access: AccessSettings) -> StoreHooks:
    """Return the functions that keep the limits of people within transactions that change tasks."""

    async def room_of(tables: Statements, names: Collection[str]) -> Mapping[str, WaitingPlaces]:
        rooms = dict[str, WaitingPlaces]()
        for name, own in await fetch_in(tables, _LIMITS, sorted(names)):
            most = Limits.of(access, json.loads(own)).max_waiting
            if most is not None:
                waiting = (await unfinished(tables, name))[1]
                # Other tasks of the same transaction may take the last places.
                refusal = OverLimit("max_waiting", most, max(waiting, most))
                rooms[name] = WaitingPlaces(most - waiting, refusal)
        return rooms

    async def on_end(tables: Statements, ended: Sequence[Ended], now: datetime) -> Collection[str]:
        downloaded_bytes = dict[str, int]()
        for one in ended:
            if one.status.owner and one.status.stage is Stage.COMPLETED:
                size = sum(file.size for file in one.status.files.values())
                before = downloaded_bytes.get(one.status.owner, 0)
                downloaded_bytes[one.status.owner] = before + size
        hour = int(now.timestamp() // HOUR)
        for name, size in sorted(downloaded_bytes.items()):
            if not size:
                continue
            await tables.run(_ADD, (name, hour, size))
            await tables.run(_FORGET, (name, hour - DAY))
        return ()

    return StoreHooks(on_end=on_end, room_of=room_of)


async def unfinished(tables: Statements, name: str) -> tuple[int, int]:
    """Return how many tasks of a person run, and how many wait."""
    counts: dict[str, int] = dict(await tables.fetch(_written(tables, _UNFINISHED), (name,)))
    waiting = counts.pop(Stage.QUEUED.value, 0) + counts.pop(Stage.PAUSED.value, 0)
    return sum(counts.values()), waiting


class Usage:
    """`people` are those who were added, by name."""

    def __init__(
        self,
        transactions: Transactions,
        access: AccessSettings,
        people: Callable[[], Mapping[str, Person]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._transactions = transactions
        self._access = access
        self._people = people
        self._now = now
        # By person: when the sum of stored bytes was made, and the sum.
        self._stored: dict[str, tuple[float, int]] = {}
        self._limits: dict[str, Limits] = {}
        self._limited: Mapping[str, Person] = {}  # the people of `_limits`: each change makes another object

    def shares(self) -> dict[str, int]:
        """Return how many tasks each person with this limit may run at once."""
        limits = {name: self.limits(name).max_running for name in self._people()}
        return {name: most for name, most in limits.items() if most}

    def limits(self, name: str) -> Limits:
        people = self._people()
        if people is not self._limited:
            self._limited, self._limits = people, {}
        limits = self._limits.get(name)
        if limits is None:
            person = people.get(name)
            limits = Limits.of(self._access, person.limits) if person else Limits()
            if person:
                self._limits[name] = limits
        return limits

    async def of(self, name: str) -> Use:
        """Return what a person uses now. Raises `StoreUnavailable`."""
        most = self.limits(name).max_bytes_per_day

        async def work(tables: Statements) -> Use:
            running, waiting = await unfinished(tables, name)
            used, free_in = await downloaded(tables, name, self._now(), most)
            return Use(running, waiting, used, free_in, await _stored(tables, name))

        return await self._transactions.read(work)

    async def refusal(self, name: str) -> AppError | None:
        """Return why a person gets no new task; `max_waiting` is checked when the task is stored.

        Raises `StoreUnavailable`.
        """
        limits = self.limits(name)
        if most := limits.max_bytes_per_day:
            used, free_in = await self._downloaded(name, most)
            if used >= most:
                return OverLimit("max_bytes_per_day", most, used, math.ceil(free_in or 0))
        if most := limits.max_stored_bytes:
            used = await self._stored_bytes(name, most)
            if used >= most:
                return OverLimit("max_stored_bytes", most, used)
        return None

    async def hold(self, task: Task) -> Event | None:
        """Requeue a task whose person has used up the bytes of the day. Raises `StoreUnavailable`."""
        name = task.status.owner
        if name and (most := self.limits(name).max_bytes_per_day):
            used, free_in = await self._downloaded(name, most)
            if used >= most:
                return Requeued(because=OVER_LIMIT, after=min(free_in or MAX_HOLD_SECONDS, MAX_HOLD_SECONDS))
        return None

    async def remove_expired(self, store: Store, tasks: Tasks, now: datetime) -> None:
        """Remove tasks that ended longer ago than their person's `retention_hours`."""
        limited = {
            name: now - timedelta(hours=hours)
            for name in self._people()
            if (hours := self.limits(name).retention_hours)
        }

        async def work(tables: Statements) -> list[str]:
            sql = _written(tables, _EXPIRED)
            return [
                name
                for name, before in limited.items()
                if await tables.fetch(sql, (name, before.timestamp()))
            ]

        for name in await self._transactions.read(work) if limited else ():
            more = True
            while more:
                expired = await store.mark_expired(limited[name], AT_ONCE, owner=name)
                await carry_out_removals(tasks, expired)
                more = len(expired) == AT_ONCE

    async def _downloaded(self, name: str, most: int) -> tuple[int, float | None]:
        async def work(tables: Statements) -> tuple[int, float | None]:
            return await downloaded(tables, name, self._now(), most)

        return await self._transactions.read(work)

    async def _stored_bytes(self, name: str, most: int) -> int:
        """Return the sum, perhaps that of an earlier request. Above the limit it is computed each time:
        the person may have deleted something to get below it.
        """
        summed_at, used = self._stored.get(name, (-REUSE_SUM_SECONDS, most))
        if used >= most or time.monotonic() - summed_at > REUSE_SUM_SECONDS:
            summed_at = time.monotonic()

            async def work(tables: Statements) -> int:
                return await _stored(tables, name)

            used = await self._transactions.read(work)
            self._stored[name] = summed_at, used
        return used


def _written(tables: Statements, sql: str) -> str:
    there = "removed = 0" if tables.dialect.name == "sqlite" else "NOT removed"
    return sql.format(there=there, moment=tables.dialect.moment.format("?"))


async def _stored(tables: Statements, name: str) -> int:
    [(used,)] = await tables.fetch(_STORED[tables.dialect.name], (name,))
    return int(used)
