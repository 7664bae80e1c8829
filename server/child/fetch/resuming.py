"""A download is resumed only if the file at its source is still the one that it began with.

yt-dlp requests what is missing of a partial file and appends whatever comes. Here a note beside the file
holds its source's ETag, Last-Modified and length (`Partial`). What is missing is requested on condition
that they are still the same (`If-Range`: RFC 9110, 13.1.5); not every server supports that, so the response
is compared with the note, too. Only if it contradicts the note is the partial file dropped, and the download
begins anew within the attempt. If just the ETag differs, which some servers change with each response, the
last bytes of the partial file are requested again and compared. An empty response, or one with another range,
says nothing: the range is requested again, and after `_MOST_ODD` of them the whole file. If that response
says nothing either, or the range that is there comes again twice in a row, the attempt ends.

Each test of `tests/child/test_resuming.py` is a way in which yt-dlp itself ends with a wrong file, or none.

Some sources do not support ranges, and send the whole file. The bytes that the partial file has already are
then read again and dropped (`MissingBytes`); the last of them tell whether it is the same file.

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
    """The file that holds the `SourceVersion` of `filename`, once a download has begun."""
    return Path(filename + SOURCE)


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """What tells one version of a file at its source from another; None where the source does not say it."""

    etag: str | None = None
    modified: str | None = None
    total: int | None = None

    @classmethod
    def of(cls, response: Response) -> "SourceVersion":
        headers = response.headers
        whole = headers.get("Content-Range") or f"/{headers.get('Content-Length')}"
        return cls(headers.get("ETag"), headers.get("Last-Modified"), int_or_none(whole.rpartition("/")[2]))

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
        marked = self.etag or self.modified
        # The response need not have both, but at least one of those that the note has.
        return not marked or any(all(pair) for pair in pairs)


class Partial:
    """A partial file, and the note about its source."""

    def __init__(self, path: Path, note: Path) -> None:
        self.path = path
        self._note = note
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
        """Drop the old bytes before the new note is written: no kill leaves bytes beside another's note."""
        self.drop()
        self.goes_on_as(source)

    def goes_on_as(self, source: SourceVersion) -> None:
        """Write a new note: the bytes are those of `source`, too."""
        fresh = self._note.with_name(self._note.name + ".new")
        fresh.write_text(json.dumps(asdict(source)))
        fresh.replace(self._note)
        self.source = source

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.source = None


def _agree(one: object, other: object) -> bool:
    return one is None or other is None or one == other


COMPARED: Final = 64 * 1024  # bytes
_BLOCK: Final = 256 * 1024


class Another(Exception):
    """The bytes that come are not those of the partial file."""


class NothingMissing(Exception):
    """The partial file is complete already."""


def tail(path: Path) -> bytes:
    """The last `COMPARED` bytes at `path`, or fewer."""
    with path.open("rb") as file:
        file.seek(-min(COMPARED, path.stat().st_size), 2)
        return file.read()


def skip(response: Response, count: int, last: bytes, on_bytes: Callable[[int], None]) -> None:
    """Drop `count` bytes; raises `Another` if they do not end with `last`, and what reading raises."""
    done, seen = 0, b""
    while done < count:
        block = response.read(min(_BLOCK, count - done))
        if not block:
            raise Another("it ends before what is there does")
        done += len(block)
        seen = (seen + block)[-len(last) :] if last else b""
        on_bytes(done)
    if seen != last:
        raise Another("the end of what is there is not what comes")


class MissingBytes:
    """`response`, of which byte `start` is read next, as the response to a range request from there on.

    It ends before byte `stop`, if that is given; `total` is the size of the whole file, if that is known.
    """

    def __init__(self, response: Response, start: int, stop: int | None, total: int | None) -> None:
        self._response = response
        end = total if stop is None else min(stop, total or stop)
        self._left = None if end is None else max(0, end - start)
        self._nothing_yet = True
        self.headers = copy.copy(response.headers)
        del self.headers["Content-Range"], self.headers["Content-Length"]
        last, of = "" if end is None else end - 1, "" if total is None else f"/{total}"
        self.headers["Content-Range"] = f"bytes {start}-{last}{of}"
        if self._left is not None:
            self.headers["Content-Length"] = str(self._left)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    @property
    def is_empty(self) -> bool:
        return self._left == 0

    def read(self, amount: int) -> bytes:
        """Raises `JobFailed` if no byte comes at all: an immediate retry would get no more, either.

        Raises `NothingMissing` if none comes and nobody has said that there are more.
        """
        data = self._read(amount if self._left is None else min(amount, self._left))
        self._nothing_yet = self._nothing_yet and not data
        if self._left is not None:
            self._left -= len(data)
        return data

    def _read(self, amount: int) -> bytes:
        try:
            data = bytes(self._response.read(amount))
        except TransportError as error:
            if not self._nothing_yet:
                raise
            raise JobFailed("incomplete", f"what is there comes again, and no more: {error}") from error
        if not data and amount and self._nothing_yet:
            if self._left is None:
                raise NothingMissing
            raise JobFailed("incomplete", "what is there comes again, and no more")
        return data


