"""Tests of the API without downloads: bad input, errors, languages, lists, long polls."""

import asyncio
import json
import re
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yarl
from aiohttp import ClientResponse, WSServerHandshakeError, web
from aiohttp.test_utils import TestClient
from multidict import CIMultiDict

from server.api import keys
from server.app import create_app
from server.core.errors import DiskFull
from server.core.events import Cancelled, Completed, Event, Failed, Resumed
from server.core.task import Stage
from server.settings import DownloadSettings, LimitSettings, ServerSettings, Settings, StorageSettings
from server.tasks import service

Client = TestClient[web.Request, web.Application]
Connect = Callable[[web.Application], Awaitable[Client]]
URL = {"url": "http://127.0.0.9:9/video.mp4", "auto_start": False}  # a paused task: nothing is fetched
NOBODY = "123e4567-e89b-12d3-a456-426614174000"


def settings(tmp_path: Path, **sections: Any) -> Settings:
    defaults: dict[str, Any] = {
        "storage": StorageSettings(data_dir=tmp_path / "data"),
        "downloads": DownloadSettings(min_free_disk=0),
    }
    return Settings(**defaults | sections)


@pytest.fixture
async def client(aiohttp_client: Connect, tmp_path: Path) -> Client:
    presets = {"phone": {"quality": "720", "auto_start": False}}
    return await aiohttp_client(create_app(settings(tmp_path, presets=presets)))


async def submitted(client: Client, **fields: Any) -> dict[str, Any]:
    response = await client.post("/api/process", json=URL | fields)
    assert response.status == 202, await response.text()
    payload: dict[str, Any] = await response.json()
    return payload


async def problem(response: ClientResponse) -> dict[str, Any]:
    """Return the body of an error, after checking what all errors have in common."""
    assert response.content_type == "application/problem+json"
    body: dict[str, Any] = await response.json(content_type=None)
    assert body["status"] == response.status
    assert {"type", "title", "detail", "code"} <= body.keys()
    return body


async def test_a_submit_answers_with_the_first_status(client: Client) -> None:
    response = await client.post("/api/process", json=URL | {"auto_start": True})
    payload = await response.json()
    assert response.status == 202
    assert response.headers["Location"] == f"/api/status/{payload['task_id']}"
    assert (payload["status"], payload["stage"], payload["progress"]) == ("processing", "queued", 0)
    assert (payload["attempt"], payload["revision"], payload["message"]) == (0, 1, "等待处理...")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", payload["created_at"])


BAD_BODIES: list[tuple[bytes, dict[str, str], int, str]] = [
    (b"{", {}, 400, "not_json"),
    (b"", {}, 400, "not_json"),
    (b'{"url": NaN}', {}, 400, "not_json"),
    ('{"url": "http://ä/"}'.encode("latin-1"), {}, 400, "not_json"),
    (b"[" * 10_000, {}, 400, "not_json"),
    (b"{}", {"Content-Type": "text/plain"}, 415, "not_json_type"),
    (b"{}", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "not_json_type"),
    (b" " * 65_537, {}, 413, "body_too_large"),
    (b"{}", {"Content-Encoding": "gzip"}, 400, "not_json"),
    (b"{}", {"Content-Encoding": "br"}, 400, "not_json"),
    (b"{}", {"Content-Encoding": "compress"}, 415, "encoding_unknown"),
    (b"{}", {"Content-Encoding": "gzip, br"}, 415, "encoding_unknown"),
    (b"{}", {"Content-Encoding": "identity"}, 422, "invalid_request"),
    (b"[]", {}, 422, "invalid_request"),
    (b"null", {}, 422, "invalid_request"),
    (b"{}", {}, 422, "invalid_request"),
]


async def test_a_bad_body_gets_a_clear_answer(client: Client) -> None:
    for body, more, status, code in BAD_BODIES:
        headers = {"Content-Type": "application/json"} | more
        answer = await problem(await client.post("/api/process", data=body, headers=headers))
        assert (answer["status"], answer["code"]) == (status, code), (body[:20], more)


async def test_a_byte_order_mark_before_the_json_is_ignored(client: Client) -> None:
    headers = {"Content-Type": "application/json"}
    for path, body in (("/api/process", URL), ("/api/process/batch", {"requests": [URL]})):
        response = await client.post(path, data=BOM_UTF8 + json.dumps(body).encode(), headers=headers)
        assert response.status in (200, 202), await response.text()


async def test_all_wrong_fields_are_named_at_once(client: Client) -> None:
    body = {"url": "ftp://a/", "priority": 99, "outputs": [], "webhook": "http://a/", "nonsense": 1}
    inspected = {"url": "ftp://a/", "nonsense": 1}
    for path, wrong in (("/api/process", body), ("/api/info", inspected)):
        for preset in ({"preset": "unknown"}, {"preset": 7}, {"preset": ["phone"]}, {"preset": "x" * 65}, {}):
            sent = wrong | preset
            answer = await problem(await client.post(path, json=sent))
            assert (answer["status"], answer["code"]) == (422, "invalid_request")
            assert {error["field"] for error in answer["errors"]} == set(sent)
            assert all(error["message"] for error in answer["errors"])


