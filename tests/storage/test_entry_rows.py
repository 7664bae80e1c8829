"""After an action on a list, its entries show the action at once, whatever their rows still say, on every
backend.
"""

import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import get_args

import pytest

from server.core.entry_status import ListAction, ListKind, status_after_actions
from server.core.errors import QueueFull, TaskNotFound
from server.core.events import (
    Cancelled,
    DownloadStarted,
    EntriesMoved,
    Event,
    Failed,
    Joined,
    Paused,
    Prioritized,
    Progress,
    Started,
    apply,
)
from server.core.list_entries import ListEntry
from server.core.ports import Filter, Store
from server.core.task import Stage, Task, TaskStatus
from server.files.public_names import short_of
from server.storage import postgresql, sqlite
from tests.adding import add
from tests.examples import finished, new_task, started, utc_now

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]
MAX_QUEUED = 40
KINDS = [kind for kind in get_args(ListKind) if kind != "remove"]
DOWNLOAD = Progress(progress=50, downloaded_bytes=1)
BEGINNINGS: list[list[Event]] = [
    [],
    [Started()],
    [Started(), DownloadStarted(), DOWNLOAD],
    [Paused()],
    [Paused(with_list=True)],
    [Prioritized(priority=7)],
    [Prioritized(rank=-3)],
    [Failed(code="http_404")],
    [Cancelled()],
]


