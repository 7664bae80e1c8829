"""One download from the link to the finished files: extract, fetch, put together, flush."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from yt_dlp.downloader.common import FileDownloader
from yt_dlp.utils import DownloadError, YoutubeDLError

from server.child.media import outputs, parts, probe, programs, recording
from server.child.media.parts import Part
from server.child.media.probe import Media
from server.child.media.recording import Recording
from server.child.network.throttle import Throttle
from server.child.process.channel import Channel
from server.child.process.failed import JobFailed
from server.child.process.log import Log
from server.child.process.progress import Meter, Reporter, Stream, expected
from server.child.source import describe, fragments, options, resuming
from server.child.source.alternatives import Alternatives, Refused
from server.child.source.engine import Engine
from server.child.source.failures import classify
from server.child.source.thumbnails import PREVIEW, Thumbnails
from server.jobs import Job

_FRAGMENTED = ("m3u8", "dash", "ism", "frag", "f4m")
_ENCODING, _COPYING = 0.25, 0.05
_READING = {"avi": ("-fflags", "+genpts")}  # it does not say when a picture is shown; others have to


class Download:
    """`run` returns the fields of `produced`; whatever it raises is for `failures.classify`."""

    def __init__(self, job: Job, channel: Channel, log: Log) -> None:
        self._job = job
        self._wishes = job.wishes
        self._directory = Path(job.directory)
        self._channel = channel
        self._log = log
        self._reporter = Reporter(channel)
        self._meter = Meter([])
        self._converting = 0.0
        self._finish_asked = Event()
        self.throttle = Throttle(job.rate_limit, self._reporter.moved)

    def moved(self) -> None:
        self._reporter.moved()

    def on_time(self, seconds: float) -> None:
        """ffmpeg has written that much; comes in a thread of its own."""
        if self._converting:
            self._reporter.convert(self._meter.of_convert(seconds / self._converting))
        else:
            self._reporter.moved()

    def finish(self) -> None:
        """End a live recording and keep it; nothing else minds."""
        self._finish_asked.set()

    def run(self, engine: Engine) -> dict[str, Any]:
        info = self._extract_or_recall(engine)
        if info is None:
            parts.prepare(self._directory, [recording.PIECE])
            self._reporter.download_started()
            return self._keep_recorded({}, None)
        alternatives = Alternatives(engine, lambda: self._extract(engine), self._log)
        while True:
            try:
                return self._load(engine, info)
            except Refused as refused:
                info = alternatives.instead_of(refused)

    def _load(self, engine: Engine, info: dict[str, Any]) -> dict[str, Any]:
        """Fetch what `info` has chosen; raises `Refused` if nothing of it is to be had."""
        self._channel.send("described", video_info=describe.video_info(info))
        streams = parts.chosen(info) if self._wants_media() else []
        if self._is_to_be_recorded(info):
            return self._record(engine, info, streams)
        self._refuse_too_large(streams)
        names = [parts.name_of(stream) for stream in streams]
        parts.prepare(self._directory, names)
        picture = self._thumbnail(engine, info)
        self._reporter.download_started()
        fetched = self._fetch(engine, info, streams, names)
        files = self._produce(fetched) | ({"thumbnail": picture} if picture else {})
        return self._produced(info, next((part.media for part in fetched), None), files)

    def _extract_or_recall(self, engine: Engine) -> dict[str, Any] | None:
        """None if all there is, is what earlier attempts recorded: the broadcast is over."""
        recorded = bool(recording.pieces(self._directory))
        try:
            info = self._extract(engine)
        except (DownloadError, JobFailed) as error:
            if not recorded or classify(error, engine.trail).retryable:
                raise
            return None
        return None if recorded and not recording.is_live(info) else info

    def _extract(self, engine: Engine) -> dict[str, Any]:
        try:
            return engine.first(self._wishes.url)
        except DownloadError as error:
            only_audio = options.wants_only_audio(self._wishes) and not self._wishes.format
            if only_audio and classify(error, engine.trail).code == "format_unavailable":
                raise JobFailed("no_audio") from error
            raise

    def _wants_media(self) -> bool:
        return any(output in self._wishes.outputs for output in ("video", "audio"))

    def _is_to_be_recorded(self, info: Mapping[str, Any]) -> bool:
        if info.get("live_status") == "is_upcoming":
            raise JobFailed("not_live")
        live = recording.is_live(info)
        if live and self._wishes.live == "reject":
            raise JobFailed("live_rejected")
        return live

    def _refuse_too_large(self, streams: list[dict[str, Any]]) -> None:
        self._check_size(sum(stream.get("filesize") or 0 for stream in streams))

    def _check_size(self, size: int) -> None:
        most = self._job.max_filesize
        if most is not None and size > most:
            raise JobFailed("too_large", f"{size} of at most {most} bytes")

    def _thumbnail(self, engine: Engine, info: Mapping[str, Any]) -> str | None:
        """Make the small picture, and the large one if it was asked for; return the latter's name."""
        asked_for, small, whole = "thumbnail" in self._wishes.outputs, self._directory / PREVIEW, None
        if asked_for or not small.exists():
            thumbnails = Thumbnails(engine, self._job.ffmpeg, self._directory, self._log)
            source = thumbnails.fetch(info)
            whole = thumbnails.whole(source, self._directory / parts.OUT) if source and asked_for else None
        if small.exists():
            self._channel.send("previewed")
        if self._wishes.outputs == ("thumbnail",) and whole is None:
            raise JobFailed("no_thumbnail")
        return whole.name if whole else None

    # Fetching.

    def _fetch(
        self, engine: Engine, info: Mapping[str, Any], streams: list[dict[str, Any]], names: list[str]
    ) -> list[Part]:
        self._meter = Meter(expected(streams, info.get("duration")), self._share_of_convert(streams))
        fetched = []
        for at, (stream, name) in enumerate(zip(streams, names, strict=True)):
            path = self._directory / name
            self._fetch_one(engine, at, stream, path)
            fetched.append(self._inspect(path, stream))
        return fetched

    def _share_of_convert(self, streams: list[dict[str, Any]]) -> float:
        if outputs.encodes_sound(self._wishes):
            return _ENCODING
        plain = len(streams) == 1 and _is_plain(streams[0])
        return 0.0 if plain else _COPYING

    def _fetch_one(self, engine: Engine, at: int, stream: dict[str, Any], path: Path) -> None:
        counted = self._meter.streams[at]

        def hook(event: Mapping[str, Any]) -> None:
            came_in = counted.update(event)
            self._check_size(self._meter.at_least)
            self._reporter.download(self._meter, event)
            self.throttle.pace(came_in)

        engine._progress_hooks = [hook]
        try:
            done, _ = engine.dl(str(path), stream)
        except YoutubeDLError as error:
            if parts.has_begun(path):
                raise
            raise Refused(stream) from error
        if not done:
            raise JobFailed("incomplete", "yt-dlp gave up without a word")

    def _inspect(self, path: Path, stream: Mapping[str, Any]) -> Part:
        plain = _is_plain(stream)
        if plain and probe.is_cut_off(path):  # not every source says how much is to come, or says it right
            parts.back_to_unfinished(path)
            raise JobFailed("incomplete", "the source ended before the file did")
        need_rate = bool(self._wishes.audio_quality)
        seen = probe.inspect(path, self._job.ffmpeg, need_rate=need_rate)
        return Part(path, seen, plain, _READING.get(seen.container, ()))

    # Recording.

    def _record(
        self, engine: Engine, info: Mapping[str, Any], streams: list[dict[str, Any]]
    ) -> dict[str, Any]:
        if not recording.is_possible(streams):
            raise JobFailed("live_unsupported")
        parts.prepare(self._directory, [recording.PIECE])
        picture = self._thumbnail(engine, info)
        self._reporter.download_started()
        if not streams:
            return self._produced(info, None, {"thumbnail": picture} if picture else {})
        self._listen_to(engine, streams)
        return self._keep_recorded(info, picture)

    def _listen_to(self, engine: Engine, streams: list[dict[str, Any]]) -> None:
        counted, began = Stream(), time.monotonic()
        self._meter = Meter([counted], convert=1.0)  # how long it will be is not known: it stays at 20

        def on_size(size: int, came_in: int) -> None:
            counted.done = size
            self._check_size(size)
            self._reporter.download(self._meter, {"speed": came_in / (time.monotonic() - began)})

        def again() -> list[dict[str, Any]] | None:
            return self._still_live(engine, streams)

        Recording(self._directory, self._job, self._log, on_size, again).run(
            streams, self._finish_asked, self.throttle.pace
        )

    def _still_live(self, engine: Engine, streams: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
        """The streams after an interruption: `streams` if nobody can tell, None if it is over."""
        try:
            info = self._extract(engine)
        except (DownloadError, JobFailed) as error:
            return streams if classify(error, engine.trail).retryable else None
        return parts.chosen(info) if recording.is_live(info) else None

    def _keep_recorded(self, info: Mapping[str, Any], picture: str | None) -> dict[str, Any]:
        files = self._produce([recording.put_together(self._directory, self._job.ffmpeg)])
        main = next(files[kind] for kind in ("video", "audio") if kind in files)
        seen = probe.inspect(self._directory / parts.OUT / main, self._job.ffmpeg)
        return self._produced(
            {**info, "duration": None}, seen, files | ({"thumbnail": picture} if picture else {})
        )

    # Putting together.

    def _produce(self, fetched: list[Part]) -> dict[str, str]:
        if not fetched:
            return {}
        plan = outputs.plan(self._wishes, fetched)
        for note in plan.notes:
            self._log.write(note)
        out = self._directory / parts.OUT
        if arguments := plan.arguments(out):
            self._converting = max(part.media.duration or 0 for part in plan.inputs) or 1.0
            self._reporter.convert(self._meter.of_convert(0))
            programs.convert(self._job.ffmpeg, arguments, self._log.write)
        for part, name in plan.moves:
            parts.move_out(part, out / name)
        return plan.files

    def _produced(self, info: Mapping[str, Any], main: Media | None, files: dict[str, str]) -> dict[str, Any]:
        out = self._directory / parts.OUT
        with _alive(self._reporter):
            for path in (*(out / name for name in files.values()), out, self._directory):
                _flush(path)
        sizes = {kind: (out / name).stat().st_size for kind, name in files.items()}
        return {
            "files": {
                kind: {"path": name, "size": sizes[kind], "type": outputs.type_of(name)}
                for kind, name in files.items()
            },
            "video_info": describe.video_info(info, main, sizes.get("video") or sizes.get("audio")),
        }


def install(throttle: Throttle) -> None:
    """Change what yt-dlp does between two blocks, for the rest of this process."""
    fragments.install()
    resuming.install()
    wanted = FileDownloader.best_block_size
    FileDownloader.best_block_size = staticmethod(lambda took, size: throttle.block_size(wanted(took, size)))


def _is_plain(stream: Mapping[str, Any]) -> bool:
    """Whether it comes as one file that needs no mending, by yt-dlp's names of protocols and containers."""
    names = f"{stream.get('protocol')} {stream.get('container')}"
    return not any(sign in names for sign in _FRAGMENTED)


def _flush(path: Path) -> None:
    """Have a file's content, or a directory's names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _alive(reporter: Reporter) -> Iterator[None]:
    """A slow disk is no stall."""
    over = Event()

    def tell() -> None:
        while not over.wait(1.0):
            reporter.moved()

    thread = Thread(target=tell, name="alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
