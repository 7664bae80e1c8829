"""Answers that come before the answer, such as `103 Early Hints`: clients have to take them (RFC 9110, 15.2).

Python's `http.client`, which both of yt-dlp's handlers use, passes over `100 Continue` alone and takes any
other for the answer itself.
"""

from http.client import HTTPResponse, parse_headers
from typing import Any, Final

_SWITCHING: Final = 101  # after which HTTP is over: an answer like any other


def pass_over() -> None:
    """From now on, in this process, what is read as the status of an answer is that of the last one."""
    read = HTTPResponse._read_status  # type: ignore[attr-defined]

    def read_last(response: Any) -> tuple[str, int, str]:
        version, status, reason = read(response)
        while 100 < status < 200 and status != _SWITCHING:
            parse_headers(response.fp)
            version, status, reason = read(response)
        return version, status, reason

    HTTPResponse._read_status = read_last  # type: ignore[attr-defined]
