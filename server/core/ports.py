"""The interfaces that differ between one machine and a cluster; everything else is the same on both."""

from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from server.core.cookie_facts import CookieFacts
from server.core.entry_status import ListAction
from server.core.errors import AppError
from server.core.events import ProducedFile
from server.core.film import Manifest, StoredFile, Thumbnail, VideoInfo
from server.core.task import Stage, Task, TaskStatus


@dataclass(frozen=True, slots=True)
class Idempotency:
    """`key` is unique over all tasks, since it includes the scope of the client's token.

    `request` is one or more hashes of the request, separated by spaces.
    """

    key: str
    request: str

    def is_of(self, stored: str) -> bool:
        """Whether the request with the hashes `stored` is the same one: one common hash is enough."""
        return not set(self.request.split()).isdisjoint(stored.split())


@dataclass(frozen=True, slots=True)
class TaskOfKey:
    """The task that a key leads to; `is_shared`: another request has made it."""

    task: Task
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class Submission:
    """A task to be added; `wish` is the token's scope and a hash of what is to be downloaded.

    If the task with the id `instead` exists, the submission gets that one. If no existing task takes its
    place and `refusal` is set, the submission is refused with that error.
    """

    task: Task
    idempotency: Idempotency | None = None
    wish: str | None = None
    instead: str | None = None
    refusal: AppError | None = None


Sorting = Literal["newest", "oldest", "queue", "ended"]


@dataclass(frozen=True, slots=True)
class Filter:
    """Selects the tasks of a page, and their order; `text` is a literal search in title, uploader and URL.

    The orders `oldest` and `ended` (the last to end comes first) need `stages`; for `ended` these must be
    final ones. `is_folded` leaves out entries of lists, and cannot be combined with `text` or `playlist_id`.
    `owner` selects only tasks of this person.
    """

    stages: tuple[Stage, ...] = ()
    text: str = ""
    playlist_id: str | None = None
    order: Sorting = "newest"
    is_folded: bool = False
    owner: str | None = None

    @property
    def sorting(self) -> Sorting:
        """The order of the page; queued tasks alone are listed in queue order."""
        return "queue" if self.stages == (Stage.QUEUED,) else self.order

    def only(self, *stages: Stage) -> tuple[Stage, ...]:
        """Return those of `stages` that the filter selects."""
        return tuple(stage for stage in stages if stage in self.stages or not self.stages)


@dataclass(frozen=True, slots=True)
class StatusPage:
    tasks: list[TaskStatus]
    next_cursor: str | None


