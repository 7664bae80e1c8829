"""Estimates how many bytes a download will have in its directory at once, before it begins.

A job deletes nothing before it ends, so every step that writes another copy of the film counts. Publishing
moves or uploads what was made, and takes no more room; nor does `+faststart`, which moves the index of an MP4
to the front within the file. For a recording there is no estimate.

Decisions: docs/decisions/films.md
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, Final

from server.child.fetch.one_stream import is_plain
from server.child.media.cutting import SEEKABLE
from server.child.media.outputs import is_exact
from server.child.media.timeline import ALL, Kept, Span
from server.child.process.progress import weight
from server.core.jobs import Wishes

_RATES: Final = {"mp3": 190, "m4a": 160, "opus": 128, "flac": 900, "wav": 1411}
"""kbit/s of sound that is encoded, if no other rate is asked for; for lossless formats a usual rate."""

_LIKE_MP4: Final = [ext for ext, demuxer in SEEKABLE.items() if demuxer == "mov"]

Stream = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FilmFacts:
    """The facts known so far about a film's download; `sizes` are the bytes of its streams, in order.

    `duration` is in seconds, that of the clip if there is one; `left_out` are the spans to cut out;
    `chapters` says whether the film has any.
    """

    wishes: Wishes
    sections: Sequence[Sequence[Stream]]
    duration: float | None
    sizes: Sequence[int | None] = ()
    left_out: Sequence[Span] = ()
    chapters: bool = False


def estimate_bytes(film: FilmFacts) -> int | None:
    """Estimate the bytes of all files that a job writes; None if the source states no sizes.

    A size that the source does not state counts as 0: an estimate that is too high would refuse the download.
    """

    def size(streams: Iterable[Stream]) -> float:
        return sum(weight(stream, film.duration) for stream in streams)

    wishes, in_one = film.wishes, len(film.sections) == 1
    streams = [
        stream | {"filesize": known or stream.get("filesize")}
        for stream, known in zip_longest(chain(*film.sections), film.sizes)
    ]
    fetched = whole = size(streams)
    if not fetched:
        return None
    kinds = {stream.get("ext") for stream in streams}
    alike = all(len(section) == 1 for section in film.sections) and len(kinds) == 1
    if not in_one and not alike:  # they are merged one by one before they are joined (`parts.join`)
        whole += fetched
    kept, share = ALL, 1.0  # of the bytes that are fetched; mostly no more than a clip is fetched
    if clip := wishes.clip:  # the spans are in the film's time, also where only a clip of it is fetched
        kept = Kept().within(clip.start, clip.end).without(film.left_out)
    elif film.left_out:
        kept = ALL.without(film.left_out).within(0.0, film.duration or math.inf)
    if kept != ALL:
        share = min(1.0, kept.length / film.duration) if film.duration else 1.0
        # What is cut must be in a container that knows its key frames (`cutting.indexed`).
        whole += size(
            stream
            for stream in streams
            if not (in_one and is_plain(stream) and stream.get("ext") in SEEKABLE)
        )
    if len(kept.spans) > 1 and not is_exact(wishes):  # picture and sound are taken apart, then spliced
        for stream in streams:
            is_sound = stream.get("vcodec") == "none"
            is_apart = stream.get("acodec") == "none" or (is_sound and stream.get("ext") in _LIKE_MP4)
            whole += 0 if in_one and is_apart else size([stream])
        whole += fetched * share
    plain = kept == ALL and not wishes.embed_metadata  # what was fetched may become an output unchanged
    moved = plain and len(streams) == 1 and is_plain(streams[0]) and not wishes.subtitles.embed
    moved = moved and not (wishes.mute and streams[0].get("acodec") != "none")
    if "video" in wishes.outputs and not (moved and wishes.video_format in ("any", streams[0].get("ext"))):
        whole += fetched * share
    sounds = [stream for stream in streams if stream.get("vcodec") == "none"]
    rate = wishes.audio_quality or _RATES.get(wishes.audio_format)
    sound = (rate * 125 * film.duration if rate and film.duration else size(sounds)) * share
    moved = plain and len(sounds) == 1 and is_plain(sounds[0]) and not wishes.audio_quality
    if "audio" in wishes.outputs and not (moved and wishes.audio_format in ("best", sounds[0].get("ext"))):
        whole += sound
    if wishes.split_chapters and film.chapters:  # all of the film once more, or of its sound (`splitting`)
        whole += fetched * share if "video" in wishes.outputs else sound
    return int(whole)
