"""Every `error_code` that a failed task can have, for the server and its children, which import no pydantic.

In addition `http_<status>` stands for a source's HTTP status where no better code fits. A new code also needs
a text in every catalogue of `server/locales` and a row in docs/api.md; tests check both. No test reminds you
of these: remedies (`server/tasks/remedies.py`), when a subscription tries again
(`server/subscriptions/subscription.py`), what is waited for (`server/tasks/next_attempt.py`), whether the
page offers another attempt (`static/js/row/actions.js`).
"""

from typing import Final, Literal, get_args

ASKS: Final = ("is_playlist", "live_rejected", "not_live")
"""A task that failed so only asks its reader something: which entries, or whether to record."""

Passing = Literal[
    "bot_check",
    "connection_failed",
    "conversion_stalled",
    "disk_full",
    "extraction_failed",
    "incomplete",
    "proxy_error",
    "timeout",
    "too_slow",
    "worker_lost",
]
"""Another attempt may help."""

Lasting = Literal[
    "age_restricted",
    "blocked_address",
    "clip_out_of_range",
    "conversion_failed",
    "dns_error",
    "drm_protected",
    "empty_list",
    "ffmpeg_missing",
    "format_unavailable",
    "geo_restricted",
    "internal",
    "is_playlist",
    "live_rejected",
    "live_unsupported",
    "login_required",
    "members_only",
    "no_audio",
    "no_list",
    "no_media",
    "no_subtitles",
    "no_such_entry",
    "no_thumbnail",
    "no_video",
    "not_live",
    "out_of_memory",
    "page_too_large",
    "pattern_invalid",
    "pattern_too_slow",
    "private",
    "redirect_loop",
    "tls_error",
    "too_large",
    "unavailable",
    "unsupported_stream",
    "unsupported_url",
]

OfTheServer = Literal["cancelled", "cookies_missing", "entries_failed", "source_gone"]
"""Only the server sets these; no child reports them."""

Code = Passing | Lasting
"""The codes that a child may report; mypy checks every `JobFailed` and every rule against this type."""

PASSING_STATUSES: Final[frozenset[int]] = frozenset(
    (408, 425, 429, 500, 502, 503, 504, *range(520, 528), 530)
)
"""HTTP statuses after which another attempt may help."""

PASSING: Final[frozenset[str]] = frozenset(get_args(Passing))
REFUSES_ALL: Final[frozenset[str]] = frozenset(("http_429", "bot_check"))
"""What a host answers, whatever it is asked for, while it wants to be left alone."""

CODES: Final[frozenset[str]] = PASSING | frozenset(get_args(Lasting))
OF_THE_SERVER: Final[frozenset[str]] = frozenset(get_args(OfTheServer))
