"""Reads the subtitles of a file as players do: the streams, and which text is shown when."""

import re
import subprocess
from pathlib import Path

from tests.tools import FFMPEG

Cue = tuple[float, float, str]

HELLO: list[Cue] = [(0.5, 1.5, "Hello there"), (2.0, 3.0, "Bye")]
SRT = "1\n00:00:00,500 --> 00:00:01,500\nHello <i>there</i>\n\n2\n00:00:02,000 --> 00:00:03,000\nBye\n"
VTT = "WEBVTT\n\n00:00.500 --> 00:01.500\nHello <i>there</i>\n\n00:02.000 --> 00:03.000\nBye\n"
_TIME = r"(\d+):(\d\d):(\d\d)[,.](\d{3})"
_STREAM = re.compile(r"Stream #0:\d+(?:\[0x[0-9a-f]+\])?(?:\((\w+)\))?: Subtitle: (\w+)")


def streams(path: Path) -> list[tuple[str, str]]:
    """Return the language and the codec of each subtitle stream of a film."""
    said = subprocess.run([FFMPEG, "-hide_banner", "-i", path], capture_output=True, text=True, check=False)
    return [(found[1] or "und", found[2]) for found in _STREAM.finditer(said.stderr)]


def cues(path: Path, number: int = 0) -> list[Cue]:
    """Return the cues of subtitle stream `number` of a file: start and end in seconds, and the text."""
    command = [FFMPEG, "-v", "error", "-i", str(path), "-map", f"0:s:{number}", "-f", "srt", "-"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [_cue(block) for block in re.split(r"\n\n+(?=\d+\n\d)", shown.strip()) if block]


def _cue(block: str) -> Cue:
    _, times, *lines = block.splitlines()
    begin, end = (_seconds(found) for found in re.finditer(_TIME, times))
    return begin, end, re.sub(r"<[^>]+>", "", "\n".join(lines)).strip()


def _seconds(found: re.Match[str]) -> float:
    hours, minutes, seconds, thousandths = map(int, found.groups())
    return hours * 3600 + minutes * 60 + seconds + thousandths / 1000
