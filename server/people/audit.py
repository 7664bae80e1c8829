"""The audit log: log-ins, and changes that cannot be undone, once there are people.

A change is in the log before it is answered. Refused log-ins are stored a little later, all by one write, and
at most `MOST_REFUSED` a minute: whoever sends wrong tokens must not fill the database.

Decisions: docs/decisions/people.md
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import wraps

from aiohttp import web

from server.api.keys import DONE, SCOPE, principal_of
from server.api.route import Access, Route
from server.api.security import DOORS
from server.core.errors import AdminOnly, InvalidRequest, LastAdmin, StoreUnavailable, WrongPassword
from server.core.principal import person_of_scope
from server.core.request_ids import REQUEST_ID
from server.people.audit_rows import AuditEvent, AuditRows

log = logging.getLogger(__name__)

MOST_REFUSED = 100  # refused log-ins that are stored a minute; of the others only their number
MOST_OF_ADDRESS = 10  # of these
MOST_WAITING = 1000  # events while the database is away
MINUTE = 60.0  # seconds
TRY_AGAIN = 1.0  # seconds
LAST_WRITE = 1.0  # seconds at the end of the server
MOST_SUBJECT = 300  # characters
LOG_IN, LOG_IN_REFUSED, PERSON_ADDED = "log_in", "log_in_refused", "person_added"
# The event of a successful request to a route. Its subject is in the path; otherwise the handler names it by
# `DONE`. A handler of `.../actions` that sets no `DONE` has done nothing of this kind.
AUDITED = {
    ("POST", "/api/session"): LOG_IN,
    ("DELETE", "/api/session"): "log_out",
    ("GET", "/api/session/oidc/callback"): LOG_IN,
    ("DELETE", "/api/me/sessions/{session_id}"): "log_in_ended",
    ("PATCH", "/api/me"): "password_changed",
    ("POST", "/api/me/tokens"): "token_added",
    ("DELETE", "/api/me/tokens/{label}"): "token_revoked",
    ("POST", "/api/people"): PERSON_ADDED,
    ("PATCH", "/api/people/{name}"): "person_changed",
    ("DELETE", "/api/people/{name}"): "person_removed",
    ("POST", "/api/people/{name}/adopt"): "person_adopts",
    ("POST", "/api/people/{name}/tokens"): "token_added",
    ("DELETE", "/api/people/{name}/tokens/{label}"): "token_revoked",
    ("DELETE", "/api/tasks/{task_id}"): "task_deleted",
    ("POST", "/api/tasks/actions"): "task_deleted",
    ("DELETE", "/api/subscriptions/{subscription_id}"): "subscription_deleted",
    ("POST", "/api/subscriptions/actions"): "subscription_deleted",
    ("POST", "/api/subscriptions/{subscription_id}/items/actions"): "items_deleted",
    ("PUT", "/api/cookies/{name}"): "cookies_stored",
    ("DELETE", "/api/cookies/{name}"): "cookies_deleted",
    ("POST", "/api/tasks/{task_id}/links"): "link_made",
    ("DELETE", "/api/links/{link_id}"): "link_revoked",
    ("POST", "/api/feeds/renew"): "feed_links_renewed",
    ("POST", "/api/queue/pause"): "queue_paused",
    ("POST", "/api/queue/resume"): "queue_resumed",
}
# A refused change of these is recorded as well.
SETTINGS = ("/api/people", "/api/me", "/api/queue")
REFUSALS = (AdminOnly, LastAdmin, WrongPassword, InvalidRequest)


class Audit:
    """`is_kept` says whether events are recorded: not on a server without people."""

    def __init__(
        self, rows: AuditRows, is_kept: Callable[[], bool], clock: Callable[[], float] = time.time
    ) -> None:
        self._rows = rows
        self.is_kept = is_kept
        self._clock = clock
        self._waiting: deque[AuditEvent] = deque(maxlen=MOST_WAITING)
        self._called = asyncio.Event()
        self._refused: Counter[str] = Counter()  # log-ins of this minute, by address
        self._minute = 0.0
        self._unnamed = 0  # refused log-ins of this minute that are only counted

    async def record(self, events: Sequence[AuditEvent]) -> None:
        """Log and store these events; if the database is away, store them as soon as it is back."""
        for event in events:
            _log(event)
        try:
            await self._rows.add(events)
        except StoreUnavailable:
            self._wait(events)

    async def record_of(
        self, request: web.Request, done: Collection[tuple[str, str]], who: str | None = None
    ) -> None:
        """Record what a request has `done`: pairs of what, and to what."""
        address, now = request.app[DOORS].client(request), self._clock()
        who = who or principal_of(request).name
        if done:
            await self.record(
                [
                    AuditEvent(now, who, what, on[:MOST_SUBJECT], address, REQUEST_ID.get())
                    for what, on in done
                ]
            )

    def refused(self, address: str, name: str = "") -> None:
        """A log-in was refused; `name` is the person's for whom it was tried, if there is one."""
        now = self._clock()
        if now - self._minute >= MINUTE:
            self._end_minute(now)
        if self._refused.total() >= MOST_REFUSED or self._refused[address] >= MOST_OF_ADDRESS:
            if not self._unnamed:
                asyncio.get_running_loop().call_later(MINUTE, self._end_minute, None)
            self._unnamed += 1
            return
        self._refused[address] += 1
        event = AuditEvent(now, None, LOG_IN_REFUSED, name, address, REQUEST_ID.get())
        _log(event)
        self._wait([event])

    async def run(self) -> None:
        """Store waiting events until cancelled, then what is left of them."""
        try:
            while True:
                await self._called.wait()
                self._called.clear()
                try:
                    await self._store()
                except StoreUnavailable as error:
                    log.debug("the audit log waits: %s", error)
                    self._called.set()
                    await asyncio.sleep(TRY_AGAIN)
                except Exception:  # outermost: one event that cannot be stored must not end the log
                    log.exception("events of the audit log cannot be stored")
        finally:
            self._end_minute(None)
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(LAST_WRITE):
                    await self._store()

    async def _store(self) -> None:
        events = [*self._waiting]
        self._waiting.clear()
        if not events:
            return
        try:
            await self._rows.add(events)
        except StoreUnavailable:
            self._waiting.extendleft(reversed(events))
            raise

    def _wait(self, events: Sequence[AuditEvent]) -> None:
        self._waiting.extend(events)
        self._called.set()

    def _end_minute(self, now: float | None) -> None:
        """Record how many more log-ins were refused, without their details; a new minute begins `now`."""
        if self._unnamed:
            more = AuditEvent(self._clock(), None, LOG_IN_REFUSED, f"{self._unnamed} more", "", "")
            _log(more)
            self._wait([more])
        self._refused.clear()
        self._unnamed = 0
        self._minute = self._clock() if now is None else now


