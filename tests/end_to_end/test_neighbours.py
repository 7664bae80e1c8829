"""This release opens the data of the next one: it ignores and keeps what it does not know."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from server.api import keys
from server.app import create_app
from server.assembly import DatabaseUnusable, check_database, open_backend
from server.assembly.features import FEATURES
from server.core.clock import Clock
from server.core.events import Completed, Event, Failed, Paused, Started
from server.core.film import StoredFile, VideoInfo
from server.core.stored import known_stage
from server.core.task import Stage
from server.settings import DownloadSettings, Settings, StorageSettings

pytestmark = pytest.mark.usefixtures("nothing_begins")

Client = TestClient[web.Request, web.Application]
URL = "http://127.0.0.9:9/video.mp4"
FILE = {"name": "video_a_abcdefghijklm.mp4", "path": "1/video.mp4", "size": 5, "type": "video/mp4"}
# What a next release might add to a request, to a status, and to the objects within a status.
MORE_REQUEST = {"posters": {"languages": ["de"]}, "webhook": "http://a/"}
MORE_STATUS: dict[str, Any] = {"omens": ["dark"], "webhooks": [{"at": 1.5, "ok": None}]}
MORE_AMENDED = {"speed_of_tape": 19, "subtitles": {"languages": ["en"], "karaoke": True}}
MORE_INFO = {"likes": 7, "chapters": [{"start": 0}]}
MORE_FILE = {"sha512": "ab"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        storage=StorageSettings(data_dir=tmp_path / "data"), downloads=DownloadSettings(min_free_disk=0)
    )


@asynccontextmanager
async def this_release(settings: Settings) -> AsyncIterator[Client]:
    async with asyncio.timeout(30), TestClient(TestServer(create_app(settings))) as client:
        yield client


class NextRelease:
    """Reads and writes the database as a next release would, which knows more fields."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.storage.data_dir / "clipwire.db"

    def write(self, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        """Call `change` with each stored request and status, and store what it makes of them."""
        with closing(sqlite3.connect(self._path)) as db, db:
            for number, *texts in db.execute("SELECT number, request, status FROM tasks").fetchall():
                request, status = map(json.loads, texts)
                change(request, status)
                values = (json.dumps(request), json.dumps(status), status["stage"], number)
                db.execute("UPDATE tasks SET request = ?, status = ?, stage = ? WHERE number = ?", values)

    def read(self) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
        """Return the stored request and status of each task."""
        with closing(sqlite3.connect(self._path)) as db:
            rows = db.execute("SELECT task_id, request, status FROM tasks").fetchall()
        return {task_id: (json.loads(request), json.loads(status)) for task_id, request, status in rows}

    def execute(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self._path)) as db, db:
            return db.execute(sql).fetchall()


async def some_tasks(client: Client) -> dict[str, str]:
    """Make five tasks: one waits, one is paused, one runs, one has failed, one has files."""
    recorder = client.app[keys.TASKS]._recorder
    info = VideoInfo(title="Ein Film", duration=4)
    ends: dict[str, list[Event]] = {
        "queued": [],
        "paused": [Paused()],
        "info": [Started()],
        "failed": [Started(), Failed(code="http_404")],
        "completed": [Started(), Completed(files={"video": StoredFile(**FILE)}, video_info=info)],
    }
    ids = {}
    for stage, events in ends.items():
        ids[stage] = (await (await client.post("/api/process", json={"url": URL})).json())["task_id"]
        for event in events:
            await recorder.record(ids[stage], event)
    return ids


def add_fields(request: dict[str, Any], status: dict[str, Any]) -> None:
    request |= MORE_REQUEST
    status |= MORE_STATUS
    status["video_info"] = status.get("video_info", {}) | MORE_INFO
    for file in status.get("files", {}).values():
        file |= MORE_FILE


