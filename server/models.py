"""What travels: a request in, a task's status out.

`TaskStatus` is what the store keeps and `apply` changes; `server.api.payload` turns it into the bytes
that clients see. It holds no sentences, only codes: they are put into words in the reader's language.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
)
from pydantic_core import PydanticCustomError

MAX_URL = 4096
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff\u2028\u2029]")


class Frozen(BaseModel):
    """A value: never changed, and nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stored(Frozen):
    """A value that is written to disk, where a neighbour of the next release may add to it.

    What it added is kept when the value is changed and written again.
    """

    model_config = ConfigDict(extra="allow")


class Stage(StrEnum):
    """Where a task is; `status` is the coarser word, of three, that clients are promised."""

    QUEUED = "queued"
    INFO = "info"
    DOWNLOAD = "download"
    CONVERT = "convert"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    __hash__ = str.__hash__  # an enum's own is a Python function

    @property
    def is_final(self) -> bool:
        return self in _FINAL

    @property
    def is_waiting(self) -> bool:
        """Accepted, and no child works on it: what `max_queued` counts."""
        return self in (Stage.QUEUED, Stage.PAUSED)

    @property
    def is_running(self) -> bool:
        """A child works on it, or worked on it when the server went away."""
        return self in _RUNNING

    @property
    def status(self) -> Literal["processing", "completed", "error"]:
        if self is Stage.COMPLETED:
            return "completed"
        return "error" if self.is_final else "processing"


_FINAL = frozenset((Stage.COMPLETED, Stage.FAILED, Stage.CANCELLED))
_RUNNING = frozenset((Stage.INFO, Stage.DOWNLOAD, Stage.CONVERT))


class Output(StrEnum):
    VIDEO = "video"
    AUDIO = "audio"
    THUMBNAIL = "thumbnail"


def check_url(url: str) -> str:
    """Return `url` as it was sent, or say what is wrong with it; nothing is fetched or resolved here."""
    if _CONTROL.search(url):
        raise PydanticCustomError("url_characters", "no spaces or control characters in a URL")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise PydanticCustomError("url_invalid", "not a valid URL") from None
    if parts.scheme.lower() not in ("http", "https"):
        raise PydanticCustomError("url_scheme", "the URL must begin with http:// or https://")
    if not host:
        raise PydanticCustomError("url_host", "the URL names no host")
    return url


