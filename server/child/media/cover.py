"""Makes the cover of a podcast feed: a square picture, as podcast apps need it, from one of any shape."""

import base64
from collections.abc import Callable
from pathlib import Path

from server.child.media import run_ffmpeg

SOURCE, COVER = "source", "cover.jpg"
SIDE = 1400  # pixels; Apple requires 1400 to 3000
# A small file may have so many pixels that decoding takes minutes, and all memory.
MAX_PIXELS = 70_000_000
# The whole picture, in front of itself enlarged to fill the square, which is shrunk first to blur it.
_SQUARE = (
    "split[whole][blurred];"
    "[blurred]scale=56:56:force_original_aspect_ratio=increase,crop=56:56,"
    f"scale={SIDE}:{SIDE}:flags=bicubic,setsar=1[behind];"
    f"[whole]scale={SIDE}:{SIDE}:force_original_aspect_ratio=decrease:flags=lanczos,setsar=1[before];"
    "[behind][before]overlay=(W-w)/2:(H-h)/2,format=yuvj420p"
)


def cover(directory: Path, ffmpeg: str, log: Callable[[str], None]) -> str:
    """Make a cover of the picture `SOURCE` in `directory`; return it, a JPEG, in base64.

    Raises `JobFailed` and `OSError`.
    """
    target = directory / COVER
    reading = ["-max_pixels", str(MAX_PIXELS), "-i", f"file:{directory / SOURCE}", "-map", "0:v:0"]
    writing = ["-vf", _SQUARE, "-frames:v", "1", "-q:v", "4", "-f", "mjpeg", f"file:{target}"]
    run_ffmpeg.convert(ffmpeg, [*reading, *writing], log)
    return base64.b64encode(target.read_bytes()).decode()
