"""Fetches as little as possible of one stream of a clip, as a part with the film's timestamps.

Of HLS and DASH it fetches the segments that overlap the clip; of MP4 and Matroska, if the source supports
range requests, the bytes around the clip; of everything else the whole stream. After an interruption byte
ranges are fetched again from the start; segments and whole streams are resumed.

Decisions: docs/decisions/subtitles-tags-clips.md
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from yt_dlp.networking import Request
from yt_dlp.utils import YoutubeDLError, determine_protocol

from server.child.extract.failures import BrokeOff
from server.child.extract.youtube_dl import Engine, Hook
from server.child.fetch import clip_segments
from server.child.fetch.alternatives import Refused
from server.child.fetch.clip_segments import Narrowed
from server.child.fetch.one_stream import Fetching
from server.child.fetch.ranges import Ranges
from server.child.media import cutting, guarded, mp4, parts, probe, run_ffmpeg
from server.child.media.parts import Part
from server.child.network.range_server import RangeServer
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.core.jobs import Clip, Job

_PLAIN: Final = ("http", "https")
_QUIET: Final = ("-hide_banner", "-nostats", "-loglevel", "warning", "-y")
_MAPS: Final = ("-map", "0:V?", "-map", "0:a?", "-map", "0:s?", "-c", "copy")
_SHARES: Final = 1000
_LEAD: Final = 5.0  # seconds: ffmpeg reads from the key frame before the clip on
_AROUND: Final = 500_000  # bytes: a guess at the index and the read-ahead


class Clipping:
    """Has the interface of `Fetching`, and leaves to it what is fetched as segments or as a whole."""

    def __init__(
        self, engine: Engine, job: Job, clip: Clip, log: Log, run: Callable[[list[str]], None]
    ) -> None:
        self._engine = engine
        self._job = job
        self._clip = clip
        self._log = log
        self._run = run
        self._fetching = Fetching(engine, job, log)
        self._start = clip.start

    def fetch(self, stream: dict[str, Any], path: Path, hook: Hook) -> Part:
        """Like `Fetching.fetch`; also raises `JobFailed` if the stream is known to end before the clip."""
        if narrowed := self._narrowed(stream, path):
            self._log.write(f"clip: segments from {narrowed.begins:.3f} s on, of {narrowed.total:.3f} s")
            only = narrowed.stream | {"duration": None}
            part = self._fetching.fetch(only, path, hook)
            return cutting.indexed(part, narrowed.begins, self._job.ffmpeg, self._run)
        if piece := self._through_window(stream, path, hook):
            self._start = min(self._start, piece.begins)  # separate sound, fetched next, starts there too
            return piece
        duration = stream.get("duration")
        if duration and self._clip.start >= duration:
            raise JobFailed("clip_out_of_range", f"it begins at {self._clip.start} of {duration} s")
        self._log.write("clip: the whole stream is fetched, for there is no shorter way to it")
        return self._fetching.fetch(stream, path, hook)

    # Segments.

    def _narrowed(self, stream: dict[str, Any], path: Path) -> Narrowed | None:
        """Raises if the playlist cannot be read: the part at `path` is called the same whether it is the
        segments or the whole stream, so the next attempt would take one for the other."""
        try:
            return clip_segments.narrow(stream, self._clip, self._playlist)
        except YoutubeDLError as error:
            if path.exists() or parts.has_begun(path):
                raise BrokeOff(str(error)) from error
            raise Refused(stream) from error

    def _playlist(self, stream: Mapping[str, Any]) -> tuple[str, str]:
        if given := stream.get("hls_media_playlist_data"):
            return stream["url"], given
        request = Request(stream["url"], headers=stream.get("http_headers") or {})
        with self._engine.urlopen(request) as response:
            return response.url, response.read().decode("utf-8", "ignore")

    # A plain file.

    def _through_window(self, stream: dict[str, Any], path: Path, hook: Hook) -> Part | None:
        """None if the source has no range requests, or the stream cannot be read from the middle."""
        if determine_protocol(stream) not in _PLAIN or stream.get("fragments"):
            return None
        counted = _Counted(hook, path)
        ranges = Ranges(self._engine, stream, counted.add, self._log.alive)
        if not ranges.understood():
            return None
        reader = cutting.SEEKABLE.get(probe.sniff(ranges.head) or "")
        if reader is None:
            return None
        index, seconds = mp4.foretold(ranges.head, ranges.total) if reader == "mov" else (range(0), 0.0)
        counted.expected = self._share(stream.get("duration") or seconds) * ranges.total
        with RangeServer(ranges.total, ranges.blocks, index, counted.expected) as window:
            try:
                part = self._copied(window, reader, path)
            except YoutubeDLError as error:
                raise BrokeOff(str(error)) from error
        counted.finish()
        self._log.write(f"clip: {counted.done} of {ranges.total} bytes were fetched")
        return part

    def _share(self, duration: float) -> float:
        """The share (0-1) of the stream that is read for the clip; 0 if `duration` is 0: unknown."""
        return min(1.0, (self._clip.end - self._clip.start + _LEAD) / duration) if duration else 0.0

    def _copied(self, window: RangeServer, reader: str, path: Path) -> Part:
        for suffix in ("mp4", "mkv"):
            target = path.with_name(f"piece-{path.stem}.{suffix}")
            run = self._copy(window, reader, target)
            if window.failed:
                raise window.failed
            status = run.program.returncode
            if status == 0:
                return cutting.piece(target, self._job.ffmpeg)
            if run_ffmpeg.was_killed(status, run.words):
                raise JobFailed("worker_lost", f"{self._job.ffmpeg} was killed: status {status}")
            if code := run_ffmpeg.reason(status, path.parent):
                raise JobFailed(code, "ffmpeg could not write what it read")
        raise JobFailed("conversion_failed", "ffmpeg can copy nothing of it")

    def _copy(self, window: RangeServer, reader: str, target: Path) -> guarded.Run:
        span = ("-copyts", "-start_at_zero", "-ss", f"{self._start:.6f}", "-to", f"{self._clip.end:.6f}")
        source = ("-recv_buffer_size", "32768", "-f", reader, "-i", window.address)
        command = [self._job.ffmpeg, *_QUIET, *span, *source, *_MAPS, f"file:{target}"]
        with guarded.running(command, window, self._log) as run:
            run.program.wait()
        return run


class _Counted:
    """Reports the bytes received; their total is unknown beforehand, so the share of it is an estimate."""

    def __init__(self, hook: Hook, path: Path) -> None:
        self._hook = hook
        self._path = path
        self.done = 0
        self.expected = 0.0

    def add(self, count: int) -> None:
        self.done += count
        share = min(_SHARES - 1, int(_SHARES * self.done / (self.expected + _AROUND)))
        told = {"status": "downloading", "downloaded_bytes": self.done, "filename": str(self._path)}
        self._hook(told | {"fragment_index": share, "fragment_count": _SHARES})

    def finish(self) -> None:
        self._hook({"status": "finished", "downloaded_bytes": self.done, "total_bytes": self.done})
