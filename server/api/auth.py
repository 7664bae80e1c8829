"""Authentication, if tokens are configured: by bearer token, or by the page's session cookie after a log-in.

Tokens are compared in constant time and never stored or logged; a hash of the token is stored as the scope
of idempotency keys and sessions. An address that sends more than ten wrong tokens a minute gets 429 for
these; a right token is always accepted.
"""

import hashlib
import hmac
import time
from collections.abc import Callable

from aiohttp import web

from server.api.keys import SCOPE
from server.api.log_ins import LOG_INS, SESSION
from server.api.rate import Minute
from server.api.security import SAFE
from server.core.errors import OriginForbidden, TokenRequired, TooManyRequests
from server.settings import ServerSettings

MAX_WRONG = 10  # tokens a minute from one address


class Gate:
    """Accepts requests with a token or a session cookie; all requests if no tokens are set (not `is_locked`).

    `admission` does not ask it about routes that need neither.
    """

    def __init__(self, settings: ServerSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._hashes = [_hash(token.get_secret_value()) for token in settings.tokens]
        self.is_locked = bool(self._hashes)
        self.scopes = [_scope(known) for known in self._hashes]
        self._wrong = Minute(clock)

    async def admit(self, request: web.Request, address: str) -> None:
        """Authenticate the request and set its `SCOPE`, and with a cookie its `SESSION`.

        Raises `TokenRequired`, `TooManyRequests`, `OriginForbidden`.
        """
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
        """The scope of a right token, "" if none are set. Raises `TokenRequired`, `TooManyRequests`."""
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
    """CSRF protection for cookies: require `Origin`, which `Doors.check` has compared, or a `Sec-Fetch-Site`
    that excludes other sites. Raises `OriginForbidden`.
    """
    if "Origin" not in request.headers and request.headers.get("Sec-Fetch-Site") not in (
        "same-origin",
        "none",
    ):
        raise OriginForbidden


GATE = web.AppKey("gate", Gate)
