"""Fetches one stream to a complete part in the job's directory, and notes whether it can be played meanwhile.

If the source refuses the stream, `Alternatives` finds another: the next best format that was not refused yet,
or else the next entry of a page that has several. Only failures of this one stream count as a refusal (an
HTTP status, a blocked address, DRM and the like). A stream of which any byte has arrived is resumed instead.
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

MOST: Final = 3
"""How many streams are tried; the page is extracted again before each further one."""

_OF_ONE_STREAM: Final = frozenset(
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
_NOTHING_ELSE: Final = frozenset(("format_unavailable", "no_audio", "no_media"))


class Refused(Exception):
    """No byte of `stream` has arrived, or what arrived is no film; `__cause__` says why."""

    def __init__(self, stream: dict[str, Any]) -> None:
        super().__init__(f"format {stream.get('format_id')} is refused")
        self.stream = stream


class Alternatives:
    """`extract` extracts the video again and returns its info dict."""

    def __init__(self, engine: Engine, extract: Callable[[], dict[str, Any]], log: Log) -> None:
        self._engine = engine
        self._extract = extract
        self._log = log
        self._errors: list[BaseException] = []

    def instead_of(self, refused: Refused) -> dict[str, Any]:
        """The video with the next best streams chosen.

        Without an alternative, raises the first retryable error that was met, so that another attempt is
        made, else the first error.
        """
        error = refused.__cause__ or refused
        failure = classify(error, self._engine.trail)
        self._errors.append(error)
        if (
            not (failure.code.startswith("http_") or failure.code in _OF_ONE_STREAM)
            or len(self._errors) >= MOST
        ):
            raise self._error_to_raise()
        if self._engine.offered > len(self._engine.refused) + 1 and "format_id" in refused.stream:
            self._engine.refused.add(refused.stream["format_id"])
        elif not self._engine.pass_over():
            raise self._error_to_raise()
        self._log.write(f"{refused} ({failure.code}): trying the next best")
        try:
            return self._extract()
        except (DownloadError, JobFailed) as other:
            if classify(other, self._engine.trail).code in _NOTHING_ELSE:
                raise self._error_to_raise() from None
            raise

    def _error_to_raise(self) -> BaseException:
        passing = (error for error in self._errors if classify(error, self._engine.trail).retryable)
        return next(passing, self._errors[0])


_FRAGMENTED: Final = ("m3u8", "dash", "ism", "frag", "f4m")
_SHORT, _SHORT_SHARE = 2.0, 0.05  # seconds, and share of all: a larger gap is no rounding error
_READING: Final = {"avi": ("-fflags", "+genpts")}  # AVI has no timestamps (PTS); other containers need them


class StreamFetcher:
    """Raises `Refused` if it fails before anything usable of a stream has come, `BrokeOff` if after."""

    def __init__(self, engine: Engine, job: Job, log: Log) -> None:
        self._engine = engine
        self._job = job
        self._log = log

    def fetch(self, stream: dict[str, Any], path: Path, hook: Hook) -> Part:
        """Fetch the stream to `path`; `hook` gets yt-dlp's progress dicts.

        A stream shorter than its page announces is fetched once more, unless the stream itself says that
        this is all of it, then taken as it is: pages may be wrong.
        """
        if not parts.is_laid_aside(path):
            part = self._fetch_once(stream, path, hook)
            if self._job.accept_gaps or not _is_short(part, stream.get("duration")):
                return part
            # Whether the stream is no longer than that by its own index, its manifest, or its source.
            if part.plain:
                size = path.stat().st_size
                index = probe.read_index(path)  # if it lists all samples, nothing can be behind them
                is_all = (index is not None and index.has_all) or ranges.ends_at(self._engine, stream, size)
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
        self._engine.on_progress = hook
        try:
            if determine_protocol(stream).startswith("rtmp"):  # yt-dlp would start rtmpdump
                raise DownloadError("RTMP needs a program that reaches the network by itself, which is off")
            done, _ = self._engine.dl(str(path), stream)
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
            parts.delete_part(
                path
            )  # else the next attempt would find it whole, and never ask the source again
            raise Refused(stream) from error

    def _inspect(self, path: Path, stream: Mapping[str, Any]) -> Part:
        plain = is_plain(stream)
        if plain and probe.is_cut_off(path):  # sources may send no length, or a wrong one
            parts.back_to_unfinished(path)
            raise JobFailed("incomplete", "the source ended before the file did")
        need_rate = bool(self._job.wishes.audio_quality)
        seen = probe.inspect(path, self._job.ffmpeg, need_rate=need_rate)
        return Part(path, seen, plain, _READING.get(seen.container, ()))


def _is_short(part: Part, announced: float | None) -> bool:
    """Whether clearly less has come than was announced, in seconds."""
    has = part.media.duration
    if not (has and announced):
        return False
    return bool(announced - has > max(_SHORT, _SHORT_SHARE * announced))


def is_plain(stream: Mapping[str, Any]) -> bool:
    """Whether the stream comes as one file, not in fragments, by yt-dlp's protocol and container names."""
    names = f"{stream.get('protocol')} {stream.get('container')}"
    return not any(sign in names for sign in _FRAGMENTED)


NOTE: Final = "stream.json"
_AS_IT_COMES: Final = ("aac", "flac", "flv", "mkv", "mp3", "mpg", "ogg", "ogv", "opus", "ts", "wav", "webm")


class Playing:
    """Writes a note beside a growing file: whether it can be played while it is fetched.

    A file can be played from its beginning if its container has no index at the end. The note is about the
    single file in `names`, if it is `in_one`, which a clip is not. If picture and sound are fetched as
    separate files, neither of them is the film.
    """

    def __init__(self, directory: Path, names: Sequence[str], *, in_one: bool = True) -> None:
        self._note = directory / NOTE
        self._can_be = (
            len(names) == 1 and in_one and yt_dlp_parts.fits("fragments") and yt_dlp_parts.fits("resuming")
        )
        self._path = directory / names[0] if self._can_be else directory
        self._decided = False
        self._one_at_a_time = threading.Lock()
        if not self._can_be:
            self._write_note(why="apart" if len(names) > 1 else "not_before_the_end")

    def check(self) -> None:
        """Decide whether the file can be played, once enough of it has come; threads of fragments may call
        it.
        """
        with self._one_at_a_time:
            if not self._can_be or self._decided:
                return
            try:
                found = kind_of(self._path.with_name(self._path.name + ".part"))
            except FileNotFoundError:  # fragments are joined in order, and the first may not have come yet
                return
            if found == "not_before_the_end":
                self._write_note(why=found)
            elif found:
                self._note_playable(found, None)
            self._decided = found is not None

    def whole(self) -> int | None:
        """Note that the file is complete and final; returns its size in bytes, None without a single file."""
        if not self._can_be:
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


def kind_of(path: Path) -> str | None:
    """The media type of the file at `path` if it can be played, else why not; None if that is not known
    yet.
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
                if name in (b"mdat", b"moof") or length < 8:
                    return "not_before_the_end"
                at += length
                if name == b"moov":
                    return kind if at <= size else None
            return None
    if container in _AS_IT_COMES:
        return outputs.TYPES[container]
    return None if len(head) < probe.HEAD else "not_before_the_end"
