"""Reads tables in the page's source: plain objects and lists of words, whichever module they are in."""

import json
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def page_table(name: str) -> tuple[str, dict[str, str]]:
    """Return the file that defines `const name = {...}`, and its keys with their values, "" where a value is
    no text. A list has each of its words as key and value.
    """
    for path in sorted((ROOT / "static" / "js").rglob("*.js")):
        found = re.search(rf"\bconst {name} = ([\[{{])(.*?)\n?[\]}}]\n", path.read_text("utf-8"), re.DOTALL)
        if found:
            place = str(path.relative_to(ROOT))
            if found[1] == "[":
                return place, {word: word for word in re.findall(r'"(\w+)"', found[2])}
            entries = re.findall(r'(?:^|,)\s*"?([\w.]+)"?:(?: "([^"]*)")?', found[2], re.MULTILINE)
            return place, dict(entries)
    raise LookupError(f"no module of the page has a table {name}")


@cache
def page_texts() -> dict[str, dict[str, str]]:
    """Return the texts of the page: the catalogue of each language by its path."""
    paths = sorted((ROOT / "static" / "i18n").glob("*.json"))
    return {str(path.relative_to(ROOT)): json.loads(path.read_text("utf-8")) for path in paths}
