"""yt-dlp's way to ask as a browser does, down to the handshake of TLS, loaded when somebody asks for it.

Until then it costs nothing; to load the library behind it takes up to 0.2 s and 7 MB.
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
"""The name of a request's extension that says which browser it is to look like."""

ANY = ImpersonateTarget()


class BrowserRH(ImpersonateRequestHandler):  # type: ignore[misc]
    """Stands for `impersonation.GuardedRH` until somebody wants it; `upstream` is the operator's proxy.

    The end of the name is yt-dlp's wish.
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
    """What asks as a browser does, and is otherwise told what yt-dlp's handler `plain` was."""
    told = ("headers", "cookiejar", "timeout", "prefer_system_certs")
    return BrowserRH(upstream, logger=plain._logger, **{name: getattr(plain, name) for name in told})


def _load() -> Any:
    """yt-dlp looks for the library at its own start, where it was left out (`server.child.preload`)."""
    dependencies.curl_cffi = importlib.import_module("curl_cffi")
    module = importlib.import_module("server.child.source.impersonation")
    networking._REQUEST_HANDLERS.pop("CurlCFFI", None)  # the one without a guard
    return module
