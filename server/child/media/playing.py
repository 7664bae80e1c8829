"""The note beside a growing file that tells the server whether the file can be played while it is fetched.

A file can be played from its beginning if its container has no index at the end. If picture and sound are
fetched as separate files, neither of them is the film.
"""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from server.child.media import outputs, probe
from server.child.process import borrowed

NOTE: Final = "stream.json"
Obstacle = Literal["apart", "not_before_the_end"]

_MP4: Final = ("mp4", "m4a", "mov", "3gp")
_AS_IT_COMES: Final = ("aac", "flac", "flv", "mkv", "mp3", "mpg", "ogg", "ogv", "opus", "ts", "wav", "webm")


class Playing:
    """Writes the note about the file in `names`, if there is only one, and `in_one`: it is no clip."""

    def __init__(self, directory: Path, names: Sequence[str], *, in_one: bool = True) -> None:
        self._note = directory / NOTE
        self._can_be = len(names) == 1 and in_one and borrowed.fits("fragments") and borrowed.fits("resuming")
        self._path = directory / names[0] if self._can_be else directory
        self._decided = False
        self._one_at_a_time = threading.Lock()
        if not self._can_be:
            self._write(why="apart" if len(names) > 1 else "not_before_the_end")

    def look(self) -> None:
        """Check what has come so far, until that decides it; threads of several fragments may call it."""
        with self._one_at_a_time:
            if self._can_be and not self._decided:
                self._look()

    def _look(self) -> None:
        try:
            found = kind_of(self._path.with_name(self._path.name + ".part"))
        except FileNotFoundError:  # fragments are joined in their order: the first may not have come
            return
        if found == "not_before_the_end":
            self._write(why=found)
        elif found:
            self._tell(found, None)
        self._decided = found is not None

    def whole(self) -> int | None:
        """Note that the file is complete and final; returns its size in bytes, None without a single file."""
        if not self._can_be:
            return None
        with self._path.open("rb") as file:
            container = probe.sniff(file.read(probe.HEAD))
        size = self._path.stat().st_size
        if kind := outputs.TYPES.get(container or ""):
            self._tell(kind, size)
        return size

    def _tell(self, kind: str, size: int | None) -> None:
        # yt-dlp makes the .ytdl file before it appends the first fragment.
        in_fragments = self._path.with_name(self._path.name + ".ytdl").exists()
        self._write(name=self._path.name, type=kind, fragments=in_fragments, size=size)

    def _write(self, **note: object) -> None:
        """Replace the note atomically: the server may be reading it."""
        fresh = self._note.with_name(NOTE + ".new")
        fresh.write_text(json.dumps(note))
        fresh.replace(self._note)


def kind_of(path: Path) -> str | None:
    """The media type of the file at `path` if it can be played, else the obstacle; None: not known yet."""
    with path.open("rb") as file:
        head = file.read(probe.HEAD)
        container = probe.sniff(head)
        if container in _MP4:
            # `kind` if an MP4's index has come and precedes the film, else the obstacle; None: not
            # known yet.
            kind = outputs.TYPES[container]
            size, at = file.seek(0, 2), 0
            while at + 16 <= size:
                file.seek(at)
                header = file.read(16)
                length, name = int.from_bytes(header[:4]), header[4:8]
                length = int.from_bytes(header[8:]) if length == 1 else length
                if name in (b"mdat", b"moof") or length < 8:
                    return "not_before_the_end"
                at += length
                if name == b"moov":
                    return kind if at <= size else None
            return None
    if container in _AS_IT_COMES:
        return outputs.TYPES[container]
    return None if len(head) < probe.HEAD else "not_before_the_end"
