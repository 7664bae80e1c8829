"""Which parts of the page may import each other, that no imports form a circle, and that only `main.js`
imports every part.
"""

import re
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "static" / "js"
MODULES = sorted(SCRIPTS.rglob("*.js"))
# Each part, which is a folder of `static/js/`, and the parts that its modules import, also on demand.
# `main.js` hands a part whatever it needs from parts that are not listed here.
PARTS = {
    "base": set[str](),
    "tasks": {"base"},
    "row": {"base", "tasks"},
    "notices": {"base", "tasks"},
    "list": {"base", "row", "tasks"},
    "session": {"base", "row"},
    "intake": {"base", "row", "tasks"},
    "player": {"base", "row", "subscriptions", "tasks"},
    "settings": {"base", "intake", "notices", "tasks"},
    "header": {"base", "list", "tasks"},
    "subscriptions": {"base", "intake", "row", "tasks"},
    "people": {"base", "tasks"},
}
_COMMENT = re.compile(r"/\*.*?\*/|^\s*//[^\n]*", re.DOTALL | re.MULTILINE)
_IMPORTED = re.compile(r"""(?:\bfrom|\bimport\()\s*"(\.[^"]+)\"""")


def test_a_part_imports_only_what_it_may() -> None:
    for path in MODULES:
        if path.parent != SCRIPTS:
            others = {part_of(other) for other in imported(path)} - {part_of(path)}
            assert others <= PARTS[part_of(path)], f"{path} imports of {others}"


def test_the_parts_have_an_order() -> None:
    assert list(TopologicalSorter(PARTS).static_order())


def test_no_module_imports_itself_over_others() -> None:
    assert list(TopologicalSorter({path: imported(path) for path in MODULES}).static_order())


def test_main_alone_knows_all_parts() -> None:
    knows_all = [path.name for path in MODULES if {part_of(other) for other in imported(path)} >= {*PARTS}]
    assert knows_all == ["main.js"]


def test_a_name_of_a_module_leads_to_one_place() -> None:
    names = [path.name for path in MODULES]
    assert sorted(names) == sorted(set(names))


def test_the_document_shows_the_parts_as_they_are() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert {path.name for path in SCRIPTS.iterdir() if path.is_dir()} == {*PARTS}
    for part, others in PARTS.items():
        shown = ", ".join(f"`{other}`" for other in sorted(others)) or "nothing"
        row = re.search(rf"^\| `{part}/` \|(.*)\| {shown} \|$", text, re.MULTILINE)
        assert row, f"`{part}/` imports {shown}"
        missing = [path.name for path in MODULES if part_of(path) == part and f"`{path.name}`" not in row[1]]
        assert missing == []


def test_the_style_sheets_lie_in_the_folders_of_the_parts() -> None:
    sheets = (ROOT / "static" / "css").rglob("*.css")
    assert {sheet.parent.name for sheet in sheets} <= {*PARTS}


def imported(path: Path) -> set[Path]:
    """Return the modules that `path` imports, also on demand; its types are in comments."""
    text = _COMMENT.sub("", path.read_text(encoding="utf-8"))
    found = {(path.parent / name).resolve() for name in _IMPORTED.findall(text)}
    assert found <= {*MODULES}, path
    return found


def part_of(path: Path) -> str:
    return path.relative_to(SCRIPTS).parts[0]
