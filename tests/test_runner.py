"""What follows an attempt that did not end well; real attempts are in `test_end_to_end`."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from server.events import Broken, Failed, Requeued
from server.models import TaskStatus
from server.tasks.runner import MAX_LOST_IN_ALL, MAX_RETRY_AFTER, after_failure, after_loss
from server.tasks.shielding import to_the_end

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def status(**fields: Any) -> TaskStatus:
    return TaskStatus(task_id="t", url="http://media.test/", created_at=NOW, **fields)


def seconds_until(event: object) -> float:
    assert isinstance(event, Requeued)
    assert event.after is not None
    return event.after


def test_a_passing_fault_is_tried_again_later_each_time() -> None:
    waits = [
        seconds_until(after_failure(status(retries=n), Broken(code="http_500", retryable=True), 9))
        for n in range(8)
    ]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (1, 60)


def test_a_task_says_that_it_waits_for_its_next_attempt() -> None:
    for event in (after_failure(status(), Broken(code="http_500", retryable=True), 9), after_loss(status())):
        assert isinstance(event, Requeued)
        assert event.because == "next_attempt"


def test_a_source_that_says_when_is_asked_then() -> None:
    broken = Broken(code="http_429", retryable=True, retry_after=7)
    assert seconds_until(after_failure(status(), broken, 2)) == 7
    broken = Broken(code="http_429", retryable=True, retry_after=1e9)
    assert seconds_until(after_failure(status(), broken, 2)) == MAX_RETRY_AFTER


def test_retries_run_out() -> None:
    broken = Broken(code="http_500", retryable=True)
    assert isinstance(after_failure(status(retries=1), broken, 2), Requeued)
    assert after_failure(status(retries=2), broken, 2) == Failed(code="http_500")


def test_what_cannot_get_better_fails_at_once() -> None:
    assert after_failure(status(), Broken(code="http_404"), 2) == Failed(code="http_404")


def test_what_the_child_knows_better_is_kept() -> None:
    broken = Broken(code="blocked_address", hint="blocked_address_fake_ip")
    assert after_failure(status(), broken, 2) == Failed(code=broken.code, hint=broken.hint)


def test_a_full_disk_is_waited_for_and_costs_no_retry() -> None:
    event = after_failure(status(retries=2), Broken(code="disk_full", retryable=True), 2)
    assert isinstance(event, Requeued)
    assert (event.because, event.counts_as_retry) == ("disk_full", False)


def test_three_lost_children_in_a_row_are_an_error() -> None:
    reached: dict[str, Any] = {"progress": 30, "reached": (30, 0)}
    assert isinstance(after_loss(status(lost=0, **reached)), Requeued)
    assert isinstance(after_loss(status(lost=1, **reached)), Requeued)
    assert after_loss(status(lost=2, **reached)) == Failed(code="worker_lost")
    assert isinstance(after_loss(status(lost=2, **reached | {"progress": 31})), Requeued)


def test_lost_children_are_an_error_at_last_however_far_they_get() -> None:
    further: dict[str, Any] = {"progress": 31, "reached": (30, 0)}
    assert isinstance(after_loss(status(lost_in_all=MAX_LOST_IN_ALL - 2, **further)), Requeued)
    assert after_loss(status(lost_in_all=MAX_LOST_IN_ALL - 1, **further)) == Failed(code="worker_lost")


async def test_work_goes_to_its_end_although_cancelled_and_the_cancel_goes_through() -> None:
    begun, go, done = asyncio.Event(), asyncio.Event(), []

    async def work() -> None:
        begun.set()
        await go.wait()
        done.append(True)

    job = asyncio.create_task(to_the_end(work()))
    await begun.wait()
    job.cancel()
    await asyncio.sleep(0)
    assert not job.done()
    go.set()
    async with asyncio.timeout(1):
        with pytest.raises(asyncio.CancelledError):
            await job
    assert done
