"""What the service itself can do about a failure: which remedies a code has, and what each of them does.

What only the operator can do (a proxy, a newer yt-dlp, room) is a hint and no remedy. A remedy is offered as
long as it changes something: once the lowest quality was asked for there is no lower one.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from server.codes import PASSING_STATUSES
from server.events import Repaired
from server.models import Output, ProcessRequest, Stage, Task, TaskStatus

LATER: Final = 900.0  # seconds

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
        "http_401": ("use_cookies",),
        "http_403": ("use_cookies", "retry_later"),
        **{f"http_{status}": ("retry_later",) for status in sorted(PASSING_STATUSES)},
    }
)
"""The likeliest first. A code that is not here has none."""

NEEDS_COOKIES: Final = "use_cookies"
_OF_LISTS: Final = frozenset(("use_cookies", "without_cookies", "retry_later"))  # while they are read
_HEIGHTS: Final = (2160, 1440, 1080, 720, 480, 360)  # those that a request can name
_USUAL: Final = 1080  # where nobody knows how high the picture is


def offered(status: TaskStatus) -> list[str]:
    """Names of what can be done about how it ended.

    Of a task that failed before anybody looked for remedies, those that do not depend on what was asked for.
    """
    if status.stage is not Stage.FAILED:
        return []
    known = _fitting(status, None) if status.remedies is None else status.remedies
    return [name for name in known if name in REMEDIES]


def with_remedies(status: TaskStatus, asked: ProcessRequest | None) -> TaskStatus:
    """`status`, in which it is said what can be done, if it has failed."""
    if status.stage is not Stage.FAILED:
        return status
    return status.model_copy(update={"remedies": tuple(_fitting(status, asked))})


def event_of(name: str, task: Task) -> Repaired | None:
    """What the remedy does to the task; None if it is not offered, or nothing is left to be changed."""
    if name not in offered(task.status):
        return None
    return REMEDIES[name](task.status, task.wanted)


def _fitting(status: TaskStatus, asked: ProcessRequest | None) -> list[str]:
    names = OF_CODE.get(status.error_code or "", ())
    possible = [name for name in names if name in _OF_LISTS or not status.is_list]
    return [name for name in possible if REMEDIES[name](status, asked)]


# What each of them does; None if that would change nothing, or nobody knows. `asked` is None if that is.


def _use_cookies(status: TaskStatus, asked: ProcessRequest | None) -> Repaired:
    """Whose name comes with the request: they may have been renewed, so that the same ones may help."""
    return Repaired()


def _without_cookies(status: TaskStatus, asked: ProcessRequest | None) -> Repaired:
    return Repaired(wishes={"cookies": None})


def _without_clip(status: TaskStatus, asked: ProcessRequest | None) -> Repaired:
    return Repaired(wishes={"clip": None})


def _retry_later(status: TaskStatus, asked: ProcessRequest | None) -> Repaired:
    return Repaired(after=LATER)


def _lower_quality(status: TaskStatus, asked: ProcessRequest | None) -> Repaired | None:
    """One step, from what was asked for or from what there is, if that is lower; of sound there is one."""
    if asked is None or asked.quality == "worst" or not _wants_media(asked):
        return None
    return Repaired(wishes={"quality": _lower(status, asked), "format": None})


def _lower(status: TaskStatus, asked: ProcessRequest) -> str:
    if Output.VIDEO not in asked.outputs:
        return "worst"
    known = [status.video_info.height, int(asked.quality) if asked.quality.isdigit() else None]
    height = min((each for each in known if each), default=_USUAL)
    return next((str(lower) for lower in _HEIGHTS if lower < height), "worst")


def _any_format(status: TaskStatus, asked: ProcessRequest | None) -> Repaired | None:
    return Repaired(wishes={"format": None}) if asked and asked.format else None


def _keep_original(status: TaskStatus, asked: ProcessRequest | None) -> Repaired | None:
    """As the source has it: what needs no conversion cannot fail in one."""
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
    return _with_output(Output.AUDIO, Output.VIDEO, asked)


def _take_video(status: TaskStatus, asked: ProcessRequest | None) -> Repaired | None:
    return _with_output(Output.VIDEO, Output.AUDIO, asked)


def _with_output(taken: Output, left: Output, asked: ProcessRequest | None) -> Repaired | None:
    """`taken` in the place of `left`, beside everything else that was asked for."""
    if asked is None or left not in asked.outputs:
        return None
    others = [output.value for output in asked.outputs if output not in (taken, left)]
    return Repaired(wishes={"outputs": [taken.value, *others]})


def _record_live(status: TaskStatus, asked: ProcessRequest | None) -> Repaired:
    """Without a clip, which no broadcast has."""
    return Repaired(wishes={"live": "record", "clip": None})


def _wait_for_live(status: TaskStatus, asked: ProcessRequest | None) -> Repaired:
    return Repaired(wishes={"live": "wait", "clip": None})


def _take_list(status: TaskStatus, asked: ProcessRequest | None) -> Repaired | None:
    """Not of an entry: a list does not wait for the entries of another one."""
    return Repaired(wishes={"playlist": True}, as_list=True) if status.playlist_id is None else None


def _take_first(status: TaskStatus, asked: ProcessRequest | None) -> Repaired | None:
    return Repaired(item=1) if status.item is None else None


def _wants_media(asked: ProcessRequest) -> bool:
    return not {Output.VIDEO, Output.AUDIO}.isdisjoint(asked.outputs)


Remedy = Callable[[TaskStatus, ProcessRequest | None], Repaired | None]
REMEDIES: Final[Mapping[str, Remedy]] = MappingProxyType(
    {
        "use_cookies": _use_cookies,
        "without_cookies": _without_cookies,
        "without_clip": _without_clip,
        "retry_later": _retry_later,
        "lower_quality": _lower_quality,
        "any_format": _any_format,
        "keep_original": _keep_original,
        "automatic_subtitles": _automatic_subtitles,
        "take_audio": _take_audio,
        "take_video": _take_video,
        "take_list": _take_list,
        "take_first": _take_first,
        "record_live": _record_live,
        "wait_for_live": _wait_for_live,
    }
)
"""Name -> what it does."""
