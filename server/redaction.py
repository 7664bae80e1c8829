"""What stands in no log: passwords, the queries of links, cookies, and what could confuse a terminal.

Logs are read, sent along and kept by many. Tracebacks quote whatever a program had in its hands.
"""

import re
import traceback

LONGEST_LINE = 2000  # characters
MAX_TRACE = 16 * 1024  # characters of a traceback
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_URL = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?:[^\s/?#'\"<>]*@)?(?P<rest>[^\s?#'\"<>]*)[^\s'\"<>]*", re.IGNORECASE
)
# yt-dlp names some files after the end of a link, its query included.
_QUERY = re.compile(r"\?[^\s?'\"<>]*=[^\s'\":<>]*")
_SECRET = re.compile(
    r"(?P<name>\b(?:set-)?cookie2?|(?:proxy-)?authorization|x-api-key|password|passwd|token)"
    r"(?P<quote>['\"]?\s*[:=]).*",
    re.IGNORECASE,
)


def clean(line: str) -> str:
    """One line, without secrets and at most `LONGEST_LINE` long."""
    line = _CONTROL.sub("", line[:LONGEST_LINE])
    line = _URL.sub(lambda url: url["scheme"] + url["rest"] + ("?..." if "?" in url[0] else ""), line)
    line = _QUERY.sub("?...", line)
    return _SECRET.sub(lambda found: f"{found['name']}{found['quote']} ...", line)


def cleaned(text: str) -> str:
    """All lines of `text`."""
    return "\n".join(map(clean, text.splitlines()))


def trace_of(error: BaseException) -> str:
    """The traceback of `error`, without secrets: its end, which says what happened, if it is a long one."""
    trace = cleaned("".join(traceback.format_exception(error)))
    return trace.encode(errors="replace").decode()[-MAX_TRACE:]
