"""One machine: downloads run as asyncio tasks of the server process.

Decisions: docs/decisions/queue.md
"""

import asyncio
import heapq
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from weakref import WeakValueDictionary

from server.core.clock import Clock
from server.core.errors import OverLimit, ShuttingDown, StoreUnavailable, TaskNotFound, TooManyRunning
from server.core.shares import Shares
from server.core.task import SCHEDULED, Queued, Stage, Task, TaskStatus

log = logging.getLogger(__name__)

CHECK_WALL_CLOCK_EVERY = 0.5  # seconds; the clock may be set at any moment
LONGEST_TIMER = 60.0  # seconds: asyncio's timers stand still while the machine sleeps
LAST_DATE = datetime.max.replace(tzinfo=UTC)
RETRY_WHILE_STORE_UNAVAILABLE = 5.0  # seconds

MOST_RUNNING = 4  # times `max_concurrent`: attempts at once, with those that clients started beyond the limit

LISTS_AT_ONCE = 1  # lists that are read beside `max_concurrent`; others take a free place of a download

Place = tuple[int, int, str]  # (-urgency, number, task_id), which sorts in queue order


@dataclass(eq=False, slots=True)
class RunningAttempt:
    """An attempt of a task; `again` is the task as submitted during the attempt, perhaps for a retry."""

    job: asyncio.Task[Queued | None]
    host: str
    owner: str | None = None
    playlist_id: str | None = None
    is_list: bool = False
    again: Queued | None = None


