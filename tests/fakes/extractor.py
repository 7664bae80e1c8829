"""One more extractor for yt-dlp: it returns the JSON of a page as its result.

`pages` is the link of a list's pages without the number of the page at its end: a page is read when its first
entry is needed. An `endless` list yields its `entries` again and again, with a request before each
repetition.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from yt_dlp.extractor.common import InfoExtractor


class ToldIE(InfoExtractor):  # type: ignore[misc]
    _VALID_URL = r"https?://[^/]+/told/(?P<id>[\w-]+)"

    def _real_extract(self, url: str) -> Any:
        result = self._download_json(url, self._match_id(url))
        if why := result.pop("refused", None):
            self.raise_no_formats(why, expected=True)
        if entry := result.pop("learns", None):
            self.cache.store(*entry)
        if argument := result.pop("titled_by", None):
            [result["title"]] = self._configuration_arg(argument[1], ie_key=argument[0], casesense=True)
        if pages := result.pop("pages", None):
            result["entries"] = self._page_by_page(pages)
        if result.pop("endless", False):
            result["entries"] = self._again_and_again(url, result["entries"])
        return result

    def _page_by_page(self, pages: str) -> Iterator[Any]:
        for number in itertools.count():
            entries = self._download_json(f"{pages}{number}", "page")
            yield from entries
            if not entries:
                return

    def _again_and_again(self, url: str, entries: list[Any]) -> Iterator[Any]:
        while True:
            yield from entries
            self._download_json(url, "more")
