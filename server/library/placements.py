"""What lies in the library: sets of files, one for each video and holder, and what becomes of them.

A *set* is what one task's video has in the library: film, sound, subtitles, NFO and pictures. Its holder is a
subscription, or nobody if a client asked for the one link. A set outlives its task: the library is its own
record of what lies there, so that it can be renamed, verified and deleted.

Decisions: docs/decisions/library.md
"""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, tzinfo
from typing import Any, BinaryIO, Literal, get_args

from pydantic import ConfigDict, Field
from pydantic_core import to_json

from server.core.library import Library
from server.core.ports import Stream
from server.core.process_request import ProcessRequest
from server.core.task import InLibrary, TaskStatus
from server.core.values import Frozen
from server.library.layouts import template_of
from server.library.library_names import (
    Film,
    ListedAs,
    Place,
    day_of,
    episode_of,
    has_own_folder,
    place_of,
)
from server.memory.remembering import key_of_status

_KNOWN = {one.name for one in fields(Film)} - {"key", "day", "episode", "chapters", "tags", "added_at"}
SetState = Literal["waiting", "asked", "telling", "placed", "redoing", "describing", "leaving"]
"""`asked`: its task has ended without files, and may be retried; `telling`: it is placed, and its task is to
be told; `redoing`: its files are to get other names, and NFO files anew; `describing`: the NFO files, and the
pictures of its show, alone; `leaving`: its files are to be deleted.
"""
Reason = Literal["away", "full", "blocked", "files_gone"]
"""Why a set is not placed: the library, or the storage of finished files, is away; its disk is full; a file,
a link or a folder that cannot be written is in the way; the task's files are not there any more.
"""
REASONS: tuple[Reason, ...] = get_args(Reason)
OTHER_TASKS = "other_tasks"
"""In `FileSet.about`: ids of earlier tasks that have fetched the same for the same place."""
NOBODY = ""
"""The holder of what a client has asked for by its link."""


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """`path` is relative to the library's folder, with `/`. While it is `reserved`, there may be a file of
    this size and hash, or none; one that is `missing` was not found when somebody looked for all. Files of a
    whole folder, such as a cover, have the set `of_folder`.
    """

    path: str
    set_id: str
    kind: str
    size: int
    sha256: str
    state: Literal["reserved", "placed", "missing"] = "reserved"


@dataclass(frozen=True, slots=True)
class FileSet:
    """`about` is what names and NFO files are made of, empty until the set is placed for the first time.

    `show` names whose `folder` it lies in: the folder stays, whatever the show is called later. Of the sets
    of a folder with the same `day`, `day_index` tells which one it is; both are given once. `shares`: its
    files are those of that other set, whose holder wants the same video in the same place. `blocked_by` is
    the path for the reason `blocked`, empty for the library's own folder. `try_no` counts
    the tries to place it: the fence against one that was taken for lost. Times are seconds since 1970.
    """

    set_id: str
    holder: str
    key: str
    task_id: str
    wanted: Library
    state: SetState = "waiting"
    reason: Reason | None = None
    blocked_by: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    show: str | None = None
    folder: str | None = None
    day: str | None = None
    day_index: int | None = None
    shares: str | None = None
    not_before: float = 0.0
    lease_until: float | None = None
    try_no: int = 0
    tries: int = 0
    placed_at: float | None = None


def set_of_item(subscription_id: str, key: str, task_id: str, wanted: Library) -> FileSet:
    """Return the set of a subscription's item, the same for each task of the item."""
    return FileSet(_digest(subscription_id, key), subscription_id, key, task_id, wanted)


