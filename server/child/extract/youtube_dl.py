"""yt-dlp, with what it lacks here: pages of bounded size, and a record of network errors.

What takes long and is the same for every job is cached in the fork server; its children inherit the caches.

Some films come in sections: the parts of a `multi_video`, the periods of a DASH manifest. yt-dlp joins the
bytes of periods that are described alike, and leaves out the others. But each period has its own start time
and its own initialization segment, so that joined bytes are no film: here each section is fetched separately,
and `server.child.media.parts` joins them.

yt-dlp gets HLS playlists without a byte order mark, and without segments that do not exist. A broadcaster
marks a segment that it lost (`EXT-X-GAP`: RFC 8216bis, 4.4.4.7), and clients should not request it. yt-dlp
does, and takes the failure for a gap in the film.
"""

import codecs
import functools
import math
import re
import traceback
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from yt_dlp import YoutubeDL, utils
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.extractor.generic import GenericIE
from yt_dlp.networking import common as networking
from yt_dlp.networking.common import Request, Response
from yt_dlp.networking.exceptions import HTTPError, RequestError
from yt_dlp.utils import ExtractorError, YoutubeDLError

from server.child.extract import extractors, generic, plugins, video_info
from server.child.extract.failures import Trail, classify
from server.child.extract.generic import AS_LISTS, is_list, lose_something
from server.child.media import guarded_ffmpeg, parts, probe
from server.child.network import browser
from server.child.network.browser import Walls
from server.child.network.redirects import Redirect, record_redirects
from server.child.process import yt_dlp_parts
from server.child.process.job_failed import JobFailed, NotLive
from server.child.process.progress import Throttle

MAX_ENTRIES = 5
"""Entries of a playlist that are tried in turn until one is available."""

Hook = Callable[[Mapping[str, Any]], None]

LARGEST_PAGE = 32 * 1024 * 1024  # bytes
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_SCHEMES = ("http", "https", "data")  # and no ftp


