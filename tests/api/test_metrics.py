"""`GET /metrics`: read by Prometheus's own parser, and by its `promtool` where that is installed."""

import asyncio
import json
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read

from server.api.keys import COUNTS, METRICS
from server.api.metric_families import FAMILIES
from server.api.metrics import prefers_openmetrics
from server.app import create_app
from server.core.codes import CODES, OF_THE_SERVER
from server.core.counts import MOST_NAMES, Counts
from server.core.events import DownloadStarted, Failed, Progress, Started, apply
from server.core.process_request import ProcessRequest
from server.core.task import TaskStatus
from server.notices.deliverer import TRIES
from server.notices.notices_feature import COUNTED
from server.settings import DownloadSettings, MetricsSettings, ServerSettings, Settings, StorageSettings
from tests.examples import utc_now
from tests.tools import without

Client = TestClient[web.Request, web.Application]
Open = Callable[..., Awaitable[Client]]
DOCS = Path(__file__).parents[2] / "docs"


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
    a_list = await (await client.post("/api/process", json=body | {"playlist": True})).json()
    await client.post(f"/api/tasks/{a_list['task_id']}/cancel")
    await client.get("/api/status/nope")
    text = await (await client.get("/metrics", headers={"Host": "scraped.test"})).text()
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in read(text)
        for sample in family.samples
    }
    assert all(name.startswith("clipwire_") for name, *_ in samples)
    assert samples["clipwire_tasks", "cancelled"] == 2
    assert samples["clipwire_task_ends_total", "", "cancelled", "cancelled"] == 2
    assert samples["clipwire_requests_total", "/api/process", "202", "POST"] == 2
    assert samples["clipwire_database_commits_total",] >= 4
    assert samples["clipwire_database_changes_total",] >= 4
    assert samples["clipwire_requests_total", "/api/status/{task_id}", "404", "GET"] == 1
    assert samples["clipwire_task_duration_seconds_count",] == 2
    assert samples["clipwire_disk_free_bytes",] > 0


async def test_the_guide_has_a_row_for_each_metric(open_client: Open) -> None:
    families = (*FAMILIES, *(await open_client()).app[METRICS])
    there = {(f"{one.name}{'_total' * (one.kind == 'counter')}", one.kind, one.labels) for one in families}
    guide = (
        (DOCS / "api.md").read_text(encoding="utf-8").partition("\n## GET /metrics")[2].partition("\n## ")[0]
    )
    told = {
        (name, kind, tuple(re.findall(r"`(\w+)`", labels)))
        for names, kind, labels in re.findall(
            r"^\| (`clipwire_.+?) \| (\w+) \|([^|]*)\|", guide, re.MULTILINE
        )
        for name in re.findall(r"`(\w+)`", names)
    }
    assert there - told == set(), "its row is missing in docs/api.md, `GET /metrics`"
    assert told - there == set(), "`FAMILIES` in server/api/metric_families.py, or `Added` of a feature"


