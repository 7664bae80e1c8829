"""One download from the link to the finished files: extract, fetch, put together, flush.

Decisions: docs/decisions/films.md
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any, Final

from yt_dlp.utils import DownloadError

from server.child.extract import broadcasts, options, sponsorblock, video_info, youtube_dl
from server.child.extract.failures import EXPIRED, classify
from server.child.extract.lists import link_anew
from server.child.extract.youtube_dl import Engine, not_yet
from server.child.fetch import clip_parts, disk_estimate
from server.child.fetch.clip_parts import Clipping
from server.child.fetch.disk_estimate import Film
from server.child.fetch.one_stream import Alternatives, Fetching, Playing, Refused
from server.child.fetch.subtitles import Subtitle, Subtitling
from server.child.fetch.thumbnails import PREVIEW, Thumbnails
from server.child.media import (
    guarded_ffmpeg,
    making,
    outputs,
    parts,
    probe,
    recording,
    run_ffmpeg,
    splitting,
    timeline,
)
from server.child.media.cutting import Trimming
from server.child.media.making import NOTHING, Extras, Tagged, Tags
from server.child.media.parts import Part
from server.child.media.probe import Media
from server.child.media.recording import Recording
from server.child.media.timeline import ALL, Chapter, Kept, Span
from server.child.process import yt_dlp_parts
from server.child.process.channel import Channel
from server.child.process.job_failed import JobFailed, NotLive
from server.child.process.log import Log
from server.child.process.progress import Meter, Reporter, Stream, Throttle, each_second, expected
from server.core.jobs import Job

_ENCODING, _COPYING = 0.25, 0.05
_ESTIMATED: Final = ("aac", "mp3", "mpg", "ts")
"""Containers without a reliable duration: ffmpeg estimates it from their size, or their timestamps jump."""

LONGEST_TITLE: Final = 300
"""Characters of a chapter's title that the server is told; its tags have all of it."""
_NOTHING_THERE: Final = ("no_media", "unsupported_url")
"""What extractors say of a page if they pass over a playlist that they cannot read."""

_FULL = 0.9  # of `max_filesize`: a recording ends there, so that the file made of it stays below the limit


class FinishAsked(Exception):
    """A client ends the recording while it is waited for more of it."""


