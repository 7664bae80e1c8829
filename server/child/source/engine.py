"""yt-dlp, with what it lacks for our purpose: bounded pages, and a memory for what sources answered.

What takes long in it and is the same for every job is done once a process; children inherit it.
"""

import functools
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from yt_dlp import YoutubeDL, utils
from yt_dlp.networking import common as networking
from yt_dlp.networking.common import Request, Response
from yt_dlp.networking.exceptions import HTTPError, RequestError
from yt_dlp.utils import ExtractorError, YoutubeDLError

from server.child.media import guarded, probe, recording
from server.child.process import borrowed
from server.child.process.failed import JobFailed, NotLive
from server.child.source import browser, describe, generic, playlists, sections, walls
from server.child.source.facts import Trail
from server.child.source.failures import classify
from server.child.source.formats import lose_something
from server.child.source.indexed import AS_LISTS, is_list
from server.child.source.sections import as_one
from server.child.source.walls import Walls

MOST_ENTRIES = 5
"""Of a playlist that are tried, if they are not to be had."""

Hook = Callable[[Mapping[str, Any]], None]

LARGEST_PAGE = 32 * 1024 * 1024
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_SCHEMES = ("http", "https", "data")  # and no ftp


class Engine(YoutubeDL):  # type: ignore[misc]
    """`trail` takes the network's errors: of many of them yt-dlp keeps only the words.

    Of the formats that were `offered` last, those whose ids are in `refused` are not chosen. `on_look` is
    called after each look at a source, `on_request` before each request, `on_progress` gets yt-dlp's progress
    dicts. Of a list the one entry `item` is wanted, or else none: see `first`.
    """

    def __init__(self, params: dict[str, Any], trail: Trail, item: int | None = None) -> None:
        self.trail = trail
        self._item = item
        self.on_request = _nothing
        self.refused: set[str] = set()
        self.offered = 0
        self.on_look = _nothing
        self.on_progress: Hook = _nobody
        self._is_live = False
        self._entry: int | None = None
        self._begin = 0
        self.wants_one = params.get("playlist_items") == "1"
        self._only_looks = bool(params.get("extract_flat"))
        super().__init__(params, auto_init=False)
        self.add_progress_hook(lambda event: self.on_progress(event))
        sections.install()
        for extractor in _extractors():
            self.add_info_extractor(extractor)
        self.add_info_extractor(generic.extractor())
        self._walls = Walls()
        plain = self._request_director.handlers["Urllib"]
        if borrowed.fits("schemes"):
            plain._SUPPORTED_URL_SCHEMES = _SCHEMES
        if not borrowed.fits("formats"):
            self._select_formats = borrowed.original(super(), "_select_formats")  # type: ignore[method-assign]
        self._browser = browser.beside(plain, params.get("proxy"))
        self._request_director.add_handler(self._browser)

    def urlopen(self, req: Any) -> Response:
        """Where a wall is met the request is made once more, as a browser does it; later ones are at once."""
        self.on_request()
        request = Request(req) if isinstance(req, str) else req
        if not isinstance(request, Request) or request.extensions.get(browser.WANTED):
            return self._open(request)
        if self._walls.stand_before(request.url):
            return self._open(_as_browser(request))
        try:
            return self._open(request)
        except HTTPError as error:
            if not self._walls.is_one(error.response) or not self._browser.is_supported_target(browser.ANY):
                raise
            self._walls.remember((request.url, error.response.url), self.cookiejar)
            error.close()
        return self._open(_as_browser(request))

    def _open(self, request: Any) -> Response:
        try:
            return self._bounded(super().urlopen(request))
        except HTTPError as error:
            walls.mark(self._bounded(error.response))
            self.trail.note(error)
            raise
        except RequestError as error:
            self.trail.note(error)
            raise

    def extract_info(self, *args: Any, **kwargs: Any) -> Any:
        with self.reading():
            return super().extract_info(*args, **kwargs)

    def dl(self, *args: Any, **kwargs: Any) -> Any:
        """Downloaders read, too: the playlists of fragments."""
        with self.reading():
            return super().dl(*args, **kwargs)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A fault in an extractor or a downloader is none of ours: what the source sent was not understood.

        Also of what they give bit by bit, such as the entries of a list.
        """
        try:
            yield
        except (YoutubeDLError, JobFailed, OSError, MemoryError):
            raise
        except Exception as error:
            if _is_ours(error):
                raise
            self.params["logger"].write("".join(traceback.format_exception(error)))
            raise ExtractorError("What the source sent was not understood.", cause=error) from error

    def _bounded(self, response: Response) -> Response:
        response.__class__ = _bounded(type(response))  # type: ignore[arg-type]
        response.trail, response.head, response.ahead = self.trail, bytearray(), b""
        return response

    def process_subtitles(self, *_: Any) -> None:
        """They are chosen by `source.subtitles`, which says what is missing and lets no pattern run on."""

    def process_video_result(self, info_dict: dict[str, Any], download: bool = True) -> Any:
        if self.wants_one and info_dict.get("live_status") == "is_upcoming":
            self._refuse_upcoming(info_dict)
        self._is_live = recording.is_live(info_dict)
        return super().process_video_result(info_dict, download)

    def _refuse_upcoming(self, info: Mapping[str, Any]) -> None:
        """Before formats are missed, which it may not have yet; those that it has may be a trailer's."""
        if self.params.get("wait_for_video") or not (info.get("formats") or info.get("url")):
            raise not_yet(info)

    def _is_waited_for(self, error: Exception) -> bool:
        return bool(self.params.get("wait_for_video")) and isinstance(error, NotLive)

    def _wait_for_video(self, ie_result: Mapping[str, Any] = _NOTHING) -> None:
        """The server does that, and a child that waits would cost it a place."""

    def _select_formats(self, formats: list[dict[str, Any]], selector: Any) -> list[dict[str, Any]]:
        self.offered = len(formats)
        left = [offered for offered in formats if offered.get("format_id") not in self.refused]
        if lose_something(left, formats):
            return []
        if self._is_live:  # what cannot be recorded is no choice, if there is another
            left = [offered for offered in left if guarded.is_possible(offered)] or left
        chosen: list[dict[str, Any]] = super()._select_formats(left, selector)
        return chosen

    def first(self, url: str) -> dict[str, Any]:
        """Everything about the video at `url`, with formats chosen; of a page with several the first usable.

        A video that comes in parts has them as its `entries`. A list is refused, unless it has one entry, or
        one of them is wanted.
        """
        try:
            info = self._look(url)
        finally:
            self.on_look()
        while info and info.get("_type") == "playlist":
            info = next((entry for entry in info["entries"] if entry), None)
        if not info:
            raise JobFailed("no_media", "nothing to download there")
        found: dict[str, Any] = as_one(info) if "entries" in info else info
        return found

    def _look(self, url: str) -> Any:
        """Extractors that are told to wait tell when a broadcast begins, but not why there is none."""
        try:
            return self.extract_info(url, download=False)
        except YoutubeDLError as error:
            if not self.params.get("wait_for_video") or classify(error, self.trail).code != "no_media":
                raise
        self.params["wait_for_video"] = False
        try:
            return self.extract_info(url, download=False)
        finally:
            self.params["wait_for_video"] = True

    def process_ie_result(
        self, ie_result: dict[str, Any], download: bool = True, extra_info: Any = None
    ) -> Any:
        """Of a video in parts all of them are wanted, of a playlist one entry, or all as they are."""
        if self._only_looks and ie_result.get("_type") == "playlist":
            return ie_result
        if self.wants_one and ie_result.get("_type") == "playlist" and borrowed.fits("entries"):
            return self._first_usable(ie_result, extra_info)
        if self.wants_one and ie_result.get("_type") == "multi_video":
            self.params["playlist_items"] = None
        return super().process_ie_result(ie_result, download, extra_info)

    def pass_over(self) -> bool:
        """From now on take the entry after the one that was taken; False if there are no entries."""
        if self._entry is None:
            return False
        self._begin = self._entry + 1
        self.refused.clear()
        return True

    def _first_usable(self, playlist: dict[str, Any], extra_info: Any) -> Any:
        """`playlist` with one entry; raises what was met at the first, if a few are not to be had."""
        outermost, found, met = not self._playlist_level, None, None
        entries = playlist.get("entries") or ()
        playlist["entries"] = entries if isinstance(entries, AS_LISTS) else utils.LazyList(entries)
        item = self._item if outermost else None
        if item is None and is_list(playlist):
            raise JobFailed("is_playlist")
        begin = self._begin if outermost else 0
        for at in range(begin, begin + MOST_ENTRIES) if item is None else (item - 1,):
            self.params["playlist_items"] = str(at + 1)
            self._playlist_urls.discard(playlist.get("webpage_url"))  # it is no loop
            try:
                found = super().process_ie_result(dict(playlist), False, extra_info)
            except (YoutubeDLError, JobFailed) as error:
                if classify(error, self.trail).retryable or self._is_waited_for(error):
                    raise
                met = met or error
                continue
            if not found or not found["entries"] or any(found["entries"]):
                break
        self._entry = at if outermost and item is None else self._entry
        if met and not (found and any(found["entries"])):
            raise met
        return found

    def rehearse(self) -> None:
        """Go through the motions of an extraction without any network, for what they leave in caches.

        That saves each job 40 ms; 1 MB takes a hundred.
        """
        if not borrowed.fits("rehearsal"):
            return
        for handler in self._request_director.handlers.values():
            handler._make_sslcontext()
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


