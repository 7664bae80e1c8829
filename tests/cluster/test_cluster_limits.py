"""What holds over all nodes together: limits, the order of the queue, and the time."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from tests.cluster.nodes import Cluster
from tests.cluster.postgres import database
from tests.cluster.test_cluster import act
from tests.service import ROOT, Payload, Service
from tests.site import Site

pytestmark = pytest.mark.long

PER_HOST, MAX_QUEUED, RATE = 3, 6, 600_000
AHEAD = 600  # seconds by which clocks are skewed
SKEWED = {"PYTHONPATH": str(ROOT / "tests" / "skewed")}
SLOW = "/8mb.mp4?rate=100000"


@pytest.fixture(scope="module")
def nodes(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Nodes whose clocks are far apart. Each worker alone could run all that a host may have at once."""
    own = {
        "web1": {**SKEWED, "SKEW": str(AHEAD)},
        "worker1": {**SKEWED, "SKEW": str(-AHEAD)},
        "worker2": {**SKEWED, "SKEW": str(AHEAD)},
    }
    settings = {
        "MAX_CONCURRENT": PER_HOST,
        "MAX_PER_HOST": PER_HOST,
        "MAX_QUEUED": MAX_QUEUED,
        "RATE_LIMIT": RATE,
    }
    downloads = {f"CLIPWIRE_DOWNLOADS__{name}": str(value) for name, value in settings.items()}
    with database(postgres) as url:
        cluster = Cluster(tmp_path_factory.mktemp("cluster"), url, own, **downloads)
        yield cluster
        cluster.close()


@pytest.fixture
async def cluster(nodes: Cluster) -> AsyncIterator[Cluster]:
    async with nodes.running() as running:
        yield running


class Asked:
    """Sends each request to the next web node in turn."""

    def __init__(self, cluster: Cluster) -> None:
        self._nodes = itertools.cycle(cluster.web)

    async def submit(self, url: str, **body: object) -> Payload:
        return await next(self._nodes).submit(url, outputs=["video"], **body)

    async def stages(self) -> dict[str, str]:
        async with next(self._nodes).client.get("/api/tasks") as answer:
            return {task["task_id"]: task["stage"] for task in (await answer.json())["tasks"]}

    async def running(self, count: int) -> set[str]:
        """Wait until `count` tasks run; return their ids."""
        async with asyncio.timeout(20):
            while (
                len(found := {one for one, stage in (await self.stages()).items() if stage == "download"})
                < count
            ):
                await asyncio.sleep(0.05)
        return found

    async def cancel(self, task_id: str) -> None:
        await act(next(self._nodes), task_id, "cancel")


async def test_a_host_has_no_more_downloads_than_it_may_over_all_workers(
    cluster: Cluster, site: Site
) -> None:
    asked = Asked(cluster)
    ids = [(await asked.submit(site.url(SLOW)))["task_id"] for _ in range(PER_HOST + 3)]
    await asked.running(PER_HOST)
    await asyncio.sleep(1.5)  # long enough for one more task to begin
    assert len(await asked.running(PER_HOST)) == PER_HOST
    for _ in range(3):
        await asked.cancel(min(await asked.running(PER_HOST), key=ids.index))
    assert await asked.running(PER_HOST) == set(ids[-PER_HOST:]), "each has its turn"


async def test_the_queue_is_as_long_as_it_may_be_whichever_node_is_asked(
    cluster: Cluster, site: Site
) -> None:
    asked = Asked(cluster)
    for _ in range(PER_HOST):
        await asked.submit(site.url(SLOW))
    await asked.running(PER_HOST)
    for _ in range(MAX_QUEUED):
        await asked.submit(site.url(SLOW))
    for node in cluster.web:
        async with node.client.post("/api/process", json={"url": site.url(SLOW)}) as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "queue_full")
            assert "Retry-After" in answer.headers


