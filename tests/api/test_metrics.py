"""`GET /metrics`: read by Prometheus's own parser, and by its `promtool` where that is installed."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read

from server.app import create_app
from server.core.counts import MOST_NAMES, Counts
from server.settings import DownloadSettings, MetricsSettings, ServerSettings, Settings, StorageSettings
from tests.tools import without

Client = TestClient[web.Request, web.Application]
Open = Callable[..., Awaitable[Client]]


@pytest.fixture
def open_client(aiohttp_client: Callable[[web.Application], Awaitable[Client]], tmp_path: Path) -> Open:
    async def opened(*, public: bool = False, **server: Any) -> Client:
        settings = Settings(
            server=ServerSettings(**server),
            storage=StorageSettings(data_dir=tmp_path / "data"),
            downloads=DownloadSettings(min_free_disk=0),
            metrics=MetricsSettings(public=public),
        )
        return await aiohttp_client(create_app(settings))

    return opened


async def test_what_has_happened_is_counted(open_client: Open) -> None:
    client = await open_client()
    body = {"url": "http://127.0.0.9:9/video.mp4", "auto_start": False}
    task = await (await client.post("/api/process", json=body)).json()
    await client.post(f"/api/tasks/{task['task_id']}/cancel")
    await client.get("/api/status/nope")
    text = await (await client.get("/metrics", headers={"Host": "scraped.test"})).text()
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in read(text)
        for sample in family.samples
    }
    assert all(name.startswith("clipwire_") for name, *_ in samples)
    assert samples["clipwire_tasks", "cancelled"] == 1
    assert samples["clipwire_task_ends_total", "", "cancelled", "cancelled"] == 1
    assert samples["clipwire_requests_total", "/api/process", "202", "POST"] == 1
    assert samples["clipwire_requests_total", "/api/status/{task_id}", "404", "GET"] == 1
    assert samples["clipwire_task_duration_seconds_count",] == 1
    assert samples["clipwire_disk_free_bytes",] > 0


async def test_openmetrics_is_given_to_who_asks_for_it(open_client: Open) -> None:
    client = await open_client()
    answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.content_type == "application/openmetrics-text"
    families = read_openmetrics(await answer.text())  # type: ignore[no-untyped-call]
    assert "clipwire_tasks" in {family.name for family in families}


async def test_a_token_is_needed_where_tokens_are_set_unless_metrics_are_public(open_client: Open) -> None:
    client = await open_client(tokens=("sesame",))
    assert (await client.get("/metrics")).status == 401
    assert (await client.get("/metrics", headers={"Authorization": "Bearer sesame"})).status == 200
    await client.close()
    client = await open_client(tokens=("sesame",), public=True)
    assert (await client.get("/metrics")).status == 200


async def test_methods_that_clients_make_up_are_no_labels(open_client: Open) -> None:
    client = await open_client()
    for number in range(5):
        await client.request(f"METHOD{number}", f"/nowhere/{number}")
    assert "METHOD" not in await (await client.get("/metrics")).text()


def test_names_beyond_the_first_hundred_share_a_label() -> None:
    names = Counts().extractors
    assert [names.of(f"site{number}") for number in range(MOST_NAMES + 1)][-1] == "other"
    assert names.of("site0") == "site0"


async def test_promtool_has_no_complaint(open_client: Open) -> None:
    promtool = shutil.which("promtool") or without("promtool", "apt-get install promtool")
    text = await (await (await open_client()).get("/metrics")).read()
    process = await asyncio.create_subprocess_exec(
        promtool, "check", "metrics", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate(text)
    assert (process.returncode, said.decode()) == (0, "")


async def test_promtool_takes_the_alert_rules() -> None:
    promtool = shutil.which("promtool") or without("promtool", "apt-get install promtool")
    rules = Path(__file__).parents[2] / "docs" / "prometheus.rules.yml"
    process = await asyncio.create_subprocess_exec(
        promtool, "check", "rules", rules, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
