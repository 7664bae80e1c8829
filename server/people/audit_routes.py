"""`GET /api/audit`, for admins: who did what."""

import time

from aiohttp import web

from server.api.bodies import Query, respond_answer
from server.api.openapi.operation import CURSOR, JSON, LIMIT, READER, Operation, Reply
from server.api.route import get
from server.core.errors import AdminOnly, InvalidQuery
from server.people.audit_rows import AuditRows
from server.people.people_routes import admin_only
from server.people.person import instant_of

_SCHEMAS = "server.people.people_schemas"  # of responses
AUDIT_ROWS = web.AppKey("audit rows", AuditRows)


async def list_events(request: web.Request) -> web.Response:
    from server.people.people_schemas import AuditInfo, AuditPage

    admin_only(request)
    query = Query(request)
    cursor, limit = query.cursor(), query.limit()
    query.check()
    events, more = await request.app[AUDIT_ROWS].page(cursor, limit, time.time())
    shown = [
        AuditInfo.model_validate(
            {
                "at": instant_of(event.at),
                "who": event.who,
                "what": event.what,
                "on": event.subject or None,
                "from": event.address or None,
                "request_id": event.request_id or None,
            }
        )
        for event in events
    ]
    return respond_answer(AuditPage(events=shown, next_cursor=more))


ROUTES = [
    get(
        "/api/audit",
        list_events,
        Operation(
            "audit",
            "People",
            "Who did what",
            {200: Reply("A page, newest first", {JSON: f"{_SCHEMAS}:AuditPage"})},
            "For admins. Of the last 90 days, from when somebody was added.",
            parameters=(LIMIT, CURSOR, *READER),
            errors=(AdminOnly, InvalidQuery),
        ),
    ),
]
