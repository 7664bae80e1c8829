"""What a deployment swaps. Everything else is the same on one machine and on many."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Protocol

from server.errors import AppError
from server.events import ProducedFile
from server.models import Manifest, Stage, StoredFile, Task, TaskStatus, VideoInfo


@dataclass(frozen=True, slots=True)
class Idempotency:
    """`key` is unique over all tasks: it carries its scope.

    `request` is one or more hashes of what was asked for, with blanks between them.
    """

    key: str
    request: str

    def is_of(self, stored: str) -> bool:
        """Whether the request is the same as one of which `stored` was kept: one hash is enough."""
        return not set(self.request.split()).isdisjoint(stored.split())


@dataclass(frozen=True, slots=True)
class Submission:
    """A task that is to be added; `wish` is a hash of who asks for what."""

    task: Task
    idempotency: Idempotency | None = None
    wish: str | None = None

    @property
    def shares(self) -> bool:
        """Whether another task of the same wish will do."""
        return bool(self.wish and self.task.request and self.task.request.reuse)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tasks a page shows; `text` is searched in title, uploader and URL, literally."""

    stages: tuple[Stage, ...] = ()
    text: str = ""
    playlist_id: str | None = None

    @property
    def is_queue(self) -> bool:
        """Only the queue is shown in queue order; everything else is newest first."""
        return self.stages == (Stage.QUEUED,)


@dataclass(frozen=True, slots=True)
class Page:
    tasks: list[TaskStatus]
    next_cursor: str | None


class Store(Protocol):
    """Durable tasks. What a method returned or accepted is on disk; reads never see less.

    Any method may raise `StoreUnavailable`, for a reason outside of this program; then nothing is changed.
    """

    async def add(self, task: Task, idempotency: Idempotency | None = None, wish: str | None = None) -> Task:
        """Return `task` with its number, or the task that was made with the same key and request.

        If its request is to be shared, also one of the same wish that has not ended.

        Raises `QueueFull`, `IdempotencyMismatch`, `StoreUnavailable`.
        """
        ...

    async def add_all(self, submissions: Sequence[Submission]) -> list[Task | AppError]:
        """Like `add`, of all of them in one transaction; an error stands where one was not taken.

        No two of them may have the same key. Raises `StoreUnavailable`, then none was taken.
        """
        ...

    async def known(self, idempotency: Idempotency) -> Task | None:
        """The task that was made with this key; raises `IdempotencyMismatch` if for another request."""
        ...

    async def of_wish(self, wish: str) -> list[Task]:
        """The newest ones that neither failed nor were cancelled, the newest first."""
        ...

    async def get(self, task_id: str) -> Task:
        """Raises `TaskNotFound`, also for a task that is being removed."""
        ...

    async def save(self, status: TaskStatus) -> bool:
        """Write `status` if it directly follows what is stored (by `revision`); say whether it did.

        Raises `QueueFull` when a task that had ended would wait again and there is no place.
        """
        ...

    async def save_together(
        self, statuses: Sequence[TaskStatus], new: Sequence[Task] = ()
    ) -> list[Task] | None:
        """Write all of `statuses` as `save` does and add the `new` tasks, in their order; or do nothing.

        Return the new tasks with their numbers; None if a status does not follow. The `new` tasks are entries
        of a list, which has been accepted: they need no place. Raises `QueueFull` as `save` does.
        """
        ...

    async def entries(self, playlist_id: str, stages: Collection[Stage]) -> list[Task]:
        """Those of a list that are in one of `stages`, in their order."""
        ...

    async def unfinished(self) -> list[Task]:
        """All that are not final, in queue order: the most urgent first, then the oldest."""
        ...

    async def page(self, wanted: Filter, cursor: str | None, limit: int) -> Page:
        """Keyset pages: the cost does not depend on how far in. Raises `InvalidQuery` on a bad cursor."""
        ...

    async def statuses(self, task_ids: Sequence[str]) -> list[TaskStatus]:
        """Of those that exist, each once and in this order."""
        ...

    async def ids_in(self, stage: Stage, error_code: str | None, limit: int) -> list[str]:
        """Up to `limit` tasks in that stage, and with that code if one is said, the oldest first."""
        ...

    async def urgencies(self) -> tuple[int, int]:
        """The lowest and the highest `urgency` of those that are queued; zeros if there are none."""
        ...

    async def count(self) -> dict[Stage, int]:
        """How many tasks are in each stage; where there are none, it may be left out."""
        ...

    async def find_file(self, name: str) -> tuple[str, StoredFile] | None:
        """The task and the file that has this public name."""
        ...

    async def mark_removed(self, task_id: str) -> list[str]:
        """From now on the task, and all that are its entries, are unknown to every reader; return their ids.

        Raises `TaskNotFound`.
        """
        ...

    async def forget(self, task_id: str) -> None:
        """Remove the row; its files are gone."""
        ...

    async def removed(self) -> list[str]:
        """Marked, and not yet forgotten."""
        ...

    async def mark_expired(self, before: datetime, limit: int) -> list[str]:
        """Mark up to `limit` tasks that ended earlier than `before` as removed, the oldest first."""
        ...

    async def none_ended_after(self, moment: datetime) -> None:
        """Count the age of a task that claims to have ended later from `moment` on: a clock was ahead."""
        ...

    async def stages(self, task_ids: list[str]) -> dict[str, Stage]:
        """The stages of those that exist (also of those being removed)."""
        ...

    async def ping(self) -> None:
        """Raises when the database does not answer or does not take writes."""
        ...

    def hurry(self) -> None:
        """From now on wait for nobody who holds the data: the server goes away."""
        ...