async def test_a_clip_lasts_a_tenth_of_a_second_at_least(client: Client) -> None:
    for end, status in ((5.09, 422), (5.1, 202)):
        body = {"url": "http://a.test/", "auto_start": False, "clip": {"start": 5, "end": end}}
        response = await client.post("/api/process", json=body)
        assert response.status == status
    batch = {"requests": [{"url": "http://a.test/", "clip": {"start": 5, "end": 5.09}}]}
    [result] = (await (await client.post("/api/process/batch", json=batch)).json())["results"]
    assert [error["field"] for error in result["problem"]["errors"]] == ["clip.end"]


async def test_of_two_idempotency_keys_neither_is_taken(client: Client) -> None:
    body = {"url": "http://a.test/", "auto_start": False}
    for path, sent in (("/api/process", body), ("/api/process/batch", {"requests": [body]})):
        keys = [("Idempotency-Key", "one"), ("Idempotency-Key", "other")]
        answer = await problem(await client.post(path, json=sent, headers=CIMultiDict(keys)))
        assert (answer["status"], answer["code"]) == (400, "ambiguous_header")
    keys = [("Idempotency-Key", "one"), ("Idempotency-Key", "one")]
    first, again = [await client.post("/api/process", json=body, headers=CIMultiDict(keys)) for _ in range(2)]
    assert (await first.json())["task_id"] == (await again.json())["task_id"]


async def test_wrong_times_of_a_clip_are_named_with_their_place(client: Client) -> None:
    body = {"url": "http://a.test/", "clip": {"start": "1:99", "end": -1}, "sponsorblock": ["ads"]}
    for language in ("en", "zh"):
        response = await client.post("/api/process", json=body, params={"lang": language})
        answer = await problem(response)
        assert {error["field"] for error in answer["errors"]} == {"clip.start", "clip.end", "sponsorblock.0"}


REFUSED = [
    ("GET", f"/api/status/{NOBODY}", 404, "task_not_found"),
    ("GET", "/api/status/any%20text", 404, "task_not_found"),
    ("POST", f"/api/tasks/{NOBODY}/cancel", 404, "task_not_found"),
    ("POST", f"/api/tasks/{NOBODY}/pause", 404, "task_not_found"),
    ("POST", f"/api/tasks/{NOBODY}/resume", 404, "task_not_found"),
    ("POST", f"/api/tasks/{NOBODY}/retry", 404, "task_not_found"),
    ("DELETE", f"/api/tasks/{NOBODY}", 404, "task_not_found"),
    ("GET", f"/api/tasks/{NOBODY}/log", 404, "task_not_found"),
    ("GET", f"/api/tasks/{NOBODY}/thumbnail", 404, "task_not_found"),
    ("GET", "/api/download/two%0Alines", 404, "file_not_found"),
    ("GET", "/api/nowhere", 404, "not_found"),
    ("PUT", "/no%0Awhere", 404, "not_found"),
    ("GET", "/static/../config.toml", 404, "not_found"),
    ("GET", "/static/nope.js", 404, "not_found"),
    ("GET", "/static/%2e%2e/config.toml", 404, "not_found"),
    ("GET", "/api/tasks?q=%00", 422, "invalid_query"),
    ("GET", f"/ws/{NOBODY}", 426, "upgrade_required"),
    ("GET", "/ws", 426, "upgrade_required"),
    ("GET", "/api/tasks?status=done", 422, "invalid_query"),
    ("GET", "/api/tasks?stage=done", 422, "invalid_query"),
    ("GET", "/api/tasks?stage=paused,done", 422, "invalid_query"),
    ("GET", "/api/tasks?sort=size", 422, "invalid_query"),
    ("GET", "/api/tasks?sort=state&cursor=4.", 422, "invalid_query"),
    ("GET", "/api/tasks?sort=state&cursor=0.x", 422, "invalid_query"),
    ("GET", "/api/tasks?sort=state&cursor=bjE", 422, "invalid_query"),
    ("GET", "/api/tasks?limit=201", 422, "invalid_query"),
    ("GET", "/api/tasks?limit=0", 422, "invalid_query"),
    ("GET", "/api/tasks?cursor=%00", 422, "invalid_query"),
    ("GET", f"/api/status/{NOBODY}?wait=soon", 422, "invalid_query"),
]


async def test_every_error_is_a_problem_with_its_code(client: Client) -> None:
    for method, path, status, code in REFUSED:
        answer = await problem(await client.request(method, path))
        assert (answer["status"], answer["code"]) == (status, code), (method, path)


