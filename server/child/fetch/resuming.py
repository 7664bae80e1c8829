"""Resumes a download only if the file at its source is still the one that the download began with.

yt-dlp requests what is missing of a partial file and appends whatever comes. Here a note beside the partial
file holds the ETag, Last-Modified and length of its source (`Partial`). What is missing is requested on
condition that they are still the same (`If-Range`: RFC 9110, 13.1.5); not every server supports that, so the
response is compared with the note, too. Only if it contradicts the note is the partial file dropped, and the
download begins anew within the attempt. If just the ETag differs, which some servers change with each
response, the last bytes of the partial file are requested again and compared.

A response that is empty, or has another range, is useless: the range is requested again, and after
`_MAX_USELESS` such responses the whole file. If that response is useless too, or the range that the partial
file has comes `_MAX_REPEATS` times in a row, the attempt ends.

Some sources do not support ranges, and send the whole file, some of them as if it were the range. The bytes
that the partial file has already are then read again and dropped (`MissingBytes`); the last of them tell
whether it is the same file.

Each test of `tests/child/test_resuming.py` is a way in which yt-dlp itself ends with a wrong file, or none.

Decisions: docs/decisions/films.md
"""

import copy
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from email.message import Message
from functools import partial as bound
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from yt_dlp.downloader.http import HttpFD
from yt_dlp.networking import Request
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError, IncompleteRead, TransportError
from yt_dlp.utils import int_or_none, parse_http_range

from server.child.extract.failures import Tries
from server.child.media.parts import SOURCE
from server.child.process import yt_dlp_parts
from server.child.process.job_failed import Expired, JobFailed


