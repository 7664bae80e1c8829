"""One action on many tasks, which are named or of one kind: each has its own result, whatever happens to the
others.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from server.api import keys
from server.app import create_app
from server.core.action_requests import MOST_AT_ONCE
from server.core.events import Cancelled, Failed, Resumed, Started
from server.core.task import Stage
from server.settings import DownloadSettings, Settings, StorageSettings
from server.tasks import bulk
from tests.adding import add
from tests.examples import new_task

Client = TestClient[web.Request, web.Application]
Connect = Callable[[web.Application], Awaitable[Client]]
PAUSED = {"url": "http://127.0.0.9:9/video.mp4", "auto_start": False}  # a paused task: nothing is fetched
IN_STAGE = {
    "paused": (),
    "queued": (Resumed(),),
    "info": (Resumed(), Started()),
    "failed": (Failed(code="http_404"),),
    "cancelled": (Cancelled(),),
}


@pytest.fixture
async def client(aiohttp_client: Connect, tmp_path: Path) -> Client:
    storage = StorageSettings(data_dir=tmp_path / "data")
    return await aiohttp_client(
        create_app(Settings(storage=storage, downloads=DownloadSettings(min_free_disk=0)))
    )


async def task_in(client: Client, stage: str, code: str | None = None) -> str:
    task_id: str = (await (await client.post("/api/process", json=PAUSED)).json())["task_id"]
    for event in (Failed(code=code),) if code else IN_STAGE[stage]:
        await client.app[keys.TASKS]._recorder.record(task_id, event)
    return task_id


async def act(client: Client, action: str, **which: Any) -> dict[str, Any]:
    response = await client.post("/api/tasks/actions", json={"action": action} | which)
    assert response.status == 200, await response.text()
    answer: dict[str, Any] = await response.json()
    return answer


def shown(answer: dict[str, Any]) -> list[Any]:
    """Return each result's HTTP status, with the task's stage or the error's code."""
    return [
        (each["status"], each.get("task", {}).get("stage") or each.get("problem", {}).get("code"))
        for each in answer["results"]
    ]


async def test_each_task_has_its_own_result_in_the_order_of_the_ids(client: Client) -> None:
    ids = [await task_in(client, stage) for stage in ("failed", "paused", "cancelled", "queued")]
    unknown = str(uuid4())
    answer = await act(client, "cancel", ids=[*ids, unknown])
    assert shown(answer) == [
        (409, "task_already_final"),
        (200, "cancelled"),
        (200, "cancelled"),
        (200, "cancelled"),
        (404, "task_not_found"),
    ]
    assert "more" not in answer
    assert [each["task"]["task_id"] for each in answer["results"] if "task" in each] == ids[1:]


@pytest.mark.parametrize(
    ("action", "stage", "becomes"),
    [
        ("pause", "queued", (200, "paused")),
        ("resume", "paused", (200, "queued")),
        ("retry", "failed", (200, "queued")),
        ("retry", "paused", (409, "wrong_stage")),
        ("delete", "cancelled", (204, None)),
    ],
)
@pytest.mark.usefixtures("nothing_begins")
async def test_every_action_can_be_done_to_many(
    client: Client, action: str, stage: str, becomes: tuple[int, str | None]
) -> None:
    ids = [await task_in(client, stage) for _ in range(3)]
    assert shown(await act(client, action, ids=ids)) == [becomes] * 3
    found = await client.get("/api/tasks", params={"ids": ",".join(ids)})
    assert len((await found.json())["tasks"]) == (0 if action == "delete" else 3)


async def test_a_task_that_is_named_twice_is_acted_on_once(client: Client) -> None:
    task_id = await task_in(client, "paused")
    assert shown(await act(client, "delete", ids=[task_id] * 501)) == [(204, None)]


@pytest.mark.usefixtures("nothing_begins")
async def test_all_that_failed_for_one_reason_are_retried_and_no_others(client: Client) -> None:
    codes = ("login_required", "http_404", "login_required")
    ids = [await task_in(client, "failed", code) for code in codes]
    cancelled = await task_in(client, "cancelled")
    await task_in(client, "paused")
    answer = await act(client, "retry", stage="failed", error_code="login_required")
    assert [each["task"]["task_id"] for each in answer["results"]] == [ids[0], ids[2]]
    assert shown(await act(client, "retry", stage="paused", error_code="http_404")) == []
    answer = await act(client, "retry", error_code="cancelled")
    assert [each["task"]["task_id"] for each in answer["results"]] == [cancelled]
    answer = await act(client, "delete", stage="failed")
    assert shown(answer) == [(204, None)]


