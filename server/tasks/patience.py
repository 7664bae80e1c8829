"""What follows an attempt that did not end well: another one, and when, or the end.

Three things are told apart. A source that cannot be reached is waited for, once anything of it has come. A
source that answers, and refuses, is asked again as often as `downloads.retries` says. A link that has expired
is extracted anew. Another byte sets everything back: only what happens in a row counts.
"""

from typing import Final

from server.events import Broken, Event, Failed, Requeued
from server.models import DISK_FULL, TaskStatus
from server.settings import DownloadSettings

MAX_LOST: Final = 3  # children lost in a row that end in an error: none got further than the one before
MAX_LOST_IN_ALL: Final = 20  # however far they got
FIRST_DELAY, LAST_DELAY = 1.0, 60.0  # seconds before a new attempt, doubled each time
MAX_RETRY_AFTER: Final = 3600.0  # seconds; a source that asks for more is not waited for longer
DISK_DELAY = 15.0  # seconds
NEXT_ATTEMPT: Final = "next_attempt"
"""What a task waits for after a passing fault."""

_OF_GATEWAYS: Final = (502, 503, 504, *range(520, 528), 530)  # these cannot reach what they stand for
_OUT_OF_REACH: Final = frozenset(
    ("connection_failed", "dns_error", "proxy_error", "timeout", *(f"http_{code}" for code in _OF_GATEWAYS))
)

_WAS_ANOTHER: Final = frozenset(("http_403", "http_404", "http_410", "unsupported_url"))
"""What a page may answer for a moment, of which something had come: it is looked at again."""

_WANTS_A_LOG_IN = frozenset(("age_restricted", "bot_check", "login_required", "members_only", "private"))


def after_loss(status: TaskStatus) -> Event:
    """A child that was killed (by the kernel, by somebody) may do better next time, but not for ever."""
    in_a_row = status.lost_in_a_row
    if in_a_row + 1 >= MAX_LOST or status.lost_in_all + 1 >= MAX_LOST_IN_ALL:
        return Failed(code="worker_lost")
    return Requeued(because=NEXT_ATTEMPT, counts_as_lost=True, after=in_a_row * FIRST_DELAY)


def after_failure(status: TaskStatus, broken: Broken, settings: DownloadSettings, lasted: float = 0) -> Event:
    """What follows an attempt that `lasted` so many seconds and ended as `broken` says."""
    if broken.code == "worker_lost":  # not the child itself, but a program that it had started
        return after_loss(status)
    if broken.code == "disk_full":
        return Requeued(because=DISK_FULL, after=DISK_DELAY)
    crept = broken.code == "too_slow"
    status = status.with_nothing_gained() if crept else status
    may_pass = broken.retryable or broken.expired or (status.got > 0 and broken.code in _WAS_ANOTHER)
    free = _is_waited_out(status, broken, settings.patience) or (broken.expired and status.gained)
    free = free or (may_pass and broken.after_hold)  # its links, and whoever had the connections, gave up
    if not free and not (may_pass and status.retries_in_a_row < settings.retries):
        renew = "renew_cookies" if status.cookies and broken.code in _WANTS_A_LOG_IN else None
        return Failed(code=broken.code, hint=broken.hint or renew, fault=broken.fault)
    delay = _delay(status, broken)
    return Requeued(
        because=NEXT_ATTEMPT,
        counts_as_retry=not free,
        after=delay,
        in_vain=delay + (0 if broken.after_hold else lasted),
        crept=crept,
    )


def _is_waited_out(status: TaskStatus, broken: Broken, patience: float) -> bool:
    """Whether it is an outage, in the middle of a download, that has not lasted too long."""
    return status.got > 0 and _was_out_of_reach(status, broken) and (status.gained or status.quiet < patience)


def _was_out_of_reach(status: TaskStatus, broken: Broken) -> bool:
    """A source that sends again what has come already, and then no more, was reached."""
    if broken.code == "incomplete":
        return not broken.expired and (status.gained or status.downloaded_bytes is None)
    return is_out_of_reach(broken.code)


def is_out_of_reach(code: str) -> bool:
    """Whether the source could not be asked."""
    return code in _OUT_OF_REACH


def _delay(status: TaskStatus, broken: Broken) -> float:
    if broken.retry_after is not None:
        return min(broken.retry_after, MAX_RETRY_AFTER)
    return float(min(FIRST_DELAY * 2.0 ** min(status.faults_in_a_row, 10), LAST_DELAY))
