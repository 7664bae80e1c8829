"""Bot walls: responses by which a source refuses all requests of clients that do not look like a browser."""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from yt_dlp.networking.common import Response

_STATUSES: Final = (HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE)
_MARK: Final = "wall"
# Cloudflare (three; after the bar of the last comes a site's name), DDoS-Guard, Imperva and Akamai.
_TITLE: Final = re.compile(
    rb"<title[^>]*>\s*(just a moment|attention required! \| cloudflare|access denied \|"
    rb"|ddos-guard|pardon our interruption|access denied\s*</)",
    re.IGNORECASE,
)
_HEAD: Final = 16 * 1024  # bytes of a page in which its title is looked for
_OF_A_CHECK: Final = "__cf_bm"
"""A cookie that Cloudflare gives to a client that it took for a program."""


class Walls:
    """The hosts that have answered this job with a wall. May be used from any thread."""

    def __init__(self) -> None:
        self._hosts: set[str | None] = set()

    def stand_before(self, url: str) -> bool:
        return _host(url) in self._hosts

    def is_one(self, response: Response) -> bool:
        """Whether a browser might get another response: once the job has met a wall, any 403 may be one."""
        return is_marked(response) or bool(self._hosts and response.status == HTTPStatus.FORBIDDEN)

    def remember(self, urls: Iterable[str], jar: Any) -> None:
        """Note that the hosts of `urls` have walls, and delete their cookie `_OF_A_CHECK` from `jar`."""
        for url in urls:
            self._hosts.add(_host(url))
            for cookie in jar.get_cookies_for_url(url):
                if cookie.name == _OF_A_CHECK:
                    jar.clear(cookie.domain, cookie.path, cookie.name)


def mark(response: Any) -> None:
    """Note on `response` that it is a wall, if it is one; it can still be read from its beginning."""
    if response.status in _STATUSES and (_says_so(response.headers) or _is_titled_so(response)):
        response.extensions[_MARK] = True


def is_marked(response: Response) -> bool:
    return _MARK in response.extensions


def _says_so(headers: Mapping[str, str]) -> bool:
    return headers.get("cf-mitigated") == "challenge"


def _is_titled_so(response: Any) -> bool:
    is_page = "html" in (response.headers.get("Content-Type") or "")
    return is_page and _TITLE.search(response.look_ahead(_HEAD)) is not None


def _host(url: str) -> str | None:
    return urlsplit(url).hostname
