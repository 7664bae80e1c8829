"""The events of a task, and the state machine that applies them to its status.

A child writes the events of `CHILD_EVENT` as JSON, one a line; the server makes the others.
`apply` is pure: every transition can be tested without a process, a database or a clock.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self, assert_never

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, TypeAdapter

from server.core.film import About, Manifest, StoredFile, Thumbnail, VideoInfo
from server.core.jobs import MOST_OF_AN_ORDER
from server.core.list_entries import Entries, ListEntry
from server.core.media_keys import MOST_ALIASES
from server.core.principal import scope_of_person
from server.core.redaction import MAX_TRACE
from server.core.task import HOST_BUSY, RATE_WINDOW, STORAGE_AWAY, InLibrary, Stage, TaskStatus
from server.core.values import Frozen

INFO, DOWNLOAD, ALMOST, DONE = 10, 20, 99, 100
LAST_MOMENT = 253_402_300_799  # the last second of the year 9999


class _Event(Frozen):
    """Unknown fields are ignored: a child may be newer than the server, since yt-dlp is updated by itself."""

    model_config = ConfigDict(extra="ignore")


# Events of a child.


class Described(_Event):
    """What the source says of its film; fields of `video_info` that are None change nothing.

    `film_duration` is in seconds, of the whole film if `video_info` is of a clip; 0 if it is unknown.
    `sound_apart`: the sound can be fetched without the picture; `one_quality`: there is no other quality to
    choose; None if that is unknown. `starts`: the download begins now, as if `DownloadStarted` followed,
    which saves one write to the database.
    """

    kind: Literal["described"] = "described"
    video_info: VideoInfo
    hint: str | None = Field(
        default=None, pattern=r"^[a-z0-9_]{1,64}$", description="what is left out, for when it is completed"
    )
    film_duration: NonNegativeInt | None = None
    sound_apart: bool | None = None
    one_quality: bool | None = None
    archive_ids: tuple[Annotated[str, Field(max_length=500)], ...] | None = Field(
        default=None, max_length=MOST_ALIASES
    )
    starts: bool = False


class Previewed(_Event):
    """The thumbnail is in the job's directory."""

    kind: Literal["previewed"] = "previewed"


class SpaceNeeded(_Event):
    """The bytes that the job's directory will hold at most at one time, as far as the source gives sizes."""

    kind: Literal["needs"] = "needs"
    needs: NonNegativeInt


class DownloadStarted(_Event):
    kind: Literal["download_started"] = "download_started"


class Progress(_Event):
    """`progress` is one percentage (20-99) over all streams, merging and converting."""

    kind: Literal["progress"] = "progress"
    stage: Literal[Stage.DOWNLOAD, Stage.CONVERT] = Stage.DOWNLOAD
    progress: NonNegativeFloat
    downloaded_bytes: NonNegativeInt | None = None
    total_bytes: NonNegativeInt | None = None
    speed: NonNegativeFloat | None = None
    eta: NonNegativeInt | None = None


class RateWindowHold(_Event):
    """The download pauses because of `rate_windows` (`held`), or continues. The server adds `until`."""

    kind: Literal["held"] = "held"
    held: bool
    until: datetime | None = None


class Uploading(_Event):
    """The bucket for finished files does not answer (`away`), or answers again. No child sends this event."""

    away: bool


class Alive(_Event):
    """A heartbeat, so that `stall_timeout` does not end an attempt that has nothing to report."""

    kind: Literal["alive"] = "alive"


class ProducedFile(Frozen):
    """A complete file, flushed to disk, in the job's `out` directory; `path` is relative to `out`."""

    path: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9]{1,8}$")
    size: NonNegativeInt
    type: str
    title: str | None = Field(default=None, max_length=1000, description="of a chapter")
    codec: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9_]{1,40}$",
        description="of its picture, or of its sound if it has none",
    )
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    crc32: int | None = Field(default=None, ge=0, lt=1 << 32)


class EntriesFound(_Event):
    """The next entries of a list, in order; `ListEntry.index` counts on from those found before, from 1."""

    kind: Literal["found"] = "found"
    entries: tuple[ListEntry, ...]


