"""Fills the library: places the files of tasks there, and deletes those that are not kept any more.

Every node that has the library's folder does it; the store hands out each set by a lease. After a crash, the
next server finds the reserved paths and continues. Without `library.path` none of this runs. Which files a
set is to have: `server.library.piece_builder`; how it gets other names: `server.library.set_renaming`.

Decisions: docs/decisions/library.md
"""

import errno
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import tzinfo
from typing import Any

from server.core.clock import Clock, stopwatch
from server.core.errors import AppError, FileNotFound, StorageAway, StoreUnavailable, TaskNotFound
from server.core.ports import FileStore, Stream
from server.core.task import Stage, TaskStatus
from server.library.library_names import Place, place_of
from server.library.piece_builder import Piece, PieceBuilder
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
    PlacingOutcome,
    Reason,
    Source,
    Stopped,
    Trouble,
    film_of,
    place_of_set,
    show_of,
)
from server.library.placing import PlacedFiles
from server.library.set_renaming import SetRenaming
from server.tasks import leases
from server.tasks.leases import Lease, LeasedWork, leased, until_released
from server.tasks.service import Tasks

log = logging.getLogger(__name__)

AT_ONCE = 2  # sets
LOOK_EVERY = 20.0  # seconds between checks of the folder: a library that is back is filled within a minute
SOON = 1.0  # seconds until the next claim, if more sets are due than one claim took
BUSY = 5.0  # seconds until a retry, while another set holds the same paths
AGAIN, LATEST_AGAIN = 30.0, 600.0  # seconds between tries, doubled each time
UNTIL_RETRIED = 12 * 3600.0  # seconds between checks whether a task without files still exists


