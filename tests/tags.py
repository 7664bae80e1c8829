"""The metadata of a file, as players read it: tags, chapters, and the bytes of its cover."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.tools import FFMPEG

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_OGG = (".opus", ".ogg")


@dataclass(frozen=True, slots=True)
class About:
    """The metadata of a file: `tags` by their names in lower case; a chapter is its start and end in seconds,
    and its title.
    """

    tags: dict[str, str]
    chapters: list[tuple[float, float, str]]

    @property
    def description(self) -> str | None:
        """Return the description, which ffmpeg calls `comment` if it comes from Vorbis comments."""
        return self.tags.get("description") or self.tags.get("comment")

    @property
    def link(self) -> str | None:
        return self.tags.get("purl") or self.tags.get("comment")


def about(path: Path) -> About:
    of_stream = ["-map_metadata", "0:s:a:0"] if path.suffix in _OGG else []
    command = [FFMPEG, "-v", "error", "-i", str(path), *of_stream, "-f", "ffmetadata", "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    front, *chapters = re.split(r"^\[CHAPTER\]$", text, flags=re.MULTILINE)
    return About(_fields(front), [_chapter(_fields(one)) for one in chapters])


def cover(path: Path) -> bytes:
    """Return the bytes of the cover as stored: the second video stream of a video file, the first of a sound
    file.
    """
    at = int(path.suffix in (".mp4", ".mkv", ".mov"))
    command = [
        FFMPEG,
        "-v",
        "error",
        "-i",
        str(path),
        "-map",
        f"0:v:{at}",
        "-c",
        "copy",
        "-f",
        "image2pipe",
        "-",
    ]
    return subprocess.run(command, capture_output=True, check=True).stdout


def _fields(section: str) -> dict[str, str]:
    lines = re.split(r"(?<!\\)\n", section)
    pairs = [re.split(r"(?<!\\)=", line, maxsplit=1) for line in lines if "=" in line]
    return {name.lower(): _ESCAPED.sub(r"\1", value) for name, value in pairs}


def _chapter(fields: dict[str, str]) -> tuple[float, float, str]:
    unit = int(fields["timebase"].partition("/")[0]) / int(fields["timebase"].partition("/")[2])
    return round(int(fields["start"]) * unit, 2), round(int(fields["end"]) * unit, 2), fields.get("title", "")
