"""A task: its request, its status, and what the queue knows of one that waits in it.

The store keeps a `TaskStatus` and `server.core.events.apply` changes it; `server.api.payload` encodes it for
clients. A status holds codes, not sentences: the payload has the texts in the client's language.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from os import urandom
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, ValidationError

from server.core.film import About, ListedInfo, StoredFile, Thumbnail, VideoInfo
from server.core.list_entries import Entries, ListEntry
from server.core.process_request import ProcessRequest
from server.core.values import Stored, host_of, without_password


class Stage(StrEnum):
    """The stage of a task; `status` is the coarser word, of three, that the API promises to clients."""

    QUEUED = "queued"
    INFO = "info"
    DOWNLOAD = "download"
    CONVERT = "convert"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    __hash__ = str.__hash__  # faster than `Enum.__hash__`, which is a Python function

    status: Literal["processing", "completed", "error"]
    is_final: bool
    has_failed: bool
    is_waiting: bool
    """The task has not ended and no child works on it. `max_queued` limits the number of such tasks."""
    is_running: bool
    """A child works on the task, or did so when the server ended."""

    def __init__(self, word: str) -> None:
        self.has_failed = word in ("failed", "cancelled")
        self.is_final = self.has_failed or word == "completed"
        self.is_waiting = word in ("queued", "paused")
        self.is_running = not (self.is_final or self.is_waiting)
        self.status = "error" if self.has_failed else "completed" if self.is_final else "processing"


class InLibrary(Stored):
    """Which files of a task the library has, and for which `reason` it has none yet.

    Paths are relative to the library's folder; `path` is the one that is blocked, None if it is that folder.
    """

    state: Literal["waiting", "placed"] = "waiting"
    reason: Literal["away", "full", "blocked", "files_gone"] | None = None
    path: str | None = None
    paths: tuple[str, ...] = ()


OF_ONE_RANK = 100  # distance of two ranks in `urgency`: more than the range of priorities, -10 to 10
SCHEDULED = "scheduled"
"""`TaskStatus.waiting` of a task until its `start_at`."""
DISK_FULL = "disk_full"
"""`TaskStatus.waiting` of a task while the disk has no room for it."""
OVER_LIMIT = "over_limit"
"""`TaskStatus.waiting` of a task whose person has used up the bytes of a day."""
HOST_BUSY = "host_busy"
"""`TaskStatus.waiting` of the next task of a host while `max_per_host` of its tasks run."""
RATE_WINDOW = "rate_window"
"""`TaskStatus.waiting` of a running download while `rate_windows` allow no bytes."""
STORAGE_AWAY = "storage_away"
"""`TaskStatus.waiting` of a task while the bucket for finished files, or the data directory, is away."""


class Bookkeeping(Stored):
    """The part of a status that the server needs for itself; clients never get it."""

    # About its attempts so far, which decide on the next one (`server.tasks.next_attempt`).
    got: NonNegativeInt = Field(default=0, description="the most bytes that have come")
    got_before: NonNegativeInt = Field(default=0, description="`got` when this attempt began")
    quiet: NonNegativeFloat = Field(default=0, description="seconds of attempts and delays since `got` grew")
    faults: NonNegativeInt = Field(default=0, description="attempts that ended in a fault since `got` grew")
    retries: NonNegativeInt = Field(default=0, description="those faults that count as retries")
    lost: NonNegativeInt = Field(
        default=0, description="children lost since an attempt got further than the one before"
    )
    lost_in_all: NonNegativeInt = 0
    reached: tuple[int, int] = Field(default=(0, 0), description="the `reach` of the last attempt")
    delay: NonNegativeFloat | None = Field(
        default=None, description="seconds from which `not_before` was worked out"
    )
    looks: NonNegativeInt = Field(default=0, description="checks in a row of a broadcast that has not begun")
    begins_at: datetime | None = Field(
        default=None, description="when the broadcast is to begin, as announced"
    )
    needs: NonNegativeInt | None = Field(
        default=None, description="bytes on the disk at once that its last attempt needed and did not find"
    )

    # What request, remedies and actions ask of the next attempt.
    request_id: str = Field(default="", description="`X-Request-Id` of the request that made it, for the log")
    start_at: datetime | None = Field(default=None, description="when its first attempt may begin")
    amended: dict[str, Any] = Field(
        default_factory=dict, description="fields of its request that remedies have changed, as in JSON"
    )
    accept_gaps: bool = Field(
        default=False, description="a remedy: segments that its source lacks are left out of the film"
    )
    start_asked: bool = Field(
        default=False, description="a client wants it to begin, whatever else of its subscription waits"
    )
    finish_asked: bool = Field(
        default=False, description="a client has ended its recording: no later attempt goes on with it"
    )
    item: NonNegativeInt | None = Field(
        default=None,
        description="the task's video is entry number `item` at `url`; None: it is all that is there",
    )
    says: ListedInfo | None = Field(default=None, description="what its list says of its entry")

    # What the last attempt has found out.
    film_duration: NonNegativeInt | None = Field(
        default=None, description="seconds of all of the film where `video_info` is of a clip; 0: not known"
    )
    sound_apart: bool | None = Field(
        default=None, description="whether its source has the sound without the picture, too"
    )
    one_quality: bool | None = Field(
        default=None, description="whether its source has one picture and one sound to choose from, at most"
    )
    fetched: NonNegativeInt | None = Field(
        default=None, description="bytes of the file of which `files` were made, if it was a single one"
    )
    published_at: datetime | None = Field(default=None, description="when `files` were published")
    archive_ids: tuple[str, ...] = Field(
        default=(), description="earlier ids of its video at the source, as in yt-dlp's archives"
    )
    about: About | None = Field(default=None, description="of the film, when it is completed")

    # About lists: the place of an entry in its list; a list's counts of its entries.
    playlist_index: NonNegativeInt | None = Field(
        default=None, description="its place, from 1 on, among the entries found; unique in its list"
    )
    lists: tuple[str, ...] = Field(
        default=(), description="the links of the lists that led to an entry, its own list's first"
    )
    counted_in: tuple[str, ...] = Field(
        default=(), description="other lists, made with `reuse`, that count it as their entry until it ends"
    )
    shares: tuple[str, ...] = Field(
        default=(), description="of a list with `reuse`: tasks of others that it counts as its entries"
    )
    scope: str | None = Field(default=None, description="of a list: names the token whose tasks it may share")
    expanded: bool = Field(default=False, description="all entries of the list are tasks")
    unfolded: NonNegativeInt = Field(
        default=0, description="how many of a list's entries came from lists in it, rather than from itself"
    )
    list_action: NonNegativeInt = Field(
        default=0, description="the last action on its list that it has taken, see `server.core.entry_status`"
    )
    paused_alone: bool = Field(
        default=False, description="whether a paused entry was paused by itself, not with its list"
    )

    @property
    def gained(self) -> bool:
        """Whether this attempt has downloaded more bytes than any attempt before it."""
        return self.got > self.got_before

    def with_nothing_gained(self) -> Self:
        return self.model_copy(update={"got_before": self.got})

    @property
    def faults_in_a_row(self) -> int:
        """Failed attempts directly before this one; 0 once this one has `gained` bytes."""
        return 0 if self.gained else self.faults

    @property
    def retries_in_a_row(self) -> int:
        """Those of `faults_in_a_row` that count against `downloads.retries`."""
        return 0 if self.gained else self.retries

    @property
    def awaits_broadcast(self) -> bool:
        """Whether the source has announced a broadcast that has not begun."""
        return self.looks > 0

    def until_its_start(self, wall: datetime) -> dict[str, object]:
        """The changes to a queued status while `start_at` is later than `wall` (`Clock.wall`); else empty."""
        if self.start_at is None or self.start_at <= wall:
            return {}
        return {"waiting": SCHEDULED, "not_before": self.start_at}


class TaskStatus(Bookkeeping):
    """Everything that is known of a task at one `revision`. Clients get the fields that are defined here.

    It is stored as one flat JSON object, together with the fields of its `Bookkeeping`.
    """

    task_id: str
    number: NonNegativeInt = Field(
        default=0, exclude=True, description="the order of acceptance; set by the store, where it is a column"
    )
    url: str
    stage: Stage = Stage.QUEUED
    revision: NonNegativeInt = 1
    attempt: NonNegativeInt = 0
    priority: int = 0
    rank: int = Field(
        default=0, description="counts before `priority`: set when the task was moved in the queue"
    )
    progress: int = Field(default=0, ge=0, le=100)
    created_at: datetime
    completed_at: datetime | None = None
    video_info: VideoInfo = VideoInfo()
    files: dict[str, StoredFile] = Field(default_factory=dict)
    thumbnail: Thumbnail | None = Field(default=None, description="the small picture")
    downloaded_bytes: NonNegativeInt | None = None
    total_bytes: NonNegativeInt | None = None
    speed: NonNegativeFloat | None = Field(default=None, description="bytes a second")
    eta: NonNegativeInt | None = Field(default=None, description="seconds")
    error_code: str | None = None
    hint: str | None = Field(
        default=None,
        description="key of a hint: better than the error code's own, or what a completed task leaves out",
    )
    cookies: str | None = Field(default=None, description="the name of those that its last attempt was given")
    waiting: str | None = Field(default=None, description="why it waits in the queue, or is held; a code")
    not_before: datetime | None = Field(
        default=None, description="when the next attempt may begin, or it go on"
    )
    playlist_id: str | None = Field(default=None, description="the list of which it is an entry")
    subscription_id: str | None = Field(default=None, description="the subscription that made it")
    library: InLibrary | None = Field(default=None, description="of one whose files go into the library")
    entries: Entries | None = Field(default=None, description="of a list")
    started_at: datetime | None = Field(
        default=None, description="when the attempt that runs began to download"
    )
    created_by: str | None = Field(default=None, description="the name of the person who has asked for it")
    owner: str | None = Field(
        default=None, description="the name of the person whose task it is, also a column; None: nobody's"
    )
    remedies: tuple[str, ...] | None = Field(
        default=None, description="names of what could be done about its failure; None: nobody has looked"
    )

    @property
    def reach(self) -> tuple[int, int]:
        """Return how far this attempt has come: per cent, and bytes, since a live recording has no
        percentage.
        """
        return self.progress, self.downloaded_bytes or 0

    @property
    def lost_in_a_row(self) -> int:
        """Return how many children were lost directly before this one; 0 once this attempt has come further
        than the last.
        """
        return 0 if self.reach > self.reached else self.lost

    @property
    def urgency(self) -> int:
        """The queue is ordered by this number, the highest first, and then by age."""
        return self.rank * OF_ONE_RANK + self.priority

    @property
    def is_held(self) -> bool:
        """Whether a running download may fetch no bytes because of `rate_windows`."""
        return self.stage is Stage.DOWNLOAD and self.waiting == RATE_WINDOW

    @property
    def awaits_storage(self) -> bool:
        """Whether the files of a running task cannot be uploaded for now."""
        return self.stage.is_running and self.waiting == STORAGE_AWAY

    @property
    def awaits_entries(self) -> bool:
        """Whether this is a list that has been read completely, and ends with the last of its entries."""
        return self.expanded and not self.stage.is_final

    @property
    def host(self) -> str:
        """The host name in lower case, without the port, by which `max_per_host` counts."""
        return host_of(self.url)

    @property
    def lists_it_is_in(self) -> tuple[str, ...]:
        """The ids of the lists of which the task is an entry."""
        return (self.playlist_id, *self.counted_in) if self.playlist_id else self.counted_in

    @property
    def entries_read(self) -> int:
        """How many entries a list's own child has found so far."""
        return self.entries.total - self.unfolded if self.entries else 0

    @property
    def is_list(self) -> bool:
        return self.entries is not None

    @property
    def needs_no_child(self) -> bool:
        """Whether no child will use the partial files of earlier attempts."""
        return self.stage is Stage.COMPLETED or self.expanded

    @property
    def published_files(self) -> list[StoredFile]:
        """All downloadable files, with the thumbnail in its sizes."""
        small = self.thumbnail.small if self.thumbnail else None
        return [*self.files.values(), *(picture for picture in (self.thumbnail, small) if picture)]

    def give_number(self, number: int) -> None:
        """Set the number in place while the task is added: nobody else refers to it yet, and a copy would
        take as long as making the task.
        """
        self.__dict__["number"] = number
        self.__pydantic_fields_set__.add("number")

    @classmethod
    def new(
        cls, request: ProcessRequest, now: datetime, wall: datetime | None = None, request_id: str = ""
    ) -> "TaskStatus":
        """Return the status of a new task. `wall` is the time with which `start_at` is compared, by default
        `now`.
        """
        change: dict[str, object] = {
            "task_id": _new_id(),
            "url": without_password(request.url) if "@" in request.url else request.url,
            "priority": request.priority,
            "stage": Stage.QUEUED if request.auto_start else Stage.PAUSED,
            "created_at": now,
        }
        if request_id:
            change["request_id"] = request_id
        if request.start_at:
            change["start_at"] = request.start_at
        if request.playlist:
            change["entries"] = Entries()
        elif request.library:
            change["library"] = InLibrary()
        if request.title:
            change["video_info"] = VideoInfo(title=request.title)
        # The values come from a valid request, so validation is skipped.
        status = _EMPTY.model_copy(update=change)
        if request.auto_start and request.start_at:
            return status.model_copy(update=status.until_its_start(wall or now))
        return status

    @classmethod
    def of_entry(
        cls,
        playlist: "TaskStatus",
        found: ListEntry,
        now: datetime,
        index: int | None = None,
        lists: tuple[str, ...] = (),
        *,
        library: bool = False,
    ) -> Self:
        """Return a new task for an entry `found` in `playlist`, with the list's priority and rank.

        `index` is its place among the list's tasks, `lists` are the lists in `playlist` that led to it;
        `library` says that its files go there.
        """
        return cls(
            task_id=_new_id(),
            url=found.shown_url,
            priority=playlist.priority,
            rank=playlist.rank,
            request_id=playlist.request_id,
            created_at=now,
            video_info=found.video_info,
            playlist_id=playlist.task_id,
            playlist_index=found.index if index is None else index,
            lists=lists or (playlist.url,),
            item=found.item,
            says=found.says,
            **({"library": InLibrary()} if library else {}),
            **({"owner": playlist.owner} if playlist.owner else {}),
            **({"created_by": playlist.created_by} if playlist.created_by else {}),
            **({"list_action": playlist.list_action} if playlist.list_action else {}),
        )


