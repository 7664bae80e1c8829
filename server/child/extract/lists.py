"""Reads a list, and sends its entries to the server while the source is still being read.

An entry is identified by a link of its own, else by its place in the list: some extractors return films
without a page, or links that only they understand.

Decisions: docs/decisions/playlists.md
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count, islice
from typing import Any, Final

from yt_dlp.utils import LazyList, PlaylistEntries, YoutubeDLError, sanitize_url, unsmuggle_url

from server.child.extract import video_info
from server.child.extract.generic import as_list, has
from server.child.extract.youtube_dl import Engine
from server.child.process.channel import Channel
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.core.jobs import Job

BUNDLE: Final = 100
"""Entries in one event to the server, at most."""

DEEPEST: Final = 3
"""How many lists deep the lists in a list are replaced by their entries."""

_MAX_HOPS: Final = 10
_ONLY_LISTS: Final = frozenset(("YoutubeTab",))
"""Extractors whose entries are always lists, although they also accept links to videos."""

_FACTS: Final = ("title", "duration", "uploader")
_DATES: Final = ("timestamp", "upload_date", "release_timestamp", "release_date")

Info = Mapping[str, Any]


class EntrySender:
    """Sends entries to the server, in events of this `kind` with up to `BUNDLE` of them.

    Call `flush` before anything that may take long, such as a request.
    """

    def __init__(self, channel: Channel, kind: str) -> None:
        self._channel = channel
        self._kind = kind
        self._bundle: list[dict[str, Any]] = []

    def send(self, entry: dict[str, Any]) -> None:
        self._bundle.append(entry)
        if len(self._bundle) >= BUNDLE:
            self.flush()

    def flush(self) -> None:
        bundle, self._bundle = self._bundle, []
        if bundle:
            self._channel.send(self._kind, entries=bundle)


class Expansion:
    """`run` returns the fields of `expanded`; whatever it raises is for `failures.classify`."""

    def __init__(self, job: Job, engine: Engine, channel: Channel, log: Log) -> None:
        self._job = job
        self._engine = engine
        self._channel = channel
        self._log = log
        self._places = count(1)
        self._truncated = False
        self._url: str | None = job.wishes.url
        # The lists that led here: one that leads back to them would never end.
        self._led_here = {*(job.lists or ()), video_info.link(job.wishes.url)} if job.lists else set()

    def run(self, sender: EntrySender) -> dict[str, Any]:
        """Read the list, and send its entries. The engine flushes `sender` before each of its requests.
        Raises `JobFailed` if there are no entries.
        """
        found = self.resolve(self._job.wishes.url)
        if self._job.lists is not None and self._job.item is not None:
            found = self._at_place(found, self._job.item)
        self._channel.send("described", video_info=video_info.video_info(found))
        last = 0  # the place of the last entry; `max_playlist + 1` if there are too many
        with self._engine.reading():
            for entry in self._all(found):
                last = next(self._places)
                if last > self._job.max_playlist:
                    self._truncated = True
                    break
                if last > self._job.known:
                    sender.send(entry | {"index": last})
        sender.flush()
        if not last and self._job.wishes.playlist_items and has(as_list(found.get("entries") or ()), 0):
            raise JobFailed("no_such_entry", "the list has none of the entries that were asked for")
        if not last:
            raise JobFailed("no_media", "no entry is in the list")
        if self._truncated:
            most = self._job.max_playlist
            self._log.write(f"the list goes on, but is read no further: downloads.max_playlist is {most}")
        return {"truncated": self._truncated}

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield the entries that `run` would send."""
        found = self.resolve(self._job.wishes.url)
        with self._engine.reading():
            yield from self._all(found)

    def resolve(self, url: str, key: str | None = None) -> Info:
        """Extract `url`, and the links that yt-dlp returns for it, up to a result that is no link.

        The result is unprocessed, and has the fields of `url_transparent` results before it. `key` is that of
        the extractor for `url`. Raises `JobFailed` if there is no such result.
        """
        inherited: dict[str, Any] = {}
        for _ in range(_MAX_HOPS):
            found = self._engine.extract_info(url, download=False, ie_key=key, process=False)
            if not found:
                break
            if found.get("_type") not in ("url", "url_transparent"):
                return {**found, **inherited}
            if found["_type"] == "url_transparent":
                inherited |= {name: found[name] for name in (*_FACTS, *_DATES) if found.get(name)}
            url, key = sanitize_url(found["url"], scheme="https"), found.get("ie_key")
        raise JobFailed("no_media", "the link leads nowhere")

    def _all(self, found: Info) -> Iterator[dict[str, Any]]:
        if found.get("_type") != "playlist":  # a list of one
            yield _entry(found, self._job.wishes.url)
            return
        yield from self._entries(found, self._url, self._job.wishes.playlist_items, DEEPEST)

    def _entries(
        self, playlist: Info, url: str | None, items: str | None, depth: int
    ) -> Iterator[dict[str, Any]]:
        """Yield the entries of `playlist`, which is at `url`; lists in it are replaced by their entries."""
        for place, entry in self.read_entries(playlist, items):
            inner = self.resolve_list(entry) if depth else None
            if inner:
                yield from self._entries(inner, _link_of(inner, url), None, depth - 1)
            elif self.leads_back(entry, url):
                self._log.write("an entry is skipped: it leads back to a list that it is in")
            elif link := own_link(self._engine, entry, url):
                yield _entry(entry, link)
            elif url:
                yield _entry(entry, url, place)
            else:
                self._log.write("an entry is skipped: it has no link")

    def read_entries(self, playlist: Info, items: str | None) -> Iterator[tuple[int, Info]]:
        """Yield each entry once, with its place, as the list is read; `items` are yt-dlp's
        `playlist_items`.
        """
        entries = as_list(playlist.get("entries") or ())
        if "-" in (items or ""):  # perhaps counted from the end, which an endless list does not have
            entries = LazyList(self._first(entries))
        self._engine.params["playlist_items"] = items
        places: set[int] = set()
        for place, entry in PlaylistEntries(self._engine, {"entries": entries}).get_requested_items():
            if place not in places and isinstance(entry, Mapping) and entry:
                places.add(place)
                yield place, entry

    def leads_back(self, entry: Info, url: str | None) -> bool:
        """Whether the link of `entry` is that of its list, at `url`, or of a list that led there."""
        if entry.get("_type") not in ("url", "url_transparent"):
            return False
        link = video_info.link(sanitize_url(entry["url"], scheme="https"))
        # A link with a key is for another extractor than the list was.
        return link is not None and (link in self._led_here or (link == url and not entry.get("ie_key")))

    def _first(self, entries: Any) -> Iterator[Any]:
        most = self._job.max_playlist
        for at in range(most):
            if not has(entries, at):
                return
            yield entries[at]
        self._truncated = has(entries, most)

    def _at_place(self, outer: Info, item: int) -> Info:
        """Return the list that is entry `item` of `outer`."""
        entries = as_list(outer.get("entries") or ())
        if not has(entries, item - 1):
            raise JobFailed("no_such_entry", f"the list has no entry {item}")
        entry = entries[item - 1]
        if entry.get("_type") in ("url", "url_transparent"):
            entry = self.resolve(sanitize_url(entry["url"], scheme="https"), entry.get("ie_key"))
        leads_to = video_info.link(entry.get("webpage_url") or entry.get("original_url"))
        self._url = leads_to if leads_to != self._url else None
        if entry.get("_type") != "playlist" or leads_to in self._led_here:
            raise JobFailed("is_playlist", "the list leads back to one that it is in")
        return dict(entry)

    def resolve_list(self, entry: Info) -> Info | None:
        """Return the list that `entry` is, or to which its link leads; None if it is none.

        An entry that may be a video counts as none and is not extracted.
        """
        kind, key = entry.get("_type"), entry.get("ie_key")
        if kind == "playlist":
            return entry
        if kind not in ("url", "url_transparent") or not key:
            return None
        url = sanitize_url(entry["url"], scheme="https")
        if key not in _ONLY_LISTS and self._engine.get_info_extractor(key).is_single_video(url) is not False:
            return None
        found = self.resolve(url, key)
        return found if found.get("_type") == "playlist" else None


