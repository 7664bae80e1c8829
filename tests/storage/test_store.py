"""The contract of `Store`, on every backend."""

import asyncio
import random
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from pathlib import Path
from uuid import uuid4

import pytest

from server.core.errors import DiskFull, IdempotencyMismatch, InvalidQuery, QueueFull, TaskNotFound
from server.core.events import (
    Cancelled,
    EntriesMoved,
    Failed,
    Joined,
    Paused,
    Prioritized,
    Requeued,
    Resumed,
    Retried,
    apply,
)
from server.core.list_entries import Entries, ListEntry
from server.core.ports import Filter, Idempotency, Store, Submission, TaskOfKey
from server.core.task import Stage, Task, TaskStatus
from server.files.public_names import new_short, public_name, short_of
from server.storage import postgresql, sqlite
from server.storage.postgresql.store import PostgresStore
from server.storage.sqlite.store import SqliteStore
from tests.adding import add
from tests.examples import downloading, finished, new_task, started, utc_now
from tests.rooms import HOOKS, rooms

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]

MAX_QUEUED = 300
QUEUE = Filter(stages=(Stage.QUEUED,))
PROCESSING = Filter(stages=tuple(stage for stage in Stage if not stage.is_final))
ERRORS = Filter(stages=(Stage.FAILED, Stage.CANCELLED))