class LocalDispatcher:
    """Runs queued tasks in order, `max_concurrent` at once and `max_per_host` of one host (0: no limit), and
    no more of a person than `shares` say. Lists, which are only read, have places of their own.

    `run` makes an attempt, and calls the function that it is given with each new task that the attempt makes.
    `keep_paused` stores whether the queue is paused; `paused` is what was stored before this start.
    `host_is_busy` records whether a queued task waits for a place of its host.
    """

    def __init__(
        self,
        run: Callable[[str, Callable[[Task], None]], Awaitable[TaskStatus | None]],
        max_concurrent: int,
        max_per_host: int,
        finish: Callable[[str], None],
        clock: Clock,
        keep_paused: Callable[[bool], Awaitable[None]],
        host_is_busy: Callable[[str, bool], Awaitable[object]],
        *,
        paused: bool,
        shares: Shares | None = None,
    ) -> None:
        self._shares = shares or Shares()
        self._shares.listen(self._start_queued)
        self._run = run
        self._max_concurrent = max_concurrent
        self._max_per_host = max_per_host
        self._finish = finish
        self._clock = clock
        self._queue = Queue()
        self._lists = Queue()
        self._delayed: dict[str, asyncio.TimerHandle] = {}
        self._dated: dict[str, tuple[datetime, Queued]] = {}  # tasks that begin at a date
        self._first_date = LAST_DATE  # not later than the earliest date in `_dated`
        self._wall_check: asyncio.TimerHandle | None = None
        # Tasks that clients have asked to start at once, beyond all limits.
        self._asked_to_start: dict[str, Queued] = {}
        self._running: dict[str, RunningAttempt] = {}
        self._held_lists: dict[
            str, int
        ] = {}  # list -> number of the action that its entries have to take first
        self._held = False
        self._keep_paused = keep_paused
        self._host_is_busy = host_is_busy
        self._held_up: set[str] = set()  # queued tasks whose status says that their host is busy now
        self._recordings: set[asyncio.Task[None]] = set()
        self._paused = paused
        self._draining = False
        self._drained = asyncio.Event()

    def running(self) -> list[str]:
        return list(self._running)

    def submit(self, *tasks: Task | Queued) -> None:
        """Queue tasks, or move them in the queue; one that runs already is queued again after its attempt."""
        for task in tasks:
            queued = Queued.of(task.status) if isinstance(task, Task) else task
            task_id, not_before = queued.task_id, queued.not_before
            if running := self._running.get(task_id):
                running.again = queued
                continue
            self._withdraw_from_queue(task_id)
            if queued.playlist_id and queued.list_action < self._held_lists.get(queued.playlist_id, 0):
                continue
            if not not_before and not queued.begins_at:
                self._put(queued)
                continue
            # A delay is measured by a timer; a date that a client or a source has named is compared with the
            # wall clock. A task whose broadcast is announced waits for the earlier of the two.
            is_scheduled = queued.waiting == SCHEDULED
            date = not_before if is_scheduled else queued.begins_at
            wait = (not_before - self._clock.now()).total_seconds() if not_before and not is_scheduled else 0
            if date and date > self._clock.wall() and (is_scheduled or wait > 0):
                self._dated[task_id] = date, queued
                self._first_date = min(self._first_date, date)
                self._schedule_wall_check(CHECK_WALL_CLOCK_EVERY)
            if wait > 0:
                loop = asyncio.get_running_loop()
                self._delayed[task_id] = loop.call_later(min(wait, LONGEST_TIMER), self.submit, queued)
            elif task_id not in self._dated:
                self._put(queued)
        self._start_queued()

    async def start(self, task: Task) -> None:
        if self._draining:
            raise ShuttingDown
        task_id = task.status.task_id
        if task_id not in self._running:
            self._withdraw_from_queue(task_id)
            self._asked_to_start[task_id] = Queued.of(task.status)
            self._start_queued()

    async def check_room_to_start(self, owner: str | None = None) -> None:
        most = MOST_RUNNING * self._max_concurrent
        if len(self._running) + len(self._asked_to_start) >= most:
            raise TooManyRunning(most)
        if owner and (share := self._shares.most.get(owner)):
            begun = [each.owner for each in self._running.values()]
            begun += [each.owner for each in self._asked_to_start.values()]
            if (used := begun.count(owner)) >= share:
                raise OverLimit("max_running", share, used)

    async def withdraw(self, *task_ids: str) -> None:
        for task_id in task_ids:  # first: none of these tasks may get a place that becomes free below
            self._withdraw_from_queue(task_id)
        # A task whose attempt ended before the cancel may have been queued again, and have begun again.
        while jobs := [self._running[task_id].job for task_id in task_ids if task_id in self._running]:
            for job in jobs:
                job.cancel()
            await asyncio.wait(jobs)
            for task_id in task_ids:
                self._withdraw_from_queue(task_id)

    def hold_list(self, playlist_id: str, number: int) -> None:
        # Entries that wait for a timer or a date are dropped by `submit`, when that time comes.
        self._held_lists[playlist_id] = number
        self._queue.discard_list(playlist_id)

    def release_list(self, playlist_id: str) -> None:
        self._held_lists.pop(playlist_id, None)

    async def withdraw_list(self, playlist_id: str) -> None:
        while jobs := [each.job for each in self._running.values() if each.playlist_id == playlist_id]:
            for job in jobs:
                job.cancel()
            await asyncio.wait(jobs)

    async def finish(self, task_id: str) -> None:
        if running := self._running.get(task_id):
            self._finish(task_id)
            await asyncio.wait([running.job])

    def hold(self) -> None:
        self._held = True

    def release(self) -> None:
        self._held = False
        self._start_queued()

    async def pause(self) -> None:
        await self._keep_paused(True)
        self._paused = True

    async def resume(self) -> None:
        await self._keep_paused(False)
        self._paused = False
        self._start_queued()

    async def is_paused(self) -> bool:
        return self._paused

    async def drain(self) -> None:
        self._draining = True
        if self._running:
            await self._drained.wait()

    async def aclose(self) -> None:
        """Cancel all attempts at once; their tasks go on at the next start."""
        self.hold()
        if self._wall_check:
            self._wall_check.cancel()
        for timer in self._delayed.values():
            timer.cancel()
        jobs = [*(running.job for running in self._running.values()), *self._recordings]
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)

    def _schedule_wall_check(self, within: float) -> None:
        """Have one timer compare dates with the wall clock, only while tasks wait for a date."""
        if self._wall_check is None:
            self._wall_check = asyncio.get_running_loop().call_later(within, self._check_wall_clock)

    def _check_wall_clock(self) -> None:
        self._wall_check = None
        wall = self._clock.wall()
        if wall >= self._first_date:
            due = [each for each in self._dated.values() if each[0] <= wall]
            for _, queued in due:
                self._withdraw_from_queue(queued.task_id)
            self._first_date = min((date for date, _ in self._dated.values()), default=LAST_DATE)
            for _, queued in sorted(due, key=lambda each: each[0]):
                self._put(queued)
                self._start_queued()
        if self._dated:
            self._schedule_wall_check(min((self._first_date - wall).total_seconds(), CHECK_WALL_CLOCK_EVERY))

    def _put(self, queued: Queued) -> None:
        (self._lists if queued.is_list else self._queue).put(queued)

    def _withdraw_from_queue(self, task_id: str) -> None:
        self._queue.discard(task_id)
        self._lists.discard(task_id)
        self._held_up.discard(task_id)
        self._dated.pop(task_id, None)
        self._asked_to_start.pop(task_id, None)
        if timer := self._delayed.pop(task_id, None):
            timer.cancel()

    def _start_queued(self) -> None:
        if self._draining:
            if not self._running:
                self._drained.set()
            return
        if self._held or self._paused or not self._shares.are_known:
            return
        taken = Counter(running.host for running in self._running.values())
        taken_by = Counter(running.owner for running in self._running.values())
        lists = sum(running.is_list for running in self._running.values())
        while True:
            limits = taken, self._max_per_host, taken_by, self._shares.most
            queued = None
            if self._asked_to_start:
                queued = self._asked_to_start.pop(next(iter(self._asked_to_start)))
            elif lists < LISTS_AT_ONCE:
                queued = self._lists.pop(*limits)
            if queued is None and len(self._running) - min(lists, LISTS_AT_ONCE) < self._max_concurrent:
                queued = self._queue.pop(*limits) or self._lists.pop(*limits)
            if queued is None:
                break
            lists += queued.is_list
            task_id = queued.task_id
            self._held_up.discard(task_id)
            job = asyncio.create_task(self._run_in_its_turn(queued), name=f"download {task_id}")
            self._running[task_id] = RunningAttempt(
                job, queued.host, queued.owner, queued.playlist_id, queued.is_list
            )
            taken[queued.host] += 1
            taken_by[queued.owner] += 1
            job.add_done_callback(partial(self._ended, task_id))
        # Record which tasks wait for a place of their host now, and which no longer do.
        if self._max_per_host:
            busy = (host for host, count in taken.items() if count >= self._max_per_host)
            hosts = [*busy]
            held_up = {*self._queue.next_of(hosts), *self._lists.next_of(hosts)}
            for task_id in held_up ^ self._held_up:
                recording = asyncio.create_task(
                    self._record_host_is_busy(task_id, task_id in held_up), name=f"host of {task_id}"
                )
                self._recordings.add(recording)
                recording.add_done_callback(self._recordings.discard)
            self._held_up = held_up

    async def _record_host_is_busy(self, task_id: str, busy: bool) -> None:
        # Errors: the task is gone, or it waits for something else and shows no reason, or its row is damaged
        # (`ValueError`).
        with suppress(TaskNotFound, StoreUnavailable, ValueError):
            await self._host_is_busy(task_id, busy)

    async def _run_in_its_turn(self, queued: Queued) -> Queued | None:
        """Make an attempt; return the task if it is to be queued again, so that the store is not
        read for it.
        """
        task_id = queued.task_id
        try:
            status = await self._run(task_id, self.submit)
        except StoreUnavailable as exc:
            if not exc.is_logged:
                log.warning("%s cannot begin yet: %s", task_id, exc.__cause__ or exc)
            await asyncio.sleep(RETRY_WHILE_STORE_UNAVAILABLE)
            return queued
        except Exception:
            log.exception("download %s ended unexpectedly", task_id)
            return None
        return Queued.of(status) if status and status.stage is Stage.QUEUED else None

    def _ended(self, task_id: str, job: asyncio.Task[Queued | None]) -> None:
        asked_for = self._running.pop(task_id).again
        if not job.cancelled():  # after a cancel, the caller that cancelled decides what becomes of the task
            again = [queued for queued in (job.result(), asked_for) if queued]
            if again:
                self.submit(max(again, key=lambda queued: queued.revision))
                return
        self._start_queued()


