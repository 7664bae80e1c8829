"""Runs ffmpeg without access to the network, and watches its progress.

Progress is the output time that ffmpeg reports, and changes of its files. The output time is not enough: in
its second pass over an MP4 (`+faststart`) ffmpeg reports nothing for as long as the disk takes, and an ffmpeg
that hangs may report the same time for ever.

yt-dlp starts ffmpeg, ffprobe and deno through its own `Popen`, and learns nothing of their progress. Here
that class is replaced by one that keeps the programs off the network, has them killed when the child dies,
and reports ffmpeg's progress.

Decisions: docs/decisions/children.md, docs/decisions/retries.md
"""

import errno
import functools
import os
import re
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar, Final, NoReturn, TextIO

import certifi
from yt_dlp import utils
from yt_dlp.downloader.external import FFmpegFD
from yt_dlp.postprocessor import ffmpeg as postprocessor

from server.child.process import job_failed, sandbox, yt_dlp_parts
from server.child.process.job_failed import OF_ERRNO, JobFailed
from server.child.process.log import Excerpt, lines_of
from server.core.codes import Code

_CHECK_FILES_EVERY: Final = 1.0  # seconds
_BLOCK: Final = 64 * 1024  # bytes


def outputs_of(args: Sequence[str]) -> list[Path]:
    """Return the files that an ffmpeg with these arguments writes."""
    words = [arg for before, arg in pairwise(args) if before != "-i"]
    return [Path(word.removeprefix("file:")) for word in words if word.startswith("file:")]


def watch(
    reports: int, outputs: Sequence[Path], on_time: Callable[[float], None], on_written: Callable[[], None]
) -> None:
    """Read the lines of `-progress` from the descriptor `reports` to their end, and close it.

    `on_time` gets the seconds of output written so far, whenever they grow; `on_written` is called when the
    files have changed.
    """
    progress = _Progress(outputs, on_time, on_written)
    with os.fdopen(reports, "rb", buffering=0) as stream:
        rest = b""
        while True:
            if select.select([stream], [], [], _CHECK_FILES_EVERY)[0]:
                block = stream.read(_BLOCK)
                if not block:
                    return
                *lines, rest = (rest + block).split(b"\n")
                progress.read(lines)
            progress.check_files()


