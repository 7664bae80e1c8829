"""yt-dlp's extractor for all pages that no other knows, less its last resort.

yt-dlp takes whatever is no HTML for a film: plain text, a PDF, a picture. Here it has to look like a film, or
at least not like anything else. Tests that need this: the corpus (`no film`, where yt-dlp leaves a file), and
for looks at several variants `test_where_a_stream_is_refused_the_next_best_is_taken`.
"""

from collections.abc import Iterator
from typing import Any

from yt_dlp.extractor import generic
from yt_dlp.networking.common import Response
from yt_dlp.utils import UnsupportedError, determine_protocol

from server.child.extract import seen
from server.child.extract.formats import lose_something
from server.child.extract.lazy_list import EMBEDDED
from server.child.media import probe
from server.child.process import borrowed

_MOST_LOOKS = 5  # at variants of one playlist


def extractor() -> Any:
    """This module's extractor, or yt-dlp's own if this one no longer fits it."""
    return GenericIE() if borrowed.fits("generic") else generic.GenericIE()


class GenericIE(generic.GenericIE):  # type: ignore[misc]
    """Named like yt-dlp's class, because other extractors ask for it by that name."""

    def _real_extract(self, url: str) -> dict[str, Any]:
        self._has_embeds, self._page = False, ""
        trail = self._downloader.trail
        trail.seen = None
        try:
            info: dict[str, Any] = super()._real_extract(url)
        except UnsupportedError:
            trail.seen = seen.what_it_says(self._page)
            raise
        guessed = info.get("direct") and "formats" not in info
        if guessed and probe.is_something_else(self._kind, bytes(self._head)):
            raise UnsupportedError(url)
        if self._has_embeds and info.get("_type") == "playlist":
            info[EMBEDDED] = True
        return info

    def _extract_embeds(self, *args: Any, **kwargs: Any) -> Iterator[dict[str, Any]]:
        """Note that the page has embedded players: unlike a feed it is no list, even if there are several."""
        self._has_embeds = True
        yield from super()._extract_embeds(*args, **kwargs)

    def _webpage_read_content(self, *args: Any, **kwargs: Any) -> Any:
        """Keep the page, which may say why there is no film in it."""
        page = super()._webpage_read_content(*args, **kwargs)
        self._page = page or ""
        return page

    def _request_webpage(self, *args: Any, **kwargs: Any) -> Response | bool:
        """Keep the head of the last page, by which yt-dlp guesses; False is a failure that is not fatal."""
        response: Response | bool = super()._request_webpage(*args, **kwargs)
        self._refused = not response
        if isinstance(response, Response):
            self._kind, self._head = response.headers.get("Content-Type") or "", response.head
        return response

    def _extra_manifest_info(self, info: dict[str, Any], manifest_url: str) -> None:
        """yt-dlp reads the first variant alone, to learn whether it is live and how long it is.

        If the source refuses that variant, the next one is read, and the refused ones are left out, unless
        no picture or no sound would remain.
        """
        left = whole = list(info.get("formats") or ())
        for _ in range(_MOST_LOOKS):
            info["formats"], self._refused = left, False
            super()._extra_manifest_info(info, manifest_url)
            if not self._refused:
                break
            first = next(variant for variant in left if determine_protocol(variant) == "m3u8_native")
            left = [variant for variant in left if variant is not first]
        info["formats"] = whole if lose_something(left, whole) else left
        if self._configuration_arg("is_live", [None])[0] is None:
            # yt-dlp's guess: films have no end either, and `source.broadcasts` looks whether it grows.
            info.pop("live_status", None)
