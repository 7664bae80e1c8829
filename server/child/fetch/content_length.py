"""Corrects what a response says of its length: yt-dlp believes it as it is, and fails where it is wrong."""

from email.message import Message

from yt_dlp.utils import parse_http_range


def put_right(headers: Message, wanted: str | None) -> None:
    """Change `headers` of the response to a request whose `Range` was `wanted`, None if it had none."""
    _leave_out_what_is_no_number(headers)
    _say_what_is_missing(headers, wanted)


def _leave_out_what_is_no_number(headers: Message) -> None:
    """As HTTP clients do; a length that is repeated counts once (RFC 9110, 8.6)."""
    lengths = {each.strip() for said in headers.get_all("Content-Length", ()) for each in said.split(",")}
    del headers["Content-Length"]
    if len(lengths) == 1 and (length := lengths.pop()).isdecimal():
        headers["Content-Length"] = length


def _say_what_is_missing(headers: Message, wanted: str | None) -> None:
    """Announce all of `wanted` where a source sends less of it, which it may (RFC 9110, 15.3.7).

    The response then seems to break off, and yt-dlp requests the rest.
    """
    first, last, total = parse_http_range(headers.get("Content-Range"))
    if last is None or total is None or last < first or headers.get("Content-Length") == "0":
        return  # not a usable `Content-Range`
    _, until, _ = parse_http_range(wanted)
    end = total if until is None else min(until + 1, total)
    if last + 1 < end:
        del headers["Content-Range"], headers["Content-Length"]
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{total}"
        headers["Content-Length"] = str(end - first)
