"""The OpenAPI description of one route: its parameters and body, its responses, its errors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from server.core import errors
from server.core.errors import AppError

Schema = dict[str, Any]
Errors = tuple[type[AppError], ...]

JSON = "application/json"
TEXT: Schema = {"type": "string"}
BINARY: Schema = {}

ALWAYS: Errors = (
    errors.TokenRequired,
    errors.HostForbidden,
    errors.TooManyRequests,
    errors.InternalError,
    errors.DatabaseBusy,
    errors.DatabaseAway,
    errors.StorageFailed,
)
OF_CHANGES: Errors = (errors.OriginForbidden, errors.ShuttingDown, errors.DiskFull)
OF_BODIES: Errors = (
    errors.NotJson,
    errors.BodyTooSlow,
    errors.BodyTooLarge,
    errors.NotJsonType,
    errors.EncodingUnknown,
    errors.InvalidRequest,
)
OF_SOCKETS: Errors = (errors.OriginForbidden, errors.UpgradeRequired)


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    text: str
    schema: Schema = field(default_factory=TEXT.copy)
    place: str = "query"
    is_required: bool = False  # path parameters are required in any case


def header(name: str, text: str, schema: Schema = TEXT) -> Parameter:
    return Parameter(name, text, schema, "header")


IDS = "^[^,]+(,[^,]+)*$"
"""The pattern of comma-separated ids, none of them empty."""
TASK_ID = Parameter("task_id", "as `POST /api/process` gave it", place="path")
READER = (
    Parameter("lang", "`zh` or `en`; outranks `Accept-Language`", {"type": "string", "minLength": 1}),
    header("Accept-Language", "the language of texts"),
)
LARGEST_PAGE = 200
MAX_CURSOR = 100  # characters
LIMIT = Parameter(
    "limit", "at most 200; 50 if left out", {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE}
)
CURSOR = Parameter(
    "cursor", "`next_cursor` of the page before", {"type": "string", "minLength": 1, "maxLength": MAX_CURSOR}
)
OWNER = Parameter(
    "owner",
    "for admins: what belongs to this person",
    {"type": "string", "pattern": "^[a-z0-9._-]{1,64}$"},
)
IF_NONE_MATCH = header("If-None-Match", "ETags of what the client has")
HAS_IT = "The client has it already"


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful response; `content`: media type -> model, the name of one in `schemas`, or schema;
    `headers`: name -> its meaning.
    """

    text: str
    content: Mapping[str, type[BaseModel] | str | Schema] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of a route. `errors` lists the errors of this operation; `all_errors` adds those that every
    route, or every JSON body, may cause.
    """

    name: str
    group: str
    summary: str
    replies: dict[int, Reply]
    text: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    needs_body: bool = True
    text_bodies: tuple[str, ...] = ()  # media types of the body if it is text, not JSON
    errors: Errors = ()
    always: Errors = ALWAYS

    @property
    def all_errors(self) -> Errors:
        of_queries = (errors.InvalidQuery,) if READER[0] in self.parameters else ()
        return tuple(dict.fromkeys(self.errors + of_queries + (OF_BODIES if self.body else ()) + self.always))