async def test_what_is_more_urgent_begins_first_also_if_that_is_said_later_and_elsewhere(
    cluster: Cluster, site: Site
) -> None:
    asked = Asked(cluster)
    first = [(await asked.submit(site.url(SLOW)))["task_id"] for _ in range(PER_HOST)]
    await asked.running(PER_HOST)
    plain = (await asked.submit(site.url(SLOW)))["task_id"]
    urgent = (await asked.submit(site.url(SLOW), priority=3))["task_id"]
    most = (await asked.submit(site.url(SLOW)))["task_id"]
    async with cluster.web[1].client.patch(f"/api/tasks/{most}", json={"priority": 9}) as answer:
        assert answer.status == 200
    for place, (ended, begins) in enumerate(zip(first, (most, urgent, plain), strict=True)):
        await asked.cancel(ended)
        assert begins in await asked.running(PER_HOST), place


async def test_all_downloads_together_keep_to_the_rate(cluster: Cluster, site: Site) -> None:
    asked = Asked(cluster)
    ids = [(await asked.submit(site.url("/8mb.mp4")))["task_id"] for _ in range(PER_HOST)]
    await asked.running(PER_HOST)
    await asyncio.sleep(3)  # by then every worker knows of the others
    before, began = await bytes_of(cluster, ids), time.monotonic()
    await asyncio.sleep(5)
    rate = (await bytes_of(cluster, ids) - before) / (time.monotonic() - began)
    assert 0.4 * RATE < rate < 1.3 * RATE


async def bytes_of(cluster: Cluster, ids: list[str]) -> int:
    return sum([(await cluster.web[0].status(task_id)).get("downloaded_bytes", 0) for task_id in ids])


async def test_clocks_that_are_far_apart_change_no_time_and_no_order(cluster: Cluster, site: Site) -> None:
    asked = Asked(cluster)
    tasks = [await asked.submit(site.url("/1mb.mp4")) for _ in range(4)]
    done = [await cluster.web[n % 2].wait(task["task_id"]) for n, task in enumerate(tasks)]
    now = time.time()
    for status in done:
        for when in (status["created_at"], status["completed_at"]):
            assert abs(datetime.fromisoformat(when).timestamp() - now) < 60
        assert status["created_at"] <= status["completed_at"]
        assert status["attempt"] == 1
    assert list(await asked.stages()) == [task["task_id"] for task in reversed(tasks)]


async def test_a_wait_is_as_long_as_it_was_meant_whatever_clock_a_worker_has(
    cluster: Cluster, site: Site
) -> None:
    task = await Asked(cluster).submit(site.url("/1mb.mp4?status=503&times=1"))
    began = time.monotonic()
    assert (await cluster.web[0].wait(task["task_id"]))["attempt"] == 2
    assert time.monotonic() - began < 25


async def test_a_node_says_that_its_clock_is_off_and_works_all_the_same(cluster: Cluster) -> None:
    expected = {
        "web1": "600 seconds ahead of",
        "web2": "the same as the database's",
        "worker1": "600 seconds behind",
    }
    for node in cluster.nodes:
        await node.ready()
        async with node.client.get("/readyz?lang=en") as answer:
            assert answer.status == 200
            check = (await answer.json())["checks"]["clock"]
        if detail := expected.get(node.folder.name):
            assert check["detail"].startswith(detail)
            assert check["ok"] == (node.folder.name == "web2")


async def test_there_is_no_room_only_when_no_worker_has_any(
    postgres: str, tmp_path: Path, site: Site
) -> None:
    full = {"CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": str(1 << 60)}
    with database(postgres) as url, closing(Cluster(tmp_path, url, {"worker1": full})) as cluster:
        async with cluster.running():
            web, roomy = cluster.web[0], cluster.workers[1]
            await until_answered(web, site.url("/1mb.mp4"), (202, None))
            assert await roomy.stop() == 0
            await until_answered(web, site.url("/1mb.mp4"), (507, "disk_full"))


async def until_answered(node: Service, url: str, expected: tuple[int, str | None]) -> None:
    """Submit tasks until the answer is the expected one: nodes know each other's state of a second ago."""
    async with asyncio.timeout(20):
        while True:
            async with node.client.post("/api/process", json={"url": url, "outputs": ["video"]}) as answer:
                if (answer.status, (await answer.json()).get("code")) == expected:
                    return
            await asyncio.sleep(0.1)