def put_right(headers: Message, wanted: str | None) -> None:
    """Change `headers` of the response to a request whose `Range` was `wanted`, None if it had none.

    Where a source sends less than was wanted, which it may (RFC 9110, 15.3.7), all of it is announced: then
    the response seems to break off, and yt-dlp requests the rest.
    """
    # As HTTP clients do; a length that is repeated counts once (RFC 9110, 8.6).
    lengths = {each.strip() for said in headers.get_all("Content-Length", ()) for each in said.split(",")}
    del headers["Content-Length"]
    if len(lengths) == 1 and (length := lengths.pop()).isdecimal():
        headers["Content-Length"] = length
    first, last, total = parse_http_range(headers.get("Content-Range"))
    if last is None or total is None or last < first or headers.get("Content-Length") == "0":
        return  # not a usable `Content-Range`
    _, until, _ = parse_http_range(wanted)
    end = total if until is None else min(until + 1, total)
    if last + 1 < end:
        del headers["Content-Range"], headers["Content-Length"]
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{total}"
        headers["Content-Length"] = str(end - first)


_HEAD: Final = 512  # bytes
_BEGINS: Final = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE)


def is_one(response: Any) -> bool:
    """Whether `response`, of which nothing was read yet, is a page: by its Content-Type and its first bytes.

    The Content-Type is not enough: some sources call films HTML to hide them.
    """
    kind = response.headers.get("Content-Type") or ""
    return kind.lower().startswith("text/html") and bool(_BEGINS.match(response.look_ahead(_HEAD)))


_MOST_ODD: Final = 4
"""Responses that say nothing, after which the whole file is requested instead of a range."""
_MOST_REPEATS: Final = 2
"""Responses in a row with the range that is there, and no more; another request would bring it again."""
_CONDITION_REFUSED: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.PRECONDITION_FAILED)
"""Statuses from servers that do not support `If-Range`, or take it for another condition."""

_real_download = yt_dlp_parts.original(HttpFD, "real_download")


def install() -> None:
    """For the rest of this process and its children, for whole files and for fragments."""
    if yt_dlp_parts.fits("resuming"):
        HttpFD.real_download = _download


class _Contradicted(Exception):
    """The file that the source has now is not the one that the partial file began with."""


class _Unchunked(Exception):
    """The source gives no chunks that yt-dlp can follow on: the file is to be fetched without them."""


def _download(self: Any, filename: str, info: dict[str, Any]) -> bool:
    """Replaces `HttpFD.real_download`, which takes the first of an unknown number of chunks for the file, and
    what follows a partial file for all of it if it is more than the chunk that was asked for.
    """
    partial, begins_anew = Partial(Path(self.temp_name(filename)), note_of(filename)), False
    while True:
        try:
            return _attempt(self, partial, filename, info)
        except _Unchunked as reason:
            self.to_screen(f"[download] Without chunks: {reason}")
            info = info | {"downloader_options": {}}
            partial, begins_anew = Partial(Path(self.temp_name(filename)), note_of(filename)), False
        except (_Contradicted, Another) as reason:
            partial.drop()
            if begins_anew:
                raise JobFailed("incomplete", str(reason)) from None
            self.to_screen(f"[download] Beginning anew: {reason}")
            begins_anew = True


