"""Query parameters: all numbers follow one form, and an error names all wrong parameters."""

import asyncio
import re
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from server.api.bodies import Query
from server.api.status import MAX_WAIT, wanted_wait
from server.app import ROUTES, create_app
from server.core.errors import InvalidQuery
from server.settings import DownloadSettings, Settings, StorageSettings

Client = TestClient[web.Request, web.Application]
SERVER = Path(__file__).parents[2] / "server"
NOBODY = "/api/status/nobody"
NO_NUMBERS = [
    "", "+5", "-1", "-0", "%205", "5%20", "5%0A", "05", "00", "00000000199999", "1_0", "1e1", "0x5", "5,0",
    "nan", "inf", "%D9%A5", "%EF%BC%95", "%C2%B2", "%00", "five", "5%00",
]  # fmt: skip


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    settings = Settings(
        storage=StorageSettings(data_dir=tmp_path / "data"), downloads=DownloadSettings(min_free_disk=0)
    )
    async with asyncio.timeout(30), TestClient(TestServer(create_app(settings))) as client:
        yield client


async def wrong(client: Client, link: str, method: str = "GET") -> set[str]:
    """Return the names of the parameters that the error calls wrong."""
    answer = await client.request(method, URL(link, encoded=True))
    if answer.status != 422:
        return set()
    body: dict[str, Any] = await answer.json()
    assert body["code"] == "invalid_query"
    return {error["field"] for error in body["errors"]}


async def test_what_is_no_number_within_its_bounds_is_no_limit(client: Client) -> None:
    for text in (*NO_NUMBERS, "1.0", "0", "201", "9" * 20, "9" * 5000):
        assert await wrong(client, f"/api/tasks?limit={text}") == {"limit"}, text


async def test_what_is_no_number_of_seconds_is_no_wait(client: Client) -> None:
    for text in (*NO_NUMBERS, ".5", "5.", "1.5.5", "1.%D9%A5", "5&wait=5"):
        assert await wrong(client, f"{NOBODY}?wait={text}") == {"wait"}, text


async def test_numbers_within_a_cursor_are_read_the_same_way(client: Client) -> None:
    for plain in ("n05", "n+5", "n5 ", "n-1", "n5_0", "n\N{FULLWIDTH DIGIT FIVE}", "n" + "9" * 30, "q1,5"):
        cursor = urlsafe_b64encode(plain.encode()).decode().rstrip("=")
        assert await wrong(client, f"/api/tasks?cursor={cursor}") == {"cursor"}, plain
        assert await wrong(client, f"/api/tasks?cursor={cursor}=") == {"cursor"}, plain


async def test_what_fits_is_answered(client: Client) -> None:
    for query in ("limit=1", "limit=200", "q=", "new=1&new=2", "new="):
        assert (await client.get(f"/api/tasks?{query}")).status == 200


async def test_all_that_is_wrong_is_named_at_once(client: Client) -> None:
    names = {"limit": "x", "status": "x", "stage": "x", "q": "%00"}
    link = "/api/tasks?" + "&".join(f"{name}={value}" for name, value in names.items())
    assert await wrong(client, link) == set(names)


async def test_an_empty_parameter_names_nothing_and_is_refused_by_every_route(client: Client) -> None:
    checked = set[str]()
    for route in ROUTES:
        if route.path == "/api/session/oidc/callback":
            continue  # a log-in provider sends browsers here, so errors lead to the page
        parameters = [each for operation in route.operations.values() for each in operation.parameters]
        for name in {each.name for each in parameters if each.place == "query"} - {"q", "inline"}:
            link = re.sub(r"{\w+}", "x", route.path)
            for query in (f"{name}=", name, f"new=1&{name}="):
                said = await wrong(client, f"{link}?{query}", route.definition.method)
                assert said == {name}, (route.definition.method, link, query)
            checked.add(name)
    assert checked == {
        "lang",
        "wait",
        "status",
        "stage",
        "sort",
        "since",
        "playlist_id",
        "limit",
        "cursor",
        "folded",
        "ids",
        "owner",
        "paused",
        "quiet",
        "url",
        "state",
        "files",
        "library",
        "shared_by",
        "tasks",
        "to",
        "w",
    }


