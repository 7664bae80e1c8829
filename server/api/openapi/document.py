"""`GET /api/openapi.json`: an OpenAPI 3.1 description of the routes, with schemas made from the models."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib import import_module
from itertools import groupby
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from server import __version__
from server.api.openapi.operation import JSON, TEXT, Operation, Reply
from server.api.payload import dumps
from server.api.problems import Problem
from server.api.route import Route, get
from server.api.session import COOKIE

PROBLEM = "application/problem+json"
TITLE = "Clipwire"
INTRODUCTION = (
    "Downloads videos with yt-dlp and tells every client truthfully how far it is. "
    "Make a task, then poll its status or listen on a WebSocket: both give the same payload. "
    "A field that does not apply is left out, never `null`. "
    "Every answer has an `X-Request-Id`, the client's own if it is 1-64 characters of `[A-Za-z0-9._-]`. "
    "The target of a request, and each of at most 128 headers, has at most 8,190 bytes."
)
_REF = "#/components/schemas/{model}"


class Description:
    """The OpenAPI description, made on first use and cached."""

    def __init__(self, routes: Sequence[Route], base_path: str, presets: Iterable[str]) -> None:
        self._routes, self._base_path, self._presets = routes, base_path, tuple(presets)

    @cached_property
    def document(self) -> dict[str, Any]:
        return describe(self._routes, self._base_path, self._presets)

    @cached_property
    def encoded(self) -> bytes:
        return dumps(self.document)


DESCRIPTION = web.AppKey("description", Description)


def describe(routes: Sequence[Route], base_path: str = "", presets: Iterable[str] = ()) -> dict[str, Any]:
    """The whole OpenAPI document; `presets` are the values that the field `preset` may have."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for method, operation in route.operations.items():
            paths.setdefault(route.path, {})[method] = _operation(method, operation)
    operations = [operation for route in routes for operation in route.operations.values()]
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": __version__, "description": INTRODUCTION},
        "servers": [{"url": base_path or "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(operation.group for operation in operations)],
        "paths": paths,
        "components": {
            "schemas": _schemas(operations, sorted(presets)),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "only where tokens are set"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
        "security": [{}, {"token": []}, {"session": []}],
    }


class _WithoutNull(GenerateJsonSchema):
    """Makes schemas of responses, which leave out fields without a value instead of sending `null`."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def _schemas(operations: list[Operation], presets: list[str]) -> dict[str, Any]:
    requests = {operation.body for operation in operations if operation.body}
    answers = {Problem} | {
        _named(model) if isinstance(model, str) else model
        for operation in operations
        for reply in operation.replies.values()
        for model in reply.content.values()
        if not isinstance(model, dict)
    }
    schemas = _definitions(requests, GenerateJsonSchema) | _definitions(answers, _WithoutNull)
    # Constraints that the models check in Python code, which pydantic cannot express as a schema.
    for name in ("ProcessRequest", "InfoRequest"):
        fields = schemas[name]["properties"]
        fields["url"] |= {"format": "uri", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"}
        if presets:  # an empty `enum` breaks the generators of clients
            fields["preset"] |= {"anyOf": [{"enum": presets}, {"type": "null"}]}
    schemas["ProcessRequest"]["properties"]["outputs"]["uniqueItems"] = True
    return dict(sorted(schemas.items()))


def _named(model: str) -> type[BaseModel]:
    """Return the model with this name. Its module is imported only for the description: that takes 0.01 s and
    0.4 MiB.
    """
    module, _, name = model.rpartition(":")
    found: type[BaseModel] = getattr(import_module(module or "server.api.openapi.schemas"), name)
    return found


def _definitions(models: Iterable[type[BaseModel]], generator: type[GenerateJsonSchema]) -> dict[str, Any]:
    named = sorted(models, key=lambda model: model.__name__)
    _, schema = models_json_schema(
        [(model, "validation") for model in named], ref_template=_REF, schema_generator=generator
    )
    definitions: dict[str, Any] = schema["$defs"]
    return definitions


def _operation(method: str, operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for number, reply in operation.replies.items():
        answer: dict[str, Any] = {"description": reply.text}
        if reply.content:
            answer["content"] = {
                media_type: {"schema": shape if isinstance(shape, dict) else _ref(shape)}
                for media_type, shape in reply.content.items()
            }
        if reply.headers:
            answer["headers"] = {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in reply.headers.items()
            }
        responses[str(number)] = answer
    by_status = sorted(operation.all_errors, key=lambda error: error.status)
    for status, errors in groupby(by_status, lambda error: error.status):
        codes = [error.code for error in errors]
        schema = {"allOf": [_ref("Problem"), {"properties": {"code": {"enum": codes}}}]}
        known = responses.setdefault(str(int(status)), {"description": "", "content": {}})
        texts = (known["description"], " or ".join(f"`{code}`" for code in codes))
        known["description"] = "; ".join(filter(None, texts))
        known["content"] = known.get("content", {})
        if method != "head":
            known["content"] |= {PROBLEM: {"schema": schema}}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.group],
        "summary": operation.summary,
        "description": operation.text,
        "parameters": [
            {
                "name": parameter.name,
                "in": parameter.place,
                "required": parameter.is_required or parameter.place == "path",
                "description": parameter.text,
                "schema": parameter.schema,
            }
            for parameter in operation.parameters
        ],
        "responses": responses,
    }
    if operation.body:
        content = {JSON: {"schema": _ref(operation.body)}}
        described["requestBody"] = {"required": operation.needs_body, "content": content}
    elif operation.text_bodies:
        content = {media_type: {"schema": TEXT} for media_type in operation.text_bodies}
        described["requestBody"] = {"required": True, "content": content}
    return {name: value for name, value in described.items() if value}


def _ref(model: type[BaseModel] | str) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.rpartition(":")[2] if isinstance(model, str) else model.__name__)}


async def openapi(request: web.Request) -> web.Response:
    body = request.app[DESCRIPTION].encoded
    return web.Response(body=body, content_type=JSON, headers={"Cache-Control": "no-cache"})


ROUTES = [
    get(
        "/api/openapi.json",
        openapi,
        Operation(
            "openapi",
            "Service",
            "This description",
            {200: Reply("OpenAPI 3.1", {JSON: {"type": "object"}})},
        ),
    )
]
