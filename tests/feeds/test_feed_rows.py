"""The rows of podcast feeds, on every backend: each name belongs to one feed, all share one secret, and a
feed lists fetched entries.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from server.core.errors import FeedNameTaken
from server.core.events import Completed, Retried, Started, apply
from server.core.film import StoredFile
from server.core.task import Task
from server.files.public_names import new_short
from server.subscriptions.feed_names import SECRET
from server.subscriptions.subscription import StoredSubscription, SubscriptionSettings, wish_of
from tests.examples import utc_now
from tests.rooms import rooms
from tests.subscriptions.test_subscription_rows import (
    NOW,
    PACE,
    AnyStore,
    Open,
    checked,
    entries,
    info_of,
    open_any,
    store,
    subscribed,
)

__all__ = ["open_any", "store"]
FEED = {"name": "pods"}


async def changed(store: AnyStore, before: StoredSubscription, **wanted: Any) -> StoredSubscription:
    now = await rooms(store).subscriptions.get(before.subscription_id)
    after = replace(now, revision=now.revision + 1, wanted=SubscriptionSettings.model_validate(wanted))
    wish = wish_of(after.manner, after.wanted)
    assert await rooms(store).subscriptions.change(after, wish, check=False, keep=False)
    return await rooms(store).subscriptions.get(before.subscription_id)


async def completed(store: AnyStore, task: Task) -> None:
    """Run an attempt of the task that makes a file."""
    started = apply((await store.get(task.status.task_id)).status, Started(), utc_now())
    assert await store.save(started)
    name = f"video_film_{new_short()}.mp4"
    file = StoredFile(name=name, path=f"1/{name}", size=7, type="video/mp4")
    end = Completed(files={"video": file}, video_info=info_of(task))
    assert await store.save(apply(started, end, utc_now()))


async def names(store: AnyStore) -> dict[str, str]:
    return {name: one.subscription_id for name, one in (await rooms(store).feeds.all())[1]}


async def test_the_secret_comes_with_the_first_feed_and_lasts(store: AnyStore, open_any: Open) -> None:
    plain = await subscribed(store)
    assert await rooms(store).feeds.secret() is None
    assert await rooms(store).feeds.find("pods") == (None, None)
    assert await rooms(store).feeds.renew() is None, "there is nothing to renew"
    assert await rooms(store).feeds.secret() is None
    mine = await changed(store, plain, feed=FEED)
    secret = await rooms(store).feeds.secret()
    assert secret is not None
    assert len(secret) == 43
    assert await rooms(store).feeds.find("pods") == (secret, mine)
    await subscribed(store, "https://a.test/b", feed={"name": "b"})
    await rooms(store).subscriptions.remove(mine.subscription_id)
    async with open_any() as again:
        assert await rooms(again).feeds.secret() == secret
        fresh = await rooms(again).feeds.renew()
        assert fresh not in (secret, None)
    assert await rooms(store).feeds.secret() == fresh


async def test_a_name_is_given_once_until_its_feed_has_another_or_ends(store: AnyStore) -> None:
    mine = await subscribed(store, feed=FEED)
    for url in ("https://a.test/b", "https://a.test/c"):
        with pytest.raises(FeedNameTaken) as taken:
            await subscribed(store, url, feed=FEED)
        assert taken.value.extra == {"subscription_id": mine.subscription_id}
    other = await subscribed(store, "https://a.test/b", feed={"name": "b"})
    with pytest.raises(FeedNameTaken):
        await changed(store, other, feed=FEED)
    assert (await rooms(store).subscriptions.get(other.subscription_id)).revision == 1, "nothing was changed"
    await changed(store, mine, feed={"name": "a"})
    assert await names(store) == {"a": mine.subscription_id, "b": other.subscription_id}
    other = await changed(store, other, feed=FEED)
    assert await names(store) == {"a": mine.subscription_id, "pods": other.subscription_id}
    await changed(store, other, feed=FEED, interval="2h")
    await changed(store, mine)
    assert await names(store) == {"pods": other.subscription_id}
    await rooms(store).subscriptions.remove(other.subscription_id)
    assert await names(store) == {}
    await changed(store, mine, feed=FEED)
    assert await names(store) == {"pods": mine.subscription_id}


async def test_a_name_is_free_that_an_earlier_release_has_left(store: AnyStore) -> None:
    gone = await subscribed(store, "https://a.test/gone", feed=FEED)

    async def as_before(tables: Any) -> None:
        sql = "DELETE FROM subscriptions WHERE subscription_id = ?"
        await tables.run(sql, (gone.subscription_id,))

    await rooms(store).feeds._transactions.write(as_before)
    assert (await rooms(store).feeds.find("pods"))[1] is None
    assert await names(store) == {}
    mine = await subscribed(store, feed=FEED)
    assert await names(store) == {"pods": mine.subscription_id}


async def test_the_newest_are_listed_and_nothing_is_newer_than_its_files(store: AnyStore) -> None:
    mine = await subscribed(store, feed=FEED, backlog="all")
    dates = {
        6: "2026-01-31T08:00:01Z",
        5: "2999-01-01",  # a date in the future: the time of the fetch counts
        4: None,  # no date: the time of the fetch counts
        3: "2026-01-31T08:00:00Z",
        2: "2026-01-31",
        1: "2026-02-01",
    }
    noticed = [entry for number, date in dates.items() for entry in entries(number, published_at=date)]
    for task in (await checked(store, noticed, pace=replace(PACE, max_new=10))).tasks:
        await completed(store, task)

    async def listed(most: int) -> list[str]:
        return [one.key for one in await rooms(store).feeds.fetched(mine.subscription_id, most)]

    newest = {"site 5", "site 4"}  # in the order in which they were fetched
    order = await listed(10)
    assert set(order[:2]) == newest
    assert order[2:] == ["site 1", "site 6", "site 3", "site 2"]
    assert await listed(3) == order[:3]


async def test_listed_is_what_has_files_and_is_kept(store: AnyStore) -> None:
    mine = await subscribed(store, feed=FEED, backlog="all")
    other = await subscribed(store, "https://b.test/list", feed={"name": "b"}, request={"quality": "720"})
    tasks = {task.status.url: task for task in (await checked(store, entries(3, 2, 1))).tasks}
    newest = tasks["https://a.test/3"]
    assert await rooms(store).feeds.fetched(mine.subscription_id, 10) == []
    for task in tasks.values():
        await completed(store, task)

    async def listed() -> dict[str, str]:
        return {one.key: one.task_id for one in await rooms(store).feeds.fetched(mine.subscription_id, 10)}

    assert await listed() == {f"site {n}": tasks[f"https://a.test/{n}"].status.task_id for n in (1, 2, 3)}
    one = next(
        one for one in await rooms(store).feeds.fetched(mine.subscription_id, 10) if one.key == "site 3"
    )
    assert (one.number, one.found_at, one.published_at) == (3, NOW, None)
    about = await rooms(store).feeds.about(mine.subscription_id, ["site 3", "site 1", "none"])
    assert {key: one["title"] for key, one in about.items()} == {"site 3": "Film 3", "site 1": "Film 1"}
    assert await rooms(store).feeds.has(mine.subscription_id, newest.status.task_id)
    assert not await rooms(store).feeds.has(other.subscription_id, newest.status.task_id)
    assert not await rooms(store).feeds.has(mine.subscription_id, "nobody")

    before = await store.get(newest.status.task_id)
    assert await store.save(apply(before.status, Retried(), utc_now()))
    [again] = [
        one for one in await rooms(store).feeds.fetched(mine.subscription_id, 10) if one.key == "site 3"
    ]
    assert again.revision == before.status.revision + 1, "an attempt that is to come leaves the files"
    await rooms(store).items.set_state(mine.subscription_id, ["site 2"], "expired", "by_client")
    await store.mark_removed(tasks["https://a.test/1"].status.task_id)
    assert set(await listed()) == {"site 3"}
    assert not await rooms(store).feeds.has(mine.subscription_id, tasks["https://a.test/2"].status.task_id)


async def test_the_secret_is_stored_under_its_name_alone(store: AnyStore) -> None:
    await subscribed(store, feed=FEED)
    secret = await rooms(store).feeds.secret()

    async def rows(tables: Any) -> Any:
        return await tables.fetch("SELECT name, value FROM secrets")

    assert await rooms(store).feeds._transactions.read(rows) == [(SECRET, secret)]


@pytest.mark.parametrize("feed", [None, FEED])
async def test_a_feed_keeps_tasks_although_the_library_has_their_files(
    store: AnyStore, feed: dict[str, str] | None
) -> None:
    library = {"layout": "podcast", "keep_task": False}
    await subscribed(store, backlog="all", library=library, feed=feed)
    [task] = (await checked(store, entries(1))).tasks
    await completed(store, task)

    async def place(tables: Any) -> None:
        await tables.run("UPDATE file_sets SET state = 'placed'")

    await rooms(store).feeds._transactions.write(place)
    task_id = task.status.task_id
    assert (await rooms(store).placements.of_task(task_id)).drops is (feed is None)
    gone = await store.mark_expired(utc_now() + timedelta(days=9), 10)
    assert gone == ([task_id] if feed is None else [])
