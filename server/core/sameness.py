"""What counts as the same request, for `Idempotency-Key` and for `reuse`.

Hashes are stored with their tasks and outlast releases, so the hash of a request that an earlier release
accepts must never change. A field sent with its default is the same as an omitted one. With a preset, two
requests are the same if either the fields that were sent or all fields with the preset are the same.
"""

import hashlib
from collections.abc import Collection, Mapping

from pydantic_core import to_json

from server.core.models import Entry, ProcessRequest

# The fields of the first release, which hashed all of them in this order. A new one would change all hashes.
_FIRST = (
    "url", "outputs", "quality", "video_format", "codec", "audio_format", "audio_quality", "audio_language",
    "format", "live", "auto_start", "preset", "priority",
)  # fmt: skip

# Fields that do not change the result: they say when a task begins, or how it was requested.
_NOT_WISHED = ("auto_start", "preset", "priority", "reuse", "start_at", "title")
_PLAIN = {name: ProcessRequest.model_fields[name].default for name in _NOT_WISHED}
_WHICHEVER = {"url": "", "webhook": None, "playlist": False, "playlist_items": None, "library": None}
_FIRST_ONES = frozenset(_FIRST)
_NOTHING: Mapping[str, object] = {}


def wish_of(scope: str, wanted: ProcessRequest, item: int | None = None) -> str:
    """The `scope` of the token, and a hash of the fields that determine the result.

    `item`: only this entry of what is at the link is wanted.
    """
    of_item = "" if item is None else f"#{item}"
    return f"{scope}:{hash_of(wanted, _PLAIN)}{of_item}"


def wish_of_entry(scope: str, request: ProcessRequest, entry: Entry) -> str:
    """The wish that an `entry` fulfils in the list of `request`: that of a request for its link alone."""
    return wish_of(scope, request.of_entry(entry.shown_url), entry.item)


def scope_of(wish: str) -> str:
    return wish.partition(":")[0]


def manner_of(wanted: ProcessRequest) -> str:
    """A short hash of how a video is wanted, whichever it is: two tasks of one video with the same manner
    make the same files.
    """
    return hash_of(wanted, _PLAIN | _WHICHEVER)[:16]


def hash_of(wanted: ProcessRequest, instead: Mapping[str, object] = _NOTHING) -> str:
    """The hash of the first release's fields, and of later fields that are not at their default.

    `instead` has values, in JSON's types, that take the place of the request's.
    """
    # `to_json` writes these as `model_dump` would, at half of its price, and texts faster than the enum's.
    first = {name: instead[name] if name in instead else getattr(wanted, name) for name in _FIRST}
    first["outputs"] = [output.value for output in wanted.outputs]
    sent = wanted.model_fields_set - _FIRST_ONES - instead.keys()
    later = wanted.model_dump(mode="json", include=sent, exclude_defaults=True) if sent else {}
    return hashlib.sha256(to_json(first | dict(sorted(later.items())))).hexdigest()


def hash_of_sent(wanted: ProcessRequest, sent: Collection[str]) -> str:
    fields = wanted.model_dump(mode="json", include=set(sent), exclude_unset=True)
    return hashlib.sha256(to_json(dict(sorted(fields.items())))).hexdigest()
