"""A new release opens the database of the release before, which then runs on its backup again."""

import asyncio
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from server.assembly.people_outside import people_transaction
from server.people.people_rows import add_person
from server.settings import Settings, StorageSettings
from server.storage.sqlite.migrations import released_scripts
from tests.cluster.postgres import database
from tests.release_before import SQLITE, ReleaseBefore
from tests.service import Service
from tests.site import Site, sha256

pytestmark = pytest.mark.long


async def test_a_new_release_continues_the_data_of_the_one_before_which_refuses_the_newer_file(
    site: Site, media: Path, tmp_path: Path
) -> None:
    own = {"CLIPWIRE_STORAGE__DATA_DIR": str(tmp_path / "data"), "CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": "0"}
    async with ReleaseBefore(tmp_path / "before", **own) as before:
        done = await before.wait((await before.submit(site.url("/1mb.mp4"), outputs=["video"]))["task_id"])
        waits = await before.submit(site.url("/1mb.mp4"), outputs=["video"], auto_start=False)
        cut = await before.submit(site.url("/8mb.mp4?rate=4000000"), outputs=["video"])
        await before.wait(cut["task_id"], "download")
        await before.kill()
        shutil.copytree(tmp_path / "data", tmp_path / "backup")

        async with Service(tmp_path / "this", **own) as this:
            assert (await this.status(done["task_id"]))["files"] == done["files"]
            fetched = await this.fetch(done["files"]["video"], tmp_path / "video")
            assert sha256(fetched) == sha256(media / "1mb.mp4")
            assert (await this.status(waits["task_id"]))["stage"] == "paused"
            assert (await this.wait(cut["task_id"]))["attempt"] == 2
        await _lists_of_ones_own(tmp_path, own, {done["task_id"], waits["task_id"], cut["task_id"]})

        refused = len(before.log)
        with pytest.raises(RuntimeError):
            await before.start()
        assert await before.ended() == 1
        [line] = before.log[refused:]
        assert f"is of a newer server (schema {len(released_scripts())}, this one knows {SQLITE})" in line

        # Back to the release before, with the backup.
        shutil.rmtree(tmp_path / "data")
        shutil.move(tmp_path / "backup", tmp_path / "data")
        await before.start()
        assert (await before.wait(cut["task_id"]))["stage"] == "completed"


async def _lists_of_ones_own(tmp_path: Path, own: dict[str, str], task_ids: set[str]) -> None:
    """Check that tasks of the release before belong to nobody, until somebody adopts them."""
    separate = own | {
        "CLIPWIRE_ACCESS__SEPARATE_LISTS": "true",
        "CLIPWIRE_SERVER__TOKENS": '["a token of the settings"]',
    }
    admin = {"Authorization": "Bearer a token of the settings"}

    async def owners(service: Service, headers: dict[str, str]) -> dict[str, str | None]:
        async with service.client.get("/api/tasks", headers=headers) as answer:
            return {task["task_id"]: task.get("owner") for task in (await answer.json())["tasks"]}

    async with Service(tmp_path / "this", **separate) as this:
        async with this.client.post("/api/people", json={"name": "anna"}, headers=admin) as answer:
            anna = {"Authorization": f"Bearer {(await answer.json())['token']}"}
        assert await owners(this, anna) == {}
        assert await owners(this, admin) == dict.fromkeys(task_ids)
        async with this.client.post("/api/people/anna/adopt", headers=admin) as answer:
            assert answer.ok
        async with asyncio.timeout(this.patience):
            while len(await owners(this, anna)) < len(task_ids):
                await asyncio.sleep(0.05)
        assert (await owners(this, anna)).keys() == task_ids
        assert await owners(this, admin) == dict.fromkeys(task_ids, "anna")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_the_release_before_refuses_a_database_with_people_in_one_line(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The release before knows no people, and would let everybody in."""
    with ExitStack() as stack:
        url = kind
        if kind == "postgresql":
            url = stack.enter_context(database(request.getfixturevalue("postgres")))
        data = tmp_path / "data"
        settings = Settings(storage=StorageSettings(data_dir=data, database=url))
        async with people_transaction(settings) as tables:
            await add_person(tables, "anna", "user", 0.0)
        own = {"CLIPWIRE_STORAGE__DATA_DIR": str(data), "CLIPWIRE_STORAGE__DATABASE": url}
        before = ReleaseBefore(tmp_path / "before", **own)
        with pytest.raises(RuntimeError):
            await before.start()
        assert await before.ended() == 1
        [line] = before.log
        assert "is of a newer server" in line
        async with Service(tmp_path / "this", **own) as this, this.client.get("/api/tasks") as answer:
            assert answer.status == 401
