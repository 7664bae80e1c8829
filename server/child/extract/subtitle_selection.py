"""Selects among a source's subtitles, in the order of yt-dlp's `--sub-langs`, and fetches them.

If one cannot be fetched, only its language is missing, and the task's log says so.
"""

import re
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from yt_dlp.utils import YoutubeDLError, determine_protocol, orderedSet_from_options

from server.child.extract.failures import classify
from server.child.extract.youtube_dl import Engine
from server.child.media import parts
from server.child.process.job_failed import OF_ERRNO, JobFailed
from server.child.process.log import Log
from server.child.process.progress import Stream
from server.core.jobs import LANGUAGE, SubtitleWishes

MOST: Final = 200
"""Languages of one film; each is a file in the task's payload."""

LARGEST: Final = 16 * 1024 * 1024  # bytes of one file
_TRIES: Final = 2  # after the first
_PATIENCE, _PATIENCE_IN_ALL = 300.0, 900.0  # seconds
_TO_MATCH: Final = 2.0  # seconds: some regular expressions take for ever
_LONGEST: Final = 100  # characters of what a source calls a language
_CAN_BE_MADE: Final = ("srt", "vtt", "ass", "ssa", "ttml", "dfxp", "tt")
_PROTOCOLS: Final = ("http", "https", "m3u8_native", "http_dash_segments")
_BAD = (YoutubeDLError, JobFailed, OSError, ValueError, TypeError, KeyError)
_GRAVE: Final = frozenset(OF_ERRNO.values())

Offer = Mapping[str, Sequence[Mapping[str, Any]]]
"""Language -> the formats of its subtitles, the best last."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """`language` is the source's name for it, `tag` a short, safe and unique one made of that."""

    language: str
    tag: str
    track: Mapping[str, Any]

    @property
    def title(self) -> str | None:
        title = self.track.get("name")
        return title if isinstance(title, str) else None


def choose(info: Mapping[str, Any], wishes: SubtitleWishes, say: Callable[[str], None]) -> list[Chosen]:
    """Select among the subtitles in `info`; `say` gets a sentence for each wish that is not met."""
    offered = _offered(info, automatic=wishes.automatic)
    if wishes.languages:
        languages = _matching(tuple(offered), wishes.languages, say)
    else:
        languages = _usual(info, automatic=wishes.automatic)
    if len(languages) > MOST:
        say(f"subtitles: {len(languages)} languages, of which the first {MOST} are taken")
    tags = dict[str, str]()
    for language in languages[:MOST]:
        tags[language] = _tag(language, tags.values())
    return [Chosen(name, tag, _best(offered[name], wishes.format)) for name, tag in tags.items()]


def name_of(info: Mapping[str, Any], chosen: Chosen) -> str:
    """The name of its file in the job's directory, the same in every attempt."""
    ext = {"ext": chosen.track.get("ext"), "filesize": None}
    return parts.name_of({**info, "format_id": f"subtitle {chosen.language}", **ext})