def note_of(filename: str) -> Path:
    """Return the path of the note about the source of `filename`, which a download writes when it begins."""
    return Path(filename + SOURCE)


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """What distinguishes a version of a file at its source; None where the source does not state it.

    `modified` is its Last-Modified, `total` its length in bytes.
    """

    etag: str | None = None
    modified: str | None = None
    total: int | None = None

    @classmethod
    def of(cls, response: Response) -> "SourceVersion":
        headers = response.headers
        content_range = headers.get("Content-Range") or f"/{headers.get('Content-Length')}"
        total = int_or_none(content_range.rpartition("/")[2])
        return cls(headers.get("ETag"), headers.get("Last-Modified"), total)

    @property
    def condition(self) -> str | None:
        """The value of `If-Range`, None if there is none: it must not be a weak ETag (RFC 9110, 13.1.5)."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.modified

    def contradicts(self, other: "SourceVersion") -> bool:
        """Whether `other` is certainly another version; a new ETag alone proves nothing."""
        return not (_agree(self.total, other.total) and _agree(self.modified, other.modified))

    def is_continued_by(self, other: "SourceVersion") -> bool:
        """Whether bytes of `other` may follow those of this; without ETag and date the length decides."""
        if self.contradicts(other) or not _agree(self.etag, other.etag):
            return False
        pairs = ((self.etag, other.etag), (self.modified, other.modified))
        if not (self.etag or self.modified):
            return True
        return any(all(pair) for pair in pairs)  # one that both versions have is enough


class Partial:
    """A partial file, and the note about its source."""

    def __init__(self, path: Path, note: Path) -> None:
        self.path = path
        self._note_path = note
        self.source: SourceVersion | None = None
        with suppress(OSError, ValueError, TypeError):
            self.source = SourceVersion(**json.loads(note.read_text()))

    @property
    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def begin(self, source: SourceVersion) -> None:
        """Drop the bytes before the new note is written, so that a kill leaves none beside a wrong note."""
        self.drop()
        self.note(source)

    def note(self, source: SourceVersion) -> None:
        """Note that the bytes are those of `source`."""
        fresh = self._note_path.with_name(self._note_path.name + ".new")
        fresh.write_text(json.dumps(asdict(source)))
        fresh.replace(self._note_path)
        self.source = source

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)
        self.source = None


def _agree(one: object, other: object) -> bool:
    return one is None or other is None or one == other


COMPARED: Final = 64 * 1024  # bytes
_BLOCK: Final = 256 * 1024  # bytes


class DifferentBytes(Exception):
    """The source sends other bytes than the partial file has."""


class NothingMissing(Exception):
    """The partial file is complete already."""


def read_tail(path: Path) -> bytes:
    """Return the last `COMPARED` bytes of the file at `path`, or all if it has fewer."""
    with path.open("rb") as file:
        file.seek(-min(COMPARED, path.stat().st_size), 2)
        return file.read()


def skip(response: Response, count: int, tail: bytes, on_bytes: Callable[[int], None]) -> None:
    """Read and drop `count` bytes; raises `DifferentBytes` if they do not end with `tail`, and what reading
    raises. `on_bytes` gets the number of bytes so far.
    """
    done, end = 0, b""
    while done < count:
        block = response.read(min(_BLOCK, count - done))
        if not block:
            raise DifferentBytes("the source's file is shorter than the partial file")
        done += len(block)
        end = (end + block)[-len(tail) :] if tail else b""
        on_bytes(done)
    if end != tail:
        raise DifferentBytes("the source has other bytes than the end of the partial file")


class MissingBytes:
    """Makes of `response`, whose next byte is byte `start` of the file, the response to a range request.

    Its range is from `start` to before `stop`, or to the end of the file; `total` is the size of the whole
    file. Both are None if unknown.
    """

    def __init__(self, response: Response, start: int, stop: int | None, total: int | None) -> None:
        self._response = response
        end = total if stop is None else min(stop, total or stop)
        self._left = None if end is None else max(0, end - start)
        self._is_empty_so_far = True
        self.headers = copy.copy(response.headers)
        del self.headers["Content-Range"], self.headers["Content-Length"]
        last, slash_total = "" if end is None else end - 1, "" if total is None else f"/{total}"
        self.headers["Content-Range"] = f"bytes {start}-{last}{slash_total}"
        if self._left is not None:
            self.headers["Content-Length"] = str(self._left)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    @property
    def is_empty(self) -> bool:
        return self._left == 0

    def read(self, amount: int) -> bytes:
        """Read as `Response.read` does.

        If no byte comes at all, raises `NothingMissing` if the length is unknown, else `JobFailed`: an
        immediate retry would get none, either.
        """
        data = self._read(amount if self._left is None else min(amount, self._left))
        self._is_empty_so_far = self._is_empty_so_far and not data
        if self._left is not None:
            self._left -= len(data)
        return data

    def _read(self, amount: int) -> bytes:
        try:
            data = bytes(self._response.read(amount))
        except TransportError as error:
            if not self._is_empty_so_far:
                raise
            raise JobFailed("incomplete", f"{_NO_MORE}: {error}") from error
        if not data and amount and self._is_empty_so_far:
            if self._left is None:
                raise NothingMissing
            raise JobFailed("incomplete", _NO_MORE)
        return data


_NO_MORE: Final = "the source sends what the partial file has, and no more"


def correct_lengths(headers: Message, requested: str | None) -> None:
    """Correct the lengths in `headers` of a response; `requested` is the request's `Range`, None without one.

    A repeated Content-Length counts once, as in other HTTP clients (RFC 9110, 8.6). A source may send less
    than was requested (RFC 9110, 15.3.7). Then the headers are made to announce all that was requested: the
    response seems to break off, and yt-dlp requests the rest.
    """
    lengths = {each.strip() for value in headers.get_all("Content-Length", ()) for each in value.split(",")}
    del headers["Content-Length"]
    if len(lengths) == 1 and (length := lengths.pop()).isdecimal():
        headers["Content-Length"] = length
    first, last, total = parse_http_range(headers.get("Content-Range"))
    if last is None or total is None or last < first or headers.get("Content-Length") == "0":
        return  # not a usable `Content-Range`
    _, requested_last, _ = parse_http_range(requested)
    end = total if requested_last is None else min(requested_last + 1, total)
    if last + 1 < end:
        del headers["Content-Range"], headers["Content-Length"]
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{total}"
        headers["Content-Length"] = str(end - first)


def _is_whole(headers: Message) -> bool:
    """Whether a response of 206 has the length of the whole file, although its range does not begin at 0.

    Some scripts state the requested range and then send all of the file; the length comes from their server.
    """
    first, _, total = parse_http_range(headers.get("Content-Range"))
    return bool(first and total) and headers.get("Content-Length") == str(total)


_HTML_WITHIN: Final = 512  # bytes
_HTML: Final = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE)


def is_page(response: Any) -> bool:
    """Whether `response`, of which nothing was read yet, is HTML: by its Content-Type and its first bytes.

    The Content-Type is not enough: some sources call films HTML to hide them.
    """
    kind = response.headers.get("Content-Type") or ""
    return kind.lower().startswith("text/html") and bool(_HTML.match(response.look_ahead(_HTML_WITHIN)))


_MAX_USELESS: Final = 4
"""Useless responses, after which the whole file is requested instead of a range."""
_MAX_REPEATS: Final = 2
"""Responses in a row with just the range that the partial file has; another request would bring it again."""
_CONDITION_REFUSED: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.PRECONDITION_FAILED)
"""Statuses from servers that do not support `If-Range`, or take it for another condition."""

_download_of_yt_dlp = yt_dlp_parts.original(HttpFD, "real_download")


def install() -> None:
    """Check all downloads that yt-dlp resumes, also of fragments, in this process and its children."""
    if yt_dlp_parts.fits("resuming"):
        HttpFD.real_download = _real_download


class _SourceChanged(Exception):
    """The file that the source has now is not the one that the partial file began with."""


class _NoChunks(Exception):
    """The source does not send chunks as yt-dlp needs them: the file is to be fetched without chunks."""


def _real_download(self: Any, filename: str, info: dict[str, Any]) -> bool:
    """Replace `HttpFD.real_download`.

    Of a file whose length is unknown, yt-dlp takes the first chunk for the whole. And if more comes than the
    chunk that it requested, it takes what follows the partial file for the whole file.
    """
    partial, begins_anew = Partial(Path(self.temp_name(filename)), note_of(filename)), False
    while True:
        try:
            return _download(self, partial, filename, info)
        except _NoChunks as reason:
            self.to_screen(f"[download] Without chunks: {reason}")
            info = info | {"downloader_options": {}}
            partial, begins_anew = Partial(Path(self.temp_name(filename)), note_of(filename)), False
        except (_SourceChanged, DifferentBytes) as reason:
            partial.drop()
            if begins_anew:
                raise JobFailed("incomplete", str(reason)) from None
            self.to_screen(f"[download] Beginning anew: {reason}")
            begins_anew = True


def _download(self: Any, partial: Partial, filename: str, info: dict[str, Any]) -> bool:
    downloader, tries = copy.copy(self), Tries(filename)  # copied: threads share a downloader of fragments
    downloader.ydl = _CheckedRequests(self, partial, info)

    def report_retry(error: object, _count: int, most: int) -> None:
        self.report_retry(error, tries.in_a_row(partial.size), tries.left(error, most))

    downloader.report_retry = report_retry
    try:
        # yt-dlp limits all faults of a file; here only faults in a row without a new byte count. So its
        # download is repeated when its retries are used up, until `report_retry` raises.
        while True:
            faults = tries.faults
            if _download_of_yt_dlp(downloader, filename, info):
                return True
            if tries.faults == faults:
                return False
    except NothingMissing:
        self.try_rename(str(partial.path), filename)
        size = Path(filename).stat().st_size
        finished = {"status": "finished", "downloaded_bytes": size, "total_bytes": size}
        self._hook_progress({**finished, "filename": filename, "ctx_id": info.get("ctx_id")}, info)
        return True


class _CheckedRequests:
    """Stands for `YoutubeDL` in one download, to check and change its requests and their responses."""

    def __init__(self, downloader: Any, partial: Partial, info: dict[str, Any]) -> None:
        self._ydl = downloader.ydl
        self._partial = partial
        self._is_fragment = "frag_resume_len" in info
        self._in_chunks = bool((info.get("downloader_options") or {}).get("http_chunk_size"))
        first, last, _ = parse_http_range((info.get("http_headers") or {}).get("Range"))
        self._first: int = first or 0  # byte at the source: a fragment may be a range of a file
        self._stop: int | None = None if last is None else last + 1
        self._useless = self._repeats = 0  # responses
        self._last: int | None = None  # byte of the newest response, as its Content-Range says
        self._on_bytes = bound(_report_repeated, downloader, info)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ydl, name)

    def urlopen(self, request: Request) -> Response | MissingBytes:
        try:
            start, _, _ = parse_http_range(request.headers.get("Range"))
            if self._useless >= _MAX_USELESS:
                request.headers.pop("Range", None)
            if start is None or start <= self._first:
                return self._begin(self._request(request))
            source = self._partial.source
            if source is None:
                raise _SourceChanged("the partial file has no note about its source")
            if self._useless >= _MAX_USELESS:
                return self._continue_with(self._request(request), start, source)
            if source.condition:
                request.headers["If-Range"] = source.condition
            try:
                response = self._request(request)
            except HTTPError as error:
                if error.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise self._meaning_of_416(error, source) from None
                if error.status not in _CONDITION_REFUSED or not source.condition:
                    raise
                error.close()
                return self._compare_tail(request, start, source)
            now = SourceVersion.of(response)
            if source.is_continued_by(now) or source.contradicts(now):
                return self._continue_with(response, start, source)
            response.close()
            return self._compare_tail(request, start, source)
        except HTTPError as error:
            error.close()  # else its socket stays open until garbage is collected
            if self._is_fragment:
                self._ydl.trail.note(error, fragment=True)
            raise

    def _request(self, request: Request) -> Response:
        """Request as yt-dlp does; raises `Expired` for a page, and `_NoChunks`."""
        response: Response = self._ydl.urlopen(request)
        if (self._is_fragment or self._partial.size) and is_page(response):
            response.close()
            raise Expired("incomplete", "a page comes in place of the missing bytes")
        first, self._last, _ = parse_http_range(response.headers.get("Content-Range"))
        is_repeat = first == self._first and self._last == self._first + self._partial.size - 1
        self._repeats = self._repeats + 1 if is_repeat else 0
        correct_lengths(response.headers, request.headers.get("Range"))
        if self._in_chunks:
            _, requested_last, _ = parse_http_range(request.headers.get("Range"))
            _, last, _ = parse_http_range(response.headers.get("Content-Range"))
            is_more = last is not None and requested_last is not None and last > requested_last
            if is_more or SourceVersion.of(response).total is None:
                response.close()
                raise _NoChunks(
                    "more than the chunk comes" if is_more else "the source does not state the length"
                )
        return response

    def _begin(self, response: Response) -> Response | MissingBytes:
        begins, _, _ = parse_http_range(response.headers.get("Content-Range"))
        if begins not in (None, self._first):
            response.close()
            raise self._useless_response()
        if response.headers.get("Content-Encoding"):  # decoded bytes have other positions than those sent
            self._partial.drop()
            return response
        source = SourceVersion.of(response)
        self._partial.begin(source)
        if self._stop is None:
            return response
        if response.status != HTTPStatus.OK:
            return self._cut_to_range(response, self._first, source)
        skip(response, self._first, b"", self._on_bytes)
        return MissingBytes(response, self._first, self._stop, source.total)

    def _cut_to_range(self, response: Response, start: int, source: SourceVersion) -> Response | MissingBytes:
        """Return `response`, which begins with byte `start`, cut off at the end of the range or the file."""
        length = int_or_none(response.headers.get("Content-Length"))
        end = source.total if self._stop is None else self._stop
        if length is None and self._stop is None:
            return response
        if length is not None and (end is None or length <= end - start):
            return response
        return MissingBytes(response, start, self._stop, source.total)

    def _continue_with(
        self, response: Response, start: int, source: SourceVersion, overlap: int = 0
    ) -> Response | MissingBytes:
        """Return what `response` has from byte `start` on; `overlap` bytes before it were requested, too."""
        now = SourceVersion.of(response)
        if source.contradicts(now):
            response.close()
            raise _SourceChanged("the source has another version of the file")
        begins, _, _ = parse_http_range(response.headers.get("Content-Range"))
        is_empty = response.headers.get("Content-Length") == "0"
        # Some servers begin with the block that has the requested byte.
        has_start = begins is not None and self._first <= begins < start <= (self._last or 0)
        if response.status == HTTPStatus.OK or _is_whole(response.headers):
            begins = 0
        elif is_empty or not (begins == start - overlap or has_start):
            response.close()
            raise self._useless_response()
        if begins == start:
            return self._cut_to_range(response, start, now)
        if self._in_chunks:
            response.close()
            raise _NoChunks("the response begins before the chunk")
        tail = read_tail(self._partial.path)[begins - start :]
        skip(response, start - begins, tail, self._on_bytes if begins == 0 else lambda _: None)
        self._partial.note(now)
        missing = MissingBytes(response, start, self._stop, now.total)
        if missing.is_empty:
            response.close()
            raise NothingMissing
        return missing

    def _compare_tail(self, request: Request, start: int, source: SourceVersion) -> Response | MissingBytes:
        """Request the last bytes again and compare them, where neither ETag nor `If-Range` tells enough."""
        overlap = min(COMPARED, self._partial.size)
        request.headers.pop("If-Range", None)
        request.headers["Range"] = f"bytes={start - overlap}-{'' if self._stop is None else self._stop - 1}"
        return self._continue_with(self._request(request), start, source, overlap)

    def _useless_response(self) -> Exception:
        """Count a useless response; return the error of a broken connection, after which yt-dlp retries.

        Raises `JobFailed` if there were too many.
        """
        self._useless += 1
        if self._useless > _MAX_USELESS or self._repeats >= _MAX_REPEATS:
            raise JobFailed("incomplete", _NO_MORE)
        error: Exception = IncompleteRead(0)
        self._ydl.trail.note(error, reading=True)
        return error

    def _meaning_of_416(self, error: HTTPError, source: SourceVersion) -> Exception:
        """Return `NothingMissing` if the partial file is complete, `_SourceChanged` if the source's file is
        another; else the response is useless.
        """
        now, end = SourceVersion.of(error.response), self._first + self._partial.size
        if not error.response.headers.get("Content-Range") or now.total is None:
            return self._useless_response()
        if source.contradicts(now) or end > now.total:
            return _SourceChanged("the source's file is shorter than the partial file, or another")
        if end < now.total:
            return self._useless_response()
        return NothingMissing()


def _report_repeated(downloader: Any, info: dict[str, Any], count: int) -> None:
    """Report bytes that came once more: the rate limit applies to them, and they are no stall."""
    if "frag_resume_len" in info:  # yt-dlp would add these bytes to the progress
        downloader.ydl.params["logger"].alive()
    else:
        downloader._hook_progress({"status": "downloading", "downloaded_bytes": count}, info)
