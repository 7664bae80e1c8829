"""What is in tables of the page: plain objects and lists of words, wherever their module lies."""

import json
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def page_table(name: str) -> tuple[str, dict[str, str]]:
    """Where `const name = {...}` stands, and its entries, for those that are texts with their text. Of a list
    the entries are its words.
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
    """The catalogues of the page by their paths."""
    paths = sorted((ROOT / "static" / "i18n").glob("*.json"))
    return {str(path.relative_to(ROOT)): json.loads(path.read_text("utf-8")) for path in paths}
