"""yt-dlp's extractor for all pages that no other knows, less its last resort.

What is no HTML it takes for a film, whatever it is: plain text, a PDF, a picture. Here it has to look like
one, or at least not like anything else.
"""

from typing import Any

from yt_dlp.extractor import generic
from yt_dlp.networking.common import Response
from yt_dlp.utils import UnsupportedError

from server.child.media import probe


class GenericIE(generic.GenericIE):  # type: ignore[misc]
    """The name is the one by which other extractors ask for it."""

    def _real_extract(self, url: str) -> dict[str, Any]:
        info: dict[str, Any] = super()._real_extract(url)
        guessed = info.get("direct") and "formats" not in info
        if guessed and probe.is_something_else(self._kind, bytes(self._head)):
            raise UnsupportedError(url)
        return info

    def _request_webpage(self, *args: Any, **kwargs: Any) -> Response | bool:
        """The head of the last page is what the guess was made by; False is a refusal that may be."""
        response: Response | bool = super()._request_webpage(*args, **kwargs)
        if isinstance(response, Response):
            self._kind, self._head = response.headers.get("Content-Type") or "", response.head
        return response
