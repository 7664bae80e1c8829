"""The threat model in SECURITY.md: each row names tests that exist."""

import re

from tests.project.test_docs import ROOT

WHO = (
    "a token", "the database", "a backup", "user among users", "source", "receiver", "feed", "extension",
    "proxy", "on the network", "on the machine",
)  # fmt: skip


def rows() -> list[list[str]]:
    text = (ROOT / "SECURITY.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| ") and "`test_" in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_each_row_names_tests_that_exist() -> None:
    for row in rows():
        assert len(row) == 4
        named = re.findall(r"`(tests/[\w/]+\.py)` `(test_\w+)`", row[3])
        assert named, row
        assert row[3] == ", ".join(f"`{path}` `{name}`" for path, name in named), row
        for path, name in named:
            found = re.findall(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)
            assert found, f"{path}::{name}"


def test_nobody_is_forgotten() -> None:
    said = [row[0] for row in rows()]
    assert [who for who in WHO if not any(who in each for each in said)] == []
