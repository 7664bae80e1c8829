"""The table of capabilities names only things that exist, and its links lead to their descriptions."""

import re
from pathlib import Path
from typing import Any

import pytest

from server.api.openapi.document import describe
from server.app import ROUTES
from tests.project.test_docs import anchors, settings

DOCS = Path(__file__).parent.parent.parent / "docs"
TEXT = (DOCS / "capabilities.md").read_text(encoding="utf-8")
TABLE, _, THEMES = TEXT.partition("\n## What their users ask for\n")
ROWS = re.findall(r"^\| ([^|]+) \| (yes|in part|no) \| ([^|]+) \|$", TABLE, re.MULTILINE)
DESCRIPTION = describe(ROUTES)
OPERATIONS = {
    operation["operationId"]: f"{method.upper()} {path}"
    for path, methods in DESCRIPTION["paths"].items()
    for method, operation in methods.items()
}
SCHEMAS: dict[str, Any] = DESCRIPTION["components"]["schemas"]
FIELDS = {"process": "ProcessRequest", "task": "TaskPayload", "info": "Info"}


def test_every_row_has_an_answer_and_every_theme_a_line() -> None:
    lines = [line for line in TABLE.splitlines() if line.startswith("|")]
    assert len(lines) - 2 == len(ROWS) > 50
    assert len({capability for capability, _, _ in ROWS}) == len(ROWS)
    numbers = re.findall(r"^(\d+)\. \*\*.+?\*\* \S.+$", THEMES, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 26)]


@pytest.mark.parametrize(("capability", "answer", "how"), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_there_is_said_to_be_somewhere(capability: str, answer: str, how: str) -> None:
    if answer != "no":
        assert re.search(r"\]\(|`\w+\.\w+`|`python -m server|Dockerfile|one file", how), capability
    else:
        assert len(how) > 5, "it says why"


def test_an_operation_is_named_as_in_the_description_and_leads_to_its_section() -> None:
    named = re.findall(r"\[`(\w+)`\]\(([^)#]+)#([^)]*)\)", TEXT)
    assert len(named) > 30
    for name, document, anchor in named:
        assert document == "api.md"
        [right] = anchors_of(OPERATIONS[name])
        assert anchor == right, name


def anchors_of(heading: str) -> set[str]:
    """Return the anchor of the section with this title, if there is one."""
    wanted = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
    return {wanted} & anchors(DOCS / "api.md")


def test_every_field_and_setting_that_is_named_exists() -> None:
    known = set(settings())
    for where, name in re.findall(r"`(\w+)\.(\w+)`", TEXT):
        if where in FIELDS:
            assert name in SCHEMAS[FIELDS[where]]["properties"], f"{where}.{name}"
        else:
            assert f"{where}.{name}" in known, f"{where}.{name}"
