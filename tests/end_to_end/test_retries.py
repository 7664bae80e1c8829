"""A finished task that is retried keeps its files until the new attempt has completed."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from server.api import keys
from server.app import create_app
from server.assembly import Backend
from server.core.errors import DiskFull
from server.core.film import StoredFile
from server.core.ports import Stream
from server.core.task import Stage
from server.settings import DownloadSettings, Settings, StorageSettings
from server.storage.sqlite import SqliteStore
from tests.adding import accept
from tests.end_to_end.test_kills import finished
from tests.kills import swept
from tests.moments import Moment, died
from tests.service import Payload, Service
from tests.site import Site
from tests.tasks.test_faults import Once, backend, is_final, reached, request

Client = TestClient[web.Request, web.Application]
Connect = Callable[[web.Application], Awaitable[Client]]
Patch = pytest.MonkeyPatch

# The first attempt requests the film twice, for its kind and for its content. The second attempt learns the
# kind, then hangs or fails.
HANGS_LATER = "/1mb.mp4?stall=500000&after=3&times=1"
FAILS_LATER = "/1mb.mp4?status=404&after=3"


@pytest.fixture
async def client(aiohttp_client: Connect, tmp_path: Path) -> Client:
    downloads = DownloadSettings(allowed_private_hosts=("127.0.0.1",), min_free_disk=0)
    storage = StorageSettings(data_dir=tmp_path / "data")
    return await aiohttp_client(create_app(Settings(storage=storage, downloads=downloads)))


async def status(client: Client, task_id: str) -> Payload:
    payload: Payload = await (await client.get(f"/api/status/{task_id}")).json()
    return payload


async def until(client: Client, task_id: str, stage: str) -> Payload:
    while (payload := await status(client, task_id))["stage"] != stage:
        await asyncio.sleep(0.01)
    return payload


async def completed(client: Client, url: str) -> Payload:
    answer = await client.post("/api/process", json={"url": url, "outputs": ["video"]})
    return await until(client, (await answer.json())["task_id"], "completed")


async def act(client: Client, task_id: str, action: str) -> Payload:
    async with client.post(f"/api/tasks/{task_id}/{action}") as answer:
        assert answer.status == HTTPStatus.OK, await answer.text()
        payload: Payload = await answer.json()
        return payload


async def is_there(client: Client, link: str) -> bool:
    async with client.get(link) as answer:
        return answer.status == HTTPStatus.OK and len(await answer.read()) == 1_000_000


def shown(payload: Payload) -> tuple[Any, Any]:
    return payload["files"], payload["file_info"]


def folders(data: Path, task_id: str) -> set[str]:
    return {path.name for path in (data / "files" / task_id).iterdir()}


async def test_the_files_stay_in_every_stage_of_the_new_attempt_and_go_when_it_has_completed(
    client: Client, site: Site, tmp_path: Path
) -> None:
    done = await completed(client, site.url(HANGS_LATER))
    task_id, old = done["task_id"], done["files"]["video"]
    seen = [await act(client, task_id, "retry"), await until(client, task_id, "download")]
    etag = (await client.head(old)).headers["ETag"]
    for action in ("pause", "resume", "cancel"):
        seen.append(await act(client, task_id, action))
        async with client.get(old, headers={"If-None-Match": etag}) as answer:
            assert answer.status == HTTPStatus.NOT_MODIFIED
    assert [shown(payload) for payload in seen] == [shown(done)] * 5
    assert {payload["status"] for payload in seen} == {"processing", "error"}
    assert await is_there(client, old)
    site.release()
    await act(client, task_id, "retry")
    again = await until(client, task_id, "completed")
    assert await is_there(client, again["files"]["video"])
    assert (await client.get(old)).status == HTTPStatus.NOT_FOUND
    # Returns once the attempt has deleted its leftovers.
    await client.app[keys.TASKS]._dispatcher.withdraw(task_id)
    assert folders(tmp_path / "data", task_id) == {str(again["attempt"])}
    await client.delete(f"/api/tasks/{task_id}")
    assert not (tmp_path / "data" / "files" / task_id).exists()


async def test_the_files_stay_when_the_new_attempt_fails_and_when_it_is_read_they_are_the_same(
    client: Client, site: Site
) -> None:
    done = await completed(client, site.url(FAILS_LATER))
    link = done["files"]["video"]
    modified = (await client.head(link)).headers["Last-Modified"]
    await act(client, done["task_id"], "retry")
    failed = await until(client, done["task_id"], "failed")
    assert (failed["error_code"], failed["video_info"]) == ("http_404", done["video_info"])
    assert shown(failed) == shown(done)
    assert await is_there(client, link)
    assert (await client.head(link)).headers["Last-Modified"] == modified


async def test_a_download_of_the_old_file_that_is_under_way_gets_all_of_it(
    site: Site, tmp_path: Path
) -> None:
    async with backend(tmp_path) as opened:
        task = await accept(opened.kernel.tasks, request(site, "/1mb.mp4"))
        old = (await reached(opened, task.task_id, Stage.COMPLETED)).files["video"]
        with await opened_file(opened, task.task_id, old) as being_sent:
            await opened.kernel.tasks.retry(task.task_id)
            await newer(opened, task.task_id, old)
            assert len(being_sent.read()) == 1_000_000


async def test_a_row_that_could_not_name_the_new_files_keeps_the_old_ones_over_a_restart(
    site: Site, tmp_path: Path, monkeypatch: Patch
) -> None:
    """The new files are published, but their status cannot be saved because the disk is full; then the server
    ends.
    """
    async with backend(tmp_path) as opened:
        task = await accept(opened.kernel.tasks, request(site))
        done = await reached(opened, task.task_id, Stage.COMPLETED)
        with monkeypatch.context() as patch:
            full = Once(SqliteStore.save, DiskFull(), times=10**6)
            patch.setattr(SqliteStore, "save", full.method(is_final))
            await opened.kernel.tasks.retry(task.task_id)
            while full.left == 10**6:
                await asyncio.sleep(0.01)
            assert (await opened.kernel.tasks.status(task.task_id)).files == done.files
            (await opened_file(opened, task.task_id, done.files["video"])).close()
            assert folders(tmp_path / "data", task.task_id) == {"1", "2"}
            await opened.kernel.tasks._dispatcher.aclose()  # type: ignore[attr-defined]
    async with backend(tmp_path) as opened:
        again = await newer(opened, task.task_id, done.files["video"])
        (await opened_file(opened, task.task_id, again)).close()
        assert folders(tmp_path / "data", task.task_id) == {"2"}


async def opened_file(opened: Backend, task_id: str, stored: StoredFile) -> BinaryIO:
    file = await opened.kernel.files.open(task_id, stored)
    assert not isinstance(file, Stream)
    return file


MOMENTS = [
    pytest.param(
        Moment("server.files.local", "LocalFiles", "publish"), id="produced", marks=pytest.mark.long
    ),
    pytest.param(
        Moment("server.tasks.recorder", "Recorder", "record", "isinstance(args[2], Completed)"),
        id="published",
    ),
    pytest.param(Moment("server.files.local", "LocalFiles", "tidy_up"), id="said", marks=pytest.mark.long),
    pytest.param(
        Moment("server.files", "publishing", "delete_path", "args[0].name == '1'"),
        id="about to tidy up",
        marks=pytest.mark.long,
    ),
    pytest.param(
        Moment("server.files", "workplace", "delete_path", "args[0].parent.name == 'work'"),
        id="half tidied up",
        marks=pytest.mark.long,
    ),
]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_whenever_the_server_dies_what_the_status_names_is_there_and_nothing_else(
    mortal: Service, site: Site, tmp_path: Path, moment: Moment
) -> None:
    task_id = (await finished(mortal, site))["task_id"]
    await swept(mortal.data)
    await moment.comes(mortal)
    async with mortal.client.post(f"/api/tasks/{task_id}/retry") as answer:
        assert answer.status == HTTPStatus.OK
    await died(mortal)
    await mortal.start()
    while True:
        payload = await mortal.status(task_id)
        try:
            await mortal.fetch(payload["files"]["video"], tmp_path / "video.mp4")
        except AssertionError:  # allowed only if the new files replaced the old ones between the two requests
            assert (await mortal.status(task_id))["files"] != payload["files"]
        if payload["stage"] == "completed":
            break
    await swept(mortal.data)
    assert list((mortal.data / "work").iterdir()) == []
    assert folders(mortal.data, task_id) == {str(payload["attempt"])}
    assert mortal.complaints() == []


async def newer(opened: Backend, task_id: str, old: StoredFile) -> StoredFile:
    """Wait for a new video, and until the attempt has deleted its leftovers; return the video's file."""
    while (await opened.kernel.tasks.status(task_id)).files["video"] == old:
        await asyncio.sleep(0.01)
    await opened.kernel.tasks._dispatcher.withdraw(task_id)
    return (await opened.kernel.tasks.status(task_id)).files["video"]
