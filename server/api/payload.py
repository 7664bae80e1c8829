"""The payload of a task: its fields, and how a status becomes its bytes, once for each revision and language.

`TaskPayload` makes the JSON that polls, WebSockets, lists and the response to a submit all send, its schema
in the OpenAPI description, and the table in `docs/api.md`. The API contract sets the order of the fields.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from server.core.film import StoredFile, VideoInfo
from server.core.task import InLibrary, Stage, TaskStatus
from server.locales import LANGUAGES, Catalogue
from server.tasks.next_attempt import NOT_LIVE_YET
from server.tasks.remedies import offered

MAX_KEPT = 1024  # cached payloads, of two kilobytes each with their frames

# Marks the fields that were added to the nine of the first version of this API.
ADDED: dict[str, Any] = {"x-added": True}
Bytes = Annotated[int, Field(ge=0, description="bytes")]
Instant = Annotated[
    str, Field(description="UTC, `YYYY-MM-DDTHH:MM:SSZ`", json_schema_extra={"format": "date-time"})
]


def _without_links(schema: dict[str, Any]) -> None:
    """Remove links from descriptions: they lead to parts of `docs/api.md` that the OpenAPI
    description lacks.
    """
    for field in schema.get("properties", {}).values():
        if "description" in field:
            field["description"] = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", field["description"])


def instant(seconds: float) -> str:
    """Return seconds since 1970 in the form of all times in answers."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19] + "Z"


class Answer(BaseModel):
    """A JSON answer, which later releases may extend. A field with the default None is left out, never
    `null`.
    """

    model_config = ConfigDict(extra="ignore", json_schema_extra=_without_links, defer_build=True)


class FileInfo(Answer):
    size: Bytes
    type: str = Field(description="media type")
    sha256: str | None = Field(None, description="of the content, in hexadecimal digits, where it is known")
    title: str | None = Field(None, description="of a chapter, where it has one")
    codec: str | None = Field(
        None,
        description="of its picture, or of its sound if it has none, as ffmpeg calls it; where it is known",
    )


class EntryCounts(Answer):
    total: int = Field(ge=0, description="tasks that were made, more while the list is read")
    completed: int = Field(ge=0)
    failed: int = Field(ge=0, description="ended otherwise: failed, cancelled, or removed before their end")
    truncated: Literal[True] | None = Field(None, description="there were more than downloads.max_playlist")


class LibraryPlace(Answer):
    state: Literal["waiting", "placed"]
    reason: Literal["away", "full", "blocked", "files_gone"] | None = Field(
        None,
        description=(
            "what keeps it from being placed: the library's folder is away, its disk is full, a file, a link "
            "or a folder that cannot be written is in the way, or the task's files are not there any more"
        ),
    )
    path: str | None = Field(None, description="what is in the way; without it, the library's own folder")
    paths: list[str] = Field(description="below `library.path`, films first")

    @classmethod
    def of(cls, library: InLibrary) -> Self:
        return cls(state=library.state, reason=library.reason, path=library.path, paths=list(library.paths))


