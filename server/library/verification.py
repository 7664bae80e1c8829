"""Compares the library's folder with what is known to lie there.

Each known file is there, missing, or of another size; a missing one that lies elsewhere is adopted, and films
that nobody placed count as fetched. Files are found again by their names, which end in `[id]`.

Decisions: docs/decisions/library.md
"""

import html
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from server.core.clock import Clock
from server.core.media_keys import key_of_link
from server.library.library_names import label_of
from server.library.library_rows import LibraryRows
from server.library.placement_rows import PlacementRows
from server.library.placements import FolderBlocked, PlacedFile, folded, of_folder
from server.library.placing import PlacedFiles
from server.memory.media_rows import MediaRows

if TYPE_CHECKING:
    from server.library.library_schemas import LibraryOutcome

MOST_NAMED = 100  # files of each list that an answer names
PAGE = 200  # files read at once
AT_ONCE = 1000  # keys looked up at once
MOST_MISSING = 20_000  # files that are looked for under other names
MAX_NFO = 100_000  # bytes that are read of an NFO file
_LABEL = re.compile(r"\[([^\[\]]{1,80})\](?:\.[A-Za-z0-9-]{1,30}){1,3}$")
_OF_LINK = re.compile(r"[0-9a-f]{12}")
FILMS = frozenset([
    *("mp4", "mkv", "webm", "mov", "m4v", "flv", "avi", "wmv", "mpg", "3gp", "ogv", "mxf", "ts"),
    *("mp3", "m4a", "opus", "ogg", "flac", "wav", "aac", "mka"),
])  # fmt: skip
_UNIQUE_ID = re.compile(rb'<uniqueid type="([^"]{1,100})"[^>]*>([^<]{1,500})</uniqueid>')


Show = tuple[str, str]
"""The name of a show, and its folder."""


@dataclass
class CountedList:
    """A list of which all are counted, and the first ones are named in the answer."""

    count: int = 0
    first: list[Any] = field(default_factory=list)

    def add(self, one: Any) -> None:
        self.count += 1
        if len(self.first) < MOST_NAMED:
            self.first.append(one)


