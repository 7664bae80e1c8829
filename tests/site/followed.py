"""Feeds and lists that change over time: a test changes what `Site.followed` has under a name.

`/followed/<name>.rss` and `.atom` are feeds; `/told/followed-<name>` is a list for `tests.fakes.told`, of
which each page is a request of its own; `/told/of-<name>-<id>` is the page of one of its entries.
"""

import hashlib
import html
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from aiohttp import web

PER_PAGE = 30


@dataclass
class Film:
    """An entry. `link` is its path at the site; `at` is its time of publication, in seconds since 1970."""

    id: str
    title: str
    link: str
    at: float | None = None
    guid: str | None = None
    enclosure: bool = False
    told: dict[str, Any] = field(default_factory=dict)


@dataclass
class Followed:
    """A feed or list. `films` are in the order of the list. `status`: all answers have this status, with
    `headers`. `base` stands before the links of films, in place of the site's origin. `about` is XML in which
    the feed describes itself; `html` is a page that is sent in place of the feed.
    """

    films: list[Film] = field(default_factory=list)
    conditional: bool = False
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    title: str = "Followed"
    told: dict[str, Any] = field(default_factory=dict)
    key: str | None = "Told"
    pages: dict[str, dict[str, Any]] = field(default_factory=dict)
    base: str | None = None
    about: str = ""
    html: str | None = None


FOLLOWED = web.AppKey("followed", dict[str, Followed])


async def feed(request: web.Request) -> web.Response:
    followed = _followed(request)
    if followed.html is not None:
        return web.Response(text=followed.html, content_type="text/html")
    write = rss if request.match_info["form"] == "rss" else _atom
    text = write(followed, str(request.url.origin()) if followed.base is None else followed.base).encode()
    headers = dict(followed.headers)
    if followed.conditional:
        headers["ETag"] = f'"{hashlib.sha256(text).hexdigest()[:8]}"'
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
    kind = "application/rss+xml" if write is rss else "application/atom+xml"
    return web.Response(body=text, headers={"Content-Type": kind, **headers})


async def told(request: web.Request) -> web.Response:
    """Return the list, or one page of its entries."""
    followed = _followed(request)
    origin, path = str(request.url.origin()), request.path
    if "page" not in request.query:
        about = {"_type": "playlist", "id": "l", "title": followed.title, "webpage_url": f"{origin}{path}"}
        return web.json_response(about | {"pages": f"{origin}{path}?page="} | followed.told)
    begin = int(request.query["page"]) * PER_PAGE
    entries = [
        {
            "_type": "url",
            "id": film.id,
            "ie_key": followed.key,
            "url": f"{origin}{film.link}",
            "title": film.title,
        }
        | ({"timestamp": film.at} if film.at is not None else {})
        | film.told
        for film in followed.films[begin : begin + PER_PAGE]
    ]
    return web.json_response([{k: v for k, v in entry.items() if v is not None} for entry in entries])


async def page(request: web.Request) -> web.Response:
    """Return an entry's page: a film, with the values that `Followed.pages` has for the entry's id."""
    followed, name = _followed(request), request.match_info["id"]
    film = {"id": name, "title": f"Film {name}", "url": f"{request.url.origin()}/video.mp4"}
    said = film | followed.pages.get(name, {})
    if isinstance(said.get("url"), str) and said["url"].startswith("/"):
        said["url"] = f"{request.url.origin()}{said['url']}"
    return web.json_response({key: value for key, value in said.items() if value is not None})


def _followed(request: web.Request) -> Followed:
    followed = request.app[FOLLOWED].get(request.match_info["name"])
    if followed is None:
        raise web.HTTPNotFound
    if followed.status != 200:
        raise _refusal(followed)
    return followed


def _refusal(followed: Followed) -> web.HTTPException:
    class Refusal(web.HTTPException):
        status_code = followed.status
        empty_body = False

    return Refusal(headers=followed.headers)


def rss(followed: Followed, origin: str) -> str:
    items = []
    for film in followed.films:
        link = html.escape(f"{origin}{film.link}")
        parts = [f"<title>{html.escape(film.title)}</title>"]
        parts.append(
            f'<enclosure url="{link}" type="video/mp4" length="1"/>'
            if film.enclosure
            else f"<link>{link}</link>"
        )
        if film.guid is not None:
            parts.append(f'<guid isPermaLink="false">{html.escape(film.guid)}</guid>')
        if film.at is not None:
            parts.append(f"<pubDate>{formatdate(film.at)}</pubDate>")
        items.append(f"<item>{''.join(parts)}</item>")
    title = html.escape(followed.title)
    channel = f"<channel><title>{title}</title>{followed.about}{''.join(items)}</channel>"
    itunes = 'xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"'
    return f'<?xml version="1.0"?><rss version="2.0" {itunes}>{channel}</rss>'


def _atom(followed: Followed, origin: str) -> str:
    entries = "".join(
        f"<entry><id>{html.escape(film.guid or film.id)}</id><title>{html.escape(film.title)}</title>"
        f'<link href="{html.escape(f"{origin}{film.link}")}"/></entry>'
        for film in followed.films
    )
    title = html.escape(followed.title)
    return f'<feed xmlns="http://www.w3.org/2005/Atom"><title>{title}</title>{followed.about}{entries}</feed>'


ROUTES = [
    web.get(r"/followed/{name:[\w-]+}.{form:rss|atom|html}", feed),
    web.get(r"/told/followed-{name:[\w-]+}", told),
    web.get(r"/told/of-{name:\w+}-{id:\w+}{rest:(/.*)?}", page),
]
