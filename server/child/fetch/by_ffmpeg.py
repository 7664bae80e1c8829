"""Fetches by ffmpeg what yt-dlp cannot fetch itself: SAMPLE-AES, and some rare playlists.

Such a download cannot be resumed: another attempt begins anew.
"""

import re
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from yt_dlp.downloader.external import FFmpegFD
from yt_dlp.downloader.hls import HlsFD
from yt_dlp.utils import DownloadError, YoutubeDLError, determine_protocol

from server.child.extract.youtube_dl import Engine
from server.child.media import guarded_ffmpeg, run_ffmpeg
from server.child.network.proxy import Proxy
from server.child.process import yt_dlp_parts
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.child.process.progress import SHORTEST_PAUSE, Throttle

_POLL_SECONDS: Final = 1.2 * SHORTEST_PAUSE
# Messages of an ffmpeg that has left something out; its exit status is 0 all the same.
_GAPS: Final = (
    "skipping",
    "failed to open segment",
    "failed to reload playlist",
    "error during demuxing",
)
_MAP: Final = re.compile(r"^#EXT-X-MAP:(.*?)\s*$", re.MULTILINE)
_OUTPUT: Final = ("-map", "0:v:0?", "-map", "0:a:0?", "-c", "copy", "-f", "matroska")


_yt_dlp_can = yt_dlp_parts.original(HlsFD, "can_download")


def install() -> None:
    """Let this module do yt-dlp's downloads by ffmpeg, in the rest of this process and its children."""

    def call(self: Any, name: str, info: dict[str, Any]) -> int:
        throttle, log = self.ydl.throttle, self.ydl.params["logger"]
        return retry_after_holds(throttle, lambda: _fetch(self.ydl, self, Path(name), info), log)

    if yt_dlp_parts.fits("handed"):
        FFmpegFD._call_downloader = call
        HlsFD.can_download = staticmethod(_can_download)


def _can_download(playlist: str, stream: dict[str, Any], allow_unplayable_formats: bool = False) -> bool:
    """Replace `HlsFD.can_download`: whether yt-dlp fetches the playlist itself, and not ffmpeg.

    ffmpeg also gets playlists that repeat the same initialization section (EXT-X-MAP: RFC 8216, 4.3.2.5), as
    some do at each discontinuity: yt-dlp refuses them. With different sections yt-dlp decides: ffmpeg would
    ignore all but the first. With `format_index`, which selects the segments between two discontinuities,
    yt-dlp handles EXT-X-MAP correctly.
    """
    maps = _MAP.findall(playlist)
    repeats_its_map = len(maps) > 1 == len(set(maps)) and stream.get("format_index") is None
    return not repeats_its_map and bool(_yt_dlp_can(playlist, stream, allow_unplayable_formats))


def retry_after_holds(throttle: Throttle, fetch: Callable[[], int], log: Log) -> int:
    """Call `fetch`, and again after each failure during which `throttle` held the download.

    While it is held, no byte comes to ffmpeg, which gives up after some seconds.
    """
    while True:
        holds = throttle.holds
        throttle.pace(0)
        try:
            return fetch()
        except (YoutubeDLError, JobFailed, OSError) as error:
            if throttle.holds == holds:
                raise
            log.write(f"the download was held meanwhile, and begins anew: {error}")


def _fetch(engine: Engine, downloader: Any, path: Path, stream: dict[str, Any]) -> int:
    if not guarded_ffmpeg.can_fetch(stream):
        raise DownloadError("This stream needs a program that uses the network by itself: not allowed")
    log: Log = engine.params["logger"]
    log.write(f"ffmpeg fetches this {determine_protocol(stream)} stream")
    ffmpeg, jar = engine.params["ffmpeg_location"], engine.cookiejar
    with Proxy(engine.throttle.pace, engine.params["proxy"], jar.get_cookie_header) as server:
        source = guarded_ffmpeg.source(stream, server, guarded_ffmpeg.hls_options(ffmpeg), jar)
        quiet = ["-hide_banner", "-nostats", "-loglevel", "warning", "-y"]
        command = [ffmpeg, *quiet, *source, *_OUTPUT, f"file:{path}"]
        with guarded_ffmpeg.running(command, server, log) as run:
            _watch(downloader, run.program, path, stream, server)
    status, messages = run.program.returncode, run.messages.lower()
    if run_ffmpeg.was_killed(status, run.messages):
        raise JobFailed("worker_lost", f"ffmpeg was killed: status {status}")
    if status and (code := run_ffmpeg.machine_fault(status, path.parent)):
        raise JobFailed(code, f"ffmpeg ended with status {status}")
    if status or not path.exists():
        raise guarded_ffmpeg.error_of_messages(run.messages)
    if any(message in messages for message in _GAPS):
        raise JobFailed("incomplete", "ffmpeg has left something out")
    return 0


def _watch(downloader: Any, program: Any, path: Path, stream: dict[str, Any], server: Proxy) -> None:
    """Report progress until ffmpeg ends. Only a growing file counts: ffmpeg keeps retrying a silent source.

    Raises what the proxy has `refused`.
    """
    size = 0
    while program.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            program.wait(_POLL_SECONDS)
        _raise_refusal(server)
        before, size = size, path.stat().st_size if path.exists() else 0
        if size > before:
            event = {"status": "downloading", "downloaded_bytes": size, "paced": True}
            downloader._hook_progress(event | {"filename": str(path)}, stream)
    _raise_refusal(server)  # because of which ffmpeg may have ended at once


def _raise_refusal(server: Proxy) -> None:
    if server.refused:
        raise server.refused
