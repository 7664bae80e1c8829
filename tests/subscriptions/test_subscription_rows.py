"""The rows of subscriptions, their items and checks, on every backend: who checks, and which entries become
tasks, each once.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import ValidationError

from server.core.errors import (
    AlreadySubscribed,
    InvalidQuery,
    QueueFull,
    SubscriptionNotFound,
    TooManySubscriptions,
)
from server.core.events import Cancelled, Completed, Failed, Relinked, Retried, Started, apply
from server.core.film import VideoInfo
from server.core.media_keys import MOST_ALIASES, key_of_link
from server.core.ports import Filter, Submission
from server.core.task import Stage, Task
from server.files.public_names import short_of
from server.storage import postgresql, sqlite
from server.storage.postgresql.store import PostgresStore
from server.storage.sqlite.store import SqliteStore
from server.storage.statements import Tables
from server.subscriptions import check_rows, subscription_columns
from server.subscriptions.check_rows import CheckRows
from server.subscriptions.searching import Sort
from server.subscriptions.subscription import (
    DAY,
    HOUR,
    CheckOutcome,
    CheckResult,
    Claim,
    Findings,
    FoundEntry,
    Keep,
    Pace,
    Refusal,
    StoredItem,
    StoredSubscription,
    SubscriptionSettings,
    wish_of,
)
from server.subscriptions.subscription_rows import SubscriptionRows
from server.subscriptions.subscription_rules import FIRST_HOLD, GONE_AFTER, address_of_move
from server.subscriptions.task_of_item import request_of
from tests.examples import new_task, utc_now
from tests.rooms import HOOKS, rooms

AnyStore = SqliteStore | PostgresStore
Open = Callable[[], AbstractAsyncContextManager[AnyStore]]
PACE = Pace(interval=3600, min_interval=300, pause=5, max_new=3)
LEASE = 60.0
NOW = 1_800_000_000.0
MAX_QUEUED = 12
WHOLE = CheckResult(form="list", whole=True)
BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture(params=["sqlite", "postgresql"])
def open_any(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "sqlite":
        path = tmp_path / "clipwire.db"
        return lambda: sqlite.open_store(path, max_queued=MAX_QUEUED, find_short=short_of, hooks=HOOKS)
    url = request.getfixturevalue("clean_database")
    return lambda: postgresql.open_store(url, max_queued=MAX_QUEUED, find_short=short_of, hooks=HOOKS)


@pytest.fixture
async def store(open_any: Open) -> AsyncIterator[AnyStore]:
    async with open_any() as store:
        yield store


async def subscribed(
    store: AnyStore, url: str = "https://a.test/list", owner: str | None = None, **wanted: Any
) -> StoredSubscription:
    """Add a subscription. With an owner, only this person's list has it."""
    settings = SubscriptionSettings.model_validate(wanted)
    manner = request_of(settings, url).manner()
    subscription = StoredSubscription(
        subscription_id=f"s-{url}-{manner}" + (owner or ""),
        number=0,
        revision=1,
        url=url,
        source_key=key_of_link(url),
        manner=manner,
        scope="",
        wanted=settings,
        findings=Findings(),
        next_check_at=NOW,
        lease_until=None,
        check_no=0,
        created_at=NOW,
        owner=owner,
    )
    subscriptions = of_lists_of_their_own(store) if owner else rooms(store).subscriptions
    return await subscriptions.add(subscription, wish_of(manner, settings), 3)


def of_lists_of_their_own(store: AnyStore) -> SubscriptionRows:
    return SubscriptionRows(store.transactions, separate_lists=True)


async def claimed(store: AnyStore, now: float = NOW) -> Claim:
    [claim] = await rooms(store).checks.claim(1, LEASE, now)
    return claim


