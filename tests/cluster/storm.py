"""Causes faults in a cluster at random, while its queue is always full and clients watch each task.

`test_cluster_kills` does this for as long as CI can wait, `bench.kills --cluster` for as long as its user
wants. A seed repeats the kinds of faults and their order, but not their timing.

Decisions: docs/decisions/testing.md
"""

import asyncio
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil  # type: ignore[import-untyped]
import psycopg
from aiohttp import web

from server.core.events import Requeued
from server.core.task import TaskStatus
from server.files.s3.bucket import Bucket
from server.tasks.next_attempt import after_loss
from tests.cluster.breaking import Proxy, proxied
from tests.cluster.nodes import LOST_AFTER, Cluster
from tests.cluster.postgres import CARELESS, PostgreSQL, own_postgres
from tests.cluster.proxy import Proxy as BucketProxy
from tests.cluster.proxy import Spoiled, open_proxy
from tests.cluster.s3 import S3
from tests.cluster.watching import Crowd, Fate, Witness
from tests.kills import KINDS
from tests.service import ROOT, Service, children_of
from tests.site import Site

PER_HOST, MAX_QUEUED = 4, 8
WAITING = 12  # tasks that are unfinished at any time, unless the queue refuses more
HOSTS = ("127.0.0.1", "127.0.0.2")
AHEAD = 600  # seconds by which the clocks of nodes are skewed
STARTS_WITHIN = 120  # seconds that a start may take on a busy machine
SETTLES_WITHIN = 240.0  # seconds after the last strike in which all tasks end
DARK = 6.0  # most seconds that the database or the bucket is away
NAMES = ("web1", "web2", "worker1", "worker2")
_SKEWS = {"web1": AHEAD, "worker1": -AHEAD, "worker2": AHEAD}
_FATES: dict[Fate, int] = {"completes": 14, "is paused": 2, "is cancelled": 1, "is deleted": 2}
_KINDS = KINDS[:-1]  # all kinds of download but the last, which takes half a minute to encode
_SPOILED = (
    Spoiled(status=500), Spoiled(status=503), Spoiled(silent=True), Spoiled(cut=1000), Spoiled(rate=400_000)
)  # fmt: skip
_ADMITTED = """
    SELECT max(running), sum(waiting) FROM (
        SELECT count(job_id) AS running, count(*) FILTER (WHERE stage IN ('queued', 'paused')) AS waiting
        FROM tasks WHERE NOT removed GROUP BY host) AS of_hosts"""


@dataclass
class Sky:
    """Everything that a storm can strike at. `bucket` is a proxy in front of the S3 server, if there is a
    bucket.
    """

    postgres: PostgreSQL
    ways: dict[str, Proxy]  # the proxy through which each node reaches the database, by the node's name
    bucket: BucketProxy | None
    files: Bucket | None
    cluster: Cluster


@asynccontextmanager
async def sky(folder: Path, s3: S3 | None) -> AsyncIterator[Sky]:
    """Yield a cluster with skewed clocks, whose nodes are not started yet.

    With `s3` its files are in a bucket and each node has a data directory; otherwise all nodes share one data
    directory.
    """
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(own_postgres(*CARELESS))
        ways = {name: await stack.enter_async_context(proxied(postgres.url)) for name in NAMES}
        bucket = await stack.enter_async_context(open_proxy(s3.endpoint)) if s3 else None
        place = f"storm-{uuid4()}"
        files = s3.settings(place, bucket.url) if s3 and bucket else {}
        own = {name: {"CLIPWIRE_STORAGE__DATABASE": ways[name].url, **_skewed(name)} for name in NAMES}
        settings = {
            "PYTHONDEVMODE": "",  # without this, nodes inherit asyncio's debug mode, which traces each future
            "CLIPWIRE_DOWNLOADS__MAX_PER_HOST": str(PER_HOST),
            "CLIPWIRE_DOWNLOADS__MAX_QUEUED": str(MAX_QUEUED),
            "CLIPWIRE_DOWNLOADS__ALLOWED_PRIVATE_HOSTS": '["127.0.0.1", "127.0.0.2"]',
        }
        cluster = Cluster(folder, postgres.url, own, **settings, **files)
        for node in cluster.nodes:
            node.command, node.patience = (sys.executable, "-m", "server"), STARTS_WITHIN
        stack.callback(cluster.close)
        yield Sky(postgres, ways, bucket, s3.bucket(place) if s3 else None, cluster)


