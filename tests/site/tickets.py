"""Links that expire: a ticket is valid for a number of requests."""

from itertools import count

from aiohttp import web
from yarl import URL

TICKETS = web.AppKey("TICKETS", dict[str, int])
_numbers = map(str, count(1))


def new(app: web.Application, good: int) -> str:
    """Make a ticket that is valid for `good` requests."""
    ticket = next(_numbers)
    app[TICKETS][ticket] = good
    return ticket


async def give(request: web.Request) -> web.Response:
    ticket = new(request.app, int(request.query["good"]))
    raise web.HTTPFound(URL(request.query["to"]).update_query(ticket=ticket))


def take(request: web.Request) -> None:
    """Count a request with a ticket; raise a 403 if the ticket has expired."""
    tickets, ticket = request.app[TICKETS], request.query.get("ticket")
    if ticket is None:
        return
    tickets[ticket] = tickets.get(ticket, 0) - 1
    if tickets[ticket] < 0:
        raise web.HTTPForbidden


ROUTES = [web.get("/ticket", give)]