class Placer:
    """Fills the library. Keep `run` running as long as the server runs. Days in names are those of `zone`."""

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
        self._pieces = PieceBuilder(store, files, library, zone)
        self._clock = clock
        self._zone = zone
        self._placings = LeasedWork("library", AT_ONCE)
        self._trouble: Trouble | None = None
        # The last reason, already logged, for which the library could not be filled.
        self._logged: Reason | None = None
        self._is_alone = False
        self._waiting = frozenset[str]()  # unplaced sets at the last check, while the folder was away

    async def run(self, *, alone: bool) -> None:
        """Place files until cancelled. `alone`: no other server places files."""
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
        """Begin to process sets that are due; return the seconds until another set may be due."""
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
        """Return whether the folder is there; mark a folder that never was a library as one."""
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
        """Record the reason for sets that wait because no node can place them: alone all that wait, else
        those that no node has begun since the last check.
        """
        waiting = await self._store.waiting_without(reason, self._now)
        sets = [file_set for file_set in waiting if self._is_alone or file_set.set_id in self._waiting]
        self._waiting = frozenset(file_set.set_id for file_set in waiting)
        await self._store.explain(sets, reason)
        for file_set in sets:
            await self._tell_tasks(file_set)

    async def _work(self, claimed: Claimed, asked_at: float) -> None:
        file_set = claimed.file_set
        until = file_set.lease_until or 0.0

        async def renew() -> bool:
            nonlocal until
            now = self._now
            is_ours = await self._store.renew(file_set, leases.LEASE, now)
            if is_ours:
                until = now + leases.LEASE
            return is_ours

        async with leased(renew, file_set.set_id, asked_at) as lease:
            await self._process_set(lease, claimed)
        with suppress(StoreUnavailable):
            await self._store.release(file_set.set_id, until)

    async def _process_set(self, lease: Lease, claimed: Claimed) -> None:
        """Place a set, update its tasks' statuses, or delete it; retry what fails."""
        file_set = claimed.file_set
        library = self._library.under(lease.holds)
        reason: Reason | None = None
        delay, blocked_by = AGAIN, ""
        try:
            match file_set.state:
                case "telling":
                    await self._report_to_tasks(file_set)
                case "leaving":
                    await self._delete_set(claimed, library)
                case "redoing" | "describing":
                    await self._rename_files(claimed, library)
                case _:
                    await self._place_files(claimed, library)
        except StoreUnavailable:
            return
        except Stopped:
            log.info("the lease of set %s has ended: another server may place it", file_set.set_id)
            return
        except LibraryAway:
            reason, delay = "away", LOOK_EVERY
        except FolderBlocked as exc:
            blocked_by = str(exc)
            if (file_set.reason, file_set.blocked_by) != ("blocked", blocked_by):
                log.error("the library has a link, a file or no permission where it needs %r", blocked_by)
            reason, delay = "blocked", self._delay(file_set)
        except StorageAway:
            reason = "away"
        except FileNotFound:
            log.error("a file of task %s is not there, and cannot be placed", file_set.task_id)
            reason, delay = "files_gone", self._delay(file_set)
        except PathTaken:
            delay = AGAIN  # another set has taken this name: the next try takes another one
        except ValueError:  # the task's row is damaged, or only a newer release can read it
            log.error("task %s cannot be read, and is not placed", file_set.task_id)
            delay = self._delay(file_set)
        except OSError as exc:
            is_full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
            reason, delay = ("full", AGAIN) if is_full else ("blocked", self._delay(file_set))
            if reason != self._logged:  # log it once, not for each of thousands of sets
                log.error("the library cannot be filled: %s", exc)
            self._logged = reason
        else:
            self._logged = None
            return
        with suppress(StoreUnavailable):
            await self._put_off(file_set, reason, delay, blocked_by)

    async def _put_off(
        self, file_set: FileSet, reason: Reason | None, delay: float, blocked_by: str = ""
    ) -> None:
        """Retry the set later, and record the reason once in the statuses of the set's tasks."""
        await self._store.put_off(file_set, reason, self._now + delay, blocked_by)
        if file_set.state == "waiting" and (file_set.reason, file_set.blocked_by) != (reason, blocked_by):
            await self._tell_tasks(file_set)

    def _delay(self, file_set: FileSet) -> float:
        """Return the seconds until the next try of a set. They double with each try."""
        return min(AGAIN * 2.0 ** min(file_set.tries, 10), LATEST_AGAIN)

    async def _place_files(self, claimed: Claimed, library: PlacedFiles) -> None:
        """Place what a task has fetched, once it has ended, under the first name that is free."""
        status = await self._status_to_place(claimed, library)
        file_set = await self._number_set(claimed, status) if status else None
        if status is None or file_set is None:
            return
        for place in place_of_set(file_set, self._zone).names_to_try():
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
    ) -> PlacingOutcome:
        """Reserve the paths, place the files there, and delete files that the set had before and has no
        more.
        """
        pieces = await self._pieces.pieces_of_task(file_set, status, place)
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
        gone += await self._pieces.replaced_pictures(file_set, pieces)
        for file in gone:
            if not await library.is_one_of(file.path, [*own, *shared]):
                await library.delete(file)
        gone_paths = [file.path for file in gone]
        if await self._store.settle(file_set, [*own, *shared], gone_paths, self._now):
            log.info("%s is in the library: %s", file_set.task_id, own[-1].path if own else "by another")
        return "done"

    async def _status_to_place(self, claimed: Claimed, library: PlacedFiles) -> TaskStatus | None:
        """Return the task whose files are to be placed now; None, which is recorded, if there are none."""
        file_set = claimed.file_set
        try:
            status = await self._tasks.status(file_set.task_id)
        except TaskNotFound:
            # The task was deleted before its files were placed. Files of an earlier task of the video stay.
            if placed := [file for file in claimed.files if file.state == "placed"]:
                await self._store.settle(file_set, placed, [], self._now)
            else:
                await self._delete_set(claimed, library)
            return None
        if not status.stage.is_final:  # the task is being fetched again; its files are placed afterwards
            await self._store.put_off(file_set, None, self._now + AGAIN)
            return None
        if not status.files and status.stage is not Stage.COMPLETED and file_set.holder == NOBODY:
            # A shared task that failed waits here for its retry, after which its files are placed.
            await self._store.wait_for_retry(file_set, self._now + UNTIL_RETRIED)
            return None
        if not status.files:
            await self._delete_set(claimed, library)
            return None
        return status

    async def _number_set(self, claimed: Claimed, status: TaskStatus) -> FileSet | None:
        """Return the set with the facts of its video, its show, and its number among the films of its day.

        None if another server has it, or if another set places the files for it, which is recorded.
        """
        facts = await self._facts_of_video(claimed.file_set, status)
        if not await self._store.store_about(claimed.file_set, facts):
            return None
        file_set = replace(claimed.file_set, about=facts)
        film = film_of(file_set, self._zone)
        place, day = place_of(file_set.wanted, film), film.day.isoformat()
        show = show_of(file_set.wanted, film, place)
        numbered = await self._store.assign_place(file_set, show, place.show, day, self._zone)
        if numbered == "late":
            return None
        if numbered == "busy":
            await self._store.put_off(file_set, None, self._now + BUSY)
            return None
        if numbered.shares is not None:
            await self._store.settle(numbered, [], [file.path for file in claimed.files], self._now)
            return None
        return numbered

    async def _rename_files(self, claimed: Claimed, library: PlacedFiles) -> None:
        """Give the files the names that they are to have now, and write the NFO files anew."""
        file_set = claimed.file_set
        renaming = SetRenaming(self._store, self._pieces, library, claimed, self._zone, now=lambda: self._now)
        match await renaming.run():
            case "late":
                await self._store.put_off(file_set, None, self._now + BUSY)
            case "taken":
                await self._put_off(file_set, "blocked", LATEST_AGAIN, renaming.first_place.folder)

    async def _facts_of_video(self, file_set: FileSet, status: TaskStatus) -> dict[str, Any]:
        """Return the present facts of the video, of which names are made (`FileSet.about`)."""
        info = status.video_info
        facts: dict[str, Any] = {
            OTHER_TASKS: file_set.about.get(OTHER_TASKS),
            "key": file_set.key,
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
        if file_set.holder and (source := await self._store.source_of(file_set.holder, file_set.key)):
            source_key, source_title, published_at = source
            facts["playlist"] = source_title
            facts["published_at"] = info.published_at or published_at
            # An extractor finds neither channel nor day in the link of a plain file, as podcasts have them.
            if file_set.key.startswith("url "):
                facts["published_at"] = published_at or info.published_at
                channel = source_title or facts["channel"]
                facts |= {"source": source_key, "channel": channel, "channel_id": None}
        if status.playlist_id:
            with suppress(AppError):
                facts["playlist"] = (await self._tasks.status(status.playlist_id)).video_info.title
        return {name: value for name, value in facts.items() if value is not None}

    async def _put_all(
        self, claimed: Claimed, library: PlacedFiles, file_set: FileSet, place: Place, pieces: Sequence[Piece]
    ) -> list[PlacedFile]:
        """Put the pieces into the library; return those that are there for the whole folder."""
        shared: list[PlacedFile] = []
        before = {file.path: file for file in claimed.files}
        if replaced_paths := [piece.file.path for piece in pieces if piece.replaces]:
            before |= {file.path: file for file in (await self._store.at(replaced_paths)).values()}
        for folder in {place.folder, place.show}:
            await library.clear(folder, place.base)
        for piece in pieces:
            source: Source = piece.content
            if piece.stored:
                source = await self._files.open(file_set.task_id, piece.stored)
            try:
                old = before.get(piece.file.path)
                await library.put(piece.file, source, place.base, file_set.try_no, old)
                if piece.is_shared:
                    shared.append(piece.file)
            except PathTaken:
                if not piece.is_shared:  # leave a shared file as it is
                    raise
            finally:
                if not isinstance(source, bytes | Stream):
                    source.close()
        return shared

    async def _report_to_tasks(self, file_set: FileSet) -> None:
        """Tell the tasks of the set that it is placed, and delete those that are not to be kept.

        A task of whose end somebody is still to be told is deleted by a later try.
        """
        has_untold = False
        for task_id, of_task in (await self._tell_tasks(file_set)).items():
            if not of_task.drops or not await self._has_all(file_set, task_id, of_task):
                continue
            if of_task.is_untold:
                has_untold = True
            else:
                with suppress(TaskNotFound):
                    await self._tasks.delete(task_id)
        if has_untold:
            await self._store.put_off(file_set, None, self._now + self._delay(file_set))
        else:
            await self._store.mark_placed(file_set)

    async def _has_all(self, file_set: FileSet, task_id: str, of_task: OfTask) -> bool:
        """Whether all files of the task are in the library, which takes no chapters, and pictures only where
        they are wanted. A task that was retried meanwhile has other files.
        """
        if not of_task.library or not of_task.library.paths:
            return False
        try:
            status = await self._tasks.status(task_id)
        except (TaskNotFound, ValueError):  # the task was deleted, or its row is damaged
            return False
        has_chapters = any(kind.startswith("chapter.") for kind in status.files)
        has_unplaced_picture = "thumbnail" in status.files and not file_set.wanted.with_artwork
        return status.stage is Stage.COMPLETED and not has_chapters and not has_unplaced_picture

    async def _tell_tasks(self, file_set: FileSet) -> dict[str, OfTask]:
        """Tell the tasks of the set, and the webhooks that wait for the ends of these tasks, which files
        the library has of them; return that by task. Earlier tasks of the same video, whose own sets are
        gone, are told the same.
        """
        by_task = dict[str, OfTask]()
        for task_id in (*file_set.about.get(OTHER_TASKS, ()), file_set.task_id):
            of_task = await self._store.of_task(task_id, file_set.set_id)
            with suppress(TaskNotFound, ValueError):  # the task was deleted, or its row is damaged
                of_task = await self._tell_task(task_id, file_set, of_task)
            by_task[task_id] = of_task
        return by_task

    async def _tell_task(self, task_id: str, file_set: FileSet, of_task: OfTask) -> OfTask:
        """Tell one task; return what the library has of it then.

        Another set of the task may be placed meanwhile and its news be told first: what was just told is read
        again, until it is still true.
        """
        told = None
        while told is None or told.library != of_task.library:
            told = of_task
            await self._tasks.tell_of_library(task_id, told.library)
            of_task = await self._store.of_task(task_id, file_set.set_id)
        if of_task.is_untold:
            waits = of_task.library is not None and of_task.library.state == "waiting"
            await self._store.tell_ends(task_id, now=None if waits else self._now)
        return of_task

    async def _delete_set(self, claimed: Claimed, library: PlacedFiles) -> None:
        """Delete the files of a set, and those of its folder if no other set lies there."""
        file_set = claimed.file_set
        folder = await self._store.folder_files(file_set)
        for file in (*reversed(claimed.files), *folder):
            await library.delete(file)
        await self._store.drop(file_set, folder)
        await self._tell_tasks(file_set)
