"""A file that a child still downloads, read from its beginning while it grows.

The child writes a note that names the file (`PlayableNote` in `server.child.fetch.one_stream`). The note is
untrusted, like all that children write. Readers get only bytes that will not change. Of joined fragments
these end at the length that yt-dlp's `.ytdl` file records, because an attempt after a kill truncates the
rest. `Growth.REPLACED` says that another file has taken this one's place.
"""

import json
import os
import re
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, Final

from pydantic import Field, NonNegativeInt, ValidationError

from server.core.errors import NotStreamable
from server.core.ports import Growth
from server.core.values import Frozen
from server.files.publishing import is_from_child, open_below

NOTE: Final = "stream.json"
_LARGEST_NOTE: Final = 64 * 1024
_OUTPUT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9]{1,8}")
_NAME: Final = r"^[a-z0-9]{1,64}\.[a-z0-9]{1,8}$"


class PlayingNote(Frozen):
    name: str | None = Field(default=None, pattern=_NAME)
    type: str = Field(default="", pattern=r"^((video|audio)/[a-z0-9.+-]{1,100})?$")
    fragments: bool = False
    size: NonNegativeInt | None = Field(default=None, description="of the whole file, once it is complete")
    why: str | None = Field(default=None, pattern=r"^(apart|not_before_the_end)$")


class LocalGrowingFile:
    """`type` is the file's media type. All methods touch the disk."""

    def __init__(self, work: Path, file: FileIO, note: PlayingNote) -> None:
        self._work = work
        self._file = file
        self._name = note.name or ""
        self._in_fragments = note.fragments
        self._final_bytes = 0
        self._has_all = False
        self.type = note.type

    def close(self) -> None:
        self._file.close()

    @property
    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def look(self) -> tuple[Growth, int]:
        """The state of the file, and how many of its bytes will not change."""
        unfinished, *finished = [self._is_at(place) for place in _places(self._work, self._name)]
        if unfinished or any(finished):
            self._has_all = any(finished)
            self._final_bytes = max(
                self._final_bytes,
                self._final_bytes_of_fragments() if unfinished and self._in_fragments else self.size,
            )
            note = _read(self._work)
            is_whole = note is not None and note.name == self._name and note.size == self.size
            return (Growth.WHOLE if is_whole else Growth.GOES_ON), self._final_bytes
        if unfinished is None and all(each is None for each in finished):
            return (Growth.WHOLE, self.size) if self._has_all else (Growth.AWAY, self._final_bytes)
        return Growth.REPLACED, self._final_bytes

    def read(self, start: int, count: int) -> bytes:
        return os.pread(self._file.fileno(), count, start)

    def _is_at(self, place: str) -> bool | None:
        """Whether `place` is the open file (same device and inode); None if there is no file."""
        try:
            return os.path.samestat(os.lstat(self._work / place), os.fstat(self._file.fileno()))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _final_bytes_of_fragments(self) -> int:
        """Return how many bytes of joined fragments the next attempt would keep
        (`server.child.fetch.fragments`).
        """
        match _json(self._work, f"{self._name}.ytdl"):
            case {"downloader": {"size": int(size)}}:
                return min(size, self.size)
            case _:
                return 0


def open_growing(work: Path) -> LocalGrowingFile:
    """Open the file of the download in `work` that can be played. Raises `NotStreamable` if there is none."""
    if not work.is_dir():
        raise NotStreamable("elsewhere")
    note = _read(work)
    if note is None or note.why or note.name is None or not note.type:
        raise NotStreamable((note and note.why) or "nothing_yet")
    for place in _places(work, note.name):
        with suppress(OSError):
            file = open_below(work, place)
            if is_from_child(os.fstat(file.fileno())):
                return LocalGrowingFile(work, file, note)
            file.close()
    raise NotStreamable("nothing_yet")


def _places(work: Path, name: str) -> list[str]:
    """Return the paths that the file may have: unfinished, complete, or as an output that is about to be
    published.
    """
    moved = _text(work, f"{name}.moved")
    return [f"{name}.part", name, *([f"out/{moved}"] if _OUTPUT.fullmatch(moved) else [])]


def _read(work: Path) -> PlayingNote | None:
    try:
        return PlayingNote.model_validate(_json(work, NOTE))
    except ValidationError:
        return None


def _json(work: Path, name: str) -> Any:
    try:
        return json.loads(_text(work, name))
    except (ValueError, RecursionError):  # `RecursionError`: the note has deeply nested lists.
        return None


def _text(work: Path, name: str) -> str:
    """Return the text of a small file; empty if it cannot be read."""
    try:
        with open_below(work, name) as file:
            return file.read(_LARGEST_NOTE).decode(errors="replace")
    except OSError:
        return ""
