"""Channels that change over a year: they publish, sign their links anew, burst, hide, move, fail and ban.

`Year.dawn` lets days pass; the seed decides what happens in them. `Year` also notes what it has shown and
which requests it has received, so that a test can compare this with what a service says.

`/year/<channel>.rss` is a feed, `/told/year-<channel>` a list for `tests.fakes.told`, `/told/film-<name>` the
page of a film in it, and `/year/<name>.mp4` the film: a tiny one, with bytes of its own.
"""

import asyncio
import hashlib
import random
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from aiohttp import web

from tests.site import followed
from tests.tools import FFMPEG

HOUR, DAY = 3600.0, 86_400.0
PER_PAGE = 100
BURST = 100  # new entries of the bursting channel at once
KEPT = 5  # entries that the channel with retention keeps
LISTED = 3000  # entries of each long list
_LENGTHS = (0.25, 0.4, 0.6, 1.0, 1.5, 2.25)  # lengths of a turn, as parts of the mean length
_SLOW = 400_000  # bytes a second at which one film in twenty comes
_PADDING = 200_000  # bytes that are added to a slow film
_TELLS_NEWEST_FIRST = {
    "extractor_key": "YoutubeTab",
    "webpage_url": "https://www.youtube.com/@year/videos",
}


@dataclass(eq=False)
class Entry:
    """A film. Its file is there from `there_from` on, or never if `is_gone`. `is_late`: it was hidden, and
    appeared below newer entries.
    """

    name: str
    at: float
    is_trailer: bool = False
    there_from: float = 0.0
    is_gone: bool = False
    is_late: bool = False
    is_hidden: bool = False

    @property
    def title(self) -> str:
        return f"{'Trailer' if self.is_trailer else 'Film'} {self.name}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for the file of a film: the number of kills before it, and the status of the answer."""

    kills: int
    status: int


@dataclass
class Host:
    """A host that refuses all requests for some hours after `patience` requests in one turn; None: never."""

    name: str
    patience: int | None = None
    asked: int = 0
    banned_until: float = 0.0
    status: int = 429
    refused: list[Counter[int]] = field(default_factory=list)
    """Of each ban, how many requests were refused, by how many kills there had been."""

    def refusal(self, year: "Year") -> web.Response | None:
        self.asked += 1
        if self.patience is not None and self.asked == self.patience:
            self.status = year.chance.choice((429, 403))
            self.banned_until = year.now + year.chance.choice((2, 5, 11)) * HOUR
            self.refused.append(Counter())
        if self.banned_until <= year.now:
            return None
        self.refused[-1][year.kills] += 1
        left = str(int(self.banned_until - year.now) + 1)
        return web.Response(status=self.status, headers={"Retry-After": left})