@pytest.fixture(params=["sqlite", "postgresql"])
def open_any(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Return what opens a store; each call opens the same data again."""
    if request.param == "sqlite":
        path = tmp_path / "clipwire.db"
        return lambda: sqlite.open_store(path, max_queued=MAX_QUEUED, find_short=short_of, hooks=HOOKS)
    url = request.getfixturevalue("clean_database")
    return lambda: postgresql.open_store(url, max_queued=MAX_QUEUED, find_short=short_of, hooks=HOOKS)


@pytest.fixture
async def store(open_any: OpenStore) -> AsyncIterator[Store]:
    async with open_any() as store:
        yield store


async def saved(store: Store, status: TaskStatus) -> TaskStatus:
    assert await store.save(status)
    return status


async def ended(store: Store, task: Task | None = None) -> TaskStatus:
    """Add a task and complete it; return its status."""
    added = await add(store, task or new_task())
    return await saved(store, finished(added.status))


async def all_pages(store: Store, wanted: Filter, limit: int) -> list[str]:
    """Return the ids on all pages; fail unless all pages but the last are full."""
    found: list[str] = []
    cursor = None
    while True:
        page = await store.page(wanted, cursor, limit)
        found += [status.task_id for status in page.tasks]
        if page.next_cursor is None:
            return found
        assert len(page.tasks) == limit
        cursor = page.next_cursor


async def ids(store: Store, text: str = "", stages: tuple[Stage, ...] = ()) -> set[str]:
    return {status.task_id for status in (await store.page(Filter(stages, text), None, 200)).tasks}


# --- one task ---


async def test_get_returns_what_add_returned(store: Store) -> None:
    task = new_task(title="Ein Film", priority=-3)
    added = await add(store, task)
    assert added == replace(task, status=task.status.model_copy(update={"number": added.status.number}))
    assert await store.get(task.status.task_id) == added


async def test_numbers_grow_also_after_a_restart_and_a_deletion(open_any: OpenStore) -> None:
    async with open_any() as store:
        first, second = [await add(store, new_task()) for _ in range(2)]
        await store.mark_removed(second.status.task_id)
        await store.forget(second.status.task_id)
    async with open_any() as store:
        third = await add(store, new_task())
    assert first.status.number < second.status.number < third.status.number


@pytest.mark.parametrize("task_id", ["nope", "", "../..", "a" * 5000, "\0", "'; DROP TABLE tasks; --"])
async def test_an_unknown_task_is_not_found(store: Store, task_id: str) -> None:
    with pytest.raises(TaskNotFound):
        await store.get(task_id)


async def test_every_field_is_there_after_a_restart(open_any: OpenStore) -> None:
    async with open_any() as store:
        queued = await add(store, new_task())
        task = await add(store, new_task(title="猫咪"))
        final = await saved(
            store, finished(downloading(started(task.status)).model_copy(update={"revision": 1}))
        )
    async with open_any() as store:
        assert await store.get(queued.status.task_id) == queued
        assert await store.get(final.task_id) == replace(task, status=final)


async def test_tasks_that_are_added_together_have_the_order_in_which_they_were_given(store: Store) -> None:
    known = await add(store, new_task(), Idempotency("known", "a"))
    tasks = [new_task() for _ in range(MAX_QUEUED)]
    submissions = [Submission(task, Idempotency(f"key {i}", "a")) for i, task in enumerate(tasks)]
    added = await store.add(
        [
            Submission(new_task(), Idempotency("known", "b")),
            Submission(new_task(), Idempotency("known2", "a")),
        ]
    )
    assert [type(each) for each in added] == [IdempotencyMismatch, Task]
    added = await store.add([*submissions, Submission(new_task(), Idempotency("known", "a"))])
    new = [each for each in added[:-1] if isinstance(each, Task)]
    assert [task.status.task_id for task in new] == [task.status.task_id for task in tasks[: MAX_QUEUED - 2]]
    assert [task.status.number for task in new] == sorted(task.status.number for task in new)
    assert [type(each) for each in added[len(new) :]] == [QueueFull, QueueFull, Task]
    assert added[-1] == known
    assert await store.get(tasks[0].status.task_id) == new[0]


async def test_tasks_are_found_by_stage_and_error_code_the_oldest_first(store: Store) -> None:
    failed = [await add(store, new_task(title='"error_code":"http_404"')) for _ in range(3)]
    for task, code in zip(failed, ("http_404", "http_40", "http_404"), strict=True):
        await saved(store, apply(task.status, Failed(code=code), utc_now()))
    await add(store, new_task())
    ids = [task.status.task_id for task in failed]
    assert await store.ids_in(Stage.FAILED, "http_404", 5) == [ids[0], ids[2]]
    assert await store.ids_in(Stage.FAILED, "http_404", 1) == ids[:1]
    assert await store.ids_in(Stage.FAILED, None, 5) == ids
    assert await store.ids_in(Stage.CANCELLED, None, 5) == []
    await store.mark_removed(ids[0])
    assert await store.ids_in(Stage.FAILED, "http_404", 5) == [ids[2]]


async def test_failures_that_only_ask_something_are_counted(store: Store) -> None:
    tasks = [await add(store, new_task()) for _ in range(5)]
    for task, code in zip(tasks, ("is_playlist", "not_live", "live_rejected", "http_404"), strict=False):
        await saved(store, apply(task.status, Failed(code=code), utc_now()))
    assert await store.count_asking() == 3
    assert await store.count_asking("anna") == 0
    await store.mark_removed(tasks[0].status.task_id)
    assert await store.count_asking() == 2


def shared_task() -> Task:
    task = new_task()
    assert task.request
    return replace(task, request=task.request.model_copy(update={"reuse": True}))


async def test_a_task_that_may_be_shared_is_added_once_for_each_wish(store: Store) -> None:
    first = await add(store, new_task(), wish="a")
    assert await add(store, shared_task(), wish="a") == first
    tasks = [shared_task() for _ in range(3)]
    added = await store.add([Submission(task, None, "b") for task in tasks])
    assert isinstance(added[0], Task)
    assert added == [added[0]] * 3
    assert [task.status.number for task in await store.find_by_wish("b")] == [added[0].status.number]
    assert (await add(store, new_task(), wish="b")).status.number > added[0].status.number, (
        "who shares nothing has his own"
    )
    await saved(store, finished(first.status))
    assert [task.status.number for task in await store.find_by_wish("a")] == [first.status.number]
    assert (await add(store, shared_task(), wish="a")).status.number > first.status.number, "it has ended"
    await store.mark_removed(first.status.task_id)
    assert len(await store.find_by_wish("a")) == 1


async def test_a_wish_that_an_earlier_release_stored_whole_is_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        for module in ("sqlite.writer", "postgresql.changes"):
            earlier.setattr(f"server.storage.{module}.short_wish", lambda wish: wish)
        first = await add(store, new_task(), wish="a")
    assert await store.find_by_wish("a") == [first]
    assert await add(store, shared_task(), wish="a") == first


async def test_an_entry_is_found_by_its_wish(store: Store) -> None:
    playlist = await add(store, new_task())
    entries = [entry_of(playlist, number) for number in (1, 2)]
    added = await store.save_together([started(playlist.status)], entries, ["a", None])
    assert added
    assert await store.find_by_wish("a") == added[:1]
    assert (await add(store, shared_task(), wish="a")).status.number == added[0].status.number


async def test_of_many_that_share_at_once_one_is_added_and_the_others_are_given_it(store: Store) -> None:
    asked = [shared_task() for _ in range(20)]
    one_by_one = (add(store, task, wish="a") for task in asked[:10])
    together = store.add([Submission(task, None, "a") for task in asked[10:]])
    some, rest = await asyncio.gather(asyncio.gather(*one_by_one), together)
    given = [task for task in (*some, *rest) if isinstance(task, Task)]
    assert len({task.status.number for task in given}) == 1
    ids = [task.status.task_id for task in given]
    assert [task.status.task_id == own for task, own in zip(asked, ids, strict=True)].count(True) == 1


async def test_what_has_changed_since_a_moment_is_told_with_what_was_removed(store: Store) -> None:
    live, gone = [await add(store, new_task()) for _ in range(2)]
    done = await ended(store)
    old = await saved(store, finished((await add(store, new_task())).status, hours_ago=1))
    await store.mark_removed(gone.status.task_id)
    moment = utc_now() - timedelta(minutes=1)
    known = {live.status.task_id: False, done.task_id: False, gone.status.task_id: True}
    assert await store.changed_since(moment) == known
    assert await store.changed_since(moment - timedelta(hours=2)) == known | {old.task_id: False}
    assert await store.changed_since(moment - timedelta(days=8)) is None, "too long ago"
    await store.forget(gone.status.task_id)
    assert await store.changed_since(moment) == known, "also once its row is gone"


async def test_tasks_are_counted_by_stage(store: Store) -> None:
    for _ in range(2):
        await add(store, new_task())
    gone = await add(store, new_task())
    await store.mark_removed(gone.status.task_id)
    await ended(store)
    assert await store.count() == {Stage.QUEUED: 2, Stage.COMPLETED: 1}


async def test_of_two_writers_one_wins(store: Store) -> None:
    task = await add(store, new_task())
    one, other = started(task.status), apply(task.status, Cancelled(), utc_now())
    async with asyncio.timeout(20):
        assert sorted(await asyncio.gather(store.save(one), store.save(other))) == [False, True]
    assert (await store.get(task.status.task_id)).status == one


async def test_a_save_must_follow_directly(store: Store) -> None:
    task = await add(store, new_task())
    second = await saved(store, started(task.status))
    assert not await store.save(second)
    assert not await store.save(second.model_copy(update={"revision": 4}))
    assert not await store.save(new_task().status)
    assert (await store.get(task.status.task_id)).status == second


async def test_two_revisions_at_once_are_saved_in_order(store: Store) -> None:
    task = await add(store, new_task())
    second = started(task.status)
    third = downloading(second)
    async with asyncio.timeout(20):
        assert list(await asyncio.gather(store.save(second), store.save(third))) == [True, True]
    assert (await store.get(task.status.task_id)).status == third


async def test_a_final_task_can_be_retried_after_a_restart(open_any: OpenStore) -> None:
    async with open_any() as store:
        final = await ended(store)
    async with open_any() as store:
        again = await saved(store, apply(final, Retried(), utc_now()))
        assert (await store.get(final.task_id)).status == again


async def test_stages_are_told_of_those_that_exist(store: Store) -> None:
    queued, removed = await add(store, new_task()), await ended(store)
    await store.mark_removed(removed.task_id)
    assert await store.stages([queued.status.task_id, removed.task_id, "nope"]) == {
        queued.status.task_id: Stage.QUEUED,
        removed.task_id: Stage.COMPLETED,
    }


async def test_ping_changes_nothing(store: Store) -> None:
    task = await add(store, new_task())
    async with asyncio.timeout(20):
        await store.ping()
    assert await store.get(task.status.task_id) == task


# --- a list and its entries ---


async def a_list(store: Store) -> Task:
    return await add(store, new_task(playlist=True))


def entry_of(playlist: Task, index: int, title: str | None = None) -> Task:
    found = ListEntry(index=index, url=f"https://example.org/{index}", title=title)
    return Task(new_task().request, TaskStatus.of_entry(playlist.status, found, utc_now()))


async def joined(store: Store, playlist: Task, *indexes: int) -> list[Task]:
    """Add new entries to a list, which counts them; return what was saved."""
    before = await store.get(playlist.status.task_id)
    running = (
        before.status if before.status.stage is Stage.INFO else await saved(store, started(before.status))
    )
    after = apply(running, Joined(count=len(indexes)), utc_now())
    added = await store.save_together([after], [entry_of(playlist, index) for index in indexes])
    assert added is not None
    return added


async def entries_of(store: Store, playlist_id: str, stages: Iterable[Stage] = ()) -> list[Task]:
    """Return the entries of a list in their order."""
    page = await store.page(Filter(tuple(stages), playlist_id=playlist_id), None, 200)
    tasks = [await store.get(status.task_id) for status in page.tasks]
    return sorted(tasks, key=lambda task: task.status.number)


async def test_what_is_saved_together_is_there_after_a_restart_in_its_order(open_any: OpenStore) -> None:
    async with open_any() as store:
        playlist = await a_list(store)
        added = await joined(store, playlist, 1, 2, 3)
        assert [task.status.number for task in added] == sorted(task.status.number for task in added)
    async with open_any() as store:
        playlist_id = playlist.status.task_id
        assert (await store.get(playlist_id)).status.entries == Entries(total=3)
        assert await entries_of(store, playlist_id, [Stage.QUEUED]) == added
        assert await entries_of(store, playlist_id, [Stage.PAUSED]) == []
        assert await entries_of(store, "nope", list(Stage)) == []


async def test_of_what_is_saved_together_all_is_done_or_nothing(store: Store) -> None:
    playlist, other = await a_list(store), await add(store, new_task())
    stale = started(other.status)
    await saved(store, stale)
    new = [entry_of(playlist, 1)]
    assert await store.save_together([started(playlist.status), stale], new) is None
    assert await store.get(playlist.status.task_id) == playlist
    assert await entries_of(store, playlist.status.task_id, list(Stage)) == []


async def test_of_two_who_save_together_one_wins(store: Store) -> None:
    playlist = await a_list(store)
    one, two = await joined(store, playlist, 1, 2)
    counted = (await store.get(playlist.status.task_id)).status
    both = [
        [finished(entry.status), apply(counted, EntriesMoved(completed=1), utc_now())] for entry in (one, two)
    ]
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(*(store.save_together(statuses) for statuses in both))
    assert sorted(outcomes, key=str) == [None, []]
    entries = (await store.get(playlist.status.task_id)).status.entries
    assert entries == Entries(total=2, completed=1)
    assert len(await entries_of(store, playlist.status.task_id, [Stage.COMPLETED])) == 1


async def test_no_place_of_a_list_is_taken_twice(store: Store) -> None:
    playlist = await a_list(store)
    await joined(store, playlist, 1)
    with pytest.raises(Exception, match=r"(?i)unique"):
        await joined(store, playlist, 1)
    before = (await store.get(playlist.status.task_id)).status
    assert before.entries == Entries(total=1)
    await joined(store, playlist, 2)


async def test_entries_need_no_place_in_the_queue_but_to_wait_again(store: Store) -> None:
    playlist = await a_list(store)
    added = await joined(store, playlist, *range(1, MAX_QUEUED + 2))
    with pytest.raises(QueueFull):
        await add(store, new_task())
    final = await saved(store, apply(added[0].status, Cancelled(), utc_now()))
    with pytest.raises(QueueFull):
        await store.save_together([apply(final, Retried(), utc_now())])
    assert (await store.get(final.task_id)).status == final


async def test_of_two_that_are_to_wait_again_at_once_one_gets_the_last_place(store: Store) -> None:
    ended = [
        await saved(store, apply((await add(store, new_task())).status, Cancelled(), utc_now())) for _ in "ab"
    ]
    await asyncio.gather(*(add(store, new_task()) for _ in range(MAX_QUEUED - 1)))
    again = [apply(status, Retried(), utc_now()) for status in ended]
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(
            *(store.save_together([status]) for status in again), return_exceptions=True
        )
    assert [type(outcome) for outcome in outcomes] == [list, QueueFull]


async def test_a_list_is_removed_with_its_entries_and_an_entry_by_itself(store: Store) -> None:
    playlist, other = await a_list(store), await a_list(store)
    one, two = await joined(store, playlist, 1, 2)
    [stranger] = await joined(store, other, 1)
    assert await store.mark_removed(one.status.task_id) == [one.status.task_id]
    playlist_id = playlist.status.task_id
    assert await store.mark_removed(playlist_id) == [playlist_id]
    assert await entries_of(store, playlist_id, list(Stage)) == []
    left, end = await store.entries_behind(playlist_id, 0, 9)
    assert ([task.status.task_id for task in left], end) == ([two.status.task_id], two.status.number)
    for gone in (playlist, two):
        with pytest.raises(TaskNotFound):
            await store.get(gone.status.task_id)
    with pytest.raises(TaskNotFound):
        await store.mark_removed(playlist_id)
    assert await store.get(stranger.status.task_id) == stranger


async def test_pages_of_a_list_show_its_entries_alone(store: Store) -> None:
    playlist, other = await a_list(store), await a_list(store)
    added = await joined(store, playlist, 1, 2, 3, 4, 5)
    await joined(store, other, 1, 2)
    ids_of = [task.status.task_id for task in added]
    await saved(store, finished(added[1].status, title="Second"))
    await saved(store, apply(added[4].status, Prioritized(priority=7), utc_now()))
    playlist_id = playlist.status.task_id
    for limit in (2, 10):
        assert await all_pages(store, Filter(playlist_id=playlist_id), limit) == ids_of[::-1]
        queue = Filter((Stage.QUEUED,), playlist_id=playlist_id)
        assert await all_pages(store, queue, limit) == [ids_of[at] for at in (4, 0, 2, 3)]
    assert await all_pages(store, Filter((Stage.COMPLETED,), playlist_id=playlist_id), 10) == [ids_of[1]]
    assert await all_pages(store, Filter(text="second", playlist_id=playlist_id), 10) == [ids_of[1]]
    assert await all_pages(store, Filter(playlist_id="a" * 40), 10) == []


async def test_folded_pages_show_lists_and_none_of_their_entries(store: Store) -> None:
    alone, playlist, other = await add(store, new_task()), await a_list(store), await a_list(store)
    entries = [*await joined(store, playlist, 1, 2, 3), *await joined(store, other, 1)]
    await saved(store, finished(alone.status, title="Alone"))
    await saved(store, finished(entries[0].status, title="ListEntry"))
    ids_of = [task.status.task_id for task in (other, playlist, alone)]
    for limit in (1, 10):
        assert await all_pages(store, Filter(is_folded=True), limit) == ids_of
        ended = Filter((Stage.COMPLETED, Stage.FAILED), order="ended", is_folded=True)
        assert await all_pages(store, ended, limit) == [alone.status.task_id]
        assert await all_pages(store, Filter((Stage.QUEUED,), is_folded=True), limit) == []


async def test_each_field_of_a_filter_selects_or_orders(store: Store) -> None:
    playlist = await a_list(store)
    [entry] = await joined(store, playlist, 1)
    plain = new_task(title="A cat")
    alone = await add(store, Task(plain.request, plain.status.model_copy(update={"owner": "anna"})))
    first = (await ended(store, new_task(title="First"))).task_id
    last = (await ended(store, new_task(title="Last"))).task_id
    final = (Stage.COMPLETED,)
    mine, of_list, the_list = (task.status.task_id for task in (alone, entry, playlist))
    examples = {
        "stages": (Filter(final), [last, first]),
        "text": (Filter(text="cat"), [mine]),
        "playlist_id": (Filter(playlist_id=the_list), [of_list]),
        "order": (Filter(final, order="oldest"), [first, last]),
        "is_folded": (Filter(is_folded=True), [last, first, mine, the_list]),
        "owner": (Filter(owner="anna"), [mine]),
    }
    assert examples.keys() == {each.name for each in fields(Filter)}, "an example of each field"
    for wanted, expected in examples.values():
        assert await all_pages(store, wanted, 10) == expected, wanted


# --- the same idempotency key ---


async def test_the_same_key_and_request_are_the_same_task_with_its_current_status(store: Store) -> None:
    key = Idempotency("token key", "hash")
    first = await add(store, new_task(), key)
    now = await saved(store, started(first.status))
    assert await add(store, new_task(), key) == replace(first, status=now)
    assert len(await ids(store)) == 1


async def test_a_known_key_is_found_without_a_write(store: Store) -> None:
    first = await add(store, new_task(), Idempotency("key", "meant sent"))
    assert await store.find_by_key(Idempotency("key", "meant")) == TaskOfKey(first)
    assert await store.find_by_key(Idempotency("key", "other sent")) == TaskOfKey(first)
    assert await store.find_by_key(Idempotency("other", "meant")) is None
    with pytest.raises(IdempotencyMismatch):
        await store.find_by_key(Idempotency("key", "other"))
    await store.mark_removed(first.status.task_id)
    assert await store.find_by_key(Idempotency("key", "meant")) is None


async def test_one_hash_of_several_makes_a_request_the_same(store: Store) -> None:
    first = await add(store, new_task(), Idempotency("key", "meant sent"))
    assert await add(store, new_task(), Idempotency("key", "other sent")) == first
    with pytest.raises(IdempotencyMismatch):
        await add(store, new_task(), Idempotency("key", "mean t"))


async def test_the_same_key_with_another_request_is_refused(store: Store) -> None:
    first = await add(store, new_task(), Idempotency("key", "hash"))
    with pytest.raises(IdempotencyMismatch):
        await add(store, new_task(), Idempotency("key", "other"))
    assert await ids(store) == {first.status.task_id}


async def test_of_many_at_once_with_one_key_one_makes_the_task(store: Store) -> None:
    requests = ["hash", "other", "hash", "hash"]
    async with asyncio.timeout(20):
        answers = await asyncio.gather(
            *(add(store, new_task(), Idempotency("key", request)) for request in requests),
            add(store, new_task(), Idempotency("another key", "hash")),
            return_exceptions=True,
        )
    first = answers[0]
    assert isinstance(first, Task)
    assert isinstance(answers[1], IdempotencyMismatch)
    assert answers[2] == answers[3] == first
    assert len(await ids(store)) == 2


async def test_a_key_lives_as_long_as_its_task(open_any: OpenStore) -> None:
    key = Idempotency("key", "hash")
    async with open_any() as store:
        final = finished((await add(store, new_task(), key)).status)
        await saved(store, final)
    async with open_any() as store:
        assert (await add(store, new_task(), key)).status == final
        await store.mark_removed(final.task_id)
        assert (await add(store, new_task(), key)).status.task_id != final.task_id


# --- the key of a request that was answered with another task ---


async def test_a_key_that_was_answered_with_another_task_leads_to_it_as_long_as_it_is_there(
    open_any: OpenStore,
) -> None:
    key, other = Idempotency("key", "meant sent"), Idempotency("key", "other")
    async with open_any() as store:
        first = await add(store, new_task(), wish="a")
        assert await add(store, shared_task(), key, "a") == first
    async with open_any() as store:
        final = await saved(store, apply(first.status, Cancelled(), utc_now()))
        given = TaskOfKey(replace(first, status=final), is_shared=True)
        assert await store.find_by_key(key) == given
        assert await add(store, shared_task(), Idempotency("key", "of_preset sent"), "a") == given.task
        with pytest.raises(IdempotencyMismatch):
            await store.find_by_key(other)
        with pytest.raises(IdempotencyMismatch):
            await add(store, new_task(), other)
        await store.mark_removed(final.task_id)
        assert await store.find_by_key(key) is None
        made = await add(store, new_task(), other)
        assert await store.find_by_key(other) == TaskOfKey(made)
        await store.forget(final.task_id)
        assert await store.find_by_key(other) == TaskOfKey(made)


async def test_a_shared_key_is_free_again_before_the_files_of_its_task_are_gone(store: Store) -> None:
    first = await add(store, new_task(), wish="a")
    await add(store, shared_task(), Idempotency("key", "hash"), "a")
    await store.mark_removed(first.status.task_id)
    second = await add(store, new_task(), wish="a")
    other = Idempotency("key", "other")
    assert await add(store, shared_task(), other, "a") == second
    await store.forget(first.status.task_id)
    assert await store.find_by_key(other) == TaskOfKey(second, is_shared=True), (
        "the row goes on with its new task"
    )


async def test_a_task_takes_the_place_of_another_if_it_is_still_there(store: Store) -> None:
    final = await ended(store)
    keys = [Idempotency(f"key {number}", "hash") for number in range(3)]
    instead = [
        Submission(shared_task(), key, "a", final.task_id, refusal)
        for key, refusal in zip(keys, (None, DiskFull(), None), strict=True)
    ]
    added = await store.add(instead[:2])
    assert [task.status.task_id for task in added if isinstance(task, Task)] == [final.task_id] * 2
    assert await store.find_by_key(keys[1])
    await store.mark_removed(final.task_id)
    refused, made = await store.add(instead[1:])
    assert isinstance(refused, DiskFull)
    assert made == await store.get(instead[2].task.status.task_id)
    assert await store.find_by_key(keys[1]) is None
    assert await store.find_by_key(keys[2]) == TaskOfKey(made)


async def test_of_many_that_share_with_keys_each_key_is_kept(open_any: OpenStore) -> None:
    keys = [Idempotency(f"key {number}", "hash") for number in range(20)]
    async with open_any() as store:
        one_by_one = (add(store, shared_task(), key, "a") for key in [*keys[:10], *keys[:10]])
        together = store.add([Submission(shared_task(), key, "a") for key in keys[10:]])
        await asyncio.gather(asyncio.gather(*one_by_one), together)
    async with open_any() as store:
        known = [found for key in keys if (found := await store.find_by_key(key))]
        assert len(known) == 20
        assert len({found.task.status.task_id for found in known}) == 1
        assert [found.is_shared for found in known].count(False) == 1


async def test_nothing_is_left_of_a_shared_key_once_its_task_is_gone(store: Store) -> None:
    async def count() -> int:
        assert isinstance(store, SqliteStore | PostgresStore)
        sql = "SELECT count(*) FROM shared_keys"
        [(number,)] = await rooms(store).media._transactions.read(lambda tables: tables.fetch(sql))
        return int(number)

    first = await add(store, new_task(), wish="a")
    for number in range(3):
        await add(store, shared_task(), Idempotency(f"key {number}", "hash"), "a")
    await add(store, new_task(), Idempotency("own", "hash"))
    await add(store, shared_task(), wish="a")
    assert await count() == 3
    await store.mark_removed(first.status.task_id)
    await store.forget(first.status.task_id)
    assert await count() == 0


# --- the length of the queue ---


async def test_a_full_queue_takes_as_many_as_fit(store: Store) -> None:
    adds = (add(store, new_task()) for _ in range(MAX_QUEUED + 20))
    async with asyncio.timeout(20):
        answers = await asyncio.gather(*adds, return_exceptions=True)
    assert sum(isinstance(answer, Task) for answer in answers) == MAX_QUEUED
    assert sum(isinstance(answer, QueueFull) for answer in answers) == 20


async def fill(store: Store) -> list[Task]:
    async with asyncio.timeout(20):
        tasks = await asyncio.gather(*(add(store, new_task()) for _ in range(MAX_QUEUED)))
    with pytest.raises(QueueFull):
        await add(store, new_task())
    return tasks


async def test_only_tasks_that_wait_count(store: Store) -> None:
    tasks = await fill(store)
    with pytest.raises(QueueFull):
        await add(store, new_task(auto_start=False))
    await saved(store, started(tasks[0].status))
    await store.mark_removed(tasks[1].status.task_id)
    for _ in range(2):
        await add(store, new_task())
    with pytest.raises(QueueFull):
        await add(store, new_task())


async def test_a_task_that_has_ended_needs_a_place_to_wait_again(store: Store) -> None:
    final, other = [await ended(store) for _ in range(2)]
    tasks = await fill(store)
    for status in (final, other):
        with pytest.raises(QueueFull):
            await store.save(apply(status, Retried(), utc_now()))
    assert (await store.get(final.task_id)).status == final
    running = await saved(store, started(tasks[0].status))
    async with asyncio.timeout(20):
        answers = await asyncio.gather(
            *(store.save(apply(status, Retried(), utc_now())) for status in (final, other)),
            return_exceptions=True,
        )
    assert [type(answer) for answer in answers] == [bool, QueueFull]
    await saved(store, apply(running, Requeued(), utc_now()))  # the task has its place in the queue already
    paused = await saved(store, apply(tasks[1].status, Paused(), utc_now()))
    await saved(store, apply(paused, Resumed(), utc_now()))


async def test_the_queue_is_as_long_after_a_restart(open_any: OpenStore) -> None:
    async with open_any() as store:
        tasks = await fill(store)
    async with open_any() as store:
        with pytest.raises(QueueFull):
            await add(store, new_task())
        await saved(store, apply(tasks[0].status, Paused(), utc_now()))
        with pytest.raises(QueueFull):
            await add(store, new_task())
        await saved(store, apply((await store.get(tasks[0].status.task_id)).status, Cancelled(), utc_now()))
        await add(store, new_task())


async def test_a_known_key_is_answered_though_the_queue_is_full(store: Store) -> None:
    key = Idempotency("key", "hash")
    first = await add(store, new_task(), key)
    for _ in range(MAX_QUEUED - 1):
        await add(store, new_task())
    with pytest.raises(QueueFull):
        await add(store, new_task())
    assert await add(store, new_task(), key) == first


# --- removing ---


async def test_a_removed_task_is_unknown_to_every_reader(store: Store) -> None:
    final = await ended(store, new_task(title="Findme"))
    queued = (await add(store, new_task())).status
    for status in (final, queued):
        await store.mark_removed(status.task_id)
        with pytest.raises(TaskNotFound):
            await store.get(status.task_id)
        with pytest.raises(TaskNotFound):
            await store.mark_removed(status.task_id)
    assert await store.find_file(final.files["video"].name) is None
    assert not await store.save(apply(final, Retried(), utc_now()))
    assert not await store.save(started(queued))
    assert await ids(store) == await ids(store, "findme") == await ids(store, stages=QUEUE.stages) == set()


async def test_what_was_removed_is_remembered_until_it_is_forgotten(open_any: OpenStore) -> None:
    async with open_any() as store:
        task_id = (await ended(store, new_task(title="Findme"))).task_id
        await store.mark_removed(task_id)
    async with open_any() as store:
        assert await store.ids_removed() == [task_id]
        await store.forget(task_id)
        await store.forget(task_id)
        assert await store.ids_removed() == []
        assert await store.stages([task_id]) == {}


async def test_many_are_forgotten_at_once(store: Store) -> None:
    ids = [(await ended(store, new_task())).task_id for _ in range(3)]
    await store.mark_removed(*ids)
    await store.forget(ids[2], "unknown", ids[0])
    assert await store.ids_removed() == [ids[1]]


async def test_a_task_that_is_read_while_it_is_removed_does_not_stay_in_memory(open_any: OpenStore) -> None:
    async with open_any() as store:
        final = await ended(store)
    async with open_any() as store:
        reads = [asyncio.create_task(store.get(final.task_id)) for _ in range(5)]
        async with asyncio.timeout(20):
            await asyncio.gather(store.mark_removed(final.task_id), *reads, return_exceptions=True)
        with pytest.raises(TaskNotFound):
            await store.get(final.task_id)


def hours_ago(hours: float) -> datetime:
    return utc_now() - timedelta(hours=hours)


async def test_only_old_final_tasks_expire(store: Store) -> None:
    old = [await add(store, new_task()) for _ in range(3)]
    for task in old:
        await saved(store, finished(task.status, hours_ago=3))
    retried = apply((await store.get(old[1].status.task_id)).status, Retried(), utc_now())
    await saved(store, retried)
    await ended(store)
    paused = await add(store, new_task(auto_start=False))
    running = await saved(store, started((await add(store, new_task())).status))
    await store.mark_removed(old[2].status.task_id)
    assert await store.mark_expired(hours_ago(2.5), 10) == [old[0].status.task_id]
    assert {retried.task_id, paused.status.task_id, running.task_id} < await ids(store)
    assert set(await store.ids_removed()) == {old[0].status.task_id, old[2].status.task_id}


async def test_the_oldest_expire_first_and_no_more_than_asked_for(store: Store) -> None:
    expected = []
    for hours in (5, 9, 7):
        task = await add(store, new_task())
        expected.append((await saved(store, finished(task.status, hours_ago=hours))).task_id)
    assert set(await store.mark_expired(hours_ago(1), 2)) == {expected[1], expected[2]}
    assert await store.mark_expired(hours_ago(1), 2) == [expected[0]]
    assert await store.mark_expired(hours_ago(1), 2) == []


async def test_a_task_that_is_retried_at_that_moment_does_not_expire(store: Store) -> None:
    final = finished((await add(store, new_task())).status, hours_ago=9)
    await saved(store, final)
    async with asyncio.timeout(20):
        expired, was_retried = await asyncio.gather(
            store.mark_expired(hours_ago(1), 10), store.save(apply(final, Retried(), utc_now()))
        )
    assert (expired, was_retried) == ([], True)
    assert (await store.get(final.task_id)).status.stage is Stage.QUEUED


async def test_the_age_of_what_ended_in_the_future_counts_from_now(store: Store) -> None:
    future, past = [await add(store, new_task()) for _ in range(2)]
    await saved(store, finished(future.status, hours_ago=-1000))
    await saved(store, finished(past.status, hours_ago=3))
    await store.limit_ends(utc_now())
    assert await store.mark_expired(hours_ago(1), 10) == [past.status.task_id]
    assert await store.mark_expired(hours_ago(-1), 10) == [future.status.task_id]


# --- several tasks ---


async def test_the_statuses_of_those_that_exist_come_in_the_order_asked_for(open_any: OpenStore) -> None:
    async with open_any() as store:
        queued, removed = await add(store, new_task()), await ended(store)
        finals = [await ended(store) for _ in range(3)]
        await store.mark_removed(removed.task_id)
        shown = [finals[2], queued.status, finals[0], finals[1]]
        ids = [status.task_id for status in shown]
        asked = [ids[0], "nope", *ids[1:], removed.task_id, ids[0], "\0", "'"]
        assert await store.statuses(asked) == shown
        assert await store.statuses([]) == await store.statuses(["nope"]) == []
    async with open_any() as store:
        assert await store.statuses(asked) == shown


# --- files ---


async def test_a_file_is_found_by_its_name(open_any: OpenStore) -> None:
    async with open_any() as store:
        await ended(store)
        final = await ended(store, new_task(title="Ein Film"))
        for file in final.files.values():
            assert await store.find_file(file.name) == (final.task_id, file)
    async with open_any() as store:
        for file in final.files.values():
            assert await store.find_file(file.name) == (final.task_id, file)


async def test_only_the_exact_name_finds_a_file(open_any: OpenStore) -> None:
    async with open_any() as store:
        final = await ended(store, new_task(title="Ein Film"))
    name = final.files["video"].name
    others = [
        name.replace("video_", "audio_"),
        name.replace("ein", "kein"),
        name.upper(),
        name + "\0",
        f"../{name}",
        public_name("video", "Ein Film", new_short(), "mp4"),
        "",
    ]
    async with open_any() as store:
        assert [await store.find_file(other) for other in others] == [None] * len(others)


async def test_a_retry_keeps_the_files_until_there_are_others(open_any: OpenStore) -> None:
    async with open_any() as store:
        final = await ended(store)
        again = await saved(store, apply(final, Retried(), utc_now()))
        video = final.files["video"]
        assert await store.find_file(video.name) == (final.task_id, video)
    async with open_any() as store:
        assert await store.find_file(video.name) == (final.task_id, video)
        newer = await saved(store, finished(again))
        assert await store.find_file(video.name) is None
        assert await store.find_file(newer.files["video"].name) == (final.task_id, newer.files["video"])


# --- pages ---


async def many(store: Store, count: int = 60) -> list[Task]:
    """Add tasks in all stages and priorities, and remove some of them; return all as they are in the end."""
    chance = random.Random(1)
    tasks = []
    for _ in range(count):
        task = await add(store, new_task(priority=chance.randint(-2, 2), auto_start=chance.random() < 0.9))
        for event in chance.choice(([], [], [Paused()], [Cancelled()], [Failed(code="internal")])):
            task = replace(task, status=apply(task.status, event, utc_now()))
            await store.save(task.status)
        if chance.random() < 0.1:
            await store.mark_removed(task.status.task_id)
        else:
            tasks.append(task)
    return tasks


async def test_pages_show_each_task_once_and_in_order(store: Store) -> None:
    newest_first = sorted(await many(store), key=lambda task: -task.status.number)
    in_queue_order = sorted(newest_first, key=lambda task: (-task.status.priority, task.status.number))
    some_stages = ((), QUEUE.stages, PROCESSING.stages, ERRORS.stages, tuple(Stage))
    for stages, text, limit in (
        *product(some_stages, ("", "example", "ex"), (7, 200)),
        ((), "", 1),
        ((), "ex", 1),
    ):
        tasks = in_queue_order if stages == QUEUE.stages else newest_first
        expected = [task.status.task_id for task in tasks if not stages or task.status.stage in stages]
        found = await all_pages(store, Filter(stages, text), limit)
        assert found == expected, (stages, text, limit)


async def test_pages_show_what_is_oldest_or_what_ended_last_first(store: Store) -> None:
    tasks, final = await many(store), (Stage.COMPLETED, *ERRORS.stages)
    second = 0
    for task in random.Random(2).sample(tasks, len(tasks)):
        if task.status.stage is Stage.QUEUED and second < 20:
            # Two tasks end in each second.
            moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second // 2)
            status = await saved(store, apply(task.status, Cancelled(), moment))
            tasks[tasks.index(task)] = replace(task, status=status)
            second += 1
    ids = {
        "oldest": [task.status.task_id for task in sorted(tasks, key=lambda task: task.status.number)],
        "ended": [
            task.status.task_id
            for task in sorted(
                (task for task in tasks if task.status.completed_at),
                key=lambda task: (int(task.status.completed_at.timestamp()), task.status.number),  # type: ignore[union-attr]
                reverse=True,
            )
        ],
    }
    stage_of = {task.status.task_id: task.status.stage for task in tasks}
    wanted = [
        *(
            Filter(stages, text, order="oldest")
            for stages in (PROCESSING.stages, ERRORS.stages)
            for text in ("", "ex")
        ),
        *(
            Filter(stages, text, order="ended")
            for stages in (final, ERRORS.stages, (Stage.CANCELLED,))
            for text in ("", "ex")
        ),
    ]
    for each, limit in product(wanted, (1, 7, 200)):
        expected = [task_id for task_id in ids[each.order] if stage_of[task_id] in each.stages]
        assert expected
        found = await all_pages(store, each, limit)
        assert found == expected, (each, limit)


async def test_a_page_goes_on_where_the_last_one_ended_though_tasks_come_and_go(store: Store) -> None:
    tasks = [await add(store, new_task()) for _ in range(6)]
    first = await store.page(Filter(), None, 2)
    await add(store, new_task())
    await store.mark_removed(first.tasks[1].task_id)
    second = await store.page(Filter(), first.next_cursor, 2)
    assert [status.task_id for status in second.tasks] == [tasks[index].status.task_id for index in (3, 2)]


async def test_a_changed_priority_moves_a_task_in_the_queue(store: Store) -> None:
    first, second = [await add(store, new_task()) for _ in range(2)]
    await saved(store, apply(second.status, Prioritized(priority=1), utc_now()))
    assert await all_pages(store, QUEUE, 10) == [second.status.task_id, first.status.task_id]


async def test_a_page_shows_what_was_just_saved(store: Store) -> None:
    status = (await add(store, new_task(auto_start=False))).status
    for event in (Resumed(), Paused(), Resumed(), Cancelled(), Retried()):
        status = await saved(store, apply(status, event, utc_now()))
        page = await store.page(Filter(stages=(status.stage,)), None, 10)
        assert page.tasks == [status]


async def test_an_empty_store_has_one_empty_page(store: Store) -> None:
    for wanted in (Filter(), QUEUE, ERRORS, Filter(text="a"), Filter(text="猫咪"), Filter(text="abc")):
        page = await store.page(wanted, None, 10)
        assert (page.tasks, page.next_cursor) == ([], None)


BAD_CURSORS = ["", "0", "MQ", "bg", "猫", "\ud800", "bjE=", "bjE\n", "!bjE", "bi0x", "bjEuMA", "cTEsMQ", "n1"]


@pytest.mark.parametrize("cursor", [*BAD_CURSORS, "a" * 4000, "bjk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"])
async def test_a_bad_cursor_is_an_invalid_query(store: Store, cursor: str) -> None:
    with pytest.raises(InvalidQuery) as caught:
        await store.page(Filter(), cursor, 10)
    assert [field for field, _, _ in caught.value.wrong] == ["cursor"]


async def test_the_cursor_of_another_order_is_an_invalid_query(store: Store) -> None:
    for _ in range(2):
        await add(store, new_task())
    for one, other in ((Filter(), QUEUE), (QUEUE, Filter())):
        cursor = (await store.page(one, None, 1)).next_cursor
        with pytest.raises(InvalidQuery):
            await store.page(other, cursor, 1)


# --- searching ---

FOUND = [
    (new_task(title="100% of_it"), "100%"),
    (new_task(title="100% of_it"), "of_it"),
    (new_task(title="a.*b (c) [d]"), ".*b (c"),
    (new_task(title='say "hi" AND (x)'), '"hi" and ('),
    (new_task(title="ÜBER den Wolken"), "über"),
    (new_task(title="über den Wolken"), "ÜBER DEN"),
    (new_task(title="Große Straße"), "STRASSE"),
    (new_task(title="ΟΔΥΣΣΕΥΣ"), "οδυσσευς"),
    (new_task(title="Привет МИР"), "привет мир"),
    (new_task(title=unicodedata.normalize("NFD", "Café")), "café"),
    (new_task(title="教程：猫咪"), "猫咪"),
    (new_task(title="猫"), "猫"),
    (new_task(title="可爱猫咪视频"), "咪视"),
    (new_task(title="cat 🐈‍⬛!"), "🐈‍⬛!"),
    (new_task(title="x"), "x"),
    (new_task(uploader="Some Body"), "e bod"),
    (new_task(uploader="Some Body"), "dy"),
    (new_task(title="two\nlines\tof\0text"), "two lines of text"),
    (new_task(title="word " * 60 + "END"), "word " * 60 + "end"),
]


@pytest.mark.parametrize(("task", "text"), FOUND)
async def test_a_text_is_found_whatever_its_case(store: Store, task: Task, text: str) -> None:
    final = await ended(store, task)
    other = {"task_id": str(uuid4()), "video_info": task.status.video_info}
    live = new_task().status.model_copy(update=other)
    await add(store, replace(task, status=live))
    await add(store, new_task())
    await ended(store, new_task(title="other"))
    found = await ids(store, text)
    assert {live.task_id, final.task_id} <= found
    assert len(found) == 2 or text in "example.org/watch"


async def test_a_text_stands_for_itself_only(store: Store) -> None:
    await add(store, new_task(title="100 one", uploader="two three axb"))
    await ended(store, new_task(title="100 one", uploader="two three axb"))
    for text in ("100_", "%", "_", ".*", "a.b", "x' OR 1", "one two", "twothree", "*", '"', "zz"):
        assert await ids(store, text) == set(), text


async def test_the_url_is_searched_but_not_a_password_in_it(store: Store) -> None:
    final = await ended(store, new_task("https://me:secret@example.org/Watch?v=AbC"))
    for text in ("watch?v=abc", "=abc", "bc", "v=a"):
        assert await ids(store, text) == {final.task_id}
    assert await ids(store, "secret") == set()


async def test_text_and_stages_narrow_down_together(store: Store) -> None:
    final, live = (
        await ended(store, new_task(title="cat video")),
        (await add(store, new_task(title="cat video"))).status,
    )
    failed = (await add(store, new_task(title="cat video"))).status
    failed = await saved(store, apply(failed, Failed(code="internal"), utc_now()))
    for text in ("cat video", "ca", "c"):
        assert await ids(store, text, (Stage.COMPLETED,)) == {final.task_id}
        assert await ids(store, text, ERRORS.stages) == {failed.task_id}
        assert await ids(store, text, PROCESSING.stages) == {live.task_id}
        assert await ids(store, text, (Stage.QUEUED, Stage.FAILED)) == {failed.task_id, live.task_id}
    assert await ids(store, "completed") == set()


async def test_search_follows_a_task_through_its_life(store: Store) -> None:
    status = (await add(store, new_task())).status
    status = await saved(store, finished(status, title="first name"))
    status = await saved(store, apply(status, Retried(), utc_now()))
    assert await ids(store, "first name") == {status.task_id}
    status = await saved(store, finished(status, title="second name"))
    assert await ids(store, "first") == set()
    assert await ids(store, "second name") == {status.task_id}
    await store.mark_removed(status.task_id)
    await store.forget(status.task_id)
    assert await ids(store, "second name") == set()


async def test_search_finds_what_a_plain_comparison_finds(store: Store) -> None:
    chance = random.Random(7)
    alphabet = 'ab%_"猫咪Ü '
    titles: dict[str, str] = {}
    for _ in range(120):
        title = "".join(chance.choices(alphabet, k=chance.randint(1, 9)))
        task = await add(store, new_task("https://h/", title=title))
        if chance.random() < 0.7:
            await saved(store, finished(task.status))
        titles[task.status.task_id] = title.casefold()
    for _ in range(200):
        text = "".join(chance.choices(alphabet, k=chance.randint(1, 4)))
        assert await ids(store, text) == {key for key, title in titles.items() if text.casefold() in title}


# --- many tasks at once ---


async def test_everything_at_once_is_answered_and_nothing_is_lost(open_any: OpenStore) -> None:
    async def live(store: Store, index: int) -> TaskStatus:
        status = (await add(store, new_task(), Idempotency(f"key {index}", "hash"))).status
        for step in (started, downloading, finished):
            assert (await store.get(status.task_id)).status == status
            status = await saved(store, step(status))
        return status

    async with open_any() as store, asyncio.timeout(30):
        lives = await asyncio.gather(*(live(store, index) for index in range(100)))
    async with open_any() as store:
        assert [(await store.get(status.task_id)).status for status in lives] == lives
        tasks = [await store.get(status.task_id) for status in lives]
        assert all(
            one.status.number < other.status.number
            for one, other in pairwise(sorted(tasks, key=lambda t: t.status.number))
        )
