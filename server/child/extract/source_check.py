"""Checks the source of a subscription for new entries.

A feed is requested with the conditions of the last check, and read by feedparser, since yt-dlp reads no Atom.
Any other list is read by yt-dlp, page by page. The check ends after `IN_A_ROW` known entries in a row, as a
single one may be pinned on top, or at a limit (`max_playlist`, its time).

Decisions: docs/decisions/library.md
"""

import calendar
import hashlib
import html
import re
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import mktime_tz, parsedate_tz
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from yt_dlp.networking.common import Request
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.utils import ExtractorError, YoutubeDLError, parse_duration

from server.child.extract import video_info
from server.child.extract.entry_filters import WAITS, EntryJudge, moment_of_entry
from server.child.extract.failures import Trail, classify
from server.child.extract.feed_links import LONGEST_HEAD, feeds_named
from server.child.extract.lists import DEEPEST, EntrySender, Expansion, own_link
from server.child.extract.source_facts import facts_of_feed, facts_of_list
from server.child.extract.youtube_dl import Engine
from server.child.network.redirects import led_for_good
from server.child.process.channel import Channel
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.core.codes import REFUSES_ALL
from server.core.jobs import CheckWishes, Job, name_of_key
from server.core.media_keys import is_guid, keys_of_entry

IN_A_ROW: Final = 15
"""Known entries, one after the other, behind which a list that goes on is not read."""

MOST_OF_FEED: Final = 16 * 1024 * 1024  # bytes
_HEAD: Final = 16 * 1024  # bytes in which a feed says that it is one
_PAGES: Final = ("text/html", "application/xhtml+xml")
_WITHOUT_LIST: Final = ("no_list", "empty_list", "no_media", "unsupported_url")
_COMMENT: Final = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_IS_FEED: Final = re.compile(rb"<(?:[A-Za-z]+:)?(?:rss|feed|RDF)[\s>]", re.IGNORECASE)
_REFERENCE: Final = re.compile(rb"&#(?:x([0-9a-f]+)|([0-9]+));?", re.IGNORECASE)
_DECLARES: Final = re.compile(rb"^\s*<\?xml[^>]*\sencoding\s*=", re.IGNORECASE)
_DECLARED_WITHIN: Final = 1024  # bytes
_AS_IT_IS: Final[Mapping[str, Any]] = {"sanitize_html": False, "resolve_relative_uris": False}
_MEDIA: Final = re.compile(
    r"(audio|video)/|application/(ogg|dash\+xml|(x-|vnd\.apple\.)mpegurl)", re.IGNORECASE
)
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]*>")
_ELSE: Final = re.compile(r"(image|text)/|application/(x-bittorrent|pdf|epub|.*zip)", re.IGNORECASE)
_MEDIA_NAME: Final = re.compile(
    r"\.(mp3|m4a|m4v|mp4|ogg|oga|opus|flac|wav|webm|mov|mkv|m3u8)$", re.IGNORECASE
)
_CHANNEL: Final = re.compile(r"/(@|channel/|c/|user/)|/(videos|shorts|streams|releases|podcasts)/?$")
_MEMBERS: Final = ("subscriber_only", "premium_only")
_STREAMS: Final = ("is_live", "was_live", "post_live", "is_upcoming")
_MOST_GUID: Final = 1000  # characters
_AGE: Final = re.compile(r"max-age=([0-9]{1,9})")

_WITHOUT_FILM: Final = ("no_media", "unsupported_url")  # failures that another check would repeat

Info = Mapping[str, Any]
Entry = dict[str, Any]