class TaskPayload(Answer):
    """One task, the same everywhere: polled, pushed, listed. Keep the one with the highest `revision`.

    The description of a field that is not always there begins with when it is there, up to the first colon.
    """

    task_id: str
    status: Literal["processing", "completed", "error"] = Field(
        description="`processing`, `completed` or `error`"
    )
    progress: int = Field(
        ge=0,
        le=100,
        description=(
            "percent: 0 accepted, 10 reading metadata, 20 the download starts, 20-99 downloading all "
            "streams, merging and converting, 100 only with `completed`; never decreases within one attempt, "
            "except to 0 with `error`"
        ),
    )
    message: str = Field(description="one sentence, see [Languages](#languages)")
    created_at: Instant = Field(description="`YYYY-MM-DDTHH:MM:SSZ`")
    completed_at: Instant | None = Field(
        None, description="with `completed` or `error`: the end of the task, in the same format"
    )
    video_info: VideoInfo = Field(
        description=(
            "metadata of the source, may be empty: `title`, `duration` (whole seconds; of a clip, but of the "
            "film if the task failed), `uploader`, `webpage_url`, `extractor`, `width`, `height`, `filesize` "
            "(bytes); `live` is `true` during a broadcast, and stays `true` for a recording; `cut` is `true` "
            "if the files are only a part of the film (a [clip](#clips), or [without "
            "sponsors](#without-sponsors)): then times in the files differ from times in the film; `id` and "
            "`extractor_key` say what it is at its source, where [the library](#library) knows it by them; "
            "`channel`, `channel_id`, `published_at` (UTC; a day alone where the source says no more)"
        )
    )
    files: dict[str, str] = Field(
        description=(
            "kind (`video`, `audio`, `thumbnail`, `subtitle.<language>`, `chapter.<n>`) -> link; during a "
            "retry the old links stay until the task has completed"
        )
    )
    error: str | None = Field(None, description="with `error`: the cause, in one short sentence")
    url: str = Field(description="as it was sent, without `user:password@`", json_schema_extra=ADDED)
    stage: Stage = Field(description="see [Stages](#stages)", json_schema_extra=ADDED)
    revision: int = Field(
        description="increases with every change of the task, also across attempts and restarts",
        json_schema_extra=ADDED | {"minimum": 1},
    )
    priority: int = Field(
        description="-10 to 10, higher first", json_schema_extra=ADDED | {"minimum": -10, "maximum": 10}
    )
    attempt: int = Field(
        ge=0,
        description="0 before the first attempt; increases with each start of an attempt",
        json_schema_extra=ADDED,
    )
    downloaded_bytes: Bytes | None = Field(
        None,
        description="while downloading, where known: bytes of all streams together",
        json_schema_extra=ADDED,
    )
    total_bytes: Bytes | None = Field(
        None,
        description="while downloading, where known: the same, only if the exact size is known",
        json_schema_extra=ADDED,
    )
    speed: float | None = Field(
        None, ge=0, description="while downloading, where known: bytes a second", json_schema_extra=ADDED
    )
    eta: int | None = Field(
        None, ge=0, description="while downloading, where known: seconds left", json_schema_extra=ADDED
    )
    file_info: dict[str, FileInfo] = Field(
        description=(
            'kind -> `{"size": bytes, "type": media type, "sha256": of the content, where it is known, '
            '"title": of a chapter, "codec": of its picture or else of its sound, where it is known}`; '
            "has the keys of `files`"
        ),
        json_schema_extra=ADDED,
    )
    number: int = Field(
        description=(
            "order of acceptance: newer tasks have higher numbers, even if a clock was changed. Sort by this "
            "field, not by `created_at`"
        ),
        json_schema_extra=ADDED | {"minimum": 1},
    )
    thumbnail: str | None = Field(
        None,
        description=(
            "once there is one: link to a [thumbnail](#get-apitaskstask_idthumbnail); without this field "
            "there is none to fetch yet"
        ),
        json_schema_extra=ADDED,
    )
    waiting: str | None = Field(
        None,
        description=(
            "while `queued` for a reason, or held up: why the task waits. `disk_full`: there is not enough "
            "disk space; `over_limit`: its [person](#people) has used up the bytes of a day; `host_busy`: "
            "it is the next task of its host, of which `max_per_host` run already; `host_paused`: another "
            "task of a subscription has just begun to download from its host; `host_held`: the host of a "
            "subscription has refused too many requests, or wants a log-in, and is left alone for a while; "
            "`next_attempt`: the last attempt ended with a transient fault; `newer_release`: the request "
            "uses something that only a newer release of the service knows; `not_live_yet`: the broadcast "
            "has not begun; `rate_window`: the task is in `download`, but the rate limit [at this "
            "hour](configuration.md#hours-with-another-rate) is 0; `scheduled`: `start_at` has not come; "
            "`storage_away`: the bucket for finished files does not answer (the task may also be in "
            "`download` or `convert`: its files are there and cannot be uploaded), or "
            "the server's data directory is not there"
        ),
        json_schema_extra=ADDED,
    )
    not_before: Instant | None = Field(
        None,
        description=(
            "while `queued` or held, where known: the earliest time at which the task may begin or go on; "
            "from then on it waits for its turn in the queue. With `not_live_yet`, the announced beginning "
            "of the broadcast"
        ),
        json_schema_extra=ADDED,
    )
    playlist_id: str | None = Field(
        None,
        description="on an entry of a [list](#lists): the `task_id` of the list",
        json_schema_extra=ADDED,
    )
    entries: EntryCounts | None = Field(
        None,
        description=(
            'on a list: `{"total", "completed", "failed"}`, and `"truncated": true` if the list has more '
            "entries than `downloads.max_playlist`"
        ),
        json_schema_extra=ADDED,
    )
    error_code: str | None = Field(
        None,
        description="with `error`: a stable word, see [Failed tasks](#failed-tasks)",
        json_schema_extra=ADDED,
    )
    hint: str | None = Field(
        None,
        description=(
            "with `error` or `completed`, where one is known: what the user can do about the error; or what "
            "a completed task leaves out: of a page with several videos without being a [list](#lists), the "
            "first is downloaded; after the remedy `accept_gaps`, segments are missing; of more than 200 "
            "languages of subtitles, the first 200 are taken"
        ),
        json_schema_extra=ADDED,
    )
    remedies: list[str] | None = Field(
        None,
        description=(
            "with `error`, where there are any: names of the [remedies](#get-apitaskstask_idremedies) that "
            "the service offers for this error, the most promising first"
        ),
        json_schema_extra=ADDED,
    )
    cookies: str | None = Field(
        None,
        description=(
            "if the last attempt used stored cookies: the name of the [stored cookies](#get-apicookies)"
        ),
        json_schema_extra=ADDED,
    )
    rank: int | None = Field(
        None,
        description=(
            "if the task was moved: the queue is sorted by `rank` (higher first; 0 if absent), then by "
            "`priority` (higher first), then by `number`: see [`position`](#patch-apitaskstask_id)"
        ),
        json_schema_extra=ADDED,
    )
    started_at: str | None = Field(
        None,
        description="while an attempt downloads or converts: when its download began",
        json_schema_extra=ADDED,
    )
    subscription_id: str | None = Field(
        None,
        description="on a task of a [subscription](#subscriptions): its id",
        json_schema_extra=ADDED,
    )
    library: LibraryPlace | None = Field(
        None,
        description=(
            'on a task whose files go into [the library](#library): `{"state": "waiting"` or `"placed", '
            '"paths": [...]}`, the first 50 paths below `library.path`, films first. It becomes `placed` '
            "after the task is completed; `reason` says what keeps it from that, and `path` where it is"
        ),
        json_schema_extra=ADDED,
    )
    created_by: str | None = Field(
        None,
        description="if a [person](#people) has asked for it: the name of this person",
        json_schema_extra=ADDED,
    )
    owner: str | None = Field(
        None,
        description=(
            "with `access.separate_lists`, where an admin reads it: the [person](#people) whose task it is, "
            "if it is somebody's"
        ),
        json_schema_extra=ADDED,
    )

    @classmethod
    def of(
        cls, status: TaskStatus, words: Catalogue, base_path: str = "", *, tells_owner: bool = False
    ) -> Self:
        """The payload of `status`: texts in the language of `words`, links below `base_path`.

        The payload is not validated: the bounds are part of the schema only, and older stored statuses may
        exceed them.
        """
        stage, entries = status.stage, status.entries
        waits = stage is Stage.QUEUED or status.is_held or status.awaits_storage
        if stage is Stage.FAILED:
            message = words.failed(status.error_code or "internal")
        else:
            message = words.texts.stage[stage]
            if waits and status.waiting and (reason := words.waiting(status.waiting)):
                message = f"{message} {reason}"
        # Never send a time before `created_at`, which another server may have set by a clock that was ahead.
        completed_at = status.completed_at and max(status.completed_at, status.created_at)
        # A wait for a broadcast ends at its announced beginning, not with the next check of its source.
        wait_ends = status.begins_at if status.waiting == NOT_LIVE_YET else status.not_before
        # The hint tells how to remedy an error, or what a completed task lacks.
        has_hint = status.error_code or stage is Stage.COMPLETED
        hint = (status.hint or status.error_code) if has_hint else None
        payload = cls.__new__(cls)  # without validation, which would be the slowest part of a submit
        vars(payload).update(
            task_id=status.task_id,
            status=stage.status,
            progress=status.progress,
            message=message,
            created_at=_instant(status.created_at),
            completed_at=_instant(completed_at) if completed_at else None,
            video_info=status.video_info.without_unknown_fields(),
            files={kind: link_to(file, base_path) for kind, file in status.files.items()},
            error=words.error(status.error_code) if status.error_code else None,
            url=status.url,
            stage=stage,
            revision=status.revision,
            priority=status.priority,
            attempt=status.attempt,
            downloaded_bytes=status.downloaded_bytes,
            total_bytes=status.total_bytes,
            speed=status.speed,
            eta=status.eta,
            file_info={
                kind: FileInfo(
                    size=file.size, type=file.type, sha256=file.sha256, title=file.title, codec=file.codec
                )
                for kind, file in status.files.items()
            },
            number=status.number,
            thumbnail=f"{base_path}/api/tasks/{status.task_id}/thumbnail" if status.thumbnail else None,
            waiting=status.waiting if waits else None,
            not_before=_instant(wait_ends) if waits and wait_ends else None,
            playlist_id=status.playlist_id,
            entries=EntryCounts(
                total=entries.total,
                completed=entries.completed,
                failed=entries.failed,
                truncated=entries.truncated or None,
            )
            if entries
            else None,
            error_code=status.error_code,
            hint=words.hint(hint, status.cookies) if hint else None,
            remedies=(offered(status) or None) if stage is Stage.FAILED else None,
            cookies=status.cookies,
            rank=status.rank or None,
            started_at=_instant(status.started_at) if status.started_at else None,
            subscription_id=status.subscription_id,
            library=LibraryPlace.of(status.library)
            if status.library and not (stage.has_failed and not status.library.paths)
            else None,
            created_by=status.created_by,
            owner=status.owner if tells_owner else None,
        )
        return payload


