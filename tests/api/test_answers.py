"""Every answer of a route is written by a model, or compared with its model here: it is valid, has no field
that the model lacks, and has its fields in the model's order.
"""

import ast
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from server.api import keys
from server.api.bodies import encoded
from server.api.openapi.schemas import ActionResults, Info, Results, TaskPage
from server.api.payload import Answer, dumps
from server.api.problems import Problem
from server.core.action_requests import InfoRequest
from server.core.film import VideoInfo
from tests.inside import TASK, Inside, inside
from tests.page_tables import ROOT
from tests.site import Site
from tests.trees import nodes


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as service:
        yield service


def is_of_model(model: type[BaseModel], value: Any, place: str = "") -> None:
    """Fail if `value`, at any depth, has a field that its model lacks, or in another order than the model."""
    if not place:
        model.model_validate(value)
    known = [name for name in model.model_fields if name in value]
    assert list(value) == known, f"{place or 'the answer'}: fields of {model.__name__}, in this order"
    for name in known:
        inner = [each for each in inner_types(model.model_fields[name].annotation) if is_model(each)]
        for each in values_in(value[name]) if inner else ():
            is_of_model(inner[0], each, f"{place}.{name}")


def inner_types(kind: Any) -> list[Any]:
    return [each for inner in get_args(kind) for each in inner_types(inner)] or [kind]


def is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Answer | VideoInfo)


def values_in(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a field: the value itself, or those in its list or mapping."""
    if isinstance(value, list):
        return value
    are_named = isinstance(value, dict) and value and all(isinstance(each, dict) for each in value.values())
    return list(value.values()) if are_named else [value]


async def test_pages_and_results_which_are_put_together_of_bytes_are_what_their_models_say(
    service: Inside,
) -> None:
    failed, first = await service.submit(title="a"), await service.submit()
    await service.finished(b"film", first)
    async with service.client.get("/api/tasks", params={"limit": 1}) as answer:
        page = await answer.json()
    assert {"tasks", "next_cursor"} == page.keys()
    is_of_model(TaskPage, page)
    async with service.client.post(
        "/api/process/batch", json={"requests": [TASK, {"url": "nonsense"}]}
    ) as answer:
        results = await answer.json()
    assert [{*each} for each in results["results"]] == [{"status", "task"}, {"status", "problem"}]
    is_of_model(Results, results)
    async with service.client.post(
        "/api/tasks/actions", json={"action": "delete", "ids": [failed, first, "nobody"]}
    ) as answer:
        results = await answer.json()
    assert [each["status"] for each in results["results"]] == [204, 204, 404]
    is_of_model(ActionResults, results)


@pytest.mark.wide
async def test_what_a_child_tells_of_a_link_is_what_its_model_says(service: Inside, site: Site) -> None:
    """A field that the child sends and the model lacks would be missing in the answer."""
    for path in ("/page/cjk", "/page/playlist", "/hls/ts/index.m3u8"):
        wanted = InfoRequest(url=site.url(path), limit=1)
        found = await service.app[keys.INSPECTOR].inspect(wanted)
        is_of_model(Info, found)
        assert encoded(Info.model_validate(found)) == dumps(found)


def test_whatever_is_known_of_a_film_is_told_of_a_link() -> None:
    """Few sources have all fields, and no page of the tests has."""
    of_files = {"width", "height", "filesize", "cut"}
    forgotten = VideoInfo.model_fields.keys() - of_files - Info.model_fields.keys()
    assert forgotten == set(), "`Info` in server/api/openapi/schemas.py"


async def test_a_problem_is_what_its_model_says(service: Inside, site: Site) -> None:
    for path, body in (
        ("/api/process", {"url": "nonsense", "outputs": ["x"], "quality": "0"}),
        ("/api/info", {"url": site.url("/1mb.mp4?status=404")}),
        ("/api/tasks/nobody/cancel", {}),
    ):
        async with service.client.post(path, json=body) as answer:
            problem = json.loads(await answer.read())
        assert answer.content_type == "application/problem+json"
        is_of_model(Problem, problem)


@pytest.mark.wide
def test_a_problem_has_a_field_for_whatever_an_error_tells() -> None:
    """`Problem` leaves out fields that it does not know."""
    told = {
        key.value
        for path in (ROOT / "server").rglob("*.py")
        for node in nodes(path)
        if isinstance(node, ast.keyword) and node.arg == "extra" and isinstance(node.value, ast.Dict)
        for key in node.value.keys
        if isinstance(key, ast.Constant)
    }
    assert "subscription_id" in told
    assert told - Problem.model_fields.keys() == set(), "`Problem` in server/api/problems.py"