class Store(Protocol):
    """Durable tasks. A change is on disk when its method returns, and later reads see it.

    Any method may raise `StoreUnavailable`, for a reason outside this program; then nothing is changed.

    Methods with `owner` read only tasks of this person. Other people's tasks are treated as if they did not
    exist: results, errors and even the SQL statements are the same.
    """

    async def add(self, submissions: Sequence[Submission]) -> list[Task | AppError]:
        """Add all tasks in one transaction. For each submission the result has the task with its number, or
        the task that took its place, or `QueueFull`, `IdempotencyMismatch` or its `refusal`.

        The task that takes a submission's place is one that an earlier request with the same key has made, or
        the task `instead`, or with `reuse` one with the same wish that has not ended. From then on, until it
        is removed, the submission's key leads to that task; this is stored in the same transaction. No two
        submissions may have the same key. Raises `StoreUnavailable`; then none was added.
        """
        ...

    async def find_by_key(self, idempotency: Idempotency) -> TaskOfKey | None:
        """Return the task that this key leads to. Raises `IdempotencyMismatch` if the key came with another
        request.
        """
        ...

    async def find_by_wish(self, wish: str) -> list[Task]:
        """Return the newest tasks with this wish, newest first, except failed and cancelled ones."""
        ...

    async def get(self, task_id: str, owner: str | None = None) -> Task:
        """Return the task. Raises `TaskNotFound`, also for a task that is being removed."""
        ...

    async def save(self, status: TaskStatus) -> bool:
        """Compare-and-swap: store `status` if its `revision` directly follows the stored one, and return
        whether that was so.

        Raises `QueueFull` if a task that had ended would wait again and the queue is full.
        """
        ...

    async def save_together(
        self,
        statuses: Sequence[TaskStatus],
        new: Sequence[Task] = (),
        wishes: Sequence[str | None] | None = None,
        taken: Sequence[Task] = (),
    ) -> list[Task] | None:
        """In one transaction save all `statuses` as `save` does and add the `new` tasks, in their order, each
        with its wish, if there are `wishes`. The rows of the entries `taken` take the actions on their lists:
        each row becomes what clients see already, for which there is always a place in the queue.

        Return the new tasks with their numbers; or None, and change nothing, if a revision does not follow
        the stored one. The `new` tasks are entries of an accepted list, so `max_queued` does not limit them.
        Unlike with `save`, a status may have another link than the task had. Raises `QueueFull` as `save`
        does.
        """
        ...

    async def act_on_list(
        self, playlist: TaskStatus, action: ListAction, follow: Callable[[Mapping[Stage, int]], TaskStatus]
    ) -> "TaskStatus | None":
        """Store an action on a list; its entries show it from then on, although their rows do not change.

        `follow` is given how many entries in which stages the action concerns, and returns the list's next
        status; if it returns `playlist`, nothing is stored. Returns that status; or None, and changes
        nothing, if `playlist` is not what is stored. Raises `QueueFull` as `save` does.
        """
        ...

    async def lists_acted_on(self) -> dict[str, int]:
        """Return the lists some of whose entries may not have taken all actions yet, each with the number of
        its last action.
        """
        ...

    async def entries_behind(
        self, playlist_id: str, number: int, limit: int
    ) -> tuple[list[Task], int | None]:
        """Up to `limit` entries, after the one with that `number`, that have not taken all actions and that
        are queued or differ from their rows; and the number of the last of them, None if no more follow.

        Entries of a removed list are as in their rows.
        """
        ...

    async def forget_actions(self, playlist_id: str, number: int) -> "TaskStatus | None":
        """Forget the actions on a list up to `number`, once every entry that could has taken them; not if
        there are later actions. If entries were counted that could not, the counts are corrected and the list
        is returned.
        """
        ...

    async def page(self, wanted: Filter, cursor: str | None, limit: int) -> StatusPage:
        """Return a page by keyset pagination: late pages cost no more. Raises `InvalidQuery` on a bad
        cursor.
        """
        ...

    async def statuses(self, task_ids: Sequence[str], owner: str | None = None) -> list[TaskStatus]:
        """Return the statuses of those tasks that exist, each once, in the order of `task_ids`."""
        ...

    async def ids_in(
        self, stage: Stage, error_code: str | None, limit: int, owner: str | None = None
    ) -> list[str]:
        """Return the ids of up to `limit` tasks in `stage`, and with `error_code` if given, the oldest
        first.
        """
        ...

    async def urgencies(self) -> tuple[int, int]:
        """Return the lowest and the highest `urgency` of all queued tasks; zeros if none is queued."""
        ...

    async def count(self, *, is_folded: bool = False, owner: str | None = None) -> dict[Stage, int]:
        """Count the tasks in each stage, `is_folded` without the entries of lists.

        A stage without tasks may be missing.
        """
        ...

    async def count_asking(self, owner: str | None = None) -> int:
        """Count the failed tasks that ask their reader something (`ASKS`), without the entries of lists."""
        ...

    async def find_file(self, name: str, owner: str | None = None) -> tuple[str, StoredFile] | None:
        """Return the file with this public name, and the id of its task; None if there is none."""
        ...

    async def mark_removed(self, *task_ids: str) -> list[str]:
        """Hide the tasks from every reader, until `forget`; return their ids. The entries of a list are
        hidden with it, and are to be removed as well: see `lists_acted_on`.

        Raises `TaskNotFound` if there are none.
        """
        ...

    async def forget(self, *task_ids: str) -> None:
        """Delete the rows of tasks marked as removed, once their files are gone, in one transaction."""
        ...

    async def ids_removed(self) -> list[str]:
        """Return the ids of tasks that are marked as removed, but are not deleted yet."""
        ...

    async def mark_expired(self, before: datetime, limit: int, owner: str | None = None) -> list[str]:
        """Mark up to `limit` tasks that ended earlier than `before` as removed, the oldest first; return
        their ids. With `owner` only those of this person.

        Tasks stay whose end is still to be sent to a webhook, and those with a subscription's only copy of a
        film.
        """
        ...

    async def limit_ends(self, moment: datetime) -> None:
        """Set the end of tasks that ended after `moment` to `moment`: a clock was ahead, and retention would
        delete them late.
        """
        ...

    async def stages(self, task_ids: list[str]) -> dict[str, Stage]:
        """Return the stages of those tasks that exist, including tasks that are being removed."""
        ...

    async def changed_since(self, moment: datetime) -> dict[str, bool] | None:
        """Return the ids of tasks that may have changed since `moment`, and whether each was removed.

        None if there are too many of them, or if `moment` is so long ago that they are not known.
        """
        ...

    async def owners(self, task_ids: Sequence[str]) -> dict[str, str]:
        """Return the owners of those tasks that have one, by task id; also of tasks removed lately."""
        ...

    async def ping(self) -> None:
        """Raises an error if the database does not answer or does not accept writes."""
        ...

    def hurry(self) -> None:
        """The server shuts down: from now on do not wait for other programs that lock the database."""
        ...