@pytest.fixture(params=["sqlite", "postgresql"])
def open_any(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Return what opens a store; each call opens the same data again."""
    if request.param == "sqlite":
        path = tmp_path / "clipwire.db"
        return lambda: sqlite.open_store(path, max_queued=MAX_QUEUED, find_short=short_of)
    url = request.getfixturevalue("clean_database")
    return lambda: postgresql.open_store(url, max_queued=MAX_QUEUED, find_short=short_of)


@pytest.fixture
async def store(open_any: OpenStore) -> AsyncIterator[Store]:
    async with open_any() as store:
        yield store


async def a_list(store: Store, count: int) -> tuple[str, list[Task]]:
    """Make a list; return its id and its entries, all queued."""
    playlist = started((await add(store, new_task(playlist=True))).status)
    assert await store.save(playlist)
    found = [
        ListEntry(index=n + 1, url=f"https://example.org/{n}", title=f"Number {n}") for n in range(count)
    ]
    entries = [Task(new_task().request, TaskStatus.of_entry(playlist, each, utc_now())) for each in found]
    added = await store.save_together([apply(playlist, Joined(count=count), utc_now())], entries)
    assert added is not None
    return playlist.task_id, added


async def all_beginnings(store: Store) -> tuple[str, dict[str, TaskStatus]]:
    """Make a list with an entry of each kind; return the id of the list, and the entries by id."""
    playlist_id, entries = await a_list(store, len(BEGINNINGS) + 1)
    rows: dict[str, TaskStatus] = {}
    for entry, events in zip(entries, [*BEGINNINGS, None], strict=True):
        status = entry.status
        for event in events or ():
            status = apply(status, event, utc_now())
            assert await store.save(status)
        if events is None:
            status = finished(status)
            assert await store.save(status)
        rows[status.task_id] = status
    counts = EntriesMoved(completed=1, failed=2)
    assert await store.save(apply((await store.get(playlist_id)).status, counts, utc_now()))
    return playlist_id, rows


def action_of(kind: ListKind, priority: int | None = None, rank: int | None = None) -> ListAction:
    return ListAction(kind=kind, at=utc_now(), wall=utc_now(), priority=priority, rank=rank)


async def act(store: Store, playlist_id: str, action: ListAction) -> TaskStatus | None:
    before = (await store.get(playlist_id)).status

    def follow(concerned: Mapping[Stage, int]) -> TaskStatus:
        failed = {"cancel": 1, "retry": -1}.get(action.kind, 0) * sum(concerned.values())
        after = apply(before, EntriesMoved(failed=failed), utc_now()) if concerned else before
        return after.model_copy(update={"revision": before.revision + 1}) if concerned else before

    return await store.act_on_list(before, action, follow)


async def take_all(store: Store, playlist_id: str) -> None:
    last = (await store.lists_acted_on())[playlist_id]
    place: int | None = 0
    while place is not None:
        tasks, place = await store.entries_behind(playlist_id, place, 3)
        assert await store.save_together([], taken=tasks) == []
    assert await store.forget_actions(playlist_id, last) is None


async def looks(store: Store, playlist_id: str) -> dict[str, object]:
    """Return all that readers see of the entries of a list, and of all tasks."""
    found: dict[str, object] = {"count": {stage: n for stage, n in (await store.count()).items() if n}}
    filters = {
        f"{stage} {order}": Filter((stage,), order=order) for stage in Stage for order in ("newest", "oldest")
    }
    filters |= {f"ended {stage}": Filter((stage,), order="ended") for stage in Stage if stage.is_final}
    filters |= {
        "all": Filter(),
        "of the list": Filter(playlist_id=playlist_id),
        "waiting of the list": Filter((Stage.QUEUED,), playlist_id=playlist_id),
        "some of the list": Filter((Stage.PAUSED, Stage.CANCELLED), playlist_id=playlist_id),
        "text": Filter(text="number"),
        "text and stages": Filter((Stage.CANCELLED, Stage.QUEUED), "number"),
        "folded": Filter(is_folded=True),
    }
    for name, wanted in filters.items():
        pages, cursor = list[TaskStatus](), None
        while True:
            page = await store.page(wanted, cursor, 4)
            pages += page.tasks
            if (cursor := page.next_cursor) is None:
                break
        found[name] = pages
    for stage in Stage:
        found[f"ids in {stage}"] = await store.ids_in(stage, None, 99)
        for code in ("http_404", "cancelled"):
            found[f"{code} in {stage}"] = await store.ids_in(stage, code, 99)
    return found


PAIRS = [list(pair) for pair in itertools.product(KINDS, repeat=2)]
ONES = [[kind] for kind in KINDS]
FOURS = [random.Random(seed).choices(KINDS, k=4) for seed in range(6)]


@pytest.mark.parametrize(
    ("open_any", "kinds"),
    [
        *[pytest.param("sqlite", kinds) for kinds in (*ONES, *FOURS)],
        *[pytest.param("postgresql", kinds) for kinds in FOURS],
        *[pytest.param("postgresql", kinds, marks=pytest.mark.wide) for kinds in ONES],
        *[pytest.param("sqlite", kinds, marks=pytest.mark.wide) for kinds in PAIRS],
        *[pytest.param("postgresql", kinds, marks=pytest.mark.long) for kinds in PAIRS],
    ],
    indirect=["open_any"],
)
async def test_what_rows_have_not_taken_yet_is_read_as_if_they_had(
    store: Store, kinds: list[ListKind]
) -> None:
    playlist_id, rows = await all_beginnings(store)
    await add(store, new_task(title="Number of nobody's list"))
    for at, kind in enumerate(kinds):
        action = action_of(kind, *((3, at + 1) if kind == "move" and at % 2 else (-2, None)))
        await act(store, playlist_id, action)
        for task_id, row in rows.items():
            rows[task_id] = apply_one(row, action)
            read = (await store.get(task_id)).status
            assert read.model_dump(exclude=OWN) == rows[task_id].model_dump(exclude=OWN)
    before = await looks(store, playlist_id)
    stages = Counter(status.stage for status in rows.values())
    for stage in Stage:
        mine = [status.task_id for status in before[f"{stage} oldest"] if status.task_id in rows]  # type: ignore[attr-defined]
        assert len(mine) == stages[stage]
    if playlist_id in await store.lists_acted_on():
        await take_all(store, playlist_id)
    assert await store.lists_acted_on() == {}
    after = await looks(store, playlist_id)
    for name, seen in before.items():
        assert plain(seen) == plain(after[name]), name


OWN = {"list_action"}


def apply_one(status: TaskStatus, action: ListAction) -> TaskStatus:
    after = status_after_actions(status, [(status.list_action + 1, action)])
    assert after
    return after


def plain(seen: object) -> object:
    if isinstance(seen, list) and seen and isinstance(seen[0], TaskStatus):
        return [status.model_dump(exclude=OWN) for status in seen]
    return seen


async def test_a_restart_changes_nothing_of_what_entries_show(open_any: OpenStore) -> None:
    async with open_any() as store:
        playlist_id, rows = await all_beginnings(store)
        await act(store, playlist_id, action_of("pause"))
        await act(store, playlist_id, action_of("cancel"))
        before = await looks(store, playlist_id)
        assert await store.lists_acted_on() == {playlist_id: 2}
    async with open_any() as store:
        assert await looks(store, playlist_id) == before
        await take_all(store, playlist_id)
        assert {plain_one(await store.get(task_id)).stage for task_id in rows} == {
            *(Stage.CANCELLED, Stage.FAILED, Stage.COMPLETED)
        }


def plain_one(task: Task) -> TaskStatus:
    assert task.row is None
    return task.status


async def test_an_entry_is_not_saved_by_one_who_has_not_seen_what_happened_to_its_list(store: Store) -> None:
    playlist_id, entries = await a_list(store, 2)
    running = started(entries[0].status)
    assert await store.save(running)
    await act(store, playlist_id, action_of("pause"))
    assert not await store.save(apply(running, DownloadStarted(), utc_now()))
    task = await store.get(running.task_id)
    assert task.row == running
    assert await store.save_together([], taken=[task]) == []
    assert await store.save_together([], taken=[task]) is None
    assert (await store.get(running.task_id)) == Task(task.request, task.status)


async def test_what_is_removed_with_its_list_is_unknown_at_once(store: Store) -> None:
    playlist_id, rows = await all_beginnings(store)
    other = await add(store, new_task())
    assert await store.mark_removed(playlist_id) == [playlist_id]
    for task_id in rows:
        with pytest.raises(TaskNotFound):
            await store.get(task_id)
    assert await store.statuses(list(rows)) == []
    assert [status.task_id for status in (await store.page(Filter(), None, 50)).tasks] == [
        other.status.task_id
    ]
    assert await store.count() == {
        Stage.QUEUED: 1,
        **{stage: 0 for stage in await store.count() if stage != "queued"},
    }
    tasks, _ = await store.entries_behind(playlist_id, 0, 50)
    assert [task.status.task_id for task in tasks] == list(rows)
    await store.mark_removed(*rows)
    assert await store.entries_behind(playlist_id, 0, 50) == ([], None)
    last = (await store.lists_acted_on())[playlist_id]
    await store.forget_actions(playlist_id, last)
    assert await store.lists_acted_on() == {}


async def test_entries_are_left_out_of_a_folded_count(store: Store) -> None:
    playlist_id, _ = await all_beginnings(store)
    await add(store, new_task())
    kinds: tuple[ListKind | None, ...] = (None, "pause", "cancel")
    for kind in kinds:
        if kind:
            await act(store, playlist_id, action_of(kind))
        rows = {Stage.QUEUED: 1, (await store.get(playlist_id)).status.stage: 1}
        found = {stage: n for stage, n in (await store.count(is_folded=True)).items() if n}
        assert found == rows


async def test_a_list_is_retried_only_if_the_queue_has_room_for_all_of_its_entries(store: Store) -> None:
    playlist_id, entries = await a_list(store, MAX_QUEUED)
    await act(store, playlist_id, action_of("cancel"))
    # The cancelled entries free their places in the queue, although their rows are not changed yet.
    one = await add(store, new_task())
    with pytest.raises(QueueFull):
        await act(store, playlist_id, action_of("retry"))
    assert (await store.get(entries[0].status.task_id)).status.stage is Stage.CANCELLED
    await store.mark_removed(one.status.task_id)
    after = await act(store, playlist_id, action_of("retry"))
    assert after is not None
    assert after.entries is not None
    assert after.entries.failed == 0
    with pytest.raises(QueueFull):
        await add(store, new_task())
    await take_all(store, playlist_id)
    with pytest.raises(QueueFull):
        await add(store, new_task())
