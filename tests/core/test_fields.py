"""A field of a task is the same in the model, in payloads, in the OpenAPI description and in the guide.

The test makes example values from the model: whoever adds a field there learns here what else it needs.
"""

import re
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import jsonschema_rs
import pytest
from pydantic import BaseModel

from server.api.openapi.document import describe
from server.api.payload import TaskPayload
from server.app import ROUTES
from server.core.film import VideoInfo
from server.core.task import Bookkeeping, Stage, TaskStatus
from server.locales import LANGUAGES
from tests.examples import utc_now
from tests.field_table import Tables

GUIDE = (Path(__file__).parent.parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
PLAIN: dict[Any, Any] = {str: "x", int: 1, float: 1.5, bool: True, Any: 1}


def filled(kind: Any) -> Any:
    """Return a value of the type `kind` with all fields set; fail on an unknown type."""
    match get_origin(kind), get_args(kind):
        case (origin, (inner, *_)) if origin in (Union, UnionType, Annotated):
            return filled(inner)
        case (origin, (inner, *_)) if origin is Literal:
            return inner
        case (origin, inner) if origin is tuple:
            return tuple(filled(each) for each in inner if each is not ...)
        case (origin, (key, value)) if origin is dict:
            return {filled(key): filled(value)}
    if issubclass(kind, BaseModel):
        return kind.model_validate(
            {name: filled(field.annotation) for name, field in kind.model_fields.items()}
        )
    if issubclass(kind, Enum):
        return next(iter(kind))
    return utc_now() if kind is datetime else PLAIN[kind]


def everything(stage: Stage) -> TaskStatus:
    """Return a status in which every field has a value, as no real task has."""
    status: TaskStatus = filled(TaskStatus)
    return status.model_copy(
        update={"stage": stage, "error_code": "http_404", "hint": None, "remedies": ("retry_later",)}
    )


def nothing(stage: Stage) -> TaskStatus:
    return TaskStatus(task_id="x", number=1, url="http://example.org/", created_at=utc_now(), stage=stage)


def present(status: TaskStatus, language: str) -> dict[str, Any]:
    return TaskPayload.of(status, LANGUAGES[language], tells_owner=True).model_dump(
        mode="json", exclude_none=True
    )


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    found: dict[str, Any] = describe(ROUTES)["components"]["schemas"]
    return found


def documented() -> dict[str, str]:
    """Return the rows of the table in the guide, in order: each field, and when it is present."""
    table = re.findall(r"^\| (`.+?) \| [^|]+ \| ([^|]+) \|", GUIDE.partition("\n## Stages")[0], re.MULTILINE)
    return {name: present for names, present in table for name in re.findall(r"`(\w+)`", names)}


def test_no_field_is_forgotten_anywhere(schemas: dict[str, Any]) -> None:
    described = list(schemas["TaskPayload"]["properties"])
    sent = [list(present(everything(stage), "zh")) for stage in Stage]
    shown = {name for fields in sent for name in fields}
    differ = (TaskStatus.model_fields.keys() - shown) ^ Bookkeeping.model_fields.keys()
    assert differ == set(), "`of` of `TaskPayload` in server/api/payload.py, or `Bookkeeping`"
    assert list(documented()) == described
    assert shown == set(described)
    for fields in sent:  # no payload has both the reason to wait and the reason of a failure
        assert fields == [name for name in described if name in fields]


def test_what_is_always_there_is_said_to_be(schemas: dict[str, Any]) -> None:
    sent = list(present(nothing(Stage.QUEUED), "zh"))
    assert schemas["TaskPayload"]["required"] == sent
    assert [name for name, present in documented().items() if present == "always"] == sent


@pytest.mark.parametrize("stage", list(Stage))
def test_what_is_sent_is_what_is_described(schemas: dict[str, Any], stage: Stage) -> None:
    schema = {"$ref": "#/components/schemas/TaskPayload", "components": {"schemas": schemas}}
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    for status in (everything(stage), nothing(stage)):
        validator.validate(present(status, "en"))


def test_the_guide_names_what_is_known_of_a_source() -> None:
    row = next(line for line in GUIDE.splitlines() if line.startswith("| `video_info` |"))
    forgotten = VideoInfo.model_fields.keys() - set(re.findall(r"`(\w+)`", row))
    assert forgotten == set(), "`video_info` in server/api/payload.py, then `make format`"


def test_the_guides_tables_of_fields_are_those_of_the_models() -> None:
    assert Tables(GUIDE).written() == GUIDE, "`make format` writes them anew"


def test_the_fields_of_each_answer_are_in_a_table() -> None:
    """A field that no table shows is not promised, and nobody finds it."""
    untold = Tables(GUIDE).untold()
    assert untold == set(), "a line `<!-- fields of <model> -->` in docs/api.md, then `make format`"
