"""A route together with its OpenAPI description, so that neither is written without the other."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler

from server.api.openapi.operation import Operation


@dataclass(frozen=True, slots=True)
class Route:
    """`operations` maps a method, in lower case, to its description; empty only for `undescribed` routes."""

    definition: web.RouteDef
    operations: Mapping[str, Operation]

    @property
    def path(self) -> str:
        """The path as OpenAPI writes it: `/files/{name}`, without aiohttp's pattern for the name."""
        return re.sub(r":[^}]*}", "}", self.definition.path)

    def below(self, prefix: str) -> "Route":
        """The same route with `prefix` before its path."""
        known = self.definition
        moved = web.RouteDef(known.method, prefix + known.path, known.handler, known.kwargs)
        return Route(moved, self.operations)


def get(path: str, handler: Handler, operation: Operation, head: Operation | None = None) -> Route:
    """A GET route, which also answers HEAD; `head` describes HEAD where it differs."""
    operations = {"get": operation} if head is None else {"get": operation, "head": head}
    return Route(web.get(path, handler), operations)


def post(path: str, handler: Handler, operation: Operation) -> Route:
    return Route(web.post(path, handler), {"post": operation})


def patch(path: str, handler: Handler, operation: Operation) -> Route:
    return Route(web.patch(path, handler), {"patch": operation})


def put(path: str, handler: Handler, operation: Operation) -> Route:
    return Route(web.put(path, handler), {"put": operation})


def delete(path: str, handler: Handler, operation: Operation) -> Route:
    return Route(web.delete(path, handler), {"delete": operation})


def undescribed(definition: web.RouteDef) -> Route:
    """A route without an OpenAPI description: the page's files and redirects."""
    return Route(definition, {})