@pytest.mark.parametrize("odd", [{"published_at": "2026\0"}, {"verdict": "title\0"}, {"again": "a\0"}])
def test_what_no_database_stores_is_refused(odd: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        entries(1, **odd)


def entries(*numbers: int, **more: Any) -> list[FoundEntry]:
    return [
        FoundEntry(url=f"https://a.test/{n}", id=str(n), extractor_key="Site", title=f"Film {n}", **more)
        for n in numbers
    ]


async def checked(
    store: AnyStore,
    found: Sequence[FoundEntry],
    now: float = NOW,
    result: CheckResult = WHOLE,
    pace: Pace = PACE,
) -> CheckOutcome:
    """Check the one subscription that is due."""
    return await rooms(store).checks.settle(await claimed(store, now), found, result, pace, now)


async def states(store: AnyStore, mine: StoredSubscription) -> dict[str, str]:
    found, _ = await rooms(store).items.page(mine.subscription_id, None, None, 100)
    return {item.key: f"{item.state} {item.reason}" if item.reason else item.state for item in found}


async def ended(store: AnyStore, task: Task, **event: Any) -> Task:
    """End an attempt of the task: completed, or as `event` says; return the task."""
    started = apply((await store.get(task.status.task_id)).status, Started(), utc_now())
    assert await store.save(started)
    end = Failed(**event) if event else Completed(files={}, video_info=info_of(task))
    after = apply(started, end, utc_now())
    assert await store.save(after)
    return replace(task, status=after)


def info_of(task: Task) -> VideoInfo:
    return VideoInfo(id=task.status.url.rpartition("/")[2], extractor_key="Site")


# --- subscribing ---


async def test_what_was_subscribed_is_there_after_a_restart(open_any: Open) -> None:
    async with open_any() as store:
        filters = {"title": "a", "min_age": "2h"}
        made = await subscribed(store, filters=filters, backlog={"last": 3}, interval="90m")
    async with open_any() as store:
        assert await rooms(store).subscriptions.get(made.subscription_id) == made
        assert made.wanted.interval == 5400


async def test_the_same_of_the_same_source_is_refused_and_too_many_are(store: AnyStore) -> None:
    made = await subscribed(store)
    with pytest.raises(AlreadySubscribed) as same:
        await subscribed(store, keep={"last": 3})
    assert same.value.extra == {"subscription_id": made.subscription_id}
    await subscribed(store, request={"quality": "720"})
    await subscribed(store, "https://b.test/list")
    with pytest.raises(TooManySubscriptions):
        await subscribed(store, "https://c.test/list")


async def test_where_lists_are_separate_each_has_as_many_as_are_allowed(store: AnyStore) -> None:
    for owner in ("anna", "bob"):
        for number in range(3):
            await subscribed(store, f"https://{number}.test/list", owner)
        with pytest.raises(TooManySubscriptions):
            await subscribed(store, "https://d.test/list", owner)


async def test_of_two_at_once_one_subscribes(store: AnyStore) -> None:
    results = await asyncio.gather(subscribed(store), subscribed(store), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["AlreadySubscribed", "StoredSubscription"]


@pytest.mark.parametrize("subscription_id", ["nope", "", "\0", "x" * 5000])
async def test_an_unknown_one_is_not_found(store: AnyStore, subscription_id: str) -> None:
    with pytest.raises(SubscriptionNotFound):
        await rooms(store).subscriptions.get(subscription_id)
    with pytest.raises(SubscriptionNotFound):
        await rooms(store).items.page(subscription_id, None, None, 1)
    with pytest.raises(SubscriptionNotFound):
        await rooms(store).subscriptions.remove(subscription_id)


@pytest.mark.parametrize("cursor", ["x", "-1", "١", "9" * 30])
async def test_a_cursor_that_nobody_has_given_is_refused(store: AnyStore, cursor: str) -> None:
    with pytest.raises(InvalidQuery):
        await rooms(store).subscriptions.page(cursor, 1)


async def test_pages_of_subscriptions_and_of_items_are_newest_first(store: AnyStore) -> None:
    one, two = await subscribed(store), await subscribed(store, "https://b.test/list")
    page, cursor = await rooms(store).subscriptions.page(None, 1)
    assert [each.subscription_id for each in page] == [two.subscription_id]
    page, cursor = await rooms(store).subscriptions.page(cursor, 1)
    assert ([each.subscription_id for each in page], cursor) == ([one.subscription_id], None)
    await checked(store, entries(3, 2, 1))
    found, cursor = await rooms(store).items.page(one.subscription_id, None, None, 2)
    assert [item.key for item in found] == ["site 3", "site 2"]
    found, cursor = await rooms(store).items.page(one.subscription_id, None, cursor, 2)
    assert ([item.key for item in found], cursor) == (["site 1"], None)


async def test_a_change_follows_the_stored_one_or_is_refused(store: AnyStore) -> None:
    made = await subscribed(store)
    await checked(store, entries(1))
    after = replace(made, revision=2, wanted=SubscriptionSettings(enabled=False))
    assert await rooms(store).subscriptions.change(after, "w", check=False, keep=False)
    assert not await rooms(store).subscriptions.change(after, "w", check=False, keep=False)
    stored = await rooms(store).subscriptions.get(made.subscription_id)
    assert (stored.next_check_at, stored.stage(NOW)) == (None, "paused")
    assert await rooms(store).checks.claim(1, LEASE, NOW + DAY) == []


# --- who checks ---


async def test_a_change_keeps_what_only_a_newer_release_knows_where_it_belongs(store: AnyStore) -> None:
    mine = await subscribed(store, feed={"name": "talks", "explicit": True}, filters={"title": "a"})
    newer = {
        "feed": {"name": "talks", "explicit": True, "color": "red"},
        "filters": {"title": "a", "mood": "glad"},
        "weather": "fine",
    }
    put = "UPDATE subscriptions SET wanted = ?"
    await rooms(store).subscriptions._transactions.write(lambda tables: tables.run(put, (json.dumps(newer),)))
    wanted = SubscriptionSettings.model_validate({"feed": {"name": "talk"}})
    after = replace(mine, revision=2, wanted=wanted)
    assert await rooms(store).subscriptions.change(after, "w", check=False, keep=False)
    rows = await rooms(store).subscriptions._transactions.read(
        lambda tables: tables.fetch("SELECT wanted FROM subscriptions")
    )
    assert json.loads(rows[0][0]) == {"feed": {"name": "talk", "color": "red"}, "weather": "fine"}


async def test_one_that_only_a_newer_release_can_read_stops_no_other(store: AnyStore) -> None:
    odd = await subscribed(store, backlog="all", keep={"days": 1}, feed={"name": "odd"})
    fails, whole = (await checked(store, entries(9, 8))).tasks
    sound = await subscribed(
        store, "https://b.test/list", backlog="all", keep={"days": 1}, feed={"name": "b"}
    )
    newer = {"feed": {"name": "odd", "category": "Dreams"}, "keep": {"days": 1}, "library": {}}
    put = "UPDATE subscriptions SET wanted = ? WHERE subscription_id = ?"
    values = json.dumps(newer), odd.subscription_id
    await rooms(store).subscriptions._transactions.write(lambda tables: tables.run(put, values))
    assert await rooms(store).subscriptions.page(None, 1) == ([sound], str(sound.number))
    assert await rooms(store).subscriptions.page(str(sound.number), 1) == ([], None)
    assert [name for name, _ in (await rooms(store).feeds.all())[1]] == ["b"]
    await ended(store, fails, code="http_503")
    await ended(store, whole)
    items = "SELECT state FROM items ORDER BY key DESC"
    found = await rooms(store).subscriptions._transactions.read(lambda tables: tables.fetch(items))
    assert found == [("waiting",), ("fetched",)]
    claims = await rooms(store).checks.claim(2, LEASE, NOW + 2 * HOUR)
    assert [each.subscription.subscription_id for each in claims] == [sound.subscription_id]
    [task] = (await rooms(store).checks.settle(claims[0], entries(1), WHOLE, PACE, NOW + 2 * HOUR)).tasks
    await ended(store, task)
    later = utc_now().timestamp() + 2 * DAY
    assert await rooms(store).items.expire(later) == [task.status.task_id]
    await store.mark_removed(task.status.task_id)
    assert await rooms(store).items.expire(later + 60) == []
    [(kept,)] = await rooms(store).subscriptions._transactions.read(
        lambda tables: tables.fetch("SELECT min(keep_at) FROM subscriptions")
    )
    assert kept > later + 60, "it is not asked for at once again"
    with pytest.raises(SubscriptionNotFound):
        await rooms(store).subscriptions.get(odd.subscription_id)
    assert (await rooms(store).feeds.find("odd"))[1] is None
    await rooms(store).subscriptions.remove(odd.subscription_id)
    with pytest.raises(SubscriptionNotFound):
        await rooms(store).subscriptions.remove(odd.subscription_id)


async def test_one_check_at_a_time_and_a_dead_one_is_taken_over(store: AnyStore) -> None:
    await subscribed(store)
    first = await claimed(store)
    assert await rooms(store).checks.claim(1, LEASE, NOW + 1) == []
    second = await claimed(store, NOW + LEASE + 1)
    assert second.subscription.check_no == first.subscription.check_no + 1
    late = await rooms(store).checks.settle(first, entries(1), WHOLE, PACE, NOW + LEASE + 2)
    assert late.is_late
    assert not await rooms(store).checks.renew(first, LEASE, NOW)
    assert await rooms(store).checks.renew(second, LEASE, NOW + LEASE + 30)
    assert await rooms(store).checks.claim(1, LEASE, NOW + 2 * LEASE + 2) == []
    assert await rooms(store).checks.fail(first, "timeout", None, None, PACE, NOW) is None
    done = await rooms(store).checks.settle(second, entries(1), WHOLE, PACE, NOW + LEASE + 40)
    assert not done.is_late


async def test_a_host_is_checked_once_at_a_time_and_then_paused(store: AnyStore) -> None:
    one = await subscribed(store)
    await subscribed(store, "https://a.test/other")
    other_host = await subscribed(store, "https://b.test/list")
    claims = await rooms(store).checks.claim(5, LEASE, NOW)
    assert {claim.subscription.subscription_id for claim in claims} == {
        one.subscription_id,
        other_host.subscription_id,
    }
    for claim in claims:
        await rooms(store).checks.settle(claim, entries(1), WHOLE, PACE, NOW)
    assert await rooms(store).checks.claim(5, LEASE, NOW + 4) == []
    assert len(await rooms(store).checks.claim(5, LEASE, NOW + 5)) == 1


async def test_a_clock_that_was_ahead_puts_nothing_off_for_ever(store: AnyStore) -> None:
    await subscribed(store)
    ahead = NOW + 400 * DAY
    await rooms(store).checks.settle(await claimed(store, ahead), entries(1), WHOLE, PACE, ahead)
    assert await rooms(store).checks.due_in(NOW) == 0, "else nobody would ask for it"
    assert (await claimed(store, NOW)).subscription.check_no == 2


async def test_nor_does_it_hold_a_host_or_a_lease_for_ever(store: AnyStore) -> None:
    await subscribed(store)
    ahead = NOW + 10 * DAY
    await rooms(store).checks.hold("a.test", None, ahead)
    assert await rooms(store).checks.due_in(NOW) == 0
    await claimed(store, NOW)
    await claimed(store, ahead + DAY)  # this check's server dies
    assert await rooms(store).checks.due_in(NOW) == 0
    await claimed(store, NOW)
    assert (await rooms(store).checks.due_in(NOW) or 0) > LEASE / 2, "one under way is waited for"


async def test_nothing_is_due_where_nobody_has_subscribed(store: AnyStore) -> None:
    assert await rooms(store).checks.due_in(NOW) is None
    made = await subscribed(store)
    due = await rooms(store).checks.due_in(NOW - 100)
    assert due is not None
    assert 99 < due <= 101
    await rooms(store).subscriptions.remove(made.subscription_id)
    assert await rooms(store).checks.due_in(NOW) is None


async def test_a_held_host_wakes_nobody_before_its_hold_ends(store: AnyStore) -> None:
    await subscribed(store)
    await rooms(store).checks.fail(await claimed(store), "http_429", None, 7200.0, PACE, NOW)
    later = NOW + 3 * HOUR
    await rooms(store).checks.hold("a.test", None, later)
    assert await rooms(store).checks.claim(1, LEASE, later + 10) == []
    due = await rooms(store).checks.due_in(later + 10)
    assert due is not None
    assert due > 1000


async def test_a_host_is_forgotten_with_its_last_subscription_unless_it_has_refused(store: AnyStore) -> None:
    async def hosts() -> list[str]:
        read = rooms(store).subscriptions._transactions.read
        return sorted(
            host for [host] in await read(lambda tables: tables.fetch("SELECT host FROM source_hosts", ()))
        )

    mine = [await subscribed(store, f"https://{name}.test/list") for name in "ab"]
    other = await subscribed(store, "https://a.test/other")
    for number in range(3):
        await checked(store, entries(), now=NOW + 10 * number)
    await rooms(store).checks.hold("b.test", 60.0, NOW)
    await rooms(store).subscriptions.remove(mine[0].subscription_id)
    assert await hosts() == ["a.test", "b.test"]
    await rooms(store).subscriptions.remove(other.subscription_id)
    await rooms(store).subscriptions.remove(mine[1].subscription_id)
    assert await hosts() == ["b.test"]


async def test_who_waits_is_called_when_something_is_due_sooner(store: AnyStore) -> None:
    called = 0

    def call() -> None:
        nonlocal called
        called += 1

    if isinstance(store, SqliteStore):  # with PostgreSQL, the relay calls it
        rooms(store).checks.listen(call)
        made = await subscribed(store)
        await rooms(store).checks.due(made.subscription_id, NOW)
        assert called == 2


# --- which entries become tasks ---


async def test_the_first_check_knows_the_old_ones_and_later_ones_are_fetched(store: AnyStore) -> None:
    mine = await subscribed(store)
    first = await checked(store, entries(2, 1))
    assert list(first.tasks) == []
    second = await checked(store, entries(3), NOW + 2 * HOUR)
    [task] = second.tasks
    assert (task.status.url, task.status.priority) == ("https://a.test/3", -1)
    assert task.status.subscription_id == mine.subscription_id
    assert task.status.video_info.title == "Film 3"
    assert (await store.get(task.status.task_id)).status.stage is Stage.QUEUED
    assert await states(store, mine) == {"site 3": "queued", "site 2": "known", "site 1": "known"}
    assert (await rooms(store).items.counts([mine.subscription_id]))[mine.subscription_id] == {
        "queued": 1,
        "known": 2,
    }


async def test_the_same_entries_again_change_nothing(store: AnyStore) -> None:
    mine = await subscribed(store, backlog="all")
    await checked(store, entries(2, 1))
    again = await checked(store, entries(2, 1, 2), NOW + 2 * HOUR)
    assert list(again.tasks) == []
    assert await states(store, mine) == {"site 2": "queued", "site 1": "queued"}


async def test_a_guid_a_link_or_an_old_id_make_it_the_same_entry(store: AnyStore) -> None:
    mine = await subscribed(store)
    old = FoundEntry(url="https://cdn.test/1?ticket=a", guid="g1", title="Film")
    await checked(store, [old])
    moved = FoundEntry(url="https://cdn.test/1?ticket=b", guid="g1", title="Film")
    assert not (await checked(store, [moved], NOW + 2 * HOUR)).tasks
    renamed = FoundEntry(url="https://cdn.test/1?ticket=b", guid="g2", title="Film")
    assert not (await checked(store, [renamed], NOW + 4 * HOUR)).tasks, "its link is known by now"
    assert len(await states(store, mine)) == 1


async def test_a_link_of_whatever_is_the_latest_gives_no_entry_the_guid_of_another(store: AnyStore) -> None:
    mine = await subscribed(store)
    await checked(store, [FoundEntry(url="https://a.test/latest.mp3", guid="g1", title="News at 1")])
    await checked(
        store, [FoundEntry(url="https://a.test/latest.mp3", guid="g2", title="News at 2")], NOW + 2 * HOUR
    )
    lasting = FoundEntry(url="https://a.test/2.mp3", guid="g2", title="News at 2")
    [task] = (await checked(store, [lasting], NOW + 4 * HOUR)).tasks
    assert task.status.url == lasting.url
    assert len(await states(store, mine)) == 2


async def test_a_feed_whose_guids_are_always_new_fills_no_table(store: AnyStore) -> None:
    mine = await subscribed(store)
    for number in range(MOST_ALIASES + 5):
        each = FoundEntry(url="https://a.test/1.mp3", guid=f"g{number}", title="Film")
        await checked(store, [each], NOW + 2 * HOUR * number)
    claim = await claimed(store, NOW + 99 * HOUR)
    assert len(claim.known) == 1 + MOST_ALIASES
    assert len(await states(store, mine)) == 1


async def test_the_newest_ones_that_backlog_asks_for_are_those_that_filters_let_pass(store: AnyStore) -> None:
    mine = await subscribed(store, backlog={"last": 2})
    noticed = [*entries(6, verdict="title"), *entries(5), *entries(4, verdict="title"), *entries(3, 2)]
    await checked(store, noticed)
    assert await states(store, mine) == {
        "site 6": "known",
        "site 5": "queued",
        "site 4": "known",
        "site 3": "queued",
        "site 2": "known",
    }


@pytest.mark.parametrize(("backlog", "state"), [("none", "known"), ("all", "queued"), ({"last": 1}, "known")])
async def test_what_the_first_check_of_a_long_list_did_not_come_to_was_there_before(
    store: AnyStore, backlog: Any, state: str
) -> None:
    mine = await subscribed(store, backlog=backlog)
    cut = WHOLE.model_copy(update={"whole": False, "truncated": True})
    await checked(store, entries(1), result=cut)
    soon = await next_look(store, mine)
    assert soon <= NOW + PACE.min_interval * 1.1
    await checked(store, entries(4, 2, 3), soon, WHOLE.model_copy(update={"tail": 2}))
    assert await states(store, mine) == {
        "site 1": "known" if backlog == "none" else "queued",
        "site 4": "queued",
        "site 2": state,
        "site 3": state,
    }
    later = await next_look(store, mine)
    assert later > soon + PACE.min_interval * 1.1
    await checked(store, entries(5), later, WHOLE.model_copy(update={"tail": 1}))
    assert (await states(store, mine))["site 5"] == "queued", "it was added later"


async def test_an_item_that_no_database_can_have_is_not_there(store: AnyStore) -> None:
    mine = await subscribed(store)
    await checked(store, entries(1))
    [found] = await rooms(store).items.items_of(mine.subscription_id, ["site\0", "site 1"], None, 5)
    assert found.key == "site 1"


@pytest.mark.parametrize("guid", ["a\0b", "\ud800"])
async def test_a_guid_that_is_no_text_for_a_database_tells_entries_apart(store: AnyStore, guid: str) -> None:
    mine = await subscribed(store)
    noticed = [
        FoundEntry.model_construct(url=f"https://a.test/{name}.mp3", guid=f"{guid}{name}") for name in "ab"
    ]
    await checked(store, noticed)
    moved = FoundEntry.model_construct(url="https://b.test/a.mp3", guid=f"{guid}a")
    await checked(store, [moved], NOW + 2 * HOUR)
    assert len(await states(store, mine)) == 2


async def test_a_guid_is_known_in_its_own_feed_only(store: AnyStore) -> None:
    await subscribed(store)
    await checked(store, [FoundEntry(url="https://a.test/1.mp3", guid="1")])
    other = await subscribed(store, "https://b.test/list", backlog="all")
    [task] = (await checked(store, [FoundEntry(url="https://b.test/1.mp3", guid="1")])).tasks
    assert task.status.subscription_id == other.subscription_id


async def test_of_many_new_ones_the_newest_are_fetched_and_the_others_held(store: AnyStore) -> None:
    mine = await subscribed(store)
    await checked(store, entries(1))
    found = await checked(store, entries(*range(9, 1, -1)), NOW + 2 * HOUR)
    assert [task.status.url[-1] for task in found.tasks] == ["9", "8", "7"]
    assert not (await checked(store, [], NOW + 4 * HOUR)).tasks
    assert list((await states(store, mine)).values()).count("waiting held") == 5


async def test_numbers_of_tasks_grow_with_the_age_of_entries(store: AnyStore) -> None:
    await subscribed(store, backlog="all")
    tasks = (await checked(store, entries(3, 2, 1))).tasks
    by_number = sorted(tasks, key=lambda task: task.status.number)
    assert [task.status.url[-1] for task in by_number] == ["1", "2", "3"]


async def test_what_the_backlog_asks_for_becomes_tasks_until_it_is_done(store: AnyStore) -> None:
    mine = await subscribed(store, backlog={"last": 7})
    made = []
    for number in range(4):
        noticed = [] if number else entries(*range(9, 0, -1))
        made += [len((await checked(store, noticed, NOW + number * 2 * HOUR)).tasks)]
    assert made == [3, 3, 1, 0]
    assert list((await states(store, mine)).values()).count("known") == 2


async def test_a_full_queue_takes_what_it_can_and_the_rest_later(store: AnyStore) -> None:
    pace = replace(PACE, max_new=20)
    mine = await subscribed(store, backlog="all")
    first = await checked(store, entries(*range(15, 0, -1)), pace=pace)
    assert len(first.tasks) == MAX_QUEUED
    for task in first.tasks:
        await ended(store, task)
    second = await checked(store, [], NOW + 2 * HOUR, pace=pace)
    assert len(second.tasks) == 15 - MAX_QUEUED
    assert set((await states(store, mine)).values()) == {"fetched", "queued"}


async def test_entries_wait_or_are_skipped_as_their_verdict_says(store: AnyStore) -> None:
    mine = await subscribed(store, backlog="all")
    noticed = [
        *entries(1, verdict="title"),
        *entries(2, verdict="not_live_yet", begins_at=NOW + 3 * DAY),
        *entries(3, verdict="members_only"),
        *entries(4, verdict="too_young", begins_at=NOW + HOUR),
        *entries(5, verdict="unclear"),
    ]
    assert not (await checked(store, noticed)).tasks
    assert await states(store, mine) == {
        "site 1": "skipped title",
        "site 2": "waiting not_live_yet",
        "site 3": "waiting members_only",
        "site 4": "waiting too_young",
        "site 5": "waiting unclear",
    }
    claim = await claimed(store, NOW + 2 * HOUR)
    assert {item.key for item in claim.again} == {"site 4", "site 5"}
    again = [
        FoundEntry(url="https://a.test/4", again="site 4"),
        FoundEntry(url="https://a.test/5", again="site 5", verdict="min_duration"),
    ]
    settled = await rooms(store).checks.settle(claim, again, WHOLE, PACE, NOW + 2 * HOUR)
    assert [task.status.url for task in settled.tasks] == ["https://a.test/4"]
    assert (await states(store, mine))["site 5"] == "skipped min_duration"
    later = await claimed(store, NOW + 4 * DAY)
    assert {item.key for item in later.again} == {"site 2", "site 3"}
    again = [FoundEntry(url="https://a.test/3", again="site 3", verdict="code:members_only")]
    await rooms(store).checks.settle(later, again, WHOLE, PACE, NOW + 4 * DAY)
    assert (await states(store, mine))["site 3"] == "waiting members_only"


async def test_a_broadcast_that_is_late_is_checked_hourly_and_its_announced_time_is_kept(
    store: AnyStore,
) -> None:
    mine = await subscribed(store, backlog="all")
    await checked(store, entries(1, verdict="not_live_yet", begins_at=NOW + 2 * HOUR))

    async def item() -> tuple[str | None, float]:
        [[one], _] = await rooms(store).items.page(mine.subscription_id, None, None, 9)
        return one.reason, (one.not_before or 0.0) - NOW

    assert await item() == ("not_live_yet", 2 * HOUR)
    late = FoundEntry(
        url="https://a.test/1", again="site 1", verdict="not_live_yet", begins_at=NOW + 2 * HOUR
    )
    await checked(store, [late], NOW + 2 * HOUR + 5)
    assert await item() == ("not_live_yet", 3 * HOUR + 5), "nobody knows how late it is"
    for hour in range(1, 46):
        now = NOW + (2 + hour) * HOUR + 5
        await checked(store, [late], now)
    assert (await item())[0] == "not_live_yet"


async def test_a_check_that_meets_a_members_entry_says_so(store: AnyStore) -> None:
    mine = await subscribed(store, backlog="all")
    await checked(store, entries(1, verdict="unclear"))
    again = FoundEntry(url="https://a.test/1", again="site 1", verdict="code:members_only")
    await checked(store, [again], NOW + HOUR)
    assert await states(store, mine) == {"site 1": "waiting members_only"}


async def test_of_a_list_without_days_a_backlog_since_a_day_takes_what_is_that_new(store: AnyStore) -> None:
    """Most entries have their own page read later than the list."""
    mine = await subscribed(store, backlog={"since": "2027-01-01"})
    await checked(store, entries(4, 3, 2, 1, verdict="unclear"))
    days = {"4": "2027-01-02", "3": "2026-12-31", "2": None}
    again = [
        FoundEntry(url=f"https://a.test/{n}", again=f"site {n}", published_at=day) for n, day in days.items()
    ]
    await checked(store, [*again, *entries(5, verdict="unclear")], NOW + HOUR)
    new = [FoundEntry(url="https://a.test/5", again="site 5")]
    [task] = (await checked(store, new, NOW + 2 * HOUR)).tasks
    assert task.status.url.endswith("/5"), "it was not there before"
    assert await states(store, mine) == {
        "site 5": "queued",
        "site 4": "queued",
        "site 3": "known",
        "site 2": "skipped unclear",
        "site 1": "waiting unclear",
    }


async def test_an_entry_to_which_another_has_led_is_that_one(store: AnyStore) -> None:
    mine = await subscribed(store, backlog="all")
    [task] = (await checked(store, entries(1))).tasks
    status = apply((await store.get(task.status.task_id)).status, Started(), utc_now())
    assert await store.save(status)
    elsewhere = VideoInfo(id="2", extractor_key="Site", webpage_url="https://a.test/2")
    assert await store.save(apply(status, Completed(files={}, video_info=elsewhere), utc_now()))
    assert not (await checked(store, entries(2, 1), NOW + 2 * HOUR)).tasks
    assert await states(store, mine) == {"site 1": "fetched"}
    last = await rooms(store).items.last_fetched([mine.subscription_id])
    assert [*last] == [mine.subscription_id]
    assert not (await checked(store, entries(2, 1), NOW + 4 * HOUR)).tasks
    assert await states(store, mine) == {"site 1": "fetched"}
    other = await subscribed(store, "https://b.test/list", backlog="all")
    assert not (await checked(store, entries(1, 2), NOW + 4 * HOUR)).tasks
    assert set((await states(store, other)).values()) == {"fetched in_memory"}


async def test_what_is_remembered_is_not_fetched_again(store: AnyStore) -> None:
    await rooms(store).media.take(["site 1"], NOW)
    mine = await subscribed(store, backlog="all")
    [task] = (await checked(store, entries(2, 1))).tasks
    assert task.status.url.endswith("/2")
    assert (await states(store, mine))["site 1"] == "fetched in_memory"


# --- two subscriptions ---


async def test_two_that_want_the_same_share_a_task_and_follow_it(store: AnyStore) -> None:
    one = await subscribed(store, backlog="all")
    [task] = (await checked(store, entries(1))).tasks
    two = await subscribed(store, "https://b.test/list", backlog="all")
    assert not (await checked(store, entries(1))).tasks
    assert await states(store, two) == {"site 1": "queued"}
    failed = await ended(store, task, code="http_503")
    assert await states(store, one) == await states(store, two) == {"site 1": "waiting retry"}
    assert await store.save(apply(failed.status, Retried(), utc_now()))
    assert await states(store, two) == {"site 1": "queued"}
    await ended(store, task)
    assert await states(store, one) == await states(store, two) == {"site 1": "fetched"}
    rows = rooms(store).subscriptions
    assert await rows.remove(one.subscription_id, with_files=True) == [], "the other one has it"
    assert await rows.remove(two.subscription_id, with_files=True) == [task.status.task_id]


async def test_what_waits_for_its_turn_or_a_client_shares_a_task_that_came_meanwhile(store: AnyStore) -> None:
    one = await subscribed(store, backlog="all")
    await checked(store, entries(*range(5, 0, -1)))  # entries 2 and 1 wait for the next check
    await subscribed(store, "https://b.test/list", backlog="all")
    [first, second] = (await checked(store, entries(2, 1))).tasks
    for _ in range(2):  # at the next check of either subscription
        assert not (await checked(store, [], NOW + 2 * HOUR)).tasks
    waiting = await rooms(store).items.items_of(one.subscription_id, ["site 2", "site 1"], None, 2)
    assert {item.task_id for item in waiting} == {first.status.task_id, second.status.task_id}
    three = await subscribed(store, "https://c.test/list")
    await checked(store, entries(1), NOW + 2 * HOUR)
    known, _ = await rooms(store).items.page(three.subscription_id, None, None, 1)
    assert await rooms(store).items.fetch(known, NOW) == {}
    assert (await states(store, three)) == {"site 1": "queued"}


async def test_an_entry_that_shares_a_task_which_ends_at_that_moment_is_fetched_with_it(
    clean_database: str,
) -> None:
    """In PostgreSQL another node ends the task, and cannot see the item, which is not stored yet."""

    def opened() -> AbstractAsyncContextManager[AnyStore]:
        return postgresql.open_store(clean_database, max_queued=MAX_QUEUED, find_short=short_of, hooks=HOOKS)

    async with opened() as store, await psycopg.AsyncConnection.connect(clean_database) as other_node:
        await subscribed(store, backlog="all")
        [task] = (await checked(store, entries(1))).tasks
        two = await subscribed(store, "https://b.test/list", backlog="all")
        task_id = task.status.task_id
        await other_node.execute("UPDATE tasks SET revision = revision WHERE task_id = %s", (task_id,))
        await other_node.execute("UPDATE items SET state = 'fetched' WHERE task_id = %s", (task_id,))
        check = asyncio.create_task(checked(store, entries(1)))
        async with await psycopg.AsyncConnection.connect(clean_database, autocommit=True) as watch:
            while not check.done() and (await (await watch.execute(BLOCKED)).fetchone()) == (0,):
                await asyncio.sleep(0.01)
        await other_node.commit()
        assert not (await check).tasks
        assert await states(store, two) == {"site 1": "fetched"}


async def test_two_checks_at_once_make_one_task(store: AnyStore) -> None:
    await subscribed(store, backlog="all")
    await subscribed(store, "https://b.test/list", backlog="all")
    one, two = await rooms(store).checks.claim(2, LEASE, NOW)
    settle = rooms(store).checks.settle
    found = await asyncio.gather(
        settle(one, entries(1), WHOLE, PACE, NOW), settle(two, entries(1), WHOLE, PACE, NOW)
    )
    assert sum(len(each.tasks) for each in found) == 1


async def test_another_quality_is_another_task(store: AnyStore) -> None:
    await subscribed(store, backlog="all")
    await checked(store, entries(1))
    await subscribed(store, "https://b.test/list", backlog="all", request={"quality": "720"})
    assert len((await checked(store, entries(1))).tasks) == 1


# --- the ends of tasks ---


@pytest.mark.parametrize(
    ("code", "state", "delay"),
    [
        ("http_503", "waiting retry", HOUR),
        ("timeout", "waiting retry", HOUR),
        ("members_only", "waiting members_only", DAY),
        ("unavailable", "waiting retry", DAY),
        ("live_rejected", "waiting not_live_yet", HOUR),
        ("unsupported_url", "skipped no_media", None),
    ],
)
async def test_a_failure_is_tried_again_if_that_may_help(
    store: AnyStore, code: str, state: str, delay: float | None
) -> None:
    mine = await subscribed(store, backlog="all")
    [task] = (await checked(store, entries(1))).tasks
    failed = await ended(store, task, code=code)
    [item], _ = await rooms(store).items.page(mine.subscription_id, None, None, 1)
    assert f"{item.state} {item.reason}" == state
    if delay is None:
        assert item.not_before is None
        return
    at = failed.status.completed_at
    assert at
    assert item.not_before == pytest.approx(at.timestamp() + delay)
    due = item.not_before + 1 if item.not_before else 0.0
    claim = await claimed(store, due)
    settled = await rooms(store).checks.settle(claim, [], WHOLE, PACE, due)
    assert [item.task_id for item in settled.retry] == [task.status.task_id]


@pytest.mark.parametrize("code", ["http_403", "http_404"])
@pytest.mark.parametrize(
    ("days", "state"), [(6, "waiting retry"), (8, "failed {code}"), (None, "waiting retry")]
)
async def test_what_is_not_there_yet_is_tried_again_while_its_entry_is_young(
    store: AnyStore, code: str, days: int | None, state: str
) -> None:
    """The age of an entry without a date counts from the time when it was found."""
    mine = await subscribed(store, backlog="all")
    published = None if days is None else (utc_now() - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    now = utc_now().timestamp()
    noticed = entries(1, published_at=published)
    claim = await claimed(store)
    [task] = (await rooms(store).checks.settle(claim, noticed, WHOLE, PACE, now)).tasks
    await ended(store, task, code=code)
    assert await states(store, mine) == {"site 1": state.format(code=code)}


@pytest.mark.parametrize(
    ("item", "verdict"), [(None, "waiting retry"), (None, "waiting held"), (2, "waiting held")]
)
async def test_what_a_feed_signs_anew_is_asked_for_at_its_newest_link(
    store: AnyStore, item: int | None, verdict: str
) -> None:
    mine = await subscribed(store)
    first = [
        FoundEntry(url=f"https://a.test/{n}?signed=1", guid=f"g{n}", title=f"Film {n}", item=item and n)
        for n in range(1, 6)
    ]
    await checked(store, first[:1])
    tasks = (await checked(store, first[1:], NOW + 2 * HOUR)).tasks
    if verdict == "waiting retry":
        await ended(store, tasks[0], code="http_503")
    again = [
        each.model_copy(update={"url": each.url[:-1] + "2", "title": "New", "item": item and item + 7})
        for each in first
    ]
    late = utc_now().timestamp() + 2 * DAY
    known = [each.model_copy(update={"known": True}) for each in again]
    settled = await checked(store, known, late)
    found, _ = await rooms(store).items.page(mine.subscription_id, None, None, 10)
    assert {(one.about["url"][-1], one.about["title"], one.about.get("item")) for one in found} == {
        ("2", "New", item and item + 7)
    }
    if verdict == "waiting retry":
        [retried] = settled.retry
        assert retried.about["url"].endswith("signed=2")
        return
    [held] = [one for one in found if one.reason == "held"]
    done = await rooms(store).items.fetch([held], late)
    [task] = [task for task in done.values() if isinstance(task, Task)]
    assert (task.status.url, task.status.item) == (held.about["url"], item and item + 7)


CHANNEL = WHOLE.model_copy(update={"newest_first": True})


async def test_a_check_that_was_cut_is_gone_on_with_behind_what_it_found_and_that_is_held(
    store: AnyStore,
) -> None:
    mine = await subscribed(store)
    await checked(store, entries(2, 1), result=CHANNEL)
    cut = CheckResult(form="list", newest_first=True, truncated=True, unfinished=True)
    now = NOW + 2 * HOUR
    assert len((await checked(store, entries(9, 8, 7, 6), now, cut)).tasks) == 3
    soon = await next_look(store, mine)
    assert soon <= now + PACE.min_interval * 1.1
    claim = await claimed(store, soon)
    assert set(claim.since_cut) >= {f"site {n}" for n in (9, 8, 7, 6)}
    assert "site 2" not in claim.since_cut
    behind = entries(5, 4, behind=True)
    rest = CheckResult(form="list", newest_first=True)
    noticed = [*entries(10), *entries(9, 8, 7, 6, known=True), *behind, *entries(2, known=True)]
    settled = await rooms(store).checks.settle(claim, noticed, rest, PACE, soon)
    assert [task.status.url[-2:] for task in settled.tasks] == ["10"]
    found = await states(store, mine)
    assert (found["site 6"], found["site 5"], found["site 4"]) == ("waiting held",) * 3
    assert (await claimed(store, soon + 2 * HOUR)).since_cut == []


async def test_what_only_a_whole_check_finds_is_held_but_not_what_was_forgotten(store: AnyStore) -> None:
    mine = await subscribed(store)
    await checked(store, entries(3, 2), result=CHANNEL)
    settled = await checked(store, [*entries(4), *entries(1, behind=True)], NOW + 2 * HOUR, CHANNEL)
    assert len(settled.tasks) == 1
    assert (await states(store, mine))["site 1"] == "waiting held"
    await rooms(store).items.forget(mine.subscription_id, ["site 2"])
    [task] = (await checked(store, entries(2, behind=True), NOW + 4 * HOUR, CHANNEL)).tasks
    assert task.status.url.endswith("/2")


@pytest.mark.parametrize(
    ("later", "is_held"),
    [
        ({"published_at": "2026-01-02T00:00:00Z"}, True),  # no newer than the newest entry before it
        ({"published_at": "2026-01-03T00:00:00Z"}, False),
        ({"title": "Film 2"}, False),  # no time of publication
    ],
)
async def test_everything_new_is_held_if_it_cannot_all_be(
    store: AnyStore, later: dict[str, str], is_held: bool
) -> None:
    mine = await subscribed(store)
    old = [
        FoundEntry(url=f"https://a.test/{n}", title=f"Film {n}", published_at=f"2026-01-0{n}T00:00:00Z")
        for n in (2, 1)
    ]
    await checked(store, old)
    moved = FoundEntry.model_validate({"url": "https://b.test/other", "title": "Other"} | later)
    tasks = (await checked(store, [moved], NOW + 2 * HOUR)).tasks
    assert len(tasks) == (0 if is_held else 1)
    notice = (await rooms(store).subscriptions.get(mine.subscription_id)).findings.notice
    assert notice == ("all_new" if is_held else None)
    known = old[0].model_copy(update={"known": True})
    await checked(store, [known], NOW + 4 * HOUR)
    assert (await rooms(store).subscriptions.get(mine.subscription_id)).findings.notice is None


async def test_a_list_without_times_that_has_new_ids_is_held_by_its_titles(store: AnyStore) -> None:
    mine = await subscribed(store)
    await checked(store, entries(2, 1))
    moved = [FoundEntry(url=f"https://b.test/{n}", title=f"Film {n}") for n in (3, 2, 1)]
    assert not (await checked(store, moved, NOW + 2 * HOUR)).tasks
    assert (await rooms(store).subscriptions.get(mine.subscription_id)).findings.notice == "all_new"


async def test_one_that_does_not_pass_is_replaced_by_the_next_older_one(store: AnyStore) -> None:
    mine = await subscribed(store, backlog={"last": 2})
    await checked(store, [*entries(6, 5, verdict="unclear"), *entries(4, verdict="title"), *entries(3, 2, 1)])
    again = entries(6, again="site 6", verdict="min_duration") + entries(5, again="site 5")
    [task] = (await checked(store, again, NOW + HOUR)).tasks
    assert task.status.url.endswith("/5")
    assert await states(store, mine) == {
        "site 6": "skipped min_duration",
        "site 5": "queued",
        "site 4": "known",
        "site 3": "waiting unclear",
        "site 2": "known",
        "site 1": "known",
    }
    [item] = (await claimed(store, NOW + 2 * HOUR)).again
    assert item.key == "site 3"


async def test_tries_come_to_an_end(store: AnyStore) -> None:
    mine = await subscribed(store, backlog="all")
    [task] = (await checked(store, entries(1))).tasks
    for _ in range(4):
        failed = await ended(store, task, code="timeout")
        assert (await states(store, mine))["site 1"] == "waiting retry"
        assert await store.save(apply(failed.status, Retried(), utc_now()))
    await ended(store, task, code="timeout")
    assert (await states(store, mine))["site 1"] == "failed timeout"


async def test_a_cancelled_task_failed_and_a_deleted_one_is_not_wanted(store: AnyStore) -> None:
    mine = await subscribed(store, backlog="all")
    first, second, third = (await checked(store, entries(3, 2, 1))).tasks
    assert await store.save(apply(first.status, Cancelled(), utc_now()))
    await store.mark_removed(second.status.task_id)
    await ended(store, third)
    await store.mark_removed(third.status.task_id)
    assert await states(store, mine) == {
        "site 3": "failed cancelled",
        "site 2": "skipped removed",
        "site 1": "fetched",
    }
    assert not (await checked(store, entries(3, 2, 1), NOW + 40 * DAY)).tasks


# --- failures of checks ---


async def test_a_failure_changes_no_item_and_is_waited_out_longer_each_time(store: AnyStore) -> None:
    mine = await subscribed(store)
    await checked(store, entries(1))
    now, waits = NOW + 2 * HOUR, []
    for _ in range(8):
        await rooms(store).checks.fail(await claimed(store, now), "http_404", None, None, PACE, now)
        after = await rooms(store).subscriptions.get(mine.subscription_id)
        assert after.next_check_at
        waits.append((after.next_check_at - now) / HOUR)
        now = after.next_check_at
    assert waits[0] == pytest.approx(2, rel=0.11)
    assert waits[-1] == pytest.approx(24, rel=0.11)
    assert (after.stage(now), after.findings.error_code) == ("failing", "http_404")
    assert await states(store, mine) == {"site 1": "known"}
    now = max(now, NOW + 3 * HOUR + GONE_AFTER)
    await rooms(store).checks.fail(await claimed(store, now), "http_404", None, None, PACE, now)
    assert (await rooms(store).subscriptions.get(mine.subscription_id)).findings.error_code == "source_gone"
    now += 2 * DAY
    await checked(store, entries(1), now)
    assert (await rooms(store).subscriptions.get(mine.subscription_id)).findings.error_code is None


async def test_a_first_check_that_failed_is_tried_after_one_and_five_minutes(store: AnyStore) -> None:
    mine = await subscribed(store)
    now, waits = NOW, []
    for _ in range(3):
        await rooms(store).checks.fail(await claimed(store, now), "timeout", None, None, PACE, now)
        at = await next_look(store, mine)
        waits.append((at - now) / 60)
        now = at
    assert waits == pytest.approx([1, 5, 480], rel=0.11)


async def test_whoever_asks_is_told_which_hosts_are_held(store: AnyStore) -> None:
    checks = rooms(store).checks
    until = await checks.hold("a.test", None, NOW)
    assert await checks.held_hosts({"a.test", "b.test"}, NOW) == {"a.test": until}
    assert await checks.held_hosts({"a.test"}, until) == {}
    assert await checks.held_hosts({"a.test"}, NOW - 30 * DAY) == {}, "a clock was ahead"


async def test_subscriptions_are_found_by_a_text_and_sorted(store: AnyStore) -> None:
    rows = rooms(store).subscriptions
    urls = {"https://a.test/1": "Zebra 100%", "https://b.test/2": "apfel", "https://c.test/3": "Über"}
    for at, (url, name) in enumerate(urls.items()):
        await subscribed(store, url, name=name)
        published = f"2026-01-0{5 - at}"
        await checked(store, entries(at, published_at=published), NOW + at)

    async def names(text: str = "", sort: Sort | None = None, cursor: str | None = None) -> list[str | None]:
        found, _ = await rows.find(text, sort, cursor, 9, NOW + 10)
        return [one.wanted.name for one in found]

    assert await names("ÜBER") == ["Über"]
    assert await names("b.test") == ["apfel"]
    assert await names("0%") == ["Zebra 100%"]
    assert await names("_") == []
    assert await names(sort="name") == ["apfel", "Zebra 100%", "Über"]
    assert await names(sort="newest") == ["Zebra 100%", "apfel", "Über"]
    await rooms(store).checks.hold("b.test", None, NOW)
    assert await names(sort="trouble") == ["apfel", "Über", "Zebra 100%"]
    assert await names(sort="name", cursor="1") == ["Zebra 100%", "Über"]
    found, more = await rows.find("", "name", None, 2, NOW)
    assert ([one.wanted.name for one in found], more) == (["apfel", "Zebra 100%"], "2")
    with pytest.raises(InvalidQuery):
        await names(sort="name", cursor="x")


async def test_what_has_held_entries_is_sorted_before_what_needs_nobody(store: AnyStore) -> None:
    rows = rooms(store).subscriptions
    for at, url in enumerate(("https://a.test/1", "https://b.test/2")):
        await subscribed(store, url)
        await checked(store, entries(1), NOW + at)
    claim = await claimed(store, NOW + 2 * HOUR)
    await rooms(store).checks.settle(claim, entries(1, *range(20, 40)), WHOLE, PACE, NOW + 2 * HOUR)
    [first, other], _ = await rows.find("", "trouble", None, 9, NOW + 2 * HOUR)
    assert first.subscription_id == claim.subscription.subscription_id
    ids = [first.subscription_id, other.subscription_id]
    assert await rooms(store).items.counts_of_held(ids) == {
        first.subscription_id: 17
    }  # the other three are downloaded at once
    [failing] = await rooms(store).checks.claim(1, LEASE, NOW + 2 * HOUR)
    assert failing.subscription.subscription_id == other.subscription_id
    await rooms(store).checks.fail(failing, "timeout", None, None, PACE, NOW + 2 * HOUR)
    found, _ = await rows.find("", "trouble", None, 9, NOW + 2 * HOUR)
    assert [one.subscription_id for one in found] == [other.subscription_id, first.subscription_id]


async def test_items_are_found_by_a_text_and_sorted(store: AnyStore) -> None:
    mine = await subscribed(store, backlog={"last": 1})
    noticed = [
        entry.model_copy(update={"published_at": f"2026-01-0{day}"})
        for entry, day in zip(entries(12, 2, 31), (1, 3, 2), strict=True)
    ]
    await checked(store, noticed)
    later = [entry.model_copy(update={"title": None}) for entry in entries(40, 41, 42, 43)]
    await checked(store, later, NOW + 2 * HOUR)

    async def keys(text: str = "", sort: Sort | None = None) -> list[str]:
        found, _ = await rooms(store).items.find(mine.subscription_id, None, text, sort, None, 9)
        return [item.key for item in found]

    assert await keys("film 3") == ["site 31"]
    assert await keys("a.test/2") == ["site 2"]
    assert (await keys(sort="newest"))[:3] == ["site 2", "site 31", "site 12"]
    assert (await keys("film", "name")) == ["site 12", "site 2", "site 31"]
    assert (await keys(sort="trouble"))[0] == "site 43", "what is held"


async def test_what_was_skipped_is_fetched_by_the_task_that_it_had(store: AnyStore) -> None:
    mine = await subscribed(store)
    await checked(store, entries(1))
    [task] = (await checked(store, entries(2, 1), NOW + DAY)).tasks
    cancelled = apply(task.status, Cancelled(), utc_now())
    assert await store.save(cancelled)
    assert await rooms(store).items.skip(mine.subscription_id, ["site 2"], "by_client") == {
        "site 2": "skipped"
    }
    items = await rooms(store).items.items_of(mine.subscription_id, ["site 2"], None, 9)
    assert await rooms(store).items.fetch(items, NOW + DAY) == {"site 2": task.status.task_id}
    assert await store.save(apply(cancelled, Retried(), utc_now()))
    assert (await states(store, mine))["site 2"] == "queued"
    assert len((await store.page(Filter(), None, 9)).tasks) == 1


async def test_what_an_earlier_release_wrote_is_found_as_well_and_a_pattern_is_plain_text(
    store: AnyStore,
) -> None:
    mine = await subscribed(store, name="Émissions")
    await checked(store, [*entries(1), FoundEntry(url="https://a.test/2", title="100 % ÜBER_all\\s")])
    rows = rooms(store).subscriptions

    async def forget(tables: Tables) -> None:
        await tables.run("UPDATE items SET search = NULL")
        await tables.run("UPDATE subscriptions SET search = NULL")

    await store.transactions.write(forget)
    for text in ("émissions", "E\u0301MISS", "list"):
        found, more = await rows.find(text, None, None, 9, NOW)
        assert ([one.subscription_id for one in found], more) == ([mine.subscription_id], None), text
    for text, count in (
        ("0 % über_ALL\\s", 1),
        ("_", 1),
        ("%", 1),
        ("\\", 1),
        ("film_1", 0),
        ("film\0", 1),
        ("", 2),
    ):
        items, _ = await rooms(store).items.find(mine.subscription_id, None, text, "name", None, 9)
        assert len(items) == count, text
    renamed = replace(mine, revision=2, wanted=SubscriptionSettings(name="Neu"))
    assert await rows.change(renamed, wish_of(mine.manner, renamed.wanted), check=False, keep=False)
    assert len((await rows.find("NEU", None, None, 9, NOW))[0]) == 1
    assert (await rows.find("émissions", None, None, 9, NOW))[0] == []


async def test_a_search_reads_no_more_rows_than_it_shows(
    store: AnyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = await subscribed(store)
    await checked(store, entries(*range(300)))
    read = list[object]()
    real = subscription_columns.read_item

    def counted(*row: Any) -> StoredItem:
        read.append(row)
        return real(*row)

    monkeypatch.setattr("server.subscriptions.item_rows.read_item", counted)
    found, more = await rooms(store).items.find(mine.subscription_id, None, "film", "name", None, 10)
    assert ([item.about["title"] for item in found[:3]], more) == (["Film 0", "Film 1", "Film 10"], "10")
    assert len(read) == 11


async def test_an_entry_without_a_film_behind_its_link_is_skipped(store: AnyStore) -> None:
    mine = await subscribed(store, backlog="all")
    settled = await checked(store, entries(1))
    await ended(store, settled.tasks[0], code="no_media")
    assert await states(store, mine) == {"site 1": "skipped no_media"}


async def test_a_refusal_holds_its_host_longer_each_time(store: AnyStore) -> None:
    await subscribed(store)
    await checked(store, entries(1))
    now = NOW + 2 * HOUR
    until = await rooms(store).checks.fail(await claimed(store, now), "http_429", None, None, PACE, now)
    assert until == now + FIRST_HOLD
    other = await subscribed(store, "https://a.test/other")
    assert await rooms(store).checks.claim(1, LEASE, now + FIRST_HOLD - 1) == []
    assert await rooms(store).checks.hold("a.test", None, now + 10) == until, "it is held already"
    again = now + FIRST_HOLD
    claim = await claimed(store, again)
    assert claim.subscription.subscription_id == other.subscription_id
    until = await rooms(store).checks.fail(claim, "bot_check", None, None, PACE, again)
    assert until == again + 2 * FIRST_HOLD
    asked = await rooms(store).checks.hold("c.test", 99_999_999.0, now)
    assert asked == now + 12 * HOUR


async def test_a_check_whose_entries_are_refused_holds_its_host_and_is_no_end_of_a_hold(
    store: AnyStore,
) -> None:
    await subscribed(store, filters={"min_duration": 1})
    unclear = entries(1, verdict="unclear")
    refused = WHOLE.model_copy(update={"refusal": Refusal()})
    settled = await checked(store, unclear, result=refused)
    assert settled.held_until == NOW + FIRST_HOLD
    assert await rooms(store).checks.claim(1, LEASE, NOW + FIRST_HOLD - 1) == []
    now = NOW + 2 * HOUR
    settled = await checked(store, unclear, now, result=refused)
    assert settled.held_until == now + 2 * FIRST_HOLD
    good = now + 3 * HOUR
    assert (await checked(store, unclear, good)).held_until is None
    assert await rooms(store).checks.held_hosts(["a.test"], good) == {}


async def next_look(store: AnyStore, mine: StoredSubscription) -> float:
    at = (await rooms(store).subscriptions.get(mine.subscription_id)).next_check_at
    assert at is not None
    return at


@pytest.mark.parametrize(
    ("every", "least", "most"), [(30 * 60, 15 * 60, 15 * 60), (DAY, 5 * HOUR, 7 * HOUR), (30 * DAY, DAY, DAY)]
)
async def test_an_interval_goes_by_the_rate_of_the_source(
    store: AnyStore, every: float, least: float, most: float
) -> None:
    mine = await subscribed(store, interval="auto")
    days = [f"{datetime.fromtimestamp(NOW - n * every, UTC):%Y-%m-%dT%H:%M:%SZ}" for n in range(30)]
    noticed = [entry for n, day in enumerate(days) for entry in entries(n, published_at=day)]
    await checked(store, noticed)
    wait = await next_look(store, mine) - NOW
    assert 0.9 * least <= wait <= 1.1 * most
    silent = NOW + 40 * DAY
    await checked(store, [], silent)
    assert await next_look(store, mine) - silent >= 0.9 * min(DAY, 10 * wait), "it is asked less often"


async def test_a_source_that_asks_for_time_gets_it(store: AnyStore) -> None:
    mine = await subscribed(store, interval="auto", backlog="all")
    asks = WHOLE.model_copy(update={"max_age": 5 * HOUR})
    noticed = entries(1, verdict="too_young", begins_at=NOW + HOUR)
    [task] = (await checked(store, [*noticed, *entries(2)], result=asks)).tasks
    assert await next_look(store, mine) == NOW + 5 * HOUR
    await ended(store, task, code="http_503")  # the task is tried again an hour later
    assert await next_look(store, mine) == NOW + 5 * HOUR
    late = NOW + 5 * HOUR
    await rooms(store).checks.fail(await claimed(store, late), "http_503", None, 9 * HOUR, PACE, late)
    assert await next_look(store, mine) == late + 9 * HOUR


async def test_new_cookies_are_tried_at_once_where_a_log_in_was_missing(store: AnyStore) -> None:
    mine = await subscribed(store, backlog="all")
    codes = ("members_only", "http_503", "private")
    tasks = (await checked(store, entries(3, 2, 1))).tasks
    for task, code in zip(tasks, codes, strict=True):
        await ended(store, task, code=code)
    held = await rooms(store).checks.hold("a.test", None, NOW)
    assert held > NOW

    async def due() -> list[str]:
        found, _ = await rooms(store).items.page(mine.subscription_id, "waiting", None, 9)
        return sorted(item.key for item in found if item.not_before == NOW + 60)

    assert await rooms(store).checks.log_in(["other.test"], NOW + 60) == set()
    assert await due() == []
    assert await rooms(store).checks.log_in(["test"], NOW + 60) == set(), "nobody has asked for a log-in"
    assert await due() == ["site 1", "site 3"]
    assert await next_look(store, mine) == NOW + 60
    assert await rooms(store).checks.claim(1, LEASE, NOW + 60) == [], "its host is held for another reason"


@pytest.mark.parametrize(
    ("code", "ends"), [("login_required", True), ("bot_check", True), ("http_429", False)]
)
async def test_new_cookies_end_the_hold_of_a_host_that_wants_a_log_in(
    store: AnyStore, code: str, ends: bool
) -> None:
    await subscribed(store)
    await rooms(store).checks.fail(await claimed(store), code, None, None, PACE, NOW)
    assert await rooms(store).checks.claim(1, LEASE, NOW + 60) == []
    assert await rooms(store).checks.log_in(["a.test"], NOW + 60) == ({"a.test"} if ends else set())
    assert len(await rooms(store).checks.claim(1, LEASE, NOW + 60)) == ends


async def test_new_cookies_of_one_person_make_nothing_of_others_due(store: AnyStore) -> None:
    made = {owner: await subscribed(store, owner=owner) for owner in ("anna", "bob")}
    checks = CheckRows(store.transactions, separate_lists=True)
    for _ in made:
        [claim] = await checks.claim(1, LEASE, NOW + DAY)
        await checks.fail(claim, "login_required", None, None, PACE, NOW)
        # The log-in of nobody makes no subscription of a person due.
        await checks.log_in(["a.test"], NOW, None)
    before = {owner: await next_look(store, mine) for owner, mine in made.items()}
    assert NOW not in before.values()
    assert await checks.log_in(["a.test"], NOW, "anna") == {"a.test"}, "the host is let go"
    assert await next_look(store, made["anna"]) == NOW
    assert await next_look(store, made["bob"]) == before["bob"]


async def test_a_new_task_for_a_held_host_waits(store: AnyStore) -> None:
    await rooms(store).checks.hold("a.test", None, NOW)
    await subscribed(store, "https://b.test/list", backlog="all")
    [task] = (await checked(store, entries(1))).tasks
    assert task.status.waiting == "host_held"
    assert task.status.not_before
    assert task.status.not_before.timestamp() == NOW + FIRST_HOLD


# --- actions and retention ---


async def test_a_client_fetches_what_it_chooses(store: AnyStore) -> None:
    mine = await subscribed(store)
    await checked(store, entries(3, 2, 1))
    found, _ = await rooms(store).items.page(mine.subscription_id, "known", None, 10)
    done = await rooms(store).items.fetch(found[:2], NOW)
    assert {key: isinstance(task, Task) for key, task in done.items()} == {"site 3": True, "site 2": True}
    assert await rooms(store).items.fetch(found[:2], NOW) == {}, "they are queued"
    await rooms(store).items.set_state(mine.subscription_id, ["site 1"], "skipped", "by_client")
    await rooms(store).items.pin(mine.subscription_id, ["site 1"], pinned=True)
    [item] = await rooms(store).items.items_of(mine.subscription_id, ["site 1"], None, 1)
    assert (item.state, item.pinned) == ("skipped", True)


async def test_what_a_client_chooses_is_fetched_in_the_order_of_the_list(store: AnyStore) -> None:
    mine = await subscribed(store)
    await checked(store, entries(9, 10, 2))  # ordered by key, these entries would stand otherwise
    found, _ = await rooms(store).items.page(mine.subscription_id, "known", None, 10)
    done = await rooms(store).items.fetch(found[::-1], NOW)
    numbers = {key: task.status.number for key, task in done.items() if isinstance(task, Task)}
    assert sorted(numbers, key=lambda key: numbers[key]) == ["site 2", "site 10", "site 9"], "oldest first"


@pytest.mark.parametrize("keep", [{"last": 1}, {"days": 1}])
async def test_a_task_of_a_clients_own_link_goes_neither_with_what_is_kept_nor_with_the_subscription(
    store: AnyStore, keep: dict[str, int]
) -> None:
    [own] = await store.add([Submission(new_task("https://a.test/1"))])
    assert isinstance(own, Task)
    await ended(store, own)
    mine = await subscribed(store, backlog="all", keep=keep)
    [task] = (await checked(store, entries(2, 1))).tasks
    await ended(store, task)
    assert (await states(store, mine))["site 1"] == "fetched in_memory"
    later = utc_now().timestamp() + 2 * DAY
    gone = await rooms(store).items.expire(later)
    assert own.status.task_id not in gone
    assert (await states(store, mine))["site 1"] == "expired retention"
    assert await rooms(store).subscriptions.unshared_tasks(mine.subscription_id) == [task.status.task_id]
    removing = rooms(store).subscriptions.remove(mine.subscription_id, with_files=True)
    assert await removing == [task.status.task_id]


async def test_a_task_whose_row_is_damaged_keeps_nothing_else_from_being_let_go(store: AnyStore) -> None:
    mine = await subscribed(store, backlog="all", keep={"days": 1})
    damaged, whole = (await checked(store, entries(2, 1))).tasks
    for task in (damaged, whole):
        await ended(store, task)

    async def damage(tables: Tables) -> None:
        sql = "UPDATE tasks SET status = '{' WHERE task_id = ?"
        await tables.run(sql, (damaged.status.task_id,))

    await rooms(store).subscriptions._transactions.write(damage)
    assert whole.status.task_id in await rooms(store).items.expire(utc_now().timestamp() + 2 * DAY)
    removing = rooms(store).subscriptions.remove(mine.subscription_id, with_files=True)
    assert await removing == [whole.status.task_id]


async def test_all_or_none_are_fetched_where_the_queue_is_full(store: AnyStore) -> None:
    mine = await subscribed(store)
    await checked(store, entries(*range(20, 0, -1)))
    found, _ = await rooms(store).items.page(mine.subscription_id, None, None, 100)
    with pytest.raises(QueueFull):
        await rooms(store).items.fetch(found, NOW)
    assert set((await states(store, mine)).values()) == {"known"}


async def test_what_is_forgotten_is_new(store: AnyStore) -> None:
    mine = await subscribed(store, backlog="all")
    [task] = (await checked(store, entries(1), result=CheckResult(form="feed", digest="x", etag="y"))).tasks
    await ended(store, task)
    await rooms(store).items.forget(mine.subscription_id, ["site 1"])
    assert await rooms(store).media.find(["site 1"]) is None
    claim = await claimed(store, NOW + 2 * HOUR)
    assert (claim.subscription.findings.etag, claim.subscription.findings.digest) == (None, None)
    assert not claim.known
    settled = await rooms(store).checks.settle(claim, entries(1), WHOLE, PACE, NOW + 2 * HOUR)
    assert len(settled.tasks) == 1


async def test_what_is_forgotten_during_a_check_is_new_at_the_next_one(store: AnyStore) -> None:
    """The child of the running check knew the entry, and has left it out."""
    mine = await subscribed(store, backlog="all")
    unchanged = CheckResult(form="feed", digest="x", etag="y")
    [task] = (await checked(store, entries(1), result=unchanged)).tasks
    await ended(store, task)
    under_way = await claimed(store, NOW + 2 * HOUR)
    assert under_way.known
    await rooms(store).items.forget(mine.subscription_id, ["site 1"])
    told = CheckResult(form="feed", digest="x", etag="y", whole=True)
    await rooms(store).checks.settle(under_way, [], told, PACE, NOW + 2 * HOUR)
    claim = await claimed(store, NOW + 4 * HOUR)
    findings = claim.subscription.findings
    assert (findings.etag, findings.digest, findings.whole_at) == (None, None, None)
    settled = await rooms(store).checks.settle(claim, entries(1), WHOLE, PACE, NOW + 4 * HOUR)
    assert len(settled.tasks) == 1
    claim = await claimed(store, NOW + 6 * HOUR)
    assert claim.subscription.findings.whole_at == NOW + 4 * HOUR


async def test_what_is_kept_goes_by_days_and_by_number_and_never_what_is_pinned(store: AnyStore) -> None:
    mine = await subscribed(store, backlog="all", keep={"last": 2, "days": 30})
    days = {3: "2026-01-03", 2: "2026-01-02", 1: "2026-01-01"}
    noticed = [entries(n)[0].model_copy(update={"published_at": day}) for n, day in days.items()]
    tasks = (await checked(store, noticed)).tasks
    for task in tasks:
        await ended(store, task)
    now = utc_now().timestamp()
    assert await rooms(store).items.expire(now) == [tasks[2].status.task_id]
    await rooms(store).items.pin(mine.subscription_id, ["site 2"], pinned=True)
    assert tasks[2].status.task_id in await rooms(store).items.expire(now + 60), "until it is gone"
    await store.mark_removed(tasks[2].status.task_id)
    assert await rooms(store).items.expire(now + 120) == []
    assert await rooms(store).items.expire(now + 31 * DAY) == [tasks[0].status.task_id]
    assert await states(store, mine) == {
        "site 3": "expired retention",
        "site 2": "fetched",
        "site 1": "expired retention",
    }
    assert Keep().days is None


async def test_what_was_pinned_is_let_go_when_it_is_not_any_more(store: AnyStore) -> None:
    mine = await subscribed(store, backlog="all", keep={"last": 1})
    tasks = (await checked(store, entries(2, 1))).tasks
    await rooms(store).items.pin(mine.subscription_id, ["site 1"], pinned=True)
    for task in tasks:
        await ended(store, task)
    now = utc_now().timestamp()
    assert await rooms(store).items.expire(now) == []
    await rooms(store).items.pin(mine.subscription_id, ["site 1"], pinned=False)
    assert await rooms(store).checks.due_in(now) == 0
    assert await rooms(store).items.expire(now) == [tasks[1].status.task_id]


async def test_a_task_that_two_have_goes_with_the_last_one(store: AnyStore) -> None:
    await subscribed(store, backlog="all", keep={"days": 1})
    [task] = (await checked(store, entries(1))).tasks
    await subscribed(store, "https://b.test/list", backlog="all", keep={"days": 3})
    await checked(store, entries(1))
    await ended(store, task)
    now = utc_now().timestamp()
    assert await rooms(store).items.expire(now + 2 * DAY) == []
    assert await rooms(store).items.expire(now + 4 * DAY) == [task.status.task_id]


async def test_the_tasks_of_one_subscription_alone_are_told_before_it_is_removed(store: AnyStore) -> None:
    mine = await subscribed(store, backlog="all")
    both, alone = (await checked(store, entries(1, 2))).tasks
    await subscribed(store, "https://b.test/list", backlog="all")
    await checked(store, entries(1))
    told = await rooms(store).subscriptions.unshared_tasks(mine.subscription_id)
    assert len(told) == 1
    assert told[0] in (both.status.task_id, alone.status.task_id)


async def test_a_subscription_stays_while_tasks_that_a_check_made_are_to_be_deleted_with_it(
    store: AnyStore,
) -> None:
    mine = await subscribed(store, backlog="all")
    [task] = (await checked(store, entries(1))).tasks
    rows = rooms(store).subscriptions
    assert await rows.remove(mine.subscription_id, with_files=True) == [task.status.task_id]
    # The subscription is still there: a removal that is interrupted here can be repeated.
    await rows.get(mine.subscription_id)
    await store.mark_removed(task.status.task_id)
    assert await rows.remove(mine.subscription_id, with_files=True) == []
    with pytest.raises(SubscriptionNotFound):
        await rows.get(mine.subscription_id)


async def test_retention_of_tasks_passes_over_what_a_subscription_has(store: AnyStore) -> None:
    await subscribed(store, backlog="all", keep={"days": 1})
    [task] = (await checked(store, entries(1))).tasks
    await ended(store, task)
    assert await store.mark_expired(utc_now() + timedelta(days=9), 10) == []
    assert await rooms(store).items.expire(utc_now().timestamp() + 2 * DAY) == [task.status.task_id]
    assert await store.mark_expired(utc_now() + timedelta(days=9), 10) == [task.status.task_id]


async def test_a_task_that_begins_asks_the_link_that_its_entry_has_then(store: AnyStore) -> None:
    await subscribed(store)
    await checked(store, signed(1, 1))
    [task] = (await checked(store, signed(2, 2, 1), NOW + DAY)).tasks
    assert await rooms(store).items.newest_link(task) is None
    await checked(store, signed(3, 2, 1), NOW + 2 * DAY)
    event = await rooms(store).items.newest_link(task)
    assert event == Relinked(url="https://a.test/2.mp4?day=3")
    after = replace(task, status=apply(task.status, event, utc_now()))
    assert after.effective_request is not None
    assert (after.status.url, after.effective_request.url) == (event.url, event.url)
    assert await rooms(store).items.newest_link(after) is None
    # An entry that turned out to be a list goes on as an entry of that list.
    unfolded = replace(task, status=task.status.model_copy(update={"url": "https://a.test/inner"}))
    assert await rooms(store).items.newest_link(unfolded) is None
    own = replace(task, status=task.status.model_copy(update={"subscription_id": None}))
    assert await rooms(store).items.newest_link(own) is None


# --- sources that move ---


def signed(day: int, *numbers: int) -> list[FoundEntry]:
    """Return entries whose links are signed anew each day; only their guids stay the same."""
    return [
        FoundEntry(url=f"https://a.test/{n}.mp4?day={day}", guid=f"g{n}", title=f"Film {n}") for n in numbers
    ]


def moved_to(url: str, **more: Any) -> CheckResult:
    return CheckResult(form="feed", whole=True, moved_to=url, moved_by="redirect", **more)


async def test_who_subscribes_where_a_source_has_moved_knows_its_entries(store: AnyStore) -> None:
    mine, there = await subscribed(store), "https://b.test/feed"
    await checked(store, signed(1, 1))
    [task] = (await checked(store, signed(1, 2, 1), NOW + DAY)).tasks
    await ended(store, task)
    for day in range(2, 5):
        await checked(store, signed(day, 2, 1), NOW + day * DAY, moved_to(there))
    after = await rooms(store).subscriptions.get(mine.subscription_id)
    assert (after.url, after.source_key, after.key_origin) == (there, key_of_link(there), mine.source_key)
    await rooms(store).subscriptions.remove(mine.subscription_id)
    again = await subscribed(store, there, backlog="all")
    assert again.key_origin == mine.source_key
    await checked(store, signed(9, 2), NOW + 9 * DAY)
    assert [*(await states(store, again)).values()] == ["fetched in_memory"]


async def test_a_move_counts_only_in_a_row_and_never_back(store: AnyStore) -> None:
    mine, there = await subscribed(store), "https://b.test/feed"
    rows = rooms(store).subscriptions
    await checked(store, entries(1))

    async def told(day: int, to: str | None) -> str:
        seen = WHOLE if to is None else moved_to(to)
        await checked(store, entries(1), NOW + day * DAY, seen)
        return (await rows.get(mine.subscription_id)).url

    told_in_turn = [there, None, there, there, "https://c.test/feed", there, there]
    assert {await told(day, to) for day, to in enumerate(told_in_turn, 1)} == {mine.url}
    assert await told(8, there) == there
    for day in range(9, 13):
        assert await told(day, mine.url) == there, "two that name each other lead to and fro"
    unread = CheckResult(form="feed", moved_to="https://d.test/", moved_by="feed", is_there=False)
    for day in range(13, 18):
        await checked(store, entries(1), NOW + day * DAY, unread)
    one = await rows.get(mine.subscription_id)
    assert (one.url, one.findings.moved_to) == (there, "https://d.test/")


async def test_a_check_that_began_at_the_old_link_says_nothing_of_the_new_one(store: AnyStore) -> None:
    mine, there = await subscribed(store), "https://b.test/feed"
    rows = rooms(store).subscriptions
    claim = await claimed(store)
    after = replace(mine, revision=2, url=there, source_key=key_of_link(there), next_check_at=NOW)
    assert await rows.change(after, wish_of(mine.manner, mine.wanted), check=True, keep=False)
    assert not await rooms(store).checks.renew(claim, LEASE, NOW)
    assert (await rooms(store).checks.settle(claim, entries(1), WHOLE, PACE, NOW)).is_late
    again = await claimed(store)
    assert (again.subscription.url, again.subscription.key_origin) == (there, mine.source_key)


async def test_of_two_that_move_to_one_link_the_second_says_that_it_stays(store: AnyStore) -> None:
    there = "https://b.test/feed"
    one, other = await subscribed(store), await subscribed(store, "https://c.test/list")
    rows = rooms(store).subscriptions
    for day in range(3):
        for claim in await rooms(store).checks.claim(2, LEASE, NOW + day * DAY):
            await rooms(store).checks.settle(claim, entries(1), moved_to(there), PACE, NOW + day * DAY)
    both = [await rows.get(each.subscription_id) for each in (one, other)]
    assert sorted(each.url == there for each in both) == [False, True]
    [stays] = [each for each in both if each.url != there]
    assert (stays.findings.moved_taken, stays.findings.moved_to) == (True, there)
    with pytest.raises(AlreadySubscribed):
        await subscribed(store, there)


@pytest.mark.parametrize(
    ("url", "to", "expected"),
    [
        ("http://u:p@a.test/1", "http://a.test/2", "http://u:p@a.test/2"),
        ("http://u:p@a.test/1", "https://a.test/2", "https://u:p@a.test/2"),
        ("https://u:p@a.test/1", "http://a.test/2", "http://a.test/2"),
        ("http://u:p@a.test/1", "http://b.test/2", "http://b.test/2"),
        ("http://u:p@a.test/1", "http://a.test:8080/2", "http://a.test:8080/2"),
    ],
)
def test_a_password_moves_to_the_same_server_alone(url: str, to: str, expected: str) -> None:
    assert address_of_move(url, to) == expected


# --- data of an earlier release ---


@pytest.mark.parametrize("beside", [(), (50,)])
async def test_players_of_a_page_that_an_earlier_release_knew_by_their_places_are_not_fetched_again(
    store: AnyStore, beside: tuple[int, ...]
) -> None:
    """New players have moved the known ones, so nobody can tell which is which: all are held, once."""
    page = "https://a.test/page"

    def players(*numbers: int, is_now: bool = True) -> list[FoundEntry]:
        return [
            FoundEntry(
                url=page,
                item=place,
                title=f"Page ({place})",
                media=f"https://cdn.test/{number}.mp4" if is_now else None,
            )
            for place, number in enumerate(numbers, 1)
        ]

    mine = await subscribed(store, page, backlog="all")
    before = await checked(store, [*entries(*beside), *players(2, 1, is_now=False)])
    for task in before.tasks:
        await ended(store, task)
    by_place = await states(store, mine)
    assert {key_of_link(page, place) for place in (1, 2)} <= by_place.keys(), "as it stored them"
    now = [*entries(*beside), *players(3, 2, 1)]
    later = NOW + 10 * HOUR
    after = await checked(store, now, later)
    assert [task.status.url for task in after.tasks] == []
    held = {key: state for key, state in (await states(store, mine)).items() if key not in by_place}
    assert [*held.values()] == ["waiting held"] * 3
    again = await checked(store, [*entries(*beside), *players(4, 3, 2, 1)], later + 10 * HOUR)
    assert len(again.tasks) == 1, "from then on each is known by its file"


@pytest.mark.parametrize("backlog", ["none", "all", {"last": 2}, {"since": "2026-01-05"}])
@pytest.mark.parametrize("dies", [False, True])
async def test_a_long_list_is_stored_in_parts_and_nothing_is_lost_between_them(
    open_any: Open, monkeypatch: pytest.MonkeyPatch, backlog: Any, dies: bool
) -> None:
    listed = [entries(n, published_at=f"2026-01-{n:02}")[0] for n in (*range(9, 3, -1), 12, *range(3, 0, -1))]
    found = list[dict[str, str]]()
    for together in (1000, 3):
        async with open_any() as store:
            mine = await subscribed(store, backlog=backlog)
            monkeypatch.setattr(check_rows, "MOST_TOGETHER", together)
            if dies and together == 3:
                with monkeypatch.context() as patch:
                    patch.setattr(check_rows, "_put_off", lambda *_, **__: 1 / 0)
                    with pytest.raises(ZeroDivisionError):
                        await checked(store, listed)
                before = await states(store, mine)
                assert len(before) in (6, 7), "the newest three are missing, and what is asked for"
                known = [one.model_copy(update={"known": f"site {one.id}" in before}) for one in listed]
                settled = await checked(store, known, NOW + LEASE + 1)
            else:
                settled = await checked(store, listed)
            assert len({task.status.task_id for task in settled.tasks}) == len(settled.tasks)
            found.append(await states(store, mine))
            await rooms(store).subscriptions.remove(mine.subscription_id)
    assert found[0] == found[1]
    if not dies and not isinstance(backlog, dict):
        assert list(found[0]) == list(found[1]), "in the same order"


async def test_few_statements_store_what_a_long_list_says_of_known_entries(
    store: AnyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await subscribed(store)
    listed = entries(*range(3000, 0, -1))
    await checked(store, listed)
    transactions = rooms(store).subscriptions._transactions
    write, asked = transactions.write, list[str]()

    async def counting(work: Callable[[Any], Any], **more: Any) -> Any:
        async def counted(tables: Any) -> Any:
            fetch = tables.fetch

            async def noting(sql: str, values: Sequence[object] = ()) -> Any:
                asked.append(sql)
                return await fetch(sql, values)

            with monkeypatch.context() as patch:
                patch.setattr(type(tables), "fetch", lambda _, *both: noting(*both))
                return await work(tables)

        return await write(counted, **more)

    monkeypatch.setattr(type(transactions), "write", lambda _, *work, **more: counting(*work, **more))
    await checked(store, [one.model_copy(update={"known": True}) for one in listed], NOW + DAY)
    assert len(asked) < 40, "a transaction waits for the answer to each"
