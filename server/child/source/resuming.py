"""A download goes on only at the source that it began with.

yt-dlp asks for what is missing of a partial file and appends whatever comes. Here a note beside the file
holds its source's ETag, Last-Modified and length. What is missing is asked for under the condition that they
are still the same (`If-Range`: RFC 9110, 13.1.5); not every server understands that, so the answer is
compared with them, too. If they differ, the partial file is dropped and the download begins anew within the
attempt.
"""

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yt_dlp.downloader.http import HttpFD
from yt_dlp.networking import Request
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.utils import DownloadError, int_or_none, parse_http_range

from server.child.process.failed import JobFailed
from server.child.source.failures import classify

_NOTE = ".source"
_NOT_SATISFIABLE = 416

_real_download = HttpFD.real_download


def install() -> None:
    """For the rest of this process, for whole files and for fragments."""
    HttpFD.real_download = _download


def note_of(filename: str) -> Path:
    """The file that holds the `Source` of `filename`, once any of it has come."""
    return Path(filename + _NOTE)


@dataclass(frozen=True, slots=True)
class Source:
    """What tells one version of a file at its source from another; None is what the source does not say."""

    etag: str | None = None
    modified: str | None = None
    total: int | None = None

    @classmethod
    def of(cls, response: Response) -> "Source":
        headers = response.headers
        whole = headers.get("Content-Range") or f"/{headers.get('Content-Length')}"
        return cls(headers.get("ETag"), headers.get("Last-Modified"), int_or_none(whole.rpartition("/")[2]))

    @property
    def condition(self) -> str | None:
        """The value of `If-Range`, for which a weak entity tag is not good enough."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.modified

    def is_continued_by(self, other: "Source") -> bool:
        """Whether bytes of `other` may follow those of this one; without ETag and date the length decides."""
        if not _agree(self.total, other.total):
            return False
        pairs = ((self.etag, other.etag), (self.modified, other.modified))
        marked = self.etag or self.modified
        # An answer need not have both, but at least one of those that the note has.
        return all(_agree(*pair) for pair in pairs) and (not marked or any(all(pair) for pair in pairs))


def _agree(one: object, other: object) -> bool:
    return one is None or other is None or one == other


class _NoGoingOn(Exception):
    """What the source has now does not belong to the partial file."""


class _NothingMissing(Exception):
    """The partial file is the whole one."""


def _download(self: Any, filename: str, info: dict[str, Any]) -> bool:
    """In place of `HttpFD.real_download`."""
    partial = _Partial(Path(self.temp_name(filename)), note_of(filename))
    first, _, _ = parse_http_range((info.get("http_headers") or {}).get("Range"))
    before = partial.size
    try:
        return _attempt(self, partial, first or 0, filename, info)
    except _NoGoingOn as reason:
        self.to_screen(f"[download] Beginning anew: {reason}")
    except DownloadError as error:
        in_vain = before and partial.size == before
        if not (in_vain and classify(error, self.ydl.trail).code == "incomplete"):
            raise
        self.to_screen("[download] Beginning anew: nothing more has come")
    partial.drop()
    try:
        return _attempt(self, partial, first or 0, filename, info)
    except _NoGoingOn as reason:
        partial.drop()
        raise JobFailed("incomplete", str(reason)) from None


def _attempt(self: Any, partial: "_Partial", first: int, filename: str, info: dict[str, Any]) -> bool:
    asking = copy.copy(self)  # fragments are fetched by several threads with one downloader
    asking.ydl = _Asking(self.ydl, partial, first)
    try:
        return bool(_real_download(asking, filename, info))
    except _NothingMissing:
        self.try_rename(str(partial.path), filename)
        size = Path(filename).stat().st_size
        finished = {"status": "finished", "downloaded_bytes": size, "total_bytes": size}
        self._hook_progress({**finished, "filename": filename, "ctx_id": info.get("ctx_id")}, info)
        return True


class _Partial:
    """The beginning of a file, and the note about its source."""

    def __init__(self, path: Path, note: Path) -> None:
        self.path = path
        self._note = note
        self.source = self._read()

    @property
    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def begin(self, source: Source) -> None:
        """In an order in which no kill leaves the bytes of one source beside the note of another."""
        self.drop()
        self._note.write_text(json.dumps(asdict(source)))
        self.source = source

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.source = None

    def _read(self) -> Source | None:
        try:
            return Source(**json.loads(self._note.read_text()))
        except (OSError, ValueError, TypeError):
            return None


class _Asking:
    """yt-dlp's `YoutubeDL` for one download: it looks at what is asked for and what is answered.

    `first` is the first byte at the source of what is fetched: a fragment may lie within a file.
    """

    def __init__(self, ydl: Any, partial: _Partial, first: int) -> None:
        self._ydl = ydl
        self._partial = partial
        self._first = first

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ydl, name)

    def urlopen(self, request: Request) -> Response:
        try:
            return self._open(request)
        except HTTPError as error:
            error.close()  # nobody reads what it says, and its socket would wait for a collection
            raise

    def _open(self, request: Request) -> Response:
        start, _, _ = parse_http_range(request.headers.get("Range"))
        if start is None or start <= self._first:
            return self._begin(self._ydl.urlopen(request))
        if self._partial.source is None:
            raise _NoGoingOn("the source of what is there is not known")
        return self._go_on(request, start, self._partial.source)

    def _begin(self, response: Response) -> Response:
        if response.headers.get("Content-Encoding"):  # what is written has other positions than what is sent
            self._partial.drop()
        else:
            self._partial.begin(Source.of(response))
        return response

    def _go_on(self, request: Request, start: int, source: Source) -> Response:
        if source.condition:
            request.headers["If-Range"] = source.condition
        try:
            response: Response = self._ydl.urlopen(request)
        except HTTPError as error:
            if error.status == _NOT_SATISFIABLE:
                raise self._ended(error, source) from None
            raise
        begins, _, _ = parse_http_range(response.headers.get("Content-Range"))
        if begins is None and not self._first:  # all of it, from its beginning: yt-dlp sees that as well
            return self._begin(response)
        if begins != start or not source.is_continued_by(Source.of(response)):
            response.close()
            raise _NoGoingOn("what comes is of another state of the source")
        return response

    def _ended(self, error: HTTPError, source: Source) -> Exception:
        """There is nothing more to get, which may be as it should be."""
        total = Source.of(error.response).total
        if error.response.headers.get("Content-Range") and self._partial.size == total == source.total:
            return _NothingMissing()
        return _NoGoingOn("the source has become shorter")
