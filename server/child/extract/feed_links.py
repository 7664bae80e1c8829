"""The feeds that a web page names in its head (`<link rel="alternate">`), for programs that follow it."""

from html.parser import HTMLParser
from typing import Final
from urllib.parse import urljoin

from server.child.extract import video_info

MOST_FEEDS: Final = 10
LONGEST_HEAD: Final = 512 * 1024  # bytes of a page
_KINDS: Final = ("application/rss+xml", "application/atom+xml")


def feeds_named(page: bytes, url: str, charset: str | None) -> list[dict[str, str]]:
    """Return `url` and `title` of each feed that the page at `url` names. `page` may be cut: only its head is
    read.
    """
    try:
        text = page.decode(charset or "utf-8", "replace")
    except LookupError:  # there is no such encoding
        text = page.decode("utf-8", "replace")
    head = _Head(url)
    head.feed(text)
    named: dict[str, dict[str, str]] = {}
    for feed in head.feeds:
        named.setdefault(feed["url"], feed)
    return [*named.values()][:MOST_FEEDS]


class _Head(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.feeds: list[dict[str, str]] = []
        self._base = url
        self._is_over = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attributes}
        self._is_over |= tag == "body"
        if self._is_over:
            return
        try:
            link = urljoin(self._base, said.get("href", "").strip())
        except ValueError:
            return
        if tag == "base" and said.get("href"):
            self._base = link
        is_feed = said.get("type", "").partition(";")[0].strip().lower() in _KINDS
        if tag == "link" and is_feed and "alternate" in said.get("rel", "").lower().split():
            self.feeds += [
                video_info.without_none(url=found, title=video_info.text(said.get("title")))
                for found in [video_info.link(link)]
                if found and said.get("href", "").strip()
            ]
