"""The schemas of responses, for the OpenAPI description only: nothing is validated with them at run time.

A field with the default None is optional in a response: it is left out if it does not apply, never `null`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.core.models import Stage, VideoInfo

# Marks the fields that were added to the nine that the first version of this API promised.
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
    sha256: str | None = Field(None, description="of the content, in hexadecimal digits, where it is known")
    title: str | None = Field(None, description="of a chapter, where it has one")


class EntryCounts(Answer):
    total: int = Field(ge=0, description="tasks that were made, more while the list is read")
    completed: int = Field(ge=0)
    failed: int = Field(ge=0, description="ended otherwise: failed, cancelled, or removed before their end")
    truncated: Literal[True] | None = Field(None, description="there were more than downloads.max_playlist")


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
    files: dict[str, str] = Field(
        description="kind -> link: `video`, `audio`, `thumbnail`, `subtitle.<language>`, `chapter.<n>`"
    )
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
    waiting: str | None = Field(
        None, description="while `queued` or held: what for, a code", json_schema_extra=ADDED
    )
    not_before: Instant | None = Field(
        None,
        description="while `queued` or held: when it may begin or go on, or its broadcast begins",
        json_schema_extra=ADDED,
    )
    playlist_id: str | None = Field(
        None, description="of an entry: the `task_id` of its list", json_schema_extra=ADDED
    )
    entries: EntryCounts | None = Field(
        None, description="of a list: how far its entries are", json_schema_extra=ADDED
    )
    error_code: str | None = Field(None, description="with `error`: a stable word", json_schema_extra=ADDED)
    hint: str | None = Field(
        None,
        description="with `error`: what the reader can do about it; with `completed`: what was left out",
        json_schema_extra=ADDED,
    )
    remedies: list[str] | None = Field(
        None,
        description="with `error`: what the service itself can do about it, the likeliest first",
        json_schema_extra=ADDED,
    )
    cookies: str | None = Field(
        None, description="the name of the cookies that its last attempt was given", json_schema_extra=ADDED
    )
    rank: int | None = Field(
        None,
        description="where it was moved: the queue goes by `rank` (0 if it is left out), then by `priority`",
        json_schema_extra=ADDED,
    )


class Remedies(Answer):
    remedies: list[str] = Field(description="their names, the likeliest first")
    texts: dict[str, str] = Field(description="name -> what it does, in a sentence for the reader")


class CookieFile(Answer):
    name: str
    hosts: list[str] = Field(description="in alphabetical order, at most 100")
    count: int = Field(ge=0, description="of cookies")
    expired: int = Field(ge=0, description="of them")
    expires_at: Instant | None = Field(None, description="when the next of them expires, or the last did")


class CookieList(Answer):
    cookies: list[CookieFile]


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
    language: str | None = Field(None, description="of the sound")
    filesize: Bytes | None = Field(None, description="as the source says it")
    filesize_approx: Bytes | None = Field(
        None, description="where that is not known: about so many, from what is said of the rate"
    )
    tbr: float | None = Field(None, description="kbit/s")
    note: str | None = None


class Chapter(Answer):
    title: str | None = None
    start: Seconds | None = None
    end: Seconds | None = None


class Entry(Answer):
    index: int = Field(ge=1, description="its place in the list, for `playlist_items` of POST /api/process")
    title: str | None = None
    url: str | None = Field(None, description="left out if it is found within the list alone")
    duration: int | None = Field(None, ge=0, description="seconds")
    uploader: str | None = None


class Info(Answer):
    """What a link offers; formats, languages, chapters and a page of entries are at most 500 each."""

    title: str | None = None
    duration: int | None = Field(None, ge=0, description="whole seconds")
    uploader: str | None = None
    webpage_url: str | None = None
    extractor: str | None = None
    live: bool | None = Field(None, description="`true`: a broadcast that goes on")
    live_status: Literal["is_live", "is_upcoming", "was_live", "post_live", "not_live"] | None = None
    begins_at: Instant | None = Field(None, description="of a broadcast: when it begins, or began")
    thumbnail: str | None = Field(None, description="a small JPEG as a `data:` URL")
    formats: list[Format] | None = None
    subtitles: dict[str, list[str]] | None = Field(None, description="language -> file types")
    automatic_subtitles: dict[str, list[str]] | None = Field(
        None, description="the same for what is recognized or translated by a machine"
    )
    chapters: list[Chapter] | None = None
    total_entries: int | None = Field(
        None, ge=1, description="of a list, where the source says or it was read to its end"
    )
    entries: list[Entry] | None = Field(None, description="one page of a list")
    next_cursor: str | None = Field(None, description="the `cursor` of the next page, if there is one")
    truncated: Literal[True] | None = Field(
        None, description="the list goes on, but `downloads.max_playlist` entries are the most"
    )


class SessionState(Answer):
    login_required: bool = Field(description="tokens are set: without one nothing else is answered")
    logged_in: bool = Field(description="the cookie that was sent is that of a session")


class Health(Answer):
    status: Literal["ok"]


class CheckReport(Answer):
    ok: bool
    needed: bool = Field(description="without it the service does not work")
    detail: str = Field(description="in the reader's language")
    values: dict[str, int] | None = Field(None, description="the numbers in `detail`, where there are any")


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
    request_id: str = Field(description="`X-Request-Id` of this response")
    errors: list[WrongField] | None = Field(
        None, description="`invalid_request`: what is wrong, of elements and unknown fields the first 20"
    )
    id: str | None = Field(None, description="`internal`: stands in the log beside the cause")
    error_code: str | None = Field(None, description="`source_refused`: what a task would have ended with")
    error: str | None = Field(None, description="`source_refused`: the cause in one short sentence")
    hint: str | None = Field(None, description="`source_refused`: what the reader can do about it")


class Result(Answer):
    """What one of many wishes led to: what it would have been answered with by itself."""

    status: int = Field(ge=200, le=599, description="of HTTP")
    task: TaskPayload | None = Field(None, description="if it succeeded and there is something to show")
    problem: Problem | None = Field(None, description="if not")


class Results(Answer):
    results: list[Result] = Field(description="in the order of the wishes")


class ActionResults(Results):
    more: bool | None = Field(None, description="`true`: there are others that fit; ask again for them")


class QueueState(Answer):
    paused: bool = Field(description="nothing begins until it is resumed")
    stages: dict[Stage, int] = Field(description="how many tasks are in each")


class PresetList(Answer):
    presets: dict[str, dict[str, Any]] = Field(description="name -> fields of POST /api/process")
