"""What is kept of a film: which spans of it, and at which times they are seen in the result.

A clip keeps one span; a film without its sponsor segments keeps the spans between them. Chapters and
subtitles, which have times of their own, are moved by `Kept`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from server.child.media.chapters import Chapter

Span = tuple[float, float]

_TINY: Final = 1.0
"""Seconds. A chapter of which a cut leaves less than this belongs to its neighbour, as with yt-dlp."""


@dataclass(frozen=True, slots=True)
class Kept:
    """`spans` are in seconds of the film's own time, in order and disjoint; the last may end at infinity."""

    spans: tuple[Span, ...] = ((0.0, math.inf),)

    @property
    def length(self) -> float:
        return sum(end - start for start, end in self.spans)

    def when(self, moment: float) -> float:
        """When `moment` is seen in the result; if it is cut out, when what follows it is."""
        return sum(min(moment, end) - start for start, end in self.spans if moment > start)

    def of(self, start: float, end: float) -> Span | None:
        """When what is between `start` and `end` is seen in the result; None if nothing of it is left."""
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


def chapters(found: Sequence[Chapter], kept: Kept) -> list[Chapter]:
    """`found` at their times in the result, without those of which nothing is left."""
    left: list[Chapter] = []
    begin: float | None = None  # of a tiny chapter, which is merged into the next
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
