"""The contract of the outbox, on every backend: a delivery is stored together with the end of its task."""

import asyncio
import sqlite3
import time
from collections import Counter
from contextlib import AsyncExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from server.core.errors import DeliveryNotFound, InvalidQuery
from server.core.events import Cancelled, Completed, EntriesMoved, Failed, Joined, Retried, apply
from server.core.task import Task, TaskStatus
from server.files.public_names import short_of
from server.notices import deliveries
from server.notices.deliverer import PLAN
from server.notices.deliveries import TOLD_WITHIN, Delivery, tells_of
from server.notices.delivery_rows import claim, hooks_of, soonest
from server.storage import postgresql, sqlite
from server.storage.sqlite.migrations import released_scripts
from server.storage.sqlite.writer import DIALECT
from tests.adding import add
from tests.examples import finished, new_task, started, utc_now
from tests.notices.conftest import OpenAny
from tests.rooms import HOOKS, rooms

HOOK = "https://hooks.test/clipwire"
WEBHOOKS = ("webhook", "default")


async def ended(store: Any, hours_ago: float = 0, **fields: Any) -> TaskStatus:
    """Add a task with a webhook, and complete it."""
    task = await add(store, new_task(**{"webhook": HOOK, **fields}))
    after = finished(task.status, hours_ago=hours_ago)
    assert await store.save(after)
    return after


async def due(store: Any) -> list[Delivery]:
    claimed: list[Delivery] = await rooms(store).outbox.claim(WEBHOOKS, 100)
    return claimed


async def test_the_end_of_a_task_is_told_to_its_webhook_with_its_final_status(store: Any) -> None:
    status = await ended(store)
    [delivery] = await due(store)
    assert (delivery.task_id, delivery.addressee.kind, delivery.addressee.target) == (
        status.task_id, "webhook", HOOK,
    )  # fmt: skip
    assert delivery.status == status
    assert delivery.delivery_id.startswith("msg_")
    assert await due(store) == [], "it is claimed"


async def test_nobody_is_told_of_a_task_without_a_webhook_nor_before_its_end(store: Any) -> None:
    await ended(store, webhook=None)
    task = await add(store, new_task(webhook=HOOK))
    assert await store.save(started(task.status))
    assert await due(store) == []
    assert await rooms(store).outbox.due_in(WEBHOOKS) is None


async def test_what_is_to_be_told_survives_a_restart(open_any: OpenAny) -> None:
    async with open_any() as store:
        status = await ended(store)
    async with open_any() as store:
        assert [delivery.task_id for delivery in await due(store)] == [status.task_id]


async def test_a_task_does_not_expire_before_its_end_was_told_or_given_up(store: Any) -> None:
    now = utc_now()
    of_today, old = [
        (await ended(store, hours_ago=hours)).task_id for hours in (5, 5 + TOLD_WITHIN / timedelta(hours=1))
    ]
    assert await store.mark_expired(now - timedelta(hours=1), 10) == [old], "it is too old to be told"
    [delivery] = await due(store)
    assert delivery.task_id == of_today
    await rooms(store).outbox.failed(delivery.delivery_id, "unreachable", 3600)
    assert await store.mark_expired(now - timedelta(hours=1), 10) == []
    await rooms(store).outbox.failed(delivery.delivery_id, "unreachable", None)
    assert await store.mark_expired(now - timedelta(hours=1), 10) == [of_today]
    assert timedelta(seconds=sum(PLAN)) < TOLD_WITHIN


async def test_a_save_that_does_not_follow_tells_nobody(store: Any) -> None:
    task = await add(store, new_task(webhook=HOOK))
    assert await store.save(started(task.status))
    assert not await store.save(finished(task.status))
    assert await store.save_together([finished(task.status)]) is None
    assert await due(store) == []


async def test_each_end_is_told_as_it_was_also_after_a_retry(store: Any) -> None:
    task = await add(store, new_task(webhook=HOOK))
    failed = apply(task.status, Failed(code="http_404"), utc_now())
    again = apply(failed, Retried(), utc_now())
    done = apply(started(again), Completed(files={}), utc_now())
    for status in (failed, again, started(again), done):
        assert await store.save(status)
    assert [delivery.status for delivery in await due(store)] == [failed, done]


async def test_a_list_is_told_once_at_its_end_and_its_entries_are_not(store: Any) -> None:
    listed = await add(store, new_task(webhook=HOOK, playlist=True))
    assert listed.request
    entry = new_task(webhook=HOOK)
    of_list = entry.status.model_copy(update={"playlist_id": listed.status.task_id, "playlist_index": 1})
    reading = apply(started(listed.status), Joined(count=1), utc_now())
    assert await store.save(started(listed.status))
    added = await store.save_together([reading], [Task(entry.request, of_list)])
    cancelled = apply(reading, Cancelled(), utc_now())
    assert await store.save_together([cancelled, apply(added[0].status, Cancelled(), utc_now())]) == []
    counted = apply(cancelled, EntriesMoved(failed=1), utc_now())
    assert await store.save(counted), "it had ended before: its counts alone change"
    [delivery] = await due(store)
    assert (delivery.task_id, delivery.status) == (listed.status.task_id, cancelled)


