"""yt-dlp's extractor for pages that no other extractor knows, without its last resort.

yt-dlp takes anything that is not HTML for a film: plain text, a PDF, a picture. Here a file has to look like
a film, or at least like nothing else. Tests that need this: the corpus (`no film`, where yt-dlp leaves a
file), and for several variants of a playlist `test_if_a_stream_is_refused_the_next_best_is_taken`.

The reason that a page without a film gives (log in, prove your age, you are a robot, the film is gone) is
used only for a hint: such pages have the status 200, as pages with a film do.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from typing import Any, Final, Literal

from yt_dlp.extractor import generic
from yt_dlp.networking.common import Response
from yt_dlp.utils import LazyList, PagedList, UnsupportedError, determine_protocol

from server.child.media import probe

Seen = Literal["seen_age", "seen_captcha", "seen_login", "seen_removed"]

_MAX_CHARS: Final = 128 * 1024  # of a page that are read
_MAX_TEXT_CHARS: Final = 2000  # the text of a longer page is hardly about a missing film
_HEADINGS: Final = frozenset(("title", "h1", "h2"))
_INVISIBLE: Final = frozenset(("script", "style", "template"))
_WORDS: Final[tuple[tuple[Seen, re.Pattern[str]], ...]] = (
    (
        "seen_captcha",
        re.compile(
            r"captcha|robot check|not a robot|\bhuman\b|unusual traffic|checking your browser"
            r"|人机验证|安全验证|验证码"
        ),
    ),
    (
        "seen_age",
        re.compile(
            r"\bage[ -]?(verif|restrict|check|gate|confirm)|your age\b|(over|at least) (18|21)\b|\b18\+"
            r"|18 years|adults only|年龄|未成年|满 ?18"
        ),
    ),
    (
        "seen_removed",
        re.compile(
            r"(been|was|were|is) (removed|deleted|taken down)|no longer (available|exist)|n[o']t exist"
            r"|not (be )?found|\b404\b|(video|content|clip) (is )?(unavailable|gone)"
            r"|已(被)?(删除|下架|移除)|不存在|已失效"
        ),
    ),
    ("seen_login", re.compile(r"(log|sign)[ -]?(in|on)\b|登录|登入")),
)


def reason_of_page(page: str) -> Seen | None:
    """Return the reason for the missing film in the HTML of `page`; None if it gives none."""
    reader = _PageReader()
    reader.feed(page[:_MAX_CHARS])
    headings, text = " / ".join(reader.headings).lower(), " ".join(" ".join(reader.texts).lower().split())
    if found := _first(headings):
        return found
    if reader.asks_for_password:
        return "seen_login"
    if len(text) > _MAX_TEXT_CHARS:
        return None
    found = _first(text)
    if found and found != "seen_login":  # nearly every page has a link to log in
        return found
    return "seen_captcha" if reader.has_captcha else None


def _first(text: str) -> Seen | None:
    return next((seen for seen, words in _WORDS if words.search(text)), None)


# Of reCAPTCHA, hCaptcha and Turnstile. With `render=<key>` the script of reCAPTCHA shows nothing.
_CAPTCHAS: Final = frozenset(("g-recaptcha", "h-captcha", "cf-turnstile"))
_CAPTCHA_SCRIPT: Final = re.compile(
    r"(https?:)?//((www\.)?(google\.com|recaptcha\.net)/recaptcha/(api|enterprise)\.js(?!.*[?&]render=(?!explicit))"
    r"|([\w-]+\.)*hcaptcha\.com/|challenges\.cloudflare\.com/turnstile/)"
)


class _PageReader(HTMLParser):
    """Collects the headings, all visible text, and whether there is a field for a password, or a captcha."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.texts: list[str] = []
        self.asks_for_password = self.has_captcha = False
        self._in: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HEADINGS or tag in _INVISIBLE:
            self._in = tag
        elif tag == "input" and ("type", "password") in attrs:
            self.asks_for_password = True
        about = dict(attrs)
        is_widget = not _CAPTCHAS.isdisjoint((about.get("class") or "").split())
        if is_widget or (tag == "script" and _CAPTCHA_SCRIPT.match(about.get("src") or "")):
            self.has_captcha = True

    def handle_endtag(self, tag: str) -> None:
        if tag == self._in:
            self._in = None

    def handle_data(self, data: str) -> None:
        if self._in in _INVISIBLE:
            return
        self.texts.append(data)
        if self._in:
            self.headings.append(data)


