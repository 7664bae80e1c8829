"""Recording a broadcast: ffmpeg copies what is sent into pieces, which are put together when it is over.

A piece is a Matroska file, which takes every codec, and loses only its last second when ffmpeg is killed.
There is more than one piece if the broadcast or this process was interrupted; what was sent meanwhile is
missing, and between two pieces a segment may come twice.

ffmpeg goes on with the newest segment of a broadcast, but begins with the first of one that has ended. So a
further piece is in doubt, and does not count, until the broadcast is known to go on. If it has ended instead,
either that piece is kept or the earlier ones. One rename decides, since a kill may come at any moment.

Decisions: docs/decisions/broadcasts.md
"""

import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, Final

from server.child.media import guarded_ffmpeg, probe, run_ffmpeg
from server.child.media.guarded_ffmpeg import Streams
from server.child.media.live_dash import LiveDash
from server.child.media.parts import Part, concatenation
from server.child.media.probe import Media
from server.child.network.proxy import OWN_HOST, Proxy
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.child.process.progress import SHORTEST_PAUSE
from server.core.jobs import Job

PIECE: Final = "recorded-"
PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before each new try of a broadcast that broke off; after the last it is taken to be over."""

_IN_DOUBT: Final = f"{PIECE}in-doubt"  # the piece that may repeat the earlier ones
_WHOLE: Final = f"{PIECE}whole"  # the piece that is kept instead of all others
_OF_DASH: Final = f"{PIECE}of-dash"
_LIST: Final = "recorded.ffconcat"
_TICK: Final = 1.2 * SHORTEST_PAUSE  # seconds; longer than the reporter's pause, which defers reports
_GRACE: Final = 5.0  # seconds that ffmpeg has to end when it is asked to
_SILENT: Final = 45.0  # seconds without a byte of an HLS, after which nobody but its playlist is believed
_SILENT_DASH: Final = 120.0  # as long, of a DASH: nobody can be asked then
_HEADER: Final = 8192  # bytes; a piece that is no larger is empty, and its name is used again
# A piece is not what was sent if its packets last longer than it, or go back in time.
_LASTS: Final = 1.2  # times its length that the packets of a stream may last together
_APART: Final = 2.0  # seconds; they have to be further apart, too: short recordings have ragged ends
_BACKWARDS: Final = 0.1  # of all packets that may not be later than the one before
_FEW: Final = 50  # packets
# Messages of an ffmpeg whose broadcast broke off; its exit status is 0 all the same.
_BROKE_OFF: Final = ("failed to reload playlist", "error during demuxing")
_OUTPUT: Final = ("-c", "copy", "-f", "matroska", "-cluster_time_limit", "1000", "-flush_packets", "1")


def is_possible(streams: Streams) -> bool:
    """Whether ffmpeg has a guarded way to all `streams`."""
    return all(map(guarded_ffmpeg.is_possible, streams))


def pieces(directory: Path) -> list[Path]:
    """What was recorded so far, in this attempt and earlier ones."""
    found = sorted(path for path in directory.iterdir() if path.name.startswith(PIECE))
    return [piece for piece in found if piece.suffix == ".mkv" and piece.stat().st_size > _HEADER]


def settle(directory: Path) -> None:
    """Finish what a kill interrupted, before pieces are counted: delete what is not kept."""
    (directory / _IN_DOUBT).unlink(missing_ok=True)
    whole = directory / _WHOLE
    if whole.exists():
        for piece in directory.glob(f"{PIECE}*.mkv"):
            piece.unlink()
        whole.rename(_next(directory))


def is_anything(directory: Path, executable: str) -> bool:
    """Whether any piece can be kept: one that was cut off at once holds no picture."""
    return any(_look_into(piece, executable) for piece in pieces(directory))


def is_of_dash(directory: Path) -> None:
    """Note that pieces are of a DASH: what ffmpeg makes of a live one is looked at before it is kept."""
    (directory / _OF_DASH).touch()


def check_order(directory: Path, executable: str, on_line: Callable[[], None]) -> None:
    """Drop all pieces and raise `JobFailed` if a piece of a DASH is not what was sent.

    ffmpeg's DASH demuxer repeated segments of a live manifest without end while its times stood still: the
    file seems to be whole and ends in order, but has minutes of sound in seconds of film. `live_dash` keeps
    that demuxer out of it; here it is made sure of. `on_line` is called often meanwhile: a long recording
    takes its time.
    """
    if not (directory / _OF_DASH).exists():
        return
    outputs = ("-map", "0:v?", "-map", "0:a?", "-c", "copy", "-f", "framecrc", "-")
    for piece in pieces(directory):
        command = [executable, "-v", "quiet", "-nostdin", "-i", f"file:{piece}", *outputs]
        with run_ffmpeg.read_output_lines(command) as lines:
            complaint = complaint_about(lines, on_line)
        if complaint:
            for each in directory.glob(f"{PIECE}*"):
                each.unlink()
            raise JobFailed("incomplete", f"what was recorded is in disorder: {complaint}")


def complaint_about(lines: Iterable[str], on_line: Callable[[], None] = lambda: None) -> str | None:
    """What is wrong with a file of which `lines` are ffmpeg's `framecrc`; None if nothing is."""
    streams: dict[str, _Packets] = {}
    for line in lines:
        if line.startswith("#tb "):
            number, _, unit = line[4:].partition(":")
            above, _, below = unit.strip().partition("/")
            streams[number] = _Packets(int(above) / int(below))
        elif line[:1].isdigit():
            number, decoded, shown, lasts, *_ = (each.strip() for each in line.split(","))
            streams[number].add(int(decoded), int(shown), int(lasts))
            on_line()
    found = (stream.complaint() for stream in streams.values())
    return next((complaint for complaint in found if complaint), None)