def set_asked_for(request: ProcessRequest, status: TaskStatus, wanted: Library) -> FileSet:
    """Return the set of a task for a client that wants it at this place of the library; another task that
    fetches the same video in the same manner for the same place has the same set.
    """
    key = key_of_status(status)
    place = to_json(wanted.model_dump(mode="json", exclude_defaults=True)).decode()
    mine = [status.owner] if status.owner else []  # two people have two sets
    set_id = _digest(NOBODY, key, request.manner(), place, *mine)
    return FileSet(set_id, NOBODY, key, status.task_id, wanted)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def folded(path: str) -> str:
    """Fold a path: two paths with one folded form are the same file on some file systems."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def is_same_place(one: FileSet, other: FileSet) -> bool:
    """Return whether both sets are of one task, and for one place."""
    what = (one.task_id, one.key, one.wanted.form, one.wanted.folder, one.wanted.name)
    return what == (other.task_id, other.key, other.wanted.form, other.wanted.folder, other.wanted.name)


def film_of(one: FileSet, zone: tzinfo) -> Film:
    """What the names of a set's files are made of; `about` must be known. Days are those of `zone`."""
    about: dict[str, Any] = {name: value for name, value in one.about.items() if name in _KNOWN}
    found_at = one.about.get("found_at", 0.0)
    day = date.fromisoformat(one.day) if one.day else day_of(about.get("published_at"), found_at, zone)
    added_at = datetime.fromtimestamp(found_at, UTC)
    episode = episode_of(day, one.day_index or 1)
    tags = tuple(one.about.get("tags", ()))
    return replace(Film(key=one.key, day=day, episode=episode, tags=tags, added_at=added_at), **about)


def show_of(wanted: Library, film: Film, place: Place) -> str:
    """Return the key of the show in whose folder the film lies."""
    if has_own_folder(wanted):
        first = template_of(wanted).partition("/")[0]
        return to_json([wanted.folder, first, film.show]).decode()
    return to_json([place.show]).decode()


def place_of_set(one: FileSet, zone: tzinfo) -> Place:
    """Return where the set's files belong, by its present facts."""
    return place_of(one.wanted, film_of(one, zone), one.folder if has_own_folder(one.wanted) else None)


def path_of(file: PlacedFile, place: Place) -> str:
    """Return the path that a file of the set has if the set is at `place`."""
    name = file.path.rpartition("/")[2]
    ending = name.rpartition(".")[2]
    if file.kind.startswith("subtitle."):
        return place.path("subtitles", ending, file.kind.removeprefix("subtitle."))
    if file.kind in ("nfo", "thumb", "poster", "fanart", "cover"):
        return place.path(file.kind, ending)  # type: ignore[arg-type]
    return place.path("film", ending)


def folders_above(path: str) -> list[str]:
    names = path.split("/")[:-1]
    return ["/".join(names[:count]) for count in range(1, len(names) + 1)]


def of_folder(folder: str) -> str:
    """Return the `set_id` of files that all sets of a folder share."""
    return f"folder {folded(folder)}"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A set that this server is to place, or to delete, and its files: nobody else does it before its lease
    ends.
    """

    file_set: FileSet
    files: Sequence[PlacedFile] = ()


@dataclass(frozen=True, slots=True)
class OfTask:
    """What the library has of a task, None if nothing. `drops`: the task is to be deleted, once nobody is to
    be told of its end any more (`is_untold`), as a deleted task tells nobody.
    """

    library: InLibrary | None
    drops: bool = False
    is_untold: bool = False


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """What a subscription's source says of itself; `pictures` are the roles of those that are stored."""

    subscription_id: str
    listed_as: ListedAs
    author: str | None = None
    description: str | None = None
    pictures: frozenset[str] = frozenset()


Reserved = Literal["reserved", "taken", "late"]
PlacingOutcome = Literal["done", "taken", "late"]
"""`taken`: another file has one of the names; `late`: another server has the set, or its paths
belong to another set.
"""


class LibraryRequest(Frozen):
    """The body of `POST /api/library/actions`."""

    model_config = ConfigDict(strict=True)

    action: Literal["rename", "rewrite_nfo", "verify"]
    dry_run: bool = Field(default=False, description="only say what would be done")


class PlaceRequest(Frozen):
    """The body of `POST /api/tasks/{task_id}/place`."""

    model_config = ConfigDict(strict=True)

    library: Library | None = Field(default=None, strict=False, description="where, instead of what is known")


class FolderBlocked(Exception):
    """A symbolic link or a file stands where a folder of the library should be, or the folder cannot be
    written; `args` is its path.
    """


class PathTaken(Exception):
    """Another file, not of this server, is at the path."""


class LibraryAway(Exception):
    """The library's folder is not there, or not marked as one."""


class Stopped(Exception):
    """The caller waits no longer, or its server may not change the library any more."""


Source = bytes | BinaryIO | Stream
Moved = Literal["moved", "missing"]
Trouble = Literal["missing", "unmarked", "read_only", "silent"]
