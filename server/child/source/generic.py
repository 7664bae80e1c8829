"""yt-dlp's extractor for links that no other extractor knows, made more careful about what is a video.

Whatever is not HTML it takes for a video file: plain text, a PDF, a picture. Here a file is refused whose
content is certainly neither video nor sound.
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
        if guessed and probe.is_something_else(self._kind, self._head):
            raise UnsupportedError(url)
        return info

    def _request_webpage(self, *args: Any, **kwargs: Any) -> Response:
        """Keep the first bytes of the answer: `_real_extract` looks at them."""
        response: Response = super()._request_webpage(*args, **kwargs)
        read = response.read
        self._kind, self._head = response.headers.get("Content-Type") or "", b""

        def remembering(amount: int | None = None) -> bytes:
            data: bytes = read(amount)
            self._head = self._head or data[: probe.HEAD]
            return data

        response.read = remembering
        return response
