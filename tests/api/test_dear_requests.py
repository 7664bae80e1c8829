"""The costliest requests that the limits allow: other clients are served meanwhile, and no answer is much
larger.
"""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from server.api.bodies import MAX_BODY, MOST_NAMED
from server.api.process import MAX_BATCH
from server.app import ROUTES, create_app
from server.core import cookie_format
from server.core.action_requests import MOST_AT_ONCE
from server.core.process_request import ProcessRequest
from server.core.stored import read_request
from server.memory.media_routes import MAX_ARCHIVE
from server.settings import DownloadSettings, Settings, StorageSettings
from server.subscriptions.opml_routes import MAX_OPML
from tests.service import Service

Client = TestClient[web.Request, web.Application]
Connect = Callable[[web.Application], Awaitable[Client]]
MB = 1_000_000
# Most seconds that the thread of the event loop may work without a pause: other clients wait for that long.
LONGEST_TURN = 0.1
KNOWN = dict.fromkeys(ProcessRequest.model_fields, -100)
"""Every known field, with a wrong value."""
WRONG_IN_ALL_WAYS: dict[str, Any] = {
    **KNOWN,
    "subtitles": {"languages": [0] * 100, **{f"a{number}": 0 for number in range(30)}},
    "clip": {f"a{number}": 0 for number in range(30)},
    "outputs": [0] * 4,
    "sponsorblock": [0] * 9,
    **{f"a{number}": 0 for number in range(30)},
}
HEAVY_PATTERN = "[a-\uffff]" * 18


def filled(begin: str, unit: str, end: str, most: int = MAX_BODY) -> bytes:
    """Return JSON of at most `most` bytes with as many repetitions of `unit` as fit."""
    room = most - len(f"{begin}{end}".encode())
    return f"{begin}{','.join([unit] * (room // (len(unit.encode()) + 1)))}{end}".encode()