class SourceCheck:
    """`run` returns the fields of the event `checked`; whatever it raises is for `failures.classify`."""

    def __init__(
        self, job: Job, engine: Engine, channel: Channel, log: Log, trail: Trail, sender: EntrySender
    ) -> None:
        assert job.check
        self._job = job
        self._wishes: CheckWishes = job.check
        self._engine = engine
        self._sender = sender
        self._log = log
        self._trail = trail
        self._lists = Expansion(job, engine, channel, log)
        self._known = frozenset(job.check.known)
        self._since_cut = frozenset(job.check.since_cut)
        self._met: frozenset[str] = frozenset()
        self._began = time.monotonic()
        self._judge = EntryJudge(job.check, job.wishes.live)
        self._pages_left, self._asks = job.check.max_entry_pages, job.check.asks
        self._refusal: dict[str, float | None] | None = None
        self._feeds: list[dict[str, str]] = []

    def run(self) -> dict[str, Any]:
        """Send the entries in the list's order, then those to be read `again`."""
        url = self._job.wishes.url
        # Only the generic extractor knows links of feeds, also YouTube's.
        may_be_feed = self._wishes.form == "feed" or (
            self._wishes.form is None and next(self._engine.extractors_of(url)) == "Generic"
        )
        told = self._of_feed(url) if may_be_feed else None
        if told is None:
            try:
                told = self._of_list()
            except (YoutubeDLError, JobFailed) as error:
                if not self._feeds or classify(error, self._trail).code not in _WITHOUT_LIST:
                    raise
                told = self._of_named_feed()
        # Without a user name, as in the redirects that `requests` has recorded.
        at = Request(video_info.link(url) or url).url
        moved_to = video_info.link(led_for_good(at, self._engine.redirects))
        if moved_to and moved_to != video_info.link(at):
            told = {"moved_to": moved_to, "moved_by": "redirect"} | told
        for each in self._wishes.again:
            self._see_again(*each)
        self._sender.flush()
        told |= {"refusal": self._refusal} if self._refusal is not None else {}
        return told | ({"feeds": self._feeds} if self._feeds else {})

    def _of_named_feed(self) -> dict[str, Any]:
        """Read the first of the feeds that the page names."""
        url = self._feeds[0]["url"]
        self._log.write(f"the page is no list, but names a feed: {url}")
        told = self._of_feed(url)
        if told is None:
            raise JobFailed("no_list", "the page names a feed, but there is no feed at its link")
        return told | {"moved_to": url, "moved_by": "page"}

    def _of_feed(self, url: str) -> dict[str, Any] | None:
        """Read the feed at `url`; None if it is no feed, but a page: then `_feeds` are the feeds that it
        names.
        """
        conditions = {"If-None-Match": self._wishes.etag, "If-Modified-Since": self._wishes.modified}
        headers = {name: value for name, value in conditions.items() if value} if self._wishes.form else {}
        try:
            with self._engine.reading(), self._engine.urlopen(Request(url, headers=headers)) as response:
                begin = response.read(_HEAD)
                header, came_from = response.headers, response.url
                if not is_feed(begin):
                    if self._wishes.form:
                        raise JobFailed("no_list", "this was a feed, and is no feed any more")
                    if header.get_content_type() in _PAGES:
                        page = begin + response.read(LONGEST_HEAD)
                        self._feeds = feeds_named(page, came_from, header.get_content_charset())
                    return None
                text = begin + response.read(MOST_OF_FEED)
        except HTTPError as error:
            # 304, although the request had no conditions.
            if error.status != HTTPStatus.NOT_MODIFIED or not headers:
                raise
            error.close()
            return {"form": "feed", "unchanged": True} | _said_of_cache(error.response.headers)
        if len(text) > MOST_OF_FEED:
            raise JobFailed("page_too_large", f"the feed has more than {MOST_OF_FEED} bytes")
        told = {"form": "feed", "digest": hashlib.sha256(text).hexdigest(), **_said_of_cache(header)}
        if told["digest"] == self._wishes.digest:
            return told | {"unchanged": True}
        title, entries, facts, new_url = parsed(text, came_from, header.get_content_charset())
        if not entries:
            raise JobFailed("empty_list", "the feed has no entry with a link")
        is_weaker = url.startswith("https:") and not (new_url or "").startswith("https:")
        if new_url and new_url != video_info.link(url) and not is_weaker:
            is_feed_there = new_url != self._wishes.confirm or self._is_feed_at(new_url)
            told |= {"moved_to": new_url, "moved_by": "feed", "is_there": is_feed_there}
        for entry in entries[: self._job.max_playlist]:
            self._notice(entry, self._names_of(entry))
        truncated = len(entries) > self._job.max_playlist
        return told | video_info.without_none(
            title=title,
            facts=facts,
            whole=True,
            newest_first=True,
            count=len(entries),
            truncated=truncated,
        )

    def _is_feed_at(self, url: str) -> bool:
        try:
            with self._engine.reading(), self._engine.urlopen(Request(url)) as response:
                text = response.read(MOST_OF_FEED)
                return is_feed(text[:_HEAD]) and bool(parsed(text, response.url).entries)
        except YoutubeDLError as error:
            self._log.write(f"the feed says that it is at {url}, but there is none: {error}")
            return False

    def _of_list(self) -> dict[str, Any]:
        url = self._job.wishes.url
        found = self._lists.resolved(url)
        if found.get("_type") != "playlist":
            raise JobFailed("no_list", "the link leads to one video, not to a list")
        is_channel = found.get("extractor_key") == "YoutubeTab" and bool(
            _CHANNEL.search(found.get("webpage_url") or url)
        )
        self._counted, self._cut, self._ended, self._tail = 0, False, True, 0
        self._unfinished = False
        self._left = self._job.max_playlist
        self._is_channel = is_channel
        with self._engine.reading():
            self._read(found, url, DEEPEST)
        if not self._counted:
            raise JobFailed("empty_list", "the list has no entry")
        return video_info.without_none(
            form="list",
            title=video_info.text(found.get("title")),
            facts=facts_of_list(found),
            # A channel is never read beyond `max_playlist`: its old entries are at the end.
            whole=self._ended and (is_channel or not self._cut),
            truncated=self._cut,
            unfinished=self._unfinished,
            newest_first=is_channel,
            tail=self._tail,
            count=video_info.number(found.get("playlist_count")),
        )

    def _read(self, playlist: Info, url: str | None, depth: int) -> None:
        """Notice the entries of `playlist`, up to the end of the check; read lists in it in the same way."""
        in_a_row, is_met, is_behind = 0, False, False
        is_read = isinstance(playlist.get("entries"), list)  # without a request for more of it
        for place, said in self._lists.wanted(playlist, None):
            inner = self._lists.list_in(said) if depth else None
            if inner is not None:
                self._read(inner, video_info.link(inner.get("webpage_url")) or url, depth - 1)
                continue
            entry = self._entry(said, url, place, playlist)
            if entry is None:
                continue
            self._counted += 1
            if self._left <= 0 or time.monotonic() - self._began > self._wishes.within:
                self._cut = True
                self._unfinished |= not is_met
                return
            names = self._names_of(entry)
            # Found by an earlier check that was cut off: new entries begin behind it.
            is_passed = not self._since_cut.isdisjoint(names)
            is_new = self._notice(entry, names, is_behind=is_behind)
            in_a_row = 0 if is_new else in_a_row + (not is_passed)
            self._tail = self._tail + 1 if is_new else 0
            # Known entries of a list in no known order do not count, so that a later check gets behind them.
            self._left -= is_new or (self._is_channel and self._wishes.whole)
            is_met |= in_a_row >= IN_A_ROW
            is_behind |= is_passed or (is_met and self._is_channel)
            if is_met and not self._wishes.whole and not is_read:
                self._ended = False
                return

    def _entry(self, said: Info, url: str | None, place: int, playlist: Info) -> Entry | None:
        if self._lists.leads_back(said, url):
            return None
        link = own_link(self._engine, said, url)
        if not link and not url:
            return None
        entry = _told_of(said) | {"url": link or url, **({} if link else {"item": place})}
        key = said.get("ie_key") or said.get("extractor_key")
        if not link:
            key = key or playlist.get("extractor_key")
            entry |= video_info.without_none(media=_media_of(said, playlist))
        if key and link and not entry.get("id"):
            entry["id"] = video_info.text(self._engine.get_info_extractor(key).get_temp_id(link))
        entry["extractor_key"] = video_info.text(key, 100)
        if said.get("_type") == "url_transparent":
            entry["says"] = video_info.says(said)
        return video_info.without_none(**entry)

    def _names_of(self, entry: Entry) -> dict[str, str]:
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

    def _notice(self, entry: Entry, names: Mapping[str, str], *, is_behind: bool = False) -> bool:
        """Send `entry`, once; say whether it is new. `is_behind`: a quick check would not have reached it."""
        is_sent = not self._met.isdisjoint(names)
        self._met |= names.keys()
        if not self._known.isdisjoint(names):
            # A known entry with new names is sent, as it may lose its old ones. Links with a query do not
            # count: those with a ticket are always new.
            lasting = {name for name, each in names.items() if "?" not in each or is_guid(each)}
            if not lasting <= self._known:
                self._known |= names.keys()
                self._sender.send(entry | _without_hints(entry, self._verdict_on(entry)))
            elif not is_sent:  # sent all the same: its link, title or place may have changed
                self._sender.send(entry | _without_hints(entry, None) | {"known": True})
            return False
        self._known |= names.keys()
        entry |= self._judged(entry)
        self._sender.send(entry | ({"behind": True} if is_behind else {}))
        return True

    def _judged(self, entry: Entry) -> Entry:
        """Return the entry with its verdict, and with facts of its own page if that was read for it."""
        verdict = self._verdict_on(entry)
        moment, since = moment_of_entry(entry), self._wishes.asks_since
        is_asked = self._asks != 0 and (moment is None or since is None or moment >= since)
        if verdict == "unclear" and is_asked and self._pages_left > 0:
            self._pages_left -= 1
            seen = self._seen(entry["url"], entry.get("item"))
            if seen is not None and seen.get("code") in _WITHOUT_FILM:
                verdict = "no_media"
            elif seen is not None and "code" not in seen:
                said = {name: value for name, value in entry.items() if not name.startswith("_")}
                entry |= seen | said  # its list has precedence over its page
                verdict = self._verdict_on(entry)
        if self._asks and (verdict is None or verdict in WAITS):
            self._asks -= 1
        return _without_hints(entry, verdict)

    def _see_again(self, key: str, url: str, item: int | None, known: Info) -> None:
        """Read an entry's page again, and send what it says now; it has precedence over the `known` facts."""
        seen = self._seen(url, item)
        if seen is None:
            return
        told = {name: value for name, value in seen.items() if name != "code"}
        entry = {**known, **told, "url": url, "again": key}
        verdict = f"code:{seen['code']}" if "code" in seen else self._verdict_on(entry)
        self._sender.send(video_info.without_none(**(entry | _without_hints(entry, verdict))))

    def _seen(self, url: str, item: int | None) -> Entry | None:
        """Return what the entry's own page says, or the `code` of a failure; None for one that may pass."""
        if item is not None:
            return {}  # there is no page of its own
        if self._refusal is not None:
            return None
        try:
            found = self._lists.resolved(url)
        except (YoutubeDLError, JobFailed) as error:
            failure = classify(error, self._trail)
            if failure.code == "not_live":
                return video_info.without_none(_live="is_upcoming", _begins=failure.begins_at)
            self._log.write(f"an entry could not be read: {failure.code}")
            is_of_host = (urlsplit(url).hostname or "") == (urlsplit(self._job.wishes.url).hostname or "")
            if failure.code in REFUSES_ALL and is_of_host:  # all others would be refused as well
                self._refusal = {"retry_after": failure.retry_after}
            return None if failure.retryable else {"code": failure.code}
        return {name: value for name, value in _told_of(found).items() if name not in ("id", "extractor_key")}

    def _verdict_on(self, entry: Entry) -> str | None:
        """Return why an entry is not wanted or has to wait; `unclear` if its page has to be read; None: it is
        wanted.
        """
        verdict = self._judge.verdict(entry)
        if verdict == "too_young":
            entry["_begins"] = self._judge.begins_at(entry)
        return verdict


