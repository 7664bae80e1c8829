"""What went wrong, as a code: exceptions and texts of yt-dlp, ffmpeg and the network -> `error_code`.

yt-dlp wraps, chains and sometimes flattens its errors into text. So the whole chain is looked at for
a class that speaks for itself, and only then the text is searched.
"""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from yt_dlp import utils
from yt_dlp.networking import exceptions as network

from server.child.network import guard
from server.child.process.failed import OF_ERRNO, JobFailed
from server.codes import CODES, PASSING, Code

PASSING_STATUSES = frozenset((408, 425, 429, 500, 502, 503, 504))
LONGEST_WAIT = 86_400.0

_CLASSES: tuple[tuple[type[BaseException], Code], ...] = (
    (guard.AddressBlocked, "blocked_address"),
    (MemoryError, "out_of_memory"),
    (utils.GeoRestrictedError, "geo_restricted"),
    (utils.UnsupportedError, "unsupported_url"),
    (network.NoSupportingHandlers, "unsupported_url"),
    (utils.UserNotLive, "not_live"),
    (network.CertificateVerifyError, "tls_error"),
    (network.ProxyError, "proxy_error"),
)
# Only where yt-dlp has no class for it; matched on the lowered message, first come first served.
_BOT_CHECK = r"not a bot|captcha|anti-bot"
_TEXTS: tuple[tuple[Code, str], ...] = (
    ("drm_protected", r"drm.protect"),
    (
        "not_live",
        r"will begin (in|shortly)|premieres (in|shortly)|not currently live|(stream|channel) is offline",
    ),
    (
        "unsupported_stream",
        r"reaches the network by itself|initialization fragment found after|rtmpdump|mplayer",
    ),
    ("age_restricted", r"confirm your age|age.restricted|inappropriate for some users"),
    ("members_only", r"members.only|join this channel"),
    ("private", r"private video|(video|playlist) is private"),
    ("login_required", r"--cookies|registered users|login required|sign in|log in"),
    ("geo_restricted", r"(not available|blocked) (in|from) your (country|location|region)|geo.?restrict"),
    ("format_unavailable", r"requested format is not available"),
    ("no_media", r"no video formats found|no media found|there is no video"),
    (
        "unavailable",
        r"video unavailable|has been removed|no longer available|does not exist|is not available",
    ),
    ("unsupported_url", r"(unsupported|invalid|invalid ipv6) url|is not a valid (url|host)|file:// urls"),
    ("unsupported_url", r"unable to handle request|no connection adapters were found"),
    ("disk_full", r"no space left on device|disk quota exceeded"),
    ("too_large", r"file too large|larger than max-filesize"),
    ("ffmpeg_missing", r"ffmpeg (is )?not (found|installed)|ffmpeg is missing"),
    ("redirect_loop", r"redirect loop|too many redirects"),
    ("timeout", r"timed out"),
    ("dns_error", r"failed to resolve|getaddrinfo|name or service not known|name resolution"),
)
_LATER_TEXTS: tuple[tuple[Code, str], ...] = (
    (
        "incomplete",
        r"did not get any data|more expected|bytes read|contenttooshort|connection broken|empty|fragment",
    ),
    ("connection_failed", r"connection|refused|reset|unreachable|remote end closed"),
)


@dataclass(frozen=True, slots=True)
class Failure:
    code: str
    retryable: bool = False
    retry_after: float | None = None
    hint: str | None = None


def classify(error: BaseException, refusals: Sequence[network.HTTPError] = ()) -> Failure:
    """Return what `error` comes down to.

    `refusals` are the HTTP errors met on the way, oldest first: where yt-dlp kept only their text,
    they still know the Retry-After header.
    """
    chain = list(_chain(error))
    text = " ".join(str(link) for link in chain).lower()
    code = _own_code(chain) or _code_of_classes(chain) or _code_of_errno(chain)
    if code:
        return Failure(code, code in PASSING, hint=_hint(code))
    if re.search(_BOT_CHECK, text):  # sites say so with a 403 or 429
        return Failure("bot_check", retryable=True)
    refusal = next((link for link in chain if isinstance(link, network.HTTPError)), None)
    return _refused(refusal, text, refusals) or _from_text(chain, text)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and all that it wraps, outermost first."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        link = waiting.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        wrapped = getattr(link, "exc_info", None)
        waiting += wrapped if isinstance(wrapped, tuple) else ()
        waiting += (getattr(link, "cause", None), getattr(link, "reason", None))
        waiting += (link.__cause__, link.__context__, *link.args)


def _hint(code: str) -> str | None:
    """A better hint than the one of the code itself, where the reason is known more exactly."""
    fake = code == "blocked_address" and any(guard.is_fake_ip(address) for address in guard.refused)
    return "blocked_address_fake_ip" if fake else None


def _own_code(chain: list[BaseException]) -> Code | None:
    code = next((link.code for link in chain if isinstance(link, JobFailed)), None)
    return code if code is None or code in CODES else "internal"


def _code_of_classes(chain: list[BaseException]) -> Code | None:
    for kind, code in _CLASSES:
        if any(isinstance(link, kind) for link in chain):
            return code
    return None


def _code_of_errno(chain: list[BaseException]) -> Code | None:
    numbers = [link.errno for link in chain if isinstance(link, OSError)]
    return next((OF_ERRNO[number] for number in numbers if number in OF_ERRNO), None)


def _refused(
    refusal: network.HTTPError | None, text: str, refusals: Sequence[network.HTTPError]
) -> Failure | None:
    """What the source's own HTTP status says."""
    found = re.search(r"http error (\d{3})", text)
    if refusal is None and found:
        status = int(found[1])
        refusal = next((past for past in reversed(refusals) if past.status == status), None)
    if refusal is None:
        return _of_status(int(found[1]), None) if found else None
    if getattr(refusal, "redirect_loop", False):
        return Failure("redirect_loop")
    return _of_status(refusal.status, refusal.response.headers.get("Retry-After"))


def _of_status(status: int, retry_after: str | None) -> Failure:
    if status not in PASSING_STATUSES:
        return Failure(f"http_{status}")
    return Failure(f"http_{status}", retryable=True, retry_after=seconds(retry_after))


def seconds(retry_after: str | None) -> float | None:
    """A Retry-After header (RFC 9110, 10.2.3) as seconds from now, at most a day."""
    if retry_after is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}\s*", retry_after):
        return min(float(retry_after), LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(retry_after).timestamp()
    except ValueError:
        return None
    return min(max(moment - time.time(), 0.0), LONGEST_WAIT)


def _from_text(chain: list[BaseException], text: str) -> Failure:
    if guard.refused and "blocked" in text:
        return Failure("blocked_address", hint=_hint("blocked_address"))
    for code, pattern in _TEXTS:
        if re.search(pattern, text):
            # A name server that is out of reach comes back; a name that does not exist does not.
            return Failure(code, code in PASSING or (code == "dns_error" and "temporary failure" in text))
    return _from_remaining(chain, text)


def _from_remaining(chain: list[BaseException], text: str) -> Failure:
    def among(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) for link in chain)

    code = next((code for code, pattern in _LATER_TEXTS if re.search(pattern, text)), None)
    if among(utils.PostProcessingError):
        code = "conversion_failed"
    elif among(network.SSLError):
        code = "tls_error"
    elif among(network.IncompleteRead, utils.ContentTooShortError):
        code = "incomplete"
    elif among(network.TransportError):
        code = "connection_failed"
    elif not among(utils.YoutubeDLError, network.RequestError, OSError):
        code = "internal"
    elif code is None:
        code = "extraction_failed"
    return Failure(code, code in PASSING)
