"""Judges whether an entry of a list is wanted, by what is known of it. A new filter is a row of `JUDGES`.

Decisions: docs/decisions/library.md
"""

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from server.child.process.job_failed import JobFailed
from server.child.process.time_limit import time_limit
from server.core.jobs import CheckWishes, EntryFilters

WAITS: Final = ("members_only", "not_live_yet", "unclear", "too_young")
"""Verdicts after which an entry is checked again, the one that counts first before the others."""

PATTERNS_WITHIN: Final = 5.0  # seconds for matching all titles of one check
_DAY_SECONDS: Final = 86_400.0
_TO_COME: Final = ("is_upcoming", "is_live", "post_live")

Entry = Mapping[str, Any]


class EntryJudge:
    """`live` is the request's field. Raises `JobFailed` for a pattern that is invalid or takes too long."""

    def __init__(self, check: CheckWishes, live: str) -> None:
        self._filters: EntryFilters = check.filters
        self._needs_day = check.days
        self._now = check.now
        self._live = live
        self._pattern_seconds = 0.0
        patterns = {"title": check.filters.title, "not_title": check.filters.not_title}
        self._patterns = {name: _compiled(each) for name, each in patterns.items() if each is not None}

    def verdict(self, entry: Entry) -> str | None:
        """Return the filter that the entry does not pass, or why it has to wait (`WAITS`); None: it is
        wanted.
        """
        waits = set[str]()
        for name, judge in JUDGES.items():
            if getattr(self._filters, name) is None:
                continue
            found = judge(self, entry)
            if found == name:
                return name
            if found is not None:
                waits.add(found)
        if self._needs_day and moment_of_entry(entry) is None and not _is_to_come(entry):
            waits.add("unclear")
        if self._is_not_live_yet(entry):
            waits.add("not_live_yet")
        return next((reason for reason in WAITS if reason in waits), None)

    def begins_at(self, entry: Entry) -> float | None:
        """Return when an entry with a date reaches the age of the filter `min_age`."""
        moment = moment_of_entry(entry)
        if self._filters.min_age is None or moment is None:
            return None
        # For a day without a time, count from the end of the day: only then was the entry surely published.
        known = moment + (_DAY_SECONDS if len(entry["published_at"]) == len("2026-01-31") else 0.0)
        released: float = entry.get("_released", 0.0)
        return min(max(known, released), self._now) + self._filters.min_age

    def _title(self, entry: Entry) -> str | None:
        return self._judge_title(entry, "title", is_to_match=True)

    def _not_title(self, entry: Entry) -> str | None:
        return self._judge_title(entry, "not_title", is_to_match=False)

    def _judge_title(self, entry: Entry, name: str, *, is_to_match: bool) -> str | None:
        pattern, title = self._patterns[name], entry.get("title")
        if title is None:
            return "unclear"
        began, left = time.monotonic(), PATTERNS_WITHIN - self._pattern_seconds
        if left <= 0:
            raise _too_slow(pattern.pattern)
        try:
            with time_limit(left):
                matches = pattern.search(title) is not None
        except TimeoutError:
            raise _too_slow(pattern.pattern) from None
        finally:
            self._pattern_seconds += time.monotonic() - began
        return None if matches == is_to_match else name

    def _kinds(self, entry: Entry) -> str | None:
        kinds = self._filters.kinds or ()
        return None if entry.get("kind", "video") in kinds or self._may_be_film(entry) else "kinds"

    def _min_duration(self, entry: Entry) -> str | None:
        least, duration = self._filters.min_duration or 0, entry.get("duration")
        if _is_to_come(entry):
            return None
        return "unclear" if duration is None else "min_duration" if duration < least else None

    def _max_duration(self, entry: Entry) -> str | None:
        most, duration = self._filters.max_duration or 0, entry.get("duration")
        if _is_to_come(entry):
            return None
        return "unclear" if duration is None else "max_duration" if duration > most else None

    def _since(self, entry: Entry) -> str | None:
        moment = moment_of_entry(entry)
        if moment is None:
            return None if _is_to_come(entry) else "unclear"
        return "since" if moment < (self._filters.since or 0.0) else None

    def _until(self, entry: Entry) -> str | None:
        moment = moment_of_entry(entry)
        if moment is None:
            return None if _is_to_come(entry) else "unclear"
        return "until" if moment >= (self._filters.until or 0.0) else None

    def _members(self, entry: Entry) -> str | None:
        return "members_only" if entry.get("_members") and not self._filters.members else None

    def _min_age(self, entry: Entry) -> str | None:
        begins = self.begins_at(entry)
        if begins is None:
            return None if _is_to_come(entry) else "unclear"
        return "too_young" if begins > self._now else None

    def _may_be_film(self, entry: Entry) -> bool:
        """Whether an announced or running broadcast may be the premiere of a film, which shows only when it
        is over.
        """
        kinds, live = self._filters.kinds, entry.get("_live")
        if kinds is None or "video" not in kinds or "stream" in kinds:
            return False
        return live == "is_upcoming" or ("again" in entry and live in ("is_live", "post_live"))

    def _is_not_live_yet(self, entry: Entry) -> bool:
        """Whether a broadcast is to come, is running, or has just ended: until its source has made a film of
        it, only a part can be fetched.
        """
        live = entry.get("_live")
        return (
            (live == "is_upcoming" and self._live != "wait")
            or (live == "is_live" and self._live == "reject")
            or live == "post_live"
            or self._may_be_film(entry)
        )


JUDGES: Final[Mapping[str, Callable[[EntryJudge, Entry], str | None]]] = {
    "title": EntryJudge._title,
    "not_title": EntryJudge._not_title,
    "kinds": EntryJudge._kinds,
    "min_duration": EntryJudge._min_duration,
    "max_duration": EntryJudge._max_duration,
    "since": EntryJudge._since,
    "until": EntryJudge._until,
    "members": EntryJudge._members,
    "min_age": EntryJudge._min_age,
}
"""Filter -> what judges an entry where the filter is set: its own name if the entry does not pass, one of
`WAITS` if that shows later, None if the entry passes. The first that an entry does not pass is the verdict.
"""


def moment_of_entry(entry: Entry) -> float | None:
    """Return when an entry was published, in seconds since 1970; the beginning of the day if only the day is
    known.
    """
    published_at = entry.get("published_at")
    try:
        found = datetime.fromisoformat(published_at) if published_at else None
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() if found else None


def _is_to_come(entry: Entry) -> bool:
    """Whether the entry is a coming broadcast whose length and day are not known yet."""
    return entry.get("_live") in _TO_COME


def _compiled(pattern: str) -> "re.Pattern[str]":
    try:
        with time_limit(PATTERNS_WITHIN):
            return re.compile(pattern, re.IGNORECASE)
    except TimeoutError:
        raise _too_slow(pattern) from None
    except (re.error, RecursionError, OverflowError) as error:
        raise JobFailed("pattern_invalid", f"the pattern {pattern}: {error}") from None


def _too_slow(pattern: str) -> JobFailed:
    return JobFailed("pattern_too_slow", f"the pattern {pattern} takes too long")
