"""The documentation names everything that a client or an operator can meet."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from server import errors
from server.__main__ import USAGE
from server.app import ROUTES
from server.locales import LANGUAGES
from server.models import ProcessRequest
from server.settings import Settings

ROOT = Path(__file__).parent.parent
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

DOCUMENTED = {(route.definition.method, route.path) for route in ROUTES}


def concrete(error: type[errors.AppError]) -> Iterator[type[errors.AppError]]:
    for kind in error.__subclasses__():
        yield kind
        yield from concrete(kind)


def settings(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from settings(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@pytest.mark.parametrize("route", sorted(DOCUMENTED), ids=lambda route: " ".join(route))
def test_every_route_is_described(route: tuple[str, str]) -> None:
    assert route[1] in API


ERRORS = {error.code: error for error in concrete(errors.AppError)}


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_error_is_described_with_its_status(code: str) -> None:
    assert f"| `{code}` | {ERRORS[code].status:d} |" in API


@pytest.mark.parametrize("code", sorted(set(LANGUAGES["en"].texts.failure) - {"blocked_address_fake_ip"}))
def test_every_failure_is_described(code: str) -> None:
    assert f"| `{code}" in API


@pytest.mark.parametrize("name", ProcessRequest.model_fields)
def test_every_field_of_a_request_is_described(name: str) -> None:
    assert f"| `{name}`" in API


@pytest.mark.parametrize("key", sorted(settings()))
def test_every_setting_is_described(key: str) -> None:
    assert f"| `{key}" in CONFIGURATION


@pytest.mark.parametrize("command", re.findall(r"python -m server( [a-z]+)", USAGE))
def test_every_command_is_described(command: str) -> None:
    everything = "".join(
        path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
    )
    assert f"python -m server{command}" in everything
