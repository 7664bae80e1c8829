"""The wiring of a node: opens its parts in order, and closes them in the reverse order.

Decisions: docs/decisions/cluster.md
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from procrastinate import App

from server.assembly.backend import Backend, data_dir_of, empty, make, paced, prepare
from server.assembly.backend import explained as explained_files
from server.assembly.file_store import open_files
from server.cluster.admission import Admission
from server.cluster.chores import EVERY_6_HOURS, EVERY_20_SECONDS, Chores
from server.cluster.database import Database, open_database
from server.cluster.engine import DOWNLOADS, Shared, new_app, queue_of, queues_to_start, register
from server.cluster.identity import FOLDER, dead_neighbours, name_of, own_name
from server.cluster.job_dispatcher import SharedDispatcher
from server.cluster.leftovers import Leftovers
from server.cluster.node_readiness import SharedReadiness
from server.cluster.nodes import Node, Nodes, SetUp
from server.cluster.presence import LOOK_AT_NODES, Presence, RoomAnywhere
from server.cluster.relay import Relay, relayed
from server.cluster.shared_cookies import SharedCookies
from server.cluster.shared_turns import open_turns
from server.cluster.supervisor import Supervisor
from server.cluster.sweeper import Sweeper
from server.cluster.worker import Jobs, carry_out_wishes
from server.core.background import in_background
from server.core.counts import Counts
from server.core.deliveries import tells_of
from server.core.errors import StoreUnavailable
from server.core.unusable import DatabaseUnusable, FilesUnusable
from server.files.free_space import FreeSpace
from server.files.public_names import short_of
from server.files.workplace import LocalWorkplace
from server.settings import Settings
from server.storage.postgresql.connection import PLACE, explained, one_line
from server.storage.postgresql.store import PostgresStore, open_store
from server.storage.sqlite.data_dir_lock import LOCK, open_lock
from server.tasks.children import ForkServer
from server.tasks.disk_space import Disk, Reserve
from server.tasks.hours import Pacer
from server.tasks.hub import Hub
from server.tasks.inspector import Inspector
from server.tasks.janitor import DiskWatch, carry_out_removals, for_ever, remove_expired
from server.tasks.job_builder import JobMaker
from server.tasks.readiness import Readiness
from server.tasks.recorder import Recorder
from server.tasks.runner import Runner
from server.tasks.service import Tasks

if TYPE_CHECKING:
    from server.files.local import LocalFiles
    from server.files.s3.object_store import S3Files

log = logging.getLogger(__name__)

HEARD_WITHIN = 60.0  # seconds in which a node has heard of a change of another one, or knows that it has not
CONNECTIONS = 3  # of `Database`, which the engine uses as well
ENDED_LATELY = 120.0  # seconds: in so long a late attempt has written what it may still write
SWEEP_AT_MOST = 1.0  # seconds between sweeps where hosts have limits: tasks become due without any event


@dataclass(frozen=True, slots=True)
class _Common:
    """The parts that every node has."""

    settings: Settings
    me: Node
    nodes: Nodes
    disk: Disk
    workplace: LocalWorkplace
    files: "LocalFiles | S3Files"
    database: Database
    app: App
    admission: Admission
    store: PostgresStore
    recorder: Recorder
    jobs: JobMaker
    fork_server: ForkServer
    runner: Runner
    sweeper: Sweeper
    said: asyncio.Event  # set when a recording is to be finished
    relay: Relay
    leftovers: Leftovers | None  # of a worker whose partial files no other node sees
    cookies: SharedCookies


@dataclass(frozen=True, slots=True)
class _Worker:
    """The parts that only a node with downloads has."""

    jobs: Jobs
    supervisor: Supervisor


@asynccontextmanager
async def open_cluster(
    settings: Settings, hub: Hub, scopes: Collection[str], counts: Counts | None = None
) -> AsyncIterator[Backend]:
    """Raises what `server.assembly.open_backend` does."""
    async with AsyncExitStack() as stack:
        common = await _open_common(stack, settings, hub, counts)
        worker = _new_worker(common) if common.me.is_worker else None
        dispatcher = SharedDispatcher(
            common.database,
            common.admission,
            worker.supervisor if worker else None,
            worker.jobs if worker else None,
        )
        turns = await stack.enter_async_context(open_turns(settings.storage.database))
        room = RoomAnywhere(common.disk, common.nodes)
        store, recorder, clock = common.store, common.recorder, common.store.clock
        tasks = Tasks(store, recorder, hub, dispatcher, turns, common.files, room, clock)
        with _explained():
            if "web" in settings.server.roles:  # other nodes may lack tokens, and would end all sessions
                await store.sessions.end_others(scopes)
            await _join(stack, common, worker)
            await _take_up(common)
        if worker:
            await _begin_work(stack, common, worker, tasks, dispatcher)
        else:
            looking = common.files.look_after_ends(store, await store.recent(ENDED_LATELY))
            await stack.enter_async_context(in_background(looking, "late attempts"))
        own = Readiness(
            store.ping,
            common.disk,
            common.fork_server,
            common.jobs.tools,
            common.files.ping,
            trouble=common.workplace.trouble,
        )
        yield Backend(
            tasks=tasks,
            files=common.files,
            inspector=Inspector(
                common.fork_server, common.workplace, settings.downloads, common.jobs, common.cookies
            ),
            readiness=SharedReadiness(own, common.nodes, common.me, common.relay, clock),
            sessions=store.sessions,
            outbox=store.outbox,
            media=store.media,
            clock=clock,
            cookies=common.cookies,
            workplace=common.workplace,
        )


async def _open_common(stack: AsyncExitStack, settings: Settings, hub: Hub, counts: Counts | None) -> _Common:
    enter, url, downloads = stack.enter_async_context, settings.storage.database, settings.downloads
    workplace, me = await _own_place(stack, settings)
    files = await open_files(settings.storage, workplace)
    said, own_disks = asyncio.Event(), settings.storage.files != "local"
    app = new_app(url, said.set)
    node_alive = settings.workers.lost_after if own_disks else 0
    admission = Admission(app.job_manager, downloads.max_per_host, node_alive)
    store = await enter(
        open_store(
            url,
            max_queued=downloads.max_queued,
            find_short=short_of,
            admits=admission,
            tells=tells_of(default=settings.webhooks.default is not None, notify=settings.notify.names),
            counts=counts,
        )
    )
    hub.now, hub.lag = lambda: store.clock.now().timestamp(), HEARD_WITHIN
    database = await enter(open_database(url, CONNECTIONS))
    await enter(app.open_async(Shared(database)))
    leftovers = Leftovers(workplace, files, store) if own_disks and me.is_worker else None
    relay = await enter(relayed(url, store, hub, leftovers))
    recorder, jobs, cookies = (
        Recorder(store, hub, store.clock, files, counts),
        JobMaker(downloads),
        SharedCookies(database),
    )
    fork_server = await enter(ForkServer(jobs.tools.ffmpeg, jobs.tools.deno))
    disk = Disk(settings.storage.data_dir, downloads.min_free_disk)
    own = (fork_server, workplace, files, downloads, jobs, cookies, store.clock)
    return _Common(
        settings=settings,
        me=me,
        nodes=Nodes(database, settings.workers.lost_after),
        disk=disk,
        workplace=workplace,
        files=files,
        database=database,
        app=app,
        admission=admission,
        store=store,
        recorder=recorder,
        jobs=jobs,
        fork_server=fork_server,
        runner=Runner(store, recorder, *own, Reserve(disk, elsewhere=own_disks)),
        sweeper=Sweeper(database, recorder, admission, settings.workers.lost_after),
        said=said,
        relay=relay,
        leftovers=leftovers,
        cookies=cookies,
    )


async def _own_place(stack: AsyncExitStack, settings: Settings) -> tuple[LocalWorkplace, Node]:
    """Open the data directory, which several nodes may share, and take a name for this node in it."""
    data_dir = settings.storage.data_dir
    data = data_dir_of(settings.storage)
    await asyncio.to_thread(make, data_dir)
    await stack.enter_async_context(open_lock(data_dir, shared=True))
    await asyncio.to_thread(prepare, data)
    is_local = settings.storage.files == "local"
    with explained_files(data.path):
        name = await asyncio.to_thread(stack.enter_context, own_name(data_dir))
        folder = await asyncio.to_thread(name_of, data_dir) if is_local else None
    workplace = LocalWorkplace(data_dir, name, data)
    await asyncio.to_thread(empty, workplace)
    await asyncio.to_thread(data.keep_watch_of, data.path / LOCK, data.path / FOLDER / name)
    set_up = await asyncio.to_thread(SetUp.by, settings)
    return workplace, Node(name, settings.server.roles, 0, False, folder, set_up)


def _new_worker(common: _Common) -> _Worker:
    settings, database, admission = common.settings, common.database, common.admission
    jobs = Jobs(
        common.me.node_id,
        common.runner.run,
        common.store,
        common.recorder,
        common.files,
        database,
        admission,
    )
    register(common.app, jobs.download)
    heartbeat, at_once = settings.workers.heartbeat, settings.downloads.max_concurrent
    queues, to_start = [DOWNLOADS, queue_of(common.me.node_id)], queues_to_start(common.me.node_id)
    warm, give_back, drain = common.fork_server.warm, common.sweeper.give_back, settings.downloads.drain
    supervisor = Supervisor(common.app, jobs, queues, to_start, at_once, heartbeat, warm, give_back, drain)
    return _Worker(jobs, supervisor)


async def _join(stack: AsyncExitStack, common: _Common, worker: _Worker | None) -> None:
    """Keep this node's row in `nodes` up to date until `stack` closes.

    Raises `FilesUnusable` if other nodes keep finished files elsewhere.
    """
    me, nodes, settings = common.me, common.nodes, common.settings
    jobs = worker.jobs if worker else None
    presence = Presence(me, nodes, common.disk, jobs)
    stack.push_async_callback(_leave, nodes, me)
    await presence.tell()
    if others := nodes.with_other_files(me):
        raise FilesUnusable(
            f"storage.files: {settings.storage.files}",
            f"is not that of the other nodes ({', '.join(others)}): all keep finished files in one place",
        )
    if others := nodes.in_another_folder(me):
        raise FilesUnusable(
            f"storage.data_dir: {settings.storage.data_dir}",
            f"is not the folder of the other nodes ({', '.join(others)}): mount one for all, or use a bucket",
        )
    pause = min(LOOK_AT_NODES, settings.workers.heartbeat)
    await stack.enter_async_context(in_background(for_ever(presence.tell, pause), "presence"))
    if worker and (settings.downloads.rate_limit or settings.downloads.rate_windows):
        pacer = Pacer(settings.downloads, common.runner, common.store.clock.wall, presence.share)
        await stack.enter_async_context(paced(pacer))


async def _take_up(common: _Common) -> None:
    """Requeue, for any worker, what dead nodes of this data directory ran.

    All dead names count: the process that ran here before may have had another name than this one has.
    """
    with ExitStack() as stack:
        neighbours = dead_neighbours(common.settings.storage.data_dir)
        for name in (common.me.node_id, *await asyncio.to_thread(stack.enter_context, neighbours)):
            await common.sweeper.take_over(name)


@contextmanager
def _explained() -> Iterator[None]:
    """Raise `DatabaseUnusable` if the database goes away again while the node starts."""
    with explained():
        try:
            yield
        except StoreUnavailable as exc:
            why = f"cannot be used ({one_line(exc.__cause__ or exc)})"
            raise DatabaseUnusable(PLACE, why) from exc


async def _leave(nodes: Nodes, me: Node) -> None:
    with suppress(StoreUnavailable):
        await nodes.leave(me.node_id)


async def _begin_work(
    stack: AsyncExitStack, common: _Common, worker: _Worker, tasks: Tasks, dispatcher: SharedDispatcher
) -> None:
    enter, store, settings = stack.enter_async_context, common.store, common.settings
    await enter(worker.supervisor)
    limited = settings.downloads.max_per_host > 0
    pause = min(settings.workers.heartbeat, SWEEP_AT_MOST) if limited else settings.workers.heartbeat
    await enter(in_background(for_ever(common.sweeper.look, pause), "takeover"))
    finish, begin = common.runner.finish, worker.supervisor.begin_asked
    await enter(in_background(carry_out_wishes(worker.jobs, finish, begin, common.said), "wishes"))
    room, trouble = FreeSpace(common.workplace, store), common.workplace.trouble
    watch = DiskWatch(common.runner.reserve, tasks, dispatcher, room.make, trouble)
    await enter(in_background(watch.watch(), "disk"))
    sweeping = common.files.sweep_here(store, await store.recent(ENDED_LATELY))
    await enter(in_background(sweeping, "sweep"))
    if common.leftovers:
        await enter(in_background(common.leftovers.clear(), "leftovers"))
    await enter(_chores(common, tasks))


def _chores(common: _Common, tasks: Tasks) -> Chores:
    store, settings = common.store, common.settings
    chores = Chores(common.database, settings.workers.heartbeat)

    async def remove() -> None:
        await carry_out_removals(tasks, await store.removed())

    chores.add("removals", EVERY_20_SECONDS, remove)

    chores.add("orphans", EVERY_6_HOURS, partial(common.files.remove_orphans, store))
    if hours := settings.downloads.retention_hours:
        expire = partial(remove_expired, store, tasks, store.clock, hours)
        chores.add("retention", EVERY_20_SECONDS, expire)
    return chores
