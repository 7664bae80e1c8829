"""yt-dlp with bounds on what it reads into memory, and with the HTTP errors that it met kept for `classify`.

What takes long and is the same for every job is done once, in the fork server; its children inherit it.
"""

import functools
from typing import Any

from yt_dlp import YoutubeDL
from yt_dlp.networking import common as networking
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError

from server.child.process.failed import JobFailed
from server.child.source.generic import GenericIE

LARGEST_PAGE = 32 * 1024 * 1024
_SCHEMES = ("http", "https", "data")  # of what yt-dlp's client takes: no ftp


class Engine(YoutubeDL):  # type: ignore[misc]
    """`refusals` takes the HTTP errors on the way: yt-dlp often keeps only their text."""

    def __init__(self, params: dict[str, Any], refusals: list[HTTPError]) -> None:
        self._refusals = refusals
        super().__init__(params, auto_init=False)
        for extractor in _extractors():
            self.add_info_extractor(extractor)
        self.add_info_extractor(GenericIE())
        self._request_director.handlers["Urllib"]._SUPPORTED_URL_SCHEMES = _SCHEMES

    def urlopen(self, req: Any) -> Response:
        try:
            response = super().urlopen(req)
        except HTTPError as error:
            self._refusals.append(error)
            raise
        return _bounded(response)

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


def _bounded(response: Response) -> Response:
    """Let nobody read a whole endless page into memory; downloads read block by block."""
    read = response.read

    def bounded(amount: int | None = None) -> bytes:
        if amount is not None and amount >= 0:
            return bytes(read(amount))
        data: bytes = read(LARGEST_PAGE + 1)
        if len(data) > LARGEST_PAGE:
            raise JobFailed("page_too_large", f"more than {LARGEST_PAGE} bytes at {response.url}")
        return data

    response.read = bounded
    return response