class Channel:
    """A source of entries, and what a service should have done with them.

    `seen` are the entries that a successful check has shown, by name. `wanted` has the names of entries to
    fetch, `held` of those that may wait for the user, `skipped` of those that the user does not want, and
    `deleted` of fetched ones that the user has deleted.
    """

    window = 40
    per_day = 0.3
    wishes: ClassVar[Mapping[str, object]] = {}
    backlog: str | None = None  # replaces the backlog in `wishes`

    def __init__(self, year: "Year", name: str, host: Host) -> None:
        self.year, self.name, self.host = year, name, host
        self.entries: list[Entry] = []  # all entries, the newest first
        self.seen: dict[str, Entry] = {}
        self.wanted: set[str] = set()
        self.held: set[str] = set()
        self.skipped: set[str] = set()
        self.deleted: set[str] = set()
        self.told: dict[str, Entry] = {}  # entries that were shown since the dawn, in the order of the list
        self.chance = random.Random(f"{year.seed} {name}")

    @property
    def path(self) -> str:
        return f"/year/{self.name}.rss"

    def days_pass(self, days: float) -> None:
        self.publish(min(8, sum(self.chance.random() < self.per_day for _ in range(round(days)))))

    def publish(self, count: int) -> None:
        """Add entries on top of the list, the newest last."""
        for _ in range(count):
            self.entries.insert(0, self.new())

    def new(self) -> Entry:
        year = self.year
        entry = Entry(f"{self.name}{len(year.films)}", int(year.now) - 3600 + len(year.films) % 3000)
        year.films[entry.name] = entry
        return entry

    def visible(self) -> list[Entry]:
        """Return the newest entries, and older ones that no check has seen yet: those never fall out of the
        feed.
        """
        return [
            entry
            for place, entry in enumerate(self.entries)
            if not entry.is_hidden and (place < self.window or entry.name not in self.seen)
        ]

    def link(self, entry: Entry) -> str:
        return f"/year/{entry.name}.mp4"

    def guid(self, entry: Entry) -> str:
        return entry.name

    @property
    def address(self) -> str:
        """Return the present address of the channel."""
        return f"{self.origin(self.host)}{self.path}"

    def origin(self, host: Host) -> str:
        return f"http://{host.name}:{self.year.port}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        entries = self.visible()
        films = [
            followed.Film(one.name, one.title, self.link(one), float(one.at), self.guid(one), enclosure=True)
            for one in entries
        ]
        feed = followed.Followed(films, title=self.name, about=self.about(request.url.host or ""))
        text = followed.rss(feed, str(request.url.origin()))
        self.told = {entry.name: entry for entry in entries}
        tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={"ETag": tag})
        return web.Response(text=text, content_type="application/rss+xml", headers={"ETag": tag})

    def about(self, host: str) -> str:
        """Return the XML in which the feed of this name describes itself at `host`."""
        return ""

    def learn(self, max_new: int) -> None:
        """Take all entries for seen that were shown since the dawn, because a check since then was
        successful.
        """
        fresh = [entry for name, entry in self.told.items() if name not in self.seen]
        asks = (self.backlog or self.wishes.get("backlog")) == "all" or bool(self.seen)
        wants = [entry for entry in fresh if asks and not self.is_skipped(entry)]
        self.wanted |= {entry.name for entry in wants}
        newest = [entry for entry in wants if not entry.is_late]
        if self.seen and len(newest) > max_new:
            self.held |= {entry.name for entry in newest}
        self.held |= {entry.name for entry in wants if entry.is_late}
        self.seen |= {entry.name: entry for entry in fresh}

    def forget(self, names: Iterable[str]) -> None:
        """Expect what follows when a user forgets these entries: the next check finds them as new."""
        for name in names:
            self.seen.pop(name, None)
        self.told = {}

    def begin_anew(self, backlog: str) -> None:
        """Forget all entries: the user has unsubscribed and subscribed again, so all of them are new."""
        self.backlog = backlog
        self.forget(list(self.seen))
        self.wanted, self.held, self.skipped = set(), set(), set()

    def is_skipped(self, entry: Entry) -> bool:
        return entry.is_trailer and "filters" in self.wishes


class Signed(Channel):
    """A channel whose links are signed anew at each dawn, and whose old links are refused. Some films come
    later than their entries, few never, and some are trailers, which a filter skips.
    """

    per_day = 0.5
    wishes: ClassVar[Mapping[str, object]] = {
        "filters": {"not_title": "trailer"},
        "library": {"layout": "shows"},
    }

    def new(self) -> Entry:
        entry = super().new()
        entry.is_trailer = self.chance.random() < 0.15
        if self.chance.random() < 0.15:
            entry.there_from = self.year.now + self.chance.uniform(0, 2) * DAY
        entry.is_gone = self.chance.random() < 0.02
        return entry

    def link(self, entry: Entry) -> str:
        return f"{super().link(entry)}?signature={self.year.turn}"


class Bursting(Channel):
    """A channel that is mostly silent, and then publishes many entries at once."""

    window = 130
    per_day = 0.05

    def days_pass(self, days: float) -> None:
        super().days_pass(days)
        if self.year.turn in self.year.at(0.25, 0.7):
            self.publish(self.year.burst)


