"""Checks the source of a subscription for new entries.

A feed is requested with the conditions of the last check. Any other list is read by yt-dlp, page by page. The
check ends after `KNOWN_IN_A_ROW` known entries in a row, as a single one may be pinned on top, or at a limit
(`max_playlist`, its time).

Decisions: docs/decisions/library.md
"""

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from yt_dlp.networking.common import Request
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.utils import YoutubeDLError

from server.child.extract import video_info
from server.child.extract.checked_entries import CheckedEntries, entry_fields
from server.child.extract.failures import Trail, classify
from server.child.extract.feed_links import LONGEST_HEAD, feeds_named
from server.child.extract.feed_parser import Entry, ParsedFeed, is_feed, parse_feed
from server.child.extract.lists import DEEPEST, EntrySender, Expansion, own_link
from server.child.extract.source_facts import facts_of_list
from server.child.extract.youtube_dl import Engine
from server.child.network.redirects import follow_permanent
from server.child.process.channel import Channel
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.core.jobs import CheckWishes, Job

KNOWN_IN_A_ROW: Final = 15
"""Known entries, one after the other, behind which a list that goes on is not read."""

_MAX_FEED_BYTES: Final = 16 * 1024 * 1024
_FEED_BEGINNING: Final = 16 * 1024  # bytes by which `is_feed` recognises a feed
_PAGE_TYPES: Final = ("text/html", "application/xhtml+xml")
_NO_FILM_CODES: Final = ("no_media", "unsupported_url")
_NO_LIST_CODES: Final = ("no_list", "empty_list", *_NO_FILM_CODES)
_CHANNEL: Final = re.compile(r"/(@|channel/|c/|user/)|/(videos|shorts|streams|releases|podcasts)/?$")
_MAX_AGE: Final = re.compile(r"max-age=([0-9]{1,9})")
_LONGEST_MAX_AGE: Final = 86_400  # seconds
Info = Mapping[str, Any]


@dataclass(slots=True)
class _ListReading:
    """What a check has read of a list; at most `left` further entries are read."""

    is_channel: bool
    left: int
    entries: int = 0
    new_at_end: int = 0  # new entries behind the last known one
    is_cut: bool = False  # the list was longer than `max_playlist`, or than the check had time for
    is_unfinished: bool = False  # cut before `KNOWN_IN_A_ROW`
    stopped_at_known: bool = False


