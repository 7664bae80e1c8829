"""Imports only ever point down the list, and every module says what it is for."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trees import imports, nodes

SERVER = Path(__file__).parent.parent.parent / "server"
FILES = sorted(SERVER.rglob("*.py"))
CHILD = sorted((SERVER / "child").rglob("*.py"))
LAYERS = (
    {"__main__"},
    {"commands"},
    {"app"},
    {"backends"},
    {"api", "files"},  # neither knows the other, nor a backend
    {"tasks"},
    {"ports", "settings"},
    {"events", "errors", "locales", "sameness", "stored"},
    {"models", "clock"},
    {"cookies"},
    {"codes", "jobs", "redaction"},  # also for children: see below
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
CHILD_LAYERS = ("", "source", "media", "network", "process")  # "": the modules of the child's own folder
CHILD_LEVEL = {name: level for level, name in enumerate(CHILD_LAYERS)}
SHARED = ("codes", "jobs", "redaction")
MAX_FUNCTION = 40


def test_imports_point_down() -> None:
    for path in FILES:
        here = part_of(path)
        if here not in ("child", "__init__"):
            for other in imported_parts(path) - {here}:
                assert LEVEL[other] > LEVEL[here], f"{path} imports {other}"


def test_the_document_shows_the_layers_as_they_are() -> None:
    text = (SERVER.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = " → ".join(", ".join(sorted(names)) for names in LAYERS)
    assert drawn in " ".join(text.split())


def test_the_child_shares_nothing_with_the_server_but_what_travels_between_them() -> None:
    assert CHILD
    shared = set().union(*(imported_parts(path) for path in CHILD))
    assert shared <= {"child", *SHARED}


@pytest.mark.parametrize("name", SHARED)
def test_what_the_child_shares_costs_it_nothing(name: str) -> None:
    """Pydantic would take 10 MB in each of them."""
    packages = {full.split(".")[0] for full in imports(SERVER / f"{name}.py")}
    assert packages <= sys.stdlib_module_names


def test_imports_within_the_child_point_down() -> None:
    for path in CHILD:
        here = room_of(path.relative_to(SERVER.parent).with_suffix("").parts)
        for name in imports(path):
            if name.startswith("server.child."):
                other = room_of(tuple(name.split(".")))
                assert CHILD_LEVEL[other] >= CHILD_LEVEL[here], f"{path} imports {name}"


def test_nothing_imports_the_child() -> None:
    users = {part_of(path) for path in FILES if "child" in imported_parts(path)}
    assert users <= {"child"}


@pytest.mark.parametrize(
    ("package", "users"),
    [
        ("yt_dlp", {"child"}),
        ("aiosqlite", {"backends"}),
        ("obstore", {"files"}),
        ("sqlite3", {"backends"}),
        ("psycopg", {"backends"}),
        ("psycopg_pool", {"backends"}),
        ("procrastinate", {"backends"}),
        ("aiohttp", {"__main__", "commands", "app", "api"}),
    ],
)
def test_a_package_is_imported_where_it_belongs_only(package: str, users: set[str]) -> None:
    found = {part_of(path) for path in FILES if package in {name.split(".")[0] for name in imports(path)}}
    assert found <= users


def test_a_function_fits_on_a_screen() -> None:
    lengths = {(path, name): lines for path in FILES for name, lines in functions(path)}
    assert {where: lines for where, lines in lengths.items() if lines > MAX_FUNCTION} == {}


def test_a_module_says_what_it_is_for() -> None:
    modules = {path: next(nodes(path)) for path in FILES}
    assert [path for path, top in modules.items() if not docstring(top)] == []


def part_of(path: Path) -> str:
    """The package or module directly under `server` that `path` belongs to."""
    return path.relative_to(SERVER).parts[0].removesuffix(".py")


def room_of(module: tuple[str, ...]) -> str:
    """The folder of `server.child` that a module or a name in it belongs to; "" for the child's own."""
    return module[2] if module[2] in CHILD_LEVEL else ""


def imported_parts(path: Path) -> set[str]:
    """`from server import __version__` is of no part."""
    parts = {name.split(".")[1] for name in imports(path) if name.startswith("server.")}
    return parts & {part_of(file) for file in FILES}


def docstring(module: ast.AST) -> str | None:
    assert isinstance(module, ast.Module)
    return ast.get_docstring(module)


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            yield f"{node.name}, line {node.lineno}", node.end_lineno - node.lineno + 1
