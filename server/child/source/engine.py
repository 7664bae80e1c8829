"""yt-dlp, with what it lacks for our purpose: bounded pages, and a memory for what sources answered.

What takes long in it and is the same for every job is done once a process; children inherit it.
"""

import functools
import traceback
from http import HTTPStatus
from typing import Any

from yt_dlp import YoutubeDL
from yt_dlp.networking import common as networking
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError, RequestError
from yt_dlp.utils import ExtractorError, YoutubeDLError

from server.child.media import probe
from server.child.process.failed import JobFailed
from server.child.source.facts import Trail
from server.child.source.generic import GenericIE

LARGEST_PAGE = 32 * 1024 * 1024
_SCHEMES = ("http", "https", "data")  # and no ftp


class Engine(YoutubeDL):  # type: ignore[misc]
    """`trail` takes the network's errors: of many of them yt-dlp keeps only the words.

    Of the formats that were `offered` last, those whose ids are in `refused` are not chosen.
    """

    def __init__(self, params: dict[str, Any], trail: Trail) -> None:
        self.trail = trail
        self.refused: set[str] = set()
        self.offered = 0
        super().__init__(params, auto_init=False)
        for extractor in _extractors():
            self.add_info_extractor(extractor)
        self.add_info_extractor(GenericIE())
        self._request_director.handlers["Urllib"]._SUPPORTED_URL_SCHEMES = _SCHEMES

    def urlopen(self, req: Any) -> Response:
        try:
            return self._bounded(super().urlopen(req))
        except RequestError as error:
            self.trail.note(error)
            if isinstance(error, HTTPError):
                self._bounded(error.response)
            raise

    def extract_info(self, *args: Any, **kwargs: Any) -> Any:
        """A fault in one of the many extractors is none of ours: the page was not understood."""
        try:
            return super().extract_info(*args, **kwargs)
        except (YoutubeDLError, JobFailed, OSError, MemoryError):
            raise
        except Exception as error:
            if _is_ours(error):
                raise
            self.params["logger"].write("".join(traceback.format_exception(error)))
            raise ExtractorError("An extractor error has occurred.", cause=error) from error

    def _bounded(self, response: Response) -> Response:
        response.__class__ = _bounded(type(response))  # type: ignore[arg-type]
        response.trail, response.head = self.trail, bytearray()
        return response

    def _select_formats(self, formats: list[dict[str, Any]], selector: Any) -> list[dict[str, Any]]:
        self.offered = len(formats)
        left = [offered for offered in formats if offered.get("format_id") not in self.refused]
        chosen: list[dict[str, Any]] = super()._select_formats(left, selector)
        return chosen

    def first(self, url: str) -> dict[str, Any]:
        """Everything about the video at `url`, with formats chosen; of a playlist its first entry."""
        info = self.extract_info(url, download=False)
        while info and "entries" in info:
            info = next((entry for entry in info["entries"] if entry), None)
        if not info:
            raise JobFailed("no_media", "nothing to download there")
        found: dict[str, Any] = info
        return found

    def rehearse(self) -> None:
        """Go through the motions of an extraction without any network, for what they leave in caches."""
        for handler in self._request_director.handlers.values():
            handler._make_sslcontext()
        stream = {
            "format_id": "0",
            "url": "http://warm.invalid/a.mp4",
            "ext": "mp4",
            "vcodec": "avc1",
            "height": 1,
        }
        known = {"title": "a", "webpage_url": "http://warm.invalid/a", "extractor": "a", "extractor_key": "A"}
        self.get_info_extractor("Generic")._generic_title("http://warm.invalid/a.mp4")
        self.process_ie_result(known | {"id": "a", "formats": [stream | {"acodec": "mp4a"}]}, download=False)


def share_certificates() -> None:
    """Load the certificates of the authorities once: it takes longer than a small download."""
    if not hasattr(networking.make_ssl_context, "cache_info"):
        networking.make_ssl_context = functools.lru_cache(networking.make_ssl_context)


@functools.cache
def _extractors() -> tuple[Any, ...]:
    """All that yt-dlp enables by default; to find out which takes it 30 ms."""
    with YoutubeDL({"quiet": True, "cachedir": False, "js_runtimes": {}}) as ydl:
        return tuple(ydl._ies.values())


def _is_ours(error: Exception) -> bool:
    """Whether it was raised in this package, or in what that called, rather than in yt-dlp."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    last: str = [name for name in modules if name.startswith(("yt_dlp.", "server."))][-1]
    return last.startswith("server.")


@functools.cache
def _bounded(kind: type[Response]) -> type[Response]:
    """`kind` without a way to read a whole endless page into memory; downloads read block by block.

    A class of its own, because a function in the instance would keep it, and its socket, until a collection.
    """

    class Bounded(kind):  # type: ignore[misc]
        """`head` are the first bytes that were read."""

        trail: Trail
        head: bytearray

        def read(self, amt: int | None = None) -> bytes:
            whole = amt is None or amt < 0
            data = self._read(LARGEST_PAGE + 1 if whole else amt)
            if whole and len(data) > LARGEST_PAGE and self.status < HTTPStatus.BAD_REQUEST:
                raise JobFailed("page_too_large", f"more than {LARGEST_PAGE} bytes at {self.url}")
            self.head += data[: probe.HEAD - len(self.head)]
            return data

        def _read(self, amount: int | None) -> bytes:
            try:
                return bytes(super().read(amount))
            except RequestError as error:
                self.trail.note(error, reading=True)
                raise

    return Bounded
