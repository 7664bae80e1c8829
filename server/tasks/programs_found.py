"""The programs that children need: ffmpeg and a JavaScript runtime for yt-dlp."""

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


def find_tools() -> Tools:
    """The system's ffmpeg, else the one that a wheel brings; deno lies beside the interpreter."""
    deno = shutil.which("deno", path=sysconfig.get_path("scripts")) or shutil.which("deno")
    return Tools(ffmpeg=shutil.which("ffmpeg") or _bundled_ffmpeg(), deno=deno)


def _bundled_ffmpeg() -> str | None:
    """Found by its place in the wheel: importing the package would cost the server memory."""
    folder = Path(sysconfig.get_path("purelib")) / "imageio_ffmpeg" / "binaries"
    return next((str(path) for path in folder.glob("ffmpeg-*") if os.access(path, os.X_OK)), None)
