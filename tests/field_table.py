"""Makes the tables of fields in `docs/api.md` from the models of answers; `make format` writes them.

A table stands behind `<!-- fields of Item -->`, which names its model. A field of a nested object has the
object's name before its own, as `library.paths`, or `entries[].url` in a list, unless that object has a table
of its own.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from server.api.openapi.document import describe
from server.api.payload import TaskPayload
from server.app import ROUTES

GUIDE = Path(__file__).parents[1] / "docs" / "api.md"
MARK = re.compile(r"<!-- fields of (\w+) -->\n(?:\|.*\n)*")
# A row lists the values of a field if there are at most so many, and its description does not name them.
MOST_CHOICES = 8
# Fields that an answer may have beside an object with a table, and that need no table themselves.
AROUND = {"next_cursor", "more", "status", "url"}

Schema = dict[str, Any]


class Tables:
    """The tables of fields in `guide`, a text in Markdown."""

    def __init__(self, guide: str) -> None:
        self.guide = guide
        self._description = describe(ROUTES)
        self._schemas: dict[str, Schema] = self._description["components"]["schemas"]
        self._own = [*MARK.findall(guide)]

    def written(self) -> str:
        """Return the guide with all its tables made anew from the models."""
        return MARK.sub(lambda found: f"<!-- fields of {found[1]} -->\n{self._table(found[1])}", self.guide)

    def untold(self) -> set[str]:
        """Return the models of answers whose fields are in no table; a model with a single field needs
        none.
        """
        answers = {
            name
            for path in self._description["paths"].values()
            for operation in path.values()
            for reply in operation["responses"].values()
            for content in reply.get("content", {}).values()
            if (name := _reference(content["schema"]))
        }
        return {name for name in answers if not self._is_told(name)}

    def _is_told(self, name: str) -> bool:
        fields = self._schemas[name]["properties"]
        if name in self._own or len(fields) == 1:
            return True
        return all(
            name in AROUND or ((inner := _objects(field)[0]) is not None and self._is_told(inner))
            for name, field in fields.items()
        )

    def _table(self, name: str) -> str:
        if name == TaskPayload.__name__:
            return "| field | type | present | meaning |\n|---|---|---|---|\n" + "".join(
                self._rows_of_tasks()
            )
        return "| field | type | meaning |\n|---|---|---|\n" + "".join(self._rows(self._schemas[name]))

    def _rows(self, schema: Schema, begin: str = "") -> Iterator[str]:
        for name, field in schema["properties"].items():
            maybe = "" if name in schema.get("required", ()) else "?"
            yield f"| `{begin}{name}`{maybe} | {self._type(field)} | {self._meaning(field)}|\n"
            inner, how = _objects(field)
            if inner and inner not in self._own and "properties" in self._schemas[inner]:
                yield from self._rows(self._schemas[inner], f"{begin}{name}{how}.")

    def _rows_of_tasks(self) -> Iterator[str]:
        """Yield the rows of a task's fields; their column "present" is the part of the description before the
        colon.
        """
        for name, field in self._schemas[TaskPayload.__name__]["properties"].items():
            present, meaning = "always", TaskPayload.model_fields[name].description or ""
            if not TaskPayload.model_fields[name].is_required():
                present, _, meaning = meaning.partition(": ")
            told = f"{meaning} " if meaning else ""
            yield f"| `{name}` | {self._type(field)} | {present} | {told}|\n"

    def _type(self, field: Schema) -> str:
        if "anyOf" in field:
            return " or ".join(dict.fromkeys(map(self._type, field["anyOf"])))
        return str(self._resolved(field)["type"])

    def _meaning(self, field: Schema) -> str:
        told, choices = field.get("description", ""), self._resolved(field).get("enum", [])
        if choices and len(choices) <= MOST_CHOICES and not all(f"`{each}`" in told for each in choices):
            words = [f"`{each}`" for each in choices]
            told = "; ".join(filter(None, (" or ".join((", ".join(words[:-1]), words[-1])), told)))
        return f"{told} " if told else ""

    def _resolved(self, field: Schema) -> Schema:
        name = _reference(field)
        return self._schemas[name] if name else field


def _reference(schema: Schema) -> str | None:
    return schema["$ref"].rpartition("/")[2] if "$ref" in schema else None


def _objects(field: Schema) -> tuple[str | None, str]:
    """Return the model of a field's objects, and what stands between the field and theirs: nothing, `[]` or
    `.<name>`.
    """
    named = field.get("additionalProperties")
    for schema, how in ((field, ""), (field.get("items"), "[]"), (named, ".<name>")):
        if isinstance(schema, dict) and (name := _reference(schema)):
            return name, how
    return None, ""


if __name__ == "__main__":
    GUIDE.write_text(Tables(GUIDE.read_text("utf-8")).written(), "utf-8")
