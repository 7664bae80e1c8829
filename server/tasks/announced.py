"""Polls the source of an announced broadcast until the broadcast begins.

The announced time may change, and clocks may be wrong. So the next look comes after a fraction of the time
that is left, `LONGEST` at most, and each look goes by what is announced then.

Decisions: docs/decisions/broadcasts.md
"""

from datetime import UTC, datetime
from typing import Final

from server.core.events import Broken, Requeued
from server.core.models import TaskStatus
from server.tasks.patience import is_out_of_reach

NOT_LIVE_YET: Final = "not_live_yet"
"""What a task waits for until its broadcast begins."""

PART: Final = 0.25  # fraction of the time until the announced beginning, or since then
SOONEST, LONGEST = 15.0, 3600.0  # seconds between two looks
LONGEST_WHEN_LATE: Final = 300.0  # seconds between two looks if the broadcast may begin at any moment


def after_look(
    status: TaskStatus, broken: Broken, patience: float, now: datetime, lasted: float = 0
) -> Requeued | None:
    """The wait after an attempt of `lasted` seconds that found no broadcast yet; None after other failures.

    Once a broadcast is announced, a source that is out of reach is taken for one that has not begun: until
    the announced time, and for `patience` seconds more. `now` is the time on the wall, as `begins_at` is.
    """
    if broken.code == "not_live":
        begins_at = None if broken.begins_at is None else datetime.fromtimestamp(broken.begins_at, UTC)
        delay = pause(_left(begins_at, now), status.looks)
        return Requeued(because=NOT_LIVE_YET, after=delay, begins_at=begins_at, looked=True)
    if not status.awaits_broadcast or not (broken.retryable or is_out_of_reach(broken.code)):
        return None
    left = _left(status.begins_at, now)
    if (left is None or left <= 0) and status.quiet >= patience:
        return None
    delay = max(pause(left, status.faults_in_a_row), min(broken.retry_after or 0, LONGEST))
    return Requeued(because=NOT_LIVE_YET, after=delay, in_vain=lasted + delay)


def pause(left: float | None, looks: int) -> float:
    """Seconds before the next look; `left` are those before the beginning, None if none is announced."""
    if left is None:
        return float(min(SOONEST * 2.0 ** min(looks, 10), LONGEST_WHEN_LATE))
    if left <= 0:
        return min(max(-left * PART, SOONEST), LONGEST_WHEN_LATE)
    return min(max(left * PART, SOONEST), LONGEST, left)


def _left(begins_at: datetime | None, now: datetime) -> float | None:
    return None if begins_at is None else (begins_at - now).total_seconds()
