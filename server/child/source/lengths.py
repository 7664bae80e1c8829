"""What an answer says of its length, put right where yt-dlp would stumble: it takes each word as it is."""

from email.message import Message

from yt_dlp.utils import parse_http_range


def put_right(headers: Message, wanted: str | None) -> None:
    """`headers` are those of the answer to a request with the Range `wanted`."""
    _leave_out_what_is_no_number(headers)
    _say_what_is_missing(headers, wanted)


def _leave_out_what_is_no_number(headers: Message) -> None:
    """As those do who read the answer; what is said twice counts once (RFC 9110, 8.6)."""
    lengths = {each.strip() for said in headers.get_all("Content-Length", ()) for each in said.split(",")}
    del headers["Content-Length"]
    if len(lengths) == 1 and (length := lengths.pop()).isdecimal():
        headers["Content-Length"] = length


def _say_what_is_missing(headers: Message, wanted: str | None) -> None:
    """A source may send less than was asked for (RFC 9110, 15.3.7): what breaks off is gone on with."""
    first, last, total = parse_http_range(headers.get("Content-Range"))
    if last is None or total is None or last < first or headers.get("Content-Length") == "0":
        return  # that says nothing at all
    _, until, _ = parse_http_range(wanted)
    end = total if until is None else min(until + 1, total)
    if last + 1 < end:
        del headers["Content-Range"], headers["Content-Length"]
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{total}"
        headers["Content-Length"] = str(end - first)
