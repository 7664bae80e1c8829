"""Converts tasks to rows and back, for every database."""

import hashlib
import logging
import unicodedata
from base64 import urlsafe_b64encode
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel
from pydantic_core import SchemaSerializer, core_schema

from server.core import stored
from server.core.errors import AppError, IdempotencyMismatch, QueueFull
from server.core.ports import Submission
from server.core.task import Stage, Task, TaskStatus
from server.storage.statements import WaitingPlaces

log = logging.getLogger(__name__)

T = TypeVar("T")
AnAdd = TypeVar("AnAdd", bound="Adding")
_STAGES = frozenset(stage.value for stage in Stage)
STATUS = 3  # the index of the JSON in `status_values`
_ANYTHING = SchemaSerializer(core_schema.any_schema())
_SPACES = dict.fromkeys(range(32), " ")
FindShort = Callable[[str], str | None]


MOST_CHANGED = 10_000  # changed tasks that are reported to a client after a gap; with more it lists all tasks
CHANGED_WITHIN = timedelta(days=7)


def read_task(number: int, request: str, status: str) -> Task:
    return Task(stored.read_request(request), read_status(number, status))


def read_status(number: int, status: str) -> TaskStatus:
    """Read a status. Its number has its own column: the JSON is made before the task has a number."""
    return stored.read_status(status).model_copy(update={"number": number})


def readable(read: Callable[..., T], rows: Iterable[Sequence[Any]]) -> Iterator[T]:
    """Yield `read` of each row; log and skip a damaged one, which must stop neither a start nor a list."""
    for row in rows:
        try:
            yield read(*row)
        except ValueError as error:
            log.error("task number %s cannot be read, its row is damaged: %s", row[0], error)


def short_wish(wish: str) -> str:
    """Return the column value for `wish`: 72 bits of a hash, to keep the index on it small."""
    return urlsafe_b64encode(hashlib.sha256(wish.encode()).digest()[:9]).decode()


def forms_of_wish(wish: str) -> tuple[str, str]:
    """Return the forms in which a row may hold `wish`: earlier releases stored it unshortened."""
    return short_wish(wish), wish


def shared_keys(
    outcomes: Iterable[tuple[Submission, Task | AppError]], known: Container[str]
) -> list[tuple[str, str, str]]:
    """Return rows of the table `shared_keys`: keys of submissions that got an existing task, but not `known`
    keys.
    """
    return [
        (key.key, key.request, outcome.status.task_id)
        for wanted, outcome in outcomes
        if isinstance(outcome, Task) and outcome.status.task_id != wanted.task.status.task_id
        if (key := wanted.idempotency) and key.key not in known
    ]


class Adding(Protocol):
    """A change that adds a task, unless an existing one takes its place."""

    outcome: Task | AppError

    @property
    def wanted(self) -> Submission: ...

    @property
    def shared_wish(self) -> str | None: ...


def to_be_inserted(
    adds: Iterable[AnAdd],
    known: Mapping[str, tuple[str, Task]],
    shared: Mapping[str, Task],
    instead: Mapping[str, Task],
    free: int,
    rooms: Mapping[str, WaitingPlaces] = MappingProxyType({}),
) -> tuple[list[AnAdd], list[tuple[AnAdd, AnAdd]]]:
    """Return the `adds` that become tasks, at most `free`; and pairs of an add and the other one whose task
    it shares. Set the outcomes of all others.

    `known`: idempotency key -> stored request and task. `shared`: wish -> task. `instead`: id that a
    submission names -> task. `rooms`: person with a limit -> places left.
    """
    new: list[AnAdd] = []
    sharing: list[tuple[AnAdd, AnAdd]] = []
    first_of: dict[str, AnAdd] = {}  # by their wishes
    for add in adds:
        key, wish = add.wanted.idempotency, add.shared_wish
        if key and key.key in known:
            request, task = known[key.key]
            add.outcome = task if key.is_of(request) else IdempotencyMismatch()
        elif (other := add.wanted.instead) and other in instead:
            add.outcome = instead[other]
        elif wish and wish in shared:
            add.outcome = shared[wish]
        elif wish and wish in first_of:
            sharing.append((add, first_of[wish]))
        elif add.wanted.refusal:
            add.outcome = add.wanted.refusal
        elif (share := rooms.get(add.wanted.task.status.owner or "")) and share.places < 1:
            add.outcome = share.refusal
        elif len(new) < free:
            new.append(add)
            if share:
                share.places -= 1
            if wish:
                first_of[wish] = add
        else:
            add.outcome = QueueFull()
    return new, sharing


def counted(rows: Iterable[Sequence[Any]]) -> dict[Stage, int]:
    """Return the number of tasks by stage, without stages unknown to this release, which no list shows."""
    return {Stage(stage): count for stage, count in rows if stage in _STAGES}


def task_values(task: Task, find_short: FindShort) -> tuple[object, ...]:
    """Return the columns task_id and request, and those of `status_values`."""
    assert task.request  # a new task's request is of this release
    return task.status.task_id, to_be_stored(task.request), *status_values(task.status, find_short)


def status_values(status: TaskStatus, find_short: FindShort) -> tuple[object, ...]:
    """Return the columns revision, stage, priority (which holds the urgency), status, short, search,
    ended_at and owner.
    """
    # The unique part of the files' public names, which all files of a task share.
    shorts = (find_short(file.name) for file in status.files.values())
    searched = (status.video_info.title, status.video_info.uploader, status.url)
    ended_at = (status.completed_at or status.created_at) if status.stage.is_final else None
    return (
        status.revision,
        status.stage.value,
        status.urgency,
        to_be_stored(status),
        next((short for short in shorts if short), None),
        "\n".join(folded(text) for text in searched if text),
        int(ended_at.timestamp()) if ended_at else None,
        status.owner,
    )


def to_be_stored(value: BaseModel) -> str:
    """Return the JSON of the fields that were set, in the order of their names, without those that are None.

    `model_dump_json` would visit dozens of unset fields, at twice the CPU time.
    """
    fields = vars(value) | value.__pydantic_extra__ if value.__pydantic_extra__ else vars(value)
    names = sorted(value.__pydantic_fields_set__)
    stored = {name: fields[name] for name in names if fields[name] is not None}
    if "stage" in stored:
        stored["stage"] = stored["stage"].value  # pydantic takes four times as long to find out the type
    return _ANYTHING.to_json(stored, exclude_none=True, exclude_unset=True).decode()


def folded(text: str) -> str:
    """Casefold `text` and normalise it to NFC, so that case and the form of accents do not matter.

    Control characters become spaces.
    """
    if text.isascii() and text.isprintable():
        return text.lower()
    return unicodedata.normalize("NFC", text.casefold()).translate(_SPACES)
