"""Another program locks the database: no change is lost, no task fails, and the error names the cause."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest

from server.api import keys
from server.core.errors import DatabaseBusy
from server.storage.sqlite import DATABASE, writer
from server.storage.sqlite.connection import Reader
from server.tasks import recorder
from tests.inside import TASK, Inside, inside
from tests.site import Site
from tests.storage.test_writer import held_by_another_program


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Inside]:
    monkeypatch.setattr(writer, "PATIENCE", 0.3)
    monkeypatch.setattr(recorder, "RETRY_WHILE_STORE_UNAVAILABLE", 0.05)
    monkeypatch.setattr("server.tasks.dispatcher.RETRY_WHILE_STORE_UNAVAILABLE", 0.05)
    async with inside(tmp_path) as service:
        yield service


def database(service: Inside) -> Path:
    return service.app[keys.SETTINGS].storage.data_dir / DATABASE


async def test_a_change_is_refused_as_busy_and_can_be_made_afterwards(service: Inside) -> None:
    task_id = await service.submit()
    async with held_by_another_program(database(service)):
        for method, path, body in (
            ("POST", "/api/process", TASK),
            ("PATCH", f"/api/tasks/{task_id}", {"priority": 3}),
            ("POST", f"/api/tasks/{task_id}/cancel", None),
            ("DELETE", f"/api/tasks/{task_id}", None),
        ):
            async with service.client.request(method, path, json=body) as answer:
                problem = await answer.json(content_type=None)
                assert (answer.status, problem["code"]) == (503, "database_busy"), path
                assert answer.headers["Retry-After"] == "5"
        assert (await service.status(task_id))["stage"] == "paused"
        async with service.client.get("/readyz?lang=en") as answer:
            database_check = (await answer.json())["checks"]["database"]
            assert (answer.status, database_check["detail"]) == (503, "database is locked")
    async with service.client.post(f"/api/tasks/{task_id}/cancel") as answer:
        assert (await answer.json())["stage"] == "cancelled"


async def test_what_runs_goes_on_and_is_saved_when_the_lock_is_gone(
    service: Inside, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = await service.submit(
        url=site.url("/8mb.mp4?stall=500000&after=1&times=1"), outputs=["video", "audio"], auto_start=True
    )
    before = await service.reached(task_id, "download")
    async with held_by_another_program(database(service)):
        site.release()
        out = service.work(task_id) / "out"
        async with asyncio.timeout(20):
            while len(list(out.glob("*"))) < 2:  # waits until the child has made its files
                await asyncio.sleep(0.02)
        during = await service.status(task_id)
        assert during["stage"] == "download", "what is not stored is not told"
    done = await service.reached(task_id, "completed")
    assert (before["attempt"], done["attempt"]) == (1, 1)
    assert sorted(done["files"]) == ["audio", "video"]
    waiting = [record for record in caplog.records if "waits to be saved" in record.getMessage()]
    assert {record.levelname for record in waiting} <= {"WARNING"}  # only progress may wait without a warning
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_what_waits_in_the_queue_begins_when_the_lock_is_gone(
    service: Inside, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher = service.app[keys.TASKS]._dispatcher
    dispatcher.hold()
    task_id = await service.submit(url=site.url("/1mb.mp4"), outputs=["video"], auto_start=True)
    async with held_by_another_program(database(service)):
        dispatcher.release()
        async with asyncio.timeout(20):
            while "cannot begin yet" not in caplog.text:
                await asyncio.sleep(0.01)
    done = await service.reached(task_id, "completed")
    assert done["attempt"] == 1


async def test_a_read_that_another_program_holds_up_is_a_busy_database(tmp_path: Path) -> None:
    """A database with a write-ahead log would take ten seconds to notice; without a log it does so at
    once.
    """
    path = tmp_path / "plain.db"
    # The timeout: another connection of the test may be writing.
    other = sqlite3.connect(path, timeout=60, isolation_level=None)
    other.execute("CREATE TABLE tasks (number)")
    other.execute("BEGIN EXCLUSIVE")
    async with aiosqlite.connect(path, timeout=0.05) as db:
        with pytest.raises(DatabaseBusy):
            await Reader(db, path).fetch("SELECT * FROM tasks")
    other.close()


@pytest.mark.parametrize(
    "path",
    ["/api/tasks", "/api/tasks?q=example", "/api/tasks?ids=x", "/api/status/x", "/api/download/{name}"],
)
async def test_what_cannot_be_read_is_busy_too(
    service: Inside, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def held(*_: object) -> None:
        raise DatabaseBusy

    monkeypatch.setattr(Reader, "fetch", held)
    async with service.client.get(path.format(name="video_aaaaaaaaaaaaa.mp4")) as answer:
        problem = await answer.json(content_type=None)
        assert (answer.status, problem["code"]) == (503, "database_busy")
