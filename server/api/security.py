"""Checks of `Host` and `Origin`, and the headers of every response: security, CORS and `X-Request-Id`.

Against CSRF: bodies have a type that needs a preflight, and `Origin` and `Sec-Fetch-Site` are checked, so
pages of other sites cannot change anything. Against DNS rebinding: a foreign `Host` name is refused,
because a page under that name would have the same origin as this server once the name is pointed at it.
Pages of other origins may read answers (CORS) if `server.allowed_origins` names them. Any page may read what
a secret in the path opens, such as podcast feeds, which players in browsers load.
"""

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from multidict import istr

from server.api.keys import carried
from server.api.prepared import Prepared
from server.api.route import Access
from server.core.errors import HostForbidden, OriginForbidden
from server.core.request_ids import REQUEST_ID
from server.settings import ServerSettings

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
# Set on all responses; `add_headers` takes X-Frame-Options as a sign that a response has them already.
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # The page's modules are revalidated, too: a mixture of old and new ones breaks the page.
    "Cache-Control": "no-cache",
}
_HOST = re.compile(r"[^/?#@\\\s]+")  # characters that end the host in a URL are excluded
MAX_HOST = 253 + len(":65535")  # characters: of a name in DNS, and a port
MAX_KNOWN = 1024  # Host headers whose check is cached
_OF_PROXIES = (hdrs.X_FORWARDED_FOR, hdrs.X_FORWARDED_HOST, hdrs.X_FORWARDED_PROTO)
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
ALLOWED_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
ALLOWED_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-Modified-Since, If-None-Match, If-Range, "
    "Last-Event-ID, Prefer, Range, X-Request-Id"
)
EXPOSED_HEADERS = (
    "Accept-Ranges, Content-Disposition, Content-Language, Content-Range, ETag, Location, Retry-After, "
    "X-Request-Id"
)
AN_HOUR = "3600"  # seconds that a browser may cache the response to a preflight
X_REQUEST_ID = istr("X-Request-Id")
IS_OPEN = web.RequestKey("open to pages of all origins", bool)
# The origins of extensions in Chromium and Firefox.
_OF_AN_EXTENSION = re.compile(r"(chrome|moz)-extension://[a-z0-9-]+")


