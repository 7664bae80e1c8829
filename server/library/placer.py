"""Fills the library: places the files of tasks there, and deletes those that are not kept any more.

Every node that has the library's folder does it; the store hands out each set by a lease. After a crash, the
next server finds the reserved paths and continues. Without `library.path` none of this runs.

Decisions: docs/decisions/library.md
"""

import errno
import hashlib
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from functools import partial
from typing import Any, Literal

from server.core.clock import Clock, stopwatch
from server.core.errors import AppError, FileNotFound, StorageAway, StoreUnavailable, TaskNotFound
from server.core.film import StoredFile
from server.core.ports import FileStore, Stream
from server.core.task import Stage, TaskStatus
from server.library import nfo
from server.library.layouts import SHARED, Role, has_nfo, rules_of
from server.library.library_names import Place, has_own_folder, is_of_source, pictures_of, place_of
from server.library.placement_rows import PlacementRows
from server.library.placements import (
    NOBODY,
    OTHER_TASKS,
    Claimed,
    FileSet,
    FolderBlocked,
    LibraryAway,
    OfTask,
    PathTaken,
    PlacedFile,
    Reason,
    Source,
    SourceDescription,
    Stopped,
    Trouble,
    film_of,
    folded,
    folders_above,
    of_folder,
    path_of,
    place_of_set,
    show_of,
)
from server.library.placing import PlacedFiles
from server.tasks import leases
from server.tasks.leases import Lease, LeasedWork, leased, until_released
from server.tasks.service import Tasks

log = logging.getLogger(__name__)

