"""Fetches as little as possible of one stream of a clip, as a part with the film's timestamps.

Of HLS and DASH it fetches the segments that overlap the clip; of MP4 and Matroska, if the source supports
range requests, the bytes around the clip; of everything else the whole stream. After an interruption byte
ranges are fetched again from the start; segments and whole streams are resumed.

An HLS or DASH stream is left whole if its playlist does not say how long its segments are, or has a feature
that yt-dlp leaves to ffmpeg.

Decisions: docs/decisions/subtitles-tags-clips.md
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from yt_dlp.networking import Request
from yt_dlp.utils import YoutubeDLError, determine_protocol, parse_m3u8_attributes, urljoin

from server.child.extract.failures import BrokeOff
from server.child.extract.youtube_dl import Engine, Hook
from server.child.fetch.one_stream import Refused, StreamFetcher
from server.child.fetch.ranges import Ranges
from server.child.media import cutting, guarded_ffmpeg, mp4, parts, probe, run_ffmpeg
from server.child.media.parts import Part
from server.child.network.range_server import RangeServer
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.core.jobs import Job, JobClip

_TOLERANCE: Final = 0.001  # seconds: sums of durations are not exact
_SIZES: Final = ("filesize", "filesize_approx")
_NEEDS_FFMPEG: Final = re.compile(
    r"#EXT-X-KEY:METHOD=(?!NONE|AES-128)|#EXT-X-(SESSION-KEY|FAXS-CM|I-FRAMES-ONLY)"
)
# The tags by which yt-dlp recognizes an advertisement, which it skips.
_AD_BEGINS: Final = re.compile(r"#ANVATO-SEGMENT-INFO.*type=ad|#UPLYNK-SEGMENT.*,ad$")
_AD_ENDS: Final = re.compile(r"#ANVATO-SEGMENT-INFO.*type=master|#UPLYNK-SEGMENT.*,segment$")


@dataclass(frozen=True, slots=True)
class NarrowedStream:
    """`stream` with only the segments that overlap the clip. The first begins at `begins` of the film's
    `total` seconds.
    """

    stream: dict[str, Any]
    begins: float
    total: float


def narrow(
    stream: Mapping[str, Any], clip: JobClip, read: Callable[[Mapping[str, Any]], tuple[str, str]]
) -> NarrowedStream | None:
    """Narrow `stream` to `clip`; None if it has no segments, or not the information that this needs.

    `read` returns the URL and the text of an HLS stream's playlist. Raises what it raises, and `JobFailed` if
    the stream ends before `clip` begins.
    """
    protocol = determine_protocol(stream)
    if protocol in ("m3u8", "m3u8_native") and stream.get("format_index") is None:
        url, playlist = read(stream)
        return _narrow_hls(stream, clip, url, playlist)
    if protocol == "http_dash_segments":
        fragments = stream.get("fragments")
        if not isinstance(fragments, Sequence) or isinstance(fragments, str):
            return None
        initialization = [one for one in fragments[:1] if not one.get("duration")]
        segments = fragments[len(initialization) :]
        if not segments or not all(one.get("duration") for one in segments):
            return None
        chosen, begins, total = find_overlapping((one["duration"] for one in segments), clip)
        return NarrowedStream({**stream, "fragments": [*initialization, *segments[chosen]]}, begins, total)
    return None


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of an HLS playlist; `lines` are its key, byte range, duration, and its URL last."""

    seconds: float
    lines: tuple[str, ...] = ()


def find_overlapping(seconds: Iterable[float], clip: JobClip) -> tuple[slice, float, float]:
    """Find the segments that overlap `clip`; `seconds` are the durations of all segments.

    Returns the slice of those segments, the second at which the first of them begins, and the duration of all
    segments. Raises `JobFailed` if none overlaps.
    """
    at, first, stop, begins = 0.0, 0, 0, 0.0
    for number, duration in enumerate(seconds):
        if at + duration <= clip.start + _TOLERANCE:
            first, begins = number + 1, at + duration
        if at < clip.end - _TOLERANCE:
            stop = number + 1
        at += duration
    if first == stop:
        raise JobFailed("clip_out_of_range", f"it begins at {clip.start} of {at} s")
    return slice(first, stop), begins, at


def _narrow_hls(stream: Mapping[str, Any], clip: JobClip, url: str, text: str) -> NarrowedStream | None:
    if _NEEDS_FFMPEG.search(text):
        return None
    playlist = _PlaylistReader(url)
    try:
        for line in map(str.strip, text.splitlines()):
            playlist.read(line)
    except ValueError:
        return None
    if playlist.lacks_duration or not playlist.segments:
        return None
    chosen, begins, total = find_overlapping((one.seconds for one in playlist.segments), clip)
    if playlist.map_of(chosen.start) != playlist.map_of(chosen.stop - 1):
        return None
    lines = [line for one in playlist.segments[chosen] for line in one.lines]
    text = "\n".join(["#EXTM3U", *playlist.map_of(chosen.start), *lines, "#EXT-X-ENDLIST", ""])
    return NarrowedStream({**stream, "hls_media_playlist_data": text}, begins, total)


