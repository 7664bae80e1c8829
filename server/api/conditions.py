"""Conditional requests (RFC 9110, section 13), whose malformed conditions are ignored, and gzip."""

from datetime import UTC, datetime

from aiohttp import hdrs, web

_FORMS = (  # section 5.6.7: the preferred format, and two obsolete ones that must be accepted
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%y %H:%M:%S GMT",
    "%a %b %d %H:%M:%S %Y",
)


def has(request: web.Request, etag: str, modified: datetime | None = None) -> bool:
    """Whether the client has this version already; `etag` is in quotes, `modified` in whole seconds.

    An ETag takes precedence over a date (13.2.2); it is compared weakly (13.1.2).
    """
    known = request.headers.getall(hdrs.IF_NONE_MATCH, ())
    if known:
        return any(_names(header, etag) for header in known)
    since = http_date(",".join(request.headers.getall(hdrs.IF_MODIFIED_SINCE, ()))) if modified else None
    return since is not None and modified is not None and modified <= since


def has_part(request: web.Request, etag: str, modified: datetime | None) -> bool:
    """Whether `If-Range` allows a part: no such header, or the same ETag or the exact date (13.1.5)."""
    header = ",".join(request.headers.getall(hdrs.IF_RANGE, ())).strip()
    if not header or header == etag:
        return True
    return modified is not None and http_date(header) == modified


def http_date(text: str | None) -> datetime | None:
    """The time that an HTTP date names; None if it is malformed or out of range."""
    for form in _FORMS if text else ():
        try:
            return datetime.strptime(text or "", form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def _names(header: str, etag: str) -> bool:
    if header in (etag, "*"):
        return True
    return etag in (tag.strip().removeprefix("W/") for tag in header.split(","))


def takes_gzip(request: web.Request) -> bool:
    """Whether `Accept-Encoding` allows gzip (RFC 9110, section 12.5.3): `gzip` takes precedence over `*`."""
    weights = {}
    for part in ",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, ())).lower().split(","):
        name, _, parameter = part.partition(";")
        weights[name.strip()] = parameter.replace(" ", "").removeprefix("q=")
    weight = weights.get("gzip", weights.get("*", "0"))
    return weight.strip("0.") != "" or weight == ""