class Announcing(Channel):
    """A channel whose feed announces another host for the future, and is found at both."""

    def __init__(self, year: "Year", name: str, host: Host, next_host: Host) -> None:
        super().__init__(year, name, host)
        self._next_host = next_host

    @property
    def _has_moved(self) -> bool:
        return self.year.turn >= min(self.year.at(0.35))

    @property
    def address(self) -> str:
        return f"{self.origin(self._next_host if self._has_moved else self.host)}{self.path}"

    def about(self, host: str) -> str:
        if host != self.host.name or not self._has_moved:
            return ""
        return f"<itunes:new-feed-url>{self.address}</itunes:new-feed-url>"


class Twin(Channel):
    """A second link to the entries of `other`."""

    def __init__(self, other: Channel) -> None:
        super().__init__(other.year, f"{other.name}twin", other.host)
        self.window, self.entries = other.window, other.entries

    def days_pass(self, days: float) -> None:
        pass


class Fickle(Channel):
    """A channel whose entries, or all of it, vanish for weeks and come back. The subscription keeps few of
    them.
    """

    wishes: ClassVar[Mapping[str, object]] = {"backlog": "all", "keep": {"last": KEPT}}
    outage: web.Response | None = None

    def days_pass(self, days: float) -> None:
        super().days_pass(days)
        for entry in self.entries:
            entry.is_hidden = entry.name in self.seen and self.chance.random() < 0.3
        if self.chance.random() < (0.5 if self.outage else 0.15):
            self.outage = self.chance.choice(
                (
                    web.Response(status=404),
                    web.Response(status=410),
                    web.Response(status=503),
                    web.Response(text="<html>Soon</html>", content_type="text/html"),
                    web.Response(text="<rss version='2.0'><channel/></rss>", content_type="text/xml"),
                    web.Response(text="<rss version='2.0'><channel><item>", content_type="text/xml"),
                )
            )
        else:
            self.outage = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.outage is not None:
            out = self.outage
            return web.Response(status=out.status, body=out.body, content_type=out.content_type)
        return await super().answer(request)


class Listed(Channel):
    """A list of thousands of entries, page by page. `tells` is what the list says of itself."""

    window = 1 << 30
    per_day = 0.2
    tells: ClassVar[Mapping[str, object]] = {}
    wishes: ClassVar[Mapping[str, object]] = {"interval": "7d"}

    def __init__(self, year: "Year", name: str, host: Host) -> None:
        super().__init__(year, name, host)
        self.publish(year.listed)

    @property
    def path(self) -> str:
        return f"/told/year-{self.name}"

    def link(self, entry: Entry) -> str:
        return f"/told/film-{entry.name}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        origin, link = self.origin(self.host), self.address
        if "page" not in request.query:
            about = {"_type": "playlist", "id": self.name, "title": self.name, "webpage_url": link}
            return web.json_response({**about, "pages": f"{link}?page=", **self.tells})
        begin = int(request.query["page"]) * PER_PAGE
        entries = self.visible()[begin : begin + PER_PAGE]
        self.told |= {entry.name: entry for entry in entries}
        return web.json_response(
            [
                {"_type": "url", "id": one.name, "ie_key": "Told", "url": f"{origin}{self.link(one)}"}
                | {"title": one.title, "timestamp": one.at}
                for one in entries
            ]
        )


class NewestFirst(Listed):
    """A list with its new entries on top; now and then an old entry becomes visible far below."""

    tells: ClassVar[Mapping[str, object]] = _TELLS_NEWEST_FIRST

    def days_pass(self, days: float) -> None:
        super().days_pass(days)
        if self.entries and self.chance.random() < 0.15:
            late = self.new()
            late.is_late = True
            self.entries.insert(min(50, len(self.entries)), late)


