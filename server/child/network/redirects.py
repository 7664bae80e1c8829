"""The redirects that requests meet: yt-dlp follows them, and tells the last link only.

A password in a link goes to no other host: `requests` sees to that.

Decisions: docs/decisions/library.md
"""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from yt_dlp.utils.networking import normalize_url

MOST_STEPS: Final = 50  # redirects that are remembered; a download may meet thousands
FOR_GOOD: Final = (301, 308)

Step = tuple[str, int, str]
"""A link, the status of its answer, and the link that the answer names."""


def recorded(create: Callable[..., Any], steps: list[Step]) -> Callable[..., Any]:
    """`RequestsRH._create_instance`, whose sessions note redirects in `steps`."""

    def note(answer: Any, **_: object) -> None:
        if answer.is_redirect and len(steps) < MOST_STEPS:
            to = normalize_url(urljoin(answer.url, answer.headers["Location"]))
            steps.append((answer.url, answer.status_code, to))

    def create_recording(**kwargs: Any) -> Any:
        session = create(**kwargs)
        session.hooks["response"].append(note)
        return session

    return create_recording


def led_for_good(url: str, steps: list[Step]) -> str:
    """Where `url` has moved to, as far as every redirect there is lasting, encrypted as before and without a
    password; `url` itself if it has not.
    """
    at = url
    for begin, status, end in steps:
        if begin != at:
            continue
        before, after = urlsplit(begin), urlsplit(end)
        is_weaker = before.scheme == "https" and after.scheme != "https"
        if status not in FOR_GOOD or is_weaker or after.username is not None:
            break
        at = end
    return at
