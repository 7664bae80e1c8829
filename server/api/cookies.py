"""`/api/cookies`: cookie files for log-ins at sources. Their values go to downloads; no response has them."""

import asyncio
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from aiohttp import web

from server.api.bodies import read_text, respond_json
from server.api.keys import COOKIES, SUBSCRIPTIONS
from server.api.openapi.operation import JSON, OF_CHANGES, READER, Operation, Parameter, Reply
from server.api.route import delete, get, put
from server.core import cookie_format
from server.core.errors import (
    BodyTooLarge,
    BodyTooSlow,
    CookiesNotFound,
    EncodingUnknown,
    InvalidCookies,
    NoCookies,
    NotTextType,
    StoreUnavailable,
    TooManyCookies,
    WrongField,
)

MOST_HOSTS = 100  # that are told of one file, which has room for 40,000
MOST_OF_ALL = 2000  # hosts that an answer tells, as far as each file is to have one
LONGEST_HOST = 253  # characters (RFC 1035, section 2.3.4)
_NAME = Parameter("name", "of the file", {"type": "string", "pattern": f"^{cookie_format.NAME}$"}, "path")
_NAMES = web.RequestKey("names of stored cookies", frozenset[str])
_PATH = "/api/cookies/{name:[^/]+}"


async def list_cookies(request: web.Request) -> web.Response:
    stored = request.app[COOKIES]
    names = await stored.names()
    most = min(MOST_HOSTS, max(1, MOST_OF_ALL // (len(names) or 1)))
    shown = list[dict[str, object]]()
    for name in names:  # one at a time: all of them need not be in memory
        if file := await stored.get(name):
            shown.append(await asyncio.to_thread(_shown, name, file.text, most))
    return respond_json({"cookies": shown})


async def put_cookies(request: web.Request) -> web.Response:
    """Store the body as a cookie file under this name, replacing an earlier one."""
    try:
        body = await read_text(request, cookie_format.MAX_SIZE, "text/plain")
        text = body.decode()
    except web.RequestPayloadError:
        raise InvalidCookies(1) from None
    except UnicodeDecodeError as exc:
        raise InvalidCookies(1 + exc.object[: exc.start].count(b"\n")) from None
    try:
        found = await asyncio.to_thread(cookie_format.parse, text)
    except cookie_format.WrongLine as exc:
        raise InvalidCookies(exc.number) from None
    if not found:
        raise NoCookies
    stored, name, kept = (
        request.app[COOKIES],
        _name(request),
        await asyncio.to_thread(cookie_format.written, found),
    )
    before = await stored.get(name)
    await stored.put(name, kept)
    if before is not None and before.text == kept:
        # No other log-in: a job that sends a file each hour would have what was refused tried each hour.
        return web.Response(status=HTTPStatus.NO_CONTENT)
    hosts = sorted({cookie.host for cookie in found if cookie.host})
    with suppress(StoreUnavailable):  # what waits for a log-in is tried later; the cookies are stored
        await request.app[SUBSCRIPTIONS].log_in(hosts)
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def delete_cookies(request: web.Request) -> web.Response:
    if not await request.app[COOKIES].delete(_name(request)):
        raise CookiesNotFound
    return web.Response(status=HTTPStatus.NO_CONTENT)


def _name(request: web.Request) -> str:
    """The name in the path. Raises `CookiesNotFound` if no cookie file can have it."""
    name = request.match_info["name"]
    if not re.fullmatch(cookie_format.NAME, name):
        raise CookiesNotFound
    return name


async def unknown_cookies(request: web.Request, body: dict[str, Any]) -> list[WrongField]:
    """The error of a `body` that names an unknown cookie file; else nothing. A batch reads the names once."""
    name = body.get("cookies")
    if not isinstance(name, str):
        return []
    names = request.get(_NAMES)
    if names is None:
        names = request[_NAMES] = frozenset(await request.app[COOKIES].names())
    return [] if name in names else [("cookies", "cookies_unknown", {})]


def _shown(name: str, text: str, most: int) -> dict[str, object]:
    """The public facts of a cookie file, with at most `most` hosts.

    `expires_at` is the next expiry of a valid cookie, else the last. A file of a megabyte takes 0.1 s: call
    this in a thread, not on the event loop.
    """
    found, now = cookie_format.parse(text), time.time()
    ends = sorted(cookie.expires for cookie in found if cookie.expires)
    following = next((end for end in ends if end > now), ends[-1] if ends else None)
    shown: dict[str, object] = {
        "name": name,
        "hosts": sorted({cookie.host for cookie in found if len(cookie.host) <= LONGEST_HOST})[:most],
        "count": len(found),
        "expired": sum(end <= now for end in ends),
    }
    with suppress(OverflowError, ValueError, OSError):  # an expiry after the year 9999
        if following is not None:
            shown["expires_at"] = datetime.fromtimestamp(following, UTC).isoformat()[:19] + "Z"
    return shown


ROUTES = [
    get(
        "/api/cookies",
        list_cookies,
        Operation(
            "listCookies",
            "Cookies",
            "The stored cookie files",
            {200: Reply("Names, hosts and expiry; never what is in them", {JSON: "CookieList"})},
            parameters=READER,
        ),
    ),
    put(
        _PATH,
        put_cookies,
        Operation(
            "putCookies",
            "Cookies",
            "Store a cookie file",
            {204: Reply("It is on disk")},
            "Netscape format, UTF-8, at most 1 MiB.",
            parameters=(_NAME, *READER),
            text_bodies=("text/plain",),
            errors=(
                CookiesNotFound,
                InvalidCookies,
                NoCookies,
                TooManyCookies,
                NotTextType,
                EncodingUnknown,
                BodyTooLarge,
                BodyTooSlow,
                *OF_CHANGES,
            ),
        ),
    ),
    delete(
        _PATH,
        delete_cookies,
        Operation(
            "deleteCookies",
            "Cookies",
            "Remove a cookie file",
            {204: Reply("It is gone")},
            parameters=(_NAME, *READER),
            errors=(CookiesNotFound, *OF_CHANGES),
        ),
    ),
]
