"""Downloads a film: fetch its streams, put them together, cut them, make the files.

Decisions: docs/decisions/films.md
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

from server.child.extract import options, sponsorblock, video_info, youtube_dl
from server.child.extract.youtube_dl import Engine
from server.child.fetch import clip_parts, disk_estimate
from server.child.fetch.clip_parts import ClipFetcher
from server.child.fetch.disk_estimate import FilmFacts
from server.child.fetch.one_stream import PlayableNote, StreamFetcher
from server.child.fetch.subtitles import Subtitle, Subtitling
from server.child.finished_files import ChildJob, FinishedFiles
from server.child.media import outputs, parts, probe, splitting, timeline
from server.child.media.cutting import Trimming
from server.child.media.embedding import Extras
from server.child.media.parts import Part
from server.child.media.timeline import ALL, ChapterSpan, Kept, Span
from server.child.process import yt_dlp_parts
from server.child.process.job_failed import JobFailed
from server.child.process.progress import Meter, StreamProgress, progress_of_streams

_ENCODING_SHARE, _COPYING_SHARE = 0.25, 0.05  # of ffmpeg in the job's work
_ESTIMATED_DURATION: Final = ("aac", "mp3", "mpg", "ts")
"""Containers without a reliable duration: ffmpeg estimates it from their size, or their timestamps jump."""


@dataclass(frozen=True, slots=True)
class StreamToFetch:
    """A stream: yt-dlp's dict of it, the path of its part, and how much of it has come."""

    stream: dict[str, Any]
    path: Path
    progress: StreamProgress


@dataclass(frozen=True, slots=True)
class CutFilm:
    """A film cut to what is `kept` of it; `chapters` and `subtitles` have their times in the result."""

    parts: list[Part]
    kept: Kept
    chapters: list[ChapterSpan]
    subtitles: list[Subtitle]

    @property
    def duration(self) -> float:
        """Seconds; 0 if unknown."""
        return max((part.media.duration or 0 for part in self.parts), default=0)