class Expanded(_Event):
    """The last event of a list's child: all entries are reported or, `truncated`, as many as are allowed."""

    kind: Literal["expanded"] = "expanded"
    truncated: bool = False


class Produced(_Event):
    """The last event of a successful child."""

    kind: Literal["produced"] = "produced"
    files: dict[Annotated[str, Field(pattern=r"^[a-z]+(\.[A-Za-z0-9-]{1,30})?$")], ProducedFile]
    video_info: VideoInfo = VideoInfo()
    fetched: NonNegativeInt | None = Field(default=None, description="see `Manifest`")
    about: About | None = None


class Fault(Frozen):
    """A bug of this program. The task's log has the same `id`; `trace` is a traceback without secrets."""

    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    trace: str = Field(max_length=MAX_TRACE)


class Renewed(_Event):
    """The source has changed cookies; `cookies` is a cookie file with all that the job has now."""

    kind: Literal["renewed"] = "renewed"
    cookies: str = Field(repr=False)


class Learned(_Event):
    """A YouTube player puts the characters of a signature in this order, see `server.tasks.job_builder`."""

    kind: Literal["learned"] = "learned"
    player: str
    order: tuple[int, ...] = Field(max_length=MOST_OF_AN_ORDER)


class Broken(_Event):
    """The last event of a failed child; `code` is an `error_code`, `fault` describes an `internal` one."""

    kind: Literal["broken"] = "broken"
    code: str = Field(pattern=r"^[a-z0-9_]{1,64}$")
    retryable: bool = False
    expired: bool = Field(default=False, description="a link on the page has expired")
    retry_after: NonNegativeFloat | None = Field(default=None, description="seconds the source asked for")
    begins_at: NonNegativeFloat | None = Field(
        default=None,
        le=LAST_MOMENT,
        description="of `not_live`: when the broadcast begins, in seconds since 1970",
    )
    hint: str | None = Field(
        default=None, pattern=r"^[a-z0-9_]{1,64}$", description="a better one than the code's own"
    )
    fault: Fault | None = None
    crashed: bool = Field(default=False, description="yt-dlp did not expect what happened")
    after_hold: bool = Field(
        default=False, description="set by the server: the download was held, and no byte has come since"
    )


ChildEvent = (
    Described
    | Previewed
    | SpaceNeeded
    | DownloadStarted
    | Progress
    | RateWindowHold
    | Alive
    | Renewed
    | Learned
    | EntriesFound
    | Expanded
    | Produced
    | Broken
)
CHILD_EVENT: TypeAdapter[ChildEvent] = TypeAdapter(
    Annotated[ChildEvent, Field(discriminator="kind")],
    config=ConfigDict(hide_input_in_errors=True, defer_build=True),  # an event may contain cookies
)

# Events that the server makes.


class Started(_Event):
    """An attempt begins: a child is about to start, with the stored cookie file named `cookies`."""

    cookies: str | None = None


class Requeued(_Event):
    """The task returns to the queue for another attempt; `because` is a code for what it waits for."""

    because: str | None = None
    after: NonNegativeFloat | None = None  # seconds
    in_vain: NonNegativeFloat | None = Field(
        default=None, description="after a fault: seconds that the attempt and the delay take"
    )
    begins_at: datetime | None = Field(
        default=None, description="when the broadcast is to begin that has not begun yet, if that is known"
    )
    looked: bool = Field(
        default=False, description="the broadcast was checked, so earlier faults do not count any more"
    )
    crept: bool = Field(default=False, description="so few bytes have come that they do not count")
    counts_as_retry: bool = False
    counts_as_lost: bool = False


class Pictured(_Event):
    """The thumbnail is published."""

    thumbnail: Thumbnail


class Completed(_Event):
    files: dict[str, StoredFile]
    video_info: VideoInfo = VideoInfo()
    fetched: NonNegativeInt | None = None
    about: About | None = None

    @classmethod
    def by(cls, manifest: Manifest) -> Self:
        return cls(
            files=manifest.files,
            video_info=manifest.video_info,
            fetched=manifest.fetched,
            about=manifest.about,
        )


class Placed(_Event):
    """The files of a completed task that the library has now; `library` is None if they were deleted there.

    Before its end, a task accepts only the event that says that its files are to go into the library.
    """

    library: InLibrary | None