def _media_of(said: Info, playlist: Info) -> str | None:
    """Return the link of the file of an entry that has no page. Its query, which may be a ticket, is left
    out, unless the entries of `playlist` differ by their queries only.
    """
    link = _file_of(said)
    plain = _without_query(link)
    entries = playlist.get("entries")
    beside = entries if isinstance(entries, list) else ()
    files = {_file_of(one) for one in beside if isinstance(one, Mapping)}
    return link if sum(_without_query(one) == plain for one in files) > 1 else plain


def _file_of(said: Info) -> str | None:
    formats = [one for one in said.get("formats") or () if isinstance(one, Mapping)]
    links = (said.get("url"), *(one.get("manifest_url") or one.get("url") for one in formats))
    return video_info.link(next(filter(None, links), None))


def _without_query(link: str | None) -> str | None:
    return link and link.partition("#")[0].partition("?")[0]


def _without_hints(entry: Entry, verdict: str | None) -> Entry:
    """Return the fields that report a verdict; remove fields with `_`, which are for this module only."""
    told = video_info.without_none(verdict=verdict, begins_at=entry.get("_begins"))
    for name in [name for name in entry if name.startswith("_")]:
        del entry[name]
    return told


def _told_of(said: Info) -> Entry:
    """Return the facts of an entry, from its list or its own page."""
    url = video_info.link(said.get("webpage_url") or said.get("url")) or ""
    live = said.get("live_status") or ("is_live" if said.get("is_live") else None)
    kind = "stream" if live in _STREAMS else "short" if "/shorts/" in url else None
    released = video_info.moment(said.get("release_timestamp"))
    return video_info.without_none(
        id=video_info.text(said.get("id")),
        extractor_key=video_info.text(said.get("extractor_key"), 100),
        title=video_info.text(said.get("title")),
        duration=video_info.number(said.get("duration")),
        uploader=video_info.text(said.get("uploader") or said.get("channel") or said.get("creator")),
        published_at=video_info.published_at({**said, "release_timestamp": None}),
        kind=kind,
        _live=live,
        _begins=released if live == "is_upcoming" else None,
        _released=None if live == "is_upcoming" else released,  # a premiere is uploaded days before
        _members=True if said.get("availability") in _MEMBERS else None,
    )


