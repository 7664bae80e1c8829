"""The wiring of a node: opens its parts in order, and closes them in the reverse order.

Decisions: docs/decisions/cluster.md
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path

from server.assembly.backend import (
    Backend,
    BaseParts,
    backend_of,
    cookies_described,
    data_dir_of,
    empty,
    make,
    open_attempt_parts,
    open_features,
    paced,
    prepare,
    readiness_of,
    store_hooks,
)
from server.assembly.backend import explain_errors as explain_file_errors
from server.assembly.file_store import open_files
from server.cluster.admission import Admission
from server.cluster.database import open_database
from server.cluster.engine import DOWNLOADS, SharedPool, new_app, queue_of, queues_to_start, register
from server.cluster.identity import FOLDER, claim_name, dead_neighbours, read_folder_id
from server.cluster.job_dispatcher import SharedDispatcher
from server.cluster.leftovers import Leftovers
from server.cluster.node_readiness import SharedReadiness
from server.cluster.nodes import Node, Nodes, NodeSetup
from server.cluster.presence import Presence, RoomAnywhere
from server.cluster.relay import open_relay
from server.cluster.shared_cookies import SharedCookies
from server.cluster.shared_turns import open_turns
from server.cluster.supervisor import Supervisor
from server.cluster.sweeper import Sweeper
from server.cluster.worker import Jobs, carry_out_wishes
from server.core.background import in_background
from server.core.counts import Counts
from server.core.errors import StoreUnavailable
from server.core.hooks import Hooks
from server.core.shares import Shares
from server.core.unusable import DatabaseUnusable, FilesUnusable
from server.feature import Feature, Kernel
from server.files.free_space import make_room
from server.files.public_names import short_of
from server.files.workplace import LocalWorkplace
from server.settings import Settings, StorageSettings
from server.storage.postgresql.connection import PLACE, explain_errors, one_line
from server.storage.postgresql.store import open_store
from server.storage.sqlite.data_dir_lock import LOCK, open_lock
from server.tasks.disk_space import Disk, Reserve
from server.tasks.hub import Hub
from server.tasks.janitor import DiskWatch, carry_out_removals, for_ever, remove_expired
from server.tasks.job_builder import JobMaker
from server.tasks.programs_found import find_tools
from server.tasks.rate_windows import Pacer
from server.tasks.service import Tasks

log = logging.getLogger(__name__)

# Seconds within which a node notices a change on another node, even if an announcement was lost.
HEARD_WITHIN = 60.0
CONNECTIONS = 3  # connections of `ClusterDatabase`, which the job engine shares
LATE_ATTEMPT_ENDS_WITHIN = 120.0  # seconds during which an attempt that was given up may still write files
CHORES_EVERY = 20.0  # seconds
ORPHANS_EVERY = 6 * 3600.0  # seconds
SWEEP_AT_MOST = (
    1.0  # seconds between sweeps where hosts or people have limits: tasks become due by themselves
)


@asynccontextmanager
async def open_cluster(
    settings: Settings,
    features: Sequence[Feature],
    scopes: Collection[str],
    counts: Counts | None = None,
) -> AsyncIterator[Backend]:
    """Open a node of a cluster. Raises what `server.assembly.open_backend` does."""
    url, downloads, storage = settings.storage.database, settings.downloads, settings.storage
    own_disks = storage.files != "local"
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        me, workplace = await _enter_data_dir(stack, settings)
        files = await open_files(storage, workplace)

        # The parts that all nodes share: the tasks, the job engine, and announcements of other nodes.
        notified = asyncio.Event()
        app = new_app(url, notified.set)
        node_alive = settings.workers.lost_after if own_disks else 0
        shares = Shares(are_known=False)
        lost_after = settings.workers.lost_after
        admission = Admission(app.job_manager, downloads.max_per_host, node_alive, shares, lost_after)
        store = await enter(
            open_store(
                url,
                max_queued=downloads.max_queued,
                find_short=short_of,
                admits=admission,
                hooks=store_hooks(features, settings),
                counts=counts,
            )
        )
        clock = store.clock
        asks = settings.access.separate_lists
        hub = Hub(lambda: clock.now().timestamp(), HEARD_WITHIN, asks_for_owners=asks)
        database = await enter(open_database(url, CONNECTIONS))
        await enter(app.open_async(SharedPool(database)))
        # Only for a worker whose partial files other nodes cannot see.
        leftovers = Leftovers(workplace, files, store) if own_disks and me.is_worker else None
        relay = await enter(open_relay(url, store, hub, leftovers))

        # The parts that run downloads.
        jobs = JobMaker(downloads, find_tools(downloads.ffmpeg))
        cookies = SharedCookies(database, are_separate=asks)
        disk = Disk(storage.data_dir, downloads.min_free_disk)
        reserve = Reserve(disk, elsewhere=own_disks)
        base = BaseParts(settings, store, hub, clock, files, workplace, cookies, jobs, disk, Hooks(), counts)
        parts = await open_attempt_parts(
            stack, base, reserve, entry_taken=lambda task: tasks.submit_if_queued(task)
        )
        recorder, runner = parts.recorder, parts.runner
        nodes = Nodes(database, settings.workers.lost_after)
        sweeper = Sweeper(database, recorder, admission, settings.workers.lost_after)
        worker: Jobs | None = None
        supervisor: Supervisor | None = None
        if me.is_worker:
            worker = Jobs(me.node_id, runner.run, store, recorder, files, database, admission)
            register(app, worker.download)
            supervisor = Supervisor(
                app,
                worker,
                [DOWNLOADS, queue_of(me.node_id)],
                queues_to_start(me.node_id),
                downloads.max_concurrent,
                settings.workers.heartbeat,
                parts.fork_server.warm,
                sweeper.give_back,
                downloads.drain,
            )
        dispatcher = SharedDispatcher(database, admission, nodes, supervisor, worker)
        turns = await enter(open_turns(url))
        tasks = Tasks(store, recorder, hub, dispatcher, turns, files, RoomAnywhere(disk, nodes), clock)
        kernel = base.kernel(parts.fork_server, tasks, shares, is_alone=False, runs_tasks=me.is_worker)

        with _explained():
            # Only nodes that serve the web know all tokens; another node would end all sessions.
            if "web" in settings.server.roles:
                await store.sessions.end_others(scopes)

            presence = Presence(me, nodes, disk, worker, supervisor)
            await _join(stack, me, nodes, presence, storage)
            beating = for_ever(presence.send_heartbeat, settings.workers.heartbeat)
            await enter(in_background(beating, "heartbeat"))
            if worker and (downloads.rate_limit or downloads.rate_windows):
                await enter(paced(Pacer(downloads, runner, clock.wall, presence.share)))

            await _take_over_dead(me, sweeper, storage.data_dir)

        if worker and supervisor:
            await enter(supervisor)

            async def rest(pause: float) -> None:
                limited = downloads.max_per_host > 0 or shares.take_turns
                await asyncio.sleep(min(pause, SWEEP_AT_MOST) if limited else pause)

            sweeps = for_ever(sweeper.look, settings.workers.heartbeat, rest)
            await enter(in_background(sweeps, "takeover"))
            wishes = carry_out_wishes(worker, runner.finish, supervisor.start_requested, notified)
            await enter(in_background(wishes, "wishes"))
            make_space = partial(make_room, workplace, store)
            watch = DiskWatch(runner.reserve, tasks, dispatcher, make_space, workplace.trouble)
            await enter(in_background(watch.watch(), "disk"))
            sweeping = files.sweep_here(store, await store.recent(LATE_ATTEMPT_ENDS_WITHIN))
            await enter(in_background(sweeping, "sweep"))
            if leftovers:
                await enter(in_background(leftovers.clear(), "leftovers"))
            await _do_chores(stack, kernel, presence, partial(files.remove_orphans, store))
        else:
            looking = files.look_after_ends(store, await store.recent(LATE_ATTEMPT_ENDS_WITHIN))
            await enter(in_background(looking, "late attempts"))

        await enter(cookies_described(cookies))
        await enter(in_background(tasks.playlists.run(alone=False), "lists"))
        added = await open_features(stack, features, kernel)
        with suppress(StoreUnavailable):  # nothing was admitted before; if this fails, a sweep admits
            async with database.transaction() as db:
                await admission.admit_all(db)
        readiness = SharedReadiness(readiness_of(kernel, added), nodes, me, relay, clock)
        yield backend_of(kernel, hub, added, readiness)


async def _enter_data_dir(stack: AsyncExitStack, settings: Settings) -> tuple[Node, LocalWorkplace]:
    """Prepare the data directory, which several nodes may share, and claim a name for this node in it."""
    storage = settings.storage
    data_dir, data = storage.data_dir, data_dir_of(storage)
    await asyncio.to_thread(make, data_dir)
    await stack.enter_async_context(open_lock(data_dir, shared=True))
    await asyncio.to_thread(prepare, data)
    with explain_file_errors(data.path):
        name = await asyncio.to_thread(stack.enter_context, claim_name(data_dir))
        folder = await asyncio.to_thread(read_folder_id, data_dir) if storage.files == "local" else None
    workplace = LocalWorkplace(data_dir, name, data)
    await asyncio.to_thread(empty, workplace)
    await asyncio.to_thread(data.keep_watch_of, data.path / LOCK, data.path / FOLDER / name)
    set_up = await asyncio.to_thread(NodeSetup.by, settings)
    return Node(name, settings.server.roles, 0, False, folder, set_up), workplace


async def _join(
    stack: AsyncExitStack, me: Node, nodes: Nodes, presence: Presence, storage: StorageSettings
) -> None:
    """Write this node's row in `nodes`, which goes when `stack` closes.

    Raises `FilesUnusable` if the other nodes keep finished files elsewhere.
    """

    async def leave() -> None:
        with suppress(StoreUnavailable):
            await nodes.leave(me.node_id)

    stack.push_async_callback(leave)
    await presence.send_heartbeat()
    if others := nodes.with_other_files(me):
        raise FilesUnusable(
            f"storage.files: {storage.files}",
            f"is not that of the other nodes ({', '.join(others)}): all keep finished files in one place",
        )
    if others := nodes.in_another_folder(me):
        raise FilesUnusable(
            f"storage.data_dir: {storage.data_dir}",
            f"is not the folder of the other nodes ({', '.join(others)}): mount one for all, or use a bucket",
        )


async def _take_over_dead(me: Node, sweeper: Sweeper, data_dir: Path) -> None:
    """Requeue, for any worker, the tasks that dead nodes of this data directory were running. Their names may
    differ: an earlier process of this node may have had another one.
    """
    with ExitStack() as neighbours:
        dead = await asyncio.to_thread(neighbours.enter_context, dead_neighbours(data_dir))
        for name in (me.node_id, *dead):
            await sweeper.take_over(name)


async def _do_chores(
    stack: AsyncExitStack, kernel: Kernel, presence: Presence, remove_orphans: Callable[[], Awaitable[None]]
) -> None:
    """Do, until `stack` closes, the chores that one node does for the whole cluster."""
    store, tasks = kernel.store, kernel.tasks

    async def remove() -> None:
        await carry_out_removals(tasks, await store.ids_removed())

    chores: list[tuple[Callable[[], Awaitable[None]], float]]
    chores = [(remove, CHORES_EVERY), (remove_orphans, ORPHANS_EVERY)]
    if hours := kernel.settings.downloads.retention_hours:
        chores.append((partial(remove_expired, store, tasks, kernel.clock, hours), CHORES_EVERY))
    for chore, pause in chores:
        work = for_ever(partial(presence.do_for_all, chore), pause)
        await stack.enter_async_context(in_background(work, "chore"))


@contextmanager
def _explained() -> Iterator[None]:
    """Raise `DatabaseUnusable` if the database goes away again while the node starts."""
    with explain_errors():
        try:
            yield
        except StoreUnavailable as exc:
            why = f"cannot be used ({one_line(exc.__cause__ or exc)})"
            raise DatabaseUnusable(PLACE, why) from exc
