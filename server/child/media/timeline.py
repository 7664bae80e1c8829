"""What is kept of a film: which of its times come out, and when they are seen there.

A clip keeps one span, what sponsors are cut out of keeps those between them. Whatever has times of its own
(chapters, subtitles) follows by `Kept`.
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
    """`spans` of the film's own time, in order and apart; the last may have no end."""

    spans: tuple[Span, ...] = ((0.0, math.inf),)

    @property
    def length(self) -> float:
        return sum(end - start for start, end in self.spans)

    def when(self, moment: float) -> float:
        """When `moment` is seen, or what comes next after it."""
        return sum(min(moment, end) - start for start, end in self.spans if moment > start)

    def of(self, start: float, end: float) -> Span | None:
        """When what is between `start` and `end` is seen; None if nothing of it is left."""
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
    """`found` at the times at which they are seen; of some nothing may be left."""
    left: list[Chapter] = []
    begin: float | None = None  # of a tiny one, which belongs to the next
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
