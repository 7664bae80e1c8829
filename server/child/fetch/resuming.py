"""A download is resumed only if the file at its source is still the one that it began with.

yt-dlp requests what is missing of a partial file and appends whatever comes. Here a note beside the file
holds its source's ETag, Last-Modified and length. What is missing is requested on condition that they are
still the same (`If-Range`: RFC 9110, 13.1.5); not every server supports that, so the response is compared
with the note, too. Only if it contradicts the note is the partial file dropped, and the download begins anew
within the attempt. If just the ETag differs, which some servers change with each response, the last bytes of
the partial file are requested again and compared. An empty response, or one with another range, says
nothing: the range is requested again, and after `_MOST_ODD` of them the whole file.

Each test of `tests/child/test_resuming.py` is a way in which yt-dlp itself ends with a wrong file, or none.

Decisions: docs/decisions/films.md
"""

import copy
from functools import partial as bound
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from yt_dlp.downloader.http import HttpFD
from yt_dlp.networking import Request
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError, IncompleteRead
from yt_dlp.utils import int_or_none, parse_http_range

from server.child.extract.retries import Tries
from server.child.fetch import content_length, error_pages
from server.child.fetch.missing_bytes import COMPARED, Another, MissingBytes, NothingMissing, skip, tail
from server.child.fetch.partial_files import Partial, Source, note_of
from server.child.process import borrowed
from server.child.process.job_failed import Expired, JobFailed

_MOST_ODD: Final = 4
"""Responses that say nothing, after which the whole file is requested instead of a range."""
_CONDITION_REFUSED: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.PRECONDITION_FAILED)
"""Statuses from servers that do not support `If-Range`, or take it for another condition."""

_real_download = borrowed.original(HttpFD, "real_download")


def install() -> None:
    """For the rest of this process, for whole files and for fragments."""
    if borrowed.fits("resuming"):
        HttpFD.real_download = _download


class _Contradicted(Exception):
    """The file that the source has now is not the one that the partial file began with."""


class _Unchunked(Exception):
    """The source gives no chunks that yt-dlp can follow on: the file is to be fetched without them."""


def _download(self: Any, filename: str, info: dict[str, Any]) -> bool:
    """Replaces `HttpFD.real_download`, which takes the first of an unknown number of chunks for the file, and
    what follows a partial file for all of it if it is more than the chunk that was asked for.
    """
    try:
        return _from_one_source(self, filename, info)
    except _Unchunked as reason:
        self.to_screen(f"[download] Without chunks: {reason}")
    return _from_one_source(self, filename, info | {"downloader_options": {}})


def _from_one_source(self: Any, filename: str, info: dict[str, Any]) -> bool:
    partial = Partial(Path(self.temp_name(filename)), note_of(filename))
    try:
        return _attempt(self, partial, filename, info)
    except (_Contradicted, Another) as reason:
        self.to_screen(f"[download] Beginning anew: {reason}")
    partial.drop()
    try:
        return _attempt(self, partial, filename, info)
    except (_Contradicted, Another) as reason:
        partial.drop()
        raise JobFailed("incomplete", str(reason)) from None


def _attempt(self: Any, partial: Partial, filename: str, info: dict[str, Any]) -> bool:
    asking, tries = copy.copy(self), Tries(filename)  # copied: threads share a downloader of fragments
    asking.ydl = _Asking(self, partial, info)
    asking.report_retry = bound(_report_retry, self, tries, partial)
    try:
        return _all_of_it(asking, tries, filename, info)
    except NothingMissing:
        self.try_rename(str(partial.path), filename)
        size = Path(filename).stat().st_size
        finished = {"status": "finished", "downloaded_bytes": size, "total_bytes": size}
        self._hook_progress({**finished, "filename": filename, "ctx_id": info.get("ctx_id")}, info)
        return True


def _all_of_it(self: Any, tries: Tries, filename: str, info: dict[str, Any]) -> bool:
    """Repeat yt-dlp's download when its retries are used up, until `_report_retry` raises.

    yt-dlp limits all faults of a file; here only faults in a row without a new byte count.
    """
    while True:
        faults = tries.faults
        if _real_download(self, filename, info):
            return True
        if tries.faults == faults:
            return False


def _report_retry(self: Any, tries: Tries, partial: Partial, error: object, _count: int, most: int) -> None:
    self.report_retry(error, tries.in_a_row(partial.size), tries.left(error, most))


