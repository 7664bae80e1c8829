"""The description of the API: valid, complete, true; and the page that shows it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from server.api import keys, security
from server.api.connections import Connections
from server.api.middleware import wrapped
from server.api.openapi import docs_page as docs
from server.api.openapi import document
from server.api.openapi.docs_page import every_error
from server.api.openapi.document import DESCRIPTION, Description, describe
from server.api.openapi.operation import OF_CHANGES
from server.api.route import Access
from server.app import ROUTES, create_app
from server.core.errors import (
    AppError,
    HeadTooLarge,
    MethodNotAllowed,
    MethodUnknown,
    NotFound,
    TargetTooLong,
    TransferCodingUnknown,
    Unreadable,
    VersionNotSupported,
)
from server.locales import LANGUAGES
from server.settings import ServerSettings, Settings

Client = TestClient[web.Request, web.Application]
DESCRIBED = [
    (f"{method.upper()} {route.path}", operation)
    for route in ROUTES
    for method, operation in route.operations.items()
]
OPERATIONS = [operation for _, operation in DESCRIBED]


async def let_in(_: web.Request, __: Access) -> None:
    """Admit everybody."""


# The three example payloads of the contract.
PROCESSING = """{
  "task_id": "123e4567-e89b-12d3-a456-426614174000",
  "status": "processing",
  "progress": 45,
  "message": "正在下载视频...",
  "created_at": "2024-01-01T12:00:00",
  "video_info": {"title": "示例视频", "duration": 300, "uploader": "上传者"},
  "files": {}
}"""
COMPLETED = """{
  "task_id": "123e4567-e89b-12d3-a456-426614174000",
  "status": "completed",
  "progress": 100,
  "message": "处理完成！",
  "created_at": "2024-01-01T12:00:00",
  "completed_at": "2024-01-01T12:05:30",
  "video_info": {"title": "示例视频", "duration": 300, "uploader": "上传者"},
  "files": {
    "video": "/api/download/video_example_123abc.mp4",
    "audio": "/api/download/audio_example_123abc.mp3"
  }
}"""
FAILED = """{
  "task_id": "123e4567-e89b-12d3-a456-426614174000",
  "status": "error",
  "progress": 0,
  "message": "处理失败: 无法下载视频",
  "created_at": "2024-01-01T12:00:00",
  "completed_at": "2024-01-01T12:01:15",
  "video_info": {},
  "files": {},
  "error": "下载失败: HTTP 404"
}"""


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return describe(ROUTES)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = web.Application()
    app[keys.SETTINGS] = Settings(server=ServerSettings(base_path="/clip"))
    app[DESCRIPTION] = Description(ROUTES, "/clip", ["phone"])
    add_headers = security.Doors(ServerSettings()).add_headers
    app[keys.LANGUAGE] = ServerSettings().language
    routes = [*document.ROUTES, *docs.ROUTES]
    app.add_routes(wrapped(routes, let_in, add_headers, Connections(0)))
    async with asyncio.timeout(20), TestClient(TestServer(app)) as client:
        yield client


def validator(description: dict[str, Any], name: str) -> jsonschema_rs.Draft202012Validator:
    """Return a validator for one schema of the description."""
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": description["components"]},
        validate_formats=True,
    )


# --- valid, complete, true ---


def test_the_description_is_valid_openapi(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1")
    import schemathesis  # imported here: at the top, every worker would pay 0.7 s of CPU for this test

    schemathesis.openapi.from_dict(description).validate()


def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    text = json.dumps(description)
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in description["components"]["schemas"]


def test_only_the_files_of_the_page_are_not_described() -> None:
    assert [route.path for route in ROUTES if not route.operations] == ["/static/{path}"]


def test_the_application_describes_all_its_routes_where_it_serves_them() -> None:
    app = create_app(Settings(server=ServerSettings(base_path="/clip"), presets={"phone": {}}))
    assert app[DESCRIPTION].document == describe(ROUTES, "/clip", ["phone"])


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_path_parameters_are_those_of_the_path() -> None:
    for route, operation in DESCRIBED:
        named = {parameter.name for parameter in operation.parameters if parameter.place == "path"}
        assert named == set(re.findall(r"{(\w+)}", route))


def test_a_page_of_another_origin_may_send_and_read_each_header_that_is_described(
    description: dict[str, Any],
) -> None:
    operations = [operation for path in description["paths"].values() for operation in path.values()]
    sent = {
        parameter["name"]
        for operation in operations
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "header"
    }
    told = {
        name
        for operation in operations
        for answer in operation["responses"].values()
        for name in answer.get("headers", ())
    }
    # Browsers send these without a question; a cookie must be accepted from our own page only.
    assert sent - {"Accept", "Accept-Language"} <= set(security.ALLOWED_HEADERS.split(", "))
    assert told - {"Last-Modified", "Set-Cookie"} <= set(security.EXPOSED_HEADERS.split(", "))


def test_every_error_belongs_to_some_route() -> None:
    described = {error for operation in OPERATIONS for error in operation.all_errors}
    of_no_route: set[type[AppError]] = {
        *(Unreadable, TargetTooLong, HeadTooLarge, VersionNotSupported),
        *(NotFound, MethodNotAllowed, MethodUnknown, TransferCodingUnknown),
    }
    assert described | of_no_route == set(every_error())


def test_only_answers_to_head_come_without_content(description: dict[str, Any]) -> None:
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                empty = method == "head" or status in ("101", "204", "302", "304", "307")
                assert bool(answer.get("content")) != empty, (method, path, status)


@pytest.mark.parametrize("example", [PROCESSING, COMPLETED, FAILED])
def test_the_examples_are_valid_without_what_was_added(example: str) -> None:
    description = describe(ROUTES)
    schema = description["components"]["schemas"]["TaskPayload"]
    own = [name for name, field in schema["properties"].items() if not field.get("x-added")]
    schema["properties"] = {name: schema["properties"][name] for name in own}
    schema["required"] = [name for name in schema["required"] if name in own]
    schema["additionalProperties"] = False
    assert len(own) == 9
    schema["properties"]["created_at"].pop("format")  # the examples give no time zone
    schema["properties"]["completed_at"].pop("format")
    validator(description, "TaskPayload").validate(json.loads(example))


def test_null_is_never_described_in_an_answer(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]
    for name in ("TaskPayload", "VideoInfo", "TaskPage", "Info", "Format", "Entry", "Chapter", "Problem"):
        assert "null" not in json.dumps(schemas[name])


@pytest.mark.parametrize(
    ("body", "valid"),
    [
        ({"url": "http://a/"}, True),
        ({"url": "HTTPS://a/", "outputs": ["audio"], "preset": "phone", "audio_quality": None}, True),
        ({}, False),
        ({"url": "ftp://a/"}, False),
        ({"url": "http://a/", "outputs": ["video", "video"]}, False),
        ({"url": "http://a/", "preset": "unknown"}, False),
        ({"url": "http://a/", "unknown": 1}, False),
    ],
)
def test_the_description_of_a_request_knows_right_from_wrong(body: dict[str, Any], valid: bool) -> None:
    assert validator(describe(ROUTES, presets=["phone"]), "ProcessRequest").is_valid(body) is valid


@pytest.mark.parametrize("presets", [[], ["phone"]])
def test_no_choice_is_described_as_one_of_nothing(presets: list[str]) -> None:
    described = json.dumps(describe(ROUTES, presets=presets))
    assert '"enum": []' not in described
    assert validator(describe(ROUTES, presets=presets), "ProcessRequest").is_valid({"url": "http://a/"})


def test_links_begin_with_the_base_path() -> None:
    assert describe(ROUTES, "/clip")["servers"] == [{"url": "/clip"}]
    assert describe(ROUTES)["servers"] == [{"url": "/"}]


def test_no_parameter_is_described_as_one_that_may_be_empty(description: dict[str, Any]) -> None:
    """An empty choice is refused with 422."""
    operations = [one for path in description["paths"].values() for one in path.values()]
    choices = [one["schema"].get("enum", ()) for each in operations for one in each.get("parameters", ())]
    assert ["0", "1"] in choices
    assert not [choice for choice in choices if "" in choice]


def test_no_path_is_of_two_routes() -> None:
    """Otherwise `Allow` would list the methods of both routes, and one of them would answer for the other."""
    router = web.Application().router
    for route in ROUTES:
        router.add_routes([route.definition])
    known = [resource.get_info() for resource in router.resources()]
    assert not [
        (path, one["formatter"])
        for one in known
        if "pattern" in one
        for path in (other["path"] for other in known if "path" in other)
        if one["pattern"].fullmatch(path)
    ]


@pytest.mark.wide
async def test_the_description_is_served_as_json(client: Client) -> None:
    async with client.get("/api/openapi.json") as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"
        assert await answer.json() == json.loads(json.dumps(describe(ROUTES, "/clip", ["phone"])))


# --- the page ---


class Page(HTMLParser):
    """The parts of an HTML page: ids, links, other attributes, and elements that are not closed."""

    VOID = frozenset(("meta", "link", "br", "img"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            self.names.add(name)
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


async def page(client: Client, language: str = "en") -> Page:
    async with client.get("/api/docs", headers={"Accept-Language": language}) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/html"
        assert answer.headers["Content-Language"] == language
        return Page(await answer.text())


async def test_the_page_is_well_formed_and_its_links_lead_somewhere(client: Client) -> None:
    shown = await page(client)
    assert shown.open == []
    assert len(set(shown.ids)) == len(shown.ids)
    for link in shown.links:
        assert link.startswith("/clip/") or link.removeprefix("#") in shown.ids


async def test_the_page_explains_every_error_where_its_type_leads_to(client: Client) -> None:
    shown = await page(client)
    assert {error.code for error in every_error()} <= set(shown.ids)
    assert {operation.name for operation in OPERATIONS} <= set(shown.ids)


async def test_the_page_needs_no_script_and_no_style_of_its_own(client: Client) -> None:
    shown = await page(client)
    assert not {"script", "style"} & set(shown.tags)
    assert "style" not in shown.names
    assert not [name for name in shown.names if name.startswith("on")]


async def test_the_page_speaks_the_readers_language(client: Client) -> None:
    for language, words in LANGUAGES.items():
        async with client.get("/api/docs", params={"lang": language}) as answer:
            text = await answer.text()
            assert f'<html lang="{language}">' in text
            assert words.error("drm_protected") in text


# --- what is written for people ---

GUIDE = (Path(__file__).parent.parent.parent / "docs" / "api.md").read_text(encoding="utf-8")


def rows(columns: int) -> list[list[str]]:
    """Return all rows of the guide's tables that have so many columns, the first column without its code
    marks.
    """
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in GUIDE.splitlines() if "|" in line
    ]
    return [[row[0].strip("`"), *row[1:]] for row in cells if len(row) == columns]


def test_the_guide_has_a_section_with_an_example_for_every_route() -> None:
    sections = dict(re.findall(r"^## (\w+ /\S*)\n(.*?)(?=^## |\Z)", GUIDE, re.MULTILINE | re.DOTALL))
    differ = sections.keys() ^ {route for route, _ in DESCRIBED}
    assert differ == set(), "each needs a section in docs/api.md, with an example"
    for route, text in sections.items():
        assert re.search(r"^```(sh|console)$", text, re.MULTILINE), route


def test_the_guide_names_the_errors_of_every_route_that_are_its_own() -> None:
    sections = dict(re.findall(r"^## (\w+ /\S*)\n(.*?)(?=^## |\Z)", GUIDE, re.MULTILINE | re.DOTALL))
    for route, operation in DESCRIBED:
        own = {error.code for error in operation.errors if error not in OF_CHANGES}
        if not route.startswith("HEAD "):
            assert own <= set(re.findall(r"`(\w+)`", sections[route])), route


def test_the_guide_knows_every_field(description: dict[str, Any]) -> None:
    for name in ("ProcessRequest", "Info", "Format"):
        for field in description["components"]["schemas"][name]["properties"]:
            assert f"`{field}`" in GUIDE or f'"{field}"' in GUIDE, field


def test_the_guide_lists_every_error_with_its_status() -> None:
    listed = {code: status for code, status, _ in rows(3) if re.fullmatch(r"[45]\d\d", status)}
    assert listed == {error.code: str(int(error.status)) for error in every_error()}
