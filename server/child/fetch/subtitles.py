"""Fetches the subtitles of one film, and converts them to a format that players read.

They are selected in the order of yt-dlp's `--sub-langs`. If one cannot be fetched, only its language is
missing, and the task's log says so. They become SRT or WebVTT in UTF-8 without a BOM. Subtitles in the wanted
format keep their text; yt-dlp converts TTML, which ffmpeg does not read, and ffmpeg all others. The files are
in a folder of the job's directory, whether they are to be published, embedded or both.

Decisions: docs/decisions/subtitles-tags-clips.md
"""

import codecs
import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from yt_dlp.utils import YoutubeDLError, determine_protocol, dfxp2srt, orderedSet_from_options

from server.child.extract import video_info
from server.child.extract.failures import classify
from server.child.extract.youtube_dl import Engine
from server.child.media import parts, run_ffmpeg, timeline
from server.child.media.embedding import Embedded
from server.child.media.timeline import ALL, Kept
from server.child.process.job_failed import OF_ERRNO, JobFailed
from server.child.process.log import Log
from server.child.process.progress import StreamProgress
from server.child.process.time_limit import time_limit
from server.core.jobs import LANGUAGE, Job, JobSubtitles

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_TRADITIONAL_CHINESE: Final = re.compile(r"zh.*(Hant|TW|HK|MO)", re.IGNORECASE)
# Language -> the encoding of its subtitles before UTF-8; `_WESTERN` for others.
_OLD_ENCODINGS: Final = {
    **dict.fromkeys(("zh", "chi", "zho"), "gb18030"),
    **dict.fromkeys(("ja", "jpn"), "cp932"),
    **dict.fromkeys(("ko", "kor"), "cp949"),
    **dict.fromkeys(("ru", "uk", "be", "bg", "mk", "sr", "rus", "ukr", "bul"), "cp1251"),
    **dict.fromkeys(("pl", "cs", "sk", "hu", "hr", "sl", "ro", "bs", "sq"), "cp1250"),
    **dict.fromkeys(("et", "lv", "lt"), "cp1257"),
    "el": "cp1253", "tr": "cp1254", "he": "cp1255", "iw": "cp1255", "ar": "cp1256", "fa": "cp1256",
    "th": "cp874", "vi": "cp1258",
}  # fmt: skip
_WESTERN: Final = "cp1252"
_TIMES: Final = re.compile(r"\d[ \t]*-->[ \t]*\d")
_MARKUP: Final = re.compile(r"<(\?xml|(\w+:)?tt\b)")
_DECLARED: Final = re.compile(r"^\s*<\?xml[^>]*\?>")
_HTML: Final = re.compile(r"<(!doctype|html|head|body)\b", re.IGNORECASE)
_DEMUXERS: Final = {"srt": "srt", "vtt": "webvtt", "ass": "ass"}
_MUXERS: Final = {"srt": "srt", "vtt": "webvtt"}
_DETECTED: Final = (
    "sami,subviewer,subviewer1,microdvd,mpl2,mpsub,lrc,pjs,realtext,vplayer,jacosub,aqtitle,stl"
)
"""Formats that ffmpeg may detect by their content; no playlists, which name other files."""


def decode(data: bytes, language: str) -> str:
    """Decode `data` by its BOM, else as UTF-8, else in the encoding that was usual for `language`."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _clean(data[len(mark) :].decode(encoding, "replace"))
    try:
        return _clean(data.decode())
    except UnicodeDecodeError:
        encoding = _OLD_ENCODINGS.get(re.split("[-_]", language.lower())[0], _WESTERN)
        if _TRADITIONAL_CHINESE.match(language):
            encoding = "big5hkscs"
        return _clean(data.decode(encoding, "replace"))


def format_of(text: str) -> str | None:
    """Return `srt`, `vtt`, `ass` or `ttml`; None if ffmpeg is to detect the format.

    Raises `JobFailed` for what is certainly no subtitles.
    """
    head = text[:2000].lstrip()
    if head.startswith("WEBVTT"):
        return "vtt"
    if head.startswith("[Script Info]"):
        return "ass"
    if _HTML.match(head) or not head or head.startswith("[{") or re.match(r"\{\s*\"", head):
        raise JobFailed("conversion_failed", "it is empty" if not head else "it is HTML or JSON")
    if _MARKUP.match(head):
        return "ttml"
    return "srt" if _TIMES.search(head) else None


def convert_subtitles(
    source: Path, target: Path, language: str, ffmpeg: str, log: Callable[[str], None]
) -> None:
    """Convert `source`, which is in `language`, to `target`, in the format of its suffix.

    Raises `JobFailed` if it is no subtitles, cannot be converted, or has no cue.
    """
    wanted, text = target.suffix[1:], decode(source.read_bytes(), language)
    found = format_of(text)
    if found == "ttml":
        try:
            found, text = "srt", str(dfxp2srt(_DECLARED.sub("", text).encode()))
        except Exception as error:  # yt-dlp's converter may raise anything for damaged XML
            raise JobFailed("conversion_failed", f"damaged TTML: {error}") from error
    if found == wanted:
        target.write_text(text, encoding="utf-8", newline="")
    else:
        _convert_by_ffmpeg(text, found, target, ffmpeg, log)
    if not _TIMES.search(target.read_text(encoding="utf-8")):
        target.unlink()
        raise JobFailed("conversion_failed", "it has no cue")


def _convert_by_ffmpeg(
    text: str, source_format: str | None, target: Path, ffmpeg: str, log: Callable[[str], None]
) -> None:
    source = target.parent.parent / "subtitle.source"
    source.write_text(text, encoding="utf-8", newline="")
    demuxer = ["-f", _DEMUXERS[source_format]] if source_format else ["-format_whitelist", _DETECTED]
    muxer = _MUXERS[target.suffix[1:]]
    try:
        run_ffmpeg.convert(ffmpeg, [*demuxer, "-i", f"file:{source}", "-f", muxer, f"file:{target}"], log)
    except JobFailed:
        target.unlink(missing_ok=True)
        raise
    finally:
        source.unlink()


def _clean(text: str) -> str:
    """Remove a BOM, and NULs, at which ffmpeg and players stop reading."""
    return text.removeprefix("\ufeff").replace("\0", "")


MAX_LANGUAGES: Final = 200
"""Of one film; each is a file in the task's payload."""

