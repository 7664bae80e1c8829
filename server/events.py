"""What can happen to a task, and what each event does to its status.

A child writes the events of `CHILD_EVENT` as JSON, one a line; the others come from the server.
`apply` is pure: every transition can be tested without a process, a database or a clock.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal, assert_never

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, TypeAdapter

from server.models import Frozen, Stage, StoredFile, TaskStatus, VideoInfo
from server.redaction import MAX_TRACE

INFO, DOWNLOAD, ALMOST, DONE = 10, 20, 99, 100


class _Event(Frozen):
    """Children may be newer than the server (yt-dlp is swapped alone): unknown fields are passed over."""

    model_config = ConfigDict(extra="ignore")


# What a child says.


class Described(_Event):
    """The source is known; fields that are absent change nothing."""

    kind: Literal["described"] = "described"
    video_info: VideoInfo


class Previewed(_Event):
    """The small picture lies in the job's directory."""

    kind: Literal["previewed"] = "previewed"


class DownloadStarted(_Event):
    kind: Literal["download_started"] = "download_started"


class Progress(_Event):
    """`progress` is the one number over all streams, merging and converting: 20-99."""

    kind: Literal["progress"] = "progress"
    stage: Literal[Stage.DOWNLOAD, Stage.CONVERT] = Stage.DOWNLOAD
    progress: NonNegativeFloat
    downloaded_bytes: NonNegativeInt | None = None
    total_bytes: NonNegativeInt | None = None
    speed: NonNegativeFloat | None = None
    eta: NonNegativeInt | None = None


class Alive(_Event):
    """Nothing new, but work goes on: keeps `stall_timeout` away."""

    kind: Literal["alive"] = "alive"


class ProducedFile(Frozen):
    """A file that lies whole and flushed in the job's `out` directory; `path` is relative to it."""

    path: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9]{1,8}$")
    size: NonNegativeInt
    type: str


class Produced(_Event):
    """The child's last word when all went well."""

    kind: Literal["produced"] = "produced"
    files: dict[str, ProducedFile]
    video_info: VideoInfo = VideoInfo()


class Fault(Frozen):
    """A fault of this program. `id` stands in the task's log, too; `trace` is a traceback without secrets."""

    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    trace: str = Field(max_length=MAX_TRACE)


class Broken(_Event):
    """The child's last word when it did not; `code` is an `error_code`, `fault` what `internal` was."""

    kind: Literal["broken"] = "broken"
    code: str = Field(pattern=r"^[a-z0-9_]{1,64}$")
    retryable: bool = False
    retry_after: NonNegativeFloat | None = Field(default=None, description="seconds the source asked for")
    hint: str | None = Field(
        default=None, pattern=r"^[a-z0-9_]{1,64}$", description="a better one than the code's own"
    )
    fault: Fault | None = None


ChildEvent = Described | Previewed | DownloadStarted | Progress | Alive | Produced | Broken
CHILD_EVENT: TypeAdapter[ChildEvent] = TypeAdapter(Annotated[ChildEvent, Field(discriminator="kind")])

# What the server says.


class Started(_Event):
    """A child is about to be started; the next attempt begins with this."""


class Requeued(_Event):
    """Back in the queue for another attempt; `because` is a code that says what it waits for."""

    because: str | None = None
    after: NonNegativeFloat | None = None  # seconds
    counts_as_retry: bool = False
    counts_as_lost: bool = False


class Pictured(_Event):
    """The small picture is published."""

    thumbnail: StoredFile


class Completed(_Event):
    files: dict[str, StoredFile]
    video_info: VideoInfo = VideoInfo()


class Failed(_Event):
    """`fault` goes to the log, not into the status."""

    code: str
    hint: str | None = None
    fault: Fault | None = None


class Paused(_Event):
    pass


class Resumed(_Event):
    pass


class Cancelled(_Event):
    pass


class Retried(_Event):
    pass


class Prioritized(_Event):
    priority: int


Event = (
    Described
    | DownloadStarted
    | Progress
    | Started
    | Requeued
    | Pictured
    | Completed
    | Failed
    | Paused
    | Resumed
    | Cancelled
    | Retried
    | Prioritized
)

_STILL: dict[str, object] = {"downloaded_bytes": None, "total_bytes": None, "speed": None, "eta": None}
_FRESH: dict[str, object] = _STILL | {
    "progress": 0,
    "completed_at": None,
    "error_code": None,
    "hint": None,
    "waiting": None,
    "not_before": None,
}
# The files stay: they can be fetched until there are others.
_UNTRIED: dict[str, object] = {"retries": 0, "lost": 0, "lost_in_all": 0, "reached": (0, 0)}
_RETRIED: dict[str, object] = _FRESH | _UNTRIED | {"stage": Stage.QUEUED}