async def test_the_entries_of_a_list_are_acted_on_and_no_others(client: Client) -> None:
    store, ids = client.app[keys.TASKS]._store, []
    for playlist_id in ("a list", "a list", "another"):
        task = new_task()
        of_list = task.status.model_copy(update={"playlist_id": playlist_id, "stage": Stage.PAUSED})
        ids.append((await add(store, replace(task, status=of_list))).status.task_id)
    answer = await act(client, "cancel", playlist_id="a list")
    assert [each["task"]["task_id"] for each in answer["results"]] == [ids[1], ids[0]]
    assert shown(await act(client, "cancel", playlist_id="no list")) == []


@pytest.mark.usefixtures("nothing_begins")
async def test_a_retry_of_the_entries_of_a_list_leaves_what_is_completed(client: Client) -> None:
    store, ids = client.app[keys.TASKS]._store, []
    for stage in (Stage.COMPLETED, Stage.FAILED, Stage.PAUSED, Stage.CANCELLED):
        task = new_task()
        entry = task.status.model_copy(update={"playlist_id": "a list", "stage": stage})
        ids.append((await add(store, replace(task, status=entry))).status.task_id)
    answer = await act(client, "retry", playlist_id="a list")
    assert shown(answer) == [(200, "queued"), (409, "wrong_stage"), (200, "queued")]
    assert (await (await client.get(f"/api/status/{ids[0]}")).json())["stage"] == "completed"
    assert shown(await act(client, "retry", ids=ids[:1])) == [(200, "queued")]


@pytest.mark.usefixtures("nothing_begins")
async def test_asked_again_all_entries_of_a_long_list_are_acted_on(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.api.tasks.MOST_AT_ONCE", 2)
    store = client.app[keys.TASKS]._store
    for _ in range(5):
        task = new_task()
        entry = task.status.model_copy(update={"playlist_id": "a list", "stage": Stage.PAUSED})
        await add(store, replace(task, status=entry))
    become = {"resume": "queued", "pause": "paused", "cancel": "cancelled", "retry": "queued"}
    for action, stage in become.items():
        more = [(await act(client, action, playlist_id="a list")).get("more") for _ in range(3)]
        async with client.get("/api/tasks?playlist_id=a%20list") as answer:
            entries = (await answer.json())["tasks"]
        assert (more, {entry["stage"] for entry in entries}) == ([True, True, None], {stage}), action


@pytest.mark.usefixtures("nothing_begins")
async def test_more_says_that_others_fit_as_well(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.api.tasks.MOST_AT_ONCE", 2)
    ids = [await task_in(client, "failed") for _ in range(3)]
    first = await act(client, "retry", stage="failed")
    assert first["more"] is True
    second = await act(client, "retry", stage="failed")
    assert "more" not in second
    done = [each["task"]["task_id"] for each in (*first["results"], *second["results"])]
    assert done == ids, "the oldest first"


UNCLEAR: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"action", "ids"}),
    ({"action": "eat", "ids": ["a"]}, {"action"}),
    ({"action": "cancel"}, {"ids"}),
    ({"action": "cancel", "ids": None}, {"ids"}),
    ({"action": "cancel", "ids": []}, {"ids"}),
    ({"action": "cancel", "ids": [f"{number}" for number in range(501)]}, {"ids"}),
    ({"action": "cancel", "ids": ["a", 1]}, {"ids.1"}),
    ({"action": "cancel", "ids": [None]}, {"ids.0"}),
    ({"action": "cancel", "ids": ["a", ""]}, {"ids.1"}),
    ({"action": "cancel", "ids": ["a" * 501]}, {"ids.0"}),
    ({"action": "cancel", "playlist_id": ""}, {"playlist_id"}),
    ({"action": "cancel", "stage": ""}, {"stage"}),
    ({"action": "cancel", "error_code": ""}, {"error_code"}),
    ({"action": "cancel", "playlist_id": "", "stage": "failed"}, {"playlist_id"}),
    ({"action": "cancel", "ids": ["a"], "stage": "failed"}, {"ids"}),
    ({"action": "cancel", "ids": ["a"], "error_code": "timeout"}, {"ids"}),
    ({"action": "cancel", "ids": ["a"], "playlist_id": "b"}, {"ids"}),
    ({"action": "cancel", "playlist_id": "b", "stage": "failed"}, {"playlist_id"}),
    ({"action": "cancel", "stage": "nowhere", "error_code": "%"}, {"stage", "error_code"}),
    ({"action": "cancel", "stage": "failed", "host": "a"}, {"host"}),
]