def put_together(directory: Path, executable: str) -> Part:
    """All pieces as one part; raises `JobFailed` if nothing was recorded."""
    seen = {piece: look for piece in pieces(directory) if (look := _look_into(piece, executable))}
    if not seen:
        raise JobFailed("no_media", "nothing was recorded")
    duration = sum(look.duration or 0.0 for look in seen.values()) or None  # a piece cut off has none
    first = next(iter(seen.values()))
    return concatenation(directory / _LIST, list(seen), replace(first, duration=duration))


class Recording:
    """`on_size` gets the bytes of all pieces, and of this attempt's, whenever they grow.

    What `on_size` raises ends the recording; so does a piece as large as a file may be, which is kept.
    `again` is called after an interruption, with whether nothing more came although ffmpeg ran, and returns
    the streams to go on with, or None if the broadcast is over. `has_ended` says whether streams have an end
    by now. `ydl` is yt-dlp's `YoutubeDL`, which has the cookies. The first piece begins with the `playlists`,
    by the addresses of HLS streams in whose place ffmpeg gets them.
    """

    def __init__(
        self,
        directory: Path,
        job: Job,
        log: Log,
        on_size: Callable[[int, int], None],
        again: Callable[[bool], Streams | None],
        has_ended: Callable[[Streams], bool],
        ydl: Any,
        playlists: Mapping[str, Callable[[], str]],
    ) -> None:
        self._playlists = playlists
        self._directory = directory
        self._job = job
        self._log = log
        self._on_size = on_size
        self._again = again
        self._has_ended = has_ended
        self._ydl = ydl
        self._jar = ydl.cookiejar
        self._manifests: dict[str, LiveDash] = {}
        self._size = self._earlier = self._measure()
        self._grew = False
        self._fell_silent = False
        self._goes_on_with: Streams | None = None

    def run(self, streams: Streams, finish: Event, pace: Callable[[int], None]) -> None:
        """Return when the broadcast is over, or `finish` is set and there is something to keep."""
        fruitless = 0
        while not self._record(streams, finish, pace):
            fruitless = 0 if self._grew else fruitless + 1
            if fruitless == len(PAUSES) or finish.wait(PAUSES[fruitless]):
                return
            following = self._again(self._fell_silent)
            if following is None:
                return
            streams = following

    def _record(self, streams: Streams, finish: Event, pace: Callable[[int], None]) -> bool:
        """Record one piece; returns whether the broadcast has ended, or `finish` is set."""
        goes_on, piece = bool(pieces(self._directory)), _next(self._directory)
        path = self._directory / _IN_DOUBT if goes_on else piece
        self._log.write(f"recording into {piece.name}")
        self._goes_on_with = streams if goes_on else None
        self._size, self._grew, self._fell_silent = self._measure(), False, False
        with Proxy(pace, self._job.proxy, self._jar.get_cookie_header) as server:
            command = self._command(streams, path, server, goes_on=goes_on)
            with guarded_ffmpeg.running(command, server, self._log) as run:
                patience = _SILENT if any(map(guarded_ffmpeg.is_hls, streams)) else None
                patience = _SILENT_DASH if any(map(guarded_ffmpeg.is_dash, streams)) else patience
                self._watch(run, finish, server, patience)
            if server.failed:
                self._log.write(f"the last that could not be fetched: {server.failed!r}")
        _keep_once(self._directory, is_whole=run.program.returncode == 0 and not self._fell_silent)
        is_followed = any(each.is_followed for each in self._manifests.values())
        return (self._is_over(run) and not self._fell_silent and not is_followed) or finish.is_set()

    def _watch(self, run: guarded_ffmpeg.Run, finish: Event, server: Proxy, patience: float | None) -> None:
        """Return when ffmpeg has ended, or does not end after `finish`.

        Also when an HLS is silent for `patience` seconds: ffmpeg would reload a playlist that no longer grows
        a thousand times.
        """
        deadline: float | None = None
        shut, heard = False, time.monotonic()
        while run.program.returncode is None:
            with suppress(subprocess.TimeoutExpired):
                run.program.wait(_TICK)
            if run.program.returncode is not None:
                break
            if self._look(server):
                heard = time.monotonic()
            if patience and not self._fell_silent and time.monotonic() - heard > patience:
                self._log.write(f"nothing has come for {patience:.0f} s")
                self._fell_silent = True
            if deadline is None and (self._fell_silent or (finish.is_set() and self._size)):
                deadline = time.monotonic() + (0 if self._fell_silent else _GRACE)
                run.ask_to_end()
            elif deadline is not None and time.monotonic() > deadline:
                if shut:
                    return
                # Without its playlist ffmpeg ends, and writes what it has; a kill would cost the last second.
                deadline, shut = time.monotonic() + 3 * _GRACE, True
                server.end()
        self._look(server)

    def _look(self, server: Proxy) -> bool:
        """Whether the file grew, the only sign of life: ffmpeg keeps retrying a silent source."""
        if server.refused:
            raise server.refused
        size = self._measure()
        if size <= self._size:
            return False
        if not self._grew and self._goes_on_with and not self._has_ended(self._goes_on_with):
            (self._directory / _IN_DOUBT).rename(_next(self._directory))  # while ffmpeg writes into it
        self._grew = True
        self._size = size
        self._on_size(size, size - self._earlier)
        return True

    def _measure(self) -> int:
        """The bytes of all pieces, with the one in doubt."""
        sizes = (path.stat().st_size for path in self._directory.glob(f"{PIECE}*"))
        return sum(size for size in sizes if size > _HEADER)

    def _is_over(self, run: guarded_ffmpeg.Run) -> bool:
        """Whether the broadcast ended regularly; raises errors that another piece would meet as well."""
        status, words = run.program.returncode, run.words
        code = run_ffmpeg.machine_fault(status, self._directory) if status else None
        if code == "too_large" and self._size:
            return True
        if code:
            raise JobFailed(code, f"ffmpeg ended with status {status}")
        if not self._size:
            raise guarded_ffmpeg.why_nothing_came(words)
        return status == 0 and not any(sign in words.lower() for sign in _BROKE_OFF)

    def _command(self, streams: Streams, path: Path, server: Proxy, *, goes_on: bool) -> list[str]:
        """Picture from the first stream and sound from the last, which may be the same."""
        sources = {_name(stream): stream for stream in streams}  # picture and sound may be one
        inputs = list[str]()
        for at, stream in enumerate(sources.values()):
            playlist, start = None, -1 if goes_on else None
            if guarded_ffmpeg.is_dash(stream):
                playlist = f"http://{OWN_HOST}/{at}.m3u8"
                manifest = guarded_ffmpeg.address(stream)
                headers = stream.get("http_headers") or {}
                dash = self._manifests.setdefault(manifest, LiveDash(manifest, headers, self._ydl))
                number = stream.get("manifest_stream_number")
                server.pages[f"/{at}.m3u8"] = dash.begin(number, goes_on=goes_on).text
                start = 0  # the playlist begins where the piece shall
            elif not goes_on and (page := self._playlists.get(guarded_ffmpeg.address(stream))):
                playlist, start = f"http://{OWN_HOST}/{at}.m3u8", 0
                server.pages[f"/{at}.m3u8"] = page
            hls = guarded_ffmpeg.hls_options(self._job.ffmpeg, start)
            if at and "-isync" in run_ffmpeg.help_on(self._job.ffmpeg, "long"):
                # Have ffmpeg align the second input with the first: they may begin at different moments.
                inputs += ["-isync", "0"]
            inputs += guarded_ffmpeg.source(stream, server, hls, self._jar, playlist)
        where = [list(sources).index(_name(stream)) for stream in streams]
        wants_picture = "video" in self._job.wishes.outputs
        picture = ["-map", f"{where[0]}:v:0?"] if wants_picture else []
        sound = ["-map", f"{where[-1]}:a?"]
        quiet = ["-hide_banner", "-nostats", "-loglevel", "warning", "-y"]
        return [self._job.ffmpeg, *quiet, *inputs, *picture, *sound, *_OUTPUT, f"file:{path}"]


