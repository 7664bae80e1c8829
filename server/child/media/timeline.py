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

MAX_CHAPTERS: Final = 1000
_MIN_SECONDS: Final = 0.001  # the shortest chapter: containers store times in milliseconds
_MAX_SECONDS: Final = 1e7  # the longest film


@dataclass(frozen=True, slots=True)
class ChapterSpan:
    """A chapter from `start` to `end`, in seconds."""

    start: float
    end: float
    title: str | None = None


def trim_chapters(chapters: Iterable[ChapterSpan], duration: float | None) -> list[ChapterSpan]:
    """Return at most `MAX_CHAPTERS` chapters, in order, that start within `duration` seconds; each ends where
    the next begins at the latest.
    """
    film_ends = min(duration or _MAX_SECONDS, _MAX_SECONDS)
    within = (one for one in chapters if 0 <= one.start < film_ends)
    ordered = sorted(within, key=lambda one: one.start)[:MAX_CHAPTERS]
    ends = [*(later.start for _, later in pairwise(ordered)), film_ends]
    cut = [replace(one, end=min(one.end, end)) for one, end in zip(ordered, ends, strict=False)]
    return [one for one in cut if one.end - one.start >= _MIN_SECONDS]


def as_chapter(chapter: Mapping[str, Any], title: str | None) -> ChapterSpan | None:
    """Read a chapter of yt-dlp's; None if it has no valid start. Without an end it lasts until the next
    one.
    """
    start, end = _seconds_of(chapter.get("start_time") or 0), _seconds_of(chapter.get("end_time"))
    if start is None:
        return None
    return ChapterSpan(start, end if end is not None and end > start else math.inf, title)


def read_chapters(path: Path, ffmpeg: str) -> list[ChapterSpan]:
    """Read the chapters of the file at `path`, as ffmpeg lists them."""
    listed = run_ffmpeg.run([ffmpeg, "-hide_banner", "-i", f"file:{path}", "-f", "ffmetadata", "-"]).output
    chapters = []
    for section in listed.split("\n[CHAPTER]\n")[1:]:
        # The lines are TIMEBASE, START, END, and title, which has a backslash before special characters.
        lines = dict(line.split("=", 1) for line in re.split(r"(?<!\\)\n", section) if "=" in line)
        title = re.sub(r"\\(.)", r"\1", lines.get("title", ""), flags=re.DOTALL) or None
        with suppress(KeyError, ValueError, ZeroDivisionError, OverflowError):
            unit = Fraction(lines["TIMEBASE"])
            start, end = int(lines["START"]) * unit, int(lines["END"]) * unit
            chapters.append(ChapterSpan(float(start), float(end), title))
    return chapters


def _seconds_of(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MAX_SECONDS:
        return float(value)
    return None


Span = tuple[float, float]

_MERGED_BELOW: Final = 1.0
"""Seconds. A chapter that is shorter than this after a cut is merged into its neighbour, as by yt-dlp."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a film; `spans` are in seconds of the film, in order, without overlaps. The last may
    end at infinity.
    """

    spans: tuple[Span, ...] = ((0.0, math.inf),)

    @property
    def length(self) -> float:
        return sum(end - start for start, end in self.spans)

    def when(self, moment: float) -> float:
        """Return the time in the result of `moment` of the film; if that is cut out, of what follows it."""
        return sum(min(moment, end) - start for start, end in self.spans if moment > start)

    def of(self, start: float, end: float) -> Span | None:
        """Return the span in the result of the film's from `start` to `end`; None if none of it is left."""
        span = self.when(start), self.when(end)
        return span if span[1] > span[0] else None

    def within(self, start: float, end: float = math.inf) -> "Kept":
        """Keep only what lies between `start` and `end`."""
        cut = [(max(start, begin), min(end, stop)) for begin, stop in self.spans]
        return Kept(tuple((begin, stop) for begin, stop in cut if stop > begin))

    def without(self, spans: Iterable[Span]) -> "Kept":
        """Cut `spans` out, which may overlap."""
        left = self
        for start, end in spans:
            left = Kept(left.within(0.0, start).spans + left.within(max(start, end)).spans)
        return left


ALL: Final = Kept()


def retime_chapters(chapters: Sequence[ChapterSpan], kept: Kept) -> list[ChapterSpan]:
    """Return the chapters of which something is kept, at their times in the result."""
    left: list[ChapterSpan] = []
    merged_start: float | None = None  # start of a short chapter that is merged into the next one
    for chapter in chapters:
        if (span := kept.of(chapter.start, chapter.end)) is None:
            continue
        start, end = span
        if end - start >= min(_MERGED_BELOW, chapter.end - chapter.start):
            left.append(replace(chapter, start=start if merged_start is None else merged_start, end=end))
            merged_start = None
        elif left:
            left[-1] = replace(left[-1], end=end)
        else:
            merged_start = start
    return left


_TIME: Final = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_CUE: Final = re.compile(rf"^[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}(.*)$", re.MULTILINE)
_TIME_TAG: Final = re.compile(rf"<{_TIME}>")  # a timestamp within the text of a WebVTT cue
_BLANK_LINES: Final = re.compile(r"\n[ \t]*\n+")


def retime_subtitles(text: str, kind: str, kept: Kept) -> str | None:
    """Move the cues of subtitles to their times in the result; `kind` is `srt` or `vtt`.

    None if no cue is left.
    """
    blocks, cues = list[str](), 0
    for block in _BLANK_LINES.split(text.replace("\r\n", "\n").strip("\n")):
        if not (found := _CUE.search(block)):
            blocks += [block] if kind == "vtt" else []
        elif moved := _retime_cue(block, found, kind, kept):
            cues += 1
            blocks.append(f"{cues}\n{moved}" if kind == "srt" else moved)
    return "\n\n".join([*blocks, ""]) if cues else None


def _retime_cue(block: str, found: re.Match[str], kind: str, kept: Kept) -> str | None:
    span = kept.of(_seconds(*found.groups()[:4]), _seconds(*found.groups()[4:8]))
    if span is None:
        return None
    times = f"{_format_time(span[0], kind)} --> {_format_time(span[1], kind)}{found[9]}"
    text = _TIME_TAG.sub(
        lambda tag: f"<{_format_time(kept.when(_seconds(*tag.groups())), kind)}>", block[found.end() :]
    )
    identifier = block[: found.start()] if kind == "vtt" else ""
    return f"{identifier}{times}{text}"


def _seconds(hours: str | None, minutes: str, seconds: str, thousandths: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(thousandths.ljust(3, "0")) / 1000


def _format_time(moment: float, kind: str) -> str:
    whole, thousandths = divmod(round(moment * 1000), 1000)
    minutes, seconds = divmod(whole, 60)
    point = "," if kind == "srt" else "."
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{point}{thousandths:03}"