class SourceCheck:
    """One check. `run` returns the fields of the event `checked`; `classify` judges what it raises."""

    def __init__(
        self, job: Job, engine: Engine, channel: Channel, log: Log, trail: Trail, sender: EntrySender
    ) -> None:
        assert job.check
        self._job = job
        self._wishes: CheckWishes = job.check
        self._engine = engine
        self._log = log
        self._trail = trail
        self._lists = Expansion(job, engine, channel, log)
        self._sender = sender
        self._entries = CheckedEntries(job, self._lists, log, trail, sender)
        self._since_cut = frozenset(job.check.since_cut)  # names of keys, see `name_of_key`
        self._began = time.monotonic()
        self._feeds_of_page: list[dict[str, str]] = []

    def run(self) -> dict[str, Any]:
        """Send the entries in the list's order, then those to be read `again`."""
        url = self._job.wishes.url
        # Links of feeds, YouTube's too, match no extractor but the generic one.
        may_be_feed = self._wishes.form == "feed" or (
            self._wishes.form is None and next(self._engine.extractors_of(url)) == "Generic"
        )
        found = self._read_feed(url) if may_be_feed else None
        if found is None:
            try:
                found = self._read_list(url)
            except (YoutubeDLError, JobFailed) as error:
                code = classify(error, self._trail).code
                if self._feeds_of_page and code in _NO_LIST_CODES:
                    found = self._read_feed_of_page()
                elif code in _NO_FILM_CODES:  # whose hints are for the link of one film
                    raise JobFailed("no_list", f"neither a list nor a film ({code})") from error
                else:
                    raise
        # Without a user name, as in the redirects that `requests` has recorded.
        requested = Request(video_info.link(url) or url).url
        moved_to = video_info.link(follow_permanent(requested, self._engine.redirects))
        if moved_to and moved_to != video_info.link(requested):
            found = {"moved_to": moved_to, "moved_by": "redirect"} | found
        for key, link, item, known in self._wishes.again:
            self._entries.read_again(key, link, item, known)
        self._sender.flush()
        found |= {"refusal": self._entries.refusal} if self._entries.refusal is not None else {}
        return found | ({"feeds": self._feeds_of_page} if self._feeds_of_page else {})

    def _read_feed_of_page(self) -> dict[str, Any]:
        """Read the first of the feeds that the page names."""
        url = self._feeds_of_page[0]["url"]
        self._log.write(f"the page is no list, but names a feed: {url}")
        found = self._read_feed(url)
        if found is None:
            raise JobFailed("no_list", "the page names a feed, but there is no feed at its link")
        return found | {"moved_to": url, "moved_by": "page"}

    def _read_feed(self, url: str) -> dict[str, Any] | None:
        """Read the feed at `url`. Return None if there is something else; if that is a page,
        `_feeds_of_page` are the feeds that it names.
        """
        conditions = {"If-None-Match": self._wishes.etag, "If-Modified-Since": self._wishes.modified}
        headers = {name: value for name, value in conditions.items() if value} if self._wishes.form else {}
        try:
            with self._engine.reading(), self._engine.urlopen(Request(url, headers=headers)) as response:
                text = response.read(_FEED_BEGINNING)
                feed_url, charset = response.url, response.headers.get_content_charset()
                if not is_feed(text):
                    if self._wishes.form:
                        raise JobFailed("no_list", "this was a feed, and is no feed any more")
                    if response.headers.get_content_type() in _PAGE_TYPES:
                        text += response.read(LONGEST_HEAD)
                        self._feeds_of_page = feeds_named(text, feed_url, charset)
                    return None
                text += response.read(_MAX_FEED_BYTES)
                cache = _cache_fields(response.headers)
        except HTTPError as error:
            # Without conditions, 304 is an error, too.
            if error.status != HTTPStatus.NOT_MODIFIED or not headers:
                raise
            error.close()
            return {"form": "feed", "unchanged": True} | _cache_fields(error.response.headers)
        if len(text) > _MAX_FEED_BYTES:
            raise JobFailed("page_too_large", f"the feed has more than {_MAX_FEED_BYTES} bytes")
        found = {"form": "feed", "digest": hashlib.sha256(text).hexdigest(), **cache}
        if found["digest"] == self._wishes.digest:
            return found | {"unchanged": True}
        feed = parse_feed(text, feed_url, charset)
        if not feed.entries:
            raise JobFailed("empty_list", "the feed has no entry with a link")
        return found | self._move_of_feed(url, feed.new_url) | self._notice_feed(feed)

    def _move_of_feed(self, url: str, new_url: str | None) -> dict[str, Any]:
        """Return the fields about the new address that a feed names, unless it gives up HTTPS."""
        if not new_url or new_url == video_info.link(url):
            return {}
        if url.startswith("https:") and not new_url.startswith("https:"):
            return {}
        is_feed_there = new_url != self._wishes.confirm or self._is_feed_at(new_url)
        return {"moved_to": new_url, "moved_by": "feed", "is_there": is_feed_there}

    def _is_feed_at(self, url: str) -> bool:
        try:
            with self._engine.reading(), self._engine.urlopen(Request(url)) as response:
                text = response.read(_MAX_FEED_BYTES)
                return is_feed(text[:_FEED_BEGINNING]) and bool(parse_feed(text, response.url).entries)
        except YoutubeDLError as error:
            self._log.write(f"the feed says that it is at {url}, but there is none: {error}")
            return False

    def _notice_feed(self, feed: ParsedFeed) -> dict[str, Any]:
        for entry in feed.entries[: self._job.max_playlist]:
            self._entries.notice(entry, self._entries.key_names(entry))
        return video_info.without_none(
            title=feed.title,
            facts=feed.facts,
            whole=True,
            newest_first=True,
            count=len(feed.entries),
            truncated=len(feed.entries) > self._job.max_playlist,
        )

    def _read_list(self, url: str) -> dict[str, Any]:
        found = self._lists.resolve(url)
        if found.get("_type") != "playlist":
            raise JobFailed("no_list", "the link leads to one video, not to a list")
        is_channel = found.get("extractor_key") == "YoutubeTab" and bool(
            _CHANNEL.search(found.get("webpage_url") or url)
        )
        reading = _ListReading(is_channel, self._job.max_playlist)
        with self._engine.reading():
            self._read_entries(found, url, DEEPEST, reading)
        if not reading.entries:
            raise JobFailed("empty_list", "the list has no entry")
        return video_info.without_none(
            form="list",
            title=video_info.text(found.get("title")),
            facts=facts_of_list(found),
            # A channel is never read beyond `max_playlist`: its old entries are at the end.
            whole=not reading.stopped_at_known and (is_channel or not reading.is_cut),
            truncated=reading.is_cut,
            unfinished=reading.is_unfinished,
            newest_first=is_channel,
            tail=reading.new_at_end,
            count=video_info.number(found.get("playlist_count")),
        )

    def _read_entries(self, playlist: Info, url: str | None, depth: int, reading: _ListReading) -> None:
        """Notice the entries of `playlist`, up to the end of the check; read lists in it in the same way."""
        known_in_a_row, known_are_reached, is_behind = 0, False, False
        is_complete = isinstance(playlist.get("entries"), list)  # no further request is needed for it
        for place, info in self._lists.read_entries(playlist, None):
            inner = self._lists.resolve_list(info) if depth else None
            if inner is not None:
                inner_url = video_info.link(inner.get("webpage_url")) or url
                self._read_entries(inner, inner_url, depth - 1, reading)
                continue
            entry = self._entry(info, url, place, playlist)
            if entry is None:
                continue
            reading.entries += 1
            if reading.left <= 0 or time.monotonic() - self._began > self._wishes.within:
                reading.is_cut = True
                reading.is_unfinished |= not known_are_reached
                return
            names = self._entries.key_names(entry)
            # Found by an earlier check that was cut off: new entries begin behind it.
            is_since_cut = not self._since_cut.isdisjoint(names)
            is_new = self._entries.notice(entry, names, is_behind=is_behind)
            known_in_a_row = 0 if is_new else known_in_a_row + (not is_since_cut)
            reading.new_at_end = reading.new_at_end + 1 if is_new else 0
            # Known entries of a list in no known order do not count, so that a later check gets behind them.
            reading.left -= is_new or (reading.is_channel and self._wishes.whole)
            known_are_reached |= known_in_a_row >= KNOWN_IN_A_ROW
            is_behind |= is_since_cut or (known_are_reached and reading.is_channel)
            if known_are_reached and not self._wishes.whole and not is_complete:
                reading.stopped_at_known = True
                return

    def _entry(self, info: Info, url: str | None, place: int, playlist: Info) -> Entry | None:
        """Return the fields of an entry of the list at `url`; None if nothing identifies it."""
        if self._lists.leads_back(info, url):
            return None
        link = own_link(self._engine, info, url)
        if not link and not url:
            return None
        entry = entry_fields(info) | {"url": link or url, **({} if link else {"item": place})}
        key = info.get("ie_key") or info.get("extractor_key")
        if not link:
            key = key or playlist.get("extractor_key")
            entry |= video_info.without_none(media=_identifying_file_link(info, playlist))
        if key and link and not entry.get("id"):
            entry["id"] = video_info.text(self._engine.get_info_extractor(key).get_temp_id(link))
        entry["extractor_key"] = video_info.text(key, 100)
        if info.get("_type") == "url_transparent":
            entry["says"] = video_info.says(info)
        return video_info.without_none(**entry)


