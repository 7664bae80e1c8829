"""Skips interim (1xx) responses such as `103 Early Hints`, which clients have to accept (RFC 9110, 15.2).

Python's `http.client`, which yt-dlp's handlers for urllib and requests use, skips `100 Continue` alone and
takes any other interim response for the final one.
"""

from http.client import HTTPResponse, parse_headers
from typing import Any, Final

_SWITCHING: Final = 101  # a final response: HTTP on this connection ends with it


def pass_over() -> None:
    """Make `http.client` return the status of the final response, for the rest of this process."""
    read = HTTPResponse._read_status  # type: ignore[attr-defined]

    def read_last(response: Any) -> tuple[str, int, str]:
        version, status, reason = read(response)
        while 100 < status < 200 and status != _SWITCHING:
            parse_headers(response.fp)
            version, status, reason = read(response)
        return version, status, reason

    HTTPResponse._read_status = read_last  # type: ignore[attr-defined]
