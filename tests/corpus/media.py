"""More media for the site, in `more/`: every container and codec that a link may lead to, and more streams.

Everything is copied or encoded from the site's own four seconds, and made once in a folder.
"""

import fcntl
import os
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from tests.corpus.sealing import IV, frames, seal_pictures, seal_sounds, seal_tables
from tests.site.media import KEY
from tests.tools import BUNDLED

_MADE: Final = "made"
_ALL: Final = ("-i", "../video.mp4")
_SILENT: Final = ("-i", "../silent.mp4")
_SOUND: Final = ("-i", "../audio.m4a")
_COPY: Final = ("-c", "copy")
_X264: Final = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25")
_SMALL: Final = ("-t", "2", "-s", "160x90")
_PARTS: Final = ("-movflags", "frag_keyframe+empty_moov+default_base_moof")
_HLS: Final = ("-f", "hls", "-hls_time", "1", "-hls_playlist_type", "vod", "-hls_list_size", "0")
_FMP4: Final = ("-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", "init.mp4")
_DASH: Final = ("-f", "dash", "-seg_duration", "1", "-adaptation_sets", "id=0,streams=v id=1,streams=a")
_SEALED: Final = (
    "-encryption_scheme",
    "cenc-aes-ctr",
    "-encryption_key",
    KEY.hex(),
    "-encryption_kid",
    KEY.hex(),
)
_TWO_SOUNDS: Final = ("-map", "0:v", "-map", "0:a", "-map", "0:a", "-metadata:s:a:1", "language=ger")

_SEALED_HLS: Final = "hls/sealed/index.m3u8"