class OwnerChanged(_Event):
    """The task is another person's from now on, or nobody's."""

    owner: str | None


class Failed(_Event):
    """`fault` goes to the log, not into the status."""

    code: str
    hint: str | None = None
    fault: Fault | None = None


class Joined(_Event):
    """`count` more entries of a list have become tasks; `truncated`: there were more than it may have.

    `shared` are the ids of those that were there before, of which `completed` are completed.
    """

    count: NonNegativeInt
    shared: tuple[str, ...] = ()
    completed: NonNegativeInt = 0
    truncated: bool = False


class Shared(_Event):
    """Another list counts the task as its entry."""

    playlist_id: str


class Unfolded(_Event):
    """An entry of a list is a list itself: it becomes the first of `entries`, and the others join its list.

    `truncated`: there are more than a list may have, which is `most`.
    """

    entries: tuple[ListEntry, ...] = Field(min_length=1)
    truncated: bool
    most: int


class Grown(_Event):
    """`count` more entries have joined a list in place of one that was a list itself."""

    count: NonNegativeInt
    truncated: bool


class EntriesMoved(_Event):
    """How the counts of a list's completed and failed entries change; negative if entries wait again."""

    completed: int = 0
    failed: int = 0


class Waits(_Event):
    """A queued task waits for a place of its host; or, if not `busy`, no longer for that, but only for its
    turn in the queue.
    """

    busy: bool = True


class Paused(_Event):
    """`with_list`: the task is paused because its list was, and resumes with it."""

    with_list: bool = False


class Resumed(_Event):
    pass


class Cancelled(_Event):
    pass


class Retried(_Event):
    """`url` is the link that the task's video has now, `item` its place in a list there; None: as before."""

    url: str | None = None
    item: int | None = None


class Relinked(_Event):
    """What the task fetches has another link now, and maybe another place there."""

    url: str
    item: int | None = None


class Repaired(_Event):
    """A remedy restarts the task: with `wishes` in place of fields of its request, as a list, as the entry
    `item` of a list, without the segments that its source lacks, or not before `after` seconds.
    """

    wishes: dict[str, Any] = Field(default_factory=dict)
    as_list: bool = False
    item: int | None = Field(default=None, ge=1)
    accept_gaps: bool = False
    after: NonNegativeFloat | None = None


class Prioritized(_Event):
    """A client moves the task in the queue; of `priority` and `rank`, None stays as it is."""

    priority: int | None = None
    rank: int | None = None


class FinishAsked(_Event):
    """A client ends a live recording; this attempt, or the next one, keeps what was recorded."""


class StartAsked(_Event):
    """A waiting task is to begin now, even before its scheduled time."""


_TaskEvent = (
    Described
    | SpaceNeeded
    | DownloadStarted
    | Progress
    | RateWindowHold
    | Uploading
    | Started
    | Requeued
    | Pictured
    | Completed
    | Placed
    | OwnerChanged
    | Failed
    | Waits
    | Paused
    | Resumed
    | Cancelled
    | Retried
    | Relinked
    | Repaired
    | Prioritized
    | FinishAsked
    | StartAsked
    | Unfolded
    | Shared
)
_ListEvent = Joined | Expanded | EntriesMoved | Grown
Event = _TaskEvent | _ListEvent

_NO_COUNTS: dict[str, object] = {"downloaded_bytes": None, "total_bytes": None, "speed": None, "eta": None}
_NO_SPEED: dict[str, object] = {"speed": None, "eta": None}
_NO_WAIT: dict[str, object] = {"waiting": None, "not_before": None}
_NEW_ATTEMPT: dict[str, object] = _NO_COUNTS | {
    "progress": 0,
    "completed_at": None,
    "error_code": None,
    "hint": None,
    "remedies": None,
    "waiting": None,
    "not_before": None,
    "delay": None,
    "started_at": None,
    "start_asked": False,
}
# A retried task keeps its `files`: they can be downloaded until new ones replace them.
_NO_ATTEMPTS: dict[str, object] = {
    "got": 0,
    "got_before": 0,
    "quiet": 0.0,
    "faults": 0,
    "retries": 0,
    "lost": 0,
    "lost_in_all": 0,
    "reached": (0, 0),
}
_NO_BROADCAST: dict[str, object] = {"looks": 0, "begins_at": None}
_QUEUED_ANEW: dict[str, object] = {"stage": Stage.QUEUED, "rank": 0, "finish_asked": False}
_RETRY: dict[str, object] = _NEW_ATTEMPT | _NO_ATTEMPTS | _NO_BROADCAST | _QUEUED_ANEW
_PAUSE: dict[str, object] = _NO_COUNTS | {
    "stage": Stage.PAUSED,
    "waiting": None,
    "finish_asked": False,
    "started_at": None,
}
_RESUME: dict[str, object] = {"stage": Stage.QUEUED, "not_before": None, "delay": None, "quiet": 0.0}


