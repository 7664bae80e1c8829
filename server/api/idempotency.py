"""`Idempotency-Key`: the same key and request give the same task. Defines what "the same request" means.

Hashes are stored with their tasks and outlast releases, so the hash of a request that an earlier release
accepts must never change. A field sent with its default is the same as an omitted one. With a preset, two
requests are the same if either the fields that were sent or all fields with the preset are the same.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from server.api.keys import SCOPE
from server.errors import AmbiguousHeader, InvalidQuery
from server.models import ProcessRequest
from server.ports import Idempotency

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# The fields of the first release, which hashed all of them in this order. A new one would change all hashes.
_FIRST = (
    "url", "outputs", "quality", "video_format", "codec", "audio_format", "audio_quality", "audio_language",
    "format", "live", "auto_start", "preset", "priority",
)  # fmt: skip

# Fields that do not change the result: they say when a task begins, or how it was requested.
_NOT_WISHED = ("auto_start", "preset", "priority", "reuse", "start_at")
_PLAIN = {name: ProcessRequest.model_fields[name].default for name in _NOT_WISHED}
_FIRST_ONES = frozenset(_FIRST)
_NOTHING: Mapping[str, object] = {}


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


def wish_of(request: web.Request, wanted: ProcessRequest) -> str:
    """The token's scope and a hash of the fields that determine the result."""
    return f"{request.get(SCOPE, '')}:{hash_of(wanted, _PLAIN)}"


def hash_of(wanted: ProcessRequest, instead: Mapping[str, object] = _NOTHING) -> str:
    """The hash of the first release's fields, and of later fields that are not at their default.

    `instead` has values, in JSON's types, that take the place of the request's.
    """
    fields = {**wanted.model_dump(mode="json"), **instead}
    sent = wanted.model_fields_set - _FIRST_ONES - instead.keys()
    later = wanted.model_dump(mode="json", include=sent, exclude_defaults=True) if sent else {}
    return _hash({name: fields[name] for name in _FIRST} | dict(sorted(later.items())))


def hash_of_sent(wanted: ProcessRequest, sent: Collection[str]) -> str:
    fields = wanted.model_dump(mode="json", include=set(sent), exclude_unset=True)
    return _hash(dict(sorted(fields.items())))


def _hash(fields: dict[str, Any]) -> str:
    return hashlib.sha256(to_json(fields)).hexdigest()