class _Asking:
    """Stands for `YoutubeDL` in one download: it checks and changes requests and responses."""

    def __init__(self, downloader: Any, partial: Partial, info: dict[str, Any]) -> None:
        self._ydl = downloader.ydl
        self._partial = partial
        self._fragment = "frag_resume_len" in info
        self._chunked = bool((info.get("downloader_options") or {}).get("http_chunk_size"))
        first, last, _ = parse_http_range((info.get("http_headers") or {}).get("Range"))
        self._first: int = first or 0  # byte at the source: a fragment may be a range of a file
        self._stop: int | None = None if last is None else last + 1
        self._odd = 0
        self._on_bytes = bound(_tell_again, downloader, info)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ydl, name)

    def urlopen(self, request: Request) -> Response | MissingBytes:
        try:
            return self._open(request)
        except HTTPError as error:
            error.close()  # its body is not read; else its socket stays open until a collection
            if self._fragment:
                self._ydl.trail.note(error, fragment=True)
            raise

    def _open(self, request: Request) -> Response | MissingBytes:
        start, _, _ = parse_http_range(request.headers.get("Range"))
        if self._odd >= _MOST_ODD:
            request.headers.pop("Range", None)
        if start is None or start <= self._first:
            return self._begin(self._ask(request))
        if self._partial.source is None:
            raise _Contradicted("the source of what is there is not known")
        if self._odd < _MOST_ODD:
            return self._go_on(request, start, self._partial.source)
        return self._go_on_with(self._ask(request), start, self._partial.source)

    def _ask(self, request: Request) -> Response:
        response: Response = self._ydl.urlopen(request)
        if (self._fragment or self._partial.size) and error_pages.is_one(response):
            response.close()
            raise Expired("incomplete", "a page comes in place of what is missing")
        content_length.put_right(response.headers, request.headers.get("Range"))
        if self._chunked:
            self._insist_on_chunks(request, response)
        return response

    def _insist_on_chunks(self, request: Request, response: Response) -> None:
        """Raise `_Unchunked` where yt-dlp would take what follows the partial file for another file."""
        _, asked, _ = parse_http_range(request.headers.get("Range"))
        _, last, _ = parse_http_range(response.headers.get("Content-Range"))
        more = last is not None and asked is not None and last > asked
        if more or Source.of(response).total is None:
            response.close()
            raise _Unchunked(
                "more than the chunk comes" if more else "the source does not say how much there is"
            )

    def _begin(self, response: Response) -> Response | MissingBytes:
        begins, _, _ = parse_http_range(response.headers.get("Content-Range"))
        if begins not in (None, self._first):
            response.close()
            raise self._odd_answer()
        if response.headers.get("Content-Encoding"):  # decoded bytes have other positions than those sent
            self._partial.drop()
            return response
        source = Source.of(response)
        self._partial.begin(source)
        if self._stop is None:
            return response
        if response.status != HTTPStatus.OK:
            return self._no_longer(response, self._first, source)
        skip(response, self._first, b"", self._on_bytes)
        return MissingBytes(response, self._first, self._stop, source.total)

    def _no_longer(self, response: Response, start: int, source: Source) -> Response | MissingBytes:
        """`response`, which begins with byte `start`, cut off where the range, or else the file, ends."""
        length = int_or_none(response.headers.get("Content-Length"))
        end = source.total if self._stop is None else self._stop
        if length is None and self._stop is None:
            return response
        if length is not None and (end is None or length <= end - start):
            return response
        return MissingBytes(response, start, self._stop, source.total)

    def _go_on(self, request: Request, start: int, source: Source) -> Response | MissingBytes:
        if source.condition:
            request.headers["If-Range"] = source.condition
        try:
            response = self._ask(request)
        except HTTPError as error:
            if error.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise self._ended(error, source) from None
            if error.status not in _CONDITION_REFUSED or not source.condition:
                raise
            error.close()
            return self._compare(request, start, source)
        answer = Source.of(response)
        if source.is_continued_by(answer) or source.contradicts(answer):
            return self._go_on_with(response, start, source)
        response.close()
        return self._compare(request, start, source)

    def _go_on_with(
        self, response: Response, start: int, source: Source, overlap: int = 0
    ) -> Response | MissingBytes:
        """What `response` has from byte `start` on; its request began `overlap` bytes earlier."""
        answer = Source.of(response)
        if source.contradicts(answer):
            response.close()
            raise _Contradicted("what comes is of another state of the source")
        begins, _, _ = parse_http_range(response.headers.get("Content-Range"))
        if response.status == HTTPStatus.OK:
            begins = 0
        elif begins != start - overlap or response.headers.get("Content-Length") == "0":
            response.close()
            raise self._odd_answer()
        if begins == start:
            return self._no_longer(response, start, answer)
        if self._chunked:
            response.close()
            raise _Unchunked("what comes begins before what was asked for")
        last = tail(self._partial.path)
        skip(response, start - begins, last, self._on_bytes if begins == 0 else lambda _: None)
        self._partial.goes_on_as(answer)
        rest = MissingBytes(response, start, self._stop, answer.total)
        if rest.is_empty:
            response.close()
            raise NothingMissing
        return rest

    def _compare(self, request: Request, start: int, source: Source) -> Response | MissingBytes:
        """Where the ETag or `If-Range` does not tell: request the last bytes again, and compare them."""
        overlap = min(COMPARED, self._partial.size)
        request.headers.pop("If-Range", None)
        request.headers["Range"] = f"bytes={start - overlap}-{'' if self._stop is None else self._stop - 1}"
        return self._go_on_with(self._ask(request), start, source, overlap)

    def _odd_answer(self) -> Exception:
        """Count a response that says nothing; return a broken connection, after which yt-dlp retries."""
        self._odd += 1
        error: Exception = IncompleteRead(0)
        self._ydl.trail.note(error, reading=True)
        return error

    def _ended(self, error: HTTPError, source: Source) -> Exception:
        """What status 416 means: the file is complete, or another one, or nothing (an odd answer)."""
        answer, size = Source.of(error.response), self._first + self._partial.size
        if not error.response.headers.get("Content-Range") or answer.total is None:
            return self._odd_answer()
        if source.contradicts(answer) or size > answer.total:
            return _Contradicted("the source has become shorter")
        if size < answer.total:
            return self._odd_answer()
        return NothingMissing()


def _tell_again(downloader: Any, info: dict[str, Any], count: int) -> None:
    """Report bytes that came once more: the rate limit applies to them, and they are no stall."""
    if "frag_resume_len" in info:  # yt-dlp would add these bytes to the progress
        downloader.ydl.params["logger"].alive()
    else:
        downloader._hook_progress({"status": "downloading", "downloaded_bytes": count}, info)
