"""Cookie files in the Netscape format, which curl, yt-dlp and browser extensions read and write.

Each line is a cookie of seven tab-separated fields. `#` begins a comment, `#HttpOnly_` an HttpOnly cookie.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from server.core.jobs import MOST_COOKIES

MAX_SIZE: Final = MOST_COOKIES
MOST_FILES: Final = 1000  # stored cookie files
NAME: Final = r"[A-Za-z0-9_-]{1,64}"
"""The pattern of a cookie file's name."""
STORED: Final = rf"(?:[a-z0-9._-]{{1,64}}@)?{NAME}"
"""The pattern of the name under which it is stored: where lists are separate, a person's begins with whose it
is.
"""

_HTTP_ONLY: Final = "#HttpOnly_"
_DOMAIN: Final = re.compile(r"\.?[^\s.:/]+(\.[^\s.:/]+)*\.?|\[?[0-9A-Fa-f:.]+\]?")
_ADDRESS: Final = re.compile(r"[0-9.]+|\[?[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]?")
_FLAGS: Final = {"TRUE": True, "FALSE": False}
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class WrongLine(ValueError):
    """Line `number`, counted from 1, is neither a cookie nor a comment nor empty."""

    def __init__(self, number: int) -> None:
        super().__init__(f"line {number}")
        self.number = number


@dataclass(frozen=True, slots=True)
class Cookie:
    """`expires` is in seconds since 1970, or 0 for a session cookie; `below`: subdomains get it as well."""

    domain: str
    below: bool
    path: str
    secure: bool
    expires: int
    name: str
    value: str
    http_only: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        return self.domain, self.path, self.name

    @property
    def host(self) -> str:
        return self.domain.strip(".").lower()


def parse(text: str) -> list[Cookie]:
    """All cookies in `text`; raises `WrongLine`."""
    found = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = line.removesuffix("\r")
        if line.strip() and (not line.startswith("#") or line.startswith(_HTTP_ONLY)):
            fields = line.removeprefix(_HTTP_ONLY).split("\t")
            if len(fields) != 7 or _CONTROL.search(line):
                raise WrongLine(number)
            domain, below, path, secure, expires, name, value = fields
            seconds = re.fullmatch(r"(\d{0,15})(\.\d*)?", expires)
            flags = below in _FLAGS and secure in _FLAGS
            if not (_DOMAIN.fullmatch(domain) and flags and path.startswith("/") and seconds):
                raise WrongLine(number)
            # A leading dot if and only if the cookie is also for subdomains. Some tools write a dot that
            # contradicts the flag. curl goes by the flag; Python's `http.cookiejar` rejects the file with an
            # error that quotes the secrets. An IP address has no subdomains.
            host = domain.removeprefix(".")
            is_below = _FLAGS[below] and not _ADDRESS.fullmatch(host)
            domain, lasts = f".{host}" if is_below else host, int(seconds[1] or 0)
            http_only = line.startswith(_HTTP_ONLY)
            found.append(Cookie(domain, is_below, path, _FLAGS[secure], lasts, name, value, http_only))
    return found


def format_cookies(cookies: Iterable[Cookie]) -> str:
    """Return the text of a cookie file."""
    flags, lines = {True: "TRUE", False: "FALSE"}, ["# Netscape HTTP Cookie File\n"]
    for cookie in cookies:
        fields = (
            f"{_HTTP_ONLY if cookie.http_only else ''}{cookie.domain}",
            flags[cookie.below],
            cookie.path,
            flags[cookie.secure],
            str(cookie.expires),
            cookie.name,
            cookie.value,
        )
        lines.append("\t".join(fields) + "\n")
    return "".join(lines)


def merge_changes(current: str, given: str, back: str, now: float) -> str:
    """Return the cookie file `current` with the changes that a job has made: `given` is the file that it got,
    `back` the one that it sent back.

    Only cookies for hosts in `given` are taken over: a page also sets cookies for many other hosts. A cookie
    missing in `back` was deleted by its site and is removed, unless it had expired by `now` (seconds since
    1970): an expired cookie stays, so that the list of cookie files shows it as expired. Raises `WrongLine`.
    """
    before = {cookie.key: cookie for cookie in parse(given)}
    after = {cookie.key: cookie for cookie in parse(back)}
    gone = {key for key, cookie in before.items() if key not in after and not 0 < cookie.expires <= now}
    kept = {cookie.key: cookie for cookie in parse(current) if cookie.key not in gone}
    hosts = {cookie.host for cookie in before.values()}
    for key, cookie in after.items():
        known = before.get(key)
        same = replace(cookie, http_only=known.http_only) if known else cookie
        if same != known and any(is_within(cookie.host, host) for host in hosts):
            kept[key] = same
    return format_cookies(kept.values())


def is_within(host: str, domain: str) -> bool:
    """Whether `host` is `domain` or a subdomain of it; both in lower case."""
    return host == domain or host.endswith(f".{domain}")


def stored_name(name: str, person: str | None) -> str:
    """Return the name under which a person's file is stored; `person` is None for nobody's."""
    return name if person is None else f"{person}@{name}"


def split_stored_name(stored: str) -> tuple[str | None, str]:
    """Return the person whose file is stored under this name, None for nobody's, and the file's own name."""
    person, at, name = stored.rpartition("@")
    return (person if at else None), name