async def test_the_delivery_of_a_deleted_task_goes_with_it(store: Any) -> None:
    status = await ended(store)
    other = await ended(store)
    await store.mark_removed(status.task_id)
    found, _ = await rooms(store).outbox.page(None, 10)
    assert [delivery.task_id for delivery in found] == [other.task_id]
    await store.forget(status.task_id)
    assert [delivery.task_id for delivery in await due(store)] == [other.task_id]


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
async def test_a_machine_whose_clock_is_set_changes_no_wait(
    store: Any, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    await ended(store)
    [delivery] = await due(store)
    await rooms(store).outbox.failed(delivery.delivery_id, "http_500", 300.0)
    set_to = time.time() + jump
    monkeypatch.setattr(time, "time", lambda: set_to)
    assert 250 < (await rooms(store).outbox.due_in(WEBHOOKS) or 0) <= 300
    await ended(store)
    assert len(await due(store)) == 1


async def test_a_failed_try_is_due_again_when_its_plan_says_or_given_up(store: Any) -> None:
    await ended(store)
    [delivery] = await due(store)
    await rooms(store).outbox.failed(delivery.delivery_id, "http_500", 300.0)
    assert 290 < (await rooms(store).outbox.due_in(WEBHOOKS) or 0) <= 300
    [[known], _] = await rooms(store).outbox.page(None, 10)
    assert (known.attempts, known.step, known.last_error) == (1, 1, "http_500")
    assert known.next_at is not None
    await rooms(store).outbox.failed(delivery.delivery_id, "timeout", None)
    assert await rooms(store).outbox.due_in(WEBHOOKS) is None
    [[known], _] = await rooms(store).outbox.page(None, 10)
    assert (known.attempts, known.last_error, known.next_at) == (2, "timeout", None)
    again = await rooms(store).outbox.again(delivery.delivery_id)
    assert (again.attempts, again.step) == (2, 0)
    assert [each.delivery_id for each in await due(store)] == [delivery.delivery_id]
    await rooms(store).outbox.delivered(delivery.delivery_id)
    with pytest.raises(DeliveryNotFound):
        await rooms(store).outbox.again(delivery.delivery_id)


async def test_a_delivery_whose_owner_died_is_due_again_when_its_lease_has_ended(
    open_any: OpenAny, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_any() as store:
        monkeypatch.setattr("server.notices.delivery_rows.LEASE", 0.0)
        await ended(store)
        assert len(await due(store)) == 1
        assert len(await due(store)) == 1


async def test_what_a_server_that_was_killed_had_claimed_is_due_at_once_and_no_later_try_is(
    tmp_path: Path,
) -> None:
    async with sqlite.open_store(
        tmp_path / "clipwire.db", max_queued=300, find_short=short_of, hooks=HOOKS
    ) as store:
        claimed, failed = await ended(store), await ended(store)
        for delivery in await due(store):
            if delivery.task_id == failed.task_id:
                await rooms(store).outbox.failed(delivery.delivery_id, "http_503", 300.0)
        assert await due(store) == []
        await rooms(store).outbox.release_all()
        assert [delivery.task_id for delivery in await due(store)] == [claimed.task_id]


async def test_of_two_who_claim_at_once_one_gets_each_delivery(store: Any) -> None:
    for number in range(10):
        await ended(store, webhook=f"https://{number}.hooks.test/")
    claimed = await asyncio.gather(*(rooms(store).outbox.claim(WEBHOOKS, 4) for _ in range(5)))
    ids = [delivery.delivery_id for part in claimed for delivery in part]
    assert len(ids) == len(set(ids)) == 10


async def test_of_one_receiver_four_are_under_way_at_once_whoever_claims_them(open_any: OpenAny) -> None:
    async with open_any() as store, AsyncExitStack() as stack:
        # --- only PostgreSQL has several nodes ---
        stores = [store]
        if not type(store).__module__.startswith("server.storage.sqlite"):
            stores.append(await stack.enter_async_context(open_any()))
        for number in range(9):
            await ended(store, webhook=f"https://Hooks.test./{number}")
        await ended(store, webhook="https://hooks.test:8443/")
        await ended(store, webhook="https://other.test/")
        claims = await asyncio.gather(
            *(rooms(each).outbox.claim(WEBHOOKS, 3) for _ in range(4) for each in stores)
        )
        claimed = [delivery for part in claims for delivery in part]
        assert Counter(urlsplit(each.addressee.target).netloc for each in claimed) == {
            "Hooks.test.": 4, "hooks.test:8443": 1, "other.test": 1,
        }  # fmt: skip
        assert (await rooms(store).outbox.due_in(WEBHOOKS) or 0) > 50, (
            "nothing may begin before one of them ends"
        )
        first, second, *_ = [each for each in claimed if "Hooks" in each.addressee.target]
        await rooms(store).outbox.delivered(first.delivery_id)
        assert await rooms(store).outbox.due_in(WEBHOOKS) == 0
        assert len(await due(stores[-1])) == 1
        await rooms(store).outbox.failed(second.delivery_id, "http_500", 300.0)
        assert len(await due(store)) == 1


async def test_a_receiver_with_many_deliveries_comes_before_no_other(store: Any) -> None:
    for _ in range(12):
        await ended(store)
    other = await ended(store, webhook="https://other.test/")
    claimed = await rooms(store).outbox.claim(WEBHOOKS, 5)
    assert [delivery.task_id for delivery in claimed].count(other.task_id) == 1
    assert len(claimed) == 5


def test_a_claim_costs_as_much_however_many_deliveries_a_receiver_has() -> None:
    def steps_with(many: int) -> int:
        """Return the number of steps of SQLite's virtual machine: it does not depend on the load of the
        machine.
        """
        rows = [("hangs.test:443", "webhook", number) for number in range(many)]
        rows += [(f"{number % 3}.test:443", "default", number) for number in range(30)]
        with closing(sqlite3.connect(":memory:")) as db:
            for script in released_scripts():
                db.executescript(script.sql)
            db.executemany(
                "INSERT INTO deliveries (delivery_id, task_id, target, status, receiver, kind, next_at)"
                " VALUES (hex(randomblob(9)), '', '', '', ?, ?, ?)",
                rows,
            )
            steps = 0

            def count() -> int:
                nonlocal steps
                steps += 1
                return 0

            db.set_progress_handler(count, 1)
            assert len(db.execute(*claim(DIALECT, WEBHOOKS, many, 100)).fetchall()) == 16
            db.execute(*soonest(DIALECT, WEBHOOKS, many)).fetchall()
        return steps

    assert steps_with(20_000) < 1.5 * steps_with(200)


async def test_the_next_try_of_what_is_under_way_is_left_to_its_plan(open_any: OpenAny) -> None:
    async with open_any() as store:
        await ended(store)
        [delivery] = await due(store)
        again = [await rooms(store).outbox.again(delivery.delivery_id) for _ in range(8)]
        assert {(each.delivery_id, each.attempts, each.step) for each in again} == {
            (delivery.delivery_id, 0, 0)
        }
        assert await due(store) == []
        await rooms(store).outbox.failed(delivery.delivery_id, "http_500", 300.0)
        [[known], _] = await rooms(store).outbox.page(None, 10)
        assert (known.attempts, known.step) == (1, 1)
        assert (await rooms(store).outbox.again(delivery.delivery_id)).step == 0
        assert len(await due(store)) == 1


async def test_deliveries_are_listed_in_pages_newest_first(store: Any) -> None:
    tasks = [(await ended(store)).task_id for _ in range(5)]
    first, cursor = await rooms(store).outbox.page(None, 3)
    second, end = await rooms(store).outbox.page(cursor, 3)
    assert [each.task_id for each in (*first, *second)] == tasks[::-1]
    assert end is None
    with pytest.raises(InvalidQuery):
        await rooms(store).outbox.page("nonsense", 3)


def test_whom_the_configuration_names_is_told_of_every_task_but_entries() -> None:
    task, tells = new_task(webhook=HOOK), tells_of(default="https://default.test/", notify=("ab12",))
    told = [addressee.kind for addressee in tells(task.request, task.status)]
    assert told == ["webhook", "default", "notify"]
    assert tells(task.request, task.status.model_copy(update={"playlist_id": "a list"})) == ()
    assert deliveries.LEASE > 15, "longer than a try"


async def test_people_are_told_by_the_same_outbox_and_no_client_sees_that(
    request: pytest.FixtureRequest, tmp_path: Path, open_any: OpenAny
) -> None:
    tells = tells_of(notify=("ab12", "cd34"))
    async with open_any() as store:
        names: dict[str, Any] = {"max_queued": 300, "find_short": short_of, "hooks": [hooks_of(tells)]}
    opening: Any = (
        sqlite.open_store(tmp_path / "clipwire.db", **names)
        if type(store).__module__.startswith("server.storage.sqlite")
        else postgresql.open_store(request.getfixturevalue("clean_database"), **names)
    )
    async with opening as store:
        status = await ended(store, webhook=None)
        assert await due(store) == []
        claimed = await rooms(store).outbox.claim(["notify"], 100)
        assert sorted(each.addressee.target for each in claimed) == ["ab12", "cd34"]
        assert all(each.status == status for each in claimed)
        assert await rooms(store).outbox.page(None, 50) == ([], None)
        with pytest.raises(DeliveryNotFound):
            await rooms(store).outbox.again(claimed[0].delivery_id)
        await rooms(store).outbox.failed(claimed[0].delivery_id, "http_500", 0.0)
        await rooms(store).outbox.delivered(claimed[1].delivery_id)
        [again] = await rooms(store).outbox.claim(["notify"], 100)
        assert (again.delivery_id, again.attempts) == (claimed[0].delivery_id, 1)