MAX_BYTES: Final = 16 * 1024 * 1024  # of one file
_RETRIES: Final = 2
_TIMEOUT, _TIMEOUT_OF_ALL = 300.0, 900.0  # seconds
_MATCH_SECONDS: Final = 2.0  # some regular expressions never end
_MAX_NAME_CHARS: Final = 100  # of a source's name for a language
_CONVERTIBLE: Final = ("srt", "vtt", "ass", "ssa", "ttml", "dfxp", "tt")
_PROTOCOLS: Final = ("http", "https", "m3u8_native", "http_dash_segments")
_ERRORS = (YoutubeDLError, JobFailed, OSError, ValueError, TypeError, KeyError)
_MACHINE_FAULTS: Final = frozenset(OF_ERRNO.values())

Offer = Mapping[str, Sequence[Mapping[str, Any]]]
"""Language -> the formats of its subtitles, the best last."""


@dataclass(frozen=True, slots=True)
class ChosenSubtitle:
    """`language` is the source's name of the language, `tag` a short, safe and unique name made of it.

    `track` is yt-dlp's dict of the subtitles.
    """

    language: str
    tag: str
    track: Mapping[str, Any]

    @property
    def title(self) -> str | None:
        title = self.track.get("name")
        return title if isinstance(title, str) else None


def choose_subtitles(
    info: Mapping[str, Any],
    wishes: JobSubtitles,
    say: Callable[[str], None],
    leave_out: Callable[[], None] = lambda: None,
) -> list[ChosenSubtitle]:
    """Select among the subtitles in `info`; `say` gets a sentence for each wish that is not fulfilled.

    `leave_out` is called if there are more than `MAX_LANGUAGES`.
    """
    offered = _offered(info, automatic=wishes.automatic)
    if wishes.languages:
        languages = list[str]()
        try:
            with time_limit(_MATCH_SECONDS):
                for pattern in wishes.languages:
                    if not pattern.startswith("-") and not _match(offered, [pattern]):
                        say(f"subtitles: there are none in {pattern}")
                languages = _match(offered, wishes.languages)
        except TimeoutError:
            say(f"subtitles: matching {', '.join(wishes.languages)} takes too long")
    else:
        # All that are not automatic. If there are none: one automatic, of the spoken language if possible.
        languages = list(_offered(info, automatic=False))
        if not languages and wishes.automatic:
            spoken = [name for name in offered if name == info.get("language") or name.endswith("-orig")]
            english = [name for name in offered if name.startswith("en")]
            languages = (spoken or english or list(offered))[:1]
    if len(languages) > MAX_LANGUAGES:
        leave_out()
        say(f"subtitles: {len(languages)} languages, of which the first {MAX_LANGUAGES} are taken")
    tags = dict[str, str]()
    for language in languages[:MAX_LANGUAGES]:
        tags[language] = _tag(language, tags.values())
    return [ChosenSubtitle(name, tag, _best(offered[name], wishes.format)) for name, tag in tags.items()]


def name_of(info: Mapping[str, Any], chosen: ChosenSubtitle) -> str:
    """Return the name of the file of `chosen` in the job's directory, the same in every attempt."""
    ext = {"ext": chosen.track.get("ext"), "filesize": None}
    return parts.name_of({**info, "format_id": f"subtitle {chosen.language}", **ext})


