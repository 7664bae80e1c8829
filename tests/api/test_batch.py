"""Many links in one request: each has its own result, in order, and all accepted ones are stored at once."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from server.api import keys
from server.api.process import MAX_BATCH
from server.app import create_app
from server.core.action_requests import MOST_AT_ONCE
from server.core.errors import DatabaseBusy
from server.settings import DownloadSettings, Settings, StorageSettings

Client = TestClient[web.Request, web.Application]
Connect = Callable[[web.Application], Awaitable[Client]]
PAUSED = {"url": "http://127.0.0.9:9/video.mp4", "auto_start": False}  # a paused task: nothing is fetched

JSON = {"Content-Type": "application/json"}


def app_in(folder: Path, **downloads: Any) -> web.Application:
    return create_app(
        Settings(
            storage=StorageSettings(data_dir=folder / "data"),
            downloads=DownloadSettings(min_free_disk=0, **downloads),
            presets={"phone": {"quality": "720", "cookies": "gone"}},
        )
    )


@pytest.fixture
async def client(aiohttp_client: Connect, tmp_path: Path) -> Client:
    return await aiohttp_client(app_in(tmp_path))


async def batch(client: Client, *requests: Any, key: str | None = None) -> list[dict[str, Any]]:
    headers = {"X-Request-Id": "same"} | ({"Idempotency-Key": key} if key else {})
    response = await client.post("/api/process/batch", json={"requests": requests}, headers=headers)
    assert response.status == 200, await response.text()
    results: list[dict[str, Any]] = (await response.json())["results"]
    return results


async def test_each_request_has_a_result_in_order_and_a_wrong_one_stops_no_other(client: Client) -> None:
    wrong: list[Any] = [
        {"url": "ftp://a/", "colour": 1},
        7,
        PAUSED | {"preset": "phone"},
        PAUSED | {"preset": "unknown"},
    ]
    results = await batch(client, PAUSED, *wrong, PAUSED | {"priority": 3})
    assert [result["status"] for result in results] == [202, 422, 422, 422, 422, 202]
    tasks = [results[0]["task"], results[-1]["task"]]
    assert [task["priority"] for task in tasks] == [0, 3]
    assert tasks[0]["number"] < tasks[1]["number"]
    named = [{error["field"] for error in result["problem"]["errors"]} for result in results[1:-1]]
    assert named == [{"url", "colour"}, {"body"}, {"cookies"}, {"preset"}]
    listed = (await (await client.get("/api/tasks")).json())["tasks"]
    assert listed == tasks[::-1]


async def test_a_task_in_a_result_has_the_bytes_of_its_status(client: Client) -> None:
    response = await client.post("/api/process/batch", json={"requests": [PAUSED]}, params={"lang": "en"})
    task_id = (await response.json())["results"][0]["task"]["task_id"]
    status = await client.get(f"/api/status/{task_id}", params={"lang": "en"})
    assert await response.read() == b'{"results":[{"status":202,"task":' + await status.read() + b"}]}"
    assert response.headers["Content-Language"] == "en"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "requests"),
        ({"requests": []}, "requests"),
        ({"requests": {"url": "http://a/"}}, "requests"),
        ({"requests": [PAUSED] * (MOST_AT_ONCE + 1)}, "requests"),
        ({"requests": [PAUSED], "priority": 1}, "priority"),
    ],
)
async def test_a_batch_that_is_none_is_refused_as_a_whole(
    client: Client, body: dict[str, Any], field: str
) -> None:
    response = await client.post("/api/process/batch", json=body)
    assert response.status == 422
    assert [error["field"] for error in (await response.json())["errors"]] == [field]
    assert (await (await client.get("/api/tasks")).json())["tasks"] == []


async def test_a_batch_may_be_larger_than_other_bodies_up_to_its_limit(client: Client) -> None:
    links = [PAUSED | {"url": f"http://127.0.0.9:9/{'v' * 4000}{number}"} for number in range(400)]
    large = json.dumps({"requests": links}).encode()
    assert len(large) > 1 << 20
    taken = await client.post("/api/process/batch", data=BytesIO(large), headers=JSON)
    results = (await taken.json())["results"]
    assert [result["task"]["url"] for result in results] == [link["url"] for link in links]
    too_much = b" " * (MAX_BATCH + 1)
    for data in (BytesIO(too_much), pieces_of(too_much)):
        refused = await client.post("/api/process/batch", data=data, headers=JSON)
        assert (refused.status, (await refused.json())["code"]) == (413, "body_too_large")


async def pieces_of(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body in pieces, so that the request has no `Content-Length`."""
    for start in range(0, len(body), 1 << 16):
        yield body[start : start + (1 << 16)]


async def test_places_in_the_queue_are_taken_in_order(aiohttp_client: Connect, tmp_path: Path) -> None:
    client = await aiohttp_client(app_in(tmp_path, max_queued=2))
    results = await batch(client, PAUSED, {"url": "nonsense"}, PAUSED, PAUSED)
    assert [result["status"] for result in results] == [202, 422, 202, 503]
    assert results[-1]["problem"]["code"] == "queue_full"


async def test_the_same_batch_again_gives_the_same_tasks(client: Client, tmp_path: Path) -> None:
    requests = [PAUSED, PAUSED, {"url": "nonsense"}, PAUSED | {"priority": 1}]
    first = await batch(client, *requests, key="k")
    assert len({result["task"]["task_id"] for result in first if "task" in result}) == 3
    assert await batch(client, *requests, key="k") == first
    assert await batch(client, *requests) != first
    changed = await batch(client, PAUSED | {"priority": 2}, *requests[1:], key="k")
    assert changed[0]["problem"]["code"] == "idempotency_mismatch"
    assert changed[1:] == first[1:]
    single = await client.post("/api/process", json=PAUSED, headers={"Idempotency-Key": "k"})
    assert (await single.json())["task_id"] not in str(first), "a key and a place are no key alone"
    bad = await client.post(
        "/api/process/batch", json={"requests": [PAUSED]}, headers={"Idempotency-Key": "ä"}
    )
    assert (bad.status, (await bad.json())["code"]) == (422, "invalid_query")


async def test_a_server_that_takes_nothing_new_still_answers_for_what_it_took(client: Client) -> None:
    first = await batch(client, PAUSED, key="k")
    client.app[keys.TASKS].close()
    results = await batch(client, PAUSED, PAUSED, key="k")
    assert results[0] == first[0]
    assert (results[1]["status"], results[1]["problem"]["code"]) == (503, "shutting_down")
    mismatch = await batch(client, PAUSED | {"priority": 1}, key="k")
    assert mismatch[0]["problem"]["code"] == "idempotency_mismatch"


async def test_if_the_database_takes_nothing_the_batch_is_refused_as_a_whole(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: object) -> None:
        raise DatabaseBusy

    monkeypatch.setattr(client.app[keys.TASKS]._store, "add", refuse)
    response = await client.post("/api/process/batch", json={"requests": [PAUSED]})
    assert (response.status, (await response.json())["code"]) == (503, "database_busy")


async def test_tasks_of_a_batch_begin_by_themselves(client: Client) -> None:
    [result] = await batch(client, PAUSED | {"auto_start": True})
    async with client.ws_connect(f"/ws/{result['task']['task_id']}") as ws:
        last = [message.json() async for message in ws][-1]
    assert (last["stage"], last["error_code"]) == ("failed", "blocked_address")
