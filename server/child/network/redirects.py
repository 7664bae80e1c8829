"""Records the redirects of requests: yt-dlp follows them, and reports only the last link.

The library `requests` does not send a link's password on to other hosts.

Decisions: docs/decisions/library.md
"""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from yt_dlp.utils.networking import normalize_url

MAX_REDIRECTS: Final = 50  # a download may be redirected thousands of times
_PERMANENT: Final = (301, 308)

Redirect = tuple[str, int, str]
"""A link, the status of the response, and the link in its `Location`."""


def record_redirects(create: Callable[..., Any], redirects: list[Redirect]) -> Callable[..., Any]:
    """Return a replacement for `RequestsRH._create_instance`, here called `create`, that appends to
    `redirects`.
    """

    def record(response: Any, **_: object) -> None:
        if response.is_redirect and len(redirects) < MAX_REDIRECTS:
            location = normalize_url(urljoin(response.url, response.headers["Location"]))
            redirects.append((response.url, response.status_code, location))

    def create_recording(**kwargs: Any) -> Any:
        session = create(**kwargs)
        session.hooks["response"].append(record)
        return session

    return create_recording


def follow_permanent(url: str, redirects: list[Redirect]) -> str:
    """Return where `url` has moved to: follow `redirects` up to the first that is not permanent, gives up
    HTTPS, or leads to a link with a password.
    """
    for origin, status, location in redirects:
        if origin != url:
            continue
        before, after = urlsplit(origin), urlsplit(location)
        is_weaker = before.scheme == "https" and after.scheme != "https"
        if status not in _PERMANENT or is_weaker or after.username is not None:
            break
        url = location
    return url