class Download:
    """`run` returns the fields of the event `produced`; `failures.classify` has a code for what it raises."""

    def __init__(self, job: Job, channel: Channel, log: Log) -> None:
        self._job = job
        self._wishes = job.wishes
        self._url = job.wishes.url
        self._directory = Path(job.directory)
        self._channel = channel
        self._log = log
        self._reporter = Reporter(channel)
        self._meter = Meter([])
        self._converting = 0.0
        self._finish_asked = Event()
        self.moved = self._reporter.moved
        self.throttle = Throttle(job.rate_limit, self.moved)
        if job.rate_limit == 0:
            self._reporter.hold(True)
        self._fetched: int | None = None
        self._told_needs = 0
        self._titles: dict[str, str] = {}  # of the chapters, by the kinds of their files

    def on_time(self, seconds: float) -> None:
        """Report that ffmpeg has written `seconds` of its output; called in another thread."""
        if self._converting:
            self._reporter.convert(self._meter.of_convert(seconds / self._converting))
        else:
            self.moved()

    def set_rate(self, bytes_per_second: int | None) -> None:
        """None: no limit. 0 pauses fetching, but not a recording: a broadcast is sent only once."""
        self.throttle.set_rate(bytes_per_second)
        self._reporter.hold(bytes_per_second == 0)

    def finish(self) -> None:
        """End a live recording and keep it; other downloads are not affected."""
        self._finish_asked.set()

    def run(self, engine: Engine) -> dict[str, Any]:
        engine.throttle = self.throttle
        recorded = False
        if any(self._directory.iterdir()):  # there was an earlier attempt
            recording.settle(self._directory)
            recorded = recording.is_anything(self._directory, self._job.ffmpeg)
        missed_before = engine.trail.passing
        info: dict[str, Any] = {}
        try:
            info = self._extract(engine)
            met = broadcasts.unread(info) if recorded else None
        except (DownloadError, JobFailed) as error:
            met = error
        if met is not None:
            # What earlier attempts recorded may be all there will be: the page is gone, or it does not answer
            # and the recording is to be finished.
            failure = classify(met, engine.trail)
            if recorded and failure.code in _NOTHING_THERE and engine.trail.passing > missed_before:
                met = JobFailed("extraction_failed", "the playlist of the broadcast could not be read")
                failure = classify(met)
            if not recorded or (failure.retryable and not self._finish_asked.is_set()):
                raise met
            info = {}
        if recorded and not video_info.is_live(info):
            if not (info and self._goes_on(engine, info, silent=True)):
                about = info | {"is_live": True}  # as is said of every recording
                if info:
                    self._channel.send("described", video_info=video_info.video_info(about))
                parts.prepare(self._directory, [recording.PIECE])
                pictures, cover = self._pictures(engine, about)
                self._reporter.say("download_started")
                return self._keep_recorded(about, pictures, cover)
            info = broadcasts.as_live(info)
        alternatives: Alternatives | None = None
        try:
            while True:
                try:
                    return self._load(engine, info)
                except Refused as refused:
                    if info.get("live_status") == "is_upcoming":
                        raise not_yet(info) from refused
                    if alternatives is None:
                        alternatives = Alternatives(engine, lambda: self._extract(engine), self._log)
                    info = alternatives.instead_of(refused)
        except Exception:
            self._reporter.last()
            raise

    def _extract(self, engine: Engine) -> dict[str, Any]:
        """What is at the link; if that has expired, and is of a list, at the link that the list has now."""
        try:
            try:
                found = engine.first(self._url)
            except DownloadError as error:
                if self._job.item is not None or classify(error, engine.trail).code not in EXPIRED:
                    raise
                link = link_anew(self._job, engine, self._channel, self._log)
                if link is None:
                    raise
                self._log.write("the link has expired: this is what its list has for it now")
                self._url = link
                found = engine.first(link)
            info = broadcasts.judged(engine, found, self.moved)
        except NotLive as error:
            self._channel.send("described", video_info=video_info.video_info(error.info))
            raise
        except DownloadError as error:
            only_audio = options.wants_only_audio(self._wishes) and not self._wishes.format
            if only_audio and classify(error, engine.trail).code == "format_unavailable":
                raise JobFailed("no_audio") from error
            raise
        return video_info.with_what_is_said(info, self._job.says) if self._job.says else info

    def _load(self, engine: Engine, info: dict[str, Any]) -> dict[str, Any]:
        """Fetch the streams chosen in `info`, and make the files of them.

        Raises `Refused` if nothing usable of a stream comes.
        """
        wishes, clip, ffmpeg = self._wishes, self._wishes.clip, self._job.ffmpeg

        # Tell what it is, and what else there would be if nothing comes of the wishes.
        about = clip_parts.described(info, clip) if clip else dict(info)
        offered = None if "entries" in info else info.get("formats") or [info]
        with_picture = sum(one.get("vcodec") != "none" for one in offered or ())
        sound_alone = sum(
            one.get("vcodec") == "none" and one.get("acodec") != "none" for one in offered or ()
        )
        has_pictures = bool(info.get("thumbnails")) or (self._directory / PREVIEW).exists()
        starts = options.wants_media(wishes) and not has_pictures and not video_info.is_live(info)
        self._channel.send(
            "described",
            video_info=video_info.video_info(about),
            **video_info.known(
                film_duration=(video_info.number(info.get("duration")) or 0) if clip else None,
                sound_apart=offered and sound_alone > 0,
                one_quality=offered and with_picture <= 1 and sound_alone <= 1,
                archive_ids=video_info.archive_ids(info) or None,
                hint="first_of_several" if engine.left_others else None,
                starts=starts or None,
            ),
        )
        sections = youtube_dl.streams_of(info) if options.wants_media(wishes) else []
        if video_info.is_live(info):
            return self._record(engine, info, [stream for section in sections for stream in section])

        # Prepare the directory: what earlier attempts have fetched of these streams stays.
        names = [parts.name_of(stream, at, clip) for at, section in enumerate(sections) for stream in section]
        if clip:
            sections = [[clip_parts.of_unknown_size(stream) for stream in section] for section in sections]
        streams = [stream for section in sections for stream in section]
        self._check_size(sum(stream.get("filesize") or 0 for stream in streams))
        subtitling = Subtitling(self._job, info, self._log) if options.wants_subtitles(wishes) else None
        if subtitling and subtitling.has_left_out:
            self._channel.send("described", video_info={}, hint="some_subtitles")
        wanted = [*names, *(subtitling.names if subtitling else ())]
        resumes = yt_dlp_parts.fits("fragments") and yt_dlp_parts.fits("resuming")
        parts.prepare(self._directory, wanted, resumes=resumes)
        pictures, cover = self._pictures(engine, info)
        self._meter = Meter(
            expected(streams, about.get("duration")), _ENCODING if outputs.encodes(wishes) else _COPYING
        )
        self._film = Film(wishes, sections, about.get("duration"))
        self._learn(
            sizes=self._meter.sizes,
            chapters=wishes.split_chapters and bool(video_info.chapters_of(info)),
        )
        self._playing = Playing(self._directory, names, in_one=not clip)

        # Fetch.
        self._reporter.say("download_started")
        left_out, spoken, came = list[Span](), list[Subtitle](), list[Part]()
        with self._reporter.fetching():
            if wishes.sponsorblock:
                left_out = sponsorblock.marked(
                    engine, info, wishes.sponsorblock, self._job.sponsorblock_api, self._log
                )
                self._learn(left_out=left_out)
            if subtitling:
                spoken = subtitling.make(engine, self._on_bytes)
            way: Fetching | Clipping = Fetching(engine, self._job, self._log)
            if clip and len(sections) == 1:
                way = Clipping(engine, self._job, clip, self._log, self._convert)
            for counted, stream, name in zip(self._meter.streams, streams, names, strict=True):
                self.throttle.pace(0)  # while paused, open no connection that would only be idle
                came.append(way.fetch(stream, self._directory / name, partial(self._on_event, counted)))
            self._fetched = self._playing.whole()
        if any(parts.gaps_of(self._directory / name).exists() for name in names):
            self._channel.send("described", video_info={}, hint="with_gaps")

        # Put together: join the sections, cut out what is not kept, embed what is to be embedded.
        if len(sections) > 1:
            rest = iter(came)
            each = [list(islice(rest, len(section))) for section in sections]
            came = [parts.join(self._directory, each, ffmpeg, self._convert)]
        used, kept = came, ALL
        if clip or left_out:
            used, kept = Trimming(self._job, left_out, self._log, self._convert).of(came)
        if subtitling:
            spoken = subtitling.follow(spoken, kept)
        length = max((part.media.duration or 0 for part in used), default=0)
        said: list[Chapter] = []
        if used and (wishes.embed_metadata or wishes.split_chapters or self._job.tells_about):
            # The source's chapters, else those in the file, at the times of what is kept.
            said = video_info.chapters_of(info)
            if not said and len(came) == 1 and came[0].plain and not clip:
                said = timeline.of_file(came[0].path, ffmpeg)
            whole = (length or None) if kept == ALL else info.get("duration")
            said = timeline.chapters(timeline.sensible(said, whole), kept)
        self._learn(chapters=wishes.split_chapters and bool(said))
        texts = subtitling.embedded(spoken, length) if subtitling else ()
        extras = Extras(texts, self._tagged(info, streams, said, cover))
        # The picture's width / height, if its file states it wrong.
        ratios = (stream.get("stretched_ratio") for stream in streams)
        aspect = next((float(ratio) for ratio in ratios if ratio not in (None, 0, 1)), None)
        files = self._produce(used, aspect, extras, kept)
        film = files.get("video") or files.get("audio")
        if wishes.split_chapters and film and not said:
            self._log.write("chapters: there are none")
        elif wishes.split_chapters and film:
            self._reporter.convert(self._meter.of_convert(0), self._meter.downloaded)
            self._titles = {f"chapter.{n}": one.title for n, one in enumerate(said, 1) if one.title}
            tags = extras.tagged.tags if extras.tagged else None
            path = self._directory / parts.OUT / film
            files |= splitting.split(path, said, texts, tags, self._convert, self._log.write)
        files |= pictures | (subtitling.publish(spoken) if subtitling else {})

        # The duration as measured on the file that was made: that on the page may be wrong.
        main = next((part.media for part in used), None)
        index = probe.index(self._directory / parts.OUT / film) if film else None
        measured = index.duration if index else None
        if measured is None and len(kept.spans) > 1:
            measured = kept.length
        if measured is None and main and main.container not in _ESTIMATED:
            measured = main.duration
        if measured:
            about["duration"] = measured
        return self._produced(about, main, files, said, used=[part.media for part in used], cut=kept != ALL)

    def _learn(self, **known: Any) -> None:
        """Take in what is now `known` of the film (fields of `Film`); the server is told of greater needs.

        Many sources state the size of a file only when it is requested.
        """
        film = replace(self._film, **known)
        if film != self._film:
            self._film = film
            needs = disk_estimate.needed(film) or 0
            if needs > self._told_needs:
                self._told_needs = needs
                self._channel.send("needs", needs=needs)

    def _check_size(self, size: int) -> None:
        most = self._job.max_filesize
        if most is not None and size > most:
            raise JobFailed("too_large", f"{size} of at most {most} bytes")

    def _pictures(self, engine: Engine, info: Mapping[str, Any]) -> tuple[dict[str, str], Path | None]:
        """Make the preview; return the thumbnail (kind -> name) and the path of the cover, if wanted."""
        asked_for, small, whole = "thumbnail" in self._wishes.outputs, self._directory / PREVIEW, None
        embedded, cover, has_preview = self._wishes.embed_metadata, None, small.exists()
        if info.get("thumbnails") and (asked_for or embedded or not has_preview):
            thumbnails = Thumbnails(engine, self._job.ffmpeg, self._directory, self._log)
            source = thumbnails.fetch(info)
            whole = thumbnails.whole(source, self._directory / parts.OUT) if source and asked_for else None
            cover = thumbnails.cover(source) if source and embedded else None
            has_preview = small.exists()
        if has_preview:
            self._channel.send("previewed")
        if self._wishes.outputs == ("thumbnail",) and whole is None:
            raise JobFailed("no_thumbnail")
        return {"thumbnail": whole.name} if whole else {}, cover

    def _on_event(self, counted: Stream, event: Mapping[str, Any]) -> None:
        """Take in `event`, a progress dict of yt-dlp about the stream `counted`."""
        came_in = counted.update(event)
        self._check_size(self._meter.at_least)
        self._learn(sizes=self._meter.sizes)
        self._reporter.download(self._meter, {**event, "speed": self.throttle.speed(event, came_in)})
        if not event.get("paced"):  # else the proxy has paced these bytes
            self._playing.look()
            self.throttle.pace(came_in)

    def _on_bytes(self, came_in: int) -> None:
        """Pace `came_in` bytes of something other than the streams: of subtitles."""
        self.moved()
        self.throttle.pace(came_in)

    # Recording.

    def _record(
        self, engine: Engine, info: Mapping[str, Any], streams: list[dict[str, Any]]
    ) -> dict[str, Any]:
        if self._wishes.live == "reject":
            raise JobFailed("live_rejected")
        if not recording.is_possible(streams):
            raise JobFailed("live_unsupported")
        if options.wants_subtitles(self._wishes) or self._wishes.split_chapters:
            self._log.write("a recording has neither subtitles nor chapters of its own")
        parts.prepare(self._directory, [recording.PIECE])
        pictures, cover = self._pictures(engine, info)
        self._reporter.say("download_started")
        if not streams:
            return self._produced(info, None, pictures)
        counted, began, most = Stream(), time.monotonic(), self._job.max_filesize
        self._meter = Meter([counted], convert=1.0)  # its length is unknown: progress stays at 20

        def on_size(size: int, came_in: int) -> None:
            counted.done = size
            if most is not None and size > _FULL * most and not self._finish_asked.is_set():
                self._log.write(f"as large as is allowed: {size} of {most} bytes")
                self._finish_asked.set()
            self._reporter.download(self._meter, {"speed": came_in / (time.monotonic() - began)})

        def again(silent: bool) -> list[dict[str, Any]] | None:
            """The streams to record after an interruption, None if the broadcast is over; the same streams
            again if the source cannot tell at the moment."""
            before = engine.trail.passing
            try:
                info = self._extract(engine)
            except (DownloadError, JobFailed) as error:
                failure, missed = classify(error, engine.trail), engine.trail.passing > before
                is_busy = failure.retryable or (failure.code in _NOTHING_THERE and missed)
                return streams if is_busy and not has_ended(streams) else None
            if (unread := broadcasts.unread(info)) and not broadcasts.is_gone(unread):
                return streams
            return parts.chosen(info) if self._goes_on(engine, info, silent=silent) else None

        has_ended = partial(broadcasts.have_ended, engine)
        if any(map(guarded_ffmpeg.is_dash, streams)):
            recording.is_of_dash(self._directory)
        recorded = recording.is_anything(self._directory, self._job.ffmpeg)
        if not (recorded and has_ended(streams)):
            own = (on_size, again, has_ended, engine, broadcasts.from_first_read(engine, streams))
            Recording(self._directory, self._job, self._log, *own).run(
                streams, self._finish_asked, partial(self.throttle.pace, stops=False)
            )
        return self._keep_recorded(info, pictures, cover)

    def _goes_on(self, engine: Engine, info: dict[str, Any], *, silent: bool) -> bool:
        def tick() -> None:
            self.moved()
            if self._finish_asked.is_set():
                raise FinishAsked

        with suppress(FinishAsked):
            return broadcasts.may_go_on(engine, info, parts.chosen(info), tick, silent=silent)
        return False

    def _keep_recorded(
        self, info: Mapping[str, Any], pictures: Mapping[str, str], cover: Path | None
    ) -> dict[str, Any]:
        recording.check_order(self._directory, self._job.ffmpeg, self.moved)
        recorded = [recording.put_together(self._directory, self._job.ffmpeg)]
        tagged = self._tagged(info, [], (), cover)  # chapters have the broadcast's times, not the recording's
        files = self._produce(recorded, extras=Extras(tagged=tagged))
        main = next(files[kind] for kind in ("video", "audio") if kind in files)
        seen = probe.inspect(self._directory / parts.OUT / main, self._job.ffmpeg)
        return self._produced({**info, "duration": None}, seen, {**files, **pictures}, used=[seen])

    # Putting together.

    def _tagged(
        self,
        info: Mapping[str, Any],
        streams: list[dict[str, Any]],
        said: Sequence[Chapter],
        cover: Path | None,
    ) -> Tagged | None:
        """Write the metadata to embed; None if none is wanted."""
        if not self._wishes.embed_metadata:
            return None
        sounds = (stream.get("language") for stream in streams if stream.get("acodec") != "none")
        language = next((one for one in sounds if isinstance(one, str)), None)
        return making.write(Tags(video_info.tags_of(info), said, cover, language), self._directory)

    def _produce(
        self,
        used: list[Part],
        aspect: float | None = None,
        extras: Extras = NOTHING,
        kept: Kept = ALL,
    ) -> dict[str, str]:
        if not used:
            return {}
        plan = outputs.plan(self._wishes, used, aspect, extras, kept)
        self._converting = 1.0
        if plan.made:
            self._converting = max(part.media.duration or 0 for part in plan.inputs) or 1.0
            self._reporter.convert(self._meter.of_convert(0), self._meter.downloaded)
        return making.carry_out(plan, self._directory / parts.OUT, self._convert, self._log.write)

    def _convert(self, arguments: list[str]) -> None:
        run_ffmpeg.convert(self._job.ffmpeg, arguments, self._log.write)

    def _produced(
        self,
        info: Mapping[str, Any],
        main: Media | None,
        files: dict[str, str],
        said: Sequence[Chapter] = (),
        *,
        used: Sequence[Media] = (),
        cut: bool = False,
    ) -> dict[str, Any]:
        """Flush what was made of `used` to the disk, and tell of it; `said` are its chapters."""
        if not files:
            raise JobFailed("no_subtitles")  # for every other output an error was raised before
        out = self._directory / parts.OUT
        with each_second(self.moved):  # a slow disk is no stall
            sums = {name: making.flush(out / name) for name in files.values()}
            for folder in (out, self._directory):
                making.flush_names(folder)
        sizes = {kind: (out / name).stat().st_size for kind, name in files.items()}
        size = sizes.get("video") or sizes.get("audio")
        return {
            "fetched": self._fetched,
            "files": {
                kind: {
                    "path": name,
                    "size": sizes[kind],
                    "type": outputs.type_of(name),
                    "sha256": sums[name].sha256,
                    "crc32": sums[name].crc32,
                    **({"title": title[:LONGEST_TITLE]} if (title := self._titles.get(kind)) else {}),
                    "codec": outputs.codec_of(out / name, kind, self._wishes, used),
                }
                for kind, name in files.items()
            },
            "video_info": video_info.video_info(info, main, size, cut=cut),
            **({"about": video_info.about(info, said)} if self._job.tells_about else {}),
        }
