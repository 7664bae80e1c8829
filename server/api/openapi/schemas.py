"""The shapes of answers, for the OpenAPI description: nothing is validated with them at run time.

A field with the default None does not apply sometimes; then it is left out, never `null`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.models import Stage, VideoInfo

# Beyond the nine fields that clients of the first version of this API were promised.
ADDED: dict[str, Any] = {"x-added": True}
Bytes = Annotated[int, Field(ge=0, description="bytes")]
Seconds = Annotated[float, Field(ge=0, description="seconds")]
Instant = Annotated[
    str, Field(description="UTC, `YYYY-MM-DDTHH:MM:SSZ`", json_schema_extra={"format": "date-time"})
]


class Answer(BaseModel):
    """May grow by more fields."""

    model_config = ConfigDict(extra="ignore")


class FileInfo(Answer):
    size: Bytes
    type: str = Field(description="media type")


class TaskPayload(Answer):
    """One task, the same everywhere: polled, pushed, listed. Keep the one with the highest `revision`."""

    task_id: str
    status: Literal["processing", "completed", "error"]
    progress: int = Field(
        ge=0, le=100, description="never falls within one attempt, except to 0 with `error`"
    )
    message: str = Field(description="one sentence in the reader's language")
    created_at: Instant
    completed_at: Instant | None = Field(None, description="with `completed` or `error`")
    video_info: VideoInfo = Field(description="what is known of the source, perhaps nothing")
    files: dict[str, str] = Field(description="kind -> link: `video`, `audio`, `thumbnail`")
    error: str | None = Field(None, description="with `error`: the cause in one short sentence")
    url: str = Field(description="as it was sent, without a password", json_schema_extra=ADDED)
    stage: Stage = Field(description="where the task is, finer than `status`", json_schema_extra=ADDED)
    revision: int = Field(ge=1, description="grows with every change", json_schema_extra=ADDED)
    priority: int = Field(ge=-10, le=10, description="higher first", json_schema_extra=ADDED)
    attempt: int = Field(ge=0, description="0 while it never ran", json_schema_extra=ADDED)
    downloaded_bytes: Bytes | None = Field(None, json_schema_extra=ADDED)
    total_bytes: Bytes | None = Field(
        None, description="only if it is known for sure", json_schema_extra=ADDED
    )
    speed: float | None = Field(None, ge=0, description="bytes a second", json_schema_extra=ADDED)
    eta: int | None = Field(None, ge=0, description="seconds", json_schema_extra=ADDED)
    file_info: dict[str, FileInfo] = Field(description="has the keys of `files`", json_schema_extra=ADDED)
    number: int = Field(ge=1, description="the order of acceptance: newer is higher", json_schema_extra=ADDED)
    thumbnail: str | None = Field(
        None, description="link to the small picture, once there is one", json_schema_extra=ADDED
    )
    waiting: str | None = Field(None, description="while `queued`: what for, a code", json_schema_extra=ADDED)
    not_before: Instant | None = Field(
        None, description="while `queued`: when it may begin", json_schema_extra=ADDED
    )
    error_code: str | None = Field(None, description="with `error`: a stable word", json_schema_extra=ADDED)
    hint: str | None = Field(None, description="what the reader can do about it", json_schema_extra=ADDED)


class TaskPage(Answer):
    tasks: list[TaskPayload]
    next_cursor: str | None = Field(None, description="the last page has none")


class Format(Answer):
    format_id: str | None = Field(None, description="for `format` of POST /api/process")
    ext: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    vcodec: str | None = None
    acodec: str | None = None
    filesize: Bytes | None = None
    tbr: float | None = Field(None, description="kbit/s")
    note: str | None = None


class Chapter(Answer):
    title: str | None = None
    start: Seconds | None = None
    end: Seconds | None = None


class Entry(Answer):
    title: str | None = None
    url: str | None = None
    duration: int | None = Field(None, ge=0, description="seconds")


class Info(Answer):
    """What a link offers; lists hold at most 500 entries."""

    title: str | None = None
    duration: int | None = Field(None, ge=0, description="whole seconds")
    uploader: str | None = None
    webpage_url: str | None = None
    extractor: str | None = None
    live: bool | None = Field(None, description="`true`: a broadcast that goes on")
    thumbnail: str | None = Field(None, description="a small JPEG as a `data:` URL")
    formats: list[Format] | None = None
    subtitles: dict[str, list[str]] | None = Field(None, description="language -> file types")
    chapters: list[Chapter] | None = None
    entries: list[Entry] | None = Field(None, description="of a playlist")


class SessionState(Answer):
    login_required: bool = Field(description="tokens are set: without one nothing else is answered")
    logged_in: bool = Field(description="the cookie that was sent is that of a session")


class Health(Answer):
    status: Literal["ok"]


class CheckReport(Answer):
    ok: bool
    needed: bool = Field(description="without it the service does not work")
    detail: str


class ReadinessReport(Answer):
    status: Literal["ready", "not ready"]
    checks: dict[str, CheckReport]


class WrongField(Answer):
    field: str = Field(description="`outputs.0`: the first element of `outputs`; empty: the body itself")
    message: str


class Problem(Answer):
    """An error (RFC 9457). Texts are in the reader's language and may change, codes may not."""

    type: str = Field(
        description="leads to the explanation of `code`", json_schema_extra={"format": "uri-reference"}
    )
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    code: str
    errors: list[WrongField] | None = Field(None, description="`invalid_request`: all that is wrong")
    id: str | None = Field(None, description="`internal`: stands in the log beside the cause")
    error_code: str | None = Field(None, description="`source_refused`: what a task would have ended with")
    error: str | None = Field(None, description="`source_refused`: the cause in one short sentence")
    hint: str | None = Field(None, description="`source_refused`: what the reader can do about it")