def apply(status: TaskStatus, event: Event, now: datetime, wall: datetime | None = None) -> TaskStatus:
    """Return the status after `event`, or `status` itself if the event changes nothing.

    `now` is the time for ages and waits, `wall` that by which `start_at` goes (see `server.core.clock`):
    `now` if it is left out.

    Within one attempt `progress` never falls, except to 0 with an error; a final status changes
    only by `Retried` and `Repaired`.
    """
    change = (
        _change_list(status, event, now)
        if isinstance(event, _ListEvent)
        else _change_task(status, event, now, wall or now)
    )
    if change is None:
        return status
    return status.model_copy(update=change | {"revision": status.revision + 1})


def _change_task(  # noqa: C901 -- one case for each event
    status: TaskStatus, event: _TaskEvent, now: datetime, wall: datetime
) -> dict[str, object] | None:
    stage = status.stage
    match event:
        case Retried():
            if not stage.is_final:
                return None
            moved = {} if event.url is None else _change_link(status, event.url, event.item)
            return _retry(status, moved, wall)
        case Repaired():
            return _repair(status, event, wall) if stage is Stage.FAILED else None
        case Placed(library=library):
            is_due = library is not None and status.library is None and not stage.is_final
            return _if_new(status, {"library": library}) if stage is Stage.COMPLETED or is_due else None
        case OwnerChanged(owner=owner):
            return _if_new(status, _change_owner(status, owner))
        case _ if stage.is_final:
            return None
        case Relinked(url=url, item=item):
            return _if_new(status, _change_link(status, url, item))
        case Prioritized():
            return _if_new(status, event.model_dump(exclude_none=True))
        case FinishAsked():
            is_recorded = status.video_info.live and stage in (Stage.DOWNLOAD, Stage.CONVERT)
            return {"finish_asked": True} if is_recorded and not status.finish_asked else None
        case Started(cookies=cookies):
            begins = stage is not Stage.PAUSED and not status.awaits_entries
            return _start_attempt(status) | {"cookies": cookies} if begins else None
        case SpaceNeeded(needs=needs):
            return {"needs": needs} if stage.is_running and needs != status.needs else None
        case Described(starts=starts):
            described = _take_description(status, event) if stage.is_running else None
            return (described or {}) | _begin_download(now) if starts and stage is Stage.INFO else described
        case Pictured(thumbnail=picture):
            return {"thumbnail": picture} if stage.is_running and picture != status.thumbnail else None
        case DownloadStarted():
            return _begin_download(now) if stage is Stage.INFO else None
        case Uploading(away=away):
            if not stage.is_running or away == status.awaits_storage:
                return None
            return {"waiting": STORAGE_AWAY, "not_before": None} if away else _NO_WAIT
        case Progress():
            return _take_progress(status, event) if stage in (Stage.DOWNLOAD, Stage.CONVERT) else None
        case RateWindowHold(held=held, until=until):
            # A held download keeps its byte counts, but has no speed and no ETA.
            if held == status.is_held or stage is not Stage.DOWNLOAD:
                return None
            return ({"waiting": RATE_WINDOW, "not_before": until} if held else _NO_WAIT) | _NO_SPEED
        case Requeued():
            waits = stage is not Stage.PAUSED and not status.awaits_entries
            return _requeue(status, event, now) if waits else None
        case Completed() | Failed() if stage is Stage.PAUSED and status.attempt:
            # The worker of the attempt was taken for dead before the task was paused, and clients have been
            # told that it is paused. If the attempt has published files, they are found when the task is
            # resumed.
            return None
        case Completed():
            return _complete(status, event, now)
        case Failed(code=code, hint=hint):
            return _end(Stage.FAILED, now) | _forget_clip(status) | {"error_code": code, "hint": hint}
        case Cancelled():
            return _end(Stage.CANCELLED, now) | _forget_clip(status) | {"error_code": "cancelled"}
        case Waits(busy=busy):
            before, after = (None, HOST_BUSY) if busy else (HOST_BUSY, None)
            is_new = stage is Stage.QUEUED and status.waiting == before and not status.awaits_entries
            return {"waiting": after} if is_new else None
        case Paused(with_list=with_list):
            return None if stage is Stage.PAUSED else _pause(status, with_list=with_list)
        case Resumed():
            return _resume(status, wall) if stage is Stage.PAUSED else None
        case StartAsked():
            return _if_new(status, _start_now(status)) if stage.is_waiting else None
        case Shared(playlist_id=playlist_id):
            return {"counted_in": (*status.counted_in, playlist_id)}
        case Unfolded(entries=entries):
            return _become_first_of(status, entries[0]) if stage.is_running else None
        case _:
            assert_never(event)


