"""Turns exceptions and messages of yt-dlp, ffmpeg and the network into an `error_code`.

`classify` uses the first rule of the table `RULES` that matches. A rule tests the class of an exception and
its detail, an error number, or yt-dlp's own message, from which foreign words (links, ids, messages of
libraries and servers) are removed.

yt-dlp wraps and chains its errors, and keeps only the message of those that end a download. So each network
error is noted on a `Trail` when it is raised, and found there again by its message.

Once any byte of a stream has come, a request is retried within the attempt as often as yt-dlp does it
(`Tries`). Before that the attempt ends soon, with the reason: the server makes the next attempts, and shows
clients the reason.
"""

import re
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote

from yt_dlp import utils
from yt_dlp.networking import exceptions as network
from yt_dlp.networking.exceptions import HTTPError

from server.child.media import parts
from server.child.network import browser, guard
from server.child.process.job_failed import OF_ERRNO, Expired, JobFailed, NotLive
from server.core.codes import CODES, PASSING, PASSING_STATUSES, Code

_MAX_NOTED = 100  # errors


@dataclass(frozen=True, slots=True)
class Fact:
    """What rules test of an exception: `detail` is the reason that the library gives; `retry_after` is the
    value of the header.

    `reading`: the response had begun to arrive; `fragment`: the request was for a fragment of a stream;
    `wall`: the response is a bot wall (see `server.child.network.browser`).
    """

    kind: type[BaseException]
    errno: int | None = None
    status: int | None = None
    retry_after: str | None = None
    detail: str = ""
    reading: bool = False
    fragment: bool = False
    wall: bool = False

    @classmethod
    def of(cls, error: BaseException, *, reading: bool = False, fragment: bool = False) -> "Fact":
        kind = type(error)
        match error:
            case network.HTTPError():
                loop = "redirect loop" if error.redirect_loop else ""
                again = error.response.headers.get("Retry-After")
                wall = browser.is_wall(error.response)
                return cls(kind, None, error.status, again, loop, fragment=fragment, wall=wall)
            case ssl.SSLError():
                return cls(kind, error.errno, detail=error.reason or "", reading=reading)
            case OSError():
                return cls(kind, error.errno, reading=reading)
            case ValueError():
                return cls(kind, detail=str(error))
        return cls(kind, reading=reading)


class Trail:
    """The link that a job began with, and its last `_MAX_NOTED` network errors, oldest first.

    `seen` is why the last page without a film has none, see `server.child.extract.generic`.
    """

    def __init__(self, url: str = "") -> None:
        self.url = url
        self.by_http_proxy = False
        """Whether requests go through the operator's HTTP proxy, whose responses look like a source's."""

        self.passing = 0
        """How many network errors there were after which another attempt may help."""

        self.seen: str | None = None
        self._noted: deque[tuple[str, tuple[Fact, ...]]] = deque(maxlen=_MAX_NOTED)

    def note(self, error: network.RequestError, **known: bool) -> None:
        """Note `error`; `known` are fields of `Fact`. May be called from any thread."""
        self._noted.append((str(error), tuple(Fact.of(link, **known) for link in chain(error))))
        is_http = isinstance(error, network.HTTPError)
        self.passing += (
            error.status in PASSING_STATUSES if is_http else isinstance(error, network.TransportError)
        )

    def find_in(self, text: str) -> tuple[str, tuple[Fact, ...]]:
        """Return message and facts of the last noted error whose message is in `text`; empty if none is."""
        found = (noted for noted in reversed(self._noted) if noted[0] and noted[0] in text)
        return next(found, ("", ()))


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and all exceptions that it wraps or was caused by, outermost first."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        link = waiting.pop(0)
        if isinstance(link, BaseException) and id(link) not in seen:
            seen.add(id(link))
            yield link
            wrapped = getattr(link, "exc_info", None)
            waiting += wrapped if isinstance(wrapped, tuple) else ()
            waiting += (getattr(link, "cause", None), getattr(link, "reason", None), link.__cause__)
            waiting += () if link.__suppress_context__ else (link.__context__,)
            waiting += (*getattr(link, "unexpected_errors", ()), *link.args)