async def test_fields_that_the_next_release_added_are_ignored_kept_and_not_shown(settings: Settings) -> None:
    async with this_release(settings) as client:
        ids = await some_tasks(client)
        before = {task_id: await shown(client, task_id) for task_id in ids.values()}
    neighbour = NextRelease(settings)
    neighbour.execute("ALTER TABLE tasks ADD COLUMN job_id INTEGER")
    neighbour.execute("UPDATE tasks SET job_id = number")
    neighbour.write(add_fields)

    async with this_release(settings) as client:
        # The task that ran is queued again after the restart.
        before[ids["info"]] |= {"stage": "queued", "revision": 3}
        for task_id in ids.values():
            payload = await shown(client, task_id)
            assert payload | {"message": ""} == before[task_id] | {"message": ""}
        listed = (await (await client.get("/api/tasks?q=127.0.0.9")).json())["tasks"]
        assert {task["task_id"] for task in listed} == set(ids.values())
        for stage, action in (("completed", "retry"), ("failed", "retry"), ("paused", "resume")):
            assert (await client.post(f"/api/tasks/{ids[stage]}/{action}")).status == 200
        assert (await client.patch(f"/api/tasks/{ids['queued']}", json={"priority": 3})).status == 200
        assert (await client.post(f"/api/tasks/{ids['queued']}/cancel")).status == 200
        new = await (await client.post("/api/process", json={"url": URL})).json()

    rows = neighbour.read()
    assert rows.pop(new["task_id"])
    for request, status in rows.values():
        assert MORE_REQUEST.items() <= request.items()
        assert MORE_STATUS.items() <= status.items()
        assert MORE_INFO.items() <= status["video_info"].items()
    request, status = rows[ids["completed"]]
    assert (status["stage"], status["files"]) == ("queued", {"video": FILE | MORE_FILE})
    assert neighbour.execute("SELECT count(*) FROM tasks WHERE job_id = number") == [(5,)]
    neighbour.write(add_fields)
    async with this_release(settings) as client:
        assert (await shown(client, new["task_id"]))["stage"] == "queued"


async def test_an_amended_request_of_the_next_release_is_ignored_and_kept(
    settings: Settings,
) -> None:
    async with this_release(settings) as client:
        ids = await some_tasks(client)
    neighbour = NextRelease(settings)
    neighbour.write(lambda request, status: status.update(amended=MORE_AMENDED))
    async with this_release(settings) as client:
        client.app[keys.TASKS]._dispatcher.release()
        while (payload := await shown(client, ids["queued"]))["stage"] != "failed":
            assert payload.get("waiting") != "newer_release"
            await asyncio.sleep(0.01)
    assert [status["amended"] for _, status in neighbour.read().values()] == [MORE_AMENDED] * 5


async def test_a_task_with_an_unknown_request_waits_for_a_server_that_understands_it(
    settings: Settings,
) -> None:
    async with this_release(settings) as client:
        ids = await some_tasks(client)

    def ask_for_more(request: dict[str, Any], status: dict[str, Any]) -> None:
        request |= {"quality": "4320", "outputs": ["video", "posters"]}

    neighbour = NextRelease(settings)
    neighbour.write(ask_for_more)
    async with this_release(settings) as client:
        assert len((await (await client.get("/api/tasks")).json())["tasks"]) == 5
        client.app[keys.TASKS]._dispatcher.release()
        await client.post(f"/api/tasks/{ids['failed']}/retry")
        for stage in ("queued", "info", "failed"):
            waiting = await waiting_for(client, ids[stage], "newer_release")
            assert (waiting["stage"], "更新版本" in waiting["message"]) == ("queued", True)
            assert waiting["attempt"] == (0 if stage == "queued" else 1), "nothing was begun"
        assert (await client.post(f"/api/tasks/{ids['queued']}/cancel")).status == 200
        assert (await client.delete(f"/api/tasks/{ids['info']}")).status == 204
    for request, _ in neighbour.read().values():
        assert request["quality"] == "4320"