def _if_new(status: TaskStatus, change: dict[str, object]) -> dict[str, object] | None:
    """Return `change`; None if it changes no value of the status."""
    unchanged = all(getattr(status, name) == value for name, value in change.items())
    return None if unchanged else change


def _start_attempt(status: TaskStatus) -> dict[str, object]:
    # Forget what an earlier attempt has reported, as it may be wrong now: the broadcast may be over, and a
    # remedy may have dropped the clip.
    known = _info_of_whole_film(status) if status.film_duration == 0 else status.video_info
    info = known.model_copy(update={"live": None, "cut": None})
    return _NEW_ATTEMPT | {
        "stage": Stage.INFO,
        "attempt": status.attempt + 1,
        "got_before": status.got,
        "progress": INFO,
        "video_info": info,
        "needs": None,
        "film_duration": None,
        "sound_apart": None,
        "one_quality": None,
    }


def _begin_download(now: datetime) -> dict[str, object]:
    return _NO_BROADCAST | {"stage": Stage.DOWNLOAD, "progress": DOWNLOAD, "started_at": now}


def _take_description(status: TaskStatus, event: Described) -> dict[str, object] | None:
    change: dict[str, object] = {
        "video_info": merge_info(status.video_info, event.video_info),
        "hint": event.hint,
        "film_duration": status.film_duration if event.film_duration is None else event.film_duration,
        "sound_apart": status.sound_apart if event.sound_apart is None else event.sound_apart,
        "one_quality": status.one_quality if event.one_quality is None else event.one_quality,
        "archive_ids": status.archive_ids if event.archive_ids is None else event.archive_ids,
    }
    return _if_new(status, change)


def _take_progress(status: TaskStatus, event: Progress) -> dict[str, object] | None:
    stage = Stage.CONVERT if status.stage is Stage.CONVERT else Stage(event.stage)
    change: dict[str, object] = _NO_COUNTS | {
        "stage": stage,
        "progress": max(status.progress, min(int(event.progress), ALMOST)),
    }
    if stage is Stage.DOWNLOAD:
        change |= event.model_dump(include=set(_NO_COUNTS)) | (_NO_SPEED if status.is_held else {})
    elif status.is_held:
        change |= _NO_WAIT
    if event.downloaded_bytes:
        change |= {"got": max(status.got, event.downloaded_bytes)}
    return _if_new(status, change)