class Doors:
    """Checks requests by the service's host names, allowed origins and trusted proxies."""

    def __init__(self, settings: ServerSettings) -> None:
        self._origins = frozenset(settings.allowed_origins)
        self._hosts = frozenset((settings.host.lower(), *settings.allowed_hosts))
        self._knows = lru_cache(MAX_KNOWN)(self._is_ours)
        self._proxies = [ipaddress.ip_network(proxy, strict=False) for proxy in settings.trusted_proxies]

    def check(
        self, request: web.Request, access: Access, has_right_token: Callable[[], bool] = lambda: False
    ) -> None:
        """Raises `HostForbidden` or `OriginForbidden`, and what `has_right_token` raises.

        `has_right_token` is called for requests of browser extensions, which belong to no site. An extension
        has a token only if its user has given it one.
        """
        host = self._host(request)
        if not self._knows(host) and access is not Access.PROBE:
            raise HostForbidden
        if request.method in SAFE and hdrs.UPGRADE not in request.headers and access is not Access.STREAM:
            return
        if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
            origin = _origin(request)
            if _OF_AN_EXTENSION.fullmatch(origin) and origin not in self._origins and has_right_token():
                return
            # Compare host and origin without default ports. The origin `null` is treated as an empty host.
            ours = host.lower().removesuffix(":80").removesuffix(":443")
            scheme, _, theirs = origin.partition("://")
            theirs = theirs.removesuffix({"http": ":80", "https": ":443"}.get(scheme, ""))
            if origin and origin not in self._origins and theirs != ours:
                raise OriginForbidden
            if "cross-site" in request.headers.getall("Sec-Fetch-Site", ()) and origin not in self._origins:
                raise OriginForbidden

    def _host(self, request: web.Request) -> str:
        """Return the host, perhaps with a port, to which the client sent the request; "" if it named none.

        A trusted proxy names it in `X-Forwarded-Host`; a request target in absolute form takes precedence
        over the `Host` header (RFC 9112, section 3.2.2).
        """
        # `X-Forwarded-Host` of a proxy that is not trusted is ignored: anybody can send it.
        is_of_proxy = self._proxies and self.is_trusted(request.remote)
        if is_of_proxy and (forwarded := _last(request, hdrs.X_FORWARDED_HOST)):
            return forwarded
        if request.method == hdrs.METH_CONNECT:
            return request.raw_path
        if not request.raw_path.startswith("/"):
            try:
                authority = urlsplit(request.raw_path).netloc  # "" for `*`
            except ValueError:
                return "?"  # a host name that matches nothing
            if authority:
                return authority
        return request.headers.get(hdrs.HOST, "")

    def origin(self, request: web.Request) -> str:
        """The service's origin as the client sees it, like `https://clips.example.org:8443`."""
        return f"{'https' if self.is_https(request) else request.scheme}://{self._host(request)}"

    def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers of every response that `response` does not set itself."""
        is_open = carried(request, IS_OPEN, False)
        if isinstance(response, Prepared) and not is_open and not self._origins:
            response.own[X_REQUEST_ID] = REQUEST_ID.get()
            return
        headers = response.headers
        headers[X_REQUEST_ID] = REQUEST_ID.get()
        if hdrs.X_FRAME_OPTIONS not in headers:  # else the response was made with all `HEADERS`
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        if is_open:
            allow("*", response, is_of_another_page=_is_of_another_page(request))
            headers.add("Vary", "Origin, Sec-Fetch-Site")
        elif self._origins and self.is_allowed_origin(request):
            allow(request.headers["Origin"], response)
            headers.add("Vary", "Origin")

    def is_allowed_origin(self, request: web.Request) -> bool:
        """Whether the request comes from a page of an origin in `server.allowed_origins`."""
        return _origin(request) in self._origins

    def client(self, request: web.Request) -> str:
        """The client's address; behind trusted proxies, the last one in the chain that is not a proxy's."""
        address = request.remote or ""
        if not self._proxies:
            return address
        forwarded = request.headers.getall("X-Forwarded-For", ())
        for hop in reversed([hop.strip() for header in forwarded for hop in header.split(",")]):
            # Some proxies add a port: `192.0.2.1:4711`, `[2001:db8::1]:4711`.
            if hop.startswith("["):
                hop = hop[1:].partition("]")[0]
            elif hop.count(":") == 1:
                hop = hop.partition(":")[0]
            if not self.is_trusted(address) or not _is_literal(hop):
                break
            address = hop
        return address

    def is_https(self, request: web.Request) -> bool:
        if self.is_trusted(request.remote):
            return _last(request, "X-Forwarded-Proto").lower() == "https"
        return False

    def is_forwarded(self, request: web.Request) -> bool:
        """Whether a trusted proxy forwarded the request, by its `X-Forwarded-*` headers."""
        return self.is_trusted(request.remote) and any(name in request.headers for name in _OF_PROXIES)

    def is_trusted(self, address: str | None) -> bool:
        if not self._proxies or not address:
            return False
        peer = ipaddress.ip_address(address)
        return any(peer in network for network in self._proxies)

    def _is_ours(self, host: str) -> bool:
        if len(host) > MAX_HOST or not _HOST.fullmatch(host):
            return False
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname, parts.port
        except ValueError:  # raised, among others, for a port beyond 65535
            return False
        if not name:
            return False
        return name in self._hosts or name == "localhost" or name.endswith(".localhost") or _is_literal(name)


DOORS = web.AppKey("doors", Doors)


def open_to_all_pages(request: web.Request) -> None:
    """Let pages of all origins read the answer: the request was admitted by a secret in its path, not by a
    cookie.
    """
    request[IS_OPEN] = True


def answer_preflight() -> web.Response:
    """Answer a preflight; `allow` adds the origin."""
    headers = {
        "Access-Control-Allow-Methods": ALLOWED_METHODS,
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": AN_HOUR,
    }
    return web.Response(status=HTTPStatus.NO_CONTENT, headers=headers)


def allow(origin: str, response: web.StreamResponse, *, is_of_another_page: bool = True) -> None:
    """Let the page at `origin` (`*`: any page) read `response`, but without
    `Access-Control-Allow-Credentials`: session cookies are for the service's own page.

    Other answers keep `same-origin`, so that browsers do not let other pages read them from the cache.
    """
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
    if is_of_another_page:
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"


def _last(request: web.Request, name: str) -> str:
    """Return the last value of the header, which the proxy has added, in the same or its own
    line; else "".
    """
    return ",".join(request.headers.getall(name, ())).split(",")[-1].strip()


def _origin(request: web.Request) -> str:
    """Return the value of `Origin`. Several values are joined, so that the result equals no origin."""
    return ",".join(request.headers.getall("Origin", ())).lower()


def _is_of_another_page(request: web.Request) -> bool:
    """Whether a page of another origin may have sent this request. Browsers say so in a header; other clients
    do not send that header.
    """
    return bool(
        "Origin" in request.headers
        or {"cross-site", "same-site"} & set(request.headers.getall("Sec-Fetch-Site", ()))
    )


def _is_literal(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
