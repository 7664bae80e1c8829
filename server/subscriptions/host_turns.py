"""When a task of a subscription begins to download from a host: never soon after another one.

Eighty films of one host within seconds get people banned there. So each task takes a turn when it would
begin, and waits in the queue until then, without a place. A client's own link takes no turn.

Decisions: docs/decisions/library.md
"""

from collections.abc import Callable
from random import SystemRandom

from server.core.clock import Clock
from server.core.events import Requeued
from server.core.task import Task
from server.storage.statements import Statements, Tables, Transactions, insert
from server.subscriptions.subscription import HOST_PAUSED

_FORGOTTEN_AFTER = 86_400.0  # seconds after the last turn
_FAR = 10  # pauses: turns that are further away may be those of tasks that were cancelled
_GET = "SELECT free_at, last_turn_at FROM host_turns WHERE host = ?"
_PUT = """
    INSERT INTO host_turns (host, free_at, last_turn_at) VALUES {rows}
    ON CONFLICT (host) DO UPDATE SET free_at = excluded.free_at, last_turn_at = excluded.last_turn_at"""
_FORGET = "DELETE FROM host_turns WHERE last_turn_at < ? AND free_at < ?"
_COUNT = f"""
    SELECT count(*) FROM items JOIN tasks ON tasks.task_id = items.task_id
    WHERE items.state = 'queued' AND stage = 'queued' AND status LIKE '%"waiting":"{HOST_PAUSED}"%'"""  # noqa: S608


class HostTurns:
    """Gives tasks their turns. `pause` is in seconds; `twice` returns a random time of one to two pauses."""

    def __init__(
        self,
        transactions: Transactions,
        pause: float,
        clock: Clock,
        twice: Callable[[float], float] = lambda pause: SystemRandom().uniform(pause, 2 * pause),
    ) -> None:
        self._transactions = transactions
        self._pause = pause
        self._clock = clock
        self._twice = twice

    async def before_attempt(self, task: Task) -> Requeued | None:
        status = task.status
        if status.subscription_id is None or status.start_asked:
            return None
        turn_at = status.not_before if status.waiting == HOST_PAUSED else None
        now = self._clock.now().timestamp()
        wait = await self._wait(status.host, None if turn_at is None else turn_at.timestamp(), now)
        return Requeued(because=HOST_PAUSED, after=wait) if wait > 0 else None

    async def _wait(self, host: str, turn_at: float | None, now: float) -> float:
        """Return the seconds until a task's turn, 0 if it may begin. `turn_at` is the turn that it had, if
        any.
        """

        async def work(tables: Tables) -> float:
            await tables.alone()
            free_at, last = next(iter(await tables.fetch(_GET, (host,))), (0.0, 0.0))
            free_at = min(free_at, now + self._pause)  # a clock that was ahead holds nobody for ever
            if last > now + _FAR * self._pause:
                last = min(last, now + 2 * self._pause * await _waiting(tables))
            gap = self._twice(self._pause)
            is_late = turn_at is not None and now > turn_at + self._pause
            if free_at <= now and (turn_at is not None or last + gap <= now):
                begins_at, free_at, last = now, now + self._pause, max(last, now)
            elif turn_at is not None and not is_late:
                begins_at = max(free_at, turn_at)
            else:  # one whose turn has passed, as after a pause of the queue, stands in line once more
                begins_at = last = max(last + gap, free_at)
            await insert(tables, _PUT, [(host, free_at, last)])
            await tables.run(_FORGET, (now - _FORGOTTEN_AFTER, now - _FORGOTTEN_AFTER))
            return begins_at - now

        return await self._transactions.write(work)


async def _waiting(tables: Statements) -> int:
    [(count,)] = await tables.fetch(_COUNT)
    return int(count)