def apply(status: TaskStatus, event: Event, now: datetime) -> TaskStatus:
    """Return the status after `event`, or `status` itself if the event changes nothing.

    Within one attempt `progress` never falls, except to 0 with an error; a final status changes
    only by `Retried`.
    """
    change = _change(status, event, now)
    if change is None:
        return status
    return status.model_copy(update=change | {"revision": status.revision + 1})


def _change(status: TaskStatus, event: Event, now: datetime) -> dict[str, object] | None:
    stage = status.stage
    match event:
        case Retried():
            return _RETRIED if stage.is_final else None
        case Prioritized(priority=priority):
            return {"priority": priority} if priority != status.priority and not stage.is_final else None
        case _ if stage.is_final:
            return None
        case Started():
            return _started(status) if stage is not Stage.PAUSED else None
        case Described(video_info=info):
            return _described(status, info) if stage.is_running else None
        case Pictured(thumbnail=picture):
            return {"thumbnail": picture} if stage.is_running and picture != status.thumbnail else None
        case DownloadStarted():
            return {"stage": Stage.DOWNLOAD, "progress": DOWNLOAD} if stage is Stage.INFO else None
        case Progress():
            return _progress(status, event) if stage in (Stage.DOWNLOAD, Stage.CONVERT) else None
        case Requeued():
            return _requeued(status, event, now) if stage is not Stage.PAUSED else None
        case Completed(files=files, video_info=info):
            return _completed(files, now) | {"video_info": merged(status.video_info, info)}
        case Failed(code=code, hint=hint):
            return _ended(Stage.FAILED, now) | {"error_code": code, "hint": hint}
        case Cancelled():
            return _ended(Stage.CANCELLED, now) | {"error_code": "cancelled"}
        case Paused():
            return _STILL | {"stage": Stage.PAUSED, "waiting": None} if stage is not Stage.PAUSED else None
        case Resumed():
            return {"stage": Stage.QUEUED, "not_before": None} if stage is Stage.PAUSED else None
        case _:
            assert_never(event)


def _started(status: TaskStatus) -> dict[str, object]:
    info = status.video_info.model_copy(update={"live": None})  # it may be over by now
    return _FRESH | {
        "stage": Stage.INFO,
        "attempt": status.attempt + 1,
        "progress": INFO,
        "video_info": info,
    }


def _described(status: TaskStatus, info: VideoInfo) -> dict[str, object] | None:
    known = merged(status.video_info, info)
    return {"video_info": known} if known != status.video_info else None


def _progress(status: TaskStatus, event: Progress) -> dict[str, object] | None:
    stage = Stage.CONVERT if status.stage is Stage.CONVERT else Stage(event.stage)
    change: dict[str, object] = _STILL | {
        "stage": stage,
        "progress": max(status.progress, min(int(event.progress), ALMOST)),
    }
    if stage is Stage.DOWNLOAD:
        change |= event.model_dump(include=set(_STILL))
    unchanged = all(getattr(status, name) == value for name, value in change.items())
    return None if unchanged else change


def _requeued(status: TaskStatus, event: Requeued, now: datetime) -> dict[str, object] | None:
    change: dict[str, object] = _STILL | {
        "stage": Stage.QUEUED,
        "waiting": event.because,
        "not_before": None if event.after is None else now + timedelta(seconds=event.after),
        "retries": status.retries + event.counts_as_retry,
        "lost": status.lost_in_a_row + event.counts_as_lost,
        "lost_in_all": status.lost_in_all + event.counts_as_lost,
        "reached": status.reach if status.stage.is_running else status.reached,
    }
    unchanged = all(getattr(status, name) == value for name, value in change.items())
    return None if unchanged else change


def _ended(stage: Stage, now: datetime) -> dict[str, object]:
    return _FRESH | {"stage": stage, "completed_at": now}


def _completed(files: dict[str, StoredFile], now: datetime) -> dict[str, object]:
    return _ended(Stage.COMPLETED, now) | {"progress": DONE, "files": files, "published_at": now}


def merged(known: VideoInfo, news: VideoInfo) -> VideoInfo:
    """`known` with what `news` knows better."""
    return known.model_copy(update=news.model_dump(exclude_none=True))
