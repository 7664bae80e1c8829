"""`/api/cookies`: cookie files for log-ins at sources. Downloads use their contents; no response contains
them.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, BinaryIO

from aiohttp import web

from server.api.acting import ACTING, act_for_owner, chosen_owner
from server.api.bodies import Query, encoded, received_text
from server.api.connections import CONNECTIONS
from server.api.keys import COOKIES, HOOKS, person_of
from server.api.openapi.operation import JSON, OF_CHANGES, OWNER, READER, Operation, Parameter, Reply
from server.api.route import delete, get, put
from server.api.spool import SpoolTurns
from server.core import cookie_format
from server.core.cookie_facts import facts_of, with_facts
from server.core.cookie_format import stored_name
from server.core.errors import (
    AdminOnly,
    BodyTooLarge,
    BodyTooSlow,
    CookiesNotFound,
    EncodingUnknown,
    InvalidCookies,
    InvalidQuery,
    NoCookies,
    NotTextType,
    ServerBusy,
    StoreUnavailable,
    TooManyCookies,
    WrongField,
)
from server.core.long_work import compute
from server.core.ports import Cookies
from server.core.shielding import to_the_end

MOST_HOSTS = 2000  # hosts in an answer, for all files together; each file has at least one
_NAME = Parameter("name", "of the file", {"type": "string", "pattern": f"^{cookie_format.NAME}$"}, "path")
_NAMES = web.RequestKey("names of stored cookies", frozenset[str])
_PATH = "/api/cookies/{name:[^/]+}"


class SharedReading:
    """Reads one thing for many callers at a time. Callers that come while it is being read share the next
    reading, so that each sees its own earlier changes.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._next: dict[str, asyncio.Task[bytes]] = {}
        self._readings = set[asyncio.Task[bytes]]()

    async def share(self, read: Callable[[], Awaitable[bytes]], what: str = "") -> bytes:
        if (reading := self._next.get(what)) is None:
            beginning = self._begin(read, what)
            reading = self._next[what] = asyncio.create_task(beginning, name="list for all")
            self._readings.add(reading)
            reading.add_done_callback(self._end)
        return await asyncio.shield(reading)

    async def _begin(self, read: Callable[[], Awaitable[bytes]], what: str) -> bytes:
        async with self._lock:
            del self._next[what]
            return await read()

    def _end(self, reading: asyncio.Task[bytes]) -> None:
        self._readings.discard(reading)
        if not reading.cancelled():
            reading.exception()  # marks it as retrieved: all callers may have left


LIST = web.AppKey("list of cookie files", SharedReading)
TURNS = web.AppKey("turns for storing a cookie file", SpoolTurns)


async def list_cookies(request: web.Request) -> web.Response:
    query, stored = Query(request), request.app[COOKIES]
    owner = chosen_owner(request, query)
    query.check()
    begin = stored_name("", owner) if stored.are_separate else ""
    body = await request.app[LIST].share(lambda: _listed(stored, begin), begin)
    return web.Response(body=body, content_type="application/json")


