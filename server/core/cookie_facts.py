"""The facts about a cookie file that clients get, kept in its own first line.

The line is written together with the file's text, so that a list reads one line of each file: to parse a
megabyte takes 0.2 s. The line is a comment of the file's format, so it stays with its text when somebody
copies or restores the file. A release that does not know the line drops it when it changes the text.
"""

import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from server.core import cookie_format

MOST_HOSTS: Final = 100  # hosts that are named of one file, which may have cookies of 40,000
LONGEST_HOST: Final = 253  # characters (RFC 1035, section 2.3.4)
EXACT_ENDS: Final = 100  # moments of expiry that are listed one by one; later ones are grouped
_MOST_GROUPS: Final = 100  # groups of later moments
_PREFIX: Final = "# about "
LONGEST_LINE: Final = 128 * 1024  # bytes that a list reads of one file; the longest line has 100 KiB


class CookieFacts(BaseModel, frozen=True):
    """The facts. `ends`: when cookies expire (seconds since 1970, ascending), and how many do."""

    hosts: tuple[str, ...]
    count: int
    ends: tuple[tuple[int, int], ...]

    def shown(self, most_hosts: int, now: float) -> dict[str, Any]:
        """Return the fields of `GET /api/cookies`; `expires_at` is the next expiry, or the last if all
        cookies have expired.
        """
        shown: dict[str, Any] = {
            "hosts": [*self.hosts[:most_hosts]],
            "count": self.count,
            "expired": sum(number for end, number in self.ends if end <= now),
        }
        following = next((end for end, _ in self.ends if end > now), self.ends[-1][0] if self.ends else None)
        try:
            if following is not None:
                shown["expires_at"] = datetime.fromtimestamp(following, UTC).isoformat()[:19] + "Z"
        except (OverflowError, ValueError, OSError):  # the moment is after the year 9999
            pass
        return shown


def facts_of(cookies: Iterable[cookie_format.Cookie], now: float) -> CookieFacts:
    hosts, ends, count = set[str](), Counter[int](), 0
    for cookie in cookies:
        count += 1
        hosts.add(cookie.host)
        if cookie.expires:
            ends[cookie.expires] += 1
    shown_hosts = islice((host for host in sorted(hosts) if len(host) <= LONGEST_HOST), MOST_HOSTS)
    return CookieFacts(hosts=tuple(shown_hosts), count=count, ends=_group_ends(ends, now))


def _group_ends(ends: Counter[int], now: float) -> tuple[tuple[int, int], ...]:
    """Group the moments at which cookies expire: at most 201 moments are left, each with its number of
    cookies.

    All past moments become the last of them. A group of moments far ahead becomes its first.
    """
    moments = sorted(ends)
    past = [end for end in moments if end <= now]
    coming = moments[len(past) :]
    later = coming[EXACT_ENDS:]
    grouped = [(past[-1], sum(ends[end] for end in past))] if past else []
    grouped += [(end, ends[end]) for end in coming[:EXACT_ENDS]]
    size = -(-len(later) // _MOST_GROUPS) or 1
    for start in range(0, len(later), size):
        group = later[start : start + size]
        grouped.append((group[0], sum(ends[end] for end in group)))
    return tuple(grouped)


def with_facts(text: str, facts: CookieFacts) -> str:
    """Return the cookie file `text`, which has no line of facts, with `facts` as its first line."""
    return f"{_PREFIX}{facts.model_dump_json()}\n{text}"


def without_facts(text: str) -> str:
    """The cookie file `text` without its line of facts, if it has one."""
    return text.partition("\n")[2] if text.startswith(_PREFIX) else text


def merge_changes(current: str, given: str, back: str) -> str | None:
    """Return the cookie file `current` with a job's changes and new facts; None if the job changed nothing,
    or if the file would become too large.

    See `cookie_format.merge_changes`; raises `WrongLine`.
    """
    before, now = without_facts(current), time.time()
    text = cookie_format.merge_changes(before, given, back, now)
    if text == before or len(text.encode()) > cookie_format.MAX_SIZE:
        return None
    return with_facts(text, facts_of(cookie_format.parse(text), now))


def facts_in(line: str) -> CookieFacts | None:
    """The facts in the first `line` of a cookie file; None if that line has none."""
    try:
        return CookieFacts.model_validate_json(line[len(_PREFIX) :]) if line.startswith(_PREFIX) else None
    except ValidationError:
        return None
