"""Attempts that last as long as a test wants, over a real store: what the tests of dispatchers run."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from server.backends.dispatcher import LocalDispatcher
from server.backends.sqlite import open_store
from server.clock import Clock
from server.errors import TaskNotFound
from server.events import Event, Started
from server.files.names import short_of
from server.models import Stage, Task, TaskStatus
from server.ports import Dispatcher, Store
from server.tasks.hub import Hub
from server.tasks.recorder import Recorder
from tests.examples import new_task

WITHIN = 10  # seconds

Ending = Event | TaskStatus | None  # a status was recorded before; None: its task is gone


class Attempts:
    """In the place of a runner; the hub of `recorder` is where whatever happens is heard of."""

    def __init__(self, store: Store, recorder: Recorder) -> None:
        self._store = store
        self.recorder = recorder
        self.begun: list[str] = []
        self.told: list[str] = []  # to finish
        self.most: Counter[str] = Counter()  # at once, of each host, and of all under ""
        self._running: dict[str, tuple[str, asyncio.Future[Ending]]] = {}
        self._changed = asyncio.Event()

    async def run(self, task_id: str) -> TaskStatus | None:
        ends: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        try:
            task = await self._store.get(task_id)
            status = await self.recorder.record(task_id, Started())
        except TaskNotFound:
            return None
        if not status.stage.is_running:
            return status
        self.begun.append(task_id)
        self._running[task_id] = task.host, ends
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
        """These, in this order, and no others."""
        await self.until(lambda: len(self.begun) >= len(task_ids))
        assert self.begun == list(task_ids)

    async def have_begun_together(self, *task_ids: str) -> None:
        """These and no others: of two that may begin at once either can be first."""
        await self.until(lambda: len(self.begun) >= len(task_ids))
        assert sorted(self.begun) == sorted(task_ids)


class Scene:
    """A dispatcher at work. `close` is its own end, which a test may want before the scene's."""

    def __init__(self, store: Store, recorder: Recorder, attempts: Attempts, dispatcher: Dispatcher) -> None:
        self.store = store
        self.recorder = recorder
        self.attempts = attempts
        self.dispatcher = dispatcher

    async def queue(self, name: str, host: str = "media.test") -> Task:
        """Accept a task under this name, as `Tasks` does."""
        fresh = new_task(f"http://{host}/{name}")
        status = fresh.status.model_copy(update={"task_id": name})
        task = await self.store.add(Task(request=fresh.request, status=status))
        self.dispatcher.submit(task)
        return task

    async def record(self, name: str, event: Event) -> TaskStatus:
        """Change a task, as `Tasks` does."""
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
            dispatcher = LocalDispatcher(
                attempts.run, at_once, per_host, attempts.finish, clock, store.keep_paused,
                paused=store.was_paused,
            )  # fmt: skip
            try:
                yield _Local(store, recorder, attempts, dispatcher)
            finally:
                await dispatcher.aclose()

    return open_scene


class _Local(Scene):
    dispatcher: LocalDispatcher

    async def close(self) -> None:
        await self.dispatcher.aclose()
