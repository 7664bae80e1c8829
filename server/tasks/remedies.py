"""Remedies: what the service itself can do about a failure. Which ones a code has, and what each of them
does.

Where only the operator can help (a proxy, a newer yt-dlp, disk space) there is a hint and no remedy. A remedy
is offered while it can change something: `lower_quality` is not, once the lowest quality was requested.

Decisions: docs/decisions/retries.md
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from server.core.codes import PASSING_STATUSES
from server.core.events import Repaired
from server.core.process_request import Output, ProcessRequest
from server.core.task import Stage, Task, TaskStatus

RETRY_LATER_AFTER: Final = 900.0  # seconds

OF_CODE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "age_restricted": ("use_cookies",),
        "bot_check": ("use_cookies", "retry_later"),
        "connection_failed": ("retry_later",),
        "clip_out_of_range": ("without_clip",),
        "conversion_failed": ("keep_original",),
        "conversion_stalled": ("keep_original", "retry_later"),
        "cookies_missing": ("use_cookies", "without_cookies"),
        "disk_full": ("lower_quality", "retry_later"),
        "dns_error": ("retry_later",),
        "extraction_failed": ("retry_later",),
        "format_unavailable": ("any_format",),
        "incomplete": ("retry_later",),
        "is_playlist": ("take_list", "take_first"),
        "live_rejected": ("record_live",),
        "live_unsupported": ("retry_later",),
        "login_required": ("use_cookies",),
        "members_only": ("use_cookies",),
        "no_audio": ("take_video",),
        "no_subtitles": ("automatic_subtitles",),
        "no_video": ("take_audio",),
        "not_live": ("wait_for_live",),
        "out_of_memory": ("lower_quality", "retry_later"),
        "private": ("use_cookies",),
        "proxy_error": ("retry_later",),
        "redirect_loop": ("use_cookies",),
        "timeout": ("retry_later",),
        "too_large": ("lower_quality", "take_audio"),
        "too_slow": ("lower_quality", "retry_later"),
        "unavailable": ("use_cookies",),
        "unsupported_stream": ("lower_quality", "take_audio"),
        "worker_lost": ("lower_quality", "retry_later"),
        "unsupported_url": ("use_cookies", "retry_later"),
        "http_401": ("use_cookies",),
        "http_403": ("use_cookies", "retry_later"),
        "http_404": ("accept_gaps",),
        "http_410": ("accept_gaps",),
        **{f"http_{status}": ("retry_later",) for status in sorted(PASSING_STATUSES)},
    }
)
"""Error code -> names of its remedies, the likeliest to help first. A code that is not here has none."""

MISSING_SEGMENTS: Final = "missing_segments"
"""The hint of a failure for which a film lacks some of its segments."""

UNSUPPORTED: Final = "unsupported_url"
"""The code of pages without a film; what such a page says instead, if anything, is the hint."""

_WANT_COOKIES: Final = ("seen_age", "seen_captcha", "seen_login", "renew_cookies")

NEEDS_COOKIES: Final = "use_cookies"
# If reading a list failed.
_REMEDIES_OF_LISTS: Final = frozenset(("use_cookies", "without_cookies", "retry_later"))
_HEIGHTS: Final = (2160, 1440, 1080, 720, 480, 360)  # the heights that a request can name
_ASSUMED_HEIGHT: Final = 1080  # the height to assume if that of the picture is not known


def offered(status: TaskStatus) -> list[str]:
    """Return the names of the remedies for a failed task.

    For one that failed under a release without remedies: those that do not depend on its request.
    """
    if status.stage is not Stage.FAILED:
        return []
    known = _fitting(status, None) if status.remedies is None else status.remedies
    return [name for name in known if name in REMEDIES]


def with_remedies(status: TaskStatus, asked: ProcessRequest | None) -> TaskStatus:
    """Return `status`, with the names of its remedies if the task has failed."""
    if status.stage is not Stage.FAILED:
        return status
    return status.model_copy(update={"remedies": tuple(_fitting(status, asked))})


def event_of(name: str, task: Task) -> Repaired | None:
    """Return the event of the remedy for the task; None if it is not offered, or changes nothing."""
    if name not in offered(task.status):
        return None
    return REMEDIES[name](task.status, task.effective_request)


def _fitting(status: TaskStatus, asked: ProcessRequest | None) -> list[str]:
    names = OF_CODE.get(status.error_code or "", ())
    possible = [name for name in names if name in _REMEDIES_OF_LISTS or not status.is_list]
    return [name for name in possible if REMEDIES[name](status, asked)]


# Each function returns the event of its remedy; None if the remedy changes nothing, or depends on the request
# (`asked`) where that cannot be read and so is None.


def _use_cookies(status: TaskStatus, asked: ProcessRequest | None) -> Repaired | None:
    """The client names the cookies, perhaps the same as before, which may have been renewed.

    For a page without a film this is offered only if the page asks for a log-in.
    """
    if status.error_code == UNSUPPORTED and status.hint not in _WANT_COOKIES:
        return None
    return Repaired()


def _accept_gaps(status: TaskStatus, asked: ProcessRequest | None) -> Repaired | None:
    """Only if single segments are missing, and not the page or the whole film."""
    if status.hint != MISSING_SEGMENTS or status.accept_gaps:
        return None
    return Repaired(accept_gaps=True)


def _retry_later(status: TaskStatus, asked: ProcessRequest | None) -> Repaired | None:
    if status.error_code == UNSUPPORTED and status.hint != "seen_captcha":
        return None
    return Repaired(after=RETRY_LATER_AFTER)


def _lower_quality(status: TaskStatus, asked: ProcessRequest | None) -> Repaired | None:
    """Go one step below the requested or the source's height, whichever is lower; audio has one step only.

    Not where the source has one quality: the same file would come, and take as long.
    """
    if (
        status.one_quality
        or asked is None
        or asked.quality == "worst"
        or {Output.VIDEO, Output.AUDIO}.isdisjoint(asked.outputs)
    ):
        return None
    lower = "worst"
    if Output.VIDEO in asked.outputs:
        known = [status.video_info.height, int(asked.quality) if asked.quality.isdigit() else None]
        height = min((each for each in known if each), default=_ASSUMED_HEIGHT)
        lower = next((str(each) for each in _HEIGHTS if each < height), "worst")
    return Repaired(wishes={"quality": lower, "format": None})


def _keep_original(status: TaskStatus, asked: ProcessRequest | None) -> Repaired | None:
    """Keep the source's formats: without a conversion, none can fail."""
    if asked is None:
        return None
    plain: dict[str, Any] = {
        "video_format": "any",
        "audio_format": "best",
        "audio_quality": None,
        "embed_metadata": False,
        "sponsorblock": [],
        "subtitles": _subtitles(asked, embed=False),
        "clip": asked.clip and asked.clip.model_dump(mode="json") | {"exact": False},
    }
    now = asked.model_dump(mode="json")
    changed = {name: value for name, value in plain.items() if value != now[name]}
    return Repaired(wishes=changed) if changed else None


