"""A status that may have been saved: the database went away before it answered."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from server.core.clock import Clock
from server.core.errors import DatabaseAway
from server.core.events import Completed, Event, Failed, Requeued, Started
from server.core.task import Stage, Task, TaskStatus
from server.files.public_names import short_of
from server.storage.sqlite import SqliteStore, open_store
from server.tasks import recorder
from server.tasks.hub import Hub, Watcher
from tests.adding import add
from tests.examples import new_task


@pytest.mark.parametrize("was_saved", [True, False])
async def test_what_was_perhaps_saved_is_recorded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was_saved: bool
) -> None:
    monkeypatch.setattr(recorder, "RETRY_WHILE_STORE_UNAVAILABLE", 0.01)
    original, tries = SqliteStore.save, 0

    async def save(self: SqliteStore, status: TaskStatus) -> bool:
        nonlocal tries
        tries += 1
        if tries > 1:
            return await original(self, status)
        if was_saved:
            await original(self, status)
        raise DatabaseAway(perhaps_done=True)

    monkeypatch.setattr(SqliteStore, "save", save)
    hub, watcher = Hub(), Watcher()
    async with open_store(tmp_path / "clipwire.db", max_queued=9, find_short=short_of) as store:
        task = await add(store, new_task())
        with hub.watch(task.status.task_id, watcher):
            async with asyncio.timeout(20):
                after = await recorder.Recorder(store, hub, Clock()).record_surely(
                    task.status.task_id, Started()
                )
        assert (after.attempt, after.revision) == (1, 2)
        assert (await store.get(after.task_id)).status == after
        assert watcher.take() == [after]


@pytest.mark.parametrize("reads", [1, 2, 3])
@pytest.mark.parametrize("event", [Requeued(counts_as_retry=True), Failed(code="http_404")])
async def test_a_commit_that_shows_only_later_is_published_and_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: Event, reads: int
) -> None:
    monkeypatch.setattr(recorder, "RETRY_WHILE_STORE_UNAVAILABLE", 0.01)
    original_save, original_get = SqliteStore.save, SqliteStore.get
    under_way: list[TaskStatus] = []
    left = 0

    async def show(store: SqliteStore) -> None:
        nonlocal left
        left = 0
        await original_save(store, under_way[0])

    async def save(store: SqliteStore, status: TaskStatus) -> bool:
        nonlocal left
        if left:  # another writer of the same row waits for the commit
            await show(store)
        if under_way or status.stage is Stage.INFO:
            return await original_save(store, status)
        under_way.append(status)
        left = reads
        raise DatabaseAway(perhaps_done=True)

    async def get(store: SqliteStore, task_id: str) -> Task:
        nonlocal left
        left -= left > 0
        if under_way and not left:
            await show(store)
        return await original_get(store, task_id)

    monkeypatch.setattr(SqliteStore, "save", save)
    monkeypatch.setattr(SqliteStore, "get", get)
    hub, watcher = Hub(), Watcher()
    async with open_store(tmp_path / "clipwire.db", max_queued=9, find_short=short_of) as store:
        task_id = (await add(store, new_task())).status.task_id
        recording = recorder.Recorder(store, hub, Clock())
        before = await recording.record(task_id, Started())
        with hub.watch(task_id, watcher):
            async with asyncio.timeout(20):
                after = await recording.record_surely(task_id, event, before.attempt)
        assert [after] == under_way == watcher.take()
        assert (await store.get(task_id)).status == after


async def test_who_does_not_wait_is_told_that_it_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def save(*_: object) -> bool:
        raise DatabaseAway(perhaps_done=True)

    monkeypatch.setattr(SqliteStore, "save", save)
    async with open_store(tmp_path / "clipwire.db", max_queued=9, find_short=short_of) as store:
        task = await add(store, new_task())
        with pytest.raises(DatabaseAway):
            await recorder.Recorder(store, Hub(), Clock()).record(task.status.task_id, Started())


async def test_an_entry_ends_though_the_row_of_its_list_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = SqliteStore.get

    async def get(self: SqliteStore, task_id: str) -> Task:
        if task_id == "list":
            raise ValueError
        return await original(self, task_id)

    monkeypatch.setattr(SqliteStore, "get", get)
    async with open_store(tmp_path / "clipwire.db", max_queued=9, find_short=short_of) as store:
        task = new_task()
        await add(store, replace(task, status=task.status.model_copy(update={"playlist_id": "list"})))
        recording = recorder.Recorder(store, Hub(), Clock())
        for event in (Started(), Completed(files={})):
            after = await recording.record(task.status.task_id, event)
        assert after.stage is Stage.COMPLETED
