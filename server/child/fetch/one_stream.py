"""Fetches one stream to a complete part in the job's directory, and notes whether it can be played meanwhile.

If the source refuses the stream, `Alternatives` chooses another: the next best format that was not refused
yet, or else the next entry of a page that has several. Only failures of this one stream count as a refusal
(an HTTP status, a blocked address, DRM and the like). A stream of which any byte has come is resumed instead.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from yt_dlp.utils import DownloadError, YoutubeDLError, determine_protocol

from server.child.extract import broadcasts
from server.child.extract.failures import BrokeOff, classify
from server.child.extract.youtube_dl import Engine, Hook
from server.child.fetch import ranges
from server.child.media import outputs, parts, probe
from server.child.media.parts import Part
from server.child.process import yt_dlp_parts
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.core.jobs import Job

MAX_STREAMS: Final = 3
"""How many streams are tried; the page is extracted again before each further one."""

_CODES_OF_A_STREAM: Final = frozenset(
    (
        "blocked_address",
        "dns_error",
        "drm_protected",
        "no_media",
        "redirect_loop",
        "tls_error",
        "unsupported_stream",
    )
)
_CODES_OF_NO_ALTERNATIVE: Final = frozenset(("format_unavailable", "no_audio", "no_media"))


class Refused(Exception):
    """No byte of `stream` has come, or what came is no film; `__cause__` is the error."""

    def __init__(self, stream: dict[str, Any]) -> None:
        super().__init__(f"format {stream.get('format_id')} is refused")
        self.stream = stream


class Alternatives:
    """Chooses other streams of a video; `extract` extracts it again and returns its info dict."""

    def __init__(self, engine: Engine, extract: Callable[[], dict[str, Any]], log: Log) -> None:
        self._engine = engine
        self._extract = extract
        self._log = log
        self._errors: list[BaseException] = []

    def instead_of(self, refused: Refused) -> dict[str, Any]:
        """Return the info dict of the video with the next best streams chosen.

        Without an alternative, raises the first retryable error so far, so that another attempt is made, else
        the first error.
        """
        error = refused.__cause__ or refused
        failure = classify(error, self._engine.trail)
        self._errors.append(error)
        if (
            not (failure.code.startswith("http_") or failure.code in _CODES_OF_A_STREAM)
            or len(self._errors) >= MAX_STREAMS
        ):
            raise self._error_to_raise()
        if self._engine.offered > len(self._engine.refused) + 1 and "format_id" in refused.stream:
            self._engine.refused.add(refused.stream["format_id"])
        elif not self._engine.skip_entry():
            raise self._error_to_raise()
        self._log.write(f"{refused} ({failure.code}): trying the next best")
        try:
            return self._extract()
        except (DownloadError, JobFailed) as other:
            if classify(other, self._engine.trail).code in _CODES_OF_NO_ALTERNATIVE:
                raise self._error_to_raise() from None
            raise

    def _error_to_raise(self) -> BaseException:
        retryable = (error for error in self._errors if classify(error, self._engine.trail).retryable)
        return next(retryable, self._errors[0])


_FRAGMENTED: Final = ("m3u8", "dash", "ism", "frag", "f4m")
# A stream is too short if more than these seconds, and this share of it, are missing: else it is rounding.
_MISSING_SECONDS, _MISSING_SHARE = 2.0, 0.05
_READING: Final = {"avi": ("-fflags", "+genpts")}  # AVI has no timestamps (PTS); other containers need them


class StreamFetcher:
    """Fetches whole streams. Raises `Refused` for a failure before anything usable of a stream has come,
    `BrokeOff` for one after it.
    """

    def __init__(self, engine: Engine, job: Job, log: Log) -> None:
        self._engine = engine
        self._job = job
        self._log = log

    def fetch(self, stream: dict[str, Any], path: Path, hook: Hook) -> Part:
        """Fetch the stream to `path`; `hook` gets yt-dlp's progress dicts.

        A stream that is shorter than its page states is fetched once more, unless its own index, manifest or
        source states the shorter length; then it is taken as it is, since pages may be wrong.
        """
        if not parts.is_laid_aside(path):
            part = self._fetch_once(stream, path, hook)
            if self._job.accept_gaps or not _is_short(part, stream.get("duration")):
                return part
            if part.plain:
                size = path.stat().st_size
                index = probe.read_index(path)  # if it lists all samples, nothing can follow them
                is_all = (index is not None and index.has_all) or ranges.has_size(self._engine, stream, size)
            else:
                length = broadcasts.length_of(self._engine, stream)
                is_all = length is not None and not _is_short(part, length)
            if is_all:
                self._log.write(f"{part.media.duration} s are all of it: {stream['duration']} s is wrong")
                return part
            self._log.write(f"{part.media.duration} of {stream['duration']} s: fetching it once more")
            parts.lay_aside(path)
        try:
            part = self._fetch_once(stream, path, hook)
        except (YoutubeDLError, BrokeOff, JobFailed, Refused) as error:
            self._log.write(f"keeping what was fetched before: {error}")
            parts.take_back(path)
            part = self._inspect(path, stream)
        else:
            parts.delete_part(parts.aside_of(path))
        if _is_short(part, stream.get("duration")):
            has, announced = part.media.duration, stream["duration"]
            self._log.write(f"the source has {has} s, although it announces {announced} s")
        return part

    def _fetch_once(self, stream: dict[str, Any], path: Path, hook: Hook) -> Part:
        try:
            if determine_protocol(stream).startswith("rtmp"):  # yt-dlp would start rtmpdump
                raise DownloadError("RTMP needs a program that uses the network by itself: not allowed")
            done, _ = self._engine.dl(str(path), stream, on_progress=hook)
        except YoutubeDLError as error:
            if parts.has_begun(path):
                raise BrokeOff(str(error)) from error
            raise Refused(stream) from error
        if not done:
            raise JobFailed("incomplete", "yt-dlp gave up without a word")
        parts.note_length(path)
        try:
            return self._inspect(path, stream)
        except JobFailed as error:
            if error.code != "no_media":
                raise
            parts.delete_part(path)  # else the next attempt would take it for complete
            raise Refused(stream) from error

    def _inspect(self, path: Path, stream: Mapping[str, Any]) -> Part:
        plain = is_plain(stream)
        if plain and probe.is_cut_off(path):  # sources may send no length, or a wrong one
            parts.back_to_unfinished(path)
            raise JobFailed("incomplete", "the source sent less than the whole file", hint="ends_too_early")
        need_rate = bool(self._job.wishes.audio_quality)
        media = probe.inspect(path, self._job.ffmpeg, need_rate=need_rate)
        return Part(path, media, plain, _READING.get(media.container, ()))


def _is_short(part: Part, announced: float | None) -> bool:
    """Whether the part is clearly shorter than the `announced` seconds; False if either is unknown."""
    duration = part.media.duration
    if not (duration and announced):
        return False
    return bool(announced - duration > max(_MISSING_SECONDS, _MISSING_SHARE * announced))


def is_plain(stream: Mapping[str, Any]) -> bool:
    """Whether the stream comes as one file, not in fragments, by yt-dlp's protocol and container names."""
    names = f"{stream.get('protocol')} {stream.get('container')}"
    return not any(sign in names for sign in _FRAGMENTED)


