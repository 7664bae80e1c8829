"""A route together with its OpenAPI description, so that neither is written without the other.

Decisions: docs/decisions/http.md
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from aiohttp import web
from aiohttp.typedefs import Handler

from server.api.openapi.operation import Operation


class Access(Enum):
    """What a request needs to reach a route's handler. This belongs to the matched route: a rule about paths
    could match other routes as well.
    """

    TOKEN = auto()
    """A token, where tokens are set."""
    LOG_IN = auto()
    """No token: here one is exchanged for a session."""
    PAGE = auto()
    """No token, and it does not count for the rate limit, since one page load requests several files."""
    SECRET = auto()
    """No token: the path holds a secret that the handler checks, and no log line may have that path."""
    STREAM = auto()
    """A token as with `TOKEN`, and the origin is checked as of a WebSocket: it stays open like one."""
    PROBE = auto()
    """No token, not counted, and any host name: load balancers use their own."""


@dataclass(frozen=True, slots=True)
class Route:
    """`operations` maps a method, in lower case, to its description; empty only for `undescribed` routes."""

    definition: web.RouteDef
    operations: Mapping[str, Operation]
    access: Access = Access.TOKEN

    @property
    def path(self) -> str:
        """The path as OpenAPI writes it: `/files/{name}`, without aiohttp's pattern for the name."""
        return re.sub(r":[^}]*}", "}", self.definition.path)

    def below(self, prefix: str) -> "Route":
        """The same route with `prefix` before its path."""
        known = self.definition
        moved = web.RouteDef(known.method, prefix + known.path, known.handler, known.kwargs)
        return Route(moved, self.operations, self.access)


def get(
    path: str,
    handler: Handler,
    operation: Operation,
    head: Operation | None = None,
    access: Access = Access.TOKEN,
) -> Route:
    """A GET route, which also answers HEAD; `head` describes HEAD where it differs."""
    operations = {"get": operation} if head is None else {"get": operation, "head": head}
    return Route(web.get(path, handler), operations, access)


def post(path: str, handler: Handler, operation: Operation, access: Access = Access.TOKEN) -> Route:
    return Route(web.post(path, handler), {"post": operation}, access)


def patch(path: str, handler: Handler, operation: Operation) -> Route:
    return Route(web.patch(path, handler), {"patch": operation})


def put(path: str, handler: Handler, operation: Operation) -> Route:
    return Route(web.put(path, handler), {"put": operation})


def delete(path: str, handler: Handler, operation: Operation, access: Access = Access.TOKEN) -> Route:
    return Route(web.delete(path, handler), {"delete": operation}, access)


def undescribed(definition: web.RouteDef, access: Access) -> Route:
    """A route without an OpenAPI description: the page's files and redirects."""
    return Route(definition, {}, access)