def _automatic_subtitles(status: TaskStatus, asked: ProcessRequest | None) -> Repaired | None:
    if asked is None or asked.subtitles.automatic:
        return None
    return Repaired(wishes={"subtitles": _subtitles(asked, automatic=True)})


def _subtitles(asked: ProcessRequest, **changed: bool) -> dict[str, Any]:
    return asked.subtitles.model_dump(mode="json") | changed


def _take_audio(status: TaskStatus, asked: ProcessRequest | None) -> Repaired | None:
    """Only if the sound can be downloaded without the picture: else the same bytes would be downloaded."""
    if status.sound_apart is False and status.error_code != "no_video":
        return None
    return _with_output(Output.AUDIO, Output.VIDEO, asked)


def _with_output(taken: Output, left: Output, asked: ProcessRequest | None) -> Repaired | None:
    """Ask for the output `taken` instead of `left`; the others stay."""
    if asked is None or left not in asked.outputs:
        return None
    others = [output.value for output in asked.outputs if output not in (taken, left)]
    return Repaired(wishes={"outputs": [taken.value, *others]})


Remedy = Callable[[TaskStatus, ProcessRequest | None], Repaired | None]
REMEDIES: Final[Mapping[str, Remedy]] = MappingProxyType(
    {
        "accept_gaps": _accept_gaps,
        "use_cookies": _use_cookies,
        "without_cookies": lambda _status, _asked: Repaired(wishes={"cookies": None}),
        "without_clip": lambda _status, _asked: Repaired(wishes={"clip": None}),
        "retry_later": _retry_later,
        "lower_quality": _lower_quality,
        "any_format": lambda _, asked: Repaired(wishes={"format": None}) if asked and asked.format else None,
        "keep_original": _keep_original,
        "automatic_subtitles": _automatic_subtitles,
        "take_audio": _take_audio,
        "take_video": lambda _, asked: _with_output(Output.VIDEO, Output.AUDIO, asked),
        # Not for an entry of a list: lists do not nest.
        "take_list": lambda status, _: (
            None if status.playlist_id else Repaired(wishes={"playlist": True}, as_list=True)
        ),
        "take_first": lambda status, _: Repaired(item=1) if status.item is None else None,
        # Without a clip: a broadcast cannot have one.
        "record_live": lambda _status, _asked: Repaired(wishes={"live": "record", "clip": None}),
        "wait_for_live": lambda _status, _asked: Repaired(wishes={"live": "wait", "clip": None}),
    }
)
"""Name -> the function that returns its event."""
