"""A film's chapters, cleaned up: in order, without overlaps, within the film."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from server.child.media import run_ffmpeg

MOST: Final = 1000
_SHORTEST: Final = 0.001  # seconds: containers store times in milliseconds
_LATEST: Final = 1e7  # seconds


@dataclass(frozen=True, slots=True)
class Chapter:
    """From `start` to `end`, in seconds."""

    start: float
    end: float
    title: str | None = None


def sensible(said: Iterable[Chapter], duration: float | None) -> list[Chapter]:
    """At most `MOST` chapters that start within `duration` seconds, each cut off where the next begins."""
    last = min(duration or _LATEST, _LATEST)
    ordered = sorted((one for one in said if 0 <= one.start < last), key=lambda one: one.start)[:MOST]
    ends = [*(later.start for _, later in pairwise(ordered)), last]
    cut = [Chapter(one.start, min(one.end, end), one.title) for one, end in zip(ordered, ends, strict=False)]
    return [one for one in cut if one.end - one.start >= _SHORTEST]


def as_chapter(said: Mapping[str, Any], title: str | None) -> Chapter | None:
    """A chapter from yt-dlp's dict, None if it has no valid start; without an end it lasts until the next."""
    start, end = _number(said.get("start_time") or 0), _number(said.get("end_time"))
    if start is None:
        return None
    return Chapter(start, end if end is not None and end > start else math.inf, title)


def of_file(path: Path, ffmpeg: str) -> list[Chapter]:
    """The chapters in the file at `path`, as ffmpeg lists them: each with a time base of its own."""
    said = run_ffmpeg.run([ffmpeg, "-hide_banner", "-i", f"file:{path}", "-f", "ffmetadata", "-"]).output
    sections = said.split("\n[CHAPTER]\n")[1:]
    return [chapter for section in sections if (chapter := _of_section(section))]


def _of_section(section: str) -> Chapter | None:
    """The lines that ffmpeg writes: TIMEBASE, START, END, and title with `\\` in front of what is special."""
    said = dict(line.split("=", 1) for line in re.split(r"(?<!\\)\n", section) if "=" in line)
    try:
        unit = Fraction(said["TIMEBASE"])
        start, end = float(int(said["START"]) * unit), float(int(said["END"]) * unit)
    except (KeyError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return Chapter(start, end, re.sub(r"\\(.)", r"\1", said.get("title", ""), flags=re.DOTALL) or None)


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LATEST:
        return float(value)
    return None