# The file that ffmpeg makes -> its arguments.
_FILES: Final[dict[str, tuple[str, ...]]] = {
    "late.mp4": (*_ALL, *_COPY),
    "fragmented.mp4": (*_ALL, *_COPY, *_PARTS),
    "film.mov": (*_ALL, *_COPY),
    "film.3gp": (*_ALL, *_COPY),
    "film.mkv": (*_ALL, *_COPY),
    "film.flv": (*_ALL, *_COPY),
    "film.ts": (*_ALL, *_COPY),
    "film.h264": (*_SILENT, *_COPY),
    "film.m4v": (*_ALL, *_COPY, "-f", "mp4"),
    "film.f4v": (*_ALL, *_COPY, "-f", "f4v"),
    "film.avi": (*_ALL, "-c:v", "mpeg4", "-c:a", "libmp3lame"),
    "film.mpg": (*_ALL, "-c:v", "mpeg2video", "-c:a", "mp2"),
    "film.wmv": (*_ALL, "-c:v", "wmv2", "-c:a", "wmav2"),
    "film.ogv": (*_ALL, *_SMALL, "-c:v", "libtheora", "-c:a", "libvorbis"),
    "vp8.webm": (*_ALL, *_SMALL, "-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libvorbis"),
    "hevc.mp4": (*_ALL, *_SMALL, "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none",
                 "-tag:v", "hvc1", "-c:a", "aac"),
    "av1.mp4": (*_ALL, *_SMALL, "-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime",
                "-c:a", "libopus"),
    "wma.mkv": (*_ALL, "-c:v", "copy", "-c:a", "wmav2"),
    "ac3.mkv": (*_ALL, "-c:v", "copy", "-c:a", "ac3"),
    "small.mp4": (*_ALL, *_SMALL, *_X264, "-c:a", "aac"),
    "small.ts": (*_ALL, *_SMALL, *_X264, "-c:a", "aac"),
    "two-sounds.mp4": (*_ALL, *_TWO_SOUNDS, *_COPY),
    "words.mkv": (*_ALL, "-i", "words.srt", *_COPY),
    "words.mp4": (*_ALL, "-i", "words.srt", *_COPY, "-c:s", "mov_text"),
    "turned.mp4": ("-display_rotation", "90", *_ALL, *_COPY),
    "sealed.mp4": (*_SILENT, *_COPY, *_SEALED, *_PARTS),
    "sealed-sound.mp4": (*_ALL, *_COPY, *_SEALED, "-movflags", "+faststart"),
    "sealed.m4a": (*_SOUND, *_COPY, *_SEALED, *_PARTS, "-f", "mp4"),
    "animated.gif": (*_SILENT, *_SMALL, "-r", "5"),
    "still.png": (*_SILENT, "-frames:v", "1"),
    "sound.opus": (*_SOUND, "-c:a", "libopus"),
    "sound.ogg": (*_SOUND, "-c:a", "libvorbis"),
    "sound.flac": _SOUND,
    "sound.wav": _SOUND,
    "sound.aac": (*_SOUND, *_COPY),
    "sound.wma": _SOUND,
    "sound.ac3": (*_SOUND, "-c:a", "ac3"),
    "sound.mp2": (*_SOUND, "-c:a", "mp2"),
    "sound.aiff": _SOUND,
    "sound.mka": (*_SOUND, *_COPY),
    "sound.caf": (*_SOUND, "-c:a", "pcm_s16be"),
    "sound.au": _SOUND,
    "alac.m4a": (*_SOUND, "-c:a", "alac"),
    "cover.mp3": ("-i", "../audio.mp3", "-i", "../thumbnail.jpg", "-map", "0", "-map", "1", *_COPY),
    "cover.m4a": (*_SOUND, "-i", "../thumbnail.jpg", "-map", "0", "-map", "1", *_COPY,
                  "-disposition:v", "attached_pic"),
    "hls/small/index.m3u8": (*_ALL, *_SMALL, *_X264, "-c:a", "aac", *_HLS),
    "hls/silent/index.m3u8": (*_SILENT, *_COPY, *_HLS),
    "hls/sound/index.m3u8": (*_SOUND, *_COPY, *_HLS),
    "hls/file/index.m3u8": (*_ALL, *_COPY, *_HLS, "-hls_flags", "single_file"),
    "hls/file-fmp4/index.m3u8": (*_ALL, *_COPY, *_HLS, *_FMP4, "-hls_flags", "single_file"),
    "hls/rekeyed/index.m3u8": (*_ALL, *_COPY, *_HLS, "-hls_key_info_file", "keyinfo",
                               "-hls_flags", "periodic_rekey"),
    "hls/sealed-iv/index.m3u8": (*_ALL, *_COPY, *_HLS, "-hls_key_info_file", "keyinfo-iv"),
    _SEALED_HLS: ("-v", "fatal", "-r", "25", "-i", "sealed.h264", "-i", "sealed.aac", *_COPY, *_HLS),
    "hls/hevc/index.m3u8": ("-i", "hevc.mp4", *_COPY, *_HLS, *_FMP4),
    "hls/vp9/index.m3u8": ("-i", "../clip.webm", *_COPY, *_HLS, *_FMP4),
    "dash/numbers/index.mpd": (*_ALL, *_COPY, *_DASH, "-use_timeline", "0"),
    "dash/list/index.mpd": (*_ALL, *_COPY, *_DASH, "-use_timeline", "0", "-use_template", "0"),
    "dash/file/index.mpd": (*_ALL, *_COPY, *_DASH, "-single_file", "1"),
    "dash/webm/index.mpd": ("-i", "../clip.webm", *_COPY, *_DASH, "-dash_segment_type", "webm"),
    "dash/silent/index.mpd": (*_SILENT, *_COPY, *_DASH[:4]),
    "dash/qualities/index.mpd": (
        *_ALL, "-map", "0:v", "-map", "0:v", "-map", "0:a", "-c:v:0", "copy", *_X264[:-2], "-s:v:1", "160x90",
        "-c:a", "copy", "-c:v:1", "libx264", "-g", "25", *_DASH,
    ),
    "ism/Manifest": (*_ALL, *_COPY, "-f", "smoothstreaming", "-min_frag_duration", "1000000"),
    "hds/index.f4m": (*_ALL, *_COPY, "-f", "hds"),
}  # fmt: skip
# ffmpeg makes a folder of this name and its files by itself.
_IN_A_FOLDER: Final = ("ism/Manifest", "hds/index.f4m")
_AFTER: Final = ("hls/hevc/index.m3u8",)  # this file is made of files that are made here, so it comes last


def add_to(media: Path) -> Path:
    """Make `more/` in the site's `media`, unless it is there; return the folder."""
    folder = media / "more"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _MADE).exists():
            _make(folder)
            (folder / _MADE).touch()
    return media