def _of_feed(said: Any, base: str, *, is_atom: bool) -> Entry | None:
    """Return an entry of a feed; None if it has no link."""
    youtube = video_info.text(said.get("yt_videoid"))
    base = (said.get("title_detail") or {}).get("base") or base  # by `xml:base`
    forms = sorted(said.get("media_content") or (), key=_rank, reverse=True)
    enclosure = next(filter(None, (_media(one, base) for one in said.get("enclosures") or ())), None)
    enclosure = enclosure or next(filter(None, (_media(one, base) for one in forms)), None)
    page = _link(said.get("link"), base)
    url = page if youtube else enclosure or page or _unnamed(said.get("enclosures") or (), base)
    if not url:
        return None
    at = _published(said)
    title = _title(said, is_atom=is_atom)
    guid = said.get("id") if isinstance(said.get("id"), str) else None
    if not guid and (named := video_info.text(said.get("title"))):
        guid = f"{named}|{said.get('published') or ''}"
    entry = video_info.without_none(
        url=url,
        id=youtube,
        extractor_key="Youtube" if youtube else None,
        guid=guid[:_MOST_GUID] if guid else None,
        title=title,
        duration=_lasts(said.get("itunes_duration"), *(one.get("duration") for one in forms)),
        uploader=video_info.text(said.get("author")),
        published_at=None if at is None else datetime.fromtimestamp(at, UTC).isoformat()[:19] + "Z",
        kind="short" if "/shorts/" in url else None,
        _at=at,
    )
    is_file = url != page or _MEDIA_NAME.search(urlsplit(url).path)
    if is_file and not youtube:  # a sound file has no page that describes it
        picture = said.get("image") or {}
        entry["says"] = video_info.without_none(
            title=title,
            uploader=entry.get("uploader"),
            description=video_info.text(said.get("summary"), video_info.LONGEST_DESCRIPTION),
            thumbnail=video_info.link(picture.get("href")) if isinstance(picture, Mapping) else None,
            timestamp=at,
            season_number=_count(said.get("itunes_season")),
            episode_number=_count(said.get("itunes_episode")),
        )
    return entry


