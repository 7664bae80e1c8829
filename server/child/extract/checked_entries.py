"""Decides about the entries that a check of a source finds: which are known already, which pass the filters,
and which facts are sent to the server.

A verdict may need the page of an entry, which is read then.

Decisions: docs/decisions/library.md
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from yt_dlp.utils import YoutubeDLError

from server.child.extract import video_info
from server.child.extract.entry_filters import WAITS, EntryJudge, moment_of_entry
from server.child.extract.failures import Trail, classify
from server.child.extract.feed_parser import Entry
from server.child.extract.lists import EntrySender, Expansion
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.core.codes import REFUSES_ALL
from server.core.jobs import CheckWishes, Job, name_of_key
from server.core.media_keys import is_guid, keys_of_entry

_NO_FILM_CODES: Final = ("no_media", "unsupported_url")  # failures that every later check would repeat
_FOR_MEMBERS: Final = ("subscriber_only", "premium_only")  # values of yt-dlp's `availability`
_STREAMS: Final = ("is_live", "was_live", "post_live", "is_upcoming")  # values of yt-dlp's `live_status`
# Fields with which a list identifies an entry; those of the entry's page do not replace them.
_OF_THE_LIST: Final = ("id", "extractor_key")

Info = Mapping[str, Any]


class CheckedEntries:
    """The entries that one check sends, each once, with the verdict of the filters.

    Fields of an entry that begin with `_` are for the filters, and are not sent.
    """

    def __init__(self, job: Job, lists: Expansion, log: Log, trail: Trail, sender: EntrySender) -> None:
        assert job.check
        self._job = job
        self._wishes: CheckWishes = job.check
        self._lists = lists
        self._log = log
        self._trail = trail
        self._sender = sender
        self._judge = EntryJudge(job.check, job.wishes.live)
        # Both hold short names of keys, as `name_of_key` makes them.
        self._known = {*job.check.known}
        self._noticed = set[str]()
        self._pages_left, self._asks_left = job.check.max_entry_pages, job.check.asks
        self.refusal: dict[str, float | None] | None = None

    def key_names(self, entry: Entry) -> dict[str, str]:
        """Return the keys of an entry, by the short names under which the server may know it."""
        key, aliases = keys_of_entry(
            entry.get("extractor_key"),
            entry.get("id"),
            entry["url"],
            entry.get("item"),
            entry.get("guid"),
            self._wishes.source_key,
            entry.get("media"),
        )
        return {name_of_key(each): each for each in (key, *aliases)}

    def notice(self, entry: Entry, names: Mapping[str, str], *, is_behind: bool = False) -> bool:
        """Send `entry`, unless this check has sent it before, and return whether it is new. `is_behind`: a
        quick check would have ended before reaching it.
        """
        is_sent = not self._noticed.isdisjoint(names)
        self._noticed.update(names)
        if not self._known.isdisjoint(names):
            # A known entry with new names is sent, since its old names may vanish. New links with a query do
            # not count: if the query is a ticket, the link is new each time.
            lasting = {name for name, key in names.items() if "?" not in key or is_guid(key)}
            if not lasting <= self._known:
                self._known.update(names)
                self._sender.send(_with_verdict(entry, self._verdict_on(entry)))
            elif not is_sent:  # sent all the same: its link, title or place may have changed
                self._sender.send(_with_verdict(entry, None) | {"known": True})
            return False
        self._known.update(names)
        self._sender.send(self._judge_new(entry) | ({"behind": True} if is_behind else {}))
        return True

    def read_again(self, key: str, url: str, item: int | None, known: Info) -> None:
        """Read an entry's page again, and send what it says now; it has precedence over the `known` facts."""
        page = self._read_page(url, item)
        if page is None:
            return
        facts = {name: value for name, value in page.items() if name != "code"}
        entry = {**known, **facts, "url": url, "again": key}
        verdict = f"code:{page['code']}" if "code" in page else self._verdict_on(entry)
        self._sender.send(video_info.without_none(**_with_verdict(entry, verdict)))

    def _judge_new(self, entry: Entry) -> Entry:
        """Return the entry with its verdict, and with facts of its own page if that was read for it."""
        verdict = self._verdict_on(entry)
        moment, since = moment_of_entry(entry), self._wishes.asks_since
        is_asked = self._asks_left != 0 and (moment is None or since is None or moment >= since)
        if verdict == "unclear" and is_asked and self._pages_left > 0:
            self._pages_left -= 1
            page = self._read_page(entry["url"], entry.get("item"))
            if page is not None and page.get("code") in _NO_FILM_CODES:
                verdict = "no_media"
            elif page is not None and "code" not in page:
                of_list = {name: value for name, value in entry.items() if not name.startswith("_")}
                entry = entry | page | of_list  # facts in the list have precedence over those on the page
                verdict = self._verdict_on(entry)
        if self._asks_left and (verdict is None or verdict in WAITS):
            self._asks_left -= 1
        return _with_verdict(entry, verdict)

    def _read_page(self, url: str, item: int | None) -> Entry | None:
        """Return what the entry's own page says, or the `code` of a failure; None if the failure may be
        temporary.
        """
        if item is not None:
            return {}  # there is no page of its own
        if self.refusal is not None:
            return None
        try:
            info = self._lists.resolve(url)
        except (YoutubeDLError, JobFailed) as error:
            failure = classify(error, self._trail)
            if failure.code == "not_live":
                return video_info.without_none(_live="is_upcoming", _begins=failure.begins_at)
            self._log.write(f"the page of an entry could not be read: {failure.code}")
            is_of_host = (urlsplit(url).hostname or "") == (urlsplit(self._job.wishes.url).hostname or "")
            if failure.code in REFUSES_ALL and is_of_host:  # the source would refuse all other pages as well
                self.refusal = {"retry_after": failure.retry_after}
            return None if failure.retryable else {"code": failure.code}
        return {name: value for name, value in entry_fields(info).items() if name not in _OF_THE_LIST}

    def _verdict_on(self, entry: Entry) -> str | None:
        """Return why an entry is not wanted or has to wait, or `unclear` if its page has to be read first;
        None if it is wanted.
        """
        verdict = self._judge.verdict(entry)
        if verdict == "too_young":
            entry["_begins"] = self._judge.begins_at(entry)
        return verdict


def entry_fields(info: Info) -> Entry:
    """Return the fields of an entry, from its list or its own page."""
    url = video_info.link(info.get("webpage_url") or info.get("url")) or ""
    live = info.get("live_status") or ("is_live" if info.get("is_live") else None)
    kind = "stream" if live in _STREAMS else "short" if "/shorts/" in url else None
    released = video_info.moment(info.get("release_timestamp"))
    return video_info.without_none(
        id=video_info.text(info.get("id")),
        extractor_key=video_info.text(info.get("extractor_key"), 100),
        title=video_info.text(info.get("title")),
        duration=video_info.number(info.get("duration")),
        uploader=video_info.text(info.get("uploader") or info.get("channel") or info.get("creator")),
        published_at=video_info.published_at({**info, "release_timestamp": None}),
        kind=kind,
        _live=live,
        _begins=released if live == "is_upcoming" else None,
        # A premiere's upload date is days before its release.
        _released=None if live == "is_upcoming" else released,
        _members=True if info.get("availability") in _FOR_MEMBERS else None,
    )


def _with_verdict(entry: Entry, verdict: str | None) -> Entry:
    """Return the entry as it is sent: with the verdict, and without fields that begin with `_`."""
    sent = {name: value for name, value in entry.items() if not name.startswith("_")}
    return sent | video_info.without_none(verdict=verdict, begins_at=entry.get("_begins"))