_URL = re.compile(r"\S+://\S+")
_APOSTROPHES = str.maketrans("‘’ʼ", "'''")
_QUOTES = frozenset("\"'`“”«»")
_ENDS_CLAUSE = re.compile(r"\s*([.,;!?)\]](\s|$)|/ |$)")
_NAMES_SUBJECT = re.compile(r":(\s|$)|\s+does not exist")
_BEFORE_CLAUSE = re.compile(r"[.,:;!?(\[/](?=\s)")
_SAYS_MORE_AFTER = re.compile(
    r"(an?|and|are|as|be|been|being|by|currently|either|ha[sv]e?|is|likely|longer|needs|not?|now|or|requires"
    r"|still|the|to|uses|was|were|with)"
)
"""A word after one of these is a statement, and no name: "is private", "set to private"."""


def own_words(errors: Sequence[BaseException], trail: Trail) -> str:
    """Return yt-dlp's own words in `errors`, in lower case; "" if it only repeats foreign messages."""
    messages = (words.replace(trail.find_in(words)[0], "") for words in _own_messages(errors))
    text = " / ".join(messages).lower().translate(_APOSTROPHES)
    # Take names from the link, and ids of the video; not those of two letters, which may be words.
    names = {trail.url.partition("?")[0].rstrip("/").rpartition("/")[2]}
    names |= {str(error.video_id) for error in errors if isinstance(error, utils.ExtractorError)}
    names |= {unquote(name) for name in names}
    names |= {name.rpartition(".")[0] for name in names}
    for name in sorted((name.lower() for name in names if len(name) > 2), key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(name)}(?!\w)"
        text = re.sub(pattern, lambda found: "" if _names_something(found) else found[0], text)
    return _URL.sub("", text)


def _names_something(found: re.Match[str]) -> bool:
    """Whether `found` is a name in the link or an id, and not a word that happens to be the same.

    A film at `/private.mp4` may be private, and a stream at `/offline` offline. So a name counts only where
    extractors put names: in quotes, before a colon or "does not exist", and at the end of a clause
    ("Unable to extract <name>"), unless it is what that clause says ("Stream is offline", "Video private").
    """
    before, after = found.string[: found.start()], found.string[found.end() :]
    if before and after and before[-1] in _QUOTES and after[0] in _QUOTES:
        return True
    if _NAMES_SUBJECT.match(after):
        return True
    clause = _BEFORE_CLAUSE.split(before)[-1].split()
    return bool(_ENDS_CLAUSE.match(after)) and len(clause) > 1 and not _SAYS_MORE_AFTER.fullmatch(clause[-1])


def _own_messages(errors: Sequence[BaseException]) -> Iterator[str]:
    extracting = any(isinstance(error, utils.ExtractorError) for error in errors)
    for error in errors:
        match error:
            case utils.ExtractorError():
                # For a network error, `_request_webpage` adds a note of its own before that error's message.
                repeats = isinstance(error.cause, network.RequestError)
                yield "" if repeats and (error.cause.msg or "") in error.orig_msg else error.orig_msg
            case utils.DownloadError() if extracting:
                pass  # this message repeats that of the `ExtractorError`, yielded by itself
            case network.RequestError() if type(error) is not network.RequestError or isinstance(
                error.cause, OSError | ValueError
            ):
                pass  # this message is a library's, not one that `YoutubeDL.urlopen` wrote itself
            case utils.YoutubeDLError():
                yield str(error)


ANY_STATUS: Final = "http"
"""Stands for `http_<status>`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Gives a failure its `code`: if yt-dlp's message matches `says`, or without `says` if one `Fact` has all
    other fields.

    `passes` says whether another attempt may help, where the code alone (`PASSING`) would say otherwise;
    `hint` is the key of a hint that fits better than the code's own.
    """

    code: Code | Literal["http"]
    kinds: tuple[type[BaseException], ...] = ()
    errno: int | None = None
    detail: str = ""
    reading: bool = False
    wall: bool = False
    says: re.Pattern[str] | None = None
    passes: bool | None = None
    hint: str | None = None

    def holds(self, facts: Sequence[Fact], words: str) -> bool:
        return any(map(self.fits, facts)) if self.says is None else bool(self.says.search(words))

    def fits(self, fact: Fact) -> bool:
        return (
            (not self.kinds or issubclass(fact.kind, self.kinds))
            and self.errno in (None, fact.errno)
            and bool(re.match(self.detail, fact.detail))
            and (fact.reading or not self.reading)
            and (fact.wall or not self.wall)
        )


