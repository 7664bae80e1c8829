"""What yt-dlp leaves to ffmpeg, because it can't fetch that itself: SAMPLE-AES, playlists of odd kinds.

Such a download cannot be resumed: another attempt begins anew. yt-dlp refuses a playlist that repeats its
initialization section (EXT-X-MAP: RFC 8216, 4.3.2.5), as some do at each discontinuity; ffmpeg plays it.
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

_TICK: Final = 1.2 * SHORTEST_PAUSE  # seconds
# Messages of an ffmpeg that has left something out; its exit status is 0 all the same.
_HOLES: Final = (
    "skipping",
    "failed to open segment",
    "failed to reload playlist",
    "error during demuxing",
)
_MAP: Final = re.compile(r"^#EXT-X-MAP:(.*?)\s*$", re.MULTILINE)
_OUTPUT: Final = ("-map", "0:v:0?", "-map", "0:a:0?", "-c", "copy", "-f", "matroska")


_yt_dlp_can = yt_dlp_parts.original(HlsFD, "can_download")


def install() -> None:
    """Have this module run yt-dlp's downloads by ffmpeg, for the rest of this process and its children."""

    def call(self: Any, name: str, info: dict[str, Any]) -> int:
        throttle, log = self.ydl.throttle, self.ydl.params["logger"]
        return until_not_held(throttle, lambda: _fetch(self.ydl, self, Path(name), info), log)

    if yt_dlp_parts.fits("handed"):
        FFmpegFD._call_downloader = call
        HlsFD.can_download = staticmethod(_can_download)


def _can_download(playlist: str, stream: dict[str, Any], allow_unplayable_formats: bool = False) -> bool:
    """In place of `HlsFD.can_download`: whether yt-dlp fetches the playlist itself, and not ffmpeg.

    ffmpeg gets playlists that repeat one and the same EXT-X-MAP. Different ones do not count: ffmpeg would
    ignore the second, and what follows it would be wrong. With `format_index`, the segments between two
    discontinuities, yt-dlp handles EXT-X-MAP correctly.
    """
    maps = _MAP.findall(playlist)
    repeats_its_map = len(maps) > 1 == len(set(maps)) and stream.get("format_index") is None
    return not repeats_its_map and bool(_yt_dlp_can(playlist, stream, allow_unplayable_formats))


def until_not_held(throttle: Throttle, fetch: Callable[[], int], log: Log) -> int:
    """Call `fetch`, and again if it failed after `throttle` stopped it: ffmpeg waits seconds for a byte."""
    while True:
        holds = throttle.holds
        throttle.pace(0)
        try:
            return fetch()
        except (YoutubeDLError, JobFailed, OSError) as error:
            if throttle.holds == holds:
                raise
            log.write(f"it was held meanwhile, and begins anew: {error}")


def _fetch(engine: Engine, downloader: Any, path: Path, stream: dict[str, Any]) -> int:
    if not guarded_ffmpeg.is_possible(stream):
        raise DownloadError("This stream needs a program that reaches the network by itself, which is off")
    log: Log = engine.params["logger"]
    log.write(f"ffmpeg fetches this {determine_protocol(stream)} stream")
    ffmpeg, jar = engine.params["ffmpeg_location"], engine.cookiejar
    with Proxy(engine.throttle.pace, engine.params["proxy"], jar.get_cookie_header) as server:
        source = guarded_ffmpeg.source(stream, server, guarded_ffmpeg.hls_options(ffmpeg), jar)
        quiet = ["-hide_banner", "-nostats", "-loglevel", "warning", "-y"]
        command = [ffmpeg, *quiet, *source, *_OUTPUT, f"file:{path}"]
        with guarded_ffmpeg.running(command, server, log) as run:
            _watch(downloader, run.program, path, stream, server)
    # ffmpeg may have failed, or left something out.
    status, words = run.program.returncode, run.words.lower()
    if run_ffmpeg.was_killed(status, run.words):
        raise JobFailed("worker_lost", f"ffmpeg was killed: status {status}")
    if status and (code := run_ffmpeg.machine_fault(status, path.parent)):
        raise JobFailed(code, f"ffmpeg ended with status {status}")
    if status or not path.exists():
        raise guarded_ffmpeg.why_nothing_came(run.words)
    if any(sign in words for sign in _HOLES):
        raise JobFailed("incomplete", "ffmpeg has left something out")
    return 0


def _watch(downloader: Any, program: Any, path: Path, stream: dict[str, Any], server: Proxy) -> None:
    """Report progress until ffmpeg ends. Only a growing file counts: ffmpeg keeps retrying a silent source.

    Raises what the proxy has `refused`.
    """
    size = 0
    while program.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            program.wait(_TICK)
        _insist(server)
        before, size = size, path.stat().st_size if path.exists() else 0
        if size > before:
            event = {"status": "downloading", "downloaded_bytes": size, "paced": True}
            downloader._hook_progress(event | {"filename": str(path)}, stream)
    _insist(server)  # ffmpeg may have ended over it before the first look


def _insist(server: Proxy) -> None:
    if server.refused:
        raise server.refused
