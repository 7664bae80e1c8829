"""What models are made of: their base classes, and the types of their fields, such as links and times.

Links are looked at as texts: no host name is resolved here.
"""

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError


class Frozen(BaseModel):
    """An immutable value; unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the value four times as fast as pydantic does, since each event makes a copy. `update` may
        only have fields of the model.
        """
        if deep:
            return super().model_copy(update=update, deep=deep)
        copied, fields, changed = self.__class__.__new__(self.__class__), self.__dict__.copy(), update or {}
        fields.update(changed)
        object.__setattr__(copied, "__dict__", fields)
        object.__setattr__(copied, "__pydantic_fields_set__", self.__pydantic_fields_set__.union(changed))
        # The dict of extra fields is shared, not copied: it is never changed in place.
        object.__setattr__(copied, "__pydantic_extra__", self.__pydantic_extra__)
        object.__setattr__(copied, "__pydantic_private__", None)
        return copied


class Stored(Frozen):
    """A value that is stored; a server of the next release may have stored it with more fields.

    Such fields are kept when the value is changed and stored again (docs/decisions/storage.md).
    """

    model_config = ConfigDict(extra="allow")

    def without_unknown_fields(self) -> Self:
        """Return the value without fields that only a newer release knows: no client gets them."""
        if not self.model_extra:
            return self
        known = self.model_copy()
        object.__setattr__(known, "__pydantic_extra__", {})
        return known


MAX_URL = 4096
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff\u2028\u2029]")


def check_url(url: str, *, is_sent: bool = True) -> str:
    """Return `url` unchanged. Raises `PydanticCustomError` if it is invalid; no host name is resolved.

    In a stored URL, not `is_sent` by a client now, the port may be 0: earlier releases have accepted that.
    """
    if _CONTROL.search(url):
        raise PydanticCustomError("url_characters", "no spaces or control characters in a URL")
    try:
        scheme, host, port = _read_start("/".join(url.split("/", 3)[:3]))
    except ValueError:
        raise PydanticCustomError("url_invalid", "not a valid URL") from None
    if port == 0 and is_sent:
        raise PydanticCustomError("url_invalid", "not a valid URL")
    if scheme not in ("http", "https"):
        raise PydanticCustomError("url_scheme", "the URL must begin with http:// or https://")
    if not host:
        raise PydanticCustomError("url_host", "the URL names no host")
    return url


def host_of(url: str) -> str:
    """Return the host name of a valid `url` in lower case, without the port."""
    _, host, _ = _read_start("/".join(url.split("/", 3)[:3]))
    return host


@lru_cache(1024)
def _read_start(scheme_and_host: str) -> tuple[str, str, int | None]:
    """Return scheme, host name and port; cached, because many links have them in common. Raises
    `ValueError`.
    """
    parts = urlsplit(scheme_and_host)
    return parts.scheme, (parts.hostname or "").lower(), parts.port


def without_password(url: str) -> str:
    """Return `url` without `user:password@`, otherwise unchanged."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    bare = parts.netloc.rpartition("@")[2]
    return (
        url.replace(parts.netloc, bare, 1) if parts.netloc in url else urlunsplit(parts._replace(netloc=bare))
    )


def without_path(url: str) -> str:
    """Return `url` up to its host and port: the path of a webhook's URL is often a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


OF_A_CLIENT = {"of": "a client"}
"""The validation context of what a client sends, which must meet more conditions than what is stored."""
MAX_ID = 500  # characters; ours have 36
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_BIDI = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def _whole(value: object) -> object:
    """Turn `1.0` into 1, which is an integer by JSON Schema (Validation, 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _instant(value: object) -> datetime:
    """Parse an RFC 3339 time, as UTC. Without an offset it is an error: it would depend on the server's
    zone.
    """
    try:
        if isinstance(value, str) and _INSTANT.fullmatch(value):
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise PydanticCustomError("instant", "a time like 2026-01-31T08:00:00Z is expected")


Instant = Annotated[datetime, BeforeValidator(_instant)]


def harmless_line(title: str) -> str | None:
    """Return one line without control characters and bidi controls; None if nothing is left."""
    spaced = re.sub(r"\s+", " ", _BIDI.sub("", title))
    return "".join(letter for letter in spaced if unicodedata.category(letter) != "Cc").strip() or None


def at_most(most: int) -> BeforeValidator:
    """Refuse a longer list before its elements are validated, each of which could have an error of its
    own.
    """

    def check(value: object) -> object:
        if isinstance(value, list) and len(value) > most:
            raise PydanticCustomError("too_long", "at most {max_length} items", {"max_length": most})
        return value

    return BeforeValidator(check)


_CLOCK = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,2}):)?(\d{1,7}(?:\.\d{1,9})?)", re.ASCII)
_LONGEST = 1_000_000  # seconds


def _seconds(value: object) -> float:
    """Return the seconds that a number, or a text like `1:02:03.5`, stands for."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LONGEST:
        return float(value)
    if isinstance(value, str) and (found := _CLOCK.fullmatch(value)):
        hours, minutes, seconds = found[1] or 0, found[2], float(found[3])
        whole = int(hours) * 3600 + int(minutes or 0) * 60 + seconds
        if whole <= _LONGEST and (minutes is None or seconds < 60) and (not hours or int(minutes or 0) < 60):
            return whole
    raise PydanticCustomError("seconds", 'seconds are expected, or a time like "1:02:03.5"')


Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": _LONGEST},
                {"type": "string", "pattern": r"^(([0-9]{1,4}:)?[0-9]{1,2}:)?[0-9]{1,7}(\.[0-9]{1,9})?$"},
            ]
        },
        mode="validation",
    ),
]
Whole = Annotated[int, BeforeValidator(_whole)]
HttpUrl = Annotated[
    str,
    Field(min_length=1, max_length=MAX_URL),
    AfterValidator(lambda url, request: check_url(url, is_sent=request.context is OF_A_CLIENT)),
]
