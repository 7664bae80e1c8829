"""What a deployment swaps. Everything else is the same on one machine and on many."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from server.events import ProducedFile
from server.models import Stage, StoredFile, Task, TaskStatus, VideoInfo


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
class Filter:
    """Which tasks a page shows; `text` is searched in title, uploader and URL, literally."""

    stages: tuple[Stage, ...] = ()
    text: str = ""

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

    async def add(self, task: Task, idempotency: Idempotency | None = None) -> Task:
        """Return `task` with its number, or the task that was made with the same key and request.

        Raises `QueueFull`, `IdempotencyMismatch`, `StoreUnavailable`.
        """
        ...

    async def known(self, idempotency: Idempotency) -> Task | None:
        """The task that was made with this key; raises `IdempotencyMismatch` if for another request."""
        ...

    async def get(self, task_id: str) -> Task:
        """Raises `TaskNotFound`, also for a task that is being removed."""
        ...

    async def save(self, status: TaskStatus) -> bool:
        """Write `status` if it directly follows what is stored (by `revision`); say whether it did.

        Raises `QueueFull` when a task that had ended would wait again and there is no place.
        """
        ...

    async def unfinished(self) -> list[Task]:
        """All that are not final, in queue order: highest priority first, then oldest."""
        ...

    async def page(self, wanted: Filter, cursor: str | None, limit: int) -> Page:
        """Keyset pages: the cost does not depend on how far in. Raises `InvalidQuery` on a bad cursor."""
        ...

    async def statuses(self, task_ids: Sequence[str]) -> list[TaskStatus]:
        """Of those that exist, each once and in this order."""
        ...

    async def find_file(self, name: str) -> tuple[str, StoredFile] | None:
        """The task and the file that has this public name."""
        ...

    async def mark_removed(self, task_id: str) -> None:
        """From now on the task is unknown to every reader. Raises `TaskNotFound`."""
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


class Publisher(Protocol):
    """Tells whoever watches. Must not wait for watchers."""

    def publish(self, status: TaskStatus) -> None: ...

    def removed(self, task_id: str) -> None:
        """The last word on a task."""
        ...


class Dispatcher(Protocol):
    """Gets tasks run, in order and within the limits."""

    def submit(self, task: Task) -> None:
        """Take a queued task in (again, after a change of its priority)."""
        ...

    async def withdraw(self, task_id: str) -> None:
        """Return when no child works on the task and none will until it is submitted again."""
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


class FileStore(Protocol):
    """Where children work, and where finished files lie."""

    def work(self, task_id: str) -> Path:
        """The directory that is the child's; it makes it."""
        ...

    def lock(self, task_id: str) -> Path:
        """Held by whoever writes there."""
        ...

    def log(self, task_id: str) -> Path: ...

    async def note(self, task_id: str, text: str) -> None:
        """Append a line of the server's to the task's log, where no child writes any more. Raises nothing."""
        ...

    async def publish_thumbnail(self, task_id: str) -> StoredFile | None:
        """Make the small picture in the child's directory public; None if there is none fit for that."""
        ...

    async def thumbnail(self, status: TaskStatus) -> StoredFile | None:
        """The small picture that was published, to be opened like a file."""
        ...

    async def publish(
        self, task_id: str, attempt: int, produced: dict[str, ProducedFile], video_info: VideoInfo
    ) -> dict[str, StoredFile]:
        """Make what the child produced public: all of it or nothing. Raises `OSError`.

        What the status still names, of an earlier attempt, stays where it is.
        """
        ...

    async def tidy_up(self, status: TaskStatus) -> None:
        """Delete what the newest `status` of a task does not name."""
        ...

    async def open(self, task_id: str, stored: StoredFile) -> BinaryIO:
        """A published file. Raises `FileNotFound`."""
        ...

    async def remove(self, task_id: str) -> None:
        """Delete all that belongs to a task."""
        ...