def numbered(most: int) -> str:
    """Return the members of an object with different names, of about that many bytes."""
    return ",".join(f'"{number:x}":0' for number in range(most // 10))


def of_an_object(**fields: str) -> Iterator[bytes]:
    """Yield bodies of one object with those `fields`, which are JSON, each filled up with something else."""
    begin = "{" + "".join(f'"{name}":{value},' for name, value in fields.items())
    yield f"{begin}{numbered(MAX_BODY - 1000)}}}".encode()
    for unit in ("[]", "{}", "0", '""', "[[]]", '{"a":{}}', "1e308"):
        yield filled(f'{begin}"ids":[', unit, "]}")
        yield filled(f'{begin}"outputs":[', unit, "]}")
    yield filled(f'{begin}"subtitles":{{"languages":[', '"["', "]}}")
    yield f'{begin}"subtitles":{{{numbered(MAX_BODY - 1000)}}}}}'.encode()
    yield f'{begin}"playlist":true,"playlist_items":"{"1," * 32_000}1"}}'.encode()
    yield f'{begin}"{"x" * (MAX_BODY - 200)}":0}}'.encode()
    yield f'{begin}"priority":{"9" * (MAX_BODY - 200)}}}'.encode()
    yield f"{begin[:-1]}{' ' * (MAX_BODY - 200)}}}".encode()
    yield json.dumps(WRONG_IN_ALL_WAYS | {"subtitles": {"languages": [HEAVY_PATTERN] * 100}}).encode()


def of_a_batch() -> Iterator[bytes]:
    def batch(each: Any, count: int = MOST_AT_ONCE) -> bytes:
        return b'{"requests":[' + b",".join([json.dumps(each).encode()] * count) + b"]}"

    yield batch(WRONG_IN_ALL_WAYS)
    yield batch(WRONG_IN_ALL_WAYS | {"x" * 4000: 0})
    url = "http://a.test/"
    paused = {"url": url, "auto_start": False}  # nothing is fetched
    yield batch(paused | {"subtitles": {"languages": [HEAVY_PATTERN] * 80}}, 280)
    yield batch(paused | {"playlist": True, "playlist_items": "1," * 4000 + "1"}, 490)
    yield batch(paused | {"url": url + "v" * 4000})
    yield batch(paused | {"url": url + '"' * 4000})
    yield batch(paused | {"outputs": [0] * 2000})
    for unit in ("[]", "0", "[[]]", '{"a":{}}'):
        yield filled('{"requests":[', unit, "]}", MAX_BATCH)
        yield filled('{"requests":[{"outputs":[', unit, "]}]}", MAX_BATCH)
        inner = filled('{"outputs":[', unit, "]}", MAX_BODY).decode()
        yield filled('{"requests":[', inner, "]}", MAX_BATCH)
        yield filled('{"requests":[],"a":[', unit, "]}", MAX_BATCH)
    inner = f"{{{numbered(MAX_BODY - 1000)}}}"
    yield filled('{"requests":[', inner, "]}", MAX_BATCH)
    yield f"{{{numbered(MAX_BATCH - 1000)}}}".encode()
    yield b'{"requests":[' + b"[" * (MAX_BATCH - 100)
    yield b'{"requests":[' + b" " * (MAX_BATCH - 100) + b"]}"


def of_cookies() -> Iterator[bytes]:
    lines = (f"h{number}.test\tTRUE\t/\tFALSE\t0\tn\tv\n" for number in range(cookie_format.MAX_SIZE // 26))
    yield "".join(lines).encode()[: cookie_format.MAX_SIZE].rpartition(b"\n")[0]
    yield b"\n" * cookie_format.MAX_SIZE
    yield b"\t" * cookie_format.MAX_SIZE


def of_archives() -> Iterator[bytes]:
    yield b"".join(b"youtube %011d\n" % number for number in range(MAX_ARCHIVE // 20))
    yield b"".join(b"youtube %0400d\n" % number for number in range(MAX_ARCHIVE // 409))
    for unit in (b"\n", b"x\n", b"\xff\n", b"a " + b"b" * 100_000):
        yield unit * (MAX_ARCHIVE // len(unit))


def of_subscriptions(**fields: str) -> Iterator[bytes]:
    yield from of_an_object(**fields)
    pattern = json.dumps("[a-\uffff]" * 25)
    begin = "".join(f'"{name}":{value},' for name, value in fields.items())
    yield f'{{{begin}"filters":{{"title":{pattern},"not_title":{pattern}}}}}'.encode()
    yield f'{{{begin}"filters":{{{numbered(MAX_BODY - 1000)}}}}}'.encode()
    yield f'{{{begin}"request":{{{numbered(MAX_BODY - 1000)}}}}}'.encode()
    yield f'{{{begin}"name":"{"x" * (MAX_BODY - 200)}"}}'.encode()


def of_outlines() -> Iterator[bytes]:
    outlines = "".join(f'<outline xmlUrl="http://a.test/{number}"/>' for number in range(1000))
    yield f"<opml><body>{outlines}</body></opml>".encode()
    yield b"<opml>" + b"<outline>" * (MAX_OPML // 10)
    yield b"<opml " + b'a="b" ' * (MAX_OPML // 10) + b"/>"
    yield b"<opml>" + b"<b/>" * (MAX_OPML // 5) + b"</opml>"


def of_templates() -> Iterator[bytes]:
    yield from of_an_object(name='"{title}"')
    for part in ("{title}" * 7, "{channel}{title} " * 3, "é" * 50):
        yield json.dumps({"folder": "a" * 60, "name": "/".join([part] * 4)[:200]}).encode()
    yield f'{{"name":"{"{" * (MAX_BODY - 100)}"}}'.encode()
    yield f'{{"folder":"{"a/" * (MAX_BODY // 2 - 100)}"}}'.encode()


JSON = "application/json"
BODIES: dict[str, tuple[Callable[[], Iterator[bytes]], str]] = {
    "process": (lambda: of_an_object(url='"http://a.test/"', auto_start="false"), JSON),
    "process_batch": (of_a_batch, JSON),
    "act": (lambda: of_an_object(action='"cancel"'), JSON),
    "info": (lambda: of_an_object(url='"http://127.0.0.9:9/"'), JSON),
    "info_thumbnails": (lambda: of_an_object(urls='["http://127.0.0.9:9/"]'), JSON),
    "prioritize": (lambda: of_an_object(priority="1"), JSON),
    "repair": (lambda: of_an_object(cookies='"a"'), JSON),
    "log_in": (lambda: of_an_object(token='"a"'), JSON),
    "make_link": (lambda: of_an_object(kind='"video"'), JSON),
    "putCookies": (of_cookies, "text/plain"),
    "importArchive": (of_archives, "text/plain"),
    "subscribe": (lambda: of_subscriptions(url='"http://a.test/"', enabled="false"), JSON),
    "change_subscription": (lambda: of_subscriptions(enabled="false"), JSON),
    "act_on_items": (lambda: of_an_object(action='"skip"'), JSON),
    "act_on_subscriptions": (lambda: of_an_object(action='"check"'), JSON),
    "place": (lambda: of_an_object(library='{"layout":"shows"}'), JSON),
    "previewLibrary": (of_templates, JSON),
    "act_on_library": (lambda: of_an_object(action='"verify"'), JSON),
    "import_opml": (of_outlines, "text/x-opml"),
    "add_person": (lambda: of_an_object(name='"a"'), JSON),
    "change_person": (lambda: of_an_object(limits='{"max_running":1}'), JSON),
    "change_me": (lambda: of_an_object(password='"0123456789"'), JSON),
    "add_my_token": (lambda: of_an_object(label='"a"'), JSON),
    "add_token_of_person": (lambda: of_an_object(label='"a"'), JSON),
}
# Requests that take this machine long: make test-long sends them.
DEAREST = ("process_batch", "importArchive")
WITH_BODIES = {
    operation.name: (method.upper(), route.path)
    for route in ROUTES
    for method, operation in route.operations.items()
    if operation.body or operation.text_bodies
}


@pytest.fixture
async def client(aiohttp_client: Connect, tmp_path: Path) -> Client:
    settings = Settings(
        storage=StorageSettings(data_dir=tmp_path / "data"), downloads=DownloadSettings(min_free_disk=0)
    )
    client = await aiohttp_client(create_app(settings))
    gc.freeze()  # the server does the same after its start
    return client


@asynccontextmanager
async def turns() -> AsyncIterator[list[float]]:
    """Yield a list that becomes the length of each turn of the event loop, in seconds for which its thread
    has worked.

    Seconds of the clock would include the work of other programs. A turn lies between two waits of the loop.
    """
    selector: Any = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    found, select, began = list[float](), selector.select, time.thread_time()

    def watched(timeout: float | None = None) -> Any:
        nonlocal began
        found.append(time.thread_time() - began)
        events = select(timeout)
        began = time.thread_time()
        return events

    selector.select = watched
    gc.freeze()  # a collection of all objects of earlier tests would take longer than a turn may
    try:
        yield found
    finally:
        gc.unfreeze()
        del selector.select


def test_every_route_with_a_body_is_asked_dearly() -> None:
    assert BODIES.keys() == WITH_BODIES.keys()


@pytest.mark.wide
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name in DEAREST)) for name in BODIES]
)
async def test_the_dearest_bodies_hold_nobody_up_and_are_answered_briefly(client: Client, name: str) -> None:
    asyncio.get_running_loop().set_debug(False)  # debug mode makes each turn several times as long
    bodies, content_type = BODIES[name]
    method, path = WITH_BODIES[name]
    task = await (
        await client.post("/api/process", json={"url": "http://a.test/", "auto_start": False})
    ).json()
    subscribed = await client.post("/api/subscriptions", json={"url": "http://z.test/", "enabled": False})
    mine = (await subscribed.json())["subscription_id"]
    link = path.replace("{task_id}", task["task_id"]).replace("{name}", "use_cookies")
    link = link.replace("{subscription_id}", mine)
    for body in bodies():
        async with turns() as taken:
            answer = await client.request(
                method, link, data=BytesIO(body), headers={"Content-Type": content_type}
            )
            text = await answer.read()
        assert answer.status != 500, body[:200]
        is_problem = answer.content_type == "application/problem+json"
        assert len(text) <= (MB if is_problem else len(body) + MB), body[:200]
        assert max(taken) <= LONGEST_TURN, (answer.status, len(body), body[:200])


@pytest.mark.wide
async def test_what_is_told_of_the_dearest_cookie_file_is_brief(client: Client) -> None:
    [file, *_] = of_cookies()
    long_one = f"{'h' * 10_000}.test\tTRUE\t/\tFALSE\t0\tn\tv\n".encode()
    for name, text in (("many", file), ("long", long_one)):
        answer = await client.put(
            f"/api/cookies/{name}", data=BytesIO(text), headers={"Content-Type": "text/plain"}
        )
        assert answer.status == 204
    answer = await client.get("/api/cookies")
    told = {each["name"]: each for each in (await answer.json())["cookies"]}
    assert told["many"]["count"] > 30_000
    assert len(told["many"]["hosts"]) == 100
    assert (told["long"]["count"], told["long"]["hosts"]) == (1, [])


async def refused(client: Client, body: dict[str, Any]) -> list[str]:
    answer = await client.post("/api/process", json=body)
    assert answer.status == 422
    return [error["field"] for error in (await answer.json())["errors"]]


async def test_each_known_wrong_field_is_told_once_and_of_all_others_the_first(client: Client) -> None:
    assert sorted(await refused(client, KNOWN)) == sorted(KNOWN)
    elements = [f"subtitles.languages.{place}" for place in range(MOST_NAMED)]
    assert await refused(client, {"url": "http://a/", "subtitles": {"languages": [0] * 100}}) == elements
    unknown = {f"a{number}": 0 for number in range(5000)}
    assert await refused(client, {"url": "http://a/", **unknown}) == list(unknown)[:MOST_NAMED]
    inner = [f"subtitles.{name}" for name in list(unknown)[:MOST_NAMED]]
    assert await refused(client, {"url": "http://a/", "subtitles": unknown}) == inner
    assert await refused(client, {"url": "http://a/", "outputs": [0] * 20_000}) == ["outputs"]
    assert await refused(client, {"url": "http://a/", "preset": "", "cookies": ""}) == ["preset", "cookies"]
    [name] = await refused(client, {"url": "http://a/", "x" * 60_000: 0})
    assert name == "x" * 99 + "…"


@pytest.mark.wide
async def test_when_a_batch_is_wrong_in_too_many_ways_the_later_problems_are_short(client: Client) -> None:
    body = {"requests": [WRONG_IN_ALL_WAYS] * MOST_AT_ONCE}
    answer = await client.post(
        "/api/process/batch", data=BytesIO(json.dumps(body).encode()), headers={"Content-Type": JSON}
    )
    problems = [result["problem"] for result in (await answer.json())["results"]]
    assert len(problems) == MOST_AT_ONCE
    in_full = ["errors" in problem for problem in problems]
    assert in_full == sorted(in_full, reverse=True)
    assert 0 < sum(in_full) < MOST_AT_ONCE
    assert all(problem["detail"] == problems[0]["detail"] for problem in problems)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"requests":[' + b'{"url":1},' * 10_000 + b'{"url":1}], "a": [}', "invalid_request"),
        (b'{"requests":[{"url":1},' + b" " * MAX_BODY + b"]}", "not_json"),
        (b'{"requests":[{"url":1}' + b" " * MAX_BODY + b'{"url":1}]}', "not_json"),
        (b'{"requests":[{"url":1}]' + b" " * MAX_BODY + b"}}", "not_json"),
        (b'{"requests":[{"url":1}]' + b" " * MAX_BODY + b"", "not_json"),
        (b'{"requests":[{"url":1}]' + b" " * MAX_BODY + b",}", "not_json"),
        (b'{"requests":[{"url":NaN}]' + b" " * MAX_BODY + b"}", "not_json"),
        (b'{"requests":[{"url":"\\ud800"}]' + b" " * MAX_BODY + b"}", "not_json"),
        (b'{"requests":[{"url":"\xff"}]' + b" " * MAX_BODY + b"}", "not_json"),
        (b'{"requests":[{"url":1}],1:2' + b" " * MAX_BODY + b"}", "not_json"),
        (b'{"requests":[{"url":1}]' + b" " * MAX_BODY + b',"requests":[]}', "invalid_request"),
        (b'{"requests":7' + b" " * MAX_BODY + b"}", "invalid_request"),
        (b"{" + b" " * MAX_BODY + b"}", "invalid_request"),
        (b"[" + b" " * MAX_BODY + b"]", "invalid_request"),
        (b'{"requests":["' + b"x" * MAX_BODY + b'"]}', "body_too_large"),
        (b'{"requests":["' + "ä".encode() * (MAX_BODY - 10) + b'"]}', "body_too_large"),
    ],
)
async def test_a_batch_that_is_read_in_pieces_is_judged_as_a_whole(
    client: Client, body: bytes, code: str
) -> None:
    answer = await client.post("/api/process/batch", data=BytesIO(body), headers={"Content-Type": JSON})
    assert (await answer.json())["code"] == code
    assert (await (await client.get("/api/tasks")).json())["tasks"] == []


async def test_a_batch_is_read_alike_in_pieces_and_at_once(client: Client) -> None:
    body = json.dumps({"requests": [{"url": "ftp://ä/\n"}, 7, {}, [], None]}, indent=1).encode()
    same = {"Content-Type": JSON, "X-Request-Id": "same"}
    at_once = await client.post("/api/process/batch", data=body, headers=same)
    large = BytesIO(b" " * MAX_BODY + body + b" " * MAX_BODY)
    in_pieces = await client.post("/api/process/batch", data=large, headers=same)
    assert (await at_once.json())["results"] == (await in_pieces.json())["results"]
    assert at_once.status == in_pieces.status == 200


def test_a_stored_request_with_heavy_patterns_is_read_as_fast_as_any() -> None:
    def read(pattern: str) -> float:
        text = json.dumps({"url": "http://a/", "subtitles": {"languages": [pattern] * 100}})
        took = list[float]()
        for _ in range(5):
            began = time.thread_time()
            assert read_request(text)
            took.append(time.thread_time() - began)
        return min(took)

    assert read(HEAVY_PATTERN) < 10 * read("a" * len(HEAVY_PATTERN)) + 0.001


@pytest.mark.long
async def test_the_liveness_check_is_answered_beside_the_dearest_batches(tmp_path: Path) -> None:
    """The test counts the work of the event loop's thread while `/healthz` waits, and not that of other
    programs.
    """
    as_operators_run_it = {"PYTHONDEVMODE": "", "PYTHONASYNCIODEBUG": ""}
    async with Service(tmp_path / "service", **as_operators_run_it) as service:
        process = psutil.Process(service.pid)

        def worked() -> float:
            [loop] = [thread for thread in process.threads() if thread.id == service.pid]
            return float(loop.user_time + loop.system_time)  # the kernel counts in steps of 0.01 s

        for body in of_a_batch():
            longest = 0.0
            posting = asyncio.create_task(posted(service, body))
            while not posting.done():
                began = worked()
                async with service.client.get("/healthz") as answer:
                    assert answer.status == 200
                longest = max(longest, worked() - began)
            await posting
            assert longest <= LONGEST_TURN, body[:100]


async def posted(service: Service, body: bytes) -> int:
    async with service.client.post(
        "/api/process/batch", data=BytesIO(body), headers={"Content-Type": JSON}
    ) as answer:
        return len(await answer.read())
