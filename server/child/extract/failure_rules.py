"""Which fault has which code: one table, of which the first rule that holds decides.

A rule tests the class of an exception and its detail, an error number, or yt-dlp's own message (see
`server.child.extract.error_wording`), from which links and ids are removed: they decide nothing.
"""

import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from yt_dlp import utils
from yt_dlp.networking import exceptions as network

from server.child.extract.exception_facts import Fact
from server.child.network import guard
from server.child.process.job_failed import OF_ERRNO
from server.core.codes import Code

ANY_STATUS: Final = "http"
"""Stands for `http_<status>`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Holds if yt-dlp's message matches `says`; without `says`, if all other fields are true of one `Fact`.

    `passes` says whether another attempt may help, where the code alone (`PASSING`) would say otherwise.
    """

    code: Code | Literal["http"]
    kinds: tuple[type[BaseException], ...] = ()
    errno: int | None = None
    detail: str = ""
    reading: bool = False
    wall: bool = False
    says: re.Pattern[str] | None = None
    passes: bool | None = None

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
    ("unsupported_stream", r"reaches the network by itself|initialization fragment found after"),
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
_NOTHING_CAME = r"did not get any data|fragment \d+ not found|file is empty|content too short"
# OpenSSL's reasons where others cut off a TLS connection.
_CUT = "UNEXPECTED_EOF|.*BAD_RECORD_MAC|RECORD_LAYER_FAILURE"
# Python's messages for malformed URLs.
_NO_URL = "Invalid IPv6 URL|Port (out of range|could not be cast)|netloc .* contains invalid|.* IPv4 or IPv6"

RULES: Final[tuple[Rule, ...]] = (
    # Refusals of the guard, and faults of this machine.
    Rule("blocked_address", (guard.AddressBlocked,)),
    Rule("out_of_memory", (MemoryError,)),
    *(Rule(code, errno=number) for number, code in OF_ERRNO.items()),
    # yt-dlp's own exceptions and messages.
    Rule("geo_restricted", (utils.GeoRestrictedError,)),
    Rule("not_live", (utils.UserNotLive,)),
    Rule("unsupported_url", (utils.UnsupportedError, network.NoSupportingHandlers)),
    *(Rule(code, says=re.compile(pattern)) for code, pattern in _WORDS),
    # HTTP responses.
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
    Rule("no_media", (ValueError,), detail="Incorrect AES key length"),
    Rule("incomplete", (ValueError,), detail="Data must be padded"),  # an encrypted segment is cut off
    Rule("unsupported_url", (UnicodeError,), detail=".*'idna' codec|label empty or too long"),
    Rule("unsupported_url", (network.RequestError,)),
    # Everything else.
    Rule("conversion_failed", (utils.PostProcessingError,)),
    Rule("incomplete", says=re.compile(_NOTHING_CAME)),
    Rule("extraction_failed", (utils.YoutubeDLError, OSError)),
)
