"""Fan-out of statuses inside one process.

A status is a whole snapshot, so a subscriber that falls behind needs only the newest one of each
task: it keeps one slot a task, which `publish` overwrites, never with an older revision. All
feeds of every task share one watcher with a `ChangeLog` (`server.api.push.TaskFeeds`). The publisher never
waits for a socket, and the last update of a task is never lost.
"""

import asyncio
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from server.core.task import TaskStatus


@dataclass(frozen=True, slots=True)
class Removed:
    """The task, which was `owner`'s, is gone; nothing about it comes after this."""

    task_id: str
    owner: str | None = None


Update = TaskStatus | Removed


class Watcher:
    """Holds the newest untaken update of each task that it watches."""

    __slots__ = ("_slots", "closed")

    def __init__(self) -> None:
        self._slots: dict[str, Update] = {}
        self.closed = False

    def wake(self) -> None:
        """Called when there is something to take where there was nothing, and by `close`."""

    def offer(self, update: Update) -> None:
        if not self._slots:
            self.wake()
        held = self._slots.get(update.task_id)
        if held is None or outranks(update, held):
            self._slots[update.task_id] = update

    def take(self, limit: int | None = None) -> list[Update]:
        """Return the updates since the last call, at most `limit`, of the oldest task first; the rest stays
        held.
        """
        if limit is None or len(self._slots) <= limit:
            slots, self._slots = self._slots, {}
            return list(slots.values())
        return [self._slots.pop(task_id) for task_id in list(islice(self._slots, limit))]

    def close(self) -> None:
        """End the watcher: the server shuts down, or has missed changes. Held updates can still be taken."""
        self.closed = True
        self.wake()


def outranks(update: Update, held: Update) -> bool:
    if isinstance(held, Removed):
        return False
    return isinstance(update, Removed) or update.revision > held.revision


