"""The source's picture of the video: in full size if it is asked for, and a small preview for every task."""

import base64
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from yt_dlp.networking import Request
from yt_dlp.utils import YoutubeDLError, int_or_none

from server.child.extract.youtube_dl import Engine
from server.child.media import run_ffmpeg
from server.child.media.cover import MOST_PIXELS
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log

WIDTH = 480
PREVIEW = "preview.jpg"
_LARGEST = 20 * 1024 * 1024
_PATIENCE = 10.0  # seconds for all tries
_TRIES = 2
_OF_COVERS, _LARGEST_COVER, _WIDTH_OF_COVER = ("jpg", "png"), 2 * 1024 * 1024, 1920
_BLOCK = 64 * 1024
_BAD = (YoutubeDLError, JobFailed, OSError, ValueError, TypeError, MemoryError)
_KINDS = ((0, b"\xff\xd8\xff", "jpg"), (0, b"\x89PNG\r\n\x1a\n", "png"), (8, b"WEBP", "webp"))


class Thumbnails:
    """Makes the pictures of a video. Their errors are logged and do not fail the job."""

    def __init__(self, engine: Engine, ffmpeg: str, directory: Path, log: Log) -> None:
        self._engine = engine
        self._ffmpeg = ffmpeg
        self._directory = directory
        self._log = log

    def fetch(self, info: Mapping[str, Any]) -> Path | None:
        """Fetch the best picture in `info` that ffmpeg can read, and make its preview; None if there is none.

        A picture that fails is skipped: its link is malformed, or its bytes are no picture or too many.
        """
        pictures = [picture for picture in info.get("thumbnails") or () if picture.get("url")]
        path, deadline = self._directory / "thumbnail.source", time.monotonic() + _PATIENCE
        for picture in reversed(pictures[-_TRIES:]):
            try:
                path.write_bytes(self._read(picture["url"], picture.get("http_headers") or {}, deadline))
                # Make the small JPEG of `source`, atomically.
                fresh = self._directory / "preview.new.jpg"
                shrink = ["-vf", f"scale='min({WIDTH},iw)':-2", "-frames:v", "1", "-q:v", "4", "-f", "mjpeg"]
                self._convert(path, fresh, shrink)
                fresh.replace(self._directory / PREVIEW)
            except _BAD as error:
                self._log.warning(f"no thumbnail from {picture['url']}: {error}")
            else:
                return path
        return None

    def of_source(self, url: str, *widths: int) -> list[bytes] | None:
        """The picture at `url` as JPEG, once for each of `widths`, which it has at most; None if it is none,
        or cannot be fetched.
        """
        path, made = self._directory / "picture.source", list[bytes]()
        target = self._directory / "picture.jpg"
        try:
            path.write_bytes(self._read(url, {}, time.monotonic() + _PATIENCE))
            for width in widths:
                shrink = ["-vf", f"scale='min({width},iw)':-2", "-frames:v", "1", "-q:v", "3", "-f", "mjpeg"]
                inputs = ["-max_pixels", str(MOST_PIXELS), "-i", f"file:{path}", "-map", "0:v:0"]
                run_ffmpeg.convert(self._ffmpeg, [*inputs, *shrink, f"file:{target}"], self._log.write)
                made.append(target.read_bytes())
        except _BAD as error:
            self._log.warning(f"no picture from {url}: {error}")
            return None
        return made

    def make_full_size(self, source: Path, folder: Path) -> Path | None:
        """`source` in full size: as it is if every browser shows its format, else as JPEG."""
        kind = _kind(source.read_bytes()[:16])
        target = folder / f"thumbnail.{kind or 'jpg'}"
        if kind:
            target.write_bytes(source.read_bytes())
            return target
        try:
            self._convert(source, target, ["-frames:v", "1", "-q:v", "2", "-f", "mjpeg"])
        except JobFailed as error:
            self._log.warning(f"no thumbnail in full size: {error}")
            return None
        return target

    def make_cover(self, source: Path) -> Path | None:
        """`source` as every player shows it within a file: a JPEG or PNG that is not too large."""
        data = source.read_bytes()
        kind = _kind(data[:16])
        if kind in _OF_COVERS and len(data) <= _LARGEST_COVER:
            path = self._directory / f"cover.{kind}"
            path.write_bytes(data)
            return path
        path = self._directory / "cover.jpg"
        shrink = [
            "-vf",
            f"scale='min({_WIDTH_OF_COVER},iw)':-2",
            "-frames:v",
            "1",
            "-q:v",
            "2",
            "-f",
            "mjpeg",
        ]
        try:
            self._convert(source, path, shrink)
        except JobFailed as error:
            self._log.warning(f"no cover: {error}")
            return None
        return path

    def data_link(self, info: Mapping[str, Any]) -> str | None:
        """The small picture as a `data:` URL."""
        if not self.fetch(info):
            return None
        small = (self._directory / PREVIEW).read_bytes()
        return f"data:image/jpeg;base64,{base64.b64encode(small).decode()}"

    def _read(self, url: str, headers: Mapping[str, str], deadline: float) -> bytes:
        request = Request(url, headers=headers, extensions={"timeout": _PATIENCE / 2})
        data = bytearray()
        with closing(self._engine.urlopen(request)) as response:
            _check(int_or_none(response.headers.get("Content-Length")) or 0, deadline)
            while block := response.read(_BLOCK):
                data += block
                _check(len(data), deadline)
        return bytes(data)

    def _convert(self, source: Path, target: Path, options: list[str]) -> None:
        inputs = ["-i", f"file:{source}", "-map", "0:v:0"]
        run_ffmpeg.convert(self._ffmpeg, [*inputs, *options, f"file:{target}"], self._log.write)


def _check(size: int, deadline: float) -> None:
    if size > _LARGEST or time.monotonic() > deadline:
        raise JobFailed("no_thumbnail", "too large or too slow")


def _kind(head: bytes) -> str | None:
    return next((kind for at, sign, kind in _KINDS if head[at : at + len(sign)] == sign), None)
