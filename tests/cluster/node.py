"""A node in the test's process: a real store and a real engine, with attempts that a test ends."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from server.cluster import job_dispatcher
from server.cluster.admission import Admission
from server.cluster.database import ClusterDatabase, open_database
from server.cluster.engine import DOWNLOADS, SharedPool, new_app, queue_of, queues_to_start, register
from server.cluster.job_dispatcher import SharedDispatcher
from server.cluster.nodes import Node as Me
from server.cluster.nodes import Nodes, NodeSetup
from server.cluster.supervisor import Supervisor
from server.cluster.sweeper import Sweeper
from server.cluster.worker import Jobs, carry_out_wishes
from server.core.background import in_background
from server.core.film import Manifest
from server.core.shares import Shares
from server.core.task import Task, TaskStatus
from server.files.public_names import short_of
from server.storage.postgresql.store import PostgresStore, open_store
from server.tasks.hub import Hub
from server.tasks.janitor import for_ever
from server.tasks.recorder import Recorder
from tests.attempts import WITHIN, Attempts, OpenScene, Scene

_numbers = itertools.count(1)


class NoFiles:
    """A file store in which no attempt has published anything."""

    async def find_published(self, task_id: str, attempt: int) -> Manifest | None:
        return None

    async def tidy_up(self, status: TaskStatus) -> None: ...


@dataclass
class Node:
    name: str
    store: PostgresStore
    recorder: Recorder
    attempts: Attempts
    database: ClusterDatabase
    jobs: Jobs
    supervisor: Supervisor
    dispatcher: SharedDispatcher
    sweeper: Sweeper
    nodes: Nodes


async def is_warm() -> None:
    """Stand for a fork server that is warm."""


@asynccontextmanager
async def open_node(
    url: str,
    at_once: int = 1,
    per_host: int = 0,
    *,
    heartbeat: float = 1,
    lost_after: float = 60,
    judges_at_once: bool = False,
    node_alive: float = 0,
    warm: Callable[[], Awaitable[object]] = is_warm,
    max_queued: int = 100,
    sweep_every: float | None = 0.5,
    shares: Shares | None = None,
) -> AsyncIterator[Node]:
    """Open a node. Its `lost_after` is longer than this process may be held up: otherwise the node would take
    itself for dead.

    With `judges_at_once`, the first sweep of the node already decides which nodes are dead.
    """
    async with AsyncExitStack() as stack:
        # For the same reason, a worker has as long to end a job.
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(job_dispatcher, "JOB_ENDS_WITHIN", WITHIN)
        database = await stack.enter_async_context(open_database(url, 3))
        notified = asyncio.Event()
        app = new_app(url, notified.set)
        admission = Admission(app.job_manager, per_host, node_alive, shares, lost_after)
        store = await stack.enter_async_context(
            open_store(url, max_queued=max_queued, find_short=short_of, admits=admission)
        )
        await stack.enter_async_context(app.open_async(SharedPool(database)))
        recorder = Recorder(store, Hub(), store.clock)
        attempts = Attempts(store, recorder)
        name = f"node-{next(_numbers)}"
        jobs = Jobs(name, attempts.run, store, recorder, NoFiles(), database, admission)
        register(app, jobs.download)
        sweeper = Sweeper(database, recorder, admission, lost_after)
        if judges_at_once:
            sweeper._contact = 0.0
        queues, to_start = [DOWNLOADS, queue_of(name)], queues_to_start(name)
        supervisor = Supervisor(
            app, jobs, queues, to_start, at_once, heartbeat, warm, sweeper.give_back, WITHIN
        )
        nodes, set_up = Nodes(database, lost_after), NodeSetup(machine=name, settings={}, places=at_once)
        dispatcher = SharedDispatcher(database, admission, nodes, supervisor, jobs)
        me = Me(name, ("worker",), 0, False, None, set_up)

        async def beat() -> None:
            await nodes.send_heartbeat(me, supervisor.workers())

        await beat()
        await stack.enter_async_context(in_background(for_ever(beat, min(heartbeat, 0.5)), "heartbeat"))
        await stack.enter_async_context(supervisor)
        if sweep_every is not None:
            await stack.enter_async_context(in_background(for_ever(sweeper.look, sweep_every), "sweeper"))
        wishes = carry_out_wishes(jobs, attempts.finish, supervisor.start_requested, notified)
        await stack.enter_async_context(in_background(wishes, "wishes"))
        yield Node(name, store, recorder, attempts, database, jobs, supervisor, dispatcher, sweeper, nodes)


def shared_scenes(url: str, *, take_turns: bool = False) -> OpenScene:
    """Return what opens a scene with one node, on the database at `url`, which must be empty at first.
    `take_turns`: people take turns, as they do once people were added.
    """

    @asynccontextmanager
    async def open_scene(at_once: int = 1, per_host: int = 0) -> AsyncIterator[Scene]:
        shares = Shares()
        shares.change({}, take_turns=take_turns)
        async with open_node(url, at_once, per_host, shares=shares) as node:
            scene = _Shared(node)
            scene.shares = shares
            yield scene

    return open_scene


async def queue(node: Node, name: str, host: str = "media.test") -> Task:
    return await _Shared(node).queue(name, host)


class _Shared(Scene):
    def __init__(self, node: Node) -> None:
        super().__init__(node.store, node.recorder, node.attempts, node.dispatcher)
        self._node = node

    async def close(self) -> None:
        await self._node.supervisor.aclose()