class Engine(YoutubeDL):  # type: ignore[misc]
    """`trail` records network errors, because yt-dlp keeps only the message of many of them.

    `offered` is the number of formats of the last video; those whose ids are in `refused` are not selected.
    `on_extracted` is called after each extraction, `on_request` before each request; `throttle` limits what
    downloads read. `item` is the place of the wanted entry in a list, from 1 on: see `first`.
    """

    def __init__(
        self,
        params: dict[str, Any],
        trail: Trail,
        item: int | None = None,
        *,
        on_request: Callable[[], object] = lambda: None,
        throttle: Throttle | None = None,
    ) -> None:
        self.trail = trail
        self._item = item
        self._on_request = on_request
        self.refused: set[str] = set()
        self.offered = 0
        self.on_extracted: Callable[[], object] = lambda: None
        self._on_progress: Hook
        self.throttle = throttle or Throttle()
        self._is_live = False
        self._entry: int | None = None
        self.is_first_of_several = False  # the page has several videos, and the client has chosen none
        self._begin = 0
        self.wants_one = params.get("playlist_items") == "1"
        self._only_describes = bool(params.get("extract_flat"))
        super().__init__(params, auto_init=False)
        self.add_progress_hook(lambda event: self._on_progress(event))
        known = extractors.enabled()
        if own := plugins.extractors:
            known = own | {key: kind for key, kind in known.items() if key not in own}
        # A copy would touch all of them, and so copy memory that is shared with the fork server.
        self._ies = ChainMap({}, known)
        # yt-dlp's own extractor, if our subclass no longer fits it.
        kind = generic.with_plugins() if yt_dlp_parts.fits("generic") else GenericIE
        self.add_info_extractor(kind())
        self._walls = Walls()
        self._extracting = 0
        self._tried_as_browser = False
        plain = self._request_director.handlers["Urllib"]
        if yt_dlp_parts.fits("schemes"):
            plain._SUPPORTED_URL_SCHEMES = _SCHEMES
        self.redirects: list[Redirect] = []
        """The redirects of all requests, see `server.child.network.redirects`."""

        if yt_dlp_parts.fits("redirects"):
            usual = self._request_director.handlers["Requests"]
            usual._create_instance = record_redirects(usual._create_instance, self.redirects)
        if not yt_dlp_parts.fits("formats"):
            self._select_formats = yt_dlp_parts.original(super(), "_select_formats")  # type: ignore[method-assign]
        self._browser = browser.BrowserRH(plain, params.get("proxy"))
        self._request_director.add_handler(self._browser)

    def urlopen(self, req: Any) -> Response:
        """Repeat a request to which the response is a bot wall as a browser would send it; later requests to
        the host are sent so at once.

        A 403 that does not look like a wall may be one all the same: the first request of an attempt with
        such a response is repeated, too, and stays a 403 if that does not help. A 403 with `Retry-After` is a
        ban, which another request might prolong.
        """
        self._on_request()
        request = Request(req) if isinstance(req, str) else req
        if not isinstance(request, Request) or request.extensions.get(browser.WANTED):
            return self._open(request)
        if self._walls.protect(request.url):
            return self._open(_as_browser(request))
        try:
            return self._open(request)
        except HTTPError as error:
            is_wall, hosts = self._walls.may_be_wall(error.response), (request.url, error.response.url)
            may_be_one = (
                error.status == HTTPStatus.FORBIDDEN
                and self._extracting
                and not self._tried_as_browser
                and "Retry-After" not in error.response.headers
            )
            if not (is_wall or may_be_one) or not self._browser.is_supported_target(browser.ANY):
                raise
            if not is_wall:
                self._tried_as_browser = True
                try:
                    response = self._bounded(super().urlopen(_as_browser(request)))
                except RequestError as other:
                    self.params["logger"].write(f"the request failed as a browser's, too: {other}")
                    raise error from None
                self._walls.remember(hosts, self.cookiejar)
                error.close()
                return response
            self._walls.remember(hosts, self.cookiejar)
            error.close()
        return self._open(_as_browser(request))

    def _open(self, request: Any) -> Response:
        try:
            return self._bounded(super().urlopen(request))
        except HTTPError as error:
            browser.mark_wall(self._bounded(error.response))
            self.trail.note(error)
            raise
        except RequestError as error:
            self.trail.note(error)
            raise

    def extract_info(
        self, url: str, download: bool = True, ie_key: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        self._extracting += 1
        try:
            with self.reading():
                ie_key = ie_key or next(self.extractors_of(url), None)
                return super().extract_info(url, download, ie_key, *args, **kwargs)
        finally:
            self._extracting -= 1

    def extractors_of(self, url: str) -> Iterator[str]:
        """Return the names of the extractors that know `url`, of which yt-dlp takes the first."""
        return (key for key in extractors.find_candidates(url) if self._ies[key].suitable(url))

    def dl(self, *args: Any, on_progress: Hook = lambda _: None, **kwargs: Any) -> Any:
        """Download as yt-dlp does, within `reading`: downloaders parse data of the source, as playlists.

        `on_progress` gets yt-dlp's progress dicts.
        """
        self._on_progress = on_progress
        with self.reading():
            return super().dl(*args, **kwargs)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Inside the block, turn a crash of yt-dlp's code into `ExtractorError`: yt-dlp has not understood
        what the source sent.

        Exceptions of our own code are raised unchanged. Use it also where yt-dlp reads lazily, as the entries
        of a list.
        """
        try:
            yield
        except (YoutubeDLError, JobFailed, OSError, MemoryError):
            raise
        except Exception as error:
            modules = [
                frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)
            ]
            # Libraries raise for their caller: yt-dlp or this package.
            last: str = [name for name in modules if name.startswith(("yt_dlp.", "server."))][-1]
            if last.startswith("server."):
                raise
            self.params["logger"].write("".join(traceback.format_exception(error)))
            raise ExtractorError("What the source sent was not understood.", cause=error) from error

    def _bounded(self, response: Response) -> Response:
        response.__class__ = _bounded(type(response))  # type: ignore[arg-type]
        response.trail, response.head, response.ahead = self.trail, bytearray(), b""
        return response

    def process_subtitles(self, *_: Any) -> None:
        """Do nothing: `fetch.subtitles` selects them, logs what is missing, and limits pattern time."""

    def _forceprint(self, *_: Any) -> None:
        """Do nothing: yt-dlp makes tables of all formats of each video, even if nothing is to be printed."""

    def process_video_result(self, info_dict: dict[str, Any], download: bool = True) -> Any:
        # Raise `NotLive` before yt-dlp raises an error because there are no formats. A job that waits for a
        # broadcast ignores formats, which may be those of a trailer.
        is_upcoming = self.wants_one and info_dict.get("live_status") == "is_upcoming"
        has_formats = info_dict.get("formats") or info_dict.get("url")
        if is_upcoming and (self.params.get("wait_for_video") or not has_formats):
            raise not_live_error(info_dict)
        self._is_live = video_info.is_live(info_dict)
        return super().process_video_result(info_dict, download)

    def _wait_for_video(self, ie_result: Mapping[str, Any] = _NOTHING) -> None:
        """Do nothing: the server waits, because a child that sleeps would take up one of its places."""

    def _select_formats(self, formats: list[dict[str, Any]], selector: Any) -> list[dict[str, Any]]:
        self.offered = len(formats)
        left = [offered for offered in formats if offered.get("format_id") not in self.refused]
        if self.refused and lose_something(left, formats):
            return []
        if self._is_live:  # drop what cannot be recorded, if there are others
            left = [offered for offered in left if guarded_ffmpeg.can_fetch(offered)] or left
        chosen: list[dict[str, Any]] = super()._select_formats(left, selector)
        return chosen

    def first(self, url: str) -> dict[str, Any]:
        """Return the info dict of the video at `url` with formats selected; of a page with several videos,
        that of the first available one.

        A video that comes in parts has them as its `entries`. Raises `JobFailed` for a list of several
        entries, unless `item` names one of them, and if there is nothing to download.
        """
        try:
            try:
                info = self.extract_info(url, download=False)
            except YoutubeDLError as error:
                if not self.params.get("wait_for_video") or classify(error, self.trail).code != "no_media":
                    raise
                # With `wait_for_video` extractors hide the reason why there is no media.
                self.params["wait_for_video"] = False
                try:
                    info = self.extract_info(url, download=False)
                finally:
                    self.params["wait_for_video"] = True
        finally:
            self.on_extracted()
        while info and info.get("_type") == "playlist":
            info = next((entry for entry in info["entries"] if entry), None)
        if not info:
            raise JobFailed("no_media", "nothing to download there")
        found: dict[str, Any] = merge_parts(info) if "entries" in info else info
        return found

    def process_ie_result(
        self, ie_result: dict[str, Any], download: bool = True, extra_info: Any = None
    ) -> Any:
        """Extract all parts of a video in parts, one entry of a playlist, and no entry for an info job."""
        if self._only_describes and ie_result.get("_type") == "playlist":
            return ie_result
        if self.wants_one and ie_result.get("_type") == "playlist" and yt_dlp_parts.fits("entries"):
            # Extract the first available entry, or entry `item`. If none of `MAX_ENTRIES` entries is
            # available, raise the first error; a retryable error is raised at once.
            outermost, found, first_error = not self._playlist_level, None, None
            entries = ie_result.get("entries") or ()
            ie_result["entries"] = entries if isinstance(entries, AS_LISTS) else utils.LazyList(entries)
            item = self._item if outermost else None
            if item is None and is_list(ie_result):
                raise JobFailed("is_playlist")
            begin = self._begin if outermost else 0
            for at in range(begin, begin + MAX_ENTRIES) if item is None else (item - 1,):
                self.params["playlist_items"] = str(at + 1)
                self._playlist_urls.discard(ie_result.get("webpage_url"))  # else yt-dlp takes this for a loop
                try:
                    found = super().process_ie_result(dict(ie_result), False, extra_info)
                except (YoutubeDLError, JobFailed) as error:
                    if classify(error, self.trail).retryable or (
                        bool(self.params.get("wait_for_video")) and isinstance(error, NotLive)
                    ):
                        raise
                    first_error = first_error or error
                    continue
                if not found or not found["entries"] or any(found["entries"]):
                    break
            if item is not None and not (first_error or (found and found["entries"])):
                raise JobFailed("no_such_entry", f"the list has no entry {item}")
            if outermost and item is None:
                self._entry, self.is_first_of_several = at, at > 0
                # Two entries with one link are one film. `IndexError`: there are fewer than two.
                with suppress(IndexError, YoutubeDLError):
                    one, other = ie_result["entries"][0], ie_result["entries"][1]
                    same = one and one.get("url") and one["url"] == other.get("url")
                    self.is_first_of_several |= bool(other) and not same
            if first_error and not (found and any(found["entries"])):
                raise first_error
            return found
        if self.wants_one and ie_result.get("_type") == "multi_video":
            self.params["playlist_items"] = None
        return super().process_ie_result(ie_result, download, extra_info)

    def skip_entry(self) -> bool:
        """Have the next extraction begin after the entry that was taken; False if none was taken."""
        if self._entry is None:
            return False
        self._begin = self._entry + 1
        self.refused.clear()
        return True

    def rehearse(self) -> None:
        """Process a made-up extraction without any network, to fill yt-dlp's caches.

        That saves each job 40 ms; a download of 1 MB takes a hundred.
        """
        if not yt_dlp_parts.fits("rehearsal"):
            return
        for handler in self._request_director.handlers.values():
            handler._make_sslcontext()
        list(self.extractors_of(extractors.TYPICAL))
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


def _as_browser(request: Request) -> Request:
    wanted = request.copy()
    wanted.extensions[browser.WANTED] = browser.ANY
    return wanted


def not_live_error(info: Mapping[str, Any]) -> NotLive:
    """Return the error for a broadcast that is announced and has not begun."""
    return NotLive(video_info.moment(info.get("release_timestamp")), info)


def share_certificates() -> None:
    """Load the CA certificates once per process: it takes longer than a small download."""
    if yt_dlp_parts.fits("certificates") and not hasattr(networking.make_ssl_context, "cache_info"):
        networking.make_ssl_context = functools.lru_cache(networking.make_ssl_context)


class _Bounded(Response):  # type: ignore[misc]
    """A response that refuses to read more than `LARGEST_PAGE` bytes at once, as pages are read; downloads
    read block by block.

    `head` are the first bytes that were read, `ahead` those that `look_ahead` has returned and that were not
    read yet.
    """

    trail: Trail
    head: bytearray
    ahead: bytes

    def look_ahead(self, amount: int) -> bytes:
        """Peek at the first bytes before anything is read; empty if they cannot be read."""
        with suppress(RequestError):
            self.ahead = super().read(amount)
        return self.ahead

    def read(self, amt: int | None = None) -> bytes:
        whole = amt is None or amt < 0
        data = self._read(LARGEST_PAGE + 1 if whole else amt)
        if whole:
            self._refuse_too_large(data)
        if not self.head and data.startswith((_HEAD, codecs.BOM_UTF8 + _HEAD)):  # an HLS playlist
            data += self._read(LARGEST_PAGE + 1)
            self._refuse_too_large(data)
            page = clean_playlist(data)
            size = len(page) if whole or amt is None else amt
            data, self.ahead = page[:size], page[size:]
        self.head += data[: probe.HEAD - len(self.head)]
        return data

    def _refuse_too_large(self, data: bytes) -> None:
        if len(data) > LARGEST_PAGE and self.status < HTTPStatus.BAD_REQUEST:
            raise JobFailed("page_too_large", f"more than {LARGEST_PAGE} bytes at {self.url}")

    def _read(self, amount: int | None) -> bytes:
        seen = self.ahead[:amount]
        self.ahead = self.ahead[len(seen) :]
        if len(seen) == amount:
            return seen
        left = None if amount is None else amount - len(seen)
        try:
            return seen + bytes(super().read(left))
        except RequestError as error:
            self.trail.note(error, reading=True)
            raise


@functools.cache
def _bounded(kind: type[Response]) -> type[Response]:
    """Return a class that is both `_Bounded` and `kind`.

    To store a function in the response instead would be a reference cycle, which keeps its socket open.
    """
    return type("Bounded", (_Bounded, kind), {})


_PERIODS: Final = "clipwire_periods"
"""Key in a format dict: `_LOCATION` of the format in each period, None for a period that lacks it."""

_LOCATION: Final = ("url", "fragment_base_url", "fragments", "filesize", "has_drm")

_FIELDS_OF_A_PART: Final = ("url", "formats", "requested_formats", "filesize", "filesize_approx")

_merge_of_yt_dlp = yt_dlp_parts.original(InfoExtractor, "_merge_mpd_periods")

Formats = list[dict[str, Any]]


def install() -> None:
    """Replace yt-dlp's merging of DASH periods, for the rest of this process and its children."""
    if yt_dlp_parts.fits("periods"):
        InfoExtractor._merge_mpd_periods = _merge_periods


def merge_parts(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the info dict of a video in parts, which are its `entries`: with the fields of the whole, else
    those of the first part.

    Raises `JobFailed` if a part is missing.
    """
    entries = list(info["entries"])
    if not entries or not all(entries):
        raise JobFailed("no_media", f"parts are missing: {[bool(entry) for entry in entries]}")
    durations = [entry.get("duration") for entry in entries]
    about = {name: value for name, value in entries[0].items() if name not in _FIELDS_OF_A_PART}
    about |= {"duration": sum(durations) if all(durations) else None}
    about |= {name: value for name, value in info.items() if value is not None and name != "_type"}
    return about | {"entries": entries}


def streams_of(info: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the streams to fetch of each section; most films have one section.

    Raises `JobFailed` if picture and sound have different periods, or if a period has them with DRM only.
    """
    if "entries" in info:
        return [section for entry in info["entries"] for section in streams_of(entry)]
    streams = parts.chosen_streams(info)
    locations = [stream.pop(_PERIODS, None) or [{}] for stream in streams]
    if len({len(periods) for periods in locations}) > 1:
        raise JobFailed("unsupported_stream", "picture and sound do not come in the same periods")
    if any(where and where.get("has_drm") for periods in locations for where in periods):
        raise JobFailed("drm_protected", "some periods come with DRM only")
    return [
        [stream | where for stream, where in zip(streams, period, strict=True) if where is not None]
        for period in zip(*locations, strict=True)
    ]


def _merge_periods(self: Any, periods: Iterable[Mapping[str, Any]]) -> tuple[Formats, dict[str, Any]]:
    """Return the formats of the period that has most. Each has, in `_PERIODS`, the location of the most
    similar format of every period.
    """
    periods = list(periods)
    with_media = [period["formats"] for period in periods if period["formats"]]
    most: Formats = max(with_media, key=len, default=[])
    chosen = [{**period, "formats": most if period["formats"] is most else []} for period in periods]
    formats, subtitles = _merge_of_yt_dlp(self, chosen)
    if len(with_media) > 1:
        found = [[_most_similar(offered, others) for others in with_media] for offered in formats]
        for offered, locations in zip(formats, found, strict=True):
            offered[_PERIODS] = locations
    return formats, subtitles


def _most_similar(one: Mapping[str, Any], others: Formats) -> dict[str, Any] | None:
    """Return the location of the format in `others` that is most similar to `one`; None if none has a picture
    and sound as `one` has.
    """

    def difference(other: Mapping[str, Any]) -> tuple[Any, ...]:
        differs = (other.get(name) != one.get(name) for name in ("format_id", "language", "vcodec", "acodec"))
        near = (abs((other.get(name) or 0) - (one.get(name) or 0)) for name in ("height", "tbr"))
        return (bool(other.get("has_drm")), *differs, *near)

    of_kind = [other for other in others if _kind(other) == _kind(one)]
    closest = min(of_kind, key=difference, default=None)
    return None if closest is None else {"duration": None} | {name: closest.get(name) for name in _LOCATION}


def _kind(one: Mapping[str, Any]) -> tuple[bool, bool]:
    return one.get("vcodec") == "none", one.get("acodec") == "none"


_HEAD: Final = b"#EXTM3U"
_GAP: Final = b"#EXT-X-GAP"
# What only a media playlist has (RFC 8216, 4.3.3); other programs write lists of files with #EXTINF.
_MEDIA_PLAYLIST: Final = re.compile(
    rb"^#EXT-X-(?:MEDIA-SEQUENCE|DISCONTINUITY-SEQUENCE|ENDLIST|PLAYLIST-TYPE|MAP|BYTERANGE|KEY)"
    rb"|^#EXTINF:[^\n]*\n(?:#[^\n]*\n)*[^#\n]*\.(?:ts|m4s)\b",
    re.MULTILINE,
)
_UNDERSTOOD: Final = re.compile(rb"^#EXT-X-(?:TARGETDURATION|STREAM-INF|MEDIA:)", re.MULTILINE)
_LINK: Final = re.compile(rb"^[^#\s]", re.MULTILINE)
_LENGTH: Final = re.compile(rb"^#EXTINF:\s*(\d{1,6}(?:\.\d+)?)", re.MULTILINE)
_NUMBER: Final = re.compile(rb"#EXT-X-MEDIA-SEQUENCE:\s*(\d+)")
_OF_SEGMENT: Final = (b"#EXTINF", b"#EXT-X-BYTERANGE", b"#EXT-X-PROGRAM-DATE-TIME", _GAP)


def clean_playlist(playlist: bytes) -> bytes:
    """Return the playlist without lost segments, in a form that yt-dlp reads.

    The segment after a gap gets its number written out, which may be its IV (RFC 8216, 5.2). A media playlist
    without a target duration gets one, by which yt-dlp distinguishes it from a master playlist. So does an
    empty playlist: a broadcast that has not begun.
    """
    page = playlist.removeprefix(codecs.BOM_UTF8)
    if (_MEDIA_PLAYLIST.search(page) or not _LINK.search(page)) and not _UNDERSTOOD.search(page):
        lengths = [float(length) for length in _LENGTH.findall(page)]
        target = b"\n#EXT-X-TARGETDURATION:%d" % max([1, *map(math.ceil, lengths)])
        page = page.replace(_HEAD, _HEAD + target, 1)
    if _GAP not in page:
        return page
    found = _NUMBER.search(page)
    number, tags, kept = int(found[1]) if found else 0, list[bytes](), list[bytes]()
    for line in page.splitlines():
        if line.startswith(b"#") or not line.strip():
            tags.append(line)
            continue
        number += 1
        if any(tag.startswith(_GAP) for tag in tags):
            kept += [tag for tag in tags if not tag.startswith(_OF_SEGMENT)]
            kept.append(b"#EXT-X-MEDIA-SEQUENCE:%d" % number)
        else:
            kept += [*tags, line]
        tags = []
    return b"\n".join([*kept, *tags]) + b"\n"
