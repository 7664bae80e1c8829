"""Links as texts, no host name is resolved: whether one is valid, its host, and the link without secrets."""

import re
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

from pydantic_core import PydanticCustomError

MAX_URL = 4096
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff\u2028\u2029]")


def check_url(url: str, *, is_sent: bool = True) -> str:
    """Return `url` unchanged. Raises `PydanticCustomError` if it is invalid; no host name is resolved.

    Of one that is not sent now, but stored, the port may be 0: an earlier release has taken that.
    """
    if _CONTROL.search(url):
        raise PydanticCustomError("url_characters", "no spaces or control characters in a URL")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise PydanticCustomError("url_invalid", "not a valid URL") from None
    if port == 0 and is_sent:
        raise PydanticCustomError("url_invalid", "not a valid URL")
    if parts.scheme.lower() not in ("http", "https"):
        raise PydanticCustomError("url_scheme", "the URL must begin with http:// or https://")
    if not host:
        raise PydanticCustomError("url_host", "the URL names no host")
    return url


def host_of(url: str) -> str:
    """The host name in lower case, without the port; empty if there is none."""
    return _host_at_start("/".join(url.split("/", 3)[:3]))


@lru_cache(1024)
def _host_at_start(scheme_and_host: str) -> str:
    return (urlsplit(scheme_and_host).hostname or "").lower()


def without_password(url: str) -> str:
    """`url` without `user:password@`, otherwise unchanged."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    bare = parts.netloc.rpartition("@")[2]
    return (
        url.replace(parts.netloc, bare, 1) if parts.netloc in url else urlunsplit(parts._replace(netloc=bare))
    )


def without_path(url: str) -> str:
    """`url` as far as its host and port: what follows is the secret of many a receiver of webhooks."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
