"""The memory of fetched videos, on every backend."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from server.core.events import Completed, Described, Failed, Retried, Started, apply
from server.core.film import VideoInfo
from server.core.media_keys import key_of_link
from server.core.process_request import Output, ProcessRequest
from server.core.task import Task, TaskStatus
from server.files.public_names import short_of
from server.memory.remembering import IMPORTED
from server.storage import postgresql, sqlite
from server.storage.postgresql.store import PostgresStore
from server.storage.sqlite.store import SqliteStore
from tests.adding import add
from tests.examples import new_task, utc_now
from tests.rooms import HOOKS, rooms

AnyStore = SqliteStore | PostgresStore
Open = Callable[[], AbstractAsyncContextManager[AnyStore]]
URL = "https://a.test/watch?v=1"
INFO = VideoInfo(
    id="1", extractor_key="Site", title="猫咪", webpage_url="https://a.test/film/1", channel_id="UC1"
)


@pytest.fixture(params=["sqlite", "postgresql"])
def open_any(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "sqlite":
        path = tmp_path / "clipwire.db"
        return lambda: sqlite.open_store(path, max_queued=100, find_short=short_of, hooks=HOOKS)
    url = request.getfixturevalue("clean_database")
    return lambda: postgresql.open_store(url, max_queued=100, find_short=short_of, hooks=HOOKS)


@pytest.fixture
async def store(open_any: Open) -> AsyncIterator[AnyStore]:
    async with open_any() as store:
        yield store


async def fetched(
    store: AnyStore,
    url: str = URL,
    info: VideoInfo = INFO,
    archive_ids: tuple[str, ...] = (),
    **fields: Any,
) -> Task:
    """Add a task, run it and complete it."""
    task = await add(store, new_task(url, **fields))
    return await completed(store, task, info, archive_ids)


async def completed(
    store: AnyStore, task: Task, info: VideoInfo = INFO, archive_ids: tuple[str, ...] = ()
) -> Task:
    status = await saved(store, apply(task.status, Started(), utc_now()))
    if archive_ids:
        described = Described(video_info=info, archive_ids=archive_ids)
        status = await saved(store, apply(status, described, utc_now()))
    status = await saved(store, apply(status, Completed(files={}, video_info=info), utc_now()))
    return Task(task.request, status)


def manner(url: str = URL, **fields: Any) -> str:
    return ProcessRequest(url=url, **fields).manner()


async def saved(store: AnyStore, status: TaskStatus) -> TaskStatus:
    assert await store.save(status)
    return status


async def test_what_was_fetched_is_found_by_its_key_its_link_and_its_page(store: AnyStore) -> None:
    task = await fetched(store)
    for key in ("site 1", key_of_link(URL), key_of_link("http://a.test/film/1#top")):
        found = await rooms(store).media.find([key])
        assert found
        assert (found.key, found.task_id) == ("site 1", task.status.task_id)
        assert found.manners == {manner(url="http://b.test/")}
        assert found.about["title"] == "猫咪"
        assert task.status.completed_at
        assert abs(found.fetched_at - task.status.completed_at.timestamp()) < 1e-3
    assert await rooms(store).media.find(["site 2", key_of_link("https://a.test/film/2")]) is None
    assert await rooms(store).media.find([]) is None


async def test_it_is_remembered_when_the_task_and_the_server_are_gone(open_any: Open) -> None:
    async with open_any() as store:
        task = await fetched(store)
        await store.mark_removed(task.status.task_id)
        found = await rooms(store).media.find(["site 1"])
        assert found
        assert found.task_id is None, "being removed"
        await store.forget(task.status.task_id)
    async with open_any() as store:
        found = await rooms(store).media.find(["site 1"])
        assert found
        assert found.task_id is None


async def test_the_last_task_counts_and_every_manner(store: AnyStore) -> None:
    await fetched(store)
    second = await fetched(store, outputs=(Output.AUDIO,))
    found = await rooms(store).media.find(["site 1"])
    assert found
    assert found.task_id == second.status.task_id
    assert found.manners == {
        manner(),
        ProcessRequest(url=URL, outputs=(Output.AUDIO,)).manner(),
    }
    third = await fetched(store)
    found = await rooms(store).media.find(["site 1"])
    assert found
    assert (found.task_id, len(found.manners)) == (third.status.task_id, 2)


async def test_ids_that_it_had_before_are_other_names_of_it(store: AnyStore) -> None:
    await fetched(store, archive_ids=("site old-1", "oldsite 1", "nonsense"))
    for key in ("site old-1", "oldsite 1"):
        found = await rooms(store).media.find([key])
        assert found
        assert found.key == "site 1"
    assert await rooms(store).media.find(["nonsense"]) is None


async def test_a_link_that_leads_to_another_video_now_is_known_as_that(store: AnyStore) -> None:
    live = "https://a.test/live"
    for number in ("1", "2"):
        await fetched(store, live, VideoInfo(id=number, extractor_key="Site"))
    found = await rooms(store).media.find([key_of_link(live)])
    assert found
    assert found.key == "site 2"
    assert await rooms(store).media.find(["site 1"])


async def test_entries_of_a_page_are_not_taken_for_each_other(store: AnyStore) -> None:
    for item in (1, 2):
        task = new_task(URL)
        status = task.status.model_copy(update={"item": item})
        info = VideoInfo(id=f"page-{item}", extractor_key="HTML5MediaEmbed", webpage_url=URL)
        await completed(store, await add(store, Task(task.request, status)), info)
    assert await rooms(store).media.find([key_of_link(URL)]) is None
    for item in (1, 2):
        assert await rooms(store).media.find([key_of_link(URL, item)])


@pytest.mark.parametrize(
    "fields", [{"clip": {"start": 0, "end": 1}}, {"outputs": ("thumbnail",)}, {"outputs": ("subtitles",)}]
)
async def test_what_is_no_whole_film_is_not_remembered(store: AnyStore, fields: dict[str, Any]) -> None:
    await fetched(store, **fields)
    assert await rooms(store).media.find(["site 1", key_of_link(URL)]) is None


async def test_a_failure_is_not_remembered_and_its_retry_is(store: AnyStore) -> None:
    task = await add(store, new_task(URL))
    status = await saved(store, apply(task.status, Started(), utc_now()))
    status = await saved(store, apply(status, Failed(code="http_404"), utc_now()))
    assert await rooms(store).media.find([key_of_link(URL)]) is None
    status = await saved(store, apply(status, Retried(), utc_now()))
    await completed(store, Task(task.request, status))
    assert await rooms(store).media.find([key_of_link(URL)])


async def test_two_that_end_in_one_commit_are_remembered_both(store: AnyStore) -> None:
    tasks = [await add(store, new_task(URL)) for _ in range(2)]
    ends = []
    for task in tasks:
        status = await saved(store, apply(task.status, Started(), utc_now()))
        ends.append(apply(status, Completed(files={}, video_info=INFO), utc_now()))
    assert await store.save_together(ends) is not None
    found = await rooms(store).media.find(["site 1"])
    assert found
    assert found.task_id == tasks[1].status.task_id


async def test_an_archive_is_taken_once_and_changes_nothing_that_is_known(store: AnyStore) -> None:
    await fetched(store, archive_ids=("site old",))
    assert await rooms(store).media.take(["site 1", "site old", "site 2", "site 2", "site 3"], 5.0) == 2
    assert await rooms(store).media.take(["site 2", "site 3"], 6.0) == 0
    found = await rooms(store).media.find(["site 2"])
    assert found
    assert (found.fetched_at, found.task_id, {*found.manners}) == (5.0, None, {IMPORTED})
    known = await rooms(store).media.find(["site 1"])
    assert known
    assert IMPORTED not in known.manners


async def test_what_an_archive_had_and_is_fetched_keeps_both(store: AnyStore) -> None:
    await rooms(store).media.take(["site 1"], 5.0)
    await fetched(store)
    found = await rooms(store).media.find(["site 1"])
    assert found
    assert found.manners == {IMPORTED, manner()}


async def test_thousands_are_taken_at_once(store: AnyStore) -> None:
    keys = [f"site {number}" for number in range(2000)]
    assert await rooms(store).media.take(keys, 5.0) == 2000
    assert await rooms(store).media.find(["site 1999"])
