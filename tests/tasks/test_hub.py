import asyncio
import time
from datetime import UTC, datetime

import pytest

from server.core.task import TaskStatus
from server.tasks import hub as hub_module
from server.tasks.hub import CHANGES_KEPT_FOR, Hub, Removed, Waiter, Watcher

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def numbered(task_id: str, revision: int) -> TaskStatus:
    return TaskStatus(task_id=task_id, url="http://media.test/a", revision=revision, created_at=NOW)


class Woken(Watcher):
    """A watcher that counts how often it was woken."""

    def __init__(self) -> None:
        self.times = 0
        super().__init__()

    def wake(self) -> None:
        self.times += 1


async def test_a_slow_subscriber_gets_the_newest_status_only() -> None:
    hub, subscriber = Hub(), Woken()
    with hub.watch("a", subscriber):
        for revision in range(1, 1001):
            hub.publish(numbered("a", revision))
    assert [update.revision for update in subscriber.take() if isinstance(update, TaskStatus)] == [1000]
    assert subscriber.times == 1


async def test_an_older_revision_never_replaces_a_newer_one() -> None:
    hub, subscriber = Hub(), Woken()
    with hub.watch("a", subscriber):
        hub.publish(numbered("a", 2))
        hub.publish(numbered("a", 1))
    assert subscriber.take() == [numbered("a", 2)]


async def test_removed_is_the_last_word() -> None:
    hub, subscriber = Hub(), Woken()
    with hub.watch("a", subscriber):
        hub.publish_removal("a")
        hub.publish(numbered("a", 9))
    assert subscriber.take() == [Removed("a")]


async def test_who_watches_all_has_a_slot_for_each_task() -> None:
    hub, subscriber = Hub(), Woken()
    with hub.watch(None, subscriber):
        for revision in (1, 2):
            for task_id in "ab":
                hub.publish(numbered(task_id, revision))
    assert subscriber.take() == [numbered("a", 2), numbered("b", 2)]
    assert subscriber.take() == []


async def test_a_waiter_is_woken_by_its_task_only() -> None:
    hub, waiter = Hub(), Waiter()
    with hub.watch("a", waiter):
        waiting = asyncio.create_task(anext(waiter))
        await asyncio.sleep(0)
        hub.publish(numbered("b", 1))
        hub.publish(numbered("a", 2))
        async with asyncio.timeout(20):
            assert await waiting == numbered("a", 2)


async def test_closing_hands_out_what_is_held_then_ends() -> None:
    hub, waiter = Hub(), Waiter()
    with hub.watch("a", waiter):
        hub.publish(numbered("a", 1))
        hub.close()
        async with asyncio.timeout(20):
            assert [update async for update in waiter] == [numbered("a", 1)]


async def test_who_comes_after_the_close_is_ended_at_once() -> None:
    hub, waiter = Hub(), Waiter()
    hub.close()
    with hub.watch("a", waiter):
        async with asyncio.timeout(20):
            assert [update async for update in waiter] == []


async def test_nothing_is_kept_for_tasks_without_subscribers() -> None:
    hub = Hub()
    with hub.watch("a", Woken()):
        pass
    hub.publish(numbered("a", 1))
    assert hub.watched_ids() == set()


async def test_what_changed_lately_is_known_with_what_was_removed_although_nobody_watches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub, now = Hub(), 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    hub.publish(numbered("a", 1))
    hub.publish(numbered("b", 1))
    now += 2
    hub.publish(numbered("a", 2))
    hub.publish("c")
    hub.publish_removal("c")
    assert hub.changed_within(1) == {"a": False, "c": True}
    assert hub.changed_within(10) == {"b": False, "a": False, "c": True}
    now += CHANGES_KEPT_FOR
    assert hub.changed_within(100) == {"a": False, "c": True}
    now += 1
    assert hub.changed_within(100) == {}


async def test_a_burst_of_changes_is_forgotten_although_none_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "CHANGES_KEPT_FOR", 0.05)
    monkeypatch.setattr(hub_module, "FORGET_EVERY", 0.0)
    monkeypatch.setattr(hub_module, "FORGOTTEN_AT_ONCE", 7)
    hub = Hub()
    for number in range(50):
        hub.publish(str(number))
    assert len(hub._changes) == 50
    async with asyncio.timeout(5):
        while hub._changes:
            await asyncio.sleep(0.01)
    assert hub._forgetting is None, "nothing wakes the event loop while nothing changes"
    hub.publish("again")
    assert hub._forgetting
    hub.close()
    assert hub._forgetting.cancelled()


async def test_when_changes_may_have_been_missed_who_watches_all_is_sent_to_list_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub, now, feed, one = Hub(), 100.0, Woken(), Woken()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with hub.watch(None, feed), hub.watch("a", one):
        hub.missed()
        assert (feed.closed, one.closed) == (True, False)
    now += 2
    hub.publish(numbered("a", 1))
    assert hub.changed_within(3) is None
    assert hub.changed_within(1) == {"a": False}
