"""Finds the programs that children need: ffmpeg and a JavaScript runtime for yt-dlp."""

import os
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tools:
    """Absolute paths, or None for what is missing."""

    ffmpeg: str | None
    deno: str | None


def find_tools(ffmpeg: Path | None = None) -> Tools:
    """Take the `ffmpeg` that the operator names (`downloads.ffmpeg`), else the one in the wheel
    imageio-ffmpeg, else the system's; and deno beside the interpreter, else the system's.

    The wheel's ffmpeg takes a fifth of the CPU time that Debian's takes to start. `IMAGEIO_FFMPEG_EXE` is the
    environment variable of that wheel.

    Decisions: docs/decisions/children.md
    """
    deno = shutil.which("deno", path=sysconfig.get_path("scripts")) or shutil.which("deno")
    if ffmpeg:
        return Tools(ffmpeg=str(ffmpeg), deno=deno)
    named = os.environ.get("IMAGEIO_FFMPEG_EXE")
    found = shutil.which(named) if named else bundled_ffmpeg() or shutil.which("ffmpeg")
    return Tools(ffmpeg=found, deno=deno)


def bundled_ffmpeg() -> str | None:
    """Find ffmpeg by its path in the wheel: importing the package would cost the server memory."""
    folder = Path(sysconfig.get_path("purelib")) / "imageio_ffmpeg" / "binaries"
    return next((str(path) for path in folder.glob("ffmpeg-*") if os.access(path, os.X_OK)), None)
