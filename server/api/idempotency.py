"""`Idempotency-Key`: the same key and request give the same task. What "the same request" means stands here.

Hashes are stored as long as their tasks live, so they outlast releases: what is hashed never changes for a
request that could be made before. An explicit default is the same as an omitted field, and with a preset it
is enough that either the fields that were sent or all that they amount to are the same.
"""

import hashlib
import re
from collections.abc import Collection
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from server.api.keys import SCOPE
from server.errors import InvalidQuery
from server.models import ProcessRequest
from server.ports import Idempotency

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# The fields of the first release, which hashed them all, in its order. Never add to them.
_FIRST = (
    "url", "outputs", "quality", "video_format", "codec", "audio_format", "audio_quality", "audio_language",
    "format", "live", "auto_start", "preset", "priority",
)  # fmt: skip

# What says when a task is to begin, or how it was asked for, and not what is to come of it.
_NOT_WISHED = ("auto_start", "preset", "priority", "reuse", "start_at")


def key_of(request: web.Request) -> str | None:
    """With the scope of the token. Raises `InvalidQuery`."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidQuery("Idempotency-Key")
    return f"{request.get(SCOPE, '')}:{key}"


def idempotency(key: str | None, wanted: ProcessRequest, sent: Collection[str]) -> Idempotency | None:
    """None without a key; `sent` are the fields of the body, to which a preset may have added others."""
    if key is None:
        return None
    # A preset may be another when the request is repeated: then what was sent is still the same.
    hashes = (hash_of(wanted), *([hash_of_sent(wanted, sent)] if wanted.preset else []))
    return Idempotency(key, " ".join(hashes))


def wish_of(request: web.Request, wanted: ProcessRequest) -> str:
    """Of who asks for what, whenever and however urgently."""
    plain = {name: ProcessRequest.model_fields[name].default for name in _NOT_WISHED}
    return f"{request.get(SCOPE, '')}:{hash_of(wanted.model_copy(update=plain))}"


def hash_of(wanted: ProcessRequest) -> str:
    """Of the first release's fields, and of later ones that are not at their default."""
    fields = wanted.model_dump(mode="json")
    later = wanted.model_dump(mode="json", exclude_defaults=True)  # also within a field that has fields
    names = sorted(later.keys() - set(_FIRST))
    return _hash({name: fields[name] for name in _FIRST} | {name: later[name] for name in names})


def hash_of_sent(wanted: ProcessRequest, sent: Collection[str]) -> str:
    fields = wanted.model_dump(mode="json", include=set(sent), exclude_unset=True)
    return _hash(dict(sorted(fields.items())))


def _hash(fields: dict[str, Any]) -> str:
    return hashlib.sha256(to_json(fields)).hexdigest()
