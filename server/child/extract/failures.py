"""What went wrong, as a code: exceptions and messages of yt-dlp, ffmpeg and the network -> `error_code`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from server.child.extract.error_wording import own_words
from server.child.extract.exception_facts import Fact, Trail, chain
from server.child.extract.failure_rules import ANY_STATUS, RULES, Rule
from server.child.network import guard
from server.child.network.retry_after import seconds
from server.child.process.job_failed import Expired, JobFailed, NotLive
from server.core.codes import CODES, PASSING, PASSING_STATUSES

MISSING = frozenset((404, 410))
"""Statuses of a fragment that its source does not have; 403 also refuses links that have expired."""
EXPIRED_STATUSES = frozenset((403, 404, 410))
EXPIRED = frozenset(f"http_{status}" for status in EXPIRED_STATUSES)


@dataclass(frozen=True, slots=True)
class Failure:
    """`retryable`: another attempt may help, after `retry_after` seconds if the source says so.

    `expired`: a link has expired, and another attempt may help because it extracts anew.
    `begins_at`: when an announced broadcast begins, if that is known, in seconds since 1970.
    `hint` is the key of a hint that fits better than the code's own.
    """

    code: str
    retryable: bool = False
    retry_after: float | None = None
    hint: str | None = None
    expired: bool = False
    begins_at: float | None = None


class BrokeOff(Exception):
    """A stream failed after some of its bytes had arrived; `__cause__` says why."""


def classify(error: BaseException, trail: Trail | None = None) -> Failure:
    """Return the `Failure` for `error`; `trail` has the network errors that were met before it."""
    trail = trail or Trail()
    errors = list(chain(error))
    if announced := next((link for link in errors if isinstance(link, NotLive)), None):
        return Failure(announced.code, begins_at=announced.begins_at)
    if own := next((link for link in errors if isinstance(link, JobFailed)), None):
        if isinstance(own, Expired):
            return Failure(own.code, expired=True)
        return _failure(own.code if own.code in CODES else "internal")
    words = own_words(errors, trail)
    facts = [Fact.of(link) for link in errors]
    for link in errors:
        facts += trail.told_in(str(link))[1]
    rule = next((rule for rule in RULES if rule.holds(facts, words)), None)
    # A link that has given bytes, and that of a fragment, were valid once.
    has_begun = any(isinstance(link, BrokeOff) for link in errors)
    failure = _ruled(rule, facts, has_begun) if rule else Failure("internal")
    return replace(failure, hint=trail.seen) if failure.code == "unsupported_url" else failure


def _ruled(rule: Rule, facts: Sequence[Fact], has_begun: bool) -> Failure:
    if rule.code == ANY_STATUS:
        of_fragment = any(fact.fragment for fact in facts)
        return _refused(next(fact for fact in facts if rule.fits(fact)), has_begun, of_fragment)
    return _failure(rule.code, rule.passes)


def _refused(fact: Fact, has_begun: bool, of_fragment: bool) -> Failure:
    """What the source's own HTTP status says."""
    code = f"http_{fact.status}"
    if fact.status not in PASSING_STATUSES:
        expired = (has_begun or of_fragment) and fact.status in EXPIRED_STATUSES
        gap = of_fragment and fact.status in MISSING
        return Failure(code, expired=expired, hint="missing_segments" if gap else None)
    return Failure(code, retryable=True, retry_after=seconds(fact.retry_after))


def _failure(code: str, passes: bool | None = None) -> Failure:
    return Failure(code, code in PASSING if passes is None else passes, hint=_hint(code))


def _hint(code: str) -> str | None:
    fake = code == "blocked_address" and any(guard.is_fake_ip(address) for address in guard.refused)
    return "blocked_address_fake_ip" if fake else None
