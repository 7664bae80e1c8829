"""One node in a process of its own, on a real PostgreSQL: how many connections it uses, and how it reports
its state.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.cluster.postgres import database
from tests.service import Service
from tests.site import Site

MOST_CONNECTIONS = 12
TASKS = 60
_CONNECTIONS = b"""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"""


@pytest.fixture(scope="module")
def url(postgres: str) -> Iterator[str]:
    with database(postgres) as url:
        yield url


@pytest.fixture(scope="module")
def lent(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {
        "CLIPWIRE_STORAGE__DATABASE": url,
        "CLIPWIRE_WORKERS__HEARTBEAT": "0.5",
        "CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": "0",
        "CLIPWIRE_DOWNLOADS__DRAIN": "30",
    }
    service = Service(tmp_path_factory.mktemp("node"), **settings)
    yield service
    service.terminate()


@pytest.fixture
async def node(lent: Service) -> AsyncIterator[Service]:
    if not lent.runs:
        await lent.start()
    lent.connect()
    await lent.ready()
    yield lent
    await lent.disconnect()


async def checks_of(node: Service) -> tuple[int, dict[str, Any]]:
    async with node.client.get("/readyz?lang=en") as answer:
        return answer.status, (await answer.json())["checks"]


@asynccontextmanager
async def connections_to(url: str) -> AsyncIterator[list[int]]:
    """Count the connections to the database again and again while the block lasts; yield the counts."""
    counts: list[int] = []

    async def look() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
            while True:
                [[count]] = await (await db.execute(_CONNECTIONS)).fetchall()
                counts.append(count)
                await asyncio.sleep(0.01)

    looking = asyncio.create_task(look())
    try:
        yield counts
    finally:
        looking.cancel()
        await asyncio.wait([looking])


@pytest.mark.long
async def test_a_node_has_twelve_connections_at_most_whatever_is_asked_of_it(
    node: Service, url: str, site: Site
) -> None:
    async def get(path: str) -> None:
        async with node.client.get(path) as answer:
            # 503: the node has too many requests at once.
            assert answer.status in (200, 404, 503), await answer.text()
            await answer.read()

    async def live(number: int) -> None:
        task = await node.submit(
            site.url(f"/1mb.mp4?{number}"), outputs=["video"], auto_start=number % 2 == 0
        )
        task_id = task["task_id"]
        for action in ("pause", "resume", "cancel"):
            async with node.client.post(f"/api/tasks/{task_id}/{action}") as answer:
                # 503: the worker of the task is busy.
                assert answer.status in (200, 409, 503), await answer.text()
        paths = (f"/api/status/{task_id}", "/api/tasks?q=mp4", "/api/download/video_no_0.mp4", "/api/cookies")
        await asyncio.gather(*(get(path) for path in (*paths, "/readyz", "/api/tasks?stage=queued")))

    async with asyncio.timeout(30), connections_to(url) as counts:
        await asyncio.gather(*map(live, range(TASKS)))
    assert MOST_CONNECTIONS >= max(counts) > MOST_CONNECTIONS / 2


async def test_a_node_says_whether_it_has_a_database_and_hears_the_others(node: Service) -> None:
    status, checks = await checks_of(node)
    assert status == 200
    for name in ("database", "listener"):
        assert (checks[name]["ok"], checks[name]["needed"]) == (True, True), checks[name]


@pytest.mark.long
async def test_a_node_that_is_stopped_has_time_for_what_runs_and_is_no_worker_meanwhile(
    node: Service, site: Site
) -> None:
    runs = await node.submit(site.url("/8mb.mp4?rate=4000000"), outputs=["video"])
    await node.wait(runs["task_id"], "download")
    stopping = asyncio.create_task(node.stop())
    async with asyncio.timeout(20):
        while (found := await checks_of(node))[1]["workers"]["ok"]:
            await asyncio.sleep(0.05)
    assert (found[0], found[1]["stopping"]["ok"]) == (503, False)
    waits = await node.submit(site.url("/1mb.mp4"), outputs=["video"])
    assert (await node.wait(runs["task_id"]))["attempt"] == 1
    assert await stopping == 0
    await node.start()
    assert (await node.wait(waits["task_id"]))["attempt"] == 1


@pytest.mark.long
async def test_a_node_whose_data_directory_is_away_takes_nothing_and_goes_on_when_it_is_back(
    node: Service, url: str, site: Site, tmp_path: Path
) -> None:
    stalls = site.url("/1mb.mp4?stall=300000&after=1&times=1")
    running = (await node.submit(stalls, outputs=["video"]))["task_id"]
    async with asyncio.timeout(20):
        await site.stalled()
    node.log.clear()
    away = tmp_path / "away"
    shutil.move(node.data, away)
    async with asyncio.timeout(20):
        while (await checks_of(node))[0] != 503:
            await asyncio.sleep(0.05)
    async with asyncio.timeout(20), await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        told = b"SELECT 1 FROM nodes WHERE heartbeat_at > %s"
        [now] = await (await db.execute("SELECT now()")).fetchone() or ()
        # Waits until the node has reported the state of its disk.
        while not await (await db.execute(told, (now,))).fetchone():
            await asyncio.sleep(0.05)
    site.release()
    waiting = (await node.submit(site.url("/video.mp4"), outputs=["video"]))["task_id"]
    again = await node.wait(running, "queued")
    assert again["waiting"] == "storage_away"
    assert (await node.status(waiting))["attempt"] == 0, "it is in the database, and known to the next start"
    complaints = [line for line in node.log if " INFO " not in line]
    assert len([line for line in complaints if running not in line]) == 1, complaints
    assert len(complaints) <= 2, complaints
    shutil.move(away, node.data)
    for task_id in (running, waiting):
        assert (await node.wait(task_id, within=60))["files"]
    await node.clear()
