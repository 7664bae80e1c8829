"""Python's sources as trees, for the tests that read them."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path


def nodes(path: Path) -> Iterator[ast.AST]:
    """All of a module, which comes first. Whoever keeps those of many has the garbage collector at work."""
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Full names; also those inside functions and under TYPE_CHECKING."""
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in nodes(path):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from (f"{module}.{alias.name}" for alias in names)