async def test_a_task_in_an_unknown_stage_is_shown_and_not_started(settings: Settings) -> None:
    async with this_release(settings) as client:
        ids = await some_tasks(client)

    def further(request: dict[str, Any], status: dict[str, Any]) -> None:
        status["stage"] = "verifying" if status["stage"] != "completed" else "archived"
        if "error_code" in status:
            status["error_code"] = "of_the_future"

    neighbour = NextRelease(settings)
    neighbour.write(further)
    before = neighbour.read()
    async with this_release(settings) as client:
        tasks = (await (await client.get("/api/tasks")).json())["tasks"]
        assert {task["task_id"]: task["stage"] for task in tasks} == {
            ids["queued"]: "paused", ids["paused"]: "paused", ids["info"]: "paused",
            ids["failed"]: "failed", ids["completed"]: "completed",
        }  # fmt: skip
        failed = await shown(client, ids["failed"])
        assert (failed["error_code"], failed["error"]) == ("of_the_future", "处理时发生内部错误")
        for query in ("q=film", "stage=queued", "status=processing", f"ids={','.join(ids.values())}"):
            assert (await client.get(f"/api/tasks?{query}")).status == 200
        assert neighbour.read() == before, "the next release finds them as it left them"
        assert (await (await client.post(f"/api/tasks/{ids['info']}/resume")).json())["stage"] == "queued"
        assert (await client.post(f"/api/tasks/{ids['paused']}/cancel")).status == 200


def test_an_unknown_stage_counts_as_one_in_which_nothing_runs() -> None:
    assert known_stage("download", ended=False) is Stage.DOWNLOAD
    assert known_stage("verifying", ended=False) is Stage.PAUSED
    assert known_stage("archived", ended=True) is Stage.COMPLETED
    assert known_stage("rejected", ended=True, failed=True) is Stage.FAILED


DELAYED = '{"url": "http://a.test/", "waiting": "next_attempt", "not_before": "2026-01-01T00:00:00Z"}'


@pytest.mark.parametrize("damage", ["", "{", "[]", '"text"', "{}", '{"task_id": 7}', DELAYED])
async def test_a_damaged_row_stops_neither_the_start_nor_a_list(
    settings: Settings, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with this_release(settings) as client:
        ids = await some_tasks(client)
    NextRelease(settings).execute(
        f"UPDATE tasks SET status = '{damage}' WHERE task_id IN ('{ids['queued']}', '{ids['failed']}')"
    )
    async with this_release(settings) as client:
        for query in ("", "?stage=failed", f"?ids={ids['paused']},{ids['failed']}"):
            tasks = (await (await client.get(f"/api/tasks{query}")).json())["tasks"]
            assert not {ids["queued"], ids["failed"]} & {task["task_id"] for task in tasks}
        assert "its row is damaged" in caplog.text
        assert (await client.get(f"/api/status/{ids['failed']}")).status == 500
        assert (await client.delete(f"/api/tasks/{ids['failed']}")).status == 204
        assert (await client.get(f"/api/status/{ids['failed']}")).status == 404


async def test_a_schema_that_is_newer_is_one_line_and_check_says_the_same(settings: Settings) -> None:
    async with this_release(settings):
        pass
    NextRelease(settings).execute("PRAGMA user_version = 99")
    with pytest.raises(DatabaseUnusable, match="is of a newer server") as at_start:
        async with open_backend(settings, FEATURES, Clock()):
            pass
    with pytest.raises(DatabaseUnusable) as at_check:
        await check_database(settings)
    assert str(at_start.value) == str(at_check.value)
    assert "\n" not in str(at_start.value)


async def shown(client: Client, task_id: str) -> dict[str, Any]:
    async with client.get(f"/api/status/{task_id}") as answer:
        assert answer.status == 200, await answer.text()
        payload: dict[str, Any] = await answer.json()
        return payload


async def waiting_for(client: Client, task_id: str, what: str) -> dict[str, Any]:
    while (payload := await shown(client, task_id)).get("waiting") != what:
        await asyncio.sleep(0.01)
    return payload