def test_what_a_handler_reads_of_the_query_is_described() -> None:
    described = {
        each.name
        for route in ROUTES
        for operation in route.operations.values()
        for each in operation.parameters
    }
    reads = re.compile(r"query\.(?:flag|get|ids|one_of|person|search|seconds|some_of|text|whole)\(\s*\"(\w+)")
    read = {name for path in SERVER.rglob("*.py") for name in reads.findall(path.read_text("utf-8"))}
    assert len(read) > 20
    assert read - described == set(), "a `Parameter` in `ROUTES` of the handler's module"


@pytest.mark.parametrize("ids", [",", "x,", ",x", "x,,y"])
async def test_an_empty_id_among_others_is_refused(client: Client, ids: str) -> None:
    assert await wrong(client, f"/api/tasks?ids={ids}") == {"ids"}
    assert await wrong(client, f"/api/download.zip?ids={ids}") == {"ids"}


async def test_the_page_is_shown_whatever_language_is_asked_for(client: Client) -> None:
    for query in ("?lang=", "?lang=xx", "?lang", "?lang=en&lang=zh"):
        assert (await client.get(f"/{query}")).status == 200


async def test_a_parameter_is_given_once(client: Client) -> None:
    once = {"limit": "5", "status": "completed", "stage": "queued", "q": "x", "cursor": "x", "ids": "x"}
    for name, value in once.items():
        assert await wrong(client, f"/api/tasks?{name}={value}&{name}={value}") == {name}
    assert await wrong(client, "/api/queue?lang=en&lang=zh") == {"lang"}


def asked(query: str = "", *prefer: str) -> web.Request:
    headers = CIMultiDict([("Prefer", each) for each in prefer])
    return make_mocked_request("GET", f"{NOBODY}{query}", headers, app=Mock())


@pytest.mark.parametrize(
    ("query", "prefer", "seconds"),
    [
        ("", [], None),
        ("?lang=en", [], None),
        ("?wait=0", [], 0),
        ("?wait=0.25", [], 0.25),
        ("?wait=49.9", [], 49.9),
        ("?wait=51", [], MAX_WAIT),
        ("?wait=" + "9" * 400, [], MAX_WAIT),
        ("?wait=3", ["wait=7"], 3),
        ("", ["wait=7"], 7),
        ("?lang=en", ["wait=7"], 7),
        ("", ["respond-async, wait=7"], 7),
        ("", ["respond-async", "Wait = 7"], 7),
        ("", ['wait="7"; a=b, wait=9'], 7),
        ("", ["wait=007"], 7),
        ("", ["wait=" + "9" * 400], MAX_WAIT),
        ("", ["wait"], None),
        ("", ["wait="], None),
        ("", ["wait=-1"], None),
        ("", ["wait=1.5"], None),
        ("", ['wait="7'], None),
        ("", ["wait=\N{ARABIC-INDIC DIGIT FIVE}"], None),
        ("", ["await=7"], None),
        ("", ["respond-async; wait=7"], None),
        ("", ['=,;\N{NO-BREAK SPACE}"'], None),
    ],
)
def test_how_long_to_wait(query: str, prefer: list[str], seconds: float | None) -> None:
    """RFC 7240: a malformed preference is ignored."""
    assert wanted_wait(asked(query, *prefer)) == seconds


@given(st.integers(-(10**20), 10**20))
def test_every_whole_number_within_the_bounds_is_read_as_it_is(number: int) -> None:
    query = Query(asked(f"?n={number}"))
    read = query.whole("n", 0, 10**15, default=-1)
    if 0 <= number <= 10**15:
        assert read == number
        query.check()
    else:
        with pytest.raises(InvalidQuery):
            query.check()


@given(st.text(max_size=8))
def test_no_text_makes_a_number_that_is_not_written_so(text: str) -> None:
    query = Query(make_mocked_request("GET", str(URL("/").with_query(n=text)), app=Mock()))
    read = query.whole("n", 0, 10**6, default=-1)
    assert read == -1 or str(read) == text