AS_LISTS: Final = (list, PagedList, LazyList)

EMBEDDED: Final = "_embedded"
"""Key in an info dict: this playlist is no list, but a page with several embedded films."""


def as_list(entries: Any) -> Any:
    """Return `entries` as a sequence, which can be read by index."""
    return entries if isinstance(entries, AS_LISTS) else LazyList(entries)


def has(entries: Any, at: int) -> bool:
    """Whether there is an entry at index `at`; that may send a request to the source."""
    try:
        entries[at]
    except IndexError:
        return False
    return True


def is_list(playlist: Mapping[str, Any]) -> bool:
    """Whether `playlist` is a list of several entries; a page with several embedded films is none."""
    if playlist.get(EMBEDDED):
        return False
    entries = playlist["entries"]
    if isinstance(entries, list):
        return len([entry for entry in entries if entry]) > 1
    return has(entries, 1)


_MAX_VARIANTS = 5  # of a master playlist that are read


class GenericIE(generic.GenericIE):  # type: ignore[misc]
    """Has the name of yt-dlp's class, because other extractors refer to it by that name."""

    def _real_extract(self, url: str) -> dict[str, Any]:
        self._has_embeds, self._page = False, ""
        trail = self._downloader.trail
        trail.seen = None
        try:
            info: dict[str, Any] = super()._real_extract(url)
        except UnsupportedError:
            trail.seen = reason_of_page(self._page)
            raise
        is_guess = info.get("direct") and "formats" not in info
        if is_guess and probe.is_something_else(self._kind, bytes(self._head)):
            raise UnsupportedError(url)
        if self._has_embeds and info.get("_type") == "playlist":
            info[EMBEDDED] = True
        return info

    def _extract_embeds(self, *args: Any, **kwargs: Any) -> Iterator[dict[str, Any]]:
        """Note that the page has embedded players: unlike a feed it is no list, even if there are several."""
        self._has_embeds = True
        yield from super()._extract_embeds(*args, **kwargs)

    def _webpage_read_content(self, *args: Any, **kwargs: Any) -> Any:
        """Keep the page, which may give the reason why it has no film."""
        page = super()._webpage_read_content(*args, **kwargs)
        self._page = page or ""
        return page

    def _request_webpage(self, *args: Any, **kwargs: Any) -> Response | bool:
        """Keep the beginning of the last page, by which yt-dlp guesses; False: a failure, but not fatal."""
        response: Response | bool = super()._request_webpage(*args, **kwargs)
        self._refused = not response
        if isinstance(response, Response):
            self._kind, self._head = response.headers.get("Content-Type") or "", response.head
        return response

    def _extra_manifest_info(self, info: dict[str, Any], manifest_url: str) -> None:
        """Read a variant of a master playlist, to learn whether it is live and how long it is.

        yt-dlp reads the first variant only. If the source refuses that, the next one is read here, and the
        refused ones are left out, unless no picture or no sound would remain.
        """
        left = whole = list(info.get("formats") or ())
        for _ in range(_MAX_VARIANTS):
            info["formats"], self._refused = left, False
            super()._extra_manifest_info(info, manifest_url)
            if not self._refused:
                break
            first = next(variant for variant in left if determine_protocol(variant) == "m3u8_native")
            left = [variant for variant in left if variant is not first]
        info["formats"] = whole if left is not whole and lose_something(left, whole) else left
        if self._configuration_arg("is_live", [None])[0] is None:
            # Drop yt-dlp's guess, as playlists of films may lack an end, too: `extract.broadcasts` checks
            # whether they grow.
            info.pop("live_status", None)


def with_plugins() -> type:
    """Return `GenericIE`, as a subclass of the class by which a plugin has replaced yt-dlp's, if one has."""
    replaced = generic.GenericIE
    return GenericIE if issubclass(GenericIE, replaced) else type("GenericIE", (GenericIE, replaced), {})


def lose_something(left: Iterable[Mapping[str, Any]], whole: Iterable[Mapping[str, Any]]) -> bool:
    """Whether `left` has no picture, or no sound, although `whole` has or may have it.

    A picture without its sound is no alternative to one with it, nor the reverse.
    """
    return any(_has(whole, codec) and not _has(left, codec) for codec in ("vcodec", "acodec"))


def _has(formats: Iterable[Mapping[str, Any]], codec: str) -> bool:
    return any(offered.get(codec) != "none" for offered in formats)