def _identifying_file_link(info: Info, playlist: Info) -> str | None:
    """Return the link of the file of an entry that has no page. Its query, which may be a ticket, is left
    out, unless the entries of `playlist` differ by their queries only.
    """
    link = _file_link(info)
    plain = _without_query(link)
    entries = playlist.get("entries")
    siblings = entries if isinstance(entries, list) else ()
    links = {_file_link(one) for one in siblings if isinstance(one, Mapping)}
    return link if sum(_without_query(one) == plain for one in links) > 1 else plain


def _file_link(info: Info) -> str | None:
    formats = [one for one in info.get("formats") or () if isinstance(one, Mapping)]
    links = (info.get("url"), *(one.get("manifest_url") or one.get("url") for one in formats))
    return video_info.link(next(filter(None, links), None))


def _without_query(link: str | None) -> str | None:
    return link and link.partition("#")[0].partition("?")[0]


def _cache_fields(headers: Any) -> dict[str, Any]:
    """Return the headers for the next conditional request, and for how many seconds a feed stays fresh."""
    max_age = _MAX_AGE.search(headers.get("Cache-Control") or "")
    return video_info.without_none(
        etag=_sendable(headers.get("ETag")),
        modified=_sendable(headers.get("Last-Modified")),
        max_age=min(int(max_age[1]), _LONGEST_MAX_AGE) if max_age else None,
    )


def _sendable(value: str | None) -> str | None:
    """Return the value of a header if it is well-formed, so that it can be sent back later."""
    return value if value and len(value) <= 500 and value.isascii() and value.isprintable() else None