class FilmDownload:
    """Fetches the streams chosen in `info`, and makes a film's files.

    `about` is what yt-dlp tells of the clip that is wanted, or of the whole film.
    """

    def __init__(
        self,
        job: ChildJob,
        finished_files: FinishedFiles,
        engine: Engine,
        info: dict[str, Any],
        about: dict[str, Any],
    ) -> None:
        self._job = job
        self._finished_files = finished_files
        self._engine = engine
        self._info = info
        self._about = about
        duration = about.get("duration")
        self._sections = self._streams_to_fetch(duration)
        streams = list(chain(*self._sections))
        self._meter = Meter(
            [each.progress for each in streams],
            _ENCODING_SHARE if outputs.encodes(self._job.wishes) else _COPYING_SHARE,
        )
        chosen = [[each.stream for each in section] for section in self._sections]
        self._facts = FilmFacts(self._job.wishes, chosen, duration)

    def run(self) -> dict[str, Any]:
        """Return the fields of the event `produced`. Raises `Refused` if nothing usable of a stream comes."""
        job, info, about = self._job, self._info, self._about
        wishes = job.wishes
        # What earlier attempts have fetched of these streams stays in the directory.
        streams = list(chain(*self._sections))
        self._check_size(sum(each.stream.get("filesize") or 0 for each in streams))
        subtitling = Subtitling(job.spec, info, job.log) if options.wants_subtitles(wishes) else None
        if subtitling and subtitling.has_left_out:
            job.channel.send("described", video_info={}, hint="some_subtitles")
        names = [each.path.name for each in streams]
        resumes = yt_dlp_parts.fits("fragments") and yt_dlp_parts.fits("resuming")
        parts.prepare(job.directory, [*names, *(subtitling.names if subtitling else ())], resumes=resumes)
        pictures, cover = self._finished_files.make_pictures(self._engine, info)
        self._learn(
            sizes=self._meter.sizes,
            chapters=wishes.split_chapters and bool(video_info.chapters_of(info)),
        )
        playable = PlayableNote(job.directory, names, in_one=not wishes.clip)
        job.reporter.send("download_started")
        sponsor_spans, subtitles = list[Span](), list[Subtitle]()
        with job.reporter.fetching():
            if wishes.sponsorblock:
                sponsor_spans = sponsorblock.find_segments(
                    self._engine, info, wishes.sponsorblock, job.spec.sponsorblock_api, job.log
                )
                self._learn(left_out=sponsor_spans)
            if subtitling:
                subtitles = subtitling.fetch(self._engine, self._on_bytes)
            fetched = self._fetch(playable)
            fetched_bytes = playable.complete()
        if any(parts.gap_note_of(each.path).exists() for each in streams):
            job.channel.send("described", video_info={}, hint="with_gaps")

        film = self._put_together(fetched, sponsor_spans, subtitles, subtitling)
        texts = subtitling.write_embedded(film.subtitles, film.duration) if subtitling else ()
        tags = self._finished_files.write_tags(info, [each.stream for each in streams], film.chapters, cover)
        files = self._make_files(film, streams, Extras(texts, tags))
        files |= pictures | (subtitling.publish(film.subtitles) if subtitling else {})
        if duration := self._measure_duration(film, files):
            about["duration"] = duration
        sources = [part.media for part in film.parts]
        return self._finished_files.flush(about, files, sources, film.chapters, film.kept, fetched_bytes)

    def _streams_to_fetch(self, duration: float | None) -> list[list[StreamToFetch]]:
        """Return the streams of each section of the film; most films have one section."""
        if not options.wants_media(self._job.wishes):
            return []
        clip = self._job.wishes.clip
        sections = [
            [
                (clip_parts.without_sizes(stream) if clip else stream, parts.name_of(stream, number, clip))
                for stream in section
            ]
            for number, section in enumerate(youtube_dl.streams_of(self._info))
        ]
        progress = iter(progress_of_streams((stream for stream, _ in chain(*sections)), duration))
        return [
            [StreamToFetch(stream, self._job.directory / name, next(progress)) for stream, name in section]
            for section in sections
        ]

    def _fetch(self, playable: PlayableNote) -> list[list[Part]]:
        """Fetch the streams; return the parts of each section."""
        spec, clip, log = self._job.spec, self._job.wishes.clip, self._job.log
        fetching: StreamFetcher | ClipFetcher = StreamFetcher(self._engine, spec, log)
        if clip and len(self._sections) == 1:
            fetching = ClipFetcher(self._engine, spec, clip, log, self._finished_files.convert)
        fetched = list[list[Part]]()
        for section in self._sections:
            fetched.append([])
            for each in section:
                self._job.throttle.pace(0)  # while paused, open no connection that would only be idle
                on_event = partial(self._on_event, each.progress, playable)
                fetched[-1].append(fetching.fetch(each.stream, each.path, on_event))
        return fetched

    def _put_together(
        self,
        sections: list[list[Part]],
        sponsor_spans: list[Span],
        subtitles: list[Subtitle],
        subtitling: Subtitling | None,
    ) -> CutFilm:
        """Join the sections, and cut out what is not kept."""
        wishes, ffmpeg = self._job.wishes, self._job.spec.ffmpeg
        whole = list(chain(*sections))
        if len(sections) > 1:
            whole = [parts.join(self._job.directory, sections, ffmpeg, self._finished_files.convert)]
        film = CutFilm(whole, ALL, [], subtitles)
        if wishes.clip or sponsor_spans:
            trimming = Trimming(self._job.spec, sponsor_spans, self._job.log, self._finished_files.convert)
            cut_parts, kept = trimming.cut_to_kept(whole)
            film = replace(film, parts=cut_parts, kept=kept)
        if subtitling:
            film = replace(film, subtitles=subtitling.retime(subtitles, film.kept))
        chapters = list[ChapterSpan]()
        if whole and (wishes.embed_metadata or wishes.split_chapters or self._job.spec.tells_about):
            # The source's chapters, else those in the file, at the times of what is kept.
            chapters = video_info.chapters_of(self._info)
            if not chapters and len(whole) == 1 and whole[0].plain and not wishes.clip:
                chapters = timeline.read_chapters(whole[0].path, ffmpeg)
            duration = (film.duration or None) if film.kept == ALL else self._info.get("duration")
            chapters = timeline.retime_chapters(timeline.trim_chapters(chapters, duration), film.kept)
        self._learn(chapters=wishes.split_chapters and bool(chapters))
        return replace(film, chapters=chapters)

    def _make_files(self, film: CutFilm, streams: list[StreamToFetch], extras: Extras) -> dict[str, str]:
        """Make the outputs of a film, and a file of each chapter if that is wanted: kind -> name."""
        # The picture's width / height, if yt-dlp knows that its file states it wrong.
        ratios = (each.stream.get("stretched_ratio") for each in streams)
        aspect = next((float(ratio) for ratio in ratios if ratio not in (None, 0, 1)), None)
        files = self._finished_files.convert_parts(film.parts, extras, self._meter, aspect, film.kept)
        main = files.get("video") or files.get("audio")
        if self._job.wishes.split_chapters and main and not film.chapters:
            self._job.log.write("chapters: there are none")
        elif self._job.wishes.split_chapters and main:
            self._job.reporter.convert(self._meter.of_convert(0), self._meter.downloaded)
            tags = extras.tags.tags if extras.tags else None
            path = self._job.directory / parts.OUT / main
            files |= splitting.split(
                path, film.chapters, extras.subtitles, tags, self._finished_files.convert, self._job.log.write
            )
        return files

    def _measure_duration(self, film: CutFilm, files: Mapping[str, str]) -> float | None:
        """Return the duration of the file that was made, in seconds: the page may state a wrong one."""
        main = files.get("video") or files.get("audio")
        index = probe.read_index(self._job.directory / parts.OUT / main) if main else None
        if index and index.duration is not None:
            return index.duration
        if len(film.kept.spans) > 1:
            return film.kept.length
        media = film.parts[0].media if film.parts else None
        return media.duration if media and media.container not in _ESTIMATED_DURATION else None

    def _learn(self, **facts: Any) -> None:
        """Store new `facts` (fields of `FilmFacts`), and tell the server if the film needs more space.

        Many sources state the size of a file only when it is requested.
        """
        known = replace(self._facts, **facts)
        if known != self._facts:
            self._facts = known
            self._job.reporter.need(disk_estimate.estimate_bytes(known) or 0)

    def _check_size(self, size: int) -> None:
        most = self._job.spec.max_filesize
        if most is not None and size > most:
            raise JobFailed("too_large", f"{size} of at most {most} bytes")

    def _on_event(self, progress: StreamProgress, playable: PlayableNote, event: Mapping[str, Any]) -> None:
        """Handle `event`, one of yt-dlp's progress dicts, for the stream with this `progress`."""
        came_in = progress.update(event)
        self._check_size(self._meter.at_least)
        self._learn(sizes=self._meter.sizes)
        self._job.reporter.download(self._meter, {**event, "speed": self._job.throttle.speed(event, came_in)})
        if not event.get("paced"):  # else the proxy has paced these bytes
            playable.check()
            self._job.throttle.pace(came_in)

    def _on_bytes(self, came_in: int) -> None:
        """Pace `came_in` bytes of something other than the streams: of subtitles."""
        self._job.reporter.report_alive()
        self._job.throttle.pace(came_in)
