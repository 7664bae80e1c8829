"""Requests that impersonate a browser, down to the TLS handshake, by yt-dlp's handler for curl_cffi.

The handler is loaded when it is first needed: loading curl_cffi takes up to 0.2 s and 7 MB.

Decisions: docs/decisions/network.md
"""

import importlib
from functools import cached_property
from threading import Lock
from typing import Any

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

    yt-dlp wants the class names of handlers to end in `RH`.
    """

    def __init__(self, upstream: str | None, **options: Any) -> None:
        super().__init__(**options)
        self._upstream, self._options = upstream, options
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
            raise UnsupportedRequest("it need not look like a browser's")
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
        return _load().GuardedRH(self._upstream, **self._options)


def beside(plain: Any, upstream: str | None) -> BrowserRH:
    """An impersonating handler with the options of yt-dlp's handler `plain`."""
    told = ("headers", "cookiejar", "timeout", "prefer_system_certs")
    return BrowserRH(upstream, logger=plain._logger, **{name: getattr(plain, name) for name in told})


def _load() -> Any:
    """yt-dlp looks for curl_cffi when it is imported itself, and `server.child.preload` hides it then."""
    dependencies.curl_cffi = importlib.import_module("curl_cffi")
    module = importlib.import_module("server.child.network.impersonation")
    networking._REQUEST_HANDLERS.pop("CurlCFFI", None)  # yt-dlp's own handler, which the guard does not see
    return module
