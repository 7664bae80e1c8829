"""Running ffmpeg through yt-dlp's own `Popen`, which `media.ffmpeg` has replaced by a guarded one."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from yt_dlp.postprocessor import ffmpeg as postprocessor

from server.child.media.ffmpeg import Way
from server.child.process.failed import JobFailed
from server.codes import Code

_STOPPED = 255  # of an ffmpeg that has caught a signal
_ENDED_BY: tuple[tuple[str, Code], ...] = (
    ("no space left on device", "disk_full"),
    ("disk quota exceeded", "disk_full"),
    ("file too large", "too_large"),
    ("cannot allocate memory", "out_of_memory"),
)


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
    if status < 0 or status == _STOPPED:
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


def reason(errors: str) -> Code | None:
    """The code of what ended ffmpeg, if it was not the media."""
    text = errors.lower()
    return next((code for sign, code in _ENDED_BY if sign in text), None)


def convert(ffmpeg: str, arguments: list[str], log: Callable[[str], None]) -> None:
    """Run ffmpeg with `arguments`; raises `JobFailed` with the reason."""
    log(f"ffmpeg {' '.join(arguments)}")
    result = run([ffmpeg, "-hide_banner", "-y", "-loglevel", "warning", *arguments])
    if result.errors:
        log(result.errors)
    if result.status:
        code = reason(result.errors) or "conversion_failed"
        raise JobFailed(code, f"ffmpeg ended with status {result.status}")