AT_ONCE = 2  # sets
LOOK_EVERY = 20.0  # seconds between checks of the folder: a library that is back is filled within a minute
SOON = 1.0  # seconds until the next claim, where one claim did not take all
BUSY = 5.0  # seconds, while another set holds the same paths
AGAIN, LATEST_AGAIN = 30.0, 600.0  # seconds between tries, doubled each time
UNTIL_RETRIED = 12 * 3600.0  # seconds between looks whether a task without files is still there
MOST_NAMES = 50  # that are tried where others have them
_ENDINGS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A file to be placed: where, and what is in it. `stored` is a file of the task, else it is `content`.

    `replaces`: one of ours that is there with another content is replaced, though it is for a whole folder.
    """

    file: PlacedFile
    is_shared: bool = False
    stored: StoredFile | None = None
    content: bytes = b""
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class ShowArtwork:
    """What the source of a show says for its whole folder; `source` None: nothing.

    `pictures` are those that take the place of the first film's.
    """

    source: SourceDescription | None = None
    pictures: Mapping[Role, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Move:
    """`file` is to be renamed to `path`."""

    file: PlacedFile
    path: str

    @property
    def target(self) -> PlacedFile:
        return replace(self.file, path=self.path)


Outcome = Literal["done", "taken", "late"]
"""`taken`: another file has one of the names; `late`: another server has the set, or another set its
paths.
"""


class Placer:
    """`run` it for as long as the server runs. Days in names are those of `zone`."""

    def __init__(
        self,
        store: PlacementRows,
        tasks: Tasks,
        files: FileStore,
        library: PlacedFiles,
        clock: Clock,
        zone: tzinfo,
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._files = files
        self._library = library
        self._clock = clock
        self._zone = zone
        self._placings = LeasedWork("library", AT_ONCE)
        self._trouble: Trouble | None = None
        self._logged: Reason | None = None  # the last reason for which it could not be filled
        self._is_alone = False
        self._waiting = frozenset[str]()  # unplaced sets at the last check, while the folder was away

    async def run(self, *, alone: bool) -> None:
        """Place until cancelled; `alone`: no other server does."""
        self._store.listen(self._placings.called.set)
        self._is_alone = alone
        if alone:
            await until_released(self._store.release_all)
        with suppress(StoreUnavailable):
            await self.is_there()
        await self._placings.run(self._begin, LOOK_EVERY)

    @property
    def _now(self) -> float:
        return self._clock.now().timestamp()

    async def _begin(self) -> float:
        """Begin what is due; return the seconds until something may be."""
        wait = await self._store.due_in(self._now)
        if wait is None or wait > 0:
            return LOOK_EVERY if wait is None else wait
        if not await self.is_there():
            await self._explain("blocked" if self._trouble == "read_only" else "away")
            return LOOK_EVERY
        if not self._placings.room:
            return LOOK_EVERY
        asked_at = stopwatch()
        for claimed in await self._store.claim(self._placings.room, leases.LEASE, self._now):
            self._placings.begin(self._work(claimed, asked_at), f"place {claimed.file_set.set_id}")
        if not self._placings.room:
            return LOOK_EVERY
        wait = await self._store.due_in(self._now)  # the claimed sets may have needed no work
        return LOOK_EVERY if wait is None else max(wait, SOON)

    async def is_there(self) -> bool:
        """Say whether the folder is there; mark a folder that never was a library as one."""
        trouble = await self._library.trouble()
        if trouble == "unmarked" and not await self._store.was_filled():
            with suppress(OSError, LibraryAway):
                await self._library.mark()
                await self._store.note_marked()
                trouble = await self._library.trouble()
        if trouble != self._trouble:
            self._trouble = trouble
            log.log(
                logging.WARNING if trouble else logging.INFO,
                "the library cannot be filled: %s" if trouble else "the library is there%s",
                trouble or "",
            )
        return trouble is None

    async def _explain(self, reason: Reason) -> None:
        """Say of what waits that the folder is away, unless it is another node that has the folder: what
        nobody has begun from one look to the next waits.
        """
        waiting = await self._store.waiting_without(reason, self._now)
        sets = [one for one in waiting if self._is_alone or one.set_id in self._waiting]
        self._waiting = frozenset(one.set_id for one in waiting)
        await self._store.explain(sets, reason)
        for one in sets:
            await self._tell_tasks(one)

    async def _work(self, claimed: Claimed, asked_at: float) -> None:
        one = claimed.file_set
        until = one.lease_until or 0.0

        async def renew() -> bool:
            nonlocal until
            now = self._now
            is_ours = await self._store.renew(one, leases.LEASE, now)
            if is_ours:
                until = now + leases.LEASE
            return is_ours

        async with leased(renew, one.set_id, asked_at) as lease:
            await self._process_set(lease, claimed)
        with suppress(StoreUnavailable):
            await self._store.release(one.set_id, until)

    async def _process_set(self, lease: Lease, claimed: Claimed) -> None:
        """Place a set, update its tasks' statuses, or delete it; retry what fails."""
        one = claimed.file_set
        library = self._library.under(lease.holds)
        reason: Reason | None = None
        delay, blocked_by = AGAIN, ""
        try:
            match one.state:
                case "telling":
                    await self._report_to_tasks(one)
                case "leaving":
                    await self._delete_set(claimed, library)
                case "redoing" | "describing":
                    await self._rename_files(claimed, library)
                case _:
                    await self._place_files(claimed, library)
        except StoreUnavailable:
            return
        except Stopped:
            log.info("the lease of set %s of the library is over: another server may have it", one.set_id)
            return
        except LibraryAway:
            reason, delay = "away", LOOK_EVERY
        except FolderBlocked as exc:
            blocked_by = str(exc)
            if (one.reason, one.blocked_by) != ("blocked", blocked_by):
                log.error("the library has a link, a file or no permission where it needs %r", blocked_by)
            reason, delay = "blocked", self._delay(one)
        except StorageAway:
            reason = "away"
        except FileNotFound:
            log.error("a file of task %s is not there, and cannot be placed", one.task_id)
            reason, delay = "files_gone", self._delay(one)
        except PathTaken:
            delay = AGAIN  # another set has taken the name: another name is tried
        except ValueError:  # the task's row is damaged, or only a newer release can read it
            log.error("task %s cannot be read, and is not placed", one.task_id)
            delay = self._delay(one)
        except OSError as exc:
            is_full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
            reason, delay = ("full", AGAIN) if is_full else ("blocked", self._delay(one))
            if reason != self._logged:  # once, not for each of thousands
                log.error("the library cannot be filled: %s", exc)
            self._logged = reason
        else:
            self._logged = None
            return
        with suppress(StoreUnavailable):
            await self._put_off(one, reason, delay, blocked_by)

    async def _put_off(self, one: FileSet, reason: Reason | None, delay: float, blocked_by: str = "") -> None:
        """Retry later, and record the reason once in the statuses of the set's tasks."""
        await self._store.put_off(one, reason, self._now + delay, blocked_by)
        if one.state == "waiting" and (one.reason, one.blocked_by) != (reason, blocked_by):
            await self._tell_tasks(one)

    def _delay(self, one: FileSet) -> float:
        return min(AGAIN * 2.0 ** min(one.tries, 10), LATEST_AGAIN)

    async def _place_files(self, claimed: Claimed, library: PlacedFiles) -> None:
        """Place what a task has fetched, once it has ended, under the first name that is free."""
        status = await self._status_to_place(claimed, library)
        file_set = await self._number_set(claimed, status) if status else None
        if status is None or file_set is None:
            return
        for place in _names(place_of_set(file_set, self._zone)):
            outcome = await self._place_at(place, claimed, file_set, status, library)
            if outcome == "late":
                await self._store.put_off(file_set, None, self._now + BUSY)
            if outcome != "taken":
                return
        log.error("task %s is not placed: all names for it are taken", file_set.task_id)
        blocked_by = place_of_set(file_set, self._zone).path("film", "")[:-1]
        await self._put_off(file_set, "blocked", LATEST_AGAIN, blocked_by)

    async def _place_at(
        self,
        place: Place,
        claimed: Claimed,
        file_set: FileSet,
        status: TaskStatus,
        library: PlacedFiles,
    ) -> Outcome:
        """Reserve the paths, place the files there, and delete files that the set had before and has no
        more.
        """
        pieces = await self._pieces(file_set, status, place)
        own = [piece.file for piece in pieces if not piece.is_shared]
        shared = [piece.file for piece in pieces if piece.is_shared]
        reserved = await self._store.reserve(file_set, own, shared)
        if reserved != "reserved":
            return reserved
        try:
            shared = await self._put_all(claimed, library, file_set, place, pieces)
        except PathTaken:
            # Undo what was placed under a name that turned out to be taken.
            placed_before = {file.path for file in claimed.files if file.state == "placed"}
            for file in own:
                if file.path not in placed_before:
                    await library.delete(file)
            return "taken"
        own_paths = {file.path for file in own}
        gone = [file for file in claimed.files if file.path not in own_paths]
        gone += await self._replaced(file_set, pieces)
        for file in gone:
            if not await self._is_there_as(file.path, [*own, *shared]):
                await library.delete(file)
        gone_paths = [file.path for file in gone]
        if await self._store.settle(file_set, [*own, *shared], gone_paths, self._now):
            log.info("%s is in the library: %s", file_set.task_id, own[-1].path if own else "by another")
        return "done"

    async def _status_to_place(self, claimed: Claimed, library: PlacedFiles) -> TaskStatus | None:
        """Return the task whose files are to be placed now; None, which is recorded, if there are none."""
        one = claimed.file_set
        try:
            status = await self._tasks.status(one.task_id)
        except TaskNotFound:
            # The task was deleted before its files were placed. Files of an earlier task of the video stay.
            if placed := [file for file in claimed.files if file.state == "placed"]:
                await self._store.settle(one, placed, [], self._now)
            else:
                await self._delete_set(claimed, library)
            return None
        if not status.stage.is_final:  # it is fetched anew, and then placed anew
            await self._store.put_off(one, None, self._now + AGAIN)
            return None
        if not status.files and status.stage is not Stage.COMPLETED and one.holder == NOBODY:
            # A shared task that failed waits here for its retry, after which its files are placed.
            await self._store.wait_for_retry(one, self._now + UNTIL_RETRIED)
            return None
        if not status.files:
            await self._delete_set(claimed, library)
            return None
        return status

    async def _number_set(self, claimed: Claimed, status: TaskStatus) -> FileSet | None:
        """The set with what its names are made of, its show and its number of the day; None if another server
        has it, or another set places the files for it, which is noted.
        """
        about = await self._about(claimed.file_set, status)
        if not await self._store.store_about(claimed.file_set, about):
            return None
        one = replace(claimed.file_set, about=about)
        film = film_of(one, self._zone)
        named = place_of(one.wanted, film)
        show = show_of(one.wanted, film, named)
        numbered = await self._store.assign_place(one, show, named.show, film.day.isoformat(), self._zone)
        if numbered == "late":
            return None
        if numbered == "busy":
            await self._store.put_off(one, None, self._now + BUSY)
            return None
        if numbered.shares is not None:
            await self._store.settle(numbered, [], [file.path for file in claimed.files], self._now)
            return None
        return numbered

    async def _rename_files(self, claimed: Claimed, library: PlacedFiles) -> None:
        """Give the files of a set the names that it is to have now, and write its NFO files anew.

        A set that is only to be described keeps its names.
        """
        file_set = claimed.file_set
        films = [file.path for file in claimed.files if file.kind in ("video", "audio")]
        if films and not await self._library.any_at(films):  # the library's owner has deleted them
            placed = [file for file in claimed.files if file.state == "placed"]
            await self._store.settle(file_set, placed, [], self._now)
            return
        first = place_of_set(file_set, self._zone)
        if file_set.state == "describing":  # where its films are, wherever that is
            folder, _, name = (films or [f"{first.folder}/{first.base}."])[0].rpartition("/")
            first = replace(first, folder=folder, base=name.rpartition(".")[0])
        # Rows that are only reserved say where a server that was killed may have moved these files already.
        files = [file for file in claimed.files if file.kind != "nfo" and file.state == "placed"]
        for place in _names(first):
            outcome, files = await self._rename_to(place, files, claimed, library)
            if outcome == "late":
                await self._store.put_off(file_set, None, self._now + BUSY)
            if outcome != "taken":
                return
        await self._put_off(file_set, "blocked", LATEST_AGAIN, first.folder)

    async def _rename_to(
        self, place: Place, files: list[PlacedFile], claimed: Claimed, library: PlacedFiles
    ) -> tuple[Outcome, list[PlacedFile]]:
        """Reserve the new paths, write the NFO files, move `files`, and delete what is left of the old names.

        Returns `files` as they are called then: some may have been moved when a name turns out to be taken.
        """
        file_set = claimed.file_set
        moves = [Move(file, file.path) for file in files]
        if file_set.state != "describing":
            moves = [Move(file, path_of(file, place)) for file in files]
        show = await self._show_artwork(file_set, place)
        written = self._described(file_set, place, show) if has_nfo(file_set.wanted) else []
        written += self._pictured(file_set, place, show)
        own = [move.target for move in moves] + [piece.file for piece in written if not piece.is_shared]
        others = [file.path for file in own if not await self._is_there_as(file.path, claimed.files)]
        if await self._library.any_at(others):
            return "taken", files
        reserved = await self._store.reserve(
            file_set, own, [piece.file for piece in written if piece.is_shared]
        )
        if reserved != "reserved":
            return reserved, files
        there, shared = await self._write_anew(claimed, library, place, written)
        moved, left = await self._move_files(library, moves)
        if left:  # another file was faster: all get another name
            paths_before = {file.path for file in claimed.files}
            for file in there:
                if file.path not in paths_before:
                    await library.delete(file)
            return "taken", [*moved, *left]
        there += moved
        paths = {file.path for file in there}
        gone = [file for file in claimed.files if file.path not in paths]
        for file in gone:
            if file.kind == "nfo" and not await self._is_there_as(file.path, there):
                await library.delete(file)
        pictures, of_folders = await self._empty_left_folders(library, file_set, place, gone, written)
        replaced = await self._replaced(file_set, written)
        for file in replaced:
            await library.delete(file)
        gone_paths = [file.path for file in (*gone, *of_folders, *replaced)]
        await self._store.settle(file_set, [*there, *shared, *pictures], gone_paths, self._now)
        return "done", there

    async def _empty_left_folders(
        self,
        library: PlacedFiles,
        one: FileSet,
        place: Place,
        gone: Iterable[PlacedFile],
        written: Sequence[Piece],
    ) -> tuple[list[PlacedFile], list[PlacedFile]]:
        """Where no set lies any more in a folder that this one has left, the files of that folder go.

        Return those that the set's folder has got of them, and those that are gone from there.
        """
        pictures, left = list[PlacedFile](), list[PlacedFile]()
        anew = [piece.file.path for piece in written]
        for folder in {above for file in gone for above in folders_above(file.path)} - {one.folder}:
            for file in await self._store.folder_files(replace(one, folder=folder)):
                if await self._is_there_as(file.path, [piece.file for piece in written]):
                    continue
                if picture := await self._move_shared_picture(library, one, place, folder, file, anew):
                    pictures.append(picture)
                else:
                    await library.delete(file)
                left.append(file)
        return pictures, left

    async def _is_there_as(self, path: str, files: Iterable[PlacedFile]) -> bool:
        """Whether one of `files` has this path, or another case of it where that is the same file."""
        name = next((file.path for file in files if folded(file.path) == folded(path)), None)
        return name is not None and (name == path or await self._library.is_one(path, name))

    async def _move_files(
        self, library: PlacedFiles, moves: Sequence[Move]
    ) -> tuple[list[PlacedFile], list[PlacedFile]]:
        """Move files. Return those that are there, and those not moved because another file has a new
        name.
        """
        there = list[PlacedFile]()
        for number, move in enumerate(moves):
            try:
                is_there = move.path == move.file.path or await library.move(move.file, move.path) == "moved"
            except PathTaken:
                return there, [each.file for each in moves[number:]]
            there += [move.target] if is_there else []
        return there, []

    async def _move_shared_picture(
        self,
        library: PlacedFiles,
        one: FileSet,
        place: Place,
        folder: str,
        file: PlacedFile,
        written: Collection[str],
    ) -> PlacedFile | None:
        """A picture that all sets of `folder` had in common, in the folder that they have now; None if it is
        not wanted there, was `written` there anew, or something else has its name.
        """
        wanted = (*pictures_of(place), "show_fanart") if one.wanted.with_artwork and one.folder else ()
        path = f"{one.folder}{file.path.removeprefix(folder)}"
        if path in written or file.kind not in wanted or not file.path.startswith(f"{folder}/"):
            return None
        with suppress(PathTaken):
            if await library.move(file, path) == "moved":
                return replace(file, path=path, set_id=of_folder(one.folder or ""))
        return None

    async def _write_anew(
        self, claimed: Claimed, library: PlacedFiles, place: Place, written: Sequence[Piece]
    ) -> tuple[list[PlacedFile], list[PlacedFile]]:
        """Write NFO files in the place of ours, not of those that somebody has edited; return those of the
        set, and those of its folder.
        """
        of_all = await self._store.at([piece.file.path for piece in written if piece.is_shared])
        before = of_all | {folded(file.path): file for file in claimed.files}
        own, shared = list[PlacedFile](), list[PlacedFile]()
        for folder in {place.folder, place.show}:
            await library.clear(folder, place.base)
        for piece in written:
            old = before.get(folded(piece.file.path))
            kept = shared if piece.is_shared else own
            try:
                await library.put(piece.file, piece.content, place.base, claimed.file_set.try_no, old)
                kept.append(piece.file)
            except PathTaken:
                kept += [old] if old else []
        return own, shared

    async def _about(self, one: FileSet, status: TaskStatus) -> dict[str, Any]:
        """Return the present facts of the video, of which names are made."""
        info = status.video_info
        about: dict[str, Any] = {
            OTHER_TASKS: one.about.get(OTHER_TASKS),
            "key": one.key,
            "url": info.webpage_url or status.url,
            "id": info.id,
            "extractor": info.extractor,
            "title": info.title,
            "channel": info.channel or info.uploader,
            "channel_id": info.channel_id,
            "published_at": info.published_at,
            "duration": info.duration,
            "found_at": status.created_at.timestamp(),
            "playlist_index": status.playlist_index,
            "user": status.owner,
            "description": status.about.description if status.about else None,
            "tags": list(status.about.tags) if status.about and status.about.tags else None,
        }
        if one.holder and (source := await self._store.source_of(one.holder, one.key)):
            about["playlist"] = source[1]
            about["published_at"] = info.published_at or source[2]
            if one.key.startswith("url "):  # an episode of a podcast, say: a file that knows of no channel
                about["published_at"] = source[2] or info.published_at  # nor when it was published
                about |= {"source": source[0], "channel": source[1] or about["channel"], "channel_id": None}
        if status.playlist_id:
            with suppress(AppError):
                about["playlist"] = (await self._tasks.status(status.playlist_id)).video_info.title
        return {name: value for name, value in about.items() if value is not None}

    async def _pieces(self, one: FileSet, status: TaskStatus, place: Place) -> list[Piece]:
        """Pictures, descriptions and subtitles first, the films last."""
        show = await self._show_artwork(one, place)
        pieces = self._pictured(one, place, show)
        if one.wanted.with_artwork and (picture := status.files.get("thumbnail") or status.thumbnail):
            roles = [role for role in pictures_of(place) if role not in show.pictures]
            pieces += [await self._stored(one, status, place, role, picture) for role in roles]
        if has_nfo(one.wanted):
            pieces += self._described(one, place, show)
        for kind, stored in status.files.items():
            if kind.startswith("subtitle."):
                pieces.append(await self._stored(one, status, place, "subtitles", stored, kind[9:]))
        for kind in ("audio", "video"):
            if film := status.files.get(kind):
                pieces.append(await self._stored(one, status, place, "film", film, kind=kind))
        first = {folded(piece.file.path): piece for piece in reversed(pieces)}
        return [piece for piece in pieces if first[folded(piece.file.path)] is piece]

    async def _show_artwork(self, one: FileSet, place: Place) -> ShowArtwork:
        """Return the facts of the oldest subscription to this source, so that they are the same for every
        film.
        """
        film, description, pictures = film_of(one, self._zone), None, dict[Role, bytes]()
        roles = rules_of(place.form).of_source if one.wanted.with_artwork else {}
        for source in await self._store.sources_of_show(one) if place.show else ():
            is_of = partial(
                is_of_source, one.wanted, film, source.listed_as, source.subscription_id == one.holder
            )
            if description is None and (source.description or source.author) and is_of("show_nfo"):
                description = source
            for role, picture in roles.items():
                if role in pictures or picture not in source.pictures or not is_of(role):
                    continue
                if content := await self._store.source_picture(source.subscription_id, picture):
                    pictures[role] = content
        return ShowArtwork(description, pictures)

    def _pictured(self, one: FileSet, place: Place, show: ShowArtwork) -> list[Piece]:
        """Return the pictures of the show's source."""
        set_id, pieces = of_folder(one.folder or ""), list[Piece]()
        for role, content in show.pictures.items():
            digest = hashlib.sha256(content).hexdigest()
            file = PlacedFile(place.path(role), set_id, role, len(content), digest)
            pieces.append(Piece(file, is_shared=True, content=content, replaces=True))
        return pieces

    async def _replaced(self, one: FileSet, pieces: Iterable[Piece]) -> list[PlacedFile]:
        """Pictures of films that the source's own have taken the place of, under a name of another form."""
        own = {piece.file.kind: piece.file.path for piece in pieces if piece.replaces}
        return [
            file
            for file in (await self._store.of_whole_folder(one.folder or "") if own else ())
            if file.kind in own
            and file.kind in ("show_poster", "cover")
            and _folder_of(file.path) == _folder_of(own[file.kind])
            and file.path != own[file.kind]
        ]

    def _described(self, one: FileSet, place: Place, show: ShowArtwork) -> list[Piece]:
        """The NFO files: of the film, and of a show whose folder it is."""
        film, source = film_of(one, self._zone), show.source
        written: list[tuple[Role, bytes]] = []
        is_episode = rules_of(place.form).has_episodes
        if is_episode and has_own_folder(one.wanted):
            plot, author = (source.description, source.author) if source else (None, None)
            written.append(("show_nfo", nfo.tvshow(film, self._zone, plot, author)))
        describe = nfo.episode if is_episode else nfo.movie
        written.append(("nfo", describe(film, self._zone)))
        pieces = []
        for role, content in written:
            is_shared = role in SHARED
            set_id = of_folder(one.folder or "") if is_shared else one.set_id
            digest = hashlib.sha256(content).hexdigest()
            file = PlacedFile(place.path(role), set_id, role, len(content), digest)
            pieces.append(Piece(file, is_shared, content=content, replaces=is_shared and source is not None))
        return pieces

    async def _stored(
        self,
        one: FileSet,
        status: TaskStatus,
        place: Place,
        role: Role,
        stored: StoredFile,
        language: str = "",
        kind: str = "",
    ) -> Piece:
        ending = _ENDINGS.get(stored.type) or stored.path.rpartition(".")[2].lower()
        path = place.path(role, ending, language)
        sha256 = stored.sha256
        if sha256 is None:  # of the first releases, and of thumbnails
            sha256 = await self._hashed(status, stored)
        is_shared = role in SHARED
        set_id = of_folder(one.folder or "") if is_shared else one.set_id
        kind = kind or (f"subtitle.{language}" if role == "subtitles" else role)
        return Piece(PlacedFile(path, set_id, kind, stored.size, sha256), is_shared, stored)

    async def _hashed(self, status: TaskStatus, stored: StoredFile) -> str:
        source = await self._files.open(status.task_id, stored)
        if not isinstance(source, Stream):
            with source:
                return await self._library.hashed(source)
        digest = hashlib.sha256()
        async for piece in source.read(range(stored.size)):
            digest.update(piece)
        return digest.hexdigest()

    async def _put_all(
        self, claimed: Claimed, library: PlacedFiles, one: FileSet, place: Place, pieces: Sequence[Piece]
    ) -> list[PlacedFile]:
        """Return those for the whole folder that are there."""
        shared: list[PlacedFile] = []
        before = {file.path: file for file in claimed.files}
        if of_source := [piece.file.path for piece in pieces if piece.replaces]:
            before |= {file.path: file for file in (await self._store.at(of_source)).values()}
        for folder in {place.folder, place.show}:
            await library.clear(folder, place.base)
        for piece in pieces:
            source: Source = piece.content
            if piece.stored:
                source = await self._files.open(one.task_id, piece.stored)
            try:
                await library.put(piece.file, source, place.base, one.try_no, before.get(piece.file.path))
                shared += [piece.file] if piece.is_shared else []
            except PathTaken:
                if not piece.is_shared:
                    raise
            finally:
                if not isinstance(source, bytes | Stream):
                    source.close()
        return shared

    async def _report_to_tasks(self, one: FileSet) -> None:
        is_untold = False
        for task_id, of_task in (await self._tell_tasks(one)).items():
            if of_task.drops and await self._has_all(one, task_id, of_task):
                is_untold |= of_task.is_untold
                if not of_task.is_untold:
                    with suppress(TaskNotFound):
                        await self._tasks.delete(task_id)
        if is_untold:
            await self._store.put_off(one, None, self._now + self._delay(one))
        else:
            await self._store.mark_placed(one)

    async def _has_all(self, one: FileSet, task_id: str, of_task: OfTask) -> bool:
        """Whether all files of the task are in the library, which takes no chapters, and pictures only where
        they are wanted. One that was retried meanwhile has others.
        """
        with suppress(TaskNotFound, ValueError):  # deleted; or its row is damaged
            status = await self._tasks.status(task_id)
            left = [kind for kind in status.files if kind.startswith("chapter.")]
            is_alone = "thumbnail" in status.files and not one.wanted.with_artwork
            is_all = bool(of_task.library and of_task.library.paths) and not left and not is_alone
            return is_all and status.stage is Stage.COMPLETED
        return False

    async def _tell_tasks(self, one: FileSet) -> dict[str, OfTask]:
        """Tell its task, and earlier ones, and those who are told of their ends; return what the library has
        of each. What this set has placed is also that of tasks that have no set of their own any more.
        """
        told = dict[str, OfTask]()
        for task_id in (*one.about.get(OTHER_TASKS, ()), one.task_id):
            told[task_id] = of_task = await self._store.of_task(task_id, one.set_id)
            library = of_task.library
            with suppress(TaskNotFound, ValueError):  # deleted; or its row is damaged
                await self._tasks.tell_of_library(task_id, library)
                if of_task.is_untold:
                    waits = library is not None and library.state == "waiting"
                    await self._store.tell_ends(task_id, now=None if waits else self._now)
        return told

    async def _delete_set(self, claimed: Claimed, library: PlacedFiles) -> None:
        one = claimed.file_set
        folder = await self._store.folder_files(one)
        for file in (*reversed(claimed.files), *folder):
            await library.delete(file)
        await self._store.drop(one, folder)
        await self._tell_tasks(one)


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def _names(first: Place) -> Iterator[Place]:
    """Yield the names to try, one after the other, as some may be taken."""
    yield first
    yield from (first.numbered(number) for number in range(2, MOST_NAMES + 1))
