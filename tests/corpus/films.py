"""The content of a decoded file: the number of pictures, the length of the sound, and the number of
faults.
"""

import asyncio
import hashlib
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tests.tools import BUNDLED

_QUIETLY = ("-hide_banner", "-nostdin", "-loglevel", "level+info")
_DECODED = ("-map", "0:V:0?", "-map", "0:a:0?", "-fps_mode", "passthrough", "-f", "framecrc", "-")
_STREAM = re.compile(r"^\s*Stream #0:\d+.*?: (Video|Audio|Subtitle): (?!none)", re.MULTILINE)
_KIND = re.compile(r"^#media_type (\d+): (\w+)$", re.MULTILINE)
_UNIT = re.compile(r"^#tb (\d+): (\S+)$", re.MULTILINE)
_SIZE = re.compile(r"^#dimensions \d+: (\d+)x(\d+)$", re.MULTILINE)
_LINE = re.compile(r"^\d.*$", re.MULTILINE)
_COMPLAINT = re.compile(r"\[(error|fatal|panic)\]")


@dataclass(frozen=True, slots=True)
class Film:
    """A decoded file. `sound` is in seconds, `size` that of the picture; `streams` counts the streams by
    ffmpeg's names.
    """

    pictures: int
    sound: float
    size: tuple[int, int]
    streams: Counter[str]
    bytes: int
    complaints: int = 0

    def __str__(self) -> str:
        picture = f"{self.pictures} pictures {self.size[0]}x{self.size[1]}" if self.pictures else ""
        sound = f"{self.sound:.1f} s of sound" if self.sound else ""
        faults = f"{self.complaints} faults" if self.complaints else ""
        return ", ".join(filter(None, (picture, sound, faults))) or "nothing"


class Looks:
    """Decodes files, and remembers the result by content: many files are the same."""

    def __init__(self) -> None:
        self._known: dict[bytes, Film] = {}

    async def at(self, path: Path) -> Film:
        """Decode all of `path`; the result for a file that is no film is empty."""
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest not in self._known:
            self._known[digest] = await asyncio.to_thread(_look, path)
        return self._known[digest]


def _look(path: Path) -> Film:
    command = (BUNDLED, *_QUIETLY, "-i", f"file:{path}", *_DECODED)
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    about = dict(_KIND.findall(result.stdout))
    units = {at: Fraction(unit) for at, unit in _UNIT.findall(result.stdout)}
    size = _SIZE.search(result.stdout)
    pictures, sound = 0, Fraction()
    for line in _LINE.findall(result.stdout):
        stream, _, _, lasts, *_ = (word.strip() for word in line.split(","))
        if about[stream] == "video":
            pictures += 1
        else:
            sound += int(lasts) * units[stream]
    said = result.stderr.partition("Stream mapping:")[0]
    return Film(
        pictures,
        float(sound),
        (int(size[1]), int(size[2])) if size else (0, 0),
        Counter(word.lower() for word in _STREAM.findall(said)),
        path.stat().st_size,
        len(_COMPLAINT.findall(result.stderr)),
    )