SESSION_LASTS = 30 * 24 * 3600.0  # seconds
MAX_SESSIONS = 10_000
MAX_SESSIONS_OF_PERSON = 100  # a limit of its own, so that one person's log-ins cannot end those of others


@dataclass(frozen=True, slots=True)
class Session:
    """A log-in of the page; `ends_at` is a time of `time.monotonic()`, so setting the clock has no effect.

    `scope` says whose it is (`server.core.principal`), `token_id` which of the person's tokens has begun it.
    `about` is JSON: what its owner is shown of it.
    """

    session_id: str
    scope: str
    ends_at: float
    way: str = "token"
    token_id: int | None = None
    about: str = "{}"


class Sessions(Protocol):
    """Log-ins of the page, which survive a restart. A change is on disk when its method returns.

    A session lasts `SESSION_LASTS`; beyond `MAX_SESSIONS` the oldest sessions end, beyond
    `MAX_SESSIONS_OF_PERSON` the oldest of this person. The id is a hash of the
    cookie's value, the scope names the token or the person that logged in: neither is a secret.
    """

    async def begin(
        self,
        session_id: str,
        scope: str,
        *,
        lasts: float | None = None,
        way: str = "token",
        token_id: int | None = None,
        about: str = "{}",
    ) -> None:
        """Begin a session, which ends after so many seconds, at most `SESSION_LASTS`.

        Raises `StoreUnavailable`; then there is no such session.
        """
        ...

    async def get(self, session_id: str) -> Session | None:
        """Return the session; None once it has ended. Every request of the page asks for it, so answer from
        memory.
        """
        ...

    async def end(self, session_id: str) -> None:
        """End the session for good. Raises `StoreUnavailable`; then the session stays valid."""
        ...

    async def end_others(self, scopes: Collection[str]) -> None:
        """End all sessions of tokens whose scope is not in `scopes`, and delete expired ones. Those of people
        stay: who was added is not known before the server has started.
        """
        ...

    async def of_scope(self, scope: str) -> list[Session]:
        """Return all sessions of a person, the newest first."""
        ...

    async def end_of_scope(self, scope: str) -> None:
        """End all sessions of a person."""
        ...

    async def catch_up(self) -> None:
        """Report sessions that were deleted by another transaction, or on another node while this one heard
        nothing. Raises `StoreUnavailable`.
        """
        ...

    def listen(self, ended: Callable[[str], None], held: Callable[[], Collection[str]]) -> None:
        """Call `ended` with the id of each session that is ended from now on, on whichever node.

        `held` returns the ids of the sessions that are in use here: after a gap in the notifications these
        are looked up. Sessions that expire are not reported: `Session.ends_at` says when they do.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoredCookies:
    """`text` is a cookie file (`server.core.cookie_format`); `put` is random, new with each `Cookies.put`."""

    put: str
    text: str = field(repr=False)


class Cookies(Protocol):
    """Cookie files by name; callers have validated the names. A change is on disk when its method returns.

    Where they `are_separate`, each person has names of their own (`server.core.cookie_format.stored_name`).
    """

    are_separate: bool

    async def put(self, name: str, text: str) -> None:
        """Store `text` under `name`, replacing an earlier file. If its first line has its facts
        (`server.core.cookie_facts`), a list needs no more than that line. Raises `TooManyCookies` if there
        are `MOST_FILES` others of the same person.
        """
        ...

    async def get(self, name: str) -> StoredCookies | None: ...

    async def names(self) -> list[str]:
        """Return all names, sorted."""
        ...

    def facts(self, begin: str = "") -> AsyncIterator[tuple[str, CookieFacts]]:
        """Yield the name and the facts of each file whose name begins with `begin`. The facts of a file that
        lacks them are found now, and stored. Damaged files are left out.
        """
        ...

    async def delete(self, name: str) -> bool:
        """Delete the file; return False if there is none."""
        ...

    async def renew(self, name: str, given: StoredCookies, back: str) -> None:
        """Store the changes that a job made to the cookies it was `given`; `back` is its cookie file.

        Changes are merged, so jobs that were given the same file do not undo each other's. If the file was
        replaced or deleted since, nothing is changed.
        """
        ...


class Publisher(Protocol):
    """Passes statuses on to subscribers. Must not wait for them."""

    def publish(self, status: TaskStatus) -> None: ...

    @property
    def asks_for_owners(self) -> bool:
        """Whether `publish_removal` needs the `owner` of a task."""
        ...

    def publish_removal(self, task_id: str, owner: str | None = None) -> None:
        """Tell subscribers that the task, which was `owner`'s, was removed; nothing about it follows."""
        ...

    def queue_changed(self) -> None:
        """Tell those who watch the queue that it was paused or resumed."""
        ...

    def watched_ids(self) -> Collection[str | None]:
        """Return the ids of tasks that have subscribers; None is among them if somebody has subscribed to all
        tasks.
        """
        ...


