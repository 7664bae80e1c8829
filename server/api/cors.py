"""CORS headers for pages of other origins, as far as `server.allowed_origins` names them."""

from http import HTTPStatus

from aiohttp import hdrs, web

ALLOWED_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-None-Match, Prefer, Range, X-Request-Id"
EXPOSED_HEADERS = "Content-Language, Content-Range, ETag, Location, Retry-After, X-Request-Id"
AN_HOUR = "3600"  # seconds that a browser may cache the response to a preflight


def is_preflight(request: web.Request) -> bool:
    return request.method == "OPTIONS" and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers


def answer_preflight() -> web.Response:
    """Without the origin, which `allow` adds."""
    headers = {
        "Access-Control-Allow-Methods": ALLOWED_METHODS,
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": AN_HOUR,
    }
    return web.Response(status=HTTPStatus.NO_CONTENT, headers=headers)


def allow(origin: str, response: web.StreamResponse) -> None:
    """Let the page at `origin` read `response`, but without `Access-Control-Allow-Credentials`: session
    cookies are for the service's own page.
    """
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers.add("Vary", "Origin")
