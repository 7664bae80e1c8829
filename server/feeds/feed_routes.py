"""`/feeds/<secret>/...`: podcast feeds of subscriptions; and `/api/feeds`: the secret in their addresses.

Apps send no token: whoever knows the secret may read the feeds, their files and pictures, and nothing else. A
wrong secret is answered like a wrong name.

Decisions: docs/decisions/library.md
"""

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from pydantic_core import PydanticCustomError

from server.api.bodies import client_has, respond_answer
from server.api.downloads import CONDITIONS, SANDBOX_POLICY, replies, replies_to_head, send
from server.api.keys import CLOCK, FILES, SETTINGS, TASKS, owner_of
from server.api.openapi.operation import (
    BINARY,
    HAS_IT,
    IF_NONE_MATCH,
    JSON,
    OF_CHANGES,
    READER,
    TEXT,
    Operation,
    Parameter,
    Reply,
    header,
)
from server.api.page import PAGE
from server.api.payload import dumps
from server.api.route import Access, get, post
from server.api.security import open_to_all_pages
from server.core import errors
from server.core.attachment import disposition
from server.core.errors import (
    FeedNotFound,
    FileNotFound,
    NotFound,
    PreconditionFailed,
    RangeNotSatisfiable,
    StorageAway,
)
from server.core.film import ListedInfo, StoredFile
from server.core.long_work import compute
from server.core.ports import Stream
from server.core.task import TaskStatus
from server.core.values import check_url, without_password
from server.feeds.covers import MAX_PICTURE_BYTES, Covers
from server.feeds.feed_rows import FeedRows
from server.feeds.feed_store import Listed
from server.feeds.podcast_xml import Enclosed, Episode, Podcast, one_line, to_xml, without_tags
from server.subscriptions import opml
from server.subscriptions.feed_addresses import address_of
from server.subscriptions.picture_routes import SOURCE_PICTURES
from server.subscriptions.subscription import FEED_NAME, StoredSubscription, moment_of

RSS, OPML, JPEG = "application/rss+xml", "text/x-opml", "image/jpeg"
CHAPTERS = "application/json+chapters"
DATED_AFTER = 2.0  # seconds; an answer with a newer feed has no `Last-Modified`
MAX_CACHED_BYTES = 16 << 20  # bytes of all cached feeds
NO_PICTURE = "icon-512.png"  # the page's icon: the cover of a feed in which no episode has a picture
_TRANSCRIPTS = frozenset(("text/vtt", "application/x-subrip"))


