"""Attempts that run until a test ends them, on a real store, for the tests of dispatchers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from server.core.clock import Clock
from server.core.errors import TaskNotFound
from server.core.events import Event, Started, Waits
from server.core.ports import Dispatcher, Store
from server.core.shares import Shares
from server.core.task import Stage, Task, TaskStatus
from server.files.public_names import short_of
from server.storage.sqlite import open_store
from server.tasks.dispatcher import LocalDispatcher
from server.tasks.hub import Hub
from server.tasks.recorder import Recorder
from tests.adding import add
from tests.examples import new_task

WITHIN = 20  # seconds that a wait for an attempt may take

# How an attempt ends: an event to record, or a status that is recorded already; None: its task was removed.
Ending = Event | TaskStatus | None


class Attempts:
    """Takes the place of a `Runner`: records the begin and the end of each attempt, and fetches nothing."""

    def __init__(self, store: Store, recorder: Recorder) -> None:
        self._store = store
        self.recorder = recorder
        self.begun: list[str] = []
        self.told: list[str] = []  # ids of the tasks for which `finish` was called
        # Most attempts that ran at the same time, by host; "" counts all hosts together.
        self.most: Counter[str] = Counter()
        self._running: dict[str, tuple[str, asyncio.Future[Ending]]] = {}
        self._changed = asyncio.Event()

    async def run(self, task_id: str, accepted: object = None) -> TaskStatus | None:
        ends: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        try:
            task = await self._store.get(task_id)
            status = await self.recorder.record(task_id, Started())
        except TaskNotFound:
            return None
        if not status.stage.is_running:
            return status
        self.begun.append(task_id)
        self._running[task_id] = task.status.host, ends
        now = Counter(host for host, _ in self._running.values()) + Counter({"": len(self._running)})
        self.most |= now
        self._changed.set()
        try:
            ending = await ends
        finally:
            del self._running[task_id]
            self._changed.set()
        if ending is None or isinstance(ending, TaskStatus):
            return ending
        return await self.recorder.record(task_id, ending, status.attempt)

    def finish(self, task_id: str) -> None:
        self.told.append(task_id)
        self._changed.set()

    def end(self, task_id: str, ending: Ending | Exception) -> None:
        _, ends = self._running[task_id]
        if isinstance(ending, Exception):
            ends.set_exception(ending)
        else:
            ends.set_result(ending)

    def running(self) -> list[str]:
        return list(self._running)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def have_begun(self, *task_ids: str) -> None:
        """Wait until the attempts of these tasks have begun, in this order; fail if any other attempt has
        begun.
        """
        await self.until(lambda: len(self.begun) >= len(task_ids))
        assert self.begun == list(task_ids)

    async def have_begun_together(self, *task_ids: str) -> None:
        """Wait until the attempts of these tasks have begun, in any order; fail if any other attempt has
        begun.
        """
        await self.until(lambda: len(self.begun) >= len(task_ids))
        assert sorted(self.begun) == sorted(task_ids)


class Scene:
    """A running dispatcher. A test may `close` the dispatcher alone, before the scene ends."""

    shares: Shares

    def __init__(self, store: Store, recorder: Recorder, attempts: Attempts, dispatcher: Dispatcher) -> None:
        self.store = store
        self.recorder = recorder
        self.attempts = attempts
        self.dispatcher = dispatcher

    async def queue(
        self, name: str, host: str = "media.test", owner: str | None = None, *, playlist: bool = False
    ) -> Task:
        """Store a new task with `name` as its id, and hand it to the dispatcher, as `Tasks.accept` does."""
        fresh = new_task(f"http://{host}/{name}", playlist=playlist)
        status = fresh.status.model_copy(update={"task_id": name} | ({"owner": owner} if owner else {}))
        task = await add(self.store, Task(request=fresh.request, status=status))
        self.dispatcher.submit(task)
        return task

    async def record(self, name: str, event: Event) -> TaskStatus:
        """Record an event; hand the task to the dispatcher again if the event queues it, as `Tasks` does."""
        after = await self.recorder.record(name, event)
        if after.stage is Stage.QUEUED:
            self.dispatcher.submit(await self.store.get(name))
        return after

    async def close(self) -> None:
        raise NotImplementedError


class OpenScene(Protocol):
    def __call__(self, at_once: int = 1, per_host: int = 0) -> AbstractAsyncContextManager[Scene]: ...


def local_scenes(folder: Path) -> OpenScene:
    @asynccontextmanager
    async def open_scene(at_once: int = 1, per_host: int = 0) -> AsyncIterator[Scene]:
        database = folder / "clipwire.db"
        async with open_store(database, max_queued=100, find_short=short_of) as store:
            clock = Clock()
            recorder = Recorder(store, Hub(), clock)
            attempts = Attempts(store, recorder)
            shares = Shares()
            dispatcher = LocalDispatcher(
                attempts.run, at_once, per_host, attempts.finish, clock, store.keep_paused,
                lambda task_id, busy: recorder.record(task_id, Waits(busy=busy)), paused=store.was_paused,
                shares=shares,
            )  # fmt: skip
            try:
                scene = _Local(store, recorder, attempts, dispatcher)
                scene.shares = shares
                yield scene
            finally:
                await dispatcher.aclose()

    return open_scene


class _Local(Scene):
    dispatcher: LocalDispatcher

    async def close(self) -> None:
        await self.dispatcher.aclose()
