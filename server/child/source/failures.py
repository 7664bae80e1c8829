"""What went wrong, as a code: exceptions and words of yt-dlp, ffmpeg and the network -> `error_code`."""

from collections.abc import Sequence
from dataclasses import dataclass

from server.child.network import guard
from server.child.process.failed import JobFailed
from server.child.source.facts import Fact, Trail, chain
from server.child.source.retry_after import seconds
from server.child.source.rules import ANY_STATUS, RULES, Rule
from server.child.source.wording import own_words
from server.codes import CODES, PASSING

PASSING_STATUSES = frozenset((408, 425, 429, 500, 502, 503, 504, *range(520, 528), 530))


@dataclass(frozen=True, slots=True)
class Failure:
    """`retryable`: another attempt may help, after `retry_after` seconds if the source says so.

    `hint` is the key of one that fits better than the code's own.
    """

    code: str
    retryable: bool = False
    retry_after: float | None = None
    hint: str | None = None


def classify(error: BaseException, trail: Trail | None = None) -> Failure:
    """Return what `error` comes down to; `trail` knows what was met before it."""
    trail = trail or Trail()
    errors = list(chain(error))
    if own := next((link for link in errors if isinstance(link, JobFailed)), None):
        return _failure(own.code if own.code in CODES else "internal")
    words = own_words(errors, trail)
    facts = [Fact.of(link) for link in errors]
    for link in errors:
        facts += trail.told_in(str(link))[1]
    rule = next((rule for rule in RULES if rule.holds(facts, words)), None)
    return _ruled(rule, facts) if rule else Failure("internal")


def _ruled(rule: Rule, facts: Sequence[Fact]) -> Failure:
    if rule.code == ANY_STATUS:
        return _refused(next(fact for fact in facts if rule.fits(fact)))
    return _failure(rule.code, rule.passes)


def _refused(fact: Fact) -> Failure:
    """What the source's own HTTP status says."""
    if fact.status not in PASSING_STATUSES:
        return Failure(f"http_{fact.status}")
    return Failure(f"http_{fact.status}", retryable=True, retry_after=seconds(fact.retry_after))


def _failure(code: str, passes: bool | None = None) -> Failure:
    return Failure(code, code in PASSING if passes is None else passes, hint=_hint(code))


def _hint(code: str) -> str | None:
    fake = code == "blocked_address" and any(guard.is_fake_ip(address) for address in guard.refused)
    return "blocked_address_fake_ip" if fake else None
