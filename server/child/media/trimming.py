"""Cuts what was fetched down to what is kept: a clip, or a film without its sponsor segments, or both."""

import math
from collections.abc import Callable, Sequence
from typing import Final

from server.child.media import cutting, outputs
from server.child.media.parts import Part
from server.child.media.timeline import ALL, Kept, Span
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.core.jobs import Job

NOTHING: Final = 0.1
"""Seconds. What is shorter counts as nothing: sound is often longer than its picture by less than that."""


class Trimming:
    """`left_out` are the spans of the film to cut out, in any order; `run` runs ffmpeg."""

    def __init__(
        self, job: Job, left_out: Sequence[Span], log: Log, run: Callable[[list[str]], None]
    ) -> None:
        self._wishes = job.wishes
        self._ffmpeg = job.ffmpeg
        self._left_out = left_out
        self._log = log
        self._run = run

    def of(self, fetched: list[Part]) -> tuple[list[Part], Kept]:
        """Returns the parts to make the outputs of, and what is kept of the film.

        An exact clip is read from the first to the last moment that is kept: filters drop what lies between
        when it is encoded. Raises `JobFailed` if the film ends before the clip starts.
        """
        ends = _end_of(fetched)
        kept = self._kept(ends)
        if kept == ALL:
            return fetched, kept
        whole = [part if cutting.is_seekable(part) else self._indexed(part) for part in fetched]
        in_one = len(kept.spans) == 1 or outputs.is_exact(self._wishes)
        parts, kept = (self._cut if in_one else self._spliced)(whole, kept)
        return parts, kept.within(0.0, ends)

    def _kept(self, ends: float) -> Kept:
        clip, kept = self._wishes.clip, Kept()
        if clip:
            if clip.start and clip.start >= ends - NOTHING:
                raise JobFailed("clip_out_of_range", f"it begins at {clip.start} of {ends} s")
            if clip.end > ends + 0.5:
                self._log.write(f"clip: it ends at {ends:.3f} s, which is the end, and not at {clip.end} s")
            kept = kept.within(clip.start, clip.end)
        left = kept.without(self._left_out)
        left = Kept(tuple(span for span in left.spans if min(span[1], ends) - span[0] >= NOTHING))
        if not left.spans:
            self._log.warning("sponsorblock: nothing would be left, so nothing is cut out")
        return left if left.spans else kept

    def _indexed(self, part: Part) -> Part:
        return cutting.indexed(part, 0.0, self._ffmpeg, self._run)

    def _cut(self, whole: list[Part], kept: Kept) -> tuple[list[Part], Kept]:
        hull, to_the_frame = (kept.spans[0][0], kept.spans[-1][1]), outputs.is_exact(self._wishes)
        hide = self._wishes.video_format == "mp4"
        parts, begins = cutting.cut(whole, hull, self._ffmpeg, exact=to_the_frame, hide=hide)
        if begins < hull[0]:
            self._log.write(f"clip: it begins at {begins:.3f} s, with the key frame before its start")
        return parts, kept if to_the_frame else Kept(((begins, hull[1]),))

    def _spliced(self, whole: list[Part], kept: Kept) -> tuple[list[Part], Kept]:
        parts = [single for part in whole for single in cutting.apart(part, self._ffmpeg, self._run)]
        return [cutting.splice(part, kept.spans, self._ffmpeg, self._run) for part in parts], kept


def _end_of(fetched: Sequence[Part]) -> float:
    """The second at which the film ends, by its picture if it has one; infinity if that is unknown."""
    pictures = [part for part in fetched if part.media.video] or fetched
    known = [part.begins + part.media.duration for part in pictures if part.media.duration]
    return max(known, default=math.inf)