class Turns(Protocol):
    """A lock for each task, shared by all nodes: actions on one task run one after the other."""

    def turn(self, task_id: str) -> AbstractAsyncContextManager[object]:
        """Hold the task's lock while the block runs. Entering waits, and may raise `StoreUnavailable`."""
        ...


class Dispatcher(Protocol):
    """Runs queued tasks in queue order, within the limits on concurrent downloads."""

    def submit(self, task: Task) -> None:
        """Add a queued task, or move it after its priority has changed."""
        ...

    async def start(self, task: Task) -> None:
        """Begin an attempt of a queued task, beyond all limits on concurrent downloads.

        While nothing may begin (a pause, `hold`), it waits. Raises `ShuttingDown` after `drain`.
        """
        ...

    async def check_room_to_start(self, owner: str | None = None) -> None:
        """Raise `TooManyRunning` if as many attempts run as may, those included that are about to `start`,
        and `OverLimit` if as many run of their `owner` as may.
        """
        ...

    async def withdraw(self, *task_ids: str) -> None:
        """Return when no child works on any of the tasks, and none will until they are submitted again."""
        ...

    def hold_list(self, playlist_id: str, number: int) -> None:
        """Let no entry of the list begin that has not taken the action with that number."""
        ...

    def release_list(self, playlist_id: str) -> None:
        """Undo `hold_list`, since all entries of the list have taken the action."""
        ...

    async def withdraw_list(self, playlist_id: str) -> None:
        """Return when no child works on an entry of the list; call `hold_list` before."""
        ...

    async def finish(self, task_id: str) -> None:
        """Have the child of a live recording stop recording and make its files; return when it has ended."""
        ...

    def running(self) -> list[str]:
        """Return the ids of the tasks that a child works on now."""
        ...

    def hold(self) -> None:
        """Begin no new attempt until `release`; running ones continue."""
        ...

    def release(self) -> None: ...

    async def pause(self) -> None:
        """Begin no new attempt on any node until `resume`, also after restarts; running ones continue.

        `pause` and `resume` raise `StoreUnavailable`; then nothing is changed.
        """
        ...

    async def resume(self) -> None: ...

    async def is_paused(self) -> bool: ...

    async def drain(self) -> None:
        """Begin no new attempt, even after `release`; return when no attempt runs any more."""
        ...


class Growth(Enum):
    """The state of a file that is read while a child writes it."""

    GOES_ON = "the child still writes it"
    WHOLE = "nothing will be added"
    AWAY = "it was deleted, or moved before it was seen whole"
    REPLACED = "another file is in its place"