class Waiter(Watcher):
    """A watcher for code that can wait: `async for update in waiter`."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        super().__init__()

    def wake(self) -> None:
        self._changed.set()

    def __aiter__(self) -> "Waiter":
        return self

    async def __anext__(self) -> Update:
        """Return the next update of the watched task; ends when the hub closes."""
        while not self._slots:
            if self.closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self.take()[-1]


Value = TypeVar("Value")


class ChangeLog(Generic[Value]):
    """The newest change of each task, in the order of their positions, which grow.

    Each reader holds a position of its own, so that a change costs the same whatever the number of readers.
    """

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, Value]] = {}
        # One entry for each change, even after a newer change of the same task has replaced the older one.
        self._positions: list[int] = []
        self._ids: list[str] = []
        self._begin = 0  # the index of the first entry that is not dropped

    def __len__(self) -> int:
        return len(self._newest)

    def get(self, task_id: str) -> tuple[int, Value] | None:
        return self._newest.get(task_id)

    def add(self, task_id: str, position: int, value: Value) -> None:
        """`position` must be greater than all before."""
        self._newest[task_id] = position, value
        self._positions.append(position)
        self._ids.append(task_id)
        if len(self._ids) > 2 * len(self._newest) + 64:
            live = [(place, task_id) for task_id, place, _ in self.after(-1)]
            self._positions, self._ids = [place for place, _ in live], [task_id for _, task_id in live]
            self._begin = 0

    def after(self, position: int) -> Iterator[tuple[str, int, Value]]:
        """Yield the changes after `position`. The log must not change meanwhile."""
        begin = max(self._begin, bisect_right(self._positions, position))
        for index in range(begin, len(self._ids)):
            newest = self._newest.get(self._ids[index])
            if newest is not None and newest[0] == self._positions[index]:
                yield self._ids[index], *newest

    def drop_until(self, position: int) -> None:
        while self._begin < len(self._ids) and self._positions[self._begin] <= position:
            self._drop_first()

    def drop_oldest(self) -> int:
        """Drop the oldest change, and return its position."""
        before = len(self._newest)
        while len(self._newest) == before:
            self._drop_first()
        return self._positions[self._begin - 1]

    def _drop_first(self) -> None:
        task_id, position = self._ids[self._begin], self._positions[self._begin]
        self._begin += 1
        newest = self._newest.get(task_id)
        if newest is not None and newest[0] == position:
            del self._newest[task_id]


CHANGES_KEPT_FOR = 10.0  # seconds
FORGET_EVERY = 0.1  # seconds
FORGOTTEN_AT_ONCE = 1_000  # changes: less than a millisecond
MAX_HISTORY = 10_000  # tasks whose last change is kept for feeds that reconnect


REPLAYED_AT_ONCE = 20
Changed = tuple[str, int, bool]
"""A task, the number of its last change, and whether that was its removal."""


class ChangesForgotten(Exception):
    """Changes were dropped while a feed was reading them."""


class Hub:
    """Knows the watchers of each task and the latest changes. The id `None` stands for all tasks.

    `now` is the time of the store in seconds, and `lag` by how many of them one node may hear of a change
    later than another. `asks_for_owners`: some who watch all tasks are told of theirs alone.
    """

    def __init__(
        self, now: Callable[[], float] = time.time, lag: float = 0.0, *, asks_for_owners: bool = False
    ) -> None:
        self.asks_for_owners = asks_for_owners
        # When a task last changed and whether it was removed, the latest change last. Ids only: a page that
        # connects reads their statuses anew.
        self._changes: dict[str, tuple[float, bool]] = {}
        self._forgetting: asyncio.TimerHandle | None = None
        self._missed_at = float("-inf")
        # Numbers of changes, for feeds that reconnect. They are milliseconds by `now`, so that they grow over
        # restarts and on all nodes.
        self.now = now
        self.lag = lag
        self.number = 0
        self._history: ChangeLog[bool] | None = None
        self._history_from = 0
        self._watchers: defaultdict[str | None, set[Watcher]] = defaultdict(set)
        self._of_queue: set[Watcher] = set()
        self._nobody_watches = asyncio.Event()
        self._closed = False

    def watch(self, task_id: str | None, watcher: Watcher) -> "Watch":
        """A context manager: while it is open, `watcher` is offered each update."""
        return Watch(self, task_id, watcher)

    def add(self, task_id: str | None, watcher: Watcher) -> None:
        if self._closed:
            watcher.close()
        self._watchers[task_id].add(watcher)

    def discard(self, task_id: str | None, watcher: Watcher) -> None:
        self._watchers[task_id].discard(watcher)
        if not self._watchers[task_id]:
            del self._watchers[task_id]
        if not self._watchers and not self._of_queue:
            self._nobody_watches.set()

    @contextmanager
    def watch_queue(self, watcher: Watcher) -> Iterator[None]:
        """Wake `watcher`, while this is open, when the queue is paused or resumed."""
        if self._closed:
            watcher.close()
        self._of_queue.add(watcher)
        try:
            yield
        finally:
            self._of_queue.discard(watcher)
            if not self._of_queue and not self._watchers:
                self._nobody_watches.set()

    def watched_ids(self) -> set[str | None]:
        """Return the ids of the watched tasks, with None among them if somebody watches all tasks."""
        return set(self._watchers)

    def is_watched(self, task_id: str) -> bool:
        return task_id in self._watchers or None in self._watchers

    def publish(self, update: Update | str) -> None:
        """Remember the change and offer `update` to the watchers of its task.

        The task's id is enough where no watcher needs the status: the task is not watched, or another node
        that watches it reads the status first.
        """
        task_id = update if isinstance(update, str) else update.task_id
        is_removed, now = isinstance(update, Removed), time.monotonic()
        self._changes.pop(task_id, None)
        self._changes[task_id] = now, is_removed
        if self._forgetting is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._forgetting = loop.call_later(CHANGES_KEPT_FOR, self._forget_old_changes)
        if self._history is not None:
            self._count()
            self._history.add(task_id, self.number, is_removed)
            if len(self._history) > MAX_HISTORY:
                self._history_from = self._history.drop_oldest()
        self._drop_old_changes(2, now)
        if not isinstance(update, str):
            for key in (task_id, None):
                for watcher in self._watchers.get(key, ()):
                    watcher.offer(update)

    def _drop_old_changes(self, most: int, now: float) -> None:
        for old, (changed_at, _) in list(islice(self._changes.items(), most)):
            if changed_at >= now - CHANGES_KEPT_FOR:
                return
            del self._changes[old]

    def _forget_old_changes(self) -> None:
        """Drop old changes also where no new ones follow, which would drop those of a burst."""
        now = time.monotonic()
        self._drop_old_changes(FORGOTTEN_AT_ONCE, now)
        self._forgetting = None
        if not self._changes:
            self._changes = {}  # an emptied table keeps its size
            return
        oldest = next(iter(self._changes.values()))[0]
        wait = max(oldest + CHANGES_KEPT_FOR - now, FORGET_EVERY)
        self._forgetting = asyncio.get_running_loop().call_later(wait, self._forget_old_changes)

    def publish_removal(self, task_id: str, owner: str | None = None) -> None:
        self.publish(Removed(task_id, owner))

    def missed(self) -> None:
        """End the watchers of all tasks, since changes and removals may have been missed."""
        self._missed_at = time.monotonic()
        if self._history is not None:
            self._count()
            self._history, self._history_from = ChangeLog(), self.number
        for watcher in self._watchers.get(None, ()):
            watcher.close()

    def keep_history(self) -> None:
        """Number and keep the last changes from now on; a server without event streams does not need them."""
        self._count()
        if self._history is None:
            self._history, self._history_from = ChangeLog(), self.number

    def changes_since(self, number: int) -> "Iterator[Changed] | None":
        """Return the tasks that have changed since `number`, in the order of their last changes.

        None if this hub does not know all of them. Each is looked up when it is taken, and left out if the
        task has changed again by then. The iterator raises `ChangesForgotten` if changes were dropped
        meanwhile.
        """
        begin = number - round(self.lag * 1000)
        if self._history is None or begin < self._history_from:
            return None
        return self._replay(begin, self.number)

    def _replay(self, begin: int, end: int) -> "Iterator[Changed]":
        while True:
            if self._history is None or begin < self._history_from:
                raise ChangesForgotten
            found = list(islice(self._history.after(begin), REPLAYED_AT_ONCE))
            for task_id, number, is_removed in found:
                if number > end:
                    return
                yield task_id, number, is_removed
            if not found:
                return
            begin = found[-1][1]

    def _count(self) -> None:
        self.number = max(self.number + 1, int(self.now() * 1000))

    def changed_within(self, seconds: float) -> dict[str, bool] | None:
        """Return the tasks that changed in the last `seconds` (at most `CHANGES_KEPT_FOR`) -> was it removed?

        None if changes of that time may have been missed.
        """
        now = time.monotonic()
        if now - seconds < self._missed_at:
            return None
        self._changes = {
            name: each for name, each in self._changes.items() if each[0] >= now - CHANGES_KEPT_FOR
        }
        return {name: gone for name, (at, gone) in self._changes.items() if at >= now - seconds}

    def queue_changed(self) -> None:
        for watcher in self._of_queue:
            watcher.wake()

    def close(self) -> None:
        """End every watcher, and each that is added later."""
        self._closed = True
        if self._forgetting:
            self._forgetting.cancel()
        for watchers in (*self._watchers.values(), self._of_queue):
            for watcher in watchers:
                watcher.close()

    async def left_alone(self) -> None:
        """Return once nobody watches."""
        while self._watchers or self._of_queue:
            self._nobody_watches.clear()
            await self._nobody_watches.wait()


@dataclass(frozen=True, slots=True)
class Watch:
    """The context manager of `Hub.watch`: a `@contextmanager` takes half a kilobyte more, and thousands are
    open.
    """

    hub: Hub
    task_id: str | None
    watcher: Watcher

    def __enter__(self) -> None:
        self.hub.add(self.task_id, self.watcher)

    def __exit__(self, *_: object) -> None:
        self.hub.discard(self.task_id, self.watcher)