class Fetching:
    """`pace` gets the number of bytes that have come in, and may block to keep the rate limit."""

    def __init__(
        self, engine: Engine, info: Mapping[str, Any], log: Log, pace: Callable[[int], None]
    ) -> None:
        self._engine = engine
        self._headers = info.get("http_headers")
        self._log = log
        self._pace = pace
        self._ends_at = time.monotonic() + _PATIENCE_IN_ALL
        self.met: Exception | None = None
        """The first error that was met."""

    def fetch(self, chosen: Chosen, path: Path) -> bool:
        """Fetch it to `path`, as the source has it; False if that fails. Raises faults of this machine."""
        if path.is_file():  # an earlier attempt has fetched it
            return True
        try:
            self._load(chosen.track, path)
        except _BAD as error:
            if classify(error, self._engine.trail).code in _GRAVE:
                raise
            self._log.warning(f"no subtitles in {chosen.language}: {error}")
            self.met = self.met or error
            return False
        parts.vouch_for(path)
        return True

    def _load(self, track: Mapping[str, Any], path: Path) -> None:
        if isinstance(text := track.get("data"), str):
            content = text.encode(errors="replace")
            if len(content) > LARGEST:
                raise JobFailed("page_too_large", f"more than {LARGEST} bytes")
            path.write_bytes(content)
            return
        protocol = determine_protocol(track)
        if protocol not in _PROTOCOLS or track.get("ext") == "json":
            raise JobFailed("unsupported_stream", f"{track.get('ext')} by {protocol} is no text with times")
        if time.monotonic() > self._ends_at:
            raise JobFailed("too_slow", "the others have taken too long")
        self._engine.on_progress = self._watch()
        with self._few_tries():
            self._engine.dl(str(path), {"http_headers": self._headers, **track}, subtitle=True)
        if not path.is_file():  # for segmented WebVTT `dl` does not return success
            raise JobFailed("incomplete", "yt-dlp gave up without a word")

    @contextmanager
    def _few_tries(self) -> Iterator[None]:
        """Fewer retries than for the film, which waits for its subtitles meanwhile."""
        params = self._engine.params
        usual = {name: params.get(name) for name in ("retries", "fragment_retries")}
        params.update(dict.fromkeys(usual, _TRIES))
        try:
            yield
        finally:
            params.update(usual)

    def _watch(self) -> Callable[[Mapping[str, Any]], None]:
        counted, latest = Stream(), min(time.monotonic() + _PATIENCE, self._ends_at)

        def on_progress(event: Mapping[str, Any]) -> None:
            nonlocal latest
            came_in, began = counted.update(event), time.monotonic()
            if max(counted.done, counted.size or 0) > LARGEST:
                raise JobFailed("page_too_large", f"more than {LARGEST} bytes")
            if began > latest:
                raise JobFailed("too_slow")
            self._pace(came_in)
            held = time.monotonic() - began  # by the rate limit: not the source's fault
            latest, self._ends_at = latest + held, self._ends_at + held

        return on_progress


def _offered(info: Mapping[str, Any], *, automatic: bool) -> Offer:
    """Subtitles by language, without long names; automatic captions only where there is nothing else."""
    found = {**((info.get("automatic_captions") or {}) if automatic else {}), **(info.get("subtitles") or {})}
    ordered = [*(info.get("subtitles") or ()), *found]  # those that are not automatic come first
    return {name: found[name] for name in ordered if found[name] and 0 < len(name) <= _LONGEST}


def _usual(info: Mapping[str, Any], *, automatic: bool) -> list[str]:
    """All that are not automatic; without any, one automatic caption, of the spoken language if possible."""
    if (made := list(_offered(info, automatic=False))) or not automatic:
        return made
    captions = list(_offered(info, automatic=True))
    spoken = [name for name in captions if name == info.get("language") or name.endswith("-orig")]
    english = [name for name in captions if name.startswith("en")]
    return (spoken or english or captions)[:1]


def _matching(offered: tuple[str, ...], patterns: Sequence[str], say: Callable[[str], None]) -> list[str]:
    try:
        with _within(_TO_MATCH):
            for pattern in patterns:
                if not pattern.startswith("-") and not _match(offered, [pattern]):
                    say(f"subtitles: there are none in {pattern}")
            return _match(offered, patterns)
    except TimeoutError:
        say(f"subtitles: to compare {', '.join(patterns)} takes too long")
        return []


def _match(offered: tuple[str, ...], patterns: Sequence[str]) -> list[str]:
    return list(orderedSet_from_options(map(_literal, patterns), {"all": offered}, use_regex=True))


def _literal(pattern: str) -> str:
    """As yt-dlp takes it. A `pattern` that is none of today's words is a regular expression of a task that an
    earlier release has accepted.
    """
    if not re.fullmatch(LANGUAGE, pattern):
        return pattern
    name = pattern.removeprefix("-").removesuffix(".*")
    return f"{'-' * pattern.startswith('-')}{re.escape(name)}{'.*' * pattern.endswith('.*')}"


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` after that time, even in a regular expression; in the main thread only."""

    def give_up(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _best(formats: Sequence[Mapping[str, Any]], wanted: str) -> Mapping[str, Any]:
    """The format that is easiest to convert to `wanted`; of the same type the last is the best."""
    for kind in (wanted, *_CAN_BE_MADE):
        if found := [track for track in formats if track.get("ext") == kind]:
            return found[-1]
    return formats[-1]


def _tag(language: str, taken: Collection[str]) -> str:
    """At most 30 letters, digits and hyphens, different from all in `taken`."""
    tag = re.sub(r"[^A-Za-z0-9]+", "-", language)[:26].strip("-") or "und"
    others = {other.lower() for other in taken}
    numbered = (f"{tag}-{number}" for number in range(2, MOST + 2))
    return tag if tag.lower() not in others else next(one for one in numbered if one.lower() not in others)
