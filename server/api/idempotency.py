"""`Idempotency-Key`: the same key and request give the same task."""

import re
from collections.abc import Collection

from aiohttp import web

from server.api.keys import SCOPE
from server.core.errors import AmbiguousHeader, InvalidQuery
from server.core.models import ProcessRequest
from server.core.ports import Idempotency
from server.core.sameness import hash_of, hash_of_sent

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def key_of(request: web.Request) -> str | None:
    """The key with the token's scope before it, or None. Raises `AmbiguousHeader`, `InvalidQuery`."""
    keys = set(request.headers.getall("Idempotency-Key", ()))
    if not keys:
        return None
    if len(keys) > 1:
        raise AmbiguousHeader("Idempotency-Key")
    [key] = keys
    if not _KEY.fullmatch(key):
        raise InvalidQuery("Idempotency-Key")
    return f"{request.get(SCOPE, '')}:{key}"


def idempotency(key: str | None, wanted: ProcessRequest, sent: Collection[str]) -> Idempotency | None:
    """None without a key. `sent` are the fields of the body; `wanted` also has those of its preset."""
    if key is None:
        return None
    # The preset may have changed when the client retries: the hash of the fields sent is still the same.
    hashes = (hash_of(wanted), *([hash_of_sent(wanted, sent)] if wanted.preset else []))
    return Idempotency(key, " ".join(hashes))