def not_yet(info: Mapping[str, Any]) -> NotLive:
    """What is said of a broadcast that is announced."""
    return NotLive(describe.moment(info.get("release_timestamp")), info)


def _nothing() -> None:
    """What is done before requests and after looks at a source, unless somebody wants more."""


def _nobody(_: Mapping[str, Any]) -> None:
    """Hears of progress, unless somebody does."""


def share_certificates() -> None:
    """Load the certificates of the authorities once: it takes longer than a small download."""
    if borrowed.fits("certificates") and not hasattr(networking.make_ssl_context, "cache_info"):
        networking.make_ssl_context = functools.lru_cache(networking.make_ssl_context)


@functools.cache
def _extractors() -> tuple[Any, ...]:
    """All that yt-dlp enables by default; to find out which takes it 30 ms."""
    with YoutubeDL({"quiet": True, "cachedir": False, "js_runtimes": {}}) as ydl:
        return tuple(ydl._ies.values())


def _is_ours(error: Exception) -> bool:
    """Whether it was raised in this package, or in what that called, rather than in yt-dlp."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    last: str = [name for name in modules if name.startswith(("yt_dlp.", "server."))][-1]
    return last.startswith("server.")


@functools.cache
def _bounded(kind: type[Response]) -> type[Response]:
    """`kind` without a way to read a whole endless page into memory; downloads read block by block.

    A class of its own, because a function in the instance would keep it, and its socket, until a collection.
    """

    class Bounded(kind):  # type: ignore[misc]
        """`head` are the first bytes that were read, `ahead` those that were only looked at."""

        trail: Trail
        head: bytearray
        ahead: bytes

        def look_ahead(self, amount: int) -> bytes:
            """The first bytes of what will be read; none if they cannot be had."""
            with suppress(RequestError):
                self.ahead = super().read(amount)
            return self.ahead

        def read(self, amt: int | None = None) -> bytes:
            whole = amt is None or amt < 0
            data = self._read(LARGEST_PAGE + 1 if whole else amt)
            if whole and len(data) > LARGEST_PAGE and self.status < HTTPStatus.BAD_REQUEST:
                raise JobFailed("page_too_large", f"more than {LARGEST_PAGE} bytes at {self.url}")
            if not self.head and playlists.is_one(data):
                data = self._readable(data, None if whole else amt)
            self.head += data[: probe.HEAD - len(self.head)]
            return data

        def _readable(self, begin: bytes, amount: int | None) -> bytes:
            """Of a playlist that begins so, all that yt-dlp can read, or `amount` of it."""
            page = playlists.readable(begin + self._read(LARGEST_PAGE + 1))
            size = len(page) if amount is None else amount
            self.ahead = page[size:]
            return page[:size]

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

    return Bounded
