"""One download from the link to the finished files: extract, fetch, put together, flush.

Decisions: docs/decisions/films.md
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any, Final

from yt_dlp.utils import DownloadError

from server.child.extract import broadcasts, options, sponsorblock, video_info, youtube_dl
from server.child.extract.failures import EXPIRED, classify
from server.child.extract.lists import find_new_link
from server.child.extract.youtube_dl import Engine, not_live_error
from server.child.fetch import clip_parts, disk_estimate
from server.child.fetch.clip_parts import ClipFetcher
from server.child.fetch.disk_estimate import FilmFacts
from server.child.fetch.one_stream import Alternatives, PlayableNote, Refused, StreamFetcher
from server.child.fetch.subtitles import Subtitle, Subtitling
from server.child.fetch.thumbnails import PREVIEW, Thumbnails
from server.child.media import (
    embedding,
    guarded_ffmpeg,
    making,
    outputs,
    packet_times,
    parts,
    probe,
    recorded_pieces,
    recording,
    run_ffmpeg,
    splitting,
    timeline,
)
from server.child.media.cutting import Trimming
from server.child.media.embedding import Extras, Tags, WrittenTags
from server.child.media.parts import Part
from server.child.media.probe import Media
from server.child.media.recording import Recording
from server.child.media.timeline import ALL, ChapterSpan, Kept, Span
from server.child.process import yt_dlp_parts
from server.child.process.channel import Channel
from server.child.process.job_failed import JobFailed, NotLive
from server.child.process.log import Log
from server.child.process.progress import (
    Meter,
    Reporter,
    StreamProgress,
    Throttle,
    each_second,
    progress_of_streams,
)
from server.core.jobs import Job

_ENCODING_SHARE, _COPYING_SHARE = 0.25, 0.05  # of ffmpeg in the job's work
_ESTIMATED_DURATION: Final = ("aac", "mp3", "mpg", "ts")
"""Containers without a reliable duration: ffmpeg estimates it from their size, or their timestamps jump."""

LONGEST_TITLE: Final = 300
"""Characters of a chapter's title that are sent to the server; its tags have all of it."""

_NO_MEDIA_CODES: Final = ("no_media", "unsupported_url")
"""Failures of pages without media, also of those whose playlist the extractor could not read."""

_FULL = 0.9  # of `max_filesize`: a recording ends there, so that the file made of it stays below the limit


class StopWaiting(Exception):
    """A client ends the recording while the job waits whether the broadcast goes on."""


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


