"""The kernel is a service of its own: without any feature it takes links, makes files and reports both, on
one machine and as a node of many.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.assembly.features import FEATURES
from server.settings import StorageSettings
from tests.inside import Inside, inside
from tests.site import Site


@pytest.fixture(params=["sqlite", "postgresql"])
async def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Inside]:
    is_alone = request.param == "sqlite"
    database = "sqlite" if is_alone else request.getfixturevalue("empty_database")
    storage = StorageSettings(data_dir=tmp_path / "data", database=database)
    async with inside(tmp_path, features=(), storage=storage) as kernel:
        yield kernel


@pytest.mark.wide
async def test_a_link_becomes_a_file_and_its_status_is_told_by_poll_and_by_socket(
    kernel: Inside, site: Site
) -> None:
    async with asyncio.timeout(60):
        task_id = await kernel.submit(url=site.url("/1mb.mp4"), outputs=["video"], auto_start=True)
        async with kernel.client.ws_connect(f"/ws/{task_id}") as socket:
            told = [message.json() async for message in socket]
        revisions = [status["revision"] for status in told]
        assert revisions == sorted(set(revisions))
        async with kernel.client.get(f"/api/status/{task_id}?wait=5") as answer:
            assert await answer.json() == told[-1]
        assert told[-1]["stage"] == "completed", told[-1]
        async with kernel.client.get(told[-1]["files"]["video"]) as answer:
            assert len(await answer.read()) == told[-1]["file_info"]["video"]["size"] > 0
        async with kernel.client.delete(f"/api/tasks/{task_id}") as answer:
            assert answer.status == 204
        async with kernel.client.get(f"/api/status/{task_id}") as answer:
            assert answer.status == 404


async def test_it_says_how_it_is(kernel: Inside) -> None:
    await kernel.reached(await kernel.submit(), "paused")
    async with kernel.client.get("/readyz") as answer:
        checks = (await answer.json())["checks"]
    assert checks["database"]["ok"]
    assert "library" not in checks
    async with kernel.client.get("/metrics") as answer:
        text = await answer.text()
    assert 'clipwire_tasks{stage="paused"} 1.0' in text
    assert "webhook" not in text


@pytest.mark.parametrize(
    ("field", "value"), [("library", {"layout": "shows"}), ("webhook", "https://hooks.test/")]
)
async def test_what_only_a_feature_does_is_refused(kernel: Inside, field: str, value: object) -> None:
    task_id = await kernel.submit()
    asked = {"url": "http://127.0.0.9:9/v.mp4", field: value}
    async with kernel.client.post("/api/process", json=asked) as answer:
        assert [wrong["field"] for wrong in (await answer.json())["errors"]] == [field]
    async with kernel.client.delete(f"/api/tasks/{task_id}?library=delete") as answer:
        assert answer.status == 422, await answer.text()
    await kernel.status(task_id)


async def test_the_routes_of_features_are_not_there(kernel: Inside) -> None:
    paths = {route.path for feature in FEATURES for route in feature.routes}
    assert len(paths) > 15
    assert paths & {route.canonical for route in kernel.app.router.resources()} == set()