AUDIT = web.AppKey("audit", Audit)


def audited(route: Route) -> Route:
    """Return the route; if it is one of `AUDITED`, with a handler that records its requests."""
    known = route.definition
    what, handler = AUDITED.get((known.method, route.path)), known.handler
    if what is None:
        return route

    @wraps(handler)
    async def noted(request: web.Request) -> web.StreamResponse:
        audit = request.app[AUDIT]
        was_kept = audit.is_kept()
        try:
            response = await handler(request)
        except REFUSALS:
            if was_kept and route.path.startswith(SETTINGS):
                await audit.record_of(request, [(f"{what}_refused", _subject(request))])
            raise
        if not (was_kept or audit.is_kept()):
            return response
        if route.access is Access.TOKEN:
            is_said = DONE in request or route.path.endswith("/actions")
            done = request.get(DONE, ()) if is_said else [(what, _subject(request))]
            await audit.record_of(request, done)
        elif scope := request.get(SCOPE):  # of a session that has begun, or ended
            await audit.record_of(request, [(what, "")], person_of_scope(scope))
        elif what == LOG_IN:  # at the OpenID provider; other refusals are errors
            audit.refused(request.app[DOORS].client(request))
        return response

    return replace(route, definition=web.RouteDef(known.method, known.path, noted, known.kwargs))


def _subject(request: web.Request) -> str:
    """What the path names, which may be anything: PostgreSQL refuses a NUL."""
    named = " ".join(request.match_info.values())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in named)


def _log(event: AuditEvent) -> None:
    about = f" {event.subject}" if event.subject else ""
    log.info("audit: %s: %s%s, from %s", event.who or "-", event.what, about, event.address or "-")
