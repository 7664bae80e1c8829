"""Running ffmpeg through yt-dlp's own `Popen`, which `media.ffmpeg` has replaced by a guarded one.

Decisions: docs/decisions/children.md
"""

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
from server.child.process import disk_full
from server.child.process.excerpt import Excerpt, lines_of
from server.child.process.job_failed import OF_ERRNO, JobFailed
from server.core.codes import Code

_TEXT: Final[dict[str, Any]] = {
    "text": True,
    "encoding": "utf-8",
    "errors": "replace",
    "stderr": subprocess.PIPE,
}
_CAUGHT: Final = 255  # ffmpeg's status after a signal that it caught, but also after EPERM
_LAST_WORD: Final = re.compile(r"^(\[info\] )?Exiting normally, received signal \d+\.$")
_NUMBER: Final = re.compile(r"0x[0-9a-f]+|\d+")
_UNIMPORTANT: Final = re.compile(r"^(\[[^\]]+ @ 0x[0-9a-f]+\] )?\[info\] |^ +: ")  # or a tag's next line


@dataclass(frozen=True, slots=True)
class Result:
    status: int
    output: str
    errors: str


def run(command: list[str]) -> Result:
    """Run `command` to its end, whatever its status; of very long output only both ends are kept.

    Raises `JobFailed` if there is no such program, or if a signal has killed it: as with the child itself,
    another attempt may help.
    """
    output, errors = Excerpt(), Excerpt()
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
    """Kill `program` when the block is left, if it still runs."""
    try:
        yield
    finally:
        if program.poll() is None:
            program.kill(timeout=None)


@contextmanager
def _collecting(stream: TextIO, ends: Excerpt) -> Iterator[None]:
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
    """Start `command`, with `way` as its only access to the network, and its pipes as text."""
    return postprocessor.Popen(command, **_TEXT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, way=way)


@contextmanager
def listing(command: list[str]) -> Iterator[Iterator[str]]:
    """Run `command` while the block reads the lines of its output, of which there may be any number."""
    text = _TEXT | {"stderr": subprocess.DEVNULL}
    with (
        postprocessor.Popen(command, **text, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as program,
        killed(program),
    ):
        yield lines_of(program.stdout)


def help_on(ffmpeg: str, topic: str) -> str:
    """What this ffmpeg says about its options: not every release has all of them."""
    return run([ffmpeg, "-hide_banner", "-h", topic]).output


def reason(status: int, directory: Path) -> Code | None:
    """The code of the machine's fault that ended ffmpeg with `status` in `directory`; None: the media's.

    The status is the last error, as eight bits of a negative number. Before release 6.1 it is always 1, so
    the disk is checked as well. ffmpeg's messages are no evidence: they contain names that others chose.
    """
    if code := OF_ERRNO.get(256 - status):
        return code
    if disk_full.is_full(directory):
        return "disk_full"
    return "too_large" if disk_full.has_largest_file(directory) else None


def convert(ffmpeg: str, arguments: list[str], log: Callable[[str], None]) -> None:
    """Run ffmpeg with `arguments` in the job's directory; raises `JobFailed` with the reason."""
    log(f"ffmpeg {' '.join(arguments)}")
    # At level info ffmpeg says that a signal ended it.
    result = run([ffmpeg, "-hide_banner", "-y", "-loglevel", "level+info", *arguments])
    if complaints := [line for line in result.errors.splitlines() if not _UNIMPORTANT.match(line)]:
        log("\n".join(_once(complaints)))
    if result.status:
        code = reason(result.status, Path()) or "conversion_failed"
        raise JobFailed(code, f"ffmpeg ended with status {result.status}")


def _once(lines: list[str]) -> Iterator[str]:
    """Of `lines` that differ in nothing but numbers only the first, with the count of the others."""
    alike = dict[str, list[str]]()
    for line in lines:
        alike.setdefault(_NUMBER.sub("", line), []).append(line)
    for first, *others in alike.values():
        yield f"{first} [and {len(others)} more like that]" if others else first


def was_killed(status: int, errors: str) -> bool:
    """Whether a signal ended ffmpeg, by its `status` or by its last message at level info."""
    return status < 0 or (status == _CAUGHT and bool(_LAST_WORD.match(errors.rstrip().rpartition("\n")[2])))