class Unordered(Listed):
    """A list whose new entries appear anywhere."""

    def publish(self, count: int) -> None:
        for _ in range(count):
            self.entries.insert(self.chance.randint(0, len(self.entries)), self.new())


class Moving(Channel):
    """A channel that moves to another host for good; the host gives its entries other ids and links, and
    moves on.
    """

    window = 15

    def __init__(self, year: "Year", name: str, *hosts: Host) -> None:
        super().__init__(year, name, hosts[0])
        self._hosts = hosts

    @property
    def _moves(self) -> int:
        return sum(self.year.turn >= turn for turn in self.year.at(0.2, 0.75))

    @property
    def _has_new_ids(self) -> bool:
        return self.year.turn >= min(self.year.at(0.55))

    @property
    def address(self) -> str:
        return f"{self.origin(self._hosts[self._moves])}{self.path}"

    def guid(self, entry: Entry) -> str:
        return f"{'new' if self._has_new_ids else 'old'}-{entry.name}"

    def link(self, entry: Entry) -> str:
        return f"/year/{entry.name}.mp4{'?id=new' if self._has_new_ids else ''}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        at = next(place for place, host in enumerate(self._hosts) if host.name == request.url.host)
        if at < self._moves:
            moved = web.HTTPPermanentRedirect if at else web.HTTPMovedPermanently
            raise moved(f"{self.origin(self._hosts[at + 1])}{self.path}")
        return await super().answer(request)

    def learn(self, max_new: int) -> None:
        before = set(self.seen)
        super().learn(max_new)
        if self.year.turn in self.year.at(0.55):
            self.held |= self.seen.keys() - before


class Year:
    """The year. `turn` counts dawns; after `turns` of them nothing happens any more. Between two dawns `days`
    pass on average. `ahead` is by how many seconds the year's clock is ahead of the machine's.
    """

    def __init__(self, seed: int, turns: int, days: float, listed: int = LISTED, burst: int = BURST) -> None:
        self.seed, self.turns, self.days, self.listed, self.burst = seed, turns, days, listed, burst
        self.chance = random.Random(f"{seed} hosts")
        self.turn, self.kills, self.requests, self.ahead, self.port = 0, 0, 0, 0.0, 0
        self.films: dict[str, Entry] = {}
        self.asked: dict[str, list[Asked]] = defaultdict(list)
        # Names of completed films, whose files nobody needs to request again.
        self.completed: set[str] = set()
        self.faults: list[str] = []
        self.hosts = {number: Host(f"127.0.0.{number}") for number in range(1, 9)}
        self._tiny: bytes = b""
        calm, fickle, long, strict, new, *others = self.hosts.values()
        bursting = Bursting(self, "bursting", calm)
        self.strict = strict
        self.channels: list[Channel] = [
            Signed(self, "signed", calm),
            bursting,
            Twin(bursting),
            Fickle(self, "fickle", fickle),
            NewestFirst(self, "channel", long),
            Unordered(self, "unordered", long),
            Moving(self, "moving", *others),
            Channel(self, "strict", strict),
            Channel(self, "stricter", strict),
            Announcing(self, "announcing", calm, new),
            Channel(self, "left", calm),
        ]
        for channel in self.channels:
            if not isinstance(channel, Listed | Twin):
                channel.publish(6)

    @property
    def now(self) -> float:
        return time.time() + self.ahead

    def at(self, *parts: float) -> list[int]:
        """Return the turns at these parts of the year."""
        return [max(2, round(part * self.turns)) for part in parts]

    def make_film(self, folder: Path) -> None:
        picture = ("-f", "lavfi", "-i", "testsrc2=size=64x36:rate=5:duration=1", "-pix_fmt", "yuv420p")
        film = folder / "tiny.mp4"
        subprocess.run((FFMPEG, "-v", "error", "-y", *picture, "-movflags", "+faststart", film), check=True)
        self._tiny = film.read_bytes()

    def dawn(self, days: float | None = None) -> None:
        """Begin the next turn: let `days` pass, or a random time."""
        self.turn += 1
        days = days or self.days * self.chance.choice(_LENGTHS)
        self.ahead += days * DAY
        for host in self.hosts.values():
            host.asked = 0
        self.strict.patience = self.chance.randint(3, 14) if self.turn < self.turns else None
        for channel in self.channels:
            channel.told = {}
            if self.turn <= self.turns:
                channel.days_pass(days)

    def bytes_of(self, name: str) -> bytes:
        """Return the bytes of a film: a tiny film, and a box that players ignore."""
        padding = _PADDING if self._is_slow(name) else 100
        content = name.encode() + b"\0" * padding
        return self._tiny + (len(content) + 8).to_bytes(4, "big") + b"free" + content

    def _is_slow(self, name: str) -> bool:
        return random.Random(f"{self.seed} {name}").random() < 0.05

    async def film(self, request: web.Request, name: str) -> web.StreamResponse:
        entry = self.films[name]
        status = 200
        if entry.is_gone:
            status = 410
        elif entry.there_from > self.now:
            status = 404
        elif request.query.get("signature", str(self.turn)) != str(self.turn):
            status = 403
        self.asked[name].append(Asked(self.kills, status))
        if name in self.completed:
            self.faults.append(f"{name} is fetched again, in turn {self.turn}")
        if status != 200:
            return web.Response(status=status)
        body = self.bytes_of(name)
        part = request.http_range
        begin = part.start or 0
        if begin >= len(body):
            raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{len(body)}"})
        is_part = part.start is not None
        response = web.StreamResponse(
            status=206 if is_part else 200, headers={"Content-Type": "video/mp4", "Accept-Ranges": "bytes"}
        )
        if is_part:
            response.headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
        response.content_length = len(body) - begin
        await response.prepare(request)
        if request.method != "HEAD":
            await self._write(response, body[begin:], slowly=self._is_slow(name))
        return response

    async def _write(self, response: web.StreamResponse, body: bytes, *, slowly: bool) -> None:
        for piece in _pieces(body, 20_000 if slowly else len(body)):
            await response.write(piece)
            if slowly:
                await asyncio.sleep(len(piece) / _SLOW)


