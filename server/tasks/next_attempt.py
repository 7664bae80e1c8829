"""Decides what follows an attempt that has failed: another attempt, and when, or the task's failure.

Three cases differ. A source that is out of reach is waited for if it has sent a byte before. A source
that answers with a refusal is retried `downloads.retries` times. A link that has expired is extracted anew.
Each new byte resets the counters: only faults in a row count.

A host that refuses all requests of subscriptions is given time; a fault of the host is none of an entry.

An announced broadcast is waited for, too: its page is checked until the broadcast begins.

Decisions: docs/decisions/retries.md, docs/decisions/broadcasts.md
"""

from datetime import UTC, datetime
from typing import Final

from server.core.codes import REFUSES_ALL
from server.core.events import Broken, Event, Failed, Requeued
from server.core.task import DISK_FULL, TaskStatus
from server.settings import DownloadSettings

MAX_LOST: Final = 3  # children lost in a row without progress, after which a task fails
MAX_LOST_IN_ALL: Final = 20  # children lost after which a task fails, however far they got
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0  # seconds before a new attempt, doubled each time
MAX_RETRY_AFTER: Final = 3600.0  # seconds; a source that asks for more is not waited for longer
DISK_DELAY = 15.0  # seconds before a new attempt where the disk was full, or the storage away
NEXT_ATTEMPT: Final = "next_attempt"
"""What a task waits for after a transient fault."""

NOT_LIVE_YET: Final = "not_live_yet"
"""What a task waits for until its broadcast begins."""

# Fraction of the time until, or since, the announced beginning of a broadcast, to wait before the next check.
FRACTION: Final = 0.25
SOONEST, LONGEST = 15.0, 3600.0  # seconds between two checks of an announced broadcast
LONGEST_WHEN_LATE: Final = 300.0  # seconds between two checks if the broadcast may begin at any moment

# HTTP statuses of a gateway that cannot reach its origin.
_OF_GATEWAYS: Final = (502, 503, 504, *range(520, 528), 530)
OUT_OF_REACH: Final = frozenset(
    ("connection_failed", "dns_error", "proxy_error", "timeout", *(f"http_{code}" for code in _OF_GATEWAYS))
)

WAS_ANOTHER: Final = frozenset(("http_403", "http_404", "http_410", "unsupported_url"))
"""What a page may answer for a moment: retried if bytes of the task have come before."""

MAX_REFUSALS: Final = 100
"""Refusals in a row after which they count for a subscription's task: a ban of weeks does not use it up, and
what alone is refused ends some day.
"""

_WANTS_A_LOG_IN: Final = frozenset(
    ("age_restricted", "bot_check", "login_required", "members_only", "private", "http_401", "http_403")
)


def after_loss(status: TaskStatus) -> Event:
    """Return the event after a child that was killed (by the kernel, by an operator): a limited number of
    retries.
    """
    in_a_row = status.lost_in_a_row
    if in_a_row + 1 >= MAX_LOST or status.lost_in_all + 1 >= MAX_LOST_IN_ALL:
        return Failed(code="worker_lost")
    return Requeued(because=NEXT_ATTEMPT, counts_as_lost=True, after=in_a_row * FIRST_DELAY)


def after_failure(status: TaskStatus, broken: Broken, settings: DownloadSettings, lasted: float = 0) -> Event:
    """Return the event after an attempt that `lasted` so many seconds and ended as `broken` says."""
    if broken.code == "worker_lost":  # the child lost a program that it had started
        return after_loss(status)
    if broken.code == "disk_full":
        return Requeued(because=DISK_FULL, after=DISK_DELAY)
    crept = broken.code == "too_slow"
    status = status.with_nothing_gained() if crept else status
    may_pass = broken.retryable or broken.expired or (status.got > 0 and broken.code in WAS_ANOTHER)
    # A source that has sent bytes was reached, even if they were all known already.
    out_of_reach = is_out_of_reach(broken.code)
    if broken.code == "incomplete":
        out_of_reach = not broken.expired and (status.gained or status.downloaded_bytes is None)
    # An outage in the middle of a download is waited out.
    free = status.got > 0 and out_of_reach and (status.gained or status.quiet < settings.patience)
    free = free or (broken.expired and status.gained)
    # Links may expire while downloads are held, which is not the source's fault.
    free = free or (may_pass and broken.after_hold)
    is_of_host = status.subscription_id is not None and broken.retryable and broken.code in REFUSES_ALL
    is_of_host = is_of_host and status.faults_in_a_row < MAX_REFUSALS
    free = free or is_of_host
    if not free and not (may_pass and status.retries_in_a_row < settings.retries):
        return Failed(code=broken.code, hint=hint_of(broken, status.cookies), fault=broken.fault)
    delay = float(min(FIRST_DELAY * 2.0 ** min(status.faults_in_a_row, 10), LONGEST_DELAY))
    if broken.retry_after is not None:
        asked = min(broken.retry_after, MAX_RETRY_AFTER)
        # A host that refuses gets at least the usual delay, however short the wait that it asks for.
        delay = max(asked, delay) if is_of_host else asked
    return Requeued(
        because=NEXT_ATTEMPT,
        counts_as_retry=not free,
        after=delay,
        in_vain=delay + (0 if broken.after_hold else lasted),
        crept=crept,
    )


def hint_of(broken: Broken, cookies: str | None) -> str | None:
    """Return a better hint than the code's own; `cookies` names the cookies that failed to log in."""
    refuses = broken.hint == "seen_login" or (broken.hint is None and broken.code in _WANTS_A_LOG_IN)
    return "renew_cookies" if cookies and refuses else broken.hint


def is_out_of_reach(code: str) -> bool:
    """Say whether `code` means that the source could not be reached."""
    return code in OUT_OF_REACH


def after_look(
    status: TaskStatus, broken: Broken, patience: float, now: datetime, lasted: float = 0
) -> Requeued | None:
    """Return the wait after an attempt of `lasted` seconds that found no broadcast yet; None after other
    failures.

    Once a broadcast is announced, an unreachable source counts as not begun, until `patience` seconds after
    the announced time. `now` is the time on the wall, as `begins_at` is.

    The announced time may change, and clocks may be wrong. So the next check comes after a fraction of the
    time that is left, `LONGEST` at most, and each check takes the time that is announced then.
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
    """Return the seconds before the next check; `left` are those before the beginning, None if unknown."""
    if left is None:
        return float(min(SOONEST * 2.0 ** min(looks, 10), LONGEST_WHEN_LATE))
    if left <= 0:
        return min(max(-left * FRACTION, SOONEST), LONGEST_WHEN_LATE)
    return min(max(left * FRACTION, SOONEST), LONGEST, left)


def _left(begins_at: datetime | None, now: datetime) -> float | None:
    return None if begins_at is None else (begins_at - now).total_seconds()