@pytest.mark.parametrize(
    ("accept", "prefers"),
    [
        ("application/openmetrics-text", True),
        ("APPLICATION/OpenMetrics-Text;version=1.0.0", True),
        ('application/openmetrics-text; version="1.0.0"', True),
        ("application/openmetrics-text;version=1.0.0;escaping=dots;q=0.6,text/plain;q=0.3,*/*;q=0.2", True),
        ("text/plain;q=0.4, application/openmetrics-text;q=0.5", True),
        ("text/plain, application/openmetrics-text;q=0.5", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=", False),
        ("application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", False),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;version=x", False),
        ('text/plain;version="0.0.4"', False),
        ("text/plain;version=x", False),
        ("*/*", False),
        (";,;=,", False),
        ("", False),
    ],
)  # fmt: skip
def test_the_format_goes_by_the_weights_of_accept(accept: str, prefers: bool) -> None:
    assert prefers_openmetrics(accept) is prefers


async def test_no_accept_of_a_client_makes_an_error(open_client: Open) -> None:
    client = await open_client()
    for accept in ("application/openmetrics-text;version=x", 'text/plain;version="0.0.4"'):
        answer = await client.get("/metrics", headers={"Accept": accept})
        assert (answer.status, answer.content_type, answer.headers["Vary"]) == (200, "text/plain", "Accept")


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


def test_bytes_that_are_fetched_again_and_ends_that_are_saved_again_count_once() -> None:
    counts, now = Counts(), utc_now()
    counts.began(running := started_task(), now)
    for come in (1000, 400, 1500):  # the second value is of another attempt, which lost its partial file
        after = apply(running, Progress(stage="download", progress=30, downloaded_bytes=come), now)
        counts.changed(running, after, now)
        running = after
    ended = apply(running, Failed(code="http_404"), now)
    counts.changed(running, ended, now)
    counts.changed(ended, ended.model_copy(update={"remedies": ()}), now)
    assert (counts.downloaded_bytes, counts.child_starts, counts.waits.counts[0]) == (1500, 1, 1)
    assert counts.ends == {("failed", "http_404", ""): 1}


def started_task() -> TaskStatus:
    status = apply(TaskStatus.new(ProcessRequest(url="http://a.test/"), utc_now()), Started(), utc_now())
    return apply(status, DownloadStarted(), utc_now())


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
    await takes_rules(DOCS / "prometheus.rules.yml")


async def test_what_the_dashboard_and_the_alerts_ask_for_is_there(open_client: Open, tmp_path: Path) -> None:
    panels = json.loads((DOCS / "grafana.json").read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = [
        # The variables that Grafana fills in.
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, expression in enumerate(expressions)
    ]
    path = tmp_path / "dashboard.rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    await takes_rules(path)
    client, text = await open_client(), ""
    while "yt_dlp_age" not in text:  # the fork server reports this age once it is warm
        text = await (await client.get("/metrics")).text()
        await asyncio.sleep(0.1)
    families = read(text)
    there = {
        name for family in families for name in (family.name, f"{family.name}_total", f"{family.name}_bucket")
    }
    asked = set(
        re.findall(r"clipwire_\w+", " ".join(expressions) + (DOCS / "prometheus.rules.yml").read_text())
    )
    assert asked - there == set()


async def test_no_series_that_alerts_and_panels_ask_for_begins_with_its_first_event(
    open_client: Open,
) -> None:
    client = await open_client()
    asked = set(
        re.findall(
            r"clipwire_\w+_total",
            (DOCS / "grafana.json").read_text() + (DOCS / "prometheus.rules.yml").read_text(),
        )
    )
    assert {"clipwire_task_outcomes_total", "clipwire_webhook_tries_total"} <= asked

    async def series() -> dict[tuple[str, ...], float]:
        text = await (await client.get("/metrics")).text()
        return {
            (sample.name, *(label for pair in sorted(sample.labels.items()) for label in pair)): sample.value
            for family in read(text)
            for sample in family.samples
            if sample.name in asked
        }

    before = await series()
    for matcher in re.findall(
        r'(clipwire_\w+_total)\{(\w+)="([^"]+)"\}', (DOCS / "prometheus.rules.yml").read_text()
    ):
        assert any({*matcher} <= {*one} for one in before), matcher
    counts = client.app[COUNTS]
    for status, route in ((202, "/api/process"), (418, "/"), (507, "/api/process")):
        counts.requests["POST", route, status] += 1
    for stage in ("completed", "cancelled"):
        counts.ends[stage, "" if stage == "completed" else stage, "youtube"] += 1
    codes = {*CODES, *OF_THE_SERVER, "http_410", "http_599", "http_308", "other"} - {"cancelled"}
    for code in codes:
        counts.ends["failed", code, "youtube"] += 2
    for outcome in TRIES:
        client.app[COUNTED][outcome] += 1
    after = await series()
    assert after.keys() == before.keys()
    assert before["clipwire_task_outcomes_total", "error_code", "internal", "stage", "failed"] == 0
    assert after["clipwire_task_outcomes_total", "error_code", "internal", "stage", "failed"] == 2
    assert sum(value for (name, *_), value in after.items() if "outcomes" in name) == 2 + 2 * len(codes)
    assert after["clipwire_answers_total", "status", "418"] == 1
    assert all(after[name] - before[name] == 1 for name in before if name[0].endswith("webhook_tries_total"))


async def takes_rules(rules: Path) -> None:
    promtool = shutil.which("promtool") or without("promtool", "apt-get install promtool")
    process = await asyncio.create_subprocess_exec(
        promtool, "check", "rules", rules, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
