"""The query parameter `owner`: an admin chooses whose things a list shows, or for whom something is made."""

from aiohttp import web

from server.api.bodies import Query
from server.api.keys import ACTS_FOR, admins_alone, principal_of, restricted_to
from server.api.openapi.operation import Parameter
from server.api.session import GATE
from server.core.errors import AdminOnly, InvalidQuery

ACTING = Parameter(
    "owner",
    "for admins: the person for whom it is, and to whom it belongs",
    {"type": "string", "pattern": "^[a-z0-9._-]{1,64}$"},
)


def act_for_owner(request: web.Request) -> None:
    """Let the request act for the person named by `owner`: from now on `owner_of` returns that person.

    Raises `AdminOnly`, `InvalidQuery`.
    """
    if "?" not in request.raw_path:
        return
    query = Query(request)
    owner = query.person("owner")
    if owner is not None and not principal_of(request).is_admin:
        raise AdminOnly
    query.check()
    if owner is not None:
        if not request.app[GATE].directory.knows(owner):
            raise InvalidQuery("owner")
        request[ACTS_FOR] = owner


def chosen_owner(request: web.Request, query: Query) -> str | None:
    """Return whose things a list shows, as an admin chooses by `owner`. None: the things of everybody whose
    things this client may see. Raises `AdminOnly`, and `InvalidQuery` if there is no such person: an empty
    list would hide a typing error.
    """
    owner = query.person("owner")
    if owner is not None:
        admins_alone(request)
        if not request.app[GATE].directory.has(owner):
            raise InvalidQuery("owner")
    return owner or restricted_to(request)
