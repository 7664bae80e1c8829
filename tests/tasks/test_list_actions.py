"""An action on a list is answered at once and shown by every entry, while the rows of the entries follow."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.api import keys
from server.core.events import Expanded, Paused, Resumed, Started
from server.core.list_entries import ListEntry
from server.core.task import Queued, Task
from server.files.free_space import make_room
from server.files.workplace import LocalWorkplace
from server.storage.sqlite import SqliteStore
from server.tasks.dispatcher import LocalDispatcher, Queue
from server.tasks.list_actions import AT_ONCE
from tests.inside import Inside, inside

ENTRIES = 2 * AT_ONCE + 20
Payload = dict[str, Any]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """An event: until it is set, only the first entries of a list get the action on the list into their
    rows.
    """
    opened, behind = asyncio.Event(), SqliteStore.entries_behind

    async def later(self: SqliteStore, playlist_id: str, number: int, limit: int) -> Any:
        if number:
            await opened.wait()
        return await behind(self, playlist_id, number, limit)

    monkeypatch.setattr(SqliteStore, "entries_behind", later)
    return opened


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Inside]:
    async with held(tmp_path) as opened:
        yield opened


@asynccontextmanager
async def held(tmp_path: Path) -> AsyncIterator[Inside]:
    """A server with a paused queue."""
    async with inside(tmp_path) as opened:
        await opened.app[keys.TASKS].pause_queue()
        yield opened


async def a_list(opened: Inside, count: int = ENTRIES) -> tuple[str, list[str]]:
    """Make a list that was read; return its id, and those of its queued entries."""
    tasks = opened.app[keys.TASKS]
    recorder, submit = tasks._recorder, tasks._dispatcher.submit
    playlist_id = await opened.submit(url="http://127.0.0.9:9/list", playlist=True)
    await recorder.record(playlist_id, Resumed())
    reading = replace(
        await tasks._store.get(playlist_id), status=await recorder.record(playlist_id, Started())
    )
    found = [
        ListEntry(index=n + 1, url=f"http://127.0.0.9:9/{n}.mp4", title=f"No. {n}") for n in range(count)
    ]
    ids: list[str] = []

    def accepted(task: Any) -> None:
        ids.append(task.status.task_id)
        submit(task)

    await recorder.join_surely(reading, found, count, accepted)
    await recorder.record(playlist_id, Expanded(), reading.status.attempt)
    return playlist_id, ids


async def act(opened: Inside, task_id: str, action: str) -> Payload:
    async with asyncio.timeout(20), opened.client.post(f"/api/tasks/{task_id}/{action}") as answer:
        assert answer.status == 200
        return dict(await answer.json())


async def all_taken(opened: Inside) -> None:
    store = opened.app[keys.TASKS]._store
    async with asyncio.timeout(60):
        while await store.lists_acted_on():
            await asyncio.sleep(0.01)


async def counts(opened: Inside) -> Counter[str]:
    async with opened.client.get("/api/queue") as answer:
        return +Counter((await answer.json())["stages"])


async def listed(opened: Inside, **query: Any) -> list[Payload]:
    """Return the tasks of all pages of a listing."""
    found: list[Payload] = []
    while True:
        async with opened.client.get("/api/tasks", params={"limit": 200} | query) as answer:
            page = await answer.json()
        found += page["tasks"]
        if "next_cursor" not in page:
            return found
        query["cursor"] = page["next_cursor"]


def queue(opened: Inside) -> Queue:
    dispatcher = opened.app[keys.TASKS]._dispatcher
    assert isinstance(dispatcher, LocalDispatcher)
    return dispatcher._queue


def in_queue(opened: Inside) -> set[str]:
    return set(queue(opened)._queued)


async def test_every_entry_shows_at_once_what_happened_to_its_list(
    opened: Inside, gate: asyncio.Event
) -> None:
    playlist_id, ids = await a_list(opened)
    last = ids[-1]
    async with opened.client.get(f"/api/status/{last}") as answer:
        before, tag = await answer.json(), answer.headers["ETag"]
    wait = {"If-None-Match": tag}
    async with opened.client.ws_connect(f"/ws/{last}") as socket:
        assert (await socket.receive_json())["stage"] == "queued"
        waiting = asyncio.create_task(opened.client.get(f"/api/status/{last}?wait=20", headers=wait))
        assert (await act(opened, playlist_id, "pause"))["stage"] == "paused"
        async with asyncio.timeout(10):
            told = await socket.receive_json()
            answer = await waiting
        assert (answer.status, await answer.json()) == (200, told)
        assert answer.headers["ETag"] != tag
    assert told == await opened.status(last)
    assert (told["stage"], told["revision"]) == ("paused", before["revision"] + 1)
    assert await counts(opened) == {"paused": ENTRIES + 1}
    assert [task["task_id"] for task in await listed(opened, stage="paused", playlist_id=playlist_id)] == ids[
        ::-1
    ]
    assert {task["task_id"] for task in await listed(opened, stage="paused")} == {playlist_id, *ids}
    assert await listed(opened, stage="queued") == []
    assert in_queue(opened) == set()
    gate.set()
    await all_taken(opened)
    assert await opened.status(last) == told
    assert await counts(opened) == {"paused": ENTRIES + 1}
    assert (await opened.app[keys.TASKS]._store.get(last)).row is None


async def test_the_feed_of_all_tasks_tells_the_list_first_and_each_entry_once(opened: Inside) -> None:
    playlist_id, ids = await a_list(opened)
    async with opened.client.ws_connect("/ws") as socket:
        await act(opened, playlist_id, "cancel")
        async with asyncio.timeout(30):
            told = [await socket.receive_json() for _ in range(ENTRIES + 1)]
        assert [task["task_id"] for task in told] == [playlist_id, *ids]
        assert {task["stage"] for task in told} == {"cancelled"}
        assert told[0]["entries"] == {"total": ENTRIES, "completed": 0, "failed": ENTRIES}
        assert told[1:] == [await opened.status(task_id) for task_id in ids]


async def test_an_entry_that_ended_or_was_paused_by_itself_stays_so(opened: Inside) -> None:
    playlist_id, ids = await a_list(opened)
    await act(opened, ids[-1], "pause")
    await act(opened, ids[-2], "cancel")
    ended = await opened.status(ids[-2])
    for _ in range(2):
        await act(opened, playlist_id, "pause")
        await act(opened, playlist_id, "resume")
        assert (await opened.status(ids[-1]))["stage"] == "paused"
        assert await counts(opened) == {"download": 1, "queued": ENTRIES - 2, "paused": 1, "cancelled": 1}
        await all_taken(opened)
        assert in_queue(opened) == set(ids[:-2])
    assert await opened.status(ids[-2]) == ended
    await act(opened, ids[-1], "resume")
    assert in_queue(opened) == set(ids) - {ids[-2]}


async def test_what_earlier_releases_paused_with_its_list_goes_on_with_it(opened: Inside) -> None:
    playlist_id, ids = await a_list(opened, 2)
    tasks = opened.app[keys.TASKS]
    await tasks._dispatcher.withdraw(*ids)
    # As in a row that does not say what paused the entry.
    await tasks._recorder.record(ids[0], Paused(with_list=True))
    await act(opened, playlist_id, "resume")
    assert await counts(opened) == {"download": 1, "queued": 2}


async def test_actions_on_a_list_follow_each_other_before_its_entries_do(
    opened: Inside, gate: asyncio.Event
) -> None:
    playlist_id, ids = await a_list(opened)
    await act(opened, playlist_id, "pause")
    seen = [(await opened.status(ids[-1]))["revision"]]
    for action, stage in (
        ("resume", "queued"),
        ("cancel", "cancelled"),
        ("retry", "queued"),
        ("pause", "paused"),
    ):
        playlist = await act(opened, playlist_id, action)
        entry = await opened.status(ids[-1])
        assert entry["stage"] == stage
        assert playlist["entries"]["failed"] == (ENTRIES if action == "cancel" else 0)
        seen.append(entry["revision"])
    assert seen == [2, 3, 4, 5, 6]
    gate.set()
    await all_taken(opened)
    assert await opened.status(ids[-1]) == entry
    assert await counts(opened) == {"paused": ENTRIES + 1}
    await act(opened, playlist_id, "resume")
    await all_taken(opened)
    assert in_queue(opened) == set(ids)


async def test_an_action_on_one_entry_comes_after_that_on_its_list(
    opened: Inside, gate: asyncio.Event
) -> None:
    playlist_id, ids = await a_list(opened)
    await act(opened, playlist_id, "pause")
    assert (await act(opened, ids[-1], "resume"))["revision"] == 3
    assert in_queue(opened) == {ids[-1]}
    await act(opened, ids[-2], "cancel")
    async with opened.client.delete(f"/api/tasks/{ids[-3]}") as answer:
        assert answer.status == 204
    assert (await opened.status(playlist_id))["entries"]["failed"] == 2
    gate.set()
    await all_taken(opened)
    assert await counts(opened) == {"queued": 1, "cancelled": 1, "paused": ENTRIES - 2}
    assert (await opened.status(playlist_id))["entries"]["failed"] == 2


@pytest.mark.wide
@pytest.mark.parametrize("action", ["pause", "cancel"])
async def test_an_entry_that_is_stopped_while_its_list_goes_on_does_not_begin(
    opened: Inside, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    playlist_id, ids = await a_list(opened)
    gate.set()
    await act(opened, playlist_id, "pause")
    await all_taken(opened)
    gate.clear()
    await act(opened, playlist_id, "resume")
    put = list[str]()
    dispatcher = opened.app[keys.TASKS]._dispatcher
    assert isinstance(dispatcher, LocalDispatcher)
    submit = dispatcher.submit

    def submitted(self: LocalDispatcher, *tasks: Task | Queued) -> None:
        put.extend((each.status if isinstance(each, Task) else each).task_id for each in tasks)
        submit(*tasks)

    monkeypatch.setattr(LocalDispatcher, "submit", submitted)
    await act(opened, ids[-1], action)
    assert ids[-1] not in put
    gate.set()
    await all_taken(opened)
    assert in_queue(opened) == set(ids[:-1])


async def test_an_entry_that_begins_anew_with_its_list_keeps_what_it_has_of_its_files(
    opened: Inside, gate: asyncio.Event, tmp_path: Path
) -> None:
    playlist_id, ids = await a_list(opened)
    gate.set()
    await act(opened, playlist_id, "cancel")
    await all_taken(opened)
    gate.clear()
    await act(opened, playlist_id, "retry")
    await act(opened, ids[-2], "cancel")
    for task_id in ids[-2:]:
        opened.work(task_id).mkdir(parents=True)
    await make_room(LocalWorkplace(tmp_path / "data"), opened.app[keys.TASKS]._store, lambda: False)
    assert [opened.work(task_id).exists() for task_id in ids[-2:]] == [False, True]
    gate.set()


async def test_a_list_that_was_moved_is_first_in_the_queue_at_once(
    opened: Inside, gate: asyncio.Event
) -> None:
    other = await opened.submit(url="http://127.0.0.9:9/other", auto_start=True, priority=10)
    playlist_id, ids = await a_list(opened)
    async with opened.client.patch(f"/api/tasks/{playlist_id}", json={"position": "first"}) as answer:
        assert answer.status == 200
    assert [task["task_id"] for task in await listed(opened, stage="queued")] == [*ids, other]
    heads = [queue(opened).pop({}, 0) for _ in range(3)]
    assert [head and head.task_id for head in heads] == ids[:3]
    gate.set()


async def test_after_a_restart_the_rest_of_the_entries_follow(
    tmp_path: Path, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held(tmp_path) as opened:
        playlist_id, ids = await a_list(opened)
        await act(opened, playlist_id, "cancel")
        told = [await opened.status(task_id) for task_id in (playlist_id, ids[0], ids[-1])]
    async with held(tmp_path) as opened:
        assert [await opened.status(task_id) for task_id in (playlist_id, ids[0], ids[-1])] == told
        assert await counts(opened) == {"cancelled": ENTRIES + 1}
        assert in_queue(opened) == set()
        gate.set()
        await all_taken(opened)
        assert await counts(opened) == {"cancelled": ENTRIES + 1}
        assert await opened.status(ids[-1]) == told[-1]


async def test_a_list_is_unknown_with_all_its_entries_at_once_and_their_files_go_later(
    tmp_path: Path, gate: asyncio.Event
) -> None:
    async with held(tmp_path) as opened:
        playlist_id, ids = await a_list(opened)
        link = await opened.finished(b"film", ids[-1])
        async with opened.client.get(link) as answer:
            assert answer.status == 200
        async with asyncio.timeout(20), opened.client.delete(f"/api/tasks/{playlist_id}") as answer:
            assert answer.status == 204
        for path in (f"/api/status/{playlist_id}", f"/api/status/{ids[-1]}", link):
            async with opened.client.get(path) as answer:
                assert answer.status == 404
        assert (await listed(opened), await counts(opened), in_queue(opened)) == ([], {}, set())
        assert (tmp_path / "data" / "files" / ids[-1]).exists()
    async with held(tmp_path) as opened:
        async with opened.client.get(link) as answer:
            assert answer.status == 404
        gate.set()
        await all_taken(opened)
        async with asyncio.timeout(30):
            while await opened.app[
                keys.TASKS
            ]._store.ids_removed():  # the start finishes the deletion of the marked tasks
                await asyncio.sleep(0.01)
        assert not (tmp_path / "data" / "files" / ids[-1]).exists()


async def test_a_list_and_its_entries_are_deleted_at_the_same_time(
    opened: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All entries of the first transaction are gone before the transaction begins."""
    playlist_id, ids = await a_list(opened, AT_ONCE)
    behind, done = SqliteStore.entries_behind, asyncio.Event()

    async def overtaken(self: SqliteStore, *wanted: Any) -> Any:
        found = await behind(self, *wanted)
        if not done.is_set():
            done.set()
            for task_id in ids:
                async with opened.client.delete(f"/api/tasks/{task_id}") as answer:
                    assert answer.status == 204
        return found

    monkeypatch.setattr(SqliteStore, "entries_behind", overtaken)
    async with asyncio.timeout(60), opened.client.delete(f"/api/tasks/{playlist_id}") as answer:
        assert answer.status == 204
    await all_taken(opened)
    assert await opened.app[keys.TASKS]._store.ids_removed() == []