@dataclass(slots=True)
class Payload:
    revision: int
    body: bytes
    etag: str
    is_last: bool  # the task has ended
    _frame: bytes = b""
    _chunk: bytes = b""
    _chunk_number: int = 0

    @property
    def frame(self) -> bytes:
        """`body` as a WebSocket text message, made on first use."""
        if not self._frame:
            self._frame = text_frame(self.body)
        return self._frame

    def chunk(self, number: int) -> bytes:
        """`body` as a chunk with a server-sent event of this `id`, made once for all streams."""
        if self._chunk_number != number:
            self._chunk, self._chunk_number = chunk(event(self.body, number)), number
        return self._chunk


class Encoder:
    """Encodes statuses as payloads, with a cache; links to files begin with `base_path`.

    `tells_owner`: payloads that are sent to admins name the owner of the task.
    """

    def __init__(self, base_path: str = "", *, tells_owner: bool = False) -> None:
        self.tells_owner = tells_owner
        self._base_path = base_path
        base = hashlib.sha256(base_path.encode()).hexdigest()[:4] if base_path else ""
        # Form of a payload -> its language, whether it names the owner, and the end of its ETag.
        self._forms = {
            form_of(name, tells_owner=tells): (catalogue, tells, f"{name}-{catalogue.tag}{base}{'o' * tells}")
            for name, catalogue in LANGUAGES.items()
            for tells in (False, True)
        }
        self._kept: dict[tuple[str, str], Payload] = {}
        self._latest: dict[str, tuple[TaskStatus, Payload]] = {}

    def shared(self, status: TaskStatus, form: str) -> Payload:
        """Like `encode`, but faster when thousands of WebSockets ask for the same status in a row."""
        latest = self._latest.get(form)
        if latest is None or latest[0] is not status:
            latest = self._latest[form] = status, self.encode(status, form)
        return latest[1]

    def encode(self, status: TaskStatus, form: str) -> Payload:
        """Return the payload of `status`; `form` is a language, or the result of `form_of`."""
        key = (status.task_id, form)
        kept = self._kept.get(key)
        if kept is not None and kept.revision == status.revision:
            return kept
        if kept is None and len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        words, tells_owner, tag = self._forms[form]
        model = TaskPayload.of(status, words, self._base_path, tells_owner=tells_owner)
        body = model.__pydantic_serializer__.to_json(model, exclude_none=True)
        etag = f'"{status.revision}-{tag}"'
        payload = Payload(status.revision, body, etag, status.stage.is_final)
        self._kept[key] = payload
        return payload


def form_of(language: str, *, tells_owner: bool) -> str:
    """Return the form in which `Encoder` makes a payload: that for admins names the task's owner."""
    return f"{language}+owner" if tells_owner else language


def dumps(value: object) -> bytes:
    """Compact JSON in UTF-8, without escapes for non-ASCII characters."""
    return to_json(value)


def event(body: bytes, number: int | str) -> bytes:
    """`body`, which has no line breaks, as a server-sent event with the `id` `number`."""
    return b"id: %b\ndata: %b\n\n" % (str(number).encode(), body)


def chunk(data: bytes) -> bytes:
    """A chunk of a response without a known length (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def text_frame(body: bytes) -> bytes:
    """`body` as an unmasked WebSocket text message in one frame (RFC 6455, section 5.2)."""
    size = len(body)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + body
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + body
    return b"\x81\x7f" + size.to_bytes(8, "big") + body


def link_to(file: StoredFile, base: str) -> str:
    """Return the download link of `file`. `base` is the prefix of the proxy; for an absolute link, with the
    origin before it.
    """
    return f"{base}/api/download/{file.name}"


def _instant(moment: datetime) -> str:
    return moment.isoformat()[:19] + "Z"  # ten times as fast as strftime
