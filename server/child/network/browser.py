"""Requests that impersonate a browser, down to the TLS handshake, by yt-dlp's handler for curl_cffi.

The handler is loaded when it is first needed: loading curl_cffi takes up to 0.2 s and 7 MB. It is needed for
hosts with a bot wall: they refuse every client that does not look like a browser. `Walls` remembers them.

Decisions: docs/decisions/network.md
"""

import importlib
import re
from collections.abc import Iterable
from functools import cached_property
from http import HTTPStatus
from threading import Lock
from typing import Any, Final
from urllib.parse import urlsplit

from yt_dlp import dependencies
from yt_dlp.networking import common as networking
from yt_dlp.networking.common import Request, Response
from yt_dlp.networking.exceptions import UnsupportedRequest
from yt_dlp.networking.impersonate import ImpersonateRequestHandler, ImpersonateTarget

WANTED = "impersonate"
"""Key in `Request.extensions`: the browser to impersonate, an `ImpersonateTarget`."""

ANY = ImpersonateTarget()


class BrowserRH(ImpersonateRequestHandler):  # type: ignore[misc]
    """Loads `impersonation.GuardedRH` when it is first needed; `upstream` is the URL of the operator's proxy.

    It has the options of yt-dlp's handler `plain`. yt-dlp wants the class names of handlers to end in `RH`.
    """

    def __init__(self, plain: Any, upstream: str | None) -> None:
        names = ("headers", "cookiejar", "timeout", "prefer_system_certs")
        self._options = {"logger": plain._logger} | {name: getattr(plain, name) for name in names}
        super().__init__(**self._options)
        self._upstream = upstream
        self._lock = Lock()

    def is_supported_target(self, target: ImpersonateTarget) -> bool:
        try:
            return bool(self._handler.is_supported_target(target))
        except ImportError:
            return False

    def close(self) -> None:
        if "_made" in vars(self):
            self._made.close()

    def _validate(self, request: Request) -> None:
        if not request.extensions.get(WANTED):
            raise UnsupportedRequest("the request need not look like a browser's")
        try:
            self._handler.validate(request)
        except ImportError as error:
            raise UnsupportedRequest(f"Unsupported impersonate target: {error}") from error

    def _send(self, request: Request) -> Response:
        return self._handler.send(request)

    @property
    def _handler(self) -> Any:
        with self._lock:
            return self._made

    @cached_property
    def _made(self) -> Any:
        return load().GuardedRH(self._upstream, **self._options)


def load() -> Any:
    """Load curl_cffi, which `server.child.preload` has hidden from yt-dlp's import, and our
    handler for it.
    """
    dependencies.curl_cffi = importlib.import_module("curl_cffi")
    module = importlib.import_module("server.child.network.impersonation")
    # yt-dlp's own handler connects without the guard seeing it.
    networking._REQUEST_HANDLERS.pop("CurlCFFI", None)
    return module


_STATUSES: Final = (HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE)
_IS_WALL: Final = "wall"
"""Key in `Response.extensions`."""

# Titles of Cloudflare (three; the last with a bar and the site's name), DDoS-Guard, Imperva and Akamai.
_TITLE: Final = re.compile(
    rb"<title[^>]*>\s*(just a moment|attention required! \| cloudflare|access denied \|"
    rb"|ddos-guard|pardon our interruption|access denied\s*</)",
    re.IGNORECASE,
)
_TITLE_WITHIN: Final = 16 * 1024  # bytes of a page in which its title is looked for
_BOT_COOKIE: Final = "__cf_bm"
"""Cloudflare gives it to clients that it took for programs, and then refuses them by it."""


class Walls:
    """The hosts that have answered this job with a bot wall. May be used from any thread."""

    def __init__(self) -> None:
        self._hosts: set[str | None] = set()

    def protect(self, url: str) -> bool:
        return bool(self._hosts) and _host(url) in self._hosts

    def may_be_wall(self, response: Response) -> bool:
        """Whether a browser might get another response: after the job's first wall, any 403 may be one."""
        return is_wall(response) or bool(self._hosts and response.status == HTTPStatus.FORBIDDEN)

    def remember(self, urls: Iterable[str], jar: Any) -> None:
        """Remember that the hosts of `urls` refuse programs, and delete their `_BOT_COOKIE` from `jar`."""
        for url in urls:
            self._hosts.add(_host(url))
            for cookie in jar.get_cookies_for_url(url):
                if cookie.name == _BOT_COOKIE:
                    jar.clear(cookie.domain, cookie.path, cookie.name)


def mark_wall(response: Any) -> None:
    """Mark `response` if it is a bot wall; it can still be read from its beginning."""
    if response.status not in _STATUSES:
        return
    is_page = "html" in (response.headers.get("Content-Type") or "")
    if response.headers.get("cf-mitigated") == "challenge" or (
        is_page and _TITLE.search(response.look_ahead(_TITLE_WITHIN))
    ):
        response.extensions[_IS_WALL] = True


def is_wall(response: Response) -> bool:
    """Whether `mark_wall` has marked `response`."""
    return _IS_WALL in response.extensions


def _host(url: str) -> str | None:
    return urlsplit(url).hostname