async def test_a_wish_that_is_unclear_is_refused_by_name(client: Client) -> None:
    for body, fields in UNCLEAR:
        response = await client.post("/api/tasks/actions", json=body)
        answer = await response.json()
        assert (response.status, answer["code"]) == (422, "invalid_request"), body
        assert {error["field"] for error in answer["errors"]} == fields, body
        assert all(error["message"] for error in answer["errors"]), body


async def test_an_empty_choice_is_not_taken_for_none(client: Client) -> None:
    failed = await task_in(client, "failed")
    for empty in ({"playlist_id": ""}, {"ids": [""]}, {"stage": ""}, {"error_code": ""}):
        body = {"action": "delete", **empty}
        assert (await client.post("/api/tasks/actions", json=body)).status == 422, empty
    assert (await client.get(f"/api/status/{failed}")).status == 200


@pytest.mark.usefixtures("nothing_begins")
async def test_what_waits_is_stopped_before_what_runs(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise queued tasks would start in the place of stopped ones, although they are to be stopped,
    too.
    """
    monkeypatch.setattr(bulk, "AT_ONCE", 1)
    ids = [await task_in(client, stage) for stage in ("info", "queued", "paused")]
    stopped: list[str] = []
    withdraw = client.app[keys.TASKS]._dispatcher.withdraw

    async def watched(task_id: str) -> None:
        stopped.append(task_id)
        await withdraw(task_id)

    monkeypatch.setattr(client.app[keys.TASKS]._dispatcher, "withdraw", watched)
    answer = await act(client, "cancel", ids=ids)
    assert shown(answer) == [(200, "cancelled")] * 3
    assert stopped == [ids[1], ids[2], ids[0]]


async def test_a_fault_with_one_is_told_once_all_others_are_done(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await task_in(client, "paused") for _ in range(3)]
    files = client.app[keys.FILES]
    remove = files.remove

    async def failing(task_id: str) -> None:
        if task_id == ids[0]:
            raise RuntimeError("a fault")
        await remove(task_id)

    monkeypatch.setattr(files, "remove", failing)
    response = await client.post("/api/tasks/actions", json={"action": "delete", "ids": ids})
    assert (response.status, (await response.json())["code"]) == (500, "internal")
    assert (await (await client.get("/api/tasks")).json())["tasks"] == []


@pytest.mark.wide
async def test_however_long_their_links_are_many_are_acted_on_in_a_short_answer(client: Client) -> None:
    url = "http://127.0.0.9:9/"
    requests = [PAUSED | {"url": f"{url}{number:0{4096 - len(url)}}"} for number in range(MOST_AT_ONCE)]
    body = BytesIO(json.dumps({"requests": requests}).encode())  # aiohttp warns of a text of this length
    headers = {"Content-Type": "application/json"}
    batch = await (await client.post("/api/process/batch", data=body, headers=headers)).json()
    ids = [each["task"]["task_id"] for each in batch["results"]]
    response = await client.post("/api/tasks/actions", json={"action": "cancel", "ids": ids})
    assert len(await response.read()) < 1_000_000
    results = (await response.json())["results"]
    assert {each["status"] for each in results} == {200}
    assert [each["task"]["task_id"] if "task" in each else each["task_id"] for each in results] == ids
    assert all(len(each) == 2 for each in results)
    found = await client.get("/api/tasks", params={"stage": "cancelled", "limit": "200"})
    assert len((await found.json())["tasks"]) == 200