def _keep_once(directory: Path, *, is_whole: bool) -> None:
    """Decide on the piece in doubt, if there is one; `is_whole`: it was recorded to its end.

    Without it a second of the end may be missing; with the others as well everything might be there twice.
    """
    doubtful, earlier = directory / _IN_DOUBT, sum(piece.stat().st_size for piece in pieces(directory))
    if is_whole and doubtful.exists() and doubtful.stat().st_size >= earlier:
        doubtful.rename(directory / _WHOLE)
    settle(directory)


def _next(directory: Path) -> Path:
    """Where the piece after those that count belongs."""
    return directory / f"{PIECE}{len(pieces(directory)) + 1:04}.mkv"


def _name(stream: Mapping[str, Any]) -> tuple[str, int | None]:
    """What tells `stream` from others: a DASH manifest has many."""
    return guarded_ffmpeg.address(stream), stream.get("manifest_stream_number")


def _look_into(piece: Path, executable: str) -> Media | None:
    """None if `piece` has no media. Other errors are raised: a killed ffmpeg says nothing about the piece."""
    try:
        return probe.inspect(piece, executable)
    except JobFailed as error:
        if error.code != "no_media":
            raise
        return None


class _Packets:
    """Of one stream of a recording; `unit` is that of its times, in seconds."""

    def __init__(self, unit: float) -> None:
        self.unit = unit
        self.packets = self.backwards = self.lasts = 0
        self.begin: int | None = None
        self.end = 0
        self._last: int | None = None

    def add(self, decoded: int, shown: int, lasts: int) -> None:
        self.packets += 1
        self.backwards += self._last is not None and decoded <= self._last
        self._last = decoded
        self.lasts += lasts
        self.begin = shown if self.begin is None else min(self.begin, shown)
        self.end = max(self.end, shown + lasts)

    def complaint(self) -> str | None:
        length, lasts = (self.end - (self.begin or 0)) * self.unit, self.lasts * self.unit
        if lasts > _LASTS * length and lasts - length > _APART:
            return f"{lasts:.1f} s of packets in {length:.1f} s"
        if self.backwards > max(_FEW, _BACKWARDS * self.packets):
            return f"{self.backwards} of {self.packets} packets go back in time"
        return None