@dataclass(slots=True)
class _PlaylistReader:
    """Reads the playlist at `url` line by line (RFC 8216, 4.3), without its advertisements.

    `lacks_duration`: a segment has no duration. Raises `ValueError` for malformed numbers.
    """

    url: str
    segments: list[Segment] = field(default_factory=list)
    lacks_duration: bool = False
    _maps: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    _number: int = 0
    _seconds: float | None = None
    _key: dict[str, str] = field(default_factory=dict)
    _range: tuple[int, int] | None = None  # the first byte, and one past the last
    _range_before_ended: int = 0
    _is_ad: bool = False

    def read(self, line: str) -> None:
        name, _, value = line.partition(":")
        if line and not line.startswith("#"):
            if self._seconds is None:
                self.lacks_duration = True
            elif not self._is_ad:
                start, stop = self._range or (0, 0)
                byte_range = [f"#EXT-X-BYTERANGE:{stop - start}@{start}"] if self._range else []
                lines = (*self._key_line(), *byte_range, f"#EXTINF:{self._seconds},")
                self.segments.append(Segment(self._seconds, (*lines, urljoin(self.url, line) or line)))
            self._number += 1
            self._range_before_ended = self._range[1] if self._range else 0
            self._range = self._seconds = None
        elif name == "#EXTINF":
            self._seconds = _number(value.partition(",")[0])
        elif name == "#EXT-X-MEDIA-SEQUENCE":
            self._number = int(value)
        elif name == "#EXT-X-KEY":
            self._key = parse_m3u8_attributes(value)
        elif name == "#EXT-X-MAP":
            attributes = parse_m3u8_attributes(value)
            suffix = f',BYTERANGE="{attributes["BYTERANGE"]}"' if "BYTERANGE" in attributes else ""
            tag = f'#EXT-X-MAP:URI="{urljoin(self.url, attributes.get("URI") or "")}"{suffix}'
            self._maps.append((len(self.segments), (*self._key_line(), tag)))
        elif name == "#EXT-X-BYTERANGE":
            length, _, begins = value.partition("@")
            first = int(begins) if begins else self._range_before_ended
            self._range = first, first + int(length)
        elif _AD_BEGINS.match(line):
            self._is_ad = True
        elif _AD_ENDS.match(line):
            self._is_ad = False

    def map_of(self, segment: int) -> tuple[str, ...]:
        """Return the lines for the initialization section (`EXT-X-MAP`) of segment number `segment`."""
        return next((lines for at, lines in reversed(self._maps) if at <= segment), ())

    def _key_line(self) -> tuple[str, ...]:
        """Return the tag of the present key. It states the IV, which would otherwise be the segment's media
        sequence number (RFC 8216, 5.2), and that is another one in the narrowed playlist.
        """
        if self._key.get("METHOD", "NONE") == "NONE":
            return ("#EXT-X-KEY:METHOD=NONE",) if self._key else ()
        address = urljoin(self.url, self._key.get("URI") or "") or ""
        iv = self._key.get("IV") or f"0x{self._number:032x}"
        return (f'#EXT-X-KEY:METHOD={self._key["METHOD"]},URI="{address}",IV={iv}',)


