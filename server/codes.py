"""Every code that a failed task can have, for the server and for its children, who import no pydantic.

Beside them there is `http_<status>`, for what a source answered where no better code fits. A new code also
needs words in every catalogue and a row in docs/api.md; tests hold all of them together.
"""

from typing import Final, Literal, get_args

Passing = Literal[
    "bot_check",
    "connection_failed",
    "disk_full",
    "extraction_failed",
    "incomplete",
    "proxy_error",
    "timeout",
    "worker_lost",
]
"""Another attempt may help."""

Lasting = Literal[
    "age_restricted",
    "blocked_address",
    "conversion_failed",
    "dns_error",
    "drm_protected",
    "ffmpeg_missing",
    "format_unavailable",
    "geo_restricted",
    "internal",
    "live_rejected",
    "live_unsupported",
    "login_required",
    "members_only",
    "no_audio",
    "no_media",
    "no_thumbnail",
    "no_video",
    "not_live",
    "out_of_memory",
    "page_too_large",
    "private",
    "redirect_loop",
    "tls_error",
    "too_large",
    "unavailable",
    "unsupported_stream",
    "unsupported_url",
]

OfTheServer = Literal["cancelled"]
"""No child says this."""

Code = Passing | Lasting
"""What a child may end in; mypy holds every `JobFailed` and every rule to it."""

PASSING: Final[frozenset[str]] = frozenset(get_args(Passing))
CODES: Final[frozenset[str]] = PASSING | frozenset(get_args(Lasting))
OF_THE_SERVER: Final[frozenset[str]] = frozenset(get_args(OfTheServer))