class ParsedFeed(NamedTuple):
    """A feed, its newest entries first where they have dates; `new_url` is the new address that it names."""

    title: str | None
    entries: list[Entry]
    facts: dict[str, Any]
    new_url: str | None


def parsed(text: bytes, url: str, charset: str | None = None) -> ParsedFeed:
    """The feed at `url`; `charset` is what its source says, which counts if the feed itself says nothing.

    Raises `ExtractorError`.
    """
    import feedparser  # type: ignore[import-untyped]  # 50 ms

    feedparser.USER_AGENT = ""
    kind = "application/xml"
    if charset and not _DECLARES.search(text[:_DECLARED_WITHIN].replace(b"\0", b"")):
        kind += f"; charset={charset}"
    told = {"content-type": kind, "content-location": url}
    # As a file, since feedparser would fetch or open an address in a text.
    try:
        feed = feedparser.parse(BytesIO(text), response_headers=told, **_AS_IT_IS)
    except Exception:  # foreign code; for instance at references to half of a surrogate pair
        sound = _REFERENCE.sub(_sound, text)
        try:
            feed = feedparser.parse(BytesIO(sound), response_headers=told, **_AS_IT_IS)
        except Exception as error:
            raise ExtractorError("The feed was not understood.", cause=error) from error
    is_atom = feed.version.startswith("atom")
    entries = [entry for said in feed.entries if (entry := _of_feed(said, url, is_atom=is_atom))]
    at = next((entry["_at"] for entry in entries if "_at" in entry), None)
    if at is not None:
        for entry in entries:  # an entry without a date keeps its place behind the one before it
            at = entry.setdefault("_at", at)
        entries.sort(key=lambda entry: -entry["_at"])
    links: dict[str, set[str]] = {}
    for entry in entries:
        entry.pop("_at", None)
        links.setdefault(entry.get("guid", ""), set()).add(entry["url"])
    count = Counter(entry["url"] for entry in entries)
    for entry in entries:
        # A name that several entries share identifies none of them.
        if len(links[entry.get("guid", "")]) > 1 or count[entry["url"]] > 1:
            entry.pop("guid", None)
    facts = facts_of_feed(feed.feed, text, url)
    new_url = video_info.link(str(feed.feed.get("itunes_new-feed-url", "")).strip())
    return ParsedFeed(_title(feed.feed, is_atom=is_atom), entries, facts, new_url)


