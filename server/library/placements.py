"""What lies in the library: sets of files, one for each video and holder, and what becomes of them.

A *set* is what one task's video has in the library: film, sound, subtitles, NFO and pictures. Its holder is a
subscription, or nobody if a client asked for the one link. A set outlives its task: the library is its own
record of what lies there, so that it can be renamed, verified and deleted.

Decisions: docs/decisions/library.md
"""

import hashlib
import unicodedata
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, tzinfo
from typing import Any, BinaryIO, Literal, Protocol, get_args

from pydantic import ConfigDict, Field
from pydantic_core import to_json

from server.core.library import Library
from server.core.ports import Stream
from server.core.process_request import ProcessRequest
from server.core.task import InLibrary, Stage, TaskStatus
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
SetState = Literal["waiting", "telling", "placed", "redoing", "describing", "leaving"]
"""`telling`: it is placed, and its task is to be told; `redoing`: its files are to get other names, and NFO
files anew; `describing`: the NFO files alone; `leaving`: its files are to be deleted.
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
    """The set of a subscription's item; a later task of the same item has the same."""
    return FileSet(_digest(subscription_id, key), subscription_id, key, task_id, wanted)


def set_of_request(request: ProcessRequest | None, status: TaskStatus) -> FileSet | None:
    """The set of a completed task whose client wants it in the library; another task that fetches the same
    video in the same manner for the same place has the same set.
    """
    if request is None or request.library is None or status.stage is not Stage.COMPLETED or status.is_list:
        return None
    return set_asked_for(request, status, request.library)


def set_asked_for(request: ProcessRequest, status: TaskStatus, wanted: Library) -> FileSet:
    """The set of a task for a client who wants it in this place of the library."""
    key = key_of_status(status)
    place = to_json(wanted.model_dump(mode="json", exclude_defaults=True)).decode()
    set_id = _digest(NOBODY, key, request.manner(), place)
    return FileSet(set_id, NOBODY, key, status.task_id, wanted)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def folded(path: str) -> str:
    """Two paths with one folded form are one file on some file system."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def is_same_place(one: FileSet, other: FileSet) -> bool:
    """Whether both are of one task, and for one place."""
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
    """Names the show whose folder the film lies in."""
    if has_own_folder(wanted):
        first = template_of(wanted).partition("/")[0]
        return to_json([wanted.folder, first, film.show]).decode()
    return to_json([place.show]).decode()


def place_of_set(one: FileSet, zone: tzinfo) -> Place:
    """Where its files lie by what is known of it now."""
    return place_of(one.wanted, film_of(one, zone), one.folder if has_own_folder(one.wanted) else None)


def path_of(file: PlacedFile, place: Place) -> str:
    """The path that a file of a set has at `place`."""
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
    """The `set_id` of files for all sets of a folder."""
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
class SourceTold:
    """What a subscription's source says of itself; `pictures` are the roles of those that are stored."""

    subscription_id: str
    listed_as: ListedAs
    author: str | None = None
    description: str | None = None
    pictures: frozenset[str] = frozenset()


Reserved = Literal["reserved", "taken", "late"]


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
    """There is somebody's file at the path."""


class LibraryAway(Exception):
    """The library's folder is not there, or not marked as one."""


class Stopped(Exception):
    """Whoever asked for it has given up, or may not do it any more."""


Source = bytes | BinaryIO | Stream
Moved = Literal["moved", "missing"]
Trouble = Literal["missing", "unmarked", "read_only", "silent"]