SESSION_LASTS = 30 * 24 * 3600.0  # seconds
MAX_SESSIONS = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """A log-in of the page; `ends_at` is a time of `time.monotonic()`, which nobody can set."""

    session_id: str
    scope: str
    ends_at: float


class Sessions(Protocol):
    """Log-ins of the page, which outlive the server. What a method did is on disk when it returns.

    A session lasts `SESSION_LASTS`; of more than `MAX_SESSIONS` the oldest end. Its id is a hash of what the
    browser keeps, its scope names the token that it was begun with: neither is a secret.
    """

    async def begin(self, session_id: str, scope: str) -> None:
        """Raises `StoreUnavailable`; then there is no such session."""
        ...

    async def get(self, session_id: str) -> Session | None:
        """None once it has ended. Each request of the page asks: the answer should come from memory."""
        ...

    async def end(self, session_id: str) -> None:
        """It never comes back. Raises `StoreUnavailable`; then it goes on."""
        ...

    async def end_others(self, scopes: Collection[str]) -> None:
        """End all whose scope is none of `scopes`, and forget those that are past their time."""
        ...

    def listen(self, ended: Callable[[str], None]) -> None:
        """Call `ended` with the id of each session that ends from now on, wherever that was done.

        Not of those that end by age: whoever has a session knows when.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoredCookies:
    """`text` is a cookie file (`server.cookies`); `put` is another word whenever somebody has put one."""

    put: str
    text: str = field(repr=False)


class Cookies(Protocol):
    """Cookie files by names that others have checked. What a method did is on disk when it returns."""

    async def put(self, name: str, text: str) -> None:
        """Store `text` in the place of what there was."""
        ...

    async def get(self, name: str) -> StoredCookies | None: ...

    async def names(self) -> list[str]:
        """In their order."""
        ...

    async def delete(self, name: str) -> bool:
        """False if there is none."""
        ...

    async def renew(self, name: str, given: StoredCookies, back: str) -> None:
        """Store what a job has changed of what it was `given`: it has come `back` as a cookie file.

        Jobs that were given the same do not undo each other's changes; one that was given a file which
        somebody has replaced or deleted since changes nothing.
        """
        ...


class Publisher(Protocol):
    """Tells whoever watches. Must not wait for watchers."""

    def publish(self, status: TaskStatus) -> None: ...

    def removed(self, task_id: str) -> None:
        """The last word on a task."""
        ...


class Turns(Protocol):
    """Actions on one task are done one after the other, wherever they are asked for."""

    def turn(self, task_id: str) -> AbstractAsyncContextManager[object]:
        """Entering waits until nobody else acts on the task. It may raise `StoreUnavailable` then."""
        ...


class Dispatcher(Protocol):
    """Gets tasks run, in order and within the limits."""

    def submit(self, task: Task) -> None:
        """Take a queued task in (again, after a change of its priority)."""
        ...

    async def withdraw(self, *task_ids: str) -> None:
        """Return when no child works on any of the tasks, and none will until they are submitted again."""
        ...

    async def finish(self, task_id: str) -> None:
        """Have its child end with what it has; return when no child works on the task any more."""
        ...

    def running(self) -> list[str]:
        """The tasks that a child works on now."""
        ...

    def hold(self) -> None:
        """Begin nothing new until `release`; what runs goes on."""
        ...

    def release(self) -> None: ...

    async def pause(self) -> None:
        """Begin nothing new on any node, over restarts, until `resume`; what runs goes on.

        Raises `StoreUnavailable`; then nothing is changed, as with `resume`.
        """
        ...

    async def resume(self) -> None: ...

    async def is_paused(self) -> bool: ...

    async def drain(self) -> None:
        """Begin nothing new, whoever says `release`; return when nothing runs any more."""
        ...


class Growth(Enum):
    """What has become of a file that somebody reads while it grows."""

    GOES_ON = "it is where it was"
    WHOLE = "nothing will be added"
    AWAY = "it was deleted, or moved before anybody saw it whole"
    REPLACED = "another is in its place"


class Workplace(Protocol):
    """Where children of this machine work."""

    @property
    def scratch(self) -> Path:
        """A directory for work of which nothing is kept; no other server touches it."""
        ...

    def work(self, task_id: str) -> Path:
        """The directory that is the child's; it makes it."""
        ...

    def lock(self, task_id: str) -> Path:
        """Held by whoever writes there."""
        ...

    def log(self, task_id: str) -> Path: ...

    def growing(self, task_id: str) -> "Growing":
        """What can be watched of its download. Raises `NotStreamable`; touches the disk."""
        ...

    async def note(self, task_id: str, text: str) -> None:
        """Append a line of the server's to the task's log, where no child writes any more. Raises nothing."""
        ...


