"""What follows an attempt that failed; real attempts are in `test_sources` and `test_outages`."""

from datetime import UTC, datetime
from typing import Any

import pytest

from server.core.events import (
    Broken,
    Cancelled,
    Event,
    Failed,
    Paused,
    Progress,
    Requeued,
    Resumed,
    Retried,
    Started,
    apply,
)
from server.core.task import Stage, TaskStatus
from server.settings import DownloadSettings
from server.tasks.next_attempt import (
    MAX_LOST_IN_ALL,
    MAX_REFUSALS,
    MAX_RETRY_AFTER,
    after_failure,
    after_loss,
)

NOW = datetime(2024, 1, 1, tzinfo=UTC)
TWICE = DownloadSettings(retries=2, patience=600)


def status(**fields: Any) -> TaskStatus:
    return TaskStatus(task_id="t", url="http://media.test/", created_at=NOW, **fields)


def seconds_until(event: object) -> float:
    assert isinstance(event, Requeued)
    assert event.after is not None
    return event.after


def test_a_passing_fault_is_tried_again_later_each_time() -> None:
    waits = [
        seconds_until(after_failure(status(faults=n), Broken(code="http_500", retryable=True), TWICE))
        for n in range(8)
    ]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (1, 60)


@pytest.mark.parametrize(
    ("broken", "hint"),
    [
        (Broken(code="http_401"), "renew_cookies"),
        (Broken(code="http_403"), "renew_cookies"),
        (Broken(code="login_required"), "renew_cookies"),
        (Broken(code="unsupported_url", hint="seen_login"), "renew_cookies"),
        (Broken(code="unsupported_url", hint="seen_removed"), "seen_removed"),
        (Broken(code="http_404", hint="missing_segments"), "missing_segments"),
        (Broken(code="http_404"), None),
    ],
)
def test_a_refusal_says_to_renew_the_cookies_if_there_were_any(broken: Broken, hint: str | None) -> None:
    assert after_failure(status(cookies="main"), broken, TWICE) == Failed(code=broken.code, hint=hint)
    assert after_failure(status(), broken, TWICE) == Failed(code=broken.code, hint=broken.hint)


def test_a_task_says_that_it_waits_for_its_next_attempt() -> None:
    for event in (
        after_failure(status(), Broken(code="http_500", retryable=True), TWICE),
        after_loss(status()),
    ):
        assert isinstance(event, Requeued)
        assert event.because == "next_attempt"


def test_a_source_that_says_when_is_asked_then() -> None:
    broken = Broken(code="http_429", retryable=True, retry_after=7)
    assert seconds_until(after_failure(status(), broken, TWICE)) == 7
    broken = Broken(code="http_429", retryable=True, retry_after=1e9)
    assert seconds_until(after_failure(status(), broken, TWICE)) == MAX_RETRY_AFTER


@pytest.mark.parametrize("code", ["http_429", "bot_check"])
def test_a_ban_uses_up_no_retry_of_a_subscription_s_task_unless_it_seems_to_be_of_that_alone(
    code: str,
) -> None:
    banned = Broken(code=code, retryable=True, retry_after=0)
    course = Course(subscription_id="s")
    events = [course.attempt(banned) for _ in range(MAX_REFUSALS)]
    assert not any(map(counts, events))
    waits = list(map(seconds_until, events))
    assert waits == sorted(waits)
    assert waits[-1] == 60
    assert [counts(course.attempt(banned)) for _ in range(2)] == [True, True]
    assert course.attempt(banned) == Failed(code=code)


def test_a_ban_counts_for_what_a_client_sent_as_a_log_in_does_for_a_subscription() -> None:
    banned, wall = Broken(code="bot_check", retryable=True), Broken(code="login_required")
    assert after_failure(status(retries=2), banned, TWICE) == Failed(code="bot_check")
    assert after_failure(status(subscription_id="s"), wall, TWICE) == Failed(code="login_required")


def test_retries_run_out() -> None:
    broken = Broken(code="http_500", retryable=True)
    assert isinstance(after_failure(status(retries=1), broken, TWICE), Requeued)
    assert after_failure(status(retries=2), broken, TWICE) == Failed(code="http_500")


def test_what_cannot_get_better_fails_at_once() -> None:
    assert after_failure(status(), Broken(code="http_404"), TWICE) == Failed(code="http_404")


def test_what_the_child_knows_better_is_kept() -> None:
    broken = Broken(code="blocked_address", hint="blocked_address_fake_ip")
    assert after_failure(status(), broken, TWICE) == Failed(code=broken.code, hint=broken.hint)


def test_a_full_disk_is_waited_for_and_costs_no_retry() -> None:
    event = after_failure(status(retries=2), Broken(code="disk_full", retryable=True), TWICE)
    assert isinstance(event, Requeued)
    assert (event.because, event.counts_as_retry) == ("disk_full", False)


@pytest.mark.parametrize("fault", [{"retryable": True}, {"expired": True}])
def test_what_ends_because_it_was_held_costs_nothing(fault: dict[str, Any]) -> None:
    broken = Broken(code="http_403", after_hold=True, **fault)
    event = after_failure(status(retries=2), broken, TWICE, lasted=8 * 3600)
    assert isinstance(event, Requeued)
    assert (event.counts_as_retry, event.in_vain) == (False, event.after)
    assert after_failure(status(), Broken(code="http_404", after_hold=True), TWICE) == Failed(code="http_404")


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


# --- failures after the first byte ---


