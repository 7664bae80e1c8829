"""`GET /api/docs`: the OpenAPI description as an HTML page that loads nothing from other sites.

The explanations of codes are in the reader's language; a problem's `type` links to that of its code.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from html import escape

from aiohttp import web

from server.api.bodies import language
from server.api.keys import SETTINGS
from server.api.openapi.document import DESCRIPTION, Description
from server.api.openapi.operation import READER, TEXT, Operation, Reply, Schema
from server.api.route import get
from server.core.errors import AppError
from server.locales import LANGUAGES

# Values for the placeholders in texts of errors, since no request has caused these errors.
_ANY_VALUES: Mapping[str, object] = defaultdict(lambda: "…")


async def docs(request: web.Request) -> web.Response:
    chosen = language(request)
    text = _page(request.app[DESCRIPTION], request.app[SETTINGS].server.base_path, chosen)
    headers = {"Cache-Control": "no-cache", "Content-Language": chosen, "Vary": "Accept-Language"}
    return web.Response(text=text, content_type="text/html", headers=headers)


@lru_cache(maxsize=16)
def _page(described: Description, base_path: str, chosen: str) -> str:
    description = described.document
    info, words, parts = description["info"], LANGUAGES[chosen], list[str]()
    machine = f'<a href="{base_path}/api/openapi.json">OpenAPI 3.1</a>'
    parts.append(f"<h1>{escape(info['title'])} API</h1><p>{_text(info['description'])} {machine}</p>")
    operations = [
        (f'<code><span class="method">{method.upper()}</span> {escape(path)}</code>', operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    links = [
        f'<a href="#{operation["operationId"]}">{route}</a> {escape(operation["summary"])}'
        for route, operation in operations
    ]
    links.append('<a href="#schemas">Objects</a>')
    links.append('<a href="#errors">Errors</a>')
    links.append('<a href="#failures">Failed tasks</a>')
    parts.append("<nav><ul>" + "".join(f"<li>{link}</li>" for link in links) + "</ul></nav>")
    for route, operation in operations:
        parts.append(f'<section id="{operation["operationId"]}"><h2>{route}</h2>')
        summary = f"<strong>{escape(operation['summary'])}.</strong>"
        parts.append(f"<p>{summary} {_text(operation.get('description', ''))}</p>")
        if body := operation.get("requestBody"):
            parts.append(f"<p>Body: {_content(body['content'])}</p>")
        parameters = [
            (_code(each["name"]), each["in"], f"{_text(each['description'])} {_limits(each['schema'])}")
            for each in operation.get("parameters", [])
        ]
        parts.append(_table(("parameter", "in", "meaning"), parameters))
        replies = [
            (status, _text(answer["description"]), _content(answer.get("content", {})))
            for status, answer in operation["responses"].items()
        ]
        parts.append(_table(("status", "meaning", "content"), replies))
        parts.append("</section>")
    parts.append('<h2 id="schemas">Objects</h2>')
    for name, schema in description["components"]["schemas"].items():
        parts.append(f'<section id="{name}"><h3>{name}</h3><p>{_text(schema.get("description", ""))}</p>')
        if "enum" in schema:
            parts.append(f"<p>{_limits(schema)}</p>")
        required = schema.get("required", ())
        fields = [
            (
                _code(field) + (" *" if field in required else ""),
                _type(shape),
                f"{_text(shape.get('description', ''))} {_limits(shape)}",
            )
            for field, shape in schema.get("properties", {}).items()
        ]
        parts.append(_table(("field", "type", "meaning"), fields))
        parts.append("</section>")
    problems = [
        (
            f'<span id="{error.code}">{_code(error.code)}</span>',
            str(int(error.status)),
            "<strong>{}</strong> {}".format(*map(escape, words.problem(error.code, _ANY_VALUES))),
        )
        for error in sorted(every_error(), key=lambda error: (error.status, error.code))
    ]
    parts.append('<h2 id="errors">Errors</h2>' + _table(("code", "status", "meaning"), problems))
    failures = [
        (
            _code("http_…" if code == "http" else code),
            escape(failure.error.format(status="…")),
            escape(failure.hint or ""),
        )
        for code, failure in sorted(words.texts.failure.items())
    ]
    parts.append('<h2 id="failures">Failed tasks</h2>' + _table(("error_code", "error", "hint"), failures))
    return _PAGE.format(base_path=base_path, language=chosen, body="\n".join(parts))


_PAGE = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Clipwire API</title>
<link rel="icon" href="{base_path}/static/icon.svg">
<link rel="stylesheet" href="{base_path}/static/css/base/tokens.css">
<link rel="stylesheet" href="{base_path}/static/css/base/docs.css">
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def every_error(kind: type[AppError] = AppError) -> list[type[AppError]]:
    """All error classes that have a `code`, so that a response can be one."""
    kinds = [each for error in kind.__subclasses__() for each in (error, *every_error(error))]
    # Classes that only group others for `except` have no `code`
    return [each for each in kinds if hasattr(each, "code")]


def _content(content: Schema) -> str:
    return ", ".join(f"{_code(kind)} {_type(each['schema'])}" for kind, each in content.items())


def _type(schema: Schema) -> str:
    """The type as HTML: a link to the section of an object, or the type's name."""
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            return f'<a href="#{name}">{name}</a>'
        case {"allOf": [first, *_]}:
            return _type(first)
        case {"anyOf": options}:
            return " or ".join(_type(option) for option in options)
        case {"type": "array", "items": items}:
            return f"list of {_type(items)}"
        case {"additionalProperties": dict(values)}:
            return f"object of {_type(values)}"
    return escape(schema.get("type", "string" if "enum" in schema else ""))


def _limits(schema: Schema) -> str:
    """The constraints of a value as HTML, by their JSON Schema keywords."""
    shown = (
        [f"one of {', '.join(_code(str(value)) for value in schema['enum'])}"] if schema.get("enum") else []
    )
    if schema.get("default") is not None:
        shown.append(f"default {_code(str(schema['default']))}")
    names = ("minimum", "maximum", "minLength", "maxLength", "minItems", "pattern")
    shown += [f"{name} {_code(str(schema[name]))}" for name in names if name in schema]
    return f'<span class="limits">{"; ".join(shown)}</span>' if shown else ""


def _table(head: Iterable[str], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    first = "".join(f"<th scope='col'>{name}</th>" for name in head)
    others = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class='table'><table><thead><tr>{first}</tr></thead><tbody>{others}</tbody></table></div>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _text(text: str) -> str:
    """`text` as HTML, with words in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


ROUTES = [
    get(
        "/api/docs",
        docs,
        Operation(
            "docs",
            "Service",
            "This description as a page",
            {200: Reply("HTML", {"text/html": TEXT})},
            parameters=READER,
        ),
    )
]
