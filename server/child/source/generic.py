"""yt-dlp's extractor for all pages that no other knows, less its last resort.

What is no HTML it takes for a film, whatever it is: plain text, a PDF, a picture. Here it has to look like
one, or at least not like anything else. That needs the corpus (`no film`, where yt-dlp leaves a file), and of
`test_where_a_stream_is_refused_the_next_best_is_taken` the playlists need the looks at more than one variant.
"""

from collections.abc import Iterator
from typing import Any

from yt_dlp.extractor import generic
from yt_dlp.networking.common import Response
from yt_dlp.utils import UnsupportedError, determine_protocol

from server.child.media import probe
from server.child.process import borrowed
from server.child.source.formats import lose_something
from server.child.source.indexed import EMBEDDED

_MOST_LOOKS = 5  # at variants of one playlist


def extractor() -> Any:
    """This module's, if it still fits yt-dlp's."""
    return GenericIE() if borrowed.fits("generic") else generic.GenericIE()


class GenericIE(generic.GenericIE):  # type: ignore[misc]
    """The name is the one by which other extractors ask for it."""

    def _real_extract(self, url: str) -> dict[str, Any]:
        self._has_embeds = False
        info: dict[str, Any] = super()._real_extract(url)
        guessed = info.get("direct") and "formats" not in info
        if guessed and probe.is_something_else(self._kind, bytes(self._head)):
            raise UnsupportedError(url)
        if self._has_embeds and info.get("_type") == "playlist":
            info[EMBEDDED] = True
        return info

    def _extract_embeds(self, *args: Any, **kwargs: Any) -> Iterator[dict[str, Any]]:
        """What is found in a page like this is no list, as feeds are, even if there are several."""
        self._has_embeds = True
        yield from super()._extract_embeds(*args, **kwargs)

    def _request_webpage(self, *args: Any, **kwargs: Any) -> Response | bool:
        """The head of the last page is what the guess was made by; False is a refusal that may be."""
        response: Response | bool = super()._request_webpage(*args, **kwargs)
        self._refused = not response
        if isinstance(response, Response):
            self._kind, self._head = response.headers.get("Content-Type") or "", response.head
        return response

    def _extra_manifest_info(self, info: dict[str, Any], manifest_url: str) -> None:
        """yt-dlp looks into the first variant alone: is it live, and how long.

        If that is refused the next one is looked into, and the refused are left out if there are others.
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
        if info.get("live_status") == "is_live" and b"#EXT-X-ENDLIST" in self._head:
            del info["live_status"]  # it has an end, and nothing before that