class Download:
    """`run` returns the fields of the event `produced`; `failures.classify` has a code for what it raises."""

    def __init__(self, job: Job, channel: Channel, log: Log, reporter: Reporter) -> None:
        self._job = job
        self._wishes = job.wishes
        self._url = job.wishes.url
        self._directory = Path(job.directory)
        self._channel = channel
        self._log = log
        self._reporter = reporter
        self._meter = Meter([])
        self._converting = 0.0  # seconds of the film that ffmpeg converts
        self._finish_asked = Event()
        self.report_alive = self._reporter.report_alive
        self.throttle = Throttle(job.rate_limit, self.report_alive)
        if job.rate_limit == 0:
            self._reporter.hold(True)
        self._reported_needs = 0  # bytes

    def on_time(self, seconds: float) -> None:
        """Report that ffmpeg has written `seconds` of its output; called in another thread."""
        if self._converting:
            self._reporter.convert(self._meter.of_convert(seconds / self._converting))
        else:
            self.report_alive()

    def set_rate(self, bytes_per_second: int | None) -> None:
        """None: no limit. 0 pauses fetching, but not a recording: a broadcast is sent only once."""
        self.throttle.set_rate(bytes_per_second)
        self._reporter.hold(bytes_per_second == 0)

    def finish(self) -> None:
        """End a live recording and keep it; other downloads are not affected."""
        self._finish_asked.set()

    def run(self, engine: Engine) -> dict[str, Any]:
        """Download with `engine`, which obeys `throttle`."""
        if self._has_recording():
            info = self._extract_to_go_on(engine)
            if not video_info.is_live(info):
                if not (info and self._goes_on(engine, info, silent=True)):
                    return self._finish_earlier_recording(engine, info)
                info = broadcasts.as_live(info)
        else:
            info = self._extract(engine)
        alternatives = Alternatives(engine, lambda: self._extract(engine), self._log)
        try:
            while True:
                try:
                    return self._download_film(engine, info)
                except Refused as refused:
                    if info.get("live_status") == "is_upcoming":
                        raise not_live_error(info) from refused
                    info = alternatives.instead_of(refused)
        except Exception:
            self._reporter.send_pending()
            raise

    def _extract(self, engine: Engine) -> dict[str, Any]:
        """Extract the link; if it is from a list and has expired, the link that the list has now."""
        try:
            try:
                found = engine.first(self._url)
            except DownloadError as error:
                if self._job.item is not None or classify(error, engine.trail).code not in EXPIRED:
                    raise
                link = find_new_link(self._job, engine, self._channel, self._log)
                if link is None:
                    raise
                self._log.write("the link has expired: this is what its list has for it now")
                self._url = link
                found = engine.first(link)
            info = broadcasts.check_broadcast(engine, found, self.report_alive)
        except NotLive as error:
            self._channel.send("described", video_info=video_info.video_info(error.info))
            raise
        except DownloadError as error:
            only_audio = options.wants_only_audio(self._wishes) and not self._wishes.format
            if only_audio and classify(error, engine.trail).code == "format_unavailable":
                raise JobFailed("no_audio") from error
            raise
        return video_info.with_words_of_list(info, self._job.says) if self._job.says else info

    # A film: fetch its streams, put them together, make the files.

    def _download_film(self, engine: Engine, info: dict[str, Any]) -> dict[str, Any]:
        """Fetch the streams chosen in `info`, and make the files of them.

        Raises `Refused` if nothing usable of a stream comes.
        """
        wishes = self._wishes
        about = clip_parts.describe_clip(info, wishes.clip) if wishes.clip else dict(info)
        self._describe(engine, info, about)
        if video_info.is_live(info):
            return self._record(engine, info)

        # What earlier attempts have fetched of these streams stays in the directory.
        sections = self._streams_to_fetch(info, about.get("duration"))
        streams = list(chain(*sections))
        self._check_size(sum(each.stream.get("filesize") or 0 for each in streams))
        subtitling = Subtitling(self._job, info, self._log) if options.wants_subtitles(wishes) else None
        if subtitling and subtitling.has_left_out:
            self._channel.send("described", video_info={}, hint="some_subtitles")
        names = [each.path.name for each in streams]
        resumes = yt_dlp_parts.fits("fragments") and yt_dlp_parts.fits("resuming")
        parts.prepare(self._directory, [*names, *(subtitling.names if subtitling else ())], resumes=resumes)
        pictures, cover = self._make_pictures(engine, info)

        self._meter = Meter(
            [each.progress for each in streams],
            _ENCODING_SHARE if outputs.encodes(wishes) else _COPYING_SHARE,
        )
        self._facts = FilmFacts(
            wishes, [[each.stream for each in section] for section in sections], about.get("duration")
        )
        self._learn(
            sizes=self._meter.sizes,
            chapters=wishes.split_chapters and bool(video_info.chapters_of(info)),
        )
        self._playable = PlayableNote(self._directory, names, in_one=not wishes.clip)
        self._reporter.send("download_started")
        sponsor_spans, subtitles = list[Span](), list[Subtitle]()
        with self._reporter.fetching():
            if wishes.sponsorblock:
                sponsor_spans = sponsorblock.find_segments(
                    engine, info, wishes.sponsorblock, self._job.sponsorblock_api, self._log
                )
                self._learn(left_out=sponsor_spans)
            if subtitling:
                subtitles = subtitling.fetch(engine, self._on_bytes)
            fetched = self._fetch(engine, sections)
            fetched_bytes = self._playable.complete()
        if any(parts.gap_note_of(each.path).exists() for each in streams):
            self._channel.send("described", video_info={}, hint="with_gaps")

        film = self._put_together(info, fetched, sponsor_spans, subtitles, subtitling)
        texts = subtitling.write_embedded(film.subtitles, film.duration) if subtitling else ()
        tags = self._write_tags(info, streams, film.chapters, cover)
        files = self._make_files(film, streams, Extras(texts, tags))
        files |= pictures | (subtitling.publish(film.subtitles) if subtitling else {})
        if duration := self._measure_duration(film, files):
            about["duration"] = duration
        return self._flush(about, files, [part.media for part in film.parts], film, fetched_bytes)

    def _describe(self, engine: Engine, info: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Send what the film is, and what else its source offers, for remedies if the wishes fail."""
        offered = None if "entries" in info else info.get("formats") or [info]
        with_picture = sum(one.get("vcodec") != "none" for one in offered or ())
        sound_alone = sum(
            one.get("vcodec") == "none" and one.get("acodec") != "none" for one in offered or ()
        )
        has_pictures = bool(info.get("thumbnails")) or (self._directory / PREVIEW).exists()
        starts = options.wants_media(self._wishes) and not has_pictures and not video_info.is_live(info)
        film_duration = (video_info.number(info.get("duration")) or 0) if self._wishes.clip else None
        self._channel.send(
            "described",
            video_info=video_info.video_info(about),
            **video_info.without_none(
                film_duration=film_duration,
                sound_apart=offered and sound_alone > 0,
                one_quality=offered and with_picture <= 1 and sound_alone <= 1,
                archive_ids=video_info.archive_ids(info) or None,
                hint="first_of_several" if engine.is_first_of_several else None,
                starts=starts or None,
            ),
        )

    def _streams_to_fetch(self, info: Mapping[str, Any], duration: float | None) -> list[list[StreamToFetch]]:
        """Return the streams of each section of the film; most films have one section."""
        if not options.wants_media(self._wishes):
            return []
        clip = self._wishes.clip
        sections = [
            [
                (clip_parts.without_sizes(stream) if clip else stream, parts.name_of(stream, number, clip))
                for stream in section
            ]
            for number, section in enumerate(youtube_dl.streams_of(info))
        ]
        progress = iter(progress_of_streams((stream for stream, _ in chain(*sections)), duration))
        return [
            [StreamToFetch(stream, self._directory / name, next(progress)) for stream, name in section]
            for section in sections
        ]

    def _fetch(self, engine: Engine, sections: list[list[StreamToFetch]]) -> list[list[Part]]:
        """Fetch the streams; return the parts of each section."""
        fetching: StreamFetcher | ClipFetcher = StreamFetcher(engine, self._job, self._log)
        if self._wishes.clip and len(sections) == 1:
            fetching = ClipFetcher(engine, self._job, self._wishes.clip, self._log, self._convert)
        fetched = list[list[Part]]()
        for section in sections:
            fetched.append([])
            for each in section:
                self.throttle.pace(0)  # while paused, open no connection that would only be idle
                on_event = partial(self._on_event, each.progress)
                fetched[-1].append(fetching.fetch(each.stream, each.path, on_event))
        return fetched

    def _put_together(
        self,
        info: Mapping[str, Any],
        sections: list[list[Part]],
        sponsor_spans: list[Span],
        subtitles: list[Subtitle],
        subtitling: Subtitling | None,
    ) -> CutFilm:
        """Join the sections, and cut out what is not kept."""
        wishes, ffmpeg = self._wishes, self._job.ffmpeg
        whole = list(chain(*sections))
        if len(sections) > 1:
            whole = [parts.join(self._directory, sections, ffmpeg, self._convert)]
        film = CutFilm(whole, ALL, [], subtitles)
        if wishes.clip or sponsor_spans:
            trimming = Trimming(self._job, sponsor_spans, self._log, self._convert)
            cut_parts, kept = trimming.cut_to_kept(whole)
            film = replace(film, parts=cut_parts, kept=kept)
        if subtitling:
            film = replace(film, subtitles=subtitling.retime(subtitles, film.kept))
        chapters = list[ChapterSpan]()
        if whole and (wishes.embed_metadata or wishes.split_chapters or self._job.tells_about):
            # The source's chapters, else those in the file, at the times of what is kept.
            chapters = video_info.chapters_of(info)
            if not chapters and len(whole) == 1 and whole[0].plain and not wishes.clip:
                chapters = timeline.read_chapters(whole[0].path, ffmpeg)
            duration = (film.duration or None) if film.kept == ALL else info.get("duration")
            chapters = timeline.retime_chapters(timeline.trim_chapters(chapters, duration), film.kept)
        self._learn(chapters=wishes.split_chapters and bool(chapters))
        return replace(film, chapters=chapters)

    def _make_files(self, film: CutFilm, streams: list[StreamToFetch], extras: Extras) -> dict[str, str]:
        """Make the outputs of a film, and a file of each chapter if that is wanted: kind -> name."""
        # The picture's width / height, if yt-dlp knows that its file states it wrong.
        ratios = (each.stream.get("stretched_ratio") for each in streams)
        aspect = next((float(ratio) for ratio in ratios if ratio not in (None, 0, 1)), None)
        files = self._convert_parts(film.parts, extras, aspect, film.kept)
        main = files.get("video") or files.get("audio")
        if self._wishes.split_chapters and main and not film.chapters:
            self._log.write("chapters: there are none")
        elif self._wishes.split_chapters and main:
            self._reporter.convert(self._meter.of_convert(0), self._meter.downloaded)
            tags = extras.tags.tags if extras.tags else None
            path = self._directory / parts.OUT / main
            files |= splitting.split(
                path, film.chapters, extras.subtitles, tags, self._convert, self._log.write
            )
        return files

    def _measure_duration(self, film: CutFilm, files: Mapping[str, str]) -> float | None:
        """Return the duration of the file that was made, in seconds: the page may state a wrong one."""
        main = files.get("video") or files.get("audio")
        index = probe.read_index(self._directory / parts.OUT / main) if main else None
        if index and index.duration is not None:
            return index.duration
        if len(film.kept.spans) > 1:
            return film.kept.length
        media = film.parts[0].media if film.parts else None
        return media.duration if media and media.container not in _ESTIMATED_DURATION else None

    # Facts and progress, while the film is fetched.

    def _learn(self, **facts: Any) -> None:
        """Store new `facts` (fields of `FilmFacts`), and tell the server if the film needs more space.

        Many sources state the size of a file only when it is requested.
        """
        known = replace(self._facts, **facts)
        if known != self._facts:
            self._facts = known
            needs = disk_estimate.estimate_bytes(known) or 0
            if needs > self._reported_needs:
                self._reported_needs = needs
                self._channel.send("needs", needs=needs)

    def _check_size(self, size: int) -> None:
        most = self._job.max_filesize
        if most is not None and size > most:
            raise JobFailed("too_large", f"{size} of at most {most} bytes")

    def _on_event(self, progress: StreamProgress, event: Mapping[str, Any]) -> None:
        """Handle `event`, one of yt-dlp's progress dicts, for the stream with this `progress`."""
        came_in = progress.update(event)
        self._check_size(self._meter.at_least)
        self._learn(sizes=self._meter.sizes)
        self._reporter.download(self._meter, {**event, "speed": self.throttle.speed(event, came_in)})
        if not event.get("paced"):  # else the proxy has paced these bytes
            self._playable.check()
            self.throttle.pace(came_in)

    def _on_bytes(self, came_in: int) -> None:
        """Pace `came_in` bytes of something other than the streams: of subtitles."""
        self.report_alive()
        self.throttle.pace(came_in)

    # Recording.

    def _has_recording(self) -> bool:
        """Whether an earlier attempt has recorded anything; pieces that are not kept are deleted."""
        if not any(self._directory.iterdir()):
            return False
        recorded_pieces.delete_unkept(self._directory)
        return recorded_pieces.have_media(self._directory, self._job.ffmpeg)

    def _extract_to_go_on(self, engine: Engine) -> dict[str, Any]:
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

    def _finish_earlier_recording(self, engine: Engine, info: dict[str, Any]) -> dict[str, Any]:
        """Make the files of what earlier attempts have recorded; `info` is empty if the page is gone."""
        about = info | {"is_live": True}  # as for every recording
        if info:
            self._channel.send("described", video_info=video_info.video_info(about))
        parts.prepare(self._directory, [recorded_pieces.PREFIX])
        pictures, cover = self._make_pictures(engine, about)
        self._reporter.send("download_started")
        return self._finish_recording(about, pictures, cover)

    def _record(self, engine: Engine, info: Mapping[str, Any]) -> dict[str, Any]:
        streams = list(chain(*youtube_dl.streams_of(info))) if options.wants_media(self._wishes) else []
        if self._wishes.live == "reject":
            raise JobFailed("live_rejected")
        if not recording.can_record(streams):
            raise JobFailed("live_unsupported")
        if options.wants_subtitles(self._wishes) or self._wishes.split_chapters:
            self._log.write("a recording has neither subtitles nor chapters of its own")
        parts.prepare(self._directory, [recorded_pieces.PREFIX])
        pictures, cover = self._make_pictures(engine, info)
        self._reporter.send("download_started")
        if not streams:
            return self._flush(info, pictures)
        progress, began, most = StreamProgress(), time.monotonic(), self._job.max_filesize
        self._meter = Meter([progress], convert=1.0)  # its length is unknown: progress stays at 20

        def on_size(size: int, came_in: int) -> None:
            progress.done = size
            if most is not None and size > _FULL * most and not self._finish_asked.is_set():
                self._log.write(f"as large as is allowed: {size} of {most} bytes")
                self._finish_asked.set()
            self._reporter.download(self._meter, {"speed": came_in / (time.monotonic() - began)})

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
            return parts.chosen_streams(info) if self._goes_on(engine, info, silent=silent) else None

        has_ended = partial(broadcasts.have_ended, engine)
        if any(map(guarded_ffmpeg.is_dash, streams)):
            packet_times.note_dash(self._directory)
        if not (recorded_pieces.have_media(self._directory, self._job.ffmpeg) and has_ended(streams)):
            Recording(
                self._directory,
                self._job,
                self._log,
                on_size,
                next_streams,
                has_ended,
                engine,
                broadcasts.from_first_read(engine, streams),
            ).run(streams, self._finish_asked, partial(self.throttle.pace, stops=False))
        return self._finish_recording(info, pictures, cover)

    def _goes_on(self, engine: Engine, info: dict[str, Any], *, silent: bool) -> bool:
        """Whether the broadcast goes on; False also if a client ends the recording meanwhile."""

        def tick() -> None:
            self.report_alive()
            if self._finish_asked.is_set():
                raise StopWaiting

        with suppress(StopWaiting):
            return broadcasts.may_go_on(engine, info, parts.chosen_streams(info), tick, silent=silent)
        return False

    def _finish_recording(
        self, info: Mapping[str, Any], pictures: Mapping[str, str], cover: Path | None
    ) -> dict[str, Any]:
        """Make the files of what was recorded."""
        packet_times.check_pieces(self._directory, self._job.ffmpeg, self.report_alive)
        recorded = [recorded_pieces.join_pieces(self._directory, self._job.ffmpeg)]
        # Without the chapters, whose times are the broadcast's, not the recording's.
        extras = Extras(tags=self._write_tags(info, (), (), cover))
        files = self._convert_parts(recorded, extras)
        main = next(files[kind] for kind in ("video", "audio") if kind in files)
        media = probe.inspect(self._directory / parts.OUT / main, self._job.ffmpeg)
        return self._flush({**info, "duration": None}, {**files, **pictures}, [media])

    # For films and recordings: pictures, tags, ffmpeg's run, and the end.

    def _make_pictures(self, engine: Engine, info: Mapping[str, Any]) -> tuple[dict[str, str], Path | None]:
        """Make the preview; return the thumbnail (kind -> name) and the path of the cover, if wanted."""
        preview, full_size, cover = self._directory / PREVIEW, None, None
        asked_for, embedded = "thumbnail" in self._wishes.outputs, self._wishes.embed_metadata
        if info.get("thumbnails") and (asked_for or embedded or not preview.exists()):
            thumbnails = Thumbnails(engine, self._job.ffmpeg, self._directory, self._log)
            if source := thumbnails.fetch(info):
                full_size = (
                    thumbnails.make_full_size(source, self._directory / parts.OUT) if asked_for else None
                )
                cover = thumbnails.make_cover(source) if embedded else None
        if preview.exists():
            self._channel.send("previewed")
        if self._wishes.outputs == ("thumbnail",) and full_size is None:
            raise JobFailed("no_thumbnail")
        return {"thumbnail": full_size.name} if full_size else {}, cover

    def _write_tags(
        self,
        info: Mapping[str, Any],
        streams: Sequence[StreamToFetch],
        chapters: Sequence[ChapterSpan],
        cover: Path | None,
    ) -> WrittenTags | None:
        """Write the metadata to embed; None if none is wanted."""
        if not self._wishes.embed_metadata:
            return None
        sounds = (each.stream for each in streams if each.stream.get("acodec") != "none")
        languages = (sound.get("language") for sound in sounds)
        language = next((name for name in languages if isinstance(name, str)), None)
        return embedding.write_tags(
            Tags(video_info.tags_of(info), chapters, cover, language), self._directory
        )

    def _convert_parts(
        self, film_parts: list[Part], extras: Extras, aspect: float | None = None, kept: Kept = ALL
    ) -> dict[str, str]:
        """Make the outputs of a film's parts: kind -> name."""
        if not film_parts:
            return {}
        plan = outputs.plan(self._wishes, film_parts, aspect, extras, kept)
        self._converting = 1.0
        if plan.made:
            self._converting = max(part.media.duration or 0 for part in plan.inputs) or 1.0
            self._reporter.convert(self._meter.of_convert(0), self._meter.downloaded)
        return making.make_files(plan, self._directory / parts.OUT, self._convert, self._log.write)

    def _convert(self, arguments: list[str]) -> None:
        run_ffmpeg.convert(self._job.ffmpeg, arguments, self._log.write)

    def _flush(
        self,
        info: Mapping[str, Any],
        files: dict[str, str],
        used: Sequence[Media] = (),
        film: CutFilm | None = None,
        fetched_bytes: int | None = None,
    ) -> dict[str, Any]:
        """Flush what was made of `used` to the disk; return the fields of the event `produced`.

        `film` is None for a recording; `fetched_bytes` is the size of the one file that was fetched.
        """
        if not files:
            raise JobFailed("no_subtitles")  # for every other output an error was raised before
        out = self._directory / parts.OUT
        with each_second(self.report_alive):  # a slow disk is no stall
            sums = {name: making.flush(out / name) for name in files.values()}
            for folder in (out, self._directory):
                making.flush_names(folder)
        sizes = {kind: (out / name).stat().st_size for kind, name in files.items()}
        chapters, kept = (film.chapters, film.kept) if film else ([], ALL)
        titles = {f"chapter.{number}": each.title for number, each in enumerate(chapters, 1)}
        main = used[0] if used else None
        main_size = sizes.get("video") or sizes.get("audio")
        return {
            "fetched": fetched_bytes,
            "files": {
                kind: {
                    "path": name,
                    "size": sizes[kind],
                    "type": outputs.type_of(name),
                    "sha256": sums[name].sha256,
                    "crc32": sums[name].crc32,
                    **({"title": title[:LONGEST_TITLE]} if (title := titles.get(kind)) else {}),
                    "codec": outputs.codec_of(out / name, kind, self._wishes, used),
                }
                for kind, name in files.items()
            },
            "video_info": video_info.video_info(info, main, main_size, cut=kept != ALL),
            **({"about": video_info.about(info, chapters)} if self._job.tells_about else {}),
        }
