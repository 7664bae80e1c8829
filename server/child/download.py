"""One download from the link to the finished files: extract, say what was found, and
download the film or the broadcast.

Decisions: docs/decisions/films.md
"""

from collections.abc import Mapping
from functools import cached_property
from threading import Event
from typing import Any

from yt_dlp.utils import DownloadError

from server.child.extract import broadcasts, options, video_info
from server.child.extract.failures import EXPIRED, classify
from server.child.extract.lists import find_new_link
from server.child.extract.youtube_dl import Engine, not_live_error
from server.child.fetch import clip_parts
from server.child.fetch.one_stream import Alternatives, Refused
from server.child.fetch.thumbnails import PREVIEW
from server.child.film_download import FilmDownload
from server.child.finished_files import ChildJob, FinishedFiles
from server.child.live_download import LiveDownload
from server.child.process.channel import Channel
from server.child.process.job_failed import JobFailed, NotLive
from server.child.process.log import Log
from server.child.process.progress import Reporter, Throttle
from server.core.jobs import Job


class Download:
    """`run` returns the fields of the event `produced`; `failures.classify` has a code for what it raises.

    `on_time` takes the seconds that ffmpeg has written of its output; it is called in another thread.
    """

    def __init__(self, spec: Job, channel: Channel, log: Log, reporter: Reporter) -> None:
        self.report_alive = reporter.report_alive
        self.throttle = Throttle(spec.rate_limit, self.report_alive)
        if spec.rate_limit == 0:
            reporter.hold(True)
        self._job = ChildJob(spec, channel, log, reporter, self.throttle)
        self._url = spec.wishes.url
        self._files = FinishedFiles(self._job)
        self.on_time = self._files.on_time
        self._finish_asked = Event()

    def set_rate(self, bytes_per_second: int | None) -> None:
        """Limit the rate; None means no limit. 0 pauses the download, but not a recording: a broadcast is
        sent only once.
        """
        self.throttle.set_rate(bytes_per_second)
        self._job.reporter.hold(bytes_per_second == 0)

    def finish(self) -> None:
        """End a live recording and keep it; other downloads are not affected."""
        self._finish_asked.set()

    def run(self, engine: Engine) -> dict[str, Any]:
        """Download with `engine`, which obeys `throttle`."""
        if any(self._job.directory.iterdir()) and self._live.has_recording():
            info = self._live.extract_to_go_on(engine)
            if not video_info.is_live(info):
                if not (info and self._live.goes_on(engine, info, silent=True)):
                    return self._live.finish_earlier_recording(engine, info)
                info = broadcasts.as_live(info)
        else:
            info = self._extract(engine)
        alternatives = Alternatives(engine, lambda: self._extract(engine), self._job.log)
        try:
            while True:
                try:
                    return self._download(engine, info)
                except Refused as refused:
                    if info.get("live_status") == "is_upcoming":
                        raise not_live_error(info) from refused
                    info = alternatives.instead_of(refused)
        except Exception:
            self._job.reporter.send_pending()
            raise

    @cached_property
    def _live(self) -> LiveDownload:
        return LiveDownload(self._job, self._files, self._extract, self._finish_asked)

    def _extract(self, engine: Engine) -> dict[str, Any]:
        """Extract the link; if it is from a list and has expired, the link that the list has now."""
        try:
            try:
                found = engine.first(self._url)
            except DownloadError as error:
                if self._job.spec.item is not None or classify(error, engine.trail).code not in EXPIRED:
                    raise
                link = find_new_link(self._job.spec, engine, self._job.channel, self._job.log)
                if link is None:
                    raise
                self._job.log.write("the link has expired: this is what its list has for it now")
                self._url = link
                found = engine.first(link)
            info = broadcasts.check_broadcast(engine, found, self.report_alive)
        except NotLive as error:
            self._job.channel.send("described", video_info=video_info.video_info(error.info))
            raise
        except DownloadError as error:
            if self._job.wishes.format or classify(error, engine.trail).code != "format_unavailable":
                raise
            if options.wants_only_audio(self._job.wishes):
                raise JobFailed("no_audio") from error
            if options.wants_only_picture(self._job.wishes):
                raise JobFailed("no_video") from error
            raise
        words = self._job.spec.says
        return video_info.with_words_of_list(info, words) if words else info

    def _download(self, engine: Engine, info: dict[str, Any]) -> dict[str, Any]:
        """Say what was found, and download it. Raises `Refused` if nothing usable of a stream comes."""
        clip = self._job.wishes.clip
        about = clip_parts.describe_clip(info, clip) if clip else dict(info)
        self._describe(engine, info, about)
        if video_info.is_live(info):
            return self._live.record(engine, info)
        return FilmDownload(self._job, self._files, engine, info, about).run()

    def _describe(self, engine: Engine, info: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Report the facts about the film, and which other formats its source offers: remedies need these if
        the wishes cannot be fulfilled.
        """
        offered = None if "entries" in info else info.get("formats") or [info]
        with_picture = sum(one.get("vcodec") != "none" for one in offered or ())
        sound_alone = sum(
            one.get("vcodec") == "none" and one.get("acodec") != "none" for one in offered or ()
        )
        has_pictures = bool(info.get("thumbnails")) or (self._job.directory / PREVIEW).exists()
        starts = options.wants_media(self._job.wishes) and not has_pictures and not video_info.is_live(info)
        film_duration = (video_info.number(info.get("duration")) or 0) if self._job.wishes.clip else None
        self._job.channel.send(
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
