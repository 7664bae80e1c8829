"""A film whose frames show their number, in the formats that sources offer, on a site that records requests.

The number is drawn as sixteen squares, one for each bit, the lowest bit on the left, black for 0: squares
stay legible after any encoder.
"""

import fcntl
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from Cryptodome.Cipher import AES
from Cryptodome.Util.Padding import pad

from tests.tools import BUNDLED

# Frames a second; seconds of the film; seconds between two key frames.
RATE, SECONDS, BETWEEN_KEYS = 25, 40, 2
KEY = bytes(range(16))
_FIELD, _HEIGHT = 8, 32
_WIDTH = 16 * _FIELD
_BITS = f"if(mod(floor(N/pow(2,floor(X/{_FIELD}))),2),235,16)"
_PICTURE = (
    f"color=black:size={_WIDTH}x{_HEIGHT}:rate={RATE}:duration={SECONDS},geq=lum='{_BITS}':cb=128:cr=128"
)
# Random noise: without it each second of the film would take hardly any bytes.
_NOISE = ",noise=alls=12:allf=t"
_GROUP = str(RATE * BETWEEN_KEYS)
_H264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-g", _GROUP, "-keyint_min", _GROUP)
_VOD = ("-c", "copy", "-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod", "-hls_list_size", "0")
_DASH = (
    "-c",
    "copy",
    "-f",
    "dash",
    "-seg_duration",
    "2",
    "-adaptation_sets",
    "id=0,streams=v id=1,streams=a",
)