class Workplace(Protocol):
    """Where children of this machine work."""

    @property
    def scratch(self) -> Path:
        """Return the directory for temporary work, such as that of `POST /api/info`; no other server uses
        it.
        """
        ...

    def work(self, task_id: str) -> Path:
        """Return the task's work directory, which the child creates."""
        ...

    def lock(self, task_id: str) -> Path:
        """Return the task's lock file, which every process that writes to the work directory holds."""
        ...

    def log(self, task_id: str) -> Path: ...

    def growing(self, task_id: str) -> "GrowingFile":
        """Open the playable file of a running download. Raises `NotStreamable`. Blocks on disk I/O."""
        ...

    async def trouble(self) -> str | None:
        """Return why children cannot work on this machine, in one sentence; None if they can."""
        ...

    async def note(self, task_id: str, text: str) -> None:
        """Append a line to the task's log; no child may write to it any more. Raises nothing."""
        ...


class Stream(ABC):
    """A published file that is not on this machine."""

    @abstractmethod
    def read(self, part: range) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield all bytes of `part`, in pieces. Raises an error if the file ends too soon, `FileNotFound` if
        it is removed meanwhile.
        """


class GrowingFile(Protocol):
    """A file that a child is still downloading. `type` is its media type. All methods block on disk I/O."""

    type: str

    @property
    def size(self) -> int: ...

    def look(self) -> tuple[Growth, int]:
        """Return the state of the file, and how many bytes at its beginning will not change any more."""
        ...

    def read(self, start: int, count: int) -> bytes: ...

    def close(self) -> None: ...


TellAway = Callable[[bool], Awaitable[None]]
"""Is called with True when the bucket does not answer, perhaps several times, and with False once it does."""


class FileStore(Protocol):
    """The published files of tasks, the same on every machine.

    With a bucket, methods may raise `StorageAway`; `tidy_up` and `publish_thumbnail` raise nothing.
    """

    @property
    def ping(self) -> Callable[[], Awaitable[None]] | None:
        """Check that the bucket answers; raises `StorageAway` if not. None if there is no bucket."""
        ...

    async def prepare(
        self,
        task_id: str,
        attempt: int,
        produced: dict[str, ProducedFile],
        video_info: VideoInfo,
        away: TellAway | None = None,
    ) -> Manifest:
        """Name the files that the child produced, and do the slow steps of publishing them, such as uploads.

        No file is public yet, and a cancel leaves nothing behind. The child must be gone.
        """
        ...

    async def publish(self, task_id: str, manifest: Manifest, away: TellAway | None = None) -> None:
        """Make the prepared files public, all of them or none. Raises `OSError`.

        Files of an earlier attempt, which the status still names, stay.
        """
        ...

    async def find_published(self, task_id: str, attempt: int) -> Manifest | None:
        """Return the manifest that `publish` stored for this attempt before a crash; None if there is
        none.
        """
        ...

    async def open(self, task_id: str, stored: StoredFile) -> BinaryIO | Stream:
        """Open a published file. Raises `FileNotFound`, also if it is no longer the published one; and
        `StorageFailed` or `StorageAway` if it cannot be opened now.
        """
        ...

    async def link(self, task_id: str, stored: StoredFile) -> str | None:
        """Return a link to the whole file in the bucket, valid for minutes; None if only the server sends
        it.
        """
        ...

    async def publish_thumbnail(self, task_id: str) -> Thumbnail | None:
        """Publish the thumbnail in the work directory; None if there is none that is safe to publish."""
        ...

    async def thumbnail(self, status: TaskStatus) -> Thumbnail | None:
        """Return the published thumbnail, for `open`; None if there is none."""
        ...

    async def read_log(self, task_id: str, limit: int) -> bytes:
        """Return the first `limit` bytes of the task's log; empty if there is none."""
        ...

    def share(self, task_id: str, attempt: int) -> AbstractAsyncContextManager[None]:
        """While the block runs, share the attempt's log with all machines; at its end the whole log is
        shared.

        The log continues that of the attempt before, on whichever machine that was.
        """
        ...

    async def tidy_up(self, status: TaskStatus) -> None:
        """Delete those files of a task that its newest `status` does not name."""
        ...

    async def remove(self, task_id: str) -> None:
        """Delete all files of a task, including those in its work directory on this machine."""
        ...
