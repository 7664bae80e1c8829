"""The media that the site serves: four seconds of test picture and tone, which ffmpeg makes in two seconds.

The film is encoded once and everything else is copied from it, so that all durations and streams agree.
"""

import asyncio
import fcntl
import hashlib
import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tests.tools import FFMPEG

SECONDS = 4
SEGMENTS = SECONDS
BROADCAST = 20  # seconds of the broadcast, and its number of segments of one second
KEY = bytes(range(16))

_MADE = "made"
_PICTURE = ("-f", "lavfi", "-i", f"testsrc2=size=320x180:rate=25:duration={SECONDS}")
_TONE = ("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=44100:duration={SECONDS}")
_H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-keyint_min", "25")
_COPY = ("-i", "video.mp4", "-c", "copy")
_FAST = ("-movflags", "+faststart")
_HLS = ("-f", "hls", "-hls_time", "1", "-hls_playlist_type", "vod", "-hls_list_size", "0")


def make_media(folder: Path) -> Path:
    """Make the media in `folder`, unless they are there; several processes may call this at the same time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _MADE).exists():
            _make_files(folder)
            _make_hls(folder)
            _make_dash(folder)
            (folder / _MADE).touch()
    return folder


@dataclass(frozen=True, slots=True)
class Film:
    """The content of a media file: its duration in seconds, the codec of each stream, and the number of
    frames.
    """

    duration: float
    codecs: list[str]
    pictures: int


async def probe(path: Path) -> Film:
    """Read a media file. Raises `CalledProcessError` if `path` is no media file.

    ffmpeg lists all packets in its `framecrc` format, with times in units of each stream's `tb`.
    """
    command = (FFMPEG, "-v", "error", "-nostdin", "-i", f"file:{path}", *_PACKETS)
    result = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, text=True)
    about: dict[str, dict[str, str]] = {}
    for name, stream, value in re.findall(r"^#(\w+) (\d+): (.+)$", result.stdout, re.MULTILINE):
        about.setdefault(stream, {})[name] = value
    begins: list[Fraction] = []
    ends: list[Fraction] = []
    pictures = 0
    for packet in re.findall(r"^\d.*$", result.stdout, re.MULTILINE):
        stream, _, shown, lasts, *_ = packet.split(",")
        unit = Fraction(about[stream]["tb"])
        begins.append(int(shown) * unit)
        ends.append((int(shown) + int(lasts)) * unit)
        pictures += about[stream]["media_type"] == "video"
    codecs = sorted(stream["codec_id"] for stream in about.values())
    # Packets before 0 are an encoder's priming samples, which are not played.
    return Film(float(max(ends) - max(Fraction(), min(begins))), codecs, pictures)


_PACKETS = ("-map", "0", "-c", "copy", "-f", "framecrc", "-")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _make_files(folder: Path) -> None:
    _ffmpeg(folder, *_PICTURE, *_TONE, *_H264, "-c:a", "aac", "-b:a", "96k", *_FAST, "video.mp4")
    _ffmpeg(folder, *_COPY, "-an", *_FAST, "silent.mp4")
    _ffmpeg(folder, *_COPY, "-vn", *_FAST, "audio.m4a")
    _ffmpeg(folder, "-i", "audio.m4a", "-c:a", "libmp3lame", "-b:a", "64k", "audio.mp3")
    _ffmpeg(folder, "-i", "video.mp4", "-t", "1", *_WEBM, "clip.webm")
    for name in ("thumbnail.jpg", "thumbnail.png", "thumbnail.webp"):
        _ffmpeg(folder, "-i", "video.mp4", "-frames:v", "1", name)
    _pad(folder / "video.mp4", folder / "1mb.mp4", 1_000_000)
    _pad(folder / "video.mp4", folder / "8mb.mp4", 8_000_000)


_WEBM = ("-s", "160x90", "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")


def _make_hls(folder: Path) -> None:
    for kind in ("ts", "fmp4", "aes", "long"):
        (folder / "hls" / kind).mkdir(parents=True, exist_ok=True)
    (folder / "hls/aes/key.bin").write_bytes(KEY)
    (folder / "hls/aes/keyinfo").write_text("key.bin\nhls/aes/key.bin\n")
    _ffmpeg(folder, *_COPY, *_HLS, "-hls_segment_filename", "hls/ts/%d.ts", "hls/ts/index.m3u8")
    _ffmpeg(folder, *_COPY, *_HLS, *_FMP4, "-hls_segment_filename", "hls/fmp4/%d.m4s", "hls/fmp4/index.m3u8")
    _ffmpeg(folder, *_COPY, *_HLS, *_AES, "-hls_segment_filename", "hls/aes/%d.ts", "hls/aes/index.m3u8")
    again = ("-stream_loop", str(BROADCAST // SECONDS - 1))
    _ffmpeg(folder, *again, *_COPY, *_HLS, "-hls_segment_filename", "hls/long/%d.ts", "hls/long/index.m3u8")


_FMP4 = ("-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", "init.mp4")
_AES = ("-hls_key_info_file", "hls/aes/keyinfo")


def _make_dash(folder: Path) -> None:
    (folder / "dash").mkdir(exist_ok=True)
    sets = ("-adaptation_sets", "id=0,streams=v id=1,streams=a")
    _ffmpeg(folder, *_COPY, "-f", "dash", "-seg_duration", "1", *sets, "dash/manifest.mpd")


def _pad(source: Path, target: Path, size: int) -> None:
    """Return the same film in exactly `size` bytes: with a `free` box at its end (ISO 14496-12, 8.1.2)."""
    film = source.read_bytes()
    rest = size - len(film)
    assert rest >= 8, f"{source.name} has {len(film)} bytes and cannot become {size}"
    # Random bytes: compression and sparse files would make zeros smaller.
    filling = hashlib.shake_128(b"clipwire").digest(rest - 8)
    target.write_bytes(film + rest.to_bytes(4, "big") + b"free" + filling)


def _ffmpeg(folder: Path, *arguments: str) -> None:
    command = (FFMPEG, "-v", "error", "-nostdin", "-y", *arguments)
    subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL)
