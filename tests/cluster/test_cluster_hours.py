"""A rate window in which nothing may be fetched, on many machines."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cluster.nodes import Cluster
from tests.cluster.postgres import database
from tests.cluster.test_cluster import act
from tests.site import Site

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def nodes(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster for which the rate window is open now, by the clock of the database, and for two hours
    more.
    """
    now = datetime.now(UTC)
    begin, end = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (-1, 2))
    windows = json.dumps([{"from": begin, "to": end, "rate": 0}])
    settings = {"CLIPWIRE_DOWNLOADS__RATE_WINDOWS": windows, "CLIPWIRE_DOWNLOADS__MAX_CONCURRENT": "1"}
    skewed = {"SKEW": "36000", "PYTHONPATH": str(Path(__file__).parent.parent / "skewed")}
    with database(postgres) as url:
        cluster = Cluster(
            tmp_path_factory.mktemp("cluster"),
            url,
            {"worker1": skewed},
            **settings,
            CLIPWIRE_DOWNLOADS__STALL_TIMEOUT="3",
        )
        yield cluster
        cluster.close()


@pytest.fixture
async def cluster(nodes: Cluster) -> AsyncIterator[Cluster]:
    async with nodes.running() as running:
        yield running


async def test_what_runs_is_held_on_every_node_and_does_as_it_is_told(cluster: Cluster, site: Site) -> None:
    web = cluster.web[0]
    ids = [(await web.submit(site.url("/8mb.mp4"), outputs=["video"]))["task_id"] for _ in range(2)]
    async with asyncio.timeout(20):
        while not all([(await web.status(each)).get("waiting") == "rate_window" for each in ids]):
            await asyncio.sleep(0.05)
    await asyncio.sleep(3.5)  # longer than the stall timeout
    for each in ids:
        status = await cluster.web[1].status(each)
        assert (status["stage"], status["attempt"], status["waiting"]) == ("download", 1, "rate_window")
        assert "not_before" in status
        assert "speed" not in status
        assert not status.get("downloaded_bytes")
    async with asyncio.timeout(20):  # tests/cluster/test_cluster.py tests how fast actions are
        assert (await act(web, ids[0], "pause"))["stage"] == "paused"
        assert (await act(web, ids[1], "cancel"))["stage"] == "cancelled"
    await act(web, ids[0], "resume")
    async with asyncio.timeout(20):
        while (again := await web.status(ids[0])).get("waiting") != "rate_window":
            await asyncio.sleep(0.05)
    assert again["attempt"] == 2
