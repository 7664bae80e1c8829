"""The documentation names everything that a client or an operator can meet."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from server.app import ROUTES
from server.child.media.embedding import TAGGED
from server.commands.cli import COMMANDS
from server.core import errors
from server.core.process_request import ProcessRequest
from server.locales import LANGUAGES
from server.settings import Settings
from tests.core.test_codes import BETTER_HINTS
from tests.trees import nodes

ROOT = Path(__file__).parent.parent.parent
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

DOCUMENTED = {(route.definition.method, route.path) for route in ROUTES}


def concrete(error: type[errors.AppError]) -> Iterator[type[errors.AppError]]:
    for kind in error.__subclasses__():
        if hasattr(kind, "code"):
            yield kind
        yield from concrete(kind)


def settings(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from settings(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_route_is_described() -> None:
    assert [route for route in DOCUMENTED if route[1] not in API] == []


def test_every_query_parameter_of_a_route_is_described_in_its_section() -> None:
    sections = re.split(r"^## ", API, flags=re.MULTILINE)
    forgotten = set()
    for route in ROUTES:
        if route.path == "/api/session/oidc/callback":
            continue  # OpenID Connect defines the parameters of this route
        parameters = [each for operation in route.operations.values() for each in operation.parameters]
        own = "".join(text for text in sections if text.startswith(f"{route.definition.method} {route.path}"))
        # All routes have `lang` and `owner`.
        for name in {each.name for each in parameters if each.place == "query"} - {"lang", "owner"}:
            if not re.search(rf"`{name}[`=]|[?&]{name}=", own):
                forgotten.add((route.definition.method, route.path, name))
    assert forgotten == set(), "the section of the route in docs/api.md"


def test_every_error_is_described_with_its_status() -> None:
    rows = {f"| `{error.code}` | {error.status:d} |" for error in concrete(errors.AppError)}
    assert len(rows) > 10
    assert [row for row in rows if row not in API] == []


def test_every_failure_is_described() -> None:
    codes = set(LANGUAGES["en"].texts.failure) - BETTER_HINTS
    assert [code for code in codes if f"| `{code}" not in API] == []


def test_every_field_of_a_request_is_described() -> None:
    assert [name for name in ProcessRequest.model_fields if f"| `{name}`" not in API] == []


def choices(schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """Return all words that a field may have as its value, or in its list."""
    yield from (word for word in schema.get("enum", ()) if word is not None)
    if "$ref" in schema:
        yield from choices(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for inner in (*schema.get("anyOf", ()), *filter(None, (schema.get("items"),))):
        yield from choices(inner, definitions)


def test_every_choice_of_a_request_is_described() -> None:
    schema = ProcessRequest.model_json_schema()
    for name, field in schema["properties"].items():
        row = next(line for line in API.splitlines() if line.startswith(f"| `{name}`"))
        undescribed = set(choices(field, schema["$defs"])) - set(re.findall(r"`(\w+)`", row))
        assert undescribed == set(), f"the row of `{name}` in docs/api.md"


def test_the_guide_says_what_tags_are_in_every_container_that_can_have_some() -> None:
    table = API.partition("### Tags and chapters")[2].partition("\n\nA file in")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", "".join(rows))) == TAGGED, (
        "docs/api.md, or server/child/media/embedding.py"
    )


def test_every_setting_is_described() -> None:
    forgotten = [key for key in settings() if f"| `{key}" not in CONFIGURATION]
    assert forgotten == [], "the table in docs/configuration.md"


def test_every_setting_is_used() -> None:
    """A setting is used as `settings.downloads.drain`, as `downloads.drain`, or as `settings.drain` where a
    part gets only the section.
    """
    modules = [path for path in (ROOT / "server").rglob("*.py") if path.name != "settings.py"]
    used = set()
    for node in (node for path in modules for node in nodes(path)):
        match node:
            case ast.Attribute(ast.Name(section) | ast.Attribute(attr=section), name):
                used.add((section.lstrip("_"), name))
    unused = []
    for key in settings():
        section, name = ["settings", *key.split(".")][-2:]
        if not {(section, name), ("settings", name)} & used:
            unused.append(key)
    assert unused == [], "no code outside server/settings.py reads it"


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_that_a_guide_names_is_there(document: str) -> None:
    """Only paths from the root of the checkout are checked; a name that stands for many has a
    `<placeholder>`.
    """
    text = (ROOT / document).read_text(encoding="utf-8")
    roots = "clients|docs|server|static|tests"
    paths = set(re.findall(rf"`((?:{roots})/[\w./*{{}},-]*)`", text))
    assert len(paths) > 40
    assert [path for path in paths if not any(ROOT.glob(path.rstrip("/")))] == [], document


def test_every_table_that_a_row_names_is_in_a_file_of_that_row() -> None:
    """A row names a table such as `LAYOUTS`; after a renaming nobody would find it."""
    rows = [line for line in (ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines() if line[:2] == "| "]
    for row in rows:
        paths = re.findall(r"`((?:clients|server|static|tests)/[\w./*-]*\.\w+)`", row)
        texts = "".join(path.read_text("utf-8") for name in paths for path in ROOT.glob(name))
        named = re.findall(r"`([A-Z][A-Z_]+|[A-Z][a-z]+[A-Z]\w+)`", row)
        missing = [name for name in named if texts and not re.search(rf"\b{name}\b", texts)]
        assert missing == [], row[:60]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_described(command: str) -> None:
    everything = "".join(
        path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
    )
    assert f"clipwire {command}" in everything


def test_the_table_of_faults_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\*\*((?:\w+/)?test_\w+)\*\*", text))
    assert len(named) > 30
    assert [name for name in named if not (ROOT / "tests" / f"{name}.py").is_file()] == []


DECISIONS = {path.name: path for path in (ROOT / "docs" / "decisions").glob("*")}


def test_every_page_of_decisions_is_named_by_a_module_that_it_explains() -> None:
    modules = [*ROOT.glob("server/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("static/js/**/*.js")]
    named = set()
    for path in modules:
        named.update(re.findall(r"docs/decisions/([\w.-]+\.md)", path.read_text(encoding="utf-8")))
    assert named == set(DECISIONS)


def test_decisions_are_a_few_pages_by_topic() -> None:
    """Each decision is a section of the page of its topic: nobody would find it among many pages."""
    assert len(DECISIONS) <= 21
    assert [name for name in DECISIONS if not re.fullmatch(r"[a-z-]+\.md", name)] == []


@pytest.mark.parametrize("name", DECISIONS)
def test_a_page_of_decisions_says_what_was_not_taken(name: str) -> None:
    assert "**Not taken:**" in DECISIONS[name].read_text(encoding="utf-8")


NAMES = {
    path.name
    for folder in (".", "server/**", "static/**", "clients/**", "tests/**", "requirements")
    for path in ROOT.glob(f"{folder}/*")
}
DOCUMENTS = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_name_only_files_and_places_that_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = re.findall(r"`((?:server|static|tests|docs|requirements)/[^\s`<>…]*)`", text)
    assert [path for path in named if not any(ROOT.glob(path.rstrip("/")))] == []
    alone = re.findall(r"`(?:[\w/]+/)?([\w-]+\.(?:py|js|css|toml|sh))`", text)
    assert [name for name in alone if name not in NAMES] == []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if "://" not in link:
            target = document.parent / path if path else document
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def anchors(document: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
