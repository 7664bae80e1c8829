"""Recording a broadcast: ffmpeg copies what is sent into pieces, which are put together when it is over.

A piece is Matroska, which takes every codec, and of which all but the last second is good when its writer is
killed. There is more than one if the broadcast or this process was interrupted; what was sent meanwhile is
missing, and at the seam a segment may come twice.
"""

import io
import re
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError

from server.child.media import probe, programs
from server.child.media.ffmpeg import Way
from server.child.media.parts import Part
from server.child.media.probe import Media
from server.child.network.proxy import Proxy
from server.child.process.failed import JobFailed
from server.child.process.log import Log
from server.child.process.progress import SHORTEST_PAUSE
from server.jobs import Job

PIECE: Final = "recorded-"
PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before a broadcast that broke off is tried again; after the last it is taken to be over."""

_HLS: Final = ("m3u8", "m3u8_native")
_PLAIN: Final = ("http", "https")
_LIST: Final = "recorded.ffconcat"
_TICK: Final = 1.2 * SHORTEST_PAUSE  # seconds; each growth that is seen can be said
_GRACE: Final = 5.0  # seconds that ffmpeg has to end when it is asked to
_PATIENCE: Final = "20000000"  # microseconds that it waits for a byte
_LAST_WORDS: Final = 40
_HEADER: Final = 8192  # bytes; a piece that is no larger has nothing in it, and its name is used again
# What ffmpeg says when a broadcast breaks off; it ends with status 0 all the same.
_BROKE_OFF: Final = ("failed to reload playlist", "error during demuxing")
_REFUSED: Final = re.compile(r"^\[\w+ @ 0x[0-9a-f]+\] HTTP error (\d{3}) ", re.MULTILINE)
_OUTPUT: Final = ("-c", "copy", "-f", "matroska", "-cluster_time_limit", "1000", "-flush_packets", "1")

Streams = Sequence[Mapping[str, Any]]


def is_live(info: Mapping[str, Any]) -> bool:
    return bool(info.get("is_live") or info.get("live_status") == "is_live")


def is_possible(streams: Streams) -> bool:
    """Whether all `streams` come by protocols for which ffmpeg has a guarded way."""
    return all(stream.get("protocol") in (*_HLS, *_PLAIN) for stream in streams)


def pieces(directory: Path) -> list[Path]:
    """What was recorded so far, in this attempt and earlier ones."""
    found = sorted(directory.glob(f"{PIECE}*.mkv"))
    return [piece for piece in found if piece.stat().st_size > _HEADER]


def put_together(directory: Path, executable: str) -> Part:
    """All that was recorded, to be read as one file; raises `JobFailed` if that is nothing."""
    seen = {piece: look for piece in pieces(directory) if (look := _look_into(piece, executable))}
    if not seen:
        raise JobFailed("no_media", "nothing was recorded")
    names = "".join(f"file {piece.name}\n" for piece in seen)
    (directory / _LIST).write_text(f"ffconcat version 1.0\n{names}")
    duration = sum(look.duration or 0.0 for look in seen.values()) or None  # one that was cut off has none
    first = next(iter(seen.values()))
    return Part(directory / _LIST, replace(first, duration=duration), plain=False, reading=("-f", "concat"))


class Recording:
    """`on_size` gets the bytes of all pieces, and of this attempt's, whenever there are more.

    What it raises ends the recording.
    `again` is asked after an interruption for the streams to go on with; None means that it is over.
    """

    def __init__(
        self,
        directory: Path,
        job: Job,
        log: Log,
        on_size: Callable[[int, int], None],
        again: Callable[[], Streams | None],
    ) -> None:
        self._directory = directory
        self._job = job
        self._log = log
        self._on_size = on_size
        self._again = again
        self._size = self._earlier = self._measure()
        self._grew = False
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)

    def run(self, streams: Streams, finish: Event, pace: Callable[[int], None]) -> None:
        """Return when the broadcast is over, or `finish` is set and there is something to keep."""
        with Proxy(pace, self._job.proxy) as proxy:
            fruitless = 0
            while not self._record(streams, finish, proxy):
                fruitless = 0 if self._grew else fruitless + 1
                if fruitless == len(PAUSES) or finish.wait(PAUSES[fruitless]):
                    return
                following = self._again()
                if following is None:
                    return
                streams = following

    def _record(self, streams: Streams, finish: Event, proxy: Proxy) -> bool:
        """Record one piece; say whether the broadcast ended, or was asked to."""
        earlier = pieces(self._directory)
        path = self._directory / f"{PIECE}{len(earlier) + 1:04}.mkv"
        self._log.write(f"recording into {path.name}")
        self._last_words.clear()
        self._grew = False
        command = self._command(streams, path, goes_on=bool(earlier))
        program = programs.start(command, Way(proxy.port, proxy.url))
        with program, self._listening(program.stderr), _killed(program):
            self._watch(program, finish, proxy)
        return self._is_over(program.returncode) or finish.is_set()

    def _watch(self, program: Any, finish: Event, proxy: Proxy) -> None:
        """Return when `program` has ended, or was asked to and does not."""
        deadline: float | None = None
        while _runs(program):
            self._look(proxy)
            if deadline is None and finish.is_set() and self._size:
                deadline = time.monotonic() + _GRACE
                _ask_to_end(program)
            elif deadline is not None and time.monotonic() > deadline:
                return
        self._look(proxy)

    def _look(self, proxy: Proxy) -> None:
        """A file that grows is the only sign of life: ffmpeg asks a silent source again and again."""
        if proxy.refused:
            raise proxy.refused
        size = self._measure()
        if size > self._size:
            self._grew = True
            self._size = size
            self._on_size(size, size - self._earlier)

    def _measure(self) -> int:
        return sum(piece.stat().st_size for piece in pieces(self._directory))

    def _is_over(self, status: int) -> bool:
        """Whether that was a regular end; raises what no further piece can mend."""
        words = "".join(self._last_words)
        if status and (code := programs.reason(status, self._directory)):
            raise JobFailed(code, f"ffmpeg ended with status {status}")
        if not self._size:
            raise _why_nothing_came(words)
        return status == 0 and not any(sign in words.lower() for sign in _BROKE_OFF)

    @contextmanager
    def _listening(self, lines: Iterable[str]) -> Iterator[None]:
        """Put what ffmpeg says into the log, and keep the last of it."""

        def listen() -> None:
            for line in lines:
                self._last_words.append(line)
                self._log.write(line)

        listener = Thread(target=listen, name="ffmpeg", daemon=True)
        listener.start()
        try:
            yield
        finally:
            listener.join()

    def _command(self, streams: Streams, path: Path, *, goes_on: bool) -> list[str]:
        """Picture from the first stream and sound from the last, which may be the same."""
        hls = self._hls_options(goes_on)
        inputs = [
            word for at, stream in enumerate(streams) for word in (*self._in_step(at), *_input(stream, hls))
        ]
        picture = ["-map", "0:v:0?"] if "video" in self._job.wishes.outputs else []
        sound = ["-map", f"{len(streams) - 1}:a?"]
        quiet = ["-hide_banner", "-nostats", "-loglevel", "warning", "-y"]
        return [self._job.ffmpeg, *quiet, *inputs, *picture, *sound, *_OUTPUT, f"file:{path}"]

    def _hls_options(self, goes_on: bool) -> list[str]:
        known = programs.help_on(self._job.ffmpeg, "demuxer=hls")
        wished = {"-extension_picky": "0", "-seg_max_retry": "3", "-http_persistent": "0"}
        start = ["-live_start_index", "-1"] if goes_on else []
        return ["-f", "hls", *start, *(word for item in wished.items() if item[0] in known for word in item)]

    def _in_step(self, at: int) -> list[str]:
        """Have ffmpeg align the second input with the first: they may begin at different moments."""
        known = at and "-isync" in programs.help_on(self._job.ffmpeg, "long")
        return ["-isync", "0"] if known else []


def _input(stream: Mapping[str, Any], hls: list[str]) -> list[str]:
    headers = {name: str(value) for name, value in (stream.get("http_headers") or {}).items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if "\n" not in value)
    options = hls if stream["protocol"] in _HLS else []
    return [*(("-headers", lines) if lines else ()), "-rw_timeout", _PATIENCE, *options, "-i", stream["url"]]


def _why_nothing_came(words: str) -> Exception:
    """As yt-dlp would have met it."""
    if not (refused := _REFUSED.search(words)):
        return JobFailed("incomplete", "the broadcast gave nothing")
    refusal: Exception = HTTPError(Response(io.BytesIO(), "", {}, int(refused[1])))
    return refusal


def _runs(program: Any) -> bool:
    """Whether `program` still runs after the time of a tick."""
    with suppress(subprocess.TimeoutExpired):
        program.wait(_TICK)
    return program.returncode is None


def _ask_to_end(program: Any) -> None:
    with suppress(OSError):
        program.stdin.write("q")
        program.stdin.flush()


@contextmanager
def _killed(program: Any) -> Iterator[None]:
    """However the block is left, `program` runs no more; a piece is good without its end."""
    try:
        yield
    finally:
        if program.poll() is None:
            program.kill(timeout=None)


def _look_into(piece: Path, executable: str) -> Media | None:
    try:
        return probe.inspect(piece, executable)
    except JobFailed:
        return None
