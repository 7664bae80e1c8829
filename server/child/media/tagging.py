"""Writes tags, chapters and a cover to files in ffmpeg's own format for metadata.

Unlike options of the command line the files have no limit of length, can be seen by no other user, and can
hold the cover where a container has that among its tags.
"""

import base64
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.child.media.chapters import Chapter
from server.child.media.parts import Part
from server.child.media.probe import Media

_SPECIAL: Final = re.compile(r"([\\=;#\n])")
_ESCAPED: Final = r"\\\1"
_FRONT: Final = 3  # the picture type of a front cover
_NOT_IN_VORBIS: Final = ("comment", "synopsis")
"""ffmpeg writes `comment` as DESCRIPTION there, the description's name; the link in it is in `purl` too."""


@dataclass(frozen=True, slots=True)
class Tags:
    """`language` is that of the sound."""

    values: Mapping[str, str]
    chapters: Sequence[Chapter] = ()
    cover: Path | None = None
    language: str | None = None

    @property
    def of_cover(self) -> str:
        return "image/png" if self.cover and self.cover.suffix == ".png" else "image/jpeg"


@dataclass(frozen=True, slots=True)
class Tagged:
    """`tags` in files that are inputs of ffmpeg; each container uses one of them."""

    tags: Tags
    plain: Part
    """With chapters, for containers that have chapters and covers of their own kind."""
    flac: Part
    """For Vorbis comments, in which chapters are tags like others."""
    ogg: Part
    """The same, with the cover among them."""

    @property
    def cover(self) -> Part | None:
        path = self.tags.cover
        return Part(path, Media(path.suffix[1:]), plain=False) if path else None


def write(tags: Tags, directory: Path) -> Tagged:
    """Write the files to `directory`, beside the parts."""
    vorbis = _for_vorbis(tags)
    picture = {"METADATA_BLOCK_PICTURE": _block(tags)} if tags.cover else {}
    return Tagged(
        tags,
        _write(_plain(tags), directory / "tags.txt"),
        _write(_lines(vorbis), directory / "tags.flac.txt"),
        _write(_lines(vorbis | picture), directory / "tags.ogg.txt"),
    )


def _plain(tags: Tags) -> list[str]:
    lines = _lines(tags.values)
    for chapter in tags.chapters:
        start, end = round(chapter.start * 1000), round(chapter.end * 1000)
        lines += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={start}", f"END={end}"]
        lines += _lines({"title": chapter.title} if chapter.title else {})
    return lines


def _for_vorbis(tags: Tags) -> dict[str, str]:
    values = {name: value for name, value in tags.values.items() if name not in _NOT_IN_VORBIS}
    for number, chapter in enumerate(tags.chapters, 1):
        values[f"CHAPTER{number:03}"] = _clock(chapter.start)
        values[f"CHAPTER{number:03}NAME"] = chapter.title or f"{number}"
    return values


def _write(lines: list[str], path: Path) -> Part:
    path.write_text("\n".join((";FFMETADATA1", *lines, "")), encoding="utf-8", newline="")
    return Part(path, Media("ffmetadata"), plain=False, reading=("-f", "ffmetadata"))


def _lines(values: Mapping[str, str]) -> list[str]:
    return [f"{name}={_SPECIAL.sub(_ESCAPED, value)}" for name, value in values.items()]


def _clock(seconds: float) -> str:
    minutes, thousandths = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{thousandths / 1000:06.3f}"


def _block(tags: Tags) -> str:
    """The cover as a picture block of FLAC (RFC 9639, 8.8), in base64; its dimensions are 0: not stated."""
    picture = tags.cover.read_bytes() if tags.cover else b""
    kind = tags.of_cover.encode()
    head = struct.pack(f">II{len(kind)}sI", _FRONT, len(kind), kind, 0)
    return base64.b64encode(head + struct.pack(">5I", 0, 0, 0, 0, len(picture)) + picture).decode()
