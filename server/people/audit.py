"""The audit log: log-ins, and changes that cannot be undone, once there are people.

A change is in the log before it is answered. Refused log-ins are stored a little later, all by one write.
Of refused log-ins, and of refused changes, at most `MAX_REFUSED` a minute are stored: whoever sends wrong
tokens, or what they may not do, must not fill the database.

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

MAX_REFUSED = 100  # events stored a minute of refused log-ins, and of refused changes; more are counted
MAX_REFUSED_OF_SOURCE = 10  # of these, log-ins from one address, or changes by one person
MAX_WAITING_EVENTS = 1000  # events to keep while the database is away
MINUTE = 60.0  # seconds
RETRY_SECONDS = 1.0
LAST_WRITE_SECONDS = 1.0  # for the last write when the server ends
MAX_SUBJECT_CHARS = 300
LOG_IN, LOG_IN_REFUSED = "log_in", "log_in_refused"
PERSON_ADDED, ROLE_CHANGED = "person_added", "role_changed"
# The event of a successful request to a route. Its subject is in the path; otherwise the handler names it by
# `DONE`. A handler of `.../actions` that sets no `DONE` has done nothing that is recorded.
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
# Under these paths a refused change is recorded as well.
SETTINGS = ("/api/people", "/api/me", "/api/queue")
REFUSALS = (AdminOnly, LastAdmin, WrongPassword, InvalidRequest)


class _Refusals:
    """What was refused in the current minute: log-ins, or changes."""

    def __init__(self) -> None:
        self.began_at = 0.0
        self.recorded: Counter[str] = Counter()  # by source: an address or a person
        self.only_counted: Counter[tuple[str | None, str]] = Counter()  # by the events' `who` and `what`


class Audit:
    """The log. `is_recording` says whether events are recorded: not on a server without people."""

    def __init__(
        self, rows: AuditRows, is_recording: Callable[[], bool], clock: Callable[[], float] = time.time
    ) -> None:
        self._rows = rows
        self.is_recording = is_recording
        self._clock = clock
        self._waiting: deque[AuditEvent] = deque(maxlen=MAX_WAITING_EVENTS)
        self._has_waiting = asyncio.Event()
        self._refused_log_ins, self._refused_changes = _Refusals(), _Refusals()

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
        """Record what a request has `done`: pairs of the event's name and its subject."""
        address, now = request.app[DOORS].client(request), self._clock()
        who = who or principal_of(request).name
        if done:
            await self.record(
                [
                    AuditEvent(now, who, what, on[:MAX_SUBJECT_CHARS], address, REQUEST_ID.get())
                    for what, on in done
                ]
            )

    def refused(self, address: str, name: str = "") -> None:
        """Record a refused log-in; `name` is the person for whom it was tried, if there is such a person."""
        if self._is_to_be_recorded(self._refused_log_ins, address, None, LOG_IN_REFUSED):
            event = AuditEvent(self._clock(), None, LOG_IN_REFUSED, name, address, REQUEST_ID.get())
            _log(event)
            self._wait([event])

    async def refused_change(self, request: web.Request, what: str) -> None:
        """Record that a change was refused which, had it succeeded, would have been the event `what`."""
        who, refused = principal_of(request).name, f"{what}_refused"
        source = who or request.app[DOORS].client(request)
        if self._is_to_be_recorded(self._refused_changes, source, who, refused):
            await self.record_of(request, [(refused, _subject(request))])

    def _is_to_be_recorded(self, refusals: _Refusals, source: str, who: str | None, what: str) -> bool:
        """Whether a refused request is recorded by itself; otherwise it is only counted."""
        if self._clock() - refusals.began_at >= MINUTE:
            self._end_minute(refusals)
        recorded = refusals.recorded
        if recorded.total() < MAX_REFUSED and recorded[source] < MAX_REFUSED_OF_SOURCE:
            recorded[source] += 1
            return True
        if not refusals.only_counted:
            asyncio.get_running_loop().call_later(MINUTE, self._end_minute, refusals)
        refusals.only_counted[who, what] += 1
        return False

    async def run(self) -> None:
        """Store waiting events until cancelled; then make a last try to store the rest."""
        try:
            while True:
                await self._has_waiting.wait()
                self._has_waiting.clear()
                try:
                    await self._store()
                except StoreUnavailable as error:
                    log.debug("the audit log waits: %s", error)
                    self._has_waiting.set()
                    await asyncio.sleep(RETRY_SECONDS)
                except Exception:  # outermost: one event that cannot be stored must not end the log
                    log.exception("events of the audit log cannot be stored")
        finally:
            self._end_minute(self._refused_log_ins)
            self._end_minute(self._refused_changes)
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(LAST_WRITE_SECONDS):
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
        self._has_waiting.set()

    def _end_minute(self, refusals: _Refusals) -> None:
        """Record how many more were refused, without their details; a new minute begins."""
        now = self._clock()
        for (who, what), count in refusals.only_counted.items():
            more = AuditEvent(now, who, what, f"{count} more", "", "")
            _log(more)
            self._wait([more])
        refusals.recorded.clear()
        refusals.only_counted.clear()
        refusals.began_at = now


AUDIT = web.AppKey("audit", Audit)


def audited(route: Route) -> Route:
    """Return the route; if it is one of `AUDITED`, with a handler that records its requests."""
    definition = route.definition
    what, handler = AUDITED.get((definition.method, route.path)), definition.handler
    if what is None:
        return route

    @wraps(handler)
    async def handle_and_record(request: web.Request) -> web.StreamResponse:
        audit = request.app[AUDIT]
        was_recording = audit.is_recording()
        try:
            response = await handler(request)
        except REFUSALS:
            if was_recording and route.path.startswith(SETTINGS):
                await audit.refused_change(request, what)
            raise
        if not (was_recording or audit.is_recording()):
            return response
        if route.access is Access.TOKEN:
            is_named = DONE in request or route.path.endswith("/actions")
            done = request.get(DONE, ()) if is_named else [(what, _subject(request))]
            await audit.record_of(request, done)
        elif scope := request.get(SCOPE):  # the request has begun or ended a session
            await audit.record_of(request, [(what, "")], person_of_scope(scope))
        # Refused after the OpenID provider; a refused `POST /api/session` raises an error.
        elif what == LOG_IN:
            audit.refused(request.app[DOORS].client(request))
        return response

    return replace(
        route,
        definition=web.RouteDef(definition.method, definition.path, handle_and_record, definition.kwargs),
    )


def _subject(request: web.Request) -> str:
    """What the path names. A client may send any characters, and PostgreSQL refuses a NUL."""
    named = " ".join(request.match_info.values())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in named)


def _log(event: AuditEvent) -> None:
    about = f" {event.subject}" if event.subject else ""
    log.info("audit: %s: %s%s, from %s", event.who or "-", event.what, about, event.address or "-")
