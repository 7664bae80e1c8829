"""Removes passwords, query strings of URLs, cookies, tokens and control characters from log lines.

Logs are copied and shared, and tracebacks quote any value. Control characters could confuse a terminal.
"""

import re
import traceback
from urllib.parse import quote, unquote

LONGEST_LINE = 2000  # characters
MAX_TRACE = 16 * 1024  # characters of a traceback
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_URL = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?:[^\s/?#'\"<>]*@)?(?P<rest>[^\s?#'\"<>]*)[^\s'\"<>]*", re.IGNORECASE
)
# Matches a query string also outside a URL: yt-dlp names some files after the end of a URL, with its query
# string.
_QUERY = re.compile(r"\?[^\s?'\"<>]*=[^\s'\":<>]*")
_SECRET = re.compile(
    r"(?P<name>\b(?:set-)?cookie2?|(?:proxy-)?authorization|x-api-key|password|passwd|token)"
    r"(?P<quote>['\"]?\s*[:=]).*",
    re.IGNORECASE,
)


# Matches an absolute path, but not in a URL, where a name, a port or another slash stands before the first
# slash.
_FOLDERS = re.compile(r"(?<![\w./%~-])(?:/[^\s/:'\"<>,;()]+)+/(?=[^\s/:'\"<>,;()])")


_SECRET_PARTS = re.compile(r"((?:^|/)feeds/|(?:^|(?<!/api)/)links/[^/?#]+/)[^/?#]+")


def without_path_secret(target: str) -> str:
    """Remove the secret of a podcast feed, or of a link to a file, from a request's path and query."""
    plain = unquote(target) if "%" in target else target
    if _SECRET_PARTS.search(plain) is None:
        return target
    return quote(_SECRET_PARTS.sub(r"\1...", plain), safe="/?&=.")


def without_folders(text: str) -> str:
    """Leave only the last name of each absolute path in `text`."""
    return _FOLDERS.sub("", text)


def clean(line: str) -> str:
    """Remove secrets from one line, and cut it to `LONGEST_LINE` characters."""
    line = _CONTROL.sub("", line[:LONGEST_LINE])
    line = _URL.sub(lambda url: url["scheme"] + url["rest"] + ("?..." if "?" in url[0] else ""), line)
    line = _QUERY.sub("?...", line)
    return _SECRET.sub(lambda found: f"{found['name']}{found['quote']} ...", line)


def clean_lines(text: str) -> str:
    """Apply `clean` to each line of `text`."""
    return "\n".join(map(clean, text.splitlines()))


def trace_of(error: BaseException) -> str:
    """Return the traceback of `error` without secrets: its last `MAX_TRACE` characters, which name the
    error.
    """
    trace = clean_lines("".join(traceback.format_exception(error)))
    return trace.encode(errors="replace").decode()[-MAX_TRACE:]