def is_feed(begin: bytes) -> bool:
    """Whether a document with this beginning is a feed, also in an encoding of two bytes, or after a long
    comment.
    """
    return bool(_IS_FEED.search(_COMMENT.sub(b"", begin.replace(b"\0", b""))[:2048]))


def _sound(reference: "re.Match[bytes]") -> bytes:
    """Return the reference if its character exists; else nothing."""
    hexadecimal, decimal = reference.groups()
    if len(hexadecimal or decimal) > 20:
        return b""
    number = int(hexadecimal, 16) if hexadecimal else int(decimal)
    return b"" if 0xD800 <= number < 0xE000 or number > 0x10FFFF else reference[0]


def _media(said: Any, base: str) -> str | None:
    """The link of a sound or a film."""
    link, kind = _link(said.get("href") or said.get("url"), base), said.get("type") or ""
    is_media = _MEDIA.match(kind) or said.get("medium") in ("video", "audio")
    return link if link and (is_media or _MEDIA_NAME.search(urlsplit(link).path)) else None


def _title(said: Any, *, is_atom: bool) -> str | None:
    """Return the title of a feed or an entry: Atom says whether it is HTML; RSS has text, in which many
    authors write character references.
    """
    title = said.get("title")
    if isinstance(title, str) and (said.get("title_detail") or {}).get("type", "").endswith("html"):
        title = html.unescape(_TAG.sub("", title) if is_atom else title)
    return video_info.text(title)


def _rank(form: Any) -> tuple[bool, int, int, int]:
    """Rank the forms of one film: the source's default first, then the best."""
    sizes = (_count(form.get(name)) or 0 for name in ("height", "bitrate", "filesize"))
    return (form.get("isdefault") == "true", *sizes)


def _unnamed(enclosures: Any, base: str) -> str | None:
    """Return the link of an enclosure that may be sound or film, since nothing says that it is something
    else.
    """
    return next(
        (
            link
            for one in enclosures
            if not _ELSE.match(one.get("type") or "") and (link := _link(one.get("href"), base))
        ),
        None,
    )


def _link(said: Any, base: str) -> str | None:
    """Return a link of a feed. It may have spaces, as authors paste names of files."""
    if not isinstance(said, str) or not said.strip():
        return None
    whole = re.sub(r"[\t\r\n]+", "", said.strip()).replace(" ", "%20")
    try:
        return video_info.link(urljoin(base, whole))
    except ValueError:
        return None


def _published(said: Any) -> float | None:
    """In seconds since 1970. feedparser reads neither RFC 850 nor times without a zone, which are in UTC."""
    for name in ("published", "updated"):
        if name not in said:  # feedparser would give the other one, and warn
            continue
        found, text = said.get(f"{name}_parsed"), said.get(name)
        with suppress(TypeError, ValueError, OverflowError):
            if found:
                return video_info.moment(calendar.timegm(found))
            if isinstance(text, str) and (other := parsedate_tz(text[:100])):
                return video_info.moment(mktime_tz(other))
    return None


def _lasts(*said: Any) -> int | None:
    """The first duration that is one: feeds say zero of what they do not know."""
    found = (video_info.number(parse_duration(one[:50])) for one in said if isinstance(one, str))
    return next(filter(None, found), None)


def _count(said: Any) -> int | None:
    return int(said) if isinstance(said, str) and re.fullmatch(r"[0-9]{1,6}", said) else None


def _said_of_cache(headers: Any) -> dict[str, Any]:
    """Return the headers for the next conditional request, and when that makes sense."""
    age = _AGE.search(headers.get("Cache-Control") or "")
    return video_info.without_none(
        etag=_header(headers.get("ETag")),
        modified=_header(headers.get("Last-Modified")),
        max_age=min(int(age[1]), 86_400) if age else None,
    )


def _header(value: str | None) -> str | None:
    """Return a header to be sent back later, if it is well-formed."""
    return value if value and len(value) <= 500 and value.isascii() and value.isprintable() else None
