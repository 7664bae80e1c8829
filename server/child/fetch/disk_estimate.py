"""Estimates, before a download begins, how many bytes its directory will need.

A job deletes nothing before it ends, so every step that writes another copy of the film counts. Publishing
moves or uploads what was made, and needs no more space; nor does `+faststart`, which moves the index of an
MP4 to the front within the file. For a recording there is no estimate.

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
"""kbit/s of sound that is encoded, if no other rate is wanted; for lossless formats a usual rate."""

_MP4_SUFFIXES: Final = [ext for ext, demuxer in SEEKABLE.items() if demuxer == "mov"]

Stream = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FilmFacts:
    """What is known so far of a film that is downloaded; `sizes` are the bytes of its streams, in order.

    `sections` are the streams of each section. `duration` is in seconds, that of the clip if there is one;
    `left_out` are the spans to cut out; `chapters`: the film has chapters.
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

    wishes, is_one_section = film.wishes, len(film.sections) == 1
    streams = [
        stream | {"filesize": known or stream.get("filesize")}
        for stream, known in zip_longest(chain(*film.sections), film.sizes)
    ]
    fetched = whole = size(streams)
    if not fetched:
        return None
    containers = {stream.get("ext") for stream in streams}
    are_files = all(len(section) == 1 for section in film.sections) and len(containers) == 1
    if not is_one_section and not are_files:  # each is merged before they are joined (`parts.join`)
        whole += fetched
    kept, share = ALL, 1.0  # `share` is that of the fetched bytes in an output
    if clip := wishes.clip:  # mostly only the clip is fetched; the spans are in the film's time nevertheless
        kept = Kept().within(clip.start, clip.end).without(film.left_out)
    elif film.left_out:
        kept = ALL.without(film.left_out).within(0.0, film.duration or math.inf)
    if kept != ALL:
        share = min(1.0, kept.length / film.duration) if film.duration else 1.0
        # A part must be in a container with an index of key frames to be cut (`cutting.remux_with_index`).
        whole += size(
            stream
            for stream in streams
            if not (is_one_section and is_plain(stream) and stream.get("ext") in SEEKABLE)
        )
    if len(kept.spans) > 1 and not is_exact(wishes):  # picture and sound are split, then spliced
        for stream in streams:
            is_sound = stream.get("vcodec") == "none"
            is_split = stream.get("acodec") == "none" or (is_sound and stream.get("ext") in _MP4_SUFFIXES)
            whole += 0 if is_one_section and is_split else size([stream])
        whole += fetched * share
    may_be_moved = kept == ALL and not wishes.embed_metadata  # then a file may become an output unchanged
    is_moved = may_be_moved and len(streams) == 1 and is_plain(streams[0]) and not wishes.subtitles.embed
    is_moved = is_moved and not (wishes.mute and streams[0].get("acodec") != "none")
    is_moved = is_moved and wishes.video_format in ("any", streams[0].get("ext"))
    if "video" in wishes.outputs and not is_moved:
        whole += fetched * share
    sounds = [stream for stream in streams if stream.get("vcodec") == "none"]
    rate = wishes.audio_quality or _RATES.get(wishes.audio_format)
    sound = (rate * 125 * film.duration if rate and film.duration else size(sounds)) * share
    is_moved = may_be_moved and len(sounds) == 1 and is_plain(sounds[0]) and not wishes.audio_quality
    is_moved = is_moved and wishes.audio_format in ("best", sounds[0].get("ext"))
    if "audio" in wishes.outputs and not is_moved:
        whole += sound
    if wishes.split_chapters and film.chapters:  # all of the film once more, or all of its sound
        whole += fetched * share if "video" in wishes.outputs else sound
    return int(whole)
