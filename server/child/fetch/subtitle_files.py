"""The subtitles of one film, from what its page offers to files in a format that players read.

They lie in a folder of the job's directory, whether they are to be published, embedded or both.

Decisions: docs/decisions/subtitles-tags-clips.md
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from yt_dlp.utils import YoutubeDLError

from server.child.extract import options, video_info
from server.child.extract import subtitle_selection as offered
from server.child.extract.subtitle_selection import Chosen, Fetching
from server.child.extract.youtube_dl import Engine
from server.child.media import parts, retiming, subtitles
from server.child.media.embedding import Embedded
from server.child.media.timeline import ALL, Kept
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.core.jobs import Job

_FOLDER: Final = "subtitles"
_OF_TEXTS: Final = "conversion_failed"
"""The fault that costs one language only. Others are the machine's (a killed ffmpeg): a retry may help."""


@dataclass(frozen=True, slots=True)
class Subtitle:
    """A file in UTF-8. `tag` is the language, safe in file names, `title` the source's name for it."""

    path: Path
    tag: str
    title: str | None


class Subtitling:
    """Only `make` uses the network."""

    def __init__(self, job: Job, info: Mapping[str, Any], log: Log) -> None:
        self._job = job
        self._info = info
        self._log = log
        self._chosen = self._choose()

    @property
    def names(self) -> list[str]:
        """The names of the files to fetch, in the job's directory."""
        return [offered.name_of(self._info, chosen) for chosen in self._chosen]

    def make(self, engine: Engine, pace: Callable[[int], None]) -> list[Subtitle]:
        """Fetch and convert the chosen subtitles; `pace` gets the number of bytes that have come.

        A language that fails is left out. Raises `JobFailed` for faults of the machine; if subtitles are the
        only output and none came, raises yt-dlp's error or `JobFailed`, also if they are too large.
        """
        directory = Path(self._job.directory)
        folder, fetching = directory / _FOLDER, Fetching(engine, self._info, self._log, pace)
        folder.mkdir(mode=0o700)
        made = list[Subtitle]()
        for chosen, name in zip(self._chosen, self.names, strict=True):
            if fetching.fetch(chosen, directory / name) and (path := self._convert(chosen, directory / name)):
                made.append(Subtitle(path, chosen.tag, video_info.text(chosen.title)))
        if not made and self._job.wishes.outputs == ("subtitles",):
            too_large = isinstance(fetching.met, JobFailed) and fetching.met.code == "page_too_large"
            told = fetching.met if too_large or isinstance(fetching.met, YoutubeDLError) else None
            raise told or JobFailed("no_subtitles")
        return made

    def follow(self, made: list[Subtitle], kept: Kept) -> list[Subtitle]:
        """`made`, retimed to what is `kept` of the film; subtitles with no cue left are dropped."""
        return [one for one in made if self._follows(one, kept)] if kept != ALL else made

    def _follows(self, subtitle: Subtitle, kept: Kept) -> bool:
        path = subtitle.path
        text = retiming.follow(path.read_text(encoding="utf-8"), path.suffix[1:], kept)
        if text is None:
            self._log.write(f"subtitles: nothing in {subtitle.tag} is left of what is kept of the film")
            return False
        path.write_text(text, encoding="utf-8", newline="")
        return True

    def embedded(self, made: list[Subtitle], duration: float) -> tuple[Embedded, ...]:
        """`made` without what is shown after `duration` seconds, which would make the film longer.

        `duration` is 0 if unknown. Empty if nothing is to be embedded.
        """
        if not self._job.wishes.subtitles.embed:
            return ()
        kept = Kept(((0.0, duration or math.inf),))
        return tuple(found for one in made if (found := self._within(one, kept)))

    def _within(self, subtitle: Subtitle, kept: Kept) -> Embedded | None:
        path = subtitle.path.with_name(f"embedded-{subtitle.path.name}")
        text = retiming.follow(subtitle.path.read_text(encoding="utf-8"), path.suffix[1:], kept)
        if text is None:
            self._log.write(
                f"subtitles: nothing in {subtitle.tag} is shown before the film ends: not embedded"
            )
            return None
        path.write_text(text, encoding="utf-8", newline="")
        return Embedded(path, subtitle.tag, subtitle.title)

    def publish(self, made: list[Subtitle]) -> dict[str, str]:
        """Move what was `made` to the finished files, if it is wanted there; returns kind -> name."""
        if "subtitles" not in self._job.wishes.outputs:
            return {}
        for subtitle in made:
            subtitle.path.rename(Path(self._job.directory) / parts.OUT / subtitle.path.name)
        return {f"subtitle.{subtitle.tag}": subtitle.path.name for subtitle in made}

    def _choose(self) -> list[Chosen]:
        if not options.wants_subtitles(self._job.wishes):
            return []
        if "entries" in self._info:
            self._log.warning("subtitles: those of a film in parts are left out")
            return []
        chosen = offered.choose(self._info, self._job.wishes.subtitles, self._log.write)
        if not chosen:
            self._log.write("subtitles: there are none of those that are wanted")
        return chosen

    def _convert(self, chosen: Chosen, source: Path) -> Path | None:
        name = f"subtitle-{chosen.tag}.{self._job.wishes.subtitles.format}"
        target = source.parent / _FOLDER / name
        try:
            subtitles.make(source, target, chosen.language, self._job.ffmpeg, self._log.write)
        except JobFailed as error:
            if error.code != _OF_TEXTS:
                raise
            self._log.warning(f"no subtitles in {chosen.language}: {error}")
            return None
        return target