# Patterns for messages of yt-dlp and its extractors, in lower case; the vague ones come last.
_WORDS: tuple[tuple[Code, str], ...] = (
    ("drm_protected", r"\bdrm\b"),
    ("ffmpeg_missing", r"ffmpeg (is )?(not (found|installed)|missing|could not be found)"),
    ("unsupported_stream", r"uses the network by itself|initialization fragment found after"),
    ("unsupported_stream", r"rtmpdump|mplayer|live dash videos are not supported|requires websocket support"),
    ("format_unavailable", r"requested format is not available"),
    ("proxy_error", r"to use an https proxy"),
    ("login_required", r"redirected to the login page"),
    ("bot_check", r"not a bot|captcha|anti-bot|\bchallenge\b|tls fingerprint|\bimpersonat|fresh cookies"),
    ("bot_check", r"rate.?limit|too many requests|request is (blocked|rejected) by server|unusual location"),
    ("bot_check", r"your ip (address )?(is|may be) (likely being )?(blocked|unable)"),
    ("private", r"private (video|playlist|subreddit|favorites)|\b(is|are|set to) ([\w/]+ )*private"),
    ("private", r"protected (tweet|by a password)|password.protected|--video-password"),
    ("age_restricted", r"(confirm|verify) your age|age.(restricted|verified)|older than \d+"),
    ("age_restricted", r"inappropriate for some users|comfortable for some audiences|nsfw|sensitive content"),
    ("members_only", r"members.only|join this channel|(supporter|subscriber|patron)s?.only"),
    ("members_only", r"\bpremium\b|subscription|subscribe to|purchase|\bpaid\b|requires payment"),
    ("geo_restricted", r"(in|from) your (country|location|region)|geo.?(restrict|block)"),
    ("geo_restricted", r"available in [\w ]+ only|only available in [\w ]+$"),
    ("not_live", r"will begin (in|shortly)|premieres? (in|shortly)|scheduled (for|to)|is not live"),
    ("not_live", r"not (currently live|(yet )?started)|(stream|channel) is (now )?offline"),
    ("login_required", r"--cookies|--username|registered users|sign in|log.?in\b|logged.?in\b"),
    (
        "login_required",
        r"authentication is required|an account that|not (authorized|have (access|permission))",
    ),
    ("no_media", r"no (\w+ ){0,2}(formats|media|video|url|sources|tracks|episodes) found|find any video"),
    ("no_media", r"there is no video|no video could be found|is not a video|n[o']t (have|contain) any"),
    ("extraction_failed", r"temporarily unavailable|try again|please wait|is processing"),
    ("unavailable", r"unavailable|removed|deleted|no longer (available|exists)|has ended|expired|is locked"),
    ("unavailable", r"does not exist|n[o']t (yet )?(been made )?available|space ended|ip address is blocked"),
    ("unavailable", r"\b(video|clip|channel|track|space|content)\b.* not (been )?found"),
    ("unsupported_url", r"(unsupported|invalid) url|is not a valid url|looks truncated|embed-only video"),
)
_NOTHING_CAME = r"did not get any data|file is empty"
_TOO_LITTLE_CAME = r"fragment \d+ not found|content too short"
# OpenSSL's reasons when the other side has broken off the TLS connection.
_CUT = "UNEXPECTED_EOF|.*BAD_RECORD_MAC|RECORD_LAYER_FAILURE"
# Python's messages for malformed URLs.
_NO_URL = "Invalid IPv6 URL|Port (out of range|could not be cast)|netloc .* contains invalid|.* IPv4 or IPv6"