async def test_a_wrong_method_is_told_the_right_ones(client: Client) -> None:
    response = await client.delete("/api/process")
    assert (await problem(response))["code"] == "method_not_allowed"
    assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_an_unknown_task_is_refused_before_the_upgrade(client: Client) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        await client.ws_connect(f"/ws/{NOBODY}")
    assert refused.value.status == 404


async def test_an_error_on_our_side_has_an_id_that_is_in_the_log_and_no_trace(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(task_id: str) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(client.app[keys.TASKS], "status", breaks)
    response = await client.get("/api/status/x")
    answer = await problem(response)
    assert (response.status, answer["code"]) == (500, "internal")
    assert "secret detail" not in json.dumps(answer)
    assert answer["id"] in caplog.text
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    ("query", "header", "message"),
    [
        ("", None, "已暂停"),
        ("", "*", "已暂停"),
        ("", "fr", "Paused"),
        ("", "fr, *;q=0.5", "已暂停"),
        ("", "en", "Paused"),
        ("", "en-GB;q=0.5, zh-CN;q=0.9", "已暂停"),
        ("?lang=en", "zh", "Paused"),
        ("?lang=xx", "en", "Paused"),
        ("?lang=EN-us", "zh", "Paused"),
        ("?lang=zh-Hant-TW", "en", "已暂停"),
    ],
)
async def test_the_reader_chooses_the_language(
    client: Client, query: str, header: str | None, message: str
) -> None:
    task_id = (await submitted(client))["task_id"]
    headers = {"Accept-Language": header} if header else {}
    response = await client.get(f"/api/status/{task_id}{query}", headers=headers)
    assert (await response.json())["message"] == message
    assert response.headers["Vary"] == "Accept-Language"
    assert response.headers["Content-Language"] == ("en" if message == "Paused" else "zh")


async def test_problems_are_told_in_the_readers_language(client: Client) -> None:
    chinese = await problem(await client.get("/api/status/x?lang=zh"))
    english = await problem(await client.get("/api/status/x?lang=en"))
    assert chinese["title"] != english["title"]
    assert english["title"].isascii()


async def test_pollers_and_sockets_see_the_same_bytes(client: Client) -> None:
    task_id = (await submitted(client))["task_id"]
    polled = await (await client.get(f"/api/status/{task_id}")).read()
    async with client.ws_connect(f"/ws/{task_id}") as ws:
        assert (await ws.receive_str()).encode() == polled
    listed = await (await client.get("/api/tasks")).read()
    assert polled in listed


async def test_a_poller_that_is_up_to_date_gets_304(client: Client) -> None:
    task_id = (await submitted(client))["task_id"]
    first = await client.get(f"/api/status/{task_id}")
    etag = first.headers["ETag"]
    assert first.headers["Retry-After"] == "2"
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        again = await client.get(f"/api/status/{task_id}", headers={"If-None-Match": known})
        assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", etag)
        assert "Content-Type" not in again.headers
    english = await client.get(f"/api/status/{task_id}?lang=en", headers={"If-None-Match": etag})
    assert english.status == 200


async def test_a_long_poll_answers_at_the_next_change(client: Client) -> None:
    task_id = (await submitted(client))["task_id"]
    etag = (await client.get(f"/api/status/{task_id}")).headers["ETag"]
    async with asyncio.timeout(20):
        held = asyncio.create_task(
            client.get(f"/api/status/{task_id}", headers={"If-None-Match": etag, "Prefer": "wait=30"})
        )
        await until(client.app[keys.HUB].watched_ids)
        await client.patch(f"/api/tasks/{task_id}", json={"priority": 4})
        response = await held
    assert (response.status, (await response.json())["priority"]) == (200, 4)
    assert "Retry-After" not in response.headers


async def test_a_long_poll_ends_with_304_when_the_time_is_up_and_404_when_the_task_goes(
    client: Client,
) -> None:
    task_id = (await submitted(client))["task_id"]
    etag = {"If-None-Match": (await client.get(f"/api/status/{task_id}")).headers["ETag"]}
    async with asyncio.timeout(20):
        assert (await client.get(f"/api/status/{task_id}?wait=0.05", headers=etag)).status == 304
        held = asyncio.create_task(client.get(f"/api/status/{task_id}?wait=30", headers=etag))
        await until(client.app[keys.HUB].watched_ids)
        assert (await client.delete(f"/api/tasks/{task_id}")).status == 204
        assert (await held).status == 404


