"""The actions of clients on the whole library; the placer does the parts that take long.

An answer has counts, and the first `MOST_TOLD` of each list: a library may have a million files.

Decisions: docs/decisions/library.md
"""

import asyncio
import html
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from server.core.clock import Clock
from server.core.errors import LibraryIsAway, LibraryIsBusy
from server.core.library import Library
from server.core.media_keys import key_of_link
from server.library.layouts import has_nfo
from server.library.library_names import has_own_folder, label_of, place_of
from server.library.library_rows import LibraryRows
from server.library.placement_rows import PlacementRows
from server.library.placements import (
    NOBODY,
    FileSet,
    FolderBlocked,
    LibraryAway,
    PlacedFile,
    film_of,
    folded,
    of_folder,
    path_of,
    place_of_set,
    show_of,
)
from server.library.placing import PlacedFiles
from server.memory.media_rows import MediaRows

if TYPE_CHECKING:
    from server.library.library_schemas import LibraryOutcome

MOST_TOLD = 100
PAGE = 200  # sets, or files, read at once
AT_ONCE = 1000  # keys
MOST_MISSING = 20_000  # files that are looked for under other names
MOST_NAMES = 50  # as the placer tries
MAX_NFO = 100_000  # bytes that are read of an NFO file
_LABEL = re.compile(r"\[([^\[\]]{1,80})\](?:\.[A-Za-z0-9-]{1,30}){1,3}$")
_OF_LINK = re.compile(r"[0-9a-f]{12}")
FILMS = frozenset([
    *("mp4", "mkv", "webm", "mov", "m4v", "flv", "avi", "wmv", "mpg", "3gp", "ogv", "mxf", "ts"),
    *("mp3", "m4a", "opus", "ogg", "flac", "wav", "aac", "mka"),
])  # fmt: skip
_UNIQUE_ID = re.compile(rb'<uniqueid type="([^"]{1,100})"[^>]*>([^<]{1,500})</uniqueid>')


