"""Whether an entry is fetched depends on what still exists of it, its task or its file: in the whole service,
on both databases.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from server.api import keys
from server.core.events import Cancelled, Failed, Resumed, Retried, Started
from server.core.task import TaskStatus
from server.library import placer
from server.library.library_folder import MARKER
from server.library.library_routes import PLACEMENTS
from server.settings import DownloadSettings, LibrarySettings, StorageSettings
from server.tasks.service import Tasks
from tests.inside import Inside
from tests.library.test_placer import (
    DATABASES,
    PLAIN,
    all_of,
    completed,
    film,
    found,
    holding,
    items_of,
    placed,
    subscribed,
    until,
)


@pytest.fixture(autouse=True)
def looks_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop all checks, since the tests say what checks find, and let the placer work at once."""

    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("server.subscriptions.subscription_checker.SubscriptionChecker.run", never)
    for name in ("LOOK_EVERY", "AGAIN", "BUSY"):
        monkeypatch.setattr(placer, name, 0.2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "library"
    path.mkdir()
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.wide)])
async def server(request: pytest.FixtureRequest, tmp_path: Path, root: Path) -> AsyncIterator[Inside]:
    is_lite = request.param == "sqlite"
    database = "sqlite" if is_lite else request.getfixturevalue("clean_database")
    opened = holding(
        tmp_path,
        storage=StorageSettings(data_dir=tmp_path / "data", database=database),
        downloads=DownloadSettings(min_free_disk=0),
        library=LibrarySettings(path=root, time_zone="UTC"),
    )
    async with opened as server:
        await until((root / MARKER).exists)
        yield server


async def act(server: Inside, subscription_id: str, action: str, **which: Any) -> list[dict[str, Any]]:
    path = f"/api/subscriptions/{subscription_id}/items/actions"
    async with server.client.post(path, json={"action": action, **which}) as answer:
        assert answer.status == 200, await answer.text()
        results: list[dict[str, Any]] = (await answer.json())["results"]
        return results


async def tasks_of(server: Inside) -> list[dict[str, Any]]:
    async with server.client.get("/api/tasks?limit=200") as answer:
        tasks: list[dict[str, Any]] = (await answer.json())["tasks"]
        return tasks


async def in_place(server: Inside, subscription_id: str, key: str) -> list[str]:
    """Wait until an item has paths in the library; return them."""
    while not (paths := (await items_of(server, subscription_id))[key]["paths"]):
        await asyncio.sleep(0.02)
    return list(paths)


async def remove(server: Inside, subscription_id: str) -> None:
    async with server.client.delete(f"/api/subscriptions/{subscription_id}?files=delete") as answer:
        assert answer.status == 204


