"""Which files a set is to have in the library: those of its task, NFO files and pictures, with their paths.

A set has files of its own, and shares some with all others of its folder (`SHARED`): the pictures and the NFO
file of a show. Where the source of a show has pictures and a description, these go before the first film's.

Decisions: docs/decisions/library.md
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import partial

from server.core.film import StoredFile
from server.core.ports import FileStore, Stream
from server.core.task import TaskStatus
from server.library import nfo
from server.library.layouts import SHARED, Role, has_nfo, rules_of
from server.library.library_names import Place, has_own_folder, is_of_source, pictures_of
from server.library.placement_rows import PlacementRows
from server.library.placements import FileSet, PlacedFile, SourceDescription, film_of, folded, of_folder
from server.library.placing import PlacedFiles

_ENDINGS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A file to be placed: where, and what is in it. `stored` is a file of the task, else it is `content`.

    `is_shared`: it is for all sets of the folder. `replaces`: it takes the place of one of ours that has
    another content, although that one is for the whole folder.
    """

    file: PlacedFile
    is_shared: bool = False
    stored: StoredFile | None = None
    content: bytes = b""
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class ShowArtwork:
    """What the source of a show has for its whole folder; `source` describes the show, None if it does not.

    `pictures` are those that take the place of the first film's.
    """

    source: SourceDescription | None = None
    pictures: Mapping[Role, bytes] = field(default_factory=dict)