class LibraryFiles(Protocol):
    """The library's folder. Methods raise `LibraryAway`, `FolderBlocked` and `OSError`."""

    def under(self, holds: Callable[[], bool]) -> "LibraryFiles":
        """The same folder; methods that change it change nothing once `holds` is false, and raise `Stopped`.
        It is called in threads.
        """
        ...

    async def trouble(self) -> Trouble | None:
        """What keeps this server from filling it, within seconds; raises nothing."""
        ...

    async def mark(self) -> None:
        """Make an existing folder a library."""
        ...

    async def clear(self, folder: str, base: str) -> None:
        """Delete what earlier tries to place files of `base` in `folder` have left."""
        ...

    async def put(
        self, file: PlacedFile, source: Source, base: str, tag: int, before: PlacedFile | None
    ) -> None:
        """Have the whole file at its path, which nobody sees before. One that is there with its content is
        the file; `before`, with another content, is replaced. Raises `PathTaken` if there is another one.
        """
        ...

    async def hashed(self, source: BinaryIO) -> str:
        """The SHA-256."""
        ...

    async def delete(self, file: PlacedFile) -> None:
        """Delete the file if it is there with its content, and folders that are empty then."""
        ...

    async def is_one(self, path: str, other: str) -> bool:
        """Whether two paths name one file, as those do that differ in case where case is folded."""
        ...

    async def any_at(self, paths: Sequence[str]) -> bool:
        """Whether anything has one of these paths."""
        ...

    async def move(self, file: PlacedFile, path: str) -> Moved:
        """Give the file another path; `missing`: it is at neither. Raises `PathTaken`."""
        ...

    def all_files(self) -> AsyncGenerator[list[tuple[str, int]], None]:
        """All files with their sizes, some at a time; links and what is hidden are passed over."""
        ...

    async def read(self, path: str, most: int) -> bytes:
        """The first bytes of a file; empty if it is none."""
        ...