async def test_a_download_that_ends_while_it_is_skipped_is_fetched_and_placed(
    server: Inside, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = await subscribed(server, "a", backlog="all", library=PLAIN)
    first, *_ = await found(server, mine, 3, 2, 1)
    cancel = Tasks.cancel

    async def ended_just_before(tasks: Tasks, task_id: str) -> TaskStatus:
        if task_id == first:
            await completed(server, first, film(3))
        return await cancel(tasks, task_id)

    monkeypatch.setattr(Tasks, "cancel", ended_just_before)
    results = await act(server, mine, "skip", state="queued")
    assert [result["status"] for result in results] == [409, 200, 200]
    assert results[0]["problem"]["code"] == "wrong_state"
    items = await items_of(server, mine)
    assert [item["state"] for item in items.values()] == ["fetched", "skipped", "skipped"]
    assert await in_place(server, mine, "site 3") == all_of(root)


@pytest.mark.wide
async def test_with_its_files_nothing_is_left_of_a_subscription(server: Inside, root: Path) -> None:
    mine = await subscribed(server, "a", backlog="all", library=PLAIN)
    tasks = await found(server, mine, 4, 3, 2, 1)
    await completed(server, tasks[0], film(4))
    await in_place(server, mine, "site 4")
    await act(server, mine, "skip", keys=["site 3", "site 2"])
    await act(server, mine, "forget", keys=["site 4", "site 3"])
    own = await server.submit()
    await remove(server, mine)
    assert [task["task_id"] for task in await tasks_of(server)] == [own]
    await until(lambda: all_of(root) == [])


async def test_what_another_subscription_wants_goes_on_when_it_is_skipped_and_removed(server: Inside) -> None:
    mine, other = [await subscribed(server, name, backlog="all", library=PLAIN) for name in "ab"]
    [task_id] = await found(server, mine, 1)
    assert await found(server, other, 1) == [task_id]
    assert [result["status"] for result in await act(server, mine, "skip", state="queued")] == [200]
    await remove(server, mine)
    assert [task["task_id"] for task in await tasks_of(server)] == [task_id]
    await completed(server, task_id, film(1))
    assert (await items_of(server, other))["site 1"]["state"] == "fetched"
    assert await in_place(server, other, "site 1")


async def test_a_file_that_its_owner_deleted_is_placed_again_from_its_task(
    server: Inside, root: Path
) -> None:
    mine = await subscribed(server, "a", backlog="all", library=PLAIN)
    [task_id] = await found(server, mine, 1)
    await completed(server, task_id, film(1))
    [path] = await in_place(server, mine, "site 1")
    [result] = await act(server, mine, "fetch", keys=["site 1"])
    assert (result["status"], result["problem"]["code"]) == (409, "wrong_state"), "it is there"
    (root / path).unlink()
    [result] = await act(server, mine, "fetch", keys=["site 1"])
    assert (result["status"], result["item"]["state"], result["item"]["task_id"]) == (200, "fetched", task_id)
    await until((root / path).exists)
    assert [task["task_id"] for task in await tasks_of(server)] == [task_id], "nothing was downloaded"
    assert (await placed(server, task_id)) == [path]


@pytest.mark.parametrize("server", DATABASES, indirect=True)
async def test_of_several_files_the_one_that_its_owner_deleted_is_placed_again(
    server: Inside, root: Path
) -> None:
    mine = await subscribed(server, "a", backlog="all", library=PLAIN)
    [task_id] = await found(server, mine, 1)
    await completed(server, task_id, film(1), ("video", "audio"))
    await placed(server, task_id)
    video, audio = sorted(await in_place(server, mine, "site 1"), key=lambda path: not path.endswith(".mp4"))
    (root / video).unlink()
    [result] = await act(server, mine, "fetch", keys=["site 1"])
    assert (result["status"], result["item"]["state"]) == (200, "fetched")
    await until((root / video).exists)
    assert (root / audio).exists()
    [result] = await act(server, mine, "fetch", keys=["site 1"])
    assert (result["status"], result["problem"]["code"]) == (409, "wrong_state"), "all of it is there"


async def test_a_file_that_its_owner_deleted_is_downloaded_again_where_no_task_has_it(
    server: Inside, root: Path
) -> None:
    mine = await subscribed(server, "a", backlog="all", library=PLAIN | {"keep_task": False})
    [first] = await found(server, mine, 1)
    await completed(server, first, film(1))
    [path] = await in_place(server, mine, "site 1")
    while await tasks_of(server):
        await asyncio.sleep(0.02)
    away = root.rename(root.with_name("away"))
    [result] = await act(server, mine, "fetch", keys=["site 1"])
    assert (result["status"], result["problem"]["code"]) == (503, "library_away"), "nobody knows"
    away.rename(root)
    [result] = await act(server, mine, "fetch", keys=["site 1"])
    assert result["status"] == 409, "it is there"
    (root / path).unlink()
    [result] = await act(server, mine, "fetch", keys=["site 1"])
    assert (result["status"], result["item"]["state"]) == (200, "queued")
    await completed(server, result["item"]["task_id"], film(1))
    await until((root / path).exists)


@pytest.mark.wide
async def test_a_backlog_fetches_what_was_fetched_and_is_nowhere_any_more(server: Inside, root: Path) -> None:
    first = await subscribed(server, "a", backlog="all", library=PLAIN)
    for number, task_id in zip((3, 2, 1), await found(server, first, 3, 2, 1), strict=True):
        await completed(server, task_id, film(number))
        await in_place(server, first, f"site {number}")
    other = await subscribed(server, "b", backlog="all", library=PLAIN | {"folder": "Second"})
    await found(server, other, 3)
    await in_place(server, other, "site 3")
    await remove(server, first)
    await until(lambda: len(all_of(root)) == 1)
    async with server.client.post(
        "/api/media", data=b"site 9\n", headers={"Content-Type": "text/plain"}
    ) as answer:
        assert answer.status == 200
    again = await subscribed(server, "a", backlog={"last": 3}, library=PLAIN)
    await found(server, again, 3, 2, 9, 1)
    items = await items_of(server, again)
    states = {key: (item["state"], item.get("reason")) for key, item in items.items()}
    assert states == {
        "site 3": ("fetched", "in_memory"),  # the other subscription has the file
        "site 2": ("queued", None),
        "site 9": ("fetched", "in_memory"),  # another program has the files
        "site 1": ("fetched", "in_memory"),  # the backlog does not ask for this entry
    }
    [result] = await act(server, again, "fetch", keys=["site 1"])
    assert (result["status"], result["item"]["state"]) == (200, "queued")


async def test_a_backlog_leaves_what_the_library_has_alone(server: Inside, root: Path) -> None:
    first = await subscribed(server, "a", backlog="all", library=PLAIN | {"keep_task": False})
    [task_id] = await found(server, first, 1)
    await completed(server, task_id, film(1))
    await in_place(server, first, "site 1")
    while await tasks_of(server):
        await asyncio.sleep(0.02)
    async with server.client.delete(f"/api/subscriptions/{first}") as answer:
        assert answer.status == 204
    again = await subscribed(server, "b", backlog="all", library=PLAIN)
    await found(server, again, 1)
    assert (await items_of(server, again))["site 1"]["state"] == "fetched"
    assert len(all_of(root)) == 1


async def place(server: Inside, task_id: str, status: int = 202, **body: Any) -> dict[str, Any]:
    async with server.client.post(f"/api/tasks/{task_id}/place", json=body or None) as answer:
        told: dict[str, Any] = await answer.json()
        assert answer.status == status, told
        return told


@pytest.mark.parametrize("server", DATABASES, indirect=True)
async def test_what_was_fetched_before_there_was_a_library_is_placed_without_a_download(
    server: Inside, root: Path
) -> None:
    task_id = await server.submit()
    assert (await place(server, task_id, 409, library=PLAIN))["code"] == "no_files"
    await completed(server, task_id)
    assert (await place(server, task_id, 409))["code"] == "no_library"
    told = await place(server, task_id, library=PLAIN)
    assert told["library"]["state"] == "waiting"
    [path] = await placed(server, task_id)
    assert all_of(root) == [path]
    (root / path).unlink()
    await place(server, task_id)  # the same path as before
    await until((root / path).exists)
    assert [task["task_id"] for task in await tasks_of(server)] == [task_id]


async def test_what_is_placed_later_is_placed_anew_when_it_is_fetched_anew(
    server: Inside, root: Path
) -> None:
    task_id = await server.submit()
    await completed(server, task_id)
    await place(server, task_id, library=PLAIN)
    [path] = await placed(server, task_id)
    await server.app[keys.TASKS]._recorder.record(task_id, Retried())
    await completed(server, task_id, video=b"other film" * 2000)
    assert await placed(server, task_id) == [path]
    assert (root / path).read_bytes() == b"other film" * 2000
    assert all_of(root) == [path]


@pytest.mark.wide
@pytest.mark.parametrize("server", DATABASES, indirect=True)
async def test_a_subscription_that_gets_a_library_later_places_what_it_has(
    server: Inside, root: Path
) -> None:
    mine = await subscribed(server, "a", backlog="all")
    first, second = await found(server, mine, 2, 1)
    await completed(server, first, film(2))
    await completed(server, second, film(1))
    [result] = await act(server, mine, "place", keys=["site 2"])
    assert (result["status"], result["problem"]["code"]) == (409, "no_library")
    async with server.client.patch(f"/api/subscriptions/{mine}", json={"library": PLAIN}) as answer:
        assert answer.status == 200
    [result] = await act(server, mine, "place", keys=["site 2"])
    assert (result["status"], result["item"]["state"]) == (200, "fetched")
    paths = await in_place(server, mine, "site 2")
    assert await placed(server, first) == paths
    await place(server, second)  # the path that its subscription gives
    assert await in_place(server, mine, "site 1") == await placed(server, second)
    assert len(await tasks_of(server)) == 2


@pytest.mark.parametrize("has_ended", [True, False])
async def test_a_request_with_library_and_reuse_places_what_another_has_fetched(
    server: Inside, root: Path, *, has_ended: bool
) -> None:
    task_id = await server.submit()
    if has_ended:
        await completed(server, task_id)
    wish = {"url": (await server.status(task_id))["url"], "reuse": True, "library": PLAIN}
    async with server.client.post("/api/process", json=wish) as answer:
        assert (answer.status, (await answer.json())["task_id"]) == (200, task_id)
    other = {**wish, "library": PLAIN | {"folder": "Second"}}
    async with server.client.post("/api/process/batch", json={"requests": [other, wish]}) as answer:
        results = (await answer.json())["results"]
    assert [result["task"]["task_id"] for result in results] == [task_id] * 2
    if not has_ended:
        assert results[1]["task"]["library"] == {"state": "waiting", "paths": []}
        await completed(server, task_id)
    await until(lambda: len(all_of(root)) == 2)
    paths = await placed(server, task_id)
    assert paths == all_of(root)
    assert [path.split("/")[0] for path in paths] == ["Second", "Some Channel"]


async def nothing_due(server: Inside) -> None:
    """Return when the placer has seen that nothing is to be placed."""
    store = server.app[PLACEMENTS]
    while (await store.due_in(server.app[keys.CLOCK].now().timestamp()) or 0.0) < 60:
        await asyncio.sleep(0.02)


@pytest.mark.wide
@pytest.mark.parametrize("event", [Failed(code="timeout"), Cancelled()])
async def test_a_shared_task_that_ends_without_files_is_placed_once_it_has_some(
    server: Inside, root: Path, event: Failed | Cancelled
) -> None:
    """One client asked for the task without the library, another with it; both share this task."""
    task_id = await server.submit()
    wish = {"url": (await server.status(task_id))["url"], "reuse": True, "library": PLAIN}
    async with server.client.post("/api/process", json=wish) as answer:
        assert (answer.status, (await answer.json())["task_id"]) == (200, task_id)
    recorder = server.app[keys.TASKS]._recorder
    await recorder.record(task_id, Resumed())
    await recorder.record(task_id, Started())
    await recorder.record(task_id, event)
    await nothing_due(server)
    async with server.client.post(f"/api/tasks/{task_id}/retry") as answer:
        assert answer.status == 200
    await completed(server, task_id)
    assert await placed(server, task_id) == all_of(root)


@pytest.mark.wide
@pytest.mark.parametrize("server", DATABASES, indirect=True)
async def test_a_task_without_files_that_was_to_be_placed_expires_all_the_same(server: Inside) -> None:
    task_id = await server.submit()
    wish = {"url": (await server.status(task_id))["url"], "reuse": True, "library": PLAIN}
    async with server.client.post("/api/process", json=wish) as answer:
        assert answer.status == 200
    await server.app[keys.TASKS]._recorder.record(task_id, Cancelled())
    tasks: Any = server.app[keys.TASKS]._store
    tomorrow = server.app[keys.CLOCK].now() + timedelta(days=1)
    # The placer has to see first that no file of the task is to be placed.
    while not (expired := await tasks.mark_expired(tomorrow, 10)):
        await asyncio.sleep(0.02)
    assert expired == [task_id]
