"""Python sources as syntax trees, for the tests that inspect them."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path


def nodes(path: Path) -> Iterator[ast.AST]:
    """Return all nodes of a module, the module itself first. Keeping the nodes of many modules would slow the
    garbage collector down.
    """
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Return the full names that a module imports, also inside functions and under TYPE_CHECKING."""
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in nodes(path):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from (f"{module}.{alias.name}" for alias in names)
