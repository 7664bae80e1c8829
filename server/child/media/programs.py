"""Running ffmpeg through yt-dlp's own `Popen`, which `media.ffmpeg` has replaced by a guarded one."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final, TextIO

from yt_dlp.postprocessor import ffmpeg as postprocessor

from server.child.media.ffmpeg import Way
from server.child.process import disk
from server.child.process.ends import Ends, lines_of
from server.child.process.failed import OF_ERRNO, JobFailed
from server.codes import Code

_TEXT: Final[dict[str, Any]] = {
    "text": True,
    "encoding": "utf-8",
    "errors": "replace",
    "stderr": subprocess.PIPE,
}
_CAUGHT: Final = 255  # the status of an ffmpeg that caught a signal, but also of one that lacked a permission
_LAST_WORD: Final = re.compile(r"^(\[info\] )?Exiting normally, received signal \d+\.$")
_NUMBER: Final = re.compile(r"0x[0-9a-f]+|\d+")
_UNIMPORTANT: Final = re.compile(r"^(\[[^\]]+ @ 0x[0-9a-f]+\] )?\[info\] |^ +: ")  # or more of a tag's value


@dataclass(frozen=True, slots=True)
class Result:
    status: int
    output: str
    errors: str


def run(command: list[str]) -> Result:
    """Run `command` to its end, whatever that is; of very much that it says both ends are kept.

    Raises `JobFailed` if there is no such program, or if somebody or the kernel has killed it: as with the
    child itself, another attempt may help.
    """
    output, errors = Ends(), Ends()
    try:
        program = postprocessor.Popen(command, **_TEXT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except FileNotFoundError:
        raise JobFailed("ffmpeg_missing", command[0]) from None
    with program, killed(program), _collecting(program.stdout, output):
        program.stdin.close()
        for line in lines_of(program.stderr):
            errors.add(line)
        program.wait()
    status, said = program.returncode, errors.text
    if was_killed(status, said):
        raise JobFailed("worker_lost", f"{command[0]} was killed: status {status}")
    return Result(status, output.text, said)


@contextmanager
def killed(program: Any) -> Iterator[None]:
    """However the block is left, `program` runs no more."""
    try:
        yield
    finally:
        if program.poll() is None:
            program.kill(timeout=None)


@contextmanager
def _collecting(stream: TextIO, ends: Ends) -> Iterator[None]:
    def collect() -> None:
        for line in lines_of(stream):
            ends.add(line)

    thread = Thread(target=collect, name="output", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def start(command: list[str], way: Way) -> Any:
    """Return `command` running, with `way` as its only one to the network, and its pipes as text."""
    return postprocessor.Popen(command, **_TEXT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, way=way)


def help_on(ffmpeg: str, topic: str) -> str:
    """What this ffmpeg says about its options: not every release has all of them."""
    return run([ffmpeg, "-hide_banner", "-h", topic]).output


def reason(status: int, directory: Path) -> Code | None:
    """The code of what ended ffmpeg with `status` at work in `directory`, if it was not the media.

    The status is the last error, as eight bits of a negative number. Before release 6.1 it is always 1: then
    this machine is looked at. ffmpeg's words are no evidence: there are names in them that others chose.
    """
    if code := OF_ERRNO.get(256 - status):
        return code
    if disk.is_full(directory):
        return "disk_full"
    return "too_large" if disk.has_largest_file(directory) else None


def convert(ffmpeg: str, arguments: list[str], log: Callable[[str], None]) -> None:
    """Run ffmpeg with `arguments` in the job's directory; raises `JobFailed` with the reason."""
    log(f"ffmpeg {' '.join(arguments)}")
    # It says at the level of info that it was killed.
    result = run([ffmpeg, "-hide_banner", "-y", "-loglevel", "level+info", *arguments])
    if complaints := [line for line in result.errors.splitlines() if not _UNIMPORTANT.match(line)]:
        log("\n".join(_once(complaints)))
    if result.status:
        code = reason(result.status, Path()) or "conversion_failed"
        raise JobFailed(code, f"ffmpeg ended with status {result.status}")


def _once(lines: list[str]) -> Iterator[str]:
    """Of those that differ only in numbers the first, and how many there are."""
    alike = dict[str, list[str]]()
    for line in lines:
        alike.setdefault(_NUMBER.sub("", line), []).append(line)
    for first, *others in alike.values():
        yield f"{first} [and {len(others)} more like that]" if others else first


def was_killed(status: int, errors: str) -> bool:
    """By somebody or by the kernel, as far as its `status` or its words at the level of info tell."""
    return status < 0 or (status == _CAUGHT and bool(_LAST_WORD.match(errors.rstrip().rpartition("\n")[2])))