def _requeue(status: TaskStatus, event: Requeued, now: datetime) -> dict[str, object] | None:
    status = status.with_nothing_gained() if event.crept else status
    change: dict[str, object] = _NO_COUNTS | {
        "stage": Stage.QUEUED,
        "started_at": None,
        "waiting": event.because,
        "not_before": None if event.after is None else now + timedelta(seconds=event.after),
        "delay": event.after,
        "got_before": status.got,
        "quiet": 0.0 if status.gained else status.quiet + (event.in_vain or 0.0),
        "faults": status.faults_in_a_row + (event.in_vain is not None),
        "retries": status.retries_in_a_row + event.counts_as_retry,
        "lost": status.lost_in_a_row + event.counts_as_lost,
        "lost_in_all": status.lost_in_all + event.counts_as_lost,
        "reached": status.reach if status.stage.is_running else status.reached,
    }
    if event.looked:
        change |= _NO_ATTEMPTS | {"looks": status.looks + 1, "begins_at": event.begins_at}
    return _if_new(status, change)


def _complete(status: TaskStatus, event: Completed, now: datetime) -> dict[str, object]:
    change = _end(Stage.COMPLETED, now) | {
        "progress": DONE,
        "files": event.files,
        "published_at": now,
        "fetched": event.fetched,
        "about": event.about,
        "hint": status.hint,
        "video_info": merge_info(status.video_info, event.video_info),
    }
    if status.library:  # A retried task is no longer in the library: its new files are not there yet.
        change["library"] = InLibrary(paths=status.library.paths)
    return change


def _change_owner(status: TaskStatus, owner: str | None) -> dict[str, object]:
    if status.scope is None:
        return {"owner": owner}
    # A list's scope follows its owner: its entries may share tasks with other lists of the new owner.
    return {"owner": owner, "scope": scope_of_person(owner) if owner else ""}


def _pause(status: TaskStatus, *, with_list: bool) -> dict[str, object]:
    alone = status.playlist_id is not None and not with_list
    return _PAUSE | ({} if status.paused_alone == alone else {"paused_alone": alone})


def _resume(status: TaskStatus, wall: datetime) -> dict[str, object]:
    if status.expanded:  # A list that was read completely waits for its entries, instead of being read again.
        return _RESUME | {"stage": Stage.DOWNLOAD}
    return _RESUME | status.until_its_start(wall)


def _start_now(status: TaskStatus) -> dict[str, object]:
    asked = {"start_asked": True} if status.subscription_id else {}
    stage = {"stage": Stage.DOWNLOAD} if status.expanded else {}
    return _RESUME | _NO_WAIT | {"start_at": None} | asked | stage


def _end(stage: Stage, now: datetime) -> dict[str, object]:
    return _NEW_ATTEMPT | {"stage": stage, "completed_at": now, "finish_asked": False, "counted_in": ()}


def _forget_clip(status: TaskStatus) -> dict[str, object]:
    """The clip was not made, so `video_info` has the duration of the film again."""
    return {"video_info": _info_of_whole_film(status)}


def _info_of_whole_film(status: TaskStatus) -> VideoInfo:
    """Return `video_info` with the duration of the whole film, even if it is of a clip."""
    if status.film_duration is None:
        return status.video_info
    return status.video_info.model_copy(update={"duration": status.film_duration or None})


# Lists: the list's own child finds the entries, then the list waits until all of them have ended.


def _change_list(status: TaskStatus, event: _ListEvent, now: datetime) -> dict[str, object] | None:
    match event:
        case Joined(count=count, shared=shared, completed=completed, truncated=truncated):
            joined = _count_joined(status, count, completed, truncated=truncated)
            if status.stage is not Stage.INFO or joined is None:
                return None
            return joined | {"shares": (*status.shares, *shared)}
        case Grown(count=count, truncated=truncated):
            # Entries may come while the list is read, and after reading it has failed. All of them are
            # counted.
            grown = _count_joined(status, count, truncated=truncated)
            if grown is None:
                return None
            grown["unfolded"] = status.unfolded + count
            return grown | _follow_counts(status.model_copy(update=grown), now) if status.expanded else grown
        case Expanded(truncated=truncated):
            if status.stage is not Stage.INFO:
                return None
            known = status.entries or Entries()
            begun = _NO_BROADCAST | {
                "stage": Stage.DOWNLOAD,
                "progress": DOWNLOAD,
                "entries": known.model_copy(update={"truncated": known.truncated or truncated}),
                "expanded": True,
            }
            return begun | _follow_counts(status.model_copy(update=begun), now)
        case EntriesMoved(completed=completed, failed=failed):
            # Entries are counted also for a list that has ended before them: it failed while it was read, or
            # was cancelled.
            known = status.entries or Entries()
            change = {"completed": known.completed + completed, "failed": known.failed + failed}
            counted: dict[str, object] = {"entries": known.model_copy(update=change)}
            if not status.expanded or (status.stage.is_final and completed + failed >= 0):
                return counted  # shared entries continue although this list was cancelled
            return counted | _follow_counts(status.model_copy(update=counted), now)
        case _:
            assert_never(event)


