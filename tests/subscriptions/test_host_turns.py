"""Tasks of subscriptions begin one after the other at a host, on every backend and on all nodes."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from server.core.events import Requeued, StartAsked, apply
from server.core.process_request import ProcessRequest
from server.core.task import Task, TaskStatus
from server.subscriptions.host_turns import HostTurns
from server.subscriptions.subscription import HOST_PAUSED
from tests.examples import utc_now
from tests.subscriptions import test_subscription_rows

open_any, store = test_subscription_rows.open_any, test_subscription_rows.store
AnyStore = test_subscription_rows.AnyStore
NOW = 1_800_000_000.0
PAUSE = 10.0


class At:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)


def task_of(n: int, host: str = "a.test", **more: Any) -> Task:
    request = ProcessRequest(url=f"https://{host}/{n}")
    return Task(
        request, TaskStatus.new(request, utc_now()).model_copy(update={"subscription_id": "s", **more})
    )


def turns_of(store: AnyStore, clock: At) -> HostTurns:
    return HostTurns(store.transactions, PAUSE, clock, lambda pause: 1.5 * pause)  # type: ignore[arg-type]


def after(task: Task, event: Requeued, clock: At) -> Task:
    return Task(task.request, apply(task.status, event, clock.now()))


async def begun(turns: HostTurns, clock: At, waiting: list[Task]) -> tuple[list[float], int]:
    """Begin all `waiting` tasks; return the times at which they began, in seconds, and how often one was put
    off.
    """
    began, put_off = list[float](), 0
    while waiting:
        waiting.sort(key=lambda task: task.status.not_before or datetime.min.replace(tzinfo=UTC))
        task = waiting.pop(0)
        if (not_before := task.status.not_before) is not None:
            clock.at = max(clock.at, not_before.timestamp())
        event = await turns.before_attempt(task)
        if event is None:
            began.append(clock.at - NOW)
        else:
            assert event.because == HOST_PAUSED
            put_off += 1
            waiting.append(after(task, event, clock))
    return began, put_off


async def test_tasks_of_one_host_begin_a_pause_apart_and_each_is_put_off_once(store: AnyStore) -> None:
    clock = At()
    began, put_off = await begun(turns_of(store, clock), clock, [task_of(n) for n in range(6)])
    assert began == [15.0 * n for n in range(6)]
    assert put_off == 5


async def test_other_hosts_own_links_and_what_is_started_by_hand_wait_for_nobody(store: AnyStore) -> None:
    clock = At()
    turns = turns_of(store, clock)
    assert await turns.before_attempt(task_of(1)) is None
    assert await turns.before_attempt(task_of(2)) is not None
    assert await turns.before_attempt(task_of(3, host="b.test")) is None
    assert await turns.before_attempt(task_of(4, subscription_id=None)) is None
    started = task_of(5)
    status = apply(started.status, StartAsked(), utc_now())
    assert await turns.before_attempt(Task(started.request, status)) is None


async def test_what_was_held_up_does_not_begin_at_once(store: AnyStore) -> None:
    clock = At()
    turns = turns_of(store, clock)
    waiting = [task_of(n) for n in range(6)]
    for at, task in enumerate(waiting):
        if event := await turns.before_attempt(task):
            waiting[at] = after(task, event, clock)
    clock.at += 86_400.0  # the queue was paused for a day
    began, put_off = await begun(turns, clock, waiting[1:])
    apart = [two - one for one, two in pairwise(began)]
    assert min(apart) >= PAUSE
    assert put_off <= 6


async def test_tasks_that_are_gone_leave_no_hole_and_those_that_wait_keep_turns(
    store: AnyStore,
) -> None:
    clock = At()
    turns = turns_of(store, clock)
    for n in range(100):  # no task is stored, as if all had been cancelled
        await turns.before_attempt(task_of(n))
    event = await turns.before_attempt(task_of(100))
    assert event is not None
    assert event.after is not None
    assert event.after <= 12 * PAUSE
    await test_subscription_rows.subscribed(store, backlog="all")
    pace = replace(test_subscription_rows.PACE, max_new=12)
    entries = test_subscription_rows.entries(*range(12), 0)
    settled = await test_subscription_rows.checked(store, entries, pace=pace)
    clock.at += 1000
    waits = list[float]()
    for task in settled.tasks:
        event = await turns.before_attempt(task)
        waits.append((event and event.after) or 0.0)
        if event:
            assert await store.save(apply(task.status, event, clock.now()))
    assert waits == [15.0 * n for n in range(12)]


async def test_a_clock_that_was_ahead_holds_nobody_for_ever(store: AnyStore) -> None:
    clock = At()
    clock.at += 30 * 86_400.0
    assert await turns_of(store, clock).before_attempt(task_of(1)) is None
    clock.at = NOW
    event = await turns_of(store, clock).before_attempt(task_of(2))
    assert event is not None
    assert event.after is not None
    assert event.after <= 15.0


async def test_of_several_nodes_at_once_one_begins(store: AnyStore) -> None:
    clock = At()
    nodes = [turns_of(store, clock) for _ in range(3)]
    events = await asyncio.gather(*(node.before_attempt(task_of(n)) for n in range(2) for node in nodes))
    waits = Counter(0.0 if event is None else event.after for event in events)
    assert waits == {15.0 * n: 1 for n in range(6)}