class Course:
    """A task through its attempts; `fields` are those of its first status."""

    def __init__(self, **fields: Any) -> None:
        self.status = status(**fields)

    def attempt(self, broken: Broken, got: int | None = None, lasted: float = 0) -> Event:
        """Make an attempt that receives `got` bytes in all, if any, and then fails; return the event that
        follows.
        """
        self.status = apply(self.status, Started(), NOW).model_copy(update={"stage": Stage.DOWNLOAD})
        if got is not None:
            self.status = apply(self.status, Progress(progress=20, downloaded_bytes=got), NOW)
        event = after_failure(self.status, broken, TWICE, lasted)
        self.undergo(event)
        return event

    def undergo(self, *events: Event) -> None:
        for event in events:
            self.status = apply(self.status, event, NOW)


LOST = Broken(code="connection_failed", retryable=True)
CUT = Broken(code="incomplete", retryable=True)
EXPIRED = Broken(code="http_403", expired=True)


def counts(event: Event) -> bool:
    assert isinstance(event, Requeued), event
    return event.counts_as_retry


@pytest.mark.parametrize(
    "code",
    [
        "connection_failed",
        "dns_error",
        "proxy_error",
        "timeout",
        "incomplete",
        "http_502",
        "http_522",
        "http_530",
    ],
)
def test_an_outage_in_the_middle_is_waited_out_for_ten_minutes_and_counts_afterwards(code: str) -> None:
    course, outage = Course(), Broken(code=code, retryable=True)
    delays = [seconds_until(course.attempt(CUT, got=500))]
    while not counts(event := course.attempt(outage)):
        delays.append(seconds_until(event))
    assert delays[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert 600 <= sum(delays[1:]) < 660
    assert counts(course.attempt(outage))
    assert course.attempt(outage) == Failed(code=code)


def test_the_time_of_attempts_is_part_of_the_ten_minutes() -> None:
    course = Course()
    course.attempt(CUT, got=500)
    attempts = 0
    while not counts(course.attempt(LOST, lasted=60)):
        attempts += 1
    assert attempts == 7


def test_another_byte_sets_all_back() -> None:
    course = Course()
    for got in range(1, 100):
        assert course.attempt(CUT, got=got) == Requeued(because="next_attempt", after=1, in_vain=1)
        assert not counts(course.attempt(LOST, lasted=400))


def test_what_a_source_refuses_counts_only_in_a_row_without_a_byte_more() -> None:
    course, busy = Course(), Broken(code="http_429", retryable=True)
    assert [counts(course.attempt(busy, got=got)) for got in (1, 1, 2, 2, 3, 3)] == [True] * 6
    assert course.attempt(busy) == Failed(code="http_429")


def test_a_source_that_sends_the_same_again_and_no_more_was_reached() -> None:
    course = Course()
    assert not counts(course.attempt(CUT, got=500))
    assert [counts(course.attempt(CUT, got=500)) for _ in range(2)] == [True, True]
    assert course.attempt(CUT, got=500) == Failed(code="incomplete")


def test_a_name_that_did_resolve_will_do_so_again() -> None:
    course, unknown = Course(), Broken(code="dns_error")
    assert course.attempt(unknown) == Failed(code="dns_error")
    course.undergo(Retried())
    course.attempt(CUT, got=500)
    assert not counts(course.attempt(unknown))


def test_before_the_first_byte_an_outage_counts() -> None:
    course = Course()
    assert [seconds_until(course.attempt(LOST)) for _ in range(2)] == [1, 2]
    assert course.attempt(LOST) == Failed(code="connection_failed")


def test_a_link_that_expires_is_extracted_anew_once_after_each_progress_and_else_as_configured() -> None:
    course = Course()
    for got in (500, 600, 700):
        assert not counts(course.attempt(EXPIRED, got=got))
    assert [counts(course.attempt(EXPIRED)) for _ in range(2)] == [True, True]
    assert course.attempt(EXPIRED) == Failed(code="http_403")


def test_a_link_that_leads_to_a_page_now_was_reached() -> None:
    course, page = Course(), Broken(code="incomplete", expired=True)
    assert not counts(course.attempt(page, got=500))
    assert [counts(course.attempt(page)) for _ in range(2)] == [True, True]
    assert course.attempt(page) == Failed(code="incomplete")


@pytest.mark.parametrize("code", ["http_403", "http_404", "http_410", "unsupported_url"])
def test_a_page_that_is_gone_though_something_had_come_is_looked_at_again(code: str) -> None:
    course, gone = Course(), Broken(code=code)
    course.attempt(CUT, got=500)
    assert [counts(course.attempt(gone)) for _ in range(2)] == [True, True]
    assert course.attempt(gone) == Failed(code=code)
    assert Course().attempt(gone) == Failed(code=code), "and is final where nothing ever came"


def test_a_client_that_resumes_or_retries_begins_with_fresh_patience() -> None:
    course = Course()
    course.attempt(CUT, got=500)
    course.attempt(LOST, lasted=599)
    course.undergo(Paused(), Resumed())
    assert not counts(course.attempt(LOST, lasted=1))
    course.undergo(Cancelled(), Retried())
    assert counts(course.attempt(LOST))


def test_what_drips_is_held_against_its_source_though_something_has_come() -> None:
    running, ends = status(stage=Stage.DOWNLOAD, got=1), []
    for attempt in range(1, 4):
        running = running.model_copy(update={"got": 100 * attempt, "got_before": 100 * attempt - 50})
        event = after_failure(running, Broken(code="too_slow", retryable=True), TWICE, 600)
        ends.append(type(event))
        running = apply(running, event, NOW).model_copy(update={"stage": Stage.DOWNLOAD})
    assert ends == [Requeued, Requeued, Failed]