RULES: Final[tuple[Rule, ...]] = (
    # Requests blocked by the guard, and faults of this machine.
    Rule("blocked_address", (guard.AddressBlocked,)),
    Rule("out_of_memory", (MemoryError,)),
    *(Rule(code, errno=number) for number, code in OF_ERRNO.items()),
    # yt-dlp's own exceptions and messages.
    Rule("geo_restricted", (utils.GeoRestrictedError,)),
    Rule("not_live", (utils.UserNotLive,)),
    Rule("unsupported_url", (utils.UnsupportedError, network.NoSupportingHandlers)),
    *(Rule(code, says=re.compile(pattern)) for code, pattern in _WORDS),
    # Statuses of HTTP responses.
    Rule("redirect_loop", (network.HTTPError,), detail="redirect loop"),
    Rule("bot_check", (network.HTTPError,), wall=True),
    Rule(ANY_STATUS, (network.HTTPError,)),
    # Connections, malformed URLs, and data that cannot be decrypted.
    Rule("proxy_error", (network.ProxyError,)),
    Rule("dns_error", (socket.gaierror,), errno=socket.EAI_AGAIN, passes=True),
    Rule("dns_error", (socket.gaierror,)),
    Rule("timeout", (TimeoutError,)),
    Rule("incomplete", (network.IncompleteRead, utils.ContentTooShortError)),
    Rule("incomplete", (network.TransportError,), reading=True),
    Rule("tls_error", (network.CertificateVerifyError,)),
    Rule("connection_failed", (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)),
    Rule("connection_failed", (ssl.SSLError,), detail=_CUT),
    Rule("tls_error", (network.SSLError, ssl.SSLError)),
    Rule("connection_failed", (network.TransportError, ConnectionError)),
    Rule("unsupported_url", (ValueError,), detail=_NO_URL),
    Rule("no_media", (ValueError,), detail="Incorrect AES key length", hint="wrong_key"),
    Rule("incomplete", (ValueError,), detail="Data must be padded"),  # an encrypted segment is cut off
    Rule("unsupported_url", (UnicodeError,), detail=".*'idna' codec|label empty or too long"),
    Rule("unsupported_url", (network.RequestError,)),
    # Everything else.
    Rule("conversion_failed", (utils.PostProcessingError,)),
    Rule("incomplete", says=re.compile(_NOTHING_CAME), hint="nothing_came"),
    Rule("incomplete", says=re.compile(_TOO_LITTLE_CAME)),
    Rule("extraction_failed", (utils.YoutubeDLError, OSError)),
)


LONGEST_WAIT = 86_400.0  # seconds


def seconds(header: str | None) -> float | None:
    """Return a `Retry-After` (RFC 9110, 10.2.3) in seconds from now, at most a day; None if malformed."""
    if header is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}\s*", header):
        return min(float(header), LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(header).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(moment - time.time(), 0.0), LONGEST_WAIT)


