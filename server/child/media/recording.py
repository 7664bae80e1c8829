"""Records a broadcast: ffmpeg copies what is sent into pieces, which are put together when it is over.

After an interruption ffmpeg goes on with the newest segment of a broadcast in a further piece, unless the
broadcast has ended meanwhile: `recorded_pieces` says which pieces count then.

Decisions: docs/decisions/broadcasts.md
"""

import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any, Final

from server.child.media import guarded_ffmpeg, recorded_pieces, run_ffmpeg
from server.child.media.guarded_ffmpeg import Streams
from server.child.media.live_dash import LiveDash
from server.child.network.proxy import OWN_HOST, Proxy
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.child.process.progress import SHORTEST_PAUSE
from server.core.jobs import Job

PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before each retry of a broadcast that broke off; after the last retry it is taken to be over."""

# Longer than the shortest time between two reports, which would defer a report.
_POLL_SECONDS: Final = 1.2 * SHORTEST_PAUSE
_SECONDS_TO_END: Final = 5.0  # seconds that ffmpeg has to end when it is asked to
# Seconds without a new byte after which ffmpeg is stopped. Then only the playlist of an HLS tells whether the
# broadcast goes on; for a DASH nothing can tell, so it gets longer.
_SILENCE_OF_HLS: Final = 45.0
_SILENCE_OF_DASH: Final = 120.0
# Messages of an ffmpeg whose broadcast broke off; its exit status is 0 all the same.
_BROKE_OFF: Final = ("failed to reload playlist", "error during demuxing")
_QUIET: Final = ("-hide_banner", "-nostats", "-loglevel", "warning", "-y")
_OUTPUT: Final = ("-c", "copy", "-f", "matroska", "-cluster_time_limit", "1000", "-flush_packets", "1")


def can_record(streams: Streams) -> bool:
    """Whether ffmpeg can fetch all `streams` under the guard."""
    return all(map(guarded_ffmpeg.can_fetch, streams))


class Recording:
    """The recording of one broadcast in `directory`, in this attempt.

    `on_size` gets the bytes of all pieces, and of those of this attempt, whenever they grow. What `on_size`
    raises ends the recording; so does a piece as large as a file may be, which is kept. `next_streams` is
    called after an interruption, with whether ffmpeg ran without getting anything, and returns the streams to
    go on with, or None if the broadcast is over. `have_ended` says whether streams have an end by now. `ydl`
    is yt-dlp's `YoutubeDL`, which has the cookies. `first_playlists` maps the URL of an HLS stream to the
    playlist that ffmpeg gets in its place for the first piece.
    """

    def __init__(
        self,
        directory: Path,
        job: Job,
        log: Log,
        on_size: Callable[[int, int], None],
        next_streams: Callable[[bool], Streams | None],
        have_ended: Callable[[Streams], bool],
        ydl: Any,
        first_playlists: Mapping[str, Callable[[], str]],
    ) -> None:
        self._directory = directory
        self._job = job
        self._log = log
        self._on_size = on_size
        self._next_streams = next_streams
        self._have_ended = have_ended
        self._ydl = ydl
        self._first_playlists = first_playlists
        self._manifests: dict[str, LiveDash] = {}
        self._size = self._size_before = recorded_pieces.total_size(directory)
        # These belong to the piece that is being recorded:
        self._has_grown = False
        self._is_silent = False
        self._streams_in_doubt: Streams | None = None

    def run(self, streams: Streams, finish: Event, pace: Callable[[int], None]) -> None:
        """Record; return when the broadcast is over, or when `finish` is set and there is something to
        keep.
        """
        fruitless = 0
        while not self._record_piece(streams, finish, pace):
            fruitless = 0 if self._has_grown else fruitless + 1
            if fruitless == len(PAUSES) or finish.wait(PAUSES[fruitless]):
                return
            following = self._next_streams(self._is_silent)
            if following is None:
                return
            streams = following

    def _record_piece(self, streams: Streams, finish: Event, pace: Callable[[int], None]) -> bool:
        """Record until ffmpeg ends; return whether the broadcast has ended, or `finish` is set."""
        goes_on = bool(recorded_pieces.list_pieces(self._directory))
        piece = recorded_pieces.next_piece(self._directory)
        path = recorded_pieces.piece_in_doubt(self._directory) if goes_on else piece
        self._log.write(f"recording into {piece.name}")
        self._streams_in_doubt = streams if goes_on else None
        self._size = recorded_pieces.total_size(self._directory)
        self._has_grown = self._is_silent = False
        longest_silence = None
        if any(map(guarded_ffmpeg.is_hls, streams)):
            longest_silence = _SILENCE_OF_HLS
        if any(map(guarded_ffmpeg.is_dash, streams)):
            longest_silence = _SILENCE_OF_DASH
        with Proxy(pace, self._job.proxy, self._ydl.cookiejar.get_cookie_header) as proxy:
            command = self._command(streams, path, proxy, goes_on=goes_on)
            with guarded_ffmpeg.running(command, proxy, self._log) as run:
                self._watch(run, finish, proxy, longest_silence)
            if proxy.failed:
                self._log.write(f"the last request that failed: {proxy.failed!r}")
        is_complete = run.program.returncode == 0 and not self._is_silent
        recorded_pieces.resolve_doubt(self._directory, is_complete=is_complete)
        has_next_period = any(manifest.has_next_period for manifest in self._manifests.values())
        is_over = self._has_ended_regularly(run) and not self._is_silent and not has_next_period
        return is_over or finish.is_set()

    def _watch(
        self, run: guarded_ffmpeg.Run, finish: Event, proxy: Proxy, longest_silence: float | None
    ) -> None:
        """Return when ffmpeg has ended, or does not end although it was asked to and gets nothing more.

        It is asked to end once `finish` is set and something is recorded, and after `longest_silence` seconds
        without a byte: it would reload a playlist that no longer grows a thousand times.
        """
        last_growth = time.monotonic()
        deadline: float | None = None
        while run.program.returncode is None:
            with suppress(subprocess.TimeoutExpired):
                run.program.wait(_POLL_SECONDS)
            if run.program.returncode is not None:
                break
            if self._check_growth(proxy):
                last_growth = time.monotonic()
            if longest_silence and not self._is_silent and time.monotonic() - last_growth > longest_silence:
                self._log.write(f"nothing has come for {longest_silence:.0f} s")
                self._is_silent = True
            if deadline is None and (self._is_silent or (finish.is_set() and self._size)):
                deadline = time.monotonic() + (0 if self._is_silent else _SECONDS_TO_END)
                run.ask_to_end()
            elif deadline is not None and time.monotonic() > deadline:
                if proxy.ended:
                    return
                # Take its playlist away: then ffmpeg ends and writes what it has; a kill would lose the last
                # second.
                deadline = time.monotonic() + 3 * _SECONDS_TO_END
                proxy.end()
        self._check_growth(proxy)

    def _check_growth(self, proxy: Proxy) -> bool:
        """Report new bytes, and return whether there are any: ffmpeg itself keeps retrying a silent source.

        Raises what the proxy has `refused`, and what `on_size` raises.
        """
        if proxy.refused:
            raise proxy.refused
        size = recorded_pieces.total_size(self._directory)
        if size <= self._size:
            return False
        if not self._has_grown and self._streams_in_doubt and not self._have_ended(self._streams_in_doubt):
            recorded_pieces.count_piece_in_doubt(self._directory)
        self._has_grown = True
        self._size = size
        self._on_size(size, size - self._size_before)
        return True

    def _has_ended_regularly(self, run: guarded_ffmpeg.Run) -> bool:
        """Whether ffmpeg recorded to the end of the broadcast, or as much as a file may have.

        Raises errors that another piece would meet as well.
        """
        status = run.program.returncode
        code = run_ffmpeg.machine_fault(status, self._directory) if status else None
        if code == "too_large" and self._size:
            return True
        if code:
            raise JobFailed(code, f"ffmpeg ended with status {status}")
        if not self._size:
            raise guarded_ffmpeg.error_of_messages(run.messages)
        return status == 0 and not any(message in run.messages.lower() for message in _BROKE_OFF)

    def _command(self, streams: Streams, path: Path, proxy: Proxy, *, goes_on: bool) -> list[str]:
        """Return the command that copies the picture of the first stream and the sound of the last."""
        sources = {_identity(stream): stream for stream in streams}  # picture and sound may be one stream
        inputs = list[str]()
        for number, stream in enumerate(sources.values()):
            if number and "-isync" in run_ffmpeg.help_on(self._job.ffmpeg, "long"):
                # Have ffmpeg align the second input with the first: they may begin at different moments.
                inputs += ["-isync", "0"]
            inputs += self._input(number, stream, proxy, goes_on=goes_on)
        numbers = [list(sources).index(_identity(stream)) for stream in streams]
        picture = ["-map", f"{numbers[0]}:v:0?"] if "video" in self._job.wishes.outputs else []
        sound = ["-map", f"{numbers[-1]}:a?"]
        return [self._job.ffmpeg, *_QUIET, *inputs, *picture, *sound, *_OUTPUT, f"file:{path}"]

    def _input(self, number: int, stream: Mapping[str, Any], proxy: Proxy, *, goes_on: bool) -> list[str]:
        """Return ffmpeg's arguments for input `number`; its playlist may be one of the proxy's own pages."""
        url, page = guarded_ffmpeg.address(stream), None
        if guarded_ffmpeg.is_dash(stream):
            headers = stream.get("http_headers") or {}
            manifest = self._manifests.setdefault(url, LiveDash(url, headers, self._ydl))
            page = manifest.begin(stream.get("manifest_stream_number"), goes_on=goes_on).text
        elif not goes_on:
            page = self._first_playlists.get(url)
        playlist, first_segment = None, -1 if goes_on else None
        if page:
            # The playlist begins with the segment with which the piece shall begin.
            playlist, first_segment = f"http://{OWN_HOST}/{number}.m3u8", 0
            proxy.pages[f"/{number}.m3u8"] = page
        hls = guarded_ffmpeg.hls_options(self._job.ffmpeg, first_segment)
        return guarded_ffmpeg.source(stream, proxy, hls, self._ydl.cookiejar, playlist)


def _identity(stream: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return what distinguishes `stream` from others: the URL is not enough, since a DASH manifest has many
    streams.
    """
    return guarded_ffmpeg.address(stream), stream.get("manifest_stream_number")
