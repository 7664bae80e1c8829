"""Fetches the source's picture of the video: in full size if that is wanted, and small for every task."""

import base64
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from yt_dlp.networking import Request
from yt_dlp.utils import YoutubeDLError, int_or_none

from server.child.extract.youtube_dl import Engine
from server.child.media import run_ffmpeg
from server.child.media.cover import MAX_PIXELS
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log

PREVIEW, SMALL_PREVIEW = "preview.jpg", "preview.small.jpg"
_PREVIEW_WIDTH = 480  # pixels
_SMALL_WIDTH = 192  # pixels: `SMALL_WIDTH` of the server, which children do not import
_MAX_BYTES = 20 * 1024 * 1024
_TIMEOUT = 10.0  # seconds for all pictures that are tried
_LINKS_TIMEOUT = 20.0  # seconds in which `data_links` begins to fetch a picture
_MAX_PICTURES = 2  # that are tried
_COVER_FORMATS, _MAX_COVER_BYTES, _COVER_WIDTH = ("jpg", "png"), 2 * 1024 * 1024, 1920
_BLOCK = 64 * 1024  # bytes
_ERRORS = (YoutubeDLError, JobFailed, OSError, ValueError, TypeError, MemoryError)
_SIGNATURES = ((0, b"\xff\xd8\xff", "jpg"), (0, b"\x89PNG\r\n\x1a\n", "png"), (8, b"WEBP", "webp"))


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
        path, deadline = self._directory / "thumbnail.source", time.monotonic() + _TIMEOUT
        for picture in reversed(pictures[-_MAX_PICTURES:]):
            try:
                path.write_bytes(self._read(picture["url"], picture.get("http_headers") or {}, deadline))
                fresh, small = self._directory / "preview.new.jpg", self._directory / "small.new.jpg"
                also_small = ["-map", "0:v:0", *_as_jpeg(_SMALL_WIDTH, quality=4)]
                large = [*_as_jpeg(_PREVIEW_WIDTH, quality=4), f"file:{fresh}"]
                self._convert(path, small, [*large, *also_small])  # one ffmpeg: the picture is read once
                small.replace(self._directory / SMALL_PREVIEW)
                fresh.replace(self._directory / PREVIEW)
            except _ERRORS as error:
                self._log.warning(f"no thumbnail from {picture['url']}: {error}")
            else:
                return path
        return None

    def fetch_in_widths(self, url: str, *widths: int) -> list[bytes] | None:
        """Return the picture at `url` as JPEGs of at most each of `widths`; None if that fails."""
        path, jpegs = self._directory / "picture.source", list[bytes]()
        target = self._directory / "picture.jpg"
        try:
            path.write_bytes(self._read(url, {}, time.monotonic() + _TIMEOUT))
            for width in widths:
                inputs = ["-max_pixels", str(MAX_PIXELS), "-i", f"file:{path}", "-map", "0:v:0"]
                shrink = _as_jpeg(width, quality=3)
                run_ffmpeg.convert(self._ffmpeg, [*inputs, *shrink, f"file:{target}"], self._log.write)
                jpegs.append(target.read_bytes())
        except _ERRORS as error:
            self._log.warning(f"no picture from {url}: {error}")
            return None
        return jpegs

    def make_full_size(self, source: Path, folder: Path) -> Path | None:
        """Make a file of `source` in full size: unchanged if every browser shows its format, else a JPEG."""
        kind = _format(source.read_bytes()[:16])
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
        """Make a JPEG or PNG of `source` that is not too large, as every player shows it within a film."""
        data = source.read_bytes()
        kind = _format(data[:16])
        if kind in _COVER_FORMATS and len(data) <= _MAX_COVER_BYTES:
            path = self._directory / f"cover.{kind}"
            path.write_bytes(data)
            return path
        path = self._directory / "cover.jpg"
        try:
            self._convert(source, path, _as_jpeg(_COVER_WIDTH, quality=2))
        except JobFailed as error:
            self._log.warning(f"no cover: {error}")
            return None
        return path

    def data_link(self, info: Mapping[str, Any]) -> str | None:
        """Fetch the picture; return its preview as a `data:` URL, None if there is none."""
        if not self.fetch(info):
            return None
        return _data_link((self._directory / PREVIEW).read_bytes())

    def data_links(self, urls: Iterable[str]) -> dict[str, str]:
        """Return small pictures as `data:` URLs, by the link at which each was fetched. Those that fail, and
        those for which no time is left, are missing.
        """
        deadline = time.monotonic() + _LINKS_TIMEOUT
        made = {url: self.fetch_in_widths(url, _SMALL_WIDTH) for url in urls if time.monotonic() < deadline}
        return {url: _data_link(jpegs[0]) for url, jpegs in made.items() if jpegs}

    def _read(self, url: str, headers: Mapping[str, str], deadline: float) -> bytes:
        request = Request(url, headers=headers, extensions={"timeout": _TIMEOUT / 2})
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


def _as_jpeg(width: int, *, quality: int) -> list[str]:
    """ffmpeg's options for a JPEG of at most this width; a lower number of `quality` is better."""
    scale = f"scale='min({width},iw)':-2"
    return ["-vf", scale, "-frames:v", "1", "-q:v", str(quality), "-f", "mjpeg"]


def _data_link(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _check(size: int, deadline: float) -> None:
    if size > _MAX_BYTES or time.monotonic() > deadline:
        raise JobFailed("no_thumbnail", "too large or too slow")


def _format(head: bytes) -> str | None:
    return next((name for at, sign, name in _SIGNATURES if head[at : at + len(sign)] == sign), None)