class PlacementStore(Protocol):
    """A change is on disk when its method returns. All methods may raise `StoreUnavailable`.

    `late` and False mean: the lease of the set is not ours any more, and nothing was changed.
    """

    def listen(self, called: Callable[[], None]) -> None:
        """Call `called` when a set may have become due."""
        ...

    async def was_filled(self) -> bool:
        """Whether there is, or ever was, a library: then a folder without its mark is none."""
        ...

    async def note_marked(self) -> None:
        """The folder was marked as the library."""
        ...

    async def source_of(self, subscription_id: str, key: str) -> tuple[str, str | None, str | None] | None:
        """The key of a subscription's source, what that is called, and when the item with the `key` was
        published; None if there is none any more.
        """
        ...

    async def sources_of_show(self, file_set: FileSet) -> list[SourceTold]:
        """What is known of the sources whose films lie in the folder of the set's show, the oldest first."""
        ...

    async def source_picture(self, subscription_id: str, role: str) -> bytes | None:
        """The JPEG; None if there is none."""
        ...

    async def of_whole_folder(self, folder: str) -> list[PlacedFile]:
        """The files for all sets of a folder."""
        ...

    async def wanted_of(self, subscription_id: str) -> Library | None:
        """Where its files go now; None if it has ended, wants no place there, or cannot be read."""
        ...

    async def due_in(self, now: float) -> float | None:
        """Seconds until a set is due, at most 0 if one is; None if there is nothing to do."""
        ...

    async def claim(self, most: int, lease: float, now: float) -> list[Claimed]:
        """Up to `most` sets that are due, for `lease` seconds."""
        ...

    async def renew(self, file_set: FileSet, lease: float, now: float) -> bool:
        """Prolong a lease."""
        ...

    async def release(self, set_id: str, until: float) -> None:
        """End a lease that would end at `until`: the set may have been asked for anew meanwhile."""
        ...

    async def release_all(self) -> None:
        """End all leases: no server but this one, which has just started, places anything."""
        ...

    async def described(self, file_set: FileSet, about: Mapping[str, Any]) -> bool:
        """Store what the set is about."""
        ...

    async def counted(
        self, file_set: FileSet, show: str, folder: str, day: str, zone: tzinfo
    ) -> FileSet | Literal["late", "busy"]:
        """Give the set its day and index, once, and the folder that its `show` has, or else `folder`. If
        another one of the same task is to be in the same place, it `shares` that one's files; `busy`: that
        one will be placed in a moment.
        """
        ...

    async def reserve(
        self, file_set: FileSet, files: Sequence[PlacedFile], folder: Sequence[PlacedFile]
    ) -> Reserved:
        """Reserve the paths of `files`, all or none; those of the set that were only reserved are given up.

        `taken`: others have one of them. Of `folder`, files for all sets in it, those that nobody has are
        reserved as well.
        """
        ...

    async def settle(
        self, file_set: FileSet, files: Sequence[PlacedFile], gone: Sequence[str], now: float
    ) -> bool:
        """The set is placed: its files are `files`; what was at the paths `gone` was deleted."""
        ...

    async def put_off(
        self, file_set: FileSet, reason: Reason | None, not_before: float, blocked_by: str = ""
    ) -> None:
        """It could not be placed for now."""
        ...

    async def waiting_without(self, reason: Reason, now: float) -> list[FileSet]:
        """Some sets that wait for another reason, or none, unless somebody is at work on one that waits."""
        ...

    async def explain(self, sets: Sequence[FileSet], reason: Reason) -> None:
        """Sets that nobody is at work on wait for this `reason`."""
        ...

    async def waiting_for(self) -> dict[Reason, int]:
        """How many sets wait for which reason."""
        ...

    async def of_task(self, task_id: str, instead: str | None = None) -> OfTask:
        """Of a task without sets of its own, what the library has of the task `instead`, which has placed the
        same for it.
        """
        ...

    async def tell_ends(self, task_id: str, *, now: float | None) -> None:
        """Webhooks and people that were not told of the task's end yet are told its status as it is by now:
        at the time `now`, or, without one, when they would be anyway.
        """
        ...

    async def told(self, file_set: FileSet) -> None:
        """Its task was told that the set is placed."""
        ...

    async def folder_files(self, file_set: FileSet) -> list[PlacedFile]:
        """Those for all sets of the same folder, if no other one stays there; else those of its season,
        if no other one of that stays.
        """
        ...

    async def drop(self, file_set: FileSet, folder: Sequence[PlacedFile]) -> None:
        """Forget the set, whose files were deleted, and those of its folder."""
        ...

    async def leave_task(self, task_id: str) -> None:
        """Have all deleted that a task has placed; its items become `expired`."""
        ...

    async def page(self, after: str, limit: int) -> list[tuple[FileSet, list[PlacedFile]]]:
        """Sets that are placed, with their files, in the order of their ids, behind the id `after`."""
        ...

    async def newest_of(self, show: str) -> FileSet | None:
        """The placed set of a show with the latest day."""
        ...

    async def moves(self) -> bool:
        """Whether sets are being done anew, and nothing keeps them from that."""
        ...

    async def indexes(self, series: str, day: str) -> dict[str, int]:
        """The `day_index` of each set of a day in a folder, which is folded."""
        ...

    async def is_owners_folder(self, folder: str) -> bool:
        """Whether somebody has given a show this folder by hand."""
        ...

    async def shows_of(self, set_ids: Iterable[str]) -> dict[str, tuple[str, str]]:
        """Of those sets that are placed, the show and its folder."""
        ...

    async def folder_moved(self, show: str, folder: str, now_in: str) -> None:
        """A show's folder was renamed by hand: from now on its sets, and what they have in common, belong to
        the new one.
        """
        ...

    async def set_missing(self, files: Sequence[PlacedFile], *, missing: bool) -> None:
        """Files are not where they were placed, or are there again; who has them is told."""
        ...

    async def redo(self, sets: Sequence[FileSet], state: Literal["redoing", "describing"]) -> int:
        """Have placed sets done anew from their own files, as their `wanted` and `folder` say here; return
        how many.
        """
        ...

    async def at(self, paths: Sequence[str]) -> dict[str, PlacedFile]:
        """The files that should be at these paths, by their folded paths."""
        ...

    async def files_after(self, after: str, limit: int) -> list[PlacedFile]:
        """Files that are placed, or missing, in the order of their folded paths, behind `after`."""
        ...

    async def found_at(self, file: PlacedFile, path: str) -> bool:
        """A file lies at another path than is noted; False if that is another's by now."""
        ...

    async def extractors(self) -> list[str]:
        """The first words of the keys of items, at most some hundreds."""
        ...

    async def links_not_fetched(self, after: str, limit: int) -> list[str]:
        """The keys, in their order, of items that are `known`, `waiting` or `failed` and that only their link
        identifies, behind the key `after`.
        """
        ...

    async def adopt(self, keys: Sequence[str], now: float, *, dry_run: bool) -> list[str]:
        """Those of `keys` that items have which are `known`, `waiting` or `failed`: they are fetched now."""
        ...

    async def sets_of_task(self, task_id: str) -> list[FileSet]:
        """The sets that a task has, and those that it would have for its items: their subscriptions may have
        got a library since.
        """
        ...

    async def place(self, sets: Sequence[FileSet]) -> None:
        """Have these sets placed, anew if they are."""
        ...

    async def films_of_items(self, subscription_id: str, keys: Sequence[str]) -> dict[str, list[str]]:
        """The paths of the films and the sound alone that items have placed."""
        ...

    async def items_in_library(self, subscription_id: str, keys: Sequence[str]) -> dict[str, InLibrary]:
        """What the library has of those items that have something there, or wait for that."""
        ...