Line = tuple[str, str | None]  # a host, and a person or None: tasks that share both wait in one line


class Queue:
    """Which task is next: the most urgent; of equally urgent ones that of the person with the fewest running
    tasks, nobody's being those of one more; then the oldest. Only hosts and people that have a free place.

    There is one heap for each host and person, so that a long queue for a busy host, or of somebody who has
    used up their share, costs the others nothing.
    """

    def __init__(self) -> None:
        self._queued: dict[str, Queued] = {}
        self._heaps: defaultdict[Line, list[Place]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._queued)

    def put(self, queued: Queued) -> None:
        """Add a task, or move it to its new place."""
        self._queued[queued.task_id] = queued
        heapq.heappush(self._heaps[queued.host, queued.owner], _place_of(queued))

    def discard(self, task_id: str) -> None:
        self._queued.pop(task_id, None)  # the task's entry in the heap is skipped later

    def discard_list(self, playlist_id: str) -> None:
        """Take out all entries of a list at once: thousands of stale places would be skipped one by one."""
        gone = [each for each in self._queued.values() if each.playlist_id == playlist_id]
        lines = {(each.host, each.owner) for each in gone}
        if lines:
            left = {name: each for name, each in self._queued.items() if each.playlist_id != playlist_id}
            self._queued = left
        for line in lines & self._heaps.keys():
            self._heaps[line] = [place for place in self._heaps[line] if place[2] in left]
            heapq.heapify(self._heaps[line])

    def pop(
        self,
        running: Mapping[str, int],
        limit: int,
        running_of: Mapping[str | None, int] = MappingProxyType({}),
        most_of: Mapping[str, int] = MappingProxyType({}),
    ) -> Queued | None:
        """The next task of a host with fewer than `limit` running (0: no limit), and of a person with fewer
        than `most_of` them; or None.
        """
        heads = [
            ((place[0], running_of.get(owner, 0), *place[1:]), (host, owner))
            for host, owner in list(self._heaps)
            if not limit or running.get(host, 0) < limit
            if not (owner and owner in most_of and running_of.get(owner, 0) >= most_of[owner])
            if (place := self._head((host, owner)))
        ]
        if not heads:
            return None
        (*_, task_id), line = min(heads, key=lambda head: head[0])
        heapq.heappop(self._heaps[line])
        return self._queued.pop(task_id)

    def next_of(self, hosts: Iterable[str]) -> list[str]:
        """The id of the next task of each of `hosts` that has one."""
        if not (wanted := set(hosts)):
            return []
        heads = dict[str, Place]()
        for line in list(self._heaps):
            if line[0] in wanted and (place := self._head(line)):
                heads[line[0]] = min(place, heads.get(line[0], place))
        return [place[2] for place in heads.values()]

    def _head(self, line: Line) -> Place | None:
        heap = self._heaps[line]
        while heap:
            queued = self._queued.get(heap[0][2])
            if queued and queued.owner == line[1] and _place_of(queued) == heap[0]:
                return heap[0]
            heapq.heappop(heap)
        del self._heaps[line]
        return None


def _place_of(queued: Queued) -> Place:
    return -queued.urgency, queued.number, queued.task_id


class LocalTurns:
    """The `Turns` of one server process: a lock for each task on which an action is under way."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, task_id: str) -> asyncio.Lock:
        return self._turns.setdefault(task_id, asyncio.Lock())
