"""Downloads a broadcast: record it, go on with what an earlier attempt has recorded, make the files.

Decisions: docs/decisions/broadcasts.md
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any, Final

from yt_dlp.utils import DownloadError

from server.child.extract import broadcasts, options, video_info, youtube_dl
from server.child.extract.failures import classify
from server.child.extract.youtube_dl import Engine
from server.child.finished_files import ChildJob, FinishedFiles
from server.child.media import guarded_ffmpeg, packet_times, parts, probe, recorded_pieces, recording
from server.child.media.embedding import Extras
from server.child.media.recording import Recording
from server.child.process.job_failed import JobFailed
from server.child.process.progress import Meter, StreamProgress

_NO_MEDIA_CODES: Final = ("no_media", "unsupported_url")
"""Failures of pages without media, also of those whose playlist the extractor could not read."""

_FULL = 0.9  # of `max_filesize`: a recording ends there, so that the file made of it stays below the limit


class StopWaiting(Exception):
    """A client ends the recording while the job waits whether the broadcast goes on."""


class LiveDownload:
    """Records a broadcast and makes its files. `extract` reads its page, again after each interruption;
    `finish_asked` is set when a client ends the recording, which is kept.
    """

    def __init__(
        self,
        job: ChildJob,
        finished_files: FinishedFiles,
        extract: Callable[[Engine], dict[str, Any]],
        finish_asked: Event,
    ) -> None:
        self._job = job
        self._finished_files = finished_files
        self._extract = extract
        self._finish_asked = finish_asked

    def has_recording(self) -> bool:
        """Whether an earlier attempt has recorded anything; pieces that are not kept are deleted."""
        recorded_pieces.delete_unkept(self._job.directory)
        return recorded_pieces.have_media(self._job.directory, self._job.spec.ffmpeg)

    def extract_to_go_on(self, engine: Engine) -> dict[str, Any]:
        """Extract the link of a broadcast that an earlier attempt has recorded. Raises retryable errors.

        Returns {} if nothing more can be recorded: the page is gone, or it cannot be read and a client has
        ended the recording.
        """
        missed_before = engine.trail.passing
        try:
            info = self._extract(engine)
            error = broadcasts.playlist_error(info)
            if error is None:
                return info
        except (DownloadError, JobFailed) as refused:
            error = refused
        failure = classify(error, engine.trail)
        if failure.code in _NO_MEDIA_CODES and engine.trail.passing > missed_before:
            error = JobFailed("extraction_failed", "the playlist of the broadcast could not be read")
            failure = classify(error)
        if failure.retryable and not self._finish_asked.is_set():
            raise error
        return {}

    def goes_on(self, engine: Engine, info: dict[str, Any], *, silent: bool) -> bool:
        """Whether the broadcast goes on; False also if a client ends the recording meanwhile."""

        def tick() -> None:
            self._job.reporter.report_alive()
            if self._finish_asked.is_set():
                raise StopWaiting

        with suppress(StopWaiting):
            return broadcasts.may_go_on(engine, info, parts.chosen_streams(info), tick, silent=silent)
        return False

    def record(self, engine: Engine, info: Mapping[str, Any]) -> dict[str, Any]:
        """Record the broadcast until it or a client ends it; return the fields of the event `produced`."""
        streams = list(chain(*youtube_dl.streams_of(info))) if options.wants_media(self._job.wishes) else []
        if self._job.wishes.live == "reject":
            raise JobFailed("live_rejected")
        if not recording.can_record(streams):
            raise JobFailed("live_unsupported")
        if options.wants_subtitles(self._job.wishes) or self._job.wishes.split_chapters:
            self._job.log.write("a recording has neither subtitles nor chapters of its own")
        parts.prepare(self._job.directory, [recorded_pieces.PREFIX])
        pictures, cover = self._finished_files.make_pictures(engine, info)
        self._job.reporter.send("download_started")
        if not streams:
            return self._finished_files.flush(info, pictures)
        progress, began, most = StreamProgress(), time.monotonic(), self._job.spec.max_filesize
        meter = Meter([progress], convert=1.0)  # a broadcast has no known length: progress stays at 20

        def on_size(size: int, came_in: int) -> None:
            progress.done = size
            if most is not None and size > _FULL * most and not self._finish_asked.is_set():
                self._job.log.write(f"as large as is allowed: {size} of {most} bytes")
                self._finish_asked.set()
            self._job.reporter.download(meter, {"speed": came_in / (time.monotonic() - began)})

        def next_streams(silent: bool) -> list[dict[str, Any]] | None:
            """Return the streams to record after an interruption; None if the broadcast is over, the same
            streams if that cannot be found out at the moment.
            """
            before = engine.trail.passing
            try:
                info = self._extract(engine)
            except (DownloadError, JobFailed) as error:
                failure, missed = classify(error, engine.trail), engine.trail.passing > before
                is_busy = failure.retryable or (failure.code in _NO_MEDIA_CODES and missed)
                return streams if is_busy and not has_ended(streams) else None
            if (unread := broadcasts.playlist_error(info)) and not broadcasts.is_gone(unread):
                return streams
            return parts.chosen_streams(info) if self.goes_on(engine, info, silent=silent) else None

        has_ended = partial(broadcasts.have_ended, engine)
        if any(map(guarded_ffmpeg.is_dash, streams)):
            packet_times.note_dash(self._job.directory)
        spec, directory = self._job.spec, self._job.directory
        if not (recorded_pieces.have_media(directory, spec.ffmpeg) and has_ended(streams)):
            Recording(
                directory,
                spec,
                self._job.log,
                on_size,
                next_streams,
                has_ended,
                engine,
                broadcasts.from_first_read(engine, streams),
            ).run(streams, self._finish_asked, partial(self._job.throttle.pace, stops=False))
        return self._finish_recording(info, pictures, cover, meter)

    def finish_earlier_recording(self, engine: Engine, info: dict[str, Any]) -> dict[str, Any]:
        """Make the files of what earlier attempts have recorded; `info` is empty if the page is gone."""
        about = info | {"is_live": True}  # what is told of every recording
        if info:
            self._job.channel.send("described", video_info=video_info.video_info(about))
        parts.prepare(self._job.directory, [recorded_pieces.PREFIX])
        pictures, cover = self._finished_files.make_pictures(engine, about)
        self._job.reporter.send("download_started")
        return self._finish_recording(about, pictures, cover, Meter([]))

    def _finish_recording(
        self, info: Mapping[str, Any], pictures: Mapping[str, str], cover: Path | None, meter: Meter
    ) -> dict[str, Any]:
        """Make the files of what was recorded."""
        packet_times.check_pieces(self._job.directory, self._job.spec.ffmpeg, self._job.reporter.report_alive)
        recorded = [recorded_pieces.join_pieces(self._job.directory, self._job.spec.ffmpeg)]
        # Without the chapters, whose times are the broadcast's, not the recording's.
        extras = Extras(tags=self._finished_files.write_tags(info, (), (), cover))
        files = self._finished_files.convert_parts(recorded, extras, meter)
        main = next(files[kind] for kind in ("video", "audio") if kind in files)
        media = probe.inspect(self._job.directory / parts.OUT / main, self._job.spec.ffmpeg)
        return self._finished_files.flush({**info, "duration": None}, {**files, **pictures}, [media])