@dataclass(frozen=True, slots=True)
class Picture:
    """The picture of an episode. The cover of a feed is made from it where the source has no picture."""

    task_id: str
    stored: StoredFile

    @property
    def tag(self) -> str:
        return hashlib.sha256(f"{self.task_id} {self.stored.name}".encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class PictureOfSource:
    subscription_id: str
    tag: str


@dataclass(frozen=True, slots=True)
class Built:
    """An encoded feed; `tag` stands for all data in it, `at` is when it was made, in whole seconds."""

    tag: str
    body: bytes
    etag: str
    at: datetime
    picture: Picture | PictureOfSource | None


class FeedCache:
    """The last requested feeds, each until its data changes. One feed is made at a time."""

    def __init__(self) -> None:
        self.one_at_a_time = asyncio.Lock()
        self._feeds: OrderedDict[tuple[str, str], Built] = OrderedDict()
        self._size = 0

    def find(self, key: tuple[str, str], tag: str) -> Built | None:
        found = self._feeds.get(key)
        if found is None or found.tag != tag:
            return None
        self._feeds.move_to_end(key)
        return found

    def keep(self, key: tuple[str, str], built: Built) -> None:
        before = self._feeds.pop(key, None)
        self._feeds[key] = built
        self._size += len(built.body) - (len(before.body) if before else 0)
        while self._size > MAX_CACHED_BYTES and self._feeds:
            _, oldest = self._feeds.popitem(last=False)
            self._size -= len(oldest.body)


_SCHEMAS = "server.feeds.feed_schemas"  # of responses
FEEDS: web.AppKey[FeedRows] = web.AppKey("feeds")
COVERS = web.AppKey("covers", Covers)
FEED_CACHE = web.AppKey("cache of feeds", FeedCache)


async def feed(request: web.Request) -> web.Response:
    """Answer with the feed, or 304. Raises `FeedNotFound`."""
    secret, subscription = await _found(request)
    built = await _built(request, secret, subscription)
    # No date yet: if the feed changed within the same second, both versions would have the same date (RFC
    # 9110, section 8.8.2.2).
    age = request.app[CLOCK].now() - built.at
    modified = built.at if age.total_seconds() >= DATED_AFTER else None
    return _tagged(request, built.etag, built.body, RSS, "utf-8", modified)


async def list_of_feeds(request: web.Request) -> web.Response:
    """Answer with all feeds as OPML. Raises `FeedNotFound`."""
    secret, found = await request.app[FEEDS].all(request.match_info["secret"])
    secret = _check_secret(request, secret)
    outlines = [opml.Outline(_title(one), address_of(request, secret, f"/{name}.xml")) for name, one in found]
    body = await compute(opml.written, outlines)
    return _tagged(request, f'"{hashlib.sha256(body).hexdigest()[:20]}"', body, OPML, "utf-8")


async def file(request: web.Request) -> web.StreamResponse:
    """Answer with a file of an episode. Raises `FeedNotFound`, `FileNotFound`, `RangeNotSatisfiable`,
    `StorageAway`.
    """
    _, subscription = await _found(request)
    status, stored = await request.app[TASKS].find_file(request.match_info["name"])
    await _refuse_other_task(request, subscription, status.task_id)
    published = status.published_at or status.completed_at or status.created_at
    named = disposition(stored.name, status.video_info.title, inline=True, chapter=stored.title)
    modified = published.replace(microsecond=0)
    return await send(request, status.task_id, stored, named, modified, may_redirect=True)


async def picture(request: web.Request) -> web.StreamResponse:
    """Answer with the thumbnail of an episode. Raises `FeedNotFound`, `FileNotFound`, `StorageAway`."""
    _, subscription = await _found(request)
    task_id = request.match_info["task_id"]
    await _refuse_other_task(request, subscription, task_id)
    status = await request.app[TASKS].status(task_id)
    thumbnail = await request.app[FILES].thumbnail(status)
    if thumbnail is None:
        raise FileNotFound
    return await send(request, task_id, thumbnail, disposition(thumbnail.name, None, inline=True))


async def chapters(request: web.Request) -> web.Response:
    """Answer with the chapters of an episode in the format of Podcasting 2.0. Raises `FeedNotFound`,
    `FileNotFound`.
    """
    _, subscription = await _found(request)
    task_id = request.match_info["task_id"]
    await _refuse_other_task(request, subscription, task_id)
    about = (await request.app[TASKS].status(task_id)).about
    if about is None or not about.chapters:
        raise FileNotFound
    listed = [
        {"startTime": one.start}
        | ({} if one.end is None else {"endTime": one.end})
        | ({} if one.title is None else {"title": one_line(one.title)})
        for one in about.chapters
    ]
    body = dumps({"version": "1.2.0", "chapters": listed})
    return _tagged(request, f'"{hashlib.sha256(body).hexdigest()[:20]}"', body, CHAPTERS)


async def cover(request: web.Request) -> web.Response:
    """Answer with the cover of a feed, made of its source's picture, else of the picture of the newest
    episode that has one.

    Raises `FeedNotFound`, `FileNotFound`.
    """
    secret, subscription = await _found(request)
    newest = (await _built(request, secret, subscription)).picture
    made, tag = None, ""
    if newest is not None:
        etag = f'"{newest.tag}"'
        if client_has(request, etag):
            return _tagged(request, etag, b"", JPEG)
        source = newest

        async def read_picture() -> bytes:
            if isinstance(source, PictureOfSource):
                body = await request.app[SOURCE_PICTURES].get(source.subscription_id, "picture")
                if body is None:
                    raise FileNotFound
                return body
            found = await request.app[FILES].open(source.task_id, source.stored)
            size = min(source.stored.size, MAX_PICTURE_BYTES)
            if isinstance(found, Stream):
                return b"".join([bytes(piece) async for piece in found.read(range(size))])
            with found:
                return await asyncio.to_thread(found.read, size)

        with suppress(FileNotFound, StorageAway):  # without a picture, answer with the default cover
            made, tag = await request.app[COVERS].cover(newest.tag, read_picture), newest.tag
    if made is None:
        page = await request.app[PAGE].assets()
        icon = page.files[NO_PICTURE]

        async def read_icon() -> bytes:
            return icon.body

        made, tag = await request.app[COVERS].cover(icon.tag, read_icon), icon.tag[:12]
    if made is None:
        raise FileNotFound
    return _tagged(request, f'"{tag}"', made, JPEG)


async def addresses(request: web.Request) -> web.Response:
    return _addresses(request, await request.app[FEEDS].secret(owner_of(request)))


async def renew(request: web.Request) -> web.Response:
    """Change the secret, and so the addresses of all feeds."""
    request.app[TASKS].refuse_when_closing()
    return _addresses(request, await request.app[FEEDS].renew(owner_of(request)))


def _addresses(request: web.Request, secret: str | None) -> web.Response:
    from server.feeds.feed_schemas import FeedAddresses

    opml = None if secret is None else address_of(request, secret, ".opml")
    return respond_answer(FeedAddresses(opml=opml))


async def _found(request: web.Request) -> tuple[str, StoredSubscription]:
    """Return the secret, and the subscription whose feed the path names. Raises `FeedNotFound`."""
    secret, subscription = await request.app[FEEDS].find(
        request.match_info["feed"], request.match_info["secret"]
    )
    secret = _check_secret(request, secret)
    if subscription is None:
        raise FeedNotFound
    return secret, subscription


def _check_secret(request: web.Request, secret: str | None) -> str:
    """Check that the request has `secret`, return it, and let players on pages of other sites read the
    answer. Raises `FeedNotFound` if it has not.
    """
    sent = request.match_info["secret"].encode(errors="replace")
    if not hmac.compare_digest(sent, (secret or "").encode()) or not secret:
        raise FeedNotFound
    open_to_all_pages(request)
    return secret


async def _refuse_other_task(request: web.Request, subscription: StoredSubscription, task_id: str) -> None:
    """Raise `FileNotFound` unless the task is an episode's: the secret opens no other files."""
    if not await request.app[FEEDS].has(subscription.subscription_id, task_id):
        raise FileNotFound


async def _built(request: web.Request, secret: str, subscription: StoredSubscription) -> Built:
    root = address_of(request, secret, "")
    most = request.app[SETTINGS].feeds.max_items
    cache, key = request.app[FEED_CACHE], (subscription.subscription_id, root)
    chosen = await request.app[FEEDS].fetched(subscription.subscription_id, most)
    findings = subscription.findings
    of_source = (findings.title, findings.facts, _picture_of_source(subscription))
    inputs = (subscription.revision, subscription.wanted, *of_source, chosen)
    tag = hashlib.sha256(repr(inputs).encode(errors="replace")).hexdigest()
    async with cache.one_at_a_time:
        if (cached := cache.find(key, tag)) is not None:
            return cached
        statuses = {
            one.task_id: one for one in await request.app[TASKS].statuses([r.task_id for r in chosen])
        }
        about = await request.app[FEEDS].about(subscription.subscription_id, [row.key for row in chosen])
        there = [
            (row, about[row.key], statuses[row.task_id])
            for row in chosen
            if row.task_id in statuses and row.key in about
        ]
        settings = request.app[SETTINGS]
        wanted = subscription.wanted.interval
        pause = wanted if isinstance(wanted, int) else settings.subscriptions.interval
        at = request.app[CLOCK].now().replace(microsecond=0)

        def make() -> Built:
            podcast, picture = _podcast(subscription, root, there, settings.server.language, pause // 60)
            body = to_xml(podcast)
            etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
            return Built(tag, body, etag, at, picture)

        built = await compute(make)
        cache.keep(key, built)
        return built


def _podcast(
    subscription: StoredSubscription,
    root: str,
    there: Sequence[tuple[Listed, Mapping[str, Any], TaskStatus]],
    language: str,
    ttl: int,
) -> tuple[Podcast, Picture | PictureOfSource | None]:
    wanted, feed = subscription.wanted, subscription.wanted.feed
    name = feed.name if feed else ""
    base = f"{root}/{name}"
    episodes = [
        (episode, status)
        for row, about, status in there
        if (episode := _episode(row, about, status, base)) is not None
    ]
    episodes.sort(key=lambda pair: pair[0].published, reverse=True)
    pictures = (found for _, status in episodes if (found := _picture_of(status)))
    picture = _picture_of_source(subscription) or next(pictures, None)
    facts = subscription.findings.facts
    title, parts = _title(subscription), urlsplit(without_password(subscription.url))
    # The link to the source leaves out what may be secret: the address of a source feed is often meant for
    # one reader, and some apps read feeds on servers of their own.
    path = parts.path if subscription.findings.form == "list" else "/"
    link = f"{parts.scheme.lower()}://{parts.netloc}{path or '/'}"
    return (
        Podcast(
            url=f"{base}.xml",
            lasting_id=f"clipwire/{subscription.subscription_id}",
            title=title,
            description=facts.description or f"{subscription.findings.title or title}\n{link}",
            author=facts.author,
            language=language,
            link=link,
            cover=f"{base}/cover-{picture.tag if picture else 'none'}.jpg",
            medium="podcast" if "audio" in wanted.request.get("outputs", ("audio",)) else "video",
            ttl=max(ttl, 1),
            category=feed.category if feed else "",
            explicit=feed.explicit if feed else False,
            episodes=[episode for episode, _ in episodes],
        ),
        picture,
    )


def _episode(row: Listed, about: Mapping[str, Any], status: TaskStatus, base: str) -> Episode | None:
    """Return the episode of a task; None if it has neither film nor sound, for instance no files yet."""
    forms = [_enclosed(status.files[kind], base) for kind in ("audio", "video") if kind in status.files]
    if not forms:
        return None
    info = status.video_info
    says = ListedInfo.model_validate(about.get("says") or {})
    # Keys with this beginning belong to entries without an id, for which yt-dlp's title may be only the name
    # of the file.
    titles = (
        (about.get("title"), info.title) if row.key.startswith("url ") else (info.title, about.get("title"))
    )
    published = row.published_at
    is_day = len(published or "") <= len("2026-01-31")
    if is_day and info.published_at:
        published = info.published_at  # mostly exact to the second
    fetched_at, moment = row.fetched_at or row.found_at, moment_of(published)
    return Episode(
        key=row.key,
        title=next(filter(None, titles), ""),
        published=datetime.fromtimestamp(fetched_at if moment is None else min(moment, fetched_at), UTC),
        enclosure=forms[0],
        others=forms[1:],
        description=without_tags(says.description or "") or (status.about and status.about.description) or "",
        duration=info.duration,
        author=info.channel or info.uploader,
        link=None if row.key.startswith("url ") else _link(info.webpage_url),
        season=says.season_number,
        number=says.episode_number,
        chapters=f"{base}/chapters/{status.task_id}.json" if status.about and status.about.chapters else None,
        picture=f"{base}/pictures/{status.task_id}.jpg" if status.thumbnail else None,
        transcripts=[
            replace(_enclosed(file, base), language=kind.partition(".")[2])
            for kind, file in status.files.items()
            if kind.startswith("subtitle.") and file.type in _TRANSCRIPTS
        ],
    )


def _enclosed(stored: StoredFile, base: str) -> Enclosed:
    return Enclosed(f"{base}/files/{stored.name}", stored.size, stored.type)


def _picture_of(status: TaskStatus) -> Picture | None:
    whole = status.files.get("thumbnail")
    if whole is not None and 0 < whole.size <= MAX_PICTURE_BYTES:
        return Picture(status.task_id, whole)
    return Picture(status.task_id, status.thumbnail) if status.thumbnail else None


def _picture_of_source(subscription: StoredSubscription) -> PictureOfSource | None:
    note = subscription.findings.pictures.get("picture")
    return PictureOfSource(subscription.subscription_id, note.tag) if note and note.tag else None


def _title(subscription: StoredSubscription) -> str:
    wanted, findings = subscription.wanted, subscription.findings
    return wanted.name or findings.title or (wanted.feed.name if wanted.feed else "")


def _link(url: str | None) -> str | None:
    try:
        return without_password(check_url(url)) if url else None
    except (PydanticCustomError, ValueError):
        return None


def _tagged(
    request: web.Request,
    etag: str,
    body: bytes,
    content_type: str,
    charset: str | None = None,
    modified: datetime | None = None,
) -> web.Response:
    """Answer with `body`, whose version is `etag`, or 304 if the client has it."""
    headers = {
        "ETag": etag,
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": SANDBOX_POLICY,
    }
    # Without `public_url`, links use the host by which the client came.
    if request.app[SETTINGS].feeds.public_url is None:
        headers["Vary"] = "Host, X-Forwarded-Host, X-Forwarded-Proto"
    if modified is not None:
        headers["Last-Modified"] = modified.strftime("%a, %d %b %Y %H:%M:%S GMT")
    if client_has(request, etag, modified):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return web.Response(body=body, content_type=content_type, charset=charset, headers=headers)


_SECRET = Parameter("secret", "as the addresses of feeds have it", place="path")
_FEED = Parameter("feed", "the `name` of a subscription's `feed`", place="path")
_TASK = Parameter("task_id", "of an episode", place="path")
_NOT_FOUND = (FeedNotFound, NotFound)  # the router answers an impossible name of a feed with `NotFound`
_OPEN = tuple(error for error in Operation("", "", "", {}).always if error is not errors.TokenRequired)
_TAGGED = {"ETag": "names its state"}
_PATH = f"/feeds/{{secret:[^/]+}}/{{feed:{FEED_NAME}}}"
ROUTES = [
    get(
        f"{_PATH}.xml",
        feed,
        Operation(
            "feed",
            "Feeds",
            "What a subscription has fetched, as a podcast feed",
            {
                200: Reply("RSS 2.0", {RSS: TEXT}, _TAGGED | {"Last-Modified": "when it was made"}),
                304: Reply(HAS_IT, headers=_TAGGED),
            },
            "Needs no token: the secret in the path takes its place.",
            parameters=(_SECRET, _FEED, IF_NONE_MATCH, header("If-Modified-Since", "a date"), *READER),
            errors=_NOT_FOUND,
            always=_OPEN,
        ),
        access=Access.SECRET,
    ),
    get(
        "/feeds/{secret:[^/]+}.opml",
        list_of_feeds,
        Operation(
            "feeds",
            "Feeds",
            "All podcast feeds as OPML",
            {200: Reply("OPML 2.0", {OPML: TEXT}, _TAGGED), 304: Reply(HAS_IT, headers=_TAGGED)},
            "Needs no token: the secret in the path takes its place.",
            parameters=(_SECRET, IF_NONE_MATCH, *READER),
            errors=_NOT_FOUND,
            always=_OPEN,
        ),
        access=Access.SECRET,
    ),
    get(
        f"{_PATH}/files/{{name:[^/]+}}",
        file,
        Operation(
            "feed_file",
            "Feeds",
            "A file of an episode",
            replies("The whole file", "*/*", {"ETag": "for `If-Range` and `If-None-Match`"})
            | {
                307: Reply(
                    "With `storage.redirect_downloads`: the whole file is elsewhere",
                    headers={"Location": "where, for five minutes"},
                )
            },
            "Needs no token: the secret in the path takes its place.",
            parameters=(
                _SECRET,
                _FEED,
                Parameter("name", "as the feed has it", place="path"),
                *CONDITIONS,
                header("If-Modified-Since", "a date"),
                *READER,
            ),
            errors=(*_NOT_FOUND, FileNotFound, PreconditionFailed, RangeNotSatisfiable, StorageAway),
            always=_OPEN,
        ),
        head=Operation(
            "feed_file_head",
            "Feeds",
            "What a file of an episode comes with",
            replies_to_head({"ETag": "for `If-Range` and `If-None-Match`"}),
            parameters=(
                _SECRET,
                _FEED,
                Parameter("name", "as the feed has it", place="path"),
                IF_NONE_MATCH,
                *READER,
            ),
            errors=(*_NOT_FOUND, FileNotFound, PreconditionFailed, StorageAway),
            always=_OPEN,
        ),
        access=Access.SECRET,
    ),
    get(
        f"{_PATH}/pictures/{{task_id:[0-9A-Za-z-]+}}.jpg",
        picture,
        Operation(
            "feed_picture",
            "Feeds",
            "The thumbnail of an episode",
            replies("A small JPEG", JPEG, _TAGGED),
            "Needs no token: the secret in the path takes its place.",
            parameters=(_SECRET, _FEED, _TASK, *CONDITIONS, *READER),
            errors=(*_NOT_FOUND, FileNotFound, PreconditionFailed, RangeNotSatisfiable, StorageAway),
            always=_OPEN,
        ),
        access=Access.SECRET,
    ),
    get(
        f"{_PATH}/chapters/{{task_id:[0-9A-Za-z-]+}}.json",
        chapters,
        Operation(
            "feed_chapters",
            "Feeds",
            "The chapters of an episode",
            {
                200: Reply("JSON chapters 1.2 of Podcasting 2.0", {CHAPTERS: {"type": "object"}}, _TAGGED),
                304: Reply(HAS_IT, headers=_TAGGED),
            },
            "Needs no token: the secret in the path takes its place.",
            parameters=(_SECRET, _FEED, _TASK, IF_NONE_MATCH, *READER),
            errors=(*_NOT_FOUND, FileNotFound),
            always=_OPEN,
        ),
        access=Access.SECRET,
    ),
    get(
        f"{_PATH}/cover-{{tag:[0-9a-z]+}}.jpg",
        cover,
        Operation(
            "feed_cover",
            "Feeds",
            "The cover of a feed",
            {
                200: Reply("A JPEG of 1400 x 1400 pixels", {JPEG: BINARY}, _TAGGED),
                304: Reply(HAS_IT, headers=_TAGGED),
            },
            "Needs no token: the secret in the path takes its place.",
            parameters=(
                _SECRET,
                _FEED,
                Parameter("tag", "anything: it is another one for another picture", place="path"),
                IF_NONE_MATCH,
                *READER,
            ),
            errors=(*_NOT_FOUND, FileNotFound),
            always=_OPEN,
        ),
        access=Access.SECRET,
    ),
    get(
        "/api/feeds",
        addresses,
        Operation(
            "feed_addresses",
            "Feeds",
            "Where the list of all podcast feeds is",
            {
                200: Reply(
                    "Its address, with the secret of all feeds",
                    {JSON: f"{_SCHEMAS}:FeedAddresses"},
                )
            },
            parameters=READER,
        ),
    ),
    post(
        "/api/feeds/renew",
        renew,
        Operation(
            "renew_feeds",
            "Feeds",
            "Change the secret of all podcast feeds",
            {200: Reply("The new address", {JSON: f"{_SCHEMAS}:FeedAddresses"})},
            "The addresses of all feeds change, and the old ones open nothing any more.",
            parameters=READER,
            errors=OF_CHANGES,
        ),
    ),
]
