"""Cookie files in the format that Netscape's browser had, which every tool for it still writes.

One cookie a line, seven fields with tabs between them; `#HttpOnly_` in front of the domain is no comment.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from server.jobs import MOST_COOKIES

MAX_SIZE: Final = MOST_COOKIES
NAME: Final = r"[A-Za-z0-9_-]{1,64}"
"""What a stored file may be called."""

_HTTP_ONLY: Final = "#HttpOnly_"
_DOMAIN: Final = re.compile(r"\.?[^\s.:/]+(\.[^\s.:/]+)*\.?|\[?[0-9A-Fa-f:.]+\]?")
_ADDRESS: Final = re.compile(r"[0-9.]+|\[?[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]?")
_FLAGS: Final = {"TRUE": True, "FALSE": False}
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class WrongLine(ValueError):
    """Line `number` is no cookie, no comment and not empty."""

    def __init__(self, number: int) -> None:
        super().__init__(f"line {number}")
        self.number = number


@dataclass(frozen=True, slots=True)
class Cookie:
    """`expires` is in seconds since 1970, 0 for one that lasts as long as a session of the browser."""

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
            found.append(_cookie(line, number))
    return found


def written(cookies: Iterable[Cookie]) -> str:
    lines = "".join(f"{_line(cookie)}\n" for cookie in cookies)
    return f"# Netscape HTTP Cookie File\n{lines}"


def renewed(current: str, given: str, back: str, now: float) -> str:
    """`current` with what a job has changed of the cookies that it was `given`, if they came `back` so.

    Only cookies for hosts of the file are taken: a page brings those of many others. One that is missing was
    taken back by its site, unless its time was over by `now`: that it has expired shall be seen.
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
    return written(kept.values())


def is_within(host: str, domain: str) -> bool:
    """Whether `host` is `domain` or a subdomain of it; both in small letters."""
    return host == domain or host.endswith(f".{domain}")


def _cookie(line: str, number: int) -> Cookie:
    fields = line.removeprefix(_HTTP_ONLY).split("\t")
    if len(fields) != 7 or _CONTROL.search(line):
        raise WrongLine(number)
    domain, below, path, secure, expires, name, value = fields
    seconds = re.fullmatch(r"(\d{0,15})(\.\d*)?", expires)
    flags = below in _FLAGS and secure in _FLAGS
    if not (_DOMAIN.fullmatch(domain) and flags and path.startswith("/") and seconds):
        raise WrongLine(number)
    domain = _dotted(domain, _FLAGS[below])
    lasts = int(seconds[1] or 0)
    http_only = line.startswith(_HTTP_ONLY)
    return Cookie(domain, domain.startswith("."), path, _FLAGS[secure], lasts, name, value, http_only)


def _dotted(domain: str, below: bool) -> str:
    """`domain` with a dot in front just if it is also for hosts `below`.

    Some tools write a dot that contradicts the flag. Python takes such a file for broken, and quotes it with
    all that is secret; curl goes by the flag. An address has nothing below it.
    """
    host = domain.removeprefix(".")
    return f".{host}" if below and not _ADDRESS.fullmatch(host) else host


def _line(cookie: Cookie) -> str:
    flags = {True: "TRUE", False: "FALSE"}
    prefix = _HTTP_ONLY if cookie.http_only else ""
    return "\t".join(
        (
            f"{prefix}{cookie.domain}",
            flags[cookie.below],
            cookie.path,
            flags[cookie.secure],
            str(cookie.expires),
            cookie.name,
            cookie.value,
        )
    )
