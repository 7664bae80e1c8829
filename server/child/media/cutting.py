"""Cuts fetched parts to the spans that are kept: a clip, a film without sponsor segments, or both.

ffmpeg cuts a part while reading it, by the input options `-ss` and `-t`, as with yt-dlp. For that the part
needs an index of key frames and the film's timestamps. `remux_with_index` provides both.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from server.child.media import outputs, run_ffmpeg
from server.child.media.outputs import fits
from server.child.media.parts import Part
from server.child.media.probe import inspect
from server.child.media.timeline import ALL, Kept, Span
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.core.jobs import Job

Run = Callable[[list[str]], None]

SEEKABLE: Final = {
    "mp4": "mov",
    "m4a": "mov",
    "mov": "mov",
    "3gp": "mov",
    "mkv": "matroska",
    "webm": "matroska",
}
"""Containers with an index of key frames -> ffmpeg's demuxer."""

_TOLERANCE: Final = 0.001  # seconds: containers round timestamps to milliseconds
_MAPS: Final = ("-map", "0:V:0?", "-map", "0:a:0?")
_COPY: Final = (*_MAPS, "-c", "copy")
_DURATION: Final = re.compile(r"\n  Duration: (?:(\d+):(\d\d):(\d\d\.\d+)|N/A), start: (-?\d+\.\d+)")
_TIME_BASE: Final = re.compile(r"^#tb (\d): (\d+)/(\d+)$", re.MULTILINE)
_PACKET: Final = re.compile(r"^(\d), *-?\d+, *(-?\d+),", re.MULTILINE)


def is_seekable(part: Part) -> bool:
    return part.media.container in SEEKABLE and not part.reading


def remux_with_index(part: Part, begins: float, ffmpeg: str, run: Run) -> Part:
    """Remux `part` into a container with an index of key frames, with the film's timestamps.

    `begins` is the second of the film at which the part's first picture is, or its first sound if it has no
    picture.
    """
    media, offset = part.media, begins
    if media.video and media.audio:  # its sound may begin before its picture does
        offset -= _first_timestamps([*part.reading, "-i", f"file:{part.path}"], ffmpeg).get("0", 0.0)
    container = "mp4" if fits("mp4", media.video or "h264", media.audio) else "mkv"
    target = part.path.with_name(f"piece-{part.path.stem}.{container}")
    # Not `-itsoffset`: in MPEG-TS ffmpeg would take it for a timestamp discontinuity, and correct it.
    shift = ("-output_ts_offset", f"{offset:.6f}")
    run([*part.reading, "-i", f"file:{part.path}", *_COPY, *shift, f"file:{target}"])
    return part_of_file(target, ffmpeg)


def part_of_file(path: Path, ffmpeg: str) -> Part:
    """Make a part of the file at `path`, whose timestamps are those of the film."""
    begins, ends = _first_and_last_timestamp(path, ffmpeg)
    media = inspect(path, ffmpeg)
    duration = ends - begins if ends is not None else None
    return Part(path, replace(media, duration=duration), plain=False, begins=begins)


def cut(
    parts: Sequence[Part], span: Span, ffmpeg: str, *, exact: bool, hide: bool
) -> tuple[list[Part], float]:
    """Return `parts` with the input options for `span` of the film, and the second where the result begins.

    Unless `exact`, which encodes, the picture must be read from the key frame before `span`. `hide`: the
    container can hide what precedes `span`; else the result begins with that key frame.
    """
    picture = next((part for part in parts if part.media.video), None)
    (start, end), tolerance = span, -_TOLERANCE if exact else _TOLERANCE
    begins = start
    if picture and not (exact or hide):
        # Seek, and see by the timestamps, relative to the seek, where the key frame and the first packet are.
        at = max(0.0, (start + _TOLERANCE) - picture.begins)
        seek = [*picture.reading, "-ss", f"{at:.6f}", "-i", f"file:{picture.path}"]
        timestamps = _first_timestamps(seek, ffmpeg)
        key_frame, first = min(0.0, timestamps.get("0", 0.0)), min(0.0, *timestamps.values(), 0.0)
        start, begins = picture.begins + at + key_frame, picture.begins + at + first
    with_options = [_read_from(part, start + tolerance, end + tolerance, start - begins) for part in parts]
    return with_options, max(0.0, begins)