class _Progress:
    """What one ffmpeg has reported of its progress so far."""

    def __init__(
        self, outputs: Sequence[Path], on_time: Callable[[float], None], on_written: Callable[[], None]
    ) -> None:
        self._outputs = outputs
        self._on_time = on_time
        self._on_written = on_written
        self._time = -1
        self._file_states: list[tuple[int, int]] = []

    def read(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            name, _, value = line.strip().partition(b"=")
            # The value is N/A at first, and may be negative.
            if name == b"out_time_us" and value.isdigit() and int(value) > self._time:
                self._time = int(value)
                self._on_time(self._time / 1e6)

    def check_files(self) -> None:
        """Call `on_written` if the size or the time of change of a file has changed."""
        stats = map(os.stat, filter(Path.exists, self._outputs))
        states = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
        if states != self._file_states:
            self._file_states = states
            self._on_written()


# A hostile file may be a playlist that names URLs: without network protocols ffmpeg does not open them. This
# option alone is not enough: old releases of ffmpeg fetch what a DASH manifest names all the same.
_LOCAL_ONLY: Final = ["-protocol_whitelist", "file,crypto,data"]

# The protocols that HLS and DASH need through an HTTP proxy.
_THROUGH_PROXY: Final = ["-protocol_whitelist", "http,https,httpproxy,tcp,tls,crypto"]

_PROGRAMS: Final = ("ffmpeg", "ffprobe", "deno")


def replace() -> None:
    """Replace yt-dlp's `Popen`, by which it starts programs, for the rest of this process and its children.

    The fork server calls this before it forks, since a search through all modules takes three milliseconds.
    """
    old = utils.Popen
    if old is _Program:
        return
    # Replace it in each module of yt-dlp that has imported it; modules loaded later get it from `utils`.
    for name, module in list(sys.modules.items()):
        if name.startswith("yt_dlp.") and vars(module).get("Popen") is old:
            module.Popen = _Program  # type: ignore[attr-defined]
    setattr(FFmpegFD, "_call_downloader" if yt_dlp_parts.fits("handed") else "real_download", _refuse)


def install(
    executable: str, lock_fd: int, on_time: Callable[[float], None], on_written: Callable[[], None]
) -> None:
    """Set how yt-dlp and this module start programs in this process from now on.

    ffmpeg, found at `executable`, inherits `lock_fd`; `on_time` gets the seconds of output written so far,
    whenever they grow, and `on_written` is called when its files change, both in another thread. A download
    that yt-dlp leaves to ffmpeg raises `DownloadError`, and other programs (rtmpdump, PhantomJS, a browser's
    tools) seem not to be installed.
    """
    replace()
    _Program.settings = _Settings(executable, lock_fd, sandbox.no_tcp(), on_time, on_written)


@dataclass(frozen=True, slots=True)
class NetworkAccess:
    """The only access of one ffmpeg to the network: TCP `port` of this machine.

    `proxy_url` is that of the proxy that listens there; None if no proxy does.
    """

    port: int
    proxy_url: str | None


@dataclass(frozen=True)
class _Settings:
    executable: str
    lock_fd: int
    no_tcp: int | None
    on_time: Callable[[float], None]
    on_written: Callable[[], None]


class _Program(utils.Popen):  # type: ignore[misc]
    """yt-dlp's `Popen` for programs that are confined; `access` is None for no network."""

    settings: ClassVar[_Settings]

    def __init__(
        self, args: list[str], *remaining: Any, access: NetworkAccess | None = None, **options: Any
    ) -> None:
        name = Path(args[0]).name
        if not name.startswith(_PROGRAMS):
            raise FileNotFoundError(errno.ENOENT, "a child may not start this program", args[0])
        # Ignored signals stay ignored: with SIGXFSZ ignored, writing too large a file fails with EFBIG.
        options |= {"preexec_fn": self._before_exec(self.settings.no_tcp), "restore_signals": False}
        self._reporter: threading.Thread | None = None
        if access:
            self._start_with_access(access, args, *remaining, **options)
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
            reporting = ("-nostats", "-progress", f"pipe:{writing}")
            super().__init__(
                [args[0], *reporting, *_before_inputs(_LOCAL_ONLY, args[1:])], *remaining, **options
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._reporter = threading.Thread(
            target=watch,
            args=(reading, outputs_of(args), self.settings.on_time, self.settings.on_written),
            name="ffmpeg",
            daemon=True,
        )
        self._reporter.start()

    def _start_with_access(
        self, access: NetworkAccess, args: list[str], *remaining: Any, **options: Any
    ) -> None:
        """Start without progress reports: ffmpeg sends them even while its source sends nothing, so they are
        no sign of life.
        """
        ruleset = sandbox.one_tcp_port(access.port)
        options |= {
            "preexec_fn": self._before_exec(ruleset),
            "pass_fds": (self.settings.lock_fd,),
            # Pass the URL of the proxy by the environment: it contains a token, and every user can see
            # command lines. Some builds of ffmpeg have no CA certificates of their own.
            "env": {"SSL_CERT_FILE": certifi.where(), **os.environ, "http_proxy": access.proxy_url or ""},
        }
        try:
            super().__init__([args[0], *_before_inputs(_THROUGH_PROXY, args[1:])], *remaining, **options)
        finally:
            if ruleset is not None:
                os.close(ruleset)

    @staticmethod
    def _before_exec(ruleset: int | None) -> Callable[[], None]:
        """Return the `preexec_fn`, which runs in the new process between fork and exec.

        The documentation of `subprocess` warns of deadlocks in programs with threads: a `preexec_fn` may need
        a lock that another thread held at the fork. This one only makes two system calls, through functions
        that are loaded already, in a tenth of a millisecond; a launcher program would cost the start of an
        interpreter. Fork in the main thread, because the kernel takes the end of the forking thread for the
        parent's death.
        """
        return functools.partial(_confine, os.getpid(), ruleset)


def _confine(parent: int, ruleset: int | None) -> None:
    sandbox.die_with_parent(parent)
    if ruleset is not None:
        sandbox.enter(ruleset)


def _before_inputs(options: list[str], args: list[str]) -> list[str]:
    return [word for arg in args for word in ([*options, arg] if arg == "-i" else [arg])]


def _refuse(*_: Any) -> NoReturn:
    raise utils.DownloadError("This stream needs a program that uses the network by itself: not allowed")


_TEXT: Final[dict[str, Any]] = {
    "text": True,
    "encoding": "utf-8",
    "errors": "replace",
    "stderr": subprocess.PIPE,
}
_SIGNAL_STATUS: Final = 255  # ffmpeg's status after a signal that it caught, but also after EPERM
_SIGNAL_MESSAGE: Final = re.compile(r"^(\[info\] )?Exiting normally, received signal \d+\.$")
_NUMBER: Final = re.compile(r"0x[0-9a-f]+|\d+")
_UNIMPORTANT: Final = re.compile(r"^(\[[^\]]+ @ 0x[0-9a-f]+\] )?\[info\] |^ +: ")
"""Messages of level info, and the further lines of a tag."""


@dataclass(frozen=True, slots=True)
class FfmpegResult:
    status: int
    output: str
    errors: str


def run(command: list[str]) -> FfmpegResult:
    """Run `command` to its end, whatever its status; of very long output only both ends are kept.

    Raises `JobFailed` if there is no such program, or if a signal has killed it: as with the child itself,
    another attempt may help.
    """
    output, errors = Excerpt(), Excerpt()
    try:
        program = postprocessor.Popen(command, **_TEXT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except FileNotFoundError:
        raise JobFailed("ffmpeg_missing", command[0]) from None
    with program, kill_afterwards(program), _collect_output(program.stdout, output):
        program.stdin.close()
        for line in lines_of(program.stderr):
            errors.add(line)
        program.wait()
    result = FfmpegResult(program.returncode, output.text, errors.text)
    if was_killed(result.status, result.errors):
        raise JobFailed("worker_lost", f"{command[0]} was killed: status {result.status}")
    return result


@contextmanager
def kill_afterwards(program: Any) -> Iterator[None]:
    """Kill `program` when the block is left, if it still runs."""
    try:
        yield
    finally:
        if program.poll() is None:
            program.kill(timeout=None)


@contextmanager
def _collect_output(stream: TextIO, excerpt: Excerpt) -> Iterator[None]:
    def collect() -> None:
        for line in lines_of(stream):
            excerpt.add(line)

    thread = Thread(target=collect, name="output", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def start(command: list[str], access: NetworkAccess) -> Any:
    """Start `command` with text pipes; return the `Popen`."""
    pipes = _TEXT | {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    return postprocessor.Popen(command, **pipes, access=access)


@contextmanager
def read_output_lines(command: list[str]) -> Iterator[Iterator[str]]:
    """Run `command` while the block reads the lines of its output, of which there may be any number."""
    text = _TEXT | {"stderr": subprocess.DEVNULL}
    with (
        postprocessor.Popen(command, **text, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as program,
        kill_afterwards(program),
    ):
        yield lines_of(program.stdout)


def help_on(ffmpeg: str, topic: str) -> str:
    """Return ffmpeg's help on `topic`, to see which options this release has."""
    return run([ffmpeg, "-hide_banner", "-h", topic]).output


def machine_fault(status: int, directory: Path) -> Code | None:
    """Return the code if a fault of the machine ended ffmpeg with `status`; None if the media are at fault.

    The status is the last error, as eight bits of a negative number. Before release 6.1 it is always 1, so
    the disk of `directory` is checked as well. ffmpeg's messages are no evidence: they contain names from the
    source.
    """
    if code := OF_ERRNO.get(256 - status):
        return code
    if job_failed.is_full(directory):
        return "disk_full"
    return "too_large" if job_failed.has_largest_file(directory) else None


def convert(ffmpeg: str, arguments: list[str], log: Callable[[str], None]) -> None:
    """Run ffmpeg with `arguments` in the job's directory; raises `JobFailed` with the reason."""
    log(f"ffmpeg {' '.join(arguments)}")
    # At level info ffmpeg says that a signal ended it.
    result = run([ffmpeg, "-hide_banner", "-y", "-loglevel", "level+info", *arguments])
    if messages := [line for line in result.errors.splitlines() if not _UNIMPORTANT.match(line)]:
        log("\n".join(_fold_similar_lines(messages)))
    if result.status:
        code = machine_fault(result.status, Path()) or "conversion_failed"
        raise JobFailed(code, f"ffmpeg ended with status {result.status}")


def _fold_similar_lines(lines: list[str]) -> Iterator[str]:
    """Yield the first of all lines that differ only in numbers, and how many others there are."""
    similar = dict[str, list[str]]()
    for line in lines:
        similar.setdefault(_NUMBER.sub("", line), []).append(line)
    for first, *others in similar.values():
        yield f"{first} [and {len(others)} more like that]" if others else first


def was_killed(status: int, errors: str) -> bool:
    """Whether a signal ended ffmpeg, by its `status` or by its last message at level info."""
    last_message = errors.rstrip().rpartition("\n")[2]
    return status < 0 or (status == _SIGNAL_STATUS and bool(_SIGNAL_MESSAGE.match(last_message)))
