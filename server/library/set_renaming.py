"""Gives a set that lies in the library the names that it is to have now, and writes its NFO files anew.

A set that is only to be described (`describing`) keeps its names. After a crash the next server does all of
it again: rows that are only reserved say to which paths files may have been moved already.

Decisions: docs/decisions/library.md
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import tzinfo

from server.library.library_names import Place, pictures_of
from server.library.piece_builder import Piece, PieceBuilder
from server.library.placement_rows import PlacementRows
from server.library.placements import (
    Claimed,
    PathTaken,
    PlacedFile,
    PlacingOutcome,
    Reserved,
    folded,
    folders_above,
    of_folder,
    path_of,
    place_of_set,
)
from server.library.placing import PlacedFiles


@dataclass(frozen=True, slots=True)
class Move:
    """`file` is to be renamed to `path`."""

    file: PlacedFile
    path: str

    @property
    def target(self) -> PlacedFile:
        return replace(self.file, path=self.path)


class SetRenaming:
    """One renaming of the set `claimed`. `library` does nothing once the lease of the set is over."""

    def __init__(
        self,
        store: PlacementRows,
        pieces: PieceBuilder,
        library: PlacedFiles,
        claimed: Claimed,
        zone: tzinfo,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._pieces = pieces
        self._library = library
        self._claimed = claimed
        self._file_set = claimed.file_set
        self._zone = zone
        self._now = now

    async def run(self) -> PlacingOutcome:
        """Rename under the first name that is free."""
        placed = [file for file in self._claimed.files if file.state == "placed"]
        films = self._paths_of_films
        if films and not await self._library.any_at(films):  # the library's owner has deleted them
            await self._store.settle(self._file_set, placed, [], self._now())
            return "done"
        # A file that is only reserved is not moved: a server that was killed may have moved it there.
        to_move = [file for file in placed if file.kind != "nfo"]
        for place in self.first_place.names_to_try():
            outcome, to_move = await self._rename_to(place, to_move)
            if outcome != "taken":
                return outcome
        return "taken"

    @property
    def first_place(self) -> Place:
        """Return the place that the set is to have. A set that keeps its names stays where its films are."""
        place, films = place_of_set(self._file_set, self._zone), self._paths_of_films
        if self._file_set.state == "describing" and films:
            folder, _, name = films[0].rpartition("/")
            place = replace(place, folder=folder, base=name.rpartition(".")[0])
        return place

    @property
    def _paths_of_films(self) -> list[str]:
        return [file.path for file in self._claimed.files if file.kind in ("video", "audio")]

    async def _rename_to(
        self, place: Place, files: list[PlacedFile]
    ) -> tuple[PlacingOutcome, list[PlacedFile]]:
        """Reserve the new paths, write the NFO files, move `files`, and delete what is left of the old names.

        Return `files` as they are called then: some may have been moved when a name turns out to be taken.
        """
        keeps_names = self._file_set.state == "describing"
        moves = [Move(file, file.path if keeps_names else path_of(file, place)) for file in files]
        written = await self._pieces.pieces_without_task(self._file_set, place)
        reserved = await self._reserve(moves, written)
        if reserved != "reserved":
            return reserved, files

        own_written, shared_written = await self._write(place, written)
        moved, not_moved = await self._move_files(moves)
        if not_moved:  # another file came first: all files get another name
            paths_before = {file.path for file in self._claimed.files}
            for file in own_written:
                if file.path not in paths_before:
                    await self._library.delete(file)
            return "taken", [*moved, *not_moved]

        there = [*own_written, *moved]
        paths = {file.path for file in there}
        old = [file for file in self._claimed.files if file.path not in paths]
        for file in old:
            if file.kind == "nfo" and not await self._library.is_one_of(file.path, there):
                await self._library.delete(file)
        kept_pictures, left_files = await self._clear_left_folders(place, old, written)
        replaced = await self._pieces.replaced_pictures(self._file_set, written)
        for file in replaced:
            await self._library.delete(file)
        gone_paths = [file.path for file in (*old, *left_files, *replaced)]
        placed = [*there, *shared_written, *kept_pictures]
        await self._store.settle(self._file_set, placed, gone_paths, self._now())
        return "done", there

    async def _reserve(self, moves: Sequence[Move], written: Sequence[Piece]) -> Reserved:
        """Reserve the paths that the set is to have, unless something unknown lies at one of them."""
        own = [move.target for move in moves]
        own += [piece.file for piece in written if not piece.is_shared]
        new = [file.path for file in own if not await self._library.is_one_of(file.path, self._claimed.files)]
        if await self._library.any_at(new):
            return "taken"
        shared = [piece.file for piece in written if piece.is_shared]
        return await self._store.reserve(self._file_set, own, shared)

    async def _write(
        self, place: Place, written: Sequence[Piece]
    ) -> tuple[list[PlacedFile], list[PlacedFile]]:
        """Write NFO files and pictures of the source, unless somebody has edited the file that is there.

        Return those of the set, and those that it shares with its folder.
        """
        before = await self._store.at([piece.file.path for piece in written if piece.is_shared])
        before |= {folded(file.path): file for file in self._claimed.files}
        own, shared = list[PlacedFile](), list[PlacedFile]()
        for folder in {place.folder, place.show}:
            await self._library.clear(folder, place.base)
        for piece in written:
            there = shared if piece.is_shared else own
            old = before.get(folded(piece.file.path))
            try:
                try_no = self._file_set.try_no
                await self._library.put(piece.file, piece.content, place.base, try_no, old)
                there.append(piece.file)
            except PathTaken:
                if old:
                    there.append(old)
        return own, shared

    async def _move_files(self, moves: Sequence[Move]) -> tuple[list[PlacedFile], list[PlacedFile]]:
        """Move files. Return those that are there, and those not moved because another file has a new
        name.
        """
        there = list[PlacedFile]()
        for number, move in enumerate(moves):
            try:
                if move.path == move.file.path or await self._library.move(move.file, move.path) == "moved":
                    there.append(move.target)
            except PathTaken:
                return there, [each.file for each in moves[number:]]
        return there, []

    async def _clear_left_folders(
        self, place: Place, old: Iterable[PlacedFile], written: Sequence[Piece]
    ) -> tuple[list[PlacedFile], list[PlacedFile]]:
        """Move or delete the shared files of folders that the set has left, and where no set lies any more.

        Return the pictures that were moved to the set's folder, and all files that the folders have lost.
        """
        moved, lost = list[PlacedFile](), list[PlacedFile]()
        new_files = [piece.file for piece in written]
        for folder in {above for file in old for above in folders_above(file.path)} - {self._file_set.folder}:
            for file in await self._store.folder_files(replace(self._file_set, folder=folder)):
                if await self._library.is_one_of(file.path, new_files):
                    continue
                if picture := await self._move_shared_picture(file, folder, place, new_files):
                    moved.append(picture)
                else:
                    await self._library.delete(file)
                lost.append(file)
        return moved, lost

    async def _move_shared_picture(
        self, file: PlacedFile, folder: str, place: Place, new_files: Sequence[PlacedFile]
    ) -> PlacedFile | None:
        """Move a picture that all sets of `folder` had in common to the folder that they have now; None if it
        is not wanted there, is one of `new_files`, or something else has its name.
        """
        new_folder = self._file_set.folder
        if not self._file_set.wanted.with_artwork or not new_folder:
            return None
        if file.kind not in (*pictures_of(place), "show_fanart") or not file.path.startswith(f"{folder}/"):
            return None
        path = f"{new_folder}{file.path.removeprefix(folder)}"
        if any(new.path == path for new in new_files):
            return None
        with suppress(PathTaken):
            if await self._library.move(file, path) == "moved":
                return replace(file, path=path, set_id=of_folder(new_folder))
        return None
