"""`X-Request-Id` of every response: the client's own, if it may stand in a log, else one made up.

A problem repeats it as `request_id`, so that what a user copies from the page leads to the request.
"""

import re
import secrets

from aiohttp import web

X_REQUEST_ID = "X-Request-Id"
_REQUEST_ID = web.RequestKey("request id", str)
_OF_CLIENTS = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id(request: web.Request) -> str:
    """The same for every call with this request."""
    known = request.get(_REQUEST_ID)
    if known is None:
        sent = request.headers.get(X_REQUEST_ID, "")
        known = request[_REQUEST_ID] = sent if _OF_CLIENTS.fullmatch(sent) else secrets.token_hex(8)
    return known
