"""Which spans of a film are kept, and the times that chapters and subtitles have in the result.

A clip keeps one span; a film without its sponsor segments keeps the spans between them.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from server.child.media import run_ffmpeg

MOST: Final = 1000
_SHORTEST: Final = 0.001  # seconds: containers store times in milliseconds
_LATEST: Final = 1e7  # seconds


@dataclass(frozen=True, slots=True)
class ChapterSpan:
    """From `start` to `end`, in seconds."""

    start: float
    end: float
    title: str | None = None


def trim_chapters(said: Iterable[ChapterSpan], duration: float | None) -> list[ChapterSpan]:
    """Keep at most `MOST` chapters that start within `duration` seconds, and end each where the next
    begins.
    """
    last = min(duration or _LATEST, _LATEST)
    ordered = sorted((one for one in said if 0 <= one.start < last), key=lambda one: one.start)[:MOST]
    ends = [*(later.start for _, later in pairwise(ordered)), last]
    cut = [replace(one, end=min(one.end, end)) for one, end in zip(ordered, ends, strict=False)]
    return [one for one in cut if one.end - one.start >= _SHORTEST]


def as_chapter(said: Mapping[str, Any], title: str | None) -> ChapterSpan | None:
    """Read a chapter of yt-dlp's; None if it has no valid start. Without an end it lasts until the next
    one.
    """
    start, end = _number(said.get("start_time") or 0), _number(said.get("end_time"))
    if start is None:
        return None
    return ChapterSpan(start, end if end is not None and end > start else math.inf, title)


def read_chapters(path: Path, ffmpeg: str) -> list[ChapterSpan]:
    """The chapters in the file at `path`, as ffmpeg lists them: each with a time base of its own."""
    said = run_ffmpeg.run([ffmpeg, "-hide_banner", "-i", f"file:{path}", "-f", "ffmetadata", "-"]).output
    found = []
    for section in said.split("\n[CHAPTER]\n")[1:]:
        # The lines that ffmpeg writes: TIMEBASE, START, END, and title with `\\` in front of what is special.
        lines = dict(line.split("=", 1) for line in re.split(r"(?<!\\)\n", section) if "=" in line)
        title = re.sub(r"\\(.)", r"\1", lines.get("title", ""), flags=re.DOTALL) or None
        with suppress(KeyError, ValueError, ZeroDivisionError, OverflowError):
            unit = Fraction(lines["TIMEBASE"])
            found.append(
                ChapterSpan(float(int(lines["START"]) * unit), float(int(lines["END"]) * unit), title)
            )
    return found


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LATEST:
        return float(value)
    return None


Span = tuple[float, float]

_TINY: Final = 1.0
"""Seconds. A chapter that is shorter than this after a cut is merged into its neighbour, as by yt-dlp."""


@dataclass(frozen=True, slots=True)
class Kept:
    """`spans` are in seconds of the film's own time, in order and disjoint; the last may end at infinity."""

    spans: tuple[Span, ...] = ((0.0, math.inf),)

    @property
    def length(self) -> float:
        return sum(end - start for start, end in self.spans)

    def when(self, moment: float) -> float:
        """The time in the result of `moment` of the film; if that is cut out, of what follows it."""
        return sum(min(moment, end) - start for start, end in self.spans if moment > start)

    def of(self, start: float, end: float) -> Span | None:
        """The span in the result of the film's span from `start` to `end`; None if nothing of it is left."""
        seen = self.when(start), self.when(end)
        return seen if seen[1] > seen[0] else None

    def within(self, start: float, end: float = math.inf) -> "Kept":
        """Only what lies between `start` and `end`."""
        cut = [(max(start, begin), min(end, stop)) for begin, stop in self.spans]
        return Kept(tuple((begin, stop) for begin, stop in cut if stop > begin))

    def without(self, spans: Iterable[Span]) -> "Kept":
        """All but `spans`, which may overlap."""
        left = self
        for start, end in spans:
            left = Kept(left.within(0.0, start).spans + left.within(max(start, end)).spans)
        return left


ALL: Final = Kept()


def retime_chapters(found: Sequence[ChapterSpan], kept: Kept) -> list[ChapterSpan]:
    """The chapters `found` at their times in the result, without those of which nothing is left."""
    left: list[ChapterSpan] = []
    begin: float | None = None  # the start of a tiny chapter that is merged into the next
    for chapter in found:
        if (seen := kept.of(chapter.start, chapter.end)) is None:
            continue
        if seen[1] - seen[0] >= min(_TINY, chapter.end - chapter.start):
            left.append(replace(chapter, start=seen[0] if begin is None else begin, end=seen[1]))
            begin = None
        elif left:
            left[-1] = replace(left[-1], end=seen[1])
        else:
            begin = seen[0]
    return left


_TIME: Final = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_CUE: Final = re.compile(rf"^[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}(.*)$", re.MULTILINE)
_WITHIN: Final = re.compile(rf"<{_TIME}>")
_BLANK: Final = re.compile(r"\n[ \t]*\n+")


def retime_subtitles(text: str, kind: str, kept: Kept) -> str | None:
    """Move the cues of `text`, of the `kind` `srt` or `vtt`, to their times in the result; None if none is
    left.
    """
    blocks, cues = list[str](), 0
    for block in _BLANK.split(text.replace("\r\n", "\n").strip("\n")):
        if not (found := _CUE.search(block)):
            blocks += [block] if kind == "vtt" else []
        elif moved := _retime_cue(block, found, kind, kept):
            cues += 1
            blocks.append(f"{cues}\n{moved}" if kind == "srt" else moved)
    return "\n\n".join([*blocks, ""]) if cues else None


def _retime_cue(block: str, found: re.Match[str], kind: str, kept: Kept) -> str | None:
    seen = kept.of(_seconds(*found.groups()[:4]), _seconds(*found.groups()[4:8]))
    if seen is None:
        return None
    times = f"{_format_time(seen[0], kind)} --> {_format_time(seen[1], kind)}{found[9]}"
    words = _WITHIN.sub(
        lambda within: f"<{_format_time(kept.when(_seconds(*within.groups())), kind)}>", block[found.end() :]
    )
    name = block[: found.start()] if kind == "vtt" else ""
    return f"{name}{times}{words}"


def _seconds(hours: str | None, minutes: str, seconds: str, thousandths: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(thousandths.ljust(3, "0")) / 1000


def _format_time(moment: float, kind: str) -> str:
    whole, thousandths = divmod(round(moment * 1000), 1000)
    minutes, seconds = divmod(whole, 60)
    point = "," if kind == "srt" else "."
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{point}{thousandths:03}"
