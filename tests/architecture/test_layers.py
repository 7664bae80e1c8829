"""Which layers may import each other, that no imports form a circle, and that each name stands for one
thing.
"""

import ast
import re
import sys
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.trees import imports, nodes

SERVER = Path(__file__).parents[2] / "server"
FILES = sorted(SERVER.rglob("*.py"))
CHILD = sorted((SERVER / "child").rglob("*.py"))
MODULES = {
    ".".join(path.relative_to(SERVER.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FILES
}
# Each layer, and the layers that its modules import, also within functions. `core` defines what a task is and
# imports no layer. The layers after `feature` are no part of the kernel: the features, and the layers that
# assemble everything.
LAYERS = {
    "core": set[str](),
    "locales": {"core"},
    "settings": {"core", "locales"},
    "storage": {"core"},
    "files": {"core"},
    "tasks": {"core", "locales", "settings"},
    "cluster": {"core", "files", "settings", "storage", "tasks"},
    "api": {"core", "locales", "settings", "tasks"},
    "feature": {"api", "core", "settings", "storage", "tasks"},
    "people": {"api", "core", "feature", "settings", "storage", "tasks"},
    "updates": {"core", "feature", "tasks"},
    "links": {"api", "core", "feature", "storage"},
    "memory": {"api", "core", "feature", "storage"},
    "notices": {"api", "core", "feature", "locales", "settings", "storage", "tasks"},
    "library": {"api", "core", "feature", "memory", "notices", "settings", "storage", "tasks"},
    "subscriptions": {
        *("api", "core", "feature", "library", "locales", "memory", "notices"),
        *("settings", "storage", "tasks"),
    },
    "feeds": {"api", "core", "feature", "storage", "subscriptions", "tasks"},
    "assembly": {
        *("cluster", "core", "feature", "feeds", "files", "library", "links", "memory", "notices"),
        "people",
        *("settings", "storage", "subscriptions", "tasks", "updates"),
    },
    "app": {"api", "assembly", "core", "feature", "settings", "tasks"},
    "commands": {
        *(
            "api",
            "app",
            "assembly",
            "core",
            "library",
            "locales",
            "people",
            "settings",
            "subscriptions",
            "tasks",
        )
    },
    "__main__": {"commands", "settings"},
}
KERNEL = ("core", "child", "locales", "settings", "storage", "files", "tasks", "cluster", "api", "feature")
FEATURES = ("people", "subscriptions", "feeds", "library", "notices", "memory", "updates", "links")
# The layers of a child; each imports only layers that come after it in this list. "" is the child's own
# folder.
CHILD_LAYERS = ("", "fetch", "extract", "media", "network", "process")
SHARED = (
    "addresses",
    "codes",
    "jobs",
    "media_keys",
    "redaction",
)  # the modules of `core` that children import
NAMES = {path.stem for path in FILES}
TWINS = ({"sqlite", "postgresql"}, {"local", "s3"})
RIDDLES = {
    "house", "room", "glance", "ends", "rest", "handed", "needs", "keeping", "window", "early", "fitting",
    "signs", "utils", "helpers", "manager",
}  # fmt: skip


def test_a_layer_imports_only_what_it_may() -> None:
    for path in FILES:
        here = layer_of(path)
        if here not in ("child", "__init__"):
            for other in imported_layers(path) - {here, "child"}:
                assert other in LAYERS[here], f"{path} imports {other}"


def test_the_kernel_imports_no_feature_and_one_list_names_them_all() -> None:
    there = {path.name for path in SERVER.iterdir() if f"{path.name}_feature" in NAMES}
    assert there ^ {*FEATURES} == set(), "`FEATURES` in this module"
    for path in FILES:
        if layer_of(path) in KERNEL:
            assert imported_layers(path) & {*FEATURES} == set(), f"{path} imports a feature"
    named = imported_modules("server.assembly.features")
    features = {f"server.{name}.{name}_feature" for name in FEATURES}
    assert named ^ features == set(), "server/assembly/features.py"


def test_the_layers_have_an_order() -> None:
    assert list(TopologicalSorter(LAYERS).static_order())


def test_no_module_imports_itself_over_others() -> None:
    graph = {name: imported_modules(name) for name in MODULES}
    assert list(TopologicalSorter(graph).static_order())


def test_the_document_shows_the_layers_as_they_are() -> None:
    text = (SERVER.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    for layer, others in LAYERS.items():
        shown = ", ".join(f"`{other}`" for other in sorted(others)) or "nothing"
        assert re.search(rf"^\| `{layer}` \|.*\| {shown} \|$", text, re.MULTILINE), (
            f"`{layer}` imports {shown}"
        )


def test_the_child_shares_nothing_with_the_server_but_what_travels_between_them() -> None:
    assert CHILD
    shared = {name for path in CHILD for name in imports(path) if name.startswith("server.")}
    allowed = ("server.child.", *(f"server.core.{module}" for module in SHARED))
    assert [name for name in shared if not name.startswith(allowed)] == []


@pytest.mark.parametrize("name", SHARED)
def test_what_the_child_shares_costs_it_nothing(name: str) -> None:
    """Pydantic would take 10 MB in each child."""
    packages = {full.split(".")[0] for full in imports(SERVER / "core" / f"{name}.py")}
    assert packages <= sys.stdlib_module_names


def test_the_layers_of_the_child_have_an_order() -> None:
    for path in CHILD:
        here = child_layer_of(path.relative_to(SERVER.parent).with_suffix("").parts)
        for name in imports(path):
            if name.startswith("server.child."):
                other = child_layer_of(tuple(name.split(".")))
                assert CHILD_LAYERS.index(other) >= CHILD_LAYERS.index(here), f"{path} imports {name}"


def test_nothing_imports_the_child() -> None:
    users = {layer_of(path) for path in FILES if "child" in imported_layers(path)}
    assert users <= {"child"}


@pytest.mark.parametrize(
    ("package", "users"),
    [
        ("yt_dlp", {"child"}),
        ("aiosqlite", {"storage", "assembly"}),
        ("sqlite3", {"storage", "assembly"}),
        ("obstore", {"files"}),
        ("psycopg", {"storage", "cluster", "assembly"}),
        ("psycopg_pool", {"storage", "cluster"}),
        ("procrastinate", {"cluster", "assembly"}),
        ("aiohttp", {"__main__", "commands", "app", "api", "feature", *FEATURES}),
    ],
)
def test_a_package_is_imported_where_it_belongs_only(package: str, users: set[str]) -> None:
    found = {layer_of(path) for path in FILES if package in {name.split(".")[0] for name in imports(path)}}
    assert found <= users


def test_a_name_of_a_file_leads_to_one_place() -> None:
    places = defaultdict(set)
    for path in FILES:
        if path.name != "__init__.py":
            places[path.name].add(path.parent.name)
    twice = {name: folders for name, folders in places.items() if len(folders) > 1 and folders not in TWINS}
    assert twice == {}


def test_a_class_name_stands_for_one_thing() -> None:
    places = defaultdict(list)
    for path in FILES:
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path)
    twice = {
        name: [str(path.relative_to(SERVER)) for path in paths]
        for name, paths in places.items()
        if len(paths) > 1 and {path.parent.name for path in paths} not in TWINS
    }
    assert not twice


def test_a_name_says_the_thing() -> None:
    names = {part.removesuffix(".py") for path in FILES for part in path.relative_to(SERVER).parts}
    names |= {
        node.name.lower().strip("_")
        for path in FILES
        for node in nodes(path)
        if isinstance(node, ast.ClassDef)
    }
    assert names & RIDDLES == set()


def test_a_module_says_what_it_is_for() -> None:
    silent = [path for path in FILES if path.read_text("utf-8") and docstring(next(nodes(path))) is None]
    assert silent == []


def layer_of(path: Path) -> str:
    """Return the package or module directly under `server` to which `path` belongs."""
    return path.relative_to(SERVER).parts[0].removesuffix(".py")


def child_layer_of(module: tuple[str, ...]) -> str:
    """Return the folder of `server.child` to which a module, or a name in it, belongs; "" for the child's own
    folder.
    """
    return module[2] if len(module) > 2 and module[2] in CHILD_LAYERS else ""


def imported_layers(path: Path) -> set[str]:
    """Return the layers that a module imports; `from server import __version__` is an import of none."""
    parts = {name.split(".")[1] for name in imports(path) if name.startswith("server.")}
    return parts & {layer_of(file) for file in FILES}


def imported_modules(name: str) -> set[str]:
    """Return the modules from which the module `name` imports, without the packages around them."""
    found = set()
    for imported in imports(MODULES[name]):
        while imported and imported not in MODULES:
            imported = imported.rpartition(".")[0]
        if imported and imported != name and not name.startswith(f"{imported}."):
            found.add(imported)
    return found


def docstring(module: ast.AST) -> str | None:
    assert isinstance(module, ast.Module)
    return ast.get_docstring(module)