def _new_id() -> str:
    """Return a random UUID of version 4 (RFC 9562), for half of what `uuid4` and its text cost."""
    digits = urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


_EMPTY = TaskStatus(task_id="", url="", created_at=datetime.min.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Task:
    """A request and its status; `request` is None if only a newer release can read it.

    `row` is the status as it is stored, if the task is an entry that has not taken all actions on its list.
    """

    request: ProcessRequest | None
    status: TaskStatus
    row: TaskStatus | None = None

    @property
    def effective_request(self) -> ProcessRequest | None:
        """The request with the changes of remedies; None if this release cannot read them.

        Fields that only a newer release knows are ignored; their values are kept with the status.
        """
        if self.request is None or not self.status.amended:
            return self.request
        try:
            amended = self.request.model_dump(mode="json") | self.status.amended
            return ProcessRequest.model_validate(amended, extra="ignore")
        except ValidationError:
            return None


class Queued(NamedTuple):
    """What the queue needs to know of a waiting task. A tuple, since a start of the server makes one for each
    task.
    """

    task_id: str
    number: int
    urgency: int
    revision: int
    host: str
    waiting: str | None = None
    not_before: datetime | None = None
    begins_at: datetime | None = None
    playlist_id: str | None = None
    list_action: int = 0
    owner: str | None = None
    is_list: bool = False

    @classmethod
    def of(cls, status: TaskStatus) -> Self:
        return cls(
            status.task_id,
            status.number,
            status.urgency,
            status.revision,
            host_of(status.url),
            status.waiting,
            status.not_before,
            status.begins_at,
            status.playlist_id,
            status.list_action,
            status.owner,
            status.is_list,
        )