class Stream(ABC):
    """A published file that is not on this machine."""

    @abstractmethod
    def read(self, part: range) -> AsyncGenerator[bytes | memoryview, None]:
        """The bytes of `part`, all of them: it raises if they end too soon."""


class Growing(Protocol):
    """A file that a child still fetches. All methods touch the disk."""

    type: str

    @property
    def size(self) -> int: ...

    def look(self) -> tuple[Growth, int]:
        """How it is, and how many of its bytes will stay."""
        ...

    def read(self, start: int, count: int) -> bytes: ...

    def close(self) -> None: ...


class FileStore(Protocol):
    """What is published of tasks: the same on every machine.

    Where it lies elsewhere, methods may raise `StorageAway`; `tidy_up` and `publish_thumbnail` raise nothing.
    """

    async def prepare(
        self, task_id: str, attempt: int, produced: dict[str, ProducedFile], video_info: VideoInfo
    ) -> Manifest:
        """Name what the child produced, and do all of its publication that may take long.

        Nothing is public yet; a cancel leaves nothing behind. The child must be gone.
        """
        ...

    async def publish(self, task_id: str, manifest: Manifest) -> None:
        """Make public what was prepared: all of it or nothing. Raises `OSError`.

        What the status still names, of an earlier attempt, stays where it is.
        """
        ...

    async def published(self, task_id: str, attempt: int) -> Manifest | None:
        """What `publish` had done for exactly this attempt when the server died."""
        ...

    async def open(self, task_id: str, stored: StoredFile) -> BinaryIO | Stream:
        """A published file. Raises `FileNotFound`, also if it is no longer what was published."""
        ...

    async def link(self, task_id: str, stored: StoredFile) -> str | None:
        """Where a client may fetch all of an opened file for some minutes; None: from us alone."""
        ...

    async def publish_thumbnail(self, task_id: str) -> StoredFile | None:
        """Make the small picture in the child's directory public; None if there is none fit for that."""
        ...

    async def thumbnail(self, status: TaskStatus) -> StoredFile | None:
        """The small picture that was published, to be opened like a file."""
        ...

    async def read_log(self, task_id: str, limit: int) -> bytes:
        """The first `limit` bytes of the task's log; nothing while there is none."""
        ...

    def share(self, task_id: str, attempt: int) -> AbstractAsyncContextManager[None]:
        """While the block runs, its log can be read on every machine, and after it all of it.

        It goes on where that of the attempt before ended, on whichever machine that was.
        """
        ...

    async def tidy_up(self, status: TaskStatus) -> None:
        """Delete what the newest `status` of a task does not name."""
        ...

    async def remove(self, task_id: str) -> None:
        """Delete all that belongs to a task, also what is left of it where children of this machine work."""
        ...