def split_streams(part: Part, ffmpeg: str, run: Run) -> list[Part]:
    """Split `part` into a file of its picture and one of its sound, which can be cut at any packet, not only
    at key frames.
    """
    kinds = [kind for kind, has in (("V", part.media.video), ("a", part.media.audio)) if has]
    if kinds == ["V"] or (kinds == ["a"] and SEEKABLE[part.media.container] == "mov"):
        return [part]
    paths = {kind: _path_beside(part, kind) for kind in kinds}
    outputs = [
        word for kind, path in paths.items() for word in ("-map", f"0:{kind}:0", "-c", "copy", f"file:{path}")
    ]
    run(["-copyts", "-i", f"file:{part.path}", *outputs])
    # The second of the film at which the timestamps of the files are 0.
    zero = part.begins - _first_and_last_timestamp(part.path, ffmpeg)[0]
    return [
        replace(
            part,
            path=path,
            media=inspect(path, ffmpeg),
            begins=zero + _first_and_last_timestamp(path, ffmpeg)[0],
        )
        for path in paths.values()
    ]


def splice(part: Part, spans: Sequence[Span], ffmpeg: str, run: Run) -> Part:
    """Cut `part` to `spans` of the film by ffmpeg's concat demuxer, as yt-dlp does: the frames between each
    span and the key frame before it are read, too, but take up no time.
    """
    shift = _first_and_last_timestamp(part.path, ffmpeg)[0] - part.begins
    points = [
        f"file {part.path.name}\ninpoint {start + shift + _TOLERANCE:.6f}\n"
        + (f"outpoint {end + shift - _TOLERANCE:.6f}\nduration {end - start:.6f}\n" if end < math.inf else "")
        for start, end in spans
    ]
    concat_list = part.path.with_name(f"{part.path.stem}.ffconcat")
    concat_list.write_text("ffconcat version 1.0\n" + "".join(points))
    target = _path_beside(part, "spliced")
    run(["-f", "concat", "-i", f"file:{concat_list}", *_COPY, f"file:{target}"])
    return replace(part_of_file(target, ffmpeg), begins=0.0)


def _read_from(part: Part, start: float, end: float, before: float = 0.0) -> Part:
    """Return `part` with the options to read `start` to `end` of the film; delayed, if it begins later.

    Some streams begin up to `before` seconds earlier than `start`. All are delayed by as much: the muxer
    would shift all streams if timestamps were negative.
    """
    offset = max(0.0, part.begins - start) + before
    seek = ["-ss", f"{start - part.begins:.6f}"] if start > part.begins else []
    delay = ["-itsoffset", f"{offset:.6f}"] if offset else []
    length = ["-t", f"{end - max(start, part.begins) + offset:.6f}"] if end < math.inf else []
    ends = min(end, part.begins + part.media.duration) if part.media.duration else None
    media = replace(part.media, duration=ends - start if ends else None)
    return replace(part, media=media, plain=False, reading=(*part.reading, *delay, *seek, *length))


def _first_timestamps(reading: list[str], ffmpeg: str) -> dict[str, float]:
    """Return the first timestamps of picture and sound, in seconds, by the number of the output stream.

    Both are copied, as in other runs, because ffmpeg counts some timestamps from whichever comes first.
    """
    one_second = (*_COPY, "-t", "1", "-f", "framecrc", "-")
    packets = run_ffmpeg.run([ffmpeg, "-hide_banner", *reading, *one_second]).output
    time_bases = {
        number: int(numerator) / int(denominator)
        for number, numerator, denominator in _TIME_BASE.findall(packets)
    }
    firsts = dict(reversed(_PACKET.findall(packets)))
    return {number: int(first) * time_bases[number] for number, first in firsts.items()}


