"""What to fetch instead of a stream that its source refuses: the next best format that was not refused yet,
or else the next entry of a page that has several.

Only failures of this one stream count (an HTTP status, a blocked address, DRM and the like). A stream of
which any byte has arrived is resumed instead.
"""

from collections.abc import Callable
from typing import Any, Final

from yt_dlp.utils import DownloadError

from server.child.extract.failures import Failure, classify
from server.child.extract.youtube_dl import Engine
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log

MOST: Final = 3
"""Streams that are tried; the page is extracted again before each further one."""

_OF_ONE_STREAM: Final = frozenset(
    (
        "blocked_address",
        "dns_error",
        "drm_protected",
        "no_media",
        "redirect_loop",
        "tls_error",
        "unsupported_stream",
    )
)
_NOTHING_ELSE: Final = frozenset(("format_unavailable", "no_audio", "no_media"))


class Refused(Exception):
    """No byte of `stream` has arrived, or what arrived is no film; `__cause__` says why."""

    def __init__(self, stream: dict[str, Any]) -> None:
        super().__init__(f"format {stream.get('format_id')} is refused")
        self.stream = stream


class Alternatives:
    """`extract` extracts the video again and returns its info dict."""

    def __init__(self, engine: Engine, extract: Callable[[], dict[str, Any]], log: Log) -> None:
        self._engine = engine
        self._extract = extract
        self._log = log
        self._met: list[BaseException] = []

    def instead_of(self, refused: Refused) -> dict[str, Any]:
        """The video with the next best streams chosen.

        Without an alternative, raises the first retryable error that was met, so that another attempt is
        made, else the first error.
        """
        error = refused.__cause__ or refused
        failure = classify(error, self._engine.trail)
        self._met.append(error)
        if not _is_of_one_stream(failure) or len(self._met) >= MOST:
            raise self._worst()
        if self._has_others(refused.stream):
            self._engine.refused.add(refused.stream["format_id"])
        elif not self._engine.pass_over():
            raise self._worst()
        self._log.write(f"{refused} ({failure.code}): trying the next best")
        try:
            return self._extract()
        except (DownloadError, JobFailed) as other:
            if classify(other, self._engine.trail).code in _NOTHING_ELSE:
                raise self._worst() from None
            raise

    def _has_others(self, stream: dict[str, Any]) -> bool:
        return self._engine.offered > len(self._engine.refused) + 1 and "format_id" in stream

    def _worst(self) -> BaseException:
        passing = (error for error in self._met if classify(error, self._engine.trail).retryable)
        return next(passing, self._met[0])


def _is_of_one_stream(failure: Failure) -> bool:
    return failure.code.startswith("http_") or failure.code in _OF_ONE_STREAM