def _make(folder: Path) -> None:
    (folder / "words.srt").write_text("1\n00:00:00,000 --> 00:00:03,000\nWords\n")
    (folder / "keyinfo").write_text("/hls/aes/key.bin\n../hls/aes/key.bin\n")
    (folder / "keyinfo-iv").write_text(f"/hls/aes/key.bin\n../hls/aes/key.bin\n{KEY[::-1].hex()}\n")
    _run(folder, _FILES.keys() - {*_AFTER, _SEALED_HLS})
    _run(folder, _AFTER)
    film = (folder.parent / "video.mp4").read_bytes()
    (folder / "trailing.mp4").write_bytes(film + b"<!-- cached by a proxy -->\n" * 40)
    (folder / "film").write_bytes(film)
    (folder / "FILM.MP4").write_bytes(film)
    (folder / "Ein Film, ä & 100%.mp4").write_bytes(film)
    (folder / "empty.mp4").touch()
    (folder / "half.mp4").write_bytes(film[: len(film) // 2])
    (folder / "page.mp4").write_text(
        "<!doctype html><html><head><title>Error</title></head><body>Sorry</body></html>"
    )
    (folder / "film.zip").write_bytes(b"PK\x03\x04" + film[:5000])
    (folder / "paper.pdf").write_bytes(b"%PDF-1.7\n" + bytes(5000))
    (folder / "words.txt").write_text("Only words.\n" * 100)
    os.makedirs(folder / "get_file", exist_ok=True)
    os.link(folder / "small.mp4", folder / "get_file/small.mp4")
    os.link(folder.parent / "video.mp4", folder / "get_file/video.mp4")
    _pack_sound(folder)
    _seal_segments(folder)
    _say_the_start(folder / "ism/Manifest")


def _run(folder: Path, names: Iterable[str]) -> None:
    with ThreadPoolExecutor(2) as workers:
        list(workers.map(partial(_ffmpeg, folder), sorted(names)))


def _ffmpeg(folder: Path, name: str) -> None:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    output = str(target.parent if name in _IN_A_FOLDER else target)
    subprocess.run(
        (BUNDLED, "-v", "error", "-nostdin", "-y", *_FILES[name], output),
        cwd=folder, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def _pack_sound(folder: Path) -> None:
    """Make HLS of bare ADTS (RFC 8216, 3.4): a sound without any container, cut between two frames."""
    packed = folder / "hls/packed"
    packed.mkdir(parents=True)
    sounds = list(frames((folder / "sound.aac").read_bytes()))
    pieces = [sounds[: len(sounds) // 2], sounds[len(sounds) // 2 :]]
    for number, piece in enumerate(pieces):
        (packed / f"{number}.aac").write_bytes(b"".join(piece))
    segments = "".join(f"#EXTINF:2.0,\n{number}.aac\n" for number in range(len(pieces)))
    (packed / "index.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n{segments}#EXT-X-ENDLIST\n"
    )


def _seal_segments(folder: Path) -> None:
    """Make HLS of MPEG-TS by SAMPLE-AES. The streams are encrypted before ffmpeg cuts them: it reads only
    parts that stay open.
    """
    (folder / "sealed.h264").write_bytes(seal_pictures((folder / "film.h264").read_bytes(), KEY))
    (folder / "sealed.aac").write_bytes(seal_sounds((folder / "sound.aac").read_bytes(), KEY))
    _ffmpeg(folder, _SEALED_HLS)
    playlist = folder / _SEALED_HLS
    for segment in playlist.parent.glob("*.ts"):
        segment.write_bytes(seal_tables(segment.read_bytes()))
    method = f'#EXT-X-KEY:METHOD=SAMPLE-AES,URI="/hls/aes/key.bin",IV=0x{IV.hex()}\n'
    playlist.write_text(playlist.read_text().replace("#EXTINF", f"{method}#EXTINF", 1))


def _say_the_start(manifest: Path) -> None:
    """Correct the start time: ffmpeg writes a manifest as if its film began at 0, but names the pieces by
    their start.
    """
    film = manifest.read_text()
    begins = min(
        int(piece.name.removeprefix("Fragments(video=").rstrip(")"))
        for piece in manifest.parent.glob("*/Fragments(video=*)")
    )
    manifest.with_name("Late").write_text(film)
    manifest.write_text(film.replace('<c n="0"', f'<c n="0" t="{begins}"', 1))
