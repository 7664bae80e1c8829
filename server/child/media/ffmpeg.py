"""How yt-dlp's programs are started: ffmpeg and ffprobe above all, but deno as well.

yt-dlp starts them through its own `Popen` and waits without any report. Here that class is replaced by one
that keeps the programs off the network, has them killed when the child dies, and reports ffmpeg's progress.
"""

import errno
import functools
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn

import certifi
from yt_dlp import utils
from yt_dlp.downloader.external import FFmpegFD

from server.child.media import ffmpeg_progress
from server.child.process import borrowed, linux, sandbox

# A hostile file may be a playlist that names URLs: without network protocols ffmpeg does not open them.
# That is not enough by itself: old releases fetch what a DASH manifest names all the same.
_LOCAL_ONLY: Final = ["-protocol_whitelist", "file,crypto,data"]

# The protocols that HLS, DASH, and RTMP over HTTP or TLS need through an HTTP proxy.
_THROUGH_PROXY: Final = [
    "-protocol_whitelist",
    "http,https,httpproxy,tcp,tls,crypto,rtmp,rtmps,rtmpt,rtmpts,ffrtmphttp",
]

_PROGRAMS: Final = ("ffmpeg", "ffprobe", "deno")


def install(
    executable: str, lock_fd: int, on_time: Callable[[float], None], on_written: Callable[[], None]
) -> None:
    """Replace yt-dlp's `Popen`, by which it starts programs, for the rest of this process.

    ffmpeg, found at `executable`, inherits `lock_fd`; `on_time` gets the seconds of output written so far,
    whenever they grow, and `on_written` is called when its files change, both in another thread. A download
    that yt-dlp leaves to ffmpeg raises `DownloadError`, and other programs (rtmpdump, PhantomJS, a browser's
    tools) seem not to be installed.
    """
    with_settings = {"settings": _Settings(executable, lock_fd, sandbox.no_tcp(), on_time, on_written)}
    _replace(utils.Popen, type("Popen", (_Program,), with_settings))
    setattr(FFmpegFD, "_call_downloader" if borrowed.fits("handed") else "real_download", _refuse)


@dataclass(frozen=True, slots=True)
class Way:
    """The only access of one ffmpeg to the network: TCP `port` of this machine.

    `url` is that of the proxy that listens there, None if it is no proxy.
    """

    port: int
    url: str | None


@dataclass(frozen=True)
class _Settings:
    executable: str
    lock_fd: int
    no_tcp: int | None
    on_time: Callable[[float], None]
    on_written: Callable[[], None]


class _Program(utils.Popen):  # type: ignore[misc]
    settings: ClassVar[_Settings]

    def __init__(self, args: list[str], *remaining: Any, way: Way | None = None, **options: Any) -> None:
        name = Path(args[0]).name
        if not name.startswith(_PROGRAMS):
            raise FileNotFoundError(errno.ENOENT, "not to be started from here", args[0])
        # Ignored signals stay ignored: with SIGXFSZ ignored, writing too large a file fails with EFBIG.
        options |= {"preexec_fn": self._before_exec(self.settings.no_tcp), "restore_signals": False}
        self._reporter: threading.Thread | None = None
        if way:
            self._start_on(way, args, *remaining, **options)
        elif args[0] == self.settings.executable and "-i" in args:
            self._start_reporting(args, *remaining, **options)
        else:
            local = _LOCAL_ONLY if name.startswith("ffprobe") and len(args) > 2 else []
            super().__init__([args[0], *local, *args[1:]], *remaining, **options)

    def __exit__(self, *exc_info: Any) -> None:
        try:
            super().__exit__(*exc_info)
        finally:
            if self._reporter:
                self._reporter.join()

    def _start_reporting(self, args: list[str], *remaining: Any, **options: Any) -> None:
        reading, writing = os.pipe()
        options["pass_fds"] = (self.settings.lock_fd, writing)
        try:
            super().__init__(_with_progress(args, writing), *remaining, **options)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        told = (reading, ffmpeg_progress.outputs_of(args), self.settings.on_time, self.settings.on_written)
        self._reporter = threading.Thread(target=ffmpeg_progress.watch, args=told, name="ffmpeg", daemon=True)
        self._reporter.start()

    def _start_on(self, way: Way, args: list[str], *remaining: Any, **options: Any) -> None:
        """Start without progress reports: ffmpeg would go on reporting while its source sends nothing."""
        ruleset = sandbox.one_tcp_port(way.port)
        options |= {
            "preexec_fn": self._before_exec(ruleset),
            "pass_fds": (self.settings.lock_fd,),
            # The URL has the proxy's token: it is not for the command line, which every user can see.
            # Some builds have no certificates of their own.
            "env": {"SSL_CERT_FILE": certifi.where(), **os.environ, "http_proxy": way.url or ""},
        }
        try:
            super().__init__([args[0], *_before_inputs(_THROUGH_PROXY, args[1:])], *remaining, **options)
        finally:
            if ruleset is not None:
                os.close(ruleset)

    @staticmethod
    def _before_exec(ruleset: int | None) -> Callable[[], None]:
        """The `preexec_fn`, which runs in the new process between fork and exec.

        `subprocess` warns of deadlocks in programs with threads: what runs here may need a lock that another
        thread held at the fork. Here it is two system calls through functions that are loaded already, and a
        tenth of a millisecond; a launcher program would cost the start of an interpreter. The kernel takes
        the end of the forking thread for the parent's death, so fork in the main thread.
        """
        return functools.partial(_confine, os.getpid(), ruleset)


def _confine(parent: int, ruleset: int | None) -> None:
    linux.die_with_parent(parent)
    if ruleset is not None:
        sandbox.enter(ruleset)


def _with_progress(args: list[str], writing: int) -> list[str]:
    """Add `-progress`, and the protocol whitelist in front of each input."""
    return [args[0], "-nostats", "-progress", f"pipe:{writing}", *_before_inputs(_LOCAL_ONLY, args[1:])]


def _before_inputs(options: list[str], args: list[str]) -> list[str]:
    return [word for arg in args for word in ([*options, arg] if arg == "-i" else [arg])]


def _replace(old: type, new: type) -> None:
    """Put `new` wherever yt-dlp's modules have imported `old`; those loaded later get it from `utils`."""
    for name, module in list(sys.modules.items()):
        if name.startswith("yt_dlp.") and vars(module).get("Popen") is old:
            module.Popen = new  # type: ignore[attr-defined]


def _refuse(*_: Any) -> NoReturn:
    raise utils.DownloadError("This stream needs a program that reaches the network by itself, which is off")