def _path_beside(part: Part, prefix: str) -> Path:
    """Return a path beside `part` with the suffix of its container, by which ffmpeg chooses the muxer."""
    container = part.media.container
    suffix = container if container in ("mp4", "mov", "mkv", "webm") else "mp4"
    if prefix == "a" and fits("mp4", "h264", part.media.audio):
        suffix = "mp4"  # ffmpeg can seek to any sound packet in it; in Matroska only to those at key frames
    return part.path.with_name(f"{prefix}-{part.path.stem}.{suffix}")


def _first_and_last_timestamp(path: Path, ffmpeg: str) -> tuple[float, float | None]:
    """Return the first timestamp of a file (0 if it has none) and the last if known, in seconds."""
    found = _DURATION.search(run_ffmpeg.run([ffmpeg, "-hide_banner", "-i", f"file:{path}"]).errors)
    if not found:
        return 0.0, None
    begins = float(found[4])
    if found[1] is None:
        return begins, None
    duration = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
    # In Matroska ffmpeg counts the duration from timestamp 0.
    return begins, duration if path.suffix == ".mkv" else begins + duration


MIN_SPAN: Final = 0.1
"""Seconds. Shorter spans are ignored: sound is often longer than its picture by less than that."""


class Trimming:
    """Cuts the parts of a film; `left_out` are the spans to cut out, in any order, `run` runs ffmpeg."""

    def __init__(
        self, job: Job, left_out: Sequence[Span], log: Log, run: Callable[[list[str]], None]
    ) -> None:
        self._wishes = job.wishes
        self._ffmpeg = job.ffmpeg
        self._left_out = left_out
        self._log = log
        self._run = run

    def cut_to_kept(self, fetched: list[Part]) -> tuple[list[Part], Kept]:
        """Cut the `fetched` parts; return those to make the outputs of, and what is kept of the film.

        An exact clip is read from the first to the last moment that is kept: when it is encoded, filters drop
        what is not kept between them. Raises `JobFailed` if the film ends before the clip begins.
        """
        main = [part for part in fetched if part.media.video] or fetched
        ends = [part.begins + part.media.duration for part in main if part.media.duration]
        film_ends = max(ends, default=math.inf)
        kept = self._kept(film_ends)
        if kept == ALL:
            return fetched, kept
        seekable = [
            part if is_seekable(part) else remux_with_index(part, 0.0, self._ffmpeg, self._run)
            for part in fetched
        ]
        if len(kept.spans) == 1 or outputs.is_exact(self._wishes):
            parts, kept = self._cut(seekable, kept)
        else:
            single = [one for part in seekable for one in split_streams(part, self._ffmpeg, self._run)]
            parts = [splice(part, kept.spans, self._ffmpeg, self._run) for part in single]
        return parts, kept.within(0.0, film_ends)

    def _kept(self, film_ends: float) -> Kept:
        clip, kept = self._wishes.clip, Kept()
        if clip:
            if clip.start and clip.start >= film_ends - MIN_SPAN:
                raise JobFailed("clip_out_of_range", f"it begins at {clip.start} of {film_ends} s")
            if clip.end > film_ends + 0.5:
                self._log.write(f"clip: it ends with the film at {film_ends:.3f} s, not at {clip.end} s")
            kept = kept.within(clip.start, clip.end)
        left = kept.without(self._left_out)
        left = Kept(tuple(span for span in left.spans if min(span[1], film_ends) - span[0] >= MIN_SPAN))
        if not left.spans:
            self._log.warning("sponsorblock: nothing would be left, so nothing is cut out")
        return left if left.spans else kept

    def _cut(self, parts: list[Part], kept: Kept) -> tuple[list[Part], Kept]:
        start, end = kept.spans[0][0], kept.spans[-1][1]
        exact, hide = outputs.is_exact(self._wishes), self._wishes.video_format == "mp4"
        parts, begins = cut(parts, (start, end), self._ffmpeg, exact=exact, hide=hide)
        if begins < start:
            self._log.write(f"clip: it begins at {begins:.3f} s, with the key frame before its start")
        return parts, kept if exact else Kept(((begins, end),))