def find_new_link(job: Job, engine: Engine, channel: Channel, log: Log) -> str | None:
    """Return the link that the job's entry has in its list now; None if the entry is not found for sure.

    Links in lists may be signed, and expire. The entry has to be the only one with its title; among several
    with that title, the only one whose link is the same up to the question mark.
    """
    if not job.lists or not job.title:
        return None
    wishes = replace(job.wishes, url=job.lists[-1], playlist_items=None)
    anew = replace(job, wishes=wishes, lists=None, known=0)
    before = dict(engine.params)
    engine.params |= {"noplaylist": False, "lazy_playlist": True}
    try:
        entries = [*islice(Expansion(anew, engine, channel, log).entries(), job.max_playlist)]
    except (YoutubeDLError, JobFailed) as error:
        log.write(f"its list could not be read anew: {error}")
        return None
    finally:
        engine.params.clear()
        engine.params |= before
    links = [entry["url"] for entry in entries if entry.get("title") == job.title and "item" not in entry]
    if len(links) > 1:
        links = [link for link in links if _without_query(link) == _without_query(job.wishes.url)]
    return links[0] if len(links) == 1 and links[0] != job.wishes.url else None


def _without_query(link: str) -> str:
    return link.partition("#")[0].partition("?")[0]


def own_link(engine: Engine, entry: Info, url: str | None) -> str | None:
    """Return the link of `entry` itself, with data for its extractor; None if only its place in the list at
    `url` identifies it.
    """
    if entry.get("_type") not in ("url", "url_transparent"):
        return None
    link = video_info.whole_link(sanitize_url(entry["url"], scheme="https"))
    if link is None or video_info.link(link) == url:
        return None
    plain, smuggled = unsmuggle_url(link, {})
    if not smuggled.keys() - {"force_videoid"}:  # the id of an entry in a feed, which is not needed here
        link = plain
    key = entry.get("ie_key")
    return link if not key or engine.get_info_extractor(key).suitable(link) else None


def link_of(engine: Engine, entry: Info, url: str | None) -> str | None:
    """Return `own_link` for info jobs: also the link of a list in the list; None for a malformed entry."""
    if entry.get("_type") == "playlist":
        return _link_of(entry, url)
    try:
        return video_info.link(own_link(engine, entry, url))
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _link_of(playlist: Info, outer_url: str | None) -> str | None:
    link = video_info.link(playlist.get("webpage_url") or playlist.get("original_url"))
    return link if link != outer_url else None


def _entry(entry: Info, url: str, item: int | None = None) -> dict[str, Any]:
    info = video_info.video_info(entry)
    facts: dict[str, Any] = {name: info[name] for name in _FACTS if name in info}
    place: dict[str, Any] = {"item": item} if item else {}
    says = {"says": video_info.says(entry)} if entry.get("_type") == "url_transparent" else {}
    return {"url": url, **facts, **place, **says}