async def _listed(stored: Cookies, begin: str) -> bytes:
    """Return the cookie files whose stored names begin with this prefix; in the list of all, with their
    owners.
    """
    names = [name for name in await stored.names() if name.startswith(begin)]
    now, most = time.time(), max(1, MOST_HOSTS // (len(names) or 1))
    from server.api.openapi.schemas import CookieFile, CookieList

    files = list[CookieFile]()
    async for name, found in stored.facts(begin):
        owner, shown = cookie_format.split_stored_name(name)
        # Else the file was stored while each person had a list of their own.
        if owner is None or stored.are_separate:
            told = None if begin else owner
            files.append(CookieFile(name=shown, owner=told, **found.shown(most, now)))
    return encoded(CookieList(cookies=files))


async def put_cookies(request: web.Request) -> web.Response:
    """Store the body as a cookie file under this name, replacing an earlier one."""
    act_for_owner(request)
    try:
        async with received_text(request, cookie_format.MAX_SIZE, "text/plain") as body:
            name = _name(request)
            return await request.app[CONNECTIONS].attended(request.protocol, _store(request, name, body))
    except web.RequestPayloadError:
        raise InvalidCookies(1) from None


async def _store(request: web.Request, name: str, body: BinaryIO) -> web.Response:
    stored = request.app[COOKIES]
    async with request.app[TURNS].turn():
        text, kept, hosts = await to_the_end(compute(_taken, body))

        async def store() -> None:
            before = await stored.get(name)
            await stored.put(name, text)
            if before is not None and before.text == kept:
                return  # The log-in is unchanged: do not retry downloads that the source has refused with it.
            # The cookies are stored; tasks that wait for a log-in are retried later.
            with suppress(StoreUnavailable):
                for cookies_stored in request.app[HOOKS].cookies_stored:
                    await cookies_stored(hosts, cookie_format.split_stored_name(name)[0])

        await to_the_end(store())
    return web.Response(status=HTTPStatus.NO_CONTENT)


def _taken(body: BinaryIO) -> tuple[str, str, list[str]]:
    """Return the text to store for `body`, the text without its facts, and the hosts. Takes up to 0.2 s: call
    it in a thread.

    Raises `InvalidCookies`, `NoCookies`.
    """
    raw = body.read()
    try:
        found = cookie_format.parse(raw.decode())
    except UnicodeDecodeError as exc:
        raise InvalidCookies(1 + raw[: exc.start].count(b"\n")) from None
    except cookie_format.WrongLine as exc:
        raise InvalidCookies(exc.number) from None
    if not found:
        raise NoCookies
    text = cookie_format.format_cookies(found)
    hosts = sorted({cookie.host for cookie in found if cookie.host})
    return with_facts(text, facts_of(found, time.time())), text, hosts


async def delete_cookies(request: web.Request) -> web.Response:
    act_for_owner(request)
    if not await request.app[COOKIES].delete(_name(request)):
        raise CookiesNotFound
    return web.Response(status=HTTPStatus.NO_CONTENT)


def _name(request: web.Request) -> str:
    """Return the name under which the cookie file of the path is stored. Raises `CookiesNotFound` if no file
    can have that name.
    """
    name = request.match_info["name"]
    if not re.fullmatch(cookie_format.NAME, name):
        raise CookiesNotFound
    return stored_name(name, person_of(request))


async def unknown_cookies(request: web.Request, body: dict[str, Any]) -> list[WrongField]:
    """Return an error if `body` names an unknown cookie file, else None. A batch reads the names only
    once.
    """
    name = body.get("cookies")
    if not isinstance(name, str):
        return []
    names = request.get(_NAMES)
    if names is None:
        names = request[_NAMES] = frozenset(await request.app[COOKIES].names())
    return [] if stored_name(name, person_of(request)) in names else [("cookies", "cookies_unknown", {})]


ROUTES = [
    get(
        "/api/cookies",
        list_cookies,
        Operation(
            "listCookies",
            "Cookies",
            "The stored cookie files",
            {200: Reply("Names, hosts and expiry; never what is in them", {JSON: "CookieList"})},
            parameters=(OWNER, *READER),
            errors=(AdminOnly, InvalidQuery),
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
            parameters=(_NAME, ACTING, *READER),
            text_bodies=("text/plain",),
            errors=(
                AdminOnly,
                CookiesNotFound,
                InvalidQuery,
                InvalidCookies,
                NoCookies,
                TooManyCookies,
                NotTextType,
                EncodingUnknown,
                BodyTooLarge,
                BodyTooSlow,
                ServerBusy,
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
            parameters=(_NAME, ACTING, *READER),
            errors=(AdminOnly, CookiesNotFound, InvalidQuery, *OF_CHANGES),
        ),
    ),
]