async def test_a_change_between_read_and_wait_is_not_lost(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = client.app[keys.TASKS]
    task_id, read = (await submitted(client))["task_id"], tasks.status
    etag = (await client.get(f"/api/status/{task_id}")).headers["ETag"]

    async def read_and_change(task_id: str) -> Any:
        before = await read(task_id)
        monkeypatch.setattr(tasks, "status", read)
        await tasks.cancel(task_id)
        return before

    monkeypatch.setattr(tasks, "status", read_and_change)
    async with asyncio.timeout(20):
        response = await client.get(f"/api/status/{task_id}?wait=30", headers={"If-None-Match": etag})
    assert (await response.json())["stage"] == "cancelled"


async def test_a_status_that_lands_while_a_socket_connects_is_not_lost(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = client.app[keys.TASKS]
    task_id, read = (await submitted(client))["task_id"], tasks.status

    async def read_and_change(task_id: str) -> Any:
        before = await read(task_id)
        monkeypatch.setattr(tasks, "status", read)
        await tasks.cancel(task_id)  # between the read and the send of the status
        return before

    monkeypatch.setattr(tasks, "status", read_and_change)
    async with client.ws_connect(f"/ws/{task_id}") as ws:
        stages = [message.json()["stage"] async for message in ws]
    assert (stages, ws.close_code) == (["paused", "cancelled"], 1000)


async def test_a_finished_task_gives_its_one_message_and_the_close(client: Client) -> None:
    task_id = (await submitted(client))["task_id"]
    await client.post(f"/api/tasks/{task_id}/cancel")
    async with client.ws_connect(f"/ws/{task_id}") as ws:
        messages = [message.json() async for message in ws]
    assert ([message["stage"] for message in messages], ws.close_code) == (["cancelled"], 1000)


async def test_the_feed_tells_of_every_task_and_of_removals(client: Client) -> None:
    old = (await submitted(client))["task_id"]
    async with client.ws_connect("/ws") as ws:
        new = await submitted(client)
        assert await ws.receive_json() == new
        await client.delete(f"/api/tasks/{old}")
        assert await ws.receive_json() == {"task_id": old, "removed": True}


async def test_a_socket_of_a_task_that_is_deleted_closes_with_1000(client: Client) -> None:
    task_id = (await submitted(client))["task_id"]
    async with client.ws_connect(f"/ws/{task_id}") as ws:
        await ws.receive_json()
        await client.delete(f"/api/tasks/{task_id}")
        async for _ in ws:
            pass
    assert ws.close_code == 1000


async def test_the_same_key_and_request_give_the_same_task(client: Client) -> None:
    key = {"Idempotency-Key": "k-1"}
    first = await client.post("/api/process", json=URL, headers=key)
    second = await client.post("/api/process", json=URL, headers=key)
    assert (second.status, await second.json()) == (202, await first.json())
    other = await client.post("/api/process", json=URL | {"quality": "720"}, headers=key)
    assert (await problem(other))["code"] == "idempotency_mismatch"
    assert other.status == 422


async def keyed(client: Client, **fields: Any) -> tuple[int, str]:
    """Submit with always the same key; return the status and the task's id, or the error's code."""
    async with client.post("/api/process", json=URL | fields, headers={"Idempotency-Key": "k"}) as answer:
        body = await answer.json(content_type=None)
        return answer.status, body.get("task_id") or body["code"]


async def test_an_explicit_default_equals_an_omitted_field(client: Client) -> None:
    first = await keyed(client)
    defaults = {"outputs": ["video", "audio"], "audio_quality": None, "priority": 0.0, "quality": "best"}
    assert await keyed(client, **defaults) == first
    assert await keyed(client, quality="worst") == (422, "idempotency_mismatch")


async def test_a_repeated_request_with_a_preset_is_the_same_whatever_the_preset_says_now(
    aiohttp_client: Connect, tmp_path: Path
) -> None:
    async def restarted(**preset: str) -> Client:
        return await aiohttp_client(create_app(settings(tmp_path, presets={"phone": preset})))

    client = await restarted(quality="480")
    first = await keyed(client, preset="phone", priority=1)
    assert await keyed(client, preset="phone", priority=1, quality="480", codec="auto") == first, (
        "it means the same"
    )
    assert (await keyed(client, preset="phone", priority=1, quality="best"))[0] == 422
    assert (await keyed(client, quality="480", priority=1))[0] == 422
    await client.close()
    client = await restarted(quality="720", codec="h264")
    assert await keyed(client, preset="phone", priority=1) == first, "the very same was sent"
    assert (await keyed(client, preset="phone", priority=2))[0] == 422


async def test_a_known_key_is_answered_whatever_a_new_task_would_be_told(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, tasks = await keyed(client), client.app[keys.TASKS]
    with monkeypatch.context() as patch:
        patch.setattr(tasks._disk, "floor", 1 << 60)
        assert await keyed(client) == first
        assert (await keyed(client, quality="480"))[1] == "idempotency_mismatch"
        assert (await client.post("/api/process", json=URL)).status == 507
    monkeypatch.setattr(tasks._store, "add", None)  # fails the test if anything is written
    assert await keyed(client) == first
    tasks.close()
    assert await keyed(client) == first
    assert (await client.post("/api/process", json=URL)).status == 503


async def test_a_key_lives_as_long_as_its_task(client: Client) -> None:
    key = {"Idempotency-Key": "k-1"}
    first = await (await client.post("/api/process", json=URL, headers=key)).json()
    await client.delete(f"/api/tasks/{first['task_id']}")
    second = await client.post("/api/process", json=URL | {"quality": "720"}, headers=key)
    assert second.status == 202
    assert (await second.json())["task_id"] != first["task_id"]


async def test_presets_are_listed_with_what_they_set(client: Client) -> None:
    answer = await client.get("/api/presets")
    assert await answer.json() == {"presets": {"phone": {"quality": "720", "auto_start": False}}}


async def test_a_preset_is_resolved_at_once_and_outranked_by_the_request(client: Client) -> None:
    task_id = (await submitted(client, preset="phone", quality="480"))["task_id"]
    stored = await client.app[keys.TASKS]._store.get(task_id)
    assert stored.request
    assert (stored.request.quality, stored.request.auto_start) == ("480", False)
    answer = await problem(await client.post("/api/process", json=URL | {"preset": "tv"}))
    assert [error["field"] for error in answer["errors"]] == ["preset"]


STAGES = {
    # stage: (cancel, pause, resume, retry), as in the contract's table
    "queued": (200, 200, 200, 409),
    "paused": (200, 200, 200, 409),
    "cancelled": (200, 409, 409, 200),
    "completed": (409, 409, 409, 200),
    "failed": (409, 409, 409, 200),
}
ACTIONS = ("cancel", "pause", "resume", "retry")


async def in_stage(client: Client, stage: str) -> str:
    """Return a task that is in `stage`, without a download."""
    client.app[keys.TASKS]._dispatcher.hold()
    task_id: str = (await submitted(client))["task_id"]
    events: dict[str, Event] = {
        "queued": Resumed(), "cancelled": Cancelled(),
        "completed": Completed(files={}), "failed": Failed(code="http_404"),
    }  # fmt: skip
    if stage in events:
        await client.app[keys.TASKS]._recorder.record(task_id, events[stage])
    return task_id


@pytest.mark.parametrize("stage", STAGES)
async def test_actions_do_what_the_table_says(client: Client, stage: str) -> None:
    for action, expected in zip(ACTIONS, STAGES[stage], strict=True):
        task_id = await in_stage(client, stage)
        before = await (await client.get(f"/api/status/{task_id}")).json()
        response = await client.post(f"/api/tasks/{task_id}/{action}")
        assert response.status == expected, action
        now = await (await client.get(f"/api/status/{task_id}")).json()
        if expected == 200:
            assert await response.json() == now
        else:
            assert (await problem(response))["code"] in ("task_already_final", "wrong_stage")
            assert now == before
        done = {"cancel": "cancelled", "pause": "paused", "resume": "queued", "retry": "queued"}[action]
        assert now["stage"] == (done if expected == 200 else stage)


async def test_a_no_op_makes_no_revision(client: Client) -> None:
    for stage, action in (("paused", "pause"), ("cancelled", "cancel"), ("queued", "resume")):
        task_id = await in_stage(client, stage)
        before = await (await client.get(f"/api/status/{task_id}")).json()
        assert await (await client.post(f"/api/tasks/{task_id}/{action}")).json() == before


async def test_a_priority_can_be_changed_until_the_end(client: Client) -> None:
    task_id = await in_stage(client, "queued")
    changed = await (await client.patch(f"/api/tasks/{task_id}", json={"priority": 10})).json()
    assert (changed["priority"], changed["revision"]) == (10, 3)
    assert (await problem(await client.patch(f"/api/tasks/{task_id}", json={"priority": 11})))[
        "status"
    ] == 422
    final = await in_stage(client, "failed")
    assert (await client.patch(f"/api/tasks/{final}", json={"priority": 1})).status == 409


@pytest.mark.usefixtures("nothing_begins")
async def test_a_position_beats_every_priority(client: Client) -> None:
    ids = [(await submitted(client, auto_start=True, priority=n))["task_id"] for n in (0, 10, -10, 5)]
    a, b, c, d = ids

    async def move(task_id: str, **where: Any) -> dict[str, Any]:
        response = await client.patch(f"/api/tasks/{task_id}", json=where)
        payload: dict[str, Any] = await response.json()
        return payload | {"http": response.status}

    assert await listed(client, "stage=queued") == [b, d, a, c]
    assert (await move(c, position="first"))["rank"] == 1
    assert (await move(b, position="last"))["rank"] == -1
    assert await listed(client, "stage=queued") == [c, d, a, b]
    assert (await move(a, position="first", priority=-10))["priority"] == -10
    assert (await move(d, position="last"))["rank"] == -2
    new = (await submitted(client, auto_start=True, priority=10))["task_id"]
    assert await listed(client, "stage=queued") == [a, c, new, b, d]
    assert await listed(client, "stage=queued&limit=1") == [a, c, new, b, d]
    for wrong in ({}, {"position": None}, {"position": "third"}, {"position": 1}):
        assert (await move(a, **wrong))["http"] == 422
    await client.app[keys.TASKS].cancel(a)
    assert (await move(a, position="first"))["http"] == 409
    assert "rank" not in await (await client.post(f"/api/tasks/{a}/retry")).json()


async def changed(client: Client, task_id: str, **fields: Any) -> None:
    """Change the stored status of a task, in a way that no event does."""
    status = await client.app[keys.TASKS].status(task_id)
    update = {**fields, "revision": status.revision + 1}
    assert await client.app[keys.TASKS]._store.save(status.model_copy(update=update))


async def listed(client: Client, query: str) -> list[str]:
    """Return the ids of all pages."""
    ids: list[str] = []
    cursor = ""
    while True:
        page = await (await client.get(f"/api/tasks?{query}{cursor}")).json()
        ids += [task["task_id"] for task in page["tasks"]]
        if "next_cursor" not in page:
            return ids
        cursor = f"&cursor={page['next_cursor']}"


async def test_lists_are_newest_first_and_the_queue_in_its_order(client: Client) -> None:
    stages = ("queued", "paused", "cancelled", "completed", "failed")
    made = {stage: [await in_stage(client, stage) for _ in range(3)] for stage in stages}
    everything = [task_id for stage in stages for task_id in made[stage]]
    assert await listed(client, "limit=2") == everything[::-1]
    for stage in ("paused", "cancelled", "completed", "failed"):
        assert await listed(client, f"limit=2&stage={stage}") == made[stage][::-1]
    assert await listed(client, "status=error&limit=4") == (made["cancelled"] + made["failed"])[::-1]
    first, second, third = made["queued"]
    await client.patch(f"/api/tasks/{third}", json={"priority": 1})
    assert await listed(client, "stage=queued&limit=1") == [third, first, second]
    assert await listed(client, "status=completed&stage=failed") == []
    assert await listed(client, "playlist_id=none") == []


async def test_a_list_by_state_goes_on_from_what_runs_to_what_waits_and_to_what_ended_last(
    client: Client,
) -> None:
    stages = ("cancelled", "paused", "queued", "download", "info", "completed")
    made = {stage: [await in_stage(client, stage) for _ in range(3)] for stage in stages}
    for stage in (Stage.DOWNLOAD, Stage.INFO):
        for task_id in made[stage]:
            await changed(client, task_id, stage=stage)
    running, ended = made["download"] + made["info"], (made["cancelled"] + made["completed"])[::-1]
    await client.patch(f"/api/tasks/{made['queued'][2]}", json={"priority": 1})
    first, second, third = made["queued"]
    waiting = [third, first, second, *made["paused"][::-1]]
    everything = [*running, *waiting, *ended]
    for limit in (1, 2, 3, 6, 7, 17, 18, 200):
        assert await listed(client, f"sort=state&limit={limit}") == everything
    assert await listed(client, "sort=state&limit=2&status=processing") == [*running, *waiting]
    assert await listed(client, "sort=state&limit=2&stage=paused,queued") == waiting
    assert await listed(client, "sort=state&limit=2&status=error") == made["cancelled"][::-1]
    assert await listed(client, "sort=state&limit=2&q=video") == everything
    assert await listed(client, "stage=paused,queued&limit=4") == (made["paused"] + made["queued"])[::-1]


async def test_what_ended_again_is_listed_by_its_last_end(client: Client) -> None:
    """A retried task keeps its number, so a list in the order of numbers would have it far down."""
    old, new = [await in_stage(client, "failed") for _ in range(2)]
    await client.app[keys.TASKS].retry(old)
    await client.app[keys.TASKS].cancel(old)
    await changed(client, old, completed_at=datetime.now(UTC) + timedelta(seconds=5))
    assert await listed(client, "sort=state&limit=1") == [old, new]


async def test_the_tasks_that_are_named_come_in_that_order_whatever_else_is_asked_for(client: Client) -> None:
    first, second, third = [await in_stage(client, stage) for stage in ("queued", "failed", "paused")]
    await client.delete(f"/api/tasks/{second}")
    query = f"ids={third},{second},{NOBODY},{first},{third}&limit=none&stage=none&cursor=none&q=none"
    answer = await client.get(f"/api/tasks?{query}")
    page = await answer.json()
    assert (answer.status, answer.headers["Vary"]) == (200, "Accept-Encoding, Accept-Language")
    assert page == {
        "tasks": [await (await client.get(f"/api/status/{task_id}")).json() for task_id in (third, first)]
    }


async def test_as_many_tasks_can_be_named_as_a_page_holds(client: Client) -> None:
    known = (await submitted(client))["task_id"]
    many = [*map(str, range(199)), known, known]
    page = await (await client.get(f"/api/tasks?ids={'%2C'.join(many)}")).json()
    assert [task["task_id"] for task in page["tasks"]] == [known]
    for ids in (",".join([NOBODY, *many]), "", ",", f"{known},"):
        answer = await problem(await client.get("/api/tasks", params={"ids": ids}))
        assert (answer["code"], answer["errors"][0]["field"]) == ("invalid_query", "ids")


async def test_numbers_tell_the_order_of_acceptance(client: Client) -> None:
    numbers = [(await submitted(client))["number"] for _ in range(3)]
    assert numbers == sorted(set(numbers))
    assert numbers[0] >= 1


@pytest.mark.parametrize(("text", "found"), [("%", 1), ("_", 1), (".*", 1), ("VIDEO", 3), ("nowhere", 0)])
async def test_a_search_takes_its_text_literally(client: Client, text: str, found: int) -> None:
    for name in ("a%25/video", "a_b/video?x=%", "x.*/video"):
        await submitted(client, url=f"http://media.test/{name.replace('%25', '')}")
    page = await (await client.get("/api/tasks", params={"q": text})).json()
    assert len(page["tasks"]) == found


async def test_a_low_disk_refuses_new_tasks(aiohttp_client: Connect, tmp_path: Path) -> None:
    low = settings(tmp_path, downloads=DownloadSettings(min_free_disk=1 << 60))
    client = await aiohttp_client(create_app(low))
    answer = await problem(await client.post("/api/process", json=URL))
    assert (answer["status"], answer["code"]) == (507, "disk_full")
    assert (await client.get("/readyz")).status == 503


async def test_nothing_is_started_below_the_floor_of_the_disk(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = (await submitted(client))["task_id"]
    monkeypatch.setattr(client.app[keys.TASKS]._disk, "floor", 1 << 60)
    answer = await problem(await client.post(f"/api/tasks/{task_id}/start"))
    assert (answer["status"], answer["code"]) == (409, "no_room")
    assert (await (await client.get(f"/api/status/{task_id}")).json())["stage"] == "paused"


async def test_of_many_that_are_started_at_once_four_times_the_limit_begin(
    aiohttp_client: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LONGEST_START", 0)
    one = settings(tmp_path, downloads=DownloadSettings(min_free_disk=0, max_concurrent=1))
    client = await aiohttp_client(create_app(one))
    client.app[keys.TASKS]._dispatcher.hold()
    task_ids = [(await submitted(client))["task_id"] for _ in range(9)]
    answers = await asyncio.gather(*(client.post(f"/api/tasks/{task_id}/start") for task_id in task_ids))
    refused = [answer for answer in answers if answer.status != 200]
    assert len(refused) == 5
    for answer in refused:
        told = await problem(answer)
        assert (told["status"], told["code"]) == (409, "too_many_running")
        assert "4" in told["detail"]
    stages = [(await (await client.get(f"/api/status/{task_id}")).json())["stage"] for task_id in task_ids]
    assert [stage == "paused" for stage in stages] == [answer.status == 409 for answer in answers]


async def test_a_full_queue_refuses_new_tasks(aiohttp_client: Connect, tmp_path: Path) -> None:
    full = settings(tmp_path, downloads=DownloadSettings(min_free_disk=0, max_queued=2))
    client = await aiohttp_client(create_app(full))
    client.app[keys.TASKS]._dispatcher.hold()
    for _ in range(2):
        await submitted(client, auto_start=True)
    response = await client.post("/api/process", json=URL | {"auto_start": True})
    assert ((await problem(response))["code"], response.status) == ("queue_full", 503)
    assert int(response.headers["Retry-After"]) > 0


async def test_a_full_queue_refuses_a_retry_and_lets_a_paused_task_go_on(
    aiohttp_client: Connect, tmp_path: Path
) -> None:
    full = settings(tmp_path, downloads=DownloadSettings(min_free_disk=0, max_queued=2))
    client = await aiohttp_client(create_app(full))
    failed = await in_stage(client, "failed")
    paused, _ = [(await submitted(client))["task_id"] for _ in range(2)]
    response = await client.post(f"/api/tasks/{failed}/retry")
    assert ((await problem(response))["code"], response.status) == ("queue_full", 503)
    assert (await (await client.get(f"/api/status/{failed}")).json())["stage"] == "failed"
    assert (await client.post(f"/api/tasks/{paused}/resume")).status == 200
    await client.delete(f"/api/tasks/{paused}")
    assert (await client.post(f"/api/tasks/{failed}/retry")).status == 200


async def test_a_closing_server_changes_nothing(client: Client) -> None:
    task_id = (await submitted(client))["task_id"]
    client.app[keys.TASKS].close()
    for response in (
        await client.post("/api/process", json=URL),
        await client.post(f"/api/tasks/{task_id}/cancel"),
    ):
        assert ((await problem(response))["code"], response.status) == ("shutting_down", 503)


async def test_shutdown_ends_sockets_with_1001_and_long_polls_at_once(client: Client) -> None:
    task_id = (await submitted(client))["task_id"]
    etag = {"If-None-Match": (await client.get(f"/api/status/{task_id}")).headers["ETag"]}
    async with (
        asyncio.timeout(20),
        client.ws_connect(f"/ws/{task_id}") as one,
        client.ws_connect("/ws") as all_,
    ):
        await one.receive_json()
        held = asyncio.create_task(client.get(f"/api/status/{task_id}?wait=50", headers=etag))
        await until(lambda: len(client.app[keys.HUB]._watchers[task_id]) == 2)
        await client.app.shutdown()
        for ws in (one, all_):
            assert [message async for message in ws] == []
            assert ws.close_code == 1001
        assert (await held).status == 304


async def test_a_status_that_cannot_be_saved_is_not_shown(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = (await submitted(client))["task_id"]
    before = await (await client.get(f"/api/status/{task_id}")).read()

    async def full(status: object) -> bool:
        raise DiskFull

    monkeypatch.setattr(client.app[keys.TASKS]._store, "save", full)
    async with client.ws_connect("/ws") as ws:
        assert (await client.post(f"/api/tasks/{task_id}/cancel")).status == 507
        assert await (await client.get(f"/api/status/{task_id}")).read() == before
        with pytest.raises(TimeoutError):
            await ws.receive(timeout=0.1)


@asynccontextmanager
async def started(aiohttp_client: Connect, tmp_path: Path, **sections: Any) -> AsyncIterator[Client]:
    yield await aiohttp_client(create_app(settings(tmp_path, **sections)))


async def test_everything_works_under_a_base_path_too(aiohttp_client: Connect, tmp_path: Path) -> None:
    server = ServerSettings(base_path="/clip/")
    async with started(aiohttp_client, tmp_path, server=server) as client:
        response = await client.post("/clip/api/process", json=URL)
        location = response.headers["Location"]
        assert location.startswith("/clip/api/status/")
        assert (await client.get(location)).status == 200
        assert (await client.get(location.removeprefix("/clip"))).status == 200
        moved = await client.get("/clip", allow_redirects=False)
        assert (moved.status, moved.headers["Location"]) == (308, "/clip/")
        for query in ("?url=http%3A%2F%2Fa%2F%26b&x=%20", "??&&=;%"):
            shared = await client.get(yarl.URL(f"/clip{query}", encoded=True), allow_redirects=False)
            assert shared.headers["Location"] == f"/clip/{query}"
        assert (await client.get("/clip/")).content_type == "text/html"


async def test_every_problem_leads_to_its_explanation_under_the_base_path(
    aiohttp_client: Connect, tmp_path: Path
) -> None:
    async with started(aiohttp_client, tmp_path, server=ServerSettings(base_path="/clip")) as client:
        for prefix in ("/clip", ""):
            for response in (
                await client.get(f"{prefix}/nowhere"),
                await client.get(f"{prefix}/static/nothing"),
                await client.get(f"{prefix}/api/status/{NOBODY}"),
                await client.delete(f"{prefix}/api/tasks"),
                await client.get(f"{prefix}/ws"),
                await client.post(f"{prefix}/api/process", json={}),
                await client.get(f"{prefix}/api/tasks", headers={"Host": "evil.example"}),
            ):
                answer = await problem(response)
                assert answer["type"] == f"/clip/api/docs#{answer['code']}"
                assert answer["detail"].count("/api/") == answer["detail"].count("/clip/api/")
                assert (await client.get(answer["type"])).status == 200


async def test_too_many_requests_a_minute_are_told_to_wait(aiohttp_client: Connect, tmp_path: Path) -> None:
    async with started(aiohttp_client, tmp_path, limits=LimitSettings(requests_per_minute=3)) as client:
        for _ in range(3):
            assert (await client.get("/api/tasks")).status == 200
        response = await client.get("/api/tasks")
        assert ((await problem(response))["code"], response.status) == ("too_many_requests", 429)
        assert 1 <= int(response.headers["Retry-After"]) <= 61
        assert (await client.get("/healthz")).status == 200


async def until(condition: Callable[[], object]) -> None:
    """Let other coroutines run until `condition` holds; the caller limits the time."""
    while not condition():
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/static/index.html", "text/html"),
        ("/static/js/main.js", "text/javascript"),
        ("/static/css/base/tokens.css", "text/css"),
        ("/static/i18n/zh.json", "application/json"),
        ("/static/icon.svg", "image/svg+xml"),
    ],
)
async def test_the_page_comes_once(client: Client, path: str, kind: str) -> None:
    answer = await client.get(path)
    assert (answer.status, answer.content_type) == (200, kind)
    again = await client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", answer.headers["ETag"])
    assert answer.headers["Cache-Control"] == again.headers["Cache-Control"] == "no-cache"