class SubtitleFetcher:
    """Fetches single subtitles. `pace` gets the number of bytes that have come, and may block for the
    limit.
    """

    def __init__(
        self, engine: Engine, info: Mapping[str, Any], log: Log, pace: Callable[[int], None]
    ) -> None:
        self._engine = engine
        self._headers = info.get("http_headers")
        self._log = log
        self._pace = pace
        self._deadline = time.monotonic() + _TIMEOUT_OF_ALL
        self.first_error: Exception | None = None

    def fetch(self, chosen: ChosenSubtitle, path: Path) -> bool:
        """Fetch subtitles to `path`, unchanged; return False if that fails. Raises faults of this machine."""
        if path.is_file():  # an earlier attempt has fetched it
            return True
        try:
            self._fetch(chosen.track, path)
        except _ERRORS as error:
            if classify(error, self._engine.trail).code in _MACHINE_FAULTS:
                raise
            self._log.warning(f"no subtitles in {chosen.language}: {error}")
            self.first_error = self.first_error or error
            return False
        parts.note_length(path)
        return True

    def _fetch(self, track: Mapping[str, Any], path: Path) -> None:
        if isinstance(text := track.get("data"), str):
            content = text.encode(errors="replace")
            if len(content) > MAX_BYTES:
                raise JobFailed("page_too_large", f"more than {MAX_BYTES} bytes")
            path.write_bytes(content)
            return
        protocol = determine_protocol(track)
        if protocol not in _PROTOCOLS or track.get("ext") == "json":
            raise JobFailed("unsupported_stream", f"{track.get('ext')} by {protocol} is no subtitles")
        if time.monotonic() > self._deadline:
            raise JobFailed("too_slow", "the other languages have taken too long")
        # Fewer retries than for the film, which waits for its subtitles meanwhile.
        params = self._engine.params
        of_film = {name: params.get(name) for name in ("retries", "fragment_retries")}
        params.update(dict.fromkeys(of_film, _RETRIES))
        try:
            request = {"http_headers": self._headers, **track}
            self._engine.dl(str(path), request, subtitle=True, on_progress=self._watch())
        finally:
            params.update(of_film)
        if not path.is_file():  # for segmented WebVTT `dl` does not return success
            raise JobFailed("incomplete", "yt-dlp gave up without a word")

    def _watch(self) -> Callable[[Mapping[str, Any]], None]:
        """Return yt-dlp's progress hook, which raises `JobFailed` for what is too large or too slow."""
        progress, deadline = StreamProgress(), min(time.monotonic() + _TIMEOUT, self._deadline)

        def on_progress(event: Mapping[str, Any]) -> None:
            nonlocal deadline
            came_in, now = progress.update(event), time.monotonic()
            if max(progress.done, progress.size or 0) > MAX_BYTES:
                raise JobFailed("page_too_large", f"more than {MAX_BYTES} bytes")
            if now > deadline:
                raise JobFailed("too_slow")
            self._pace(came_in)
            held = time.monotonic() - now  # by the rate limit, which is not the source's fault
            deadline, self._deadline = deadline + held, self._deadline + held

        return on_progress


def _offered(info: Mapping[str, Any], *, automatic: bool) -> Offer:
    """Return the subtitles by language, without long names; automatic ones of languages without others."""
    found = {**((info.get("automatic_captions") or {}) if automatic else {}), **(info.get("subtitles") or {})}
    ordered = [*(info.get("subtitles") or ()), *found]  # automatic ones come last
    return {name: found[name] for name in ordered if found[name] and 0 < len(name) <= _MAX_NAME_CHARS}


