"""A worker without work lets its fork server sleep, and still takes a new task."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cluster.nodes import Cluster
from tests.cluster.postgres import database
from tests.service import Service
from tests.site import Site

SLEEPS = "sleeps until there is work"


@pytest.fixture
async def cluster(postgres: str, tmp_path: Path) -> AsyncIterator[Cluster]:
    with database(postgres) as url:
        cluster = Cluster(tmp_path, url, CLIPWIRE_DOWNLOADS__SLEEP_AFTER="0.01")
        try:
            async with cluster.running(cluster.web[0], cluster.workers[0]) as running:
                yield running
        finally:
            cluster.close()


async def asleep(node: Service) -> None:
    async with asyncio.timeout(60):
        while True:
            async with node.client.get("/readyz?lang=en") as answer:
                check = (await answer.json())["checks"]["fork_server"]
                if check["detail"] == SLEEPS:
                    assert answer.status == 200
                    return
            await asyncio.sleep(0.05)


@pytest.mark.wide
async def test_a_worker_that_sleeps_takes_a_task_and_sleeps_again(cluster: Cluster, site: Site) -> None:
    web, worker = cluster.web[0], cluster.workers[0]
    for _ in range(2):
        await asyncio.gather(asleep(web), asleep(worker))
        accepted = await web.submit(site.url("/1mb.mp4"), outputs=["video"])
        assert (await web.wait(accepted["task_id"]))["stage"] == "completed"
