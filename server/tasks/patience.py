"""What follows an attempt that did not end well: another attempt, and when, or the task's failure.

Three cases are told apart. A source that is out of reach is waited for, once a byte of it has come. A source
that answers with a refusal is retried `downloads.retries` times. A link that has expired is extracted anew.
Each new byte resets the counters: only faults in a row count.

Decisions: docs/decisions/retries.md
"""

from typing import Final

from server.core.events import Broken, Event, Failed, Requeued
from server.core.models import DISK_FULL, TaskStatus
from server.settings import DownloadSettings

MAX_LOST: Final = 3  # children lost in a row, none further than the one before, after which a task fails
MAX_LOST_IN_ALL: Final = 20  # children lost after which a task fails, however far they got
FIRST_DELAY, LAST_DELAY = 1.0, 60.0  # seconds before a new attempt, doubled each time
MAX_RETRY_AFTER: Final = 3600.0  # seconds; a source that asks for more is not waited for longer
DISK_DELAY = 15.0  # seconds
NEXT_ATTEMPT: Final = "next_attempt"
"""What a task waits for after a transient fault."""

_OF_GATEWAYS: Final = (502, 503, 504, *range(520, 528), 530)  # a gateway cannot reach its origin
_OUT_OF_REACH: Final = frozenset(
    ("connection_failed", "dns_error", "proxy_error", "timeout", *(f"http_{code}" for code in _OF_GATEWAYS))
)

_WAS_ANOTHER: Final = frozenset(("http_403", "http_404", "http_410", "unsupported_url"))
"""What a page may answer for a moment: retried if bytes of the task have come before."""

_WANTS_A_LOG_IN: Final = frozenset(
    ("age_restricted", "bot_check", "login_required", "members_only", "private", "http_401", "http_403")
)


def after_loss(status: TaskStatus) -> Event:
    """What follows a child that was killed (by the kernel, by somebody): retries, but not for ever."""
    in_a_row = status.lost_in_a_row
    if in_a_row + 1 >= MAX_LOST or status.lost_in_all + 1 >= MAX_LOST_IN_ALL:
        return Failed(code="worker_lost")
    return Requeued(because=NEXT_ATTEMPT, counts_as_lost=True, after=in_a_row * FIRST_DELAY)


def after_failure(status: TaskStatus, broken: Broken, settings: DownloadSettings, lasted: float = 0) -> Event:
    """What follows an attempt that `lasted` so many seconds and ended as `broken` says."""
    if broken.code == "worker_lost":  # not the child was killed, but a program that it had started
        return after_loss(status)
    if broken.code == "disk_full":
        return Requeued(because=DISK_FULL, after=DISK_DELAY)
    crept = broken.code == "too_slow"
    status = status.with_nothing_gained() if crept else status
    may_pass = broken.retryable or broken.expired or (status.got > 0 and broken.code in _WAS_ANOTHER)
    free = _is_waited_out(status, broken, settings.patience) or (broken.expired and status.gained)
    free = free or (may_pass and broken.after_hold)  # links expire and connections close during a hold
    if not free and not (may_pass and status.retries_in_a_row < settings.retries):
        return Failed(code=broken.code, hint=hint_of(broken, status.cookies), fault=broken.fault)
    delay = _delay(status, broken)
    return Requeued(
        because=NEXT_ATTEMPT,
        counts_as_retry=not free,
        after=delay,
        in_vain=delay + (0 if broken.after_hold else lasted),
        crept=crept,
    )


def hint_of(broken: Broken, cookies: str | None) -> str | None:
    """A better hint than the code's own; `cookies` is the name of those that did not help to log in."""
    refuses = broken.hint == "seen_login" or (broken.hint is None and broken.code in _WANTS_A_LOG_IN)
    return "renew_cookies" if cookies and refuses else broken.hint


def _is_waited_out(status: TaskStatus, broken: Broken, patience: float) -> bool:
    """Whether it is an outage in the middle of a download that has lasted less than `patience` seconds."""
    return status.got > 0 and _was_out_of_reach(status, broken) and (status.gained or status.quiet < patience)


def _was_out_of_reach(status: TaskStatus, broken: Broken) -> bool:
    """Whether the source was out of reach. One that only sends again what had come already was reached."""
    if broken.code == "incomplete":
        return not broken.expired and (status.gained or status.downloaded_bytes is None)
    return is_out_of_reach(broken.code)


def is_out_of_reach(code: str) -> bool:
    """Whether `code` says that the source could not be reached."""
    return code in _OUT_OF_REACH


def _delay(status: TaskStatus, broken: Broken) -> float:
    if broken.retry_after is not None:
        return min(broken.retry_after, MAX_RETRY_AFTER)
    return float(min(FIRST_DELAY * 2.0 ** min(status.faults_in_a_row, 10), LAST_DELAY))
