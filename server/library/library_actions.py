"""The actions of clients on the whole library; the placer does the parts that take long.

An answer has counts, and the first `MOST_NAMED` of each list: a library may have a million files.

Decisions: docs/decisions/library.md
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import TYPE_CHECKING

from server.core.clock import Clock
from server.core.errors import LibraryIsAway, LibraryIsBusy
from server.core.library import Library
from server.library.layouts import has_nfo
from server.library.library_names import has_own_folder, place_of
from server.library.library_rows import LibraryRows
from server.library.placement_rows import PlacementRows
from server.library.placements import (
    NOBODY,
    FileSet,
    LibraryAway,
    PlacedFile,
    film_of,
    folded,
    path_of,
    place_of_set,
    show_of,
)
from server.library.placing import PlacedFiles
from server.library.verification import CountedList, Verification
from server.memory.media_rows import MediaRows

if TYPE_CHECKING:
    from server.library.library_schemas import LibraryOutcome

PAGE = 200  # sets, or files, read at once
MOST_NAMES = 50  # as many names as the placer tries for one set


@dataclass
class _Renaming:
    """The facts of all sets, while names are planned for one set after the other.

    `channels` and `is_owners` are by show, `indexes` those of the sets of a folder and day, and `paths` what
    sets will get.
    """

    wanted_of: dict[str, Library | None] = field(default_factory=lambda: {NOBODY: None})
    channels: dict[str, str | None] = field(default_factory=dict)
    is_owners: dict[str, bool] = field(default_factory=dict)
    indexes: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    paths: set[str] = field(default_factory=set)


class LibraryActions:
    """Runs one action at a time on this server. `library` is None without a library, or if another node has
    it.
    """

    def __init__(
        self,
        rows: LibraryRows,
        placements: PlacementRows,
        media: MediaRows,
        library: PlacedFiles | None,
        clock: Clock,
        zone: tzinfo,
    ) -> None:
        self._rows = rows
        self._placements = placements
        self._media = media
        self._library = library
        self._clock = clock
        self._zone = zone
        self._acting = asyncio.Lock()

    async def act(self, action: str, *, dry_run: bool) -> "LibraryOutcome":
        """Start the action. Raises `LibraryIsAway`, `LibraryIsBusy`."""
        if self._library is None or await self._library.trouble():
            raise LibraryIsAway
        if self._acting.locked():
            raise LibraryIsBusy
        async with self._acting:
            if await self._rows.moves():  # an earlier action, of any node, is still moving files
                raise LibraryIsBusy
            try:
                if action == "verify":
                    verification = Verification(
                        self._rows, self._placements, self._media, self._library, self._clock, dry_run=dry_run
                    )
                    return await verification.run()
                return await self._redo(self._library, only_names=action == "rename", dry_run=dry_run)
            except LibraryAway:
                raise LibraryIsAway from None

    async def _redo(self, library: PlacedFiles, *, only_names: bool, dry_run: bool) -> "LibraryOutcome":
        """Make the placer process again those sets whose names are not the current ones, or that have NFO
        files.
        """
        from server.library.library_schemas import LibraryOutcome

        redone, after = CountedList(), ""
        plan = _Renaming()
        while page := await self._rows.page(after, PAGE):
            after = page[-1][0].set_id
            chosen: list[FileSet] = []
            for one, files in page:
                if only_names:
                    target, changes = await self._renamed(library, one, files, plan)
                else:
                    target = one
                    changes = [{"path": file.path} for file in files if file.kind == "nfo"]
                    if has_nfo(one.wanted) and not changes:
                        changes = [{"path": place_of_set(one, self._zone).path("nfo")}]
                if changes:
                    chosen.append(target)
                    for change in changes:
                        redone.add(change)
            if not dry_run:
                await self._rows.redo(chosen, "redoing" if only_names else "describing")
        return LibraryOutcome(count=redone.count, files=redone.first)

    async def _renamed(
        self, library: PlacedFiles, one: FileSet, files: Sequence[PlacedFile], plan: "_Renaming"
    ) -> tuple[FileSet, list[dict[str, str]]]:
        """The set as it is to be, and what changes for that: its files' names, or NFO files alone. Names are
        those that the placer will find: one with a number, because somebody has the one without, is as good.
        """
        target = await self._numbered(await self._as_wanted(one, plan), plan)
        place = place_of_set(target, self._zone)
        there = [file for file in files if file.state == "placed"]
        before = {file.path for file in there}
        own = {folded(path) for path in before}
        names = [place, *(place.numbered(number) for number in range(2, MOST_NAMES + 1))]
        if any({path_of(file, name) for file in there} == before for name in names):
            is_described = has_nfo(target.wanted) and target.about.get("channel") != one.about.get("channel")
            nfo = [{"path": file.path} for file in there if is_described and file.kind == "nfo"]
            return target, nfo
        for name in names:
            paths = [path_of(file, name) for file in there if file.kind != "nfo"]
            paths += [name.path("nfo")] if has_nfo(target.wanted) else []
            others = [path for path in paths if folded(path) not in own]
            at = await self._placements.at(others)
            is_taken = any(folded(path) in plan.paths for path in others)
            is_taken = is_taken or any(file.set_id != one.set_id for file in at.values())
            if is_taken or await library.any_at(others):
                continue
            plan.paths.update(map(folded, others))
            moves = ((file.path, path_of(file, name)) for file in there)
            return target, [{"from": old, "to": new} for old, new in moves if old != new]
        return target, []

    async def _as_wanted(self, one: FileSet, plan: "_Renaming") -> FileSet:
        """The set as its subscription wants it now. A channel with a folder of its own is called, there and
        in all its films, as its newest one says; a folder that its owner has renamed stays.
        """
        if one.holder not in plan.wanted_of:
            plan.wanted_of[one.holder] = await self._rows.wanted_of(one.holder)
        target = replace(one, wanted=plan.wanted_of[one.holder] or one.wanted)
        if has_own_folder(target.wanted):
            channel = await self._channel(one, plan)
            about = {name: value for name, value in one.about.items() if name != "channel"}
            target = replace(target, about=about | ({"channel": channel} if channel else {}))
        film = film_of(target, self._zone)
        place = place_of(target.wanted, film)
        show, folder = show_of(target.wanted, film, place), place.show
        if has_own_folder(target.wanted) and show == one.show and one.folder is not None:
            if show not in plan.is_owners:
                plan.is_owners[show] = await self._rows.is_owners_folder(one.folder)
            folder = one.folder if plan.is_owners[show] else folder
        return replace(target, show=show, folder=folder)

    async def _channel(self, one: FileSet, plan: "_Renaming") -> str | None:
        show = one.show or ""
        if show not in plan.channels:
            newest = await self._rows.newest_of(show) or one
            plan.channels[show] = newest.about.get("channel")
            source = None
            # The source is a feed, whose own name may be newer than the film's.
            if newest.holder and newest.about.get("source"):
                source = await self._placements.source_of(newest.holder, newest.key)
            if source and source[1]:
                plan.channels[show] = source[1]
        return plan.channels[show]

    async def _numbered(self, target: FileSet, plan: "_Renaming") -> FileSet:
        """Return the set with another number of its day, if a set in its new folder has the
        number already.
        """
        if target.folder is None or target.day is None or target.day_index is None:
            return target
        series = folded(target.folder)
        if (series, target.day) not in plan.indexes:
            plan.indexes[series, target.day] = await self._rows.indexes(series, target.day)
        taken = plan.indexes[series, target.day]
        index = target.day_index
        if any(number == index for set_id, number in taken.items() if set_id != target.set_id):
            index = max(number for set_id, number in taken.items() if set_id != target.set_id) + 1
        taken[target.set_id] = index
        return replace(target, day_index=index)