class Verification:
    """One run over all files; a `dry_run` changes nothing."""

    def __init__(
        self,
        rows: LibraryRows,
        placements: PlacementRows,
        media: MediaRows,
        library: PlacedFiles,
        clock: Clock,
        *,
        dry_run: bool,
    ) -> None:
        self._rows = rows
        self._placements = placements
        self._media = media
        self._library = library
        self._clock = clock
        self._dry_run = dry_run
        self._count = 0  # the number of known files that are there
        self._seen = set[bytes]()  # their paths, as `_short` has them
        self._changed = CountedList()
        self._unknown = CountedList()
        self._adopted = CountedList()
        self._missing = CountedList()
        self._strays = dict[tuple[str, int, str], str]()  # label, size and ending of unknown files -> path
        # Path of each unknown film that may have been downloaded from a link, by its label.
        self._of_links = dict[str, str]()

    async def run(self) -> "LibraryOutcome":
        """Compare all files. Raises `LibraryAway`."""
        from server.library.library_schemas import LibraryOutcome

        extractors = await self._rows.extractors()
        async for batch in self._library.all_files():
            await self._adopt_films(await self._unknown_of(batch), extractors)
        after = ""
        while self._of_links and (links := await self._rows.links_not_fetched(after, AT_ONCE)):
            after = links[-1]
            await self._adopt(
                {key: self._of_links[label] for key in links if (label := label_of(key)) in self._of_links},
                (),
            )
        await self._find_missing()
        mine = {one["path"] for one in self._adopted.first}
        return LibraryOutcome(
            count=self._count,
            missing=self._missing.count,
            missing_files=self._missing.first,
            changed=self._changed.count,
            changed_files=self._changed.first,
            unknown=max(self._unknown.count - self._adopted.count, 0),
            unknown_files=[path for path in self._unknown.first if path not in mine],
            adopted=self._adopted.count,
            adopted_files=self._adopted.first,
        )

    async def _unknown_of(self, batch: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """Count the known files among those found; return the paths and sizes of the unknown ones."""
        known = await self._placements.at([path for path, _ in batch])
        others: list[tuple[str, int]] = []
        for path, size in batch:
            file = known.get(folded(path))
            if file is None:
                others.append((path, size))
                continue
            self._count += 1
            self._seen.add(_short(folded(path)))
            if file.state == "missing" and not self._dry_run:
                await self._rows.set_missing([file], missing=False)
            if file.size != size:
                self._changed.add(file.path)
        return others

    async def _adopt_films(self, files: Sequence[tuple[str, int]], extractors: Collection[str]) -> None:
        """Remember unknown files, which may be missing ones under new names, and record films as fetched."""
        keys: dict[str, str] = {}
        sure: set[str] = set()
        for path, size in files:
            self._unknown.add(path)
            label, ending = _label(path), path.rpartition(".")[2].lower()
            if label is None:
                continue
            if len(self._strays) < MOST_MISSING:
                self._strays[label, size, ending] = path
            if ending not in FILMS:
                continue
            key = await self._key_in_nfo(path, label)
            if key is not None:
                sure.add(key)
            elif _OF_LINK.fullmatch(label) and len(self._of_links) < MOST_MISSING:
                self._of_links[label] = path
            guessed = [f"{each} {label}" for each in extractors if each != "url"]
            keys |= dict.fromkeys([key] if key else guessed, path)
        await self._adopt(keys, sure)

    async def _key_in_nfo(self, path: str, label: str) -> str | None:
        """Return the key that the NFO beside a film tells, if there is one: of a link the one that has this
        label.
        """
        nfo = await self._library.read(f"{path.rpartition('.')[0]}.nfo", MAX_NFO)
        found = _UNIQUE_ID.search(nfo)
        if not found:
            return None
        kind, name = (html.unescape(part.decode(errors="replace")) for part in found.groups())
        if kind != "link":
            return f"{kind.lower()} {name}"
        key = key_of_link(name)
        return key if label_of(key) == label else None

    async def _adopt(self, keys: Mapping[str, str], sure: Collection[str]) -> None:
        """Record videos, given as key -> path, as fetched, unless they are recorded already.

        Keys that are not among the `sure` ones are guesses: they count only if an item has the same key.
        """
        fresh = [key for key in keys if "\0" not in key and await self._media.find([key]) is None]
        if not fresh:
            return
        now = self._clock.now().timestamp()
        items = await self._rows.adopt(fresh, now, dry_run=self._dry_run)
        adopted = [key for key in fresh if key in sure or key in items]
        if not self._dry_run:
            await self._media.take(adopted, now)
        for key in adopted:
            self._adopted.add({"path": keys[key], "key": key})

    async def _find_missing(self) -> None:
        """Record placed files that were not seen as missing, which they are until they are seen again.

        A file that lies elsewhere with its `[id]` and size is recorded there. Where most films of a show lie
        in another folder than the show's, that is the show's folder from then on, and files without `[id]`
        are looked for there.
        """
        films_in = _FilmsInFolders()
        unlabelled = list[tuple[PlacedFile, Show | None]]()
        after = ""
        while page := await self._rows.files_after(after, PAGE):
            after = folded(page[-1].path)
            shows = await self._rows.shows_of({file.set_id for file in page})
            missing: list[PlacedFile] = []
            for file in page:
                show = shows.get(file.set_id)
                if _short(folded(file.path)) in self._seen:
                    films_in.count(show, file.path, file.path)
                elif stray := await self._find_elsewhere(file):
                    films_in.count(show, file.path, stray)
                elif _label(file.path) is None and len(unlabelled) < MOST_MISSING:
                    unlabelled.append((file, show))
                else:
                    missing.append(file)
            await self._note_missing(missing)
        moves = films_in.moves()
        await self._note_missing(await self._find_in_moved_folders(unlabelled, moves))
        if not self._dry_run:
            for (show_name, folder), new_folder in moves.items():
                await self._rows.folder_moved(show_name, folder, new_folder)

    async def _find_elsewhere(self, file: PlacedFile) -> str | None:
        """Return the path of an unknown file with the `[id]`, size and ending of `file`, which is its path
        from then on; None if there is none.
        """
        label, ending = _label(file.path), file.path.rpartition(".")[2].lower()
        stray = self._strays.pop((label, file.size, ending), None) if label else None
        if stray is None or not (self._dry_run or await self._rows.found_at(file, stray)):
            return None
        self._seen.add(_short(folded(stray)))  # `files_after` may return the file once more, under this path
        self._adopted.add({"from": file.path, "path": stray})
        return stray

    async def _find_in_moved_folders(
        self, files: Sequence[tuple[PlacedFile, Show | None]], moves: Mapping[Show, str]
    ) -> list[PlacedFile]:
        """Look for files of shows that were moved in the new folders; return those that are not there."""
        new_folders = {of_folder(folder): (folder, new) for (_, folder), new in moves.items()}
        missing: list[PlacedFile] = []
        for file, show in files:
            # What all films of a folder share belongs to a set with the id of the folder.
            folder_id = of_folder(show[1]) if show else file.set_id
            folder, new_folder = new_folders.get(folder_id, ("", ""))
            path = f"{new_folder}{file.path.removeprefix(folder)}"
            if not new_folder or not await self._library.any_at([path]):
                missing.append(file)
                continue
            self._adopted.add({"from": file.path, "path": path})
            # `folder_moved` handles the shared files later.
            if not self._dry_run and folder_id != file.set_id:
                await self._rows.found_at(file, path)
        return missing

    async def _note_missing(self, files: Sequence[PlacedFile]) -> None:
        """Count files as missing, and record those as missing whose folders can be read."""
        for file in files:
            self._missing.add(file.path)
        if files and not self._dry_run:
            await self._rows.set_missing(await self._surely_gone(files), missing=True)

    async def _surely_gone(self, files: Sequence[PlacedFile]) -> list[PlacedFile]:
        """Return those of `files` whose folders can be read, and which are therefore missing."""
        unreadable = set[str]()
        for folder in {file.path.rpartition("/")[0] for file in files}:
            try:
                await self._library.any_at([f"{folder}/.x" if folder else ".x"])
            except FolderBlocked:
                unreadable.add(folder)
        return [file for file in files if file.path.rpartition("/")[0] not in unreadable]


class _FilmsInFolders:
    """Counts in which folders the films of each show lie."""

    def __init__(self) -> None:
        self._counts = defaultdict[Show, Counter[str]](Counter)

    def count(self, show: Show | None, path: str, found_at: str) -> None:
        """Count a file with the stored `path` that was `found_at`, if it belongs in the folder of a show."""
        if show is None or not path.startswith(f"{show[1]}/"):
            return
        below = path.removeprefix(show[1])
        if found_at.endswith(below) and (folder := found_at.removesuffix(below)):
            self._counts[show][folder] += 1

    def moves(self) -> dict[Show, str]:
        """Return the new folders of shows of which most films lie in another folder than the show's."""
        most_lie_in = {show: counts.most_common(1)[0][0] for show, counts in self._counts.items()}
        return {show: folder for show, folder in most_lie_in.items() if folder != show[1]}


def _label(path: str) -> str | None:
    """Return the text in the brackets at the end of a name."""
    found = _LABEL.search(path.rpartition("/")[2])
    return found[1] if found else None


def _short(path: str) -> bytes:
    """Return 8 bytes that stand for a path: among a million paths, hardly two are alike."""
    return hash(path).to_bytes(8, "little", signed=True)