def _pieces(body: bytes, size: int) -> Iterator[bytes]:
    return (body[begin : begin + size] for begin in range(0, len(body), size))


@asynccontextmanager
async def open_year(year: Year, folder: Path) -> AsyncIterator[Year]:
    """Serve the year's channels on one port of all its hosts."""
    app = web.Application()
    app.add_routes(_routes(year))
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        for host in year.hosts.values():
            await web.TCPSite(runner, host.name, year.port).start()
            year.port = runner.addresses[0][1]
        year.make_film(folder)
        yield year
    finally:
        await runner.cleanup()


def _routes(year: Year) -> Sequence[web.RouteDef]:
    channels = {channel.name: channel for channel in year.channels}

    async def answer(request: web.Request) -> web.StreamResponse:
        year.requests += 1
        hosts = {host.name: host for host in year.hosts.values()}
        if (refusal := hosts[request.url.host or ""].refusal(year)) is not None:
            if film := request.match_info.get("film"):
                year.asked[film].append(Asked(year.kills, refusal.status))
            return refusal
        if film := request.match_info.get("film"):
            return await year.film(request, film)
        if page := request.match_info.get("page"):
            link = f"{request.url.origin()}/year/{page}.mp4"
            about = {"id": page, "title": year.films[page].title, "url": link}
            return web.json_response(about)
        return await channels[request.match_info["channel"]].answer(request)

    return [
        web.get(r"/year/{channel:\w+}.rss", answer),
        web.get(r"/year/{film:\w+}.mp4", answer),
        web.get(r"/told/year-{channel:\w+}", answer),
        web.get(r"/told/film-{page:\w+}", answer),
    ]