def _number(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds < 1e9 else None


def without_sizes(stream: Mapping[str, Any]) -> dict[str, Any]:
    """Return `stream` without its sizes in bytes, which are those of the whole stream."""
    return {name: value for name, value in stream.items() if name not in _SIZES}


def describe_clip(info: Mapping[str, Any], clip: JobClip) -> dict[str, Any]:
    """Return `info` with the duration of the clip, and without the film's sizes."""
    ends = min(clip.end, info.get("duration") or clip.end)
    about = {name: value for name, value in info.items() if name not in (*_SIZES, "requested_formats")}
    return about | {"duration": max(0.0, ends - clip.start)}


_PLAIN: Final = ("http", "https")
_QUIET: Final = ("-hide_banner", "-nostats", "-loglevel", "warning", "-y")
_MAPS: Final = ("-map", "0:V?", "-map", "0:a?", "-map", "0:s?", "-c", "copy")
_PROGRESS_STEPS: Final = 1000
_BEFORE_CLIP: Final = 5.0  # seconds, estimated: ffmpeg reads from the key frame before the clip on
_INDEX_SIZE: Final = 500_000  # bytes, estimated: the index and ffmpeg's read-ahead


class ClipFetcher:
    """Fetches what a clip needs of a stream; by `StreamFetcher` where that is segments, or the whole."""

    def __init__(
        self, engine: Engine, job: Job, clip: JobClip, log: Log, run: Callable[[list[str]], None]
    ) -> None:
        self._engine = engine
        self._job = job
        self._clip = clip
        self._log = log
        self._run = run
        self._fetching = StreamFetcher(engine, job, log)
        self._start = clip.start

    def fetch(self, stream: dict[str, Any], path: Path, hook: Hook) -> Part:
        """Fetch as `StreamFetcher.fetch` does; raises `JobFailed` if the stream ends before the clip."""
        try:
            narrowed = narrow(stream, self._clip, self._playlist)
        except YoutubeDLError as error:
            # The part at `path` has the same name whether it holds segments or the whole stream. If the next
            # attempt could not read the playlist, it would take one for the other.
            if path.exists() or parts.has_begun(path):
                raise BrokeOff(str(error)) from error
            raise Refused(stream) from error
        if narrowed:
            self._log.write(f"clip: segments from {narrowed.begins:.3f} s on, of {narrowed.total:.3f} s")
            only = narrowed.stream | {"duration": None}
            segments = self._fetching.fetch(only, path, hook)
            return cutting.remux_with_index(segments, narrowed.begins, self._job.ffmpeg, self._run)
        if part := self._fetch_range(stream, path, hook):
            self._start = min(self._start, part.begins)  # separate sound, fetched next, begins there too
            return part
        duration = stream.get("duration")
        if duration and self._clip.start >= duration:
            raise JobFailed("clip_out_of_range", f"it begins at {self._clip.start} of {duration} s")
        self._log.write("clip: the whole stream is fetched, because the source has no way to fetch less")
        return self._fetching.fetch(stream, path, hook)

    # Segments.

    def _playlist(self, stream: Mapping[str, Any]) -> tuple[str, str]:
        if given := stream.get("hls_media_playlist_data"):
            return stream["url"], given
        request = Request(stream["url"], headers=stream.get("http_headers") or {})
        with self._engine.urlopen(request) as response:
            return response.url, response.read().decode("utf-8", "ignore")

    # A plain file.

    def _fetch_range(self, stream: dict[str, Any], path: Path, hook: Hook) -> Part | None:
        """Fetch the bytes around the clip; None if the source serves no ranges, or the container cannot be
        read from the middle.
        """
        if determine_protocol(stream) not in _PLAIN or stream.get("fragments"):
            return None
        count = _ByteCount(hook, path)
        ranges = Ranges(self._engine, stream, count.add, self._log.alive)
        if not ranges.are_supported():
            return None
        demuxer = cutting.SEEKABLE.get(probe.sniff(ranges.head) or "")
        if demuxer is None:
            return None
        index, seconds = range(0), 0.0
        if demuxer == "mov":
            index, seconds = mp4.find_index(ranges.head, ranges.total)
        if duration := stream.get("duration") or seconds:  # else the share that is read is not known
            read_seconds = self._clip.end - self._clip.start + _BEFORE_CLIP
            count.expected = min(1.0, read_seconds / duration) * ranges.total
        with RangeServer(ranges.total, ranges.blocks, index, count.expected) as server:
            try:
                part = self._copy_range(server, demuxer, path)
            except YoutubeDLError as error:
                raise BrokeOff(str(error)) from error
        count.finish()
        self._log.write(f"clip: {count.done} of {ranges.total} bytes were fetched")
        return part

    def _copy_range(self, server: RangeServer, demuxer: str, path: Path) -> Part:
        """Have ffmpeg copy the clip into an MP4, or if that cannot have its codecs, into a Matroska file."""
        for suffix in ("mp4", "mkv"):
            target = path.with_name(f"piece-{path.stem}.{suffix}")
            span = ("-copyts", "-start_at_zero", "-ss", f"{self._start:.6f}", "-to", f"{self._clip.end:.6f}")
            source = ("-recv_buffer_size", "32768", "-f", demuxer, "-i", server.address)
            command = [self._job.ffmpeg, *_QUIET, *span, *source, *_MAPS, f"file:{target}"]
            with guarded_ffmpeg.running(command, server, self._log) as run:
                run.program.wait()
            if server.failed:
                raise server.failed
            status = run.program.returncode
            if status == 0:
                return cutting.part_of_file(target, self._job.ffmpeg)
            if run_ffmpeg.was_killed(status, run.messages):
                raise JobFailed("worker_lost", f"{self._job.ffmpeg} was killed: status {status}")
            if code := run_ffmpeg.machine_fault(status, path.parent):
                raise JobFailed(code, "ffmpeg could not write what it read")
        raise JobFailed("conversion_failed", "ffmpeg cannot copy the clip")


class _ByteCount:
    """Reports the bytes received, as yt-dlp reports fragments: the share of them is an estimate, because how
    many there will be is unknown.
    """

    def __init__(self, hook: Hook, path: Path) -> None:
        self._hook = hook
        self._path = path
        self.done = 0
        self.expected = 0.0

    def add(self, count: int) -> None:
        self.done += count
        share = min(_PROGRESS_STEPS - 1, int(_PROGRESS_STEPS * self.done / (self.expected + _INDEX_SIZE)))
        event = {"status": "downloading", "downloaded_bytes": self.done, "filename": str(self._path)}
        self._hook(event | {"fragment_index": share, "fragment_count": _PROGRESS_STEPS})

    def finish(self) -> None:
        self._hook({"status": "finished", "downloaded_bytes": self.done, "total_bytes": self.done})
