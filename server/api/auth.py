"""Who is let in, where tokens are set: a bearer token, or the page's session cookie after a log-in.

Tokens are compared in constant time and never kept or logged; what is kept is a hash that names the
scope of idempotency keys and sessions. Guessing is slowed for an address after ten wrong tokens a minute;
a right one is never slowed.
"""

import hashlib
import hmac
import time
from collections.abc import Callable

from aiohttp import web

from server.api.keys import SCOPE
from server.api.log_ins import LOG_INS, SESSION
from server.api.paths import OpenPaths
from server.api.rate import Minute
from server.api.security import SAFE
from server.errors import OriginForbidden, TokenRequired, TooManyRequests
from server.settings import ServerSettings

MAX_WRONG = 10  # tokens a minute from one address


class Gate:
    """Lets in who shows a token or the cookie of a log-in; where no tokens are set, everybody (`is_locked`).

    What needs neither: the page and its files, `/healthz` and the log-in itself. Whoever guesses raises
    `TooManyRequests` after `MAX_WRONG` wrong tokens a minute from one address; a right token never does.
    """

    def __init__(self, settings: ServerSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._hashes = [_hash(token.get_secret_value()) for token in settings.tokens]
        self.is_locked = bool(self._hashes)
        self.scopes = [_scope(known) for known in self._hashes]
        self._wrong = Minute(clock)
        self._paths = OpenPaths(settings)

    async def admit(self, request: web.Request, address: str) -> None:
        """Note in the request whose it is: `SCOPE`, and with a cookie `SESSION`.

        Raises `TokenRequired`, `TooManyRequests`, `OriginForbidden`.
        """
        if self._paths.is_open(request.path):
            return
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            request[SCOPE] = self.check(token.strip(), address)
            return
        session = await request.app[LOG_INS].find(request)
        if session is None:
            raise TokenRequired
        if request.method not in SAFE or "Upgrade" in request.headers:
            check_sender(request)
        request[SCOPE], request[SESSION] = session.scope, session

    def check(self, token: str, address: str) -> str:
        """The scope of a right token. Raises `TokenRequired`, after ten in a minute `TooManyRequests`."""
        if not self._hashes:
            return ""
        given, found = _hash(token), b""
        for known in self._hashes:
            if hmac.compare_digest(known, given):
                found = known
        if found:
            return _scope(found)
        if self._wrong.count(address) > MAX_WRONG:
            raise TooManyRequests(self._wrong.left(address))
        raise TokenRequired


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()  # headers may hold any bytes


def _scope(token_hash: bytes) -> str:
    return token_hash.hex()[:16]


def check_sender(request: web.Request) -> None:
    """A cookie alone proves nothing: a browser also says that our page sent it. A foreign one was refused."""
    if "Origin" not in request.headers and request.headers.get("Sec-Fetch-Site") not in (
        "same-origin",
        "none",
    ):
        raise OriginForbidden


GATE = web.AppKey("gate", Gate)