def _retry(status: TaskStatus, change: dict[str, object], wall: datetime) -> dict[str, object] | None:
    """Return the changes of a retry after `change`; None for a list all of whose entries are tasks: it
    continues when one of them is retried.
    """
    changed = status.model_copy(update=change)
    return None if status.expanded else change | _RETRY | changed.until_its_start(wall)


def _change_link(status: TaskStatus, url: str, item: int | None) -> dict[str, object]:
    """Return the changes that make a task fetch from another link, or from another place in a list."""
    shown = ListEntry(index=1, url=url).shown_url
    if shown == status.url:
        return {} if item is None else {"item": item}
    return {"url": shown, "amended": status.amended | {"url": url}, "item": item}


def _repair(status: TaskStatus, event: Repaired, wall: datetime) -> dict[str, object] | None:
    change: dict[str, object] = {"amended": status.amended | event.wishes}
    if event.after is not None:
        change["start_at"] = wall + timedelta(seconds=event.after)
    if event.as_list:
        change["entries"] = Entries()
    if event.item is not None:
        change["item"] = event.item
    if event.accept_gaps:
        change["accept_gaps"] = True
    return _retry(status, change, wall)


def _count_joined(
    status: TaskStatus, count: int, completed: int = 0, *, truncated: bool
) -> dict[str, object] | None:
    known = status.entries or Entries()
    change = {
        "total": known.total + count,
        "completed": known.completed + completed,
        "truncated": known.truncated or truncated,
    }
    joined = known.model_copy(update=change)
    return {"entries": joined} if joined != known else None


def _become_first_of(status: TaskStatus, first: ListEntry) -> dict[str, object]:
    """Return the changes for a task whose entry is itself a list: the task becomes that of this list's
    `first` entry.
    """
    return (
        _NEW_ATTEMPT
        | _NO_ATTEMPTS
        | _NO_BROADCAST
        | {
            "stage": Stage.QUEUED,
            "url": first.shown_url,
            "amended": status.amended | {"url": first.url},
            "item": first.item,
            "says": first.says,
            "video_info": first.video_info,
            "lists": (*status.lists, status.url),
            "thumbnail": None,
            "needs": None,
        }
    )


def _follow_counts(status: TaskStatus, now: datetime) -> dict[str, object]:
    """Return the changes that follow from a list's counts, once all of its entries are tasks."""
    entries = status.entries or Entries()
    if entries.ended < entries.total:
        progress = DOWNLOAD + (ALMOST - DOWNLOAD) * entries.ended // entries.total
        if status.stage.is_final:  # an entry was retried
            return _NEW_ATTEMPT | {"stage": Stage.DOWNLOAD, "progress": progress}
        return {"progress": max(status.progress, progress)}
    if status.stage is Stage.CANCELLED:
        return {}
    if entries.completed:
        return _end(Stage.COMPLETED, now) | {"progress": DONE}
    return _end(Stage.FAILED, now) | {"error_code": "entries_failed"}


def count_moves(pairs: Iterable[tuple[TaskStatus, TaskStatus]]) -> EntriesMoved | None:
    """Return the event for a list whose entries changed; `pairs` are their statuses before and after.

    None if the list's counts stay the same.
    """
    completed = failed = 0
    for before, after in pairs:
        completed += (after.stage is Stage.COMPLETED) - (before.stage is Stage.COMPLETED)
        failed += after.stage.has_failed - before.stage.has_failed
    return EntriesMoved(completed=completed, failed=failed) if completed or failed else None


def merge_info(known: VideoInfo, news: VideoInfo) -> VideoInfo:
    """Return `known`, updated with the fields of `news` that are not None."""
    return known.model_copy(update=news.model_dump(exclude_none=True))