def _skewed(name: str) -> dict[str, str]:
    if name not in _SKEWS:
        return {}
    return {"PYTHONPATH": str(ROOT / "tests" / "skewed"), "SKEW": str(_SKEWS[name])}


class Storm:
    """The storm. `killed` counts the killed processes of each kind; `struck` has the names of all strikes, in
    order.
    """

    def __init__(self, sky: Sky, site: Site, seed: int, calm: tuple[float, float]) -> None:
        self.sky = sky
        self.crowd = Crowd(sky.cluster.web, seed + 1)
        self.killed: Counter[str] = Counter()
        self.struck: list[str] = []
        self.most_running = self.most_waiting = 0
        self._site = site
        self._chance = random.Random(seed)
        self._submitting = random.Random(seed + 2)
        self._calm = calm  # least and most seconds between two strikes
        self._submitted = self._accepted = 0
        self._is_over = False
        self._aside: set[asyncio.Task[None]] = set()

    async def run(self, until: Callable[["Storm"], bool]) -> None:
        """Strike until `until` is true; then wait until all tasks have ended and all watchers saw it."""
        async with asyncio.TaskGroup() as group:
            counting = group.create_task(self._count())
            filling = group.create_task(self._fill())
            while not until(self):
                await asyncio.sleep(self._chance.uniform(*self._calm))
                await self._strike()
                self.crowd.check()
            self._is_over = True
            try:
                async with asyncio.timeout(SETTLES_WITHIN):
                    await filling
                    await asyncio.gather(*self._aside)
                    await self.crowd.heard()
            except TimeoutError:
                raise AssertionError("\n".join(self.crowd.waiting())) from None
            counting.cancel()

    async def close(self) -> None:
        for task in self._aside:
            task.cancel()
        await self.crowd.close()

    # --- the requests ---

    async def _fill(self) -> None:
        while not self._is_over:
            if sum(not one.is_over for one in self.crowd.witnesses.values()) < WAITING:
                witness = await self._submit()
                self._do_aside(self._meet_its_fate(witness))
            await asyncio.sleep(0.1)

    async def _submit(self) -> Witness:
        """Submit a task, repeatedly until there is an answer; its idempotency key must give one task only."""
        number, chance = self._submitted, self._submitting
        self._submitted += 1
        kind, host = _KINDS[number % len(_KINDS)], chance.choice(HOSTS)
        fate = chance.choices(list(_FATES), list(_FATES.values()))[0]
        body = {"url": self._site.url(kind.path, host), "outputs": list(kind.outputs)}
        key = {"Idempotency-Key": f"storm-{number}"}
        answer = await self.crowd.insist("POST", "/api/process", 202, json=body, headers=key)
        self._accepted += 1
        witness = Witness(answer.payload["task_id"], kind, fate)
        witness.saw(answer.text, 1)
        self.crowd.watch(witness)
        if number % 4 == 0:
            again = await self.crowd.insist("POST", "/api/process", 202, json=body, headers=key)
            assert again.payload["task_id"] == witness.task_id, "one key, two tasks"
        return witness

    async def _meet_its_fate(self, witness: Witness) -> None:
        place = f"/api/tasks/{witness.task_id}"
        if witness.fate != "completes":
            await asyncio.sleep(self._submitting.uniform(0, 6))
        match witness.fate:
            case "is paused":
                if (await self.crowd.insist("POST", f"{place}/pause", 200, 409)).status == 200:
                    witness.must_be = "paused"
                    await asyncio.sleep(self._submitting.uniform(0, 6))
                    witness.must_be = None
                    await self.crowd.insist("POST", f"{place}/resume", 200, 409)
            case "is cancelled":
                if (await self.crowd.insist("POST", f"{place}/cancel", 200, 409)).status == 200:
                    witness.must_be = "cancelled"
            case "is deleted":
                await self.crowd.insist("DELETE", place, 204, 404)
                witness.is_gone = True
            case "completes":
                pass
        witness.is_settled = True

    # --- strikes ---

    async def _strike(self) -> None:
        strike = self._chance.choices(_STRIKES, _WEIGHTS)[0]
        self.struck.append(strike.__name__.strip("_"))
        await strike(self)

    async def _kill_node(self) -> None:
        await self._kill_nodes(1)

    async def _kill_some_nodes(self) -> None:
        await self._kill_nodes(self._chance.randint(2, 4))

    async def _kill_nodes(self, count: int) -> None:
        """Kill nodes and start them again, soon or after other nodes have taken over their tasks."""
        nodes = self._chance.sample(self.sky.cluster.nodes, count)
        await self._kill(*nodes)
        await asyncio.sleep(self._chance.choice((0, 0.5, LOST_AFTER + self._chance.uniform(0, 3))))
        await asyncio.gather(*map(_start, nodes))

    async def _kill_after_202(self) -> None:
        """Kill three random nodes just after a task was accepted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                accepted = self._accepted
                while self._accepted == accepted:
                    await asyncio.sleep(0.005)
        await self._kill_nodes(3)

    async def _stop_node(self) -> None:
        """Stop a node with SIGTERM, which must end it with status 0."""
        node = self._chance.choice(self.sky.cluster.nodes)
        assert await node.stop() == 0
        await _start(node)

    async def _stand_still(self) -> None:
        """Stop a node with SIGSTOP for longer than `LOST_AFTER`, so that others take it for dead."""
        node = self._chance.choice(self.sky.cluster.nodes)
        node.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(LOST_AFTER + self._chance.uniform(0, 4))
        finally:
            node.send_signal(signal.SIGCONT)

    async def _kill_fork_server(self) -> None:
        node = self._chance.choice(self.sky.cluster.workers)
        if all([await self._may_be_lost(task_id) for _, task_id in _children(node)]):
            self._kill_processes("fork server", children_of(node.pid))

    async def _kill_child(self) -> None:
        children = [child for node in self.sky.cluster.workers for child in _children(node)]
        if children:
            process, task_id = self._chance.choice(children)
            if await self._may_be_lost(task_id):
                self._kill_processes("child", [process])

    async def _kill_children(self) -> None:
        for node in self.sky.cluster.workers:
            children = list(_children(node))
            lost = [process for process, task_id in children if await self._may_be_lost(task_id)]
            self._kill_processes("child", lost)

    async def _kill_database(self) -> None:
        """Kill the database, and perhaps a worker while the database is away."""
        await asyncio.to_thread(self.sky.postgres.kill)
        self.killed["database"] += 1
        await self._be_in_the_dark()
        await asyncio.to_thread(self.sky.postgres.start)
        await self._all_run()

    async def _stop_database(self) -> None:
        await asyncio.to_thread(self.sky.postgres.stop, signal.SIGQUIT)
        await self._be_in_the_dark()
        await asyncio.to_thread(self.sky.postgres.start)
        await self._all_run()

    async def _silence_database(self) -> None:
        self.sky.postgres.pause()
        try:
            await self._be_in_the_dark()
        finally:
            self.sky.postgres.go_on()
        await self._all_run()

    async def _be_in_the_dark(self) -> None:
        dead = self._chance.choice((None, *self.sky.cluster.workers))
        await asyncio.sleep(self._chance.uniform(0, DARK))
        if dead:
            await self._kill(dead)

    async def _all_run(self) -> None:
        await asyncio.gather(*(_start(node) for node in self.sky.cluster.nodes if not node.runs))

    async def _cut_connections(self) -> None:
        self._way().cut()

    async def _hush_connections(self) -> None:
        self._way().hush()

    async def _lose_a_commit(self) -> None:
        await self._cut_at(b"COMMIT", is_done=False)

    async def _lose_the_answer_to_a_commit(self) -> None:
        await self._cut_at(b"COMMIT", is_done=True)

    async def _lose_the_answer_to_a_fetch(self) -> None:
        await self._cut_at(b"procrastinate_fetch_job", is_done=True)

    async def _cut_at(self, word: bytes, *, is_done: bool) -> None:
        """Cut a node's connections when it next sends `word`, before or after the database gets it."""
        way, met = self._way(), asyncio.Event()

        def meets(sent: bytes) -> bool:
            if word not in sent or met.is_set():
                return False
            met.set()
            return True

        setattr(way, "cut_after" if is_done else "cut_before", meets)
        with suppress(TimeoutError):
            async with asyncio.timeout(3):
                await met.wait()
        met.set()

    async def _spoil_bucket(self) -> None:
        """Spoil answers of the bucket in a task of its own, while other strikes go on."""
        if self.sky.bucket and self.sky.bucket.spoil is _nothing:
            self._do_aside(self._spoil(self.sky.bucket))

    async def _spoil(self, bucket: BucketProxy) -> None:
        chance = random.Random(self._chance.random())
        how = chance.choice(_SPOILED)

        def spoil(_: web.BaseRequest) -> Spoiled | None:
            return how if chance.random() < 0.6 else None

        bucket.spoil = spoil
        try:
            await asyncio.sleep(chance.uniform(1, DARK))
        finally:
            bucket.spoil = _nothing

    def _way(self) -> Proxy:
        return self.sky.ways[self._chance.choice(NAMES)]

    async def _kill(self, *nodes: Service) -> None:
        for node in nodes:
            self.killed["web node" if node in self.sky.cluster.web else "worker"] += 1
        await asyncio.gather(*(node.kill() for node in nodes))

    def _kill_processes(self, what: str, processes: list[psutil.Process]) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
                self.killed[what] += 1

    async def _may_be_lost(self, task_id: str) -> bool:
        """Return whether the task survives one more lost child; a child that dies with its worker does not
        count.
        """
        async with await psycopg.AsyncConnection.connect(self.sky.postgres.url) as db:
            row = await (
                await db.execute("SELECT status FROM tasks WHERE task_id = %s", (task_id,))
            ).fetchone()
        if row is None:
            return False
        status = TaskStatus.model_validate_json(row[0])
        return status.lost_in_a_row == 0 and isinstance(after_loss(status), Requeued)

    # --- counts ---

    async def _count(self) -> None:
        """Keep the largest numbers of running and waiting tasks in the database, whenever it answers."""
        while True:
            with suppress(psycopg.OperationalError):
                async with await psycopg.AsyncConnection.connect(
                    self.sky.postgres.url, autocommit=True, connect_timeout=2
                ) as db:
                    while True:
                        [(running, waiting)] = await (await db.execute(_ADMITTED)).fetchall()
                        self.most_running = max(self.most_running, running or 0)
                        self.most_waiting = max(self.most_waiting, waiting or 0)
                        await asyncio.sleep(0.1)
            await asyncio.sleep(0.2)

    def _do_aside(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._aside.add(task)


async def _start(node: Service) -> None:
    """Start a node. If the start fails because the database was lost, start it again, as systemd would."""
    try:
        await node.start()
    except RuntimeError:
        if await node.ended() != 1 or "storage.database cannot be used" not in node.log[-1]:
            raise
        await node.start()


def _nothing(_: web.BaseRequest) -> Spoiled | None:
    return None


def _children(node: Service) -> Iterator[tuple[psutil.Process, str]]:
    """Yield each child of the node's fork server with the id of its task: the child's standard output is the
    task's log.
    """
    for fork_server in children_of(node.pid):
        for child in children_of(fork_server.pid):
            with suppress(OSError, psutil.Error):
                yield child, Path(f"/proc/{child.pid}/fd/1").readlink().stem


Strike = Callable[[Storm], Awaitable[None]]
_ODDS: dict[Strike, int] = {
    Storm._kill_node: 12,
    Storm._kill_some_nodes: 5,
    Storm._kill_after_202: 3,
    Storm._stop_node: 3,
    Storm._stand_still: 4,
    Storm._kill_fork_server: 3,
    Storm._kill_child: 4,
    Storm._kill_children: 10,
    Storm._kill_database: 2,
    Storm._stop_database: 2,
    Storm._silence_database: 2,
    Storm._cut_connections: 4,
    Storm._hush_connections: 2,
    Storm._lose_a_commit: 2,
    Storm._lose_the_answer_to_a_commit: 4,
    Storm._lose_the_answer_to_a_fetch: 3,
    Storm._spoil_bucket: 6,
}
_STRIKES, _WEIGHTS = tuple(_ODDS), tuple(_ODDS.values())


@asynccontextmanager
async def storm(
    folder: Path, site: Site, s3: S3 | None, seed: int, calm: tuple[float, float]
) -> AsyncIterator[Storm]:
    """Open a storm over running nodes; fail in the end if their logs have complaints."""
    async with sky(folder, s3) as above, above.cluster.running():
        raging = Storm(above, site, seed, calm)
        if above.bucket:
            above.bucket.spoil = _nothing
        raging.crowd.watch_all()
        try:
            yield raging
        finally:
            await raging.close()