def _attempt(self: Any, partial: Partial, filename: str, info: dict[str, Any]) -> bool:
    asking, tries = copy.copy(self), Tries(filename)  # copied: threads share a downloader of fragments
    asking.ydl = _Asking(self, partial, info)

    def report_retry(error: object, _count: int, most: int) -> None:
        self.report_retry(error, tries.in_a_row(partial.size), tries.left(error, most))

    asking.report_retry = report_retry
    try:
        # yt-dlp limits all faults of a file; here only faults in a row without a new byte count. So its
        # download is repeated when its retries are used up, until `report_retry` raises.
        while True:
            faults = tries.faults
            if _real_download(asking, filename, info):
                return True
            if tries.faults == faults:
                return False
    except NothingMissing:
        self.try_rename(str(partial.path), filename)
        size = Path(filename).stat().st_size
        finished = {"status": "finished", "downloaded_bytes": size, "total_bytes": size}
        self._hook_progress({**finished, "filename": filename, "ctx_id": info.get("ctx_id")}, info)
        return True


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
        self._odd = self._repeats = 0
        self._on_bytes = bound(_tell_again, downloader, info)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ydl, name)

    def urlopen(self, request: Request) -> Response | MissingBytes:
        try:
            start, _, _ = parse_http_range(request.headers.get("Range"))
            if self._odd >= _MOST_ODD:
                request.headers.pop("Range", None)
            if start is None or start <= self._first:
                return self._begin(self._ask(request))
            source = self._partial.source
            if source is None:
                raise _Contradicted("the source of what is there is not known")
            if self._odd < _MOST_ODD:
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
                answer = SourceVersion.of(response)
                if source.is_continued_by(answer) or source.contradicts(answer):
                    return self._go_on_with(response, start, source)
                response.close()
                return self._compare(request, start, source)
            return self._go_on_with(self._ask(request), start, source)
        except HTTPError as error:
            error.close()  # its body is not read; else its socket stays open until a collection
            if self._fragment:
                self._ydl.trail.note(error, fragment=True)
            raise

    def _ask(self, request: Request) -> Response:
        response: Response = self._ydl.urlopen(request)
        if (self._fragment or self._partial.size) and is_one(response):
            response.close()
            raise Expired("incomplete", "a page comes in place of what is missing")
        first, last, _ = parse_http_range(response.headers.get("Content-Range"))
        is_there = first == self._first and last == self._first + self._partial.size - 1
        self._repeats = self._repeats + 1 if is_there else 0
        put_right(response.headers, request.headers.get("Range"))
        if self._chunked:
            # Raise `_Unchunked` where yt-dlp would take what follows the partial file for another
            # file.
            _, asked, _ = parse_http_range(request.headers.get("Range"))
            _, last, _ = parse_http_range(response.headers.get("Content-Range"))
            more = last is not None and asked is not None and last > asked
            if more or SourceVersion.of(response).total is None:
                response.close()
                raise _Unchunked(
                    "more than the chunk comes" if more else "the source does not say how much there is"
                )
        return response

    def _begin(self, response: Response) -> Response | MissingBytes:
        begins, _, _ = parse_http_range(response.headers.get("Content-Range"))
        if begins not in (None, self._first):
            response.close()
            raise self._odd_answer()
        if response.headers.get("Content-Encoding"):  # decoded bytes have other positions than those sent
            self._partial.drop()
            return response
        source = SourceVersion.of(response)
        self._partial.begin(source)
        if self._stop is None:
            return response
        if response.status != HTTPStatus.OK:
            return self._no_longer(response, self._first, source)
        skip(response, self._first, b"", self._on_bytes)
        return MissingBytes(response, self._first, self._stop, source.total)

    def _no_longer(self, response: Response, start: int, source: SourceVersion) -> Response | MissingBytes:
        """`response`, which begins with byte `start`, cut off where the range, or else the file, ends."""
        length = int_or_none(response.headers.get("Content-Length"))
        end = source.total if self._stop is None else self._stop
        if length is None and self._stop is None:
            return response
        if length is not None and (end is None or length <= end - start):
            return response
        return MissingBytes(response, start, self._stop, source.total)

    def _go_on_with(
        self, response: Response, start: int, source: SourceVersion, overlap: int = 0
    ) -> Response | MissingBytes:
        """What `response` has from byte `start` on; its request began `overlap` bytes earlier."""
        answer = SourceVersion.of(response)
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

    def _compare(self, request: Request, start: int, source: SourceVersion) -> Response | MissingBytes:
        """Where the ETag or `If-Range` does not tell: request the last bytes again, and compare them."""
        overlap = min(COMPARED, self._partial.size)
        request.headers.pop("If-Range", None)
        request.headers["Range"] = f"bytes={start - overlap}-{'' if self._stop is None else self._stop - 1}"
        return self._go_on_with(self._ask(request), start, source, overlap)

    def _odd_answer(self) -> Exception:
        """Count a response that says nothing; return a broken connection, after which yt-dlp retries."""
        self._odd += 1
        if self._odd > _MOST_ODD or self._repeats >= _MOST_REPEATS:
            raise JobFailed("incomplete", "what is there comes again, and no more")
        error: Exception = IncompleteRead(0)
        self._ydl.trail.note(error, reading=True)
        return error

    def _ended(self, error: HTTPError, source: SourceVersion) -> Exception:
        """What status 416 means: the file is complete, or another one, or nothing (an odd answer)."""
        answer, size = SourceVersion.of(error.response), self._first + self._partial.size
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
