"""Running ffmpeg through yt-dlp's own `Popen`, which `server.child.ffmpeg` has replaced by a guarded one."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from yt_dlp.postprocessor import ffmpeg as postprocessor

from server.child.failures import JobFailed

_ENDED_BY = (
    ("no space left on device", "disk_full"),
    ("disk quota exceeded", "disk_full"),
    ("file too large", "too_large"),
    ("cannot allocate memory", "out_of_memory"),
)


@dataclass(frozen=True, slots=True)
class Result:
    status: int
    errors: str


def run(command: list[str]) -> Result:
    """Run `command` to its end, whatever that is; raises `JobFailed` if there is no such program."""
    try:
        _, errors, status = postprocessor.Popen.run(
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
    return Result(status, errors or "")


def convert(ffmpeg: str, arguments: list[str], log: Callable[[str], None]) -> None:
    """Run ffmpeg with `arguments`; raises `JobFailed` with the reason."""
    log(f"ffmpeg {' '.join(arguments)}")
    result = run([ffmpeg, "-hide_banner", "-y", "-loglevel", "warning", *arguments])
    if result.errors:
        log(result.errors)
    if result.status:
        text = result.errors.lower()
        code = next((code for sign, code in _ENDED_BY if sign in text), "conversion_failed")
        raise JobFailed(code, f"ffmpeg ended with status {result.status}")