NOTE: Final = "stream.json"
_PLAYABLE: Final = ("aac", "flac", "flv", "mkv", "mp3", "mpg", "ogg", "ogv", "opus", "ts", "wav", "webm")
"""Containers without an index at the end; in MP4 and its variants it may be there."""


class PlayableNote:
    """Writes a note beside a growing file: whether the file can be played while it is fetched.

    It can unless its container has an index at the end. `names` are the files that are fetched: only a single
    one is the film, not a file of its picture and one of its sound. `in_one`: it is fetched from its
    beginning to its end, as a clip is not.
    """

    def __init__(self, directory: Path, names: Sequence[str], *, in_one: bool = True) -> None:
        self._note = directory / NOTE
        self._is_film = (
            len(names) == 1 and in_one and yt_dlp_parts.fits("fragments") and yt_dlp_parts.fits("resuming")
        )
        self._path = directory / names[0] if self._is_film else directory
        self._is_decided = False
        self._one_at_a_time = threading.Lock()
        if not self._is_film:
            self._write_note(why="apart" if len(names) > 1 else "not_before_the_end")

    def check(self) -> None:
        """Decide whether the file can be played, once enough of it has come; threads of fragments may call
        it.
        """
        with self._one_at_a_time:
            if not self._is_film or self._is_decided:
                return
            try:
                found = playable_type(self._path.with_name(self._path.name + ".part"))
            except FileNotFoundError:  # fragments are joined in order, and the first may not have come yet
                return
            if found == "not_before_the_end":
                self._write_note(why=found)
            elif found:
                self._note_playable(found, None)
            self._is_decided = found is not None

    def complete(self) -> int | None:
        """Note that the file is complete; return its size in bytes, None if no file is the film."""
        if not self._is_film:
            return None
        with self._path.open("rb") as file:
            container = probe.sniff(file.read(probe.HEAD))
        size = self._path.stat().st_size
        if kind := outputs.TYPES.get(container or ""):
            self._note_playable(kind, size)
        return size

    def _note_playable(self, kind: str, size: int | None) -> None:
        # yt-dlp makes the .ytdl file before it appends the first fragment.
        in_fragments = self._path.with_name(self._path.name + ".ytdl").exists()
        self._write_note(name=self._path.name, type=kind, fragments=in_fragments, size=size)

    def _write_note(self, **note: object) -> None:
        """Replace the note atomically: the server may be reading it."""
        fresh = self._note.with_name(NOTE + ".new")
        fresh.write_text(json.dumps(note))
        fresh.replace(self._note)


def playable_type(path: Path) -> str | None:
    """Return the media type of the growing file at `path` if it can be played, else `not_before_the_end`.

    None if too little has come to know.
    """
    with path.open("rb") as file:
        head = file.read(probe.HEAD)
        container = probe.sniff(head)
        if container in probe.MP4:
            kind = outputs.TYPES[container]
            size, at = file.seek(0, 2), 0
            while at + 16 <= size:
                file.seek(at)
                header = file.read(16)
                length, name = int.from_bytes(header[:4]), header[4:8]
                length = int.from_bytes(header[8:]) if length == 1 else length
                if name in (b"mdat", b"moof") or length < 8:  # the index is not before the data
                    return "not_before_the_end"
                at += length
                if name == b"moov":
                    return kind if at <= size else None
            return None
    if container in _PLAYABLE:
        return outputs.TYPES[container]
    return None if len(head) < probe.HEAD else "not_before_the_end"
