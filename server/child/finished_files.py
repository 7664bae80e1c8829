"""Makes the files of a film or of a recording: its pictures, its tags, what ffmpeg makes; flushes them.

Decisions: docs/decisions/films.md
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from server.child.extract import video_info
from server.child.extract.youtube_dl import Engine
from server.child.fetch.thumbnails import PREVIEW, Thumbnails
from server.child.media import embedding, making, outputs, parts, run_ffmpeg
from server.child.media.embedding import Extras, Tags, WrittenTags
from server.child.media.parts import Part
from server.child.media.probe import Media
from server.child.media.timeline import ALL, ChapterSpan, Kept
from server.child.process.channel import Channel
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.child.process.progress import Meter, Reporter, Throttle, each_second
from server.core.jobs import Job, Wishes

LONGEST_TITLE: Final = 300
"""Characters of a chapter's title that are sent to the server; its tags have all of it."""


@dataclass(frozen=True, slots=True)
class ChildJob:
    """What this child is asked for (`spec`), where it reports to, and what paces it (`throttle`)."""

    spec: Job
    channel: Channel
    log: Log
    reporter: Reporter
    throttle: Throttle

    @property
    def wishes(self) -> Wishes:
        return self.spec.wishes

    @property
    def directory(self) -> Path:
        return Path(self.spec.directory)


class FinishedFiles:
    """The files of one job. `meter` of its methods tells the reporter how far the job is."""

    def __init__(self, job: ChildJob) -> None:
        self._job = job
        self._meter = Meter([])
        self._converting = 0.0  # seconds of the film that ffmpeg converts

    def on_time(self, seconds: float) -> None:
        """Report that ffmpeg has written `seconds` of its output; called in another thread."""
        if self._converting:
            self._job.reporter.convert(self._meter.of_convert(seconds / self._converting))
        else:
            self._job.reporter.report_alive()

    def make_pictures(self, engine: Engine, info: Mapping[str, Any]) -> tuple[dict[str, str], Path | None]:
        """Make the preview; return the thumbnail (kind -> name) and the path of the cover, if wanted."""
        preview, full_size, cover = self._job.directory / PREVIEW, None, None
        asked_for, embedded = "thumbnail" in self._job.wishes.outputs, self._job.wishes.embed_metadata
        if info.get("thumbnails") and (asked_for or embedded or not preview.exists()):
            thumbnails = Thumbnails(engine, self._job.spec.ffmpeg, self._job.directory, self._job.log)
            if source := thumbnails.fetch(info):
                full_size = (
                    thumbnails.make_full_size(source, self._job.directory / parts.OUT) if asked_for else None
                )
                cover = thumbnails.make_cover(source) if embedded else None
        if preview.exists():
            self._job.channel.send("previewed")
        if self._job.wishes.outputs == ("thumbnail",) and full_size is None:
            raise JobFailed("no_thumbnail")
        return {"thumbnail": full_size.name} if full_size else {}, cover

    def write_tags(
        self,
        info: Mapping[str, Any],
        streams: Sequence[Mapping[str, Any]],
        chapters: Sequence[ChapterSpan],
        cover: Path | None,
    ) -> WrittenTags | None:
        """Write the metadata to embed; None if none is wanted."""
        if not self._job.wishes.embed_metadata:
            return None
        sounds = (stream for stream in streams if stream.get("acodec") != "none")
        languages = (sound.get("language") for sound in sounds)
        language = next((name for name in languages if isinstance(name, str)), None)
        return embedding.write_tags(
            Tags(video_info.tags_of(info), chapters, cover, language), self._job.directory
        )

    def convert_parts(
        self,
        film_parts: list[Part],
        extras: Extras,
        meter: Meter,
        aspect: float | None = None,
        kept: Kept = ALL,
    ) -> dict[str, str]:
        """Make the outputs of a film's parts: kind -> name."""
        if not film_parts:
            return {}
        self._meter = meter
        plan = outputs.plan(self._job.wishes, film_parts, aspect, extras, kept)
        self._converting = 1.0
        if plan.made:
            self._converting = max(part.media.duration or 0 for part in plan.inputs) or 1.0
            self._job.reporter.convert(self._meter.of_convert(0), self._meter.downloaded)
        return making.make_files(plan, self._job.directory / parts.OUT, self.convert, self._job.log.write)

    def convert(self, arguments: list[str]) -> None:
        run_ffmpeg.convert(self._job.spec.ffmpeg, arguments, self._job.log.write)

    def flush(
        self,
        info: Mapping[str, Any],
        files: dict[str, str],
        sources: Sequence[Media] = (),
        chapters: Sequence[ChapterSpan] = (),
        kept: Kept = ALL,
        fetched_bytes: int | None = None,
    ) -> dict[str, Any]:
        """Flush `files`, made of `sources`, to the disk; return the fields of the event `produced`.

        A recording has no `chapters`; `fetched_bytes` is the size of the one file that was fetched.
        """
        if not files:
            raise JobFailed("no_subtitles")  # for every other output an error was raised before
        out = self._job.directory / parts.OUT
        with each_second(self._job.reporter.report_alive):  # a slow disk is no stall
            sums = {name: making.flush(out / name) for name in files.values()}
            for folder in (out, self._job.directory):
                making.flush_names(folder)
        sizes = {kind: (out / name).stat().st_size for kind, name in files.items()}
        titles = {f"chapter.{number}": each.title for number, each in enumerate(chapters, 1)}
        main = sources[0] if sources else None
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
                    "codec": outputs.codec_of(out / name, kind, self._job.wishes, sources),
                }
                for kind, name in files.items()
            },
            "video_info": video_info.video_info(info, main, main_size, cut=kept != ALL),
            **({"about": video_info.about(info, chapters)} if self._job.spec.tells_about else {}),
        }