class PieceBuilder:
    """Decides which files a set is to have. Days in NFO files are those of `zone`. Methods raise what
    `PlacementRows` and `FileStore` raise.
    """

    def __init__(self, store: PlacementRows, files: FileStore, library: PlacedFiles, zone: tzinfo) -> None:
        self._store = store
        self._files = files
        self._library = library
        self._zone = zone

    async def pieces_of_task(self, file_set: FileSet, status: TaskStatus, place: Place) -> list[Piece]:
        """Return all files of the set, in the order in which they are placed: the film comes last, so that a
        media server that looks meanwhile finds what belongs to it.
        """
        show = await self._show_artwork(file_set, place)
        pieces = self._show_pictures(file_set, place, show)
        if file_set.wanted.with_artwork and (picture := status.files.get("thumbnail") or status.thumbnail):
            for role in pictures_of(place):
                if role not in show.pictures:
                    pieces.append(await self._stored_piece(file_set, status, place, role, picture))
        if has_nfo(file_set.wanted):
            pieces += self._nfo_files(file_set, place, show)
        for kind, stored in status.files.items():
            if kind.startswith("subtitle."):
                language = kind.removeprefix("subtitle.")
                pieces.append(
                    await self._stored_piece(file_set, status, place, "subtitles", stored, language)
                )
        for kind in ("audio", "video"):
            if film := status.files.get(kind):
                pieces.append(await self._stored_piece(file_set, status, place, "film", film, kind=kind))
        # If several pieces have the same name, the first is placed.
        first = {folded(piece.file.path): piece for piece in reversed(pieces)}
        return [piece for piece in pieces if first[folded(piece.file.path)] is piece]

    async def pieces_without_task(self, file_set: FileSet, place: Place) -> list[Piece]:
        """Return the NFO files and pictures that are made anew for a set which lies in the library
        already.
        """
        show = await self._show_artwork(file_set, place)
        texts = self._nfo_files(file_set, place, show) if has_nfo(file_set.wanted) else []
        return texts + self._show_pictures(file_set, place, show)

    async def replaced_pictures(self, file_set: FileSet, pieces: Iterable[Piece]) -> list[PlacedFile]:
        """Return pictures of films that `pieces` take the place of, and that have another ending: those that
        have the same name are overwritten.
        """
        paths = {piece.file.kind: piece.file.path for piece in pieces if piece.replaces}
        if not paths:
            return []
        return [
            file
            for file in await self._store.of_whole_folder(file_set.folder or "")
            if file.kind in paths
            and file.kind in ("show_poster", "cover")
            and _folder_of(file.path) == _folder_of(paths[file.kind])
            and file.path != paths[file.kind]
        ]

    async def _show_artwork(self, file_set: FileSet, place: Place) -> ShowArtwork:
        """Return the pictures and the description of the oldest subscriptions to this source that have some,
        so that they are the same for every film.
        """
        if not place.show:
            return ShowArtwork()
        film = film_of(file_set, self._zone)
        roles = rules_of(place.form).of_source if file_set.wanted.with_artwork else {}
        description: SourceDescription | None = None
        pictures = dict[Role, bytes]()
        for source in await self._store.sources_of_show(file_set):
            is_own = source.subscription_id == file_set.holder
            is_of = partial(is_of_source, file_set.wanted, film, source.listed_as, is_own)
            if description is None and (source.description or source.author) and is_of("show_nfo"):
                description = source
            for role, picture in roles.items():
                if role in pictures or picture not in source.pictures or not is_of(role):
                    continue
                if content := await self._store.source_picture(source.subscription_id, picture):
                    pictures[role] = content
        return ShowArtwork(description, pictures)

    def _show_pictures(self, file_set: FileSet, place: Place, show: ShowArtwork) -> list[Piece]:
        return [
            self._written_piece(file_set, place, role, content, replaces=True, is_shared=True)
            for role, content in show.pictures.items()
        ]

    def _nfo_files(self, file_set: FileSet, place: Place, show: ShowArtwork) -> list[Piece]:
        """Return the NFO file of the film, after that of its show if the show has a folder of its own."""
        film, source = film_of(file_set, self._zone), show.source
        pieces = list[Piece]()
        is_episode = rules_of(place.form).has_episodes
        if is_episode and has_own_folder(file_set.wanted):
            plot, author = (source.description, source.author) if source else (None, None)
            text = nfo.tvshow(film, self._zone, plot, author)
            pieces.append(
                self._written_piece(
                    file_set, place, "show_nfo", text, replaces=source is not None, is_shared=True
                )
            )
        describe = nfo.episode if is_episode else nfo.movie
        pieces.append(self._written_piece(file_set, place, "nfo", describe(film, self._zone)))
        return pieces

    def _written_piece(
        self,
        file_set: FileSet,
        place: Place,
        role: Role,
        content: bytes,
        *,
        replaces: bool = False,
        is_shared: bool = False,
    ) -> Piece:
        set_id = of_folder(file_set.folder or "") if is_shared else file_set.set_id
        digest = hashlib.sha256(content).hexdigest()
        file = PlacedFile(place.path(role), set_id, role, len(content), digest)
        return Piece(file, is_shared, content=content, replaces=replaces)

    async def _stored_piece(
        self,
        file_set: FileSet,
        status: TaskStatus,
        place: Place,
        role: Role,
        stored: StoredFile,
        language: str = "",
        kind: str = "",
    ) -> Piece:
        """Return the piece for a file of the task; `kind` is what the rows call it, if not as its role."""
        ending = _ENDINGS.get(stored.type) or stored.path.rpartition(".")[2].lower()
        sha256 = stored.sha256
        if sha256 is None:  # files of the first releases, and thumbnails, have no stored hash
            sha256 = await self._hash_stored(status, stored)
        is_shared = role in SHARED
        file = PlacedFile(
            place.path(role, ending, language),
            of_folder(file_set.folder or "") if is_shared else file_set.set_id,
            kind or (f"subtitle.{language}" if role == "subtitles" else role),
            stored.size,
            sha256,
        )
        return Piece(file, is_shared, stored)

    async def _hash_stored(self, status: TaskStatus, stored: StoredFile) -> str:
        """Return the SHA-256 of a file of the task, as hexadecimal digits."""
        source = await self._files.open(status.task_id, stored)
        if not isinstance(source, Stream):
            with source:
                return await self._library.hashed(source)
        digest = hashlib.sha256()
        async for block in source.read(range(stored.size)):
            digest.update(block)
        return digest.hexdigest()


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]
