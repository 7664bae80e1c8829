"""libcurl, which can impersonate a browser, behind the guard; `server.child.network.browser` imports this.

libcurl opens its own sockets, which no audit hook sees. So, like ffmpeg, it connects only to a proxy on
loopback, behind which the guard checks every address, those of redirects too. Where the kernel supports it
(Landlock), libcurl's threads cannot connect elsewhere; with other kernels only its options prevent that.
"""

import re
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from http.cookiejar import CookieJar
from queue import Queue
from types import SimpleNamespace
from typing import Any, Final

import certifi
from curl_cffi import CurlECode, CurlOpt, ffi, requests
from curl_cffi.requests import session as sessions
from yt_dlp.networking._curlcffi import CurlCFFIRH
from yt_dlp.networking.common import Request, Response
from yt_dlp.networking.exceptions import HTTPError, ProxyError, RequestError, SSLError, TransportError

from server.child.network.proxy import REFUSED_BY_US, Proxy
from server.child.process import sandbox, yt_dlp_parts

_MOST_AHEAD: Final = 64  # blocks of at most 16 KiB that are received ahead of the reader
_MOST_AT_ONCE: Final = 32  # transfers; further ones wait for a free thread
_REFUSED: Final = "response 403"  # part of libcurl's message if the guard refuses an address
_BROKEN_OFF: Final = re.compile("SYSCALL|EOF|reset|closed|OPENSSL_internal:invalid library", re.IGNORECASE)


class GuardedRH(CurlCFFIRH):  # type: ignore[misc]
    """yt-dlp's handler, whose libcurl connects to our proxy only; `upstream` is the URL of the operator's."""

    def __init__(self, upstream: str | None, **options: Any) -> None:
        super().__init__(**options)
        self._connect_error = ProxyError if upstream else TransportError
        self._proxy = Proxy(lambda _: None, upstream)
        self._proxy.__enter__()
        self._threads = _threads(self._proxy.port)

    def close(self) -> None:
        self._clear_instances()
        self._threads.shutdown(wait=False)
        self._proxy.__exit__()

    def _get_proxies(self, request: Request) -> dict[str, str]:
        return {}  # return no proxies: `CurlOpt.PROXY` of the session outranks all others

    def _create_instance(self, cookiejar: CookieJar | None = None) -> requests.Session:
        options = {
            CurlOpt.PROXY: self._proxy.url,
            CurlOpt.NOPROXY: "",  # else the environment's `NO_PROXY` would apply
            CurlOpt.PROTOCOLS_STR: "http,https",
            CurlOpt.REDIR_PROTOCOLS_STR: "http,https",
        }
        session = requests.Session(
            cookies=cookiejar,
            curl_options=options | _ca_options(of_system=self.prefer_system_certs),
            response_class=_ClosableResponse,
        )
        session._executor = self._threads
        return session

    def _send(self, request: Request) -> Response:
        try:
            response: Response = super()._send(request)
        except TransportError as error:
            # `from None`: with a chain of exceptions, the error codes of all of them would count.
            raise self._as_of_urllib(error) from None
        except HTTPError as error:
            if error.response.headers.get(REFUSED_BY_US) != self._proxy.signature:
                raise
            error.close()
            refused = error.status == HTTPStatus.FORBIDDEN and self._proxy.refused
            if refused:
                raise TransportError(cause=refused) from None
            raise self._connect_error(cause=self._proxy.failed) from None
        return response

    def _as_of_urllib(self, error: TransportError) -> RequestError:
        """Turn `error` into the one that yt-dlp's handler for urllib would raise, so that both get the same
        code.
        """
        code, words = getattr(error.cause, "code", None), str(error)
        if isinstance(error, ProxyError):
            refused = _REFUSED in words and self._proxy.refused
            if refused:
                return TransportError(cause=refused)
            return self._connect_error(cause=self._proxy.failed or error)
        if code == CurlECode.OPERATION_TIMEDOUT:
            return TransportError(cause=TimeoutError(words))
        if code == CurlECode.SSL_CACERT_BADFILE:
            return SSLError(cause=error)
        if code == CurlECode.SSL_CONNECT_ERROR and _BROKEN_OFF.search(words):
            return TransportError(cause=ConnectionResetError(words))
        return error


class _Blocks(Queue[Any]):
    """The blocks of a response that are not read yet; bounded, so that a transfer waits for its reader.

    curl_cffi's own queue is unbounded: it would take a whole film, or all that a few bytes decompress to.
    """

    def __init__(self) -> None:
        super().__init__(_MOST_AHEAD)

    def put_nowait(self, item: Any) -> None:
        self.put(item)

    def give_up(self) -> None:
        """Release a transfer that waits for the reader: nothing more will be read."""
        with self.mutex:
            self.maxsize = sys.maxsize
            self.not_full.notify_all()


class _ClosableResponse(requests.Response):  # type: ignore[misc]
    """A response that can be closed before its end, although its transfer may wait for the reader."""

    def close(self) -> None:
        self.queue.give_up()
        super().close()


def _threads(port: int) -> ThreadPoolExecutor:
    """Return threads that, like all threads they start, can connect to no TCP port but `port` (Landlock)."""
    ruleset = sandbox.one_tcp_port(port)
    enter = None if ruleset is None else partial(sandbox.enter, ruleset)
    return ThreadPoolExecutor(_MOST_AT_ONCE, "browser", enter)


def _ca_options(*, of_system: bool) -> dict[CurlOpt, Any]:
    """Return the options for the CA certificates to trust, the same as for other requests: the system's, else
    certifi's.
    """
    if not of_system:
        return {CurlOpt.CAINFO: certifi.where()}
    paths = ssl.get_default_verify_paths()
    return {CurlOpt.CAINFO: paths.cafile or ffi.NULL, CurlOpt.CAPATH: paths.capath or ffi.NULL}


def _check_names() -> None:
    """Raise `ImportError` unless curl_cffi has all names that keep libcurl to the proxy or bound its
    memory.
    """
    missing = yt_dlp_parts.missing("browser")
    missing += [] if hasattr(requests.Session, "executor") else ["Session.executor"]
    missing += [] if hasattr(sessions.queue, "Queue") else ["Queue"]
    if missing:
        raise ImportError(f"yt-dlp or curl_cffi has changed: {', '.join(missing)}")


_check_names()
sessions.queue = SimpleNamespace(Queue=_Blocks)
