"""The checks that every request passes before its handler, in their order."""

import time

from aiohttp import web

from server.api import cors
from server.api.auth import Gate
from server.api.middleware import Admit
from server.api.protocol import REFUSAL
from server.api.rate import Minute
from server.api.route import Access
from server.api.security import Doors
from server.core.errors import InvalidQuery, TooManyRequests, Unreadable
from server.settings import LimitSettings


def admission(doors: Doors, gate: Gate, limits: LimitSettings) -> Admit:
    """A function that checks host name, origin, rate and token, in this order, and raises the first error.

    Last it checks `lang`, the one parameter that every route has.
    """
    asked, limit = Minute(time.monotonic), limits.requests_per_minute

    async def admit(request: web.Request, access: Access) -> web.Response | None:
        refusal = request.get(REFUSAL)
        if isinstance(refusal, Unreadable):
            if limit:
                slow_down(doors.client(request))
            raise refusal
        doors.check(request, access)
        if limit and access in (Access.TOKEN, Access.LOG_IN):
            slow_down(doors.client(request))
        if cors.is_preflight(request):  # browsers send preflights without a token
            return cors.answer_preflight() if doors.is_allowed_origin(request) else None
        if gate.is_locked and access is Access.TOKEN:
            await gate.admit(request, doors.client(request))
        if refusal:
            raise refusal
        if access is not Access.PAGE and request.query_string and request.query.get("lang") == "":
            raise InvalidQuery("lang")  # every route has this parameter; the page is shown in any case
        return None

    def slow_down(address: str) -> None:
        if asked.count(address) > limit:
            raise TooManyRequests(asked.left(address))

    return admit