def _distinct(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    if not outputs:
        raise PydanticCustomError("outputs_missing", "name at least one output")
    if len(set(outputs)) != len(outputs):
        raise PydanticCustomError("outputs_repeated", "name each output once")
    return outputs


def _whole(value: object) -> object:
    """JSON has no integers: `1.0` is one (JSON Schema, 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
HttpUrl = Annotated[str, Field(min_length=1, max_length=MAX_URL), AfterValidator(check_url)]


class ProcessRequest(Frozen):
    """The body of `POST /api/process`."""

    model_config = ConfigDict(strict=True, title="ProcessRequest")

    url: HttpUrl = Field(description="http or https, kept as it was sent")
    outputs: Annotated[
        tuple[Annotated[Output, Field(strict=False)], ...],
        Field(strict=False, json_schema_extra={"minItems": 1, "uniqueItems": True}),
        AfterValidator(_distinct),
    ] = Field(default=(Output.VIDEO, Output.AUDIO), description="all from one download")
    quality: Literal["best", "2160", "1440", "1080", "720", "480", "360", "worst"] = Field(
        default="best", description="height at most; if there is only higher, the lowest"
    )
    video_format: Literal["mp4", "mkv", "webm", "any"] = Field(default="mp4", description="container")
    codec: Literal["auto", "h264", "h265", "vp9", "av1"] = Field(
        default="auto", description="preferred, never re-encoded for"
    )
    audio_format: Literal["mp3", "m4a", "opus", "flac", "wav", "best"] = "mp3"
    audio_quality: Whole | None = Field(default=None, ge=8, le=512, description="kbit/s")
    audio_language: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8}){0,3}$", description="a language tag"
    )
    format: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,64}(\+[A-Za-z0-9._-]{1,64}){0,3}$",
        description="format ids as in /api/info, instead of quality and codec",
    )
    live: Literal["reject", "record"] = "reject"
    auto_start: bool = Field(default=True, description="false: begins as paused")
    preset: str | None = Field(default=None, max_length=64, description="a named set from the configuration")
    priority: Whole = Field(default=0, ge=-10, le=10, description="higher first")


class InfoRequest(Frozen):
    """The body of `POST /api/info`."""

    model_config = ConfigDict(strict=True)

    url: HttpUrl
    preset: str | None = Field(default=None, max_length=64)


class PriorityChange(Frozen):
    """The body of `PATCH /api/tasks/{task_id}`."""

    model_config = ConfigDict(strict=True)

    priority: Whole = Field(ge=-10, le=10)


class VideoInfo(Stored):
    """What the source says of itself; every field is absent until it is known."""

    title: str | None = None
    duration: NonNegativeInt | None = Field(default=None, description="whole seconds")
    uploader: str | None = None
    webpage_url: str | None = None
    extractor: str | None = None
    width: NonNegativeInt | None = None
    height: NonNegativeInt | None = None
    filesize: NonNegativeInt | None = Field(default=None, description="bytes")
    live: bool | None = Field(default=None, description="a broadcast that goes on, or went on when recorded")


class StoredFile(Stored):
    """A published file: its public `name`, and where it lies below the task's directory."""

    name: str
    path: str
    size: NonNegativeInt
    type: str


class TaskStatus(Stored):
    """Everything that is known of a task at one `revision`."""

    task_id: str
    number: NonNegativeInt = Field(default=0, description="the store's: the order of acceptance")
    url: str
    stage: Stage = Stage.QUEUED
    revision: NonNegativeInt = 1
    attempt: NonNegativeInt = 0
    priority: int = 0
    progress: int = Field(default=0, ge=0, le=100)
    created_at: datetime
    completed_at: datetime | None = None
    video_info: VideoInfo = VideoInfo()
    files: dict[str, StoredFile] = Field(default_factory=dict)
    published_at: datetime | None = Field(default=None, description="when `files` came")
    thumbnail: StoredFile | None = Field(default=None, description="the small picture")
    downloaded_bytes: NonNegativeInt | None = None
    total_bytes: NonNegativeInt | None = None
    speed: NonNegativeFloat | None = Field(default=None, description="bytes a second")
    eta: NonNegativeInt | None = Field(default=None, description="seconds")
    error_code: str | None = None
    hint: str | None = Field(default=None, description="key of a hint that fits better than the code's own")
    waiting: str | None = Field(default=None, description="why it waits in the queue, a code")
    not_before: datetime | None = Field(default=None, description="when the next attempt may begin")
    retries: NonNegativeInt = Field(default=0, description="attempts that ended in a passing fault")
    lost: NonNegativeInt = Field(default=0, description="children lost since one got further than the last")
    lost_in_all: NonNegativeInt = 0
    reached: tuple[int, int] = Field(default=(0, 0), description="the `reach` of the last attempt")

    @property
    def reach(self) -> tuple[int, int]:
        """How far this attempt has come: per cent, and bytes, which grow where no per cent do (live)."""
        return self.progress, self.downloaded_bytes or 0

    @property
    def lost_in_a_row(self) -> int:
        """Children lost before this one, none if it has come further than the last of them."""
        return 0 if self.reach > self.reached else self.lost

    @property
    def published(self) -> list[StoredFile]:
        """All that can be fetched."""
        return [*self.files.values(), *([self.thumbnail] if self.thumbnail else [])]

    @classmethod
    def new(cls, request: ProcessRequest, now: datetime) -> Self:
        return cls(
            task_id=str(uuid4()),
            url=without_password(request.url),
            priority=request.priority,
            stage=Stage.QUEUED if request.auto_start else Stage.PAUSED,
            created_at=now,
        )


@dataclass(frozen=True, slots=True)
class Task:
    """One download: what was asked for, and how far it is.

    `request` is None if it asks for something that only a newer release knows.
    """

    request: ProcessRequest | None
    status: TaskStatus

    @property
    def host(self) -> str:
        """The host name without the port: what `max_per_host` counts."""
        return (urlsplit(self.status.url).hostname or "").lower()

    @property
    def number(self) -> int:
        """Grows with each new task, whatever clocks say: the order of the queue and of lists."""
        return self.status.number


def without_password(url: str) -> str:
    """`url` less a `user:password@`, otherwise to the letter."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    bare = parts.netloc.rpartition("@")[2]
    return (
        url.replace(parts.netloc, bare, 1) if parts.netloc in url else urlunsplit(parts._replace(netloc=bare))
    )
