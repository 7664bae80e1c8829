"""Waiting for an announced broadcast: what the task shows meanwhile, and when its source is checked again."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server.api.payload import TaskPayload
from server.child.extract import video_info
from server.core.events import (
    Broken,
    Cancelled,
    DownloadStarted,
    Paused,
    Requeued,
    Resumed,
    Retried,
    Started,
    apply,
)
from server.core.task import Stage, TaskStatus
from server.locales import LANGUAGES
from server.tasks.next_attempt import LONGEST, LONGEST_WHEN_LATE, SOONEST, after_look, pause
from tests.jobs import told
from tests.shelf import Shelf
from tests.site import Site, probe

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
HOUR = 3600.0
UPCOMING = {"id": "a", "title": "A", "live_status": "is_upcoming", "formats": []}


def looking(**fields: Any) -> TaskStatus:
    """Return a task whose child is checking the source."""
    asked = {"task_id": "t", "url": "http://media.test/", "created_at": NOW}
    return TaskStatus(**asked | {"stage": Stage.INFO, "attempt": 1} | fields)


def not_live(begins_at: datetime | None) -> Broken:
    return Broken(code="not_live", begins_at=begins_at.timestamp() if begins_at else None)


def waiting(begins_at: datetime | None, now: datetime = NOW, **fields: Any) -> TaskStatus:
    """Return the task after a check that found no broadcast yet."""
    event = after_look(looking(**fields), not_live(begins_at), 600, now)
    assert event is not None
    return apply(looking(**fields), event, now)


def test_it_shows_that_it_waits_and_when_the_broadcast_begins() -> None:
    begins_at = NOW + timedelta(hours=40)
    shown = TaskPayload.of(waiting(begins_at), LANGUAGES["en"])
    assert (shown.stage, shown.waiting) == ("queued", "not_live_yet")
    assert shown.not_before == "2026-12-03T04:00:00Z"
    assert shown.message == "Waiting... the broadcast has not begun"


def test_without_a_time_it_shows_none() -> None:
    shown = TaskPayload.of(waiting(None), LANGUAGES["zh"])
    assert shown.waiting == "not_live_yet"
    assert shown.not_before is None


def test_what_was_announced_is_believed_anew_at_each_look() -> None:
    before = waiting(NOW + timedelta(hours=2))
    again = apply(before, Started(), NOW)
    event = after_look(again, not_live(NOW + timedelta(hours=1)), 600, NOW)
    assert event is not None
    assert apply(again, event, NOW).begins_at == NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("left", "seconds"),
    [(90 * 24 * HOUR, LONGEST), (HOUR, HOUR / 4), (60, SOONEST), (7, 7), (0, SOONEST), (-HOUR, 300)],
)
def test_the_next_look_comes_after_a_part_of_the_time_that_is_left(left: float, seconds: float) -> None:
    assert pause(left, looks=100) == seconds


def test_where_no_time_is_announced_it_is_looked_for_ever_less_often() -> None:
    pauses = [pause(None, looks) for looks in range(100)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (SOONEST, LONGEST_WHEN_LATE)


def test_a_clock_that_is_days_off_makes_no_wait_longer_than_an_hour() -> None:
    begins_at = NOW + timedelta(minutes=10)
    for skew in (timedelta(days=-3), timedelta(days=3)):
        status = waiting(begins_at, NOW + skew)
        assert status.not_before is not None
        assert timedelta(seconds=SOONEST) <= status.not_before - (NOW + skew) <= timedelta(seconds=LONGEST)


def test_looks_in_vain_take_back_what_was_held_against_the_task() -> None:
    status = waiting(None, lost=2, lost_in_all=19, retries=2, faults=4, quiet=500.0)
    assert (status.lost, status.lost_in_all, status.retries, status.faults, status.quiet) == (0, 0, 0, 0, 0.0)


def test_a_source_that_does_not_answer_is_asked_again_while_there_is_time() -> None:
    status = apply(waiting(NOW + timedelta(hours=5)), Started(), NOW)
    for minute in range(0, 280, 20):
        now = NOW + timedelta(minutes=minute)
        event = after_look(status, Broken(code="connection_failed", retryable=True), 600, now, 60.0)
        assert event is not None
        status = apply(apply(status, event, now), Started(), now)
        assert status.begins_at == NOW + timedelta(hours=5)
    assert status.retries == 0


@pytest.mark.parametrize("begins_at", [None, NOW - timedelta(minutes=1)])
def test_a_source_that_does_not_answer_when_it_is_time_has_as_long_as_a_download(
    begins_at: datetime | None,
) -> None:
    status, fault = waiting(begins_at), Broken(code="http_503", retryable=True)
    lasted = 0.0
    while event := after_look(status, fault, 600, NOW, 30.0):
        assert event.after is not None
        lasted += 30 + event.after
        status = apply(apply(status, Started(), NOW), event, NOW)
    assert 600 <= lasted < 600 + 30 + LONGEST_WHEN_LATE


def test_what_is_cancelled_by_its_source_is_waited_for_no_longer() -> None:
    for code in ("unavailable", "http_404", "private"):
        assert after_look(waiting(NOW + timedelta(hours=1)), Broken(code=code), 600, NOW) is None


def test_a_source_that_never_announced_anything_is_not_waited_for() -> None:
    fault = Broken(code="connection_failed", retryable=True)
    assert after_look(looking(), fault, 600, NOW) is None


def test_it_is_looked_at_again_as_soon_as_it_is_resumed_or_retried() -> None:
    status = waiting(NOW + timedelta(hours=1))
    assert apply(apply(status, Paused(), NOW), Resumed(), NOW).not_before is None
    retried = apply(apply(status, Cancelled(), NOW), Retried(), NOW)
    assert (retried.not_before, retried.looks, retried.begins_at) == (None, 0, None)


def test_a_restart_in_the_middle_of_a_look_forgets_no_announcement() -> None:
    status = apply(apply(waiting(NOW + timedelta(hours=1)), Started(), NOW), Requeued(), NOW)
    assert status.awaits_broadcast
    assert status.begins_at == NOW + timedelta(hours=1)


def test_once_it_has_begun_faults_are_those_of_a_recording() -> None:
    status = apply(apply(waiting(None), Started(), NOW), DownloadStarted(), NOW)
    assert after_look(status, Broken(code="connection_failed", retryable=True), 600, NOW) is None


# --- what children report of it ---


async def test_a_child_says_what_begins_and_when(shelf: Shelf, tmp_path: Path) -> None:
    result = UPCOMING | {"release_timestamp": 1_800_000_000}
    outcome = await told(tmp_path / "t", shelf, result, live="wait")
    assert (outcome.last["code"], outcome.last["begins_at"]) == ("not_live", 1_800_000_000)
    assert outcome.described["title"] == "A"


@pytest.mark.parametrize("when", [None, "soon", -1, 1e300, float("nan"), float("1e12")])
def test_a_time_that_is_none_is_not_told(when: object) -> None:
    assert video_info.moment(when) is None


async def test_who_does_not_wait_is_told_that_it_is_not_live(shelf: Shelf, tmp_path: Path) -> None:
    assert (await told(tmp_path / "t", shelf, UPCOMING)).last["code"] == "not_live"


async def test_who_waits_is_told_as_well_why_a_source_refuses(shelf: Shelf, tmp_path: Path) -> None:
    refused = {"id": "a", "title": "A", "formats": [], "refused": "Private video"}
    assert (await told(tmp_path / "t", shelf, refused, live="wait")).last["code"] == "private"


async def test_a_trailer_is_fetched_unless_the_broadcast_is_waited_for(
    shelf: Shelf, site: Site, tmp_path: Path
) -> None:
    trailer = UPCOMING | {"formats": [{"url": site.url("/video.mp4"), "format_id": "0", "ext": "mp4"}]}
    outcome = await told(tmp_path / "a", shelf, trailer, outputs=["video"])
    assert (await probe(outcome.file("video"))).pictures == 100
    assert (await told(tmp_path / "b", shelf, trailer, live="wait")).last["code"] == "not_live"