MISSING = frozenset((404, 410))
"""Statuses of a fragment that its source does not have; 403 may also mean that the link has expired."""
EXPIRED_STATUSES = frozenset((403, 404, 410))
EXPIRED = frozenset(f"http_{status}" for status in EXPIRED_STATUSES)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed. `retryable`: another attempt may help, after `retry_after` seconds if the source says
    so.

    `expired`: a link has expired, and another attempt may help because it extracts anew.
    `begins_at`: when an announced broadcast begins, if that is known, in seconds since 1970.
    `hint` is the key of a hint that fits better than the code's own.
    """

    code: str
    retryable: bool = False
    retry_after: float | None = None
    hint: str | None = None
    expired: bool = False
    begins_at: float | None = None


class BrokeOff(Exception):
    """A stream failed after some of its bytes had come; `__cause__` is the error."""


def classify(error: BaseException, trail: Trail | None = None) -> Failure:
    """Return the `Failure` for `error`; `trail` has the network errors before it."""
    trail = trail or Trail()
    errors = list(chain(error))
    if announced := next((link for link in errors if isinstance(link, NotLive)), None):
        return Failure(announced.code, begins_at=announced.begins_at)
    if own := next((link for link in errors if isinstance(link, JobFailed)), None):
        if isinstance(own, Expired):
            return Failure(own.code, expired=True)
        failure = _failure(own.code if own.code in CODES else "internal")
        return replace(failure, hint=own.hint) if own.hint else failure
    words = own_words(errors, trail)
    facts = [Fact.of(link) for link in errors]
    for link in errors:
        facts += trail.find_in(str(link))[1]
    rule = next((rule for rule in RULES if rule.holds(facts, words)), None)
    if rule is None:
        return Failure("internal")
    if rule.code == "unsupported_url":
        return replace(_failure(rule.code, rule.passes), hint=trail.seen)
    if rule.code != ANY_STATUS:
        failure = _failure(rule.code, rule.passes)
        return replace(failure, hint=rule.hint) if rule.hint else failure
    # The HTTP status decides.
    of_fragment = any(fact.fragment for fact in facts)
    fact = next(fact for fact in facts if rule.fits(fact))
    code = f"http_{fact.status}"
    if fact.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and trail.by_http_proxy:
        return _failure("proxy_error")
    wait = seconds(fact.retry_after)
    if fact.status in PASSING_STATUSES:
        return Failure(code, retryable=True, retry_after=wait)
    if fact.status == HTTPStatus.FORBIDDEN and wait is not None:  # a ban for too many requests
        return Failure("bot_check", retryable=True, retry_after=wait)
    # The link was valid before if bytes have come from it; so was the link of a playlist with fragments.
    was_valid = of_fragment or any(isinstance(link, BrokeOff) for link in errors)
    expired = was_valid and fact.status in EXPIRED_STATUSES
    gap = of_fragment and fact.status in MISSING
    return Failure(code, expired=expired, hint="missing_segments" if gap else None)


def is_crash(error: BaseException, code: str) -> bool:
    """Whether yt-dlp did not expect `error`, which got `code`: another release of yt-dlp may do better."""
    errors = list(chain(error))
    if any(isinstance(link, JobFailed) for link in errors):
        return code == "internal"
    unexpected = (isinstance(link, utils.ExtractorError) and not link.expected for link in errors)
    return code == "internal" or any(unexpected)


def _failure(code: str, passes: bool | None = None) -> Failure:
    fake = code == "blocked_address" and any(guard.is_fake_ip(address) for address in guard.refused)
    hint = "blocked_address_fake_ip" if fake else None
    return Failure(code, code in PASSING if passes is None else passes, hint=hint)


MAX_RETRIES: Final = 10
MAX_RETRIES_OF_GAPS: Final = 2
"""Of a fragment, if fragments that the source lacks are left out: a film may lack many."""

_RETRIES_BEFORE_ANY_BYTE: Final = 2
_SECONDS_BEFORE_ANY_BYTE: Final = 15.0
_TICK: Final = 1.0  # seconds
_FRAGMENT_SUFFIX: Final = "-Frag"


class Tries:
    """The retries of one stream, or of one of its fragments, which is written to `path`."""

    def __init__(self, path: str) -> None:
        self._stream = Path(path.partition(_FRAGMENT_SUFFIX)[0].removesuffix(".part"))
        self._began = time.monotonic()
        self._in_a_row = self._size = 0
        self.faults = 0

    def in_a_row(self, size: int) -> int:
        """Count a fault; return how many there were since the file last grew; `size` is its size in bytes."""
        self.faults += 1
        self._in_a_row = 1 if size > self._size else self._in_a_row + 1
        self._size = max(self._size, size)
        return self._in_a_row

    def left(self, error: object, most: int) -> int:
        """Return how many retries to allow after `error`, at most `most`."""
        if isinstance(error, HTTPError) and error.response.headers.get("Retry-After"):
            return 0  # the server waits until then
        if isinstance(error, Exception) and is_refused_here(error):
            return 0
        if parts.has_begun(self._stream):
            return most
        is_late = time.monotonic() - self._began > _SECONDS_BEFORE_ANY_BYTE
        return 0 if is_late else min(most, _RETRIES_BEFORE_ANY_BYTE)


def is_refused_here(error: Exception) -> bool:
    """Whether the guard blocks the address, so that a retry is useless."""
    return any(isinstance(link, guard.AddressBlocked) for link in chain(error))


def pause(first: float, longest: float, on_tick: Callable[[], None]) -> Callable[[int], float]:
    """Return a function for yt-dlp that sleeps before retry `n` (from 0): `first` seconds, doubled up to
    `longest`.

    It calls `on_tick` every second, so that the pause does not look like a stall.
    """

    def sleep(n: int) -> float:
        until = time.monotonic() + min(first * 2.0 ** min(n, 20), longest)
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _TICK))
            on_tick()
        return 0.0  # seconds that yt-dlp is to sleep as well

    return sleep