def make(folder: Path) -> Path:
    """Make the film's files in `folder`, unless they are there; several processes may call this at the same
    time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "aes/index.m3u8").exists():
            _make(folder)
    return folder


def _make(folder: Path) -> None:
    sound = ("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=44100:duration={SECONDS}")
    still = ("-sc_threshold", "0", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "48k")
    _run(
        folder,
        "-f",
        "lavfi",
        "-i",
        _PICTURE + _NOISE,
        *sound,
        *_H264,
        *still,
        "-movflags",
        "+faststart",
        "film.mp4",
    )
    for name in ("ts", "fmp4", "one", "dash", "aes"):
        (folder / name).mkdir(exist_ok=True)
    _copy(folder, "behind.mp4", "-c", "copy")
    _copy(folder, "film.mkv", "-c", "copy")
    _copy(folder, "film.ts", "-c", "copy")
    _copy(folder, "picture.mp4", "-an", "-c", "copy", "-movflags", "+faststart")
    _copy(folder, "sound.mkv", "-vn", "-c", "copy")
    _copy(folder, "sound.m4a", "-vn", "-c", "copy", "-movflags", "+faststart")
    _copy(folder, "ts/index.m3u8", *_VOD, "-hls_segment_filename", "ts/%d.ts")
    _copy(folder, "one/index.m3u8", *_VOD, "-hls_flags", "single_file", "-hls_segment_filename", "one/all.ts")
    fragments = ("-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", "init.mp4")
    _copy(folder, "fmp4/index.m3u8", *_VOD, *fragments, "-hls_segment_filename", "fmp4/%d.m4s")
    _copy(folder, "dash/index.mpd", *_DASH)
    _encrypt(folder / "ts", folder / "aes")


def numbers(path: Path, *reading: str) -> list[int]:
    """Return the numbers of a film's frames in the order in which they are shown. `reading` are options of
    ffmpeg for reading the film.
    """
    command = (BUNDLED, "-v", "error", *reading, "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough")
    raw = subprocess.run(
        (*command, "-f", "rawvideo", "-pix_fmt", "gray", "-"), capture_output=True, check=True, timeout=60
    ).stdout
    rows = (raw[at : at + _WIDTH] for at in range(_WIDTH * _HEIGHT // 2, len(raw), _WIDTH * _HEIGHT))
    return [sum((row[bit * _FIELD + _FIELD // 2] > 128) << bit for bit in range(16)) for row in rows]


def times(path: Path) -> dict[int, float]:
    """Return the time at which each frame is shown, in seconds, by the number of the frame."""
    command = (BUNDLED, "-v", "error", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough")
    said = subprocess.run(
        (*command, "-f", "framecrc", "-"), capture_output=True, check=True, timeout=60, text=True
    ).stdout
    [(over, under)] = re.findall(r"^#tb 0: (\d+)/(\d+)$", said, re.MULTILINE)
    moments = [
        int(each) * int(over) / int(under) for each in re.findall(r"^0, *-?\d+, *(-?\d+)", said, re.MULTILINE)
    ]
    return dict(zip(numbers(path), moments, strict=True))


def shown(start: float, end: float) -> list[int]:
    """Return the numbers of the frames that are shown between `start` and `end`, in seconds of the film."""
    return [number for number in range(RATE * SECONDS) if start <= number / RATE < end]


@dataclass
class ClipSite:
    """A site that serves the film; `asked` are the requested paths, each with its `Range` header, if any.

    `instead` maps a path to `(n, body)`: from the n-th request on, the path has this body. `refusing` maps a
    path to a number: from this request on, the answer is 403.
    """

    port: int = 0
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    instead: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    refusing: dict[str, int] = field(default_factory=dict)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def segments(self, folder: str) -> list[str]:
        paths = (path.removeprefix(f"/{folder}/") for path, _ in self.asked if path.startswith(f"/{folder}/"))
        return sorted({path for path in paths if path.endswith((".ts", ".m4s"))})

    def requests_for(self, path: str) -> int:
        return sum(asked == f"/{path}" for asked, _ in self.asked)

    def bytes_of(self, path: str) -> int:
        """Return how many bytes of `path` were requested by ranges."""
        ranges = [wanted for asked, wanted in self.asked if asked == f"/{path}" and wanted]
        return sum(end - begin + 1 for begin, end in map(_limits, ranges))


@asynccontextmanager
async def open_site(folder: Path) -> AsyncIterator[ClipSite]:
    """Serve the files of `folder`; below `/whole/` the same files without support for ranges."""
    site, app = ClipSite(), web.Application()

    async def give(request: web.Request) -> web.StreamResponse:
        site.asked.append((request.path, request.headers.get("Range")))
        times = sum(path == request.path for path, _ in site.asked)
        if times >= site.refusing.get(request.path, times + 1):
            raise web.HTTPForbidden
        begins, other = site.instead.get(request.path, (times + 1, b""))
        if times < begins:
            return web.FileResponse(folder / request.match_info["path"])
        (folder / "instead").write_bytes(other)
        return web.FileResponse(folder / "instead")

    async def give_whole(request: web.Request) -> web.StreamResponse:
        site.asked.append((request.path, request.headers.get("Range")))
        return web.Response(body=(folder / request.match_info["path"]).read_bytes(), content_type="video/mp4")

    app.add_routes([web.get("/whole/{path:.+}", give_whole), web.get("/{path:.+}", give)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        site.port = runner.addresses[0][1]
        yield site
    finally:
        await runner.cleanup()


def _limits(wanted: str) -> Iterator[int]:
    return map(int, wanted.removeprefix("bytes=").split("-"))


def _copy(folder: Path, name: str, *options: str) -> None:
    _run(folder, "-i", "film.mp4", *options, name)


def _run(folder: Path, *arguments: str) -> None:
    command = (BUNDLED, "-v", "error", "-nostdin", "-y", *arguments)
    subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL, timeout=60)


def _encrypt(source: Path, target: Path) -> None:
    """Encrypt as for a playlist without an IV: the IV is the media sequence number, here from 7 on."""
    (target / "key.bin").write_bytes(KEY)
    for number in range(SECONDS // 2):
        cipher = AES.new(KEY, AES.MODE_CBC, (number + 7).to_bytes(16))
        (target / f"{number}.ts").write_bytes(cipher.encrypt(pad((source / f"{number}.ts").read_bytes(), 16)))
    lines = (source / "index.m3u8").read_text().replace("SEQUENCE:0", "SEQUENCE:7")
    key = '#EXT-X-KEY:METHOD=AES-128,URI="key.bin"\n#EXTINF'
    (target / "index.m3u8").write_text(lines.replace("#EXTINF", key, 1))