@dataclass
class Told:
    """A list of which all are counted, and the first ones are named in the answer."""

    count: int = 0
    first: list[Any] = field(default_factory=list)

    def add(self, one: Any) -> None:
        self.count += 1
        if len(self.first) < MOST_TOLD:
            self.first.append(one)


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
        """Raises `LibraryIsAway`, `LibraryIsBusy`."""
        if self._library is None or await self._library.trouble():
            raise LibraryIsAway
        if self._acting.locked():
            raise LibraryIsBusy
        async with self._acting:
            if await self._rows.moves():  # an earlier action, of any node, is still moving files
                raise LibraryIsBusy
            try:
                if action == "verify":
                    return await self._verify(self._library, dry_run=dry_run)
                return await self._redo(self._library, only_names=action == "rename", dry_run=dry_run)
            except LibraryAway:
                raise LibraryIsAway from None

    async def _redo(self, library: PlacedFiles, *, only_names: bool, dry_run: bool) -> "LibraryOutcome":
        """Have sets placed anew whose names are not what they are to be, or that have NFO files."""
        from server.library.library_schemas import LibraryOutcome

        redone, after = Told(), ""
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
            if newest.holder and newest.about.get("source"):  # a feed, whose own name may be newer
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

    async def _verify(self, library: PlacedFiles, *, dry_run: bool) -> "LibraryOutcome":
        """Compare the rows with the files that are there, by names and sizes; no file is read whole."""
        from server.library.library_schemas import LibraryOutcome

        unknown, adopted, changed, count = Told(), Told(), Told(), 0
        seen: set[bytes] = set()
        strays: dict[tuple[str, int, str], str] = {}
        of_links: dict[str, str] = {}
        extractors = await self._rows.extractors()
        async for batch in library.all_files():
            known = await self._placements.at([path for path, _ in batch])
            others: list[tuple[str, int]] = []
            for path, size in batch:
                file = known.get(folded(path))
                if file is None:
                    others.append((path, size))
                    continue
                count += 1
                seen.add(_short(folded(path)))
                if file.state == "missing" and not dry_run:
                    await self._rows.set_missing([file], missing=False)
                if file.size != size:
                    changed.add(file.path)
            keys: dict[str, str] = {}
            sure: set[str | None] = set()
            for path, size in others:
                unknown.add(path)
                label, ending = _label(path), path.rpartition(".")[2].lower()
                if label is None:
                    continue
                if len(strays) < MOST_MISSING:
                    strays[label, size, ending] = path
                if ending in FILMS:
                    # The key that the NFO beside a film tells, if there is one: of a link the one that
                    # has this label.
                    nfo = await library.read(f"{path.rpartition('.')[0]}.nfo", MAX_NFO)
                    told = None
                    if found := _UNIQUE_ID.search(nfo):
                        kind, name = (html.unescape(part.decode(errors="replace")) for part in found.groups())
                        told = key_of_link(name) if kind == "link" else f"{kind.lower()} {name}"
                        told = None if kind == "link" and label_of(told) != label else told
                        sure |= {told} - {None}
                    if told is None and _OF_LINK.fullmatch(label) and len(of_links) < MOST_MISSING:
                        of_links[label] = path
                    guessed = [f"{each} {label}" for each in extractors if each != "url"]
                    keys |= dict.fromkeys([told] if told else guessed, path)
            for key in await self._adopted(keys, sure, dry_run=dry_run):
                adopted.add({"path": keys[key], "key": key})
        after = ""
        while of_links and (links := await self._rows.links_not_fetched(after, AT_ONCE)):
            after = links[-1]
            keys = {key: of_links[label] for key in links if (label := label_of(key)) in of_links}
            for key in await self._adopted(keys, (), dry_run=dry_run):
                adopted.add({"path": keys[key], "key": key})
        missing = await self._missing(library, seen, strays, adopted, dry_run=dry_run)
        mine = {one["path"] for one in adopted.first}
        unknown.first = [path for path in unknown.first if path not in mine]
        unknown.count -= adopted.count
        return LibraryOutcome(
            count=count,
            missing=missing.count,
            missing_files=missing.first,
            changed=changed.count,
            changed_files=changed.first,
            unknown=max(unknown.count, 0),
            unknown_files=unknown.first,
            adopted=adopted.count,
            adopted_files=adopted.first,
        )

    async def _missing(
        self,
        library: PlacedFiles,
        seen: set[bytes],
        strays: dict[tuple[str, int, str], str],
        adopted: Told,
        *,
        dry_run: bool,
    ) -> Told:
        """Placed files that were not seen; one that lies elsewhere with its `[id]` and size is adopted.

        Where most films of a show lie in another folder than the show's, that is its folder from then on.
        What is missing is so until it is seen again.
        """
        missing, after = Told(), ""
        # (show, its folder) -> the folders in which its films are, with their numbers.
        folders = defaultdict[tuple[str, str], Counter[str]](Counter)
        # Missing files without `[id]`, with the show of their folder.
        nameless = list[tuple[PlacedFile, str]]()
        while page := await self._rows.files_after(after, PAGE):
            after = folded(page[-1].path)
            shows = await self._rows.shows_of({file.set_id for file in page})
            gone: list[PlacedFile] = []
            for file in page:
                show = shows.get(file.set_id)
                is_inside = show is not None and file.path.startswith(f"{show[1]}/")
                if _short(folded(file.path)) in seen:
                    if show and is_inside:
                        folders[show][show[1]] += 1
                    continue
                label, ending = _label(file.path), file.path.rpartition(".")[2].lower()
                stray = strays.pop((label, file.size, ending), None) if label else None
                if stray and (dry_run or await self._rows.found_at(file, stray)):
                    seen.add(_short(folded(stray)))  # it may come once more, under this path
                    adopted.add({"from": file.path, "path": stray})
                    if show and is_inside:
                        below = file.path.removeprefix(show[1])
                        if stray.endswith(below) and (folder := stray.removesuffix(below)):
                            folders[show][folder] += 1
                elif label is None and len(nameless) < MOST_MISSING:
                    nameless.append((file, of_folder(show[1]) if show else file.set_id))
                else:
                    missing.add(file.path)
                    gone.append(file)
            if gone and not dry_run:
                await self._rows.set_missing(await self._surely_gone(library, gone), missing=True)
        most_lie_in = {show: counts.most_common(1)[0][0] for show, counts in folders.items()}
        moves = [((moved, folder), most) for (moved, folder), most in most_lie_in.items() if most != folder]
        now_in = {of_folder(folder): (folder, most) for (_, folder), most in moves}
        gone = []
        for file, in_folder in nameless:
            folder, most = now_in.get(in_folder, ("", ""))
            path = f"{most}{file.path.removeprefix(folder)}"
            if most and await library.any_at([path]):
                adopted.add({"from": file.path, "path": path})
                if not dry_run and in_folder != file.set_id:
                    await self._rows.found_at(file, path)
            else:
                missing.add(file.path)
                gone.append(file)
        if not dry_run:
            await self._rows.set_missing(await self._surely_gone(library, gone), missing=True)
            for (moved, folder), most in moves:
                await self._rows.folder_moved(moved, folder, most)
        return missing

    async def _surely_gone(self, library: PlacedFiles, files: Sequence[PlacedFile]) -> list[PlacedFile]:
        """Without those in folders that cannot be read."""
        unreadable = set[str]()
        for folder in {file.path.rpartition("/")[0] for file in files}:
            try:
                await library.any_at([f"{folder}/.x" if folder else ".x"])
            except FolderBlocked:
                unreadable.add(folder)
        return [file for file in files if file.path.rpartition("/")[0] not in unreadable]

    async def _adopted(
        self, keys: Mapping[str, str], sure: Collection[str | None], *, dry_run: bool
    ) -> list[str]:
        """Record that the files in the library were fetched; return the keys that are new.

        Of keys that are guessed only those count that an item has.
        """
        fresh = [key for key in keys if "\0" not in key and await self._media.find([key]) is None]
        if not fresh:
            return []
        now = self._clock.now().timestamp()
        items = await self._rows.adopt(fresh, now, dry_run=dry_run)
        adopted = [key for key in fresh if key in sure or key in items]
        if not dry_run:
            await self._media.take(adopted, now)
        return adopted


def _label(path: str) -> str | None:
    """Return the text in the brackets at the end of a name."""
    found = _LABEL.search(path.rpartition("/")[2])
    return found[1] if found else None


def _short(path: str) -> bytes:
    """Return 8 bytes that stand for a path: among a million paths, hardly two are alike."""
    return hash(path).to_bytes(8, "little", signed=True)