def _match(offered: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Return the languages among `offered` that yt-dlp selects by `patterns`.

    A pattern that is no `LANGUAGE` is a regular expression, in a task that an earlier release has accepted.
    """
    expressions = []
    for pattern in patterns:
        name = pattern.removeprefix("-").removesuffix(".*")
        literal = f"{'-' * pattern.startswith('-')}{re.escape(name)}{'.*' * pattern.endswith('.*')}"
        expressions.append(literal if re.fullmatch(LANGUAGE, pattern) else pattern)
    return list(orderedSet_from_options(expressions, {"all": tuple(offered)}, use_regex=True))


def _best(formats: Sequence[Mapping[str, Any]], wanted: str) -> Mapping[str, Any]:
    """Return the track that is easiest to convert to `wanted`; of the same format, the last is the best."""
    for kind in (wanted, *_CONVERTIBLE):
        if found := [track for track in formats if track.get("ext") == kind]:
            return found[-1]
    return formats[-1]


def _tag(language: str, taken: Collection[str]) -> str:
    """Return at most 30 letters, digits and hyphens, different from all in `taken`."""
    tag = re.sub(r"[^A-Za-z0-9]+", "-", language)[:26].strip("-") or "und"
    others = {other.lower() for other in taken}
    numbered = (f"{tag}-{number}" for number in range(2, MAX_LANGUAGES + 2))
    return tag if tag.lower() not in others else next(one for one in numbered if one.lower() not in others)


_FOLDER: Final = "subtitles"


@dataclass(frozen=True, slots=True)
class Subtitle:
    """A file in UTF-8. `tag` is the language, safe in file names, `title` the source's title of it."""

    path: Path
    tag: str
    title: str | None


class Subtitling:
    """The subtitles of a job that wants some; only `fetch` uses the network."""

    def __init__(self, job: Job, info: Mapping[str, Any], log: Log) -> None:
        self._job = job
        self._info = info
        self._log = log
        self._chosen = list[ChosenSubtitle]()
        self.has_left_out = False
        """Whether there are more languages than one film may have."""

        if "entries" in info:
            log.warning("subtitles: not available for a film of several parts")
        else:
            self._chosen = choose_subtitles(info, job.wishes.subtitles, log.write, self._leave_out)
            if not self._chosen:
                log.write("subtitles: none of the wanted languages is available")

    def _leave_out(self) -> None:
        self.has_left_out = True

    @property
    def names(self) -> list[str]:
        """Return the names of the files to fetch, in the job's directory."""
        return [name_of(self._info, chosen) for chosen in self._chosen]

    def fetch(self, engine: Engine, pace: Callable[[int], None]) -> list[Subtitle]:
        """Fetch and convert the chosen subtitles; `pace` gets the number of bytes that have come.

        A language that fails is left out. Raises `JobFailed` for faults of the machine, such as a killed
        ffmpeg, and if subtitles are the only output and none came; then it may also raise yt-dlp's error.
        """
        directory = Path(self._job.directory)
        folder, fetching = directory / _FOLDER, SubtitleFetcher(engine, self._info, self._log, pace)
        folder.mkdir(mode=0o700)
        made = list[Subtitle]()
        for chosen, name in zip(self._chosen, self.names, strict=True):
            if not fetching.fetch(chosen, directory / name):
                continue
            path = folder / f"subtitle-{chosen.tag}.{self._job.wishes.subtitles.format}"
            try:
                convert_subtitles(directory / name, path, chosen.language, self._job.ffmpeg, self._log.write)
            except JobFailed as error:
                if error.code != "conversion_failed":
                    raise
                self._log.warning(f"no subtitles in {chosen.language}: {error}")
            else:
                made.append(Subtitle(path, chosen.tag, video_info.text(chosen.title)))
        if not made and self._job.wishes.outputs == ("subtitles",):
            cause = fetching.first_error
            if isinstance(cause, YoutubeDLError) or (
                isinstance(cause, JobFailed) and cause.code == "page_too_large"
            ):
                raise cause
            raise JobFailed("no_subtitles")
        return made

    def retime(self, made: list[Subtitle], kept: Kept) -> list[Subtitle]:
        """Retime the subtitles to what is `kept` of the film; return those that still have a cue."""
        if kept == ALL:
            return made
        left = []
        for subtitle in made:
            path = subtitle.path
            text = timeline.retime_subtitles(path.read_text(encoding="utf-8"), path.suffix[1:], kept)
            if text is None:
                self._log.write(f"subtitles: {subtitle.tag} has no cue in what is kept of the film")
            else:
                path.write_text(text, encoding="utf-8", newline="")
                left.append(subtitle)
        return left

    def write_embedded(self, made: list[Subtitle], duration: float) -> tuple[Embedded, ...]:
        """Write the files to embed: without cues after `duration` seconds, which would make the film longer.

        `duration` is 0 if unknown. Returns nothing if subtitles are not to be embedded.
        """
        if not self._job.wishes.subtitles.embed:
            return ()
        embedded, kept = [], Kept(((0.0, duration or math.inf),))
        for subtitle in made:
            path = subtitle.path.with_name(f"embedded-{subtitle.path.name}")
            text = timeline.retime_subtitles(subtitle.path.read_text(encoding="utf-8"), path.suffix[1:], kept)
            if text is None:
                self._log.write(f"subtitles: {subtitle.tag} has no cue within the film: not embedded")
            else:
                path.write_text(text, encoding="utf-8", newline="")
                embedded.append(Embedded(path, subtitle.tag, subtitle.title))
        return tuple(embedded)

    def publish(self, made: list[Subtitle]) -> dict[str, str]:
        """Move the subtitles to the finished files, if they are an output; return kind -> name."""
        if "subtitles" not in self._job.wishes.outputs:
            return {}
        for subtitle in made:
            subtitle.path.rename(Path(self._job.directory) / parts.OUT / subtitle.path.name)
        return {f"subtitle.{subtitle.tag}": subtitle.path.name for subtitle in made}
