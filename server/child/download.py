"""One download from the link to the finished files: extract, fetch, put together, flush.

Decisions: docs/decisions/films.md
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any, Final

from yt_dlp.downloader.common import FileDownloader
from yt_dlp.utils import DownloadError

from server.child.extract import broadcasts, options, sponsorblock, video_info, youtube_dl
from server.child.extract.failures import EXPIRED, classify
from server.child.extract.lists import link_anew
from server.child.extract.youtube_dl import Engine, not_yet
from server.child.fetch import by_ffmpeg, clip_parts, fragments, resuming
from server.child.fetch.clip_parts import Clipping
from server.child.fetch.disk_estimate import DiskEstimate, Film
from server.child.fetch.one_stream import Alternatives, Fetching, Refused
from server.child.fetch.subtitles import Subtitling
from server.child.fetch.thumbnails import PREVIEW, Thumbnails
from server.child.media import (
    guarded,
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
from server.child.media.playing import Playing
from server.child.media.probe import Media
from server.child.media.recording import Recording
from server.child.media.timeline import ALL, Chapter, Kept, Span
from server.child.network.throttle import Throttle
from server.child.process import borrowed, flushing
from server.child.process.channel import Channel
from server.child.process.job_failed import JobFailed, NotLive
from server.child.process.log import Log
from server.child.process.progress import Meter, Reporter, Speed, Stream, expected
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
        self.throttle = Throttle(job.rate_limit, self._reporter.moved)
        self._reporter.hold(job.rate_limit == 0)
        self._speed = Speed()
        self._fetched: int | None = None
        self._titles: dict[str, str] = {}  # of the chapters, by the kinds of their files

    def moved(self) -> None:
        self._reporter.moved()

    def on_time(self, seconds: float) -> None:
        """Report that ffmpeg has written `seconds` of its output; called in another thread."""
        if self._converting:
            self._reporter.convert(self._meter.of_convert(seconds / self._converting))
        else:
            self._reporter.moved()

    def set_rate(self, bytes_per_second: int | None) -> None:
        """None: no limit. 0 pauses fetching, but not a recording: a broadcast is sent only once."""
        if self.throttle.set_rate(bytes_per_second):
            self._speed.changed()
        self._reporter.hold(bytes_per_second == 0)

    def finish(self) -> None:
        """End a live recording and keep it; other downloads are not affected."""
        self._finish_asked.set()

    def run(self, engine: Engine) -> dict[str, Any]:
        recording.settle(self._directory)
        recorded = self._has_recorded()
        info = self._extract_or_recall(engine, recorded=recorded)
        if recorded and not recording.is_live(info):
            if not (info and self._goes_on(engine, info, silent=True)):
                return self._keep_earlier(engine, info)
            info = broadcasts.as_live(info)
        try:
            return self._load_some(engine, info)
        except Exception:
            self._reporter.last()
            raise

    def _load_some(self, engine: Engine, info: dict[str, Any]) -> dict[str, Any]:
        alternatives = Alternatives(engine, lambda: self._extract(engine), self._log)
        while True:
            try:
                return self._load(engine, info)
            except Refused as refused:
                if info.get("live_status") == "is_upcoming":
                    raise not_yet(info) from refused
                info = alternatives.instead_of(refused)

    def _load(self, engine: Engine, info: dict[str, Any]) -> dict[str, Any]:
        """Fetch the streams chosen in `info`; raises `Refused` if nothing usable of a stream comes."""
        clip = self._wishes.clip
        about = clip_parts.described(info, clip) if clip else dict(info)
        hint = {"hint": "first_of_several"} if engine.left_others else {}
        self._channel.send(
            "described", video_info=video_info.video_info(about), **self._about_film(info), **hint
        )
        parted = youtube_dl.streams_of(info) if options.wants_media(self._wishes) else []
        streams = [stream for section in parted for stream in section]
        live = recording.is_live(info)
        if live and self._wishes.live == "reject":
            raise JobFailed("live_rejected")
        if live:
            return self._record(engine, info, streams)
        names = [parts.name_of(stream, at, clip) for at, section in enumerate(parted) for stream in section]
        if clip:
            parted = [[clip_parts.of_unknown_size(stream) for stream in section] for section in parted]
            streams = [stream for section in parted for stream in section]
        self._refuse_too_large(streams)
        subtitling = Subtitling(self._job, info, self._log)
        parts.prepare(self._directory, [*names, *subtitling.names])
        if not (borrowed.fits("fragments") and borrowed.fits("resuming")):
            parts.begin_anew(self._directory, names)
        pictures, cover = self._pictures(engine, info)
        self._meter = Meter(
            expected(streams, about.get("duration")),
            (_ENCODING if outputs.encodes(self._wishes) else _COPYING),
        )
        self._needs = DiskEstimate(Film(self._wishes, parted, about.get("duration")), self._tell_needs)
        self._needs.learn(sizes=self._meter.sizes, chapters=bool(video_info.chapters_of(info)))
        self._playing = Playing(self._directory, names, in_one=not clip)
        self._reporter.download_started()
        with self._reporter.fetching():
            left_out = self._marked(engine, info)
            spoken = subtitling.make(engine, self._on_bytes)
            came = self._fetch(self._way_to_fetch(engine, in_one=len(parted) == 1), streams, names)
        if any(parts.gaps_of(self._directory / name).exists() for name in names):
            self._channel.send("described", video_info={}, hint="with_gaps")
        fetched = self._join(came, [len(each) for each in parted])
        kept_of, kept = Trimming(self._job, left_out, self._log, self._convert).of(fetched)
        spoken = subtitling.follow(spoken, kept)
        said = self._chapters(info, fetched, kept_of, kept)
        self._needs.learn(chapters=bool(said))
        texts = subtitling.embedded(spoken, max((part.media.duration or 0 for part in kept_of), default=0))
        extras = Extras(texts, self._tagged(info, streams, said, cover))
        files = self._produce(kept_of, _aspect(streams), extras, kept)
        files |= self._split(files, said, extras) | pictures | subtitling.publish(spoken)
        main = next((part.media for part in kept_of), None)
        about |= self._true_length(main, files, kept)
        return self._produced(about, main, files, cut=kept != ALL)

    def _about_film(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """What the server is told for the case that nothing comes of the wishes."""
        offered = None if "entries" in info else info.get("formats") or [info]
        alone = offered and any(
            each.get("vcodec") == "none" and each.get("acodec") != "none" for each in offered
        )
        duration = video_info.number(info.get("duration")) if self._wishes.clip else None
        ids = video_info.archive_ids(info)
        return video_info.known(film_duration=duration, sound_apart=alone, archive_ids=ids or None)

    def _extract_or_recall(self, engine: Engine, *, recorded: bool) -> dict[str, Any]:
        """Empty if what earlier attempts recorded is all there will be: the page is gone, or does not answer
        and the recording is to be finished.
        """
        before = engine.trail.passing
        try:
            info = self._extract(engine)
        except (DownloadError, JobFailed) as error:
            met: Exception | None = error
        else:
            met = broadcasts.unread(info) if recorded else None
        if met is None:
            return info
        failure = classify(met, engine.trail)
        if recorded and failure.code in _NOTHING_THERE and engine.trail.passing > before:
            met = JobFailed("extraction_failed", "the playlist of the broadcast could not be read")
            failure = classify(met)
        may_come = failure.retryable and not self._finish_asked.is_set()
        if may_come or not recorded:
            raise met
        return {}

    def _has_recorded(self) -> bool:
        return recording.is_anything(self._directory, self._job.ffmpeg)

    def _extract(self, engine: Engine) -> dict[str, Any]:
        try:
            info = broadcasts.judged(engine, self._first(engine), self.moved)
            return video_info.with_what_is_said(info, self._job.says)
        except NotLive as error:
            self._channel.send("described", video_info=video_info.video_info(error.info))
            raise
        except DownloadError as error:
            only_audio = options.wants_only_audio(self._wishes) and not self._wishes.format
            if only_audio and classify(error, engine.trail).code == "format_unavailable":
                raise JobFailed("no_audio") from error
            raise

    def _first(self, engine: Engine) -> dict[str, Any]:
        """What is at the link; if that has expired, and is of a list, at the link that the list has now."""
        try:
            return engine.first(self._url)
        except DownloadError as error:
            if self._job.item is not None or classify(error, engine.trail).code not in EXPIRED:
                raise
            link = link_anew(self._job, engine, self._channel, self._log)
            if link is None:
                raise
        self._log.write("the link has expired: this is what its list has for it now")
        self._url = link
        return engine.first(link)

    def _refuse_too_large(self, streams: list[dict[str, Any]]) -> None:
        self._check_size(sum(stream.get("filesize") or 0 for stream in streams))

    def _check_size(self, size: int) -> None:
        most = self._job.max_filesize
        if most is not None and size > most:
            raise JobFailed("too_large", f"{size} of at most {most} bytes")

    def _pictures(self, engine: Engine, info: Mapping[str, Any]) -> tuple[dict[str, str], Path | None]:
        """Make the preview; return the thumbnail (kind -> name) and the path of the cover, if wanted."""
        asked_for, small, whole = "thumbnail" in self._wishes.outputs, self._directory / PREVIEW, None
        embedded, cover = self._wishes.embed_metadata, None
        if asked_for or embedded or not small.exists():
            thumbnails = Thumbnails(engine, self._job.ffmpeg, self._directory, self._log)
            source = thumbnails.fetch(info)
            whole = thumbnails.whole(source, self._directory / parts.OUT) if source and asked_for else None
            cover = thumbnails.cover(source) if source and embedded else None
        if small.exists():
            self._channel.send("previewed")
        if self._wishes.outputs == ("thumbnail",) and whole is None:
            raise JobFailed("no_thumbnail")
        return {"thumbnail": whole.name} if whole else {}, cover

    def _marked(self, engine: Engine, info: Mapping[str, Any]) -> list[Span]:
        """The spans of the film that are to be cut out."""
        wanted = self._wishes.sponsorblock
        if not wanted:
            return []
        found = sponsorblock.marked(engine, info, wanted, self._job.sponsorblock_api, self._log)
        self._needs.learn(left_out=found)
        return found

    # Fetching.

    def _way_to_fetch(self, engine: Engine, *, in_one: bool) -> Fetching | Clipping:
        clip = self._wishes.clip
        if clip and in_one:
            return Clipping(engine, self._job, clip, self._log, self._convert)
        return Fetching(engine, self._job, self._log)

    def _fetch(self, way: Fetching | Clipping, streams: list[dict[str, Any]], names: list[str]) -> list[Part]:
        fetched = []
        for counted, stream, name in zip(self._meter.streams, streams, names, strict=True):
            self.throttle.pace(0)  # while paused, open no connection that would only be idle
            hook = partial(self._on_event, counted)
            fetched.append(way.fetch(stream, self._directory / name, hook))
        self._fetched = self._playing.whole()
        return fetched

    def _tell_needs(self, needs: int) -> None:
        self._channel.send("needs", needs=needs)

    def _on_event(self, counted: Stream, event: Mapping[str, Any]) -> None:
        """Take in `event`, a progress dict of yt-dlp about the stream `counted`."""
        came_in = counted.update(event)
        self._check_size(self._meter.at_least)
        self._needs.learn(sizes=self._meter.sizes)
        self._reporter.download(self._meter, {**event, "speed": self._speed.of(event, came_in)})
        if not event.get("paced"):  # else the proxy or relay has paced these bytes
            self._playing.look()
            self.throttle.pace(came_in)

    def _on_bytes(self, came_in: int) -> None:
        """Pace `came_in` bytes of something other than the streams: of subtitles."""
        self._reporter.moved()
        self.throttle.pace(came_in)

    def _join(self, fetched: list[Part], sizes: list[int]) -> list[Part]:
        """Join the `fetched` parts into one section; `sizes` are the numbers of parts in each, in order."""
        if len(sizes) < 2:
            return fetched
        rest = iter(fetched)
        parted = [list(islice(rest, size)) for size in sizes]
        return [parts.join(self._directory, parted, self._job.ffmpeg, self._convert)]

    # Recording.

    def _record(
        self, engine: Engine, info: Mapping[str, Any], streams: list[dict[str, Any]]
    ) -> dict[str, Any]:
        if not recording.is_possible(streams):
            raise JobFailed("live_unsupported")
        if options.wants_subtitles(self._wishes) or self._wishes.split_chapters:
            self._log.write("a recording has neither subtitles nor chapters of its own")
        parts.prepare(self._directory, [recording.PIECE])
        pictures, cover = self._pictures(engine, info)
        self._reporter.download_started()
        if not streams:
            return self._produced(info, None, pictures)
        self._listen_to(engine, streams)
        return self._keep_recorded(info, pictures, cover)

    def _keep_earlier(self, engine: Engine, info: dict[str, Any]) -> dict[str, Any]:
        """Keep what earlier attempts recorded: the broadcast is over. `info` is empty if its page is gone."""
        about = info | {"is_live": True}  # as is said of every recording
        if info:
            self._channel.send("described", video_info=video_info.video_info(about))
        parts.prepare(self._directory, [recording.PIECE])
        pictures, cover = self._pictures(engine, about)
        self._reporter.download_started()
        return self._keep_recorded(about, pictures, cover)

    def _listen_to(self, engine: Engine, streams: list[dict[str, Any]]) -> None:
        counted, began, most = Stream(), time.monotonic(), self._job.max_filesize
        self._meter = Meter([counted], convert=1.0)  # its length is unknown: progress stays at 20

        def on_size(size: int, came_in: int) -> None:
            counted.done = size
            if most is not None and size > _FULL * most and not self._finish_asked.is_set():
                self._log.write(f"as large as is allowed: {size} of {most} bytes")
                self._finish_asked.set()
            self._reporter.download(self._meter, {"speed": came_in / (time.monotonic() - began)})

        def again(silent: bool) -> list[dict[str, Any]] | None:
            return self._still_live(engine, streams, silent=silent)

        if any(map(guarded.is_dash, streams)):
            recording.is_of_dash(self._directory)
        has_ended = partial(broadcasts.have_ended, engine)
        if self._has_recorded() and has_ended(streams):
            return
        Recording(self._directory, self._job, self._log, on_size, again, has_ended, engine).run(
            streams, self._finish_asked, partial(self.throttle.pace, stops=False)
        )

    def _still_live(
        self, engine: Engine, streams: list[dict[str, Any]], *, silent: bool
    ) -> list[dict[str, Any]] | None:
        """The streams to record after an interruption, None if the broadcast is over.

        `streams` again if the source cannot tell at the moment.
        """
        before = engine.trail.passing
        try:
            info = self._extract(engine)
        except (DownloadError, JobFailed) as error:
            failure, missed = classify(error, engine.trail), engine.trail.passing > before
            is_busy = failure.retryable or (failure.code in _NOTHING_THERE and missed)
            return streams if is_busy and not broadcasts.have_ended(engine, streams) else None
        if (unread := broadcasts.unread(info)) and not broadcasts.is_gone(unread):
            return streams
        return parts.chosen(info) if self._goes_on(engine, info, silent=silent) else None

    def _goes_on(self, engine: Engine, info: dict[str, Any], *, silent: bool) -> bool:
        def tick() -> None:
            self.moved()
            if self._finish_asked.is_set():
                raise FinishAsked

        with suppress(FinishAsked):
            return broadcasts.may_go_on(engine, info, parts.chosen(info), tick, silent=silent)
        return False

    def _keep_recorded(
        self, info: Mapping[str, Any], pictures: Mapping[str, str], cover: Path | None = None
    ) -> dict[str, Any]:
        recording.check_order(self._directory, self._job.ffmpeg, self.moved)
        recorded = [recording.put_together(self._directory, self._job.ffmpeg)]
        tagged = self._tagged(info, [], (), cover)  # chapters have the broadcast's times, not the recording's
        files = self._produce(recorded, extras=Extras(tagged=tagged))
        main = next(files[kind] for kind in ("video", "audio") if kind in files)
        seen = probe.inspect(self._directory / parts.OUT / main, self._job.ffmpeg)
        return self._produced({**info, "duration": None}, seen, {**files, **pictures})

    # Putting together.

    def _chapters(
        self, info: Mapping[str, Any], fetched: list[Part], left: list[Part], kept: Kept
    ) -> list[Chapter]:
        """The source's chapters, else those in the `fetched` file, at the times of what is `kept`."""
        if not (self._wishes.embed_metadata or self._wishes.split_chapters) or not left:
            return []
        duration = max(part.media.duration or 0 for part in left) or None
        said = video_info.chapters_of(info)
        if not said and len(fetched) == 1 and fetched[0].plain and not self._wishes.clip:
            said = timeline.of_file(fetched[0].path, self._job.ffmpeg)
        whole = duration if kept == ALL else info.get("duration")
        return timeline.chapters(timeline.sensible(said, whole), kept)

    def _split(self, files: Mapping[str, str], said: Sequence[Chapter], extras: Extras) -> dict[str, str]:
        """Split the film, or without one the sound, into a file for each chapter; returns kind -> name."""
        whole = files.get("video") or files.get("audio")
        if not self._wishes.split_chapters or whole is None:
            return {}
        if not said:
            self._log.write("chapters: there are none")
            return {}
        self._reporter.convert(self._meter.of_convert(0), self._meter.downloaded)
        path = self._directory / parts.OUT / whole
        self._titles = {f"chapter.{n}": one.title for n, one in enumerate(said, 1) if one.title}
        tags = extras.tagged.tags if extras.tagged else None
        return splitting.split(path, said, extras.subtitles, tags, self._convert, self._log.write)

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
        fetched: list[Part],
        aspect: float | None = None,
        extras: Extras = NOTHING,
        kept: Kept = ALL,
    ) -> dict[str, str]:
        if not fetched:
            return {}
        plan = outputs.plan(self._wishes, fetched, aspect, extras, kept)
        self._converting = max((part.media.duration or 0 for part in plan.inputs), default=0) or 1.0
        if plan.made:
            self._reporter.convert(self._meter.of_convert(0), self._meter.downloaded)
        return making.carry_out(plan, self._directory / parts.OUT, self._convert, self._log.write)

    def _convert(self, arguments: list[str]) -> None:
        run_ffmpeg.convert(self._job.ffmpeg, arguments, self._log.write)

    def _true_length(self, main: Media | None, files: Mapping[str, str], kept: Kept) -> dict[str, float]:
        """`duration` in seconds as measured on the file made: that on the page may be wrong."""
        name = files.get("video") or files.get("audio")
        length = probe.length(self._directory / parts.OUT / name) if name else None
        if length is None and len(kept.spans) > 1:
            length = kept.length
        if length is None and main and main.container not in _ESTIMATED:
            length = main.duration
        return {"duration": length} if length else {}

    def _produced(
        self, info: Mapping[str, Any], main: Media | None, files: dict[str, str], *, cut: bool = False
    ) -> dict[str, Any]:
        if not files:
            raise JobFailed("no_subtitles")  # for every other output an error was raised before
        out = self._directory / parts.OUT
        with flushing.meanwhile(self._reporter.moved):
            sums = {name: flushing.flush(out / name) for name in files.values()}
            for folder in (out, self._directory):
                flushing.flush_names(folder)
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
                }
                for kind, name in files.items()
            },
            "video_info": video_info.video_info(info, main, size, cut=cut),
        }


def install(job: Job, log: Log, throttle: Throttle) -> None:
    """Replace the functions of yt-dlp's downloaders that a download needs, for the rest of this process."""
    broadcasts.install()
    by_ffmpeg.install(job, log, throttle)
    fragments.install()
    resuming.install()
    if borrowed.fits("blocks"):
        wanted = FileDownloader.best_block_size
        FileDownloader.best_block_size = staticmethod(
            lambda took, size: throttle.block_size(wanted(took, size))
        )


def _aspect(streams: list[dict[str, Any]]) -> float | None:
    """The picture's width / height, if its file states it wrong (yt-dlp's `stretched_ratio`)."""
    said = (stream.get("stretched_ratio") for stream in streams)
    return next((float(ratio) for ratio in said if ratio not in (None, 0, 1)), None)
