"""Makes the table of a task's fields from `TaskPayload`; `make format` writes it into `docs/api.md`."""

import re
from pathlib import Path
from typing import Any

from server.api.openapi.document import describe
from server.api.payload import TaskPayload
from server.app import ROUTES

GUIDE = Path(__file__).parents[1] / "docs" / "api.md"
HEAD = "| field | type | present | meaning |\n|---|---|---|---|\n"
TABLE = re.compile(re.escape(HEAD) + r"(\| .*\n)+")


def table() -> str:
    schemas = describe(ROUTES)["components"]["schemas"]
    rows = []
    for name, described in schemas["TaskPayload"]["properties"].items():
        field = TaskPayload.model_fields[name]
        present, meaning = "always", field.description or ""
        if not field.is_required():
            present, _, meaning = meaning.partition(": ")
        rows.append(
            f"| `{name}` | {_type(described, schemas)} | {present} | {meaning}{' ' if meaning else ''}|\n"
        )
    return HEAD + "".join(rows)


def _type(described: dict[str, Any], schemas: dict[str, Any]) -> str:
    if "$ref" in described:
        described = schemas[described["$ref"].rpartition("/")[2]]
    return str(described["type"])


if __name__ == "__main__":
    GUIDE.write_text(TABLE.sub(lambda _: table(), GUIDE.read_text("utf-8"), count=1), "utf-8")
