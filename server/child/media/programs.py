"""Running ffmpeg through yt-dlp's own `Popen`, which `media.ffmpeg` has replaced by a guarded one."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from yt_dlp.postprocessor import ffmpeg as postprocessor

from server.child.media.ffmpeg import Way
from server.child.process import disk
from server.child.process.failed import OF_ERRNO, JobFailed
from server.codes import Code

_CAUGHT: Final = 255  # the status of an ffmpeg that caught a signal, but also of one that lacked a permission
_LAST_WORD: Final = re.compile(r"^(\[info\] )?Exiting normally, received signal \d+\.$")
_UNIMPORTANT: Final = re.compile(r"^(\[[^\]]+ @ 0x[0-9a-f]+\] )?\[info\] ")


@dataclass(frozen=True, slots=True)
class Result:
    status: int
    output: str
    errors: str


def run(command: list[str]) -> Result:
    """Run `command` to its end, whatever that is.

    Raises `JobFailed` if there is no such program, or if somebody or the kernel has killed it: as with the
    child itself, another attempt may help.
    """
    try:
        output, errors, status = postprocessor.Popen.run(
            command,
            text=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError:
        raise JobFailed("ffmpeg_missing", command[0]) from None
    if _was_killed(status, errors):
        raise JobFailed("worker_lost", f"{command[0]} was killed: status {status}")
    return Result(status, output or "", errors or "")


def start(command: list[str], way: Way) -> Any:
    """Return `command` running, with `way` as its only one to the network, and its pipes as text."""
    pipe = subprocess.PIPE
    return postprocessor.Popen(
        command,
        text=True,
        encoding="utf-8",
        errors="replace",
        stdin=pipe,
        stdout=subprocess.DEVNULL,
        stderr=pipe,
        way=way,
    )


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
        log("\n".join(complaints))
    if result.status:
        code = reason(result.status, Path()) or "conversion_failed"
        raise JobFailed(code, f"ffmpeg ended with status {result.status}")


def _was_killed(status: int, errors: str) -> bool:
    return status < 0 or (status == _CAUGHT and bool(_LAST_WORD.match(errors.rstrip().rpartition("\n")[2])))
